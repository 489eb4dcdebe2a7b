// Chromium and Firefox ESR in one room: two WebRTC implementations, media both ways.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { AES_GCM, startChromium, startFirefox, until, untilAllDecode } from "./lib/browsers.js";
import { startServer } from "./lib/server.js";

let server;
let chromium;
let firefox;

before(async () => {
  server = await startServer();
  [chromium, firefox] = await Promise.all([startChromium(), startFirefox()]);
});

after(async () => {
  await Promise.all([chromium?.close(), firefox?.close()]);
  await server?.stop();
});

test("Chromium and Firefox decode video and audio of each other", async () => {
  const one = await chromium.caller("chromium");
  const other = await firefox.caller("firefox");
  await one.join(server, "mixed");
  await other.join(server, "mixed");
  await untilAllDecode([one, other]);
  const cipher = await one.evaluate(async () => {
    const reports = [...(await globalThis.colchis.pc.getStats()).values()];
    return reports.find((report) => report.type === "transport").srtpCipher;
  });
  assert.match(cipher, AES_GCM);
  await other.screenshot("firefox");
  await other.press("leave");
  await until("firefox is gone", async () => !(await one.tiles()).includes("firefox"), 5_000);
  await other.press("join");
  await untilAllDecode([one, other]);
  assert.deepEqual(one.errors, []);
});
