//! SRTP and DTLS run over arbitrary bytes: what fuzz targets and corpus replays call.
//!
//! A function returns for whatever bytes; a panic is a finding. The assertions are the guards' invariants.

use super::dtls::{
    DimplProvider, DtlsContext, DtlsEvent, DtlsIdentity, DtlsRole, DtlsSession, DtlsSettings,
};
use super::srtp::{Inbound, MasterKey, SrtpProfile, rtp_header_len};
use crate::time::{Anchor, Time};

/// Opens `bytes` as SRTP and as SRTCP with each profile: without the key nothing opens and nothing is remembered.
pub fn srtp(bytes: &[u8]) {
    for profile in SrtpProfile::ALL {
        let (key, salt) = ([0x5a; 32], [0xa5; 14]);
        let master = MasterKey::new(
            profile,
            key.get(..profile.key_len()).unwrap_or_default(),
            salt.get(..profile.salt_len()).unwrap_or_default(),
        );
        let Some(mut inbound) = master.and_then(|master| Inbound::new(profile, &master)) else {
            return;
        };
        let mut copy = bytes.to_vec();
        if let Some(header_len) = rtp_header_len(bytes) {
            assert!(inbound.open_rtp(&mut copy, header_len).is_err());
        }
        // A caller's mistake must be as harmless as a sender's malice.
        let claimed = usize::from(bytes.first().copied().unwrap_or(0));
        copy.copy_from_slice(bytes);
        assert!(inbound.open_rtp(&mut copy, claimed).is_err());
        copy.copy_from_slice(bytes);
        assert!(inbound.open_rtcp(&mut copy).is_err());
        assert_eq!(inbound.ssrc_count(), 0);
    }
}

/// A DTLS server session in any stage, attacked with datagrams.
pub struct DtlsTarget {
    server: DtlsContext,
    client: DtlsContext,
    identity: DtlsIdentity,
}

impl DtlsTarget {
    /// A server and a client of one identity; `None` when it cannot be used.
    pub fn new(identity: DtlsIdentity, dtls13: bool, anchor: Anchor) -> Option<DtlsTarget> {
        let context = || {
            let settings = DtlsSettings {
                dtls13,
                ..DtlsSettings::default()
            };
            let provider = DimplProvider::new(settings, &identity, anchor).ok()?;
            Some(DtlsContext::new(Box::new(provider)))
        };
        Some(DtlsTarget {
            server: context()?,
            client: context()?,
            identity,
        })
    }

    /// The first byte says how many honest datagrams go before; then come datagrams of two-byte length and content.
    /// Whatever they are, a connected session stays connected unless its peer's real close was replayed.
    pub fn run(&mut self, bytes: &[u8]) {
        let Some((honest, mut rest)) = bytes.split_first() else {
            return;
        };
        let fingerprints = [self.identity.fingerprint];
        let mut server = DtlsSession::new(1);
        server.set_remote(DtlsRole::Passive, &fingerprints);
        let mut client = DtlsSession::new(2);
        client.set_remote(DtlsRole::Active, &fingerprints);
        let mut now = Time::from_millis(1);
        self.introduce(&mut client, &mut server, usize::from(honest % 16), now);
        let connected = server.is_connected();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
            let (datagram, after) = after.split_at(length);
            rest = after;
            now = now + std::time::Duration::from_millis(50);
            let result = server.handle_datagram(now, datagram, &mut self.server, &mut |_| {});
            if let Ok(Some(DtlsEvent::Connected(_))) = result {
                // Only the honest client has the certificate's key.
                assert!(!connected);
            }
            let _ = server.handle_timeout(now, &mut self.server, &mut |_| {});
        }
        assert!(!connected || server.is_connected());
    }

    fn introduce(
        &mut self,
        client: &mut DtlsSession,
        server: &mut DtlsSession,
        datagrams: usize,
        now: Time,
    ) {
        let mut up: Vec<Vec<u8>> = Vec::new();
        let mut down: Vec<Vec<u8>> = Vec::new();
        client.start(now, &mut self.client, &mut |b| up.push(b.to_vec()));
        for _ in 0..datagrams {
            if up.is_empty() {
                for datagram in std::mem::take(&mut down) {
                    let _ = client.handle_datagram(now, &datagram, &mut self.client, &mut |b| {
                        up.push(b.to_vec());
                    });
                }
            }
            if up.is_empty() {
                return;
            }
            let datagram = up.remove(0);
            let _ = server.handle_datagram(now, &datagram, &mut self.server, &mut |b| {
                down.push(b.to_vec());
            });
        }
    }
}

impl std::fmt::Debug for DtlsTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DtlsTarget").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::dtls::tests::identity;
    use super::*;

    fn seeds(kind: &str) -> Vec<Vec<u8>> {
        let folder = format!("{}/fuzz/seeds/{kind}", env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(folder).unwrap();
        files
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .collect()
    }

    #[test]
    fn seeds_are_survived() {
        let (srtp_seeds, dtls_seeds) = (seeds("srtp"), seeds("dtls"));
        assert!(srtp_seeds.len() > 10 && dtls_seeds.len() > 10);
        srtp_seeds.iter().for_each(|bytes| srtp(bytes));
        let anchor = Anchor {
            instant: std::time::Instant::now(),
            ntp: 0,
        };
        for dtls13 in [false, true] {
            let mut target = DtlsTarget::new(identity(0), dtls13, anchor).unwrap();
            dtls_seeds.iter().for_each(|bytes| target.run(bytes));
        }
    }
}
