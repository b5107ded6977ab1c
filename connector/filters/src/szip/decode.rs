//! The decoder. It ends after the requested samples, whatever the input.

use super::bit_stream::BitReader;
use super::{Coding, REMAINDER, SEGMENT};

/// Number of pairs of values that one number may stand for: those with a sum up to 12.
const PAIRS: usize = 91;

/// Decodes whole samples until `out` is full.
pub(super) fn decode(coding: &Coding, data: &[u8], out: &mut [u8]) -> Result<(), String> {
    let mut input = BitReader::new(data);
    let pairs = pairs();
    let mut values = vec![0; coding.block * coding.blocks];
    for part in out.chunks_mut(coding.line * coding.bytes) {
        // The padding of the last line is not needed.
        let is_whole = part.len() == coding.line * coding.bytes;
        let wanted = if is_whole { values.len() } else { part.len() / coding.bytes };
        let mut line = LineDecoder { coding, input: &mut input, pairs: &pairs, values: &mut values, at: 0 };
        while line.at < wanted {
            let only_fills_up = line.at * coding.bytes >= part.len();
            if line.block().is_none() {
                // The last line may end without its padding.
                if only_fills_up {
                    break;
                }
                return Err("damaged data".into());
            }
        }
        if coding.is_predicted {
            undo_differences(&mut values[..part.len() / coding.bytes], coding.max());
        }
        coding.put_samples(&values, part);
    }
    Ok(())
}

/// Returns the pair of values that each number stands for.
fn pairs() -> [[u32; 2]; PAIRS] {
    let mut pairs = [[0; 2]; PAIRS];
    let all = (0..13).flat_map(|sum: u32| (0..=sum).map(move |second| [sum - second, second]));
    pairs.iter_mut().zip(all).for_each(|(pair, values)| *pair = values);
    pairs
}

struct LineDecoder<'a, 'd> {
    coding: &'a Coding,
    input: &'a mut BitReader<'d>,
    pairs: &'a [[u32; 2]; PAIRS],
    values: &'a mut [u32],
    /// Number of values decoded so far.
    at: usize,
}

impl LineDecoder<'_, '_> {
    /// Returns whether the line's first sample comes next.
    fn has_first(&self) -> bool {
        self.coding.is_predicted && self.at == 0
    }

    /// Decodes one block, or several of zeros; returns `None` for damage.
    fn block(&mut self) -> Option<()> {
        match self.input.get(self.coding.id_bits())? {
            0 => match self.input.get(1)? {
                0 => self.zeros(),
                _ => self.paired(),
            },
            id if id == self.coding.plain_id() => {
                for value in &mut self.values[self.at..self.at + self.coding.block] {
                    *value = self.input.get(self.coding.bits)?;
                }
                self.at += self.coding.block;
                Some(())
            }
            id => self.split(id - 1),
        }
    }

    fn first(&mut self) -> Option<usize> {
        if !self.has_first() {
            return Some(0);
        }
        self.values[0] = self.input.get(self.coding.bits)?;
        Some(1)
    }

    fn split(&mut self, split: u32) -> Option<()> {
        let first = self.first()?;
        let values = &mut self.values[self.at + first..self.at + self.coding.block];
        for value in &mut *values {
            *value = self.input.get_run()? << split;
        }
        if split > 0 {
            for value in values {
                *value |= self.input.get(split)?;
            }
        }
        self.at += self.coding.block;
        Some(())
    }

    fn paired(&mut self) -> Option<()> {
        let first = self.first()?;
        let values = &mut self.values[self.at..self.at + self.coding.block];
        for (n, pair) in values.as_chunks_mut().0.iter_mut().enumerate() {
            let known = pair[0];
            *pair = *self.pairs.get(self.input.get_run()? as usize)?;
            if first == 1 && n == 0 {
                pair[0] = known;
            }
        }
        self.at += self.coding.block;
        Some(())
    }

    fn zeros(&mut self) -> Option<()> {
        let first = self.first()?;
        let done = self.at / self.coding.block;
        let left = self.coding.blocks - done;
        let blocks = match self.input.get_run()?.checked_add(1)? {
            REMAINDER => left.min(SEGMENT - done % SEGMENT),
            many @ REMAINDER.. => many as usize - 1,
            few => few as usize,
        };
        if blocks > left {
            return None;
        }
        let end = self.at + blocks * self.coding.block;
        self.values[self.at + first..end].fill(0);
        self.at = end;
        Some(())
    }
}

/// Reverses the differences of the coder: restores the samples.
fn undo_differences(values: &mut [u32], max: u32) {
    let Some((first, rest)) = values.split_first_mut() else { return };
    let (mut sample, middle) = (*first, max / 2 + 1);
    for value in rest {
        let (half, is_less) = (*value / 2 + *value % 2, *value % 2 == 1);
        let mask = if sample & middle == 0 { 0 } else { max };
        sample = match half <= mask ^ sample {
            true if is_less => sample.wrapping_sub(half),
            true => sample.wrapping_add(half),
            false => mask ^ *value,
        };
        *value = sample;
    }
}
