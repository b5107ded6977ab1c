//! Changes of the extent. Elements outside of the new extent are deleted: growing again shows the fill value.

use super::Dataset;
use crate::chunk::block_store::delete_stored;
use crate::chunk::cache::BlockCache;
use crate::chunk::grid::CopyRun;
use crate::chunk::layout::{Edges, is_partial};
use crate::chunk::range_set::RangeSet;
use crate::{Error, Result};
use bytes::Bytes;
use h5lake_filters::unlocked::{self, without_locks};
use h5lake_ledger::each_key;
use h5lake_records::keys;
use h5lake_records::types::{Dataspace, Layout, UNLIMITED, product};
use std::collections::{BTreeMap, BTreeSet};

/// Chunks that a change of the extent has processed before it was restarted.
#[derive(Default)]
struct Done {
    looked_at: BTreeSet<Vec<u8>>,
    cut: BTreeSet<Vec<u8>>,
    restaged: BTreeSet<Vec<u64>>,
}

/// The dimensions to which a dataset was shrunk: nothing is stored outside of them until something is written.
#[derive(Debug, Default)]
pub(super) struct Pruned {
    /// The epoch of the blocks after the shrink.
    epoch: u64,
    dims: Vec<Option<u64>>,
}

impl Dataset {
    /// Changes the present dimensions. Shrinking deletes the elements outside.
    ///
    /// # Errors
    /// `InvalidArgument` for a layout other than chunked, another rank, or dimensions beyond the maximum ones;
    /// `ReadOnly`.
    pub fn set_extent(&self, dims: &[u64]) -> Result<()> {
        let mut done = Done::default();
        without_locks(|| self.change_extent(dims, &mut done))
    }

    fn change_extent(&self, dims: &[u64], done: &mut Done) -> Result<()> {
        let c = self.container();
        c.check_writable("unable to change the dimensions")?;
        let mut space = self.space.write();
        let new = self.check_extent(&space, dims)?;
        if new == *space {
            return Ok(());
        }
        let old = space.dims().to_vec();
        if c.ledger.is_shared() {
            c.note_resized(&mut c.state(), self.object.id().0, &old, dims);
        }
        if let Layout::Chunked { chunk } = &self.layout {
            self.shrink(chunk, &old, dims, done)?;
        }
        self.put_space(&mut c.state(), &new)?;
        self.shape.set_dims(dims);
        self.restage_edges(&old, dims, &mut done.restaged)?;
        *space = new;
        Ok(())
    }

    /// Deletes the elements outside the new dimensions, if there may be some, and notes that they are gone.
    fn shrink(&self, chunk: &[u64], old: &[u64], new: &[u64], done: &mut Done) -> Result<()> {
        let c = self.container();
        let mut pruned = self.pruned.lock();
        // The epoch of this process does not count blocks that concurrent writers store.
        if c.ledger.is_shared() || pruned.epoch != c.blocks.lock().epoch() {
            *pruned = Pruned::default();
        }
        let mut present = old.to_vec();
        present
            .iter_mut()
            .zip(&pruned.dims)
            .for_each(|(n, bound)| *n = bound.map_or(*n, |bound| bound.min(*n)));
        if present.iter().zip(new).all(|(n, new)| n <= new) {
            return Ok(());
        }
        self.prune(chunk, &present, new, done)?;
        pruned.dims.resize(new.len(), None);
        for (bound, (n, new)) in pruned.dims.iter_mut().zip(present.iter().zip(new)) {
            if n > new {
                *bound = Some(*new);
            }
        }
        pruned.epoch = c.blocks.lock().epoch();
        Ok(())
    }

    /// Stores chunks anew that became whole or partial, if that determines their filters.
    fn restage_edges(&self, old: &[u64], new: &[u64], done: &mut BTreeSet<Vec<u64>>) -> Result<()> {
        let Some(Edges { chunk, .. }) = &self.shape.edges else { return Ok(()) };
        let c = self.container();
        let mut waiting = Ok(());
        for coords in self.written()? {
            if is_partial(&coords, chunk, old) == is_partial(&coords, chunk, new) || done.contains(&coords) {
                continue;
            }
            match c.blocks.lock().restage(&c.ledger, &self.key(&coords), &self.shape) {
                Err(e) if unlocked::is_waiting() => waiting = Err(e),
                failed @ Err(_) => return failed,
                Ok(()) if self.needs_codec() => _ = done.insert(coords),
                Ok(()) => (),
            }
        }
        waiting
    }

    /// Gives a virtual dataset the dimensions that follow from its sources. They are stored if the container is open
    /// for writing; otherwise they are visible until it is closed.
    ///
    /// # Errors
    /// As for [`Self::set_extent`], except `ReadOnly`.
    pub fn follow_sources(&self, dims: &[u64]) -> Result<()> {
        let mut space = self.space.write();
        let new = self.check_extent(&space, dims)?;
        if new == *space {
            return Ok(());
        }
        let c = self.container();
        if c.writable() {
            self.put_space(&mut c.state(), &new)?;
        }
        *space = new;
        Ok(())
    }

    fn check_extent(&self, space: &Dataspace, dims: &[u64]) -> Result<Dataspace> {
        self.check_there()?;
        let Dataspace::Simple { dims: old, max } = space else {
            return Err(Error::invalid("dataspace of the dataset has no dimensions to change"));
        };
        if dims.len() != old.len() {
            return Err(Error::invalid(format!(
                "{} dimensions given, the dataset has {}",
                dims.len(),
                old.len()
            )));
        }
        if matches!(self.layout, Layout::Compact | Layout::Contiguous) {
            return Err(Error::invalid("dataset must be chunked to change its dimensions"));
        }
        for (d, m) in dims.iter().zip(max) {
            if *m != UNLIMITED && d > m {
                return Err(Error::invalid(format!(
                    "dimension cannot exceed the existing maximal size ({d} > {m})"
                )));
            }
        }
        product(dims)?
            .checked_mul(self.datatype.size)
            .ok_or_else(|| Error::range("the dataset gets too large"))?;
        Ok(Dataspace::Simple { dims: dims.to_vec(), max: max.clone() })
    }

    /// Returns a key before all chunks that shrinking may touch: if only the first dimension shrinks, these are the
    /// last ones. Returns `None` if any chunk may be touched.
    fn before_cut(&self, chunk: &[u64], old: &[u64], new: &[u64]) -> Option<Vec<u8>> {
        let is_first_alone = new[1..].iter().zip(&old[1..]).all(|(n, o)| n >= o);
        let before = (new[0] / chunk[0]).checked_sub(1).filter(|_| is_first_alone)?;
        let mut key = self.key(&[before]);
        // The key is after all keys with this first coordinate.
        key.extend(std::iter::repeat_n(0xff, 8 * chunk.len()));
        Some(key)
    }

    /// Deletes chunks outside the new dimensions, and clears the outside of truncated ones. Chunks that cannot be read
    /// are detected before anything changes.
    fn prune(&self, chunk: &[u64], old: &[u64], new: &[u64], done: &mut Done) -> Result<()> {
        let c = self.container();
        let mut blocks = c.blocks.lock();
        let prefix = self.prefix();
        let after = self.before_cut(chunk, old, new);
        let (mut outside, mut cut) = (BTreeSet::new(), BTreeMap::new());
        let mut sort = |key: &[u8]| {
            let coords = keys::coords(key);
            if keys::tail(key).len() != 8 * chunk.len() {
                return Err(Error::corrupt("a chunk's key has another rank than its dataset"));
            }
            let first = |d: usize| coords[d].saturating_mul(chunk[d]);
            if (0..chunk.len()).any(|d| first(d) >= new[d]) {
                outside.insert(key.to_vec());
                return Ok(());
            }
            // The chunk is truncated if it had elements that are no longer inside.
            let inside = |dims: &[u64], d: usize| chunk[d].min(dims[d].saturating_sub(first(d)));
            if (0..chunk.len()).any(|d| inside(new, d) < inside(old, d)) && !done.cut.contains(key) {
                cut.insert(key.to_vec(), Cut::of(chunk, (0..chunk.len()).map(|d| inside(new, d)).collect()));
            }
            Ok(())
        };
        blocks.dirty_between(&prefix, after.as_deref(), None).try_for_each(|key| sort(key))?;
        each_key::<Error>(&c.ledger, &prefix, after.map(Bytes::from), sort)?;
        let (outside, cut): (Vec<_>, Vec<_>) = (outside.into_iter().collect(), cut.into_iter().collect());
        self.look_at(&mut blocks, &cut, &mut done.looked_at)?;
        c.ledger.prepare_to_free(&outside)?;
        self.cut(&mut blocks, chunk, cut, &mut done.cut)?;
        for key in outside {
            let value = c.ledger.get(&key)?;
            blocks.supersede(&key);
            // The whole chunk counts as written with fill values, even if it grows again before the commit.
            blocks.set_touched(&key, RangeSet::default());
            blocks.touch(&key, std::iter::once(0..self.shape.len));
            value.map_or(Ok(()), |value| delete_stored(&c.ledger, &key, value))?;
        }
        Ok(())
    }

    /// Reads the parts of chunks that are needed to truncate them.
    fn look_at(
        &self,
        blocks: &mut BlockCache,
        cut: &[(Vec<u8>, Cut)],
        looked_at: &mut BTreeSet<Vec<u8>>,
    ) -> Result<()> {
        let ledger = &self.container().ledger;
        let mut waiting = Ok(());
        for (key, how) in cut {
            if looked_at.contains(key) {
                continue;
            }
            let trims_unfiltered = matches!(how, Cut::Trim { .. }) && self.shape.filters.is_empty();
            let read = match trims_unfiltered {
                true => ledger.get(key).map(drop).map_err(Error::from),
                false => blocks.load(ledger, key, &self.shape),
            };
            match read {
                Err(e) if unlocked::is_waiting() => waiting = Err(e),
                Err(e) => return Err(e),
                Ok(()) if self.needs_codec() => _ = looked_at.insert(key.clone()),
                Ok(()) => (),
            }
        }
        waiting
    }

    fn cut(
        &self,
        blocks: &mut BlockCache,
        chunk: &[u64],
        cut: Vec<(Vec<u8>, Cut)>,
        done: &mut BTreeSet<Vec<u8>>,
    ) -> Result<()> {
        let (ledger, size) = (&self.container().ledger, self.datatype.size as usize);
        let mut waiting = Ok(());
        for (key, how) in cut {
            let cut = match how {
                Cut::Trim { elements } => blocks.trim(ledger, &key, &self.shape, elements as usize * size),
                Cut::Refill { inside } => {
                    blocks.refill(ledger, &key, &self.shape, &outside(chunk, &inside, size))
                }
            };
            match cut {
                Err(e) if unlocked::is_waiting() => waiting = Err(e),
                failed @ Err(_) => return failed,
                Ok(()) if self.needs_codec() => _ = done.insert(key),
                Ok(()) => (),
            }
        }
        waiting
    }
}

/// The truncation of a chunk.
enum Cut {
    /// This many elements at its beginning stay.
    Trim { elements: u64 },
    /// A box at its origin stays.
    Refill { inside: Vec<u64> },
}

impl Cut {
    /// Returns the truncation of a chunk with the retained extent `is`. The bytes outside may be undefined if chunks were written directly,
    /// or are those of a native file: all of the outside becomes fill (`H5D__chunk_prune_fill`).
    fn of(chunk: &[u64], is: Vec<u64>) -> Self {
        match is[1..] == chunk[1..] {
            true => Self::Trim { elements: is[0] * chunk[1..].iter().product::<u64>() },
            false => Self::Refill { inside: is },
        }
    }
}

/// Returns the bytes of a chunk outside the box `inside` at its origin.
pub(crate) fn outside(chunk: &[u64], inside: &[u64], size: usize) -> Vec<CopyRun> {
    let mut runs = Vec::new();
    collect(chunk, inside, 0, size, &mut runs);
    runs
}

fn collect(chunk: &[u64], inside: &[u64], at: usize, size: usize, out: &mut Vec<CopyRun>) {
    let (Some((&n, chunk)), Some((&keep, inside))) = (chunk.split_first(), inside.split_first()) else {
        return;
    };
    let step = chunk.iter().product::<u64>() as usize * size;
    if !chunk.is_empty() {
        for i in 0..keep {
            collect(chunk, inside, at + i as usize * step, size, out);
        }
    }
    if keep < n {
        out.push(CopyRun { block: at + keep as usize * step, buffer: 0, len: (n - keep) as usize * step });
    }
}
