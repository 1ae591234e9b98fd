// The gallery of named styles, their blend, and words that resolve to them.

import { askJson, ofSession } from "./api.js";
import { change, current, daemon, isSending } from "./state.js";

const gallery = document.getElementById("styles");
const blend = document.getElementById("blend");
const prompt = document.getElementById("prompt");

async function fill() {
  const styles = await askJson("GET", "api/styles");
  gallery.replaceChildren(...styles.map(({ name, about, picture }) => {
    const button = Object.assign(document.createElement("button"), { type: "button", title: about });
    button.dataset.style = name;
    if (picture) {
      const image = Object.assign(document.createElement("img"), { src: `styles/${name}.jpg`, alt: "", width: 96, height: 72, loading: "lazy" });
      button.append(image);
    }
    button.append(Object.assign(document.createElement("span"), { textContent: name.replaceAll("-", " ") }));
    button.addEventListener("click", () => toggle(name));
    return button;
  }));
  if (current()) show(new Map(current().parameters.styles));
  const chosen = gallery.querySelector("[aria-pressed=true]");  // into sight, without scrolling the page
  if (chosen) gallery.scrollTop = chosen.offsetTop - gallery.offsetTop - gallery.clientHeight / 2 + chosen.offsetHeight / 2;
}

// One more or one less in the blend, all with the same share; the last one stays.
function toggle(name) {
  const names = new Set([...gallery.querySelectorAll("[aria-pressed=true]")].map((button) => button.dataset.style));
  if (names.has(name) && names.size > 1) names.delete(name);
  else names.add(name);
  const weights = new Map([...names].map((each) => [each, 1 / names.size]));
  show(weights);
  change({ styles: [...weights] });
}

function show(weights) {
  for (const button of gallery.children) button.setAttribute("aria-pressed", weights.has(button.dataset.style));
  const names = weights.size > 1 ? [...weights.keys()] : [];
  const have = [...blend.children].map((label) => label.dataset.style);
  if (have.join() !== names.join()) blend.replaceChildren(...names.map(slider));
  for (const label of blend.children) {
    const input = label.querySelector("input");
    if (input !== document.activeElement) input.value = weights.get(label.dataset.style);
    label.querySelector("output").textContent = `${Math.round(weights.get(label.dataset.style) * 100)} %`;
  }
}

function slider(name) {
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type: "range", min: "0.01", max: "1", step: "0.01" });
  label.dataset.style = name;
  label.append(Object.assign(document.createElement("span"), { textContent: name.replaceAll("-", " ") }), input);
  label.append(document.createElement("output"));
  input.addEventListener("input", () => {
    const pairs = [...blend.children].map((l) => [l.dataset.style, Number(l.querySelector("input").value)]);
    const total = pairs.reduce((sum, [, weight]) => sum + weight, 0);
    show(new Map(pairs.map(([each, weight]) => [each, weight / total])));
    change({ styles: pairs });
  });
  return label;
}

export const usePrompt = () => change({ prompt: prompt.value });

daemon.addEventListener("open", () => {
  if (!gallery.children.length) fill().catch(() => {});
});
daemon.addEventListener("state", () => {
  if (!isSending()) show(new Map(current().parameters.styles));
});
