// Polls pictures and state; nothing is kept. A picture is asked for again when the last one is shown.
"use strict";

const byId = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function view(figure) {
  const image = figure.querySelector("img");
  const none = figure.querySelector(".none");
  let shown = null;
  for (;;) {
    let pause = 60;
    try {
      const answer = await fetch(figure.dataset.view, { cache: "no-store" });
      const picture = answer.status === 200 ? URL.createObjectURL(await answer.blob()) : null;
      if (picture) {
        image.src = picture;
        await image.decode().catch(() => {});
      } else {
        pause = 400;
      }
      if (shown) URL.revokeObjectURL(shown);
      shown = picture;
      image.hidden = !picture;
      none.hidden = Boolean(picture);
    } catch {
      pause = 1500;
    }
    if (document.hidden) pause = 1500;
    await sleep(pause);
  }
}

const percent = (x) => (x === null || x === undefined ? "unknown" : `${Math.round(100 * x)} %`);
const number = (x, unit, digits = 0) =>
  x === null || x === undefined ? "unknown" : `${x.toFixed(digits)} ${unit}`;

function clock(seconds) {
  const s = Math.floor(seconds);
  const two = (x) => String(x).padStart(2, "0");
  return `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function facts(s) {
  const battery = percent(s.battery) + (s.charging ? ", charging" : "");
  const rows = [
    ["Session", clock(s.session_s)],
    ["Battery", battery],
    ["Temperature", number(s.heat_c, "°C", 1)],
    ["Power", number(s.power_mw, "mW")],
    ["Posture", s.posture],
    ["Worn", s.worn === null || s.worn === undefined ? "unknown" : s.worn ? "yes" : "no"],
    ["Attention", s.attention === null ? "not asked" : percent(s.attention)],
    ["Eye to decision", `${number(s.latency_ms, "ms", 1)} (p99 ${number(s.latency_p99_ms, "ms", 1)})`],
    ["Calibrated", s.calibrated ? "yes" : "no: gaze is not known"],
    ["Waiting to sync", `${s.spool.snippets} ${s.spool.snippets === 1 ? "moment" : "moments"}, ${(s.spool.bytes / 1e6).toFixed(1)} MB`],
  ];
  byId("facts").replaceChildren(...rows.flatMap(([k, v]) => [element("dt", k), element("dd", v)]));
}

function sources(s) {
  const rows = s.sources.map((source) => {
    const row = element("tr", undefined, source.why ? { title: source.why } : {});
    row.append(
      element("td", source.name),
      element("td", source.life, { "data-life": source.life }),
      element("td", source.age_s === null ? "never" : `${source.age_s.toFixed(1)} s ago`),
      element("td", source.dropped === null ? "" : String(source.dropped)),
      element("td", String(source.restarts)),
    );
    return row;
  });
  byId("sources").replaceChildren(...rows);
}

let listed = "";

function moments(s) {
  const key = s.moments.map((m) => m.id).join();
  byId("no-moments").hidden = s.moments.length > 0;
  if (key === listed) return;
  listed = key;
  const items = s.moments.map((m) => {
    const item = element("li");
    if (m.picture) item.append(element("img", undefined, { src: `/moment/${m.id}.jpg`, alt: "" }));
    item.append(element("p", m.names.join(", ") || "unnamed"));
    const why = m.reasons.join(", ");
    item.append(element("p", `${clock(m.start_s)} · ${m.duration_s.toFixed(1)} s · ${why}`, { class: "quiet" }));
    return item;
  });
  byId("moments").replaceChildren(...items);
}

function faults(s) {
  byId("no-faults").hidden = s.faults.length > 0;
  const items = s.faults.map((fault) => {
    const item = element("li");
    item.append(element("time", clock(fault.t_s)), fault.what);
    return item;
  });
  byId("faults").replaceChildren(...items);
}

function show(s) {
  const state = s.private ? "private" : s.state;
  byId("state").textContent = s.private ? "private: cameras off" : state;
  byId("state").dataset.state = state;
  byId("alarm").hidden = s.failed.length === 0;
  byId("alarm").textContent = `Capture fails: ${s.failed.join(", ")}`;
  byId("asleep").textContent = s.private
    ? "the privacy switch is closed"
    : "the scene camera sleeps until something is looked at";
  facts(s);
  sources(s);
  moments(s);
  faults(s);
  document.body.dataset.ready = "yes";
}

async function follow() {
  for (;;) {
    try {
      const answer = await fetch("/state.json", { cache: "no-store" });
      if (answer.ok) show(await answer.json());
    } catch {
      byId("state").textContent = "no answer from the glasses";
      byId("state").dataset.state = "gone";
    }
    await sleep(document.hidden ? 2000 : 500);
  }
}

byId("button").addEventListener("click", () => fetch("/button", { method: "POST" }));
document.querySelectorAll("figure[data-view]").forEach(view);
follow();
