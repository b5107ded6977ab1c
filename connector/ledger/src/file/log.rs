//! Reads the superblock and the log of a container's file.

use std::time::Duration;

use bytes::Bytes;

use crate::address::{Address, PageRef};
use crate::buffers::try_zeroed;
use crate::checksum;
use crate::error::{Error, Result};
use crate::file::file_io::FileIo;
use crate::file::free_space::ALLOC_UNIT;
use crate::file::superblock::{self, Slot};
use crate::wal::record::{self, CommitRecord};

/// The greatest length of a record, free list or history of a file. The length is read from the file, and a sparse file can
/// have any length.
pub(crate) const MAX_BLOCK_BYTES: u64 = 1 << 30;
/// The greatest length of the log after a checkpoint that is read, in bytes: a process that opens the file holds the whole
/// log in memory. A writer makes a checkpoint when the log exceeds half a megabyte, or sixteen times as much if the
/// history has space for few checkpoints. If no checkpoint succeeds, the writer commits nothing beyond this length.
pub(crate) const MAX_LOG_BYTES: u64 = 2 << 30;

/// A record that was read from the file.
#[derive(Debug)]
pub(crate) struct LoggedRecord {
    pub(crate) record: CommitRecord,
    pub(crate) at: PageRef,
}

/// Returns the newest commit slot. A writer may be writing one slot; then the other one is intact.
pub(crate) fn newest_slot(raw: &dyn FileIo, target: &str) -> Result<Slot> {
    let mut bytes = [0; superblock::SLOTS];
    for _ in 0..50 {
        raw.read_at(&mut bytes, superblock::SLOTS_AT).map_err(|e| unreadable(target, "head slots", &e))?;
        let found = superblock::newest(&bytes).map_err(|why| Error::corrupt(target, "head slot", why))?;
        if let Some(slot) = found {
            return Ok(slot);
        }
        // Both slots can look torn if a writer wrote both while they were read.
        std::thread::sleep(Duration::from_micros(200));
    }
    Err(Error::corrupt(target, "both head slots, bytes 512 and 4096", "neither checksum matches"))
}

/// Returns the error of a read. If the file ends too early, that is damage.
pub(crate) fn unreadable(target: &str, at: &str, e: &std::io::Error) -> Error {
    if e.kind() == std::io::ErrorKind::UnexpectedEof {
        return Error::corrupt(target, at, "the file ends before; it was cut off or is being replaced");
    }
    Error::io(target, &format!("reading {at}"), e)
}

/// Checks a length from the file before memory is allocated for it.
fn check_block(place: &Address, at: &str, target: &str) -> Result<()> {
    match place.length > MAX_BLOCK_BYTES {
        true => Err(Error::corrupt(target, at, format!("it is longer than {MAX_BLOCK_BYTES} bytes"))),
        false => Ok(()),
    }
}

/// Reads the bytes of a free list or a history.
pub(crate) fn read_block(raw: &dyn FileIo, place: &Address, at: &str, target: &str) -> Result<Vec<u8>> {
    check_block(place, at, target)?;
    let read = zeroed(place.length).and_then(|mut bytes| {
        raw.read_at(&mut bytes, place.offset)?;
        Ok(bytes)
    });
    read.map_err(|e| unreadable(target, at, &e))
}

fn zeroed(length: u64) -> std::io::Result<Vec<u8>> {
    try_zeroed(length).ok_or_else(|| std::io::ErrorKind::OutOfMemory.into())
}

/// Checks that the file has all bytes to which its slot refers.
pub(crate) fn check_length(raw: &dyn FileIo, slot: &Slot, target: &str) -> Result<()> {
    let len = raw.len().map_err(|e| Error::io(target, "asking for the length", &e))?;
    // The padding of the last extent to a whole allocation unit may not have been written. A writer that has written a
    // newer slot may have truncated bytes that the newer version does not need.
    if len + ALLOC_UNIT <= slot.end && newest_slot(raw, target)? == *slot {
        let why = format!("the file has {len} bytes of {}; it was cut off", slot.end);
        return Err(Error::corrupt(target, "end of file", why));
    }
    Ok(())
}

/// Returns the versions that may be readable in a damaged container: those of both slots, and the checkpoints of both slots
/// without their logs.
pub(crate) fn remains(raw: &dyn FileIo, target: &str) -> Result<Vec<Slot>> {
    let mut bytes = [0; superblock::SLOTS];
    raw.read_at(&mut bytes, superblock::SLOTS_AT).map_err(|e| unreadable(target, "head slots", &e))?;
    let slots = superblock::whole(&bytes).map_err(|why| Error::corrupt(target, "head slot", why))?;
    let bare = |s: &Slot| Slot { version: s.base_version, record: None, log_bytes: 0, ..*s };
    let bases: Vec<Slot> = slots.iter().map(bare).collect();
    Ok(slots.into_iter().chain(bases).filter(|s| root_is_whole(raw, s)).collect())
}

fn root_is_whole(raw: &dyn FileIo, s: &Slot) -> bool {
    // A slot without a root page is usable only if it has a record. Otherwise an empty container would be shown in place of
    // a lost one.
    let Some(p) = s.root else { return s.record.is_some() };
    if p.place.length > crate::page::MAX_PAGE_BYTES {
        return false;
    }
    let mut page = vec![0; p.place.length as usize];
    raw.read_at(&mut page, p.place.offset).is_ok() && checksum::unseal_as(&page, p.crc).is_ok()
}

/// The number of bytes that are read at a time when the log is read backwards.
const READ_WINDOW_BYTES: u64 = 64 << 10;
/// The greatest gap between two records that are read together.
const MAX_GAP_BYTES: u64 = 512;

/// Returns the records of `slot` that are newer than version `after`, oldest first.
pub(crate) fn records(raw: &dyn FileIo, slot: &Slot, after: u64, target: &str) -> Result<Vec<LoggedRecord>> {
    // A concurrent writer that has not polled for long has to read more records, including some from before the checkpoint.
    let most = if after < slot.base_version { u64::MAX } else { MAX_LOG_BYTES };
    records_within(raw, slot, after, most, target)
}

/// Returns the records of [`records`], or an error if their lengths add up to more than `most` bytes.
fn records_within(
    raw: &dyn FileIo,
    slot: &Slot,
    after: u64,
    most: u64,
    target: &str,
) -> Result<Vec<LoggedRecord>> {
    let too_long = || Error::corrupt(target, "log", format!("it is longer than {most} bytes"));
    if slot.log_bytes > most {
        return Err(too_long());
    }
    let mut left = most;
    let mut out = Vec::new();
    let mut next = slot.record;
    let mut version = slot.version;
    // Adjacent records are read together.
    let mut window = 0;
    let mut kept = (0, Bytes::new());
    // Records do not overlap, so together they are not longer than the file.
    let mut space = slot.end.saturating_sub(superblock::DATA);
    while version > after {
        let name = || format!("record of version {version}");
        let damaged = |why: &str| Error::corrupt(target, name(), why);
        let at = next.ok_or_else(|| damaged("the record before it does not point to it"))?;
        if at.place.offset < superblock::DATA || at.place.offset + at.place.length > slot.end {
            return Err(damaged("it lies outside of the container"));
        }
        space = space.checked_sub(at.place.length).ok_or_else(|| damaged("records overlap"))?;
        check_block(&at.place, &name(), target)?;
        left = left.checked_sub(at.place.length).ok_or_else(too_long)?;
        let bytes = fetch(raw, &at, window, &mut kept).map_err(|e| unreadable(target, &name(), &e))?;
        let record = record::decode_as(&bytes, at.crc).map_err(damaged)?;
        if record.header.version != version {
            return Err(damaged("another version's record is in its place"));
        }
        next = record.header.previous;
        let adjoins =
            |p: &PageRef| at.place.offset.saturating_sub(p.place.offset + p.place.length) < MAX_GAP_BYTES;
        window = if next.as_ref().is_some_and(adjoins) {
            slot.log_bytes.clamp(MAX_GAP_BYTES, READ_WINDOW_BYTES)
        } else {
            0
        };
        version -= 1;
        out.push(LoggedRecord { record, at });
    }
    out.reverse();
    Ok(out)
}

/// Returns one record, from bytes that were read before, or reads it together with the bytes in front of it.
fn fetch(raw: &dyn FileIo, at: &PageRef, window: u64, kept: &mut (u64, Bytes)) -> std::io::Result<Bytes> {
    let (offset, length) = (at.place.offset, at.place.length);
    let (start, bytes) = kept;
    if offset < *start || offset + length > *start + bytes.len() as u64 {
        let from = (offset + length).saturating_sub(window).clamp(superblock::DATA, offset);
        let mut fresh = zeroed(offset + length - from)?;
        raw.read_at(&mut fresh, from)?;
        *kept = (from, fresh.into());
    }
    let from = (offset - kept.0) as usize;
    Ok(kept.1.slice(from..from + length as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::sim_file::SimFile;
    use crate::options::{Access, Options};

    /// Records in a sparse file take no disk space, and each may have the greatest length.
    #[test]
    fn a_log_that_is_longer_than_any_is_not_read() {
        let f = SimFile::container();
        let l = f.open(Access::ReadWrite, &Options::default()).unwrap();
        for n in 0..4u8 {
            l.put(b"k", vec![n; 200]).unwrap();
            l.commit().unwrap();
        }
        let slot = newest_slot(&f, "x").unwrap();
        let read = |slot: &Slot, most| records_within(&f, slot, slot.base_version, most, "x");
        assert_eq!(read(&slot, slot.log_bytes).unwrap().len(), 4);
        let understated = Slot { log_bytes: 1, ..slot };
        for (slot, most) in [(&slot, slot.log_bytes - 1), (&understated, slot.log_bytes - 1)] {
            let e = read(slot, most).unwrap_err();
            assert!(e.to_string().contains("longer than"), "{e}");
        }
        let endless = Slot { log_bytes: MAX_LOG_BYTES + 1, ..slot };
        records(&f, &endless, slot.base_version, "x").unwrap_err();
        records(&f, &understated, slot.base_version, "x").unwrap();
    }
}
