//! Which part of an object is asked for, and whether that one came (RFC 9110, section 14).

use std::ops::Range;

use object_store::GetRange;

/// Whether an answer has the part that was asked for.
pub(super) fn is_wanted(range: &GetRange, came: &Range<u64>, size: u64) -> bool {
    match range {
        GetRange::Bounded(wanted) => *came == (wanted.start..wanted.end.min(size)),
        GetRange::Offset(from) => *came == (*from..size),
        GetRange::Suffix(last) => *came == (size.saturating_sub(*last)..size),
    }
}

pub(super) fn written(range: &GetRange) -> String {
    match range {
        GetRange::Bounded(range) => format!("bytes={}-{}", range.start, range.end.saturating_sub(1)),
        GetRange::Offset(from) => format!("bytes={from}-"),
        GetRange::Suffix(last) => format!("bytes=-{last}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_the_one_that_was_asked_for() {
        let bounded = |start, end| GetRange::Bounded(start..end);
        assert!(is_wanted(&bounded(2, 9), &(2..5), 5) && is_wanted(&GetRange::Offset(2), &(2..5), 5));
        assert!(!is_wanted(&bounded(2, 4), &(0..5), 5) && !is_wanted(&bounded(2, 4), &(2..5), 5));
        assert!(!is_wanted(&GetRange::Offset(2), &(2..4), 5));
    }
}
