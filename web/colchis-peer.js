// One RTCPeerConnection of the client library and the tracks the server described for it.
//
// It does what PeerCreated and PeerUpdated ask (docs/protocol.md, "Negotiation") and never negotiates by itself.
// Invariant: events run one after the other through `enqueue`, so an event that comes while a description is being
// made waits for it, and a closed connection does nothing any more.

/** An offer or answer that is not acknowledged for this long is rolled back, as the protocol wants. */
const ACKNOWLEDGE_TIMEOUT_MS = 10_000;
/** A connection that stays failed for this long is replaced by leaving and joining again. */
const FAILED_REJOIN_MS = 3_000;

const publisherSends = (direction) => direction === "SendRecv" || direction === "SendOnly";
const receiverWants = (direction) => direction === "SendRecv" || direction === "RecvOnly";
const capitalised = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** A patch of UpdateTracks; null means unchanged. */
export const patch = (id, { enabled = null, muted = null }) => ({ id, enabled, muted });

/** Tracks in the shape of PeerCreated from the shape of StateSynchronized. */
export function tracksOfState({ senders = {}, receivers = {} }) {
  const common = ({ id, media_type, media_direction, muted }) => ({ id, media_type, media_direction, muted });
  return [
    ...Object.values(senders).map((s) => ({ ...common(s), direction: { Send: { receivers: s.receivers, mid: s.mid } } })),
    ...Object.values(receivers).map((r) => ({ ...common(r), direction: { Recv: { sender: r.sender_id, mid: r.mid } } })),
  ];
}

/** One track of the server inside one connection. */
class Entry {
  constructor(track) {
    const send = track.direction.Send;
    const recv = track.direction.Recv;
    this.id = track.id;
    this.way = send ? "send" : "recv";
    this.kind = track.media_type.Audio ? "audio" : "video";
    this.media = track.media_type.Audio ?? track.media_type.Video;
    this.source = this.media.source_kind;
    this.receivers = send?.receivers ?? [];
    this.sender = recv?.sender ?? null;
    this.givenMid = (send ?? recv).mid ?? null;
    this.transceiver = null;
    this.direction = track.media_direction;
    this.muted = track.muted;
    /** What the server was last told, so that nothing is told twice. */
    this.told = { enabled: publisherSends(track.media_direction), muted: track.muted };
    /** Shape of this track in the room's events (receive only). */
    this.info = null;
  }

  /** The m-section: the transceiver's once there is one, else what the server said. */
  get mid() {
    return this.transceiver ? this.transceiver.mid : this.givenMid;
  }
}

/** One RTCPeerConnection and the tracks the server described for it. */
export class Peer {
  #room;
  #chain = Promise.resolve();
  #candidates = [];
  #acknowledge = 0;
  #failed = 0;
  #closed = false;
  #restartIce = false;

  constructor(room, id, settings) {
    this.#room = room;
    this.id = id;
    this.mode = settings.connection_mode;
    this.settings = settings;
    this.entries = new Map();
    this.negotiating = null;
    this.pc = new RTCPeerConnection({
      iceServers: (settings.ice_servers ?? []).map((s) => JSON.parse(JSON.stringify(s))),
      iceTransportPolicy: settings.force_relay ? "relay" : "all",
      bundlePolicy: "max-bundle",
    });
    this.pc.onicecandidate = ({ candidate }) => candidate && this.#sendCandidate(candidate);
    this.pc.onconnectionstatechange = () => this.#handleConnectionState();
  }

  /** Runs `task` after everything that came before it; a failure is told and does not stop what follows. */
  enqueue(task) {
    this.#chain = this.#chain.then(async () => {
      if (this.#closed) return;
      try {
        await task();
      } catch (error) {
        if (!this.#closed) this.#report(error);
      }
    });
    return this.#chain;
  }

  /** Sends a command of this connection; false while the room is not joined: the state then comes by SynchronizeMe. */
  send(command, data) {
    return this.#room.state === "joined" && this.#room.send(command, { peer_id: this.id, ...data });
  }

  start(tracks, role, described = null) {
    this.enqueue(async () => {
      for (const track of tracks) this.#addEntry(track);
      for (const candidate of described?.ice_candidates ?? []) await this.#addCandidate(candidate);
      await this.#negotiate(role);
    });
  }

  handleEvent(event, data) {
    const tasks = {
      PeerUpdated: () => this.#handleUpdated(data.updates, data.negotiation_role),
      SdpAnswerMade: () => this.#handleAnswer(data.sdp_answer),
      LocalDescriptionApplied: () => this.#handleApplied(),
      IceCandidateDiscovered: () => this.#addCandidate(data.candidate),
    };
    // An event kind of a later protocol is no fault: it is for clients that asked for it.
    if (tasks[event]) this.enqueue(tasks[event]);
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#acknowledge);
    clearTimeout(this.#failed);
    this.pc.onicecandidate = this.pc.onconnectionstatechange = null;
    this.pc.close();
    for (const entry of this.entries.values()) if (entry.info) this.#room.removeRemote(entry.info);
    this.entries.clear();
  }

  // --- tracks -----------------------------------------------------------------------------------------------------

  #addEntry(track) {
    if (this.entries.has(track.id)) this.#removeEntry(track.id);
    const entry = new Entry(track);
    this.entries.set(entry.id, entry);
    if (entry.way === "recv") {
      entry.info = { member: entry.sender, id: entry.id, kind: entry.kind, source: entry.source, track: null, shown: false };
      this.#refreshInfo(entry);
      this.#room.addRemote(entry.info);
    }
  }

  #removeEntry(id) {
    const entry = this.entries.get(id);
    if (!entry) return;
    this.entries.delete(id);
    if (entry.info) this.#room.removeRemote(entry.info);
    else entry.transceiver?.sender.replaceTrack(null).catch(() => {});
  }

  #refreshInfo(entry) {
    Object.assign(entry.info, {
      enabled: publisherSends(entry.direction),
      received: receiverWants(entry.direction),
      muted: entry.muted,
    });
  }

  #patchEntry(update) {
    const entry = this.entries.get(update.id);
    if (!entry) return;
    entry.direction = update.media_direction ?? entry.direction;
    entry.muted = update.muted ?? entry.muted;
    entry.receivers = update.receivers ?? entry.receivers;
    if (update.encoding_parameters) this.#applyEncodings(entry, update.encoding_parameters);
    if (!entry.info) return;
    this.#refreshInfo(entry);
    // One that is not shown yet says how it is when it is.
    if (entry.info.shown) this.#room.emit("update", entry.info);
  }

  #applyEncodings(entry, wanted) {
    entry.media.encoding_parameters = wanted;
    const sender = entry.transceiver?.sender;
    const parameters = sender?.getParameters();
    if (!parameters?.encodings?.length) return;
    const single = parameters.encodings.length === 1;
    for (const encoding of parameters.encodings) {
      // One that is alone has no name: it is the best of those that are wanted, which is the last.
      const named = wanted.find((w) => w.rid === encoding.rid) ?? { active: wanted.length === 0 };
      const to = single ? (wanted.at(-1) ?? { active: true }) : named;
      for (const key of ["maxBitrate", "scaleResolutionDownBy", "scalabilityMode"]) delete encoding[key];
      Object.assign(encoding, encodingOf(to));
    }
    sender.setParameters(parameters).catch((error) => this.#report(error));
  }

  async #handleUpdated(updates, role) {
    for (const update of updates) {
      if (update === "IceRestart") this.#restartIce = true;
      else if (update.Added) this.#addEntry(update.Added);
      else if (update.Removed !== undefined) this.#removeEntry(update.Removed);
      else if (update.Updated) this.#patchEntry(update.Updated);
    }
    if (role) await this.#negotiate(role);
  }

  /** Brings the senders to what the user wants and tells the server what changed. */
  async sync() {
    const patches = [];
    for (const entry of this.entries.values()) {
      if (entry.way !== "send" || !entry.transceiver) continue;
      const { track, muted } = this.#room.source(entry.kind, entry.source);
      if (entry.transceiver.sender.track !== track) await entry.transceiver.sender.replaceTrack(track);
      const change = {};
      // A required track must not be disabled: without a device it simply carries nothing.
      if (Boolean(track) !== entry.told.enabled && (track || !entry.media.required)) change.enabled = Boolean(track);
      if (muted !== entry.told.muted && (!muted || !entry.media.required)) change.muted = muted;
      if (Object.keys(change).length === 0) continue;
      patches.push(patch(entry.id, change));
    }
    if (patches.length === 0 || !this.send("UpdateTracks", { tracks_patches: patches })) return;
    for (const { id, enabled, muted } of patches) {
      const { told } = this.entries.get(id) ?? { told: {} };
      told.enabled = enabled ?? told.enabled;
      told.muted = muted ?? told.muted;
    }
  }

  // --- negotiation ------------------------------------------------------------------------------------------------

  async #negotiate(role) {
    this.negotiating = role ?? null;
    if (!role) return;
    // Only a description nobody acknowledged can be in the way: the server never offers against our offer.
    if (this.pc.signalingState === "have-local-offer") await this.pc.setLocalDescription({ type: "rollback" });
    if (role === "Offerer") await this.#offer();
    else await this.#answer(role.Answerer);
    await this.sync();
  }

  async #offer() {
    this.#bindByMid();
    for (const entry of this.entries.values()) if (!entry.transceiver) this.#addTransceiver(entry);
    this.#setDirections();
    await this.#attachSources();
    if (this.#restartIce) this.pc.restartIce();
    this.#restartIce = false;
    await this.pc.setLocalDescription(await this.pc.createOffer());
    const sdp_offer = this.pc.localDescription.sdp;
    this.send("MakeSdpOffer", { sdp_offer, mids: this.#mids(), transceivers_statuses: this.#statuses() });
    this.#awaitAcknowledge();
  }

  async #answer(sdp) {
    await this.pc.setRemoteDescription({ type: "offer", sdp });
    await this.#flushCandidates();
    this.#bindByMid();
    this.#bindByOrder(sdp);
    this.#setDirections();
    await this.#attachSources();
    await this.pc.setLocalDescription(await this.pc.createAnswer());
    this.send("MakeSdpAnswer", { sdp_answer: this.pc.localDescription.sdp, transceivers_statuses: this.#statuses() });
    this.#awaitAcknowledge();
    this.#announceTracks();
  }

  async #handleAnswer(sdp) {
    if (this.pc.signalingState !== "have-local-offer") return;
    await this.pc.setRemoteDescription({ type: "answer", sdp });
    await this.#flushCandidates();
    this.negotiating = null;
    this.#announceTracks();
  }

  async #handleApplied() {
    clearTimeout(this.#acknowledge);
    if (this.pc.signalingState === "stable") this.negotiating = null;
    await this.sync();
  }

  #awaitAcknowledge() {
    clearTimeout(this.#acknowledge);
    this.#acknowledge = setTimeout(() => {
      this.enqueue(async () => {
        if (this.pc.signalingState === "have-local-offer") await this.pc.setLocalDescription({ type: "rollback" });
        throw new Error("the server did not take our description in time; it was rolled back");
      });
    }, ACKNOWLEDGE_TIMEOUT_MS);
  }

  #addTransceiver(entry) {
    const init = { direction: entry.way === "send" ? "sendonly" : "recvonly" };
    const encodings = entry.way === "send" ? (entry.media.encoding_parameters ?? []) : [];
    if (encodings.length > 0) init.sendEncodings = encodings.map((e) => ({ rid: e.rid, ...encodingOf(e) }));
    entry.transceiver = this.pc.addTransceiver(entry.kind, init);
  }

  /** An m-section the server named: its transceiver may already carry a track the other way. */
  #bindByMid() {
    for (const entry of this.entries.values()) {
      if (entry.transceiver || entry.givenMid === null) continue;
      entry.transceiver = this.pc.getTransceivers().find((t) => t.mid === entry.givenMid) ?? null;
    }
  }

  /** An offer without named m-sections: tracks take those of their kind and way, in order. */
  #bindByOrder(sdp) {
    for (const entry of this.entries.values()) {
      if (entry.transceiver) continue;
      const accepts = entry.way === "send" ? ["recvonly", "sendrecv"] : ["sendonly", "sendrecv"];
      entry.transceiver =
        this.pc.getTransceivers().find(
          (t) =>
            t.mid !== null &&
            t.receiver.track.kind === entry.kind &&
            accepts.includes(sectionDirection(sdp, t.mid)) &&
            !this.#user(t, entry.way),
        ) ?? null;
    }
  }

  #user(transceiver, way) {
    for (const entry of this.entries.values()) if (entry.transceiver === transceiver && entry.way === way) return entry;
    return null;
  }

  #setDirections() {
    for (const transceiver of this.pc.getTransceivers()) {
      if (transceiver.currentDirection === "stopped" || transceiver.direction === "stopped") continue;
      const send = this.#user(transceiver, "send");
      const recv = this.#user(transceiver, "recv");
      const direction = send && recv ? "sendrecv" : send ? "sendonly" : recv ? "recvonly" : "inactive";
      if (transceiver.direction !== direction) transceiver.direction = direction;
    }
  }

  async #attachSources() {
    for (const entry of this.entries.values()) {
      if (entry.way !== "send" || !entry.transceiver) continue;
      const { track } = this.#room.source(entry.kind, entry.source);
      if (entry.transceiver.sender.track !== track) await entry.transceiver.sender.replaceTrack(track);
    }
  }

  #announceTracks() {
    for (const entry of this.entries.values()) {
      const track = entry.transceiver?.receiver.track;
      if (!entry.info || !track || entry.info.track === track) continue;
      entry.info.track = track;
      this.#room.announceRemote(entry.info);
    }
  }

  #mids() {
    const mids = {};
    for (const entry of this.entries.values()) if (entry.mid !== null) mids[entry.id] = entry.mid;
    return mids;
  }

  #statuses() {
    const statuses = {};
    for (const entry of this.entries.values()) {
      if (entry.way === "send") statuses[entry.id] = Boolean(entry.transceiver?.sender.track);
      else statuses[entry.id] = receiverWants(entry.direction);
    }
    return statuses;
  }

  // --- ICE and state ----------------------------------------------------------------------------------------------

  #sendCandidate({ candidate, sdpMLineIndex, sdpMid }) {
    this.send("SetIceCandidate", {
      candidate: { candidate, sdp_m_line_index: sdpMLineIndex ?? null, sdp_mid: sdpMid ?? null },
    });
  }

  async #addCandidate(candidate) {
    this.#candidates.push(candidate);
    if (this.pc.remoteDescription) await this.#flushCandidates();
  }

  async #flushCandidates() {
    for (const { candidate, sdp_m_line_index, sdp_mid } of this.#candidates.splice(0)) {
      try {
        await this.pc.addIceCandidate({ candidate, sdpMLineIndex: sdp_m_line_index, sdpMid: sdp_mid });
      } catch (error) {
        this.#report(error);
      }
    }
  }

  #handleConnectionState() {
    const state = this.pc.connectionState;
    this.#room.emit("connection", { peer: this.id, state });
    this.send("AddPeerConnectionMetrics", { metrics: { PeerConnectionState: capitalised(state) } });
    clearTimeout(this.#failed);
    if (state === "failed") this.#failed = setTimeout(() => this.#room.rejoin(), FAILED_REJOIN_MS);
  }

  #report(error) {
    this.#room.emit("error", { error, text: error?.message ?? String(error) });
  }

  /** This connection in the shape of SynchronizeMe. */
  describe() {
    const senders = {};
    const receivers = {};
    for (const entry of this.entries.values()) {
      const kind = entry.kind === "audio" ? "Audio" : "Video";
      const common = { id: entry.id, connection_mode: this.mode, mid: entry.mid, media_type: { [kind]: entry.media } };
      const state = { muted: entry.muted, media_direction: entry.direction };
      if (entry.way === "send") senders[entry.id] = { ...common, receivers: entry.receivers, ...state };
      else receivers[entry.id] = { ...common, sender_id: entry.sender, ...state };
    }
    return {
      id: this.id,
      connection_mode: this.mode,
      senders,
      receivers,
      force_relay: Boolean(this.settings.force_relay),
      ice_servers: this.settings.ice_servers ?? [],
      negotiation_role: this.negotiating,
      local_sdp: this.pc.localDescription?.sdp ?? null,
      remote_sdp: this.pc.remoteDescription?.sdp ?? null,
      restart_ice: this.#restartIce,
      ice_candidates: [],
      stats_scrape_interval_ms: this.settings.stats_scrape_interval_ms ?? 0,
    };
  }

  /** Makes this connection what the server says it is. */
  reconcile(described) {
    this.enqueue(async () => {
      const tracks = tracksOfState(described);
      const ids = new Set(tracks.map((track) => track.id));
      for (const id of [...this.entries.keys()]) if (!ids.has(id)) this.#removeEntry(id);
      for (const track of tracks) {
        const entry = this.entries.get(track.id);
        if (!entry) {
          this.#addEntry(track);
          continue;
        }
        entry.told = { enabled: publisherSends(track.media_direction), muted: track.muted };
        this.#patchEntry({ id: track.id, media_direction: track.media_direction, muted: track.muted });
      }
      this.#restartIce ||= described.restart_ice;
      // An answer that went missing with the old socket.
      const waits = this.pc.signalingState === "have-local-offer";
      if (waits && !described.negotiation_role && described.remote_sdp) await this.#handleAnswer(described.remote_sdp);
      await this.#negotiate(described.negotiation_role);
      this.#bindByMid();
      this.#announceTracks();
      await this.sync();
      // Said while nobody listened.
      if (this.pc.connectionState === "failed") this.#handleConnectionState();
    });
  }
}

/** RTCRtpEncodingParameters from the protocol's shape, without what is not said. */
function encodingOf({ active, max_bitrate, scale_resolution_down_by, scalability_mode }) {
  const encoding = { active };
  if (max_bitrate) encoding.maxBitrate = max_bitrate;
  if (scale_resolution_down_by) encoding.scaleResolutionDownBy = scale_resolution_down_by;
  if (scalability_mode) encoding.scalabilityMode = scalability_mode;
  return encoding;
}

/** Direction of the m-section `mid` in a description; "sendrecv" if it says nothing (RFC 8866 section 6.7). */
export function sectionDirection(sdp, mid) {
  const sections = sdp.split(/^m=/m).slice(1);
  const section = sections.find((text) => text.split(/\r?\n/).includes(`a=mid:${mid}`));
  return section?.match(/^a=(sendrecv|sendonly|recvonly|inactive)\s*$/m)?.[1] ?? "sendrecv";
}
