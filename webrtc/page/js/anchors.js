// Looks that hold for the whole stream, as pictures, or as their colours where there is no picture.

import { askJson, ofSession } from "./api.js";
import { explain } from "./messages.js";
import { current, daemon, request } from "./state.js";

const list = document.getElementById("anchors");
let shown = "";

document.getElementById("keep-look").addEventListener("click", () => request("POST", "api/anchors", undefined, ["anchors"]));

function tile({ number, picture, colours }) {
  const item = document.createElement("li");
  const drop = Object.assign(document.createElement("button"), { type: "button", title: "Hold it no more" });
  drop.setAttribute("aria-label", `Hold kept look ${number + 1} no more`);
  drop.style.background = `linear-gradient(90deg, ${colours.join(", ")})`;
  if (picture) drop.append(Object.assign(document.createElement("img"), { src: ofSession(`api/anchors/${number}/picture`) + `&v=${current().version}`, alt: "" }));
  drop.addEventListener("click", () => request("DELETE", `api/anchors/${number}`, undefined, ["anchors"]));
  item.append(drop);
  return item;
}

daemon.addEventListener("state", async () => {
  const { anchors } = current().parameters;
  const now = JSON.stringify(anchors);
  if (now === shown) return;
  shown = now;
  try {
    list.replaceChildren(...(anchors.length ? await askJson("GET", ofSession("api/anchors")) : []).map(tile));
  } catch (error) {
    explain(error, "anchors");
  }
});
