//! Session descriptions: what can be read can be written back, and a peer's negotiation outlives any offer and answer.
#![no_main]

use std::collections::BTreeMap;

use colchis::id::{Ssrc, TrackId};
use colchis::room::negotiation::{
    LocalSource, Negotiation, NegotiationConfig, OfferContext, WantedDirection, WantedTrack,
};
use colchis::wire::sdp::{self, IceParams, MediaKind};

fn negotiation() -> Negotiation {
    let mut negotiation = Negotiation::new(NegotiationConfig {
        session_id: 1,
        ice: IceParams {
            ufrag: "fuzz".into(),
            pwd: "fuzzfuzzfuzzfuzzfuzzfuzz".into(),
        },
        fingerprint: [1; 32],
        candidates: vec!["1 1 udp 1 192.0.2.1 5000 typ host".into()],
        codecs: NegotiationConfig::CODECS.to_vec(),
        extensions: NegotiationConfig::EXTENSIONS.to_vec(),
        simulcast: true,
    });
    let received = WantedDirection::ClientReceives(LocalSource {
        stream_id: "stream".into(),
        track_label: "track".into(),
        ssrc: Ssrc(1),
        rtx_ssrc: Some(Ssrc(2)),
        cname: "cname".into(),
    });
    let directions = [WantedDirection::ClientSends, received];
    let tracks = directions.into_iter().zip(0..).map(|(direction, id)| WantedTrack {
        id: TrackId(id),
        kind: MediaKind::Video,
        direction,
    });
    negotiation.set_wanted(tracks);
    negotiation
}

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(read) = sdp::parse(text) else {
        return;
    };
    let written = sdp::write(&read);
    assert_eq!(sdp::parse(&written).as_ref(), Ok(&read), "{written}");

    let video = read.media.iter().find(|media| media.kind == MediaKind::Video);
    let mid = video.map(|media| media.mid.clone()).unwrap_or_default();
    let mids = BTreeMap::from([(TrackId(0), mid.clone()), (TrackId(1), mid)]);
    let mut peer = negotiation();
    if let Ok(answer) = peer.handle_offer(text, &mids, &OfferContext::default()) {
        sdp::parse(&answer.sdp).expect("an answer of ours is readable");
        peer.make_offer().expect("an offer fits");
        peer.handle_answer(text).ok();
    }
    let mut peer = negotiation();
    peer.make_offer().expect("an offer fits");
    peer.handle_answer(text).ok();
    peer.tracks();
});
