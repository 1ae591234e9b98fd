// Starts everything. Each module keeps one part of the page; they meet in `state.js`.

import "./anchors.js";
import "./bypass.js";
import "./header.js";
import "./insight.js";
import "./keep.js";
import "./midi.js";
import "./modulation.js";
import "./panel.js";
import "./parameters.js";
import "./picture.js";
import "./share.js";
import "./thumbnails.js";
import "./undo.js";
import { loginFromLink } from "./login.js";
import { savePreset } from "./presets.js";
import { connect } from "./state.js";
import { usePrompt } from "./styles.js";

// One form, so that Enter in a text field uses what was written there.
const controls = document.getElementById("controls");
controls.addEventListener("submit", (event) => {
  event.preventDefault();
  const used = event.submitter?.id === "save-preset" || document.activeElement?.id === "preset-name" ? savePreset : usePrompt;
  used();
});
controls.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !["preset-name", "preset-travel"].includes(event.target.id)) return;
  event.preventDefault();  // the form's first button would be taken
  if (event.target.id === "preset-name") savePreset();
});

await loginFromLink();
connect();
