//! What a virtual dataset is made of.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use h5lake_container::VirtualMapping;
use h5lake_ledger::locks::Mutex;

use crate::error::{Error, Result};
use crate::handles::block::{Block, BlockPair};
use crate::handles::open_objects::DatasetHandle;
use crate::handles::source_name::SourceName;
use crate::hdf5::id::{Id, KeptId};
use crate::hdf5::library::Library;
use crate::hdf5::plist::virtual_sources::View;
use crate::hdf5::selection::Unlimited;
use crate::session::Session;
use crate::session::registry;

/// Source files that a virtual dataset keeps open at most; with more it closes all and starts anew.
const MOST_FILES: usize = 256;

/// A virtual dataset that is open.
pub struct VirtualLayout {
    /// What shows where.
    pub mappings: Vec<Mapping>,
    /// Where the dataset ends.
    pub view: View,
    /// How many missing sources are passed over in the search for its end.
    pub gap: u64,
    /// The folder to look for sources in; empty for none.
    pub prefix: Vec<u8>,
    /// The sources that are open.
    pub sources: Sources,
}

/// Elements of a source, or of one source for each block, and where they show.
pub struct Mapping {
    /// The source's file.
    pub file: SourceName,
    /// The source's path in it.
    pub dataset: SourceName,
    /// Where it shows.
    pub place: KeptId,
    /// What shows.
    pub source: KeptId,
    /// Number of dimensions that `source` selects elements in, unless it selects all elements of the source.
    pub source_rank: Option<usize>,
    /// The parameters of `place`, if it has no end.
    pub endless_place: Option<Unlimited>,
    /// The parameters of `source`, if it has no end.
    pub endless_source: Option<Unlimited>,
    /// First and last coordinates of `place`, if it has an end and is neither all nor nothing.
    pub bounds: Option<(Vec<u64>, Vec<u64>)>,
    /// The source's dimensions when the mapping was made, if all of it shows.
    pub source_dims: Option<Vec<u64>>,
    /// `place` and `source`, if each is one block.
    pub blocks: Option<BlockPair>,
}

impl Mapping {
    /// Opens a stored mapping.
    ///
    /// # Errors
    /// If the library refuses a selection.
    pub fn open(library: Library, stored: &VirtualMapping) -> Result<Self> {
        let (place, source) =
            (library.decode_space(&stored.place)?.kept(), library.decode_space(&stored.source)?.kept());
        let endless_place = library.unlimited_selection(&place)?;
        let endless_source = library.unlimited_selection(&source)?;
        let rank = library.extent_of(place.get())?.dims().len();
        let bounds = if endless_place.is_some() || library.selects_all_or_none(&place) {
            None
        } else {
            Some(library.selection_bounds(&place, rank)?)
        };
        let (file, dataset) = (SourceName::parse(&stored.file)?, SourceName::parse(&stored.dataset)?);
        let source_extent = library.extent_of(source.get())?;
        let source_rank = (!library.selects_all(&source)).then(|| source_extent.dims().len());
        let source_dims = library.selects_all(&source).then(|| source_extent.dims().to_vec());
        let blocks = block_of(library, &place)?.zip(block_of(library, &source)?);
        let blocks = blocks.and_then(|(place, source)| BlockPair::new(place, source));
        Ok(Self {
            file,
            dataset,
            place,
            source,
            source_rank,
            endless_place,
            endless_source,
            bounds,
            source_dims,
            blocks,
        })
    }

    /// Whether each block has a source of its own; gives the blocks.
    pub fn numbered(&self) -> Option<&Unlimited> {
        let numbered = self.file.is_numbered() || self.dataset.is_numbered();
        self.endless_place.as_ref().filter(|_| numbered)
    }

    /// Whether the block that shows is in a source of these dimensions what it was when the mapping was made.
    pub fn fits(&self, dims: &[u64]) -> bool {
        self.blocks.as_ref().is_some_and(|blocks| match self.source_dims.as_deref() {
            Some(all) => all == dims,
            None => blocks.source.is_within(dims),
        })
    }

    /// The block that was all of the source when the mapping was made, for a mapping of all of a source that has `rank` dimensions now:
    /// the source's dimensions if they are stored, or else those of `place`, the block that shows it.
    pub fn all_of_source(&self, rank: usize, place: Option<&Block>) -> Option<Block> {
        let was = self.source_dims.as_deref()?;
        // libhdf5 does not store the extent behind a selection of everything, and reads it as a scalar.
        let block = if was.is_empty() { Block::all(place?.shape()) } else { Block::all(was) };
        Some(block).filter(|block| block.shape().len() == rank && !block.shape().contains(&0))
    }

    /// The smallest dimensions that a virtual dataset with this mapping can have.
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
    /// What a virtual dataset is made of, as it is stored. `prefix` is the folder to look for sources in.
    ///
    /// # Errors
    /// If the library refuses what is stored.
    pub fn open(
        library: Library,
        stored: &[VirtualMapping],
        view: (View, u64),
        prefix: Vec<u8>,
    ) -> Result<Self> {
        let (view, gap) = view;
        Ok(Self { mappings: open_all(library, stored)?, view, gap, prefix, sources: Sources::default() })
    }

    /// The smallest dimensions that the dataset can have.
    pub fn least_extent(&self, rank: usize) -> Vec<u64> {
        least_extent(&self.mappings, rank)
    }
}

/// What a dataspace selects, if it is one block.
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

/// Refuses dimensions that do not hold all that is mapped.
///
/// # Errors
/// As native HDF5 words it (`H5D_virtual_check_min_dims`).
pub fn check_extent(library: Library, mappings: &[VirtualMapping], dims: &[u64]) -> Result<()> {
    let mappings = open_all(library, mappings)?;
    for mapping in &mappings {
        if library.extent_of(mapping.place.get())?.dims().len() != dims.len() {
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

/// Sources in containers that stay open with the virtual dataset.
#[derive(Default)]
pub struct Sources {
    open: Mutex<OpenSource>,
}

/// In an order that is the same in all processes of an MPI program, which commit files together.
#[derive(Default)]
struct OpenSource {
    /// By the name that the mapping gives.
    files: BTreeMap<Vec<u8>, Arc<Session>>,
    /// By file and path.
    datasets: BTreeMap<(Vec<u8>, Vec<u8>), Arc<DatasetHandle>>,
}

impl Sources {
    /// A source that is open.
    pub fn dataset(&self, key: &(Vec<u8>, Vec<u8>)) -> Option<Arc<DatasetHandle>> {
        self.open.lock().datasets.get(key).cloned()
    }

    /// Keeps a source open.
    pub fn keep_dataset(&self, key: (Vec<u8>, Vec<u8>), source: Arc<DatasetHandle>) {
        // What it replaces is closed when the lock is free again.
        let old = self.open.lock().datasets.insert(key, source);
        drop(old);
    }

    /// A file that is open.
    pub fn file(&self, name: &[u8]) -> Option<Arc<Session>> {
        self.open.lock().files.get(name).cloned()
    }

    /// Keeps a file open. With too many all are closed first.
    ///
    /// # Errors
    /// As [`Self::close`].
    pub fn keep_file(&self, name: &[u8], session: Arc<Session>) -> Result<()> {
        let full = self.open.lock().files.len() >= MOST_FILES;
        if full {
            self.close()?;
        }
        let old = self.open.lock().files.insert(name.to_vec(), session);
        drop(old);
        Ok(())
    }

    /// Commits what was written to files that the program has not open to write itself: none of its flushes would.
    ///
    /// # Errors
    /// Those of the commits.
    pub fn commit(&self) -> Result<()> {
        let files: Vec<_> = self.open.lock().files.values().cloned().collect();
        // All of them: other processes wait in what they have open together with this one.
        let mut done = Ok(());
        for file in &files {
            done = done.and(commit_alone(file));
        }
        done
    }

    /// Commits elements that were written to such files. A write is no call of all processes: where others have a file open together with
    /// this one, it commits its own.
    ///
    /// # Errors
    /// Those of the commits.
    pub fn commit_own(&self) -> Result<()> {
        let files: Vec<_> = self.open.lock().files.values().cloned().collect();
        files.iter().try_for_each(commit_own)
    }

    /// The files that are open, and those of sources that are virtual themselves: in the same order in all processes.
    pub fn files(&self) -> Vec<Arc<Session>> {
        let open = self.open.lock();
        let mut files: Vec<_> = open.files.values().cloned().collect();
        let datasets: Vec<_> = open.datasets.values().cloned().collect();
        drop(open);
        files.extend(datasets.iter().flat_map(|dataset| dataset.source_files()));
        files
    }

    /// Closes all, with what was written to them. What cannot be committed is kept for another try, see [`Session::keep_unclosed`].
    ///
    /// # Errors
    /// Those of encoding chunks.
    pub fn close(&self) -> Result<()> {
        let open = std::mem::take(&mut *self.open.lock());
        let mut closed = Ok(());
        for source in open.datasets.into_values() {
            if let Some(source) = Arc::into_inner(source) {
                closed = closed.and(source.release());
            }
        }
        for session in open.files.into_values() {
            if let Err(error) = commit_alone(&session) {
                session.keep_unclosed(&error);
            }
        }
        closed
    }
}

fn commit_alone(session: &Arc<Session>) -> Result<()> {
    if registry::has_writing_file(&session.container) { Ok(()) } else { session.commit(Ok(())) }
}

/// As [`commit_alone`], but without those processes that have the file open together with this one: they do not wait.
fn commit_own(session: &Arc<Session>) -> Result<()> {
    let Some(together) = session.sharers() else { return commit_alone(session) };
    let is_flushed = registry::has_writing_file(&session.container) || !session.container.has_changes();
    if is_flushed || session.is_inherited() { Ok(()) } else { together.commit_own(&session.container) }
}
