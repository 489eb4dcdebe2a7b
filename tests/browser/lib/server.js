// Starts and stops the release binary for one test file.
//
// `colchis dev` needs no file; `serve` writes one from the text it is given. A server that does not end cleanly on
// SIGTERM fails the test that stops it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import net from "node:net";
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
  const child = spawn(BINARY, ["dev", "--listen", `127.0.0.1:${port}`, ...options], { stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  child.stdout.on("data", (chunk) => (text += chunk));
  child.stderr.on("data", (chunk) => (text += chunk));
  const ended = once(child, "exit");
  const server = { url, pid: child.pid, output: () => text, stop: () => stop(child, ended, () => text) };
  await untilServing(server, child);
  return server;
}

async function untilServing(server, child) {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (Date.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`the server ended with status ${child.exitCode}:\n${server.output()}`);
    const answer = await fetch(`${server.url}/dev.json`).catch(() => null);
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
