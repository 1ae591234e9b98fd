// Shows what the daemon does and asks it for changes. The daemon's state is the truth: controls follow it,
// also when somebody else made the change.

const $ = (id) => document.getElementById(id);
const RETRY_MS = 1000;

let state = null;
let waiting = {};      // changes that were not sent yet
let sending = false;   // one request at a time; the newest values win

// ---- asking for changes

function change(values) {
  Object.assign(waiting, values);
  if (!sending) send();
}

async function send() {
  sending = true;
  while (Object.keys(waiting).length) {
    const values = waiting;
    waiting = {};
    await request("PATCH", "api/parameters", JSON.stringify(values), Object.keys(values));
  }
  sending = false;
  show(state);
}

async function request(method, path, body, fields) {
  fields.forEach((field) => say(field, ""));
  try {
    const response = await fetch(path, { method, body });
    const answer = await response.json();
    if (response.ok) state = answer;
    else say(answer.field, answer.message, fields[0]);
    return response.ok;
  } catch {
    say(fields[0], "the change did not reach Driftcam");
    return false;
  }
}

// Beside the control it is about; a field without a control of its own is told at the one that was used.
function say(field, text, otherwise = "styles") {
  const aliases = { "style weight": "styles", style_vector: "style_image", style_image_weight: "style_image" };
  const place = (name) => document.querySelector(`.message[data-field="${aliases[name] ?? name}"]`);
  (place(field) ?? place(otherwise) ?? place("styles")).textContent = text;
}

// ---- showing the state

function show(news) {
  if (!news) return;
  state = news;
  $("status").textContent = news.engine === "ready" ? news.backend || "ready" : `engine: ${news.engine}`;
  $("status").dataset.engine = news.engine;
  $("fps").textContent = news.fps.toFixed(1);
  $("latency").textContent = `${Math.round(news.latency_ms)} ms`;
  const notice = news.notices.at(-1) ?? "";
  $("notice").textContent = notice;
  $("notice").hidden = !notice;
  if (sending) return;  // the controls already show what is being asked for
  const { parameters } = news;
  for (const input of document.querySelectorAll("[data-parameter]")) {
    if (input.type === "number" && input === document.activeElement) continue;  // somebody is typing
    input.value = parameters[input.dataset.parameter];
    showValue(input);
  }
  showStyles(new Map(parameters.styles));
  $("picture-options").hidden = !parameters.style_picture;
  if (!parameters.style_picture) showThumbnail(null);
}

function showValue(input) {
  const output = input.parentElement.querySelector("output");
  if (output) output.textContent = input.step === "1" ? input.value : Number(input.value).toFixed(2);
}

function showStyles(weights) {
  for (const button of $("styles").children) {
    button.setAttribute("aria-pressed", weights.has(button.dataset.style));
  }
  const blend = $("blend");
  const names = [...weights.keys()];
  if (names.length < 2) {
    blend.replaceChildren();
    return;
  }
  const have = [...blend.children].map((label) => label.dataset.style);
  if (have.join() !== names.join()) blend.replaceChildren(...names.map(blendSlider));
  for (const label of blend.children) {
    const input = label.querySelector("input");
    if (input !== document.activeElement) input.value = weights.get(label.dataset.style);
    showValue(input);
  }
}

function blendSlider(name) {
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type: "range", min: "0.01", max: "1", step: "0.01" });
  label.dataset.style = name;
  label.append(name, input, document.createElement("output"));
  input.addEventListener("input", () => {
    showValue(input);
    const labels = [...$("blend").children];
    change({ styles: labels.map((l) => [l.dataset.style, Number(l.querySelector("input").value)]) });
  });
  return label;
}

function showThumbnail(file) {
  const thumbnail = $("thumbnail");
  if (thumbnail.src) URL.revokeObjectURL(thumbnail.src);
  if (file) thumbnail.src = URL.createObjectURL(file);
  else thumbnail.removeAttribute("src");
  thumbnail.hidden = !file;
}

// ---- controls

async function addStyles() {
  const styles = await (await fetch("api/styles")).json();
  $("styles").replaceChildren(...styles.map(({ name, about, picture }) => {
    const button = Object.assign(document.createElement("button"), { type: "button", title: about });
    button.dataset.style = name;
    if (picture) button.append(Object.assign(document.createElement("img"), { src: `styles/${name}.jpg`, alt: "" }));
    button.append(name);
    button.addEventListener("click", () => toggleStyle(name));
    return button;
  }));
  show(state);
  const chosen = $("styles").querySelector("[aria-pressed=true]");
  if (chosen) $("styles").scrollTop = chosen.offsetTop - $("styles").offsetTop;
}

// One more or one less in the blend, all with the same share; the last one stays.
function toggleStyle(name) {
  const shown = [...$("styles").children].filter((b) => b.getAttribute("aria-pressed") === "true");
  const names = new Set(shown.map((button) => button.dataset.style));
  if (names.has(name) && names.size > 1) names.delete(name);
  else names.add(name);
  const weights = new Map([...names].map((each) => [each, 1 / names.size]));
  showStyles(weights);
  change({ styles: [...weights] });
}

async function usePicture(file) {
  if (!file) return;
  $("drop-text").textContent = "reading the style …";
  const ok = await request("PUT", "api/style-picture", file, ["style_image"]);
  $("drop-text").textContent = "Drop a picture here, or choose one";
  show(state);
  showThumbnail(ok ? file : null);
}

for (const input of document.querySelectorAll("[data-parameter]")) {
  const event = input.type === "number" ? "change" : "input";
  input.addEventListener(event, () => {
    showValue(input);
    change({ [input.dataset.parameter]: input.value === "" ? null : Number(input.value) });
  });
}
$("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  if (document.activeElement === $("prompt") || document.activeElement === $("use-prompt")) {
    change({ prompt: $("prompt").value });
  }
});
$("new-seed").addEventListener("click", () => change({ seed: Math.floor(Math.random() * 1e9) }));
$("remove-picture").addEventListener("click", () => change({ style_vector: null }));
$("picture").addEventListener("change", (event) => usePicture(event.target.files[0]));
for (const name of ["dragover", "dragleave", "drop"]) {
  $("drop").addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") usePicture(event.dataTransfer.files[0]);
  });
}

// ---- staying connected

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}/api/events`);
  socket.addEventListener("open", () => {
    for (const side of ["result", "source"]) $(side).src = `${side}.mjpeg?${Date.now()}`;
    if (!$("styles").children.length) addStyles();
  });
  socket.addEventListener("message", (event) => show(JSON.parse(event.data)));
  socket.addEventListener("close", () => {
    $("status").textContent = "not connected; trying again";
    $("status").dataset.engine = "away";
    setTimeout(connect, RETRY_MS);
  });
}

connect();
