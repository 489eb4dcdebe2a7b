//! Which encoding a subscriber gets, as encodings come and go.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::bus::client::MediaSourceKind;
use crate::id::{DownTrackKey, EndpointId, MemberId, RoomId, Ssrc, TransportKey, UpTrackKey};
use crate::media::{DownCodec, DownNegotiated, UpCodec, UpTrackConfig};
use crate::metrics::ShardCounters;
use crate::room::machine::{Machine, MachineConfig, Turn};
use crate::room::model::{RecvTrack, Source};
use crate::time::{Anchor, Time};
use crate::transmit::TransmitQueue;
use crate::transport::dtls::tests::identity;
use crate::transport::dtls::{DimplProvider, DtlsSettings};
use crate::wire::rtp::{
    ExtensionKind, ExtensionMap, Extensions, HeaderFields, HeaderWriter, RtpHeader,
};
use crate::wire::sdp::CodecFormat;

const PT: u8 = 96;
/// From smallest to largest, as browsers name them.
const RIDS: [&str; 3] = ["q", "h", "f"];

/// A publisher with three encodings and one subscriber.
struct Stage {
    machine: Machine,
    now: Time,
    publisher: TransportKey,
    first: UpTrackKey,
    down: DownTrackKey,
    sequence: u16,
    /// The publisher answers requests for key frames. (Nobody asks here: the subscriber has no connection.)
    answers: bool,
}

fn rids(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

fn config() -> UpTrackConfig {
    UpTrackConfig {
        id: 0,
        video: true,
        codecs: vec![UpCodec {
            format: CodecFormat::Vp8,
            payload_type: PT,
            rtx_payload_type: None,
        }],
        nack: false,
    }
}

fn machine(rng: &mut ChaCha20Rng) -> Machine {
    let anchor = Anchor {
        instant: std::time::Instant::now(),
        ntp: 0,
    };
    let provider = DimplProvider::new(DtlsSettings::default(), &identity(0), anchor).unwrap();
    let config = MachineConfig {
        dtls: Box::new(provider),
        handshakes_per_s: 1,
    };
    Machine::new(config, anchor, rng)
}

impl Stage {
    fn new() -> Stage {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let mut machine = machine(&mut rng);
        let now = Time::from_millis(1000);
        let room = RoomId::new("r").unwrap();
        let mut peer = |machine: &mut Machine, name: &str| {
            let member = MemberId::new(name).unwrap();
            machine
                .add_transport(now, &room, &member, &mut rng)
                .unwrap()
                .0
        };
        let publisher = peer(&mut machine, "ann");
        let subscriber = peer(&mut machine, "bob");
        let first = machine.add_up(publisher, config()).unwrap();
        machine.route_up(first, "0", std::iter::empty());
        machine.set_encodings(first, &rids(&RIDS), &config());
        let recv = RecvTrack {
            publisher: MemberId::new("ann").unwrap(),
            source: Source {
                endpoint: EndpointId::new("out").unwrap(),
                source_kind: MediaSourceKind::Device,
                video: true,
            },
            publisher_enabled: true,
            muted: false,
            required: false,
            enabled: true,
            ssrc: Ssrc(5),
            rtx_ssrc: None,
            down: None,
            told: None,
        };
        let down = machine.add_down(subscriber, &recv, &mut rng).unwrap();
        let negotiated = DownNegotiated {
            codecs: vec![DownCodec {
                format: CodecFormat::Vp8,
                payload_type: 120,
                rtx_payload_type: None,
            }],
            ..DownNegotiated::default()
        };
        machine
            .downs
            .get_mut(down)
            .unwrap()
            .track
            .set_negotiated(&negotiated);
        let mut stage = Stage {
            machine,
            now,
            publisher,
            first,
            down,
            sequence: 0,
            answers: true,
        };
        stage.turn(|machine, turn| machine.connect(down, Some(first), turn));
        stage
    }

    fn turn<T>(&mut self, act: impl FnOnce(&mut Machine, &mut Turn<'_>) -> T) -> T {
        let (mut tx, mut counters) = (TransmitQueue::with_slots(8), ShardCounters::default());
        let mut turn = Turn {
            now: self.now,
            tx: &mut tx,
            counters: &mut counters,
        };
        act(&mut self.machine, &mut turn)
    }

    fn up(&self, rid: &str) -> UpTrackKey {
        let encodings = &self.machine.ups.get(self.first).unwrap().encodings;
        let found = encodings.iter().find(|e| *e.rid == *rid.as_bytes());
        found.unwrap_or_else(|| panic!("no encoding {rid}")).up
    }

    /// A frame of an encoding comes, and goes to whoever takes it.
    fn frame(&mut self, rid: &str, key: bool) {
        let up_key = self.up(rid);
        let halvings = RIDS.iter().rev().position(|r| *r == rid).unwrap();
        self.sequence += 1;
        let mut packet = vec![0; 64];
        let header = HeaderWriter::new(HeaderFields {
            marker: true,
            padding: false,
            payload_type: PT,
            sequence: self.sequence,
            timestamp: self.now.as_millis() as u32 * 90,
            ssrc: 100 + halvings as u32,
        });
        let at = header.write(&mut packet).unwrap();
        packet.truncate(at);
        packet.extend_from_slice(&[0x90, 0x80, 0x80, self.sequence as u8]);
        let [width, height] = [640_u16, 360].map(|n| (n >> halvings).to_le_bytes());
        match key {
            true => packet.extend([&[0x10, 0, 0, 0x9d, 0x01, 0x2a][..], &width, &height].concat()),
            false => packet.push(0x11),
        }
        let parsed = RtpHeader::parse(&packet).unwrap();
        let extensions = Extensions::locate(&packet, &parsed, &ExtensionMap::new()).unwrap();
        let up = &mut self.machine.ups.get_mut(up_key).unwrap().track;
        let received = up
            .handle_rtp(self.now, &packet, &parsed, &extensions)
            .unwrap();
        let down = self.machine.downs.get_mut(self.down).unwrap();
        if down.takes(up_key, &received.fields) && down.track.forward(&received.fields).is_ok() {
            self.machine.finish_switches(up_key);
        }
        self.check();
    }

    /// Frames of these encodings come for a while, key frames where they are wanted, and choices are made.
    fn pass(&mut self, rids: &[&str], ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while self.now < end {
            self.now = self.now + Duration::from_millis(50);
            for rid in rids {
                let up = self.up(rid);
                let next = self.machine.downs.get(self.down).unwrap().next;
                let asked = self.answers && next == Some(up);
                self.frame(rid, asked);
            }
            let publisher = self.publisher;
            self.turn(|machine, turn| machine.choose_encodings(publisher, turn));
            self.check();
        }
    }

    /// The encoding the subscriber gets, and the one that is to take over.
    fn gets(&self) -> (Option<&str>, Option<&str>) {
        let down = self.machine.downs.get(self.down).unwrap();
        let name = |key: Option<UpTrackKey>| {
            let encodings = &self.machine.ups.get(self.first).unwrap().encodings;
            let found = encodings.iter().find(|e| Some(e.up) == key)?;
            std::str::from_utf8(&found.rid).ok()
        };
        (name(down.up), name(down.next))
    }

    /// The invariant of the module.
    fn check(&self) {
        let down = self.machine.downs.get(self.down).unwrap();
        for (key, up) in self.machine.ups.iter() {
            let named = down.up == Some(key) || down.next == Some(key);
            assert_eq!(
                up.fan_out.contains(&self.down),
                named,
                "{key:?} of {down:?}"
            );
        }
    }
}

#[test]
fn the_best_that_comes_is_sent_and_a_better_one_only_once_it_has_settled() {
    let mut stage = Stage::new();
    stage.frame("q", true);
    stage.pass(&["q"], 300);
    assert_eq!(stage.gets(), (Some("q"), None));
    stage.frame("f", true);
    stage.pass(&["q", "f"], 500);
    assert_eq!(stage.gets(), (Some("q"), None), "it has only begun");
    stage.pass(&["q", "f"], 1500);
    assert_eq!(stage.gets(), (Some("f"), None));
    // One in between is no reason to change.
    stage.frame("h", true);
    stage.pass(&RIDS, 2500);
    assert_eq!(stage.gets(), (Some("f"), None));
}

#[test]
fn one_that_is_given_up_is_replaced_by_the_next_best_at_its_key_frame() {
    let mut stage = Stage::new();
    for rid in RIDS {
        stage.frame(rid, true);
    }
    stage.pass(&RIDS, 2500);
    assert_eq!(stage.gets(), (Some("f"), None));
    stage.pass(&["q", "h"], 400);
    assert_eq!(
        stage.gets(),
        (Some("f"), None),
        "a moment's silence is none"
    );
    let before = stage.now;
    while stage.gets() != (Some("h"), None) {
        stage.pass(&["q", "h"], 50);
        assert!(
            stage.now.since(before) < Duration::from_millis(800),
            "{:?}",
            stage.gets()
        );
    }
    // Frames that are no key frames do not take over.
    stage.answers = false;
    stage.pass(&["q"], 550);
    assert_eq!(stage.gets().1, Some("q"));
    stage.frame("q", false);
    assert_eq!(stage.gets().0, Some("h"));
    stage.frame("q", true);
    assert_eq!(stage.gets(), (Some("q"), None));
    // Nothing comes any more: there is nothing better than what there was.
    stage.pass(&[], 3000);
    assert_eq!(stage.gets(), (Some("q"), None));
}

#[test]
fn a_switch_that_is_not_wanted_any_more_is_called_off() {
    let mut stage = Stage::new();
    for rid in RIDS {
        stage.frame(rid, true);
    }
    stage.pass(&RIDS, 2500);
    for _ in 0..12 {
        stage.now = stage.now + Duration::from_millis(50);
        stage.frame("h", false);
    }
    let publisher = stage.publisher;
    stage.turn(|machine, turn| machine.choose_encodings(publisher, turn));
    assert_eq!(stage.gets(), (Some("f"), Some("h")));
    stage.frame("f", false);
    stage.turn(|machine, turn| machine.choose_encodings(publisher, turn));
    assert_eq!(stage.gets(), (Some("f"), None));
    stage.check();
}

#[test]
fn subscribers_of_an_encoding_that_is_negotiated_away_keep_the_track() {
    let mut stage = Stage::new();
    for rid in RIDS {
        stage.frame(rid, true);
    }
    stage.pass(&RIDS, 2500);
    let (first, down, gone) = (stage.first, stage.down, stage.up("f"));
    stage
        .machine
        .set_encodings(first, &rids(&["q", "h"]), &config());
    assert!(stage.machine.ups.get(gone).is_none());
    stage.check();
    stage.pass(&["q", "h"], 1500);
    assert_eq!(stage.gets(), (Some("h"), None));
    stage.machine.set_encodings(first, &[], &config());
    assert_eq!(stage.machine.sizes().1, 1, "one track is left");
    stage.check();
    assert_eq!(stage.machine.downs.get(down).unwrap().up, Some(first));
    stage.machine.remove_up(first);
    let down = stage.machine.downs.get(down).unwrap();
    assert_eq!((down.up, down.next, down.plays), (None, None, None));
    assert_eq!(stage.machine.sizes().1, 0);
}

#[test]
fn the_first_encoding_stands_for_the_track_whatever_the_client_calls_it() {
    let mut stage = Stage::new();
    let first = stage.first;
    for (names, kept) in [
        (&["h", "f"][..], &["h", "f"][..]),
        (&["f"], &["f"]),
        (&["x", "q"], &["x", "q"]),
        (&["q", "x", "q"], &["q", "x"]),
    ] {
        stage.machine.set_encodings(first, &rids(names), &config());
        let all = &stage.machine.ups.get(first).unwrap().encodings;
        assert!(all.iter().any(|e| e.up == first), "{names:?}: {all:?}");
        for name in kept {
            assert!(
                all.iter().any(|e| *e.rid == *name.as_bytes()),
                "{names:?}: {all:?}"
            );
        }
        assert_eq!(stage.machine.sizes().1 as usize, all.len(), "{names:?}");
        let link = stage.machine.transports.get(stage.publisher).unwrap();
        assert_eq!(&link.mids[0].encodings, all);
        assert_eq!(link.ups.len(), all.len());
        stage.check();
    }
    stage.machine.remove_up(first);
    assert_eq!(stage.machine.sizes().1, 0);
}

#[test]
fn one_that_comes_back_has_to_settle_again() {
    let mut stage = Stage::new();
    for rid in RIDS {
        stage.frame(rid, true);
    }
    stage.pass(&RIDS, 2500);
    stage.pass(&["q", "h"], 3000);
    assert_eq!(stage.gets(), (Some("h"), None));
    stage.pass(&RIDS, 900);
    assert_eq!(stage.gets(), (Some("h"), None));
    stage.pass(&RIDS, 500);
    assert_eq!(stage.gets(), (Some("f"), None));
}

#[test]
fn few_frames_a_second_are_no_silence() {
    let mut stage = Stage::new();
    for rid in RIDS {
        stage.frame(rid, true);
    }
    stage.pass(&RIDS, 2500);
    assert_eq!(stage.gets(), (Some("f"), None));
    // A still picture: a frame of each every 700 ms.
    for _ in 0..8 {
        stage.pass(&[], 650);
        for rid in RIDS {
            stage.frame(rid, false);
        }
        stage.pass(&[], 50);
    }
    assert_eq!(stage.gets(), (Some("f"), None));
    let before = stage.machine.ups.get(stage.up("f")).unwrap().track.source();
    assert!(
        stage
            .machine
            .downs
            .get(stage.down)
            .unwrap()
            .track
            .flows(before)
    );
}

#[test]
fn counts_are_of_all_encodings_and_the_picture_is_the_best_ones() {
    let mut stage = Stage::new();
    for rid in RIDS {
        stage.frame(rid, true);
    }
    stage.pass(&["q", "h"], 2500);
    let stats = stage.machine.up_stats(stage.first, stage.now).unwrap();
    assert_eq!(stats.size, Some((320, 180)), "of those that come");
    assert_eq!(stats.packets, u64::from(stage.sequence));
}

#[test]
fn packets_say_which_encoding_they_are_of_until_their_ssrc_is_known() {
    let mut stage = Stage::new();
    let map: ExtensionMap = [
        (4, ExtensionKind::Mid),
        (10, ExtensionKind::Rid),
        (11, ExtensionKind::RepairedRid),
    ]
    .into_iter()
    .collect();
    let packet = |ssrc, elements: &[(u8, &[u8])]| {
        let mut bytes = vec![0; 80];
        let mut header = HeaderWriter::new(HeaderFields {
            marker: false,
            padding: false,
            payload_type: PT,
            sequence: 1,
            timestamp: 1,
            ssrc,
        });
        for (id, value) in elements {
            header.push(*id, value);
        }
        let len = header.write(&mut bytes).unwrap();
        bytes.truncate(len + 10);
        bytes
    };
    let (q, f) = (stage.up("q"), stage.up("f"));
    let link = stage.machine.transports.get_mut(stage.publisher).unwrap();
    let mut route = |ssrc, elements: &[(u8, &[u8])]| {
        let bytes = packet(ssrc, elements);
        let header = RtpHeader::parse(&bytes).unwrap();
        let extensions = Extensions::locate(&bytes, &header, &map).unwrap();
        link.route(ssrc, &extensions, &bytes).ok()
    };
    assert_eq!(route(1, &[(4, b"0"), (10, b"f")]), Some(f));
    assert_eq!(route(1, &[]), Some(f));
    assert_eq!(route(2, &[(4, b"0"), (10, b"q")]), Some(q));
    assert_eq!(
        route(3, &[(4, b"0"), (11, b"q")]),
        Some(q),
        "its retransmissions"
    );
    assert_eq!(route(4, &[(4, b"0")]), None, "of one of them, but of which");
    assert_eq!(route(4, &[(4, b"0"), (10, b"x")]), None);
    assert_eq!(route(4, &[(10, b"q")]), None);
}
