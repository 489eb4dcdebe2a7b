//! Rubbish of every kind: from strangers, under stolen addresses, from members themselves.

use std::net::SocketAddr;
use std::sync::OnceLock;

use rand_core::RngCore;

use crate::world::World;

/// Every input that has crashed a parser of this field (tests/data/hostile).
pub fn hostile() -> &'static [Vec<u8>] {
    static FILES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hostile");
        let mut files = Vec::new();
        let mut folders: Vec<_> = std::fs::read_dir(root)
            .expect(root)
            .flatten()
            .map(|e| e.path())
            .collect();
        folders.sort();
        for folder in folders.iter().filter(|f| f.is_dir()) {
            let mut paths: Vec<_> = std::fs::read_dir(folder)
                .expect("a folder")
                .flatten()
                .map(|e| e.path())
                .collect();
            paths.sort();
            files.extend(paths.iter().map(|p| std::fs::read(p).expect("a file")));
        }
        assert!(files.len() > 50, "the hostile inputs are missing");
        files
    })
}

fn junk(world: &mut World) -> Vec<u8> {
    let draw = world.rng.next_u32();
    if draw.is_multiple_of(3) {
        let files = hostile();
        return files[(draw / 3) as usize % files.len()].clone();
    }
    let mut bytes = vec![0; (draw % 1600) as usize];
    world.rng.fill_bytes(&mut bytes);
    if let Some(first) = bytes.first_mut() {
        // STUN, DTLS, RTP in turn, so that not all ends at the demultiplexer.
        let firsts = [0x00, 0x01, 20, 22, 23, 25, 0x80, 0x90, 0xB0];
        *first = firsts[(draw / 7) as usize % firsts.len()];
    }
    bytes
}

/// From addresses that belong to nobody: nothing may come back.
pub fn stranger(world: &mut World) {
    for _ in 0..5 {
        let port = 1_000 + (world.rng.next_u32() % 8_000) as u16;
        let from = SocketAddr::from(([203, 0, 113, 7], port));
        let bytes = junk(world);
        world.inject(from, bytes);
    }
}

/// Under a member's address: its call must not suffer.
pub fn spoof(world: &mut World, seat: usize) {
    let from = world.seats[seat].client.address;
    for _ in 0..5 {
        let bytes = junk(world);
        world.inject(from, bytes);
    }
    // A plaintext alert, which must not end the session (RFC 6347 section 4.1.2.7).
    world.inject(
        from,
        vec![21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40],
    );
}

/// A member's own sealed packets again: whole, cut, altered, and from elsewhere.
pub fn replay(world: &mut World, seat: usize) {
    let from = world.seats[seat].client.address;
    let history = world.seats[seat].client.history.clone();
    for sealed in history {
        let at = world.rng.next_u32() as usize % sealed.len();
        let mut altered = sealed.clone();
        altered[at] ^= 1 << (world.rng.next_u32() % 8);
        world.inject(from, sealed[..at].to_vec());
        world.inject(from, altered);
        world.inject(SocketAddr::from(([203, 0, 113, 9], 999)), sealed.clone());
        world.inject(from, sealed);
    }
}

/// Hostile content inside valid SRTP and SRTCP: may spoil the call of the member that sends it, no other.
pub fn evil(world: &mut World, seat: usize) {
    let files = hostile();
    let mut out = Vec::new();
    for _ in 0..6 {
        let plain = &files[world.rng.next_u32() as usize % files.len()];
        let client = &mut world.seats[seat].client;
        client.seal_hostile(plain, &mut out);
        if plain.len() >= 8 {
            client.seal_rtcp(plain, &mut out);
        }
    }
    world.send_from(seat, out);
}
