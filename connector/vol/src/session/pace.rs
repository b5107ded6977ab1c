//! How often the processes of an MPI program commit what nobody has asked them to commit.

use std::time::{Duration, Instant};

/// So many changes in a row are committed at once: programs that write once, and then let others read, see what they wrote.
const FIRST: u32 = 4;
/// Commits may take one part in so many of the time.
const SHARE: u32 = 16;

/// Says when a change is to be committed at once: one of the first in a row, then those whose number is a power of two, and
/// whenever the time since the last such commit is long beside what that took. So a loop of n writes commits about log2(n) times.
#[derive(Debug, Default)]
pub struct Pace {
    /// Changes since somebody last read what was changed.
    row: u32,
    /// When the last commit ended, and what it took.
    last: Option<(Instant, Duration)>,
}

impl Pace {
    /// Whether there was time enough since the last commit.
    pub fn is_due(&self) -> bool {
        self.last.is_none_or(|(end, took)| end.elapsed() >= took * SHARE)
    }

    /// Counts a change: whether it is one to commit, the time left aside. In all processes this has to have the same answer.
    pub fn is_turn(&mut self, was_read: bool) -> bool {
        if was_read {
            self.was_read();
        }
        self.row = self.row.saturating_add(1);
        self.row <= FIRST || self.row.is_power_of_two()
    }

    /// Counts a change of this process alone: whether to commit it.
    pub fn is_now(&mut self) -> bool {
        self.is_turn(false) || self.is_due()
    }

    /// Somebody has read what was changed: another row begins.
    pub fn was_read(&mut self) {
        self.row = 0;
    }

    /// A commit has just ended.
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
