// A camera in front of noise: pictures that no encoder makes small, so that each is several packets, unlike the drawing of
// Chromium's own synthetic camera.

import { randomFillSync } from "node:crypto";
import { writeFile } from "node:fs/promises";

/** Pictures until they begin anew. */
const PICTURES = 10;

/** Writes a film (YUV4MPEG2) of noise for Chromium's `--use-file-for-fake-video-capture`. Even sizes only. */
export async function writeNoise(file, { width, height, rate }) {
  const head = Buffer.from(`YUV4MPEG2 W${width} H${height} F${rate}:1 Ip A1:1 C420jpeg\n`);
  const luma = width * height;
  const pictures = Array.from({ length: PICTURES }, () => {
    const picture = Buffer.alloc((luma * 3) / 2, 128);
    randomFillSync(picture, 0, luma);
    // Around grey and faint: full noise would be more than an encoder can make of any bitrate.
    for (let at = 0; at < luma; at++) picture[at] = 112 + (picture[at] >> 3);
    return picture;
  });
  const frame = Buffer.from("FRAME\n");
  await writeFile(file, Buffer.concat([head, ...pictures.flatMap((picture) => [frame, picture])]));
}
