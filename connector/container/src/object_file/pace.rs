//! What to fetch for a read that found nothing: a block, what follows it too, just its bytes, or the whole object.

use std::ops::Range;

use super::{BLOCK_BYTES, Content};

/// Raw data of so many bytes is fetched as it is asked for; what is shorter has neighbours that will be asked for, too.
const MIN_EXACT_BYTES: u64 = 64 << 10;
/// Bytes that are fetched at most behind what was asked for.
const MAX_AHEAD_BYTES: u64 = 8 << 20;
/// The miss from which on an object that is short enough is fetched whole: with its front that is the third request that goes on from
/// nowhere, and the last one that somebody waits for.
const SCATTERED_MISSES: u32 = 2;
/// Longer objects are never fetched whole.
const MAX_WHOLE_BYTES: u64 = 64 << 20;

/// How an object was read so far.
#[derive(Debug, Default)]
pub(super) struct Pace {
    streams: [Stream; 2],
    /// Misses that went on from nowhere.
    scattered: u32,
    was_fetched_whole: bool,
}

/// Reads of one sort of content.
#[derive(Debug, Default, Clone, Copy)]
struct Stream {
    /// Where what was fetched for the last one ended.
    end: u64,
    /// Bytes that were fetched behind it.
    ahead: u64,
}

impl Pace {
    /// One after the front of the object was read.
    pub(super) fn after_front(bytes: u64) -> Self {
        let stream = Stream { end: bytes, ahead: 0 };
        Self { streams: [stream; 2], ..Self::default() }
    }

    /// The range to fetch for `wanted`, whose first byte is not here, of an object of `size` bytes. `may_be_whole` says that there
    /// is room for all of it.
    pub(super) fn range_for(
        &mut self,
        wanted: &Range<u64>,
        content: Content,
        size: u64,
        may_be_whole: bool,
    ) -> Range<u64> {
        let stream = &mut self.streams[content as usize];
        let is_sequel = wanted.start >= stream.end && wanted.start - stream.end < BLOCK_BYTES;
        if is_sequel {
            stream.ahead = (2 * stream.ahead).clamp(BLOCK_BYTES, MAX_AHEAD_BYTES);
        } else {
            stream.ahead = 0;
            self.scattered += 1;
        }
        let is_scattered = self.scattered >= SCATTERED_MISSES && !is_sequel;
        if is_scattered && may_be_whole && size <= MAX_WHOLE_BYTES && !self.was_fetched_whole {
            self.was_fetched_whole = true;
            return 0..size;
        }
        let is_exact = content == Content::Raw && wanted.end - wanted.start >= MIN_EXACT_BYTES;
        let start =
            if is_exact || is_sequel { wanted.start } else { wanted.start / BLOCK_BYTES * BLOCK_BYTES };
        let end = wanted.end.saturating_add(stream.ahead);
        let end = if is_exact && !is_sequel { end } else { end.next_multiple_of(BLOCK_BYTES) };
        stream.end = end.min(size);
        start..stream.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_goes_on_is_fetched_further_and_further_ahead() {
        let mut pace = Pace::after_front(MIB);
        let mut at = MIB;
        for expected in [2, 3, 5, 9, 9, 9] {
            let fetched = pace.range_for(&(at..at + 100), Content::Metadata, 1000 * MIB, true);
            assert_eq!((fetched.start, fetched.end - fetched.start), (at, expected * MIB));
            at = fetched.end;
        }
        assert_eq!(pace.range_for(&(at..at + 1), Content::Metadata, at + 10, true), at..at + 10);
    }

    #[test]
    fn scattered_reads_fetch_blocks_or_their_own_bytes_and_then_all() {
        let mut pace = Pace::after_front(MIB);
        let long = 30 * MIB + 5..32 * MIB + 9;
        assert_eq!(pace.range_for(&long, Content::Raw, 50 * MIB, true), long);
        assert_eq!(pace.range_for(&(5 * MIB..5 * MIB + 1), Content::Raw, 50 * MIB, true), 0..50 * MIB);
        // Once: what does not stay in memory is not fetched again and again.
        assert_eq!(pace.range_for(&(8 * MIB..8 * MIB + 1), Content::Raw, 50 * MIB, true), 8 * MIB..9 * MIB);
    }

    #[test]
    fn what_is_long_is_never_fetched_whole() {
        let mut pace = Pace::after_front(MIB);
        for block in [3, 30, 12, 50, 7] {
            let at = block * MIB;
            assert_eq!(pace.range_for(&(at..at + 1), Content::Metadata, 65 * MIB, true), at..at + MIB);
        }
    }
}
