// Starts and stops the release binary for one test file.
//
// `colchis dev` needs no file; `serve` writes one from the text it is given. A server that does not end cleanly on
// SIGTERM fails the test that stops it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../..");
const TARGET = process.env.CARGO_TARGET_DIR ?? path.join(ROOT, "target");
const BINARY = process.env.COLCHIS_BINARY ?? path.join(TARGET, "release", "colchis");
const START_TIMEOUT_MS = 15_000;
const STOP_TIMEOUT_MS = 10_000;

/** Where screenshots go. */
export const SCREENSHOTS = path.join(TARGET, "screenshots");

/** A port that is free now. */
export async function freePort() {
  const server = net.createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** A running server: {url, output(), pid, stop()}; on a port of the test's choice if it gives one. */
export async function startServer(options = [], wanted = null) {
  if (!existsSync(BINARY)) throw new Error(`${BINARY} is missing: run \`cargo build --release\` first`);
  const port = wanted ?? (await freePort());
  const url = `http://127.0.0.1:${port}`;
  return run(["dev", "--listen", `127.0.0.1:${port}`, ...options], url, "/dev.json");
}

/**
 * A running `colchis serve` at the far end of `network`, or on this host: `config` is TOML beside the listeners, which are
 * given, `media` more lines of `[media]`, and `specs` are room specs by file name. What it needs on disk is gone with it.
 */
export async function startServe({ config = "", media = "", specs = {}, network = null }) {
  const host = network?.address ?? "127.0.0.1";
  const folder = await mkdtemp(path.join(tmpdir(), "colchis-"));
  const port = await freePort();
  await mkdir(path.join(folder, "rooms"));
  for (const [name, text] of Object.entries(specs)) await writeFile(path.join(folder, "rooms", name), text);
  const file = path.join(folder, "colchis.toml");
  const text = `[public]
listen = "${host}:${port}"
page = true
[private]
listen = "${host}:0"
[media]
udp_port = 0
${network ? `advertise = ["${host}"]` : ""}
${media}
[rooms]
specs = "${path.join(folder, "rooms")}"
${config}`;
  await writeFile(file, text);
  const server = await run(["serve", "--config", file], `http://${host}:${port}`, "/", network);
  /** Writes a room spec anew and has it read. */
  server.respec = async (name, text) => {
    await writeFile(path.join(folder, "rooms", name), text);
    process.kill(server.pid, "SIGHUP");
  };
  const stopServer = server.stop;
  server.stop = async () => {
    await stopServer();
    await rm(folder, { recursive: true });
  };
  return server;
}

/** What the private listener of `server` answers at `path`. */
export async function askPrivate(server, path) {
  const address = /private\S*\s+(?:http:\/\/)?(\S+:\d+)/i.exec(server.output())?.[1];
  return fetch(`http://${address}${path}`);
}

async function run(options, url, probe, network = null) {
  const words = [BINARY, ...options];
  const [binary, ...rest] = network?.command(words) ?? words;
  const child = spawn(binary, rest, { stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  child.stdout.on("data", (chunk) => (text += chunk));
  child.stderr.on("data", (chunk) => (text += chunk));
  const ended = once(child, "exit");
  const server = { url, pid: child.pid, output: () => text, stop: () => stop(child, ended, () => text) };
  await untilServing(server, child, probe);
  return server;
}

async function untilServing(server, child, probe) {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (Date.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`the server ended with status ${child.exitCode}:\n${server.output()}`);
    const answer = await fetch(`${server.url}${probe}`).catch(() => null);
    if (answer?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  child.kill("SIGKILL");
  throw new Error(`the server did not answer within ${START_TIMEOUT_MS} ms:\n${server.output()}`);
}

async function stop(child, ended, output) {
  if (child.exitCode === null) child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
  const [code, signal] = await ended;
  clearTimeout(timer);
  if (code !== 0) throw new Error(`the server ended with status ${code}, signal ${signal} on SIGTERM:\n${output()}`);
}

/** A room spec (YAML) of two members who play each other; `publish` goes into their publish endpoints. */
export const pairSpec = (id, [one, other], { p2p = "Never", publish = "{}" } = {}) => `
kind: Room
id: ${id}
p2p: ${p2p}
spec:
  pipeline:
${memberSpec(id, one, other, publish)}${memberSpec(id, other, one, publish)}`;

const memberSpec = (id, name, other, publish) => `    ${name}:
      kind: Member
      credentials: { plain: secret-${name} }
      spec:
        pipeline:
          publish: { kind: WebRtcPublishEndpoint, spec: ${publish} }
          play: { kind: WebRtcPlayEndpoint, spec: { src: "local://${id}/${other}/publish" } }
`;
