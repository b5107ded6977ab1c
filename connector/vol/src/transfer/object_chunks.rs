//! Where the chunks of a dataset lie in a native file that is an object of a store, so that those of one read are fetched side by side.
//! Such a file never changes while it is open.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::ffi::{CStr, CString, c_int};
use std::ops::Range;
use std::sync::OnceLock;

use h5lake_container::{Layout, ObjectFile, Selection, touched_chunks};
use h5lake_ledger::locks::Mutex;
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Minor, Result};
use crate::hdf5::library::Hid;
use crate::hdf5::native::chunked_dataset::BorrowedDataset;
use crate::hdf5::native::object_driver::{take_refused, take_unread};

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
pub struct ObjectChunks {
    known: OnceLock<Known>,
    /// Whether its file is an object of a store: asked where the handle does not say so.
    is_in_store: OnceLock<bool>,
    /// Why the extent that libhdf5 has for it is not what its sources say. It asks them again when it is asked for the extent.
    unread_extent: Mutex<Option<Error>>,
    /// Why libhdf5 shows fill values for a source of it. It does not look for that again while the dataset is open.
    spoilt: OnceLock<Error>,
}

#[derive(Debug)]
enum Known {
    /// It has no chunks.
    Unchunked,
    /// Elements that other files have, which the file names.
    Elsewhere(Error),
    /// It has chunks of these dimensions. They are listed when that is first worth it.
    Chunked { chunk: Vec<u64>, chunks: OnceLock<Vec<Chunk>> },
}

/// Where the elements of one dataset lie.
enum Place {
    /// In its own file, or those of its sources do.
    Here(Layout),
    /// In files that it names.
    Elsewhere(Error),
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
    /// read can do without. The dataset was checked ([`Self::check`]).
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

    /// Checks that the dataset has its elements itself, and that libhdf5 shows those of its sources.
    ///
    /// # Errors
    /// For elements in other files; what kept the store from answering, which is not remembered here.
    pub fn check(&self, dataset: BorrowedDataset<'_>) -> Result<()> {
        let failed = self.spoilt.get().cloned().or_else(|| self.unread_extent.lock().clone());
        if let Some(error) = failed {
            return Err(error);
        }
        match self.known(dataset)? {
            Known::Elsewhere(error) => Err(error.clone()),
            Known::Unchunked | Known::Chunked { .. } => Ok(()),
        }
    }

    /// Whether the dataset's file is an object of a store.
    ///
    /// # Errors
    /// Those of the library.
    pub fn is_in_store(&self, dataset: BorrowedDataset<'_>) -> Result<bool> {
        if let Some(known) = self.is_in_store.get() {
            return Ok(*known);
        }
        let found = dataset.is_in_store()?;
        Ok(*self.is_in_store.get_or_init(|| found))
    }

    /// Notes that a read showed fill values for what the store could not read.
    pub fn spoil(&self, error: &Error) {
        self.spoilt.get_or_init(|| error.clone());
    }

    /// What `H5Dget_space` answered, or why that is not the extent.
    ///
    /// # Errors
    /// What kept the store from answering.
    pub fn extent_told(&self, answer: c_int) -> Result<c_int> {
        if answer < 0 {
            return Ok(answer);
        }
        let unread = take_unread();
        let before = std::mem::replace(&mut *self.unread_extent.lock(), unread.clone());
        drop(before);
        unread.map_or(Ok(answer), Err)
    }

    fn known(&self, dataset: BorrowedDataset<'_>) -> Result<&Known> {
        if let Some(known) = self.known.get() {
            return Ok(known);
        }
        let known = match place_of(dataset)? {
            Place::Elsewhere(error) => Known::Elsewhere(error),
            Place::Here(Layout::Chunked { chunk }) => Known::Chunked { chunk, chunks: OnceLock::new() },
            Place::Here(_) => Known::Unchunked,
        };
        Ok(self.known.get_or_init(|| known))
    }
}

/// Why a read that libhdf5 answered so, and calls done, is not: it passes over sources of virtual datasets that it cannot open, and shows
/// fill values.
pub fn passed_over(answer: c_int) -> Option<Error> {
    let unread = take_unread().filter(|_| answer >= 0);
    unread.map(|error| error.followed_by("; open the dataset again"))
}

/// Where the elements of a dataset lie. libhdf5 opens files that it names by itself, those of external storage not even by our driver. A
/// virtual dataset shows what others of its file have, which may be virtual in turn.
fn place_of(dataset: BorrowedDataset<'_>) -> Result<Place> {
    let layout = match own_place(dataset)? {
        Place::Here(layout) => layout,
        elsewhere => return Ok(elsewhere),
    };
    let mut seen = HashSet::new();
    let mut waiting = sources(&layout, &mut seen);
    while let Some(path) = waiting.pop() {
        if seen.len() > MAX_SOURCES || path.as_bytes().contains(&b'%') {
            return Ok(Place::Elsewhere(not_followed(&path)));
        }
        drop((take_unread(), take_refused()));
        let Ok(source) = dataset.open_other(&path) else {
            // What is not there shows fill values. What the store could not read may be there, and a link into another file was refused.
            match (take_unread(), take_refused()) {
                (Some(unread), _) => return Err(unread),
                (None, Some(refused)) => return Ok(Place::Elsewhere(refused)),
                (None, None) => continue,
            }
        };
        match own_place(source.dataset())? {
            Place::Here(layout) => waiting.extend(sources(&layout, &mut seen)),
            elsewhere => return Ok(elsewhere),
        }
    }
    Ok(Place::Here(layout))
}

/// Where the elements of a dataset lie, but for those of its sources.
fn own_place(dataset: BorrowedDataset<'_>) -> Result<Place> {
    let (library, list) = (dataset.library(), dataset.creation_list()?);
    if let Some(file) = library.first_external_file(list.get())? {
        return Ok(Place::Elsewhere(not_read("a dataset with external storage", &file)));
    }
    let layout = library.layout(list.get())?;
    if let Layout::Virtual { mappings } = &layout
        && let Some(mapping) = mappings.iter().find(|mapping| mapping.file != b".")
    {
        return Ok(Place::Elsewhere(not_read("a virtual dataset", &mapping.file)));
    }
    Ok(Place::Here(layout))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hdf5::native::object_driver::note_unread;

    #[test]
    fn a_read_that_passed_over_a_failed_one_is_an_error() {
        let failed = || Error::new(Minor::CannotOperate, "the store does not answer");
        note_unread(&failed());
        note_unread(&Error::new(Minor::CannotOperate, "nor now"));
        let told = passed_over(0).map(|error| error.to_string());
        assert_eq!(told.as_deref(), Some("the store does not answer; open the dataset again"));
        assert!(passed_over(0).is_none(), "it was told");
        note_unread(&failed());
        assert!(passed_over(-1).is_none(), "the library tells by itself");
    }

    #[test]
    fn an_extent_is_known_again_when_its_sources_are_read() {
        let chunks = ObjectChunks::default();
        note_unread(&Error::new(Minor::CannotOperate, "the store does not answer"));
        assert!(chunks.extent_told(0).is_err() && chunks.unread_extent.lock().is_some());
        assert!(chunks.extent_told(-1).is_ok() && chunks.unread_extent.lock().is_some());
        assert!(chunks.extent_told(0).is_ok() && chunks.unread_extent.lock().is_none());
    }
}
