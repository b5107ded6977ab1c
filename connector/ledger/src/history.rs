//! The versions before the checkpoint: the history that a checkpoint leaves behind so that they can be opened.
//!
//! A *reclaim epoch* orders frees and reuse of a file's space: it is the sequence of a slot. Space that became unused
//! in epoch m is needed only by versions of epochs below m. Therefore, once space of epoch m was reused, the versions
//! of epochs from m on are complete, and earlier versions are not. One number describes which versions are retained.
//! Marks of versions in a store have epoch 0, and `core/` has their history.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::address::PageRef;
use crate::author::Author;
use crate::checksum::{seal, unseal_as};
use crate::codec::{Decoded, Reader, put_varint};
use crate::wal::record::Header;

/// The maximum length of a history, in checkpoints. Readers treat a longer history as damaged, so a writer drops the
/// oldest checkpoints, and their versions cannot be opened any more.
const MAX_CHECKPOINTS: usize = if cfg!(test) { 256 } else { 4096 };
/// The number of checkpoints from which on a history is crowded. The other half of the history is for a whole retention
/// time.
const MANY_CHECKPOINTS: usize = MAX_CHECKPOINTS / 2;
/// The minimum size of a checkpoint in a history, in bytes: the four numbers of its mark, an author, two pointers and
/// three numbers.
const MIN_CHECKPOINT_BYTES: u64 = 11;

/// The version of a checkpoint, with the data of its record, because that record may be gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) version: u64,
    /// The epoch of the checkpoint, not that of the version's record.
    pub(crate) reclaim_epoch: u64,
    /// The time of the version, in microseconds since 1970.
    pub(crate) time: u64,
    /// Bytes that the version added.
    pub(crate) bytes: u64,
    pub(crate) author: Author,
}

/// An earlier checkpoint, and the log that followed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PastCheckpoint {
    pub(crate) base: Mark,
    pub(crate) root: Option<PageRef>,
    /// The version of the next checkpoint.
    pub(crate) last: u64,
    /// The epoch of the next checkpoint.
    pub(crate) until: u64,
    /// The bytes of the log's records.
    pub(crate) log_bytes: u64,
    /// The newest record, in a file.
    pub(crate) record: Option<PageRef>,
}

/// The newest checkpoint and the earlier ones, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) base: Mark,
    pub(crate) past: Vec<PastCheckpoint>,
}

impl Mark {
    /// Returns the mark of the version that a record made, without the epoch and the bytes.
    pub(crate) fn of_record(h: &Header) -> Self {
        Self { version: h.version, time: h.time, author: h.by.clone(), ..Self::default() }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for n in [self.version, self.reclaim_epoch, self.time, self.bytes] {
            put_varint(out, n);
        }
        self.author.encode(out);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let (version, reclaim_epoch, time, bytes) = (r.number()?, r.number()?, r.number()?, r.number()?);
        Ok(Self { version, reclaim_epoch, time, bytes, author: Author::read(r)? })
    }
}

impl PastCheckpoint {
    fn encode(&self, out: &mut Vec<u8>) {
        self.base.encode(out);
        PageRef::encode_optional(self.root, out);
        for n in [self.last, self.until, self.log_bytes] {
            put_varint(out, n);
        }
        PageRef::encode_optional(self.record, out);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let (base, root) = (Mark::read(r)?, PageRef::read_optional(r)?);
        let (last, until, log_bytes) = (r.number()?, r.number()?, r.number()?);
        if last <= base.version || until < base.reclaim_epoch {
            return Err("a base that ends before it begins");
        }
        Ok(Self { base, root, last, until, log_bytes, record: PageRef::read_optional(r)? })
    }
}

impl History {
    /// Returns whether a history of this many bytes may be [crowded](Self::is_crowded).
    pub(crate) fn may_be_crowded(bytes: u64) -> bool {
        bytes >= MANY_CHECKPOINTS as u64 * MIN_CHECKPOINT_BYTES
    }

    /// Returns whether the history would be full before the retention time is over, if checkpoints continued to follow
    /// each other as quickly as a checkpoint made now.
    pub(crate) fn is_crowded(&self, now: u64, retention: u64) -> bool {
        let since = now.saturating_sub(self.base.time);
        self.past.len() >= MANY_CHECKPOINTS && since < retention / MANY_CHECKPOINTS as u64
    }

    /// Moves to a new checkpoint. The present checkpoint joins the past ones, unless no record followed it; `log` has
    /// the newest record and the bytes of all records, `horizon` is the epoch before which no version is complete. Returns
    /// the time up to which complete versions cannot be opened any more, if the history drops any.
    pub(crate) fn advance(
        &mut self,
        base: Mark,
        root: Option<PageRef>,
        log: (Option<PageRef>, u64),
        horizon: u64,
    ) -> Option<u64> {
        let (record, log_bytes) = log;
        let (last, until) = (base.version, base.reclaim_epoch);
        let old = std::mem::replace(&mut self.base, base);
        if last > old.version {
            self.past.push(PastCheckpoint { base: old, root, last, until, log_bytes, record });
        }
        // The last version that needs only a checkpoint, and no record, is earlier than the checkpoint that made the
        // next version.
        self.past.retain(|p| p.until > horizon);
        let excess = self.past.len().saturating_sub(MAX_CHECKPOINTS);
        self.past.drain(..excess);
        self.past.first().filter(|_| excess > 0).map(|oldest| oldest.base.time)
    }

    /// Encodes the history. Returns the bytes and their checksum.
    pub(crate) fn encode(&self) -> (Vec<u8>, u32) {
        let mut out = b"h5lH".to_vec();
        self.base.encode(&mut out);
        put_varint(&mut out, self.past.len() as u64);
        for p in &self.past {
            p.encode(&mut out);
        }
        let crc = seal(&mut out);
        (out, crc)
    }

    pub(crate) fn decode(bytes: &[u8], crc: u32) -> Decoded<Self> {
        let mut r = Reader::new(unseal_as(bytes, crc)?);
        if r.take(4)? != b"h5lH" {
            return Err("not a history");
        }
        let base = Mark::read(&mut r)?;
        let count = r.varint()?;
        if count > MAX_CHECKPOINTS as u64 {
            return Err("a longer history than is ever written");
        }
        let mut past: Vec<PastCheckpoint> = Vec::new();
        for _ in 0..count {
            let p = PastCheckpoint::read(&mut r)?;
            if past.last().is_some_and(|before| before.last > p.base.version) {
                return Err("versions out of order");
            }
            past.push(p);
        }
        r.end()?;
        if past.last().is_some_and(|before| before.last > base.version) {
            return Err("versions out of order");
        }
        Ok(Self { base, past })
    }
}

/// Warns once per process that versions cannot be opened any more although the retention time is not over. `given_up`
/// is the result of [`History::advance`].
pub(crate) fn warn_of_given_up(target: &str, given_up: Option<u64>, now: u64, retention: u64) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    let is_early = given_up.is_some_and(|time| time.saturating_add(retention) > now);
    if is_early && !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            container = target,
            "versions go before the retention time is over, because there are more than {MAX_CHECKPOINTS} checkpoints; \
             commit less often, or keep versions with 'h5lake tag'"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    fn mark(version: u64, reclaim_epoch: u64) -> Mark {
        Mark {
            version,
            reclaim_epoch,
            time: 9,
            bytes: 10,
            author: Author { host: "node".into(), pid: 7, ..Author::default() },
        }
    }

    #[test]
    fn a_history_round_trips_and_drops_reclaimed_versions() {
        let pointer = Some(PageRef { place: Address::file(4608, 64), crc: 5 });
        let mut h = History::default();
        h.advance(mark(3, 4), None, (pointer, 64), 0);
        h.advance(mark(3, 5), pointer, (None, 0), 0);
        h.advance(mark(9, 12), pointer, (pointer, 99), 0);
        assert_eq!(h.past.len(), 2, "a checkpoint without commits leaves nothing behind");
        assert_eq!((h.past[1].base.version, h.past[1].base.reclaim_epoch, h.past[1].last), (3, 5, 9));
        let (bytes, crc) = h.encode();
        assert_eq!(History::decode(&bytes, crc), Ok(h.clone()));
        for n in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[n] ^= 1;
            assert!(History::decode(&bad, crc).is_err(), "byte {n}");
        }
        h.advance(mark(10, 14), pointer, (pointer, 99), 4);
        assert_eq!(h.past.iter().map(|p| p.last).collect::<Vec<_>>(), [9, 10]);
    }
}
