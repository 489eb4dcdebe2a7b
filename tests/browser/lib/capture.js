// What is on the wire, as tshark sees it. The right to capture is root's, as in network.js.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { asRoot } from "./network.js";

const execute = promisify(execFile);
const OUTPUT_BYTES_MAX = 256 * 1024 * 1024;
/** What tshark calls a checksum that is right; it would also say that one is not there, or was not looked at. */
export const CHECKSUM_GOOD = "1";

const FIELDS = ["frame.len", "ip.len", "udp.length", "ip.checksum.status", "udp.checksum.status", "udp.dstport", "udp.payload"];

/**
 * UDP datagrams from `address` that come to `device` within `seconds`: {frame, ip, udp, payload: lengths in bytes,
 * ipChecksum, udpChecksum, port: where to, rtp: {ssrc, sequence, timestamp} or null}.
 */
export async function captureDatagrams(device, address, seconds) {
  const [tool, ...words] = asRoot([
    ...["tshark", "-n", "-i", device, "-f", `udp and src host ${address}`, "-a", `duration:${seconds}`, "-B", "64"],
    ...["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"],
    ...["-T", "fields", ...FIELDS.flatMap((field) => ["-e", field])],
  ]);
  const { stdout, stderr } = await execute(tool, words, { maxBuffer: OUTPUT_BYTES_MAX });
  const dropped = /(\d+) packets? dropped/.exec(stderr)?.[1];
  if (Number(dropped) > 0) throw new Error(`the capture is not complete: ${stderr}`);
  return stdout.trim().split("\n").filter(Boolean).map(datagram);
}

function datagram(line) {
  const [frame, ip, udp, ipChecksum, udpChecksum, port, hex] = line.split("\t");
  const bytes = Buffer.from(hex, "hex");
  return {
    frame: Number(frame),
    ip: Number(ip),
    udp: Number(udp),
    payload: bytes.length,
    ipChecksum,
    udpChecksum,
    port: Number(port),
    rtp: rtpHeader(bytes),
  };
}

/** RFC 3550 section 5.1: in clear, also under SRTP. RFC 7983 and RFC 5761 section 4 tell it from what else is on the port. */
function rtpHeader(bytes) {
  const isRtp = bytes.length >= 12 && bytes[0] >= 128 && bytes[0] <= 191;
  if (!isRtp || (bytes[1] >= 192 && bytes[1] <= 223)) return null;
  return { sequence: bytes.readUInt16BE(2), timestamp: bytes.readUInt32BE(4), ssrc: bytes.readUInt32BE(8) };
}
