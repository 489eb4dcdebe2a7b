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

/** Tools of the administrator are not on everybody's path. */
const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;
/** `words`, to be run by root. */
export const asRoot = (words) => (process.getuid() === 0 ? words : ["sudo", "-n", ...words]);
const run = (words) => {
  const [tool, ...rest] = asRoot(words);
  return execute(tool, rest, { env: { ...process.env, PATH } });
};
const ip = (...words) => run(["ip", ...words]);

/**
 * {address, device, command(words), offload(on), narrow(port, kbit), widen(), pull(), plug(), close()}: `command` makes `words` run at the far end, at
 * `address`; `device` is this end. `offload`: whether the far end hands trains of datagrams over whole and leaves checksums
 * out, as to a network card that cuts and sums them itself (a cable without one does so without), or does both first.
 * `narrow`: what the far end sends to UDP port `port` here goes over a line of so many kbit/s with a long queue, until `widen`.
 */
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
    device: near,
    command: (words) => asRoot(["ip", "netns", "exec", name, ...words]),
    offload: async (on) => {
      const state = on ? "on" : "off";
      await run(["ethtool", "-K", near, "gro", "off"]);
      await ip("netns", "exec", name, "ethtool", "-K", far, "tx", state, "tx-udp-segmentation", state);
    },
    narrow: async (port, kbit) => {
      const tc = (words) => ip("netns", "exec", name, "tc", ...words.split(" "));
      await tc(`qdisc add dev ${far} root handle 1: htb default 10`);
      await tc(`class add dev ${far} parent 1: classid 1:10 htb rate 1gbit quantum 15000`);
      await tc(`class add dev ${far} parent 1: classid 1:20 htb rate ${kbit}kbit quantum 1500`);
      await tc(`filter add dev ${far} parent 1: protocol ip u32 match ip dport ${port} 0xffff flowid 1:20`);
    },
    widen: () => ip("netns", "exec", name, "tc", "qdisc", "delete", "dev", far, "root"),
    pull: () => ip("link", "set", near, "down"),
    plug: () => ip("link", "set", near, "up"),
    close,
  };
}
