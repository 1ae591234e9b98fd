// Where the time goes, what the network carries, and the last minute as a small graph.

import { currentPeer } from "./live.js";
import { current } from "./state.js";

const $ = (id) => document.getElementById(id);
const SECONDS = 60;
const history = [];
let before = new Map();

// Change of a counter over that of another since the last look.
function ratio(report, up, down, scale = 1) {
  const last = before.get(report.id);
  const steps = report[down] - (last?.[down] ?? 0);
  return last && steps > 0 ? (report[up] - last[up]) / steps * scale : null;
}

function rate(report, counter) {
  const last = before.get(report.id);
  return last ? (report[counter] - last[counter]) * 8e3 / (report.timestamp - last.timestamp) : null;
}

async function measure() {
  const state = current();
  const values = { engine: state?.fps ? state.latency_ms : null };
  const stats = await currentPeer()?.stats();
  const seen = new Map();
  stats?.forEach((report) => {
    if (report.kind === "video" && report.type === "inbound-rtp") {
      values.decode = ratio(report, "totalDecodeTime", "framesDecoded", 1000);
      values.buffer = ratio(report, "jitterBufferDelay", "jitterBufferEmittedCount", 1000);
      values.down = rate(report, "bytesReceived");
      values.shown = report.framesPerSecond ?? null;
      values.lost = report.packetsLost;
    } else if (report.kind === "video" && report.type === "outbound-rtp") {
      values.encode = ratio(report, "totalEncodeTime", "framesEncoded", 1000);
      values.up = rate(report, "bytesSent");
      values.codec = stats.get(report.codecId)?.mimeType.replace("video/", "");
    } else if (report.type === "candidate-pair" && report.nominated && report.state === "succeeded") {
      values.network = report.currentRoundTripTime == null ? null : report.currentRoundTripTime * 1000;
    }
    seen.set(report.id, report);
  });
  before = seen;
  const parts = ["encode", "network", "engine", "buffer", "decode"].map((name) => values[name] ?? 0);
  values.total = values.engine == null ? null : parts.reduce((sum, each) => sum + each, 0);
  return values;
}

const ms = (value) => value == null ? "–" : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
const bits = (value) => value == null ? "–" : `${(value / 1e6).toFixed(2)} Mbit/s`;

function list(values) {
  const rows = [
    ["about, from camera to screen", ms(values.total)],
    ["engine, with its way there and back", ms(values.engine)],
    ["network, there and back", ms(values.network)],
    ["your encoder", ms(values.encode)],
    ["your decoder and its buffer", ms(values.decode == null ? null : values.decode + (values.buffer ?? 0))],
    ["shown", values.shown == null ? "–" : `${Math.round(values.shown)} fps`],
    ["down", bits(values.down)],
    ["up", values.up == null ? "–" : `${bits(values.up)} ${values.codec ?? ""}`],
    ["packets lost", values.lost ?? "–"],
  ];
  $("measures").replaceChildren(...rows.map(([name, value]) => {
    const row = document.createElement("div");
    row.append(Object.assign(document.createElement("dt"), { textContent: name }));
    row.append(Object.assign(document.createElement("dd"), { textContent: value }));
    return row;
  }));
}

function draw() {
  const canvas = $("graph");
  const scale = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const style = getComputedStyle(canvas);
  const known = history.filter((value) => value != null);
  const top = Math.max(100, ...known) * 1.15;
  const y = (value) => height - 4 - value / top * (height - 20);
  context.font = `11px ${style.fontFamily}`;
  context.lineWidth = 1;
  const step = [25, 50, 100, 200, 500, 1000].find((each) => top / each < 4) ?? 2000;
  for (let line = step; line < top; line += step) {
    context.strokeStyle = style.borderTopColor;
    context.beginPath();
    context.moveTo(0, y(line));
    context.lineTo(width, y(line));
    context.stroke();
    context.fillStyle = style.textDecorationColor;
    context.fillText(`${line} ms`, 4, y(line) - 4);
  }
  context.strokeStyle = style.color;
  context.lineWidth = 2;
  context.lineJoin = "round";
  context.beginPath();
  history.forEach((value, index) => {
    if (value == null) return;
    const x = width - (history.length - 1 - index) / (SECONDS - 1) * width;
    if (history[index - 1] == null) context.moveTo(x, y(value));
    else context.lineTo(x, y(value));
  });
  context.stroke();
  const last = known.at(-1);
  canvas.setAttribute("aria-label", last == null ? "No latency yet" : `Latency over the last minute, now about ${Math.round(last)} ms`);
}

setInterval(async () => {
  const values = await measure();
  history.push(values.total);
  if (history.length > SECONDS) history.shift();
  if (!$("panel").open) return;
  list(values);
  draw();
}, 1000);
