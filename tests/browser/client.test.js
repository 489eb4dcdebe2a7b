// The client library alone, against stand-ins: order of events, reconnects, close reasons, and its small parsers.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { ColchisClient, connect, parseCloseReason, parseFmtp } from "../../web/colchis-client.js";
import { sectionDirection } from "../../web/colchis-peer.js";
import { bestGrid, initials } from "../../web/tiles.js";
import { until } from "./lib/browsers.js";
import { FakePeerConnection, FakeSocket } from "./lib/fakes.js";

const AUDIO = (source_kind = "Device") => ({ Audio: { required: false, source_kind } });
const VIDEO = (source_kind = "Device") => ({ Video: { required: false, source_kind, encoding_parameters: [] } });
const send = (id, media_type) => track(id, { Send: { receivers: [], mid: null } }, media_type);
const recv = (id, sender, mid, media_type) => track(id, { Recv: { sender, mid } }, media_type);
const track = (id, direction, media_type) => ({ id, direction, media_direction: "SendRecv", muted: false, media_type });
const section = (kind, mid, direction) => `m=${kind} 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:${mid}\r\na=${direction}\r\n`;
const created = (tracks, role = "Offerer") => ({
  peer_id: 7,
  negotiation_role: role,
  connection_mode: "Sfu",
  tracks,
  ice_servers: [],
  force_relay: false,
  stats_scrape_interval_ms: 1000,
});

let room;
let socket;
let errors;

/** Joins room "r" as "ann" with a camera and a microphone. */
function join(options = {}) {
  FakeSocket.all.length = FakePeerConnection.all.length = 0;
  const sources = { "audio/Device": { track: { kind: "audio" } }, "video/Device": { track: { kind: "video" } } };
  room = connect("ws://server/ws", { room: "r", member: "ann", credential: "c", sources, WebSocket: FakeSocket, ...options });
  errors = [];
  room.on("error", ({ text }) => errors.push(text));
  socket = FakeSocket.last;
  socket.open();
  socket.event("r", "RoomJoined", { member_id: "ann", is_reconnect: false, shard: 2 });
}

beforeEach(() => {
  globalThis.RTCPeerConnection = FakePeerConnection;
});

test("a connection that never answers does not hold back the figures", async () => {
  join();
  socket.event("r", "PeerCreated", created([send(1, AUDIO())]));
  await until("the offer", () => socket.commands("MakeSdpOffer").length > 0);
  FakePeerConnection.last.getStats = () => new Promise(() => {});
  const begun = Date.now();
  assert.deepEqual(await room.stats(), []);
  assert.ok(Date.now() - begun < 10_000);
  room.leave();
});

test("JoinRoom follows RpcSettings, and pings are answered", () => {
  join();
  const [{ member_id, credential, capabilities }] = socket.commands("JoinRoom");
  assert.deepEqual([member_id, credential, Object.keys(capabilities)], ["ann", "c", ["audio_tx", "audio_rx", "video_tx", "video_rx"]]);
  socket.push({ msg: "Ping", data: 5 });
  assert.deepEqual(socket.sent.at(-1), { Pong: 5 });
  assert.equal(room.state, "joined");
  assert.equal(room.shard, 2);
  room.leave();
});

test("an offer carries every track; screens that are not shared are told so", async () => {
  join();
  socket.event("r", "PeerCreated", created([send(1, AUDIO()), send(2, VIDEO()), send(3, VIDEO("Display"))]));
  const [offer] = await until("the offer", () => socket.commands("MakeSdpOffer").length > 0 && socket.commands("MakeSdpOffer"));
  assert.deepEqual(offer.mids, { 1: "0", 2: "1", 3: "2" });
  assert.deepEqual(offer.transceivers_statuses, { 1: true, 2: true, 3: false });
  assert.deepEqual(FakePeerConnection.last.transceivers.map((t) => t.direction), ["sendonly", "sendonly", "sendonly"]);
  await until("the patch", () => socket.commands("UpdateTracks").length > 0);
  assert.deepEqual(socket.commands("UpdateTracks"), [{ peer_id: 7, tracks_patches: [{ id: 3, enabled: false, muted: null }] }]);
  const screen = { kind: "video" };
  await room.setSource("video", "Display", screen);
  assert.equal(FakePeerConnection.last.transceivers[2].sender.track, screen);
  assert.deepEqual(socket.commands("UpdateTracks")[1].tracks_patches, [{ id: 3, enabled: true, muted: null }]);
  room.leave();
});

test("events that come all at once are done one after the other", async () => {
  join();
  const tracks = [];
  room.on("track", ({ member, kind }) => tracks.push(`${member} ${kind}`));
  const candidate = { candidate: "c1", sdp_m_line_index: 0, sdp_mid: "0" };
  socket.event("r", "PeerCreated", created([send(1, AUDIO()), send(2, VIDEO())]));
  socket.event("r", "IceCandidateDiscovered", { peer_id: 7, candidate });
  socket.event("r", "LocalDescriptionApplied", { peer_id: 7, sdp_offer: "offer" });
  socket.event("r", "SdpAnswerMade", { peer_id: 7, sdp_answer: section("audio", "0", "recvonly") + section("video", "1", "recvonly") });
  const sdp = section("audio", "0", "recvonly") + section("video", "1", "recvonly") + section("audio", "2", "sendonly") + section("video", "3", "sendonly");
  const updates = [{ Added: recv(10, "bob", "2", AUDIO()) }, { Added: recv(11, "bob", "3", VIDEO()) }];
  socket.event("r", "PeerUpdated", { peer_id: 7, updates, negotiation_role: { Answerer: sdp } });
  socket.event("r", "PeerUpdated", { peer_id: 7, updates: [{ Removed: 11 }], negotiation_role: { Answerer: sdp } });
  await until("two answers", () => socket.commands("MakeSdpAnswer").length === 2);
  const pc = FakePeerConnection.last;
  assert.deepEqual(errors, []);
  assert.deepEqual(tracks, ["bob audio", "bob video"]);
  assert.deepEqual(pc.candidates, ["c1"]);
  assert.deepEqual(pc.transceivers.map((t) => t.direction), ["sendonly", "sendonly", "recvonly", "inactive"]);
  assert.deepEqual([...room.members.get("bob").tracks.keys()], [10]);
  room.leave();
});

test("a section may carry a track each way", async () => {
  join();
  socket.event("r", "PeerCreated", created([send(1, AUDIO())]));
  socket.event("r", "SdpAnswerMade", { peer_id: 7, sdp_answer: section("audio", "0", "recvonly") });
  socket.event("r", "PeerUpdated", {
    peer_id: 7,
    updates: [{ Added: recv(10, "bob", "0", AUDIO()) }],
    negotiation_role: { Answerer: section("audio", "0", "sendrecv") },
  });
  await until("the answer", () => socket.commands("MakeSdpAnswer").length === 1);
  assert.deepEqual(FakePeerConnection.last.transceivers.map((t) => t.direction), ["sendrecv"]);
  assert.ok(room.members.get("bob").tracks.get(10).track);
  room.leave();
});

test("members come with their first track and go with the last", async () => {
  join();
  const seen = [];
  room.on("member", ({ member, here }) => seen.push(`${here ? "+" : "-"}${member}`));
  socket.event("r", "PeerCreated", created([recv(10, "bob", null, AUDIO()), recv(11, "bob", null, VIDEO())]));
  await until("bob", () => seen.length === 1);
  socket.event("r", "PeerUpdated", { peer_id: 7, updates: [{ Removed: 10 }], negotiation_role: null });
  socket.event("r", "PeerUpdated", { peer_id: 7, updates: [{ Removed: 11 }], negotiation_role: null });
  await until("bob goes", () => seen.length === 2);
  assert.deepEqual(seen, ["+bob", "-bob"]);
  room.leave();
});

test("while a room goes over, a new connection is shown when it has a picture, and the old one goes unseen", () => {
  join();
  const seen = [];
  room.on("track", ({ id }) => seen.push(id));
  room.on("trackgone", ({ id }) => seen.push(-id));
  const info = (id, muted) => ({ member: "bob", id, kind: "video", source: "Device", track: Object.assign(new EventTarget(), { muted }) });
  const [old, fresh] = [info(1, false), info(9, true)];
  for (const one of [old, fresh]) {
    room.addRemote(one);
    room.announceRemote(one);
  }
  assert.deepEqual(seen, [1], "the new one has no picture yet");
  fresh.track.dispatchEvent(new Event("unmute"));
  assert.deepEqual(seen, [1, 9]);
  room.removeRemote(old);
  assert.deepEqual(seen, [1, 9, 9], "the tile keeps the new one");
  room.removeRemote(fresh);
  assert.deepEqual(seen, [1, 9, 9, -9]);
  room.leave();
});

test("a lost socket is replaced, and the connection kept", async () => {
  join();
  socket.event("r", "PeerCreated", created([send(1, AUDIO()), recv(10, "bob", null, AUDIO())]));
  socket.event("r", "SdpAnswerMade", { peer_id: 7, sdp_answer: section("audio", "0", "recvonly") + section("audio", "1", "sendonly") });
  await until("negotiated", () => room.members.get("bob")?.tracks.get(10).track);
  socket.end(1006);
  assert.equal(room.state, "reconnecting");
  await until("another socket", () => FakeSocket.all.length === 2);
  socket = FakeSocket.last;
  socket.open();
  socket.event("r", "RoomJoined", { member_id: "ann", is_reconnect: true, shard: 2 });
  const [{ state }] = socket.commands("SynchronizeMe");
  assert.deepEqual(Object.keys(state.peers[7].senders), ["1"]);
  assert.equal(state.peers[7].receivers[10].sender_id, "bob");
  // While away, bob went and cleo came.
  const theirs = structuredClone(state);
  delete theirs.peers[7].receivers[10];
  theirs.peers[7].receivers[12] = { ...state.peers[7].receivers[10], id: 12, sender_id: "cleo", mid: "2" };
  theirs.peers[7].negotiation_role = { Answerer: section("audio", "0", "recvonly") + section("audio", "1", "inactive") + section("audio", "2", "sendonly") };
  socket.event("r", "StateSynchronized", { state: theirs });
  await until("cleo is heard", () => room.members.get("cleo")?.tracks.get(12).track);
  assert.deepEqual([...room.members.keys()], ["cleo"]);
  assert.equal(FakePeerConnection.all.length, 1);
  assert.deepEqual(errors, []);
  room.leave();
});

test("a server that starts afresh gets a fresh connection", async () => {
  join();
  socket.event("r", "PeerCreated", created([recv(10, "bob", null, AUDIO())]));
  await until("bob", () => room.members.has("bob"));
  socket.end(1006);
  await until("another socket", () => FakeSocket.all.length === 2);
  FakeSocket.last.open();
  FakeSocket.last.event("r", "RoomJoined", { member_id: "ann", is_reconnect: false, shard: 0 });
  assert.equal(room.members.size, 0);
  assert.equal(FakePeerConnection.last.signalingState, "closed");
  room.leave();
});

test("the reason of a close frame reaches the room, and only lost sockets are replaced", () => {
  for (const reason of ["Rejected", "Evicted", "Reconnected", "Finished"]) {
    join();
    let left;
    room.on("state", (state) => (left = state));
    socket.end(1000, JSON.stringify({ reason }));
    assert.deepEqual(left, { state: "left", reason });
    assert.equal(FakeSocket.all.length, 1);
  }
  join();
  socket.end(1000, JSON.stringify({ reason: "Idle" }));
  assert.equal(room.state, "reconnecting");
  room.leave();
});

test("a room that ends does not end the others of its socket", () => {
  FakeSocket.all.length = 0;
  const client = new ColchisClient("ws://server/ws", { WebSocket: FakeSocket });
  const [a, b] = ["a", "b"].map((name) => client.join({ room: name, member: "ann", credential: "c" }));
  socket = FakeSocket.last;
  socket.open();
  for (const name of ["a", "b"]) socket.event(name, "RoomJoined", { member_id: "ann", is_reconnect: false, shard: 0 });
  socket.event("a", "RoomLeft", { close_reason: "Evicted" });
  assert.deepEqual([a.state, b.state, FakeSocket.all.length], ["left", "joined", 1]);
  client.close();
  assert.equal(b.state, "left");
  assert.equal(socket.closedWith, 1000);
});

test("leaving says LeaveRoom before the socket closes", () => {
  join();
  room.leave();
  assert.deepEqual(socket.commands("LeaveRoom"), [{ member_id: "ann" }]);
  assert.equal(socket.closedWith, 1000);
});

test("frames nobody understands are passed over", () => {
  join();
  socket.onmessage({ data: "{" });
  socket.push({ msg: "Novelty", data: {} });
  socket.event("r", "Novelty", { peer_id: 7 });
  socket.event("elsewhere", "RoomLeft", { close_reason: "Finished" });
  assert.equal(room.state, "joined");
  room.leave();
});

test("small parsers", () => {
  assert.deepEqual(parseFmtp("profile-id=0; x=y=z;;111/111"), { "profile-id": "0", x: "y=z", "": "111/111" });
  assert.deepEqual(parseFmtp(undefined), {});
  assert.equal(parseCloseReason('{"reason":"Evicted"}'), "Evicted");
  for (const text of ["", "{", "{}", '{"reason":1}']) assert.equal(parseCloseReason(text), null);
  const sdp = `v=0\r\n${section("audio", "0", "sendonly")}m=video 9 X 96\r\na=mid:00\r\n`;
  assert.equal(sectionDirection(sdp, "0"), "sendonly");
  assert.equal(sectionDirection(sdp, "00"), "sendrecv");
  assert.deepEqual(["ann", "Medea of Colchis", "  ", "élan vital"].map(initials), ["A", "MC", "?", "ÉV"]);
});

test("tiles fit the stage for one to twelve members, desk and phone", () => {
  for (const [width, height] of [[1260, 670], [374, 690]]) {
    for (let count = 1; count <= 12; count += 1) {
      const grid = bestGrid(count, width, height);
      const rows = Math.ceil(count / grid.columns);
      assert.ok(grid.columns * grid.width + (grid.columns - 1) * 10 <= width + 0.01, `${count} tiles are not too wide`);
      assert.ok(rows * grid.height + (rows - 1) * 10 <= height + 0.01, `${count} tiles are not too high`);
      assert.ok(grid.width * grid.height * count > 0.45 * width * height, `${count} tiles use the stage of ${width}x${height}`);
    }
  }
});
