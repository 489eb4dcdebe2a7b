//! SRTP allocates nothing per packet once a stream is known: counted by the allocator itself.

#[path = "support/counting.rs"]
mod counting;

use colchis::transport::srtp::{Inbound, MasterKey, Outbound, SrtpProfile};
use counting::allocations;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = allocations();
    work();
    allocations() - before
}

fn packet(ssrc: u8, sequence: u16) -> [u8; 1280] {
    let mut slot = [0x5a; 1280];
    slot[..12].copy_from_slice(&[0x80, 96, 0, 0, 0, 0, 0, 1, 0, 0, 0, ssrc]);
    slot[2..4].copy_from_slice(&sequence.to_be_bytes());
    slot
}

#[test]
fn the_counter_counts() {
    assert!(allocations_of(|| drop(std::hint::black_box(vec![1u8; 64]))) > 0);
}

#[test]
fn seal_and_open_allocate_nothing_in_steady_state() {
    for profile in SrtpProfile::ALL {
        let key = vec![1; profile.key_len()];
        let salt = vec![2; profile.salt_len()];
        let master = MasterKey::new(profile, &key, &salt).unwrap();
        let mut outbound = Outbound::new(profile, &master).unwrap();
        let mut inbound = Inbound::new(profile, &master).unwrap();
        let mut round = |sequence: u16| {
            for ssrc in 0..8 {
                let mut slot = packet(ssrc, 2 * sequence);
                let len = outbound.seal_rtp(&mut slot, 12, 1200).unwrap();
                assert_eq!(inbound.open_rtp(&mut slot[..len], 12), Ok(1200));
                let mut slot = packet(ssrc, 2 * sequence + 1);
                let payload = packet(0, 0);
                let len = outbound
                    .seal_rtp_from(&mut slot, 12, &payload[..900])
                    .unwrap();
                assert_eq!(inbound.open_rtp(&mut slot[..len], 12), Ok(912));
                let mut slot = packet(ssrc, sequence);
                let len = outbound.seal_rtcp(&mut slot, 200).unwrap();
                assert_eq!(inbound.open_rtcp(&mut slot[..len]), Ok(200));
            }
        };
        round(0);
        let counted = allocations_of(|| (1..200).for_each(&mut round));
        assert_eq!(counted, 0, "{}", profile.name());
    }
}
