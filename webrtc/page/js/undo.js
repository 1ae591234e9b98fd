// Back to the look before the last change, whoever made it, and forth.

import { current, daemon, request } from "./state.js";

const buttons = { undo: document.getElementById("undo"), redo: document.getElementById("redo") };
const writes = (element) => element.matches('input:not([type="range"], [type="radio"], [type="checkbox"]), textarea');

const go = (way) => current()?.[way] && request("POST", `api/${way}`, undefined, ["undo"]);

for (const [way, button] of Object.entries(buttons)) button.addEventListener("click", () => go(way));
document.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  if (!(event.ctrlKey || event.metaKey) || event.altKey || !["z", "y"].includes(key)) return;
  if (writes(event.target)) return;  // a text field undoes its own letters
  event.preventDefault();
  go(key === "y" || event.shiftKey ? "redo" : "undo");
});
daemon.addEventListener("state", () => {
  for (const [way, button] of Object.entries(buttons)) button.disabled = !current()[way];
});
