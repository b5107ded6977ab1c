//! Parts of native files that are stored elsewhere, in a container that refers to the file: virtual datasets and
//! external links with names that lead to the same files, and datasets in external files without these files.

use std::ffi::c_void;

use h5lake_container::Layout;
use h5lake_container::encoded::{rename_sources, without_external_files};
use object_stores::registry::is_url;

use super::CrossCopier;
use crate::error::{Error, Result};
use crate::hdf5::id::Id;
use crate::hdf5::library::Hid;
use crate::hdf5::plist::{FillDefined, ListClass};
use crate::operations::path::external_link::is_absolute;

/// The approximate number of bytes in a chunk of a dataset that can grow and is in external files.
const CHUNK_BYTES: u64 = 1 << 20;

/// The folders of a native file and of the container that will refer to it, with a slash behind them, as paths from
/// the root or URLs.
#[derive(Debug, Default, Clone)]
pub struct Folders {
    /// The folder of the native file.
    pub native: Vec<u8>,
    /// The folder of the container.
    pub container: Vec<u8>,
}

impl Folders {
    /// Returns the folder of a file: all of its name up to the last slash.
    pub fn of(name: &[u8]) -> Vec<u8> {
        let end = name.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        name[..end].to_vec()
    }

    /// Returns the name of a virtual source for the container: unchanged if it means the same file there, otherwise
    /// with the native file's folder in front of it. A percent sign in the name of a source is written as a pair of
    /// them.
    fn renamed_source(&self, name: &[u8]) -> Vec<u8> {
        if name == b"." {
            return name.to_vec();
        }
        let in_names = Self { native: escaped(&self.native), container: escaped(&self.container) };
        in_names.renamed(name)
    }

    /// Returns the name of an external link's file for the container. Here a percent sign is a single one, and a dot
    /// does not stand for the own file.
    pub(super) fn renamed(&self, name: &[u8]) -> Vec<u8> {
        if is_absolute(name) || self.native == self.container {
            return name.to_vec();
        }
        let full = [&self.native[..], name].concat();
        let is_plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..");
        let container = Some(&self.container[..]).filter(|folder| !folder.is_empty());
        let below = container.and_then(|folder| full.strip_prefix(folder));
        let below =
            below.filter(|below| below.split(|byte| *byte == b'/').all(is_plain) && !is_absolute(below));
        below.map_or_else(|| full.clone(), <[u8]>::to_vec)
    }
}

fn escaped(folder: &[u8]) -> Vec<u8> {
    folder
        .iter()
        .flat_map(|byte| if *byte == b'%' { &b"%%"[..] } else { std::slice::from_ref(byte) })
        .copied()
        .collect()
}

impl CrossCopier {
    /// Returns the creation list of a dataset in the container, if it differs from the one in the native file.
    ///
    /// # Errors
    /// For external files of a native file in a store; errors of the library.
    pub(super) fn adopted_list(
        &self,
        dataset: Hid,
        list: &Id,
        datatype: &Id,
        space: &Id,
    ) -> Result<Option<Id>> {
        if self.places.is_none() {
            return Ok(None);
        }
        let library = self.library;
        match library.layout(list.get())? {
            Layout::Virtual { .. } => {
                let change =
                    |encoded: &[u8]| rename_sources(encoded, &mut |name| self.folders.renamed_source(name));
                self.changed_list(list, datatype, change).map(Some)
            }
            Layout::External { files } => {
                if std::str::from_utf8(&self.folders.native).is_ok_and(is_url) {
                    let first = files.first().map(|file| &*file.name);
                    return Err(self.elsewhere(dataset, "external storage", first));
                }
                let new = self.changed_list(list, datatype, without_external_files)?;
                self.allow_growth(&new, datatype, space)?;
                Ok(Some(new))
            }
            _ => Ok(None),
        }
    }

    /// Returns a list with a changed encoding.
    fn changed_list(
        &self,
        list: &Id,
        datatype: &Id,
        change: impl FnOnce(&[u8]) -> std::result::Result<Vec<u8>, &'static str>,
    ) -> Result<Id> {
        let library = self.library;
        let has_fill_value = library.fill_defined(list.get())? == FillDefined::User;
        let copy = library.copy_list(list.get())?;
        if has_fill_value {
            // An encoding may hold pointers of this program.
            library.clear_fill_value(copy.get())?;
        }
        let encoded = change(&library.encode_list(copy.get())?);
        let encoded = encoded.map_err(|why| {
            Error::argument(format!(
                "a creation list cannot be changed, because {why}; use another libhdf5 (--library)"
            ))
        })?;
        let new = library.decode_list(&encoded, ListClass::DatasetCreate)?;
        if has_fill_value {
            self.copy_fill_value(list, &new, datatype)?;
        }
        Ok(new)
    }

    fn copy_fill_value(&self, from: &Id, to: &Id, datatype: &Id) -> Result<()> {
        let table = self.table();
        // SAFETY: identifiers are checked by the library.
        let memory = self.id(unsafe { (table.H5Tcopy)(datatype.get()) })?;
        let mut value = vec![0_u8; self.library.type_size(memory.get())?];
        let place: *mut c_void = value.as_mut_ptr().cast();
        let one = self.library.scalar_space()?;
        // SAFETY: the buffer holds one element of the type, which was just read as that type where it is freed.
        unsafe {
            self.ok((table.H5Pget_fill_value)(from.get(), memory.get(), place))?;
            let set = self.ok((table.H5Pset_fill_value)(to.get(), memory.get(), place));
            self.library.reclaim(memory.get(), one.get(), &mut value);
            set
        }
    }

    /// Gives a list chunks, if a dataset can grow: a dataset in external files needs none.
    fn allow_growth(&self, list: &Id, datatype: &Id, space: &Id) -> Result<()> {
        let extent = self.library.extent_of(space.get())?;
        if extent.dims() == extent.max_dims() {
            return Ok(());
        }
        let mut chunk: Vec<u64> = extent.dims().iter().map(|size| (*size).max(1)).collect();
        let element = self.library.type_size(datatype.get())? as u64;
        let row = chunk.iter().skip(1).fold(element, |bytes, size| bytes.saturating_mul(*size));
        if let Some(rows) = chunk.first_mut() {
            *rows = (*rows).min(CHUNK_BYTES / row.max(1)).max(1);
        }
        let rank = i32::try_from(chunk.len()).map_err(|_| Error::argument("too many dimensions"))?;
        // SAFETY: the array has an entry for each dimension.
        self.ok(unsafe { (self.table().H5Pset_chunk)(list.get(), rank, chunk.as_ptr()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(native: &str, container: &str) -> Folders {
        Folders { native: native.into(), container: container.into() }
    }

    fn renamed(native: &str, container: &str, name: &str) -> String {
        String::from_utf8(folders(native, container).renamed_source(name.as_bytes())).unwrap()
    }

    #[test]
    fn sources_stay_the_same_files() {
        assert_eq!(renamed("/a/", "/a/", "../s.h5"), "../s.h5");
        assert_eq!(renamed("/a/", "/b/", "."), ".");
        assert_eq!(renamed("/a/", "/b/", "/c/s.h5"), "/c/s.h5");
        assert_eq!(renamed("/a/", "/b/", "s3://c/s.h5"), "s3://c/s.h5");
        assert_eq!(renamed("/a/", "/b/", "d/s-%b.h5"), "/a/d/s-%b.h5");
        assert_eq!(renamed("/a/b/", "/a/", "s.h5"), "b/s.h5");
        assert_eq!(renamed("/a/b/", "/a/", "../../s.h5"), "/a/b/../../s.h5");
        assert_eq!(renamed("/a/50%/", "/a/", "s.h5"), "50%%/s.h5");
        assert_eq!(renamed("s3://l/a/", "/a/", "s.h5"), "s3://l/a/s.h5");
        assert_eq!(renamed("/a/", "s3://l/", "s.h5"), "/a/s.h5");
        assert_eq!(renamed("/a/", "", "s.h5"), "/a/s.h5");
        assert_eq!(Folders::of(b"/a/b.h5"), b"/a/");
        assert_eq!(Folders::of(b"b.h5"), b"");
    }

    #[test]
    fn external_links_stay_links_to_the_same_files() {
        let link = |native, container, name: &str| {
            String::from_utf8(folders(native, container).renamed(name.as_bytes())).unwrap()
        };
        assert_eq!(link("/a/", "/a/", "../s.h5"), "../s.h5");
        assert_eq!(link("/a/", "/b/", "/c/s.h5"), "/c/s.h5");
        assert_eq!(link("/a/", "/b/", "s3://c/s.h5"), "s3://c/s.h5");
        assert_eq!(link("/a/", "/b/", "d/s.h5"), "/a/d/s.h5");
        assert_eq!(link("/a/50%/", "/a/", "90%.h5"), "50%/90%.h5");
        assert_eq!(link("/a/50%/", "/b/", "90%.h5"), "/a/50%/90%.h5");
        assert_eq!(link("/a/b/", "/a/", "../s.h5"), "/a/b/../s.h5");
        assert_eq!(link("s3://l/a/", "/a/", "s.h5"), "s3://l/a/s.h5");
        // A copy without known folders has the names of the original.
        assert_eq!(link("", "", "s.h5"), "s.h5");
    }
}
