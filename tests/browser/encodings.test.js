// What the Control API says of a camera's encoding reaches the encoder.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { CAMERA, gap, startChromium, until, untilAllDecode, watch } from "./lib/browsers.js";
import { pairSpec, startServe } from "./lib/server.js";

let server;
let chromium;

const simulcast = pairSpec("threefold", ["ann", "bob"], {
  publish: `{ video_settings: { encodings: [
    { scale_resolution_down_by: 4, max_bitrate: 100000 },
    { scale_resolution_down_by: 2, max_bitrate: 300000 },
    { max_bitrate: 900000 }] } }`,
});

const spec = (divisor) =>
  pairSpec("small", ["ann", "bob"], {
    publish: `{ video_settings: { encodings: [{ scale_resolution_down_by: ${divisor}, max_bitrate: 200000 }] } }`,
  });

before(async () => {
  server = await startServe({ specs: { "room.yaml": spec(2), "simulcast.yaml": simulcast } });
  chromium = await startChromium();
});

after(async () => {
  await chromium?.close();
  await server?.stop();
});

test("a camera that is to be sent at half its size comes so, and at its own when that is said", async () => {
  const callers = [await chromium.caller("ann"), await chromium.caller("bob")];
  for (const caller of callers) await caller.join(server, "small", `&token=secret-${caller.name}`);
  await untilAllDecode(callers);
  const [ann, bob] = callers;
  const comesDividedBy = (divisor) =>
    until(`bob receives ann's picture divided by ${divisor}`, async () => {
      const { video } = await bob.received("ann");
      return video?.width === CAMERA.width / divisor && video.height === CAMERA.height / divisor;
    });
  await comesDividedBy(2);
  await server.respec("room.yaml", spec(4));
  await comesDividedBy(4);
  await server.respec("room.yaml", pairSpec("small", ["ann", "bob"]));
  await comesDividedBy(1);
  for (const caller of [ann, bob]) {
    assert.deepEqual(caller.errors, []);
    await caller.page.close();
  }
});

/** Widths of the encodings a camera is sent in at the moment, by their names. */
const sent = (caller) =>
  caller.evaluate(async () => {
    const report = [...(await globalThis.colchis.pc.getStats()).values()];
    const flowing = report.filter((r) => r.type === "outbound-rtp" && r.rid && r.framesPerSecond > 0);
    return flowing.map(({ rid, frameWidth }) => ({ rid, width: frameWidth })).sort((a, b) => b.width - a.width);
  });

/** Switches an encoding of the camera, as a browser does by itself when it lacks bandwidth. */
const setActive = (caller, rid, active) =>
  caller.evaluate(
    async ([rid, active]) => {
      const sender = globalThis.colchis.pc.getSenders().find((s) => s.track?.kind === "video");
      const parameters = sender.getParameters();
      parameters.encodings.find((e) => e.rid === rid).active = active;
      await sender.setParameters(parameters);
    },
    [rid, active],
  );

test("of a camera in several encodings everybody gets the best that comes, and keeps his picture when it goes", async () => {
  const callers = [await chromium.caller("ann"), await chromium.caller("bob")];
  // Browsers send three encodings of a picture of this size and up, and fewer of smaller ones.
  const camera = { width: 960, height: 540, rate: 10 };
  for (const caller of callers) await caller.join(server, "threefold", `&token=secret-${caller.name}`, camera);
  await untilAllDecode(callers);
  const [ann, bob] = callers;
  const width = async () => (await bob.received("ann")).video?.width ?? 0;
  let best;
  await until("ann sends several encodings, and bob gets the best", async () => {
    const encodings = await sent(ann);
    best = encodings[0];
    return encodings.length > 1 && (await width()) === best.width;
  });
  await watch(bob, "ann");
  await setActive(ann, best.rid, false);
  await until("bob gets a smaller one when that is given up", async () => {
    const encodings = await sent(ann);
    return encodings[0]?.width < best.width && (await width()) === encodings[0].width;
  });
  const pause = await gap(bob);
  console.log(`longest time without a frame: ${pause} ms`);
  assert.ok(pause < 3_000, `bob's picture stood still for ${pause} ms`);
  await setActive(ann, best.rid, true);
  await until("bob gets the larger one again", async () => (await width()) >= best.width);
  for (const caller of [ann, bob]) assert.deepEqual(caller.errors, []);
});
