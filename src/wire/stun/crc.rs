//! CRC-32 (ISO HDLC, as in Ethernet) for FINGERPRINT (RFC 8489 section 14.7).

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0u32; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// Value of FINGERPRINT for the message bytes before it.
pub(crate) fn fingerprint(message: &[u8]) -> u32 {
    const XOR: u32 = 0x5354_554e; // "STUN", so that it differs from a CRC the payload may carry itself.
    let crc = message.iter().fold(u32::MAX, |crc, byte| {
        let index = (crc as u8 ^ byte) as usize; // Always below 256.
        (crc >> 8) ^ TABLE[index]
    });
    !crc ^ XOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_of_the_catalogue() {
        assert_eq!(fingerprint(b"123456789") ^ 0x5354_554e, 0xcbf4_3926);
    }
}
