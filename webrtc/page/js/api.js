// Asking the daemon. What it answers is JSON, also when it refuses: {field, message}.

export const SESSION = new URLSearchParams(location.search).get("session") ?? "live";

export class Refusal extends Error {
  constructor(status, message, field) {
    super(message);
    this.status = status;
    this.field = field;
  }
}

export const ofSession = (path) => `${path}${path.includes("?") ? "&" : "?"}session=${encodeURIComponent(SESSION)}`;

// Fires `locked` when the daemon wants its token first.
export const access = new EventTarget();

export async function ask(method, path, body, headers = {}) {
  let response;
  try {
    response = await fetch(path, { method, body, headers });
  } catch {
    throw new Refusal(0, "Driftcam cannot be reached");
  }
  if (response.ok) return response;
  if (response.status === 401) access.dispatchEvent(new Event("locked"));
  const answer = await response.json().catch(() => ({}));
  throw new Refusal(response.status, answer.message ?? `Driftcam answered ${response.status}`, answer.field);
}

export const askJson = async (...args) => (await ask(...args)).json();
