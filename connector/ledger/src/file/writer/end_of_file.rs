//! The end of the file.
//!
//! The end is stored in each commit slot, and a plain copy of the file with this slot must be as long. So bytes that a slot
//! once counted are truncated only after their quarantine, even if they were never in use: for example reserved space
//! after a payload, if another extent was written after it, or payloads that were freed again after a checkpoint.

use super::FileWriter;
use crate::error::Result;
use crate::file::file_io::FileIo;
use crate::file::free_space::FreeSpace;

/// Space that a slot counts and that was freed without ever having been part of a version.
#[derive(Debug, Default)]
pub(super) struct Unused {
    /// The greatest end of these runs.
    end: u64,
    /// The time at which the last of them was freed, in microseconds.
    since: u64,
}

impl FileWriter {
    /// Returns the end for the next slot. Reserved or free space at the end is excluded, unless an earlier slot counted it.
    pub(super) fn used_end(&mut self, raw: &dyn FileIo) -> Result<u64> {
        let counted = self.head.end;
        let mut end = self.load(raw)?.end;
        if self.shared.is_some() {
            return Ok(end);
        }
        while end > counted
            && let Some(offset) = self.idle_up_to(end)
        {
            end = offset.max(counted);
        }
        Ok(end)
    }

    fn idle_up_to(&self, end: u64) -> Option<u64> {
        let free = || self.free_space.as_ref().and_then(|free_space| free_space.runs.up_to(end));
        self.growth.reservations.up_to(end).or_else(free)
    }

    /// Records that a run was freed that was part of no version.
    pub(super) fn note_unused(&mut self, offset: u64, length: u64) {
        let counted = self.head.end;
        if self.shared.is_some() || length == 0 || offset >= counted {
            return;
        }
        let now = self.now();
        if self.is_quarantine_over(now) {
            self.growth.unused.end = 0;
        }
        self.growth.unused =
            Unused { end: self.growth.unused.end.max((offset + length).min(counted)), since: now };
    }

    /// Records the free run at the end of the file when a writer opens it, because the earlier writer may have ended before
    /// the quarantine of that run was over.
    pub(super) fn find_unused(&mut self, free_space: &FreeSpace) {
        if free_space.runs.up_to(free_space.end).is_some() {
            self.growth.unused = Unused { end: free_space.end, since: self.head.time.min(self.now()) };
        }
    }

    fn is_quarantine_over(&self, now: u64) -> bool {
        now.saturating_sub(self.growth.unused.since) >= self.reclaim.rule.courtesy
    }

    /// Returns the number of free bytes at the end that are still in quarantine, and the end of that quarantine.
    pub(in crate::file) fn waits(&mut self, raw: &dyn FileIo) -> Result<(u64, u64)> {
        if self.is_quarantine_over(self.now()) {
            return Ok((0, 0));
        }
        let Unused { end, since } = self.growth.unused;
        let begin = self.load(raw)?.trimmed();
        let bytes = end.saturating_sub(begin);
        Ok(if bytes > 0 { (bytes, since.saturating_add(self.reclaim.rule.courtesy)) } else { (0, 0) })
    }

    /// Removes a free run at the end of the file, as far as its quarantine is over. With concurrent writers, the end only
    /// grows.
    pub(super) fn trim(&mut self, raw: &dyn FileIo) -> Result<()> {
        if self.shared.is_some() {
            return Ok(());
        }
        let least = if self.is_quarantine_over(self.now()) { 0 } else { self.growth.unused.end };
        self.load(raw)?.trim_after_quarantine(least);
        Ok(())
    }
}
