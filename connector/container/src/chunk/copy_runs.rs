//! Copies runs of a block to the caller's buffer and back.

use crate::chunk::grid::CopyRun;

/// Copies runs from `block`, which begins `base` bytes into the block that the offsets of the runs refer to.
pub(crate) fn gather(runs: &[CopyRun], block: &[u8], base: usize, out: &mut [u8]) {
    for r in runs {
        let from = r.block - base;
        copy(&block[from..from + r.len], &mut out[r.buffer..r.buffer + r.len]);
    }
}

/// Copies runs from the caller's buffer into `block`.
pub(crate) fn scatter(runs: &[CopyRun], buffer: &[u8], block: &mut [u8]) {
    for r in runs {
        copy(&buffer[r.buffer..r.buffer + r.len], &mut block[r.block..r.block + r.len]);
    }
}

/// Copies a run. In a column, a run has one element, and two adjacent columns have runs of two. If the compiler knows
/// the length, a copy is one load and one store.
#[inline(always)]
fn copy(from: &[u8], to: &mut [u8]) {
    match from.len() {
        1 => copy_fixed::<1>(from, to),
        2 => copy_fixed::<2>(from, to),
        4 => copy_fixed::<4>(from, to),
        8 => copy_fixed::<8>(from, to),
        16 => copy_fixed::<16>(from, to),
        _ => to.copy_from_slice(from),
    }
}

#[inline(always)]
fn copy_fixed<const N: usize>(from: &[u8], to: &mut [u8]) {
    if let (Some(from), Some(to)) = (from.first_chunk::<N>(), to.first_chunk_mut::<N>()) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_byte_is_copied_from_its_offset(
            base in 0usize..50,
            lens in prop::collection::vec((0usize..6, prop::sample::select(vec![1usize, 2, 3, 4, 8, 16, 40])), 0..12),
            seed in any::<u64>(),
        ) {
            let block: Vec<u8> = (0..500).map(|i| (i * 7 % 251) as u8).collect();
            let (mut runs, mut at) = (Vec::new(), 0);
            for (times, len) in lens {
                for _ in 0..times {
                    let from = base + (seed as usize).wrapping_mul(runs.len() + 3) % (block.len() - len + 1);
                    runs.push(CopyRun { block: from, buffer: at, len });
                    at += len;
                }
            }
            let mut out = vec![255; at];
            gather(&runs, &block, base, &mut out);
            for r in &runs {
                for i in 0..r.len {
                    prop_assert_eq!(out[r.buffer + i], block[r.block - base + i]);
                }
            }
            let mut back = vec![255; base + block.len()];
            scatter(&runs, &out, &mut back);
            for (i, byte) in back.iter().enumerate() {
                let copied = runs.iter().any(|r| (r.block..r.block + r.len).contains(&i));
                prop_assert_eq!(*byte, if copied { block[i - base] } else { 255 });
            }
        }
    }
}
