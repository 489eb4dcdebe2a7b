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

test("what is muted or switched off in one is shown in the other", async () => {
  const callers = { chromium: await chromium.caller("cleo"), firefox: await firefox.caller("fay") };
  for (const caller of Object.values(callers)) await caller.join(server, "buttons");
  await untilAllDecode(Object.values(callers));
  for (const [one, other] of [[callers.chromium, callers.firefox], [callers.firefox, callers.chromium]]) {
    const shown = (key) =>
      other.evaluate(([member, wanted]) => document.querySelector(`[data-tile="${member}"]`)?.dataset[wanted], [one.name, key]);
    await one.press("mic");
    await until(`${other.name} sees ${one.name} muted`, async () => (await shown("muted")) === "true");
    await one.press("mic");
    await until(`${other.name} sees ${one.name} unmuted`, async () => (await shown("muted")) === "false");
    await one.press("cam");
    await until(`${other.name} sees ${one.name}'s camera off`, async () => (await shown("video")) === "off");
    await one.press("cam");
    await until(`${other.name} sees ${one.name}'s camera on`, async () => (await shown("video")) !== "off");
    await untilAllDecode([one, other]);
  }
});

test("figures are told by Firefox also while a connection is given up", async () => {
  const caller = await firefox.caller("gil");
  await caller.join(server, "figures");
  await until("a connection", () => caller.evaluate(() => globalThis.colchis.pc?.connectionState === "connected"));
  const rows = await caller.evaluate(async () => {
    const told = globalThis.colchis.stats();
    globalThis.colchis.pc.close();
    return await told;
  });
  assert.ok(Array.isArray(rows));
});
