//! Data in plain files beside the container (`H5Pset_external`). It is written at once and takes no part in commits:
//! snapshots, old versions and crash safety apply to the container only.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Weak};

use h5lake_container::{Dataset, ExternalFile, Layout, Selection, UNLIMITED};
use h5lake_ledger::locks::Mutex;

use crate::error::{Error, Minor, Result};
use crate::handles::open_objects::DatasetHandle;
use crate::operations::path::prefix;

/// The permissions of files that are made by writing (H5private.h, `H5_POSIX_CREATE_MODE_RW`).
const NEW_FILE: u32 = 0o666;

/// Reads the selected elements, packed. Bytes behind the end of a file are zeros.
///
/// # Errors
/// A file that does not open; elements behind the last file.
pub fn read(
    dataset: &DatasetHandle,
    files: &[ExternalFile],
    selection: &Selection,
    out: &mut [u8],
) -> Result<()> {
    let mut open = OpenFile::default();
    each_piece(dataset, files, selection, "read", |path, offset, from, length| {
        let file = open.at(path, |path| {
            let failed = |error| failure("unable to open external raw data file", path, &error);
            File::open(path).map_err(failed)
        })?;
        read_or_zeros(file, &mut out[from..from + length], offset)
            .map_err(|error| failure("read error in external raw data file", path, &error))
    })
}

/// Writes packed elements to the selected positions. Missing files are made. When this returns, the system has the
/// bytes; nothing is synced.
///
/// # Errors
/// A file that does not open; elements behind the last file. Some elements may be written then.
pub fn write(
    dataset: &DatasetHandle,
    files: &[ExternalFile],
    selection: &Selection,
    data: &[u8],
) -> Result<()> {
    if !dataset.base.session.writable {
        return Err(Error::new(Minor::WriteError, "no write intent on file"));
    }
    let mut open = OpenFile::default();
    each_piece(dataset, files, selection, "write", |path, offset, from, length| {
        let file = open.at(path, |path| {
            let mut options = OpenOptions::new();
            let opened =
                options.read(true).write(true).create(true).truncate(false).mode(NEW_FILE).open(path);
            opened.map_err(|error| failure("unable to open external raw data file", path, &error))
        })?;
        file.write_all_at(&data[from..from + length], offset)
            .map_err(|error| failure("write error in external raw data file", path, &error))
    })
}

/// An open dataset, and the folder of its files.
type Opened = (Weak<Dataset>, Vec<u8>);

/// The folder that each dataset in external files was opened with. Only one `Dataset` exists however often it is
/// opened.
static FOLDERS: LazyLock<Mutex<HashMap<usize, Opened>>> = LazyLock::new(Mutex::default);

/// Refuses to open a dataset with another folder for its files than the one with which it is already open (H5Dint.c,
/// `H5D_open`).
///
/// # Errors
/// If it is open with another folder.
pub fn check_prefix(opened: &DatasetHandle) -> Result<()> {
    if !matches!(opened.dataset.layout(), Layout::External { .. }) {
        return Ok(());
    }
    let folder = prefix::of_external_files(opened)?;
    let mut open = FOLDERS.lock();
    open.retain(|_, (dataset, _)| dataset.strong_count() > 0);
    let mine = Arc::downgrade(&opened.dataset);
    let known = open.entry(Arc::as_ptr(&opened.dataset) as usize).or_insert_with(|| (mine, folder.clone()));
    if known.1 == folder {
        return Ok(());
    }
    let text = "new external file prefix does not match external file prefix of already open dataset";
    Err(Error::new(Minor::CannotOperate, text))
}

/// The file that was used last.
#[derive(Default)]
struct OpenFile(Option<(PathBuf, File)>);

impl OpenFile {
    fn at(&mut self, path: &Path, open: impl FnOnce(&Path) -> Result<File>) -> Result<&File> {
        if self.0.as_ref().is_none_or(|(known, _)| known != path) {
            self.0 = Some((path.to_owned(), open(path)?));
        }
        self.0.as_ref().map(|(_, file)| file).ok_or_else(|| Error::call("open"))
    }
}

/// Returns an error without a number in HDF5's form: native files give none, and clients would attribute it to the
/// container.
fn failure(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::new(Minor::CannotOpenFile, format!("{what} '{}': {error}", path.display()))
}

fn read_or_zeros(file: &File, mut out: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !out.is_empty() {
        match file.read_at(out, offset) {
            Ok(0) => {
                out.fill(0);
                return Ok(());
            }
            Ok(count) => {
                out = &mut out[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Visits the pieces of files that hold the selected elements. The arguments of `visit` are: the path, the offset in
/// the file, the first byte among the selected ones, and the number of bytes.
fn each_piece(
    dataset: &DatasetHandle,
    files: &[ExternalFile],
    selection: &Selection,
    what: &str,
    mut visit: impl FnMut(&Path, u64, usize, usize) -> Result<()>,
) -> Result<()> {
    let size = dataset.dataset.datatype().size;
    let paths = paths(dataset, files)?;
    let mut done = 0_usize;
    for run in selection.runs(dataset.dataset.space().dims())? {
        let large = || Error::new(Minor::BadRange, "external file address overflowed");
        let mut at = run.offset.checked_mul(size).ok_or_else(large)?;
        let mut left = run.count.checked_mul(size).and_then(|n| usize::try_from(n).ok()).ok_or_else(large)?;
        while left > 0 {
            let Some((index, skip)) = part_at(files, at) else {
                return Err(Error::new(Minor::BadRange, format!("{what} past logical end of file")));
            };
            let part = match files[index].size {
                UNLIMITED => left,
                size => usize::try_from(size - skip).unwrap_or(usize::MAX).min(left),
            };
            let offset = files[index].offset.checked_add(skip).ok_or_else(large)?;
            visit(&paths[index], offset, done, part)?;
            (at, left, done) = (at + part as u64, left - part, done + part);
        }
    }
    Ok(())
}

/// Returns the part that holds a byte of the sequence, and the byte's position in the part.
fn part_at(files: &[ExternalFile], mut at: u64) -> Option<(usize, u64)> {
    for (index, file) in files.iter().enumerate() {
        if file.size == UNLIMITED || at < file.size {
            return Some((index, at));
        }
        at -= file.size;
    }
    None
}

/// Returns the paths of the files: absolute names unchanged, relative ones under the prefix if there is one
/// (`H5_combine_path`).
fn paths(dataset: &DatasetHandle, files: &[ExternalFile]) -> Result<Vec<PathBuf>> {
    let folder = PathBuf::from(OsString::from_vec(prefix::of_external_files(dataset)?));
    Ok(files.iter().map(|file| folder.join(OsStr::from_bytes(&file.name))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_lie_in_the_parts_one_after_the_other() {
        let part = |size| ExternalFile { name: Vec::new(), offset: 0, size };
        let files = [part(4), part(0), part(6)];
        assert_eq!(part_at(&files, 0), Some((0, 0)));
        assert_eq!(part_at(&files, 4), Some((2, 0)));
        assert_eq!(part_at(&files, 9), Some((2, 5)));
        assert_eq!(part_at(&files, 10), None);
        assert_eq!(part_at(&[part(1), part(UNLIMITED)], 1 << 40), Some((1, (1 << 40) - 1)));
    }
}
