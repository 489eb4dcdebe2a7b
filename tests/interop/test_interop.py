"""Two aiortc members through the server: media both ways, muting, leaving, a wrong credential."""

import asyncio
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import unittest
import urllib.error
import urllib.request

from client import HEIGHT, WIDTH, Client

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARY = os.environ.get("COLCHIS_BINARY", str(TARGET / "release" / "colchis"))
RED, BLUE = (200, 20, 20), (20, 20, 200)


class Server:
    """`colchis dev` on a free port."""

    def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = subprocess.Popen(
            [BINARY, "dev", "--listen", f"127.0.0.1:{self.port}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.access = self._wait()
        self.url = f"ws://127.0.0.1:{self.port}{self.access['ws']}"

    def _wait(self):
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended: {self.process.stdout.read().decode()}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/dev.json", timeout=2) as answer:
                    return json.load(answer)
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        self.process.kill()
        raise RuntimeError("the server did not answer within 15 s")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(10)
        finally:
            self.process.kill()
            self.process.stdout.close()


async def until(what, probe, seconds=60):
    deadline = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        await asyncio.sleep(0.05)


class Interop(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        status = cls.server.stop()
        assert status == 0, f"the server ended with status {status} on SIGTERM"

    def client(self, room, member, *, credential=None, hertz=440, colour=RED):
        credential = credential or self.server.access["credential"]
        return Client(self.server.url, room, member, credential, hertz=hertz, colour=colour)

    async def until_decoding(self, client, member):
        def decodes():
            video = client.received.get((member, "video"))
            audio = client.received.get((member, "audio"))
            return video and audio and video.frames >= 15 and audio.frames >= 50 and audio.loudness > 1_000

        await until(f"{client.member} decodes video and audio of {member}", decodes)

    async def test_two_members_decode_each_other(self):
        async with self.client("pair", "ann") as ann, self.client("pair", "bob", hertz=660, colour=BLUE) as bob:
            self.assertFalse((await ann.joined)["is_reconnect"])
            await asyncio.gather(self.until_decoding(ann, "bob"), self.until_decoding(bob, "ann"))
            for client, member, strong, weak in ((ann, "bob", 2, 0), (bob, "ann", 0, 2)):
                video = client.received[(member, "video")]
                self.assertEqual(video.size, (WIDTH, HEIGHT))
                self.assertGreater(video.colour[strong], video.colour[weak] + 80, "the picture is the other's")

    async def test_a_muted_member_is_announced_and_the_media_goes_on(self):
        async with self.client("mute", "ann") as ann, self.client("mute", "bob") as bob:
            await asyncio.gather(self.until_decoding(ann, "bob"), self.until_decoding(bob, "ann"))
            await ann.update("audio", muted=True)
            await until("ann's patch is echoed", lambda: any(p["muted"] is True for p in ann.patches))
            await until("bob is told", lambda: any(p["muted"] is True for p in bob.patches))
            before = bob.received[("ann", "video")].frames
            await until("the picture goes on", lambda: bob.received[("ann", "video")].frames > before + 15)

    async def test_who_leaves_is_gone_and_others_come(self):
        async with self.client("leave", "ann") as ann:
            async with self.client("leave", "bob"):
                await self.until_decoding(ann, "bob")
            await until("bob is gone", lambda: "bob" not in ann.members())
            async with self.client("leave", "cleo", colour=BLUE) as cleo:
                # Cleo takes over bob's sections at ann. aiortc knows one SSRC per section for good, so ann only hears
                # of her; browsers, which do not mind, are asked in tests/browser.
                await self.until_decoding(cleo, "ann")
                await until("ann is told of cleo", lambda: ann.members() == {"cleo"})

    async def test_a_wrong_credential_is_rejected(self):
        async with self.client("pair", "eve", credential="wrong") as eve:
            self.assertEqual(await asyncio.wait_for(eve.left, 10), "Rejected")
            self.assertFalse(eve.joined.done())


if __name__ == "__main__":
    unittest.main()
