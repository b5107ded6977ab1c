//! The coder: encodes each block of a line in the shortest of four ways.

use super::bit_stream::BitWriter;
use super::{Coding, REMAINDER, SEGMENT};

/// The properties of a block that determine how it is coded.
struct Block<'a> {
    /// The samples, or their differences from the prediction; the first one of a predicted line is 0.
    values: &'a [u32],
    /// The first sample of a predicted line, in its first block.
    first: Option<u32>,
    /// All bits that are set in any of the values.
    set: u32,
}

/// Blocks of zeros that are not written yet.
#[derive(Default)]
struct Zeros {
    count: u32,
    first: Option<u32>,
}

struct LineEncoder<'a> {
    coding: &'a Coding,
    out: BitWriter<'a>,
    /// The number of bits that were split off last.
    split: u32,
}

/// Encodes whole samples to the start of `out`. Returns the number of bytes, or `None` if `out` is too short or a sample
/// does not fit the coding.
pub(super) fn encode(coding: &Coding, data: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut encoder = LineEncoder { coding, out: BitWriter::new(out), split: 0 };
    let samples = coding.block * coding.blocks;
    let (mut line, mut values) = (Vec::with_capacity(samples), vec![0; samples]);
    for part in data.chunks(coding.line * coding.bytes) {
        line.clear();
        coding.samples(part, &mut line);
        if !coding.fits(&line) {
            return None;
        }
        let last = line.last().copied().filter(|_| coding.is_predicted);
        line.resize(samples, last.unwrap_or(0));
        match coding.is_predicted {
            true => {
                differences(&line, coding.max(), &mut values);
                encoder.line(&values, Some(line[0]))?;
            }
            false => encoder.line(&line, None)?,
        }
    }
    encoder.out.finish()
}

/// Computes the differences of each sample from the one before: small numbers for small differences, and none above the
/// maximum sample. The loop has no branches, so that the compiler vectorizes it.
fn differences(samples: &[u32], max: u32, out: &mut [u32]) {
    out[0] = 0;
    for (out, pair) in out[1..].iter_mut().zip(samples.windows(2)) {
        let (before, now) = (pair[0], pair[1]);
        let (is_less, by) = (now < before, now.abs_diff(before));
        let (range, far) = match is_less {
            true => (max.wrapping_sub(before), max.wrapping_sub(now)),
            false => (before, now),
        };
        *out = if by <= range { by.wrapping_mul(2).wrapping_sub(u32::from(is_less)) } else { far };
    }
}

impl LineEncoder<'_> {
    fn line(&mut self, values: &[u32], first: Option<u32>) -> Option<()> {
        let mut zeros = Zeros::default();
        for (n, values) in values.chunks_exact(self.coding.block).enumerate() {
            let set = values.iter().fold(0, |set, value| set | value);
            let block = Block { values, first: first.filter(|_| n == 0), set };
            if set != 0 {
                self.zeros(&mut zeros, false)?;
                self.block(&block)?;
                continue;
            }
            if zeros.count == 0 {
                zeros.first = block.first;
            }
            zeros.count += 1;
            if n + 1 == self.coding.blocks || (n + 1) % SEGMENT == 0 {
                self.zeros(&mut zeros, true)?;
            }
        }
        Some(())
    }

    /// Writes the pending blocks of zeros, if there are any. `are_last` is true if they end a segment.
    fn zeros(&mut self, zeros: &mut Zeros, are_last: bool) -> Option<()> {
        let Zeros { count, first } = std::mem::take(zeros);
        if count == 0 {
            return Some(());
        }
        self.out.put(0, self.coding.id_bits() + 1)?;
        self.first(first)?;
        self.out.put_run(match count {
            REMAINDER.. if are_last => REMAINDER - 1,
            REMAINDER.. => count,
            count => count - 1,
        })
    }

    fn first(&mut self, first: Option<u32>) -> Option<()> {
        first.map_or(Some(()), |sample| self.out.put(sample, self.coding.bits))
    }

    fn block(&mut self, block: &Block) -> Option<()> {
        let count = block.values.len() as u64 - u64::from(block.first.is_some());
        let plain = count * u64::from(self.coding.bits);
        let split = self.split_bits(block);
        let pairs = pair_bits(block, plain);
        if split < plain && pairs.is_none_or(|pairs| split < pairs) {
            return self.split(block);
        }
        match pairs {
            Some(pairs) if pairs < plain || split < plain => self.pairs(block),
            _ => self.plain(block),
        }
    }

    /// Returns the minimum number of bits if some low bits are split off of each value. The search for the number of
    /// split bits starts at the last best one. The sum has one minimum, in the direction in which it falls.
    fn split_bits(&mut self, block: &Block) -> u64 {
        let count = block.values.len() as u64 - u64::from(block.first.is_some());
        let most = (1 << self.coding.id_bits()) - 3;
        let (mut best, mut split) = (u64::MAX, self.split);
        let start = split;
        let mut upwards = true;
        loop {
            let runs = block.high(split);
            let bits = runs + count * u64::from(split + 1);
            let is_better = bits < best;
            let turned = best < u64::MAX;
            if is_better {
                (best, self.split) = (bits, split);
            }
            if upwards && is_better && runs >= count && split < most {
                split += 1;
            } else if upwards && start > 0 && (!turned || (!is_better && split == start + 1)) {
                (upwards, split) = (false, start - 1);
            } else if !upwards && is_better && runs < count && split > 0 {
                split -= 1;
            } else {
                return best;
            }
        }
    }

    fn split(&mut self, block: &Block) -> Option<()> {
        self.out.put(self.split + 1, self.coding.id_bits())?;
        self.first(block.first)?;
        let values = &block.values[usize::from(block.first.is_some())..];
        self.out.put_runs(values, self.split)?;
        if self.split == 0 { Some(()) } else { self.out.put_all(values, self.split) }
    }

    fn pairs(&mut self, block: &Block) -> Option<()> {
        self.out.put(1, self.coding.id_bits() + 1)?;
        self.first(block.first)?;
        let pairs = block.values.as_chunks::<2>().0;
        pairs.iter().try_for_each(|[a, b]| self.out.put_run((a + b) * (a + b + 1) / 2 + b))
    }

    fn plain(&mut self, block: &Block) -> Option<()> {
        self.out.put(self.coding.plain_id(), self.coding.id_bits())?;
        self.first(block.first)?;
        self.out.put_all(&block.values[usize::from(block.first.is_some())..], self.coding.bits)
    }
}

impl Block<'_> {
    /// Returns the sum of all values, without their lowest `split` bits.
    fn high(&self, split: u32) -> u64 {
        // The sum of a block's values fits 32 bits.
        if self.set < 1 << 26 {
            return u64::from(self.values.iter().map(|value| value >> split).sum::<u32>());
        }
        self.values.iter().map(|value| u64::from(value >> split)).sum()
    }
}

/// Returns the number of bits if each pair of values becomes one number; `None` if more than `limit`.
fn pair_bits(block: &Block, limit: u64) -> Option<u64> {
    // The greatest value has the highest bit of all. Its pair alone needs more than the limit.
    let least = 1u64 << block.set.checked_ilog2()?;
    if least * (least + 1) / 2 > limit {
        return None;
    }
    let mut bits = 1;
    for [a, b] in block.values.as_chunks::<2>().0 {
        let sum = u64::from(*a) + u64::from(*b);
        bits += sum * (sum + 1) / 2 + u64::from(*b) + 1;
        if bits > limit {
            return None;
        }
    }
    Some(bits)
}
