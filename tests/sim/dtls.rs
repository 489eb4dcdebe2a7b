//! DTLS without chance: one crypto provider for both sides whose key exchange and random bytes come from the seed.
//!
//! Signatures are RFC 6979 ECDSA (pure Rust). The key exchange is a toy that anybody could read along: the simulation
//! tests handshakes, not secrecy, and a handshake must cost little.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::time::Instant;

use dimpl::crypto::{ActiveKeyExchange, Buf, CryptoProvider, SecureRandom, SupportedKxGroup};
use dimpl::{CryptoError, NamedGroup};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

thread_local! {
    /// One simulation runs on one thread.
    static RANDOM: RefCell<ChaCha20Rng> = RefCell::new(ChaCha20Rng::seed_from_u64(0));
}

/// Makes every later handshake of this thread a function of `seed`.
pub fn reseed(seed: u64) {
    RANDOM.with_borrow_mut(|rng| *rng = ChaCha20Rng::seed_from_u64(seed ^ 0x_D715));
}

/// The instant of virtual time zero, the same for every simulation of the process.
pub fn anchor_instant() -> Instant {
    static ANCHOR: OnceLock<Instant> = OnceLock::new();
    *ANCHOR.get_or_init(Instant::now)
}

fn fill(bytes: &mut [u8]) {
    RANDOM.with_borrow_mut(|rng| rng.fill_bytes(bytes));
}

#[derive(Debug)]
struct SeededRandom;

impl SecureRandom for SeededRandom {
    fn fill(&self, buf: &mut [u8]) -> Result<(), CryptoError> {
        fill(buf);
        Ok(())
    }
}

#[derive(Debug)]
struct ToyExchange {
    public: [u8; 32],
}

impl ActiveKeyExchange for ToyExchange {
    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn complete(self: Box<Self>, peer_pub: &[u8], out: &mut Buf) -> Result<(), CryptoError> {
        out.clear();
        let shared: Vec<u8> = self
            .public
            .iter()
            .zip(peer_pub)
            .map(|(a, b)| a ^ b)
            .collect();
        out.extend_from_slice(&shared);
        Ok(())
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[derive(Debug)]
struct ToyGroup;

impl SupportedKxGroup for ToyGroup {
    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }

    fn start_exchange(&self, _buf: Buf) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        let mut public = [0; 32];
        fill(&mut public);
        Ok(Box::new(ToyExchange { public }))
    }
}

static RANDOM_PROVIDER: SeededRandom = SeededRandom;
static GROUP: ToyGroup = ToyGroup;
static GROUPS: &[&dyn SupportedKxGroup] = &[&GROUP];

/// The provider of clients and server.
pub fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: GROUPS,
        secure_random: &RANDOM_PROVIDER,
        ..dimpl::crypto::rust_crypto::default_provider()
    }
}
