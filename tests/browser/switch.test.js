// A room that goes over from mesh to server when a third member comes, and back when one leaves (`p2p: IfPossible`).

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { gap, startChromium, startFirefox, until, untilAllDecode, watch } from "./lib/browsers.js";
import { startServer } from "./lib/server.js";

const ROOM = "switch";
let server;
let chromium;
let firefox;
const callers = {};

before(async () => {
  server = await startServer(["--p2p", "if-possible"]);
  [chromium, firefox] = await Promise.all([startChromium(), startFirefox()]);
  callers.ann = await chromium.caller("ann");
  callers.bob = await firefox.caller("bob");
  callers.cleo = await chromium.caller("cleo");
});

after(async () => {
  await Promise.all([chromium?.close(), firefox?.close()]);
  await server?.stop();
});

async function judge(when) {
  for (const caller of [callers.ann, callers.bob]) {
    const longest = await gap(caller);
    console.log(`figure: ${caller.name}'s longest time without a frame ${when} ${longest} ms (target 500 ms)`);
    assert.ok(longest < 3_000, `${longest} ms without a frame`);
  }
}

const modes = (caller) => caller.evaluate(() => globalThis.colchis.room.peers.map((peer) => peer.mode));

test("two members are connected with each other", async () => {
  const pair = [callers.ann, callers.bob];
  for (const caller of pair) await caller.join(server, ROOM);
  await untilAllDecode(pair);
  for (const caller of pair) assert.deepEqual(await modes(caller), ["Mesh"]);
});

test("a third brings the server in, and nobody's picture stands still", async () => {
  await Promise.all([watch(callers.ann, "bob"), watch(callers.bob, "ann")]);
  await callers.cleo.join(server, ROOM);
  await untilAllDecode(Object.values(callers));
  for (const caller of Object.values(callers)) {
    await until(`${caller.name} is with the server alone`, async () => (await modes(caller)).join() === "Sfu");
  }
  await untilAllDecode(Object.values(callers));
  await judge("while going over to the server");
});

test("when one leaves, the others go back to each other", async () => {
  await Promise.all([watch(callers.ann, "bob"), watch(callers.bob, "ann")]);
  await callers.cleo.press("leave");
  for (const caller of [callers.ann, callers.bob]) {
    await until(`${caller.name} is with the other alone`, async () => (await modes(caller)).join() === "Mesh");
  }
  await untilAllDecode([callers.ann, callers.bob]);
  await judge("while going back to each other");
});

test("no page reported an error", () => {
  for (const caller of Object.values(callers)) assert.deepEqual(caller.errors, [], caller.name);
});
