//! A file that can be synced again after a failed sync.
//!
//! After a failed sync, Linux treats the unwritten pages as written, so the next sync reports success. So the runs that
//! were written since the last successful sync are recorded, with their fingerprints. After a failure they are read back,
//! compared and written again before the file is synced again. If the bytes differ, the system has dropped the written
//! bytes, and they are lost.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;

use crate::checksum::fingerprint;
use crate::file::file_io::FileIo;
use crate::locks::{Mutex, MutexGuard};
use crate::options::{SyncPolicy, Writers};

/// The longest run that has one fingerprint, in bytes.
const MAX_RUN_BYTES: usize = 1 << 20;

/// Returns the file; if its writer syncs commits, wrapped so that it can be synced again.
pub(crate) fn resyncing(file: Arc<dyn FileIo>, sync: SyncPolicy, writers: Writers) -> Arc<dyn FileIo> {
    match sync {
        SyncPolicy::Process => file,
        SyncPolicy::Commit => Arc::new(Resyncing { file, unsynced: Mutex::default(), writers }),
    }
}

#[derive(Debug)]
struct Resyncing {
    file: Arc<dyn FileIo>,
    unsynced: Mutex<Unsynced>,
    /// With one writer, no other process writes to the file between two calls.
    writers: Writers,
}

#[derive(Debug, Default)]
struct Unsynced {
    /// Lengths and fingerprints by offset. The runs do not overlap.
    runs: BTreeMap<u64, (u64, u64)>,
    /// The length that was set last.
    length: u64,
    has_failed: bool,
    /// True if the system dropped a part of a run, which was noticed when the run was overwritten.
    has_lost: bool,
}

fn dropped() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the system dropped data that it could not write")
}

/// Returns whether a sync failed for good, so that the bytes that it should have written are lost.
pub(crate) fn is_lost(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::InvalidData
}

impl Unsynced {
    /// Removes a range that is about to change from the runs. The remaining parts of the runs keep a fingerprint.
    fn cut(&mut self, file: &dyn FileIo, at: u64, end: u64) -> io::Result<()> {
        let touched: Vec<(u64, u64)> = self
            .runs
            .range(..end)
            .rev()
            .take_while(|(o, (l, _))| *o + l > at)
            .map(|(o, (l, _))| (*o, *l))
            .collect();
        for (o, l) in touched {
            if at <= o && o + l <= end {
                self.runs.remove(&o);
                continue;
            }
            let whole = self.read_back(file, o)?;
            self.runs.remove(&o);
            for (from, to) in [(o, at.max(o)), (end.min(o + l), o + l)] {
                if from < to {
                    let left = &whole[(from - o) as usize..(to - o) as usize];
                    self.runs.insert(from, (to - from, fingerprint(left)));
                }
            }
        }
        Ok(())
    }

    /// Returns the bytes of the run at an offset. Records a loss if they are not the bytes that were written.
    fn read_back(&mut self, file: &dyn FileIo, at: u64) -> io::Result<Vec<u8>> {
        let Some(&(length, sum)) = self.runs.get(&at) else { return Ok(Vec::new()) };
        let mut bytes = vec![0; length as usize];
        match file.read_at(&mut bytes, at) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => self.has_lost = true,
            other => other?,
        }
        self.has_lost |= fingerprint(&bytes) != sum;
        Ok(bytes)
    }

    fn note(&mut self, at: u64, data: &[u8]) {
        for (n, part) in data.chunks(MAX_RUN_BYTES).enumerate() {
            self.runs.insert(at + (n * MAX_RUN_BYTES) as u64, (part.len() as u64, fingerprint(part)));
        }
    }

    /// Forgets all runs after a successful sync.
    fn clear(&mut self) {
        self.runs.clear();
        self.length = 0;
    }

    /// Writes all runs again, with the bytes that are in the system's cache.
    fn write_again(&mut self, file: &dyn FileIo) -> io::Result<()> {
        // The file is not lengthened again, because setting its length could truncate bytes that another concurrent writer
        // has written since.
        self.has_lost |= file.len()? < self.length;
        let places: Vec<u64> = self.runs.keys().copied().collect();
        for at in places {
            let bytes = self.read_back(file, at)?;
            if self.has_lost {
                break;
            }
            file.write_at(&bytes, at)?;
        }
        if self.has_lost { Err(dropped()) } else { Ok(()) }
    }
}

impl Resyncing {
    fn unsynced(&self) -> MutexGuard<'_, Unsynced> {
        self.unsynced.lock()
    }

    fn try_sync(&self, unsynced: &mut Unsynced) -> io::Result<()> {
        // If there are concurrent writers, one of them may have changed the bytes.
        if unsynced.has_lost && self.writers == Writers::One {
            return Err(dropped());
        }
        if unsynced.has_failed {
            unsynced.write_again(self.file.as_ref())?;
        }
        let done = self.file.sync();
        unsynced.has_failed = done.is_err();
        done
    }
}

impl FileIo for Resyncing {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_at(buf, at)
    }

    fn read_parts_at(&self, parts: &mut [IoSliceMut<'_>], at: u64) -> io::Result<()> {
        self.file.read_parts_at(parts, at)
    }

    fn write_at(&self, data: &[u8], at: u64) -> io::Result<()> {
        let mut unsynced = self.unsynced();
        unsynced.cut(self.file.as_ref(), at, at + data.len() as u64)?;
        self.file.write_at(data, at)?;
        unsynced.note(at, data);
        Ok(())
    }

    fn write_parts_at(&self, parts: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        let mut unsynced = self.unsynced();
        let length = parts.iter().map(|part| part.len() as u64).sum::<u64>();
        unsynced.cut(self.file.as_ref(), at, at + length)?;
        let mut to = at;
        let mut noted = Vec::with_capacity(parts.len());
        for part in parts.iter().filter(|part| !part.is_empty()) {
            for part in part.chunks(MAX_RUN_BYTES) {
                noted.push((to, (part.len() as u64, fingerprint(part))));
                to += part.len() as u64;
            }
        }
        self.file.write_parts_at(parts, at)?;
        unsynced.runs.extend(noted);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut unsynced = self.unsynced();
        unsynced.cut(self.file.as_ref(), len, u64::MAX)?;
        self.file.set_len(len)?;
        unsynced.length = len;
        Ok(())
    }

    fn reserve(&self, at: u64, len: u64) -> io::Result<()> {
        self.file.reserve(at, len)
    }

    fn has_spare(&self) -> io::Result<bool> {
        self.file.has_spare()
    }

    fn holes(&self) -> io::Result<Vec<(u64, u64)>> {
        self.file.holes()
    }

    fn available(&self) -> io::Result<u64> {
        self.file.available()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn modified(&self) -> io::Result<u64> {
        self.file.modified()
    }

    fn reopened(&self) -> io::Result<File> {
        self.file.reopened()
    }

    fn exchange(&self, file: &Arc<File>) {
        self.file.exchange(file);
    }

    fn check(&self) -> io::Result<()> {
        self.file.check()
    }

    fn expect_length(&self, least: u64) {
        self.file.expect_length(least);
    }

    /// Syncs the file, and tries a second time after an error. A later call tries again, unless the error [`is_lost`].
    fn sync(&self) -> io::Result<()> {
        let mut unsynced = self.unsynced();
        let mut done = self.try_sync(&mut unsynced);
        if done.as_ref().is_err_and(|e| !is_lost(e)) {
            done = self.try_sync(&mut unsynced);
        }
        match done {
            // Other writers may write there from now on, so later comparisons would mean nothing.
            Err(e) if self.writers == Writers::Many => {
                unsynced.clear();
                Err(io::Error::new(io::ErrorKind::InvalidData, e))
            }
            Err(e) => Err(e),
            Ok(()) => {
                unsynced.clear();
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::file::sim_file::SimFile;
    use crate::options::{Access, Options};
    use crate::work::data;

    fn opts() -> Options {
        Options { sync: SyncPolicy::Commit, ..Options::default() }
    }

    /// Returns the file after a power loss in which no unsynced byte survives.
    fn survivor(f: &SimFile) -> SimFile {
        SimFile::of(f.after_power_loss(|| false))
    }

    #[test]
    fn a_failed_sync_is_reported_until_the_commit_is_durable() {
        for failures in 0..12 {
            for from in 1..3 {
                let f = SimFile::container();
                let l = f.open(Access::ReadWrite, &opts()).unwrap();
                l.put(b"first", "1").unwrap();
                l.commit().unwrap();
                let e = l.write_payload(&data(3, 300_000)).unwrap();
                l.put(b"second", e.to_bytes()).unwrap();
                f.fail_syncs(from, failures, false);
                let mut errors = 0;
                while let Err(e) = l.commit_to_close() {
                    assert!(matches!(e.kind(), ErrorKind::Io { .. }), "{e}");
                    errors += 1;
                    assert!(errors < 20);
                }
                assert!(errors == 0 || failures > 1, "{failures} from {from}");
                assert!(errors > 0 || failures < 8, "{failures} from {from}");
                let left = survivor(&f).open(Access::ReadOnly, &Options::default()).unwrap();
                let value = left.get(b"second").unwrap().expect("it was said to be durable");
                let found = crate::Extent::decode(&value).unwrap().0;
                let mut bytes = vec![0; 300_000];
                left.read_payload(&found, 0, &mut bytes).unwrap();
                assert!(bytes == data(3, 300_000));
                l.close().unwrap();
            }
        }
    }

    #[test]
    fn overwritten_bytes_that_the_system_dropped_are_reported_as_lost() {
        for (over, is_lost_by_it) in [(0_u64..200, false), (100..150, true), (0..10, true), (190..250, true)]
        {
            let sim = Arc::new(SimFile::container());
            let file = resyncing(sim.clone(), SyncPolicy::Commit, Writers::One);
            let at = sim.len().unwrap();
            file.write_at(&[1; 200], at).unwrap();
            sim.write_at(&[0; 5], at + 40).unwrap();
            file.write_at(&vec![2; (over.end - over.start) as usize], at + over.start).unwrap();
            assert_eq!(file.sync().is_err_and(|e| is_lost(&e)), is_lost_by_it, "{over:?}");
        }
    }

    #[test]
    fn a_close_is_not_done_before_the_head_is_durable() {
        let f = SimFile::container();
        let l = f.open(Access::ReadWrite, &opts()).unwrap();
        l.put(b"first", "1").unwrap();
        f.fail_syncs(2, u64::MAX, false);
        l.commit().unwrap_err();
        l.commit().unwrap_err();
        l.close().unwrap_err();
    }

    #[test]
    fn a_length_that_the_system_dropped_is_lost() {
        let sim = Arc::new(SimFile::container());
        let file = resyncing(sim.clone(), SyncPolicy::Commit, Writers::Many);
        file.set_len(1 << 20).unwrap();
        sim.fail_syncs(1, 1, true);
        assert!(file.sync().is_err_and(|e| is_lost(&e)));
    }

    /// A slot is as long as the one before, and both end with their checksums.
    #[test]
    fn a_head_that_the_system_dropped_is_lost() {
        let f = SimFile::container();
        let l = f.open(Access::ReadWrite, &opts()).unwrap();
        for n in 1..4 {
            l.put(b"k", vec![0, n]).unwrap();
            l.commit().unwrap();
        }
        l.put(b"k", vec![0, 4]).unwrap();
        f.fail_syncs(2, 1, true);
        let e = l.commit().unwrap_err();
        assert!(e.to_string().contains("whether the last commit survives"), "{e}");
    }

    #[test]
    fn bytes_that_the_system_dropped_are_reported_as_lost() {
        let f = SimFile::container();
        let l = f.open(Access::ReadWrite, &opts()).unwrap();
        l.put(b"first", "1").unwrap();
        l.commit().unwrap();
        l.put(b"second", "2").unwrap();
        f.fail_syncs(1, 1, true);
        let e = l.commit().unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::Broken { .. }), "{e}");
        assert!(e.to_string().contains("is lost"), "{e}");
        l.commit().unwrap_err();
        let left = survivor(&f).open(Access::ReadOnly, &Options::default()).unwrap();
        assert_eq!((left.version(), left.get(b"second").unwrap()), (1, None));
    }
}
