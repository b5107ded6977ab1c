//! The checksum of everything that a ledger stores, and of pointer files.

use crate::codec::{Decoded, Reader};

/// Returns the CRC-32C (Castagnoli) of bytes.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// Returns the checksum of bytes with the checksum `begun`, followed by `bytes`.
pub fn checksum_on(begun: u32, bytes: &[u8]) -> u32 {
    let mut digest =
        crc_fast::Digest::new_with_init_state(crc_fast::CrcAlgorithm::Crc32Iscsi, u64::from(!begun));
    digest.update(bytes);
    digest.finalize() as u32
}

/// Returns a digest that distinguishes byte strings (CRC-64/NVME). [`checksum`] is not suitable: slots, manifests,
/// pages and records end with their own CRC, and all byte strings that end with their own CRC have the same CRC.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    crc_fast::crc64_nvme(bytes)
}

/// Appends the checksum of all bytes so far, and returns it.
pub fn seal(out: &mut Vec<u8>) -> u32 {
    let crc = checksum(out);
    out.extend_from_slice(&crc.to_le_bytes());
    crc
}

/// Verifies a checksum that [`seal`] appended. Returns the bytes before the checksum, and the checksum.
pub(crate) fn unseal(bytes: &[u8]) -> Decoded<(&[u8], u32)> {
    let n = bytes.len().checked_sub(4).ok_or("cut short")?;
    let (body, sum) = bytes.split_at(n);
    let sum = Reader::new(sum).u32()?;
    // A fuzzer must reach the code after this check.
    if cfg!(fuzzing) || checksum(body) == sum { Ok((body, sum)) } else { Err("the checksum does not match") }
}

/// Verifies a checksum as [`unseal`] does. The checksum must also be equal to the one in the pointer to the bytes.
pub(crate) fn unseal_as(bytes: &[u8], expected: u32) -> Decoded<&[u8]> {
    let (body, sum) = unseal(bytes)?;
    if cfg!(fuzzing) || sum == expected {
        Ok(body)
    } else {
        Err("other bytes are there than the pointer names")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_crc_of_iscsi() {
        // RFC 3720, B.4.
        assert_eq!(checksum(&[0; 32]), 0x8A91_36AA);
        assert_eq!(checksum(&(0..32).collect::<Vec<u8>>()), 0x46DD_794E);
        assert_eq!(checksum(b"123456789"), 0xE306_9283);
        assert_eq!(checksum_on(checksum(b"1234"), b"56789"), 0xE306_9283);
        assert_eq!(
            (checksum_on(checksum(b"1234"), b""), checksum_on(checksum(b""), b"1234")),
            (checksum(b"1234"), checksum(b"1234"))
        );
        let zeros = [0; 1 << 16];
        assert_eq!(checksum_on(checksum(&zeros[..4321]), &zeros[4321..]), crc_by_bits(&zeros));
        assert_eq!(checksum(&[0; 1 << 16]), crc_by_bits(&[0; 1 << 16]));
    }

    #[test]
    fn sealed_bytes_have_one_checksum_and_fingerprints_of_their_own() {
        let sealed = |body: &[u8]| {
            let mut out = body.to_vec();
            seal(&mut out);
            out
        };
        let (one, other) = (sealed(b"a head"), sealed(b"another head"));
        assert_eq!(checksum(&one), checksum(&other));
        assert_ne!(fingerprint(&one), fingerprint(&other));
    }

    /// Computes the CRC bit by bit, as it is defined.
    fn crc_by_bits(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, b| {
            (0..8).fold(crc ^ u32::from(*b), |c, _| if c & 1 == 1 { c >> 1 ^ 0x82F6_3B78 } else { c >> 1 })
        })
    }
}
