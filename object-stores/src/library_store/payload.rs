//! The bytes of a write, in the form in which a library requests them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use h5lake_store_abi::{Failure, Kind, Payload};

/// The number of bytes that are read from a file at a time.
const FILE_PIECE_BYTES: usize = 1 << 20;

/// The pieces of a payload, in order.
pub(super) struct Pieces<'a> {
    pieces: &'a [Bytes],
    /// The index of the last returned piece, and its offset in the payload.
    at: usize,
    begins: u64,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(pieces: &'a [Bytes]) -> Self {
        Pieces { pieces, at: 0, begins: 0 }
    }
}

impl Payload for Pieces<'_> {
    fn piece(&mut self, offset: u64) -> Result<&[u8], Failure> {
        if offset < self.begins {
            (self.at, self.begins) = (0, 0);
        }
        while let Some(piece) = self.pieces.get(self.at) {
            let within = offset - self.begins;
            if within < piece.len() as u64 {
                return Ok(&piece[within as usize..]);
            }
            self.begins += piece.len() as u64;
            self.at += 1;
        }
        Ok(&[])
    }
}

/// A payload that is buffered in a file.
pub(super) struct Kept<'a> {
    file: &'a File,
    buffer: Vec<u8>,
}

impl<'a> Kept<'a> {
    pub(super) fn new(file: &'a File) -> Self {
        Kept { file, buffer: vec![0; FILE_PIECE_BYTES] }
    }
}

impl Payload for Kept<'_> {
    fn piece(&mut self, offset: u64) -> Result<&[u8], Failure> {
        loop {
            match self.file.read_at(&mut self.buffer, offset) {
                Ok(length) => return Ok(&self.buffer[..length]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => (),
                Err(e) => {
                    let detail = format!("a temporary file cannot be read: {e}");
                    return Err(Failure { kind: Kind::Failed, may_be_repeated: false, detail });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_found_by_any_offset() {
        let pieces = ["ab", "", "cde", "f"].map(Bytes::from);
        let mut payload = Pieces::new(&pieces);
        for (offset, given) in
            [(0, "ab"), (1, "b"), (2, "cde"), (5, "f"), (6, ""), (3, "de"), (0, "ab"), (9, "")]
        {
            assert_eq!(payload.piece(offset).unwrap(), given.as_bytes(), "{offset}");
        }
    }
}
