// Review by keys: what carries data-key is pressed by it.
"use strict";

const names = document.getElementById("names");
const video = document.getElementById("video");

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") document.activeElement.blur();
  if (event.target.matches("input:not([type=radio]), textarea")) return;
  if (event.target.matches("button, a, summary") && event.key === "Enter") return;
  if (event.key === "e" && names) {
    event.preventDefault();
    names.focus();
    names.select();
    return;
  }
  const target = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (target) {
    event.preventDefault();
    target.click();
  }
});

// It plays by itself, without sound, unless motion is not wanted.
if (video && !matchMedia("(prefers-reduced-motion: reduce)").matches) video.play().catch(() => {});
video?.addEventListener("click", () => (video.paused ? video.play() : video.pause()));
