// Keeps a connection to the daemon: the chosen source goes up, the result comes down, and comes back when it was lost.

import { CaptureError, camera, cameras, clip, screen } from "./capture.js";
import { say } from "./messages.js";
import { Peer } from "./peer.js";
import { showPlain, showResult, showSource, showText } from "./stage.js";
import { daemon } from "./state.js";

const $ = (id) => document.getElementById(id);
const RETRY_MS = [300, 1000, 2000, 4000, 8000];
const CHECK_MS = 3000;
const HINTS = {
  watch: "What Driftcam is fed with already.",
  camera: "Your camera goes to Driftcam and nowhere else.",
  screen: "A window or the whole screen goes to Driftcam.",
  clip: "A clip from this device, over and over.",
};

let peer = null;
let outgoing = null;
let failures = 0;
let retry = null;

export const currentPeer = () => peer;

function start() {
  clearTimeout(retry);
  const before = peer;
  peer = null;
  before?.close();
  if (!window.RTCPeerConnection) return showPlain();
  const own = peer = new Peer(outgoing);
  own.addEventListener("stream", () => {
    failures = 0;
    showResult(own.stream);
  });
  own.addEventListener("ended", ({ detail }) => {
    if (own !== peer) return;
    if (detail.replaced && outgoing) {
      choose("watch");
      return say("source", `Your source was put aside: ${detail.reason}.`);
    }
    if (detail.reason) showText(`${detail.reason}; trying again`);
    if (++failures > 2) showPlain();  // pictures over HTTP get through where UDP does not
    retry = setTimeout(start, RETRY_MS[Math.min(failures, RETRY_MS.length) - 1]);
  });
  own.open();
}

setInterval(() => peer?.check(), CHECK_MS);

async function capture(kind) {
  if (kind === "camera") return camera($("camera").value, $("microphone").checked);
  if (kind === "screen") return screen($("microphone").checked);
  if (kind === "clip") return clip($("clip").files[0]);
  return null;
}

async function choose(kind) {
  say("source", "");
  $("source-hint").textContent = HINTS[kind];
  const radio = document.querySelector(`input[name=source][value=${kind}]`);
  radio.checked = true;
  let stream = null;
  try {
    stream = await capture(kind);
  } catch (error) {
    if (!(error instanceof CaptureError)) throw error;
    await choose("watch");
    return say("source", error.message);
  }
  if (!radio.checked) return stop(stream);  // somebody chose again meanwhile
  stop(outgoing);
  outgoing = stream;
  const track = stream?.getVideoTracks()[0];
  if (track) {
    track.contentHint = kind === "screen" ? "detail" : "motion";
    track.addEventListener("ended", () => outgoing === stream && choose("watch"));
  }
  showSource(stream);
  $("source-options").hidden = kind === "watch" || kind === "clip";
  if (kind === "camera") await listCameras(track);
  else $("camera").hidden = true;
  failures = 0;
  start();
}

const stop = (stream) => stream?.getTracks().forEach((track) => track.stop());

async function listCameras(track) {
  const found = await cameras();
  $("camera").replaceChildren(...found.map((device, number) => {
    const option = new Option(device.label || `Camera ${number + 1}`, device.deviceId);
    option.selected = device.deviceId === track.getSettings().deviceId;
    return option;
  }));
  $("camera").hidden = found.length < 2;
}

for (const radio of document.querySelectorAll("input[name=source]")) {
  radio.addEventListener("change", () => {
    if (radio.value !== "clip") return choose(radio.value);
    $("clip").value = "";
    $("clip").click();
  });
}
$("clip").addEventListener("change", () => $("clip").files.length && choose("clip"));
$("clip").addEventListener("cancel", () => choose("watch"));
$("camera").addEventListener("change", () => choose("camera"));
$("microphone").addEventListener("change", () => choose(document.querySelector("input[name=source]:checked").value));
daemon.addEventListener("open", () => {
  failures = 0;
  start();
});
window.addEventListener("pagehide", () => peer?.close());
