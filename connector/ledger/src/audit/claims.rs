//! The claimed bytes of a container: sorted runs, and the runs that are claimed twice. Runs that exceed the limit of
//! memory are spilled to a temporary file.

use std::io;

use crate::address::{Address, Location};
use crate::audit::spilled::{SpillFile, SpillRecord, number_at};

/// The maximum size of the runs in memory, in bytes.
pub(crate) const MAX_RUN_MEMORY_BYTES: usize = 64 << 20;

/// A run of bytes at a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claim {
    pub(crate) location: Location,
    pub(crate) offset: u64,
    pub(crate) end: u64,
}

impl SpillRecord<40> for Claim {
    fn encode(&self) -> [u8; 40] {
        let (kind, id) = match self.location {
            Location::File => (0u64, [0; 16]),
            Location::Pack(id) => (2, id),
            Location::Page(id) => (3, id),
            // Bytes of a source are never claimed.
            Location::Source(_) => (4, [0; 16]),
        };
        let mut out = [0; 40];
        out[..8].copy_from_slice(&kind.to_le_bytes());
        out[8..24].copy_from_slice(&id);
        out[24..32].copy_from_slice(&self.offset.to_le_bytes());
        out[32..].copy_from_slice(&self.end.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; 40]) -> Self {
        let number = |at: usize| number_at(bytes, at);
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[8..24]);
        let location = match number(0) {
            0 => Location::File,
            2 => Location::Pack(id),
            _ => Location::Page(id),
        };
        Self { location, offset: number(24), end: number(32) }
    }
}

/// Claimed runs. Adjacent runs are joined, so that memory is proportional to the number of gaps.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    recent: Vec<Claim>,
    spilled: SpillFile,
}

/// Sorts runs and joins adjacent ones; passes each run that is claimed twice to `twice`.
fn join(all: &mut Vec<Claim>, twice: &mut dyn FnMut(Claim)) {
    all.sort_unstable();
    let mut out: Vec<Claim> = Vec::new();
    for c in all.drain(..) {
        match out.last_mut() {
            Some(last) if last.location == c.location && c.offset <= last.end => {
                if c.offset < last.end {
                    twice(Claim { end: c.end.min(last.end), ..c });
                }
                last.end = last.end.max(c.end);
            }
            _ => out.push(c),
        }
    }
    *all = out;
}

impl Claims {
    /// Adds the bytes of an address. Passes bytes that were claimed before to `twice`, either now or in
    /// [`sorted`](Self::sorted).
    pub(crate) fn add(&mut self, place: &Address, twice: &mut dyn FnMut(Claim)) -> io::Result<()> {
        if place.length == 0 {
            return Ok(());
        }
        let end = place.offset.saturating_add(place.length);
        self.recent.push(Claim { location: place.location, offset: place.offset, end });
        let most = MAX_RUN_MEMORY_BYTES / size_of::<Claim>();
        if self.recent.len() >= most {
            join(&mut self.recent, twice);
            if self.recent.len() >= most / 2 {
                self.spilled.take(&mut self.recent)?;
            }
        }
        Ok(())
    }

    /// Returns all runs, ascending and joined. First passes the runs that are claimed twice to `twice`.
    pub(crate) fn sorted(
        &mut self,
        twice: &mut dyn FnMut(Claim),
        each: &mut dyn FnMut(Claim),
    ) -> io::Result<()> {
        join(&mut self.recent, twice);
        if self.spilled.is_empty() {
            self.recent.iter().copied().for_each(each);
            return Ok(());
        }
        self.spilled.take(&mut self.recent)?;
        let mut merged = self.spilled.merged::<_, Claim>()?;
        let mut last: Option<Claim> = None;
        while let Some(c) = merged.next()? {
            match &mut last {
                Some(l) if l.location == c.location && c.offset <= l.end => {
                    if c.offset < l.end {
                        twice(Claim { end: c.end.min(l.end), ..c });
                    }
                    l.end = l.end.max(c.end);
                }
                _ => {
                    last.replace(c).into_iter().for_each(&mut *each);
                }
            }
        }
        last.into_iter().for_each(each);
        Ok(())
    }
}

/// Counts of how often each number was named, sorted. Numbers that exceed the limit of memory are spilled to a
/// temporary file.
#[derive(Debug, Default)]
pub struct Tally {
    recent: Vec<(u64, u64)>,
    spilled: SpillFile,
}

/// The maximum number of numbers in memory.
const MAX_NUMBERS: usize = 1 << 22;

/// Sorts numbers and adds up their counts.
fn sum(all: &mut Vec<(u64, u64)>) {
    all.sort_unstable();
    all.dedup_by(|later, first| {
        let same = later.0 == first.0;
        first.1 += if same { later.1 } else { 0 };
        same
    });
}

impl Tally {
    /// Increments the count of a number.
    ///
    /// # Errors
    /// Those of a temporary file.
    pub fn add(&mut self, number: u64) -> io::Result<()> {
        self.recent.push((number, 1));
        if self.recent.len() >= MAX_NUMBERS {
            sum(&mut self.recent);
            if self.recent.len() >= MAX_NUMBERS / 2 {
                self.spilled.take(&mut self.recent)?;
            }
        }
        Ok(())
    }

    /// Passes all numbers with their counts to `each`, ascending.
    ///
    /// # Errors
    /// Those of a temporary file, and of `each`.
    pub fn each<E: From<io::Error>>(
        &mut self,
        mut each: impl FnMut(u64, u64) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        sum(&mut self.recent);
        if self.spilled.is_empty() {
            return self.recent.iter().try_for_each(|(number, count)| each(*number, *count));
        }
        self.spilled.take(&mut self.recent)?;
        let mut merged = self.spilled.merged::<_, (u64, u64)>()?;
        let mut last: Option<(u64, u64)> = None;
        while let Some((number, count)) = merged.next()? {
            match &mut last {
                Some(l) if l.0 == number => l.1 += count,
                _ => {
                    if let Some((number, count)) = last.replace((number, count)) {
                        each(number, count)?;
                    }
                }
            }
        }
        last.into_iter().try_for_each(|(number, count)| each(number, count))
    }
}

impl SpillRecord<16> for (u64, u64) {
    fn encode(&self) -> [u8; 16] {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&self.0.to_le_bytes());
        out[8..].copy_from_slice(&self.1.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; 16]) -> Self {
        (number_at(bytes, 0), number_at(bytes, 8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_joined_and_double_claims_are_reported() {
        for spilling in [false, true] {
            let mut claims = Claims::default();
            let mut twice = Vec::new();
            for n in [5u64, 1, 9, 3, 2, 9, 20] {
                let place = Address { location: Location::Pack([7; 16]), offset: n * 32, length: 32 };
                claims.add(&place, &mut |c| twice.push(c)).unwrap();
                if spilling {
                    join(&mut claims.recent, &mut |c| twice.push(c));
                    claims.spilled.take(&mut claims.recent).unwrap();
                }
            }
            claims.add(&Address::file(0, 10), &mut |c| twice.push(c)).unwrap();
            let mut all = Vec::new();
            claims.sorted(&mut |c| twice.push(c), &mut |c| all.push((c.offset, c.end))).unwrap();
            assert_eq!(all, [(0, 10), (32, 128), (160, 192), (288, 320), (640, 672)]);
            assert_eq!(twice, [Claim { location: Location::Pack([7; 16]), offset: 288, end: 320 }]);
        }
    }

    #[test]
    fn numbers_are_counted_also_through_the_file() {
        for spilling in [false, true] {
            let mut tally = Tally::default();
            for n in [3, 1, 2, 3, 3, 9, 1] {
                tally.add(n).unwrap();
                if spilling {
                    sum(&mut tally.recent);
                    tally.spilled.take(&mut tally.recent).unwrap();
                }
            }
            let mut all = Vec::new();
            let each = |n, count| {
                all.push((n, count));
                io::Result::Ok(())
            };
            tally.each(each).unwrap();
            assert_eq!(all, [(1, 2), (2, 1), (3, 3), (9, 1)]);
        }
    }
}
