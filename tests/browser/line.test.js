// A receiver whose line becomes narrow is sent a smaller encoding of the camera, and the whole of it when it is wide again.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startChromium, until, untilAllDecode } from "./lib/browsers.js";
import { startNetwork } from "./lib/network.js";
import { askPrivate, pairSpec, startServe } from "./lib/server.js";

const CAMERA = { width: 960, height: 540, rate: 10 };
/** Less than the largest encoding takes: the drawn camera takes some 350 kbit/s, and 150 in half its width. */
const NARROW_KBIT = 250;
const ROOM = "line";
let network;
let server;
let chromium;

before(async () => {
  network = await startNetwork();
  server = await startServe({
    network,
    specs: {
      "line.yaml": pairSpec(ROOM, ["ann", "bob"], {
        publish: `{ video_settings: { encodings: [
          { scale_resolution_down_by: 4, max_bitrate: 100000 },
          { scale_resolution_down_by: 2, max_bitrate: 250000 },
          { max_bitrate: 1500000 }] } }`,
      }),
    },
  });
  chromium = await startChromium({ flags: [`--unsafely-treat-insecure-origin-as-secure=${server.url}`] });
});

after(async () => {
  await chromium?.close();
  await server?.stop();
  await network?.close();
});

/** UDP port of the connection of `caller`. */
const portOf = (caller) =>
  caller.evaluate(async () => {
    const report = await globalThis.colchis.pc.getStats();
    const pair = [...report.values()].find((r) => r.type === "candidate-pair" && r.nominated && r.state === "succeeded");
    return report.get(pair.localCandidateId).port;
  });

test("a narrow line is sent a smaller picture without a queue, and a wide one the whole picture again", async (t) => {
  const callers = [await chromium.caller("ann"), await chromium.caller("bob")];
  for (const caller of callers) await caller.join(server, ROOM, `&token=secret-${caller.name}`, CAMERA);
  await untilAllDecode(callers);
  const [ann, bob] = callers;
  const width = async () => (await bob.received("ann")).video?.width ?? 0;
  await until("bob gets the whole picture", async () => (await width()) > CAMERA.width / 2, 90_000);

  await network.narrow(await portOf(bob), NARROW_KBIT);
  const narrowed = Date.now();
  const metric = /colchis_shard_encodings_lowered_total\{shard="0"\} [1-9]/;
  await until("bob gets a smaller picture, because of his line", async () => {
    const now = await width();
    const metrics = await (await askPrivate(server, "/metrics")).text();
    return now > 0 && now <= CAMERA.width / 2 && metric.test(metrics);
  });
  t.diagnostic(`smaller after ${Date.now() - narrowed} ms of a line of ${NARROW_KBIT} kbit/s`);
  await until("no packets stand in the queue", async () => {
    const { video } = await bob.received("ann");
    return video.fps > 0 && video.rtt_ms < 150;
  });
  t.diagnostic(`no queue after ${Date.now() - narrowed} ms`);

  await network.widen();
  const widened = Date.now();
  await until("bob gets the whole picture again", async () => (await width()) > CAMERA.width / 2, 120_000);
  t.diagnostic(`whole again after ${Date.now() - widened} ms`);
  for (const caller of callers) assert.deepEqual(caller.errors, []);
});
