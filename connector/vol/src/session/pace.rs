//! The rate at which the processes of an MPI program commit changes that the program has not flushed.

use std::time::{Duration, Instant};

/// The number of changes in a row that are committed at once: programs that write once, and then let other processes
/// read, see their writes.
const FIRST: u32 = 4;
/// Commits may take one part in this many of the time.
const SHARE: u32 = 16;

/// Decides when a change is committed at once: one of the first in a row, then those with a number that is a power of
/// two, and whenever the time since the last such commit is long compared with its duration. So a loop of n writes
/// commits about log2(n) times.
#[derive(Debug, Default)]
pub struct Pace {
    /// The number of changes since the changes were last read.
    row: u32,
    /// The end of the last commit, and its duration.
    last: Option<(Instant, Duration)>,
}

impl Pace {
    /// Returns whether enough time has passed since the last commit.
    pub fn is_due(&self) -> bool {
        self.last.is_none_or(|(end, took)| end.elapsed() >= took * SHARE)
    }

    /// Counts a change, and returns whether it is to be committed because of its number. All processes must get the
    /// same result.
    pub fn is_turn(&mut self, was_read: bool) -> bool {
        if was_read {
            self.was_read();
        }
        self.row = self.row.saturating_add(1);
        self.row <= FIRST || self.row.is_power_of_two()
    }

    /// Counts a change that this process made independently, and returns whether it is to be committed.
    pub fn is_now(&mut self) -> bool {
        self.is_turn(false) || self.is_due()
    }

    /// Begins another row, because the changes were read.
    pub fn was_read(&mut self) {
        self.row = 0;
    }

    /// Notes that a commit has just ended.
    pub fn took(&mut self, started: Instant) {
        self.last = Some((Instant::now(), started.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_changes_commits_ever_less_often() {
        let mut pace = Pace::default();
        let turns: Vec<u32> = (1..=100).filter(|_| pace.is_turn(false)).collect();
        assert_eq!(turns, [1, 2, 3, 4, 8, 16, 32, 64]);
        assert!(pace.is_turn(true), "somebody has read: the next one is the first of a row");
    }

    #[test]
    fn commits_take_a_small_part_of_the_time() {
        let mut pace = Pace::default();
        assert!(pace.is_due());
        pace.last = Some((Instant::now(), Duration::from_secs(60)));
        assert!(!pace.is_due());
        pace.last = Some((Instant::now(), Duration::ZERO));
        assert!(pace.is_due());
    }
}
