// What the Control API says of a camera's encoding reaches the encoder.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { CAMERA, startChromium, until, untilAllDecode } from "./lib/browsers.js";
import { pairSpec, startServe } from "./lib/server.js";

let server;
let chromium;

const spec = (divisor) =>
  pairSpec("small", ["ann", "bob"], {
    publish: `{ video_settings: { encodings: [{ scale_resolution_down_by: ${divisor}, max_bitrate: 200000 }] } }`,
  });

before(async () => {
  server = await startServe({ specs: { "room.yaml": spec(2) } });
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
  for (const caller of [ann, bob]) assert.deepEqual(caller.errors, []);
});
