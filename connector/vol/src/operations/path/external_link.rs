//! The files that external links lead to.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use h5lake_container::{ObjectId, ObjectKind};

use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::handles::native_path::NativePath;
use crate::hdf5::file_flags::OpenFlags;
use crate::hdf5::library::Hid;
use crate::operations::file::{self, Opened};
use crate::operations::path::Base;
use crate::operations::storage::{self, NamedFile};
use crate::session::{Session, Swmr};
use crate::trust;

/// The file of an external link.
pub enum External {
    /// A container.
    Container(Arc<Session>),
    /// A native file.
    Native(Handle),
}

/// Opens the file of an external link that `group` holds, on a path that starts from an object of its file. The file
/// is searched as `H5Lcreate_external` describes: under the folders of `HDF5_EXT_PREFIX`, under the link access list's
/// prefix, in the folder of the linking file, by its own name, and in the folder to which symbolic links of the
/// linking file lead. It stays open as long as an object of it does.
///
/// # Errors
/// If no candidate opens: the error of the first candidate that exists, or otherwise of the last one.
pub fn open(start: &Base, group: ObjectId, name: &[u8], object: &[u8], access: Hid) -> Result<External> {
    let (from, library) = (&start.session, start.session.library);
    let list = library.external_access_list(access, from.access_list.get())?;
    let mut flags = match library.external_access_flags(access)? {
        Some(given) => given,
        None => flags_of(from),
    };
    let group = || path_of(start, group);
    library.ask_external_callback(access, &from.name, group, name, object, &mut flags, list.get())?;
    let prefix = library.external_prefix(access)?;
    let mut last: Option<Error> = None;
    for candidate in all_candidates(from, name, &variable("HDF5_EXT_PREFIX"), prefix.as_deref()) {
        let opened = check_candidate(from, &candidate, name)
            .and_then(|()| open_at(from, &candidate, flags, list.get()));
        match opened {
            Ok(opened) => return Ok(opened),
            // The error of a candidate that was refused or does not open is reported, not that a later candidate does
            // not exist.
            Err(_) if last.as_ref().is_some_and(|last| !last.is_of_nothing_there()) => {}
            Err(error) => last = Some(error),
        }
    }
    let name = String::from_utf8_lossy(name);
    let begun = format!("unable to open external file '{name}'");
    Err(match last {
        Some(error) => error.after(begun).of_kind(Minor::CannotOpenFile),
        None => Error::new(Minor::CannotOpenFile, begun),
    })
}

/// Returns a path of a group: the path by which an object is known, if it leads there, or any other path.
fn path_of(start: &Base, group: ObjectId) -> Result<Vec<u8>> {
    let container = &start.session.container;
    match &start.path {
        Some(path) if container.leads_to(path, group) => Ok(path.to_vec()),
        _ => Ok(container.find_path(group)?.unwrap_or_default()),
    }
}

fn open_at(from: &Session, name: &[u8], flags: OpenFlags, access: Hid) -> Result<External> {
    let (library, config) = (from.library, &from.config);
    match storage::storage(library, config, name, access, flags.access())? {
        NamedFile::Native => {
            storage::check_allowed(config, Minor::CannotOpenFile, "open", name)?;
            library.open_native_file(name, flags, access, config.native_filters).map(External::Native)
        }
        NamedFile::Container(place) => {
            Ok(match file::open_named(library, config, (name, *place), flags, access)? {
                Opened::Container(session) => External::Container(session),
                Opened::Native(handle) => External::Native(handle),
            })
        }
    }
}

/// Opens the target of a path in a native file. An object of another kind than `kind` is closed again.
///
/// # Errors
/// The native connector's own error, as it reported it; for an object of another kind.
pub fn open_native(path: &NativePath, kind: Option<ObjectKind>) -> Result<Handle> {
    let opened = path.open()?;
    match (&opened, kind) {
        (Handle::Native(native), Some(kind)) if !native.is(kind) => {
            native.close();
            Err(Error::new(Minor::BadType, "an external link leads to an object of another kind"))
        }
        _ => Ok(opened),
    }
}

/// Returns the flags with which a file is opened that another file leads to.
pub fn flags_of(from: &Session) -> OpenFlags {
    let swmr = *from.swmr.lock();
    OpenFlags {
        // As in the native connector, the access of the file's container counts, for any identifier of the file.
        write: from.container.writable(),
        exclusive: false,
        swmr_write: swmr == Swmr::Write,
        swmr_read: swmr == Swmr::Read,
    }
}

/// Returns the names under which a file that another file names is searched, in order (H5Fint.c,
/// `H5F_prefix_open_file`). `listed` are the folders of an environment variable.
pub fn all_candidates(from: &Session, name: &[u8], listed: &[u8], prefix: Option<&[u8]>) -> Vec<Vec<u8>> {
    let mut found = candidates(&from.folder, name, listed, prefix);
    if let Some(last) = beside_real_file(from, name)
        && !found.contains(&last)
    {
        found.push(last);
    }
    found
}

/// Returns the name in the folder that really contains a local file, after following symbolic links.
fn beside_real_file(from: &Session, name: &[u8]) -> Option<Vec<u8>> {
    // The folder of a container in a store is no path from the root.
    if !from.folder.starts_with(b"/") {
        return None;
    }
    let path = Path::new(OsStr::from_bytes(&from.folder)).join(OsStr::from_bytes(last_component(&from.name)));
    let path = std::fs::canonicalize(path).ok()?;
    Some(under(path.parent()?.as_os_str().as_bytes(), relative(name)))
}

/// Returns the candidates that do not depend on existing files. `folder` is the folder of the file that names the
/// other file.
pub fn candidates(folder: &[u8], name: &[u8], listed: &[u8], prefix: Option<&[u8]>) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    if is_absolute(name) {
        found.push(name.to_vec());
    }
    let relative = relative(name);
    let folders = listed.split(|byte| *byte == b':').chain(prefix).filter(|folder| !folder.is_empty());
    // As in the native connector, `${ORIGIN}` is not replaced here. The prefix of virtual sources has had it replaced
    // before.
    found.extend(folders.map(|prefix| under(prefix, relative)));
    if !folder.is_empty() {
        found.push(under(folder, relative));
    }
    found.push(relative.to_vec());
    found
}

/// Checks a candidate that is the very name in the file; other candidates begin with a folder that the user or the
/// program chose.
///
/// # Errors
/// As for [`trust::check_name`].
pub fn check_candidate(from: &Session, candidate: &[u8], name: &[u8]) -> Result<()> {
    if candidate == name { trust::check_name(name, &from.folder, &from.config) } else { Ok(()) }
}

/// Returns an environment variable; empty if it is not set.
pub fn variable(name: &str) -> Vec<u8> {
    std::os::unix::ffi::OsStringExt::into_vec(std::env::var_os(name).unwrap_or_default())
}

/// Returns whether a name is a path from the root, or a URL: no folder is put before it.
pub fn is_absolute(name: &[u8]) -> bool {
    let scheme = name.split(|byte| *byte == b':').next().unwrap_or_default();
    let has_scheme =
        scheme.len() < name.len() && scheme.len() > 1 && scheme.iter().all(u8::is_ascii_alphanumeric);
    name.first() == Some(&b'/') || has_scheme
}

/// Returns the part of a name that is searched in folders: only the last component of an absolute name.
fn relative(name: &[u8]) -> &[u8] {
    if is_absolute(name) { last_component(name) } else { name }
}

fn last_component(name: &[u8]) -> &[u8] {
    name.rsplit(|byte| *byte == b'/').next().unwrap_or(name)
}

fn under(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if folder.ends_with(b"/") { b"" } else { b"/" };
    [folder, slash, name].concat()
}

/// Replaces `${ORIGIN}` at the beginning of a prefix of external data or of virtual sources by the folder of the file
/// that names the other file.
pub fn from_origin(prefix: &[u8], folder: &[u8]) -> Vec<u8> {
    match prefix.strip_prefix(b"${ORIGIN}") {
        Some(rest) => [folder.strip_suffix(b"/").unwrap_or(folder), rest].concat(),
        None => prefix.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &str, name: &str, prefix: Option<&str>) -> Vec<String> {
        let found = candidates(folder.as_bytes(), name.as_bytes(), b"", prefix.map(str::as_bytes));
        found.into_iter().map(|name| String::from_utf8(name).unwrap()).collect()
    }

    #[test]
    fn a_relative_name_is_looked_for_beside_the_file_and_by_itself() {
        assert_eq!(names("/d/", "b.h5", None), ["/d/b.h5", "b.h5"]);
        assert_eq!(names("", "b.h5", Some("p")), ["p/b.h5", "b.h5"]);
        assert_eq!(names("/d/", "b.h5", Some("${ORIGIN}/p")), ["${ORIGIN}/p/b.h5", "/d/b.h5", "b.h5"]);
    }

    #[test]
    fn an_absolute_name_is_taken_first() {
        assert_eq!(names("/d/", "/x/b.h5", None), ["/x/b.h5", "/d/b.h5", "b.h5"]);
        assert_eq!(names("memory:m/", "memory:b", None)[0], "memory:b");
    }

    #[test]
    fn a_container_in_a_store_looks_in_its_store() {
        assert_eq!(names("memory:m/", "b", None)[0], "memory:m/b");
    }
}
