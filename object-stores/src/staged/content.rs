//! Length and checksum of an object's bytes, to recognise an operation's bytes in a store.

use crc_fast::{CrcAlgorithm, Digest};

/// Length and checksum of an object's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) length: u64,
    pub(super) sum: Sum,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sum {
    /// The CRC-32C in operations that earlier builds left. It detects damage, but does not distinguish heads of the
    /// same length, since all of them end with their own CRC-32C.
    Crc32c(u32),
    /// CRC-64/NVME.
    Crc64(u64),
}

impl Content {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut summing = Summing::new();
        summing.add(bytes);
        summing.finish()
    }

    /// Returns whether `bytes` have this length and checksum.
    pub(super) fn is_of(&self, bytes: &[u8]) -> bool {
        let mut summing = Summing::like(self);
        summing.add(bytes);
        summing.finish() == *self
    }
}

/// Computes a content from bytes that arrive in pieces.
pub(super) struct Summing {
    digest: Digest,
    length: u64,
    is_short: bool,
}

impl Summing {
    pub(super) fn new() -> Self {
        Summing { digest: Digest::new(CrcAlgorithm::Crc64Nvme), length: 0, is_short: false }
    }

    /// Returns a computation with the same kind of checksum as `content`.
    pub(super) fn like(content: &Content) -> Self {
        match content.sum {
            Sum::Crc32c(_) => {
                Summing { digest: Digest::new(CrcAlgorithm::Crc32Iscsi), length: 0, is_short: true }
            }
            Sum::Crc64(_) => Summing::new(),
        }
    }

    pub(super) fn add(&mut self, piece: &[u8]) {
        self.digest.update(piece);
        self.length += piece.len() as u64;
    }

    pub(super) fn finish(self) -> Content {
        let sum = self.digest.finalize();
        let sum = if self.is_short { Sum::Crc32c(sum as u32) } else { Sum::Crc64(sum) };
        Content { length: self.length, sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns bytes followed by their CRC-32C, like a ledger's manifests.
    fn sealed(body: &[u8]) -> Vec<u8> {
        [body, &crc_fast::crc32_iscsi(body).to_le_bytes()].concat()
    }

    #[test]
    fn heads_of_one_length_are_told_apart() {
        let (one, other) = (sealed(b"a head"), sealed(b"b head"));
        assert_eq!(
            crc_fast::crc32_iscsi(&one),
            crc_fast::crc32_iscsi(&other),
            "as every CRC of sealed bytes"
        );
        assert_ne!(Content::of(&one), Content::of(&other));
        assert!(Content::of(&one).is_of(&one) && !Content::of(&one).is_of(&other));
    }

    #[test]
    fn contents_of_earlier_builds_are_compared_as_they_were_made() {
        let early = Content { length: 9, sum: Sum::Crc32c(0xE306_9283) };
        assert!(early.is_of(b"123456789") && !early.is_of(b"123456780") && !early.is_of(b"1234"));
        // The check value of this CRC in the CRC catalogue.
        assert_eq!(Content::of(b"123456789").sum, Sum::Crc64(0xAE8B_1486_0A79_9888));
        let mut pieces = Summing::like(&early);
        [&b"1234"[..], b"", b"56789"].iter().for_each(|piece| pieces.add(piece));
        assert_eq!(pieces.finish(), early);
    }
}
