// Stand-ins for WebSocket and RTCPeerConnection, so that the client library runs in Node: what arrives when is the
// test's choice, and every call of the library is in one log.

/** A WebSocket that the test opens, feeds and closes. */
export class FakeSocket {
  static all = [];

  constructor(url) {
    this.url = url;
    this.readyState = 0;
    this.sent = [];
    FakeSocket.all.push(this);
  }

  static get last() {
    return FakeSocket.all.at(-1);
  }

  /** Opens it and says what every server says first. */
  open({ idle_timeout_ms = 10_000, ping_interval_ms = 3_000 } = {}) {
    this.readyState = 1;
    this.push({ msg: "RpcSettings", data: { idle_timeout_ms, ping_interval_ms } });
  }

  push(message) {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  event(room_id, event, data) {
    this.push({ msg: "Event", data: { room_id, event: { event, data } } });
  }

  /** The server's side closes it. */
  end(code, reason = "") {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close(code) {
    this.readyState = 3;
    this.closedWith = code;
  }

  /** Data of the commands named `command`, oldest first. */
  commands(command) {
    return this.sent.filter((m) => m.Command?.command.command === command).map((m) => m.Command.command.data);
  }
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 1 + Math.random() * 4));

/** An RTCPeerConnection that only keeps the rules of the signalling state, and takes its time for every step. */
export class FakePeerConnection {
  static all = [];

  constructor() {
    this.signalingState = "stable";
    this.connectionState = "new";
    this.transceivers = [];
    this.localDescription = this.remoteDescription = null;
    this.candidates = [];
    this.busy = false;
    FakePeerConnection.all.push(this);
  }

  static get last() {
    return FakePeerConnection.all.at(-1);
  }

  /** Fails if two steps overlap: the library must do one after the other. */
  async #step(work) {
    if (this.busy) throw new Error("two steps of one connection overlap");
    this.busy = true;
    await pause();
    this.busy = false;
    if (this.signalingState === "closed") throw new Error("closed");
    return work();
  }

  addTransceiver(kind, { direction = "sendrecv", sendEncodings } = {}) {
    const sender = {
      track: null,
      async replaceTrack(track) {
        this.track = track;
      },
    };
    const transceiver = { kind, direction, sendEncodings, mid: null, sender, receiver: { track: { kind } }, currentDirection: null };
    this.transceivers.push(transceiver);
    return transceiver;
  }

  getTransceivers() {
    return this.transceivers;
  }

  createOffer() {
    return this.#step(() => ({ type: "offer", sdp: "offer" }));
  }

  createAnswer() {
    return this.#step(() => {
      if (this.signalingState !== "have-remote-offer") throw new Error(`createAnswer in ${this.signalingState}`);
      return { type: "answer", sdp: "answer" };
    });
  }

  setLocalDescription(description) {
    return this.#step(() => {
      const from = { offer: "stable", answer: "have-remote-offer", rollback: "have-local-offer" }[description.type];
      if (this.signalingState !== from) throw new Error(`setLocalDescription ${description.type} in ${this.signalingState}`);
      this.signalingState = description.type === "offer" ? "have-local-offer" : "stable";
      if (description.type === "offer") this.transceivers.forEach((t, index) => (t.mid ??= String(index)));
      if (description.type !== "rollback") this.localDescription = description;
    });
  }

  setRemoteDescription(description) {
    return this.#step(() => {
      const from = { offer: "stable", answer: "have-local-offer" }[description.type];
      if (this.signalingState !== from) throw new Error(`setRemoteDescription ${description.type} in ${this.signalingState}`);
      this.signalingState = description.type === "offer" ? "have-remote-offer" : "stable";
      this.remoteDescription = description;
      for (const [, kind, mid] of description.sdp.matchAll(/^m=(\w+)[^]*?^a=mid:(\S+)/gm)) {
        if (this.transceivers.some((t) => t.mid === mid)) continue;
        this.addTransceiver(kind, { direction: "recvonly" }).mid = mid;
      }
    });
  }

  async addIceCandidate(candidate) {
    if (!this.remoteDescription) throw new Error("candidate before a remote description");
    this.candidates.push(candidate.candidate);
  }

  async getStats() {
    return new Map();
  }

  restartIce() {
    this.restarted = true;
  }

  close() {
    this.signalingState = "closed";
  }
}
