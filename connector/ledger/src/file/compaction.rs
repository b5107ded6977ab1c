//! Moves payloads towards the front of a file, so that the file can be truncated.

use std::time::Duration;

use crate::address::{Address, Location};
use crate::compaction_plan::{CompactionPlan, MAX_MOVED_PAYLOAD};
use crate::error::Result;
use crate::extent::BLOCK_POWER;
use crate::file::file_io::FileIo;
use crate::file::free_space::{self, FreeSpace, round, run_of};
use crate::file::locks::Locks;
use crate::file::writer::{FileWriter, Noted};

/// The number of free bytes from which on moving payloads is worthwhile.
const MIN_FREE_BYTES: u64 = 64 << 10;

/// The number of free bytes from which on a close compacts.
const MIN_FREE_BYTES_AT_CLOSE: u64 = 128 << 10;
/// A close compacts only if the free bytes are more than one in this many bytes that the container needs.
const NEEDED_TO_FREE: u64 = 16;

/// The loose end of a file exceeds its dense end by one in this many bytes, ...
const DENSE_TO_LOOSE: u64 = 32;
/// ... and by at least this many bytes, which are some pages.
const MIN_LOOSE_BYTES: u64 = 32 << 10;

/// The length of a payload's part is a multiple of this number of bytes, which share one checksum.
const PART_UNIT_BYTES: u64 = 1 << BLOCK_POWER;

/// Returns the limit for pages that fit into no hole of a dense file: they are placed before it. A page that stayed at the
/// end of the file would prevent its truncation.
pub(in crate::file) fn loose_end(dense: u64) -> u64 {
    dense.saturating_add((dense / DENSE_TO_LOOSE).max(MIN_LOOSE_BYTES))
}

impl FileWriter {
    /// Returns whether a close should compact: a large part of the file is free or can be reclaimed now, and this writer
    /// freed as much, or as much is in quarantine. Without the second condition, each close would repeat an attempt in
    /// which an earlier close did not succeed. The space that short sessions of a small file free adds up while it is in
    /// quarantine. If an earlier close ran out of time, there is one long free run, and this close continues. Compaction
    /// ends the quarantine of all space that no reader has pinned, and is not tried for pinned space. A forked child may
    /// read through this process's handle without a pin of its own, so after a fork the file is not compacted.
    pub(crate) fn wants_compaction_at_close(&mut self, raw: &dyn FileIo, locks: &Locks) -> Result<bool> {
        let much = |free: u64, needed: u64| free >= MIN_FREE_BYTES_AT_CLOSE && free > needed / NEEDED_TO_FREE;
        let Some(free_space) = &self.free_space else { return Ok(false) };
        // A checkpoint frees the log's space as well.
        let log: u64 = self.log.iter().map(Noted::run_bytes).sum();
        let needed = |free_space: &FreeSpace| free_space.dense_end().saturating_sub(log);
        let quarantined = free_space.quarantine_state().0;
        let all = free_space.free_bytes() + quarantined + log;
        let own = self.reclaim.freed.max(quarantined).saturating_add(log);
        let is_worth_it = much(all.min(own), needed(free_space)) || self.can_go_on(free_space);
        if !is_worth_it || crate::process::forks() != self.reclaim.forks {
            return Ok(false);
        }
        // A few pages in quarantine at the end of the file would prevent its truncation.
        self.reclaim.rule.courtesy = 0;
        self.stop_growing();
        self.wake(raw, locks)?;
        let free_space = self.load(raw)?;
        Ok(much(free_space.free_bytes() + log, needed(free_space)))
    }

    /// Returns whether there is a free run that is longer than any payload that may be moved and a large part of the file,
    /// while no tag holds the end of the file. In this case compaction is certain to make progress.
    fn can_go_on(&self, free_space: &FreeSpace) -> bool {
        let least = (free_space.dense_end() / NEEDED_TO_FREE).max(MAX_MOVED_PAYLOAD);
        let end = free_space.end;
        free_space.longest_before(free_space.dense_end()) > least
            && !self.tags.held.touches(end.saturating_sub(least), least)
    }

    /// Returns the number of bytes that this concurrent writer freed, or reserved and did not use.
    pub(crate) fn space_left_for_writers(&self) -> u64 {
        let Some(shared) = &self.shared else { return 0 };
        let reserved: u64 = shared.reserved.iter().map(|(_, length)| length).sum();
        self.reclaim.freed.saturating_add(reserved)
    }

    /// Returns the plan to move everything beyond the end that the file would have without holes.
    pub(crate) fn compaction_plan(&mut self, raw: &dyn FileIo, locks: &Locks) -> Result<CompactionPlan> {
        self.stop_growing();
        self.wake(raw, locks)?;
        let free_space = self.load(raw)?;
        let (garbage, beyond) = (free_space.free_bytes(), free_space.dense_end());
        let (quarantined, end) = (free_space.quarantine_state().0, free_space.end);
        tracing::debug!(
            free = garbage,
            resting = quarantined,
            dense = beyond,
            end,
            "what a compaction finds"
        );
        Ok(CompactionPlan {
            beyond: (garbage >= MIN_FREE_BYTES).then_some(beyond),
            parts_before: (garbage >= MIN_FREE_BYTES).then_some(loose_end(beyond)),
            garbage,
            held: self.tags.held.clone(),
            ..CompactionPlan::default()
        })
    }

    /// Returns whether an extent is beyond the end that the file would have without holes, or beyond the slightly greater loose end, and
    /// would fit into a hole before that end.
    pub(crate) fn must_relocate(&self, place: &Address) -> bool {
        let (Some(below), Some(free_space)) = (self.growth.below, &self.free_space) else { return false };
        let would_fit = |limit| place.offset >= limit && free_space.fits_before(round(place.length), limit);
        place.location == Location::File && (would_fit(below) || would_fit(loose_end(below)))
    }

    /// Returns the remaining time in quarantine, if the quarantine prevents much space from being freed. The space in
    /// quarantine may itself be small.
    pub(crate) fn reclaim_delay(&mut self, raw: &dyn FileIo) -> Result<Option<Duration>> {
        let (rule, now) = (self.reclaim.rule, self.now());
        let (unused, ripe) = self.waits(raw)?;
        let free_space = self.load(raw)?;
        let (quarantined, last) = free_space.quarantine_state();
        let much = quarantined + unused > 0 && free_space.free_bytes() + quarantined >= MIN_FREE_BYTES;
        let quarantine_end =
            if quarantined > 0 { last.saturating_add(rule.least.max(rule.courtesy)) } else { 0 };
        let until = quarantine_end.max(ripe);
        let left = Duration::from_micros(until.saturating_sub(now));
        Ok(Some(left).filter(|_| much))
    }

    /// Returns whether a payload of this length fits into a free run before byte `limit`.
    pub(crate) fn fits_before(&mut self, raw: &dyn FileIo, limit: u64, length: u64) -> Result<bool> {
        self.look_once(raw)?;
        Ok(self.load(raw)?.fits_before(round(free_space::shift(length) + length), limit))
    }

    /// Returns the lengths of parts that fit before `limit`; see [`FreeSpace::parts_before`].
    pub(crate) fn parts_before(
        &mut self,
        raw: &dyn FileIo,
        limit: u64,
        length: u64,
        most: usize,
    ) -> Result<Vec<u64>> {
        self.look_once(raw)?;
        Ok(self.load(raw)?.parts_before(limit, length, most, PART_UNIT_BYTES))
    }

    /// Writes a payload into a free run before byte `limit`. Returns `None` if no such run is long enough.
    pub(crate) fn payload_before(
        &mut self,
        raw: &dyn FileIo,
        limit: u64,
        data: &[u8],
    ) -> Result<Option<Address>> {
        self.look_once(raw)?;
        let (len, shift) = (data.len() as u64, free_space::shift(data.len() as u64));
        let Some(run) = self.load(raw)?.take_before(round(shift + len), limit) else { return Ok(None) };
        let (at, place) = (run + shift, Address::file(run + shift, len));
        self.staged.fresh.extend([run_of(&place)]);
        let written = self.put(raw, at, data, "writing a payload");
        if let Err(e) = written {
            self.give_back(&place);
            return Err(e);
        }
        Ok(Some(place))
    }
}
