// Colchis client library: ES modules without dependencies, for every browser with WebRTC 1.0.
//
// It speaks Client API 0.10 (docs/protocol.md). The server alone decides when to negotiate and who offers, so this
// side never negotiates by itself: it does what PeerCreated and PeerUpdated ask, strictly one after the other per
// connection. Invariants:
//   - every event of one connection runs to its end before the next begins (`Peer.enqueue`), however fast they come;
//   - a track of the server is one `Entry`; an m-section may carry one entry each way;
//   - what the user wants to send is kept in the room (`sources`), not in a connection, so it survives reconnects.
//
//   const room = connect("wss://example.org/ws", { room: "r", member: "ann", credential: "secret" });
//   room.on("track", ({ member, kind, track }) => …);
//   await room.setSource("audio", "Device", microphoneTrack);


import { Peer, patch, tracksOfState } from "./colchis-peer.js";
import { Statistics } from "./colchis-stats.js";

export const VERSION = "0.1.0";

/** A WebSocket that does not open within this time is given up and tried again. */
const CONNECT_TIMEOUT_MS = 6_000;
const BACKOFF_FIRST_MS = 250;
const BACKOFF_MAX_MS = 5_000;
const BACKOFF_FACTOR = 1.7;
/** Close codes 3000–3999 mean "lost" to the server: the media stays up while we come back. */
const CLOSE_LOST = 3999;
/** Close reasons after which coming back by ourselves makes sense. */
const REASONS_TO_RETRY = new Set(["Idle", "InternalError"]);

const sourceKey = (kind, source) => `${kind}/${source}`;

/** Smallest useful event emitter; a listener that throws does not stop the others. */
class Emitter {
  #listeners = new Map();

  /** Calls `listener` at every `name` event; returns a function that stops this. */
  on(name, listener) {
    if (!this.#listeners.has(name)) this.#listeners.set(name, new Set());
    this.#listeners.get(name).add(listener);
    return () => this.#listeners.get(name)?.delete(listener);
  }

  emit(name, detail = {}) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(detail);
      } catch (error) {
        console.error(`colchis: a listener of "${name}" failed`, error);
      }
    }
  }
}

/** Codecs of this browser in the shape of JoinRoom's `capabilities`. */
export function capabilities() {
  const list = (side, kind) =>
    (side?.getCapabilities?.(kind)?.codecs ?? []).map((codec) => ({
      mime_type: codec.mimeType,
      clock_rate: codec.clockRate,
      channels: codec.channels ?? null,
      parameters: parseFmtp(codec.sdpFmtpLine),
    }));
  return {
    audio_tx: list(globalThis.RTCRtpSender, "audio"),
    audio_rx: list(globalThis.RTCRtpReceiver, "audio"),
    video_tx: list(globalThis.RTCRtpSender, "video"),
    video_rx: list(globalThis.RTCRtpReceiver, "video"),
  };
}

/**
 * Makes and drops a connection. The first one of a page costs the browser some hundred milliseconds (threads, codecs, a
 * certificate); called while the user still looks at the lobby, joining need not wait for it.
 */
export async function warmUp() {
  const pc = new RTCPeerConnection();
  try {
    pc.addTransceiver("audio");
    pc.addTransceiver("video");
    await pc.createOffer();
  } finally {
    pc.close();
  }
}

/** `a=1;b=2` as an object; a value without a name (RED's `111/111`) is kept under the empty name. */
export function parseFmtp(line) {
  const parameters = {};
  for (const part of (line ?? "").split(";")) {
    const text = part.trim();
    if (!text) continue;
    const at = text.indexOf("=");
    if (at < 0) parameters[""] = text;
    else parameters[text.slice(0, at).trim()] = text.slice(at + 1).trim();
  }
  return parameters;
}

/** Reason of a close frame: the server writes `{"reason":"…"}`. */
export function parseCloseReason(text) {
  try {
    const reason = JSON.parse(text).reason;
    return typeof reason === "string" ? reason : null;
  } catch {
    return null;
  }
}

/**
 * One WebSocket to a server, shared by any number of rooms. Comes back by itself when it is lost.
 *
 * Events: `state` {state: "connecting"|"open"|"reconnecting"|"closed", reason?, retry_in_ms?}.
 */
export class ColchisClient extends Emitter {
  #url;
  #WebSocket;
  #socket = null;
  #rooms = new Map();
  #attempt = 0;
  #timers = { retry: 0, connect: 0, idle: 0 };
  #settings = { idle_timeout_ms: 10_000, ping_interval_ms: 3_000 };
  #ready = false;

  constructor(url, { WebSocket = globalThis.WebSocket } = {}) {
    super();
    this.#url = url;
    this.#WebSocket = WebSocket;
    this.state = "closed";
  }

  get settings() {
    return this.#settings;
  }

  /** Joins a room and returns it at once; wait for its `state` event. Opens the socket if need be. */
  join({ room, member, credential, sources }) {
    if (this.#rooms.has(room)) throw new Error(`already in room "${room}": leave it first`);
    const joined = new Room(this, { room, member, credential, sources });
    this.#rooms.set(room, joined);
    if (this.#ready) joined.handleOpen();
    else if (!this.#socket) this.#open();
    return joined;
  }

  /** Leaves every room and closes the socket for good. */
  close() {
    for (const room of [...this.#rooms.values()]) room.leave();
    this.#drop(1000);
    this.#setState("closed");
  }

  /** Tries now instead of waiting for the next attempt. */
  retryNow() {
    if (this.state === "reconnecting" && !this.#socket) this.#open();
  }

  send(room, command, data) {
    if (!this.#ready || this.#socket?.readyState !== 1) return false;
    this.#socket.send(JSON.stringify({ Command: { room_id: room, command: { command, data } } }));
    return true;
  }

  /** Called by a room that is out. */
  forget(room) {
    if (this.#rooms.get(room.id) === room) this.#rooms.delete(room.id);
  }

  #setState(state, more = {}) {
    this.state = state;
    this.emit("state", { state, ...more });
  }

  #open() {
    clearTimeout(this.#timers.retry);
    if (this.#attempt === 0) this.#setState("connecting");
    let socket;
    try {
      socket = new this.#WebSocket(this.#url);
    } catch (error) {
      this.#finish("Rejected", error);
      return;
    }
    this.#socket = socket;
    this.#timers.connect = setTimeout(() => this.#lost(socket), CONNECT_TIMEOUT_MS);
    socket.onmessage = (event) => this.#socket === socket && this.#handleText(event.data);
    socket.onclose = (event) => this.#socket === socket && this.#handleClose(event);
    globalThis.addEventListener?.("online", this.#online);
  }

  #online = () => this.retryNow();

  #handleText(text) {
    this.#watchIdle();
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      console.warn("colchis: the server sent a frame that is not JSON");
      return;
    }
    if (message.msg === "Ping") this.#socket.send(JSON.stringify({ Pong: message.data }));
    else if (message.msg === "RpcSettings") this.#handleSettings(message.data);
    else if (message.msg === "Event") this.#rooms.get(message.data.room_id)?.handleEvent(message.data.event);
  }

  #handleSettings(settings) {
    this.#settings = settings;
    this.#watchIdle();
    if (this.#ready) return;
    clearTimeout(this.#timers.connect);
    this.#ready = true;
    this.#attempt = 0;
    this.#setState("open");
    for (const room of this.#rooms.values()) room.handleOpen();
  }

  /** A server that says nothing for the idle timeout is gone, even if the socket does not know yet. */
  #watchIdle() {
    clearTimeout(this.#timers.idle);
    const socket = this.#socket;
    this.#timers.idle = setTimeout(() => this.#lost(socket), this.#settings.idle_timeout_ms);
  }

  #handleClose(event) {
    const reason = event.code === 1000 ? (parseCloseReason(event.reason) ?? "Finished") : null;
    if (reason === null || REASONS_TO_RETRY.has(reason)) this.#lost(this.#socket);
    else this.#finish(reason);
  }

  #lost(socket) {
    if (this.#socket !== socket) return;
    this.#drop(CLOSE_LOST);
    if (this.#rooms.size === 0) {
      this.#setState("closed");
      return;
    }
    const wait = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * BACKOFF_FACTOR ** this.#attempt);
    this.#attempt += 1;
    const retry_in_ms = Math.round(wait * (0.8 + 0.4 * Math.random()));
    this.#timers.retry = setTimeout(() => this.#open(), retry_in_ms);
    this.#setState("reconnecting", { retry_in_ms });
    for (const room of this.#rooms.values()) room.handleLost();
  }

  #finish(reason) {
    this.#drop(1000);
    this.#setState("closed", { reason });
    for (const room of [...this.#rooms.values()]) room.handleLeft(reason);
  }

  #drop(code) {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    globalThis.removeEventListener?.("online", this.#online);
    const socket = this.#socket;
    this.#socket = null;
    this.#ready = false;
    if (!socket) return;
    socket.onmessage = socket.onclose = null;
    try {
      socket.close(code);
    } catch {
      // Already closing: nothing is left to do.
    }
  }
}

/** Opens a socket and joins one room: the short way for a page with one call. Leaving the room closes the socket. */
export function connect(url, options) {
  const client = new ColchisClient(url, options);
  const room = client.join(options);
  room.on("state", ({ state }) => state === "left" && client.close());
  return room;
}

/**
 * One room as this member sees it.
 *
 * Events:
 *   `state`      {state: "joining"|"joined"|"reconnecting"|"left", reason?}
 *   `member`     {member, here: true|false}: somebody's first track came, or the last one went
 *   `track`      {member, id, kind: "audio"|"video", source: "Device"|"Display", track, enabled, muted}
 *   `trackgone`  the same, when the server took it away
 *   `update`     the same, when `enabled` or `muted` changed
 *   `connection` {state}: RTCPeerConnection.connectionState
 *   `quality`    {member, score: "Poor"|"Low"|"Medium"|"High"}
 *   `error`      {error, text}: something the user may want to know; the room goes on
 */
export class Room extends Emitter {
  #client;
  #credential;
  #peers = new Map();
  #members = new Map();
  #rejoin = { waiting: false, timer: 0 };
  #statistics = new Statistics();

  constructor(client, { room, member, credential, sources = {} }) {
    super();
    this.#client = client;
    this.#credential = credential;
    this.id = room;
    this.member = member;
    this.state = "joining";
    this.shard = null;
    /** What the user wants to send: "kind/source" → {track, muted}. */
    this.sources = new Map();
    for (const [key, source] of Object.entries(sources)) this.sources.set(key, { track: null, muted: false, ...source });
    this.onPageHide = () => this.leave();
    globalThis.addEventListener?.("pagehide", this.onPageHide);
  }

  get client() {
    return this.#client;
  }

  /** The connections, oldest first: one in SFU mode. */
  get peers() {
    return [...this.#peers.values()];
  }

  /** The first RTCPeerConnection, for statistics; null before PeerCreated. */
  get pc() {
    return this.peers[0]?.pc ?? null;
  }

  /** Everybody else: id → {id, tracks: Map(track id → track)}. */
  get members() {
    return this.#members;
  }

  source(kind, source = "Device") {
    const key = sourceKey(kind, source);
    if (!this.sources.has(key)) this.sources.set(key, { track: null, muted: false });
    return this.sources.get(key);
  }

  /** Sends `track` (null: nothing, and the others are told) as the user's `kind` from `source`. */
  async setSource(kind, source, track) {
    const wanted = this.source(kind, source);
    wanted.track = track;
    if (track) track.enabled = !wanted.muted;
    await this.#syncAll();
  }

  /** Mutes or unmutes: the track stays, silent or black, and the others are told. */
  async setMuted(kind, source, muted) {
    const wanted = this.source(kind, source);
    wanted.muted = muted;
    if (wanted.track) wanted.track.enabled = !muted;
    await this.#syncAll();
  }

  /** Stops or starts receiving a track of somebody else. */
  setReceived(id, enabled) {
    for (const peer of this.peers) {
      if (peer.entries.get(id)?.way === "recv") peer.send("UpdateTracks", { tracks_patches: [patch(id, { enabled })] });
    }
  }

  /** Leaves now. */
  leave() {
    if (this.state === "left") return;
    this.send("LeaveRoom", { member_id: this.member });
    this.handleLeft("Finished");
  }

  /** Figures per track; see `Statistics.collect`. Call about once a second. */
  stats() {
    return this.#statistics.collect(this.peers);
  }

  send(command, data) {
    return this.#client.send(this.id, command, data);
  }

  handleOpen() {
    this.send("JoinRoom", { member_id: this.member, credential: this.#credential, capabilities: capabilities() });
  }

  handleLost() {
    if (this.state !== "left") this.#setState("reconnecting");
  }

  handleLeft(reason) {
    if (this.state === "left") return;
    this.#closePeers();
    clearTimeout(this.#rejoin.timer);
    globalThis.removeEventListener?.("pagehide", this.onPageHide);
    this.#client.forget(this);
    this.#setState("left", { reason });
  }

  handleEvent({ event, data }) {
    if (this.state === "left") return;
    switch (event) {
      case "RoomJoined":
        this.#handleJoined(data);
        break;
      case "RoomLeft":
        // The end of an earlier stay in this room on the same socket.
        if (this.state === "joining" && data.close_reason === "Finished") break;
        if (this.#rejoin.waiting) this.#joinAgain();
        else this.handleLeft(data.close_reason);
        break;
      case "PeerCreated":
        this.#createPeer(data.peer_id, data).start(data.tracks, data.negotiation_role);
        break;
      case "PeersRemoved":
        for (const id of data.peer_ids) this.#closePeer(id);
        break;
      case "StateSynchronized":
        this.#handleState(data.state);
        break;
      case "ConnectionQualityUpdated":
        this.emit("quality", { member: data.partner_member_id, score: data.quality_score });
        break;
      default:
        this.#peers.get(data?.peer_id)?.handleEvent(event, data);
    }
  }

  /** Replaces a connection that cannot recover: out and in again under the same name. */
  rejoin() {
    if (this.state !== "joined" || this.#rejoin.waiting) return;
    this.#rejoin.waiting = true;
    this.#closePeers();
    this.#setState("reconnecting");
    this.send("LeaveRoom", { member_id: this.member });
    this.#rejoin.timer = setTimeout(() => this.#joinAgain(), 1_000);
  }

  #joinAgain() {
    clearTimeout(this.#rejoin.timer);
    this.#rejoin.waiting = false;
    this.handleOpen();
  }

  #handleJoined({ is_reconnect, shard }) {
    this.shard = shard ?? null;
    // A member that was there before is told nothing more until it has said what it still has, even if that is nothing.
    if (is_reconnect) this.send("SynchronizeMe", { state: this.#describe() });
    else this.#closePeers();
    this.#setState("joined", { is_reconnect });
  }

  #setState(state, more = {}) {
    this.state = state;
    this.emit("state", { state, ...more });
  }

  #createPeer(id, settings) {
    this.#closePeer(id);
    const peer = new Peer(this, id, settings);
    this.#peers.set(id, peer);
    return peer;
  }

  #closePeer(id) {
    this.#peers.get(id)?.close();
    this.#peers.delete(id);
  }

  #closePeers() {
    for (const id of [...this.#peers.keys()]) this.#closePeer(id);
  }

  async #syncAll() {
    await Promise.all(this.peers.map((peer) => peer.enqueue(() => peer.sync())));
  }

  #describe() {
    return { peers: Object.fromEntries(this.peers.map((peer) => [peer.id, peer.describe()])) };
  }

  /** The server's word after a reconnect: what it has and we do not is made, the rest is closed or brought up to date. */
  #handleState(state) {
    const wanted = Object.values(state.peers ?? {});
    const ids = new Set(wanted.map((peer) => peer.id));
    for (const id of [...this.#peers.keys()]) if (!ids.has(id)) this.#closePeer(id);
    for (const described of wanted) {
      const known = this.#peers.get(described.id);
      if (known) known.reconcile(described);
      // Negotiated with an RTCPeerConnection that is no more, of a page that was reloaded: its keys are gone with it.
      else if (described.local_sdp) return this.rejoin();
      else this.#createPeer(described.id, described).start(tracksOfState(described), described.negotiation_role, described);
    }
  }

  /** Called by peers: a track of somebody else came. */
  addRemote(info) {
    let member = this.#members.get(info.member);
    if (!member) {
      member = { id: info.member, tracks: new Map() };
      this.#members.set(info.member, member);
      this.emit("member", { member: info.member, here: true });
    }
    member.tracks.set(info.id, info);
  }

  /**
   * Called by peers: a track of somebody else can be played. While a room goes over between mesh and server the same
   * camera comes on two connections: the new one is shown when it has a picture, so that nobody sees a gap.
   */
  announceRemote(info) {
    const show = () => {
      if (!this.#isCurrent(info)) return;
      info.shown = true;
      this.emit("track", info);
    };
    const waits = info.track.muted && this.#twin(info);
    if (waits) info.track.addEventListener("unmute", show, { once: true });
    else show();
  }

  #isCurrent(info) {
    return this.#members.get(info.member)?.tracks.get(info.id) === info;
  }

  /** The same source on another connection. */
  #twin(info) {
    const others = this.#members.get(info.member)?.tracks.values() ?? [];
    return [...others].find((t) => t !== info && t.track && t.kind === info.kind && t.source === info.source) ?? null;
  }

  /** Called by peers: a track of somebody else went. */
  removeRemote(info) {
    const member = this.#members.get(info.member);
    if (member?.tracks.get(info.id) !== info) return;
    member.tracks.delete(info.id);
    const twin = this.#twin(info);
    if (twin) {
      twin.shown = true;
      this.emit("track", twin);
      return;
    }
    this.emit("trackgone", info);
    if (member.tracks.size > 0) return;
    this.#members.delete(info.member);
    this.emit("member", { member: info.member, here: false });
  }
}
