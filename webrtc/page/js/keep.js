// Snapshots and recordings.

import { ask, ofSession } from "./api.js";
import { explain, say } from "./messages.js";
import { current, daemon } from "./state.js";

const $ = (id) => document.getElementById(id);

function done(text) {
  $("done").textContent = text;
}

async function snapshot() {
  say("capture", "");
  try {
    const picture = await (await ask("GET", ofSession("api/snapshot?format=png"))).blob();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(picture);
    link.download = `driftcam-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    done(`The picture is in your downloads: ${link.download}`);
  } catch (error) {
    explain({ message: error.message }, "capture");
  }
}

async function record() {
  say("capture", "");
  const running = current()?.recording;
  try {
    const answer = await (await ask(running ? "DELETE" : "POST", ofSession("api/recording"))).json();
    done(running ? `${answer.seconds} s are in ${answer.path}` : `Driftcam records to ${answer.path}`);
  } catch (error) {
    explain({ message: error.message }, "capture");
  }
}

$("snapshot").addEventListener("click", snapshot);
$("record").addEventListener("click", record);
daemon.addEventListener("state", () => {
  const running = current().recording;
  $("record").setAttribute("aria-pressed", Boolean(running));
  const text = running ? `Stop ${Math.floor(running.seconds / 60)}:${String(Math.floor(running.seconds % 60)).padStart(2, "0")}` : "Record";
  if ($("record").textContent !== text) $("record").textContent = text;
});
