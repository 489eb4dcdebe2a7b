//! Whatever the network and the user do, a subscriber sees one consistent stream.

use proptest::prelude::*;
use std::collections::HashMap;

use super::kit::*;
use crate::media::UpTrack;

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// `by` packets further; `key`: a key frame, `lost`: kept back, `padding`: no payload.
    Send {
        key: bool,
        lost: bool,
        padding: bool,
    },
    /// The packet kept back `back` ago arrives, plainly or as a retransmission.
    Late {
        back: usize,
        rtx: bool,
    },
    /// The newest packet comes twice.
    Twice,
    DownEnabled(bool),
    UpEnabled(bool),
    /// The publisher leaves and joins with unrelated numbers.
    Rejoin {
        sequence: u16,
    },
    /// The subscriber asks for a packet it got, `back` ago.
    Nack {
        back: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (any::<u8>(), any::<u8>()).prop_map(|(kind, fate)| Step::Send {
            key: kind % 12 == 0,
            lost: fate % 8 == 0,
            padding: fate % 13 == 1,
        }),
        4 => (0usize..6, any::<bool>()).prop_map(|(back, rtx)| Step::Late { back, rtx }),
        1 => Just(Step::Twice),
        1 => any::<bool>().prop_map(Step::DownEnabled),
        1 => any::<bool>().prop_map(Step::UpEnabled),
        1 => any::<u16>().prop_map(|sequence| Step::Rejoin { sequence }),
        4 => (0usize..40).prop_map(|back| Step::Nack { back }),
    ]
}

struct World {
    up: UpTrack,
    now_ms: u64,
    sequence: u16,
    picture: u16,
    joins: u32,
    kept_back: Vec<Sent>,
    newest: Option<Sent>,
    rtx: u16,
}

impl World {
    fn next(&mut self, key: bool, padding: bool) -> Sent {
        self.now_ms += 10;
        self.sequence = self.sequence.wrapping_add(1);
        self.picture = self.picture.wrapping_add(1) & 0x7fff;
        let mark = [
            self.joins.to_be_bytes(),
            u32::from(self.sequence).to_be_bytes(),
        ]
        .concat();
        let payload = vp8(key, true, self.picture, self.picture as u8, &mark);
        let mut sent = Sent::video(self.sequence, (self.now_ms * 90) as u32, payload);
        sent.header.ssrc = UP_SSRC + self.joins;
        if padding {
            sent.payload.clear();
            sent.padding = 9;
        }
        sent
    }

    fn late(&mut self, back: usize, rtx: bool) -> Option<Sent> {
        let at = self.kept_back.len().checked_sub(back + 1)?;
        let sent = self.kept_back.remove(at);
        self.rtx = self.rtx.wrapping_add(1);
        Some(if rtx && !sent.payload.is_empty() {
            sent.rtx(self.rtx)
        } else {
            sent
        })
    }

    fn rejoin(&mut self, sequence: u16) {
        self.joins += 1;
        self.up = video_up(self.joins);
        self.sequence = sequence;
        self.picture = sequence / 3;
        self.kept_back.clear();
        self.newest = None;
    }
}

proptest! {
    #[test]
    fn one_number_is_one_packet_in_order_and_for_ever(
        start in any::<u16>(),
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut down = down();
        let mut world = World {
            up: video_up(0),
            now_ms: 0,
            sequence: start,
            picture: start / 2,
            joins: 0,
            kept_back: Vec::new(),
            newest: None,
            rtx: 0,
        };
        // By output number; and the packets in the order of their output, per source.
        let mut given: HashMap<u16, Vec<u8>> = HashMap::new();
        let mut order: Vec<((u32, u32), u64, u16)> = Vec::new();
        for step in steps {
            let arriving = match step {
                Step::Send { key, lost, padding } => {
                    let sent = world.next(key, padding);
                    if lost {
                        world.kept_back.push(sent);
                        None
                    } else {
                        world.newest = Some(sent.clone());
                        Some(sent)
                    }
                }
                Step::Late { back, rtx } => world.late(back, rtx),
                Step::Twice => world.newest.clone(),
                Step::DownEnabled(enabled) => { down.set_enabled(enabled); None }
                Step::UpEnabled(enabled) => { world.up.set_enabled(enabled); None }
                Step::Rejoin { sequence } => { world.rejoin(sequence); None }
                Step::Nack { back } => {
                    world.now_ms += 60;
                    let wanted = order.len().checked_sub(back + 1).map(|at| order[at].2);
                    if let Some(sequence) = wanted
                        && let Ok(again) = resend(&world.up, &mut down, ms(world.now_ms), sequence)
                    {
                        prop_assert_eq!(&again.payload[2..], &given[&sequence][..]);
                    }
                    None
                }
            };
            let Some(sent) = arriving else { continue };
            let Ok(taken) = take(&mut world.up, ms(world.now_ms), &sent) else { continue };
            let Ok(rewrite) = down.forward(&taken.fields) else { continue };
            let got = write(&down, &rewrite, &taken);
            let sequence = got.header.sequence;
            prop_assert!(given.insert(sequence, got.payload).is_none(), "{} twice", sequence);
            let source = (taken.fields.source.track, taken.fields.source.epoch);
            order.push((source, taken.fields.sequence, sequence));
        }
        for (i, (source, input, output)) in order.iter().enumerate() {
            for (other, later_input, later_output) in &order[i + 1..] {
                if source == other {
                    let forward = (later_output.wrapping_sub(*output) as i16) > 0;
                    prop_assert_eq!(forward, later_input > input);
                } else {
                    prop_assert!((later_output.wrapping_sub(*output) as i16) > 0, "sources do not mix");
                }
            }
        }
    }
}
