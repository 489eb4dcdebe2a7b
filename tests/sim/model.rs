//! A reference model of SFU rooms: members, their tracks, and what each client must have been told of them, written from
//! docs/protocol.md alone. Random commands, socket losses and reloads go to the shard and to the model; once all is quiet,
//! every client that listens must see what the model says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use colchis::bus::spec::{PublishPolicy, RoomSpec};
use proptest::prelude::*;

use crate::configure::pass;
use crate::network::Link;
use crate::support::sdp::Kind;
use crate::world::World;

/// Members of the room.
const SEATS: usize = 3;
/// One way of everybody's socket, µs: several commands are under way during a negotiation.
const SIGNAL_US: u64 = 50_000;
/// A command and its echo, or a return and its state.
const SETTLED_MS: u64 = 4 * SIGNAL_US / 1000 + 20;
const KINDS: [Kind; 2] = [Kind::Audio, Kind::Video];

/// One command.
#[derive(Debug, Clone, Copy)]
enum Step {
    Join(usize),
    Leave(usize),
    Lose(usize),
    /// A new socket for a member that knows all it knew.
    Return(usize),
    /// A new socket for a member that knows nothing.
    Reload(usize),
    Mute(usize, Kind, bool),
    Enable(usize, Kind, bool),
    /// Of everybody it receives.
    EnableReceived(usize, Kind, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let seat = 0..SEATS;
    let kind = prop_oneof![Just(Kind::Audio), Just(Kind::Video)];
    prop_oneof![
        4 => seat.clone().prop_map(Step::Join),
        2 => seat.clone().prop_map(Step::Leave),
        2 => seat.clone().prop_map(Step::Lose),
        2 => seat.clone().prop_map(Step::Return),
        2 => seat.clone().prop_map(Step::Reload),
        2 => (seat.clone(), kind.clone(), any::<bool>()).prop_map(|(s, k, on)| Step::Mute(s, k, on)),
        2 => (seat.clone(), kind.clone(), any::<bool>()).prop_map(|(s, k, on)| Step::Enable(s, k, on)),
        4 => (seat, kind, prop::bool::weighted(0.3)).prop_map(|(s, k, on)| Step::EnableReceived(s, k, on)),
    ]
}

fn policy() -> impl Strategy<Value = PublishPolicy> {
    prop_oneof![
        2 => Just(PublishPolicy::Optional),
        1 => Just(PublishPolicy::Required),
        1 => Just(PublishPolicy::Disabled),
    ]
}

/// What a member sends of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    enabled: bool,
    muted: bool,
}

/// A member that is in the room, lost or not.
#[derive(Debug, Clone)]
struct Here {
    listens: bool,
    sends: BTreeMap<u8, Sent>,
    /// Publisher and kind of what it has switched off.
    off: BTreeSet<(usize, u8)>,
}

struct Model {
    policies: [PublishPolicy; 2],
    members: [Option<Here>; SEATS],
}

/// A track as a client sees it: sent or received from whom, its kind, what is said of it.
type View = BTreeMap<(Option<usize>, u8), (String, bool, BTreeSet<usize>)>;

fn number(kind: Kind) -> u8 {
    u8::from(kind == Kind::Video)
}

impl Model {
    fn is_required(&self, kind: u8) -> bool {
        self.policies[usize::from(kind)] == PublishPolicy::Required
    }

    fn fresh(&self) -> Here {
        let sent = Sent {
            enabled: true,
            muted: false,
        };
        let kinds = KINDS.map(number).into_iter();
        let kinds = kinds.filter(|k| self.policies[usize::from(*k)] != PublishPolicy::Disabled);
        Here {
            listens: true,
            sends: kinds.map(|kind| (kind, sent)).collect(),
            off: BTreeSet::new(),
        }
    }

    /// `seat` is out: what others said of its tracks is void. Not so when it comes back with a fresh peer: they receive
    /// the same tracks of it as before.
    fn leave(&mut self, seat: usize) {
        self.members[seat] = None;
        for other in self.members.iter_mut().flatten() {
            other.off.retain(|(publisher, _)| *publisher != seat);
        }
    }

    fn enter(&mut self, seat: usize) {
        self.members[seat] = Some(self.fresh());
    }

    fn listens(&self, seat: usize) -> bool {
        self.members[seat].as_ref().is_some_and(|here| here.listens)
    }

    /// What the client of `seat` must have been told.
    fn view(&self, seat: usize) -> View {
        let mut view = View::new();
        let Some(me) = &self.members[seat] else {
            return view;
        };
        let others = || (0..SEATS).filter(|other| *other != seat);
        let here = |other: &usize| self.members[*other].is_some();
        for (kind, sent) in &me.sends {
            let receivers: BTreeSet<usize> = others().filter(here).collect();
            let wants = |other: &usize| {
                let other = self.members[*other].as_ref();
                other.is_some_and(|o| !o.off.contains(&(seat, *kind)))
            };
            let wanted = receivers.is_empty() || receivers.iter().any(wants);
            let direction = direction(sent.enabled, wanted);
            view.insert((None, *kind), (direction, sent.muted, receivers));
        }
        for other in others() {
            let Some(publisher) = &self.members[other] else {
                continue;
            };
            for (kind, sent) in &publisher.sends {
                let direction = direction(sent.enabled, !me.off.contains(&(other, *kind)));
                let said = (direction, sent.muted, BTreeSet::new());
                view.insert((Some(other), *kind), said);
            }
        }
        view
    }
}

/// docs/protocol.md section 6.
fn direction(publishes: bool, receives: bool) -> String {
    let word = match (publishes, receives) {
        (true, true) => "SendRecv",
        (true, false) => "SendOnly",
        (false, true) => "RecvOnly",
        (false, false) => "Inactive",
    };
    word.to_owned()
}

fn seat_of(world: &World, name: &str) -> usize {
    let mut seats = world.seats.iter();
    let found = seats.position(|s| s.client.signal.member == name);
    found.expect("a member of the room")
}

fn seen(world: &World, seat: usize) -> View {
    let tracks = world.seats[seat].client.signal.tracks.values();
    let said = tracks.map(|t| {
        let sender = t.sender.as_ref().filter(|_| !t.send);
        let sender = sender.map(|name| seat_of(world, name));
        let receivers = t.receivers.iter().map(|name| seat_of(world, name));
        let said = (t.media_direction.clone(), t.muted, receivers.collect());
        ((sender, number(t.kind)), said)
    });
    said.collect()
}

/// Does a step if it makes sense now; what clients know is asked of them, since a patch can only name what they know.
fn act(world: &mut World, model: &mut Model, step: Step) {
    match step {
        Step::Join(seat) if model.members[seat].is_none() => {
            model.enter(seat);
            world.join(seat);
        }
        Step::Leave(seat) if model.listens(seat) => {
            model.leave(seat);
            world.leave(seat);
        }
        Step::Lose(seat) if model.listens(seat) => {
            // What it says of itself when it is back is what it was last told.
            pass(world, SETTLED_MS);
            if let Some(here) = &mut model.members[seat] {
                here.listens = false;
            }
            world.lose(seat);
        }
        Step::Return(seat) if model.members[seat].is_some() && !model.listens(seat) => {
            if let Some(here) = &mut model.members[seat] {
                here.listens = true;
            }
            world.join(seat);
        }
        Step::Reload(seat) if model.members[seat].is_some() && !model.listens(seat) => {
            model.enter(seat);
            world.seats[seat].client.signal.reload();
            world.seats[seat].client.drop_peer();
            world.join(seat);
        }
        Step::Mute(seat, kind, on) => patch_sent(world, model, seat, kind, (None, Some(on))),
        Step::Enable(seat, kind, on) => patch_sent(world, model, seat, kind, (Some(on), None)),
        Step::EnableReceived(seat, kind, on) => patch_received(world, model, seat, kind, on),
        _ => {}
    }
}

/// Whether the client of `seat` can patch anything, once it knows what came before.
fn settles(world: &mut World, model: &Model, seat: usize) -> bool {
    pass(world, SETTLED_MS);
    model.listens(seat) && world.seats[seat].client.signal.peer.is_some()
}

fn patch_sent(
    world: &mut World,
    model: &mut Model,
    seat: usize,
    kind: Kind,
    (enabled, muted): (Option<bool>, Option<bool>),
) {
    if !settles(world, model, seat) {
        return;
    }
    let signal = &world.seats[seat].client.signal;
    if !signal.tracks.values().any(|t| t.send && t.kind == kind) {
        return;
    }
    let command = signal.update_send(kind, enabled, muted);
    world.client_command(seat, command);
    let required = model.is_required(number(kind));
    let sends = model.members[seat].as_mut().map(|here| &mut here.sends);
    if let Some(sent) = sends.and_then(|s| s.get_mut(&number(kind))) {
        sent.enabled = enabled.map_or(sent.enabled, |on| on || required);
        sent.muted = muted.unwrap_or(sent.muted);
    }
}

fn patch_received(world: &mut World, model: &mut Model, seat: usize, kind: Kind, on: bool) {
    if !settles(world, model, seat) {
        return;
    }
    let signal = &world.seats[seat].client.signal;
    let known = signal.tracks.values().filter(|t| !t.send && t.kind == kind);
    let known = known.filter_map(|t| t.sender.as_deref());
    let publishers: Vec<usize> = known.map(|name| seat_of(world, name)).collect();
    let command = signal.update_recv(kind, on);
    world.client_command(seat, command);
    let required = model.is_required(number(kind));
    if let Some(here) = &mut model.members[seat] {
        for publisher in publishers {
            match on || required {
                true => here.off.remove(&(publisher, number(kind))),
                false => here.off.insert((publisher, number(kind))),
            };
        }
    }
}

fn world(policies: [PublishPolicy; 2]) -> World {
    let mut world = World::new(31, 1, true);
    let clean = Link::clean(5_000);
    for _ in 0..SEATS {
        let seat = world.seat(1, clean, clean);
        world.seats[seat].signal_us = SIGNAL_US;
    }
    let spec = world.spec(1);
    let mut member = spec.open.as_deref().expect("an open room").clone();
    for publish in member.publish.values_mut() {
        [publish.audio, publish.video] = policies;
    }
    let spec = RoomSpec {
        open: Some(Arc::new(member)),
        ..RoomSpec::clone(&spec)
    };
    world.configure(1, spec);
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_client_sees_what_the_model_says(
        audio in policy(),
        video in policy(),
        steps in prop::collection::vec((step(), 0..250_u64), 1..60),
    ) {
        let mut world = world([audio, video]);
        let mut model = Model { policies: [audio, video], members: [const { None }; SEATS] };
        for (step, pause_ms) in steps {
            act(&mut world, &mut model, step);
            pass(&mut world, pause_ms);
        }
        pass(&mut world, 4_000);
        for seat in (0..SEATS).filter(|seat| model.listens(*seat)) {
            prop_assert_eq!(seen(&world, seat), model.view(seat), "what member {} sees", seat);
        }
        let faults = world.faults();
        prop_assert!(faults.is_empty(), "{:?}", faults);
    }
}

/// Found by the model: a track that was told into a socket that had gone, and was gone itself when the client came back.
#[test]
fn a_track_the_client_never_heard_of_is_not_removed_from_it() {
    let mut world = world([PublishPolicy::Optional; 2]);
    world.join(2);
    pass(&mut world, 100);
    world.join(1);
    pass(&mut world, 120);
    world.lose(2);
    world.leave(1);
    // Its client insists on knowing what is removed from it.
    world.join(2);
    pass(&mut world, 4_000);
    let tracks = world.seats[2].client.signal.tracks.values();
    assert_eq!(tracks.filter(|t| t.send).count(), 2);
    assert_eq!(seen(&world, 2).len(), 2, "nobody else is there");
    let peer = world.shard.rooms().next().and_then(|(_, room)| {
        let mut members = room.members();
        members.find_map(|(_, member)| member.peer.as_ref())
    });
    let sections = peer.and_then(|p| p.negotiation.local_sdp().map(str::to_owned));
    let sections = sections.expect("a description");
    assert_eq!(
        sections.matches("a=sendrecv").count() + sections.matches("a=sendonly").count(),
        0,
        "the server sends nothing on any section: {sections}"
    );
}
