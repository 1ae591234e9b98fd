// Sliders, choices and the seed.

import { change, current, daemon, isSending } from "./state.js";

const inputs = [...document.querySelectorAll("[data-parameter]")];

function showValue(input) {
  const output = input.parentElement.querySelector("output");
  if (output) output.textContent = input.step === "1" ? input.value : Number(input.value).toFixed(2);
}

for (const input of inputs) {
  const event = input.type === "range" ? "input" : "change";
  input.addEventListener(event, () => {
    showValue(input);
    const value = input.tagName === "SELECT" ? input.value : input.value === "" ? null : Number(input.value);
    change({ [input.dataset.parameter]: value });
  });
}

document.getElementById("new-seed").addEventListener("click", () => change({ seed: Math.floor(Math.random() * 1e9) }));

daemon.addEventListener("state", () => {
  if (isSending()) return;  // the controls already show what is being asked for
  const { parameters } = current();
  for (const input of inputs) {
    if (input.type === "number" && input === document.activeElement) continue;  // somebody is typing
    input.value = parameters[input.dataset.parameter];
    showValue(input);
  }
});
