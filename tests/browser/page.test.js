// The page itself: lobby, what it says when something is missing, coming back after the server was gone, and how it looks.
// The screenshots land in target/screenshots and are looked at by a person.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { startChromium, until, untilAllDecode, untilDecoding } from "./lib/browsers.js";
import { drawnCamera } from "./lib/portrait.js";
import { startServer } from "./lib/server.js";

const DESK = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };
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

test("the lobby shows the camera and joins by its form", async () => {
  const caller = await chromium.caller("ann", DESK);
  await caller.page.addInitScript(drawnCamera, 28);
  await caller.page.goto(`${server.url}/?room=argo`);
  await until("the preview runs", () => caller.evaluate(() => document.getElementById("preview").videoWidth > 0));
  await caller.evaluate(() => (document.getElementById("name").value = "Ann"));
  await caller.screenshot("lobby-desk");
  await caller.resize(PHONE.width, PHONE.height);
  await caller.screenshot("lobby-phone");
  await caller.evaluate(() => document.getElementById("join-form").requestSubmit());
  await until("ann is in", () => caller.evaluate(() => globalThis.colchis.room?.state === "joined"));
  assert.deepEqual(await caller.tiles(), ["Ann"]);
  assert.equal(new URL(caller.page.url()).searchParams.get("name"), "Ann");
  assert.deepEqual(caller.errors, []);
  await caller.close();
});

test("everything that can be pressed has a name, and the page loads nothing from elsewhere", async () => {
  const caller = await chromium.caller("ann", DESK);
  const outside = [];
  caller.page.on("request", (request) => request.url().startsWith(server.url) || outside.push(request.url()));
  await caller.join(server, "labels");
  await until("ann is in", () => caller.evaluate(() => globalThis.colchis.room?.state === "joined"));
  const nameless = await caller.evaluate(() =>
    [...document.querySelectorAll("button, input, select")]
      .filter((e) => !e.closest("[hidden]") && !e.getAttribute("aria-label") && !e.textContent.trim() && !e.labels?.length)
      .map((e) => e.outerHTML),
  );
  assert.deepEqual(nameless, []);
  assert.deepEqual(outside, []);
  await caller.close();
});

test("the keyboard mutes and switches the camera", async () => {
  const caller = await chromium.caller("ann", DESK);
  await caller.join(server, "keys");
  await until("ann is in", () => caller.evaluate(() => globalThis.colchis.room?.state === "joined"));
  const pressed = (id) => caller.evaluate((target) => document.getElementById(target).getAttribute("aria-pressed"), id);
  for (const [key, button] of [["m", "mic"], ["v", "cam"]]) {
    assert.equal(await pressed(button), "true");
    await caller.page.keyboard.press(key);
    await until(`${button} is off`, async () => (await pressed(button)) === "false");
    await caller.page.keyboard.press(key);
    await until(`${button} is on`, async () => (await pressed(button)) === "true");
  }
  await caller.close();
});

test("a blocked camera is told with its cure, and the call works without", async () => {
  const caller = await chromium.caller("ann", DESK);
  await caller.page.addInitScript(() => {
    navigator.mediaDevices.getUserMedia = async () => {
      throw new DOMException("Permission denied", "NotAllowedError");
    };
  });
  await caller.page.goto(`${server.url}/?room=blocked&name=Ann`);
  await until("the lobby tells the cure", () =>
    caller.evaluate(() => /site settings/.test(document.getElementById("notice").textContent) && !document.getElementById("notice").hidden),
  );
  await caller.screenshot("lobby-blocked");
  await caller.press("join");
  await until("ann is in without a camera", () => caller.evaluate(() => globalThis.colchis.room?.state === "joined"));
  const bob = await chromium.caller("bob", DESK);
  await bob.join(server, "blocked");
  await until("ann hears bob", async () => (await caller.received("bob")).video?.frames > 0);
  await until("bob sees ann muted and without a picture", async () =>
    bob.evaluate(() => {
      const tile = document.querySelector('[data-tile="Ann"]');
      return tile?.dataset.muted === "true" && tile.classList.contains("no-video");
    }),
  );
  await Promise.all([caller.close(), bob.close()]);
});

test("the same name in a second tab takes over, and the first is told why", async () => {
  const first = await chromium.caller("ann", DESK);
  await first.join(server, "twice");
  await until("ann is in", () => first.evaluate(() => globalThis.colchis.room?.state === "joined"));
  const second = await chromium.caller("ann", DESK);
  await second.join(server, "twice");
  await until("the second is in", () => second.evaluate(() => globalThis.colchis.pc?.connectionState === "connected"));
  await until("the first is told", () =>
    first.evaluate(() => document.body.dataset.view === "lobby" && /another tab/.test(document.getElementById("notice").textContent)),
  );
  const bob = await chromium.caller("bob", DESK);
  await bob.join(server, "twice");
  await untilAllDecode([second, bob]);
  await Promise.all([first.close(), second.close(), bob.close()]);
});

test("a socket that breaks is replaced, and the media never stops", async () => {
  const [ann, bob] = [await chromium.caller("ann", DESK), await chromium.caller("bob", DESK)];
  for (const caller of [ann, bob]) {
    await caller.page.addInitScript(() => {
      const Real = WebSocket;
      globalThis.sockets = [];
      globalThis.WebSocket = class extends Real {
        constructor(...args) {
          super(...args);
          globalThis.sockets.push(this);
        }
      };
    });
    await caller.join(server, "broken");
  }
  await untilAllDecode([ann, bob]);
  const connection = await ann.page.evaluateHandle(() => globalThis.colchis.pc);
  await ann.evaluate(() => globalThis.sockets.at(-1).close(3000));
  await until("ann is back", () => ann.evaluate(() => globalThis.sockets.length > 1 && globalThis.colchis.room?.state === "joined"));
  assert.ok(await ann.page.evaluate((pc) => globalThis.colchis.pc === pc && pc.connectionState === "connected", connection));
  assert.ok((await bob.tiles()).includes("ann"));
  await untilAllDecode([ann, bob]);
  // And the new socket is as good as the old one.
  await ann.press("mic");
  await until("bob sees ann muted", () => bob.evaluate(() => document.querySelector('[data-tile="ann"]').dataset.muted === "true"));
  await Promise.all([ann.close(), bob.close()]);
});

test("a server that is gone is told, and the page comes back with it", async () => {
  const own = await startServer();
  const caller = await chromium.caller("ann", DESK);
  await caller.join(own, "gone");
  await until("ann is in", () => caller.evaluate(() => globalThis.colchis.room?.state === "joined"));
  process.kill(own.pid, "SIGKILL");
  await own.stop().catch(() => {});
  await until("the banner tells it", () =>
    caller.evaluate(() => /Reconnecting/.test(document.getElementById("banner").textContent) && !document.getElementById("banner").hidden),
  );
  await caller.screenshot("reconnecting");
  const again = await startServer([], Number(new URL(own.url).port));
  await until("ann is back by herself", () => caller.evaluate(() => globalThis.colchis.room?.state === "joined" && globalThis.colchis.pc?.connectionState === "connected"));
  await caller.close();
  await again.stop();
});

test("how the call looks on a desk and on a phone", async () => {
  const desk = await chromium.caller("Medea", DESK);
  const phone = await chromium.caller("Jason", PHONE);
  const others = [await chromium.caller("Orpheus"), await chromium.caller("Atalanta")];
  for (const [index, caller] of [desk, phone, ...others].entries()) {
    await caller.page.addInitScript(drawnCamera, [28, 205, 150, 330][index]);
    await caller.join(server, "argo");
  }
  for (const other of [phone, ...others]) await untilDecoding(desk, other.name);
  for (const other of [desk, ...others]) await untilDecoding(phone, other.name);
  await others[0].press("mic");
  await others[1].press("cam");
  await until("the tiles show it", () =>
    desk.evaluate(
      () =>
        document.querySelector('[data-tile="Orpheus"]').dataset.muted === "true" &&
        document.querySelector('[data-tile="Atalanta"]').classList.contains("no-video"),
    ),
  );
  await until("figures are there", () => phone.evaluate(() => /loss/.test(document.querySelector('[data-tile="Medea"] .strip').textContent)));
  await desk.screenshot("call-desk");
  await phone.screenshot("call-phone");
  const overflow = await phone.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  assert.equal(overflow, false, "nothing sticks out on a phone");
  await Promise.all([desk, phone, ...others].map((caller) => caller.close()));
});
