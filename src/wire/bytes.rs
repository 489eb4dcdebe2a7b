//! Big-endian reads and writes at an offset that never panic: out of range is `None`.
//!
//! Shared by the parsers of this folder, so that none of them indexes a slice by network input.

/// `N` bytes of `buf` from `at`.
#[inline]
pub(crate) fn array<const N: usize>(buf: &[u8], at: usize) -> Option<[u8; N]> {
    buf.get(at..)?.first_chunk::<N>().copied()
}

/// Big-endian `u16` at `at`.
#[inline]
pub(crate) fn u16_at(buf: &[u8], at: usize) -> Option<u16> {
    array(buf, at).map(u16::from_be_bytes)
}

/// Big-endian 24-bit number at `at`.
#[inline]
pub(crate) fn u24_at(buf: &[u8], at: usize) -> Option<u32> {
    array(buf, at).map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
}

/// Big-endian `u32` at `at`.
#[inline]
pub(crate) fn u32_at(buf: &[u8], at: usize) -> Option<u32> {
    array(buf, at).map(u32::from_be_bytes)
}

/// Big-endian `u64` at `at`.
#[inline]
pub(crate) fn u64_at(buf: &[u8], at: usize) -> Option<u64> {
    array(buf, at).map(u64::from_be_bytes)
}

/// Copies `bytes` to `out[at..]`, or writes nothing when they do not fit.
#[inline]
pub(crate) fn put(out: &mut [u8], at: usize, bytes: &[u8]) -> Option<()> {
    out.get_mut(at..)?
        .get_mut(..bytes.len())?
        .copy_from_slice(bytes);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stop_at_the_end() {
        let buf = [0, 1, 2, 3, 4, 5, 6, 7];
        assert_eq!(u16_at(&buf, 6), Some(0x0607));
        assert_eq!(u16_at(&buf, 7), None);
        assert_eq!(u24_at(&buf, 5), Some(0x05_0607));
        assert_eq!(u32_at(&buf, 5), None);
        assert_eq!(u64_at(&buf, 0), Some(0x0001_0203_0405_0607));
        assert_eq!(u16_at(&buf, usize::MAX), None);
    }

    #[test]
    fn writes_all_or_nothing() {
        let mut out = [0; 3];
        assert_eq!(put(&mut out, 2, &[9, 9]), None);
        assert_eq!(out, [0; 3]);
        assert_eq!(put(&mut out, 1, &[9, 9]), Some(()));
        assert_eq!(out, [0, 9, 9]);
    }
}
