//! Writes of bytes to a block: inline while the block stays small, otherwise to extents, which grow where they can.

use bytes::Bytes;
use h5lake_ledger::{Extent, Ledger};

use super::{Fragments, MAX_FRAGMENTS, read_fragment};
use crate::chunk::layout::BlockLayout;
use crate::{Error, Result};
use h5lake_records::memory::zeros;
use h5lake_records::{ExtentSet, Fragment, FragmentSource};

/// An inline fragment of at least this many bytes, and of at least this share of the inline limit, is not extended by
/// later writes. A log record stores only the changed fragments, so it then stores the last fragment of a block that
/// grows in small steps, and not all of them.
const MIN_SETTLED_BYTES: usize = 256;
const SETTLED_SHARE: usize = 16;
/// Number of inline bytes from which on they are moved to an extent, if a block grows in small steps. They are moved in
/// multiples of the allocation unit, so that the extent can grow.
const MIN_MOVED_BYTES: usize = 512;
const MOVED_MULTIPLE: usize = 32;
/// Maximum number of inline bytes of a block that grows in small steps, if each record contains the whole value of the
/// block.
const MAX_REPEATED_INLINE_BYTES: usize = 1 << 10;
/// A fragment is a sliver if it has at most this share of the bytes written next to it, and of its extent.
const SLIVER_SHARE: u64 = 16;

/// Returns whether a fragment is small compared with `bytes` and with its extent.
fn is_sliver_of(fragment: &Fragment, bytes: usize) -> bool {
    let Some(extent) = fragment.extent() else { return false };
    let is_little = |of: u64| of / SLIVER_SHARE >= fragment.len as u64;
    is_little(bytes as u64) && is_little(extent.len()) && !extent.is_in_source()
}

fn share_an_extent(one: &Fragment, other: &Fragment) -> bool {
    one.extent().is_some_and(|extent| other.extent() == Some(extent))
}

/// Returns the number of inline bytes from which on small writes move the end of a block to an extent. A record of an
/// exclusive writer in a store contains the whole value, because stores have no delta records. Concurrent writers
/// merge inline bytes without a request, so their small blocks stay inline.
fn inline_limit(ledger: &Ledger, shape: &BlockLayout) -> usize {
    match ledger.is_in_store() && !ledger.is_shared() {
        true => shape.inline.min(MAX_REPEATED_INLINE_BYTES),
        false => shape.inline,
    }
}

impl Fragments {
    /// Writes bytes at `offset`: inline while the block stays small, otherwise to an extent.
    pub(crate) fn put(
        &mut self,
        ledger: &Ledger,
        shape: &BlockLayout,
        offset: usize,
        data: &[u8],
    ) -> Result<()> {
        self.cut(offset..offset + data.len());
        let most = inline_limit(ledger, shape);
        if data.len() * 4 <= most && self.inline_bytes() + data.len() > most {
            self.move_tail(ledger, shape, offset)?;
        }
        if self.inline_bytes() + data.len() <= shape.inline && ledger.takes_inline(data.len()) {
            let source = FragmentSource::Inline(Bytes::copy_from_slice(data));
            self.insert(Fragment { offset, len: data.len(), source });
            self.join_inline(MIN_SETTLED_BYTES.max(shape.inline / SETTLED_SHARE));
            self.join_scattered(ledger, shape)?;
            return self.join_filled(ledger, shape);
        }
        match self.with_slivers(ledger, offset, data)? {
            Some((from, all)) => {
                self.cut(from..from + all.len());
                self.put_far(ledger, shape, from, &all)
            }
            None => self.put_far(ledger, shape, offset, data),
        }
    }

    /// Writes bytes at `offset` to an extent: to one that ends there and can grow, or to a new one.
    fn put_far(&mut self, ledger: &Ledger, shape: &BlockLayout, offset: usize, data: &[u8]) -> Result<()> {
        if self.go_on(ledger, offset, data)? {
            return self.drop_waste(ledger, shape);
        }
        let extent = match self.grows(shape, offset, data.len()) {
            true => ledger.write_to_grow(data, (shape.len - offset) as u64)?,
            false => ledger.write_payload(data)?,
        };
        self.insert_written(offset, data.len(), extent);
        while self.list.len() > MAX_FRAGMENTS {
            if !self.merge_cheapest(ledger, shape)? {
                break;
            }
        }
        self.drop_waste(ledger, shape)
    }

    /// Returns the bytes to write together with the adjacent slivers of long extents, because each sliver would retain
    /// its whole extent. Interleaving writes of several processes leave such slivers. Returns `None` in a store, where
    /// reading a sliver would cost a request.
    fn with_slivers(&self, ledger: &Ledger, offset: usize, data: &[u8]) -> Result<Option<(usize, Vec<u8>)>> {
        if ledger.is_in_store() {
            return Ok(None);
        }
        let end = offset + data.len();
        let is_beside = |p: &&Fragment| p.end() == offset || p.offset == end;
        let is_kept =
            |p: &Fragment| self.list.iter().any(|other| !is_beside(&other) && share_an_extent(other, p));
        let beside = self.list.iter().filter(is_beside);
        let slivers: Vec<_> = beside.filter(|p| is_sliver_of(p, data.len()) && !is_kept(p)).collect();
        if slivers.is_empty() {
            return Ok(None);
        }
        let from = slivers.iter().map(|p| p.offset).fold(offset, usize::min);
        let to = slivers.iter().map(|p| p.end()).fold(end, usize::max);
        let mut all = zeros(to - from)?;
        for p in slivers {
            read_fragment(ledger, p, 0, &mut all[p.offset - from..p.end() - from])?;
        }
        all[offset - from..end - from].copy_from_slice(data);
        Ok(Some((from, all)))
    }

    /// Moves the inline bytes before `offset`, the present end of the block, to an extent. Later small writes then
    /// continue inline, and do not need an extent each.
    fn move_tail(&mut self, ledger: &Ledger, shape: &BlockLayout, offset: usize) -> Result<()> {
        let (mut begin, mut first) = (offset, self.list.len());
        for p in self.list.iter().rev() {
            if p.end() != begin || !matches!(p.source, FragmentSource::Inline(_)) {
                break;
            }
            (begin, first) = (p.offset, first - 1);
        }
        let len = (offset - begin) / MOVED_MULTIPLE * MOVED_MULTIPLE;
        if len < MIN_MOVED_BYTES {
            return Ok(());
        }
        let mut data = zeros(len)?;
        self.read(ledger, shape, begin, &mut data)?;
        let goes_on = self.go_on(ledger, begin, &data)?;
        let extent = match goes_on {
            true => None,
            false if self.grows_from(shape, begin) => {
                Some(ledger.write_to_grow(&data, (shape.len - begin) as u64)?)
            }
            false => Some(ledger.write_payload(&data)?),
        };
        let rest = self.list.split_off(first);
        if let Some(extent) = extent {
            self.insert_written(begin, len, extent);
        }
        let left = begin + len..offset;
        let parts = rest.iter().filter(|p| p.end() > left.start);
        self.list.extend(parts.map(|p| p.part(p.offset.max(left.start)..p.end())));
        self.drop_waste(ledger, shape)
    }

    /// Returns whether the next write is likely to continue a write at `offset`: the block is being filled from its
    /// beginning, and is not the only block of a short dataset.
    fn grows(&self, shape: &BlockLayout, offset: usize, len: usize) -> bool {
        offset + len < shape.len
            && self.grows_from(shape, offset)
            && self.list.last().is_none_or(|p| p.end() <= offset)
    }

    fn grows_from(&self, shape: &BlockLayout, offset: usize) -> bool {
        offset < shape.len && ((offset == 0 && self.is_later) || self.list.iter().any(|p| p.end() == offset))
    }

    /// Appends `data` to the fragment that ends at `offset`, if its extent ends there too and can grow. Returns whether
    /// it did.
    fn go_on(&mut self, ledger: &Ledger, offset: usize, data: &[u8]) -> Result<bool> {
        let before = self.list.partition_point(|p| p.end() < offset);
        let Some(piece) = self.list.get(before).filter(|p| p.end() == offset) else { return Ok(false) };
        let FragmentSource::Extent { extent, skip, .. } = &piece.source else { return Ok(false) };
        if skip + piece.len as u64 != extent.len() {
            return Ok(false);
        }
        let was = extent.clone();
        let Some(new) = ledger.grow_payload(&was, data)? else { return Ok(false) };
        self.list[before].len += data.len();
        self.exchange(&was, &new);
        self.grown.push(was);
        self.made.push(new);
        Ok(true)
    }

    /// Replaces one extent by another.
    fn exchange(&mut self, was: &Extent, new: &Extent) {
        let now = new.to_bytes();
        for p in &mut self.list {
            if let FragmentSource::Extent { encoded, extent, .. } = &mut p.source
                && extent == was
            {
                (*encoded, *extent) = (now.clone(), new.clone());
            }
        }
    }

    /// Returns the extents that are no longer needed after a change, among the previous extents and those that the
    /// change wrote.
    pub(crate) fn unneeded<'a>(&'a self, before: &'a [Extent]) -> impl Iterator<Item = &'a Extent> {
        let all = before.iter().chain(&self.made).filter(|e| !self.grown.contains(e));
        let needed = ExtentSet::of(self.used());
        all.filter(move |e| !needed.contains(e))
    }

    /// Returns the extents that were written for a failed change and that are to be freed. Returns none if an extent in
    /// `before` grew, because the new extents may be parts of the grown one.
    pub(crate) fn given_up(&self, before: &[Extent]) -> impl Iterator<Item = &Extent> {
        let has_grown = self.grown.iter().any(|extent| before.contains(extent));
        self.made.iter().filter(move |extent| !has_grown && !self.grown.contains(extent))
    }

    /// Replaces the whole block by an extent of `len` bytes at `offset`.
    pub(crate) fn put_written(&mut self, offset: usize, len: usize, extent: Extent) {
        (self.list, self.encoded) = (vec![Fragment::of(offset, len, extent)], None);
        self.statistics = None;
    }

    /// Replaces the whole block by the output of the filter pipeline.
    pub(crate) fn put_encoded(
        &mut self,
        ledger: &Ledger,
        shape: &BlockLayout,
        mask: u32,
        data: &[u8],
    ) -> Result<()> {
        self.list.clear();
        self.statistics = None;
        if data.len() <= shape.inline && ledger.takes_inline(data.len()) {
            let source = FragmentSource::Inline(Bytes::copy_from_slice(data));
            self.list.push(Fragment { offset: 0, len: data.len(), source });
        } else {
            self.insert_written(0, data.len(), ledger.write_payload(data)?);
        }
        self.encoded = Some(mask);
        Ok(())
    }

    /// Lets `moved` relocate each extent, and returns the number of relocated bytes. `moved` gets an extent and the
    /// maximum number of new extents, and returns the new extents in order, or none if the extent stays.
    pub(crate) fn relocate(
        &mut self,
        mut moved: impl FnMut(&Extent, usize) -> Result<Vec<Extent>>,
    ) -> Result<u64> {
        let mut bytes = 0;
        for was in self.extents() {
            // Encoded bytes must stay one fragment, and no block may get so many fragments that the next write would
            // merge some.
            let most = if self.encoded.is_some() { 1 } else { MAX_FRAGMENTS.saturating_sub(self.list.len()) };
            let new = moved(&was, most)?;
            match &new[..] {
                [] => continue,
                [new] => self.exchange(&was, new),
                parts => self.part(&was, parts),
            }
            bytes += was.len();
        }
        Ok(bytes)
    }

    /// Replaces one extent by several consecutive ones.
    fn part(&mut self, was: &Extent, parts: &[Extent]) {
        for p in std::mem::take(&mut self.list) {
            let skip = match &p.source {
                FragmentSource::Extent { extent, skip, .. } if extent == was => *skip,
                _ => {
                    self.list.push(p);
                    continue;
                }
            };
            let (mut at, end) = (0, skip + p.len as u64);
            for part in parts {
                let (from, to) = (skip.max(at), end.min(at + part.len()));
                if from < to {
                    let offset = p.offset + (from - skip) as usize;
                    let mut piece = Fragment::of(offset, (to - from) as usize, part.clone());
                    piece.skip(from - at);
                    self.list.push(piece);
                }
                at += part.len();
            }
        }
    }

    /// Replaces only the bytes at `offset` by an extent.
    pub(crate) fn put_extent(&mut self, offset: usize, extent: Extent) -> Result<()> {
        let len =
            usize::try_from(extent.len()).map_err(|_| Error::invalid("an extent is longer than a block"))?;
        self.statistics = None;
        self.insert(Fragment::of(offset, len, extent));
        Ok(())
    }
}
