// The untouched picture, by button or key. F8 also works while somebody types; no letter would.

import { current, daemon, request } from "./state.js";

const button = document.getElementById("bypass");
let shown = false;

const toggle = () => request("POST", "api/bypass", undefined, ["capture"]);

button.addEventListener("click", toggle);
document.addEventListener("keydown", (event) => {
  if (event.key !== "F8" || event.repeat) return;
  event.preventDefault();
  toggle();
});
daemon.addEventListener("state", () => {
  const on = current().bypass;
  if (on === shown) return;
  shown = on;
  button.setAttribute("aria-pressed", on);
  document.getElementById("done").textContent = on ? "The untouched picture is shown" : "The stylised picture is shown";
});
