//! A file that counts its reads, writes and syncs.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;
use std::time::Instant;

use object_stores::Meter;

use super::file_io::FileIo;
use crate::statistics::Statistics;

/// Counts the calls of a file from now on.
pub(crate) fn counted(file: Arc<dyn FileIo>, statistics: &Arc<Statistics>) -> Arc<dyn FileIo> {
    Arc::new(Counted { file, statistics: statistics.clone() })
}

#[derive(Debug)]
struct Counted {
    file: Arc<dyn FileIo>,
    statistics: Arc<Statistics>,
}

fn metered(meter: &Meter, bytes: usize, call: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let begun = Instant::now();
    let done = call();
    meter.note(bytes as u64, done.is_ok(), begun.elapsed());
    done
}

impl FileIo for Counted {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        metered(&self.statistics.reads, buf.len(), || self.file.read_at(buf, at))
    }

    fn read_parts_at(&self, parts: &mut [IoSliceMut<'_>], at: u64) -> io::Result<()> {
        let bytes = parts.iter().map(|part| part.len()).sum();
        metered(&self.statistics.reads, bytes, || self.file.read_parts_at(parts, at))
    }

    fn write_at(&self, data: &[u8], at: u64) -> io::Result<()> {
        metered(&self.statistics.writes, data.len(), || self.file.write_at(data, at))
    }

    fn write_parts_at(&self, parts: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        let bytes = parts.iter().map(|part| part.len()).sum();
        metered(&self.statistics.writes, bytes, || self.file.write_parts_at(parts, at))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
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

    fn sync(&self) -> io::Result<()> {
        metered(&self.statistics.syncs, 0, || self.file.sync())
    }
}
