//! Merges fragments, so that a block never has many.

use std::ops::Range;

use h5lake_ledger::Ledger;

use super::{Fragments, MAX_FRAGMENTS, MERGED_FRAGMENTS};
use crate::Result;
use crate::chunk::layout::BlockLayout;
use h5lake_records::memory::zeros;
use h5lake_records::{Fragment, FragmentSource};

impl Fragments {
    /// Joins adjacent inline fragments if the first one has fewer bytes than `settled`.
    pub(super) fn join_inline(&mut self, settled: usize) {
        let mut out: Vec<Fragment> = Vec::with_capacity(self.list.len());
        for p in self.list.drain(..) {
            if let Some(last) = out.last_mut()
                && last.end() == p.offset
                && last.len < settled
                && let (FragmentSource::Inline(a), FragmentSource::Inline(b)) = (&last.source, &p.source)
            {
                let joined = [a.as_ref(), b.as_ref()].concat();
                last.len = joined.len();
                last.source = FragmentSource::Inline(joined.into());
                continue;
            }
            out.push(p);
        }
        self.list = out;
    }

    /// Merges the many small fragments of a block that is stored inline into one.
    pub(super) fn join_scattered(&mut self, ledger: &Ledger, shape: &BlockLayout) -> Result<()> {
        if self.list.len() <= MAX_FRAGMENTS || shape.len > shape.inline || self.has_lost() {
            return Ok(());
        }
        let mut all = vec![0; shape.len];
        self.read(ledger, shape, 0, &mut all)?;
        self.list = vec![Fragment { offset: 0, len: all.len(), source: FragmentSource::Inline(all.into()) }];
        Ok(())
    }

    /// Stores a small block inline as a whole once small writes have filled it, so that reading the block needs no
    /// payload.
    pub(super) fn join_filled(&mut self, ledger: &Ledger, shape: &BlockLayout) -> Result<()> {
        let is_filled = self.stored() == shape.len as u64;
        let is_small = shape.len <= shape.inline && ledger.takes_inline(shape.len);
        let is_moved = || self.extents().iter().filter(|extent| !extent.is_in_source()).count() > 1;
        if !is_filled || !is_small || self.has_lost() || !is_moved() {
            return Ok(());
        }
        let all = self.load(ledger, shape)?;
        self.list = vec![Fragment { offset: 0, len: all.len(), source: FragmentSource::Inline(all.into()) }];
        Ok(())
    }

    /// Merges the window of adjacent fragments that spans the fewest bytes; returns false if each window has lost
    /// bytes.
    pub(super) fn merge_cheapest(&mut self, ledger: &Ledger, shape: &BlockLayout) -> Result<bool> {
        let span = |w: &[Fragment]| w[w.len() - 1].end() - w[0].offset;
        let windows = self.list.windows(MERGED_FRAGMENTS.min(self.list.len())).enumerate();
        let sound = windows.filter(|(_, w)| !w.iter().any(Fragment::is_lost));
        let Some((at, _)) = sound.min_by_key(|(_, w)| span(w)) else { return Ok(false) };
        let window = &self.list[at..at + MERGED_FRAGMENTS.min(self.list.len() - at)];
        let (from, to) = (window[0].offset, window[window.len() - 1].end());
        self.rewrite(ledger, shape, from..to)?;
        Ok(true)
    }

    fn rewrite(&mut self, ledger: &Ledger, shape: &BlockLayout, r: Range<usize>) -> Result<()> {
        let mut data = zeros(r.len())?;
        self.read(ledger, shape, r.start, &mut data)?;
        self.insert_written(r.start, r.len(), ledger.write_payload(&data)?);
        Ok(())
    }

    /// Rewrites the block if most bytes of its extents are no longer used.
    pub(super) fn drop_waste(&mut self, ledger: &Ledger, shape: &BlockLayout) -> Result<()> {
        let (Some(first), Some(last)) = (self.list.first(), self.list.last()) else { return Ok(()) };
        let (from, to) = (first.offset, last.end());
        // Allows twice the block, or the waste of a few small writes to a big block.
        let bound = 2 * (to - from) as u64 + (64 << 10);
        let length = |p: &Fragment| match &p.source {
            FragmentSource::Inline(_) | FragmentSource::Lost => 0,
            // An extent in a source takes no space in the container.
            FragmentSource::Extent { extent, .. } if extent.is_in_source() => 0,
            FragmentSource::Extent { extent, .. } => extent.len(),
        };
        let at_most: u64 = self.list.iter().map(length).sum();
        if at_most <= bound || self.has_lost() || self.own_bytes() <= bound {
            return Ok(());
        }
        self.rewrite(ledger, shape, from..to)
    }
}
