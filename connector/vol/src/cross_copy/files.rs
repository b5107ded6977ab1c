//! Conversion of whole files: a native file to a container, and back.

use std::cell::RefCell;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use h5lake_plugin_abi::bindings as sys;

use super::address_probe::shifts;
use super::elsewhere::Folders;
use super::joined::{Join, Joins};
use super::place_list::Places;
use super::referenced::{adopt_root, copy_root, try_root};
use super::{CrossCopier, Refused};
use crate::error::{Error, Minor, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::saved_errors::silently;

/// The number of bytes by which the memory of a native file in memory grows.
const INCREMENT: usize = 1 << 20;

/// A file on one side of a conversion.
pub(crate) struct End<'a> {
    /// The file's name, for its connector.
    pub name: &'a CStr,
    /// The access list with which the file is opened or made.
    pub access: &'a Id,
}

/// The parts of a file that a conversion of the whole file does not copy.
#[derive(Debug)]
pub(crate) struct NotCopied {
    /// The size of the user block. The bytes of the user block are not copied.
    pub user_block: u64,
    /// Links that are left out.
    pub left_out: Vec<Refused>,
}

/// Copies all of a file into a new file. When this returns, both are closed.
///
/// # Errors
/// The error of the first call that failed; an error if the target's name exists already, too.
pub(crate) fn convert(library: Library, source: &End<'_>, target: &End<'_>) -> Result<NotCopied> {
    let from = OpenFile::open(library, source)?;
    let creation = from.creation()?;
    let to = OpenFile::create(library, target, &creation)?;
    let left_out = copy_root(library, from.root()?.get(), to.root()?.get())?;
    // Pending changes are stored by the close, so its result counts.
    to.close()?;
    let user_block = library.user_block(creation.get())?;
    from.close()?;
    Ok(NotCopied { user_block, left_out })
}

/// The way in which a container refers to native files.
#[derive(Debug)]
pub struct Adoption<'a> {
    /// The file to which the list of places is written.
    pub list: &'a Path,
    /// The folder of the future container, with a slash behind it; empty if that is not known.
    pub folder: &'a [u8],
    /// Datasets that are joined with those of further files.
    pub joins: &'a [Join],
}

/// Makes a container with the whole content of a native file except raw data that can be referred to: a list then has
/// the positions of that data. Datasets that are to be joined are joined with those of the further files. When this
/// returns, all files are closed. The user block is that of the first file.
///
/// # Errors
/// The error of the first call that failed, with the name of a further file; an error if the target's name exists
/// already, too.
pub(crate) fn adopt(
    library: Library,
    first: &End<'_>,
    further: &[End<'_>],
    target: &End<'_>,
    wanted: &Adoption<'_>,
) -> Result<NotCopied> {
    let joins = match wanted.joins {
        [] => Joins::default(),
        joins => look_at(library, first, further, joins)?,
    };
    let from = OpenFile::open(library, first)?;
    let creation = from.creation()?;
    let block = library.user_block(creation.get())?;
    let scratch = wanted.list.with_extension("probe");
    let places = Places::create(wanted.list, shifts(library, block, &scratch)?)?;
    joins.left_out().try_for_each(|path| places.left_out(&path))?;
    let folders = Folders { native: Folders::of(first.name.to_bytes()), container: wanted.folder.to_vec() };
    let to = OpenFile::create(library, target, &creation)?;
    let mut copier = adopt_root(library, from.root()?.get(), to.root()?.get(), places, folders, joins)?;
    from.close()?;
    for (part, end) in (1..).zip(further) {
        in_file(library, end, |file| {
            let block = library.user_block(file.creation()?.get())?;
            if let Some(places) = &copier.places {
                places.begin_file(part as u64, shifts(library, block, &scratch)?)?;
            }
            copier.put_parts(part, file.root()?.get())
        })?;
    }
    copier.places.take().map_or(Ok(()), Places::finish)?;
    let left_out = copier.left_out.take().map(RefCell::into_inner).unwrap_or_default();
    drop(copier);
    to.close()?;
    Ok(NotCopied { user_block: block, left_out })
}

/// Reads the joined datasets of each file.
fn look_at(library: Library, first: &End<'_>, further: &[End<'_>], wanted: &[Join]) -> Result<Joins> {
    let copier = CrossCopier::new(library, sys::H5I_INVALID_HID, 0);
    let mut joins = in_file(library, first, |file| Joins::find(&copier, file.root()?.get(), wanted))?;
    for end in further {
        in_file(library, end, |file| joins.look_at_next(&copier, file.root()?.get()))?;
    }
    joins.decide();
    Ok(joins)
}

/// Runs `work` with an open file, and closes the file. Errors name the file.
fn in_file<T>(library: Library, end: &End<'_>, work: impl FnOnce(&OpenFile) -> Result<T>) -> Result<T> {
    let done = library.explained(|| {
        let file = OpenFile::open(library, end)?;
        let done = silently(library, || work(&file))?;
        file.close()?;
        Ok(done)
    });
    done.map_err(|error| Error::new(error.minor(), format!("{}: {error}", end.name.to_string_lossy())))
}

/// Copies all of a file into a new local file, as [`convert`] does, unless the new file cannot hold some objects or
/// attributes. These are then the second result, and no new file exists.
///
/// # Errors
/// The error of the first call that failed for another reason; an error if the target's name exists already, too.
pub(crate) fn convert_if_held(
    library: Library,
    source: &End<'_>,
    target: &End<'_>,
) -> Result<(NotCopied, Vec<Refused>)> {
    let from = OpenFile::open(library, source)?;
    let creation = from.creation()?;
    let to = OpenFile::create(library, target, &creation)?;
    let (left_out, refused) = try_root(library, from.root()?.get(), to.root()?.get())?;
    to.close()?;
    if !refused.is_empty() {
        let name = Path::new(OsStr::from_bytes(target.name.to_bytes()));
        std::fs::remove_file(name).map_err(|error| {
            let text = format!("cannot remove '{}', an incomplete copy: {error}", name.display());
            Error::file(Minor::CannotOperate, text, error.raw_os_error())
        })?;
    }
    let user_block = library.user_block(creation.get())?;
    from.close()?;
    Ok((NotCopied { user_block, left_out }, refused))
}

impl Library {
    /// Makes an access list for files of a connector; `settings` is the connector's string.
    pub(crate) fn access_through(self, connector: &Id, settings: Option<&CStr>) -> Result<Id> {
        let table = self.table();
        let mut info = std::ptr::null_mut();
        // SAFETY: identifiers are checked by the library; the string is terminated; the list copies the info.
        unsafe {
            let access =
                Id::from_call(self, (table.H5Pcreate)(table.H5P_CLS_FILE_ACCESS_ID_g()), "H5Pcreate")?;
            if let Some(settings) = settings {
                let made = (table.H5VLconnector_str_to_info)(settings.as_ptr(), connector.get(), &mut info);
                check(made, "H5VLconnector_str_to_info")?;
            }
            let set = (table.H5Pset_vol)(access.get(), connector.get(), info);
            if !info.is_null() {
                (table.H5VLfree_connector_info)(connector.get(), info);
            }
            check(set, "H5Pset_vol")?;
            Ok(access)
        }
    }

    /// Makes an access list for native files. With `is_newer` objects have the format of HDF5 1.8, which holds larger
    /// attributes.
    pub(crate) fn access_to_native(self, is_newer: bool) -> Result<Id> {
        let access = self.access_through(&self.native_connector()?, None)?;
        self.allow_unusual_types(access.get())?;
        if is_newer {
            self.set_format_bounds(access.get(), (sys::H5F_LIBVER_V18, self.table().newest_format()))?;
        }
        Ok(access)
    }

    /// Makes an access list for reading native files that must not be open for writing: they are locked, if the file
    /// system supports locks.
    pub(super) fn access_to_settled_native(self) -> Result<Id> {
        let access = self.access_to_native(false)?;
        // SAFETY: identifiers are checked by the library.
        let set = unsafe { (self.table().H5Pset_file_locking)(access.get(), true, true) };
        check(set, "H5Pset_file_locking")?;
        Ok(access)
    }

    /// Makes an access list for native files in memory, which are discarded when they are closed.
    pub(super) fn access_to_native_in_memory(self, is_newer: bool) -> Result<Id> {
        let access = self.access_to_native(is_newer)?;
        // SAFETY: identifiers are checked by the library.
        let set = unsafe { (self.table().H5Pset_fapl_core)(access.get(), INCREMENT, false) };
        check(set, "H5Pset_fapl_core")?;
        Ok(access)
    }
}

/// An open file of either kind.
struct OpenFile {
    library: Library,
    id: Id,
}

impl OpenFile {
    fn open(library: Library, end: &End<'_>) -> Result<Self> {
        let open = library.table().H5Fopen;
        // SAFETY: the name is terminated; identifiers are checked by the library.
        let call = || unsafe { open(end.name.as_ptr(), sys::H5F_ACC_RDONLY, end.access.get()) };
        Self::called(library, "H5Fopen", call)
    }

    fn create(library: Library, end: &End<'_>, creation: &Id) -> Result<Self> {
        let create = library.table().H5Fcreate;
        // SAFETY: as above.
        let call =
            || unsafe { create(end.name.as_ptr(), sys::H5F_ACC_EXCL, creation.get(), end.access.get()) };
        Self::called(library, "H5Fcreate", call)
    }

    /// Makes the file of a call. Its error has the library's frames, which the clean-up of property lists would clear.
    fn called(library: Library, function: &str, call: impl FnOnce() -> Hid) -> Result<Self> {
        let id = library.quietly(call, |id| *id < 0).map_err(Error::reported)?;
        Ok(Self { library, id: Id::from_call(library, id, function)? })
    }

    fn root(&self) -> Result<Id> {
        // SAFETY: as above.
        let root = unsafe { (self.library.table().H5Gopen2)(self.id.get(), c"/".as_ptr(), sys::H5P_DEFAULT) };
        Id::from_call(self.library, root, "H5Gopen2")
    }

    /// Returns the list to create a similar file. The list of an open file lacks the creation orders of its root
    /// group.
    fn creation(&self) -> Result<Id> {
        let (library, table) = (self.library, self.library.table());
        let root = self.root()?;
        let (mut of_links, mut of_attributes) = (0, 0);
        // SAFETY: as above; the answers' places outlive the calls.
        unsafe {
            let list = (table.H5Fget_create_plist)(self.id.get());
            let list = Id::from_call(library, list, "H5Fget_create_plist")?;
            let group = (table.H5Gget_create_plist)(root.get());
            let group = Id::from_call(library, group, "H5Gget_create_plist")?;
            let got = (table.H5Pget_link_creation_order)(group.get(), &mut of_links);
            check(got, "H5Pget_link_creation_order")?;
            let set = (table.H5Pset_link_creation_order)(list.get(), of_links);
            check(set, "H5Pset_link_creation_order")?;
            let got = (table.H5Pget_attr_creation_order)(group.get(), &mut of_attributes);
            check(got, "H5Pget_attr_creation_order")?;
            let set = (table.H5Pset_attr_creation_order)(list.get(), of_attributes);
            check(set, "H5Pset_attr_creation_order")?;
            Ok(list)
        }
    }

    fn close(self) -> Result<()> {
        // SAFETY: the identifier is owned, and is given away.
        let closed = unsafe { (self.library.table().H5Fclose)(self.id.into_raw()) };
        if closed < 0 { Err(Error::call("H5Fclose")) } else { Ok(()) }
    }
}
