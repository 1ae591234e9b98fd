// Flow and noise of the engine's last frame over the result, for the curious; asked for only while it is shown.

import { askJson, ofSession } from "./api.js";

const EVERY_MS = 150;
const wanted = document.querySelector("input[name=view][value=insight]");
const png = (data) => `data:image/png;base64,${data}`;
let looking = false;

async function look() {
  if (looking) return;
  looking = true;
  while (wanted.checked) {
    const seen = await askJson("GET", ofSession("api/insight")).catch(() => null);
    if (seen?.flow) document.getElementById("flow").src = png(seen.flow);
    else document.getElementById("flow").removeAttribute("src");
    if (seen) document.getElementById("noise").src = png(seen.noise);
    await new Promise((done) => setTimeout(done, seen ? EVERY_MS : 1000));
  }
  looking = false;
}

for (const radio of document.querySelectorAll("input[name=view]")) radio.addEventListener("change", look);
