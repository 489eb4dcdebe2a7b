// How long from joining to the first decoded frame, step by step, on the machine as it is. Not a test: it prints.
//
//   node first-frame.js [MEMBERS] [ROUNDS]
//
// MEMBERS pages are in the room already; another one joins ROUNDS times, each time as a fresh page whose camera runs.

import { startChromium, untilAllDecode } from "./lib/browsers.js";
import { startServer } from "./lib/server.js";

const [members, rounds] = [Number(process.argv[2] ?? 1), Number(process.argv[3] ?? 5)];

/** Runs in the page before its scripts: notes when each step happened, in ms since JoinRoom was sent. */
function watch() {
  const steps = (globalThis.steps = {});
  let zero = 0; // When JoinRoom was sent; what is before it does not count.
  const note = (name) => zero > 0 && (steps[name] ??= Math.round(performance.now() - zero));
  const Socket = globalThis.WebSocket;
  globalThis.WebSocket = class extends Socket {
    send(text) {
      const name = JSON.parse(text).Command?.command.command;
      if (name === "JoinRoom") zero = performance.now();
      if (name) note(`→ ${name}`);
      super.send(text);
    }
    set onmessage(listener) {
      super.onmessage = (event) => {
        const message = JSON.parse(event.data);
        if (message.msg === "Event") note(`← ${message.data.event.event}`);
        listener(event);
      };
    }
  };
  const Peer = globalThis.RTCPeerConnection;
  globalThis.RTCPeerConnection = class extends Peer {
    constructor(settings) {
      super(settings);
      note("RTCPeerConnection made");
      this.addEventListener("iceconnectionstatechange", () => note(`ICE ${this.iceConnectionState}`));
      this.addEventListener("connectionstatechange", () => note(`connection ${this.connectionState}`));
      this.addEventListener("track", ({ receiver, track }) => {
        if (track.kind !== "video") return;
        const poll = setInterval(() => {
          if (receiver.getSynchronizationSources().length === 0) return;
          note("first video packets played out");
          clearInterval(poll);
        }, 5);
      });
    }
  };
  new MutationObserver(() => {
    for (const video of document.querySelectorAll("video[data-member]")) {
      if (video.dataset.watched || video.muted) continue;
      video.dataset.watched = "1";
      video.requestVideoFrameCallback(() => note("first frame"));
    }
  }).observe(document, { childList: true, subtree: true });
}

const server = await startServer();
const chromium = await startChromium();
const others = [];
for (let at = 0; at < members; at += 1) {
  const other = await chromium.caller(`m${at}`);
  await other.join(server, "first");
  others.push(other);
}
if (others.length > 1) await untilAllDecode(others);
const totals = [];
for (let round = 0; round < rounds; round += 1) {
  const late = await chromium.caller(`late${round}`);
  await late.page.addInitScript(watch);
  await late.join(server, "first");
  const steps = await late.page.waitForFunction(() => globalThis.steps["first frame"] !== undefined && globalThis.steps, null, { timeout: 30_000 });
  const seen = await steps.jsonValue();
  totals.push(seen["first frame"]);
  console.log(Object.entries(seen).sort((a, b) => a[1] - b[1]).map(([name, ms]) => `${name} ${ms}`).join(" · "));
  await late.close();
}
totals.sort((a, b) => a - b);
console.log(`join to first decoded frame, ${members} in the room: median ${totals[totals.length >> 1]} ms, all ${totals.join(", ")} ms`);
await chromium.close();
await server.stop();
