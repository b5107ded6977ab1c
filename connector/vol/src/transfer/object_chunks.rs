//! Where the chunks of a dataset lie in a native file that is an object of a store, so that those of one read are fetched side by side.
//! Such a file never changes while it is open.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::ops::Range;
use std::sync::OnceLock;

use h5lake_container::{Layout, ObjectFile, Selection, touched_chunks};
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Minor, Result};
use crate::hdf5::library::Hid;
use crate::hdf5::native::chunked_dataset::BorrowedDataset;
use crate::hdf5::native::object_driver::take_refused;

const ALL: Hid = sys::H5S_ALL as Hid;
const BLOCK: Hid = sys::H5S_BLOCK as Hid;
const LISTED: Hid = sys::H5S_PLIST as Hid;
/// So many chunks are listed for any read; more of them for one of at least an eighth of all.
const MAX_LISTED_AT_ONCE: u64 = 8 << 10;
const LISTED_CHUNKS_PER_READ: u64 = 8;
/// Chunks that are listed at most.
const MAX_LISTED: u64 = 4 << 20;

/// Sources of a virtual dataset that are looked at, at most.
const MAX_SOURCES: usize = 64 << 10;

/// What is known of one open dataset.
#[derive(Debug, Default)]
pub struct ObjectChunks(OnceLock<Known>);

#[derive(Debug)]
enum Known {
    /// It has no chunks.
    Unchunked,
    /// Elements that other files have, which the file names.
    Elsewhere(Error),
    /// It has chunks of these dimensions. They are listed when that is first worth it.
    Chunked { chunk: Vec<u64>, chunks: OnceLock<Vec<Chunk>> },
}

/// A chunk with storage, by its number (C order).
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Chunk {
    number: u64,
    address: u64,
    bytes: u64,
}

impl ObjectChunks {
    /// The places in the object of the chunks that a read of `file_space` touches, in the order in which it comes to them; none where the
    /// read can do without.
    ///
    /// # Errors
    /// For elements in other files; those of the library, which the read has, too.
    pub fn places(
        &self,
        dataset: BorrowedDataset<'_>,
        object: &ObjectFile,
        file_space: Hid,
    ) -> Result<Vec<Range<u64>>> {
        let (chunk, chunks) = match self.known(dataset)? {
            Known::Unchunked => return Ok(Vec::new()),
            Known::Elsewhere(error) => return Err(error.clone()),
            Known::Chunked { chunk, chunks } => (chunk, chunks),
        };
        if file_space == BLOCK || file_space == LISTED || object.is_here() {
            return Ok(Vec::new());
        }
        let (library, dims) = (dataset.library(), dataset.dims()?);
        let selection = match file_space {
            ALL => Selection::All,
            space => library.selection_of(space, &dims)?.0,
        };
        let Some(touched) = touched_chunks(&dims, chunk, &selection, MAX_LISTED)? else {
            return Ok(Vec::new());
        };
        if touched.len() < 2 {
            return Ok(Vec::new());
        }
        let counts: Vec<u64> = dims.iter().zip(chunk).map(|(dim, chunk)| dim.div_ceil(*chunk)).collect();
        let total = counts.iter().copied().fold(1, u64::saturating_mul);
        let is_worth_it = total <= MAX_LISTED_AT_ONCE
            || (total <= MAX_LISTED && touched.len() as u64 >= total / LISTED_CHUNKS_PER_READ);
        let chunks = match chunks.get() {
            Some(chunks) => chunks,
            None if is_worth_it => {
                let listed = list(dataset, chunk, &counts)?;
                chunks.get_or_init(|| listed)
            }
            None => return Ok(Vec::new()),
        };
        let place = |number: &u64| {
            let found = chunks.binary_search_by_key(number, |chunk| chunk.number).ok()?;
            let Chunk { address, bytes, .. } = chunks[found];
            Some(address..address.checked_add(bytes)?)
        };
        Ok(touched.iter().filter_map(place).collect())
    }

    /// Checks that the dataset has its elements itself.
    ///
    /// # Errors
    /// For elements in other files.
    pub fn check(&self, dataset: BorrowedDataset<'_>) -> Result<()> {
        match self.known(dataset)? {
            Known::Elsewhere(error) => Err(error.clone()),
            Known::Unchunked | Known::Chunked { .. } => Ok(()),
        }
    }

    fn known(&self, dataset: BorrowedDataset<'_>) -> Result<&Known> {
        if let Some(known) = self.0.get() {
            return Ok(known);
        }
        let layout = layout_of(dataset)?;
        let known = match elsewhere(dataset, &layout)? {
            Some(error) => Known::Elsewhere(error),
            None => match layout {
                Layout::Chunked { chunk } => Known::Chunked { chunk, chunks: OnceLock::new() },
                _ => Known::Unchunked,
            },
        };
        Ok(self.0.get_or_init(|| known))
    }
}

fn layout_of(dataset: BorrowedDataset<'_>) -> Result<Layout> {
    let list = dataset.creation_list()?;
    dataset.library().layout(list.get())
}

/// Which elements of a dataset lie in another file, if any do. libhdf5 opens such files by itself, those of external storage not
/// even by our driver. A virtual dataset shows what others of its file have, which may be virtual in turn.
fn elsewhere(dataset: BorrowedDataset<'_>, layout: &Layout) -> Result<Option<Error>> {
    let mut seen = HashSet::new();
    let mut waiting = sources(layout, &mut seen);
    if let Some(error) = named(layout) {
        return Ok(Some(error));
    }
    while let Some(path) = waiting.pop() {
        if seen.len() > MAX_SOURCES || path.as_bytes().contains(&b'%') {
            return Ok(Some(not_followed(&path)));
        }
        drop(take_refused());
        let Ok(source) = dataset.open_other(&path) else {
            // What is not there shows fill values. A link into another file was refused.
            match take_refused() {
                Some(refused) => return Ok(Some(refused)),
                None => continue,
            }
        };
        let layout = layout_of(source.dataset())?;
        if let Some(error) = named(&layout) {
            return Ok(Some(error));
        }
        waiting.extend(sources(&layout, &mut seen));
    }
    Ok(None)
}

/// The error for a file that a layout names.
fn named(layout: &Layout) -> Option<Error> {
    match layout {
        Layout::Virtual { mappings } => {
            let mapping = mappings.iter().find(|mapping| mapping.file != b".")?;
            Some(not_read("a virtual dataset", &mapping.file))
        }
        Layout::External { files } => {
            files.first().map(|file| not_read("a dataset with external storage", &file.name))
        }
        Layout::Compact | Layout::Contiguous | Layout::Chunked { .. } => None,
    }
}

/// The paths, from the root, of the sources of a virtual dataset that were not seen yet.
fn sources(layout: &Layout, seen: &mut HashSet<CString>) -> Vec<CString> {
    let Layout::Virtual { mappings } = layout else { return Vec::new() };
    let paths = mappings.iter().filter_map(|mapping| CString::new([b"/", &*mapping.dataset].concat()).ok());
    paths.filter(|path| seen.insert(path.clone())).collect()
}

/// A source whose path is not looked up: there are too many, or it has the number of a block in it.
fn not_followed(path: &CStr) -> Error {
    let text = format!(
        "a virtual dataset of a native file in a store has more than {MAX_SOURCES} sources, or one whose name has a number of \
         blocks, '{}'; copy the file to a local folder, or import it (h5lake import)",
        path.to_string_lossy().escape_debug()
    );
    Error::new(Minor::NotFollowed, text)
}

/// libhdf5 looks for such files by itself, among local ones, and shows fill values for virtual sources that it does not find.
fn not_read(what: &str, file: &[u8]) -> Error {
    let file = String::from_utf8_lossy(file);
    let text = format!(
        "{what} of a native file in a store has elements in another file, '{}', which is not looked for; copy both files to a \
         local folder, or import them (h5lake import)",
        file.escape_debug()
    );
    Error::new(Minor::NotFollowed, text)
}

/// All chunks with storage, by their numbers.
fn list(dataset: BorrowedDataset<'_>, chunk: &[u64], counts: &[u64]) -> Result<Vec<Chunk>> {
    let mut chunks = Vec::new();
    // Where the library does not tell the truth, nothing is fetched ahead.
    dataset.each_chunk(counts.len(), &mut |offset, place| {
        let coords = offset.iter().zip(chunk).map(|(at, chunk)| at / chunk);
        let number =
            coords.zip(counts).fold(0, |n: u64, (at, count)| n.wrapping_mul(*count).wrapping_add(at));
        chunks.push(Chunk { number, address: place.address, bytes: place.bytes });
        chunks.len() as u64 <= MAX_LISTED
    })?;
    chunks.sort_unstable();
    Ok(chunks)
}
