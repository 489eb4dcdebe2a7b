//! What offers and answers of the client have in common: the shape of the m-sections and the one bundled transport.

use std::collections::BTreeSet;

use super::{NegotiationError, RemoteTransport};
use crate::wire::sdp::{Description, FingerprintHash, MediaSection, Setup};

use super::section::Section;

/// Checks that `description` keeps the m-sections there are: place, mid and kind. A rejected m-section may be used
/// anew under another mid (RFC 9429 section 5.2.2).
pub(super) fn check_shape(
    description: &Description,
    sections: &[Section],
) -> Result<(), NegotiationError> {
    if description.media.len() < sections.len() {
        return Err(NegotiationError::SectionsMissing {
            got: description.media.len(),
            want: sections.len(),
        });
    }
    for (index, media) in description.media.iter().enumerate() {
        if media.mid.is_empty() && !media.is_rejected() {
            return Err(NegotiationError::MissingMid { index });
        }
        let Some(section) = sections.get(index).filter(|s| !s.rejected) else {
            continue;
        };
        let unnamed = media.mid.is_empty() && media.is_rejected();
        let same_mid = media.mid == section.mid || unnamed;
        if !same_mid || media.kind != section.kind {
            return Err(NegotiationError::SectionChanged {
                index,
                got: format!("{} {}", media.media, media.mid),
                want: format!("{} {}", section.media, section.mid),
            });
        }
    }
    Ok(())
}

/// Checks that all `accepted` m-sections share the bundled transport, and reads it: it is described by the first of
/// them in the BUNDLE group (RFC 9143 section 7.3); what the others repeat does not count. `None` if nothing is accepted.
pub(super) fn bundled_transport(
    description: &Description,
    accepted: &[&MediaSection],
    setup_allowed: &[Setup],
) -> Result<Option<RemoteTransport>, NegotiationError> {
    if accepted.is_empty() {
        return Ok(None);
    }
    let group: BTreeSet<&str> = description.bundle.iter().map(String::as_str).collect();
    // One m-section alone needs no group.
    let needs_group = accepted.len() > 1 || !group.is_empty();
    for media in accepted {
        if needs_group && !group.contains(media.mid.as_str()) {
            return Err(NegotiationError::NotBundled {
                mid: media.mid.clone(),
            });
        }
        if !media.rtcp_mux {
            return Err(NegotiationError::NoRtcpMux {
                mid: media.mid.clone(),
            });
        }
    }
    let mut mids = description.bundle.iter();
    let tagged = mids.find_map(|mid| accepted.iter().find(|media| media.mid == *mid));
    let sections: Vec<&MediaSection> = tagged.into_iter().chain(accepted).copied().collect();
    read_transport(&sections, setup_allowed).map(Some)
}

fn read_transport(
    sections: &[&MediaSection],
    setup_allowed: &[Setup],
) -> Result<RemoteTransport, NegotiationError> {
    let ice = sections.iter().find_map(|media| media.ice.clone());
    let setup = sections.iter().find_map(|media| media.setup);
    let fingerprints = sections.iter().map(|media| {
        let all = media.fingerprints.iter();
        let sha256 = all.filter(|f| f.hash == FingerprintHash::Sha256);
        sha256.cloned().collect::<Vec<_>>()
    });
    let fingerprints = fingerprints.into_iter().find(|some| !some.is_empty());
    let transport = RemoteTransport {
        ice: ice.ok_or(NegotiationError::NoIce)?,
        fingerprints: fingerprints.ok_or(NegotiationError::NoFingerprint)?,
    };
    match setup.is_some_and(|setup| setup_allowed.contains(&setup)) {
        true => Ok(transport),
        false => Err(NegotiationError::Setup),
    }
}

/// Whether `new` restarts ICE of `old`; another certificate is refused.
pub(super) fn compare(
    old: Option<&RemoteTransport>,
    new: Option<&RemoteTransport>,
) -> Result<bool, NegotiationError> {
    let Some((old, new)) = old.zip(new) else {
        return Ok(false);
    };
    if old.fingerprints != new.fingerprints {
        return Err(NegotiationError::FingerprintChanged);
    }
    Ok(old.ice != new.ice)
}
