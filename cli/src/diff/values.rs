//! Elements of two datasets or attributes, side by side.

use std::sync::Arc;

use h5lake_container::{Attribute, Dataset, Index, InlineHeap, Layout, ObjectId, Order};
use serde_json::Value;

use super::{Diff, What};
use crate::Failure;
use crate::cat::{check_readable, elements_per_read};
use crate::elements::value::{Decoder, Item, Reference};
use crate::elements::{Type, type_of};
use crate::slice::{Parts, parse};

/// The differences that were found of one dataset or attribute.
#[derive(Default)]
struct Tally {
    differing: u64,
    total: u64,
    first: Vec<(Vec<u64>, Value, Value)>,
}

/// The coordinates of an element.
fn place(mut n: u64, dims: &[u64]) -> Vec<u64> {
    let mut at = vec![0; dims.len()];
    for (place, dim) in at.iter_mut().zip(dims).rev() {
        (*place, n) = (n % dim.max(&1), n / dim.max(&1));
    }
    at
}

/// A value as it is compared: of a reference the path counts, since ids are those of one container.
fn comparable(item: Item) -> Item {
    match item {
        Item::Reference(reference) => {
            let object = if reference.path.is_some() { 0 } else { reference.object };
            Item::Reference(Box::new(Reference { object, ..*reference }))
        }
        // The bits count, so that what is no number equals itself.
        Item::Single(n) => Item::Bits(n.to_bits().into()),
        Item::Double(n) => Item::Bits(n.to_bits().into()),
        Item::List(items) => Item::List(items.into_iter().map(comparable).collect()),
        Item::Compound(items) => {
            Item::Compound(items.into_iter().map(|(name, item)| (name, comparable(item))).collect())
        }
        other => other,
    }
}

impl Diff {
    /// Compares the bytes of some elements, whose first one has the number `from`. Floats are equal if their bits are.
    fn compare(
        &mut self,
        of: &Type,
        [a, b]: [&[u8]; 2],
        heaps: [&InlineHeap; 2],
        dims: &[u64],
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let size = of.size().max(1);
        if of.is_self_contained() && a == b {
            tally.total += (a.len() / size) as u64;
            return Ok(());
        }
        let [of_a, of_b] = &mut self.paths;
        let mut first = Decoder::new(&self.both[0], heaps[0].clone(), of_a);
        let mut second = Decoder::new(&self.both[1], heaps[1].clone(), of_b);
        for (a, b) in a.chunks_exact(size).zip(b.chunks_exact(size)) {
            let number = tally.total;
            tally.total += 1;
            if of.is_self_contained() && a == b {
                continue;
            }
            let wanted = tally.first.len() < self.elements;
            if of.is_self_contained() && !wanted {
                tally.differing += 1;
                continue;
            }
            let (a, b) = (first.decode(of, a)?, second.decode(of, b)?);
            let shown = wanted.then(|| (a.json(), b.json()));
            if of.is_self_contained() || comparable(a) != comparable(b) {
                tally.differing += 1;
                tally.first.extend(shown.map(|(a, b)| (place(number, dims), a, b)));
            }
        }
        Ok(())
    }

    fn tell_elements(&mut self, path: &str, attribute: Option<&str>, tally: Tally) -> Result<(), Failure> {
        let Tally { differing, total: of, first } = tally;
        if differing == 0 {
            Ok(())
        } else {
            self.tell(path, attribute, What::Elements { differing, of, first })
        }
    }

    /// Compares the elements of two datasets of one shape and type.
    pub(super) fn elements_of(&mut self, path: &str, both: [&Arc<Dataset>; 2]) -> Result<(), Failure> {
        let [a, b] = both;
        if let (Layout::Virtual { .. } | Layout::External { .. }, _) = (a.layout(), b.layout())
            && a.layout() == b.layout()
        {
            // They name the same elements of other files.
            return Ok(());
        }
        let is_one =
            self.is_same_container && a.object().id() == b.object().id() && a.filters() == b.filters();
        // Blobs of region references are the root group's.
        let is_alike = is_one && !a.datatype().has_references && a.layout() == b.layout();
        if is_alike && self.both[0].is_stored_alike(&self.both[1], a.object().id())? {
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
        let axes = parse(None, space.dims())?;
        let heap = InlineHeap::default();
        for part in Parts::new(&axes, elements_per_read(of.size() as u64)) {
            let length = usize::try_from(part.points.saturating_mul(of.size() as u64))?;
            let mut data = [vec![0; length], vec![0; length]];
            for (dataset, data) in both.iter().zip(&mut data) {
                dataset.read(&part.selection, data)?;
            }
            self.compare(&of, [&data[0], &data[1]], [&heap, &heap], space.dims(), &mut tally)?;
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
                    let what = form(open(0)?);
                    self.tell(path, Some(&text), What::Removed(what))?;
                }
                (false, true) => {
                    let what = form(open(1)?);
                    self.tell(path, Some(&text), What::Added(what))?;
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
        let mut tally = Tally::default();
        self.compare(&first, [&one, &other], [&heap, &other_heap], a.space().dims(), &mut tally)?;
        self.tell_elements(path, Some(name), tally)
    }
}
