//! The parts of a virtual dataset.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use bytes::Bytes;
use h5lake_container::VirtualMapping;
use h5lake_container::encoded::{SimpleSelection, SimpleSpace, simple_space};

use crate::error::{Error, Result};
use crate::handles::block::{Block, BlockPair};
use crate::handles::mapping_index::{Bounds, MappingIndex};
use crate::handles::open_sources::Sources;
use crate::handles::source_name::SourceName;
use crate::hdf5::id::{Id, KeptId};
use crate::hdf5::library::Library;
use crate::hdf5::plist::virtual_sources::View;
use crate::hdf5::selection::Unlimited;

/// An open virtual dataset.
pub struct VirtualLayout {
    /// The elements of sources, and the places at which they are shown.
    pub mappings: Vec<Mapping>,
    index: MappingIndex,
    /// The rule for the end of the dataset.
    pub view: View,
    /// The number of missing sources that are skipped in the search for the end.
    pub gap: u64,
    /// The folder in which sources are searched; empty for none.
    pub prefix: Vec<u8>,
    /// The open sources.
    pub sources: Sources,
}

/// Elements of a source, or of one source for each block, and the place at which they are shown.
pub struct Mapping {
    /// The source's file.
    pub file: SourceName,
    /// The source's path in that file.
    pub dataset: SourceName,
    /// The elements of the virtual dataset that show the source.
    pub place: StoredSpace,
    /// The elements of the source that are shown.
    pub source: StoredSpace,
    /// The number of dimensions of the extent behind `place`.
    place_rank: usize,
    /// The number of dimensions in which `source` selects elements, unless it selects all elements of the source.
    pub source_rank: Option<usize>,
    /// The parameters of `place`, if it is unlimited.
    pub endless_place: Option<Unlimited>,
    /// The parameters of `source`, if it is unlimited.
    pub endless_source: Option<Unlimited>,
    /// The first and last coordinates of `place`, if it is limited and selects neither everything nor nothing.
    pub bounds: Option<Bounds>,
    /// The source's dimensions when the mapping was made, if all of the source is shown.
    pub source_dims: Option<Vec<u64>>,
    /// `place` and `source`, if each is one block.
    pub blocks: Option<BlockPair>,
}

impl Mapping {
    /// Opens a stored mapping.
    ///
    /// # Errors
    /// If the encoding of a selection is damaged; if the library refuses a selection.
    pub fn open(library: Library, stored: &VirtualMapping) -> Result<Self> {
        let read =
            |encoded: &[u8]| simple_space(encoded).map_err(|why| Error::damaged_encoding("selection", why));
        match read(&stored.place)?.zip(read(&stored.source)?) {
            Some((place, source)) => Self::simple(stored, place, source),
            None => Self::of_any_spaces(library, stored),
        }
    }

    /// Makes a mapping that shows all of a source or one block of it, in one block or everywhere. Thousands of such
    /// mappings are opened without a call of the library.
    fn simple(stored: &VirtualMapping, place: SimpleSpace, source: SimpleSpace) -> Result<Self> {
        let place_rank = place.dims.len();
        let (source_rank, source_dims) = match &source.selected {
            SimpleSelection::All => (None, Some(source.dims.clone())),
            SimpleSelection::Block(..) => (Some(source.dims.len()), None),
        };
        let has_bounds = matches!(place.selected, SimpleSelection::Block(..));
        let (place, source) = (block_in(place), block_in(source));
        let bounds = place.as_ref().filter(|_| has_bounds).map(Block::bounds);
        Ok(Self {
            file: SourceName::parse(&stored.file)?,
            dataset: SourceName::parse(&stored.dataset)?,
            place: StoredSpace::new(&stored.place),
            source: StoredSpace::new(&stored.source),
            place_rank,
            source_rank,
            endless_place: None,
            endless_source: None,
            bounds,
            source_dims,
            blocks: place.zip(source).and_then(|(place, source)| BlockPair::new(place, source)),
        })
    }

    fn of_any_spaces(library: Library, stored: &VirtualMapping) -> Result<Self> {
        let spaces = (StoredSpace::new(&stored.place), StoredSpace::new(&stored.source));
        let (place, source) = (spaces.0.open(library)?, spaces.1.open(library)?);
        let endless_place = library.unlimited_selection(place)?;
        let endless_source = library.unlimited_selection(source)?;
        let place_rank = library.extent_of(place.get())?.dims().len();
        let bounds = if endless_place.is_some() || library.selects_all_or_none(place) {
            None
        } else {
            Some(library.selection_bounds(place, place_rank)?)
        };
        let (file, dataset) = (SourceName::parse(&stored.file)?, SourceName::parse(&stored.dataset)?);
        let source_extent = library.extent_of(source.get())?;
        let source_rank = (!library.selects_all(source)).then(|| source_extent.dims().len());
        let source_dims = library.selects_all(source).then(|| source_extent.dims().to_vec());
        let blocks = block_of(library, place)?.zip(block_of(library, source)?);
        let blocks = blocks.and_then(|(place, source)| BlockPair::new(place, source));
        let (place, source) = spaces;
        Ok(Self {
            file,
            dataset,
            place,
            source,
            place_rank,
            source_rank,
            endless_place,
            endless_source,
            bounds,
            source_dims,
            blocks,
        })
    }

    /// Returns the blocks, if each block has a source of its own.
    pub fn numbered(&self) -> Option<&Unlimited> {
        let numbered = self.file.is_numbered() || self.dataset.is_numbered();
        self.endless_place.as_ref().filter(|_| numbered)
    }

    /// Returns whether a source of these dimensions has the same elements in the shown block as when the mapping was
    /// made.
    pub fn fits(&self, dims: &[u64]) -> bool {
        self.blocks.as_ref().is_some_and(|blocks| match self.source_dims.as_deref() {
            Some(all) => all == dims,
            None => blocks.source.is_within(dims),
        })
    }

    /// Returns the block that was all of the source when the mapping was made, for a mapping of all of a source that
    /// has `rank` dimensions now: the source's dimensions if they are stored, or otherwise those of `place`, the block
    /// that shows it.
    pub fn all_of_source(&self, rank: usize, place: Option<&Block>) -> Option<Block> {
        let was = self.source_dims.as_deref()?;
        // libhdf5 does not store the extent behind a selection of everything, and reads it as a scalar.
        let block = if was.is_empty() { Block::all(place?.shape()) } else { Block::all(was) };
        Some(block).filter(|block| block.shape().len() == rank && !block.shape().contains(&0))
    }

    /// Raises `least` to the smallest dimensions that a virtual dataset with this mapping can have.
    fn raise(&self, least: &mut [u64]) {
        if let Some((_, high)) = &self.bounds {
            for (size, last) in least.iter_mut().zip(high) {
                *size = (*size).max(last.saturating_add(1));
            }
        } else if let Some(endless) = &self.endless_place {
            for (d, size) in least.iter_mut().enumerate().filter(|(d, _)| *d != endless.dimension) {
                let blocks = endless.count[d].saturating_sub(1).saturating_mul(endless.stride[d]);
                *size = (*size).max(endless.start[d].saturating_add(blocks).saturating_add(endless.block[d]));
            }
        }
    }
}

impl VirtualLayout {
    /// Opens the parts of a virtual dataset as they are stored. `prefix` is the folder in which sources are searched.
    ///
    /// # Errors
    /// If the library refuses a stored encoding.
    pub fn open(
        library: Library,
        stored: &[VirtualMapping],
        view: (View, u64),
        prefix: Vec<u8>,
    ) -> Result<Self> {
        let (view, gap) = view;
        let mappings = open_all(library, stored)?;
        let index = MappingIndex::of(mappings.iter().map(|mapping| mapping.bounds.as_ref()));
        Ok(Self { mappings, index, view, gap, prefix, sources: Sources::default() })
    }

    /// Returns the mappings that may be shown in a box of elements, in their order.
    pub fn near<'a>(&'a self, bounds: &Bounds) -> impl Iterator<Item = &'a Mapping> + use<'a> {
        self.index.near(bounds).into_iter().filter_map(|position| self.mappings.get(position))
    }

    /// Returns the smallest dimensions that the dataset can have.
    pub fn least_extent(&self, rank: usize) -> Vec<u64> {
        least_extent(&self.mappings, rank)
    }
}

/// A dataspace of a mapping as it is stored, which is opened when it is first needed.
pub struct StoredSpace {
    encoded: Bytes,
    space: OnceLock<KeptId>,
}

impl StoredSpace {
    fn new(encoded: &Bytes) -> Self {
        Self { encoded: encoded.clone(), space: OnceLock::new() }
    }

    /// Returns the dataspace.
    ///
    /// # Errors
    /// If the library refuses it.
    pub fn open(&self, library: Library) -> Result<&KeptId> {
        if let Some(space) = self.space.get() {
            return Ok(space);
        }
        let space = library.decode_space(&self.encoded)?.kept();
        Ok(self.space.get_or_init(|| space))
    }
}

/// Returns the elements that a dataspace selects, as a block; `None` for a dataspace without dimensions.
fn block_in(space: SimpleSpace) -> Option<Block> {
    match space.selected {
        SimpleSelection::All => (!space.dims.is_empty()).then(|| Block::all(&space.dims)),
        SimpleSelection::Block(start, shape) => Some(Block::new(start, shape)),
    }
}

/// Returns the selection of a dataspace, if it is one block.
///
/// # Errors
/// If the library refuses the dataspace.
pub fn block_of(library: Library, space: &Id) -> Result<Option<Block>> {
    if library.selects_all(space) {
        let extent = library.extent_of(space.get())?;
        return Ok((!extent.dims().is_empty()).then(|| Block::all(extent.dims())));
    }
    Ok(library.hyperslab_of(space)?.as_ref().and_then(Block::of_hyperslab))
}

fn open_all(library: Library, stored: &[VirtualMapping]) -> Result<Vec<Mapping>> {
    stored.iter().map(|mapping| Mapping::open(library, mapping)).collect()
}

fn least_extent(mappings: &[Mapping], rank: usize) -> Vec<u64> {
    let mut least = vec![0; rank];
    mappings.iter().for_each(|mapping| mapping.raise(&mut least));
    least
}

/// Refuses dimensions that do not contain all mapped elements.
///
/// # Errors
/// The error that native HDF5 reports (`H5D_virtual_check_min_dims`).
pub fn check_extent(library: Library, mappings: &[VirtualMapping], dims: &[u64]) -> Result<()> {
    let mappings = open_all(library, mappings)?;
    for mapping in &mappings {
        if mapping.place_rank != dims.len() {
            return Err(Error::argument("a virtual selection has another rank than the virtual dataset"));
        }
    }
    let least = least_extent(&mappings, dims.len());
    if dims.iter().zip(&least).any(|(size, least)| size < least) {
        return Err(Error::argument(
            "virtual dataset dimensions not large enough to contain all limited dimensions in all selections",
        ));
    }
    Ok(())
}
