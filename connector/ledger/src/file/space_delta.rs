//! The notes of records, and the free lists of checkpoints, in the file storage.

use crate::checksum::{seal, unseal_as};
use crate::codec::{Decoded, Reader, put_varint};
use crate::file::free_space::{ALLOC_UNIT, FreeSpace, PendingFree};

/// Runs as (offset, length), ascending, in bytes; multiples of the allocation unit.
pub(crate) type Pairs = Vec<(u64, u64)>;

/// The notes of one record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SpaceDelta {
    pub(crate) sequence: u64,
    pub(crate) end: u64,
    pub(crate) used: Pairs,
    pub(crate) freed: Pairs,
}

/// Writes a run as its distance from the previous run. An overlapping run is an error, because it would be read as another
/// run.
fn put_pair(out: &mut Vec<u8>, last: &mut u64, (offset, length): (u64, u64)) -> Decoded<()> {
    let gap = offset.checked_sub(*last).ok_or("a run is counted twice; nothing of it was written")?;
    put_varint(out, gap / ALLOC_UNIT);
    put_varint(out, length / ALLOC_UNIT);
    *last = offset + length;
    Ok(())
}

#[inline(always)]
fn pair(r: &mut Reader<'_>, last: &mut u64) -> Decoded<(u64, u64)> {
    let units = |n: u64| n.checked_mul(ALLOC_UNIT).ok_or("a run lies outside of any file");
    let offset = last.checked_add(units(r.varint()?)?).ok_or("a run lies outside of any file")?;
    let length = units(r.varint()?)?;
    *last = offset.checked_add(length).filter(|e| *e <= i64::MAX as u64).ok_or("a run is too long")?;
    Ok((offset, length))
}

fn put_pairs(out: &mut Vec<u8>, pairs: &[(u64, u64)]) -> Decoded<()> {
    put_varint(out, pairs.len() as u64);
    let mut last = 0;
    pairs.iter().try_for_each(|p| put_pair(out, &mut last, *p))
}

fn count(r: &mut Reader<'_>, least: usize) -> Decoded<usize> {
    let n = r.varint()?;
    if n > (r.remaining() / least) as u64 { Err("more runs than bytes") } else { Ok(n as usize) }
}

fn pairs(r: &mut Reader<'_>) -> Decoded<Pairs> {
    let (count, mut last) = (count(r, 2)?, 0);
    // A free list has thousands of runs, so memory for all is allocated at once: at most eight times the bytes from which
    // they are read.
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(pair(r, &mut last)?);
    }
    Ok(all)
}

/// Sorts pairs and joins neighbours.
pub(crate) fn joined(mut all: Pairs) -> Pairs {
    all.sort_unstable();
    let mut out: Pairs = Vec::with_capacity(all.len());
    for (o, l) in all {
        match out.last_mut() {
            Some((a, n)) if *a + *n == o => *n += l,
            _ => out.push((o, l)),
        }
    }
    out
}

impl SpaceDelta {
    /// Encodes the notes. Returns an error for runs that overlap or do not ascend.
    pub(crate) fn encode(&self) -> Decoded<Vec<u8>> {
        let mut out = Vec::new();
        put_varint(&mut out, self.sequence);
        put_varint(&mut out, self.end);
        put_pairs(&mut out, &self.used)?;
        put_pairs(&mut out, &self.freed)?;
        Ok(out)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(bytes);
        let n = Self { sequence: r.number()?, end: r.number()?, used: pairs(&mut r)?, freed: pairs(&mut r)? };
        r.end()?;
        if n.end > i64::MAX as u64 || !n.end.is_multiple_of(ALLOC_UNIT) {
            return Err("an impossible end");
        }
        Ok(n)
    }

    /// Returns the sequence, and the number of allocated bytes.
    pub(crate) fn outline(bytes: &[u8]) -> Decoded<(u64, u64)> {
        let mut r = Reader::new(bytes);
        let (sequence, _end) = (r.number()?, r.number()?);
        let (mut last, mut used) = (0, 0u64);
        for _ in 0..count(&mut r, 2)? {
            used = used.saturating_add(pair(&mut r, &mut last)?.1);
        }
        Ok((sequence, used))
    }

    /// Replays the notes on `free`, which must be the free space of the version before.
    pub(crate) fn replay(&self, free: &mut FreeSpace, time: u64) -> Decoded<()> {
        // Between checkpoints the end only grows. The end of a concurrent writer may be greater already.
        if self.end > free.end {
            free.replay_end(self.end)?;
        }
        for (o, l) in &self.used {
            free.replay_use(*o, *l)?;
        }
        for (offset, length) in self.freed.iter().copied() {
            free.quarantine(PendingFree::new((offset, length), self.sequence, time))?;
        }
        Ok(())
    }
}

/// Encodes the free space of a version, padded with zeros to `length` if that is given. Returns an error for runs that
/// overlap.
pub(crate) fn encode_list(
    version: u64,
    free: &[(u64, u64)],
    quarantined: &[PendingFree],
    length: Option<usize>,
) -> Decoded<(Vec<u8>, u32)> {
    let mut out = b"h5lF".to_vec();
    put_varint(&mut out, version);
    put_pairs(&mut out, free)?;
    let mut sorted: Vec<&PendingFree> = quarantined.iter().collect();
    sorted.sort_unstable_by_key(|r| r.offset);
    put_varint(&mut out, sorted.len() as u64);
    let mut last = 0;
    for r in sorted {
        put_pair(&mut out, &mut last, (r.offset, r.length))?;
        put_varint(&mut out, r.sequence);
        put_varint(&mut out, r.time);
    }
    if let Some(n) = length {
        out.resize(n.saturating_sub(4).max(out.len()), 0);
    }
    let crc = seal(&mut out);
    Ok((out, crc))
}

/// Decodes the free list of a file with a used part that ends at `end`. Returns the version to which the list belongs, and the free space.
pub(crate) fn decode_list(bytes: &[u8], crc: u32, end: u64) -> Decoded<(u64, FreeSpace)> {
    let mut r = Reader::new(unseal_as(bytes, crc)?);
    if r.take(4)? != b"h5lF" {
        return Err("not a free list");
    }
    let version = r.number()?;
    let check = |(o, l): (u64, u64)| {
        if o + l <= end && o >= crate::file::superblock::DATA {
            Ok(())
        } else {
            Err("a run lies outside of the file")
        }
    };
    let runs = pairs(&mut r)?;
    runs.iter().try_for_each(|p| check(*p))?;
    let mut last = 0;
    let count = count(&mut r, 4)?;
    let mut quarantined = Vec::with_capacity(count);
    for _ in 0..count {
        let (offset, length) = pair(&mut r, &mut last)?;
        check((offset, length))?;
        let run = PendingFree::new((offset, length), r.number()?, r.number()?);
        // A run without bytes would replace another run with the same offset.
        if length > 0 {
            quarantined.push(run);
        }
    }
    Ok((version, FreeSpace::listed(end, &runs, quarantined)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::superblock::DATA;

    #[test]
    fn overlapping_runs_are_refused() {
        for used in [
            vec![(DATA, 64), (DATA, 64)],
            vec![(DATA, 64), (DATA + 32, 64)],
            vec![(DATA + 64, 32), (DATA, 32)],
        ] {
            let notes = SpaceDelta { sequence: 9, end: DATA + 640, used, freed: Vec::new() };
            assert!(notes.encode().is_err(), "{notes:?}");
            assert!(encode_list(5, &notes.used, &[], None).is_err(), "{notes:?}");
        }
        let quarantined = [PendingFree::new((DATA, 64), 8, 77), PendingFree::new((DATA + 32, 64), 8, 77)];
        assert!(encode_list(5, &[], &quarantined, None).is_err());
    }

    #[test]
    fn space_deltas_and_free_lists_round_trip() {
        let notes = SpaceDelta {
            sequence: 9,
            end: DATA + 6400,
            used: joined(vec![(DATA + 64, 32), (DATA, 64), (DATA + 320, 32)]),
            freed: vec![(DATA + 960, 32)],
        };
        assert_eq!(notes.used.len(), 2);
        assert_eq!(SpaceDelta::decode(&notes.encode().unwrap()), Ok(notes));
        let free = [(DATA, 64), (DATA + 640, 64)];
        let quarantined = [PendingFree::new((DATA + 320, 32), 8, 77)];
        for pad in [None, Some(200)] {
            let (bytes, crc) = encode_list(5, &free, &quarantined, pad).unwrap();
            let (version, back) = decode_list(&bytes, crc, DATA + 704).unwrap();
            assert_eq!(version, 5);
            assert_eq!(back.runs.iter().collect::<Vec<_>>(), free);
            assert_eq!(back.quarantined, quarantined);
            assert!(decode_list(&bytes, crc, DATA + 640).is_err());
        }
    }

    #[test]
    fn an_empty_run_does_not_enter_the_quarantine() {
        let run = |length, sequence| PendingFree::new((DATA + 64, length), sequence, 0);
        let (bytes, crc) = encode_list(5, &[], &[run(0, 7), run(64, 8)], None).unwrap();
        let (_, back) = decode_list(&bytes, crc, DATA + 704).unwrap();
        assert_eq!(back.quarantined, [run(64, 8)]);
    }
}
