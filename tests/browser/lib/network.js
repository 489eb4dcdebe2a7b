// A network between the browsers and a server: the server runs in a network namespace behind a pair of virtual
// interfaces, whose cable can be pulled.
//
// Needs the right to make network namespaces: root, or sudo without a password, as scripts/setup.sh does.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

const execute = promisify(execFile);
/** From TEST-NET-3 (RFC 5737): nobody's real network. */
const HERE = "203.0.113.1";
const THERE = "203.0.113.2";

const IP = process.getuid() === 0 ? ["ip"] : ["sudo", "-n", "ip"];
const ip = (...words) => execute(IP[0], [...IP.slice(1), ...words]);

/** {address, command(words), pull(), plug(), close()}: `command` makes `words` run at the far end, at `address`. */
export async function startNetwork() {
  const name = `colchis${process.pid}`;
  const [near, far] = [`c${process.pid}a`, `c${process.pid}b`];
  const inside = (...words) => ip("netns", "exec", name, "ip", ...words);
  const close = async () => {
    await ip("link", "delete", near).catch(() => {});
    await ip("netns", "delete", name).catch(() => {});
  };
  try {
    await ip("netns", "add", name);
    await ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", name);
    await ip("address", "add", `${HERE}/24`, "dev", near);
    await ip("link", "set", near, "up");
    await inside("address", "add", `${THERE}/24`, "dev", far);
    await inside("link", "set", "lo", "up");
    await inside("link", "set", far, "up");
  } catch (error) {
    await close();
    throw new Error(`a network namespace is needed, and the right to make one: ${error.message}`);
  }
  return {
    address: THERE,
    command: (words) => [...IP, "netns", "exec", name, ...words],
    pull: () => ip("link", "set", near, "down"),
    plug: () => ip("link", "set", near, "up"),
    close,
  };
}
