//! The chunks of an array: references to their locations, and copies of the chunks that cannot be referenced.

use std::collections::BTreeMap;
use std::sync::Arc;

use h5lake_container::{BlockPlace, Container, Dataset, InlineHeap, Selection, encode_with_all};
use h5lake_ledger::{HeldSpace, PayloadPlace};

use super::array::{Array, Blocks};
use super::references::References;
use super::zarr_type::Elements;
use crate::Failure;
use crate::elements::value::{Decoder, Item};
use crate::walk::Paths;

/// The codec of variable-length strings if all of them are UTF-8.
pub const UTF8: &str = "vlen-utf8";
/// The codec of variable-length strings if any of them is not UTF-8.
const BYTES: &str = "vlen-bytes";

/// The numbers of referenced and copied chunks of a dataset.
#[derive(Debug, Default)]
pub struct Counts {
    pub referenced: u64,
    pub referenced_bytes: u64,
    pub copied: u64,
    pub copied_bytes: u64,
    /// The number of chunks that were copied for each reason.
    pub reasons: BTreeMap<&'static str, u64>,
}

/// A writer of the chunks of one dataset.
pub struct Chunks<'a> {
    pub container: &'a Arc<Container>,
    pub dataset: &'a Dataset,
    pub array: &'a Array,
    pub held: &'a HeldSpace,
    /// Returns the URL of the file or object at a location.
    pub url: &'a dyn Fn(&PayloadPlace) -> String,
    /// The prefix of the keys of chunks.
    pub prefix: &'a str,
    pub out: &'a mut References,
    pub counts: Counts,
}

/// The part of a block that is one chunk.
struct Part {
    /// The offset of the first byte in the block.
    from: u64,
    /// The number of bytes up to the last element within the shape.
    needed: u64,
}

impl Chunks<'_> {
    /// Writes references or copies of all chunks.
    pub fn write(mut self) -> Result<Counts, Failure> {
        match self.array.blocks {
            Blocks::Chunks => self.chunked()?,
            Blocks::Segments(elements) => self.segments(elements)?,
            Blocks::One => self.one()?,
        }
        Ok(self.counts)
    }

    /// Returns the codec that the variable-length strings of the dataset need.
    pub fn strings(&self) -> Result<&'static str, Failure> {
        if self.array.zarr.elements != Elements::Strings {
            return Ok(UTF8);
        }
        if self.array.copies_other_than_utf8() {
            return Ok(BYTES);
        }
        let grid = self.array.grid();
        let is_utf8 = |coords: &[u64]| -> Result<bool, Failure> {
            Ok(self.texts(coords)?.iter().all(|text| std::str::from_utf8(text).is_ok()))
        };
        let all_are = |first: u64, last: u64| -> Result<bool, Failure> {
            for n in first..=last {
                if !is_utf8(&coordinates(&grid, n))? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        match self.array.blocks {
            Blocks::One => {
                let is_well = self.array.chunks() == 0 || all_are(0, 0)?;
                return Ok(if is_well { UTF8 } else { BYTES });
            }
            Blocks::Segments(elements) => {
                for segment in self.stored_segments()?.keys() {
                    let chunks = self.chunks_of(*segment, elements);
                    if let Some((first, last)) = chunks
                        && !all_are(first, last)?
                    {
                        return Ok(BYTES);
                    }
                }
                return Ok(UTF8);
            }
            Blocks::Chunks => (),
        }
        let mut after = None;
        loop {
            let page = self.dataset.blocks_after(self.held, after.as_deref())?;
            let Some(last) = page.last() else { return Ok(UTF8) };
            after = Some(last.coords.clone());
            for block in page.iter().filter(|block| number(&grid, &block.coords).is_some()) {
                if !is_utf8(&block.coords)? {
                    return Ok(BYTES);
                }
            }
        }
    }

    fn chunked(&mut self) -> Result<(), Failure> {
        let grid = self.array.grid();
        let (mut next, mut after) = (0, None);
        loop {
            let page = self.dataset.blocks_after(self.held, after.as_deref())?;
            let Some(last) = page.last() else { break };
            after = Some(last.coords.clone());
            for block in &page {
                let Some(n) = number(&grid, &block.coords) else { continue };
                self.missing(&grid, next, n)?;
                next = n + 1;
                let part = Part { from: 0, needed: self.needed(&block.coords) };
                self.chunk(&block.coords, block, &part)?;
            }
        }
        self.missing(&grid, next, self.array.chunks())
    }

    /// Copies the chunks in a range that were never written, if the array requires copies of them.
    fn missing(&mut self, grid: &[u64], from: u64, to: u64) -> Result<(), Failure> {
        if self.array.copies_missing {
            for n in from..to {
                self.copy(&coordinates(grid, n), "missing, of a fill value that Zarr's readers mistake")?;
            }
        }
        Ok(())
    }

    /// Returns the number of bytes from the beginning of a chunk to the end of its last element within the shape.
    fn needed(&self, coords: &[u64]) -> u64 {
        let a = self.array;
        let mut last = 0u64;
        for ((dim, chunk), at) in a.dims.iter().zip(&a.chunk).zip(coords) {
            let inside = dim.saturating_sub(at.saturating_mul(*chunk)).min(*chunk);
            last = last.saturating_mul(*chunk).saturating_add(inside.saturating_sub(1));
        }
        last.saturating_add(1).saturating_mul(a.of.size() as u64)
    }

    fn segments(&mut self, elements: u64) -> Result<(), Failure> {
        let grid = self.array.grid();
        let blocks = self.stored_segments()?;
        let mut next = 0;
        for segment in blocks.keys() {
            let Some((first, last)) = self.chunks_of(*segment, elements) else { continue };
            self.missing(&grid, next, first)?;
            for n in first.max(next)..=last {
                self.row(&coordinates(&grid, n), elements, &blocks)?;
            }
            next = next.max(last + 1);
        }
        self.missing(&grid, next, self.array.chunks())
    }

    /// Returns the written segments by their numbers.
    fn stored_segments(&self) -> Result<BTreeMap<u64, BlockPlace>, Failure> {
        let (mut blocks, mut after) = (BTreeMap::new(), None);
        loop {
            let page = self.dataset.blocks_after(self.held, after.as_deref())?;
            let Some(last) = page.last() else { return Ok(blocks) };
            after = Some(last.coords.clone());
            blocks.extend(page.into_iter().map(|block| (block.coords.first().copied().unwrap_or(0), block)));
        }
    }

    /// Returns the numbers of the first and the last chunk with elements of a segment, or `None` if the segment is outside of the shape.
    /// The chunks of contiguous data are in the order of their elements.
    fn chunks_of(&self, segment: u64, elements: u64) -> Option<(u64, u64)> {
        let a = self.array;
        let points: u64 = a.dims.iter().product();
        let begin = segment.checked_mul(elements).filter(|begin| *begin < points)?;
        let end = begin.saturating_add(elements).min(points);
        let chunk_of = |element: u64| {
            let at = coordinates(&a.dims, element);
            let coords: Vec<u64> = at.iter().zip(&a.chunk).map(|(at, chunk)| at / chunk).collect();
            number(&a.grid(), &coords)
        };
        Some((chunk_of(begin)?, chunk_of(end - 1)?))
    }

    /// Writes a reference or a copy of a chunk of contiguous data.
    fn row(
        &mut self,
        coords: &[u64],
        elements: u64,
        blocks: &BTreeMap<u64, BlockPlace>,
    ) -> Result<(), Failure> {
        let (a, size) = (self.array, self.array.of.size() as u64);
        let first = coords.iter().zip(&a.chunk).zip(&a.dims);
        let first = first.fold(0, |n, ((at, chunk), dim)| n * dim + at * chunk);
        let needed = self.run(coords);
        let (begin, end) = (first / elements, (first + needed - 1) / elements);
        match blocks.get(&begin) {
            _ if begin != end => self.copy(coords, "rows that cross a segment"),
            Some(block) => {
                let part = Part { from: first % elements * size, needed: needed * size };
                self.chunk(coords, block, &part)
            }
            None => Ok(()),
        }
    }

    /// Returns the number of elements of a chunk of contiguous data that are within the shape. They are consecutive.
    fn run(&self, coords: &[u64]) -> u64 {
        let a = self.array;
        let inside = a.dims.iter().zip(&a.chunk).zip(coords);
        inside.fold(1, |n, ((dim, chunk), at)| n * (dim - at * chunk).min(*chunk))
    }

    fn one(&mut self) -> Result<(), Failure> {
        if self.array.chunks() == 0 {
            return Ok(());
        }
        let page = self.dataset.blocks_after(self.held, None)?;
        let coords = vec![0; self.array.dims.len()];
        match page.first() {
            Some(block) => {
                let part = Part { from: 0, needed: self.array.chunk_bytes() };
                self.chunk(&coords, block, &part)
            }
            None => self.missing(&self.array.grid(), 0, 1),
        }
    }

    /// Writes a reference or a copy of a chunk that was written.
    fn chunk(&mut self, coords: &[u64], block: &BlockPlace, part: &Part) -> Result<(), Failure> {
        if let Err(why) = self.array.referenced {
            return self.copy(coords, why);
        }
        let key = format!("{}{}", self.prefix, self.array.key(coords));
        if let (Some(mask), [piece]) = (block.filter_mask, &block.pieces[..]) {
            return match (mask, &piece.place, &piece.inline) {
                (0, Some(place), _) => self.reference(&key, place, 0, piece.length),
                (0, None, Some(bytes)) => self.put(&key, bytes, "small, stored in the map"),
                _ => self.copy(coords, "a filter was skipped"),
            };
        }
        let is_filtered = !self.array.filters.is_empty();
        let whole = self.array.chunk_bytes();
        let has_all =
            |offset: u64, length: u64| offset <= part.from && part.from + part.needed <= offset + length;
        let holder = block.pieces.iter().find(|piece| has_all(piece.offset, piece.length));
        match holder.and_then(|piece| Some((piece, piece.place.as_ref()?))) {
            _ if is_filtered => self.copy(coords, "an edge that filters leave as it is"),
            Some((piece, place)) => {
                let skip = part.from - piece.offset;
                match place.offset.saturating_add(skip).saturating_add(whole) <= place.end {
                    true => self.reference(&key, place, skip, whole),
                    false => self.copy(coords, "the end of what the container holds"),
                }
            }
            None if block.pieces.iter().all(|piece| piece.place.is_none()) => {
                self.copy(coords, "small, stored in the map")
            }
            None => self.copy(coords, "stored in several pieces"),
        }
    }

    fn reference(&mut self, key: &str, place: &PayloadPlace, skip: u64, length: u64) -> Result<(), Failure> {
        self.counts.referenced += 1;
        self.counts.referenced_bytes += length;
        self.out.reference(key, &(self.url)(place), place.offset + skip, length)
    }

    fn put(&mut self, key: &str, bytes: &[u8], why: &'static str) -> Result<(), Failure> {
        self.counts.copied += 1;
        self.counts.copied_bytes += bytes.len() as u64;
        *self.counts.reasons.entry(why).or_default() += 1;
        self.out.chunk(key, bytes)
    }

    /// Copies a chunk: decodes it, and encodes it with all codecs of the array.
    fn copy(&mut self, coords: &[u64], why: &'static str) -> Result<(), Failure> {
        let bytes = match self.array.zarr.elements {
            Elements::Strings => strings(&self.texts(coords)?)?,
            elements => {
                let mut bytes = self.whole(coords)?;
                if elements == Elements::Blanks {
                    let width = base_width(&self.array.of);
                    bytes.chunks_mut(width).for_each(trim_blanks);
                }
                bytes
            }
        };
        let encoded = encode_with_all(&self.array.filters, &bytes)?;
        let encoded = encoded.ok_or("a chunk cannot be encoded by all its filters")?;
        let key = format!("{}{}", self.prefix, self.array.key(coords));
        self.put(&key, &encoded, why)
    }

    /// Returns the elements of a chunk, with zeros outside of the shape.
    fn whole(&self, coords: &[u64]) -> Result<Vec<u8>, Failure> {
        let a = self.array;
        let size = a.of.size();
        if a.dims.is_empty() {
            let mut out = vec![0; size];
            self.dataset.read(&Selection::All, &mut out)?;
            return Ok(out);
        }
        let start: Vec<u64> = coords.iter().zip(&a.chunk).map(|(at, chunk)| at * chunk).collect();
        let inside = a.dims.iter().zip(&start).zip(&a.chunk);
        let block: Vec<u64> = inside.map(|((dim, at), chunk)| (dim - at).min(*chunk)).collect();
        let bytes = usize::try_from(block.iter().product::<u64>())?.checked_mul(size);
        let mut packed = vec![0; bytes.ok_or("a chunk is too long")?];
        let slab = Selection::Hyperslab {
            start,
            stride: block.clone(),
            count: vec![1; block.len()],
            block: block.clone(),
        };
        self.dataset.read(&slab, &mut packed)?;
        if block == a.chunk {
            return Ok(packed);
        }
        let mut out = vec![0; usize::try_from(a.chunk_bytes())?];
        let row = usize::try_from(*block.last().unwrap_or(&1))? * size;
        for (n, from) in packed.chunks_exact(row).enumerate() {
            let at = coordinates(&block[..block.len() - 1], n as u64);
            let at = at.iter().chain([&0]).zip(&a.chunk).fold(0, |sum, (at, chunk)| sum * chunk + at);
            let at = usize::try_from(at)? * size;
            out[at..at + row].copy_from_slice(from);
        }
        Ok(out)
    }

    /// Returns the strings of a chunk.
    fn texts(&self, coords: &[u64]) -> Result<Vec<Vec<u8>>, Failure> {
        let mut paths = Paths::default();
        let mut decoder = Decoder::new(self.container, InlineHeap::default(), &mut paths);
        let bytes = self.whole(coords)?;
        let text = |bytes: &[u8]| match decoder.decode(&self.array.of, bytes)? {
            Item::Text(text) => Ok(text),
            _ => Ok(Vec::new()),
        };
        bytes.chunks_exact(self.array.of.size()).map(text).collect()
    }
}

/// Returns the size of a string in an element, which may be an array of strings.
fn base_width(of: &crate::elements::Type) -> usize {
    match of {
        crate::elements::Type::Array { base, .. } => base_width(base),
        of => of.size().max(1),
    }
}

fn trim_blanks(text: &mut [u8]) {
    let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    text[end..].fill(0);
}

/// Encodes strings in the format of numcodecs' codecs for variable-length strings.
fn strings(texts: &[Vec<u8>]) -> Result<Vec<u8>, Failure> {
    let mut out = u32::try_from(texts.len())?.to_le_bytes().to_vec();
    for text in texts {
        out.extend(u32::try_from(text.len())?.to_le_bytes());
        out.extend(text);
    }
    Ok(out)
}

/// Returns the coordinates of number `n` in C order.
pub fn coordinates(grid: &[u64], n: u64) -> Vec<u64> {
    let mut remainder = n;
    let mut coords = vec![0; grid.len()];
    for (at, count) in coords.iter_mut().zip(grid).rev() {
        *at = remainder % (*count).max(1);
        remainder /= (*count).max(1);
    }
    coords
}

/// Returns the number of coordinates in C order, or `None` if they are outside of the grid.
fn number(grid: &[u64], coords: &[u64]) -> Option<u64> {
    let is_inside = grid.len() == coords.len() && grid.iter().zip(coords).all(|(count, at)| at < count);
    is_inside.then(|| grid.iter().zip(coords).fold(0u64, |n, (count, at)| n.saturating_mul(*count) + at))
}
