//! The content of a put: one or several consecutive pieces of bytes.

use bytes::{Bytes, BytesMut};

/// The content of an object to be put, in one or several pieces.
///
/// The pieces are reference-counted, so that cloning (for a retry) copies nothing. A store may retain a piece itself: a
/// small slice of a large buffer must not be put into a store in memory, because it would retain the whole buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutPayload(Vec<Bytes>);

impl PutPayload {
    /// Returns the payload of an empty object.
    pub fn new() -> Self {
        PutPayload::default()
    }

    /// Returns a payload with a copy of `bytes`.
    pub fn copy_from(bytes: &[u8]) -> Self {
        PutPayload::from(Bytes::copy_from_slice(bytes))
    }

    /// Returns the total length of all pieces, in bytes.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|piece| piece.len() as u64).sum()
    }

    /// Returns whether the payload has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }

    /// Returns the pieces in order; some may be empty.
    pub fn pieces(&self) -> &[Bytes] {
        &self.0
    }

    /// Appends a piece.
    pub fn push(&mut self, piece: impl Into<Bytes>) {
        self.0.push(piece.into());
    }

    /// Returns all pieces as one. Copies only if there are several.
    pub fn into_bytes(mut self) -> Bytes {
        match self.0.len() {
            0 => Bytes::new(),
            1 => self.0.swap_remove(0),
            _ => {
                let len = self.0.iter().map(Bytes::len).sum();
                let mut whole = BytesMut::with_capacity(len);
                self.0.iter().for_each(|piece| whole.extend_from_slice(piece));
                whole.freeze()
            }
        }
    }
}

impl From<Bytes> for PutPayload {
    fn from(bytes: Bytes) -> Self {
        PutPayload(vec![bytes])
    }
}

impl From<Vec<u8>> for PutPayload {
    fn from(bytes: Vec<u8>) -> Self {
        PutPayload::from(Bytes::from(bytes))
    }
}

impl From<&'static [u8]> for PutPayload {
    fn from(bytes: &'static [u8]) -> Self {
        PutPayload::from(Bytes::from_static(bytes))
    }
}

impl From<&'static str> for PutPayload {
    fn from(text: &'static str) -> Self {
        PutPayload::from(text.as_bytes())
    }
}

impl FromIterator<Bytes> for PutPayload {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        PutPayload(pieces.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_consecutive() {
        let mut payload = PutPayload::from("ab");
        payload.push(Bytes::new());
        payload.push(vec![b'c']);
        assert_eq!((payload.len(), payload.is_empty()), (3, false));
        assert_eq!(payload.into_bytes(), "abc");
        assert!(PutPayload::new().is_empty() && PutPayload::from("").is_empty());
        assert_eq!(PutPayload::new().into_bytes(), "");
    }
}
