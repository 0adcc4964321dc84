// Draws the gaze and the attended region over the video, in step with the frame on the screen.
"use strict";

const article = document.querySelector("article.moment");
const video = document.getElementById("video");
const canvas = document.getElementById("overlay");
const play = document.getElementById("play");
const seek = document.getElementById("seek");
const clock = document.getElementById("clock");
const chart = document.getElementById("chart");
const cursor = document.getElementById("cursor");
const ribbon = document.getElementById("ribbon");
const showGaze = document.getElementById("show-gaze");
const showRegion = document.getElementById("show-region");

const TRAIL_S = 0.6; // how much of the past the gaze trail shows
const STALE_S = 0.25; // a sample or region older than this is not "now"
const originNs = Number(article.dataset.originNs);
let gaze = [];
let region = [];

/** Index of the last row at or before a time, or -1. Rows begin with their time in seconds. */
function lastBefore(rows, time) {
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle][0] <= time) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function onVideoTime(rows) {
  return (Array.isArray(rows) ? rows : [])
    .filter((row) => Array.isArray(row) && typeof row[0] === "number")
    .map((row) => [(row[0] - originNs) / 1e9, ...row.slice(1)]);
}

function draw(time) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  if (showRegion.checked) drawRegion(pen, time, width, height);
  if (showGaze.checked) drawGaze(pen, time, width, height);
}

/** The region that explains the feeling, if the record names one, dashed from the moment's start on. */
function drawFelt(pen, time, width, height) {
  if (!article.dataset.felt || time < Number(article.dataset.feltFrom)) return;
  const [left, top, right, bottom] = article.dataset.felt.split(",").map(Number);
  pen.setLineDash([7, 5]);
  pen.strokeStyle = "#ffe3c4";
  pen.lineWidth = 2;
  pen.strokeRect(left * width, top * height, (right - left) * width, (bottom - top) * height);
  pen.setLineDash([]);
}

function drawRegion(pen, time, width, height) {
  drawFelt(pen, time, width, height);
  const row = region[lastBefore(region, time)];
  if (!row || time - row[0] > STALE_S * 2) return;
  const [, left, top, right, bottom] = row;
  const box = [left * width, top * height, (right - left) * width, (bottom - top) * height];
  pen.lineJoin = "round";
  pen.strokeStyle = "rgba(0, 0, 0, 0.55)";
  pen.lineWidth = 5;
  pen.strokeRect(...box);
  pen.strokeStyle = "#ffb067";
  pen.lineWidth = 2.5;
  pen.strokeRect(...box);
}

function drawGaze(pen, time, width, height) {
  const last = lastBefore(gaze, time);
  let before = null;
  for (let i = Math.max(0, lastBefore(gaze, time - TRAIL_S)); i <= last; i += 1) {
    const [at, x, y] = gaze[i];
    if (typeof x !== "number" || typeof y !== "number") {
      before = null;
      continue;
    }
    const point = [x * width, y * height];
    if (before) {
      pen.strokeStyle = `rgba(255, 255, 255, ${0.75 * (1 - (time - at) / TRAIL_S)})`;
      pen.lineWidth = 2.5;
      pen.beginPath();
      pen.moveTo(...before);
      pen.lineTo(...point);
      pen.stroke();
    }
    before = point;
  }
  if (!before || time - gaze[last][0] > STALE_S) return;
  pen.beginPath();
  pen.arc(before[0], before[1], 11, 0, 2 * Math.PI);
  pen.fillStyle = "rgba(255, 138, 48, 0.35)";
  pen.fill();
  pen.lineWidth = 2.5;
  pen.strokeStyle = "#fff";
  pen.stroke();
  pen.beginPath();
  pen.arc(before[0], before[1], 3.5, 0, 2 * Math.PI);
  pen.fillStyle = "#ff8a30";
  pen.fill();
}

function show(time) {
  draw(time);
  const length = video.duration || 1;
  seek.value = String(Math.round((1000 * time) / length));
  clock.textContent = `${time.toFixed(1)} s`;
  for (const [drawing, line] of [[chart, cursor], [ribbon, ribbon?.querySelector(".cursor")]]) {
    if (!drawing) continue;
    const start = Number(drawing.dataset.start);
    const x = (1000 * (time - start)) / (Number(drawing.dataset.end) - start);
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
  }
}

/** Follow the frames as they are presented; where the browser cannot say, follow the clock. */
function follow() {
  if ("requestVideoFrameCallback" in video) {
    const onFrame = (now, frame) => {
      show(frame.mediaTime);
      video.requestVideoFrameCallback(onFrame);
    };
    video.requestVideoFrameCallback(onFrame);
  } else {
    const onTick = () => {
      if (!video.paused) show(video.currentTime);
      requestAnimationFrame(onTick);
    };
    requestAnimationFrame(onTick);
  }
}

function toggle() {
  if (video.paused) video.play();
  else video.pause();
}

function labelButton() {
  play.textContent = video.paused ? "Play" : "Pause";
  play.setAttribute("aria-label", play.textContent);
}

async function begin() {
  const answer = await fetch(article.dataset.record);
  const record = await answer.json();
  const evidence = record.evidence || {};
  gaze = onVideoTime(evidence.gaze);
  region = onVideoTime(evidence.region);
  show(video.currentTime);
  article.dataset.ready = "yes";
}

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input:not([type=range]):not([type=checkbox]), textarea")) return;
  const link = { k: "prev", j: "next" }[event.key];
  if (link) document.querySelector(`a[rel=${link}]`)?.click();
  if (event.key === "/") {
    event.preventDefault();
    document.getElementById("q").focus();
  }
  if (event.key === " " && video && !event.target.matches("button, summary, a, input")) {
    event.preventDefault();
    toggle();
  }
});

if (video) {
  play.addEventListener("click", toggle);
  video.addEventListener("click", toggle);
  for (const name of ["play", "pause", "ended"]) video.addEventListener(name, labelButton);
  for (const name of ["seeked", "loadedmetadata", "timeupdate"]) {
    video.addEventListener(name, () => show(video.currentTime));
  }
  seek.addEventListener("input", () => {
    video.currentTime = (Number(seek.value) / 1000) * (video.duration || 0);
  });
  for (const box of [showGaze, showRegion]) {
    box.addEventListener("change", () => draw(video.currentTime));
  }
  new ResizeObserver(() => draw(video.currentTime)).observe(canvas);
  // The video begins before the moment (pre-roll); show the moment first, rewind for the rest.
  const toMoment = () => {
    video.currentTime = Number(article.dataset.beginS);
  };
  if (video.readyState >= 1) toMoment();
  else video.addEventListener("loadedmetadata", toMoment, { once: true });
  follow();
  begin();
}
