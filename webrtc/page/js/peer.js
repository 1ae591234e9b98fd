// One WebRTC connection to the daemon: `whep` shows results, `peers` sends a camera too.

import { ask, askJson, SESSION } from "./api.js";

const MOST_BITRATE = 5_000_000;
const CONNECT_MS = 12_000;
const LOST_MS = 4000;  // `disconnected` may heal by itself
const FRAGMENT = "application/trickle-ice-sdpfrag";

// Fires `stream` with the result, and `ended` with the reason, once.
export class Peer extends EventTarget {
  #pc = null;
  #location = null;
  #etag = null;
  #late = [];  // candidates found before the answer came
  #ended = false;

  constructor(outgoing) {
    super();
    this.outgoing = outgoing;
    this.stream = new MediaStream();
  }

  async open() {
    try {
      await this.#negotiate();
    } catch (error) {
      this.#end(error.message);
    }
  }

  async #negotiate() {
    const iceServers = await askJson("GET", "api/ice-servers");
    if (this.#ended) return;
    const pc = this.#pc = new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" });
    pc.addEventListener("track", ({ track, receiver }) => this.#show(track, receiver));
    pc.addEventListener("icecandidate", ({ candidate }) => candidate && this.#later(candidate));
    pc.addEventListener("connectionstatechange", () => this.#watch());
    for (const kind of ["video", "audio"]) {
      const track = this.outgoing?.getTracks().find((each) => each.kind === kind);
      const direction = this.outgoing ? "sendrecv" : "recvonly";
      const streams = this.outgoing ? [this.outgoing] : [];
      pc.addTransceiver(track ?? kind, { direction, streams });
    }
    await pc.setLocalDescription();
    const path = `${this.outgoing ? "api/peers" : "whep"}/${encodeURIComponent(SESSION)}`;
    const response = await ask("POST", path, pc.localDescription.sdp, { "Content-Type": "application/sdp" });
    this.#location = response.headers.get("Location");
    this.#etag = response.headers.get("ETag");
    if (this.#ended) return void this.#delete();
    await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
    await this.#raiseCap();
    this.#late.splice(0).forEach((candidate) => this.#trickle(candidate));
    setTimeout(() => pc.connectionState === "connected" || this.#end("no connection came about"), CONNECT_MS);
  }

  #show(track, receiver) {
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
    this.stream.addTrack(track);
    if (track.kind === "video") track.addEventListener("unmute", () => this.dispatchEvent(new Event("stream")));
  }

  // The browser's own cap would keep a sharp picture from going up.
  async #raiseCap() {
    const sender = this.#pc.getSenders().find((each) => each.track?.kind === "video");
    if (!sender) return;
    const parameters = sender.getParameters();
    for (const encoding of parameters.encodings) encoding.maxBitrate = MOST_BITRATE;
    parameters.degradationPreference = "maintain-framerate";
    await sender.setParameters(parameters).catch(() => {});
  }

  #later(candidate) {
    if (this.#location) this.#trickle(candidate);
    else this.#late.push(candidate);
  }

  #trickle({ candidate, sdpMid }) {
    const body = `a=mid:${sdpMid}\r\na=${candidate}\r\n`;
    ask("PATCH", this.#location, body, { "Content-Type": FRAGMENT, "If-Match": this.#etag }).catch(() => {});
  }

  #watch() {
    const pc = this.#pc;
    if (pc.connectionState === "failed") this.check("the network between you and Driftcam failed");
    if (pc.connectionState === "closed") this.check("the connection was lost");
    if (pc.connectionState === "disconnected") {
      setTimeout(() => pc.connectionState === "disconnected" && this.check("the connection was lost"), LOST_MS);
    }
  }

  // The daemon knows why it has ended a peer, and a browser notices late that it has. `otherwise`: it is lost anyway.
  async check(otherwise = "") {
    if (!this.#location || this.#ended) return;
    const why = await ask("GET", this.#location).then(() => null, (error) => error);
    if (why?.status === 410) this.#end(why.message, true, why.field === "source");
    else if (why?.status === 404 || otherwise) this.#end(otherwise || "Driftcam was started anew");
  }

  stats() {
    return this.#pc?.connectionState === "connected" ? this.#pc.getStats() : null;
  }

  close() {
    this.#end("");
  }

  // `told`: the daemon has ended it; `replaced`: because another camera took over.
  #end(reason, told = false, replaced = false) {
    if (this.#ended) return;
    this.#ended = true;
    this.#pc?.close();
    if (this.#location && !told) this.#delete();
    this.dispatchEvent(new CustomEvent("ended", { detail: { reason, replaced } }));
  }

  #delete() {
    fetch(this.#location, { method: "DELETE", keepalive: true }).catch(() => {});
  }
}
