//! Answers to what browsers really offer (`tests/data/sdp`).

use super::*;
use crate::wire::sdp::{MediaSection, Setup};

const CHROMIUM: &str = include_str!("../../../../tests/data/sdp/chromium_offer.sdp");
const FIREFOX: &str = include_str!("../../../../tests/data/sdp/firefox_offer.sdp");
const AIORTC: &str = include_str!("../../../../tests/data/sdp/aiortc_offer.sdp");

/// Audio and video sent on the first two sections, received on the next two.
fn answer(offer: &str) -> (Negotiation, Vec<MediaSection>) {
    let mut negotiation = Negotiation::new(config());
    negotiation.set_wanted([
        sent(0, MediaKind::Audio),
        sent(1, MediaKind::Video),
        received(2, MediaKind::Audio),
        received(3, MediaKind::Video),
    ]);
    let mids = (0..4).map(|i| (TrackId(i), i.to_string())).collect();
    let context = OfferContext::default();
    let answer = negotiation.handle_offer(offer, &mids, &context).unwrap();
    let media = check_rules(&answer.sdp).media;
    (negotiation, media)
}

#[test]
fn every_captured_offer_gets_a_full_answer() {
    for (name, offer, sections) in [
        ("chromium", CHROMIUM, 5),
        ("firefox", FIREFOX, 5),
        ("aiortc", AIORTC, 4),
    ] {
        let (negotiation, media) = answer(offer);
        assert_eq!(media.len(), sections, "{name}");
        let directions: Vec<_> = media.iter().take(4).map(|m| m.direction).collect();
        use SdpDirection::{RecvOnly, SendOnly};
        assert_eq!(
            directions,
            [RecvOnly, RecvOnly, SendOnly, SendOnly],
            "{name}"
        );
        assert!(
            media
                .iter()
                .skip(4)
                .all(|m| m.is_rejected() && m.kind == MediaKind::Other)
        );
        assert!(
            media
                .iter()
                .take(4)
                .all(|m| m.setup == Some(Setup::Passive))
        );
        let tracks = negotiation.tracks();
        assert_eq!(tracks.len(), 4, "{name}");
        assert!(
            tracks
                .iter()
                .all(|t| t.active && t.mid == t.track.to_string())
        );
        assert_eq!(negotiation.needed(), None);
        let video = &tracks[1];
        assert_eq!(video.codecs[0].format, CodecFormat::Vp8, "{name}");
        assert!(video.codecs.iter().all(|c| c.rtx_pt.is_some()), "{name}");
        let (_, rtx) = video.ssrcs[0];
        assert!(rtx.is_some(), "{name}");
        assert!(video.extensions.id(ExtensionKind::Mid).is_some(), "{name}");
    }
}

#[test]
fn payload_types_and_parameters_are_the_clients() {
    let (negotiation, media) = answer(CHROMIUM);
    let pts: Vec<_> = track(&negotiation, 1)
        .codecs
        .iter()
        .map(|c| (c.pt, c.rtx_pt))
        .collect();
    assert_eq!(
        pts,
        [
            (96, Some(97)),
            (98, Some(99)),
            (108, Some(109)),
            (45, Some(46))
        ]
    );
    let audio = &media[0].codecs[0];
    assert_eq!(audio.fmtp.as_deref(), Some("minptime=10;useinbandfec=1"));
    assert!(audio.feedback.transport_cc && !audio.feedback.nack);
    assert!(
        media[1]
            .codecs
            .iter()
            .all(|c| !c.feedback.goog_remb && c.feedback.nack_pli)
    );
    let h264 = media[1].codecs[2].fmtp.as_deref();
    let want = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
    assert_eq!(h264, Some(want));

    let (negotiation, media) = answer(FIREFOX);
    assert_eq!(track(&negotiation, 0).codecs[0].pt, 109);
    assert_eq!(track(&negotiation, 1).codecs[0].pt, 120);
    assert_eq!(
        media[1].codecs[0].fmtp, None,
        "max-fs limits its decoder, not us"
    );
    assert_eq!(
        track(&negotiation, 1)
            .extensions
            .id(ExtensionKind::TransportCc),
        Some(7)
    );

    let (negotiation, _) = answer(AIORTC);
    assert_eq!(track(&negotiation, 0).codecs[0].pt, 96);
    assert_eq!(track(&negotiation, 3).codecs[0].pt, 97);
}

#[test]
fn our_next_offer_keeps_the_clients_numbers() {
    for offer in [CHROMIUM, FIREFOX, AIORTC] {
        let (mut negotiation, media) = answer(offer);
        let kept = negotiation.wanted.values().cloned().collect::<Vec<_>>();
        let new = [received(8, MediaKind::Audio), received(9, MediaKind::Video)];
        negotiation.set_wanted(kept.into_iter().chain(new));
        assert_eq!(negotiation.needed(), Some(Needed::ServerOffers));
        let next = check_rules(&negotiation.make_offer().unwrap()).media;
        assert_eq!(next.len(), media.len() + 2);
        for (before, after) in media.iter().zip(&next) {
            assert_eq!((&before.mid, before.kind), (&after.mid, after.kind));
            assert_eq!(before.codecs, after.codecs);
            assert_eq!(before.extensions, after.extensions);
            assert_eq!(before.direction, after.direction);
        }
        let video = next.last().unwrap();
        assert_eq!(video.direction, SdpDirection::SendOnly);
        for codec in &media[1].codecs {
            let same = video.codecs.iter().find(|c| c.format == codec.format);
            let same = same.map(|c| (c.pt, c.rtx_pt));
            assert_eq!(same, Some((codec.pt, codec.rtx_pt)));
        }
        // What the client calls by a number, we call nothing else by.
        let foreign = sdp::parse(offer).unwrap();
        let taken: Vec<&String> = foreign.media.iter().flat_map(|m| &m.formats).collect();
        for codec in &video.codecs {
            let known = media[1].codecs.iter().any(|c| c.format == codec.format);
            assert!(
                known || !taken.contains(&&codec.pt.to_string()),
                "{codec:?}"
            );
        }
    }
}

#[test]
fn simulcast_is_taken_only_when_it_is_wanted() {
    let offer = include_str!("../../../../tests/data/sdp/chromium_simulcast.sdp");
    for wanted in [false, true] {
        let mut negotiation = Negotiation::new(NegotiationConfig {
            simulcast: wanted,
            ..config()
        });
        negotiation.set_wanted([sent(0, MediaKind::Video)]);
        let mids = BTreeMap::from([(TrackId(0), "0".to_owned())]);
        let context = OfferContext::default();
        let answer = negotiation
            .handle_offer(offer, &mids, &context)
            .unwrap()
            .sdp;
        assert_eq!(answer.contains("a=simulcast:recv q;h;f\r\n"), wanted);
        assert_eq!(answer.contains("a=rid:h recv\r\n"), wanted);
        let rids = track(&negotiation, 0).rids;
        assert_eq!(rids, if wanted { vec!["q", "h", "f"] } else { vec![] });
    }
}

#[test]
fn a_stopped_and_recycled_section_is_followed() {
    for (first, second, third) in [
        (
            include_str!("../../../../tests/data/sdp/chromium_addtrack.sdp"),
            include_str!("../../../../tests/data/sdp/chromium_stopped.sdp"),
            include_str!("../../../../tests/data/sdp/chromium_recycled.sdp"),
        ),
        (
            include_str!("../../../../tests/data/sdp/firefox_addtrack.sdp"),
            include_str!("../../../../tests/data/sdp/firefox_stopped.sdp"),
            include_str!("../../../../tests/data/sdp/firefox_recycled.sdp"),
        ),
    ] {
        // Captured from another connection than the first: take its certificate.
        let fingerprint = |text: &str| {
            let line = text.lines().find(|l| l.starts_with("a=fingerprint"));
            line.unwrap().to_owned()
        };
        let first = first.replace(&fingerprint(first), &fingerprint(second));
        let mut negotiation = Negotiation::new(config());
        negotiation.set_wanted([sent(0, MediaKind::Audio), sent(1, MediaKind::Video)]);
        let mids = (0..2).map(|i| (TrackId(i), i.to_string())).collect();
        let context = OfferContext::default();
        negotiation.handle_offer(&first, &mids, &context).unwrap();
        negotiation.set_wanted([sent(1, MediaKind::Video)]);
        let stopped = negotiation.handle_offer(second, &BTreeMap::new(), &context);
        let stopped = check_rules(&stopped.unwrap().sdp);
        assert!(stopped.media[0].is_rejected() && stopped.bundle == ["1"]);
        negotiation.set_wanted([sent(1, MediaKind::Video), sent(2, MediaKind::Video)]);
        let mids = BTreeMap::from([(TrackId(2), "2".to_owned())]);
        let recycled = negotiation.handle_offer(third, &mids, &context).unwrap();
        check_rules(&recycled.sdp);
        assert_eq!(
            track(&negotiation, 1).mid,
            "1",
            "stays without being said again"
        );
        assert!(track(&negotiation, 2).active);
    }
}

#[test]
fn a_data_channel_alone_is_answered_with_a_rejection() {
    let offer = include_str!("../../../../tests/data/sdp/chromium_data.sdp");
    let mut negotiation = Negotiation::new(config());
    let answer = negotiation.handle_offer(offer, &BTreeMap::new(), &OfferContext::default());
    let answer = sdp::parse(&answer.unwrap().sdp).unwrap();
    assert!(answer.media[0].is_rejected() && answer.bundle.is_empty());
}
