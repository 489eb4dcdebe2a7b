//! A bounded bit reader, most significant bit first, for parameter sets and dependency descriptors.

/// Reads bits of a byte slice. Past the end everything is `None`.
#[derive(Debug, Clone)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// One bit.
    pub(super) fn bit(&mut self) -> Option<bool> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// `count` bits, at most 32.
    pub(super) fn bits(&mut self, count: u32) -> Option<u32> {
        let mut value = 0u32;
        for _ in 0..count.min(32) {
            value = (value << 1) | u32::from(self.bit()?);
        }
        Some(value)
    }

    /// Exponential-Golomb code (ITU-T H.264 section 9.1), at most 31 leading zeros.
    pub(super) fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let suffix = u64::from(self.bits(zeros)?);
        u32::try_from((1u64 << zeros) - 1 + suffix).ok()
    }

    /// Value below `n` coded as `ns(n)` (AV1 specification section 4.10.7).
    pub(super) fn non_symmetric(&mut self, n: u32) -> Option<u32> {
        let width = u32::BITS - n.leading_zeros();
        let short = (1u32.checked_shl(width)?).checked_sub(n)?;
        let value = self.bits(width.checked_sub(1)?)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) + u32::from(self.bit()?) - short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes() {
        // 1 | 010 | 011 | 00100 | 00101 -> 0 1 2 3 4
        let mut reader = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let codes: Vec<_> = (0..5).map(|_| reader.exp_golomb()).collect();
        assert_eq!(codes, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
        assert_eq!(BitReader::new(&[0; 64]).exp_golomb(), None);
    }

    #[test]
    fn non_symmetric_codes() {
        // ns(5): 00 01 10 110 111 -> 0 1 2 3 4
        let mut reader = BitReader::new(&[0b0001_1011, 0b0111_0000]);
        let codes: Vec<_> = (0..5).map(|_| reader.non_symmetric(5)).collect();
        assert_eq!(codes, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
        assert_eq!(BitReader::new(&[]).non_symmetric(1), Some(0));
        assert_eq!(BitReader::new(&[0xff]).non_symmetric(0), None);
    }
}
