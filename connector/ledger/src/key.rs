//! The keys of a layer. Keys are compared far more often than they are made, and most keys differ in their first bytes.

use std::cmp::Ordering;

use bytes::Bytes;

/// The number of integers that are made from the first bytes.
const WORDS: usize = 3;

/// A key, ordered by its bytes. Its first bytes are stored as integers, so that a search in a layer follows few
/// pointers.
///
/// Keys in layers are owned, and therefore valid for any lifetime. A key to look up borrows its bytes: a layer of owned
/// keys is also a layer of borrowed keys, so a look-up copies no key.
#[derive(Debug, Clone)]
pub(crate) struct Key<'k> {
    head: [u64; WORDS],
    bytes: KeyBytes<'k>,
}

#[derive(Debug, Clone)]
enum KeyBytes<'k> {
    Own(Bytes),
    Borrowed(&'k [u8]),
}

impl<'k> Key<'k> {
    /// Returns a key to look up.
    pub(crate) fn of(bytes: &'k [u8]) -> Self {
        Self { head: head(bytes), bytes: KeyBytes::Borrowed(bytes) }
    }

    /// Returns the key's bytes as owned bytes.
    pub(crate) fn to_bytes(&self) -> Bytes {
        match &self.bytes {
            KeyBytes::Own(bytes) => bytes.clone(),
            KeyBytes::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
        }
    }
}

impl From<Bytes> for Key<'_> {
    fn from(bytes: Bytes) -> Self {
        Self { head: head(&bytes), bytes: KeyBytes::Own(bytes) }
    }
}

impl AsRef<[u8]> for Key<'_> {
    fn as_ref(&self) -> &[u8] {
        match &self.bytes {
            KeyBytes::Own(bytes) => bytes,
            KeyBytes::Borrowed(bytes) => bytes,
        }
    }
}

/// Returns the first bytes as integers, as if zeros followed a shorter key. The order of different integers is the
/// order of the keys; equal integers decide nothing.
fn head(bytes: &[u8]) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    for (word, part) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut eight = [0; 8];
        match part.first_chunk() {
            Some(all) => eight = *all,
            None => eight[..part.len()].copy_from_slice(part),
        }
        *word = u64::from_be_bytes(eight);
    }
    words
}

impl Ord for Key<'_> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.head.cmp(&other.head).then_with(|| self.as_ref().cmp(other.as_ref()))
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Key<'_> {}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_their_bytes() {
        let mut all: Vec<Vec<u8>> = vec![vec![], b"abcdefghijklmnopqrstuvwxyz".to_vec()];
        for length in [1, 7, 8, 9, 15, 16, 17, 23, 24, 25, 30] {
            for last in [0, 1, 0x7f, 0x80, 0xff] {
                for fill in [0, 0xff, b'a'] {
                    let mut key = vec![fill; length];
                    key[length - 1] = last;
                    all.push(key);
                }
            }
        }
        for a in &all {
            for b in &all {
                assert_eq!(Key::of(a).cmp(&Key::of(b)), a.cmp(b), "{a:?} and {b:?}");
                assert_eq!(Key::from(Bytes::from(a.clone())) == Key::of(b), a == b, "{a:?} and {b:?}");
            }
        }
    }
}
