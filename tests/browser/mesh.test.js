// Rooms whose members are connected with each other: the server passes descriptions and candidates on, and no media.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { framesDuring, startChromium, startFirefox, until, untilAllDecode, untilDecoding } from "./lib/browsers.js";
import { askPrivate, startServer } from "./lib/server.js";

const ROOM = "mesh";
let server;
let chromium;
let firefox;
const callers = {};

before(async () => {
  server = await startServer(["--p2p", "always"]);
  chromium = await startChromium();
  callers.ann = await chromium.caller("ann");
  callers.bob = await chromium.caller("bob");
  await callers.ann.beforeEveryPage(() => {
    globalThis.sockets = [];
    globalThis.WebSocket = class extends globalThis.WebSocket {
      constructor(...given) {
        super(...given);
        globalThis.sockets.push(this);
      }
    };
  });
});

after(async () => {
  await firefox?.close();
  await chromium?.close();
  await server?.stop();
});

const tile = (caller, key) =>
  caller.evaluate((wanted) => {
    const found = [...document.querySelectorAll("[data-tile]")].find((t) => t.dataset.tile === wanted);
    return found ? { muted: found.dataset.muted, video: found.dataset.video } : null;
  }, key);

/** The figure of /v1/shards, summed over shards. */
async function carried(figure) {
  const shards = await (await askPrivate(server, "/v1/shards")).json();
  return shards.reduce((sum, shard) => sum + shard[figure], 0);
}

test("two members decode each other, and the server carries nothing", async () => {
  const pair = [callers.ann, callers.bob];
  for (const caller of pair) await caller.join(server, ROOM);
  await untilAllDecode(pair);
  const modes = await callers.ann.evaluate(() => globalThis.colchis.room.peers.map((peer) => peer.mode));
  assert.deepEqual(modes, ["Mesh"]);
  await until("the server knows of two members", async () => (await carried("members")) === 2);
  assert.equal(await carried("transports"), 0);
});

test("mute and camera off reach the other", async () => {
  await callers.ann.press("mic");
  await until("bob sees ann muted", async () => (await tile(callers.bob, "ann")).muted === "true");
  await callers.ann.press("mic");
  await until("bob sees ann unmuted", async () => (await tile(callers.bob, "ann")).muted === "false");
  await callers.ann.press("cam");
  await until("bob sees ann's camera off", async () => (await tile(callers.bob, "ann")).video === "off");
  await callers.ann.press("cam");
  await until("bob sees ann's camera on", async () => (await tile(callers.bob, "ann")).video !== "off");
  await untilDecoding(callers.bob, "ann");
});

test("a socket that is lost costs no media", async () => {
  await callers.ann.evaluate(() => globalThis.sockets.at(-1).close(3000));
  assert.ok((await framesDuring(callers.bob, "ann", 2_000)) > 0);
  await until("ann is back", () => callers.ann.evaluate(() => globalThis.sockets.length === 2 && globalThis.colchis.room.state === "joined"));
  // What she says now must reach bob: both are still of one mind about their connection.
  await callers.ann.press("mic");
  await until("bob sees ann muted", async () => (await tile(callers.bob, "ann")).muted === "true");
  await callers.ann.press("mic");
  await untilAllDecode([callers.ann, callers.bob]);
});

test("a page that is reloaded comes back", async () => {
  await callers.bob.join(server, ROOM);
  await untilAllDecode([callers.ann, callers.bob]);
});

test("Firefox and Chromium, three in the room", async () => {
  firefox = await startFirefox();
  callers.fay = await firefox.caller("fay");
  await callers.fay.join(server, ROOM);
  await untilAllDecode(Object.values(callers));
  assert.equal(await carried("transports"), 0);
  await callers.bob.press("leave");
  await until("the others see bob go", async () => {
    const seen = [await callers.ann.tiles(), await callers.fay.tiles()];
    return seen.every((tiles) => !tiles.includes("bob"));
  });
  await untilAllDecode([callers.ann, callers.fay]);
});

test("no page reported an error", () => {
  for (const caller of Object.values(callers)) assert.deepEqual(caller.errors, [], caller.name);
});
