// Moments appear as they arrive: the page listens, and takes over the part of it that changed.
"use strict";

const days = document.getElementById("days");
const news = document.getElementById("news");
const AGAIN_MS = [500, 1000, 2000, 5000, 10000, 30000];
let tries = 0;
let seen = { moment: days ? Number(days.dataset.newest) : null, session: null };
let due = null;

function listen() {
  const address = new URL("/api/v1/events", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  for (const [name, number] of Object.entries(seen)) {
    if (number !== null) address.searchParams.set(name, number);
  }
  const socket = new WebSocket(address);
  socket.addEventListener("message", (event) => take(JSON.parse(event.data)));
  socket.addEventListener("close", (event) => {
    document.documentElement.dataset.live = "no";
    if (event.code === 4401) return; // signed out
    setTimeout(listen, AGAIN_MS[Math.min(tries, AGAIN_MS.length - 1)]);
    tries += 1;
  });
}

function take(message) {
  if (message.type === "hello") {
    tries = 0;
    seen = { moment: message.moment, session: message.session };
    document.documentElement.dataset.live = "yes";
  } else if (message.type === "moment") {
    seen.moment = message.number;
    news.textContent = `New moment: ${message.moment.title}`;
    clearTimeout(due); // many at once are shown together
    due = setTimeout(refresh, 250);
  } else if (message.type === "session") {
    seen.session = message.number;
  }
}

/** Ask for this page again and take over the days and the count; scroll and focus stay. */
async function refresh() {
  const answer = await fetch(location.href, { headers: { "X-Live": "1" } });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const count = fresh.querySelector(".top nav");
  if (count) document.querySelector(".top nav").replaceChildren(...count.childNodes);
  const part = fresh.getElementById("days");
  if (!days || !part) return;
  const known = new Set([...days.querySelectorAll("[data-moment]")].map((c) => c.dataset.moment));
  const focused = document.activeElement?.closest("[data-moment]")?.dataset.moment;
  days.replaceChildren(...part.childNodes);
  for (const card of days.querySelectorAll("[data-moment]")) {
    if (!known.has(card.dataset.moment)) card.classList.add("new");
    if (card.dataset.moment === focused) card.querySelector("a").focus();
  }
}

listen();
