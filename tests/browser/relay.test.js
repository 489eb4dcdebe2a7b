// Members that may use relays only, through a real TURN server: credentials, policy, and that media really takes that way.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { networkInterfaces, tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";

import { startChromium, startFirefox, until, untilAllDecode } from "./lib/browsers.js";
import { freePort, pairSpec, startServe } from "./lib/server.js";

const SECRET = "shared with the relay";
const HOST = Object.values(networkInterfaces())
  .flat()
  .find((address) => address.family === "IPv4" && !address.internal)?.address ?? "127.0.0.1";
let relay;
let server;
let chromium;
let firefox;

/** coturn on a port of its own, nothing of the host's configuration. */
async function startRelay(port) {
  const folder = await mkdtemp(path.join(tmpdir(), "colchis-turn-"));
  const options = ["--no-cli", "--no-tls", "--no-dtls", "--simple-log", "--log-file=stdout", "--allow-loopback-peers",
    `--listening-ip=${HOST}`, `--relay-ip=${HOST}`, `--listening-port=${port}`, "--use-auth-secret",
    `--static-auth-secret=${SECRET}`, "--realm=colchis.test", `--pidfile=${folder}/pid`, `--userdb=${folder}/db`];
  const child = spawn("turnserver", ["-n", ...options], { stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  child.stdout.on("data", (chunk) => (text += chunk));
  child.stderr.on("data", (chunk) => (text += chunk));
  const ended = once(child, "exit");
  await until("the relay listens", () => /Total General servers/.test(text) || child.exitCode !== null, 15_000);
  assert.equal(child.exitCode, null, text);
  return {
    output: () => text,
    async stop() {
      child.kill("SIGTERM");
      await ended;
      await rm(folder, { recursive: true });
    },
  };
}

before(async () => {
  const port = await freePort();
  relay = await startRelay(port);
  server = await startServe({
    config: `[ice]\nturn = ["turn:${HOST}:${port}?transport=udp"]\nturn_secret = "${SECRET}"\n`,
    specs: {
      "mesh.yaml": pairSpec("mesh", ["ann", "bob"], { p2p: "Always", publish: "{ force_relay: true }" }),
      "sfu.yaml": pairSpec("sfu", ["ann", "bob"], { publish: "{ force_relay: true }" }),
    },
  });
  [chromium, firefox] = await Promise.all([startChromium(), startFirefox()]);
});

after(async () => {
  await Promise.all([chromium?.close(), firefox?.close()]);
  await server?.stop();
  await relay?.stop();
});

/** Type of the local candidate that carries the media of each connection. */
const ways = (caller) =>
  caller.evaluate(async () => {
    const types = [];
    for (const { pc } of globalThis.colchis.room.peers) {
      const reports = await pc.getStats();
      const transport = [...reports.values()].find((report) => report.type === "transport");
      types.push(reports.get(reports.get(transport.selectedCandidatePairId).localCandidateId).candidateType);
    }
    return types;
  });

for (const [id, what] of [["mesh", "each other"], ["sfu", "the server"]]) {
  test(`members that may use relays only are connected with ${what} through the relay`, async () => {
    const callers = [];
    for (const [name, browser] of [["ann", chromium], ["bob", firefox]]) {
      const caller = await browser.caller(name);
      await caller.join(server, id, `&token=secret-${name}`);
      callers.push(caller);
    }
    await untilAllDecode(callers);
    for (const caller of callers) {
      assert.deepEqual(await ways(caller), ["relay"], caller.name);
      const [told] = await caller.evaluate(() => globalThis.colchis.room.peers[0].settings.ice_servers);
      assert.match(told.username, new RegExp(`^\\d+:${caller.name}$`), "credentials of its own, which end");
    }
    for (const caller of callers) {
      assert.deepEqual(caller.errors, [], caller.name);
      await caller.close();
    }
  });
}
