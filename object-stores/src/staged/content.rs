//! Length and checksum of an object's bytes, to recognise an operation's bytes in a store.

use crc_fast::{CrcAlgorithm, Digest};

/// Length and checksum of an object's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) length: u64,
    /// CRC-64/NVME. A CRC-32C would not distinguish manifests of the same length, since all of them end with their own
    /// CRC-32C.
    pub(super) sum: u64,
}

impl Content {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut summing = Summing::new();
        summing.add(bytes);
        summing.finish()
    }

    /// Returns whether `bytes` have this length and checksum.
    pub(super) fn is_of(&self, bytes: &[u8]) -> bool {
        Self::of(bytes) == *self
    }
}

/// Computes a content from bytes that arrive in pieces.
pub(super) struct Summing {
    digest: Digest,
    length: u64,
}

impl Summing {
    pub(super) fn new() -> Self {
        Summing { digest: Digest::new(CrcAlgorithm::Crc64Nvme), length: 0 }
    }

    pub(super) fn add(&mut self, piece: &[u8]) {
        self.digest.update(piece);
        self.length += piece.len() as u64;
    }

    pub(super) fn finish(self) -> Content {
        Content { length: self.length, sum: self.digest.finalize() }
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
    fn manifests_of_equal_length_are_distinguished() {
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
    fn the_content_of_pieces_equals_that_of_the_whole() {
        let whole = Content::of(b"123456789");
        // The check value of this CRC in the CRC catalogue.
        assert_eq!(whole, Content { length: 9, sum: 0xAE8B_1486_0A79_9888 });
        assert!(whole.is_of(b"123456789") && !whole.is_of(b"123456780") && !whole.is_of(b"1234"));
        let mut pieces = Summing::new();
        [&b"1234"[..], b"", b"56789"].iter().for_each(|piece| pieces.add(piece));
        assert_eq!(pieces.finish(), whole);
    }
}
