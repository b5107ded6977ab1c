//! Notes about versions: who committed, and how many bytes the version added. The core carries them and never reads them.

use bytes::Bytes;

use crate::codec::{Decoded, Reader, put_varint};
use crate::core::history::Mark;
use crate::core::records::MAX_NOTE;
use crate::history;
use crate::options::Version;
use crate::wal::record::Author;

/// What a note says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) author: Author,
    /// Bytes that the version added.
    pub(super) bytes: u64,
}

impl Note {
    /// The note of a commit of this process.
    pub(super) fn of_now(bytes: u64) -> Self {
        Self { author: Author::myself(), bytes }
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        put_varint(&mut out, self.bytes);
        // A host name has at most 255 bytes, and mostly few.
        let host = self.author.host.as_ref();
        let end = (0..=host.len().min(MAX_NOTE - 32)).rev().find(|n| host.is_char_boundary(*n)).unwrap_or(0);
        Author { host: host[..end].into(), pid: self.author.pid }.encode(&mut out);
        out.into()
    }

    /// Reads a note. One that cannot be read says nothing: it decides nothing either.
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

/// A version as users see it.
pub(super) fn version_of(mark: &Mark) -> Version {
    let Note { author, bytes } = Note::of(&mark.note);
    Version { number: mark.number, time: mark.time, host: author.host.to_string(), pid: author.pid, bytes }
}

/// The mark of a version, as the map above the storage knows it.
pub(super) fn mark_of(mark: &Mark) -> history::Mark {
    let Note { author, bytes } = Note::of(&mark.note);
    history::Mark { version: mark.number, reclaim_epoch: 0, time: mark.time, bytes, author }
}
