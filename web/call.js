// The call on the screen: binds one room of the client library to tiles, figures and the state chips.
//
// The room says what is; nothing here remembers members or tracks a second time, except what is drawn.

import { Tile, layOut } from "./tiles.js";

const FIGURES_EVERY_MS = 1_000;
const SPEAKING_EVERY_MS = 150;
const SPEAKING_LEVEL = 0.02;
const SPEAKING_HOLD_MS = 500;

const byId = (id) => document.getElementById(id);
const screenKey = (member) => `${member}/screen`;

export class CallView {
  #tiles = new Map();
  #pinned = null;
  #stops = [];
  #heard = new Map();
  #stage = byId("stage");

  /** `hooks`: onRename(), onBlocked() (the browser wants a click before it plays sound). */
  constructor(room, devices, hooks = {}) {
    this.room = room;
    this.devices = devices;
    this.hooks = hooks;
    this.signalling = room.state;
    this.#add({ key: room.member, member: room.member, own: true });
    this.#listen();
    const observer = new ResizeObserver(() => this.#layOut());
    observer.observe(this.#stage);
    const figures = setInterval(() => this.#refreshFigures(), FIGURES_EVERY_MS);
    const speaking = setInterval(() => this.#refreshSpeaking(), SPEAKING_EVERY_MS);
    this.#stops.push(() => observer.disconnect(), () => clearInterval(figures), () => clearInterval(speaking));
    byId("room-name").textContent = room.id;
    this.refreshOwn();
    this.#refreshState();
  }

  close() {
    for (const stop of this.#stops) stop();
    for (const tile of this.#tiles.values()) tile.remove();
    this.#tiles.clear();
  }

  #listen() {
    const { room } = this;
    const on = (name, listener) => this.#stops.push(room.on(name, listener));
    on("state", ({ state }) => {
      this.signalling = state;
      this.#refreshState();
    });
    on("connection", () => this.#refreshState());
    on("member", ({ member, here }) => (here ? this.#add({ key: member, member }) : this.#removeMember(member)));
    on("track", (info) => this.#refreshTrack(info));
    on("update", (info) => this.#refreshTrack(info));
    on("quality", ({ member, score }) => this.#tiles.get(member)?.setQuality(score));
    on("trackgone", (info) => this.#refreshTrack({ ...info, track: null, enabled: false }));
  }

  // --- tiles ------------------------------------------------------------------------------------------------------

  #add(options) {
    const known = this.#tiles.get(options.key);
    if (known) return known;
    const tile = new Tile({ ...options, onPin: (t) => this.#pin(t), onRename: this.hooks.onRename });
    this.#tiles.set(options.key, tile);
    this.#stage.append(tile.element);
    this.#layOut();
    return tile;
  }

  #remove(key) {
    const tile = this.#tiles.get(key);
    if (!tile) return;
    if (this.#pinned === tile) this.#pinned = null;
    tile.remove();
    this.#tiles.delete(key);
    this.#layOut();
  }

  #removeMember(member) {
    // Somebody may have come under our own name before us; our own tile stays.
    if (member !== this.room.member) this.#remove(member);
    this.#remove(screenKey(member));
    this.#heard.delete(member);
  }

  #pin(tile) {
    this.#pinned = this.#pinned === tile ? null : tile;
    this.#layOut();
  }

  #layOut() {
    const tiles = [...this.#tiles.values()];
    const large = this.#pinned ?? tiles.find((tile) => tile.screen && !tile.own) ?? null;
    for (const tile of tiles) {
      tile.element.classList.toggle("pinned", tile === this.#pinned);
      tile.pin.setAttribute("aria-pressed", String(tile === this.#pinned));
    }
    layOut(this.#stage, tiles, tiles.length > 1 ? large : null);
    byId("people").textContent = String(this.room.members.size + 1);
  }

  #refreshTrack(info) {
    if (info.member === this.room.member) return;
    if (info.source === "Display") this.#refreshScreen(info);
    else this.#refreshCamera(info);
  }

  #refreshCamera(info) {
    const tile = this.#add({ key: info.member, member: info.member });
    tile.setTrack(info.kind, info.track);
    if (info.kind === "video") tile.setVideoOn(Boolean(info.track) && info.enabled && !info.muted);
    else tile.setMuted(info.muted || !info.enabled);
    this.#play(tile);
  }

  /** A screen has a tile only while it is shared. */
  #refreshScreen(info) {
    const key = screenKey(info.member);
    const shown = Boolean(info.track) && info.enabled;
    if (!this.#tiles.has(key) && !(shown && info.kind === "video")) return;
    if (info.kind === "video" && !shown) return this.#remove(key);
    const tile = this.#add({ key, member: info.member, screen: true });
    tile.setTrack(info.kind, shown ? info.track : null);
    if (info.kind === "audio") return;
    tile.setVideoOn(!info.muted);
    // Sound that was announced before the picture.
    const others = this.room.members.get(info.member)?.tracks.values() ?? [];
    const sound = [...others].find((t) => t.source === "Display" && t.kind === "audio" && t.enabled && t.track);
    if (sound) tile.setTrack("audio", sound.track);
    this.#play(tile);
  }

  async #play(tile) {
    if (!(await tile.play())) this.hooks.onBlocked?.();
  }

  /** After a click of the user: everything that was held back may play. */
  playAll() {
    for (const tile of this.#tiles.values()) this.#play(tile);
  }

  /** Draws what this device sends. */
  refreshOwn() {
    const tile = this.#tiles.get(this.room.member);
    const { audio, video } = this.devices.tracks;
    tile.setTrack("video", video);
    tile.setVideoOn(Boolean(video));
    tile.setMuted(!audio || this.room.source("audio").muted);
    this.#play(tile);
    const key = screenKey(this.room.member);
    const shared = this.devices.screen.find((track) => track.kind === "video");
    if (!shared) return this.#remove(key);
    const screen = this.#add({ key, member: this.room.member, own: true, screen: true });
    screen.setTrack("video", shared);
    screen.setVideoOn(true);
    this.#play(screen);
  }

  // --- what is live -----------------------------------------------------------------------------------------------

  #refreshState() {
    const chip = byId("connection");
    const media = this.room.pc?.connectionState ?? "new";
    const names = { new: "connecting", connecting: "connecting", connected: "connected", disconnected: "interrupted", failed: "failed", closed: "connecting" };
    const lost = this.signalling === "reconnecting";
    chip.dataset.state = lost ? "lost" : media;
    chip.querySelector("span").textContent = lost ? "reconnecting" : names[media];
    chip.title = `Signalling: ${this.signalling}. Media: ${media}.`;
    const shard = byId("shard");
    shard.hidden = this.room.shard === null;
    shard.textContent = `shard ${this.room.shard}`;
  }

  async #refreshFigures() {
    if (document.hidden) return;
    const rows = await this.room.stats();
    for (const tile of this.#tiles.values()) {
      const member = tile.own ? null : tile.member;
      const source = tile.screen ? "Display" : "Device";
      tile.setFigures(rows.filter((row) => row.member === member && row.source === source));
    }
    this.#heardOwn = rows.find((row) => row.member === null && row.kind === "audio" && row.source === "Device")?.level ?? 0;
  }

  #heardOwn = 0;

  #refreshSpeaking() {
    const now = performance.now();
    for (const [member, level] of this.#levels()) {
      if (level > SPEAKING_LEVEL) this.#heard.set(member, now);
      this.#tiles.get(member)?.setSpeaking(now - (this.#heard.get(member) ?? -Infinity) < SPEAKING_HOLD_MS);
    }
  }

  #levels() {
    const levels = new Map([[this.room.member, this.room.source("audio").muted ? 0 : this.#heardOwn]]);
    for (const peer of this.room.peers) {
      for (const entry of peer.entries.values()) {
        if (entry.way !== "recv" || entry.kind !== "audio" || entry.source !== "Device") continue;
        const quiet = entry.info.muted || !entry.info.enabled;
        const sources = quiet ? [] : (entry.transceiver?.receiver.getSynchronizationSources?.() ?? []);
        levels.set(entry.sender, Math.max(levels.get(entry.sender) ?? 0, sources[0]?.audioLevel ?? 0));
      }
    }
    return levels;
  }
}
