//! Decides what to fetch for an uncached read: a block, a block and the bytes after it, the exact bytes, or the whole
//! object.

use std::ops::Range;

use super::{BLOCK_BYTES, Content};

/// Raw data of at least this many bytes is fetched exactly; shorter data has neighbours that are likely to be read,
/// too.
const MIN_EXACT_BYTES: u64 = 64 << 10;
/// Maximum number of bytes fetched after the requested ones.
const MAX_AHEAD_BYTES: u64 = 8 << 20;
/// The number of scattered misses at which an object that is short enough is fetched as a whole. Including the front of
/// the object, it is fetched by the third request that continues no other, and no read waits for a request after it.
const SCATTERED_MISSES: u32 = 2;
/// Maximum length of objects that are fetched as a whole.
const MAX_WHOLE_BYTES: u64 = 64 << 20;

/// The read pattern of an object so far.
#[derive(Debug, Default)]
pub(super) struct Pace {
    streams: [Stream; 2],
    /// Misses that did not continue a previous read.
    scattered: u32,
    was_fetched_whole: bool,
}

/// Reads of one kind of content.
#[derive(Debug, Default, Clone, Copy)]
struct Stream {
    /// End of the bytes that were fetched for the last read.
    end: u64,
    /// Number of bytes that were fetched ahead of it.
    ahead: u64,
}

impl Pace {
    /// Returns the state after the front of the object was read.
    pub(super) fn after_front(bytes: u64) -> Self {
        let stream = Stream { end: bytes, ahead: 0 };
        Self { streams: [stream; 2], ..Self::default() }
    }

    /// Returns the range to fetch for `wanted`, which begins with an uncached byte, in an object of `size` bytes.
    /// `may_be_whole` is true if the cache can hold the whole object.
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
    fn sequential_reads_increase_the_read_ahead() {
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
    fn scattered_reads_fetch_blocks_then_the_whole_object() {
        let mut pace = Pace::after_front(MIB);
        let long = 30 * MIB + 5..32 * MIB + 9;
        assert_eq!(pace.range_for(&long, Content::Raw, 50 * MIB, true), long);
        assert_eq!(pace.range_for(&(5 * MIB..5 * MIB + 1), Content::Raw, 50 * MIB, true), 0..50 * MIB);
        // Only once: an object that does not stay in memory is not fetched repeatedly.
        assert_eq!(pace.range_for(&(8 * MIB..8 * MIB + 1), Content::Raw, 50 * MIB, true), 8 * MIB..9 * MIB);
    }

    #[test]
    fn long_objects_are_never_fetched_whole() {
        let mut pace = Pace::after_front(MIB);
        for block in [3, 30, 12, 50, 7] {
            let at = block * MIB;
            assert_eq!(pace.range_for(&(at..at + 1), Content::Metadata, 65 * MIB, true), at..at + MIB);
        }
    }
}
