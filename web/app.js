// The call page: lobby, controls, keyboard, and what the user is told. The call itself is in call.js, the protocol in
// colchis-client.js.
//
// The page can be driven by its address: /?room=R&name=N&join=1 joins at once. Also understood: token=T (credential,
// else /dev.json is asked), audio=0, video=0, audio=raw (no echo cancellation and the like, for music and for tests),
// video=640x360 or video=640x360@15 (size and frames per second to ask the camera for).

import { ColchisClient, connect, warmUp } from "./colchis-client.js";
import { CallView } from "./call.js";
import { DeviceError, Devices, LevelMeter } from "./devices.js";
import { hue, icon, initials } from "./tiles.js";

const byId = (id) => document.getElementById(id);
const parameters = new URLSearchParams(location.search);
/** How long a page that joins by its address waits for the camera before it joins without. */
const DEVICE_WAIT_MS = 2_500;

const LEFT = {
  Finished: ["You left the call.", "calm"],
  Reconnected: ["You are in this call from another tab or device under the same name. Close that one or take another name."],
  Rejected: ["The server did not let you in. Check the room name, or ask for a new invitation link."],
  InternalError: ["Something broke on the server. Your call has ended; join again."],
  Evicted: ["The server ended the call: it restarts, or a limit was reached. Join again in a moment."],
  Idle: ["The server did not hear from this page for too long. Check your network, then join again."],
};

const [, width, height, rate] = (/^(\d+)x(\d+)(?:@(\d+))?$/.exec(parameters.get("video") ?? "") ?? []).map(Number);
const devices = new Devices({ width, height, rate, processed: parameters.get("audio") !== "raw" });
const meter = new LevelMeter();
/** What the user wants, before and during the call. */
const wanted = { audio: parameters.get("audio") !== "0", video: parameters.get("video") !== "0" };
const call = { room: null, view: null, name: "", joining: false };

/** For tests and the console: the room, its connection and its figures. */
globalThis.colchis = {
  ColchisClient,
  devices,
  get room() { return call.room; },
  get pc() { return call.room?.pc ?? null; },
  stats: async () => (call.room ? call.room.stats() : []),
};

// --- telling the user -------------------------------------------------------------------------------------------------

function toast(text, bad = false) {
  const made = document.createElement("div");
  made.className = bad ? "toast bad" : "toast";
  made.textContent = text;
  byId("toasts").append(made);
  setTimeout(() => made.remove(), bad ? 9_000 : 2_800);
}

function notice(text, tone = "") {
  const box = byId("notice");
  box.hidden = !text;
  box.className = `notice ${tone}`;
  box.textContent = text ?? "";
}

function banner(text, { action, onAction, still = false } = {}) {
  const box = byId("banner");
  box.hidden = !text;
  box.classList.toggle("still", still);
  box.querySelector("span").textContent = text ?? "";
  const button = box.querySelector("button");
  button.hidden = !action;
  button.textContent = action ?? "";
  button.onclick = onAction ?? null;
}

function show(view) {
  document.body.dataset.view = view;
  byId("lobby").hidden = view !== "lobby";
  byId("call").hidden = view !== "call";
}

// --- camera and microphone --------------------------------------------------------------------------------------------

async function startDevices(kinds) {
  const errors = await devices.start(kinds.filter((kind) => wanted[kind]));
  for (const error of errors) {
    for (const kind of error.kind === "both" ? ["audio", "video"] : [error.kind]) wanted[kind] = false;
  }
  refreshButtons();
  await publish();
  return errors;
}

/** Brings the call to what the devices give. */
async function publish() {
  refreshPreview();
  const { room, view } = call;
  if (!room) return;
  room.source("audio").muted = !wanted.audio;
  await Promise.all([
    room.setSource("audio", "Device", devices.tracks.audio),
    room.setSource("video", "Device", devices.tracks.video),
  ]);
  view.refreshOwn();
}

/** The microphone stays open when muted (the others see it at once); the camera is really switched off. */
async function toggle(kind) {
  wanted[kind] = !wanted[kind];
  refreshButtons();
  if (wanted[kind] && !devices.tracks[kind]) {
    for (const error of await startDevices([kind])) complain(error.message);
    return;
  }
  if (kind === "video") devices.stop("video");
  else if (devices.tracks.audio) devices.tracks.audio.enabled = wanted.audio;
  await publish();
}

function complain(text) {
  if (call.room) toast(text, true);
  else notice(text);
}

function refreshButtons() {
  const set = (id, kind, on, off, name) => {
    const button = byId(id);
    button.classList.toggle("off", !wanted[kind]);
    button.setAttribute("aria-pressed", String(wanted[kind]));
    button.setAttribute("aria-label", wanted[kind] ? on : off);
    button.replaceChildren(icon(wanted[kind] ? name : `${name}-off`));
  };
  set("mic", "audio", "Mute microphone", "Unmute microphone", "mic");
  set("cam", "video", "Turn camera off", "Turn camera on", "cam");
  set("lobby-mic", "audio", "Microphone on", "Microphone off", "mic");
  set("lobby-cam", "video", "Camera on", "Camera off", "cam");
  const sharing = devices.screen.length > 0;
  byId("share").classList.toggle("lit", sharing);
  byId("share").setAttribute("aria-pressed", String(sharing));
  byId("share").setAttribute("aria-label", sharing ? "Stop sharing your screen" : "Share your screen");
}

function refreshPreview() {
  const { audio, video } = devices.tracks;
  const preview = byId("preview");
  const shown = preview.srcObject?.getVideoTracks?.()[0] ?? null;
  if (shown !== video) preview.srcObject = video ? new MediaStream([video]) : null;
  byId("preview").parentElement.classList.toggle("live", Boolean(video));
  byId("preview-note").textContent = video || wanted.video ? "" : "Your camera is off";
  const name = byId("name").value.trim();
  byId("preview-avatar").textContent = name ? initials(name) : "?";
  byId("preview-avatar").style.setProperty("--hue", hue(name));
  meter.set(!call.room && wanted.audio ? audio : null);
}

async function listDevices() {
  const lists = { camera: await devices.list("video"), microphone: await devices.list("audio") };
  for (const [id, list] of Object.entries(lists)) {
    const select = byId(id);
    const kind = id === "camera" ? "video" : "audio";
    const current = devices.tracks[kind]?.getSettings().deviceId;
    select.replaceChildren(...list.map((d) => new Option(d.label, d.id, false, d.id === current)));
    select.onchange = async () => {
      devices.chosen[kind] = select.value;
      devices.stop(kind);
      for (const error of await startDevices([kind])) complain(error.message);
    };
  }
  byId("devices").hidden = lists.camera.length < 2 && lists.microphone.length < 2;
}

async function toggleShare() {
  if (devices.screen.length > 0) devices.stopScreen();
  else {
    try {
      await devices.startScreen();
    } catch (error) {
      toast(error.message, true);
      return;
    }
  }
  await publishScreen();
}

async function publishScreen() {
  const track = (kind) => devices.screen.find((t) => t.kind === kind) ?? null;
  for (const shared of devices.screen) {
    shared.onended = () => {
      devices.stopScreen();
      publishScreen();
    };
  }
  refreshButtons();
  const { room, view } = call;
  if (!room) return;
  await Promise.all([room.setSource("video", "Display", track("video")), room.setSource("audio", "Display", track("audio"))]);
  view.refreshOwn();
}

// --- coming and going -------------------------------------------------------------------------------------------------

/** Where to connect and with what: from the address, else the development server tells. */
async function access() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const at = (path) => `${scheme}//${location.host}${path}`;
  const token = parameters.get("token");
  if (token !== null) return { url: at(parameters.get("ws") ?? "/ws"), credential: token };
  let answer;
  try {
    answer = await fetch("/dev.json", { cache: "no-store" });
  } catch {
    throw new Error("The server cannot be reached. Check that it runs, and your network, then try again.");
  }
  if (!answer.ok) throw new Error("This server wants an invitation: open the link you were given, with its token.");
  const { credential, ws } = await answer.json();
  return { url: at(ws ?? "/ws"), credential };
}

async function join(name, room) {
  if (call.joining || call.room) return;
  call.joining = true;
  byId("join").disabled = true;
  notice("");
  try {
    const { url, credential } = await access();
    call.name = name;
    // With a token the address alone must be enough to come back; it is the user's own link.
    const address = new URLSearchParams(parameters);
    address.set("room", room);
    address.set("name", name);
    history.replaceState(null, "", `?${address}`);
    document.title = `${room} · Colchis`;
    enter(connect(url, { room, member: name, credential, sources: sources() }));
  } catch (error) {
    show("lobby");
    notice(error.message);
  } finally {
    call.joining = false;
    byId("join").disabled = false;
  }
}

function sources() {
  return {
    "audio/Device": { track: devices.tracks.audio, muted: !wanted.audio },
    "video/Device": { track: devices.tracks.video, muted: false },
  };
}

function enter(room) {
  show("call");
  call.room = room;
  call.view = new CallView(room, devices, { onRename: rename, onBlocked: askForSound });
  meter.set(null);
  banner("Connecting to the server…");
  room.on("state", ({ state, reason }) => {
    if (state === "joined") banner("");
    else if (state === "left") exit(reason);
    else lost();
  });
  room.on("connection", ({ state }) => {
    if (room.state !== "joined") return;
    if (state === "failed") banner("The path for sound and pictures broke. Trying again…");
    else if (state === "disconnected") banner("Your network is interrupted. Waiting for it…");
    else if (state === "connected") banner("");
  });
  room.on("error", ({ error }) => console.warn("colchis:", error));
}

function lost() {
  banner("Connection to the server lost. Reconnecting…", {
    action: "Try now",
    onAction: () => call.room?.client.retryNow(),
  });
}

function exit(reason) {
  call.view?.close();
  call.room = call.view = null;
  devices.stopScreen();
  refreshButtons();
  banner("");
  document.title = "Colchis";
  show("lobby");
  const [text, tone] = LEFT[reason] ?? LEFT.InternalError;
  notice(text, tone);
  refreshPreview();
  byId("join").textContent = "Join again";
  byId("join").focus();
}

/** Browsers may hold sound back until the first click. */
function askForSound() {
  banner("Your browser keeps the sound off until you click.", {
    action: "Hear everybody",
    still: true,
    onAction: () => {
      banner("");
      call.view?.playAll();
    },
  });
}

/** A name is who one is in the room: a new one means out and in again, on a new socket. */
function rename() {
  const dialog = byId("rename");
  const input = byId("new-name");
  input.value = call.name;
  dialog.returnValue = "";
  dialog.onclose = async () => {
    const name = cleanName(input.value);
    if (dialog.returnValue !== "ok" || !name || name === call.name || !call.room) return;
    const room = call.room.id;
    call.room.leave();
    byId("name").value = name;
    await join(name, room);
  };
  dialog.showModal();
  input.select();
}

/** Names and rooms are identifiers of the protocol: no slash, no control characters. */
const cleanName = (text) => text.replace(/[\p{Cc}/]/gu, " ").trim().replace(/\s+/gu, " ");

async function copyLink() {
  const link = new URL(location.href);
  link.search = "";
  link.searchParams.set("room", call.room.id);
  try {
    await navigator.clipboard.writeText(link.href);
    toast("Link copied: whoever opens it meets you here.");
  } catch {
    toast(`The link to this room: ${link.href}`);
  }
}

// --- wiring -----------------------------------------------------------------------------------------------------------

function wire() {
  byId("join-form").onsubmit = (event) => {
    event.preventDefault();
    const name = cleanName(byId("name").value);
    const room = cleanName(byId("room").value);
    if (!name || !room) return notice("Give yourself a name, and the room too.");
    remember(name);
    join(name, room);
  };
  byId("name").oninput = refreshPreview;
  byId("mic").onclick = byId("lobby-mic").onclick = () => toggle("audio");
  byId("cam").onclick = byId("lobby-cam").onclick = () => toggle("video");
  byId("share").onclick = toggleShare;
  byId("copy").onclick = copyLink;
  byId("leave").onclick = () => call.room?.leave();
  byId("figures").onclick = toggleFigures;
  if (!navigator.mediaDevices?.getDisplayMedia) byId("share").hidden = true;
  document.addEventListener("keydown", handleKey);
  devices.onended = async (kind) => {
    wanted[kind] = false;
    refreshButtons();
    complain(`Your ${kind === "video" ? "camera" : "microphone"} was unplugged or blocked. Switch it on again when it is back.`);
    await publish();
  };
  setInterval(() => {
    if (!call.room) byId("lobby-level").value = meter.read();
  }, 80);
}

function toggleFigures() {
  const hidden = document.body.classList.toggle("no-figures");
  byId("figures").setAttribute("aria-pressed", String(!hidden));
  byId("figures").setAttribute("aria-label", hidden ? "Show figures on each tile" : "Hide figures on each tile");
}

function handleKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.matches?.("input, select, textarea") || byId("rename").open) return;
  const keys = { m: () => toggle("audio"), v: () => toggle("video") };
  const inCall = { s: toggleShare, l: copyLink, i: toggleFigures };
  const action = keys[event.key.toLowerCase()] ?? (call.room ? inCall[event.key.toLowerCase()] : null);
  if (!action) return;
  event.preventDefault();
  action();
}

function remember(name) {
  try {
    localStorage.setItem("colchis.name", name);
  } catch {
    // A private window may forbid it; then the name is asked again.
  }
}

function remembered() {
  try {
    return localStorage.getItem("colchis.name") ?? "";
  } catch {
    return "";
  }
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function start() {
  wire();
  refreshButtons();
  const joinNow = parameters.get("join") === "1";
  byId("room").value = parameters.get("room") ?? "";
  byId("name").value = parameters.get("name") ?? (joinNow ? `Guest ${Math.floor(1000 + 9000 * Math.random())}` : remembered());
  refreshPreview();
  const started = startDevices(["audio", "video"]);
  // Only a saving of time: a browser without WebRTC says so when it is needed.
  const warm = warmUp().catch(() => {});
  const complaints = async () => {
    for (const error of await started) complain(error instanceof DeviceError ? error.message : String(error));
    await listDevices();
  };
  if (joinNow) {
    await Promise.race([Promise.all([started, warm]), wait(DEVICE_WAIT_MS)]);
    await join(cleanName(byId("name").value), cleanName(byId("room").value) || "lobby");
  } else if (!byId("name").value) byId("name").focus();
  await complaints();
}

start();
