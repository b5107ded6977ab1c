//! Division of a payload over several free runs.

use super::{ALLOC_UNIT, FreeSpace, MAX_RUNS_TRIED};

impl FreeSpace {
    /// Returns the lengths of up to `most` parts into which `length` bytes can be divided, so that each part fits into a
    /// free run that begins before `limit`. All parts but the last are multiples of `unit`. The longest of these runs are
    /// filled. Returns no parts if the runs cannot take all bytes.
    pub(crate) fn parts_before(&self, limit: u64, length: u64, most: usize, unit: u64) -> Vec<u64> {
        let (mut parts, mut left) = (Vec::new(), length);
        for (run, at) in self.runs.by_size().iter().rev().take(MAX_RUNS_TRIED).filter(|(_, at)| *at < limit) {
            let part = (run.min(&(limit - at)).saturating_sub(ALLOC_UNIT) / unit * unit).min(left);
            if left == 0 || part == 0 || parts.len() == most {
                break;
            }
            parts.push(part);
            left -= part;
        }
        if left == 0 { parts } else { Vec::new() }
    }
}
