//! Negotiation as a client sees it: captured offers of browsers, and a model client that checks like one.

mod captured;
mod client;
mod random;

use std::collections::BTreeMap;

use super::*;
use crate::wire::rtp::ExtensionKind;
use crate::wire::sdp::{self, SdpDirection};
use client::{Client, Flavour, check_rules};

fn ice(ufrag: &str) -> IceParams {
    IceParams {
        ufrag: ufrag.into(),
        pwd: "serverserverserverserver".into(),
    }
}

fn config() -> NegotiationConfig {
    NegotiationConfig {
        session_id: 77,
        ice: ice("serv"),
        fingerprint: [0xab; 32],
        candidates: vec!["1 1 udp 2130706431 192.0.2.1 5000 typ host".into()],
        codecs: NegotiationConfig::CODECS.to_vec(),
        extensions: NegotiationConfig::EXTENSIONS.to_vec(),
        simulcast: false,
    }
}

fn sent(id: u32, kind: MediaKind) -> WantedTrack {
    WantedTrack {
        id: TrackId(id),
        kind,
        direction: WantedDirection::ClientSends,
    }
}

fn received(id: u32, kind: MediaKind) -> WantedTrack {
    WantedTrack {
        id: TrackId(id),
        kind,
        direction: WantedDirection::ClientReceives(LocalSource {
            stream_id: format!("stream{id}"),
            track_label: format!("track{id}"),
            ssrc: Ssrc(10_000 + id),
            rtx_ssrc: (kind == MediaKind::Video).then_some(Ssrc(20_000 + id)),
            cname: "server".into(),
        }),
    }
}

/// The client offers, the server answers.
fn client_offers(negotiation: &mut Negotiation, client: &mut Client) {
    let (offer, mids) = client.offer();
    let answer = negotiation
        .handle_offer(&offer, &mids, &OfferContext::default())
        .unwrap();
    client.take_answer(&offer, &answer.sdp);
}

/// The server offers, the client answers.
fn server_offers(negotiation: &mut Negotiation, client: &mut Client) {
    let offer = negotiation.make_offer().unwrap();
    let answer = client.answer(&offer);
    negotiation.handle_answer(&answer).unwrap();
}

fn track(negotiation: &Negotiation, id: u32) -> NegotiatedTrack {
    let tracks = negotiation.tracks();
    let mut all = tracks.into_iter();
    all.find(|t| t.track == TrackId(id))
        .expect("track is negotiated")
}

#[test]
fn the_answers_direction_is_what_both_want() {
    use SdpDirection::{Inactive, RecvOnly, SendOnly, SendRecv};
    // Client's direction, tracks wanted (sent, received), our answer.
    let table = [
        (SendRecv, true, true, SendRecv),
        (SendRecv, true, false, RecvOnly),
        (SendRecv, false, true, SendOnly),
        (SendRecv, false, false, Inactive),
        (SendOnly, true, true, RecvOnly),
        (SendOnly, false, true, Inactive),
        (RecvOnly, true, true, SendOnly),
        (RecvOnly, true, false, Inactive),
        (Inactive, true, true, Inactive),
    ];
    for (direction, sends, receives, want) in table {
        let mut negotiation = Negotiation::new(config());
        let mut client = Client::new(Flavour::chromium());
        client.add(MediaKind::Audio, None, None);
        let (offer, _) = client.offer();
        let mut offer = sdp::parse(&offer).unwrap();
        offer.media[0].direction = direction;
        let tracks = [
            sends.then(|| sent(1, MediaKind::Audio)),
            receives.then(|| received(2, MediaKind::Audio)),
        ];
        negotiation.set_wanted(tracks.into_iter().flatten());
        let mids = BTreeMap::from([(TrackId(1), "0".to_owned()), (TrackId(2), "0".to_owned())]);
        let answer = negotiation
            .handle_offer(&sdp::write(&offer), &mids, &OfferContext::default())
            .unwrap();
        let answer = check_rules(&answer.sdp);
        assert_eq!(
            answer.media[0].direction, want,
            "{direction:?} {sends} {receives}"
        );
        for track in negotiation.tracks() {
            let flows = if track.client_sends {
                want.receives()
            } else {
                want.sends()
            };
            assert_eq!(track.active, flows);
        }
    }
}

#[test]
fn the_server_may_offer_first() {
    let mut negotiation = Negotiation::new(config());
    negotiation.set_wanted([received(1, MediaKind::Audio), received(2, MediaKind::Video)]);
    assert_eq!(negotiation.needed(), Some(Needed::ServerOffers));
    let mut client = Client::new(Flavour::odd());
    server_offers(&mut negotiation, &mut client);
    assert_eq!(negotiation.needed(), None);
    let video = track(&negotiation, 2);
    assert!(video.active && !video.client_sends);
    let kinds: Vec<_> = video.codecs.iter().map(|c| c.format.kind()).collect();
    assert_eq!(
        kinds,
        [CodecKind::Vp8, CodecKind::H264],
        "what both have, in our order"
    );
    assert_eq!(client.transceivers[1].playing.as_deref(), Some("stream2"));
    assert_eq!(negotiation.remote().unwrap().ice.ufrag, "clie");
    // The client's own table differs, and is taken over without a clash from its first offer on.
    client.add(MediaKind::Video, Some(TrackId(3)), None);
    negotiation.set_wanted([
        received(1, MediaKind::Audio),
        received(2, MediaKind::Video),
        sent(3, MediaKind::Video),
    ]);
    assert_eq!(negotiation.needed(), Some(Needed::ClientOffers));
}

#[test]
fn a_removed_tracks_section_is_used_again() {
    let mut negotiation = Negotiation::new(config());
    let mut client = Client::new(Flavour::chromium());
    client.add(MediaKind::Audio, Some(TrackId(1)), None);
    negotiation.set_wanted([sent(1, MediaKind::Audio)]);
    client_offers(&mut negotiation, &mut client);

    negotiation.set_wanted([sent(1, MediaKind::Audio), received(2, MediaKind::Video)]);
    assert_eq!(negotiation.needed(), Some(Needed::ServerOffers));
    server_offers(&mut negotiation, &mut client);
    let mid = track(&negotiation, 2).mid;
    let pts: Vec<u8> = track(&negotiation, 2).codecs.iter().map(|c| c.pt).collect();
    assert_ne!(mid, "0");

    negotiation.set_wanted([sent(1, MediaKind::Audio)]);
    assert_eq!(negotiation.needed(), Some(Needed::ServerOffers));
    server_offers(&mut negotiation, &mut client);
    assert_eq!(client.transceivers[1].playing, None, "the tile is gone");
    assert_eq!(negotiation.mid_of(TrackId(2)), None);

    negotiation.set_wanted([
        sent(1, MediaKind::Audio),
        received(3, MediaKind::Audio),
        received(4, MediaKind::Video),
    ]);
    server_offers(&mut negotiation, &mut client);
    assert_eq!(track(&negotiation, 4).mid, mid, "same kind: same section");
    let again: Vec<u8> = track(&negotiation, 4).codecs.iter().map(|c| c.pt).collect();
    assert_eq!(again, pts);
    assert_ne!(
        track(&negotiation, 3).mid,
        mid,
        "another kind: another section"
    );
    assert_eq!(client.transceivers[1].playing.as_deref(), Some("stream4"));
    assert_eq!(negotiation.sections.len(), 3);
}

#[test]
fn publishers_are_limited_to_what_their_receivers_decode() {
    let mut negotiation = Negotiation::new(config());
    let mut client = Client::new(Flavour::chromium());
    client.add(MediaKind::Video, Some(TrackId(1)), None);
    client.add(MediaKind::Video, Some(TrackId(2)), Some(TrackId(3)));
    client.add(MediaKind::Video, Some(TrackId(4)), None);
    let wanted = [1, 2, 4].map(|id| sent(id, MediaKind::Video));
    negotiation.set_wanted(wanted.into_iter().chain([received(3, MediaKind::Video)]));
    let (offer, mids) = client.offer();
    let context = OfferContext {
        decodable: BTreeMap::from([
            (TrackId(1), vec![CodecKind::H264, CodecKind::Opus]),
            (TrackId(2), vec![CodecKind::Av1]),
            (TrackId(4), vec![CodecKind::Opus]),
        ]),
        fresh_ice: None,
    };
    let answer = negotiation
        .handle_offer(&offer, &mids, &context)
        .unwrap()
        .sdp;
    client.take_answer(&offer, &answer);
    let kinds = |id| -> Vec<_> {
        let track = track(&negotiation, id);
        track.codecs.iter().map(|c| c.format.kind()).collect()
    };
    assert_eq!(kinds(1), [CodecKind::H264]);
    assert_eq!(
        kinds(2),
        [CodecKind::Av1],
        "the section has more, for the other direction"
    );
    assert_eq!(kinds(3).len(), 4);
    assert_eq!(kinds(3)[0], CodecKind::Av1, "browsers send the first");
    assert_eq!(kinds(4).len(), 4, "nothing in common: no limit");
    assert_eq!(sdp::parse(&answer).unwrap().media[0].codecs.len(), 1);
}

#[test]
fn a_refused_description_changes_nothing() {
    let mut negotiation = Negotiation::new(config());
    let mut client = Client::new(Flavour::chromium());
    client.add(MediaKind::Audio, Some(TrackId(1)), None);
    client.add(MediaKind::Video, Some(TrackId(2)), None);
    negotiation.set_wanted([sent(1, MediaKind::Audio), sent(2, MediaKind::Video)]);
    let (good, mids) = client.offer();
    let context = OfferContext::default();
    type Breaker = fn(&str) -> String;
    let bad: [(Breaker, &str); 9] = [
        (|s| s.replace("a=rtcp-mux\r\n", ""), "rtcp-mux"),
        (
            |s| s.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0"),
            "BUNDLE",
        ),
        (
            |s| s.replace("a=fingerprint:sha-256", "a=fingerprint:sha-999"),
            "sha-256",
        ),
        (|s| s.replace("a=ice-ufrag:clie\r\n", ""), "ICE"),
        (|s| s.replace("a=setup:actpass", "a=setup:passive"), "setup"),
        (|s| s.replace("a=setup:actpass\r\n", ""), "setup"),
        (|s| s.replace("a=mid:1\r\n", ""), "a=mid"),
        (|s| s.replace("v=0", "v=9"), "line 1"),
        (
            |s| {
                s.replace("a=mid:1\r\n", "a=mid:9\r\n")
                    .replace("BUNDLE 0 1", "BUNDLE 0 9")
            },
            "track 2",
        ),
    ];
    for round in 0..2 {
        for (breaker, want) in bad {
            let before = format!("{negotiation:?}");
            let error = negotiation
                .handle_offer(&breaker(&good), &mids, &context)
                .unwrap_err()
                .to_string();
            // Once agreed, a section may not change its mid at all.
            let want = if round == 1 && want == "track 2" {
                "m-section 1"
            } else {
                want
            };
            assert!(error.contains(want), "{want}: {error}");
            assert_eq!(format!("{negotiation:?}"), before, "{want}");
        }
        let answer = negotiation
            .handle_offer(&good, &mids, &context)
            .unwrap()
            .sdp;
        client.take_answer(&good, &answer);
    }
    let other_certificate = good.replace("07:07:07", "07:08:07");
    let error = negotiation.handle_offer(&other_certificate, &mids, &context);
    assert_eq!(error, Err(NegotiationError::FingerprintChanged));
    let shorter = good
        .split("m=video")
        .next()
        .unwrap()
        .replace("BUNDLE 0 1", "BUNDLE 0");
    let error = negotiation.handle_offer(&shorter, &BTreeMap::new(), &context);
    assert_eq!(
        error,
        Err(NegotiationError::SectionsMissing { got: 1, want: 2 })
    );
}

#[test]
fn a_bad_answer_leaves_the_offer_open() {
    let mut negotiation = Negotiation::new(config());
    let mut client = Client::new(Flavour::chromium());
    assert_eq!(
        negotiation.handle_answer("v=0"),
        Err(NegotiationError::NoOffer)
    );
    negotiation.set_wanted([received(1, MediaKind::Video)]);
    let offer = negotiation.make_offer().unwrap();
    assert_eq!(
        negotiation.make_offer().unwrap(),
        offer,
        "asked again: the same"
    );
    let answer = client.answer(&offer);
    let bad = [
        answer.replace("a=setup:active", "a=setup:passive"),
        answer
            .replace("a=mid:s0", "a=mid:s1")
            .replace("BUNDLE s0", "BUNDLE s1"),
        answer.replace("m=video", "m=audio"),
        format!(
            "{answer}{}",
            &answer[answer.find("m=").unwrap()..].replace(":s0", ":s9")
        ),
        answer.split("m=").next().unwrap().to_owned(),
        String::new(),
    ];
    for bad in bad {
        let before = format!("{negotiation:?}");
        assert!(negotiation.handle_answer(&bad).is_err(), "{bad}");
        assert_eq!(format!("{negotiation:?}"), before, "{bad}");
    }
    let refused = negotiation.handle_offer(&answer, &BTreeMap::new(), &OfferContext::default());
    assert_eq!(refused, Err(NegotiationError::OfferPending));
    assert_eq!(negotiation.needed(), None, "wait for the answer");
    assert_eq!(
        negotiation.mid_of(TrackId(1)),
        Some("s0"),
        "told with the offer"
    );
    negotiation.handle_answer(&answer).unwrap();
    assert!(track(&negotiation, 1).active);
    assert_eq!(negotiation.local_sdp(), Some(offer.as_str()));
    assert_eq!(negotiation.remote_sdp(), Some(answer.as_str()));
}

#[test]
fn rollback_forgets_the_offer_but_not_the_wish() {
    let mut negotiation = Negotiation::new(config());
    let mut client = Client::new(Flavour::chromium());
    client.add(MediaKind::Audio, Some(TrackId(1)), None);
    negotiation.set_wanted([sent(1, MediaKind::Audio)]);
    client_offers(&mut negotiation, &mut client);
    negotiation.set_wanted([sent(1, MediaKind::Audio), received(2, MediaKind::Audio)]);
    negotiation.restart_ice(ice("newu"));
    negotiation.make_offer().unwrap();
    assert_eq!(negotiation.pending_ice(), Some(&ice("newu")));
    negotiation.rollback();
    assert_eq!(
        (negotiation.pending_offer(), negotiation.pending_ice()),
        (None, None)
    );
    assert_eq!(negotiation.local_ice(), &ice("serv"));
    assert_eq!(negotiation.needed(), Some(Needed::ServerOffers));
    server_offers(&mut negotiation, &mut client);
    assert_eq!(
        negotiation.local_ice(),
        &ice("newu"),
        "the restart was not lost"
    );
    assert!(track(&negotiation, 2).active);
    assert_eq!(negotiation.needed(), None);
}

#[test]
fn a_clients_ice_restart_is_told_and_answered_with_fresh_credentials() {
    let mut negotiation = Negotiation::new(config());
    let mut client = Client::new(Flavour::chromium());
    client.add(MediaKind::Audio, Some(TrackId(1)), None);
    negotiation.set_wanted([sent(1, MediaKind::Audio)]);
    let context = OfferContext {
        fresh_ice: Some(ice("fres")),
        ..OfferContext::default()
    };
    for (ufrag, want_restart, want_ice) in [
        ("clie", false, "serv"),
        ("clie", false, "serv"),
        ("clie2", true, "fres"),
    ] {
        client.ice.ufrag = ufrag.into();
        let (offer, mids) = client.offer();
        let answer = negotiation.handle_offer(&offer, &mids, &context).unwrap();
        assert_eq!(answer.ice_restarted, want_restart);
        assert_eq!(negotiation.local_ice().ufrag, want_ice);
        let written = sdp::parse(&answer.sdp).unwrap().media[0].ice.clone();
        assert_eq!(written.unwrap().ufrag, want_ice);
        assert_eq!(negotiation.remote().unwrap().ice.ufrag, ufrag);
    }
}

#[test]
fn a_rejected_section_is_given_up_once() {
    let mut negotiation = Negotiation::new(config());
    let mut client = Client::new(Flavour::chromium());
    let index = client.add(MediaKind::Audio, Some(TrackId(1)), None);
    client.add(MediaKind::Video, Some(TrackId(2)), None);
    negotiation.set_wanted([sent(1, MediaKind::Audio), sent(2, MediaKind::Video)]);
    client_offers(&mut negotiation, &mut client);
    client.transceivers[index].stopped = true;
    client_offers(&mut negotiation, &mut client);
    assert_eq!(negotiation.tracks().len(), 1);
    assert_eq!(negotiation.needed(), None, "no quarrel about it");
    // Published anew on another transceiver.
    client.add(MediaKind::Audio, Some(TrackId(1)), None);
    client_offers(&mut negotiation, &mut client);
    assert_eq!(track(&negotiation, 1).mid, "2");
}

#[test]
fn a_full_description_takes_no_more_tracks() {
    let mut negotiation = Negotiation::new(config());
    let count = u32::try_from(SDP_MEDIA_MAX).unwrap();
    negotiation.set_wanted((0..count + 1).map(|id| received(id, MediaKind::Audio)));
    assert!(matches!(
        negotiation.make_offer(),
        Err(NegotiationError::TooLarge(_))
    ));
    assert_eq!(negotiation.pending_offer(), None);
    negotiation.set_wanted((0..200).map(|id| received(id, MediaKind::Audio)));
    assert!(negotiation.make_offer().is_ok());
}
