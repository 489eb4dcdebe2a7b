// The whole network goes away, sockets and media: the call goes on when it is back, on the same connections. Short of the
// time ICE gives up after it just does; later ICE has to begin anew.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { gap, startChromium, startFirefox, untilAllDecode, watch } from "./lib/browsers.js";
import { startNetwork } from "./lib/network.js";
import { pairSpec, startServe } from "./lib/server.js";

const SHORT_MS = 8_000;
/**
 * Longer than the server waits for checks (30 s) before it begins ICE anew by itself. Firefox is spared some of it: each
 * try to reach a server that is away makes it wait longer before the next.
 */
const LONG_MS = { Chromium: 34_000, Firefox: 25_000 };
const ROOM = "away";
let network;
let server;

before(async () => {
  network = await startNetwork();
  server = await startServe({
    network,
    config: "[timeouts]\nreconnect_timeout_ms = 60000\n",
    specs: { "away.yaml": pairSpec(ROOM, ["ann", "bob"]) },
  });
});

after(async () => {
  await server?.stop();
  await network?.close();
});

/** Cameras are for pages of https or of this host otherwise. */
const BROWSERS = {
  Chromium: () => startChromium({ flags: [`--unsafely-treat-insecure-origin-as-secure=${server.url}`] }),
  Firefox: () =>
    startFirefox({
      preferences: { "media.devices.insecure.enabled": true, "media.getusermedia.insecure.enabled": true },
    }),
};

const remote = (caller) =>
  caller.evaluate(() => globalThis.colchis.pc?.remoteDescription?.sdp.match(/a=ice-ufrag:(\S+)/)[1]);

async function away(callers, ms) {
  const [ann, bob] = callers;
  await Promise.all([watch(ann, "bob"), watch(bob, "ann")]);
  await network.pull();
  await new Promise((resolve) => setTimeout(resolve, ms));
  await network.plug();
  const plugged = Date.now();
  await untilAllDecode(callers);
  return `away for ${ms} ms, back after ${Date.now() - plugged} ms, longest without a frame ${await gap(ann)} ms`;
}

for (const [name, start] of Object.entries(BROWSERS)) {
  test(`members with ${name} whose network is away have their call back`, async (t) => {
    const browser = await start();
    try {
      const callers = [await browser.caller("ann"), await browser.caller("bob")];
      for (const caller of callers) await caller.join(server, ROOM, `&token=secret-${caller.name}`);
      await untilAllDecode(callers);
      for (const caller of callers) await caller.evaluate(() => (globalThis.first = globalThis.colchis.pc));
      const first = await Promise.all(callers.map(remote));
      const untouched = async () => {
        for (const caller of callers) assert.ok(await caller.evaluate(() => globalThis.colchis.pc === globalThis.first));
      };

      t.diagnostic(await away(callers, SHORT_MS));
      await untouched();

      t.diagnostic(await away(callers, LONG_MS[name]));
      // Firefox forgets its keys with a connection that it has given up: the server has to give it another one.
      if (name === "Firefox") return;
      await untouched();
      for (const [at, caller] of callers.entries()) {
        assert.notEqual(await remote(caller), first[at], `ICE of ${caller.name} has begun anew`);
      }
      for (const caller of callers) await caller.press("leave");
    } finally {
      await browser.close();
    }
  });
}
