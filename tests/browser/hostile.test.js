// Hostile clients while a call runs: garbage at the media port, bad frames and bad credentials at the WebSocket.
// The members of the call must not notice: their frame counts go on.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import dgram from "node:dgram";
import { once } from "node:events";
import { readFileSync, readdirSync } from "node:fs";
import { after, before, test } from "node:test";

import WebSocket from "ws";

import { framesDuring, startChromium, until, untilAllDecode } from "./lib/browsers.js";
import { startServer } from "./lib/server.js";

const HOSTILE = new URL("../data/hostile/", import.meta.url);
let server;
let chromium;
let callers;

before(async () => {
  server = await startServer();
  chromium = await startChromium();
  callers = [await chromium.caller("ann"), await chromium.caller("bob")];
  for (const caller of callers) await caller.join(server, "argo");
  await untilAllDecode(callers);
});

after(async () => {
  await chromium?.close();
  await server?.stop();
});

/** Runs `attack` while both members' frames of each other are counted. */
async function callGoesOnDuring(attack) {
  const [ann, bob] = callers;
  const calm = await framesDuring(ann, "bob", 2_000);
  const counts = Promise.all([framesDuring(ann, "bob", 4_000), framesDuring(bob, "ann", 4_000)]);
  await attack();
  const [atAnn, atBob] = await counts;
  console.log(`figure: frames in 2 s before ${calm}; in 4 s under attack ${atAnn} and ${atBob}`);
  // Half the calm rate: the attacker shares two cores with the browsers that count.
  for (const frames of [atAnn, atBob]) assert.ok(frames >= calm, `${frames} frames in 4 s, ${calm} in 2 s before`);
  for (const caller of callers) {
    assert.equal(await caller.evaluate(() => globalThis.colchis.pc.connectionState), "connected");
    assert.equal(await caller.evaluate(() => globalThis.colchis.room.state), "joined");
  }
}

const mediaPort = () =>
  callers[0].evaluate(async () => {
    const reports = await globalThis.colchis.pc.getStats();
    const transport = [...reports.values()].find((report) => report.type === "transport");
    const remote = reports.get(reports.get(transport.selectedCandidatePairId).remoteCandidateId);
    return { port: remote.port, address: remote.address ?? remote.ip };
  });

/** Opens a WebSocket, sends `frames`, and resolves with how it ended, or null if it was still open after `wait_ms`. */
async function sendFrames(frames, wait_ms = 3_000) {
  const socket = openSocket();
  const closed = once(socket, "close").then(([code, reason]) => ({ code, reason: String(reason) }));
  socket.on("open", () => frames.forEach((frame) => socket.readyState === 1 && socket.send(frame)));
  const timer = new Promise((resolve) => setTimeout(() => resolve(null), wait_ms));
  const end = await Promise.race([closed, timer]);
  socket.close();
  return end;
}

function openSocket() {
  const socket = new WebSocket(`${server.url.replace("http", "ws")}/ws`);
  // A socket that the server cuts while frames are on their way reports an error before it closes.
  socket.on("error", () => {});
  return socket;
}

const command = (name, data, room = "argo") => JSON.stringify({ Command: { room_id: room, command: { command: name, data } } });

test("garbage datagrams at the media port", async () => {
  const { port, address } = await mediaPort();
  const socket = dgram.createSocket(address.includes(":") ? "udp6" : "udp4");
  let answers = 0;
  socket.on("message", () => (answers += 1));
  const files = readdirSync(HOSTILE, { recursive: true, withFileTypes: true }).filter((f) => f.isFile() && f.name.endsWith(".bin"));
  const known = files.map((f) => readFileSync(`${f.parentPath ?? f.path}/${f.name}`)).filter((b) => b.length > 0 && b.length < 60_000);
  await callGoesOnDuring(async () => {
    for (let round = 0; round < 100; round += 1) {
      for (let i = 0; i < 50; i += 1) {
        const junk = randomBytes(1 + Math.floor(Math.random() * 1_400));
        // Every class of first byte: STUN, DTLS, RTP and RTCP, and what is none of them.
        junk[0] = [0, 1, 20, 22, 63, 127, 128, 144, 191, 255][i % 10];
        socket.send(junk, port, address);
      }
      for (const bytes of known) socket.send(bytes, port, address);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });
  socket.close();
  assert.equal(answers, 0, "the unauthenticated are never answered");
});

test("bad JSON, unknown commands and oversized frames", async () => {
  await callGoesOnDuring(async () => {
    const deep = "[".repeat(100_000);
    const ends = await Promise.all([
      sendFrames(["{", "null", "[]", '"x"', "{}", '{"Command":{}}', '{"Pong":-1}', '{"Pong":"x"}']),
      sendFrames([deep, JSON.stringify({ Command: { room_id: "argo", command: deep } })]),
      sendFrames([command("Dance", {}), command("MakeSdpOffer", { peer_id: 1 }), command("LeaveRoom", { member_id: "ann" })]),
      sendFrames([randomBytes(2_000), randomBytes(1)]),
      sendFrames(["x".repeat(600 * 1024)]),
    ]);
    assert.equal(ends[4]?.code, 1009, "a message over 512 KiB is told to be too big");
  });
});

test("wrong credentials are rejected, also for a name that is in the call", async () => {
  await callGoesOnDuring(async () => {
    for (const member_id of ["eve", "ann"]) {
      const join = command("JoinRoom", { member_id, credential: "wrong", capabilities: { audio_tx: [], audio_rx: [], video_tx: [], video_rx: [] } });
      const end = await sendFrames([join]);
      assert.equal(end?.code, 1000);
      assert.equal(JSON.parse(end.reason).reason, "Rejected");
    }
  });
  for (const caller of callers) assert.deepEqual((await caller.tiles()).sort(), ["ann", "bob"]);
});

test("commands without having joined change nothing", async () => {
  await callGoesOnDuring(() =>
    sendFrames([
      command("UpdateTracks", { peer_id: 0, tracks_patches: [{ id: 0, enabled: false, muted: true }] }),
      command("MakeSdpOffer", { peer_id: 0, sdp_offer: "v=0\r\n", mids: {}, transceivers_statuses: {} }),
      command("SynchronizeMe", { state: { peers: {} } }),
      command("LeaveRoom", { member_id: "bob" }),
    ]),
  );
});

test("a member with a broken description harms only itself", async () => {
  const { credential } = await (await fetch(`${server.url}/dev.json`)).json();
  const socket = openSocket();
  const events = [];
  socket.on("message", (data) => {
    const message = JSON.parse(String(data));
    if (message.msg === "Ping") socket.send(JSON.stringify({ Pong: message.data }));
    if (message.msg === "Event") events.push(message.data.event);
  });
  await once(socket, "open");
  socket.send(command("JoinRoom", { member_id: "mallory", credential, capabilities: { audio_tx: [], audio_rx: [], video_tx: [], video_rx: [] } }));
  await until("mallory is offered a connection", () => events.find((e) => e.event === "PeerCreated"));
  const { peer_id } = events.find((e) => e.event === "PeerCreated").data;
  await callGoesOnDuring(async () => {
    const sections = `m=video 9 UDP/TLS/RTP/SAVPF ${"96 ".repeat(2_000)}\r\n`;
    for (const sdp_offer of ["", "v=0", "\u0000", `v=0\r\n${"a=x\r\n".repeat(20_000)}`, `v=0\r\no=- 1 1 IN IP4 0\r\ns=-\r\nt=0 0\r\n${sections.repeat(20)}`]) {
      socket.send(command("MakeSdpOffer", { peer_id, sdp_offer, mids: { 1: "0" }, transceivers_statuses: {} }));
    }
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  });
  socket.close(1000);
  await until("mallory is gone", async () => !(await callers[0].tiles()).includes("mallory"), 15_000);
});

test("the server still runs and the members saw no error", async () => {
  assert.ok((await fetch(`${server.url}/dev.json`)).ok);
  for (const caller of callers) assert.deepEqual(caller.errors, [], caller.name);
});
