//! The filters of a Blosc2 chunk, which are applied to a block before it is compressed.

use crate::bit_matrix::{bits_of, elements_of};
use crate::shuffle::{elements_of_planes, planes_of};

/// Number of filters of a chunk.
const SLOTS: usize = 6;
/// Number of elements in a byte of a row of bits.
const ROW: usize = 8;
/// The first version of the chunk's format that shuffles the bits of any number of elements.
const ANY_COUNT_VERSION: u8 = 3;

/// One filter, by its number in c-blosc2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    None,
    /// Arranges by bytes of elements.
    Shuffle,
    /// Arranges by bits of elements.
    Bitshuffle,
    /// Stores the exclusive or with the first block, and in the first block with the previous element.
    Delta,
    /// Removes the last bits of floats; nothing is to be undone.
    TruncatedPrecision,
}

impl Stage {
    /// Returns the stage by its number; `None` for a filter that was added to c-blosc2.
    pub(super) fn of_number(number: u8) -> Option<Self> {
        let all = [Self::None, Self::Shuffle, Self::Bitshuffle, Self::Delta, Self::TruncatedPrecision];
        all.get(usize::from(number)).copied()
    }

    pub(super) fn number(self) -> u8 {
        self as u8
    }

    /// Returns how many bytes of a block of `len` a stage rearranges.
    fn moved(self, len: usize, size: usize, version: u8) -> usize {
        let elements = len / size;
        match self {
            Self::Shuffle if size > 1 => elements * size,
            // As in the first version of Blosc.
            Self::Bitshuffle if version < ANY_COUNT_VERSION && !elements.is_multiple_of(ROW) => 0,
            Self::Bitshuffle => elements / ROW * ROW * size,
            _ => 0,
        }
    }

    /// Returns whether the stage rearranges bytes.
    fn is_move(self, size: usize) -> bool {
        self == Self::Bitshuffle || self == Self::Shuffle && size > 1
    }

    /// Applies the stage to a block. `first` is the chunk's first block, and `n` the block's number.
    pub(super) fn apply(self, block: &[u8], size: usize, n: usize, first: &[u8], out: &mut [u8]) {
        if self == Self::Delta {
            out.copy_from_slice(block);
            let (width, end) = deltas(block.len(), size);
            let before = if n == 0 { &block[..end.saturating_sub(width)] } else { &first[..end] };
            let start = if n == 0 { width.min(end) } else { 0 };
            xor(&mut out[start..end], before);
            return;
        }
        let (elements, rest) = block.split_at(self.moved(block.len(), size, u8::MAX));
        let (arranged, left) = out.split_at_mut(elements.len());
        left.copy_from_slice(rest);
        match self {
            _ if elements.is_empty() => {}
            Self::Bitshuffle => bits_of(elements, size, arranged),
            _ => planes_of(elements, size, arranged),
        }
    }

    /// Undoes the rearrangement of bytes.
    fn undo(self, arranged: &[u8], size: usize, version: u8, out: &mut [u8]) {
        let (arranged, rest) = arranged.split_at(self.moved(arranged.len(), size, version));
        let (elements, left) = out.split_at_mut(arranged.len());
        left.copy_from_slice(rest);
        match self {
            _ if arranged.is_empty() => {}
            Self::Bitshuffle => elements_of(arranged, size, elements),
            _ => elements_of_planes(arranged, size, elements),
        }
    }
}

/// Returns the bytes of a number for delta, and the end of the last whole number.
fn deltas(len: usize, size: usize) -> (usize, usize) {
    let width = match size {
        1 | 2 | 4 | 8 => size,
        size if size.is_multiple_of(8) => 8,
        _ => 1,
    };
    (width, len / width * width)
}

fn xor(out: &mut [u8], other: &[u8]) {
    for (out, other) in out.iter_mut().zip(other) {
        *out ^= other;
    }
}

/// The filters of one chunk, in the order in which they were applied.
#[derive(Debug, Default)]
pub(super) struct Stages {
    /// The stages that rearrange bytes.
    moves: Vec<Stage>,
    has_delta: bool,
    version: u8,
}

impl Stages {
    /// Reads the stages from the numbers in the header of a chunk, of a format's version.
    ///
    /// # Errors
    /// An unsupported filter, or delta after another filter.
    pub(super) fn read(numbers: [u8; SLOTS], size: usize, version: u8) -> Result<Self, String> {
        let mut stages = Self { version, ..Self::default() };
        for number in numbers {
            match Stage::of_number(number).ok_or_else(|| format!("the Blosc2 filter {number}"))? {
                Stage::Delta if !stages.moves.is_empty() || stages.has_delta => {
                    return Err("the Blosc2 filter 3 (delta) behind another one".into());
                }
                Stage::Delta => stages.has_delta = true,
                stage if stage.is_move(size) => stages.moves.push(stage),
                _ => {}
            }
        }
        Ok(stages)
    }

    /// Returns the stages of a header without numbers, by its flags.
    pub(super) fn of_flags(
        is_shuffled: bool,
        is_bitshuffled: bool,
        has_delta: bool,
        size: usize,
        version: u8,
    ) -> Self {
        let moves = match () {
            () if is_bitshuffled => vec![Stage::Bitshuffle],
            () if is_shuffled && size > 1 => vec![Stage::Shuffle],
            () => Vec::new(),
        };
        Self { moves, has_delta, version }
    }

    /// Returns how many buffers, in addition to the result, undoing needs.
    pub(super) fn buffers(&self) -> usize {
        self.moves.len().min(2)
    }

    pub(super) fn has_delta(&self) -> bool {
        self.has_delta
    }

    /// Undoes all rearrangements: from the first buffer, through the second if needed, to `out`.
    pub(super) fn undo_moves(&self, buffers: &mut [&mut [u8]], size: usize, out: &mut [u8]) {
        for (left, stage) in self.moves.iter().enumerate().rev() {
            match buffers {
                [from, ..] if left == 0 => stage.undo(from, size, self.version, out),
                [from, to] => {
                    stage.undo(from, size, self.version, to);
                    buffers.swap(0, 1);
                }
                _ => {}
            }
        }
    }

    /// Undoes delta in block 0.
    pub(super) fn undo_first_delta(block: &mut [u8], size: usize) {
        let (width, end) = deltas(block.len(), size);
        for at in width..end {
            block[at] ^= block[at - width];
        }
    }

    /// Undoes delta in any other block.
    pub(super) fn undo_delta(block: &mut [u8], size: usize, first: &[u8]) {
        let (_, end) = deltas(block.len(), size);
        xor(&mut block[..end], first);
    }
}
