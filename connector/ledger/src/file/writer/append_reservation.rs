//! Reserves space after payloads that are likely to grow, so that they grow in place.
//!
//! Without reservations, a dataset that receives many small appends would get a fragment for each append, each with an
//! extent of its own, separated by the records of the commits. The file counts reserved space as free, so the space of a
//! dead process needs no recovery. Records get a separate reservation in front of such a payload, so that they do not block
//! its growth.

use std::collections::VecDeque;

use super::FileWriter;
use crate::address::Address;
use crate::error::Result;
use crate::file::file_io::FileIo;
use crate::file::free_space::{self, ALLOC_UNIT, round, run_of};
use crate::file::locks::Locks;

/// The greatest number of payloads with a reservation at a time.
const MAX_RESERVED_PAYLOADS: usize = 64;
/// The greatest reservation after one payload, and the greatest sum of all reservations, in bytes. The sum is also at most
/// a quarter of the file.
const MAX_RESERVED_PER_PAYLOAD: u64 = 1 << 20;
const MAX_RESERVED_BYTES: u64 = 4 << 20;
/// The limit of all reservations that applies even to short files.
const MIN_RESERVED_LIMIT: u64 = 128 << 10;
/// The greatest reservation for records, in bytes.
const MAX_RECORD_RESERVE: u64 = 16 << 10;
/// A page of the system's cache, in bytes.
const PAGE_BYTES: u64 = 4096;
/// The assumed length of a record before the first record.
const FIRST_RECORD_BYTES: u64 = 512;

/// Reserved space that is not in use.
#[derive(Debug, Default)]
pub(super) struct AppendReservations {
    /// Reservations after payloads, the oldest first. None is empty.
    runs: VecDeque<(u64, u64)>,
    bytes: u64,
    /// Reservations for records, in the order in which they are used.
    records: VecDeque<(u64, u64)>,
}

impl AppendReservations {
    /// Returns all reservations.
    pub(super) fn kept(&self) -> impl Iterator<Item = (u64, u64)> {
        self.runs.iter().chain(&self.records).copied()
    }

    /// Returns the offset of the reservation that ends at `end`.
    pub(super) fn up_to(&self, end: u64) -> Option<u64> {
        self.kept().find(|(o, l)| o + l == end).map(|(o, _)| o)
    }
}

impl FileWriter {
    /// Writes a payload like [`payload`](FileWriter::payload), and reserves space for its growth up to a length of `most`.
    pub(crate) fn payload_to_grow(
        &mut self,
        raw: &dyn FileIo,
        locks: &Locks,
        data: &[u8],
        most: u64,
        on_bytes: &mut dyn FnMut(&[u8]),
    ) -> Result<Address> {
        let length = data.len() as u64;
        // The payload must end at an allocation unit. Large payloads that begin inside a unit get no reservation, because
        // it would be too long.
        let can_go_on = free_space::shift(length) == 0 && length.is_multiple_of(ALLOC_UNIT) && most > length;
        if self.shared.is_some() || !can_go_on {
            return self.payload(raw, locks, data, on_bytes);
        }
        let more = round(most - length).min(MAX_RESERVED_PER_PAYLOAD);
        self.keep_for_records(raw, locks, more.div_ceil(length.max(1)) + 1, length)?;
        let place = self.payload(raw, locks, data, on_bytes)?;
        let (offset, length) = run_of(&place);
        let behind = offset + length;
        let kept = self.load(raw)?.take_at(behind, more);
        if kept > 0 {
            self.growth.reservations.runs.push_back((behind, kept));
            self.growth.reservations.bytes += kept;
        }
        let most = MAX_RESERVED_BYTES.min(MIN_RESERVED_LIMIT.max(self.load(raw)?.end / 4));
        while self.growth.reservations.runs.len() > MAX_RESERVED_PAYLOADS
            || (self.growth.reservations.bytes > most && self.growth.reservations.runs.len() > 1)
        {
            self.let_oldest_go();
        }
        Ok(place)
    }

    /// Writes `data` directly after a payload. Returns false if there is no reservation for it.
    pub(crate) fn grow(&mut self, raw: &dyn FileIo, place: &Address, data: &[u8]) -> Result<bool> {
        let end = place.offset.saturating_add(place.length);
        let length = round(data.len() as u64);
        let found = self.growth.reservations.runs.iter().position(|(o, l)| *o == end && length <= *l);
        let Some(n) = found.filter(|_| !data.is_empty()) else { return Ok(false) };
        self.look_once(raw)?;
        self.put(raw, end, data, "writing a payload")?;
        let (from, whole) = run_of(place);
        match self.staged.fresh.get_mut(&from) {
            Some(run) if *run == whole => *run += length,
            _ => self.staged.fresh.extend([(end, length)]),
        }
        self.growth.reservations.bytes -= length;
        match self.growth.reservations.runs.get_mut(n) {
            Some((at, left)) if *left > length => (*at, *left) = (*at + length, *left - length),
            _ => drop(self.growth.reservations.runs.remove(n)),
        }
        Ok(true)
    }

    /// Allocates space for a record from the reservations for records. Returns `None` if they are too small.
    pub(super) fn kept_for_record(&mut self, length: u64) -> Option<u64> {
        let length = round(length);
        let fits = self.growth.reservations.records.iter().position(|(_, left)| *left >= length)?;
        for (at, left) in self.growth.reservations.records.drain(..fits).collect::<Vec<_>>() {
            self.put_back(at, left);
        }
        let (at, left) = self.growth.reservations.records.front_mut()?;
        let taken = *at;
        (*at, *left) = (taken + length, *left - length);
        if *left == 0 {
            self.growth.reservations.records.pop_front();
        }
        Some(taken)
    }

    /// Reserves space for `count` records, including existing reservations, in front of a payload that grows by steps of
    /// `step` bytes. If a step is a multiple of whole pages, the reservation ends at a page boundary, so that each append
    /// touches as few pages as possible.
    fn keep_for_records(&mut self, raw: &dyn FileIo, locks: &Locks, count: u64, step: u64) -> Result<()> {
        let one = self.log.last().map_or(FIRST_RECORD_BYTES, |n| round(n.at.place.length) + ALLOC_UNIT);
        let wanted = round(count.saturating_mul(one)).min(MAX_RECORD_RESERVE);
        let kept = self.growth.reservations.records.iter().map(|(_, l)| l).sum::<u64>();
        let mut more = wanted.saturating_sub(kept);
        if step.is_multiple_of(PAGE_BYTES) && kept < MAX_RECORD_RESERVE {
            let end = self.load(raw)?.trimmed() + more;
            more += end.next_multiple_of(PAGE_BYTES) - end;
        }
        if more == 0 {
            return Ok(());
        }
        let at = self.allocate(raw, locks, more)?;
        match self.growth.reservations.records.back_mut() {
            Some((last, left)) if *last + *left == at => *left += more,
            _ => self.growth.reservations.records.push_back((at, more)),
        }
        Ok(())
    }

    fn let_oldest_go(&mut self) {
        if let Some((offset, length)) = self.growth.reservations.runs.pop_front() {
            self.growth.reservations.bytes -= length;
            self.give_up_run(offset, length);
        }
    }

    fn give_up_run(&mut self, offset: u64, length: u64) {
        self.put_back(offset, length);
        let least = self.head.end;
        if let Some(free_space) = &mut self.free_space {
            free_space.trim_to(least);
        }
    }

    /// Returns the reserved space that is part of no version, not even of the next one. It becomes free when this writer
    /// ends.
    pub(in crate::file) fn reserved_space(&self) -> Vec<(u64, u64)> {
        let reserved = self.shared.iter().flat_map(|s| s.reserved.iter());
        reserved.chain(self.growth.reservations.kept()).collect()
    }

    /// Releases all reservations.
    pub(crate) fn stop_growing(&mut self) {
        while !self.growth.reservations.runs.is_empty() {
            self.let_oldest_go();
        }
        for (offset, length) in std::mem::take(&mut self.growth.reservations.records).into_iter().rev() {
            self.give_up_run(offset, length);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::file::sim_file::SimFile;
    use crate::options::{Access, Options};
    use crate::work::data;

    #[test]
    fn growing_payloads_begin_at_a_page() {
        let f = SimFile::container();
        let l = f.open(Access::ReadWrite, &Options::default()).unwrap();
        let (mut bytes, mut version) = (0, 0);
        for n in 0..40u64 {
            let mut e = l.write_to_grow(&data(n, 4096), 65_536).unwrap();
            for m in 1..16 {
                e = l.grow_payload(&e, &data(m, 4096)).unwrap().expect("there is space behind it");
                l.put(&n.to_be_bytes(), e.to_bytes()).unwrap();
                version = l.commit().unwrap();
            }
            assert!(e.place().offset.is_multiple_of(4096), "{:?}", e.place());
            bytes += e.len();
        }
        assert_eq!(version, 40 * 15);
        l.close().unwrap();
        let length = f.bytes().len() as u64;
        assert!(length < bytes * 108 / 100, "{length} for {bytes}");
        // Payloads that grow by other steps begin at any offset.
        let l = f.open(Access::ReadWrite, &Options::default()).unwrap();
        let before = f.bytes().len();
        (0..50).for_each(|n| drop(l.write_to_grow(&data(n, 96), 960).unwrap()));
        l.commit().unwrap();
        assert!(f.bytes().len() < before + 150_000, "{}", f.bytes().len() - before);
    }
}
