// The daemon's state is the truth: it comes over a WebSocket, at each change whoever made it, and twice a second.

import { ask, ofSession, SESSION } from "./api.js";
import { explain, say } from "./messages.js";

const RETRY_MS = [500, 1000, 2000, 4000];

// Fires `state` with news, `open` and `away` with the connection.
export const daemon = new EventTarget();
let state = null;
let waiting = {};      // changes that were not sent yet
let sending = false;   // one request at a time; the newest values win

export const current = () => state;
export const isSending = () => sending;

export function take(news) {
  state = news;
  daemon.dispatchEvent(new Event("state"));
}

// Parameters and their new values.
export function change(values) {
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
  if (state) take(state);
}

// Something that changes the state and is answered with it; says what is wrong beside `fields`.
export async function request(method, path, body, fields) {
  fields.forEach((field) => say(field, ""));
  try {
    const response = await ask(method, ofSession(path), body);
    if (response.status !== 204) take(await response.json());
    return true;
  } catch (error) {
    explain(error, fields[0]);
    return false;
  }
}

let socket = null;
let failures = 0;

export function connect() {
  socket?.close();
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const own = socket = new WebSocket(`${scheme}://${location.host}/${ofSession("api/events")}`);
  own.addEventListener("open", () => {
    failures = 0;
    daemon.dispatchEvent(new Event("open"));
  });
  own.addEventListener("message", (event) => take(JSON.parse(event.data)));
  own.addEventListener("close", async () => {
    if (own !== socket) return;
    daemon.dispatchEvent(new Event("away"));
    const pause = RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)];
    await new Promise((done) => setTimeout(done, pause));
    if (own !== socket) return;
    // A socket does not say why it was refused; a request does, and asks for the token.
    const why = await ask("GET", ofSession("api/state")).then(() => null, (error) => error);
    if (why?.status === 401) return;
    if (why?.status === 404) daemon.dispatchEvent(new CustomEvent("trouble", { detail: `there is no session “${SESSION}”` }));
    if (own === socket) connect();
  });
}
