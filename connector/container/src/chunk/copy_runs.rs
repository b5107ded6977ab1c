//! Copying runs of a block to where the caller wants them, and back.

use crate::chunk::grid::CopyRun;

/// Copies runs from `block`, which begins `base` bytes into the block that the runs count in.
pub(crate) fn gather(runs: &[CopyRun], block: &[u8], base: usize, out: &mut [u8]) {
    each(runs, |r, len| {
        let from = r.block - base;
        out[r.buffer..r.buffer + len].copy_from_slice(&block[from..from + len]);
    });
}

/// Copies runs from the caller's buffer into `block`.
pub(crate) fn scatter(runs: &[CopyRun], buffer: &[u8], block: &mut [u8]) {
    each(runs, |r, len| block[r.block..r.block + len].copy_from_slice(&buffer[r.buffer..r.buffer + len]));
}

/// Calls `copy` with each run and its length. A column has one element a run, and neighbouring columns have one longer run a
/// row: a copy of a length that is known where it is compiled is one load and one store.
#[inline(always)]
fn each(runs: &[CopyRun], mut copy: impl FnMut(&CopyRun, usize)) {
    let mut rest = runs;
    while let Some(first) = rest.first() {
        rest = match first.len {
            1 => equal::<1>(rest, &mut copy),
            2 => equal::<2>(rest, &mut copy),
            4 => equal::<4>(rest, &mut copy),
            8 => equal::<8>(rest, &mut copy),
            16 => equal::<16>(rest, &mut copy),
            len => {
                copy(first, len);
                &rest[1..]
            }
        };
    }
}

/// The runs of `N` bytes; gives back what begins with one of another length.
#[inline(always)]
fn equal<'a, const N: usize>(runs: &'a [CopyRun], copy: &mut impl FnMut(&CopyRun, usize)) -> &'a [CopyRun] {
    let count = runs.iter().take_while(|r| r.len == N).count();
    let (now, rest) = runs.split_at(count);
    now.iter().for_each(|r| copy(r, N));
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
            let mut back = vec![255; base + block.len()];
            scatter(&runs, &out, &mut back);
            for (i, byte) in back.iter().enumerate() {
                let copied = runs.iter().any(|r| (r.block..r.block + r.len).contains(&i));
                prop_assert_eq!(*byte, if copied { block[i - base] } else { 255 });
            }
        }
    }
}
