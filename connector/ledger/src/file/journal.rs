//! The journal of a copy into a file: the contents of the temporary file, and the end of its used part.
//!
//! The journal is a hidden file next to the temporary file: the header, then the parts, each after its length. It is
//! created with the first part.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use object_stores::open_regular;

use crate::address::{Address, Location};
use crate::error::{Error, Result};
use crate::file::file_io::FileIo;
use crate::file::free_space::{FreeRuns, run_of};
use crate::file::superblock::DATA;
use crate::file::temporary::is_own;
use crate::file::writer::FileWriter;
use crate::file::{FileStorage, lock};
use crate::journal::{
    JournalHeader, JournalPart, MAX_HEADER_BYTES, MAX_JOURNAL_BYTES, MAX_PART_BYTES, PartEntries, encode_part,
};
use crate::storage::StorageJournal;

/// If the disk has less free space than this, the files of a failed copy are deleted.
const MIN_FREE_BYTES: u64 = 64 << 20;

/// The journal of a copy in progress.
#[derive(Debug)]
pub(crate) struct FileJournal {
    path: PathBuf,
    header: JournalHeader,
    /// The permission bits of a new journal.
    mode: u32,
    /// `None` before the first part.
    file: Option<File>,
    next: u64,
    /// Space of an earlier attempt that has not been adopted yet.
    earlier: FreeRuns,
}

/// The journal of an earlier attempt.
#[derive(Debug)]
pub(super) struct FoundJournal {
    pub(super) header: JournalHeader,
    pub(super) values: Vec<(Bytes, Bytes)>,
    /// The number of intact bytes of the journal.
    length: u64,
    next: u64,
    /// The end of the space that the parts need.
    end: u64,
}

/// Reads a frame: a length, and that many bytes. Returns `None` at the end of the file, and for a frame that is truncated
/// or too long.
fn frame(file: &mut File, most: u64) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    file.read_exact(&mut length).ok()?;
    let length = u64::from(u32::from_le_bytes(length));
    let left = file.metadata().ok()?.len().checked_sub(file.stream_position().ok()?)?;
    let mut bytes = vec![0; usize::try_from(length).ok().filter(|_| length <= most.min(left))?];
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + bytes.len());
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
    out
}

impl FoundJournal {
    /// Reads the journal at a path, for a temporary file of `there` bytes, up to the first part that is damaged or needs a
    /// longer file. Returns `None` if there is no journal, or if its header is damaged.
    pub(super) fn read(path: &Path, there: u64) -> Option<Self> {
        let (mut file, meta) = open_regular(path, File::options().read(true)).ok()??;
        if !is_own(&meta) {
            return None;
        }
        let header = JournalHeader::decode(&frame(&mut file, MAX_HEADER_BYTES)?).ok()?;
        let mut found = Self { header, values: Vec::new(), length: 0, next: 0, end: DATA };
        loop {
            found.length = file.stream_position().ok()?;
            let Some(bytes) = frame(&mut file, MAX_PART_BYTES) else { return Some(found) };
            let is_sound = |part: &JournalPart| part.copy == found.header.copy && part.number == found.next;
            let Some(part) = JournalPart::decode(&bytes).ok().filter(is_sound) else { return Some(found) };
            let is_there = |end: &u64| *end >= found.end && *end <= there;
            let Some(end) = part.end().filter(is_there) else { return Some(found) };
            if found.length + bytes.len() as u64 > MAX_JOURNAL_BYTES {
                return Some(found);
            }
            (found.end, found.next) = (end, found.next + 1);
            found.values.extend(part.entries);
        }
    }
}

impl FileJournal {
    pub(super) fn new(path: PathBuf, header: JournalHeader, mode: u32) -> Self {
        Self { path, header, mode, file: None, next: 0, earlier: FreeRuns::default() }
    }

    /// Continues a journal that was found. Returns the journal, and the offset after the space that the earlier attempt
    /// used.
    pub(super) fn behind(path: PathBuf, found: &FoundJournal) -> io::Result<(Self, u64)> {
        let opened = open_regular(&path, File::options().write(true))?.filter(|(_, meta)| is_own(meta));
        let (mut file, _) = opened.ok_or(io::ErrorKind::NotFound)?;
        file.set_len(found.length)?;
        file.seek(SeekFrom::End(0))?;
        let (header, next) = (found.header.clone(), found.next);
        Ok((Self { file: Some(file), next, ..Self::new(path, header, 0o600) }, found.end))
    }

    /// Returns whether there is something for the next attempt.
    pub(super) fn is_begun(&self) -> bool {
        self.file.is_some()
    }

    fn add(&mut self, end: u64, entries: &PartEntries) -> io::Result<()> {
        let place = Address { location: Location::File, offset: 0, length: end };
        let bytes = framed(&encode_part(&self.header.copy, self.next, &[place], entries));
        if self.file.is_none() {
            // The old file under this name was removed. A file that has the name now belongs to another process.
            let mut file = File::options().write(true).create_new(true).mode(self.mode).open(&self.path)?;
            file.write_all(&framed(&self.header.encode()))?;
            self.file = Some(file);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&bytes)?;
        }
        self.next += 1;
        Ok(())
    }
}

impl FileWriter {
    /// Assigns the space up to `end` to the earlier attempt, until it is adopted.
    pub(super) fn begin_behind(
        &mut self,
        raw: &dyn FileIo,
        journal: &mut FileJournal,
        end: u64,
    ) -> Result<()> {
        let target = self.target.clone();
        let damaged = |why: &str| Error::corrupt(&target, "the journal of a copy", why);
        let length = end.saturating_sub(DATA);
        if length > 0 {
            self.load(raw)?.replay_use(DATA, length).map_err(damaged)?;
            journal.earlier.add(DATA, length).map_err(damaged)?;
        }
        Ok(())
    }

    pub(super) fn adopt_payload(&mut self, journal: &mut FileJournal, place: &Address) -> bool {
        let (offset, length) = run_of(place);
        let is_there =
            place.location == Location::File && place.length > 0 && journal.earlier.carve(offset, length);
        if is_there {
            self.staged.fresh.insert(offset, length);
        }
        is_there
    }

    pub(super) fn end_adoption(&mut self, journal: &mut FileJournal) {
        for (offset, length) in std::mem::take(&mut journal.earlier).iter() {
            self.put_back(offset, length);
        }
    }

    pub(super) fn add_part(
        &mut self,
        raw: &dyn FileIo,
        journal: &mut FileJournal,
        entries: &PartEntries,
    ) -> Result<()> {
        self.write_pending(raw).map_err(|e| self.io("writing payloads", &e))?;
        let end = self.load(raw)?.end;
        journal.add(end, entries).map_err(|e| self.io("writing the journal of a copy", &e))
    }
}

impl FileStorage {
    /// Returns whether an unfinished copy has a journal that the next attempt can use.
    pub(super) fn keeps_journal(&self) -> bool {
        // The files of the copy take disk space that other programs may need.
        let has_space = self.raw.available().is_ok_and(|bytes| bytes >= MIN_FREE_BYTES);
        has_space && lock(&self.journal).as_ref().is_some_and(FileJournal::is_begun)
    }

    fn with_journal<T>(
        &self,
        f: impl FnOnce(&mut FileWriter, &dyn FileIo, &mut FileJournal) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut journal = lock(&self.journal);
        let Some(journal) = journal.as_mut() else { return Ok(None) };
        self.with_writer(|w, raw, _| f(w, raw, journal)).map(Some)
    }
}

impl StorageJournal for FileStorage {
    fn has_journal(&self) -> bool {
        lock(&self.journal).is_some()
    }

    fn adopt_payload(&self, place: &Address) -> Result<bool> {
        let adopted = self.with_journal(|w, _, journal| Ok(w.adopt_payload(journal, place)))?;
        Ok(adopted.unwrap_or(false))
    }

    fn end_adoption(&self) -> Result<()> {
        self.with_journal(|w, _, journal| {
            w.end_adoption(journal);
            Ok(())
        })
        .map(drop)
    }

    fn add_part(&self, entries: PartEntries) -> Result<()> {
        self.with_journal(|w, raw, journal| w.add_part(raw, journal, &entries)).map(drop)
    }
}
