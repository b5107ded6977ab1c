//! The default block sizes, by the rules of c-blosc2 and its filter, so that our chunks have the same.

use super::encode::Parameters;
use crate::blosc::compression::whole_elements;

/// Maximum and minimum bytes of a block that is split into streams.
const MAX_SPLIT: usize = 4 << 20;
const MIN_SPLIT: usize = 32 << 10;

/// Returns the bytes of a block of a chunk of `len` (`blosc_stune_next_blocksize`).
pub(super) fn automatic(parameters: &Parameters, size: usize, len: usize) -> usize {
    let mut block = parameters.codec.usual_block(parameters.level, len);
    if parameters.level > 0 && parameters.splits(size, block) {
        let stream: usize = match parameters.level {
            1..=3 => 32 << 10,
            4..=6 => 64 << 10,
            7 => 128 << 10,
            8 => 256 << 10,
            _ => 512 << 10,
        };
        block = (stream * size).clamp(MIN_SPLIT, MAX_SPLIT);
    }
    whole_elements(block, size, len)
}

/// Returns the bytes of a block of a chunk of `len`: the given bytes in whole elements, or the default if `given` is 0. Returns
/// 1 if the chunk is shorter than an element.
pub(super) fn plain(parameters: &Parameters, size: usize, len: usize, given: usize) -> usize {
    match given {
        _ if len < size => 1,
        0 => automatic(parameters, size, len),
        given => whole_elements(given, size, len),
    }
}

/// Returns the dimensions of a block of up to `elements` in a chunk of these dimensions (`compute_b2nd_block_shape`):
/// each is 2 and is doubled, the last one first, as long as the block has at most `elements`.
pub(super) fn shape(elements: usize, chunk: &[usize]) -> Vec<usize> {
    let mut block: Vec<_> = chunk.iter().map(|dim| if *dim == 1 { 1 } else { 2 }).collect();
    let mut now: usize = block.iter().product();
    while now < elements {
        let before = now;
        for (block, chunk) in block.iter_mut().zip(chunk).rev() {
            let more = if *block * 2 <= *chunk { *block * 2 } else { *chunk };
            let larger = now / *block * more;
            if larger <= elements {
                (*block, now) = (more, larger);
            }
        }
        if now == before {
            break;
        }
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_grow_from_the_last_dimension_on() {
        assert_eq!(shape(91, &[7, 13]), [7, 13]);
        assert_eq!(shape(64, &[100, 100]), [8, 8]);
        assert_eq!(shape(128, &[100, 100]), [8, 16]);
        assert_eq!(shape(65536, &[512, 512]), [256, 256]);
        assert_eq!(shape(0, &[5, 1, 9]), [2, 1, 2]);
        assert_eq!(shape(1000, &[1, 3, 70]), [1, 3, 70]);
    }
}
