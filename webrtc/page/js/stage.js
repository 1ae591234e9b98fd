// The big result, the source as inset or beside a wipe, and words while there is no picture.

import { ofSession } from "./api.js";
import { current, daemon } from "./state.js";

const $ = (id) => document.getElementById(id);
const stage = $("stage");
const PLAIN = { result: "result.mjpeg", source: "source.mjpeg" };

export function showText(text) {
  const words = $("stage-text");
  if (words.firstElementChild.textContent !== text) words.firstElementChild.textContent = text;
  words.hidden = !text;
}

export function showResult(stream) {
  $("result").srcObject = stream;
  $("result").hidden = false;
  $("result-still").hidden = true;
  $("result-still").removeAttribute("src");
  $("result").play().catch(() => {});
  stage.dataset.way = "webrtc";
  const sound = stream.getAudioTracks()[0];
  if (sound) sound.addEventListener("unmute", () => { $("sound").hidden = false; });
}

// Motion JPEG over HTTP.
export function showPlain() {
  if (stage.dataset.way === "plain") return;
  stage.dataset.way = "plain";
  $("result").hidden = true;
  $("result-still").hidden = false;
  $("result-still").src = ofSession(PLAIN.result);
}

// The local stream that goes up, or null for what the daemon is fed with.
export function showSource(stream) {
  $("source").srcObject = stream;
  $("source").hidden = !stream;
  $("source-still").hidden = Boolean(stream);
  showSourceStill();
}

function showSourceStill() {
  const wanted = !$("source").srcObject && ["inset", "wipe"].includes(stage.dataset.view) && current()?.fps > 0;
  const has = $("source-still").hasAttribute("src");
  if (wanted && !has) $("source-still").src = ofSession(PLAIN.source);
  if (!wanted && has) $("source-still").removeAttribute("src");
  $("source-layer").hidden = !wanted && !$("source").srcObject;
}

function shape() {
  const { width, height } = current().parameters;
  stage.style.setProperty("--shape", `${width} / ${height}`);
  stage.style.setProperty("--ratio", width / height);
}

for (const radio of document.querySelectorAll("input[name=view]")) {
  radio.addEventListener("change", () => {
    stage.dataset.view = radio.value;
    showSourceStill();
  });
}
function wipe() {
  stage.style.setProperty("--wipe", `${$("wipe").value}%`);
  stage.style.setProperty("--wipe-share", $("wipe").value / 100);
}
$("wipe").addEventListener("input", wipe);
wipe();
$("sound").addEventListener("click", () => {
  $("result").muted = !$("result").muted;
  $("sound").setAttribute("aria-pressed", !$("result").muted);
});
$("fullscreen").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else stage.requestFullscreen?.();
});
$("fullscreen").hidden = !document.fullscreenEnabled;
$("result").addEventListener("playing", () => showText(""));
$("result-still").addEventListener("load", () => showText(""));

daemon.addEventListener("state", () => {
  shape();
  showSourceStill();
  const { engine, fps, fps_in: arriving } = current();
  if (fps > 0) showText("");
  else if (engine !== "ready") showText("The engine is getting ready …");
  else showText(arriving ? "The first picture is on its way …" : "No pictures come in. Choose your camera, a screen or a clip.");
});
daemon.addEventListener("away", () => showText("Driftcam is not there. This page waits for it."));
