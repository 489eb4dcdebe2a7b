//! The shard of the simulation, shared with the bench of the whole shard.

use std::net::SocketAddr;

use colchis::id::ShardId;
use colchis::room::RoomConfig;
use colchis::room::machine::MachineConfig;
use colchis::shard::{Shard, ShardConfig};
use colchis::time::Anchor;
use colchis::transport::dtls::{DimplProvider, DtlsIdentity, DtlsSettings};
use colchis::wire::codec::CodecKind;
use rand_chacha::ChaCha20Rng;

use crate::dtls;

/// A shard on `address` with the simulation's certificate and without chance.
pub fn make_shard(address: SocketAddr, anchor: Anchor, rng: ChaCha20Rng) -> Shard {
    let identity = DtlsIdentity::new(
        include_bytes!("../data/sim/server.cert.der").to_vec(),
        include_bytes!("../data/sim/server.key.der").to_vec(),
    );
    let settings = DtlsSettings {
        provider: Some(dtls::provider()),
        seeded: true,
        ..DtlsSettings::default()
    };
    let dtls = DimplProvider::new(settings, &identity, anchor).expect("the simulation's identity");
    let fingerprint = identity.fingerprint.bytes().try_into().expect("SHA-256");
    let candidate = format!(
        "candidate:1 1 udp 2130706431 {} {} typ host",
        address.ip(),
        address.port()
    );
    let config = ShardConfig {
        id: ShardId(0),
        room: RoomConfig {
            fingerprint,
            candidates: vec![candidate],
            ice_servers: Default::default(),
            members_max: colchis::limits::MEMBERS_PER_ROOM_MAX,
            codecs: vec![
                CodecKind::Opus,
                CodecKind::Vp8,
                CodecKind::Vp9,
                CodecKind::H264,
                CodecKind::Av1,
            ],
        },
        machine: MachineConfig {
            dtls: Box::new(dtls),
            handshakes_per_s: colchis::limits::DTLS_HANDSHAKES_PER_S,
        },
    };
    Shard::new(config, anchor, rng)
}
