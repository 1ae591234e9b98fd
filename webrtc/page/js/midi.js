// A MIDI controller at this browser: what it sends moves parameters, looks and switches, and it is told of them.

import { ask, askJson, ofSession } from "./api.js";
import { explain, say } from "./messages.js";
import { element } from "./parameters.js";
import { change, current, daemon, isSending, request } from "./state.js";
import { describe, keyOf, numberOf, read, scaled, word } from "./midi-messages.js";

const $ = (id) => document.getElementById(id);
const KEPT = "driftcam.midi";
const QUIET_MS = 400;  // a fader is not told where to go while a hand is on it
let access = null;
let fields = new Map();
let learning = false;
let learned = JSON.parse(localStorage.getItem(KEPT) ?? "{}");  // what each control of a port is for, by its key
const told = new Map();     // the value that each control has, as far as we know
const touched = new Map();  // and when it was moved

const isLook = (target) => target.startsWith("preset ");
const named = (target) => fields.get(target)?.label ?? target;

function keep() {
  localStorage.setItem(KEPT, JSON.stringify(learned));
  $("midi-learned").replaceChildren(...Object.entries(learned).map(([key, target]) => {
    const forget = element("button", { type: "button", className: "remove", textContent: "×" });
    forget.setAttribute("aria-label", `Forget ${describe(key)}`);
    forget.addEventListener("click", () => {
      delete learned[key];
      keep();
    });
    return element("li", { className: "row between" }, element("span", { textContent: `${describe(key)}: ${named(target)}` }), forget);
  }));
}

function received(event) {
  const message = read(event.data);
  if (!message) return;
  const key = keyOf(event.target.name, message);
  if (learning) return learn(key);
  const target = learned[key];
  if (!target) return;
  const before = told.get(key) ?? 0;
  told.set(key, message.value);
  touched.set(key, performance.now());
  if (fields.has(target)) return change({ [target]: scaled(fields.get(target), message.value) });
  const pressed = message.kind === "program" || (message.value >= 64 && (before < 64 || message.kind === "note"));
  if (target === "bypass") bypass(message, pressed);
  else if (!pressed) return;
  else if (isLook(target)) request("POST", `api/presets/${encodeURIComponent(target.slice(7))}`, undefined, ["midi"]);
  else ask("POST", ofSession("api/modulation/beat")).catch((error) => explain(error, "midi"));
}

// A key of notes switches over, a fader or a switch says which.
function bypass(message, pressed) {
  if (message.kind !== "cc") return pressed && request("POST", "api/bypass", undefined, ["midi"]);
  const on = message.value >= 64;
  if (on !== current()?.bypass) request("PUT", "api/bypass", JSON.stringify({ on }), ["midi"]);
}

function learn(key) {
  learning = false;
  learned[key] = $("midi-target").value;
  $("midi-learn").setAttribute("aria-pressed", false);
  $("midi-status").textContent = `${describe(key)} is for ${named(learned[key])} now.`;
  keep();
  tell();
}

// The value for a control that has `last`, which it keeps where that means the same; null where there is none.
function wanted(target, last) {
  if (target === "bypass") return current().bypass === last >= 64 ? last : 127 * current().bypass;
  const field = fields.get(target);
  if (!field) return null;
  const value = current().parameters[target];
  return last !== undefined && scaled(field, last) === value ? last : numberOf(field, value);
}

// The controls of a target go where others have moved it.
function tell() {
  if (!access || !current() || isSending()) return;
  for (const [key, target] of Object.entries(learned)) {
    const value = wanted(target, told.get(key));
    if (value === null || value === told.get(key) || performance.now() - (touched.get(key) ?? -QUIET_MS) < QUIET_MS) continue;
    const { port, message } = word(key, value);
    if (!message) continue;
    told.set(key, value);
    for (const output of access.outputs.values()) if (output.name === port) output.send(message);
  }
}

function ports() {
  for (const input of access.inputs.values()) input.onmidimessage = received;
  const names = [...access.inputs.values()].map((input) => input.name);
  $("midi-status").textContent = names.length ? `Listening to ${names.join(", ")}.` : "No controller is connected yet.";
  told.clear();  // one that comes back is told anew
  tell();
}

async function connect() {
  say("midi", "");
  if (!navigator.requestMIDIAccess) {
    const why = isSecureContext ? "This browser has no MIDI; Chrome, Edge and Firefox have" : "Browsers give MIDI to HTTPS or localhost only";
    return say("midi", `${why}. The daemon can do it, too: [midi] in its configuration.`);
  }
  try {
    access = await navigator.requestMIDIAccess();
  } catch (error) {
    return say("midi", `The browser gives no MIDI (${error.message}).`);
  }
  access.onstatechange = ports;
  $("midi-connect").hidden = true;
  $("midi-learning").hidden = false;
  ports();
}

async function fill() {
  const [table, { names }] = await Promise.all([askJson("GET", "api/parameters/fields"), askJson("GET", "api/presets")]);
  const movable = table.filter(({ kind, name }) => ["number", "integer", "choice"].includes(kind) && !["width", "height", "seed"].includes(name));
  fields = new Map(movable.map((field) => [field.name, field]));
  const targets = [...movable.map(({ name }) => name), "bypass", "beat", ...names.map((name) => `preset ${name}`)];
  const chosen = $("midi-target").value;
  $("midi-target").replaceChildren(...targets.map((value) => element("option", { value, textContent: named(value) })));
  if (targets.includes(chosen)) $("midi-target").value = chosen;
  keep();
}

$("midi-connect").addEventListener("click", connect);
$("midi-learn").addEventListener("click", () => {
  learning = !learning;
  $("midi-learn").setAttribute("aria-pressed", learning);
  $("midi-status").textContent = learning ? `Move the control that is to be for ${named($("midi-target").value)}.` : "";
});
$("midi-target").addEventListener("focus", () => fill().catch(() => {}));
daemon.addEventListener("open", () => fill().then(tell).catch(() => {}));
daemon.addEventListener("state", tell);
navigator.permissions?.query({ name: "midi" }).then(({ state }) => {
  if (state === "granted" && Object.keys(learned).length) connect();
}, () => {});
