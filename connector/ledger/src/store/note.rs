//! Notes about versions: the author, and the number of bytes that the version added. The core stores notes and never reads them.

use bytes::Bytes;

use crate::author::Author;
use crate::codec::{Decoded, Reader, put_varint};
use crate::core::history::Mark;
use crate::history;
use crate::options::Version;

/// The content of a note.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) author: Author,
    /// The number of bytes that the version added.
    pub(super) bytes: u64,
}

impl Note {
    /// Returns the note of a commit by this process.
    pub(super) fn of_now(bytes: u64) -> Self {
        Self { author: Author::myself(), bytes }
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        put_varint(&mut out, self.bytes);
        self.author.encode(&mut out);
        out.into()
    }

    /// Reads a note. A note that cannot be read counts as empty: the commit is then by an unknown process.
    pub(super) fn of(note: &[u8]) -> Self {
        let read = || -> Decoded<Self> {
            let mut r = Reader::new(note);
            let bytes = r.number()?;
            let author = Author::read(&mut r)?;
            r.end()?;
            Ok(Self { author, bytes })
        };
        read().unwrap_or_default()
    }
}

/// Converts a mark to the version that users see.
pub(super) fn version_of(mark: &Mark) -> Version {
    let Note { author, bytes } = Note::of(&mark.note);
    Version::of((mark.number, mark.time), &author, bytes)
}

/// Converts a mark for the ledger.
pub(super) fn mark_of(mark: &Mark) -> history::Mark {
    let Note { author, bytes } = Note::of(&mark.note);
    history::Mark { version: mark.number, reclaim_epoch: 0, time: mark.time, bytes, author }
}
