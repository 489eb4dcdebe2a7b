//! Packets of a frame are equal but for a byte or two, and what is not equal does not leave in one train. Here it is
//! found out by how much each packet of a batch is to be padded, so that runs become equal.

use crate::limits::PAD_BYTES_MAX;

/// A packet of the batch as far as it counts here: its stream and its length; none if it is no RTP.
pub type Size = Option<(u32, u16)>;

/// The stream and the length of a datagram, if it is RTP (RFC 7983, RFC 5761).
pub fn size_of(datagram: &[u8]) -> Size {
    let &[first, second, _, _, _, _, _, _, a, b, c, d, ..] = datagram else {
        return None;
    };
    let rtp = first >> 6 == 2 && !(192..=223).contains(&second);
    rtp.then(|| (u32::from_be_bytes([a, b, c, d]), datagram.len() as u16))
}

/// What `size` lacks to be as long as `other`, if that is little.
fn lacks(size: Size, other: Size, other_pad: u8) -> u8 {
    let (Some((ssrc, len)), Some((other_ssrc, other_len))) = (size, other) else {
        return 0;
    };
    let lacking = (other_len + u16::from(other_pad)).checked_sub(len);
    match lacking {
        Some(lacking) if ssrc == other_ssrc && lacking <= u16::from(PAD_BYTES_MAX) => lacking as u8,
        _ => 0,
    }
}

/// Padding for each of `sizes`, into `pads`: as long as a neighbour of the same stream, if that is little longer.
pub fn plan(sizes: &[Size], pads: &mut Vec<u8>) {
    pads.clear();
    pads.resize(sizes.len(), 0);
    let mut after = (None, 0);
    for (size, pad) in sizes.iter().zip(pads.iter_mut()).rev() {
        *pad = lacks(*size, after.0, after.1);
        after = (*size, *pad);
    }
    let mut before = (None, 0);
    for (size, pad) in sizes.iter().zip(pads.iter_mut()) {
        *pad = (*pad).max(lacks(*size, before.0, before.1));
        before = (*size, *pad);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pads(lens: &[u16]) -> Vec<u8> {
        let sizes: Vec<Size> = lens.iter().map(|len| Some((1, *len))).collect();
        let mut pads = Vec::new();
        plan(&sizes, &mut pads);
        pads
    }

    #[test]
    fn runs_become_equal() {
        assert_eq!(pads(&[1140, 1140, 1141, 1141]), [1, 1, 0, 0]);
        assert_eq!(pads(&[1141, 1140, 1140]), [0, 1, 1]);
        assert_eq!(pads(&[1140, 1141, 1140]), [1, 0, 1]);
        assert_eq!(
            pads(&[1138, 1140, 1141]),
            [0, 1, 0],
            "too far is not padded"
        );
        assert_eq!(pads(&[80, 1140]), [0, 0]);
        assert_eq!(pads(&[]), [0; 0]);
    }

    #[test]
    fn other_streams_and_other_protocols_are_left_alone() {
        let mut out = Vec::new();
        plan(
            &[Some((1, 100)), Some((2, 101)), None, Some((1, 101))],
            &mut out,
        );
        assert_eq!(out, [0; 4]);
        let mut rtp = [0; 20];
        rtp[0] = 0x80;
        rtp[1] = 96;
        rtp[11] = 9;
        assert_eq!(size_of(&rtp), Some((9, 20)));
        rtp[1] = 200;
        assert_eq!(size_of(&rtp), None, "RTCP");
        rtp[0] = 0;
        assert_eq!(size_of(&rtp), None, "STUN");
        assert_eq!(size_of(&[0x80]), None);
    }

    #[test]
    fn nothing_is_padded_beyond_its_bound() {
        let lens: Vec<u16> = (0..300).map(|n| 1000 + n % 7).collect();
        assert!(pads(&lens).iter().all(|pad| *pad <= PAD_BYTES_MAX));
    }
}
