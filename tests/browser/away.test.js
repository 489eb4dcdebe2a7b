// What may go away for some seconds without anybody's picture standing still: the signalling socket, the page, and
// the way of the media.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { gap, startChromium, startFirefox, until, untilAllDecode, watch } from "./lib/browsers.js";
import { startServer } from "./lib/server.js";

const AWAY_MS = 5_000;
/** As long as a picture may stand on a machine that encodes and decodes everything in software. */
const GAP_MAX_MS = 500;
let server;
let chromium;

before(async () => {
  server = await startServer();
  chromium = await startChromium();
});

after(async () => {
  await chromium?.close();
  await server?.stop();
});

/** Runs in the page: sockets can be cut, and kept from coming back for a while. */
function interceptSockets() {
  const Real = WebSocket;
  globalThis.sockets = [];
  globalThis.awayUntil = 0;
  globalThis.WebSocket = class extends Real {
    constructor(url, ...args) {
      // Nobody listens on port 9 of this host.
      super(performance.now() < globalThis.awayUntil ? "ws://127.0.0.1:9/" : url, ...args);
      globalThis.sockets.push(this);
    }
  };
}

const muted = (caller, member) =>
  caller.evaluate((name) => document.querySelector(`[data-tile="${name}"]`)?.dataset.muted, member);

for (const [name, start] of [["Chromium", startChromium], ["Firefox", startFirefox]]) {
  describe(`a member with ${name}, another with Chromium`, () => {
    const room = `away-${name}`;
    const callers = {};
    let browser;

    before(async () => {
      browser = await start();
      callers.ann = await browser.caller("ann");
      callers.bob = await chromium.caller("bob");
      await callers.ann.beforeEveryPage(interceptSockets);
    });

    after(async () => {
      await callers.bob?.close();
      await browser?.close();
    });

    test("two members are connected through the server", async () => {
      for (const caller of Object.values(callers)) await caller.join(server, room);
      await untilAllDecode(Object.values(callers));
    });

    test("a socket that is away for 5 s costs no frame, and what was pressed meanwhile counts", async (t) => {
      const { ann, bob } = callers;
      await Promise.all([watch(ann, "bob"), watch(bob, "ann")]);
      await ann.evaluate((ms) => {
        globalThis.awayUntil = performance.now() + ms;
        globalThis.sockets.at(-1).close(3000);
      }, AWAY_MS);
      await ann.press("mic");
      await new Promise((resolve) => setTimeout(resolve, AWAY_MS));
      assert.equal(await muted(bob, "ann"), "false", "nobody could be told yet");
      await until("ann is back", () => ann.evaluate(() => globalThis.colchis.room?.state === "joined"));
      await until("bob sees ann muted", async () => (await muted(bob, "ann")) === "true");
      for (const caller of [ann, bob]) {
        const longest = await gap(caller);
        t.diagnostic(`longest time without a frame on ${caller.name}'s page: ${longest} ms`);
        assert.ok(longest < GAP_MAX_MS, `${caller.name}'s picture stood still for ${longest} ms`);
      }
      await ann.press("mic");
      await until("bob sees ann unmuted", async () => (await muted(bob, "ann")) === "false");
    });

    test("a page that is reloaded is back in the call", async () => {
      await callers.ann.join(server, room);
      await untilAllDecode(Object.values(callers));
    });

    test("a connection that is said to have failed begins anew, with the same connection and no frame lost for long", async (t) => {
      const { ann, bob } = callers;
      const ufrags = () => ann.evaluate(() => globalThis.colchis.pc.remoteDescription.sdp.match(/a=ice-ufrag:(\S+)/)[1]);
      const before = await ufrags();
      const connection = await ann.page.evaluateHandle(() => globalThis.colchis.pc);
      await Promise.all([watch(ann, "bob"), watch(bob, "ann")]);
      await ann.evaluate(() =>
        globalThis.colchis.room.peers[0].send("AddPeerConnectionMetrics", { metrics: { PeerConnectionState: "Failed" } }),
      );
      await until("the server has other credentials", async () => (await ufrags()) !== before);
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      assert.ok(await ann.page.evaluate((pc) => globalThis.colchis.pc === pc && pc.connectionState === "connected", connection));
      for (const caller of [ann, bob]) {
        const longest = await gap(caller);
        t.diagnostic(`longest time without a frame on ${caller.name}'s page: ${longest} ms`);
        assert.ok(longest < GAP_MAX_MS, `${caller.name}'s picture stood still for ${longest} ms`);
      }
      await untilAllDecode([ann, bob]);
    });
  });
}
