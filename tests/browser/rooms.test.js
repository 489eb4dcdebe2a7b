// Two rooms: each lives on a shard of its own, and its media on that shard's port.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startChromium, untilAllDecode } from "./lib/browsers.js";
import { startServer } from "./lib/server.js";

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

/** Port of the server in the candidate pair that carries the media, and the shard's number. */
const where = (caller) =>
  caller.evaluate(async () => {
    const reports = await globalThis.colchis.pc.getStats();
    const transport = [...reports.values()].find((report) => report.type === "transport");
    const pair = reports.get(transport.selectedCandidatePairId);
    return { port: reports.get(pair.remoteCandidateId).port, shard: globalThis.colchis.room.shard };
  });

test("two rooms are carried by two shards with two ports, and do not hear each other", async () => {
  const rooms = { iolcus: [], corinth: [] };
  for (const [room, callers] of Object.entries(rooms)) {
    for (const name of [`${room}-1`, `${room}-2`]) {
      const caller = await chromium.caller(name);
      await caller.join(server, room);
      callers.push(caller);
    }
    await untilAllDecode(callers);
  }
  const places = {};
  for (const [room, callers] of Object.entries(rooms)) {
    places[room] = await where(callers[0]);
    assert.deepEqual(await where(callers[1]), places[room], "a room lives on one shard");
    assert.deepEqual((await callers[0].tiles()).sort(), callers.map((c) => c.name).sort());
    assert.deepEqual(callers.flatMap((c) => c.errors), []);
  }
  console.log(`figure: shards and ports ${JSON.stringify(places)}`);
  assert.notEqual(places.iolcus.shard, places.corinth.shard);
  assert.notEqual(places.iolcus.port, places.corinth.port);
});
