//! Where the raw data of a native file lies: a list for whoever makes a container that refers to it, in place of copies of elements.
//!
//! The list is for this build alone, and passes between two processes of one tool. All numbers are little-endian.

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::{c_int, c_uint, c_void};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use h5lake_container::encoded::check_datatype;
use h5lake_container::{Filter, Layout};
use h5lake_plugin_abi::bindings as sys;

use super::CrossCopier;
use super::address_probe::swaps_coordinates;
use super::chunks::later_unlimited_dimension;
use super::shapes::Shift;
use super::swapped_coordinates::Swapped;
use crate::error::{Error, Minor, Result};
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::transfer::memory::references::MemoryReferences;

/// `HADDR_UNDEF`.
const NO_ADDRESS: u64 = u64::MAX;
/// HDF5's bound of dimensions.
const MAX_RANK: usize = 32;
/// The longest text of the list.
const MAX_TEXT: u64 = 1 << 20;

/// Where some raw data lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawPlace {
    /// A chunk.
    Chunk {
        /// The dataset's id in the container.
        dataset: u64,
        /// The element at which it begins.
        offset: Vec<u64>,
        /// Bit n: filter n was skipped.
        mask: u32,
        /// The first byte in the file.
        address: u64,
        /// Bytes.
        length: u64,
    },
    /// Elements of a contiguous dataset.
    Contiguous {
        /// The dataset's id in the container.
        dataset: u64,
        /// The first byte in the dataset.
        first: u64,
        /// The first byte in the file.
        address: u64,
        /// Bytes.
        length: u64,
    },
    /// The chunks of a dataset went through these filters, and not those that it was made with: plugins may set other parameters.
    Filters {
        /// The dataset's id in the container.
        dataset: u64,
        /// As the native file has them.
        filters: Vec<Filter>,
    },
    /// The elements were copied.
    Copied {
        /// The dataset's path.
        path: String,
        /// Why.
        reason: String,
    },
    /// Several files are joined, and this dataset is not: it is that of the first file.
    NotJoined {
        /// The dataset's path.
        path: String,
    },
    /// What follows lies in that file, counted from 0.
    File {
        /// Its number.
        number: u64,
    },
}

/// The list while it is written.
pub(super) struct Places {
    out: RefCell<BufWriter<File>>,
    /// What has to be added to the addresses that libhdf5 gives of chunks, and of contiguous data, in the present file.
    shift: Cell<(u64, u64)>,
    /// A path for files that tell what libhdf5 does.
    scratch: PathBuf,
    /// Whether libhdf5 swaps coordinates of chunks in extensible arrays, once that was asked.
    swaps: OnceCell<bool>,
}

fn io(error: &io::Error) -> Error {
    Error::new(Minor::CannotOperate, format!("the list of places cannot be written: {error}"))
}

impl Places {
    pub(super) fn create(path: &Path, shift: (u64, u64)) -> Result<Self> {
        let file = File::create(path).map_err(|error| io(&error))?;
        let (out, scratch) = (RefCell::new(BufWriter::new(file)), path.with_extension("probe"));
        Ok(Self { out, shift: Cell::new(shift), scratch, swaps: OnceCell::new() })
    }

    /// What follows lies in another file.
    pub(super) fn begin_file(&self, number: u64, shift: (u64, u64)) -> Result<()> {
        self.shift.set(shift);
        self.numbers(b'F', &[number])
    }

    fn put(&self, bytes: &[u8]) -> Result<()> {
        self.out.borrow_mut().write_all(bytes).map_err(|error| io(&error))
    }

    /// Whether libhdf5 swaps coordinates.
    fn swaps(&self, library: Library) -> Result<bool> {
        if let Some(swaps) = self.swaps.get() {
            return Ok(*swaps);
        }
        let found = swaps_coordinates(library, &self.scratch)?;
        Ok(*self.swaps.get_or_init(|| found))
    }

    pub(super) fn finish(self) -> Result<()> {
        self.out.into_inner().flush().map_err(|error| io(&error))
    }

    fn numbers(&self, letter: u8, numbers: &[u64]) -> Result<()> {
        let mut line = Vec::with_capacity(1 + 8 * numbers.len());
        line.push(letter);
        numbers.iter().for_each(|n| line.extend_from_slice(&n.to_le_bytes()));
        self.put(&line)
    }

    pub(super) fn filters(&self, dataset: u64, filters: &[Filter]) -> Result<()> {
        self.numbers(b'P', &[dataset, filters.len() as u64])?;
        filters.iter().try_for_each(|filter| {
            let Filter { id, flags, name, client_data } = filter;
            let id = u64::from(id.cast_unsigned());
            self.numbers(b'p', &[id, (*flags).into(), name.len() as u64, client_data.len() as u64])?;
            self.put(name)?;
            client_data.iter().try_for_each(|value| self.put(&value.to_le_bytes()))
        })
    }

    pub(super) fn copied(&self, path: &str, reason: &str) -> Result<()> {
        self.numbers(b'X', &[path.len() as u64, reason.len() as u64])?;
        self.put(path.as_bytes())?;
        self.put(reason.as_bytes())
    }

    pub(super) fn not_joined(&self, path: &str) -> Result<()> {
        self.numbers(b'N', &[path.len() as u64])?;
        self.put(path.as_bytes())
    }
}

/// Reads a list.
#[derive(Debug)]
pub struct RawPlaces<R>(BufReader<R>);

impl RawPlaces<File> {
    /// Opens a list.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(BufReader::with_capacity(1 << 20, File::open(path)?)))
    }
}

impl<R: Read> RawPlaces<R> {
    fn number(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn text(&mut self, length: u64) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(length)?).into_owned())
    }

    fn bytes(&mut self, length: u64) -> io::Result<Vec<u8>> {
        if length > MAX_TEXT {
            return Err(io::Error::other("a text is too long"));
        }
        let mut bytes = vec![0; length as usize];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn filter(&mut self) -> io::Result<Filter> {
        self.bytes(1)?;
        let (id, flags, name, count) = (self.number()?, self.number()?, self.number()?, self.number()?);
        let name = self.bytes(name)?;
        let values = self.bytes(count.saturating_mul(4))?;
        let value = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, byte| n << 8 | u32::from(*byte));
        let client_data = values.chunks(4).map(value).collect();
        Ok(Filter { id: (id as u32).cast_signed(), flags: flags as u32, name, client_data })
    }

    /// The next place; `None` behind the last.
    ///
    /// # Errors
    /// What the system says; a list that is none.
    pub fn step(&mut self) -> io::Result<Option<RawPlace>> {
        let mut letter = [0];
        if self.0.read(&mut letter)? == 0 {
            return Ok(None);
        }
        Ok(Some(match letter[0] {
            b'C' => {
                let (dataset, mask) = (self.number()?, self.number()?);
                let (address, length, rank) = (self.number()?, self.number()?, self.number()?);
                if rank as usize > MAX_RANK {
                    return Err(io::Error::other("too many dimensions"));
                }
                let offset = (0..rank).map(|_| self.number()).collect::<io::Result<_>>()?;
                RawPlace::Chunk { dataset, offset, mask: mask as u32, address, length }
            }
            b'B' => RawPlace::Contiguous {
                dataset: self.number()?,
                first: self.number()?,
                address: self.number()?,
                length: self.number()?,
            },
            b'P' => {
                let (dataset, count) = (self.number()?, self.number()?);
                let filters = (0..count).map(|_| self.filter()).collect::<io::Result<_>>()?;
                RawPlace::Filters { dataset, filters }
            }
            b'X' => {
                let (path, reason) = (self.number()?, self.number()?);
                RawPlace::Copied { path: self.text(path)?, reason: self.text(reason)? }
            }
            b'N' => {
                let path = self.number()?;
                RawPlace::NotJoined { path: self.text(path)? }
            }
            b'F' => RawPlace::File { number: self.number()? },
            _ => return Err(io::Error::other("it is no list of places")),
        }))
    }
}

/// What becomes of a dataset's elements.
enum Way {
    /// They are in the list, or there are none.
    Listed,
    /// They are to be copied, because of this.
    Copied(&'static str),
}

impl CrossCopier {
    /// Lists where the elements of a dataset lie. False if they have to be copied.
    ///
    /// # Errors
    /// For elements that lie in other files; those of the library.
    pub(super) fn refer(
        &self,
        places: &Places,
        from: Hid,
        to: Hid,
        datatype: &Id,
        list: &Id,
    ) -> Result<bool> {
        match self.way(places, from, to, datatype, list)? {
            Way::Listed => Ok(true),
            Way::Copied(reason) => {
                places.copied(&self.path_of(from), reason)?;
                Ok(false)
            }
        }
    }

    pub(super) fn path_of(&self, of: Hid) -> String {
        // SAFETY: the buffer has the size given along.
        let path = self.name(|buffer, size| unsafe { (self.table().H5Iget_name)(of, buffer, size) });
        path.unwrap_or_default().to_string_lossy().into_owned()
    }

    fn way(&self, places: &Places, from: Hid, to: Hid, datatype: &Id, list: &Id) -> Result<Way> {
        let library = self.library;
        let layout = library.layout(list.get())?;
        self.check_is_here(from, &layout)?;
        let chunk = match layout {
            Layout::Compact => return Ok(Way::Copied("compact")),
            Layout::Chunked { chunk } => Some(chunk),
            _ => None,
        };
        let checked = check_datatype(&library.encode_type(datatype.get())?);
        let checked = checked.map_err(|error| Error::new(Minor::BadType, error.to_string()))?;
        if checked.has_pointers || !MemoryReferences::of(library, datatype.get())?.is_empty() {
            return Ok(Way::Copied("variable-length data or references"));
        }
        // SAFETY: identifiers are checked by the library.
        let (made, made_type) = unsafe {
            let made = self.id((self.table().H5Dget_create_plist)(to))?;
            (made, self.id((self.table().H5Dget_type)(to))?)
        };
        if !library.types_equal(datatype.get(), made_type.get())? {
            return Ok(Way::Copied("a type that a new dataset has not alike"));
        }
        let (filters, made_filters) = (library.filters(list.get())?, library.filters(made.get())?);
        let is_same = filters.iter().map(|filter| filter.id).eq(made_filters.iter().map(|filter| filter.id));
        if !is_same || library.layout(list.get())? != library.layout(made.get())? {
            return Ok(Way::Copied("filters or chunks that a new dataset has not alike"));
        }
        let id = self.number(to)?;
        if filters != made_filters {
            places.filters(id, &filters)?;
        }
        match chunk {
            Some(chunk) => self.list_chunks(places, from, id, &chunk, None)?,
            None if matches!(self.contiguous_storage(from, datatype)?, ContiguousStorage::Other) => {
                return Ok(Way::Copied("storage of another size than its elements"));
            }
            None => self.list_contiguous(places, from, id, datatype, None)?,
        }
        Ok(Way::Listed)
    }

    /// That a dataset's elements lie in its file.
    pub(super) fn check_is_here(&self, dataset: Hid, layout: &Layout) -> Result<()> {
        let (what, file) = match layout {
            Layout::External { files } => ("external storage", files.first().map(|file| &*file.name)),
            Layout::Virtual { mappings } => {
                ("a virtual layout", mappings.first().map(|mapping| &*mapping.file))
            }
            _ => return Ok(()),
        };
        Err(self.elsewhere(dataset, what, file))
    }

    fn elsewhere(&self, dataset: Hid, what: &str, file: Option<&[u8]>) -> Error {
        let file = String::from_utf8_lossy(file.unwrap_or_default()).escape_debug().to_string();
        let text = format!(
            "{} has {what} over '{file}', to which no reference can be made; remove that dataset from a copy of the file, and adopt the copy",
            self.path_of(dataset)
        );
        Error::new(Minor::NotFollowed, text)
    }

    /// The id of an object in the container.
    pub(super) fn number(&self, object: Hid) -> Result<u64> {
        let [a, b, c, d, e, f, g, h, ..] = self.info(object)?.token.__data;
        Ok(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    /// Where the elements of a contiguous dataset lie, as libhdf5 counts.
    pub(super) fn contiguous_storage(&self, from: Hid, datatype: &Id) -> Result<ContiguousStorage> {
        // SAFETY: identifiers are checked by the library.
        let space = self.id(unsafe { (self.table().H5Dget_space)(from) })?;
        let points = self.library.extent_points(space.get())?;
        let bytes = points.checked_mul(self.library.type_size(datatype.get())? as u64);
        // SAFETY: identifiers are checked by the library.
        let (address, length) =
            unsafe { ((self.table().H5Dget_offset)(from), (self.table().H5Dget_storage_size)(from)) };
        Ok(match bytes == Some(length) {
            // Never written, or without elements.
            _ if address == NO_ADDRESS || length == 0 => ContiguousStorage::None,
            true => ContiguousStorage::At { address, length },
            false => ContiguousStorage::Other,
        })
    }

    /// Lists elements of a contiguous dataset; `shift` says where they lie in a joined one.
    pub(super) fn list_contiguous(
        &self,
        places: &Places,
        from: Hid,
        dataset: u64,
        datatype: &Id,
        shift: Option<Shift>,
    ) -> Result<()> {
        let (address, length) = match self.contiguous_storage(from, datatype)? {
            ContiguousStorage::None => return Ok(()),
            ContiguousStorage::At { address, length } => (address, length),
            ContiguousStorage::Other => {
                return Err(Error::new(Minor::BadRange, "storage of another size than its elements"));
            }
        };
        let mut first = Some(0);
        if let Some(shift) = shift {
            // SAFETY: identifiers are checked by the library.
            let space = self.id(unsafe { (self.table().H5Dget_space)(from) })?;
            let (before, size) =
                (shift.elements_before(&self.extent(&space)?), self.library.type_size(datatype.get())?);
            first = before.and_then(|before| before.checked_mul(size as u64));
        }
        let place = address.checked_add(places.shift.get().1);
        let (first, place) = first.zip(place).ok_or_else(beyond)?;
        places.numbers(b'B', &[dataset, first, place, length])
    }

    /// Lists the chunks of a dataset; `shift` says where they lie in a joined one.
    pub(super) fn list_chunks(
        &self,
        places: &Places,
        from: Hid,
        dataset: u64,
        chunk: &[u64],
        shift: Option<Shift>,
    ) -> Result<()> {
        let table = self.table();
        let mut index = sys::H5D_CHUNK_IDX_BTREE;
        // SAFETY: identifiers are checked by the library; the answer's place outlives the call.
        let space = unsafe {
            self.ok((table.H5Dget_chunk_index_type)(from, &mut index))?;
            self.id((table.H5Dget_space)(from))?
        };
        let most = self.library.extent_of(space.get())?;
        let swapped = match later_unlimited_dimension(most.max_dims()) {
            Some(unlimited) if index == sys::H5D_CHUNK_IDX_EARRAY && places.swaps(self.library)? => {
                Some(Swapped::new(most.max_dims(), chunk, unlimited))
            }
            _ => None,
        };
        let extent = self.extent(&space)?;
        let mut listing = Listing { places, dataset, extent: &extent, swapped, shift, failed: None };
        let place: *mut Listing<'_> = &mut listing;
        // SAFETY: the callback gets the place, which outlives the call.
        let done = unsafe { (table.H5Dchunk_iter)(from, sys::H5P_DEFAULT, Some(list_one), place.cast()) };
        if let Some(error) = listing.failed {
            let _the_error_of_the_list_counts = self.failed();
            return Err(error);
        }
        self.ok(done)
    }
}

/// Where the elements of a contiguous dataset lie.
pub(super) enum ContiguousStorage {
    /// There are none.
    None,
    /// All of them, here.
    At { address: u64, length: u64 },
    /// Storage of another size than theirs.
    Other,
}

fn beyond() -> Error {
    Error::new(Minor::BadRange, "an address beyond any file")
}

struct Listing<'a> {
    places: &'a Places,
    dataset: u64,
    extent: &'a [u64],
    swapped: Option<Swapped>,
    shift: Option<Shift>,
    failed: Option<Error>,
}

impl Listing<'_> {
    fn add(&self, offset: &[u64], mask: u32, address: u64, length: u64) -> Result<()> {
        let real = match &self.swapped {
            None => None,
            Some(swapped) => Some(swapped.undo(offset).ok_or_else(|| {
                Error::new(
                    Minor::BadRange,
                    "libhdf5 lists a chunk where none can be; use another one (--library)",
                )
            })?),
        };
        let offset = real.as_deref().unwrap_or(offset);
        if offset.iter().zip(self.extent).any(|(at, size)| at >= size) {
            return Ok(());
        }
        if address == NO_ADDRESS {
            // It was never written.
            return Ok(());
        }
        let address = address.checked_add(self.places.shift.get().0).ok_or_else(beyond)?;
        let moved = self.shift.map(|shift| shift.start(offset));
        let offset = moved.as_deref().unwrap_or(offset);
        let mut numbers = [0; 5 + MAX_RANK];
        let rank = offset.len().min(MAX_RANK);
        numbers[..5].copy_from_slice(&[self.dataset, mask.into(), address, length, rank as u64]);
        numbers[5..5 + rank].copy_from_slice(&offset[..rank]);
        self.places.numbers(b'C', &numbers[..5 + rank])
    }
}

/// # Safety
/// `data` is a [`Listing`], and `offset` has an entry for each dimension.
unsafe extern "C" fn list_one(
    offset: *const sys::hsize_t,
    mask: c_uint,
    address: sys::haddr_t,
    length: sys::hsize_t,
    data: *mut c_void,
) -> c_int {
    // SAFETY: as the function says.
    let (listing, offset) = unsafe {
        let listing = &mut *data.cast::<Listing<'_>>();
        let rank = listing.extent.len();
        (listing, std::slice::from_raw_parts(offset, rank))
    };
    match listing.add(offset, mask, address, length) {
        Ok(()) => 0,
        Err(error) => {
            listing.failed = Some(error);
            -1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_written_and_a_cut_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        let places = Places::create(&path, (0, 0)).unwrap();
        places.numbers(b'C', &[7, 3, 4096, 100, 2, 10, 20]).unwrap();
        places.numbers(b'B', &[8, 16, 5000, 80]).unwrap();
        places.copied("/a", "compact").unwrap();
        let filter = Filter { id: -2, flags: 1, name: b"odd".to_vec(), client_data: vec![1, u32::MAX] };
        places.filters(9, std::slice::from_ref(&filter)).unwrap();
        places.not_joined("/b").unwrap();
        places.begin_file(3, (0, 0)).unwrap();
        places.finish().unwrap();
        let mut read = RawPlaces::open(&path).unwrap();
        let mut all = Vec::new();
        while let Some(place) = read.step().unwrap() {
            all.push(place);
        }
        assert_eq!(
            all,
            [
                RawPlace::Chunk { dataset: 7, offset: vec![10, 20], mask: 3, address: 4096, length: 100 },
                RawPlace::Contiguous { dataset: 8, first: 16, address: 5000, length: 80 },
                RawPlace::Copied { path: "/a".into(), reason: "compact".into() },
                RawPlace::Filters { dataset: 9, filters: vec![filter] },
                RawPlace::NotJoined { path: "/b".into() },
                RawPlace::File { number: 3 },
            ]
        );
        let bytes = std::fs::read(&path).unwrap();
        let mut cut = RawPlaces(BufReader::new(&bytes[..20]));
        assert!(cut.step().is_err());
        assert!(RawPlaces(BufReader::new(&b"?"[..])).step().is_err());
    }
}
