//! Creation order in a copy: objects made by public calls are numbered from 0, but the original's numbers have gaps
//! where objects were deleted.

use std::ffi::CString;

/// The most numbers in a row that are skipped: each one costs an object that is made and deleted.
const MOST: i64 = 1 << 16;

/// The numbers that have been used in a copy, and the objects that were made only to use numbers up.
pub(super) struct Numbers {
    /// The number that the next object gets; `None` if creation order is not tracked.
    next: Option<i64>,
    /// Names to delete after everything has been made: a group or object that is empty in between would begin at 0
    /// again.
    pub fillers: Vec<CString>,
}

impl Numbers {
    /// Makes the state before any object is made. `tracked` says whether creation order is tracked at all.
    pub fn of(tracked: bool) -> Self {
        Self { next: tracked.then_some(0), fillers: Vec::new() }
    }

    /// Returns the name of a filler object that must be made before the object with the number `wanted`, or `None` if
    /// that number is next.
    pub fn filler(&mut self, wanted: i64) -> Option<CString> {
        let next = self.next.filter(|next| *next < wanted && wanted - next <= MOST)?;
        let name = CString::new(format!("\x01h5lake copy {next}")).ok()?;
        self.fillers.push(name.clone());
        self.used();
        Some(name)
    }

    /// Notes that an object was made.
    pub fn used(&mut self) {
        self.next = self.next.map(|next| next + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled_and_counted() {
        let mut numbers = Numbers::of(true);
        let mut made = Vec::new();
        for wanted in [0, 3, 4, 6] {
            while numbers.filler(wanted).is_some() {}
            made.push(numbers.next);
            numbers.used();
        }
        assert_eq!(made, [Some(0), Some(3), Some(4), Some(6)]);
        assert_eq!(numbers.fillers.len(), 3);
    }

    #[test]
    fn nothing_is_filled_without_numbers_or_over_huge_gaps() {
        assert!(Numbers::of(false).filler(5).is_none());
        assert!(Numbers::of(true).filler(MOST + 1).is_none());
    }
}
