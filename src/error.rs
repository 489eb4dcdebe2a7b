//! Why a datagram or packet went no further. Every drop is counted by reason, never logged.
//!
//! Invariant (threats.md rule 5): received = forwarded + consumed + Σ drops.

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident => $label:literal,)*) => {
        /// Why a received datagram or a packet was not used or not forwarded.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DropReason {
            $($(#[$doc])* $name,)*
        }

        impl DropReason {
            /// Every reason, in the order of its discriminant.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name,)*];

            /// Label in metrics and logs: stable, snake case.
            pub const fn label(self) -> &'static str {
                match self {
                    $(DropReason::$name => $label,)*
                }
            }
        }
    };
}

drop_reasons! {
    /// Empty, or longer than a datagram may be (also MSG_TRUNC).
    BadLength => "bad_length",
    /// First byte belongs to no protocol we speak (RFC 7983).
    UnknownProtocol => "unknown_protocol",
    /// Not STUN, and the source address is no validated peer's.
    UnknownSource => "unknown_source",
    /// STUN that does not parse, or lacks FINGERPRINT or USERNAME.
    StunMalformed => "stun_malformed",
    /// STUN for a ufrag nobody owns.
    StunUnknownUfrag => "stun_unknown_ufrag",
    /// STUN whose MESSAGE-INTEGRITY is wrong.
    StunBadIntegrity => "stun_bad_integrity",
    /// STUN of a kind an ICE-lite agent has no use for.
    StunUnexpected => "stun_unexpected",
    /// More remote addresses than a peer may have.
    StunTooManyAddresses => "stun_too_many_addresses",
    /// A check from an address that another peer has just validated as its own.
    StunAddressTaken => "stun_address_taken",
    /// DTLS record refused by the guards before the library saw it.
    DtlsGuard => "dtls_guard",
    /// DTLS of a session that has ended or failed.
    DtlsDead => "dtls_dead",
    /// Over the shard's or the peer's handshake rate.
    DtlsRate => "dtls_rate",
    /// SRTP or SRTCP before keys are there.
    SrtpNoKeys => "srtp_no_keys",
    /// Shorter than header and tag.
    SrtpShort => "srtp_short",
    /// Tag does not verify.
    SrtpAuth => "srtp_auth",
    /// Seen before, or older than the replay window.
    SrtpReplay => "srtp_replay",
    /// SRTCP without the E flag.
    SrtcpUnencrypted => "srtcp_unencrypted",
    /// More SSRCs than a peer may have.
    TooManySsrcs => "too_many_ssrcs",
    /// RTP that does not parse.
    RtpMalformed => "rtp_malformed",
    /// RTP whose SSRC, MID and payload type match no track.
    RtpUnknownTrack => "rtp_unknown_track",
    /// Payload type not negotiated for the track.
    RtpUnknownPayloadType => "rtp_unknown_payload_type",
    /// RTX without an original packet inside.
    RtxMalformed => "rtx_malformed",
    /// RTX for a packet that was already there.
    RtxDuplicate => "rtx_duplicate",
    /// Packet that had come already: its retransmission was quicker.
    RtpDuplicate => "rtp_duplicate",
    /// Packet too old to be forwarded in order.
    RtpTooOld => "rtp_too_old",
    /// Padding-only packet: probing, nothing to forward.
    RtpPaddingOnly => "rtp_padding_only",
    /// RTCP that does not parse.
    RtcpMalformed => "rtcp_malformed",
    /// The publisher has disabled the track.
    TrackDisabled => "track_disabled",
    /// Nobody subscribes to the track.
    NoSubscriber => "no_subscriber",
    /// Subscriber's transport is not connected yet.
    SubscriberNotReady => "subscriber_not_ready",
    /// Subscriber has disabled the track, or it is muted by the server.
    SubscriberDisabled => "subscriber_disabled",
    /// Subscriber has not negotiated the codec of the packet.
    CodecNotNegotiated => "codec_not_negotiated",
    /// Waiting for a key frame before a subscriber can start.
    AwaitingKeyFrame => "awaiting_key_frame",
    /// Of an encoding that the subscriber is to have, before its key frame.
    EncodingNotChosen => "encoding_not_chosen",
    /// The rewritten packet would exceed the datagram limit.
    Oversize => "oversize",
    /// The outgoing batch is full.
    TransmitFull => "transmit_full",
    /// Retransmission over the budget of the subscriber.
    RtxBudget => "rtx_budget",
    /// Retransmission asked for again within one round trip.
    RtxRepeated => "rtx_repeated",
    /// Retransmissions asked for faster than they may leave, and too many of them wait already.
    RtxPaced => "rtx_paced",
    /// Requested by a subscriber without a retransmission stream: sealing it twice would break the cipher.
    RtxNotNegotiated => "rtx_not_negotiated",
    /// Requested packet is no longer cached.
    RtxNotCached => "rtx_not_cached",
    /// The room's code panicked and the room was closed.
    RoomPanicked => "room_panicked",
}

impl DropReason {
    /// How many reasons there are: the length of a counter block.
    pub const COUNT: usize = DropReason::ALL.len();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_ordered() {
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
            let same = DropReason::ALL
                .iter()
                .filter(|r| r.label() == reason.label())
                .count();
            assert_eq!(same, 1, "{}", reason.label());
        }
    }
}
