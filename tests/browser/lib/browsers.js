// Headless Chromium and Firefox ESR of Debian with synthetic cameras, behind one small page interface.
//
// A `Caller` is one browser page in a call: `evaluate` runs in the page, `figures` reads getStats there. Chromium is
// driven by playwright-core, Firefox by puppeteer-core over WebDriver BiDi.

import { mkdir } from "node:fs/promises";
import path from "node:path";

import { chromium } from "playwright-core";
import puppeteer from "puppeteer-core";

import { SCREENSHOTS } from "./server.js";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const FIREFOX = process.env.FIREFOX ?? "/usr/bin/firefox-esr";
const CHROMIUM_FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
  "--autoplay-policy=no-user-gesture-required",
];
const FIREFOX_PREFERENCES = {
  "media.navigator.streams.fake": true,
  "media.navigator.permission.disabled": true,
  "media.peerconnection.ice.loopback": true,
  "media.peerconnection.ice.obfuscate_host_addresses": false,
  "media.autoplay.default": 0,
  // Firefox would fetch codecs and lists from the network.
  "media.gmp-manager.updateEnabled": false,
  "app.update.enabled": false,
  "browser.safebrowsing.malware.enabled": false,
};
/** Small pictures: the machine that tests encodes and decodes all of them in software. */
export const CAMERA = { width: 320, height: 240, rate: 10 };

/** How long things may take on a machine that has other things to do; figures are measured on their own. */
const PATIENCE_MS = 60_000;

/** What `srtpCipher` says when the media is protected as we want it; older browsers leave the prefix out. */
export const AES_GCM = /^(SRTP_)?AEAD_AES_(128|256)_GCM$/;

/** One page in a call. */
export class Caller {
  constructor({ name, page, close, screenshot, beforeEveryPage }) {
    Object.assign(this, { name, page, close, beforeEveryPage });
    this.takeScreenshot = screenshot;
    this.errors = [];
    page.on("pageerror", (error) => this.errors.push(String(error)));
    page.on("console", (message) => message.type() === "error" && this.errors.push(message.text()));
  }

  evaluate(task, argument) {
    return this.page.evaluate(task, argument);
  }

  /** Opens the call page so that it joins at once, with `camera` for pictures. */
  async join(server, room, extra = "", camera = CAMERA) {
    const sources = `audio=raw&video=${camera.width}x${camera.height}@${camera.rate}`;
    const query = `room=${encodeURIComponent(room)}&name=${encodeURIComponent(this.name)}&join=1`;
    await this.page.goto(`${server.url}/?${query}&${sources}${extra}`);
  }

  /** Presses a control of the page, by its id. */
  press(id) {
    return this.evaluate((target) => document.getElementById(target).click(), id);
  }

  /** Names of the tiles, own tile included. */
  tiles() {
    return this.evaluate(() => [...document.querySelectorAll("[data-tile]")].map((tile) => tile.dataset.tile));
  }

  /** What is received of `member`: frames, size, energy, bytes of each kind; null where nothing is. */
  async received(member) {
    return (await this.evaluate(readReceived))[member] ?? { video: null, audio: null };
  }

  /** What is received of everybody: member → {video, audio}. */
  allReceived() {
    return this.evaluate(readReceived);
  }

  async screenshot(name) {
    await mkdir(SCREENSHOTS, { recursive: true });
    await this.takeScreenshot(path.join(SCREENSHOTS, `${name}.png`));
  }

  /** Width, height in CSS pixels. */
  resize(width, height) {
    return this.page.setViewportSize?.({ width, height }) ?? this.page.setViewport({ width, height });
  }
}

/** Runs in the page: counters of every received track of cameras and microphones. */
async function readReceived() {
  const out = {};
  for (const row of await globalThis.colchis.stats()) {
    if (row.member === null || row.source !== "Device") continue;
    out[row.member] ??= { video: null, audio: null };
    out[row.member][row.kind] = row;
  }
  return out;
}

/** One Chromium process; `caller(name)` opens pages in contexts of their own. */
export async function startChromium({ flags = [] } = {}) {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: [...CHROMIUM_FLAGS, ...flags] });
  return {
    async caller(name, viewport = { width: 480, height: 360 }) {
      const context = await browser.newContext({ viewport });
      const page = await context.newPage();
      return new Caller({
        name,
        page,
        close: () => context.close(),
        screenshot: (file) => page.screenshot({ path: file }),
        beforeEveryPage: (task) => page.addInitScript(task),
      });
    },
    close: () => browser.close(),
  };
}

/** One Firefox process. */
export async function startFirefox({ preferences = {} } = {}) {
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: FIREFOX,
    headless: true,
    extraPrefsFirefox: { ...FIREFOX_PREFERENCES, ...preferences },
  });
  return {
    async caller(name) {
      const page = await browser.newPage();
      return new Caller({
        name,
        page,
        close: () => page.close(),
        screenshot: (file) => page.screenshot({ path: file }),
        beforeEveryPage: (task) => page.evaluateOnNewDocument(task),
      });
    },
    close: () => browser.close(),
  };
}

/** Polls `probe` until it returns something true; fails with `what` and the last value seen. */
export async function until(what, probe, timeout_ms = PATIENCE_MS) {
  const deadline = Date.now() + timeout_ms;
  let seen;
  do {
    seen = await probe();
    if (seen) return seen;
    await new Promise((resolve) => setTimeout(resolve, 100));
  } while (Date.now() < deadline);
  throw new Error(`not within ${timeout_ms} ms: ${what}`);
}

/** Waits until `caller` decodes pictures and sound of `member`, both growing. */
export async function untilDecoding(caller, member, timeout_ms = PATIENCE_MS) {
  let first = null;
  let last = null;
  const grows = async () => {
    last = await caller.received(member);
    if (!last.video?.frames || !(last.audio?.energy > 0)) return false;
    first ??= last;
    return last.video.frames > first.video.frames && last.audio.energy > first.audio.energy ? last : false;
  };
  try {
    return await until(`${caller.name} decodes video and audio of ${member}`, grows, timeout_ms);
  } catch (error) {
    const state = await caller.evaluate(() => ({
      room: globalThis.colchis.room?.state,
      pc: globalThis.colchis.pc?.connectionState,
      tiles: [...document.querySelectorAll("[data-tile]")].map((tile) => tile.dataset.tile),
    }));
    throw new Error(`${error.message}; seen ${JSON.stringify(last)}; page ${JSON.stringify(state)}; errors ${caller.errors.join(" | ")}`);
  }
}

/** Every one of `callers` decodes every other. */
export async function untilAllDecode(callers) {
  await Promise.all(
    callers.flatMap((caller) => callers.filter((other) => other !== caller).map((other) => untilDecoding(caller, other.name))),
  );
}

/** Frames of `member` that `caller` decodes during `duration_ms`. */
export async function framesDuring(caller, member, duration_ms) {
  const before = (await caller.received(member)).video.frames;
  await new Promise((resolve) => setTimeout(resolve, duration_ms));
  return (await caller.received(member)).video.frames - before;
}

/** Notes when each frame of `member` is shown, from now on. */
export const watch = (caller, member) =>
  caller.evaluate((name) => {
    const video = document.querySelector(`video[data-member="${name}"]`);
    const shown = (globalThis.shown = [performance.now()]);
    const next = () => {
      shown.push(performance.now());
      video.requestVideoFrameCallback(next);
    };
    video.requestVideoFrameCallback(next);
  }, member);

/** Longest time without a new frame since `watch`, ms. */
export const gap = (caller) =>
  caller.evaluate(() => {
    const times = [...globalThis.shown, performance.now()];
    return Math.round(Math.max(...times.slice(1).map((time, at) => time - times[at])));
  });
