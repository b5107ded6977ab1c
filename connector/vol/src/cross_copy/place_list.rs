//! The list of places of raw data, for the process that writes it and the process that reads it.
//!
//! The list is specific to this build, and passes between two processes of one tool. All numbers are little-endian.
#![forbid(unsafe_code)]

use std::cell::{Cell, OnceCell, RefCell};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use h5lake_container::{ExternalFile, Filter};

use super::address_probe::swaps_coordinates;
use crate::error::{Error, Minor, Result};
use crate::hdf5::library::Library;

/// HDF5's largest number of dimensions.
pub(super) const MAX_RANK: usize = 32;
/// The longest text of the list.
const MAX_TEXT: u64 = 1 << 20;

/// The location of some raw data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawPlace {
    /// A chunk.
    Chunk {
        /// The dataset's id in the container.
        dataset: u64,
        /// The first element of the chunk.
        offset: Vec<u64>,
        /// Bit n: filter n was skipped.
        mask: u32,
        /// The first byte in the file.
        address: u64,
        /// The number of bytes.
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
        /// The number of bytes.
        length: u64,
    },
    /// The filters that wrote the chunks of a dataset, if they differ from those that it was made with: plugins may
    /// set other parameters.
    Filters {
        /// The dataset's id in the container.
        dataset: u64,
        /// The filters of the native file.
        filters: Vec<Filter>,
    },
    /// The elements were copied.
    Copied {
        /// The dataset's path.
        path: String,
        /// The reason.
        reason: String,
    },
    /// A dataset of a later file that the first file lacks.
    LeftOut {
        /// The dataset's path.
        path: String,
    },
    /// A dataset that is not joined although several files are: it is that of the first file.
    NotJoined {
        /// The dataset's path.
        path: String,
    },
    /// Elements in external files, one part after the other.
    External {
        /// The dataset's id in the container; it is contiguous, or has chunks if it can grow.
        dataset: u64,
        /// The dataset's path.
        path: String,
        /// The parts.
        files: Vec<ExternalFile>,
    },
    /// The start of the entries for the file with this number, counted from 0.
    File {
        /// The file's number.
        number: u64,
    },
}

/// The list while it is being written.
pub(super) struct Places {
    out: RefCell<BufWriter<File>>,
    /// The numbers to be added to libhdf5's addresses of chunks, and of contiguous data, in the current file.
    pub(super) shift: Cell<(u64, u64)>,
    /// A path for test files that show how libhdf5 behaves.
    scratch: PathBuf,
    /// True if libhdf5 swaps coordinates of chunks in extensible arrays, once that was probed.
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

    /// Begins the entries of another file.
    pub(super) fn begin_file(&self, number: u64, shift: (u64, u64)) -> Result<()> {
        self.shift.set(shift);
        self.numbers(b'F', &[number])
    }

    fn put(&self, bytes: &[u8]) -> Result<()> {
        self.out.borrow_mut().write_all(bytes).map_err(|error| io(&error))
    }

    /// Returns whether libhdf5 swaps coordinates.
    pub(super) fn swaps(&self, library: Library) -> Result<bool> {
        if let Some(swaps) = self.swaps.get() {
            return Ok(*swaps);
        }
        let found = swaps_coordinates(library, &self.scratch)?;
        Ok(*self.swaps.get_or_init(|| found))
    }

    pub(super) fn finish(self) -> Result<()> {
        self.out.into_inner().flush().map_err(|error| io(&error))
    }

    pub(super) fn numbers(&self, letter: u8, numbers: &[u64]) -> Result<()> {
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

    pub(super) fn external(&self, dataset: u64, path: &str, files: &[ExternalFile]) -> Result<()> {
        self.numbers(b'E', &[dataset, path.len() as u64, files.len() as u64])?;
        self.put(path.as_bytes())?;
        files.iter().try_for_each(|ExternalFile { name, offset, size }| {
            self.numbers(b'e', &[*offset, *size, name.len() as u64])?;
            self.put(name)
        })
    }

    pub(super) fn copied(&self, path: &str, reason: &str) -> Result<()> {
        self.numbers(b'X', &[path.len() as u64, reason.len() as u64])?;
        self.put(path.as_bytes())?;
        self.put(reason.as_bytes())
    }

    pub(super) fn left_out(&self, path: &str) -> Result<()> {
        self.numbers(b'L', &[path.len() as u64])?;
        self.put(path.as_bytes())
    }

    pub(super) fn not_joined(&self, path: &str) -> Result<()> {
        self.numbers(b'N', &[path.len() as u64])?;
        self.put(path.as_bytes())
    }
}

/// A reader of a list.
#[derive(Debug)]
pub struct RawPlaces<R>(BufReader<R>);

impl RawPlaces<File> {
    /// Opens a list.
    ///
    /// # Errors
    /// The system's error.
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

    fn external_file(&mut self) -> io::Result<ExternalFile> {
        self.bytes(1)?;
        let (offset, size, name) = (self.number()?, self.number()?, self.number()?);
        Ok(ExternalFile { name: self.bytes(name)?, offset, size })
    }

    /// Returns the next place; `None` behind the last one.
    ///
    /// # Errors
    /// The system's error; bytes that are no such list.
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
            b'L' => {
                let path = self.number()?;
                RawPlace::LeftOut { path: self.text(path)? }
            }
            b'E' => {
                let (dataset, path, count) = (self.number()?, self.number()?, self.number()?);
                let path = self.text(path)?;
                let files = (0..count).map(|_| self.external_file()).collect::<io::Result<_>>()?;
                RawPlace::External { dataset, path, files }
            }
            b'F' => RawPlace::File { number: self.number()? },
            _ => return Err(io::Error::other("it is no list of places")),
        }))
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
        let raw = ExternalFile { name: b"raw.bin".to_vec(), offset: 16, size: u64::MAX };
        places.external(10, "/c", std::slice::from_ref(&raw)).unwrap();
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
                RawPlace::External { dataset: 10, path: "/c".into(), files: vec![raw] },
                RawPlace::File { number: 3 },
            ]
        );
        let bytes = std::fs::read(&path).unwrap();
        let mut cut = RawPlaces(BufReader::new(&bytes[..20]));
        assert!(cut.step().is_err());
        assert!(RawPlaces(BufReader::new(&b"?"[..])).step().is_err());
    }
}
