"""A client of the Colchis protocol on another WebRTC stack: aiortc.

Written from docs/protocol.md alone; it shares nothing with the server or with web/colchis-client.js. It publishes a
tone and a coloured picture and counts what it receives of every other member.
"""

import asyncio
import fractions
import json
import math
import time

import av
import numpy
import websockets
from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpSender,
    RTCSessionDescription,
)

WIDTH, HEIGHT, RATE = 320, 240, 15
SAMPLE_RATE = 48_000


class Tone(MediaStreamTrack):
    """A sine tone, 20 ms a frame."""

    kind = "audio"

    def __init__(self, hertz):
        super().__init__()
        self._hertz = hertz
        self._sent = 0
        self._start = None

    async def recv(self):
        count = SAMPLE_RATE // 50
        self._start = self._start or time.monotonic()
        await asyncio.sleep(max(0, self._start + self._sent / SAMPLE_RATE - time.monotonic()))
        at = (self._sent + numpy.arange(count)) / SAMPLE_RATE
        samples = (8_000 * numpy.sin(2 * math.pi * self._hertz * at)).astype(numpy.int16)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts = self._sent
        frame.time_base = fractions.Fraction(1, SAMPLE_RATE)
        self._sent += count
        return frame


class Colour(MediaStreamTrack):
    """A picture of one colour (red, green, blue) with a bar that moves, so that every frame is another one."""

    kind = "video"

    def __init__(self, colour):
        super().__init__()
        self._colour = colour
        self._count = 0
        self._start = None

    async def recv(self):
        self._start = self._start or time.monotonic()
        await asyncio.sleep(max(0, self._start + self._count / RATE - time.monotonic()))
        picture = numpy.full((HEIGHT, WIDTH, 3), self._colour, dtype=numpy.uint8)
        bar = self._count * 4 % WIDTH
        picture[:, bar : bar + 8] = 255
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = self._count * 90_000 // RATE
        frame.time_base = fractions.Fraction(1, 90_000)
        self._count += 1
        return frame


class Received:
    """What came of one track of another member."""

    def __init__(self):
        self.frames = 0
        self.size = None
        self.colour = None
        self.loudness = 0.0

    def take(self, frame):
        self.frames += 1
        if isinstance(frame, av.VideoFrame):
            self.size = (frame.width, frame.height)
            self.colour = frame.to_ndarray(format="rgb24").mean(axis=(0, 1))
        else:
            samples = frame.to_ndarray().astype(float)
            self.loudness = max(self.loudness, float(numpy.sqrt((samples**2).mean())))


class Client:
    """One member. Use as `async with Client(...)`; `received[(member, kind)]` grows while it is in the room."""

    def __init__(self, url, room, member, credential, *, hertz, colour):
        self._url = url
        self._room = room
        self._credential = credential
        self.member = member
        self._sources = {"audio": Tone(hertz), "video": Colour(colour)}
        self.received = {}
        self.patches = []
        self.joined = asyncio.get_running_loop().create_future()
        self.left = asyncio.get_running_loop().create_future()
        self.close_reason = None
        self.pc = None
        self._peer_id = None
        self._tracks = {}
        self._transceivers = {}
        self._tasks = []
        self._consumers = {}

    async def __aenter__(self):
        self._socket = await websockets.connect(self._url)
        self._tasks.append(asyncio.create_task(self._read()))
        await self._command(
            "JoinRoom",
            {"member_id": self.member, "credential": self._credential, "capabilities": capabilities()},
        )
        return self

    async def __aexit__(self, *_):
        try:
            await self._command("LeaveRoom", {"member_id": self.member})
        except websockets.ConnectionClosed:
            pass
        await self._socket.close()
        tasks = [*self._tasks, *self._consumers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.pc:
            await self.pc.close()

    async def update(self, kind, **change):
        """Mutes or disables the own track of `kind`: muted=…, enabled=…."""
        track_id = next(
            id for id, t in self._tracks.items() if "Send" in t["direction"] and describe(t) == (kind, "Device")
        )
        patch = {"id": track_id, "enabled": None, "muted": None} | change
        await self._command("UpdateTracks", {"peer_id": self._peer_id, "tracks_patches": [patch]})

    def members(self):
        """Members whose tracks are there now."""
        return {t["direction"]["Recv"]["sender"] for t in self._tracks.values() if "Recv" in t["direction"]}

    async def _command(self, command, data):
        message = {"Command": {"room_id": self._room, "command": {"command": command, "data": data}}}
        await self._socket.send(json.dumps(message))

    async def _read(self):
        try:
            async for text in self._socket:
                message = json.loads(text)
                if message["msg"] == "Ping":
                    await self._socket.send(json.dumps({"Pong": message["data"]}))
                elif message["msg"] == "Event":
                    event = message["data"]["event"]
                    await self._handle(event["event"], event["data"])
        except websockets.ConnectionClosed:
            pass
        except Exception as error:
            for waiting in (self.joined, self.left):
                if not waiting.done():
                    waiting.set_exception(error)
            raise
        self.close_reason = json.loads(self._socket.close_reason or "{}").get("reason")
        if not self.left.done():
            self.left.set_result(self.close_reason)

    async def _handle(self, event, data):
        if event == "RoomJoined":
            self.joined.set_result(data)
        elif event == "RoomLeft" and not self.left.done():
            self.left.set_result(data["close_reason"])
        elif event == "PeerCreated":
            # One transport for everything, as the server wants it; by default this stack leaves some sections out.
            bundle = RTCConfiguration(bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
            self.pc = RTCPeerConnection(bundle)
            self._peer_id = data["peer_id"]
            for track in data["tracks"]:
                self._tracks[track["id"]] = track
            await self._negotiate(data["negotiation_role"])
        elif event == "SdpAnswerMade":
            await self.pc.setRemoteDescription(RTCSessionDescription(data["sdp_answer"], "answer"))
            self._listen()
        elif event == "PeerUpdated":
            self._apply(data["updates"])
            await self._negotiate(data["negotiation_role"])
        # LocalDescriptionApplied needs no action; candidates are in the descriptions of this server.

    def _apply(self, updates):
        for update in updates:
            if "Added" in update:
                self._tracks[update["Added"]["id"]] = update["Added"]
            elif "Removed" in update:
                self._tracks.pop(update["Removed"], None)
                self._transceivers.pop(update["Removed"], None)
                # The section may carry another member's track next: nobody else must read it.
                if consumer := self._consumers.pop(update["Removed"], None):
                    consumer.cancel()
            elif "Updated" in update:
                self.patches.append(update["Updated"])
                track = self._tracks[update["Updated"]["id"]]
                changes = {k: v for k, v in update["Updated"].items() if k in ("media_direction", "muted") and v is not None}
                track.update(changes)

    async def _negotiate(self, role):
        if role is None:
            return
        if role == "Offerer":
            for id, track in self._tracks.items():
                if id not in self._transceivers:
                    self._transceivers[id] = self._add_transceiver(track)
            await self.pc.setLocalDescription(await self.pc.createOffer())
            mids = {id: transceiver.mid for id, transceiver in self._transceivers.items()}
            sdp = {"sdp_offer": self.pc.localDescription.sdp, "mids": mids}
            await self._command(
                "MakeSdpOffer", {"peer_id": self._peer_id, **sdp, "transceivers_statuses": self._statuses()}
            )
        else:
            await self.pc.setRemoteDescription(RTCSessionDescription(role["Answerer"], "offer"))
            await self.pc.setLocalDescription(await self.pc.createAnswer())
            self._bind()
            await self._command(
                "MakeSdpAnswer",
                {
                    "peer_id": self._peer_id,
                    "sdp_answer": self.pc.localDescription.sdp,
                    "transceivers_statuses": self._statuses(),
                },
            )
            self._listen()

    def _add_transceiver(self, track):
        kind, source = describe(track)
        if "Recv" in track["direction"]:
            return self.pc.addTransceiver(kind, direction="recvonly")
        what = self._sources[kind] if source == "Device" else kind
        return self.pc.addTransceiver(what, direction="sendonly")

    def _bind(self):
        by_mid = {transceiver.mid: transceiver for transceiver in self.pc.getTransceivers()}
        for id, track in self._tracks.items():
            mid = next(iter(track["direction"].values()))["mid"]
            if id not in self._transceivers and mid in by_mid:
                self._transceivers[id] = by_mid[mid]

    def _statuses(self):
        return {
            id: describe(track)[1] == "Device" if "Send" in track["direction"] else True
            for id, track in self._tracks.items()
        }

    def _listen(self):
        """Consumes every received camera and microphone once."""
        for id, track in self._tracks.items():
            kind, source = describe(track)
            recv = track["direction"].get("Recv")
            if not recv or source != "Device" or id not in self._transceivers or id in self._consumers:
                continue
            counter = self.received.setdefault((recv["sender"], kind), Received())
            self._consumers[id] = asyncio.create_task(consume(self._transceivers[id].receiver.track, counter))


async def consume(track, counter):
    while True:
        counter.take(await track.recv())


def describe(track):
    """(kind, source) of a track: ("audio" | "video", "Device" | "Display")."""
    ((kind, settings),) = track["media_type"].items()
    return kind.lower(), settings["source_kind"]


def capabilities():
    """This stack's codecs in the shape of JoinRoom."""

    def codecs(side, kind):
        return [
            {
                "mime_type": codec.mimeType,
                "clock_rate": codec.clockRate,
                "channels": codec.channels,
                "parameters": {str(k): str(v) for k, v in codec.parameters.items()},
            }
            for codec in side.getCapabilities(kind).codecs
        ]

    return {
        "audio_tx": codecs(RTCRtpSender, "audio"),
        "audio_rx": codecs(RTCRtpReceiver, "audio"),
        "video_tx": codecs(RTCRtpSender, "video"),
        "video_rx": codecs(RTCRtpReceiver, "video"),
    }
