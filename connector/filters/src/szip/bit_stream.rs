//! Streams of bits, the highest of a byte first, and numbers as runs of zeros that end with a one ("fundamental
//! sequences").

/// Writes bits as long as the output has space.
pub(super) struct BitWriter<'a> {
    out: &'a mut [u8],
    at: usize,
    /// The pending bits, fewer than 32, from the highest bit on.
    pending: u64,
    used: u32,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0, pending: 0, used: 0 }
    }

    /// Writes the lowest bits of a value, 1 to 32; returns `None` if the output is full.
    #[inline]
    pub(super) fn put(&mut self, value: u32, bits: u32) -> Option<()> {
        let value = u64::from(value) & ((1 << bits) - 1);
        self.pending |= value << (64 - self.used - bits);
        self.used += bits;
        if self.used >= 32 {
            *self.out.get_mut(self.at..)?.first_chunk_mut()? = ((self.pending >> 32) as u32).to_be_bytes();
            self.at += 4;
            self.pending <<= 32;
            self.used -= 32;
        }
        Some(())
    }

    /// Writes `zeros` zeros, and a one.
    #[inline]
    pub(super) fn put_run(&mut self, mut zeros: u32) -> Option<()> {
        while zeros >= 32 {
            self.put(0, 32)?;
            zeros -= 32;
        }
        self.put(1, zeros + 1)
    }

    /// Writes the lowest bits of each value, as many values at once as fit.
    pub(super) fn put_all(&mut self, values: &[u32], bits: u32) -> Option<()> {
        match bits {
            0..=8 => self.put_groups::<4>(values, bits),
            9..=16 => self.put_groups::<2>(values, bits),
            _ => self.put_groups::<1>(values, bits),
        }
    }

    #[inline(always)]
    fn put_groups<const N: usize>(&mut self, values: &[u32], bits: u32) -> Option<()> {
        let mask = ((1u64 << bits) - 1) as u32;
        let (groups, rest) = values.as_chunks::<N>();
        for group in groups {
            let joined = group.iter().fold(0, |all, value| all << bits | u64::from(value & mask));
            self.put(joined as u32, N as u32 * bits)?;
        }
        rest.iter().try_for_each(|value| self.put(*value, bits))
    }

    /// Writes [`put_run`](Self::put_run) of each value without its lowest `split` bits, four at once if they are short.
    pub(super) fn put_runs(&mut self, values: &[u32], split: u32) -> Option<()> {
        let (groups, rest) = values.as_chunks::<4>();
        for group in groups {
            let [a, b, c, d] = group.map(|value| value >> split);
            let bits = u64::from(a) + u64::from(b) + u64::from(c) + u64::from(d) + 4;
            if bits <= 32 {
                let ones = 1 << (b + c + d + 3) | 1 << (c + d + 2) | 1 << (d + 1) | 1;
                self.put(ones, bits as u32)?;
            } else {
                [a, b, c, d].into_iter().try_for_each(|run| self.put_run(run))?;
            }
        }
        rest.iter().try_for_each(|value| self.put_run(value >> split))
    }

    /// Fills the last byte with zeros. Returns the number of bytes.
    pub(super) fn finish(self) -> Option<usize> {
        let rest = self.used.div_ceil(8) as usize;
        let bytes = self.pending.to_be_bytes();
        self.out.get_mut(self.at..self.at + rest)?.copy_from_slice(&bytes[..rest]);
        Some(self.at + rest)
    }
}

/// Reads bits until the data ends.
pub(super) struct BitReader<'a> {
    data: &'a [u8],
    /// The next bits, from the highest one on. Below the `have` valid bits there may be some of the bits that follow.
    next: u64,
    have: u32,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, next: 0, have: 0 }
    }

    #[inline]
    fn refill(&mut self) {
        if let Some(bytes) = self.data.first_chunk() {
            self.next |= u64::from_be_bytes(*bytes) >> self.have;
            let taken = (63 - self.have) / 8;
            self.data = &self.data[taken as usize..];
            self.have += 8 * taken;
            return;
        }
        while let ([first, rest @ ..], true) = (self.data, self.have <= 56) {
            self.next |= u64::from(*first) << (56 - self.have);
            self.have += 8;
            self.data = rest;
        }
    }

    /// Returns the next bits, at most 32, as a number.
    #[inline]
    pub(super) fn get(&mut self, bits: u32) -> Option<u32> {
        if self.have < bits {
            self.refill();
            if self.have < bits {
                return None;
            }
        }
        // Two shifts, because none may be of 64 bits.
        let value = (self.next >> 32 >> (32 - bits)) as u32;
        self.next <<= bits;
        self.have -= bits;
        Some(value)
    }

    /// Returns the number of zeros before the next one, and consumes the one as well.
    #[inline]
    pub(super) fn get_run(&mut self) -> Option<u32> {
        let mut zeros = 0u32;
        loop {
            let run = self.next.leading_zeros();
            if run < self.have {
                self.next = self.next << run << 1;
                self.have -= run + 1;
                return zeros.checked_add(run);
            }
            zeros = zeros.checked_add(self.have)?;
            (self.next, self.have) = (0, 0);
            self.refill();
            if self.have == 0 {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn written_bits_are_read_back(parts in prop::collection::vec((any::<u32>(), 1u32..=33), 0..200)) {
            let mut out = vec![0; 4000];
            let mut writer = BitWriter::new(&mut out);
            for (value, bits) in &parts {
                match bits {
                    33 => writer.put_run(value % 100).unwrap(),
                    bits => writer.put(*value, *bits).unwrap(),
                }
            }
            let n = writer.finish().unwrap();
            let mut reader = BitReader::new(&out[..n]);
            for (value, bits) in &parts {
                match bits {
                    33 => prop_assert_eq!(reader.get_run(), Some(value % 100)),
                    bits => prop_assert_eq!(reader.get(*bits), Some((u64::from(*value) & ((1u64 << bits) - 1)) as u32)),
                }
            }
            prop_assert_eq!(reader.get(8), None);
            prop_assert!(BitWriter::new(&mut []).put(1, 32).is_none());
        }
    }
}
