//! Bytes that are put into a block: into the map while that stays small, else into extents, which grow where they can.

use bytes::Bytes;
use h5lake_ledger::{Extent, Ledger};

use super::{ExtentSet, Fragments, MAX_FRAGMENTS, Piece, Source};
use crate::chunk::layout::BlockLayout;
use crate::record_conversion::zeros;
use crate::{Error, Result};

/// A piece in the map that has so many bytes, and this share of what may lie there, stays as it is when others follow it. A record
/// of the log names what changed: it then has the last piece of a block that is filled by and by, and not all of it.
const MIN_SETTLED_BYTES: usize = 256;
const SETTLED_SHARE: usize = 16;
/// Of what is added to a block in small steps, so many bytes or more move from the map into an extent at a time, in multiples of
/// what extents are cut to, so that the extent can go on.
const MIN_MOVED_BYTES: usize = 512;
const MOVED_MULTIPLE: usize = 32;
/// A piece is a sliver if it has this share of what is written beside it, and of its extent, or less.
const SLIVER_SHARE: u64 = 16;

impl Piece {
    /// Whether it is little beside so many bytes, and of its extent.
    fn is_sliver_of(&self, bytes: usize) -> bool {
        let Source::Extent { extent, .. } = &self.source else { return false };
        let is_little = |of: u64| of / SLIVER_SHARE >= self.len as u64;
        is_little(bytes as u64) && is_little(extent.len()) && !extent.is_in_source()
    }

    fn shares_extent(&self, other: &Piece) -> bool {
        match (&self.source, &other.source) {
            (Source::Extent { extent: a, .. }, Source::Extent { extent: b, .. }) => a == b,
            _ => false,
        }
    }
}

impl Fragments {
    /// Puts bytes at `offset`: into the map while that stays small, else into an extent.
    pub(crate) fn put(
        &mut self,
        ledger: &Ledger,
        shape: &BlockLayout,
        offset: usize,
        data: &[u8],
    ) -> Result<()> {
        self.cut(offset..offset + data.len());
        if data.len() * 4 <= shape.inline && self.inline_bytes() + data.len() > shape.inline {
            self.move_tail(ledger, shape, offset)?;
        }
        if self.inline_bytes() + data.len() <= shape.inline && ledger.takes_inline(data.len()) {
            let source = Source::Inline(Bytes::copy_from_slice(data));
            self.insert(Piece { offset, len: data.len(), source });
            self.join_inline(MIN_SETTLED_BYTES.max(shape.inline / SETTLED_SHARE));
            return self.join_scattered(ledger, shape);
        }
        match self.with_slivers(ledger, offset, data)? {
            Some((from, all)) => {
                self.cut(from..from + all.len());
                self.put_far(ledger, shape, from, &all)
            }
            None => self.put_far(ledger, shape, offset, data),
        }
    }

    /// Puts bytes at `offset` into an extent: one that ends there and can go on, or a new one.
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

    /// What is to be written, with the slivers beside it of extents that were long: each would keep all of its extent. That is what
    /// processes leave of each other's writes that interleave. In a store a sliver would be a request.
    fn with_slivers(&self, ledger: &Ledger, offset: usize, data: &[u8]) -> Result<Option<(usize, Vec<u8>)>> {
        if ledger.is_in_store() {
            return Ok(None);
        }
        let end = offset + data.len();
        let is_beside = |p: &&Piece| p.end() == offset || p.offset == end;
        let is_kept = |p: &Piece| self.list.iter().any(|other| !is_beside(&other) && other.shares_extent(p));
        let beside = self.list.iter().filter(is_beside);
        let slivers: Vec<_> = beside.filter(|p| p.is_sliver_of(data.len()) && !is_kept(p)).collect();
        if slivers.is_empty() {
            return Ok(None);
        }
        let from = slivers.iter().map(|p| p.offset).fold(offset, usize::min);
        let to = slivers.iter().map(|p| p.end()).fold(end, usize::max);
        let mut all = zeros(to - from)?;
        for p in slivers {
            p.read(ledger, 0, &mut all[p.offset - from..p.end() - from])?;
        }
        all[offset - from..end - from].copy_from_slice(data);
        Ok(Some((from, all)))
    }

    /// Moves what lies in the map up to `offset`, where the block ends so far, into an extent: then what is added in small steps
    /// goes on in the map, and has no extent for each step.
    fn move_tail(&mut self, ledger: &Ledger, shape: &BlockLayout, offset: usize) -> Result<()> {
        let (mut begin, mut first) = (offset, self.list.len());
        for p in self.list.iter().rev() {
            if p.end() != begin || !matches!(p.source, Source::Inline(_)) {
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

    /// Whether what is written at `offset` is likely to go on with the next write: the block is being filled from its begin, and
    /// is not one that a short dataset has alone.
    fn grows(&self, shape: &BlockLayout, offset: usize, len: usize) -> bool {
        offset + len < shape.len
            && self.grows_from(shape, offset)
            && self.list.last().is_none_or(|p| p.end() <= offset)
    }

    fn grows_from(&self, shape: &BlockLayout, offset: usize) -> bool {
        offset < shape.len && ((offset == 0 && self.is_later) || self.list.iter().any(|p| p.end() == offset))
    }

    /// Lets the piece that ends at `offset` go on with `data`, if its extent ends there too and can.
    fn go_on(&mut self, ledger: &Ledger, offset: usize, data: &[u8]) -> Result<bool> {
        let before = self.list.partition_point(|p| p.end() < offset);
        let Some(piece) = self.list.get(before).filter(|p| p.end() == offset) else { return Ok(false) };
        let Source::Extent { extent, skip, .. } = &piece.source else { return Ok(false) };
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

    /// Puts one extent in the place of another.
    fn exchange(&mut self, was: &Extent, new: &Extent) {
        let now = new.to_bytes();
        for p in &mut self.list {
            if let Source::Extent { encoded, extent, .. } = &mut p.source
                && extent == was
            {
                (*encoded, *extent) = (now.clone(), new.clone());
            }
        }
    }

    /// What nothing needs any more after a change: of the extents of before, and of those that the change wrote.
    pub(crate) fn unneeded<'a>(&'a self, before: &'a [Extent]) -> impl Iterator<Item = &'a Extent> {
        let all = before.iter().chain(&self.made).filter(|e| !self.grown.contains(e));
        let needed = ExtentSet::of(self.used());
        all.filter(move |e| !needed.contains(e))
    }

    /// Extents that were written for a change that failed: nobody needs them. None where one of `before` grew, for they may be a part of
    /// what that became.
    pub(crate) fn given_up(&self, before: &[Extent]) -> impl Iterator<Item = &Extent> {
        let has_grown = self.grown.iter().any(|extent| before.contains(extent));
        self.made.iter().filter(move |extent| !has_grown && !self.grown.contains(extent))
    }

    /// Puts an extent of `len` bytes at `offset` in place of everything.
    pub(crate) fn put_written(&mut self, offset: usize, len: usize, extent: Extent) {
        (self.list, self.encoded) = (vec![Piece::of(offset, len, extent)], None);
        self.statistics = None;
    }

    /// Puts the output of a pipeline in place of everything.
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
            let source = Source::Inline(Bytes::copy_from_slice(data));
            self.list.push(Piece { offset: 0, len: data.len(), source });
        } else {
            self.insert_written(0, data.len(), ledger.write_payload(data)?);
        }
        self.encoded = Some(mask);
        Ok(())
    }

    /// Lets each extent be moved, and returns the bytes of those that were. `moved` is told in how many parts it may come, and answers
    /// what has its bytes now, one after the other.
    pub(crate) fn relocate(
        &mut self,
        mut moved: impl FnMut(&Extent, usize) -> Result<Vec<Extent>>,
    ) -> Result<u64> {
        let mut bytes = 0;
        for was in self.extents() {
            // What is encoded has to be one piece, and no block has so many that the next write would join some.
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

    /// Puts several extents, one after the other, in the place of one.
    fn part(&mut self, was: &Extent, parts: &[Extent]) {
        for p in std::mem::take(&mut self.list) {
            let skip = match &p.source {
                Source::Extent { extent, skip, .. } if extent == was => *skip,
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
                    let mut piece = Piece::of(offset, (to - from) as usize, part.clone());
                    piece.skip(from - at);
                    self.list.push(piece);
                }
                at += part.len();
            }
        }
    }

    /// Puts an extent in place of what is at `offset`, and of nothing else.
    pub(crate) fn put_extent(&mut self, offset: usize, extent: Extent) -> Result<()> {
        let len =
            usize::try_from(extent.len()).map_err(|_| Error::invalid("an extent is longer than a block"))?;
        self.statistics = None;
        self.insert(Piece::of(offset, len, extent));
        Ok(())
    }
}
