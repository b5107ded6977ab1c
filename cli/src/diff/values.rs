//! Comparison of the elements of two datasets or attributes.

use std::sync::Arc;

use h5lake_container::{Attribute, Dataset, Index, InlineHeap, ObjectId, Order, Run, Selection};
use serde_json::Value;

use super::Diff;
use super::chunks::DifferingChunks;
use super::difference::{Unmatched, What};
use crate::Failure;
use crate::cat::{check_readable, elements_per_read};
use crate::elements::value::{Decoder, Item, Reference};
use crate::elements::{Type, type_of};
use crate::slice::{Parts, parse, place};

/// The maximum number of changed chunks that are looked up for one dataset. If more have changed, the whole dataset is read.
const MAX_PARTS: usize = 1 << 16;

/// The minimum number of elements of a sparse dataset. In a smaller dataset, reading elements that were never written costs less
/// than looking up each block.
const MIN_WITH_GAPS: u64 = 1 << 20;
/// A dataset is sparse if it has more than this many times as many elements as are stored.
const GAPS: u64 = 4;

/// The differences found in one dataset or attribute.
#[derive(Default)]
struct Tally {
    differing: u64,
    total: u64,
    /// The size of an element in bytes, or `None` if the elements contain references or variable-length data.
    element_bytes: Option<u64>,
    first: Vec<(Vec<u64>, Value, Value)>,
    chunks: Option<DifferingChunks>,
}

impl Tally {
    /// Counts the elements with different bytes. Processes runs of elements in one row of one chunk.
    fn count(&mut self, size: usize, [mut a, mut b]: [&[u8]; 2], numbers: Numbers<'_>) {
        let row = numbers.dims.last().copied().unwrap_or(1).max(1);
        let chunk = self.chunks.as_ref().map_or(u64::MAX, DifferingChunks::row_elements);
        for run in numbers.runs {
            let (mut number, end) = (run.offset, run.offset + run.count);
            while number < end {
                let column = number % row;
                let length = (end - number).min(row - column).min(chunk - column % chunk);
                let bytes = (length as usize).saturating_mul(size).min(a.len()).min(b.len());
                let (one, other);
                (one, a) = a.split_at(bytes);
                (other, b) = b.split_at(bytes);
                if one != other {
                    let both = one.chunks_exact(size).zip(other.chunks_exact(size));
                    self.differing += both.filter(|(one, other)| one != other).count() as u64;
                    if let Some(chunks) = &mut self.chunks {
                        chunks.add(place(number, numbers.dims));
                    }
                }
                number += length;
            }
        }
    }
}

impl Tally {
    /// Returns whether the tally can list more differing elements or chunks.
    fn has_space(&self, elements: usize) -> bool {
        self.first.len() < elements || self.chunks.as_ref().is_some_and(|chunks| !chunks.has_more)
    }

    /// Adds a run of elements that lie in one chunk and all differ by the same values. Elements beyond the number to show are not
    /// listed.
    fn add_gap(
        &mut self,
        number: u64,
        length: u64,
        dims: &[u64],
        values: Option<&(Vec<u64>, Value, Value)>,
        elements: usize,
    ) {
        if let Some(chunks) = &mut self.chunks {
            chunks.add(place(number, dims));
        }
        let Some((_, a, b)) = values else { return };
        let shown = elements.saturating_sub(self.first.len()) as u64;
        let all = number..number + length.min(shown);
        self.first.extend(all.map(|number| (place(number, dims), a.clone(), b.clone())));
    }
}

/// Returns whether two datasets are sparse: large, and with most elements never written in either dataset.
fn has_gaps(both: [&Arc<Dataset>; 2], total: u64) -> Result<bool, Failure> {
    if total < MIN_WITH_GAPS || !both.iter().all(|dataset| dataset.is_in_blocks()) {
        return Ok(false);
    }
    let mut stored = 0_u64;
    for dataset in both {
        let elements = dataset.stored_size()?.blocks.saturating_mul(dataset.block_elements());
        stored = stored.saturating_add(elements);
    }
    Ok(total / GAPS > stored)
}

/// The numbers of the elements in a buffer.
#[derive(Clone, Copy)]
struct Numbers<'a> {
    /// The positions of the elements in the dataspace, in the order of their bytes in the buffer.
    runs: &'a [Run],
    dims: &'a [u64],
}

/// Converts a value to the form in which it is compared. References are compared by path, because object ids are only valid in one
/// container.
fn comparable(item: Item) -> Item {
    match item {
        Item::Reference(reference) => {
            let object = if reference.path.is_some() { 0 } else { reference.object };
            Item::Reference(Box::new(Reference { object, ..*reference }))
        }
        // Floats are compared by their bits, so that a NaN equals itself.
        Item::Single(n) => Item::Bits(n.to_bits().into()),
        Item::Double(n) => Item::Bits(n.to_bits().into()),
        Item::Complex(parts) => Item::Complex(Box::new((*parts).map(comparable))),
        Item::List(items) => Item::List(items.into_iter().map(comparable).collect()),
        Item::Compound(items) => {
            Item::Compound(items.into_iter().map(|(name, item)| (name, comparable(item))).collect())
        }
        other => other,
    }
}

impl Diff {
    /// Compares two buffers of elements. If the type has bytes that are not part of the value, such as padding, or contains references or
    /// variable-length data, decodes the elements first. Floats are equal if their bits are equal.
    fn compare(
        &mut self,
        of: &Type,
        [a, b]: [&[u8]; 2],
        heaps: [&InlineHeap; 2],
        numbers: Numbers<'_>,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let size = of.size().max(1);
        if of.is_self_contained() && a == b {
            return Ok(());
        }
        let bytes_decide = of.has_no_padding();
        if bytes_decide && tally.first.len() >= self.elements {
            tally.count(size, [a, b], numbers);
            return Ok(());
        }
        let [of_a, of_b] = &mut self.paths;
        let mut first = Decoder::new(&self.both[0], heaps[0].clone(), of_a);
        let mut second = Decoder::new(&self.both[1], heaps[1].clone(), of_b);
        let all = numbers.runs.iter().flat_map(|run| run.offset..run.offset + run.count);
        for ((a, b), number) in a.chunks_exact(size).zip(b.chunks_exact(size)).zip(all) {
            if of.is_self_contained() && a == b {
                continue;
            }
            let (a, b) = (first.decode(of, a)?, second.decode(of, b)?);
            let shown = (tally.first.len() < self.elements).then(|| (a.json(), b.json()));
            if bytes_decide || comparable(a) != comparable(b) {
                tally.differing += 1;
                let at = place(number, numbers.dims);
                if let Some(chunks) = &mut tally.chunks {
                    chunks.add(at.clone());
                }
                tally.first.extend(shown.map(|(a, b)| (at, a, b)));
            }
        }
        Ok(())
    }

    fn tell_elements(&mut self, path: &str, attribute: Option<&str>, tally: Tally) -> Result<(), Failure> {
        let Tally { differing, total: of, element_bytes, first, chunks } = tally;
        if differing == 0 {
            Ok(())
        } else {
            let bytes = element_bytes.map(|size| differing.saturating_mul(size));
            self.tell(path, attribute, What::Elements { differing, of, bytes, first, chunks })
        }
    }

    /// Reads and compares a part of two datasets.
    fn part(
        &mut self,
        of: &Type,
        both: [&Arc<Dataset>; 2],
        part: &Selection,
        dims: &[u64],
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let length = usize::try_from(part.points(dims)?.saturating_mul(of.size() as u64))?;
        let mut data = [vec![0; length], vec![0; length]];
        for (dataset, data) in both.iter().zip(&mut data) {
            dataset.read(part, data)?;
        }
        self.compared = self.compared.saturating_add(2 * length as u64);
        self.report.bar().show(self.compared, self.about);
        let heap = InlineHeap::default();
        let runs = if dims.is_empty() { vec![Run { offset: 0, count: 1 }] } else { part.runs(dims)? };
        self.compare(of, [&data[0], &data[1]], [&heap, &heap], Numbers { runs: &runs, dims }, tally)
    }

    /// Compares the elements that are stored in at least one of two datasets. Then compares the fill values, which all other elements have.
    fn stored_parts(
        &mut self,
        of: &Type,
        both: [&Arc<Dataset>; 2],
        dims: &[u64],
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let mut compared = 0_u64;
        for part in both[0].stored_blocks()? {
            let part = part?;
            compared = compared.saturating_add(part.points(dims)?);
            self.part(of, both, &part, dims, tally)?;
        }
        let mut first = both[0].block_lookup();
        for part in both[1].stored_blocks()? {
            let runs = first.outside(&part?.runs(dims)?)?;
            if !runs.is_empty() {
                let part = Selection::Runs(runs);
                compared = compared.saturating_add(part.points(dims)?);
                self.part(of, both, &part, dims, tally)?;
            }
        }
        self.gaps(of, both, dims, tally.total.saturating_sub(compared), tally)
    }

    /// Compares the fill values of the `count` elements that were never written in either dataset.
    fn gaps(
        &mut self,
        of: &Type,
        both: [&Arc<Dataset>; 2],
        dims: &[u64],
        count: u64,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let (fills, heap) = ([both[0].fill_element()?, both[1].fill_element()?], InlineHeap::default());
        let mut one = Tally::default();
        let numbers = Numbers { runs: &[Run { offset: 0, count: 1 }], dims };
        self.compare(of, [&fills[0], &fills[1]], [&heap, &heap], numbers, &mut one)?;
        if count == 0 || one.differing == 0 {
            return Ok(());
        }
        tally.differing = tally.differing.saturating_add(count);
        let (mut number, mut lookups) = (0, both.map(|dataset| dataset.block_lookup()));
        while number < tally.total && tally.has_space(self.elements) {
            let [(in_first, length), (in_second, other)] = [lookups[0].at(number)?, lookups[1].at(number)?];
            let length = length.min(other).min(tally.total - number);
            if !in_first && !in_second {
                tally.add_gap(number, length, dims, one.first.first(), self.elements);
            }
            number += length;
        }
        Ok(())
    }

    /// Compares the elements of two datasets with the same shape and type.
    pub(super) fn elements_of(&mut self, path: &str, both: [&Arc<Dataset>; 2]) -> Result<(), Failure> {
        let [a, b] = both;
        if self.elsewhere.show_the_same([a, b]) {
            return Ok(());
        }
        if let Some(why) = both
            .into_iter()
            .filter(|dataset| dataset.is_elsewhere())
            .find_map(|dataset| check_readable(dataset).err())
        {
            return self.tell(path, None, What::Unread(why));
        }
        // Region references are stored in blobs of the root group, so the stored bytes of a dataset do not show whether they changed.
        let parts = match self.is_same_container && !a.datatype().has_references {
            true => a.changed_parts(b, MAX_PARTS)?,
            false => None,
        };
        if parts.as_ref().is_some_and(Vec::is_empty) {
            return Ok(());
        }
        for dataset in both {
            if let Err(why) = check_readable(dataset) {
                return self.tell(path, None, What::Unread(why));
            }
        }
        let of = type_of(a.datatype())?;
        let (space, mut tally) = (a.space(), Tally::default());
        if matches!(space, h5lake_container::Dataspace::Null) {
            return Ok(());
        }
        tally.total = space.points()?;
        tally.element_bytes = of.is_self_contained().then_some(of.size() as u64);
        tally.chunks = DifferingChunks::of(a.layout()).filter(|_| self.chunks);
        match parts {
            Some(parts) => {
                parts.iter().try_for_each(|part| self.part(&of, both, part, space.dims(), &mut tally))?
            }
            None if has_gaps(both, tally.total)? => self.stored_parts(&of, both, space.dims(), &mut tally)?,
            None => {
                let axes = parse(None, space.dims())?;
                let mut parts = Parts::new(&axes, elements_per_read(of.size() as u64));
                parts.try_for_each(|part| self.part(&of, both, &part.selection, space.dims(), &mut tally))?;
            }
        }
        self.tell_elements(path, None, tally)
    }

    /// Compares the attributes of two objects.
    pub(super) fn attributes(&mut self, path: &str, ids: [ObjectId; 2]) -> Result<(), Failure> {
        let names = |n: usize| -> Result<Vec<Vec<u8>>, Failure> {
            let all = self.both[n].attrs(ids[n], Index::Name, Order::Increasing)?;
            Ok(all.into_iter().map(|info| info.name).collect())
        };
        let [a, b] = [names(0)?, names(1)?];
        let mut all: Vec<&Vec<u8>> = a.iter().chain(&b).collect();
        all.sort_unstable();
        all.dedup();
        for name in all {
            let text = String::from_utf8_lossy(name).into_owned();
            let open = |n: usize| self.both[n].attr_open(ids[n], name);
            let form = |found: Arc<Attribute>| {
                let of = type_of(found.datatype()).map_or_else(|why| why, |of| of.to_string());
                format!("{}  {of}", crate::objects::shape_text(found.space()))
            };
            match (a.binary_search(name).is_ok(), b.binary_search(name).is_ok()) {
                (true, false) => {
                    let unmatched = Unmatched { text: form(open(0)?), objects: None };
                    self.tell(path, Some(&text), What::Removed(unmatched))?;
                }
                (false, true) => {
                    let unmatched = Unmatched { text: form(open(1)?), objects: None };
                    self.tell(path, Some(&text), What::Added(unmatched))?;
                }
                _ => {
                    let both = [open(0)?, open(1)?];
                    self.attribute(path, &text, both)?;
                }
            }
        }
        Ok(())
    }

    fn attribute(&mut self, path: &str, name: &str, [a, b]: [Arc<Attribute>; 2]) -> Result<(), Failure> {
        let is_comparable = self.shapes(path, Some(name), a.space(), b.space())?;
        let (first, second) = (type_of(a.datatype())?, type_of(b.datatype())?);
        if first != second {
            return self.changed(path, Some(name), "type", [first.to_string(), second.to_string()]);
        }
        if !is_comparable {
            return Ok(());
        }
        let ((one, heap), (other, other_heap)) = (a.read_with_heap()?, b.read_with_heap()?);
        let mut tally = Tally { total: a.space().points()?, ..Tally::default() };
        let runs = [Run { offset: 0, count: tally.total }];
        let numbers = Numbers { runs: &runs, dims: a.space().dims() };
        self.compare(&first, [&one, &other], [&heap, &other_heap], numbers, &mut tally)?;
        self.tell_elements(path, Some(name), tally)
    }
}
