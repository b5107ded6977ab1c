//! The positions of a dataset's chunks in a native file that is an object of a store, so that the chunks of one read
//! are fetched in parallel. Such a file never changes while it is open.
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
/// The most chunks that are listed for any read; more chunks are listed only for a read of at least an eighth of them.
const MAX_LISTED_AT_ONCE: u64 = 8 << 10;
const LISTED_CHUNKS_PER_READ: u64 = 8;
/// The most chunks that are listed at all.
const MAX_LISTED: u64 = 4 << 20;

/// The most sources of a virtual dataset that are checked.
const MAX_SOURCES: usize = 64 << 10;

/// The known properties of one open dataset.
#[derive(Debug, Default)]
pub struct ObjectChunks {
    known: OnceLock<Known>,
    /// True if its file is an object of a store; queried if the handle does not say.
    is_in_store: OnceLock<bool>,
    /// The error if libhdf5's extent of the dataset does not reflect its sources. libhdf5 reads the sources again when
    /// the extent is queried again.
    unread_extent: Mutex<Option<Error>>,
    /// The error for which libhdf5 shows fill values in place of a source of the dataset. libhdf5 does not search for
    /// that source again while the dataset is open.
    spoilt: OnceLock<Error>,
}

#[derive(Debug)]
enum Known {
    /// The dataset has no chunks.
    Unchunked,
    /// The elements are in other files, which the dataset's file names.
    Elsewhere(Error),
    /// The dataset has chunks of these dimensions. They are listed when that first pays off.
    Chunked { chunk: Vec<u64>, chunks: OnceLock<Vec<Chunk>> },
}

/// The location of the elements of one dataset.
enum Place {
    /// Stored in the dataset's own file, apart from those of its sources.
    Here(Layout),
    /// Stored in other files that the dataset names.
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
    /// Returns the positions in the object of the chunks that a read of `file_space` touches, in the order of the
    /// read; none if the read does not need them. The dataset was checked ([`Self::check`]).
    ///
    /// # Errors
    /// For elements in other files; errors of the library, which the read encounters, too.
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

    /// Checks that the dataset's elements are in its own file, and that libhdf5 shows the elements of its sources.
    ///
    /// # Errors
    /// For elements in other files; the error if the store did not answer, which is not cached here.
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

    /// Returns whether the dataset's file is an object of a store.
    ///
    /// # Errors
    /// The errors of the library.
    pub fn is_in_store(&self, dataset: BorrowedDataset<'_>) -> Result<bool> {
        if let Some(known) = self.is_in_store.get() {
            return Ok(*known);
        }
        let found = dataset.is_in_store()?;
        Ok(*self.is_in_store.get_or_init(|| found))
    }

    /// Notes that a read showed fill values for data that the store could not read.
    pub fn spoil(&self, error: &Error) {
        self.spoilt.get_or_init(|| error.clone());
    }

    /// Returns the result of `H5Dget_space`, or the error because of which it is not the extent.
    ///
    /// # Errors
    /// The error if the store did not answer.
    pub fn checked_extent(&self, answer: c_int) -> Result<c_int> {
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

/// Returns the error of a read with this result that libhdf5 considers done although it is not: libhdf5 skips sources
/// of virtual datasets that it cannot open, and shows fill values.
pub fn passed_over(answer: c_int) -> Option<Error> {
    let unread = take_unread().filter(|_| answer >= 0);
    unread.map(|error| error.followed_by("; open the dataset again"))
}

/// Finds the location of a dataset's elements. libhdf5 itself opens the files that a dataset names; it opens external
/// storage without even using our driver. A virtual dataset shows elements of other datasets of its file, which may be
/// virtual in turn.
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
            // A missing source shows fill values. But a source that the store could not read may exist, and a link
            // into another file was refused.
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

/// Finds the location of a dataset's elements, apart from those of its sources.
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

/// Returns the paths, from the root, of the sources of a virtual dataset that were not seen yet.
fn sources(layout: &Layout, seen: &mut HashSet<CString>) -> Vec<CString> {
    let Layout::Virtual { mappings } = layout else { return Vec::new() };
    let paths = mappings.iter().filter_map(|mapping| CString::new([b"/", &*mapping.dataset].concat()).ok());
    paths.filter(|path| seen.insert(path.clone())).collect()
}

/// Returns the error for a source that is not opened: there are too many sources, or the path contains the number of a
/// block.
fn not_followed(path: &CStr) -> Error {
    let text = format!(
        "a virtual dataset of a native file in a store has more than {MAX_SOURCES} sources, or one whose name has a number of \
         blocks, '{}'; copy the file to a local folder, or import it (h5lake import)",
        path.to_string_lossy().escape_debug()
    );
    Error::new(Minor::NotFollowed, text)
}

/// Returns the error for elements in another file. libhdf5 itself searches for such files, among local ones, and shows
/// fill values for virtual sources that it does not find.
fn not_read(what: &str, file: &[u8]) -> Error {
    let file = String::from_utf8_lossy(file);
    let text = format!(
        "{what} of a native file in a store has elements in another file, '{}', which is not looked for; copy both files to a \
         local folder, or import them (h5lake import)",
        file.escape_debug()
    );
    Error::new(Minor::NotFollowed, text)
}

/// Lists all chunks with storage, by their numbers.
fn list(dataset: BorrowedDataset<'_>, chunk: &[u64], counts: &[u64]) -> Result<Vec<Chunk>> {
    let mut chunks = Vec::new();
    // If the library lists wrong coordinates, no chunk is prefetched.
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
        let reported = passed_over(0).map(|error| error.to_string());
        assert_eq!(reported.as_deref(), Some("the store does not answer; open the dataset again"));
        assert!(passed_over(0).is_none(), "it was told");
        note_unread(&failed());
        assert!(passed_over(-1).is_none(), "the library tells by itself");
    }

    #[test]
    fn an_extent_is_known_again_when_its_sources_are_read() {
        let chunks = ObjectChunks::default();
        note_unread(&Error::new(Minor::CannotOperate, "the store does not answer"));
        assert!(chunks.checked_extent(0).is_err() && chunks.unread_extent.lock().is_some());
        assert!(chunks.checked_extent(-1).is_ok() && chunks.unread_extent.lock().is_some());
        assert!(chunks.checked_extent(0).is_ok() && chunks.unread_extent.lock().is_none());
    }
}
