//! Reading and writing a virtual dataset: each mapping's share of a transfer is a transfer with its source.
//!
//! Elements are converted directly between the source's type and the application's; the virtual dataset's own type
//! matters only for the fill value (H5Dvirtual.c).

use h5lake_container::{Dataspace, FillValue, Layout, Run};

use crate::error::{Error, Major, Minor, Result};
use crate::handles::block::Block;
use crate::handles::mapping_index::overlap;
use crate::handles::open_objects::DatasetHandle;
use crate::handles::virtual_layout::{Mapping, VirtualLayout, block_of};
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::selection::Unlimited;
use crate::operations::dataset::{self, FileSelection, types_of};
use crate::operations::virtual_dataset::points::{Elements, Found, Points};
use crate::operations::virtual_dataset::short_source::{Clipped, clipped, without};
use crate::operations::virtual_dataset::sources::{Search, Source, check_rank};
use crate::transfer;
use crate::transfer::buffers::buffer_of;
use crate::transfer::memory::region::MemoryRegion;

/// The share of one source in a transfer.
struct Share {
    source: Source,
    /// The elements of the source that take part.
    part: Part,
    /// The positions of these elements in the transfer's order.
    runs: Vec<Run>,
    /// The positions of elements that the mapping takes from the source, but the source does not have.
    missing: Vec<Run>,
}

/// Some of a source's elements.
enum Part {
    Block(Block),
    Space(Id),
}

impl Part {
    /// Returns the part as a dataspace with the source's extent.
    fn into_space(self, library: Library, source: &Source) -> Result<Id> {
        match self {
            Self::Space(space) => Ok(space),
            Self::Block(block) => {
                let space = library.space_of(&source.extent()?)?;
                library.select_hyperslab(&space, &block.hyperslab())?;
                Ok(space)
            }
        }
    }

    /// Passes on the selection that a transfer touches in a source.
    fn in_dataset<T>(
        self,
        dataset: &DatasetHandle,
        source: &Source,
        use_selection: impl FnOnce(&FileSelection) -> Result<T>,
    ) -> Result<T> {
        match self {
            // Only a virtual dataset needs the dataspace.
            Self::Block(block) if !matches!(dataset.dataset.layout(), Layout::Virtual { .. }) => {
                use_selection(&FileSelection { selection: block.selection(), space: None })
            }
            other => {
                let space = other.into_space(dataset.base.session.library, source)?;
                let (selection, _) = dataset::file_selection(dataset, Some(space.get()))?;
                use_selection(&FileSelection { selection, space: Some(space.get()) })
            }
        }
    }
}

/// Reads a virtual dataset (`H5Dread`). Elements that no source has are read as the fill value.
pub fn read(
    dataset: &DatasetHandle,
    layout: &VirtualLayout,
    memory_type: Hid,
    region: &mut MemoryRegion,
    file_space: Option<Hid>,
    transfer: Hid,
) -> Result<()> {
    if region.points() == 0 {
        return Ok(());
    }
    let (points, element) = (region.points(), dataset.base.session.library.type_size(memory_type)?);
    let reading = Reading { dataset, layout, memory_type, element, transfer };
    if let Some(buffer) = region.contiguous_mut() {
        return reading.row(buffer, points, file_space);
    }
    let mut row = buffer_of(points as usize, element)?;
    // Members of a compound that sources do not have keep their values.
    region.gather(0, &mut row);
    reading.row(&mut row, points, file_space)?;
    region.scatter(0, &row);
    Ok(())
}

struct Reading<'a> {
    dataset: &'a DatasetHandle,
    layout: &'a VirtualLayout,
    memory_type: Hid,
    element: usize,
    transfer: Hid,
}

impl Reading<'_> {
    fn row(&self, row: &mut [u8], points: u64, file_space: Option<Hid>) -> Result<()> {
        let mut covered: Vec<Run> = Vec::new();
        each_share(self.dataset, self.layout, points, file_space, &mut |share| {
            covered.extend(share.runs.iter().chain(&share.missing));
            let Share { source, part, runs, missing } = share;
            if !missing.is_empty() {
                MemoryRegion::within(row, self.element, missing, |region| self.fill_of(&source, region))?;
            }
            match runs.is_empty() {
                true => Ok(()),
                false => {
                    MemoryRegion::within(row, self.element, runs, |region| self.share(&source, part, region))
                }
            }
        })?;
        let holes = holes(covered, points);
        if holes.is_empty() {
            return Ok(());
        }
        MemoryRegion::within(row, self.element, holes, |region| self.fill(self.dataset, region))
    }

    /// Fills elements with the source's fill value.
    fn fill_of(&self, source: &Source, region: &mut MemoryRegion) -> Result<()> {
        match source {
            Source::Ours(dataset) => self.fill(dataset, region),
            Source::Native(id) => {
                let mut elements = buffer_of(region.points() as usize, self.element)?;
                region.gather(0, &mut elements);
                id.library().fill_native(id, self.memory_type, self.element, &mut elements)?;
                region.scatter(0, &elements);
                Ok(())
            }
        }
    }

    fn share(&self, source: &Source, part: Part, region: &mut MemoryRegion) -> Result<()> {
        match source {
            Source::Ours(dataset) => part.in_dataset(dataset, source, |selected| {
                // The call has only waited for background work on the virtual dataset's own container.
                dataset.base.session.complete();
                dataset::read(dataset, self.memory_type, region, selected, self.transfer)
            }),
            Source::Native(id) => {
                let selection = part.into_space(id.library(), source)?;
                let mut elements = buffer_of(region.points() as usize, self.element)?;
                region.gather(0, &mut elements);
                id.library().read_native(id, self.memory_type, &selection, self.transfer, &mut elements)?;
                region.scatter(0, &elements);
                Ok(())
            }
        }
    }

    fn fill(&self, dataset: &DatasetHandle, region: &mut MemoryRegion) -> Result<()> {
        let value = &dataset.dataset.fill().value;
        if *value == FillValue::Undefined {
            return Ok(());
        }
        let types = types_of(dataset)?;
        transfer::read(&dataset.base.session, &types, self.memory_type, region, self.transfer, |buffer| {
            match value {
                FillValue::User(value) if !value.is_empty() => {
                    buffer.chunks_exact_mut(value.len()).for_each(|element| element.copy_from_slice(value));
                }
                _ => buffer.fill(0),
            }
            Ok(())
        })
    }
}

/// Writes a virtual dataset (`H5Dwrite`). Nothing is written if an element would be in no source.
pub fn write(
    dataset: &DatasetHandle,
    layout: &VirtualLayout,
    memory_type: Hid,
    region: &mut MemoryRegion,
    file_space: Option<Hid>,
    transfer: Hid,
) -> Result<()> {
    let points = region.points();
    if points == 0 {
        return Ok(());
    }
    let mut mapped = Vec::new();
    each_share(dataset, layout, points, file_space, &mut |share| {
        check_memory(&share)?;
        mapped.extend(share.runs);
        Ok(())
    })?;
    let expected = mapped.len();
    if !holes(mapped, points).is_empty() {
        let text = "write requested to unmapped portion of virtual dataset";
        return Err(Error::new(Minor::BadValue, text).in_class(Major::Dataspace));
    }
    let mut written = 0;
    each_share(dataset, layout, points, file_space, &mut |share| {
        check_memory(&share)?;
        let Share { source, part, runs, .. } = share;
        written += runs.len();
        region.with_elements(&runs, |region| match &source {
            Source::Ours(dataset) => part.in_dataset(dataset, &source, |selected| {
                dataset.base.session.complete();
                dataset::write(dataset, memory_type, region, selected, transfer)
            }),
            Source::Native(id) => {
                let selection = part.into_space(id.library(), &source)?;
                id.library().write_native(id, region, &selection, transfer)
            }
        })
    })?;
    if written != expected {
        let text = "a source of a virtual dataset went away while it was written";
        return Err(Error::new(Minor::WriteError, text));
    }
    layout.sources.commit_own()
}

/// Refuses to write elements that a source does not have: the native connector loses them silently.
fn check_memory(share: &Share) -> Result<()> {
    if share.missing.is_empty() {
        return Ok(());
    }
    let (dims, count) = (share.source.extent()?, share.missing.iter().map(|run| run.count).sum::<u64>());
    let text = format!(
        "{count} of the elements to be written lie outside of their source, {}, which has dimensions {:?} now; extend it first",
        share.source.name(),
        dims.dims()
    );
    Err(Error::new(Minor::BadRange, text).in_class(Major::Dataspace))
}

/// Visits the shares of all existing sources in a transfer of `points` elements.
fn each_share(
    dataset: &DatasetHandle,
    layout: &VirtualLayout,
    points: u64,
    file_space: Option<Hid>,
    visit: &mut dyn FnMut(Share) -> Result<()>,
) -> Result<()> {
    let library = dataset.base.session.library;
    let extent = library.space_of(&dataset.dataset.space())?;
    let wanted = match file_space {
        None => library.copy_space(extent.get())?,
        Some(given) => {
            let copy = library.copy_space(given)?;
            library.without_offset(&copy)?;
            library.set_extent_of(&copy, extent.get())?;
            copy
        }
    };
    let dims = dataset.dataset.space().dims().to_vec();
    let bounds = library.selection_bounds(&wanted, dims.len())?;
    let block = block_of(library, &wanted)?.filter(|block| block.is_within(&dims));
    let row = library.row_space(points)?;
    let points = Points::of(library, &wanted, &dims)?;
    let search = Search::new(dataset, layout)?;
    let mut shares = Shares { library, dims, extent, wanted, bounds, block, points, row, search, visit };
    let mut near = layout.near(&shares.bounds);
    near.try_for_each(|mapping| shares.of(mapping))
}

struct Shares<'a> {
    library: Library,
    dims: Vec<u64>,
    /// The virtual dataset's extent.
    extent: Id,
    /// The transfer's selection in the extent.
    wanted: Id,
    /// The first and last coordinates of that selection.
    bounds: (Vec<u64>, Vec<u64>),
    /// The selection as a block, if it is one.
    block: Option<Block>,
    /// The selection of the transfer, if it is a selection of points.
    points: Option<Points>,
    /// The transfer's elements as a one-dimensional dataspace.
    row: Id,
    search: Search<'a>,
    visit: &'a mut dyn FnMut(Share) -> Result<()>,
}

impl Shares<'_> {
    fn of(&mut self, mapping: &Mapping) -> Result<()> {
        match (&mapping.endless_place, &mapping.endless_source) {
            (Some(place), Some(source)) => self.of_endless(mapping, place, source),
            (Some(blocks), None) => self.of_blocks(mapping, blocks),
            (None, _) => {
                if mapping.bounds.as_ref().is_some_and(|bounds| !overlap(bounds, &self.bounds)) {
                    return Ok(());
                }
                if self.of_block(mapping)? {
                    return Ok(());
                }
                let place = self.library.copy_space(mapping.place.open(self.library)?.get())?;
                self.library.set_extent_of(&place, self.extent.get())?;
                self.at(mapping, 0, &place)
            }
        }
    }

    /// Visits a source that is shown as one block, in a transfer of one block. Returns whether the mapping is that
    /// simple.
    fn of_block(&mut self, mapping: &Mapping) -> Result<bool> {
        let (Some(wanted), Some(blocks)) = (&self.block, &mapping.blocks) else { return Ok(false) };
        // A mapping without bounds means the whole extent, however large it is by now.
        let is_as_it_was = match mapping.bounds {
            Some(_) => blocks.place.is_within(&self.dims),
            None => blocks.place == Block::all(&self.dims),
        };
        if !is_as_it_was {
            return Ok(false);
        }
        let Some(common) = wanted.common(&blocks.place) else { return Ok(true) };
        let (part, runs) = (blocks.in_source(&common), wanted.runs_of(&common));
        let Some(source) = self.find(mapping, 0)? else { return Ok(true) };
        // If the source has another extent by now, "all of it" has another meaning.
        if !mapping.fits(source.extent()?.dims()) {
            return Ok(false);
        }
        (self.visit)(Share { source, part: Part::Block(part), runs, missing: Vec::new() })?;
        Ok(true)
    }

    /// Visits a source of unlimited extent: as many of its elements are shown as exist, and as fit into the virtual
    /// dataset.
    fn of_endless(&mut self, mapping: &Mapping, place: &Unlimited, source: &Unlimited) -> Result<()> {
        let Some(found) = self.find(mapping, 0)? else { return Ok(()) };
        let extent = found.extent()?;
        let sizes = (self.dims.get(place.dimension), extent.dims().get(source.dimension));
        let (Some(here), Some(size)) = (sizes.0.copied(), sizes.1.copied()) else { return Ok(()) };
        let matching = source.end_of(place.slices_before(here), false);
        let (here, size) = if matching <= size {
            (here, matching)
        } else {
            (place.end_of(source.slices_before(size), false), size)
        };
        let shown = self.cut(&self.extent, place, here)?;
        let source_extent = self.library.space_of(&extent)?;
        let taken = self.cut(&source_extent, source, size)?;
        self.share(found, &shown, &taken)
    }

    /// Visits the sources of a mapping with one source for each block.
    fn of_blocks(&mut self, mapping: &Mapping, blocks: &Unlimited) -> Result<()> {
        let d = blocks.dimension;
        let first = blocks.whole_blocks_before(self.bounds.0[d]);
        let (behind, _) = blocks.blocks_before((self.bounds.1[d] + 1).min(self.dims[d]));
        for number in first..behind {
            let block = blocks.block(number);
            let end = block.start[d].saturating_add(block.block[d]);
            if end <= self.dims[d] {
                let place = self.library.copy_space(self.extent.get())?;
                self.library.select_hyperslab(&place, &block)?;
                self.at(mapping, number, &place)?;
            } else {
                self.at_cut_block(mapping, number, &block, end)?;
            }
        }
        Ok(())
    }

    /// Visits the source of the last block, if the virtual dataset ends within the block.
    fn at_cut_block(&mut self, mapping: &Mapping, number: u64, block: &Unlimited, end: u64) -> Result<()> {
        let Some(found) = self.find(mapping, number)? else { return Ok(()) };
        let mut sizes = self.dims.clone();
        sizes[block.dimension] = end;
        let larger = Dataspace::Simple { max: sizes.clone(), dims: sizes };
        let whole = self.library.space_of(&larger)?;
        self.library.select_hyperslab(&whole, block)?;
        let cut = self.library.copy_space(whole.get())?;
        self.library.clip_selection(&cut, &self.dims)?;
        let source = self.of_source(mapping, &found, &whole)?;
        let taken = self.library.project(whole.get(), source.get(), cut.get())?;
        self.library.set_extent_of(&cut, self.extent.get())?;
        self.share(found, &cut, &taken)
    }

    /// Visits a source that is shown at `place`, if the transfer touches `place`.
    fn at(&mut self, mapping: &Mapping, number: u64, place: &Id) -> Result<()> {
        if !self.touches(place)? {
            return Ok(());
        }
        let Some(found) = self.find(mapping, number)? else { return Ok(()) };
        let source = self.of_source(mapping, &found, place)?;
        self.share(found, place, &source)
    }

    /// Returns whether the transfer has elements at `place`.
    fn touches(&self, place: &Id) -> Result<bool> {
        let library = self.library;
        if let Some(points) = &self.points {
            return Ok(points.touch(&Elements::of(library, place)?));
        }
        let touched = library.project(self.wanted.get(), self.row.get(), place.get())?;
        Ok(library.selected_points(touched.get())? > 0)
    }

    /// Returns a mapping's source, if it exists.
    fn find(&mut self, mapping: &Mapping, number: u64) -> Result<Option<Source>> {
        let (file, dataset) = (mapping.file.of_block(number), mapping.dataset.of_block(number));
        let found = self.search.find(&file, &dataset)?;
        found.iter().try_for_each(|found| check_rank(mapping, found))?;
        Ok(found)
    }

    /// Selects, in the source's extent, the elements that a mapping takes from a source to show them at `place`.
    fn of_source(&self, mapping: &Mapping, found: &Source, place: &Id) -> Result<Id> {
        let library = self.library;
        let source = library.copy_space(mapping.source.open(library)?.get())?;
        let extent = found.extent()?;
        library.set_extent_of(&source, library.space_of(&extent)?.get())?;
        let (there, shown) = (library.selected_points(source.get())?, library.selected_points(place.get())?);
        // All of a source means all of its elements in C order, whatever its shape is. If the source has become larger
        // or smaller since the mapping was made, the selection is the block that was all of the source then.
        if there != shown {
            let block = block_of(library, place)?;
            let was = mapping.all_of_source(extent.dims().len(), block.as_ref());
            let was = was.filter(|was| {
                was.shape().iter().try_fold(1, |n: u64, size| n.checked_mul(*size)) == Some(shown)
            });
            let Some(was) = was else { return Err(has_other_elements(found, &extent, there, shown)) };
            library.select_hyperslab(&source, &was.hyperslab())?;
        }
        Ok(source)
    }

    /// Returns an unlimited selection, truncated at `size`, in an extent.
    fn cut(&self, extent: &Id, endless: &Unlimited, size: u64) -> Result<Id> {
        let space = self.library.copy_space(extent.get())?;
        match endless.before(size) {
            None => self.library.select_none(&space)?,
            Some(slab) => {
                self.library.select_hyperslab(&space, &slab)?;
                let mut sizes = self.library.extent_of(extent.get())?.dims().to_vec();
                if endless.blocks_before(size).1 {
                    for (d, bound) in sizes.iter_mut().enumerate() {
                        let blocks = slab.count[d].saturating_sub(1).saturating_mul(slab.stride[d]);
                        *bound = slab.start[d].saturating_add(blocks).saturating_add(slab.block[d]);
                    }
                    sizes[endless.dimension] = size;
                    self.library.clip_selection(&space, &sizes)?;
                }
            }
        }
        Ok(space)
    }

    /// Visits the transfer's share of a source: `taken` of the source is shown at `place`.
    fn share(&mut self, source: Source, place: &Id, taken: &Id) -> Result<()> {
        let library = self.library;
        if self.points.is_some() {
            return self.share_points(&source, place, taken);
        }
        let touched = library.project(self.wanted.get(), self.row.get(), place.get())?;
        if library.selected_points(touched.get())? == 0 {
            return Ok(());
        }
        let selection = library.project(place.get(), taken.get(), self.wanted.get())?;
        let Clipped { selection, runs, missing } =
            clipped(library, selection, &touched, source.extent()?.dims())?;
        (self.visit)(Share { source, part: Part::Space(selection), runs, missing })
    }

    /// Does the same as [`Self::share`], for a transfer of points.
    fn share_points(&mut self, source: &Source, place: &Id, taken: &Id) -> Result<()> {
        let (library, extent) = (self.library, source.extent()?);
        let Some(points) = &self.points else { return Ok(()) };
        let place = Elements::of(library, place)?;
        let Found { coordinates, runs, missing } =
            points.in_source(&place, &Elements::of(library, taken)?, extent.dims());
        let space = || library.space_of(&extent);
        if extent.dims().is_empty() {
            // A source without dimensions has one element, which each point shows.
            let each = runs.iter().flat_map(|run| run.offset..run.offset + run.count).collect::<Vec<_>>();
            return each.into_iter().try_for_each(|offset| {
                let (source, runs, missing) = (source.clone(), vec![Run { offset, count: 1 }], Vec::new());
                (self.visit)(Share { source, part: Part::Space(space()?), runs, missing })
            });
        }
        let selection = space()?;
        match coordinates.is_empty() {
            true if missing.is_empty() => return Ok(()),
            true => library.select_none(&selection)?,
            false => library.select_points(&selection, &coordinates)?,
        }
        (self.visit)(Share { source: source.clone(), part: Part::Space(selection), runs, missing })
    }
}

/// Returns the error for a source from which a mapping takes all elements, if their number differs from the number of
/// elements that the mapping shows.
fn has_other_elements(found: &Source, extent: &Dataspace, there: u64, shown: u64) -> Error {
    let text = format!(
        "the mapping of a virtual dataset shows {shown} elements and takes {there} elements from its source, {}, which has dimensions \
         {:?} now; create the virtual dataset again for this source",
        found.name(),
        extent.dims()
    );
    Error::new(Minor::BadValue, text).in_class(Major::Dataspace)
}

/// Returns the parts of `points` elements that no run covers.
fn holes(mut covered: Vec<Run>, points: u64) -> Vec<Run> {
    covered.sort_unstable_by_key(|run| run.offset);
    without(&[Run { offset: 0, count: points }], &covered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_the_uncovered_runs() {
        let run = |offset, count| Run { offset, count };
        assert_eq!(holes(vec![], 5), [run(0, 5)]);
        assert_eq!(holes(vec![run(3, 2), run(0, 2)], 5), [run(2, 1)]);
        assert_eq!(holes(vec![run(1, 4), run(2, 1)], 6), [run(0, 1), run(5, 1)]);
        assert_eq!(holes(vec![run(0, 6)], 6), []);
    }
}
