// Trains of datagrams (UDP segmentation offload), as they are on the wire and as a browser takes them: the kernel cuts them
// into datagrams that are right in every length and checksum, and none is lost, doubled or out of order.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { release, tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

import { startChromium, until, untilAllDecode } from "./lib/browsers.js";
import { CHECKSUM_GOOD, captureDatagrams } from "./lib/capture.js";
import { startNetwork } from "./lib/network.js";
import { writeNoise } from "./lib/noise.js";
import { askPrivate, pairSpec, startServe } from "./lib/server.js";

const ROOM = "trains";
/** Few frames a second: each is of several packets also at the bitrate that browsers begin with. */
const CAMERA = { width: 640, height: 360, rate: 5 };
const CAPTURE_S = 4;
/** IPv6 guarantees this much (RFC 8200 section 5), and browsers keep their packets below it. */
const IP_BYTES_MAX = 1280;
const ETHERNET_BYTES = 14;
const IPV4_BYTES = 20;
const UDP_BYTES = 8;
/** Linux before 6.11 refuses trains where the interface makes no checksums, and the server goes on without. */
const [major, minor] = release().split(".").map(Number);
const CUTS_WITHOUT_OFFLOAD = major > 6 || (major === 6 && minor >= 11);
let folder;
let network;
let server;
let chromium;
let callers;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "colchis-"));
  const film = path.join(folder, "noise.y4m");
  await writeNoise(film, CAMERA);
  network = await startNetwork();
  await network.offload(!CUTS_WITHOUT_OFFLOAD);
  server = await startServe({
    network,
    media: 'udp = "trains"',
    specs: { "trains.yaml": pairSpec(ROOM, ["ann", "bob"]) },
  });
  chromium = await startChromium({
    flags: [`--unsafely-treat-insecure-origin-as-secure=${server.url}`, `--use-file-for-fake-video-capture=${film}`],
  });
  callers = [await chromium.caller("ann"), await chromium.caller("bob")];
  for (const caller of callers) await caller.join(server, ROOM, `&token=secret-${caller.name}`, CAMERA);
  await untilAllDecode(callers);
});

after(async () => {
  await chromium?.close();
  await server?.stop();
  await network?.close();
  await rm(folder, { recursive: true });
});

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Trains the server has sent: of one datagram, and longer ones. */
async function trains() {
  const text = await (await askPrivate(server, "/metrics")).text();
  const sum = (pattern) => [...text.matchAll(pattern)].reduce((all, [, value]) => all + Number(value), 0);
  const all = sum(/^colchis_shard_train_datagrams_count\{.*\} (\S+)$/gm);
  const alone = sum(/^colchis_shard_train_datagrams_bucket\{(?=.*le="1(?:\.0)?").*\} (\S+)$/gm);
  return { alone, longer: all - alone };
}

/** Figures of the video that `caller` receives. */
const received = (caller) =>
  caller.evaluate(async () => {
    const reports = [...(await globalThis.colchis.pc.getStats()).values()];
    const video = reports.find((report) => report.type === "inbound-rtp" && report.kind === "video");
    return { ssrc: video.ssrc, frames: video.framesDecoded, packets: video.packetsReceived, lost: video.packetsLost };
  });

/** What was on the wire for some seconds; in them longer trains left, and each page decoded the other without a loss. */
async function captured(t) {
  await until("frames are of several packets", async () => {
    const first = await Promise.all(callers.map(received));
    await pause(1_000);
    const next = await Promise.all(callers.map(received));
    return next.every(({ packets, frames }, at) => {
      const shown = frames - first[at].frames;
      return shown >= 2 && packets - first[at].packets > 3 * shown;
    });
  });
  t.diagnostic(`frames of several packets after ${Math.round(performance.now())} ms`);
  const before = { trains: await trains(), pages: await Promise.all(callers.map(received)) };
  const datagrams = await captureDatagrams(network.device, network.address, CAPTURE_S);
  // The server tells its figures once a second.
  await pause(1_100);
  const now = { trains: await trains(), pages: await Promise.all(callers.map(received)) };
  const longer = now.trains.longer - before.trains.longer;
  t.diagnostic(`${datagrams.length} datagrams captured; ${longer} trains and ${now.trains.alone - before.trains.alone} alone`);
  assert.ok(longer >= CAMERA.rate * CAPTURE_S, "trains of more than one datagram left meanwhile");
  for (const [at, page] of now.pages.entries()) {
    const name = callers[at].name;
    assert.ok(page.frames - before.pages[at].frames >= CAPTURE_S * CAMERA.rate * 0.5, `${name} decodes`);
    assert.equal(page.lost, before.pages[at].lost, `${name} misses no packet`);
  }
  return datagrams;
}

/** RTP packets by receiver (its port) and SSRC, as they came. */
function streams(datagrams) {
  const out = new Map();
  for (const { port, rtp } of datagrams) {
    if (rtp === null) continue;
    const key = `${port}/${rtp.ssrc}`;
    if (!out.has(key)) out.set(key, []);
    out.get(key).push(rtp);
  }
  return out;
}

const countFrames = (packets) => new Set(packets.map((packet) => packet.timestamp)).size;

test("trains are datagrams on the wire: right, complete, in order", { skip: !CUTS_WITHOUT_OFFLOAD }, async (t) => {
  const datagrams = await captured(t);
  for (const datagram of datagrams) {
    const told = JSON.stringify(datagram);
    assert.equal(datagram.ip, datagram.frame - ETHERNET_BYTES, `length in the IP header: ${told}`);
    assert.equal(datagram.udp, datagram.ip - IPV4_BYTES, `length in the UDP header: ${told}`);
    assert.equal(datagram.payload, datagram.udp - UDP_BYTES, `what is there: ${told}`);
    assert.ok(datagram.ip <= IP_BYTES_MAX, `not too long for the path: ${told}`);
    assert.equal(datagram.ipChecksum, CHECKSUM_GOOD, `checksum of the IP header: ${told}`);
    assert.equal(datagram.udpChecksum, CHECKSUM_GOOD, `checksum of UDP: ${told}`);
  }
  const found = streams(datagrams);
  for (const [stream, packets] of found) {
    for (const [at, packet] of packets.entries()) {
      const expected = (packets[0].sequence + at) % 65_536;
      assert.equal(packet.sequence, expected, `packet ${at} of ${packets.length} to ${stream} is the next`);
    }
  }
  for (const { ssrc } of await Promise.all(callers.map(received))) {
    const [, packets] = [...found].find(([stream]) => stream.endsWith(`/${ssrc}`));
    const frames = countFrames(packets);
    t.diagnostic(`${packets.length} packets of ${frames} frames to one of the two`);
    assert.ok(frames >= CAPTURE_S && packets.length > frames, "a video, some of its frames of several packets");
  }
});

test("trains that a network card would cut reach a browser whole", async (t) => {
  await network.offload(true);
  const datagrams = await captured(t);
  // No card is there: the capture sees trains as the server has made them, and the browser's kernel cuts them.
  const whole = datagrams.filter((datagram) => datagram.ip > IP_BYTES_MAX);
  assert.ok(whole.length >= CAMERA.rate * CAPTURE_S, `${whole.length} trains were left whole`);
});
