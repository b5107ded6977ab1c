//! Conversion of whole files by one of h5lake's own programs: it loads a libhdf5, which loads the plugin.

use std::ffi::{CString, OsStr};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use h5lake_plugin_abi::bindings as sys;
use object_stores::registry::is_url;

use crate::cross_copy::Refused;
use crate::cross_copy::files::{Adoption, End, NotCopied, adopt, convert, convert_if_held};
use crate::error::{Error, Minor, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::id::Id;
use crate::hdf5::identity::NAME;
use crate::hdf5::library::Library;
use crate::hdf5::strings;

/// A libhdf5 that was loaded to convert files. It belongs to the thread that loaded it, because some builds of libhdf5
/// have no lock.
pub struct Converter {
    library: Library,
    own: Id,
    settings: CString,
}

/// An object, an attribute or a link that a converted file cannot hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotHeld {
    /// The path of the object or link; for an attribute with its name behind `@`.
    pub path: String,
    /// The library's error.
    pub reason: String,
}

impl fmt::Display for NotHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

impl From<Refused> for NotHeld {
    fn from(refused: Refused) -> Self {
        Self { path: refused.path, reason: refused.reason }
    }
}

/// The parts of the original that a converted file lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// The size of the user block. The bytes of the user block are left out.
    pub user_block: u64,
    /// User-defined links, which are left out.
    pub links: Vec<NotHeld>,
}

impl From<NotCopied> for Lacking {
    fn from(not_copied: NotCopied) -> Self {
        let links = not_copied.left_out.into_iter().map(NotHeld::from).collect();
        Self { user_block: not_copied.user_block, links }
    }
}

/// The result of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Export {
    /// The native file was made, and lacks these parts.
    Made(Lacking),
    /// The native file cannot hold these objects and attributes, in the order of the container. No native file exists.
    Refused(Vec<NotHeld>),
}

impl Converter {
    /// Loads the libhdf5 at a path, or with a name that the dynamic linker finds. That libhdf5 finds the plugin by
    /// HDF5_PLUGIN_PATH. `settings` is as in a connector string.
    ///
    /// # Errors
    /// If it cannot be loaded, is no libhdf5, is older than 1.14.0, or does not find the plugin.
    pub fn load(libhdf5: &Path, settings: &str) -> Result<Self> {
        let table = h5lake_plugin_abi::load(libhdf5);
        let table = table.map_err(|error| Error::new(Minor::CannotOperate, error.to_string()))?;
        let library = Library::new(table);
        let own = library.explained(|| {
            // SAFETY: the name is terminated.
            unsafe {
                check((table.H5open)(), "H5open")?;
                let id = (table.H5VLregister_connector_by_name)(NAME.as_ptr(), sys::H5P_DEFAULT);
                Id::from_call(library, id, "H5VLregister_connector_by_name")
            }
        })?;
        Ok(Self { library, own, settings: strings::c_string(settings, "settings")? })
    }

    /// Returns the library's version: major, minor, release.
    pub fn version(&self) -> (u32, u32, u32) {
        self.library.version()
    }

    /// Makes a container with the content of a native file except user-defined links, and returns the parts that the
    /// container lacks. When this function returns, the container is committed by its close.
    ///
    /// # Errors
    /// The library's error; an error if the container's name exists already. Part of the container may exist then.
    pub fn import(&self, native: &Path, container: &OsStr) -> Result<Lacking> {
        let not_copied = self.library.explained(|| {
            let source = strings::c_string(native.as_os_str().as_bytes(), "a file name")?;
            let target = strings::c_string(container.as_bytes(), "a file name")?;
            let from = self.library.access_to_native(false)?;
            let to = self.library.access_through(&self.own, Some(&self.settings))?;
            convert(self.library, &End { name: &source, access: &from }, &End { name: &target, access: &to })
        });
        not_copied.map(Lacking::from)
    }

    /// Makes a container with the content of a native file, local or in a store, except raw data that can be referred
    /// to. A list then has the positions of that data ([`RawPlaces`](super::place_list::RawPlaces)). Datasets that are
    /// to be joined are joined with those of further files, in their order; everything else comes from the first file.
    /// User-defined links are left out. Returns the parts that the container lacks. When this returns, the container
    /// is committed, and shows fill values for the data in the list.
    ///
    /// # Errors
    /// As for [`import`](Self::import); for external files of a native file in a store; for datasets of further files
    /// that do not fit.
    pub fn adopt(&self, natives: &[&OsStr], container: &OsStr, wanted: &Adoption<'_>) -> Result<Lacking> {
        let not_copied = self.library.explained(|| {
            let target = strings::c_string(container.as_bytes(), "a file name")?;
            let ours = self.library.access_through(&self.own, Some(&self.settings))?;
            let settled = self.library.access_to_settled_native()?;
            let names = natives.iter().map(|name| strings::c_string(name.as_bytes(), "a file name"));
            let names = names.collect::<Result<Vec<_>>>()?;
            let access = |native: &OsStr| if native.to_str().is_some_and(is_url) { &ours } else { &settled };
            let ends = names.iter().zip(natives);
            let ends: Vec<_> = ends.map(|(name, native)| End { name, access: access(native) }).collect();
            let (first, further) =
                ends.split_first().ok_or_else(|| Error::argument("there is no file to adopt"))?;
            adopt(self.library, first, further, &End { name: &target, access: &ours }, wanted)
        });
        not_copied.map(Lacking::from)
    }

    /// Makes a native file with the content of a container except user-defined links, unless the native file cannot
    /// hold some objects or attributes: then no native file exists. Its objects have the format of HDF5 1.8 if
    /// `is_newer`.
    ///
    /// # Errors
    /// As for [`import`](Self::import).
    pub fn export(&self, container: &OsStr, native: &Path, is_newer: bool) -> Result<Export> {
        let (not_copied, refused) = self.library.explained(|| {
            let source = strings::c_string(container.as_bytes(), "a file name")?;
            let target = strings::c_string(native.as_os_str().as_bytes(), "a file name")?;
            let from = self.library.access_through(&self.own, Some(&self.settings))?;
            let to = self.library.access_to_native(is_newer)?;
            let (from, to) = (End { name: &source, access: &from }, End { name: &target, access: &to });
            convert_if_held(self.library, &from, &to)
        })?;
        Ok(match refused.is_empty() {
            true => Export::Made(not_copied.into()),
            false => Export::Refused(refused.into_iter().map(NotHeld::from).collect()),
        })
    }
}
