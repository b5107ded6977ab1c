//! Free space in an object that was not put yet, left by payloads that are not needed any more.

/// The maximum number of holes that are tracked in one object. The shortest hole is dropped.
const MAX_HOLES: usize = 64;

/// The unused ranges of an object that is being filled.
#[derive(Debug, Default)]
pub(crate) struct PackGaps(Vec<(usize, usize)>);

impl PackGaps {
    /// Adds a hole, and joins it with adjacent holes.
    pub(crate) fn give(&mut self, offset: usize, length: usize) {
        let (mut offset, mut length) = (offset, length);
        self.0.retain(|&(at, n)| {
            let touches = at + n == offset || offset + length == at;
            if touches {
                (offset, length) = (offset.min(at), length + n);
            }
            !touches
        });
        self.0.push((offset, length));
        if self.0.len() > MAX_HOLES
            && let Some(shortest) = (0..self.0.len()).min_by_key(|&n| self.0[n].1)
        {
            self.0.swap_remove(shortest);
        }
    }

    /// Allocates bytes of a hole. Returns their offset. The remaining part of the hole stays a hole.
    pub(crate) fn take(&mut self, length: usize) -> Option<usize> {
        let fits = (0..self.0.len()).filter(|&n| self.0[n].1 >= length);
        let best = fits.min_by_key(|&n| self.0[n].1)?;
        let (offset, location) = self.0.swap_remove(best);
        if location > length {
            self.0.push((offset + length, location - length));
        }
        Some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn gaps_never_overlap(steps in prop::collection::vec((any::<bool>(), 1usize..40), 1..200)) {
            let (mut holes, mut used, mut end) = (PackGaps::default(), Vec::<(usize, usize)>::new(), 0);
            for (take, n) in steps {
                if take || used.is_empty() {
                    let at = holes.take(n).unwrap_or_else(|| {
                        end += n;
                        end - n
                    });
                    prop_assert!(at + n <= end);
                    prop_assert!(used.iter().all(|&(from, len)| at + n <= from || from + len <= at));
                    used.push((at, n));
                } else {
                    let (at, len) = used.swap_remove(n % used.len());
                    holes.give(at, len);
                }
                prop_assert!(holes.0.len() <= MAX_HOLES);
            }
        }
    }

    #[test]
    fn adjacent_gaps_merge() {
        let mut holes = PackGaps::default();
        for at in [0, 20, 10] {
            holes.give(at, 10);
        }
        assert_eq!((holes.take(30), holes.take(1)), (Some(0), None));
    }
}
