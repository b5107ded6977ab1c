//! Free space of a file: what can be used at once, and what rests until no reader can need it.

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
/// Where in its first grain a large payload begins. Allocators give large buffers to programs 16 bytes behind a page's
/// begin (glibc does), and processors copy up to twice as fast between places that lie alike in 32 bytes.
const SHIFT: u64 = 16;
/// Payloads from this length on are large.
const MIN_SHIFTED_BYTES: u64 = 32 << 10;

/// How far behind the begin of its run a payload of so many bytes begins.
pub(crate) fn shift(len: u64) -> u64 {
    if len >= MIN_SHIFTED_BYTES { SHIFT } else { 0 }
}

/// The run that a place takes: every grain that it touches.
pub(crate) fn run_of(place: &Address) -> (u64, u64) {
    let begin = place.offset / ALLOC_UNIT * ALLOC_UNIT;
    (begin, round((place.offset - begin).saturating_add(place.length)))
}

/// Runs that rest by courtesy at most: whoever opens a file for writing reads the list of them all.
const MAX_COURTESY_RUNS: usize = 1024;

/// A free run of so many bytes has room for some dozens of records.
const MIN_RECORD_RUN_BYTES: u64 = 8 << 10;

/// Free runs that are looked at for one before a limit.
const MAX_RUNS_TRIED: usize = 256;

pub(crate) fn round(len: u64) -> u64 {
    len.next_multiple_of(ALLOC_UNIT)
}

/// A run of bytes that went out of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PendingFree {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// The head from which on it is not used.
    pub(crate) sequence: u64,
    /// When that was, microseconds.
    pub(crate) time: u64,
    /// The same, as far as the clocks can be believed that told it; see [`FreeSpace::date`]. No file holds it.
    pub(crate) since: u64,
}

impl PendingFree {
    pub(crate) fn new((offset, length): (u64, u64), sequence: u64, time: u64) -> Self {
        Self { offset, length, sequence, time, since: time }
    }
}

/// A run is where it cannot be; the reason says so.
pub(crate) type Checked<T> = Result<T, &'static str>;

/// When resting runs may be used again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReclaimRule {
    /// At least this long, microseconds.
    pub(crate) least: u64,
    /// This long if there is room for it, microseconds.
    pub(crate) courtesy: u64,
}

impl ReclaimRule {
    /// The same where a container keeps what is obsolete for so many milliseconds.
    pub(crate) fn with_retention(self, ms: u64) -> Self {
        Self { least: self.least.max(ms.saturating_mul(1000)), courtesy: 0 }
    }
}

/// What is free in a file whose used part ends at `end`.
#[derive(Debug, Clone)]
pub(crate) struct FreeSpace {
    pub(crate) runs: FreeRuns,
    /// In the order of their sequences.
    pub(crate) resting: VecDeque<PendingFree>,
    /// What rests, and what is held.
    resting_runs: BTreeMap<u64, u64>,
    pub(super) resting_bytes: u64,
    /// What would rest, but that a tag holds it; in the order of the sequences.
    pub(super) kept: Vec<PendingFree>,
    pub(super) kept_bytes: u64,
    pub(super) held: Arc<Held>,
    pub(crate) end: u64,
}

impl FreeSpace {
    pub(crate) fn new(end: u64) -> Self {
        Self {
            runs: FreeRuns::default(),
            resting: VecDeque::new(),
            resting_runs: BTreeMap::new(),
            resting_bytes: 0,
            kept: Vec::new(),
            kept_bytes: 0,
            held: Arc::default(),
            end,
        }
    }

    /// Whether a run is within the used part and not free.
    pub(crate) fn in_use(&self, offset: u64, length: u64) -> bool {
        let rests =
            |o: u64, l: u64| self.resting_runs.range(..o + l).next_back().is_some_and(|(a, n)| a + n > o);
        offset.is_multiple_of(ALLOC_UNIT)
            && length.is_multiple_of(ALLOC_UNIT)
            && offset >= DATA
            && offset.checked_add(length).is_some_and(|e| e <= self.end)
            && !self.runs.overlaps(offset, length)
            && !rests(offset, length)
    }

    /// How many bytes of a range are free or beyond the end. What rests is neither.
    pub(crate) fn free_in(&self, from: u64, to: u64) -> u64 {
        let all = &self.runs.by_offset;
        let near = all.range(..from).next_back().into_iter().chain(all.range(from..to));
        let free: u64 = near.map(|(o, l)| (o + l).min(to).saturating_sub((*o).max(from))).sum();
        free + to.saturating_sub(self.end.max(from))
    }

    /// The runs from one byte to another that are neither free nor resting, nor behind the end.
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
        unused.extend(near(&self.resting_runs));
        unused.sort_unstable();
        unused.push((to, 0));
        let mut at = from;
        unused.into_iter().filter_map(move |(o, l)| {
            let run = (at, o.min(to).saturating_sub(at));
            at = at.max(o + l);
            (run.1 > 0).then_some(run)
        })
    }

    /// Room for `length` bytes (a multiple of the grain) among the free runs.
    pub(crate) fn take(&mut self, length: u64) -> Option<u64> {
        self.runs.take(length)
    }

    /// Room for a record of `length` bytes (a multiple of the grain) before `limit`: at `behind`, where the record before it ends, or
    /// else at the begin of a free run that has room for more of them. Records that lie side by side are read together, and go as
    /// one run. Behind the end that a head counts nothing may have been written, and a full disk has no room there.
    pub(crate) fn take_for_record(&mut self, length: u64, behind: Option<u64>, limit: u64) -> Option<u64> {
        let fits = |offset: &u64| {
            let free = self.runs.by_offset.get(offset);
            free.is_some_and(|free| *free >= length) && offset + length <= limit
        };
        let roomy = || self.find_before(length.max(MIN_RECORD_RUN_BYTES), limit);
        let offset = behind.filter(fits).or_else(roomy)?;
        self.runs.carve(offset, length);
        Some(offset)
    }

    /// Bytes of free runs.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.runs.bytes
    }

    /// The byte at which the file would end if nothing in it were free or resting.
    pub(crate) fn dense_end(&self) -> u64 {
        self.end - self.free_bytes() - self.resting_bytes
    }

    /// The offset from which on so many bytes lie that are not free.
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

    /// The length of the longest free run that begins before `limit`, if it is among the longest few.
    pub(crate) fn longest_before(&self, limit: u64) -> u64 {
        let longest = self.runs.by_size().iter().rev().take(MAX_RUNS_TRIED);
        longest.filter(|(_, offset)| *offset < limit).map(|(length, _)| *length).next().unwrap_or(0)
    }

    /// Room for `length` bytes (a multiple of the grain) in a free run that ends before `limit`; the shortest of the first
    /// few that are long enough.
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

    /// Whether anything rests.
    pub(crate) fn has_resting(&self) -> bool {
        !self.resting.is_empty()
    }

    /// Bytes that rest, and when the last of them began to.
    pub(crate) fn rests(&self) -> (u64, u64) {
        (self.resting_bytes, self.resting.iter().map(|r| r.since).max().unwrap_or(0))
    }

    /// Room behind the end, beginning in a free run that touches it.
    pub(crate) fn extend(&mut self, length: u64) -> Option<u64> {
        let offset = self.trimmed();
        let end = offset.checked_add(length).filter(|e| *e <= i64::MAX as u64)?;
        self.trim();
        self.end = end;
        Some(offset)
    }

    /// A free run, or a part of one, of `least` to `most` bytes that touches none of `taken` (ascending). Looks at the
    /// longest runs alone.
    pub(crate) fn find_clear(&self, least: u64, most: u64, taken: &[(u64, u64)]) -> Option<(u64, u64)> {
        let longest = self.runs.by_size().iter().rev().take(64);
        for &(length, offset) in longest.take_while(|(l, _)| *l >= least) {
            let (mut at, end) = (offset, offset + length);
            let first = taken.partition_point(|(o, l)| o + l <= offset);
            for &(o, l) in taken[first..].iter().take_while(|(o, _)| *o < end).chain(&[(end, 0)]) {
                // Others' reservations begin where they like; ours at a grain.
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

    /// Room at `offset`, which is the end or lies behind it; what lies between becomes free.
    pub(crate) fn extend_at(&mut self, offset: u64, length: u64) -> Option<()> {
        let end = offset.checked_add(length).filter(|e| *e <= i64::MAX as u64)?;
        if offset > self.end {
            self.replay_end(offset).ok()?;
        }
        self.end = end;
        Some(())
    }

    /// Takes up to `most` bytes (a multiple of the grain) that begin at `offset`, as many as are free there or lie behind the
    /// end; returns how many.
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

    /// Lets a free run at the end go, as far as it lies behind `least`.
    pub(crate) fn trim_to(&mut self, least: u64) {
        let end = self.trimmed().max(least);
        if end < self.end && self.runs.carve(end, self.end - end) {
            self.end = end;
        }
    }

    /// Lets a free run at the end go; what lies before `least` only if it is much.
    pub(crate) fn trim_to_rested(&mut self, least: u64) {
        let waiting = least.saturating_sub(self.trimmed());
        self.trim_to(if self.is_much(waiting) { 0 } else { least });
    }

    /// Where the end would be without the free run there.
    pub(crate) fn trimmed(&self) -> u64 {
        match self.runs.by_offset.last_key_value() {
            Some((&o, &l)) if o + l == self.end => o,
            _ => self.end,
        }
    }

    /// Lets a free run at the end go.
    pub(crate) fn trim(&mut self) {
        let end = self.trimmed();
        if end < self.end {
            self.runs.drop_run(end, self.end - end);
            self.end = end;
        }
    }

    /// What a list says of a file whose used part ends at `end`: what is free, and what rests. Both ascend, and lie within the used
    /// part at whole grains; that nothing overlaps is checked.
    pub(crate) fn listed(end: u64, free: &[(u64, u64)], resting: Vec<PendingFree>) -> Checked<Self> {
        let mut listed = Self { runs: FreeRuns::ascending(free)?, ..Self::new(end) };
        listed.rest_ascending(free, resting)?;
        Ok(listed)
    }

    /// Lets runs rest as [`rest`](Self::rest) would one by one. They are compared with the `free` runs where these lie in a row: that
    /// is several times as quick as to go through the map of them.
    fn rest_ascending(&mut self, free: &[(u64, u64)], mut all: Vec<PendingFree>) -> Checked<()> {
        let mut free = free.iter().filter(|(_, length)| *length > 0).peekable();
        let mut end = DATA;
        for r in &all {
            while free.next_if(|(o, l)| *o + *l <= r.offset).is_some() {}
            if r.offset < end || free.peek().is_some_and(|(o, _)| *o < r.offset + r.length) {
                return Err("a run is freed twice, or was never in use");
            }
            end = r.offset + r.length;
        }
        self.resting_runs = all.iter().map(|r| (r.offset, r.length)).collect();
        all.sort_by_key(|r| r.sequence);
        all.into_iter().for_each(|r| self.queue(r));
        Ok(())
    }

    pub(crate) fn rest(&mut self, r: PendingFree) -> Checked<()> {
        if !self.in_use(r.offset, r.length) {
            return Err("a run is freed twice, or was never in use");
        }
        self.resting_runs.insert(r.offset, r.length);
        self.queue(r);
        Ok(())
    }

    /// Whether the run that has rested longest has rested enough, as far as time goes.
    pub(crate) fn is_ripe(&self, now: u64, rule: ReclaimRule) -> bool {
        let left = (self.resting.len(), self.resting_bytes);
        self.resting.front().is_some_and(|r| self.has_rested(r, left, now, rule))
    }

    /// The highest sequence of what [`wake`](Self::wake) would free.
    pub(crate) fn last_ripe(&self, limit: u64, now: u64, rule: ReclaimRule) -> Option<u64> {
        let mut left = (self.resting.len(), self.resting_bytes);
        let mut last = None;
        for r in self.resting.iter().take_while(|r| r.sequence <= limit) {
            if !self.has_rested(r, left, now, rule) {
                break;
            }
            left = (left.0 - 1, left.1 - r.length);
            last = Some(r.sequence);
        }
        last
    }

    /// Whether the first of so many runs and bytes that rest has rested enough.
    fn has_rested(&self, r: &PendingFree, (runs, bytes): (usize, u64), now: u64, rule: ReclaimRule) -> bool {
        let age = now.saturating_sub(r.since);
        let ends_early = runs > MAX_COURTESY_RUNS || self.is_much(bytes);
        age >= rule.least && (age >= rule.courtesy || ends_early)
    }

    /// Courtesy ends where it would let the file grow by much.
    fn is_much(&self, bytes: u64) -> bool {
        bytes > (self.dense_end() / 10).max(1 << 20)
    }

    /// Frees what has rested. `limit`: the highest sequence whose runs no reader can need.
    pub(crate) fn wake(&mut self, limit: u64, now: u64, rule: ReclaimRule) {
        while self.is_ripe(now, rule) {
            let Some(r) = self.resting.front().copied().filter(|r| r.sequence <= limit) else { return };
            self.forget_front();
            // It was disjoint from the runs when it began to rest, and nothing was added since that overlaps it.
            let _disjoint = self.runs.add(r.offset, r.length);
        }
    }

    fn forget_front(&mut self) {
        if let Some(r) = self.resting.pop_front() {
            self.resting_runs.remove(&r.offset);
            self.resting_bytes -= r.length;
        }
    }

    /// Replays that a run came into use, wherever it was free.
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
        // The writer woke resting runs, and used them, since the list was written.
        self.wake_overlapping(offset, length)?;
        if self.runs.carve(offset, length) { Ok(()) } else { Err("a run came into use that was not free") }
    }

    fn wake_overlapping(&mut self, offset: u64, length: u64) -> Checked<()> {
        let touched: Vec<u64> = self
            .resting_runs
            .range(..offset + length)
            .rev()
            .take_while(|(o, l)| *o + *l > offset)
            .map(|(o, _)| *o)
            .collect();
        for o in touched {
            if let Some(l) = self.resting_runs.remove(&o) {
                self.forget_waiting(o, l);
                self.runs.add(o, l)?;
            }
        }
        Ok(())
    }

    /// Replays a new end: longer, and the difference is free; or shorter, and the difference was.
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

    fn resting(offset: u64, length: u64, sequence: u64) -> PendingFree {
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
        f.rest(resting(a, 64, 5)).unwrap();
        f.rest(resting(a + 64, 64, 6)).unwrap();
        assert!(f.rest(resting(a + 96, 32, 7)).is_err());
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
        f.rest(resting(a + 160, 32, 3)).unwrap();
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
            f.rest(PendingFree::new((begin + n * 64, 32), n, 10)).unwrap();
        }
        assert_eq!(f.last_ripe(u64::MAX, 20, rule), Some(4));
        f.wake(u64::MAX, 20, rule);
        assert_eq!((f.waiting().count(), f.free_bytes()), (MAX_COURTESY_RUNS, 5 * 32));
        f.wake(u64::MAX, 20, ReclaimRule { least: 100, courtesy: 1000 });
        assert_eq!(f.waiting().count(), MAX_COURTESY_RUNS, "what was asked for is kept");
    }
}
