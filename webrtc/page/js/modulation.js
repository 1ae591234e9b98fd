// Parameters that follow time, sound or motion: a row each.

import { ask, askJson, ofSession } from "./api.js";
import { explain } from "./messages.js";
import { control, element } from "./parameters.js";
import { current, daemon, request } from "./state.js";

const list = document.getElementById("modulators");
const target = document.getElementById("modulated");
const tempo = document.getElementById("tempo");
const TIMED = ["sine", "triangle", "square", "steps"];
let fields = [];
let rows = new Map();

const named = (name) => name.replace("styles.", "style ").replaceAll("_", " ");
const change = (changes) => request("PATCH", "api/modulation", JSON.stringify(changes), ["modulators"]);

function row(name) {
  const values = {};
  const send = (key, value) => change({ modulators: { [name]: { [key]: value } } });
  const on = element("input", { type: "checkbox" });
  on.addEventListener("change", () => send("on", on.checked));
  const where = element("output");
  const end = element("button", { type: "button", className: "remove", textContent: "×" });
  end.setAttribute("aria-label", `End what moves ${named(name)}`);
  end.addEventListener("click", () => change({ modulators: { [name]: null } }));
  const head = element("div", { className: "row between" },
    element("label", { className: "check" }, on, element("span", { textContent: named(name) })), where, end);
  const inputs = fields.map((field) => {
    const input = values[field.name] = field.kind === "integer"
      ? element("input", { type: "number", min: field.low, max: field.high, step: field.step }) : control(field);
    input.setAttribute("aria-label", `${field.label} of what moves ${named(name)}`);
    input.title = field.about;
    input.addEventListener("change", () => send(field.name, field.kind === "choice" ? input.value : Number(input.value)));
    return field.kind === "integer" ? element("label", {}, input, field.unit) : input;
  });
  return { on, where, values, element: element("li", {}, head, element("div", { className: "how" }, ...inputs)) };
}

function show() {
  const { modulation, modulated } = current();
  const names = Object.keys(modulation.modulators);
  if (fields.length && names.join() !== [...rows.keys()].join()) {
    rows = new Map(names.map((name) => [name, rows.get(name) ?? row(name)]));
    list.replaceChildren(...[...rows.values()].map((each) => each.element));
  }
  if (tempo !== document.activeElement) tempo.value = modulation.bpm;
  for (const [name, { on, where, values }] of rows) {
    const settings = modulation.modulators[name];
    on.checked = settings.on;
    for (const [key, input] of Object.entries(values)) if (input !== document.activeElement) input.value = settings[key];
    values.beats.parentElement.hidden = !TIMED.includes(settings.follows);
    const value = name.startsWith("styles.")
      ? modulated.styles?.find(([style]) => `styles.${style}` === name)?.[1] : modulated[name];
    where.textContent = value?.toFixed(2) ?? "";
  }
}

async function fill() {
  const found = await askJson("GET", "api/modulation/fields");
  fields = found.fields;
  Object.assign(tempo, { min: found.bpm.low, max: found.bpm.high, step: found.bpm.step });
  target.replaceChildren(...found.targets.map((value) => element("option", { value, textContent: named(value) })));
  if (current()) show();
}

tempo.addEventListener("change", () => change({ bpm: Number(tempo.value) }));
document.getElementById("modulate").addEventListener("click", () => change({ modulators: { [target.value]: {} } }));
document.getElementById("beat").addEventListener("click", () =>
  ask("POST", ofSession("api/modulation/beat")).catch((error) => explain(error, "modulators")));
daemon.addEventListener("open", () => fill().catch(() => {}));
daemon.addEventListener("state", show);
