// Tiles of the call page: one per member and one per shared screen, and where each of them goes.
//
// The layout is computed, not left to CSS: for every number of columns the tile size is known, and the largest wins.
// A pinned tile or a screen takes the stage; the others become a strip beside or below it.

/** Narrowest and widest shape of a camera tile; between them it fills its cell. */
const SHAPE_MIN = 3 / 4;
const SHAPE_MAX = 16 / 9;
const GAP = 10;

export const icon = (name) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
};

const element = (tag, className, ...children) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
};

/** Up to two letters for a name: "Medea of Colchis" → "MC". */
export function initials(name) {
  const words = name.trim().split(/[\s._-]+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : [words[0] ?? "?"];
  return letters.map((word) => [...word][0]).join("").toUpperCase();
}

/** A colour that belongs to the name, the same on every screen. */
export function hue(name) {
  let sum = 7;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return sum;
}

/** One picture on the stage. */
export class Tile {
  /** `key` is the member's id for a camera; screens get a key of their own. */
  constructor({ key, member, own = false, screen = false, onPin, onRename }) {
    this.key = key;
    this.member = member;
    this.own = own;
    this.screen = screen;
    this.stream = new MediaStream();
    this.video = document.createElement("video");
    Object.assign(this.video, { autoplay: true, playsInline: true, muted: own, srcObject: this.stream });
    if (screen) this.video.dataset.screen = member;
    else this.video.dataset.member = member;
    this.element = element("div", `tile fresh no-video${own ? " own" : ""}${screen ? " screen" : ""}`);
    this.element.dataset.tile = key;
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", screen ? `Screen of ${member}` : own ? `${member} (you)` : member);
    this.#build(onPin, onRename);
    this.#watchFrames();
  }

  #build(onPin, onRename) {
    const avatar = element("div", "avatar", this.screen ? icon("screen") : initials(this.member));
    avatar.setAttribute("aria-hidden", "true");
    avatar.style.setProperty("--hue", hue(this.member));
    const muted = element("span", "muted", icon("mic-off"));
    muted.setAttribute("role", "img");
    muted.setAttribute("aria-label", "muted");
    this.bars = element("span", "bars", ...[1, 2, 3, 4].map(() => element("i", "")));
    this.bars.setAttribute("role", "img");
    const who = element("div", "who", muted, element("span", "name", this.screen ? `${this.member} · screen` : this.member), this.bars);
    if (this.own && !this.screen) {
      const rename = element("button", "rename", icon("edit"));
      rename.type = "button";
      rename.title = "Change your name";
      rename.setAttribute("aria-label", "Change your name");
      rename.onclick = () => onRename?.();
      who.append(element("span", "you", "you"), rename);
    }
    this.strip = element("div", "strip");
    const pin = element("button", "pin", icon("pin"));
    pin.type = "button";
    pin.setAttribute("aria-label", `Show ${this.screen ? "the screen of " : ""}${this.member} large`);
    pin.setAttribute("aria-pressed", "false");
    pin.onclick = () => onPin?.(this);
    this.pin = pin;
    this.element.append(this.video, avatar, element("div", "foot", who, this.strip), pin);
    this.element.ondblclick = () => onPin?.(this);
  }

  /** The avatar stays until there really is a picture. */
  #watchFrames() {
    const refresh = () => this.#refresh();
    for (const name of ["loadeddata", "resize", "emptied"]) this.video.addEventListener(name, refresh);
    this.wanted = { video: false };
  }

  #refresh() {
    const track = this.stream.getVideoTracks()[0];
    const picture = Boolean(track && this.wanted.video && this.video.videoWidth > 0);
    this.element.classList.toggle("no-video", !picture);
    this.element.classList.toggle("waiting", Boolean(track && this.wanted.video && !picture));
    this.element.dataset.video = this.wanted.video ? "on" : "off";
  }

  /** Shows or hears `track`; null takes the one of that kind away. */
  setTrack(kind, track) {
    const old = kind === "video" ? this.stream.getVideoTracks() : this.stream.getAudioTracks();
    for (const gone of old) if (gone !== track) this.stream.removeTrack(gone);
    if (track && !this.stream.getTracks().includes(track)) this.stream.addTrack(track);
    this.#refresh();
  }

  /** Whether the member sends a picture now. */
  setVideoOn(on) {
    this.wanted.video = on;
    this.#refresh();
  }

  setMuted(muted) {
    this.element.classList.toggle("muted", muted);
    this.element.dataset.muted = String(muted);
  }

  /** How well the member is connected: "Poor", "Low", "Medium" or "High". */
  setQuality(score) {
    this.bars.dataset.score = score;
    this.bars.title = `Connection: ${score.toLowerCase()}`;
    this.bars.setAttribute("aria-label", this.bars.title);
  }

  setSpeaking(speaking) {
    this.element.classList.toggle("speaking", speaking);
  }

  /** Starts playing; resolves to false if the browser wants a click first. */
  async play() {
    try {
      await this.video.play();
    } catch (error) {
      return error.name !== "NotAllowedError";
    }
    return true;
  }

  /** The live figures: rows of this tile, audio and video. */
  setFigures(rows) {
    const main = rows.find((row) => row.kind === "video" && row.width && this.wanted.video) ?? rows.find((row) => row.kind === "audio");
    this.strip.replaceChildren(...(main ? describe(main) : []));
  }

  remove() {
    this.video.srcObject = null;
    this.element.remove();
  }
}

/** `VP8 · 640×480 · 1.2 Mbit/s · 0.0 % lost · 3 ms`, parts that call for a look marked. */
function describe(row) {
  const parts = [[row.codec]];
  if (row.width) parts.push([`${row.width}×${row.height}${row.fps ? ` ${Math.round(row.fps)}/s` : ""}`]);
  if (row.bitrate_bps !== null) parts.push([bitrate(row.bitrate_bps)]);
  if (row.loss_ratio !== null) parts.push([`${(100 * row.loss_ratio).toFixed(1)}% loss`, row.loss_ratio > 0.02]);
  if (row.rtt_ms !== null) parts.push([`${row.rtt_ms < 10 ? row.rtt_ms.toFixed(1) : Math.round(row.rtt_ms)} ms`, row.rtt_ms > 300]);
  const nodes = [];
  for (const [text, bad] of parts) {
    if (!text) continue;
    if (nodes.length > 0) nodes.push(" ");
    nodes.push(element("span", bad ? "bad" : "", text));
  }
  return nodes;
}

const bitrate = (bps) => (bps >= 1e6 ? `${(bps / 1e6).toFixed(1)} Mb/s` : `${Math.round(bps / 1e3)} kb/s`);

/** Size and columns that make `count` tiles in a `width`×`height` box as large as can be. */
export function bestGrid(count, width, height, gap = GAP) {
  let best = { area: -1, columns: 1, width, height };
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    let w = (width - gap * (columns - 1)) / columns;
    let h = (height - gap * (rows - 1)) / rows;
    if (w <= 0 || h <= 0) continue;
    // The only tile may be as tall as a phone.
    const narrowest = count === 1 ? 9 / 16 : SHAPE_MIN;
    w = Math.min(w, h * SHAPE_MAX);
    h = Math.min(h, w / narrowest);
    if (w * h > best.area * 1.001) best = { area: w * h, columns, width: w, height: h };
  }
  return best;
}

/** Rectangles of `count` tiles, row by row, the last row centred. */
function gridBoxes(count, box) {
  const { columns, width, height } = bestGrid(count, box.width, box.height);
  const rows = Math.ceil(count / columns);
  const top = box.top + (box.height - rows * height - (rows - 1) * GAP) / 2;
  const boxes = [];
  for (let row = 0; row < rows; row += 1) {
    const here = Math.min(columns, count - row * columns);
    const left = box.left + (box.width - here * width - (here - 1) * GAP) / 2;
    for (let column = 0; column < here; column += 1) {
      boxes.push({ left: left + column * (width + GAP), top: top + row * (height + GAP), width, height });
    }
  }
  return boxes;
}

/** Places `tiles` inside `stage`; `large` (or null) takes most of it. */
export function layOut(stage, tiles, large) {
  const all = { left: 0, top: 0, width: stage.clientWidth, height: stage.clientHeight };
  const rest = tiles.filter((tile) => tile !== large);
  const boxes = new Map();
  if (!large) {
    gridBoxes(tiles.length, all).forEach((box, index) => boxes.set(tiles[index], box));
  } else {
    const beside = all.width > all.height * 1.15;
    const share = rest.length === 0 ? 0 : beside ? Math.min(280, all.width * 0.26) : Math.min(190, all.height * 0.3);
    const main = { ...all };
    const strip = { ...all };
    if (beside) {
      main.width -= share + (share && GAP);
      strip.left = main.width + GAP;
      strip.width = share;
    } else {
      main.height -= share + (share && GAP);
      strip.top = main.height + GAP;
      strip.height = share;
    }
    boxes.set(large, main);
    gridBoxes(rest.length, strip).forEach((box, index) => boxes.set(rest[index], box));
  }
  for (const [tile, box] of boxes) place(tile, box);
}

function place({ element: target }, { left, top, width, height }) {
  target.style.width = `${Math.floor(width)}px`;
  target.style.height = `${Math.floor(height)}px`;
  target.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
  if (target.classList.contains("fresh")) requestAnimationFrame(() => target.classList.remove("fresh"));
}
