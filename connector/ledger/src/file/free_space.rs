//! Free space of a file: runs that can be allocated at once, and runs in quarantine until no reader can need them.

mod by_size;
mod parts;
mod runs;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(crate) use self::runs::FreeRuns;
use crate::address::Address;
use crate::file::superblock::DATA;
use crate::tags::Held;

/// All extents begin and end at multiples of this many bytes.
pub(crate) const ALLOC_UNIT: u64 = 32;
/// The offset of a large payload in its first allocation unit. Allocators return large buffers 16 bytes after a page
/// boundary (glibc does), and processors copy up to twice as fast between addresses that are equal modulo 32.
const SHIFT: u64 = 16;
/// Payloads of at least this length are large.
const MIN_SHIFTED_BYTES: u64 = 32 << 10;

/// Returns the offset of a payload of `len` bytes from the start of its run.
pub(crate) fn shift(len: u64) -> u64 {
    if len >= MIN_SHIFTED_BYTES { SHIFT } else { 0 }
}

/// Returns the run of an address: all allocation units that it touches.
pub(crate) fn run_of(place: &Address) -> (u64, u64) {
    let begin = place.offset / ALLOC_UNIT * ALLOC_UNIT;
    (begin, round((place.offset - begin).saturating_add(place.length)))
}

/// The greatest number of runs that stay in quarantine only for the sake of file copies. Each writer that opens the file
/// reads the list of all these runs.
const MAX_COURTESY_RUNS: usize = 1024;

/// The least length of a free run in which a record is placed: it has space for some dozens of records.
const MIN_RECORD_RUN_BYTES: u64 = 8 << 10;

/// The number of free runs that a search before a limit examines.
const MAX_RUNS_TRIED: usize = 256;

pub(crate) fn round(len: u64) -> u64 {
    len.next_multiple_of(ALLOC_UNIT)
}

/// A freed run in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PendingFree {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// The sequence of the slot from which on the run is unused.
    pub(crate) sequence: u64,
    /// The time of that slot in microseconds.
    pub(crate) time: u64,
    /// [`Self::time`], corrected if the clock that gave it is not trusted; see [`FreeSpace::date`]. It is not stored in a
    /// file.
    pub(crate) since: u64,
}

impl PendingFree {
    pub(crate) fn new((offset, length): (u64, u64), sequence: u64, time: u64) -> Self {
        Self { offset, length, sequence, time, since: time }
    }
}

/// The result of a check of runs. The error says why a run cannot be where it is.
pub(crate) type Checked<T> = Result<T, &'static str>;

/// The conditions under which a run leaves the quarantine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReclaimRule {
    /// The shortest time in quarantine, in microseconds.
    pub(crate) least: u64,
    /// The time in quarantine if there is enough other space, in microseconds.
    pub(crate) courtesy: u64,
}

impl ReclaimRule {
    /// Returns the rule for a container with a retention time of `ms` milliseconds.
    pub(crate) fn with_retention(self, ms: u64) -> Self {
        Self { least: self.least.max(ms.saturating_mul(1000)), courtesy: 0 }
    }
}

/// The free space of a file. The used part of the file ends at `end`.
#[derive(Debug, Clone)]
pub(crate) struct FreeSpace {
    pub(crate) runs: FreeRuns,
    /// The runs in quarantine, ordered by their sequences.
    pub(crate) quarantined: VecDeque<PendingFree>,
    /// All runs in quarantine and all runs that tags hold.
    quarantined_runs: BTreeMap<u64, u64>,
    pub(super) quarantined_bytes: u64,
    /// Runs that would be in quarantine, but that a tag holds; ordered by their sequences.
    pub(super) kept: Vec<PendingFree>,
    pub(super) kept_bytes: u64,
    pub(super) held: Arc<Held>,
    pub(crate) end: u64,
}

impl FreeSpace {
    pub(crate) fn new(end: u64) -> Self {
        Self {
            runs: FreeRuns::default(),
            quarantined: VecDeque::new(),
            quarantined_runs: BTreeMap::new(),
            quarantined_bytes: 0,
            kept: Vec::new(),
            kept_bytes: 0,
            held: Arc::default(),
            end,
        }
    }

    /// Returns whether a run is within the used part of the file and not free.
    pub(crate) fn in_use(&self, offset: u64, length: u64) -> bool {
        let is_quarantined =
            |o: u64, l: u64| self.quarantined_runs.range(..o + l).next_back().is_some_and(|(a, n)| a + n > o);
        offset.is_multiple_of(ALLOC_UNIT)
            && length.is_multiple_of(ALLOC_UNIT)
            && offset >= DATA
            && offset.checked_add(length).is_some_and(|e| e <= self.end)
            && !self.runs.overlaps(offset, length)
            && !is_quarantined(offset, length)
    }

    /// Returns the number of bytes of a range that are free or beyond the end. Space in quarantine is neither.
    pub(crate) fn free_in(&self, from: u64, to: u64) -> u64 {
        let all = &self.runs.by_offset;
        let near = all.range(..from).next_back().into_iter().chain(all.range(from..to));
        let free: u64 = near.map(|(o, l)| (o + l).min(to).saturating_sub((*o).max(from))).sum();
        free + to.saturating_sub(self.end.max(from))
    }

    /// Returns the runs in a range that are neither free, nor in quarantine, nor beyond the end.
    pub(crate) fn used_in(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> {
        let to = to.min(self.end);
        let near = |all: &BTreeMap<u64, u64>| -> Vec<(u64, u64)> {
            if from >= to {
                return Vec::new();
            }
            let before = all.range(..from).next_back().into_iter();
            before.chain(all.range(from..to)).map(|(o, l)| (*o, *l)).filter(|(o, l)| o + l > from).collect()
        };
        let mut unused = near(&self.runs.by_offset);
        unused.extend(near(&self.quarantined_runs));
        unused.sort_unstable();
        unused.push((to, 0));
        let mut at = from;
        unused.into_iter().filter_map(move |(o, l)| {
            let run = (at, o.min(to).saturating_sub(at));
            at = at.max(o + l);
            (run.1 > 0).then_some(run)
        })
    }

    /// Allocates `length` bytes (a multiple of the allocation unit) from the free runs.
    pub(crate) fn take(&mut self, length: u64) -> Option<u64> {
        self.runs.take(length)
    }

    /// Allocates `length` bytes (a multiple of the allocation unit) for a record before `limit`: at `behind`, the end of
    /// the previous record, or else at the start of a free run with space for more records. Adjacent records are read
    /// together, and are freed as one run. The limit is the end in the newest slot, because bytes beyond that end may not
    /// have been written yet, and a full disk has no space there.
    pub(crate) fn take_for_record(&mut self, length: u64, behind: Option<u64>, limit: u64) -> Option<u64> {
        let fits = |offset: &u64| {
            let free = self.runs.by_offset.get(offset);
            free.is_some_and(|free| *free >= length) && offset + length <= limit
        };
        let larger = || self.find_before(length.max(MIN_RECORD_RUN_BYTES), limit);
        let offset = behind.filter(fits).or_else(larger)?;
        self.runs.carve(offset, length);
        Some(offset)
    }

    /// Returns the total length of the free runs.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.runs.bytes
    }

    /// Returns the end that the file would have without free runs and runs in quarantine.
    pub(crate) fn dense_end(&self) -> u64 {
        self.end - self.free_bytes() - self.quarantined_bytes
    }

    /// Returns the offset after which the file has `bytes` bytes that are not free.
    pub(crate) fn last_used(&self, bytes: u64) -> u64 {
        let (mut end, mut left) = (self.end, bytes);
        for (offset, length) in self.runs.by_offset.iter().rev() {
            let used = end.saturating_sub(offset + length);
            if used >= left {
                break;
            }
            (end, left) = (*offset, left - used);
        }
        end.saturating_sub(left).max(DATA)
    }

    /// Returns the length of the longest free run that begins before `limit`, if that run is among the longest few.
    pub(crate) fn longest_before(&self, limit: u64) -> u64 {
        let longest = self.runs.by_size().iter().rev().take(MAX_RUNS_TRIED);
        longest.filter(|(_, offset)| *offset < limit).map(|(length, _)| *length).next().unwrap_or(0)
    }

    /// Allocates `length` bytes (a multiple of the allocation unit) in a free run that ends before `limit`: in the shortest
    /// one among the first few that are long enough.
    pub(crate) fn take_before(&mut self, length: u64, limit: u64) -> Option<u64> {
        let offset = self.find_before(length, limit)?;
        self.runs.carve(offset, length);
        Some(offset)
    }

    pub(crate) fn fits_before(&self, length: u64, limit: u64) -> bool {
        self.find_before(length, limit).is_some()
    }

    fn find_before(&self, length: u64, limit: u64) -> Option<u64> {
        let fits = self.runs.by_size().range((length, 0)..).take(MAX_RUNS_TRIED);
        fits.map(|(_, o)| *o).find(|o| o + length <= limit)
    }

    /// Returns whether any run is in quarantine.
    pub(crate) fn has_quarantined(&self) -> bool {
        !self.quarantined.is_empty()
    }

    /// Returns the number of bytes in quarantine, and the time at which the last of them entered it.
    pub(crate) fn quarantine_state(&self) -> (u64, u64) {
        (self.quarantined_bytes, self.quarantined.iter().map(|r| r.since).max().unwrap_or(0))
    }

    /// Allocates space at the end of the file, beginning with a free run that ends there.
    pub(crate) fn extend(&mut self, length: u64) -> Option<u64> {
        let offset = self.trimmed();
        let end = offset.checked_add(length).filter(|e| *e <= i64::MAX as u64)?;
        self.trim();
        self.end = end;
        Some(offset)
    }

    /// Returns a free run, or a part of one, of `least` to `most` bytes that overlaps none of the `taken` runs (ascending).
    /// Examines only the longest runs.
    pub(crate) fn find_clear(&self, least: u64, most: u64, taken: &[(u64, u64)]) -> Option<(u64, u64)> {
        let longest = self.runs.by_size().iter().rev().take(64);
        for &(length, offset) in longest.take_while(|(l, _)| *l >= least) {
            let (mut at, end) = (offset, offset + length);
            let first = taken.partition_point(|(o, l)| o + l <= offset);
            for &(o, l) in taken[first..].iter().take_while(|(o, _)| *o < end).chain(&[(end, 0)]) {
                // Reservations of other writers may begin at any byte; those of this writer begin at an allocation unit.
                let clear = o.max(at) - at;
                let clear = clear - clear % ALLOC_UNIT;
                if clear >= least {
                    return Some((at, clear.min(most)));
                }
                at = round(o + l).max(at);
            }
        }
        None
    }

    /// Allocates space at `offset`, which is at or beyond the end of the file. Bytes between the old end and `offset`
    /// become free.
    pub(crate) fn extend_at(&mut self, offset: u64, length: u64) -> Option<()> {
        let end = offset.checked_add(length).filter(|e| *e <= i64::MAX as u64)?;
        if offset > self.end {
            self.replay_end(offset).ok()?;
        }
        self.end = end;
        Some(())
    }

    /// Allocates up to `most` bytes (a multiple of the allocation unit) at `offset`, as far as they are free or beyond the
    /// end. Returns the number of allocated bytes.
    pub(crate) fn take_at(&mut self, offset: u64, most: u64) -> u64 {
        let free = self.runs.by_offset.get(&offset).copied().unwrap_or(0);
        let taken = free.min(most);
        self.runs.carve(offset, taken);
        let end = offset.saturating_add(most);
        if offset + taken == self.end && end <= i64::MAX as u64 {
            self.end = end;
            return most;
        }
        taken
    }

    /// Removes a free run at the end of the file, as far as it is beyond `least`.
    pub(crate) fn trim_to(&mut self, least: u64) {
        let end = self.trimmed().max(least);
        if end < self.end && self.runs.carve(end, self.end - end) {
            self.end = end;
        }
    }

    /// Removes a free run at the end of the file. The part before `least` is removed only if it is large.
    pub(crate) fn trim_after_quarantine(&mut self, least: u64) {
        let waiting = least.saturating_sub(self.trimmed());
        self.trim_to(if self.is_much(waiting) { 0 } else { least });
    }

    /// Returns the end of the file without the free run there.
    pub(crate) fn trimmed(&self) -> u64 {
        match self.runs.by_offset.last_key_value() {
            Some((&o, &l)) if o + l == self.end => o,
            _ => self.end,
        }
    }

    /// Removes a free run at the end of the file.
    pub(crate) fn trim(&mut self) {
        let end = self.trimmed();
        if end < self.end {
            self.runs.drop_run(end, self.end - end);
            self.end = end;
        }
    }

    /// Builds the free space from a free list, for a file with a used part that ends at `end`: free runs and runs in quarantine. Both lists
    /// ascend, and are within the used part at whole allocation units. Checks that no runs overlap.
    pub(crate) fn listed(end: u64, free: &[(u64, u64)], quarantined: Vec<PendingFree>) -> Checked<Self> {
        let mut listed = Self { runs: FreeRuns::ascending(free)?, ..Self::new(end) };
        listed.quarantine_ascending(free, quarantined)?;
        Ok(listed)
    }

    /// Puts runs into quarantine, like [`quarantine`](Self::quarantine) for each of them. Compares them with the sorted `free` runs,
    /// which is several times as fast as a look-up of each run in the map.
    fn quarantine_ascending(&mut self, free: &[(u64, u64)], mut all: Vec<PendingFree>) -> Checked<()> {
        let mut free = free.iter().filter(|(_, length)| *length > 0).peekable();
        let mut end = DATA;
        for r in &all {
            while free.next_if(|(o, l)| *o + *l <= r.offset).is_some() {}
            if r.offset < end || free.peek().is_some_and(|(o, _)| *o < r.offset + r.length) {
                return Err("a run is freed twice, or was never in use");
            }
            end = r.offset + r.length;
        }
        self.quarantined_runs = all.iter().map(|r| (r.offset, r.length)).collect();
        all.sort_by_key(|r| r.sequence);
        all.into_iter().for_each(|r| self.queue(r));
        Ok(())
    }

    pub(crate) fn quarantine(&mut self, r: PendingFree) -> Checked<()> {
        if !self.in_use(r.offset, r.length) {
            return Err("a run is freed twice, or was never in use");
        }
        self.quarantined_runs.insert(r.offset, r.length);
        self.queue(r);
        Ok(())
    }

    /// Returns whether the oldest run in quarantine has been there long enough.
    pub(crate) fn is_ripe(&self, now: u64, rule: ReclaimRule) -> bool {
        let left = (self.quarantined.len(), self.quarantined_bytes);
        self.quarantined.front().is_some_and(|r| self.is_quarantine_over(r, left, now, rule))
    }

    /// Returns the highest sequence among the runs that [`wake`](Self::wake) would free.
    pub(crate) fn last_ripe(&self, limit: u64, now: u64, rule: ReclaimRule) -> Option<u64> {
        let mut left = (self.quarantined.len(), self.quarantined_bytes);
        let mut last = None;
        for r in self.quarantined.iter().take_while(|r| r.sequence <= limit) {
            if !self.is_quarantine_over(r, left, now, rule) {
                break;
            }
            left = (left.0 - 1, left.1 - r.length);
            last = Some(r.sequence);
        }
        last
    }

    /// Returns whether run `r` has been in quarantine long enough. It is the oldest of `runs` runs in quarantine, which have `bytes` bytes.
    fn is_quarantine_over(
        &self,
        r: &PendingFree,
        (runs, bytes): (usize, u64),
        now: u64,
        rule: ReclaimRule,
    ) -> bool {
        let age = now.saturating_sub(r.since);
        let ends_early = runs > MAX_COURTESY_RUNS || self.is_much(bytes);
        age >= rule.least && (age >= rule.courtesy || ends_early)
    }

    /// Returns whether this many bytes in quarantine are too many to be reserved for file copies, because the file would grow too much.
    fn is_much(&self, bytes: u64) -> bool {
        bytes > (self.dense_end() / 10).max(1 << 20)
    }

    /// Frees the runs that have been in quarantine long enough. No reader can need runs up to sequence `limit`.
    pub(crate) fn wake(&mut self, limit: u64, now: u64, rule: ReclaimRule) {
        while self.is_ripe(now, rule) {
            let Some(r) = self.quarantined.front().copied().filter(|r| r.sequence <= limit) else { return };
            self.forget_front();
            // The run overlapped no free run when it entered the quarantine, and no overlapping run was added since.
            let _disjoint = self.runs.add(r.offset, r.length);
        }
    }

    fn forget_front(&mut self) {
        if let Some(r) = self.quarantined.pop_front() {
            self.quarantined_runs.remove(&r.offset);
            self.quarantined_bytes -= r.length;
        }
    }

    /// Replays the allocation of a run, which may be free or in quarantine.
    pub(crate) fn replay_use(&mut self, offset: u64, length: u64) -> Checked<()> {
        if offset.checked_add(length).is_none_or(|e| e > i64::MAX as u64) || offset < DATA {
            return Err("a run lies outside of the file");
        }
        if offset + length > self.end {
            self.replay_end(offset + length)?;
        }
        if self.runs.carve(offset, length) {
            return Ok(());
        }
        // Since the list was written, the writer has freed runs from the quarantine and allocated them.
        self.wake_overlapping(offset, length)?;
        if self.runs.carve(offset, length) { Ok(()) } else { Err("a run came into use that was not free") }
    }

    fn wake_overlapping(&mut self, offset: u64, length: u64) -> Checked<()> {
        let touched: Vec<u64> = self
            .quarantined_runs
            .range(..offset + length)
            .rev()
            .take_while(|(o, l)| *o + *l > offset)
            .map(|(o, _)| *o)
            .collect();
        for o in touched {
            if let Some(l) = self.quarantined_runs.remove(&o) {
                self.forget_waiting(o, l);
                self.runs.add(o, l)?;
            }
        }
        Ok(())
    }

    /// Replays a new end of the file. If the file grew, the added bytes are free; if it shrank, the removed bytes must have
    /// been free.
    pub(crate) fn replay_end(&mut self, end: u64) -> Checked<()> {
        if end >= self.end {
            let (from, len) = (self.end, end - self.end);
            self.end = end;
            return self.runs.add(from, len);
        }
        let cut = self.end - end;
        self.wake_overlapping(end, cut)?;
        if end < DATA || !self.runs.carve(end, cut) {
            return Err("the end moved into a run in use");
        }
        self.end = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: ReclaimRule = ReclaimRule { least: 0, courtesy: 0 };

    fn quarantined(offset: u64, length: u64, sequence: u64) -> PendingFree {
        PendingFree::new((offset, length), sequence, 0)
    }

    #[test]
    fn free_runs_merge_and_best_fit_wins() {
        let mut f = FreeSpace::new(DATA);
        let a = f.extend(640).unwrap();
        for (at, len) in [(a, 64), (a + 128, 32), (a + 64, 64), (a + 320, 64)] {
            f.runs.add(at, len).unwrap();
        }
        assert_eq!(f.runs.iter().collect::<Vec<_>>(), [(a, 160), (a + 320, 64)]);
        assert!(f.runs.add(a + 32, 32).is_err());
        assert_eq!(f.take(64), Some(a + 320));
        assert_eq!(f.take(96), Some(a));
        assert_eq!(f.take(96), None);
    }

    #[test]
    fn quarantined_runs_wait_for_readers_and_time() {
        let mut f = FreeSpace::new(DATA);
        let a = f.extend(320).unwrap();
        f.quarantine(quarantined(a, 64, 5)).unwrap();
        f.quarantine(quarantined(a + 64, 64, 6)).unwrap();
        assert!(f.quarantine(quarantined(a + 96, 32, 7)).is_err());
        f.wake(5, 10, ReclaimRule { least: 11, courtesy: 0 });
        assert_eq!(f.take(32), None);
        f.wake(5, 10, NONE);
        assert_eq!((f.take(64), f.take(32)), (Some(a), None));
        f.wake(6, 10, NONE);
        assert_eq!(f.take(64), Some(a + 64));
    }

    #[test]
    fn the_end_of_file_moves_both_ways() {
        let mut f = FreeSpace::new(DATA);
        let a = f.extend(320).unwrap();
        f.runs.add(a + 64, 256).unwrap();
        f.trim();
        assert_eq!((f.end, f.extend(64)), (a + 64, Some(a + 64)));
        f.replay_end(a + 256).unwrap();
        f.replay_use(a + 160, 32).unwrap();
        assert!(f.replay_use(a + 160, 32).is_err());
        assert!(f.replay_end(a + 160).is_err());
        f.quarantine(quarantined(a + 160, 32, 3)).unwrap();
        f.replay_end(a + 160).unwrap();
        assert_eq!(f.end, a + 160);
    }

    #[test]
    fn the_last_bytes_in_use_lie_behind_free_runs() {
        let mut f = FreeSpace::new(DATA);
        let a = f.extend(640).unwrap();
        assert_eq!((f.last_used(64), f.last_used(640), f.last_used(u64::MAX)), (a + 576, a, DATA));
        f.runs.add(a, 128).unwrap();
        f.runs.add(a + 512, 64).unwrap();
        assert_eq!((f.last_used(64), f.last_used(96), f.last_used(448)), (a + 576, a + 480, a + 128));
        assert_eq!((f.longest_before(a + 512), f.longest_before(a)), (128, 0));
    }

    #[test]
    fn courtesy_ends_for_the_oldest_of_many_runs() {
        let rule = ReclaimRule { least: 0, courtesy: 1000 };
        let mut f = FreeSpace::new(DATA);
        let count = MAX_COURTESY_RUNS as u64 + 5;
        let begin = f.extend(count * 64).unwrap();
        for n in 0..count {
            f.quarantine(PendingFree::new((begin + n * 64, 32), n, 10)).unwrap();
        }
        assert_eq!(f.last_ripe(u64::MAX, 20, rule), Some(4));
        f.wake(u64::MAX, 20, rule);
        assert_eq!((f.waiting().count(), f.free_bytes()), (MAX_COURTESY_RUNS, 5 * 32));
        f.wake(u64::MAX, 20, ReclaimRule { least: 100, courtesy: 1000 });
        assert_eq!(f.waiting().count(), MAX_COURTESY_RUNS, "what was asked for is kept");
    }
}
