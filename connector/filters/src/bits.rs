//! Packed numbers of any number of bits, the highest bit first, as the n-bit and the scale-offset filter store them.

/// Returns a mask of the lowest bits of a word.
fn mask(bits: u32) -> u64 {
    1_u64.checked_shl(bits).map_or(u64::MAX, |bit| bit - 1)
}

/// Returns the bytes for `bits` bits, plus the additional byte that both filters have after full bytes.
pub(super) fn bytes_of(bits: usize) -> usize {
    bits / 8 + 1
}

/// Writes numbers to the start of a buffer that has space for the [`bytes_of`] their bits.
pub(super) struct BitWriter<'a> {
    out: &'a mut [u8],
    /// Bits that are not written yet: the lowest `held` bits, fewer than 32.
    word: u64,
    held: u32,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(out: &'a mut [u8]) -> Self {
        Self { out, word: 0, held: 0 }
    }

    /// Appends the lowest `bits` bits of a number, at most 64.
    #[inline]
    pub(super) fn push(&mut self, number: u64, bits: u32) {
        if bits > 32 {
            self.push_half(number >> 32, bits - 32);
            self.push_half(number, 32);
        } else {
            self.push_half(number, bits);
        }
    }

    #[inline]
    fn push_half(&mut self, number: u64, bits: u32) {
        self.word = self.word << bits | number & mask(bits);
        self.held += bits;
        if self.held >= 32 {
            self.held -= 32;
            let bytes = ((self.word >> self.held) as u32).to_be_bytes();
            if let Some((to, rest)) = std::mem::take(&mut self.out).split_first_chunk_mut() {
                *to = bytes;
                self.out = rest;
            }
        }
    }

    /// Writes the pending bits, and zeros to the end of the buffer.
    pub(super) fn finish(self) {
        let last = (self.word << (64 - self.held).min(63) << u32::from(self.held == 0)).to_be_bytes();
        for (n, to) in self.out.iter_mut().enumerate() {
            *to = last.get(n).copied().unwrap_or(0);
        }
    }
}

/// Reads numbers; after the end of the data it returns zeros.
pub(super) struct BitReader<'a> {
    data: &'a [u8],
    /// Bits that were already taken from the data: the lowest `held` bits, fewer than 32.
    word: u64,
    held: u32,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, word: 0, held: 0 }
    }

    /// Returns the next number of `bits` bits, at most 64.
    #[inline]
    pub(super) fn take(&mut self, bits: u32) -> u64 {
        if bits > 32 { self.take_half(bits - 32) << 32 | self.take_half(32) } else { self.take_half(bits) }
    }

    #[inline]
    fn take_half(&mut self, bits: u32) -> u64 {
        if self.held < bits {
            self.word = self.word << 32 | u64::from(self.next());
            self.held += 32;
        }
        self.held -= bits;
        self.word >> self.held & mask(bits)
    }

    #[inline]
    fn next(&mut self) -> u32 {
        if let Some((bytes, rest)) = self.data.split_first_chunk() {
            self.data = rest;
            return u32::from_be_bytes(*bytes);
        }
        let mut bytes = [0; 4];
        bytes[..self.data.len()].copy_from_slice(self.data);
        self.data = &[];
        u32::from_be_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_highest_bit_is_first() {
        let mut out = [9; 3];
        let mut writer = BitWriter::new(&mut out);
        for (number, bits) in [(0b101, 3), (0xffff_fff0, 5), (0b11, 2), (1, 6)] {
            writer.push(number, bits);
        }
        writer.finish();
        assert_eq!(out, [0b1011_0000, 0b1100_0001, 0]);
        let mut reader = BitReader::new(&out);
        assert_eq!([3, 5, 2, 6, 64].map(|bits| reader.take(bits)), [0b101, 0b1_0000, 0b11, 1, 0]);
    }

    proptest! {
        #[test]
        fn written_bits_are_read_back(numbers in prop::collection::vec((any::<u64>(), 0_u32..=64), 0..40)) {
            let bits: u32 = numbers.iter().map(|(_, bits)| bits).sum();
            let mut out = vec![0xff; bytes_of(bits as usize)];
            let mut writer = BitWriter::new(&mut out);
            numbers.iter().for_each(|(number, bits)| writer.push(*number, *bits));
            writer.finish();
            let mut wanted = vec![0_u8; out.len()];
            let mut at = 0;
            for (number, bits) in &numbers {
                for bit in (0..*bits).rev() {
                    wanted[at / 8] |= ((number >> bit & 1) as u8) << (7 - at % 8);
                    at += 1;
                }
            }
            prop_assert_eq!(&out, &wanted);
            let mut reader = BitReader::new(&out);
            for (number, bits) in numbers {
                prop_assert_eq!(reader.take(bits), number & mask(bits));
            }
        }
    }
}
