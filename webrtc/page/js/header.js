// The line that says how things are, and the lines the daemon has for people.

import { current, daemon } from "./state.js";

const $ = (id) => document.getElementById(id);
const ENGINE = {
  starting: "the engine is starting",
  restarting: "the engine is starting again",
  broken: "the engine does not run",
  stopped: "the engine has stopped",
};

function status(text, kind) {
  if ($("status").textContent !== text) $("status").textContent = text;
  $("status").dataset.state = kind;
}

function show() {
  const news = current();
  $("fps").textContent = news.fps.toFixed(1);
  $("latency").textContent = news.fps ? `${Math.round(news.latency_ms)} ms` : "–";
  if (news.engine !== "ready") status(ENGINE[news.engine] ?? news.engine, "busy");
  else if (!news.fps) status(news.fps_in ? "the first picture is on its way" : "ready; no pictures come in", "ready");
  else status(["live", news.backend?.split(":")[0]].filter(Boolean).join(" · "), "live");
  $("status").title = news.backend ?? "";  // with the reason for the choice
  const notice = news.notices?.at(-1) ?? "";
  $("notice").textContent = notice;
  $("notice").hidden = !notice;
}

daemon.addEventListener("state", show);
daemon.addEventListener("away", () => status("Driftcam is not there; trying again", "away"));
daemon.addEventListener("trouble", (event) => status(event.detail, "away"));
