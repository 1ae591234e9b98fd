// The gallery on the picture of the moment: one style after the other, those that are in sight, while it is wished.

import { ask, ofSession } from "./api.js";
import { explain, say } from "./messages.js";

const EVERY_MS = 250;
const wished = document.getElementById("live-thumbnails");
const gallery = document.getElementById("styles");
const inSight = new Set();
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) inSight[isIntersecting ? "add" : "delete"](target);
});
let painting = false;

async function paint(button) {
  const path = ofSession(`api/styles/${button.dataset.style}/thumbnail`);
  const picture = await (await ask("GET", path)).blob();
  const image = button.querySelector("img");
  if (!image || !wished.checked) return;
  const before = image.src;
  image.src = URL.createObjectURL(picture);
  if (before.startsWith("blob:")) URL.revokeObjectURL(before);
}

async function paintAll() {
  if (painting) return;
  painting = true;
  say("styles", "");
  for (const button of gallery.children) watcher.observe(button);
  while (wished.checked) {
    for (const button of [...gallery.children]) {
      if (!wished.checked) break;
      if (!inSight.has(button) || document.hidden) continue;
      try {
        await paint(button);
      } catch (error) {
        wished.checked = false;
        explain({ message: error.message }, "styles");
      }
      await new Promise((done) => setTimeout(done, EVERY_MS));
    }
    await new Promise((done) => setTimeout(done, EVERY_MS));
  }
  watcher.disconnect();
  inSight.clear();
  for (const button of gallery.children) {
    const image = button.querySelector("img");
    if (image) image.src = `styles/${button.dataset.style}.jpg`;
  }
  painting = false;
}

wished.addEventListener("change", () => wished.checked && paintAll());
