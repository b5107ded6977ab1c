//! The inline heap of an attribute: blobs stored after the elements of its value, in the same record. A value is always
//! read and written as a whole, so its blobs need no segments, and no lookups of their own.

use crate::{Error, Result};
use bytes::Bytes;

/// The bit that marks the id of a blob in the inline heap. No owner of a heap has it.
const LOCAL: u64 = 1 << 63;

/// The blobs of a value: those that were stored with it, and those that were added.
#[derive(Debug, Clone, Default)]
pub struct InlineHeap {
    kept: Bytes,
    added: Vec<u8>,
}

impl InlineHeap {
    /// Creates a heap from its stored bytes.
    pub fn new(stored: Bytes) -> Self {
        Self { kept: stored, added: Vec::new() }
    }

    /// Splits a stored value into its elements, which have `elements` bytes, and the heap after them.
    pub fn split(mut value: Bytes, elements: u64) -> (Bytes, Self) {
        let at = usize::try_from(elements).map_or(value.len(), |at| at.min(value.len()));
        let heap = value.split_off(at);
        (value, Self::new(heap))
    }

    /// Returns the bytes of all blobs.
    pub fn len(&self) -> usize {
        self.kept.len() + self.added.len()
    }

    /// Returns the bytes of the blobs that were stored before.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Returns whether there is no blob with bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a blob and returns its id, which is never all zeros: its offset (8 bytes, with the first bit set) and its
    /// length (8), big-endian.
    pub fn put(&mut self, blob: &[u8]) -> [u8; 16] {
        let at = LOCAL | self.len() as u64;
        self.added.extend_from_slice(blob);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&at.to_be_bytes());
        id[8..].copy_from_slice(&(blob.len() as u64).to_be_bytes());
        id
    }

    /// Returns the first `length` bytes of a blob.
    ///
    /// # Errors
    /// `InvalidArgument` for an id that is not of an inline heap, or if the blob is shorter; `Corrupt` if it exceeds
    /// the heap.
    pub fn get(&self, id: &[u8; 16], length: u64) -> Result<&[u8]> {
        if length == 0 {
            return Ok(&[]);
        }
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *id;
        let at = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let all = u64::from_be_bytes([i, j, k, l, m, n, o, p]);
        if at & LOCAL == 0 {
            return Err(Error::invalid("an attribute's value asks for a blob that is not its own"));
        }
        if length > all {
            return Err(Error::invalid(format!("{length} bytes are asked of a blob of {all}")));
        }
        let outside = || Error::corrupt("a blob of an attribute lies outside of its value");
        let at = usize::try_from(at ^ LOCAL).map_err(|_| outside())?;
        let all = usize::try_from(all).map_err(|_| outside())?;
        let (part, at) = match at.checked_sub(self.kept.len()) {
            Some(behind) => (&self.added[..], behind),
            None => (&self.kept[..], at),
        };
        let blob = at.checked_add(all).and_then(|end| part.get(at..end)).ok_or_else(outside)?;
        // The length is at most that of the blob, which is in memory.
        Ok(&blob[..length as usize])
    }

    /// Returns whether an id is of an inline heap.
    pub fn has(id: &[u8; 16]) -> bool {
        id[0] & 0x80 != 0
    }

    /// Returns the stored bytes, and the added bytes after them.
    pub fn parts(&self) -> [&[u8]; 2] {
        [&self.kept, &self.added]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn retained_and_added_blobs_round_trip() {
        let mut first = InlineHeap::default();
        let one = first.put(b"one");
        let empty = first.put(b"");
        let mut heap = InlineHeap::new(first.parts().concat().into());
        let three = heap.put(b"three");
        assert!(InlineHeap::has(&empty) && empty != [0; 16]);
        assert_eq!(heap.get(&one, 3).unwrap(), b"one");
        assert_eq!(heap.get(&three, 5).unwrap(), b"three");
        assert_eq!(heap.get(&three, 2).unwrap(), b"th");
        assert_eq!(heap.get(&empty, 0).unwrap(), b"");
        assert_eq!(heap.len(), 8);
    }

    #[test]
    fn forged_ids_are_errors() {
        let mut heap = InlineHeap::default();
        let id = heap.put(b"blob");
        assert_eq!(heap.get(&id, 5).unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(heap.get(&[1; 16], 1).unwrap_err().kind(), ErrorKind::InvalidArgument);
        for (at, byte) in [(7, 1), (1, 0xff), (0, 0xff), (15, 5), (8, 0xff)] {
            let mut forged = id;
            forged[at] = byte;
            assert_eq!(heap.get(&forged, 1).unwrap_err().kind(), ErrorKind::Corrupt, "{at}");
        }
    }
}
