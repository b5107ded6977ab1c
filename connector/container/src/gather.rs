//! Copying runs of a block to where the caller wants them.

use crate::grid::CopyRun;

/// Copies runs from `block`, which begins `base` bytes into the block that the runs count in.
pub(crate) fn gather(runs: &[CopyRun], block: &[u8], base: usize, out: &mut [u8]) {
    let rest = match runs.first().map_or(0, |r| r.len) {
        // A column has one element a run: a copy of a length that is known here is one load and one store.
        1 => gather_equal::<1>(runs, block, base, out),
        2 => gather_equal::<2>(runs, block, base, out),
        4 => gather_equal::<4>(runs, block, base, out),
        8 => gather_equal::<8>(runs, block, base, out),
        16 => gather_equal::<16>(runs, block, base, out),
        _ => runs,
    };
    for r in rest {
        let from = r.block - base;
        out[r.buffer..r.buffer + r.len].copy_from_slice(&block[from..from + r.len]);
    }
}

/// Copies runs of `N` bytes; gives back what begins with one of another length.
fn gather_equal<'a, const N: usize>(
    runs: &'a [CopyRun],
    block: &[u8],
    base: usize,
    out: &mut [u8],
) -> &'a [CopyRun] {
    let equal = runs.iter().take_while(|r| r.len == N).count();
    let (now, rest) = runs.split_at(equal);
    for r in now {
        let from = r.block - base;
        out[r.buffer..r.buffer + N].copy_from_slice(&block[from..from + N]);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_byte_comes_from_its_place(
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
        }
    }
}
