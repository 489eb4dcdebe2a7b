//! Long random lives of a peer: tracks come and go, either side offers, the model client checks every description.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Publish(MediaKind),
    /// Publish on a transceiver that also receives.
    PublishBoth(MediaKind),
    Play(MediaKind),
    /// Take away one of the wanted tracks.
    Remove(prop::sample::Index),
    Negotiate,
    /// The server's offer is lost and rolled back.
    LoseOffer,
    /// A description that makes no sense comes in between.
    Garbage,
    Stop(prop::sample::Index),
    RestartIce,
}

fn kind() -> impl Strategy<Value = MediaKind> {
    prop_oneof![Just(MediaKind::Audio), Just(MediaKind::Video)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => kind().prop_map(Step::Publish),
        1 => kind().prop_map(Step::PublishBoth),
        5 => kind().prop_map(Step::Play),
        4 => any::<prop::sample::Index>().prop_map(Step::Remove),
        6 => Just(Step::Negotiate),
        1 => Just(Step::LoseOffer),
        1 => Just(Step::Garbage),
        1 => any::<prop::sample::Index>().prop_map(Step::Stop),
        1 => Just(Step::RestartIce),
    ]
}

struct World {
    negotiation: Negotiation,
    client: Client,
    wanted: Vec<WantedTrack>,
    stopped: Vec<TrackId>,
    next_track: u32,
    restarts: u32,
}

impl World {
    fn new(flavour: Flavour) -> Self {
        Self {
            negotiation: Negotiation::new(config()),
            client: Client::new(flavour),
            wanted: Vec::new(),
            stopped: Vec::new(),
            next_track: 1,
            restarts: 0,
        }
    }

    fn want(&mut self, track: WantedTrack) -> TrackId {
        let id = track.id;
        self.next_track += 1;
        self.wanted.push(track);
        self.negotiation.set_wanted(self.wanted.clone());
        id
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Publish(kind) => {
                let id = self.want(sent(self.next_track, *kind));
                self.client.add(*kind, Some(id), None);
            }
            Step::PublishBoth(kind) => {
                let id = self.want(sent(self.next_track, *kind));
                let other = self.want(received(self.next_track, *kind));
                self.client.add(*kind, Some(id), Some(other));
            }
            Step::Play(kind) => drop(self.want(received(self.next_track, *kind))),
            Step::Remove(index) if !self.wanted.is_empty() => {
                let track = self.wanted.remove(index.index(self.wanted.len()));
                self.negotiation.set_wanted(self.wanted.clone());
                for transceiver in &mut self.client.transceivers {
                    transceiver.sends.take_if(|id| *id == track.id);
                    transceiver.receives.take_if(|id| *id == track.id);
                }
            }
            Step::Negotiate => self.negotiate(),
            Step::LoseOffer => {
                if self.negotiation.needed() == Some(Needed::ServerOffers) {
                    self.negotiation.make_offer().unwrap();
                    self.negotiation.rollback();
                }
            }
            Step::Garbage => {
                let before = format!("{:?}", self.negotiation);
                let mids = BTreeMap::new();
                let context = OfferContext::default();
                assert!(
                    self.negotiation
                        .handle_offer("v=0\r\n", &mids, &context)
                        .is_err()
                );
                assert!(self.negotiation.handle_answer("v=0\r\n").is_err());
                assert_eq!(format!("{:?}", self.negotiation), before);
            }
            Step::Stop(index) => self.stop(*index),
            Step::RestartIce => {
                self.restarts += 1;
                let fresh = ice(&format!("serv{}", self.restarts));
                self.negotiation.restart_ice(fresh);
            }
            Step::Remove(_) => {}
        }
    }

    /// The client stops a transceiver that is negotiated; its tracks are lost until they are removed.
    fn stop(&mut self, index: prop::sample::Index) {
        let open: Vec<usize> = (0..self.client.transceivers.len())
            .filter(|i| self.client.transceivers[*i].mid.is_some())
            .collect();
        if open.is_empty() {
            return;
        }
        let transceiver = &mut self.client.transceivers[open[index.index(open.len())]];
        transceiver.stopped = true;
        let mid = transceiver.mid.clone();
        let lost = self.wanted.iter().map(|t| t.id);
        let lost = lost.filter(|id| self.negotiation.mid_of(*id) == mid.as_deref());
        self.stopped.extend(lost);
        self.stopped.extend(transceiver.sends);
        self.stopped.extend(transceiver.receives);
        client_offers(&mut self.negotiation, &mut self.client);
    }

    /// Negotiates until nothing is needed, and checks that everything wanted is there.
    fn negotiate(&mut self) {
        for _ in 0..3 {
            match self.negotiation.needed() {
                None => break,
                Some(Needed::ClientOffers) => {
                    client_offers(&mut self.negotiation, &mut self.client);
                }
                Some(Needed::ServerOffers) => {
                    server_offers(&mut self.negotiation, &mut self.client);
                }
            }
        }
        assert_eq!(self.negotiation.needed(), None, "it comes to an end");
        if self.restarts > 0 && !self.negotiation.sections.is_empty() {
            let want = format!("serv{}", self.restarts);
            assert_eq!(self.negotiation.local_ice().ufrag, want);
        }
        let tracks = self.negotiation.tracks();
        for wanted in self.wanted.iter().filter(|t| !self.stopped.contains(&t.id)) {
            let found = tracks.iter().find(|t| t.track == wanted.id);
            let track = found.unwrap_or_else(|| panic!("{wanted:?} is missing"));
            assert!(track.active && !track.codecs.is_empty(), "{track:?}");
            assert_eq!(
                track.client_sends,
                wanted.direction == WantedDirection::ClientSends
            );
            let section = self.client.transceivers.iter();
            let mut section = section.filter(|t| t.mid.as_deref() == Some(&track.mid));
            let transceiver = section.next().expect("the client has the section");
            if track.client_sends {
                assert_eq!(transceiver.sends, Some(wanted.id));
            } else {
                let stream = format!("stream{}", wanted.id);
                assert_eq!(transceiver.playing.as_ref(), Some(&stream));
            }
        }
        let playing = self
            .client
            .transceivers
            .iter()
            .filter(|t| t.playing.is_some());
        let received = tracks.iter().filter(|t| !t.client_sends);
        assert_eq!(
            playing.count(),
            received.count(),
            "nothing plays that is not wanted"
        );
    }
}

/// Audio and video, sent and received, on sections 0 to 3.
fn four_tracks() -> (Vec<WantedTrack>, BTreeMap<TrackId, String>) {
    let wanted = vec![
        sent(0, MediaKind::Audio),
        sent(1, MediaKind::Video),
        received(2, MediaKind::Audio),
        received(3, MediaKind::Video),
    ];
    let mids = (0..2).map(|i| (TrackId(i), i.to_string())).collect();
    (wanted, mids)
}

proptest! {
    #[test]
    fn a_changed_offer_or_answer_is_refused_or_leads_to_valid_descriptions(
        first in crate::wire::sdp::tests::mutated(),
        second in crate::wire::sdp::tests::mutated(),
    ) {
        let (wanted, mids) = four_tracks();
        let context = OfferContext::default();
        let mut negotiation = Negotiation::new(config());
        negotiation.set_wanted(wanted.clone());
        for text in [&first, &second] {
            let before = format!("{negotiation:?}");
            match negotiation.handle_offer(text, &mids, &context) {
                Ok(answer) => drop(check_rules(&answer.sdp)),
                Err(_) => prop_assert_eq!(format!("{:?}", negotiation), before),
            }
            check_rules(&negotiation.make_offer().unwrap());
            let before = format!("{negotiation:?}");
            if negotiation.handle_answer(&second).is_err() {
                prop_assert_eq!(format!("{:?}", negotiation), before);
                negotiation.rollback();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::default())]
    #[test]
    fn descriptions_stay_valid_over_a_long_life(
        odd in any::<bool>(),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let flavour = if odd { Flavour::odd() } else { Flavour::chromium() };
        let mut world = World::new(flavour);
        for step in &steps {
            world.step(step);
        }
        world.negotiate();
    }
}
