//! Where the file ends.
//!
//! A head says where, and a plain copy that has this head must find a file that is as long. So what a head once counted is
//! cut off only when it has rested, even if it never was in use: room that is kept behind a payload, when something was put behind
//! that; payloads that were taken back after a checkpoint.

use super::FileWriter;
use crate::error::Result;
use crate::file::file_io::FileIo;
use crate::file::free_space::FreeSpace;

/// Room that heads count and that was given back without ever having been part of a version.
#[derive(Debug, Default)]
pub(super) struct Unused {
    /// The end of the last such run, or a later one's.
    end: u64,
    /// When the last one was given back, microseconds.
    since: u64,
}

impl FileWriter {
    /// The end that the next head is to have: what is kept or free at the end lies behind it, unless a head counted it already.
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

    /// Notes that a run was given back that was in no version.
    pub(super) fn note_unused(&mut self, offset: u64, length: u64) {
        let counted = self.head.end;
        if self.shared.is_some() || length == 0 || offset >= counted {
            return;
        }
        let now = self.now();
        if self.has_rested(now) {
            self.growth.unused.end = 0;
        }
        self.growth.unused =
            Unused { end: self.growth.unused.end.max((offset + length).min(counted)), since: now };
    }

    /// What is free at the end as a writer finds it: the one before may have ended before that had rested.
    pub(super) fn find_unused(&mut self, free_space: &FreeSpace) {
        if free_space.runs.up_to(free_space.end).is_some() {
            self.growth.unused = Unused { end: free_space.end, since: self.head.time.min(self.now()) };
        }
    }

    fn has_rested(&self, now: u64) -> bool {
        now.saturating_sub(self.growth.unused.since) >= self.reclaim.rule.courtesy
    }

    /// Free bytes at the end that have not rested, and when they will have.
    pub(in crate::file) fn waits(&mut self, raw: &dyn FileIo) -> Result<(u64, u64)> {
        if self.has_rested(self.now()) {
            return Ok((0, 0));
        }
        let Unused { end, since } = self.growth.unused;
        let begin = self.load(raw)?.trimmed();
        let bytes = end.saturating_sub(begin);
        Ok(if bytes > 0 { (bytes, since.saturating_add(self.reclaim.rule.courtesy)) } else { (0, 0) })
    }

    /// Lets a free run at the end go, as far as it has rested. Where many write, the end only grows.
    pub(super) fn trim(&mut self, raw: &dyn FileIo) -> Result<()> {
        if self.shared.is_some() {
            return Ok(());
        }
        let least = if self.has_rested(self.now()) { 0 } else { self.growth.unused.end };
        self.load(raw)?.trim_to_rested(least);
        Ok(())
    }
}
