// Looks kept by name in the daemon.

import { ask, askJson, ofSession } from "./api.js";
import { explain, say } from "./messages.js";
import { daemon, request } from "./state.js";

const list = document.getElementById("presets");
const name = document.getElementById("preset-name");
const path = (preset) => `api/presets/${encodeURIComponent(preset)}`;
const travel = document.getElementById("preset-travel");
const way = () => travel.value === "" ? "" : `?travel=${encodeURIComponent(travel.value)}`;

async function fill() {
  const { names } = await askJson("GET", "api/presets");
  list.replaceChildren(...names.map((preset) => {
    const item = document.createElement("li");
    const use = Object.assign(document.createElement("button"), { type: "button", textContent: preset });
    use.addEventListener("click", () => request("POST", path(preset) + way(), undefined, ["preset"]));
    const remove = Object.assign(document.createElement("button"), { type: "button", className: "remove", textContent: "×" });
    remove.setAttribute("aria-label", `Delete the preset ${preset}`);
    remove.addEventListener("click", () => act("DELETE", path(preset)));
    item.append(use, remove);
    return item;
  }));
}

async function act(method, where) {
  say("preset", "");
  try {
    await ask(method, where);
    await fill();
    return true;
  } catch (error) {
    explain(error, "preset");
    return false;
  }
}

export async function savePreset() {
  const wanted = name.value.trim();
  if (!wanted) return say("preset", "Give it a name first.");
  if (await act("PUT", ofSession(path(wanted)))) name.value = "";
}

daemon.addEventListener("open", () => fill().catch(() => {}));
