// Controls of the parameters, made from the daemon's table of them: sliders, choices, numbers and texts.

import { askJson } from "./api.js";
import { change, current, daemon, isSending } from "./state.js";

const WIDE = 100;  // whole numbers of more than so many values are typed
const KINDS = ["number", "integer", "choice", "text"];  // the others have places of their own on the page
const controls = document.getElementById("controls");
let table = "";
let rows = [];

export const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

export function control(field) {
  const { kind, low, high, step } = field;
  if (kind === "choice") {
    const options = field.choices.map((value, index) => element("option", { value, textContent: field.choice_labels[index] }));
    return element("select", {}, ...options);
  }
  if (kind === "text") return element("input", { type: "text", autocomplete: "off", spellcheck: false });
  const typed = kind === "integer" && (high - low) / step > WIDE;
  const bounds = { min: low, max: high, step };
  return element("input", typed ? { type: "number", inputMode: "numeric", ...bounds } : { type: "range", ...bounds });
}

const digits = (field) => (field.kind === "integer" ? 0 : Math.max(0, Math.ceil(-Math.log10(field.step))));

function showValue({ field, input, output }) {
  if (output) output.textContent = `${Number(input.value).toFixed(digits(field))} ${field.unit}`.trim();
}

function given({ field, input }) {
  if (field.kind === "choice" || field.kind === "text") return input.value;
  return input.value === "" ? null : Number(input.value);
}

function newSeed() {
  const button = element("button", { type: "button", id: "new-seed", textContent: "New" });
  button.addEventListener("click", () => change({ seed: Math.floor(Math.random() * 1e9) }));
  return button;
}

function row(field) {
  const input = control(field);
  input.dataset.parameter = field.name;
  const output = input.type === "range" ? element("output") : null;
  const unit = !output && field.unit ? ` (${field.unit})` : "";
  const beside = field.name === "seed" ? element("span", { className: "row" }, input, newSeed()) : input;
  const label = element("label", { title: field.about }, element("span", { textContent: field.label + unit }), beside);
  if (output) label.append(output);
  const message = element("p", { className: "message", role: "alert" });
  message.dataset.field = field.name;
  const made = { field, input, output, element: element("div", {}, label, message) };
  input.addEventListener(output ? "input" : "change", () => {
    showValue(made);
    change({ [field.name]: given(made) });
  });
  return made;
}

// A parameter's own place, or that of its group, which is made where there is none.
function place({ name, group }) {
  const known = (key, value) => [...controls.querySelectorAll(`[data-${key}]`)].find((each) => each.dataset[key] === value);
  const found = known("place", name) ?? known("group", group);
  if (found) return found;
  const made = element("div");
  made.dataset.group = group;
  const groups = controls.querySelectorAll("fieldset.sliders");
  groups[groups.length - 1].after(element("fieldset", { className: "sliders" }, element("legend", { textContent: group }), made));
  return made;
}

function show() {
  const { parameters, model } = current();
  for (const each of rows) {
    const { field, input } = each;
    each.element.hidden = Boolean(model) && !field.models.includes(model);
    if (input.type !== "range" && input === document.activeElement) continue;  // somebody is typing
    input.value = parameters[field.name];
    showValue(each);
  }
}

async function fill() {
  const fields = await askJson("GET", "api/parameters/fields");
  if (JSON.stringify(fields) === table) return;
  table = JSON.stringify(fields);
  for (const each of rows) each.element.remove();
  rows = fields.filter(({ kind }) => KINDS.includes(kind)).map(row);
  for (const each of rows) place(each.field).append(each.element);
  if (current()) show();
}

daemon.addEventListener("open", () => fill().catch(() => {}));
daemon.addEventListener("state", () => {
  if (!isSending()) show();  // else the controls already show what is being asked for
});
