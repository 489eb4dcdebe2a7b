//! Every bound of the server in one file, with compile-time relations between them.
//!
//! Each line says what the bound protects and what happens when it is reached.

/// Bytes of a room, member or endpoint id. Longer: the command is refused.
pub const ID_BYTES_MAX: usize = 128;

// --- datagrams -----------------------------------------------------------------------------

/// UDP payload we accept or send. Longer: dropped as `bad_length`; a rewrite that would be longer: `oversize`.
pub const DATAGRAM_BYTES_MAX: usize = 1500;
/// Datagrams read from the socket in one batch. More: the next batch.
pub const RECV_BATCH: usize = 64;
/// Trains of datagrams read from the socket in one batch (udp(7), UDP_GRO), each 64 KiB at most. More: the next batch.
pub const RECV_TRAINS: usize = 16;
/// Datagrams of a received train (kernels make 64, pass on 128). More: those too many are lost.
pub const RECV_TRAIN_MAX: usize = 128;
/// Longest a shard without work looks for more (`cores.spin_us`), µs. More is refused.
pub const SPIN_MAX_US: u32 = 1_000;
/// How long packets are handled before the loop looks at commands and timers again, µs.
pub const READ_TURN_MAX_US: u64 = 2_000;
/// Outgoing datagrams of one flush. Full: `transmit_full`; `io` flushes while `FAN_OUT_MAX` slots are not free.
pub const TRANSMIT_SLOTS: usize = 4096;
/// Datagrams of equal size to one destination that leave as one train (udp(7), UDP_SEGMENT; kernels take 64). More: the
/// next train.
pub const TRAIN_DATAGRAMS_MAX: usize = 64;
/// Bytes of a train (an IPv4 datagram carries 65,507). More: the next train.
pub const TRAIN_BYTES_MAX: usize = 65_000;
/// Bytes of padding that make packets of a frame equally long. More would cost more than it saves: the train is cut.
pub const PAD_BYTES_MAX: u8 = 2;
/// Destinations remembered for refusing trains. More: the oldest is forgotten, and tried with a train again.
pub const TRAIN_REFUSALS_MAX: usize = 64;
/// A destination that has refused a train gets single datagrams for this long, s.
pub const TRAIN_RETRY_S: u64 = 60;
/// Packets that are taken in before they are forwarded, of all tracks together. More: those are forwarded first. 64 payloads of
/// 1200 bytes are 77 kB: they stay in the second-level cache while one subscriber after another gets them.
pub const BURST_PACKETS_MAX: usize = RECV_BATCH;
/// Copies that packets taken in may make before they are forwarded. More: as [`BURST_PACKETS_MAX`]. With one more packet they
/// still fit the outgoing queue, and it bounds how long the shard looks at nothing else.
pub const BURST_COPIES_MAX: usize = TRANSMIT_SLOTS - FAN_OUT_MAX;
/// Datagrams that are made before they are sent: what one system call takes. More wait until those have left.
pub const FORWARD_DATAGRAMS: usize = 64;
/// Bytes kept free for an RTP header with its extensions and the tag in a datagram that is padded. A payload that leaves less is
/// not padded.
pub const HEADER_ROOM_BYTES: usize = 200;
/// Bytes kept for the padding of a packet: as many as its last byte can count (RFC 3550 section 5.1).
pub const PAD_ROOM_BYTES: usize = u8::MAX as usize;
/// Subscribers of one UpTrack. More: Subscribe is refused.
pub const FAN_OUT_MAX: usize = 1024;

// --- STUN and ICE ---------------------------------------------------------------------------

/// Bytes of a STUN message we read. Longer: `stun_malformed`.
pub const STUN_BYTES_MAX: usize = 548;
/// Attributes of a STUN message we walk. More: `stun_malformed`.
pub const STUN_ATTRIBUTES_MAX: usize = 32;
/// Validated remote addresses per peer. More: `stun_too_many_addresses`.
pub const ICE_REMOTE_ADDRESSES_MAX: usize = 8;
/// An address is its peer's alone for this long after each of its checks, ms; a check of another peer from there is
/// dropped as `stun_address_taken`. More than clients leave between two checks (RFC 7675 section 5.1: 4 to 6 s).
pub const ICE_ADDRESS_OWNED_MS: u64 = 7_000;
/// Remote candidates kept from signalling (ICE-lite never dials them). More: ignored.
pub const ICE_CANDIDATES_MAX: usize = 64;
/// Bytes of a candidate that is passed on to another member. Longer: refused.
pub const ICE_CANDIDATE_BYTES_MAX: usize = 1024;
/// Local ufrags a peer owns at a time (current and one being restarted to).
pub const ICE_UFRAGS_PER_PEER: usize = 2;

// --- DTLS -----------------------------------------------------------------------------------

/// Shortest and longest DTLS datagram given to the library.
pub const DTLS_DATAGRAM_BYTES_MIN: usize = 13;
/// See [`DTLS_DATAGRAM_BYTES_MIN`].
pub const DTLS_DATAGRAM_BYTES_MAX: usize = 2048;
/// Datagrams and bytes of one handshake. More: the object is replaced.
pub const DTLS_HANDSHAKE_DATAGRAMS_MAX: u32 = 64;
/// See [`DTLS_HANDSHAKE_DATAGRAMS_MAX`].
pub const DTLS_HANDSHAKE_BYTES_MAX: u32 = 128 * 1024;
/// A handshake older than this is replaced, ms.
pub const DTLS_HANDSHAKE_DEADLINE_MS: u64 = 10_000;
/// Fresh DTLS objects per peer within [`DTLS_HANDSHAKE_DEADLINE_MS`]. More: the transport fails.
pub const DTLS_ATTEMPTS_MAX: u32 = 5;
/// Poll buffer, one per shard. A certificate larger than this must not reach the library's assert.
pub const DTLS_POLL_BUFFER_BYTES: usize = 64 * 1024;
/// Certificate (DER) accepted from a peer. Larger: the transport fails.
pub const DTLS_CERTIFICATE_BYTES_MAX: usize = 4096;
/// Epoch-0 handshake records per second once connected. More: `dtls_guard`.
pub const DTLS_LATE_HANDSHAKE_PER_S: u32 = 2;
/// Fingerprints kept of a peer's description. More: ignored.
pub const DTLS_FINGERPRINTS_MAX: usize = 8;
/// Handshakes started per second and shard. More: `dtls_rate`, the client retries.
pub const DTLS_HANDSHAKES_PER_S: u32 = 200;

// --- SRTP, RTP, RTCP ------------------------------------------------------------------------

/// Encodings of one published track (simulcast; browsers send three at most). More: those after are not taken.
pub const ENCODINGS_MAX: usize = 4;
/// Requests for retransmission of one RTCP compound that are looked at. More: ignored.
pub const NACKS_PER_COMPOUND_MAX: usize = 4;
/// SSRCs of one peer with state. More: `too_many_ssrcs`.
pub const SSRCS_PER_PEER_MAX: usize = 32;
/// SSRCs we send to one peer with a roll-over counter (media and RTX of each DownTrack). More: `too_many_ssrcs`.
pub const SEND_SSRCS_MAX: usize = 8192;
/// SSRCs ever given out on one transport; none may come twice under its keys. More: the member gets a fresh peer.
pub const USED_SSRCS_MAX: usize = 65_536;
/// Replay window, packets (RFC 3711 section 3.3.2 asks for at least 64). As long as retransmissions may come late.
pub const REPLAY_WINDOW: usize = 1024;
/// Header extension elements we walk per packet. More: `rtp_malformed`.
pub const RTP_EXTENSIONS_MAX: usize = 32;
/// Packets of one RTCP compound we walk. More: the rest is ignored.
pub const RTCP_COMPOUND_MAX: usize = 32;
/// Packet statuses of one transport-wide feedback we read or write. More: the feedback is ignored.
pub const TWCC_STATUSES_MAX: usize = 8192;
/// Lost packets we name in one NACK.
pub const NACK_PER_PACKET_MAX: usize = 128;
/// Times a lost packet is asked for.
pub const NACK_TRIES_MAX: u8 = 10;
/// Lost packets tracked per stream. More: a key frame is asked for instead.
pub const NACK_LIST_MAX: usize = 512;
/// Packets kept per video UpTrack for retransmission; older: `rtx_not_cached`.
pub const CACHE_VIDEO_PACKETS: usize = 512;
/// Packets kept per audio UpTrack for retransmission.
pub const CACHE_AUDIO_PACKETS: usize = 64;
/// Key frames are asked of one source at most once in this time, ms.
pub const KEY_FRAME_INTERVAL_MS: u64 = 500;
/// Retransmissions as a share of a subscriber's media, percent. More: `rtx_budget`.
pub const RTX_PERCENT_MAX: u64 = 30;
/// Bytes of them; older ones are overwritten: about 1.6 s at 2.5 Mbit/s.
pub const CACHE_VIDEO_BYTES: usize = 512 * 1024;
/// Bytes kept per audio UpTrack for retransmission.
pub const CACHE_AUDIO_BYTES: usize = 16 * 1024;
/// Retransmissions a subscriber may get beyond [`RTX_PERCENT_MAX`] in a burst, bytes per track: one lost key frame.
pub const RTX_BURST_BYTES: u64 = 128 * 1024;
/// Pace of retransmissions to a peer, percent of the rate it takes media at (libwebrtc's pacing factor).
pub const RTX_PACE_FACTOR_PERCENT: u64 = 250;
/// Pace of retransmissions at least, bit/s: whoever takes little is still helped within a round trip.
pub const RTX_PACE_MIN_BPS: u64 = 2_000_000;
/// Retransmissions of one peer that wait for their turn. More: `rtx_paced`, the peer asks again.
pub const RTX_WAITING_MAX: usize = 256;
/// Retransmitted packets per DownTrack whose time is remembered. More: a packet may be resent within one RTT.
pub const RECENT_RESENDS: usize = 64;
/// Packets of history in which duplicates are told from late packets. Older: `rtp_too_old`.
pub const RTP_WINDOW: u64 = 1024;
/// Runs of constant shift a stream's renumbering remembers: about two seconds of a stream of which every other
/// frame is skipped. Packets of older runs: `rtp_too_old`, `rtx_not_cached`.
pub const MUNGER_RUNS_MAX: usize = 64;
/// Codecs of one track. More: the rest is ignored.
pub const CODECS_PER_TRACK_MAX: usize = 16;
/// Longest SRTP tag of the profiles we speak (RFC 7714 section 12), kept free in every outgoing RTP packet.
pub const SRTP_TAG_BYTES_MAX: usize = 16;
/// TWCC arrivals remembered between two feedback packets. More: feedback is sent at once.
pub const TWCC_ARRIVALS_MAX: usize = 512;
/// TWCC feedback is sent this long after the first arrival it tells, ms.
pub const TWCC_INTERVAL_MS: u64 = 100;
/// Sent packets whose send time is remembered for feedback. Older: no loss or round trip of them.
pub const TWCC_SENT_MAX: usize = 4096;
/// Events a transport keeps for its owner. More: older address changes are forgotten.
pub const TRANSPORT_EVENTS_MAX: usize = 8;
/// Consent: sending stops this long after the last valid check (RFC 7675 section 5.1), ms.
pub const CONSENT_TIMEOUT_MS: u64 = 30_000;
/// Time a peer has to send something authentic once it is back by an ICE restart, ms, if it did before: a browser that has
/// given its connection up may answer checks and keep its keys no more. Longer: as if it had not come back.
pub const ICE_PROOF_TIMEOUT_MS: u64 = 8_000;
/// A peer that comes back to its session without a check for this long has lost its way, ms: browsers check every 5 s
/// or more often (RFC 7675 section 5.1). ICE is restarted at once.
pub const ICE_SILENCE_MS: u64 = 10_000;
/// Time a peer without consent has to come back, after an ICE restart, ms. Longer: its transport ends, and its member is
/// given a fresh peer.
pub const ICE_RETURN_TIMEOUT_MS: u64 = 30_000;

// --- rooms ----------------------------------------------------------------------------------

/// Rooms of one shard. More: joins are refused.
pub const ROOMS_PER_SHARD_MAX: usize = 4096;
/// Rooms of one shard whose cost `/metrics` tells: the costliest. More: told by the Control API only, one at a time.
pub const COSTLY_ROOMS_MAX: usize = 10;
/// What the Control API keeps of a member for the application, bytes of JSON. More: the element is refused.
pub const METADATA_BYTES_MAX: usize = 4096;
/// What `on_join` may answer, bytes. More: the member is refused.
pub const JOIN_ANSWER_BYTES_MAX: usize = 8192;
/// Members of one room. More: joins are refused.
pub const MEMBERS_PER_ROOM_MAX: usize = 1024;
/// Peers a member is given within [`FRESH_PEERS_PERIOD_S`] in place of ones that failed, lost consent or were closed by
/// its client. More: the member is closed as `Evicted`.
pub const FRESH_PEERS_MAX: u32 = 8;
/// See [`FRESH_PEERS_MAX`], s.
pub const FRESH_PEERS_PERIOD_S: u64 = 60;
/// ICE restarts a client may ask for within [`FRESH_PEERS_PERIOD_S`]. More: not begun; a transport without consent ends.
pub const ICE_RESTARTS_MAX: u32 = 8;
/// Times a client is asked again for a description that was refused. More: it stays without until it reconnects.
pub const DESCRIPTION_TRIES_MAX: u32 = 3;
/// Members of one room that are connected with each other. More: joins are refused.
pub const MESH_MEMBERS_MAX: usize = 16;
/// Members of a room whose connection quality is told anew at a time, once a second. More: told the next time.
pub const QUALITY_CHANGES_MAX: usize = 16;
/// A room that changes between mesh and server keeps the old connections this long after the new ones work, ms: until
/// their first pictures are there.
pub const SWITCH_GRACE_MS: u64 = 1_000;
/// And no longer than this after the change began, ms, whatever the new ones do.
pub const SWITCH_MAX_MS: u64 = 10_000;
/// Statistics of one report of a client that are looked at. More: passed over.
pub const STATS_PER_REPORT_MAX: usize = 1024;
/// Times a change is carried between rooms that play each other's media, in one turn. More: the next turn goes on.
pub const LINK_ROUNDS_MAX: usize = 4;
/// m-sections of one session description. More: the description is refused.
pub const SDP_MEDIA_MAX: usize = 1024;
/// Bytes of a session description. More: the description is refused.
pub const SDP_BYTES_MAX: usize = 384 * 1024;
/// Lines of a session description. More: the description is refused.
pub const SDP_LINES_MAX: usize = 32_768;
/// Bytes of a mid, rid or other word of a session description that we repeat. Longer: the description is refused.
pub const SDP_TOKEN_BYTES_MAX: usize = 64;
/// Codecs of one m-section we read. More: the rest is ignored.
pub const SDP_CODECS_MAX: usize = 64;
/// Commands of one member waiting for a negotiation to end. More: the member is closed as `Evicted`.
pub const PENDING_COMMANDS_MAX: usize = 256;
/// Transports of one shard. More: a member joins without a peer.
pub const TRANSPORTS_MAX: usize = 16_384;
/// Published tracks of one shard with media state. More: the track stays silent.
pub const UP_TRACKS_MAX: usize = 65_536;
/// Subscriptions of one shard with media state. More: the subscription stays silent.
pub const DOWN_TRACKS_MAX: usize = 1_048_576;

// --- channels and sockets -------------------------------------------------------------------

/// Commands in flight to one shard. Full: the command is refused with `Evicted`.
pub const SHARD_COMMANDS_MAX: usize = 16_384;
/// Events in flight from one shard. Full: the shard keeps them and tries on its next turn.
pub const SHARD_EVENTS_MAX: usize = 65_536;
/// WebSocket message and frame, bytes. Larger: the socket is closed (code 1009).
pub const WS_MESSAGE_BYTES_MAX: usize = 512 * 1024;
/// Bytes waiting to be written to one socket. More: closed as `Evicted`.
pub const WS_WRITE_BUFFER_BYTES_MAX: usize = 256 * 1024;
/// HTTP request head, bytes. Larger: 431.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 * 1024;
/// HTTP header fields of a request. More: 431.
pub const HTTP_HEADERS_MAX: usize = 64;
/// HTTP and WebSocket handshake deadline, ms.
pub const HTTP_HANDSHAKE_MS: u64 = 5_000;
/// Sessions of the signalling core. More: 503.
pub const SESSIONS_MAX: usize = 65_536;
/// TCP connections of the public listener, those in their handshake included. More: dropped unanswered.
pub const CONNECTIONS_MAX: usize = SESSIONS_MAX + 4096;
/// Time a closing WebSocket gets to take its close frame, ms. Then it is dropped.
pub const WS_CLOSE_MS: u64 = 2_000;
/// Rooms one session may be in. More: the join is refused.
pub const ROOMS_PER_SESSION_MAX: usize = 64;
/// Commands per second and session, on average, and as a burst. More: closed as `Evicted`.
pub const SESSION_COMMANDS_PER_S: u32 = 200;
/// See [`SESSION_COMMANDS_PER_S`].
pub const SESSION_COMMANDS_BURST: u32 = 1000;

/// Frames of one session that are no messages of the protocol. More: closed as `Evicted`.
pub const SESSION_BAD_FRAMES_MAX: u32 = 16;
/// Members in all rooms. More: the join is refused.
pub const MEMBERSHIPS_MAX: usize = 131_072;
/// Joins that wait for the control thread: a hash, a token, a callback. More: the join is refused as `Evicted`.
pub const PENDING_JOINS_MAX: usize = 1024;
/// A join that has waited this long for the control thread is refused as `Evicted`, ms.
pub const JOIN_CHECK_MS: u64 = 30_000;
/// Bytes of a credential. Longer: the join is refused.
pub const CREDENTIAL_BYTES_MAX: usize = 4096;
/// Memory of one check of an Argon2 hash, KiB. A hash that needs more: the spec is refused.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 65_536;
/// Passes of one. More: the spec is refused.
pub const ARGON2_PASSES_MAX: u32 = 8;
/// Lanes of one. More: the spec is refused.
pub const ARGON2_LANES_MAX: u32 = 4;
/// Credentials that wait to be checked. More: the join is refused as `Evicted`.
pub const SECRET_CHECKS_MAX: usize = 256;
/// Callbacks of one room that wait. More: a question is answered with no, anything else is lost, and logged.
pub const CALLBACKS_PER_ROOM_MAX: usize = 4096;
/// Rooms with callbacks that wait. More: as [`CALLBACKS_PER_ROOM_MAX`].
pub const CALLBACK_ROOMS_MAX: usize = 16_384;
/// Questions and notices on their way to the control thread. Full: a join is refused as `Evicted`, a notice is lost, and
/// logged.
pub const CONTROL_NOTICES_MAX: usize = 65_536;
/// Requests for the figures of a room that wait. More: `overloaded`.
pub const STATS_REQUESTS_MAX: usize = 256;
/// Rooms that are declared at a time. More: `limit_reached`.
pub const DECLARED_ROOMS_MAX: usize = 100_000;
/// Endpoints of one member. More: `limit_reached`.
pub const ENDPOINTS_PER_MEMBER_MAX: usize = 1024;
/// Bytes of a request to the Control API. More: refused with status 413.
pub const CONTROL_REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Elements named in one request to the Control API. More: `limit_reached`.
pub const CONTROL_IDS_MAX: usize = 1024;
/// Leaves and losses kept for a shard that is behind: two per member at most.
pub const SHARD_BACKLOG_MAX: usize = 2 * MEMBERSHIPS_MAX;
/// Times a shard or the signalling core starts anew after a fault within [`RESTARTS_PERIOD_S`]. More: the shard stops for
/// good, or the process ends, so that whatever watches it starts it again.
pub const RESTARTS_MAX: u32 = 5;
/// See [`RESTARTS_MAX`].
pub const RESTARTS_PERIOD_S: u64 = 60;
/// Requests of the control thread to signalling. Full: the signal is to be sent again, the Control API answers
/// `overloaded`, an answer to a join is tried again.
pub const SIGNALLING_REQUESTS_MAX: usize = 4096;
/// Reports to the control thread. Full: a report is lost, the next one says more.
pub const CONTROL_REPORTS_MAX: usize = 1024;

// --- colchis load ---------------------------------------------------------------------------

/// Bytes of a message that a client of `load` takes from a server. More: its socket is closed, which is told.
pub const LOAD_MESSAGE_BYTES_MAX: usize = 1024 * 1024;

// --- colchis tune ---------------------------------------------------------------------------

/// Bytes of one file that `tune` reads (/proc/interrupts of a host with hundreds of cores has 1 MiB). More: not available.
pub const TUNE_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of the state file of `tune`. More: it is refused.
pub const TUNE_STATE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes kept of what a tool prints. More: the rest is lost.
pub const TUNE_TOOL_OUTPUT_BYTES_MAX: u64 = 1024 * 1024;
/// A tool (`ethtool`) that runs longer is ended, ms, and what it was to do has failed. Some cards need seconds for new
/// ring sizes.
pub const TUNE_TOOL_MS: u64 = 20_000;
/// Entries of one directory that `tune` looks at: network cards, queues, interrupts, processes. More: passed over.
pub const TUNE_DIR_ENTRIES_MAX: usize = 65_536;
/// Network cards that `tune` knows. More: passed over.
pub const TUNE_NICS_MAX: usize = 256;
/// Queues of one network card and direction. More: passed over.
pub const TUNE_QUEUES_MAX: usize = 1024;
/// Highest core number in a list or mask of the kernel. Higher: passed over.
pub const TUNE_CORE_MAX: usize = 4095;
/// Idle states of one core. More: passed over.
pub const TUNE_IDLE_STATES_MAX: usize = 32;
/// Changes that one state file remembers. More: the change is not made, and told as failed.
pub const TUNE_CHANGES_MAX: usize = 65_536;

const _: () = {
    assert!(TRANSMIT_SLOTS >= FAN_OUT_MAX + RECV_BATCH);
    assert!(FAN_OUT_MAX >= MEMBERS_PER_ROOM_MAX);
    // A run counts its packets, and names them, in a byte.
    assert!(BURST_PACKETS_MAX <= u8::MAX as usize && FORWARD_DATAGRAMS <= TRANSMIT_SLOTS);
    assert!(WS_MESSAGE_BYTES_MAX > SDP_BYTES_MAX);
    assert!(DTLS_POLL_BUFFER_BYTES > 2 * DTLS_CERTIFICATE_BYTES_MAX);
    assert!(REPLAY_WINDOW >= 128 && REPLAY_WINDOW.is_multiple_of(64));
    assert!(CACHE_VIDEO_PACKETS.is_power_of_two() && CACHE_AUDIO_PACKETS.is_power_of_two());
    assert!(NACK_LIST_MAX <= CACHE_VIDEO_PACKETS);
    assert!(RTP_WINDOW.is_multiple_of(64) && RTP_WINDOW >= 2 * CACHE_VIDEO_PACKETS as u64);
};
