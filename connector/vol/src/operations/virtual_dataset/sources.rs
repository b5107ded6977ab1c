//! The sources of a virtual dataset: datasets of its own file, of other containers, of native files.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use h5lake_container::{Access, Dataspace};

use crate::error::{Error, Major, Minor, Result};
use crate::handles::Handle;
use crate::handles::open_objects::DatasetHandle;
use crate::handles::virtual_layout::{Mapping, VirtualLayout};
use crate::hdf5::id::{Id, KeptId};
use crate::hdf5::library::Library;
use crate::operations::file::{self, OpenedSource};
use crate::operations::object::handle_of;
use crate::operations::path::external_link::{all_candidates, check_candidate, flags_of, variable};
use crate::operations::path::{Base, Location, Resolved, root_path};
use crate::operations::storage::{self, NamedFile};
use crate::operations::virtual_dataset::extent;
use crate::session::Session;
use crate::transfer::context::VIRTUAL_DEPTH;

/// The maximum nesting depth of virtual datasets.
const DEEPEST: u32 = 32;

/// An open source.
#[derive(Clone)]
pub enum Source {
    /// A dataset of a container.
    Ours(Arc<DatasetHandle>),
    /// A dataset of a native file, open until the end of the callback.
    Native(Arc<KeptId>),
}

impl Source {
    /// Returns the source's name for messages.
    pub fn name(&self) -> String {
        match self {
            Self::Ours(dataset) => {
                let path = dataset.base.path.as_deref().unwrap_or(b"a dataset");
                format!("{} of {}", String::from_utf8_lossy(path), dataset.base.session.container.name())
            }
            Self::Native(_) => "a dataset of a native file".to_owned(),
        }
    }

    /// Returns the source's current extent.
    pub fn extent(&self) -> Result<Dataspace> {
        match self {
            Self::Ours(dataset) => Ok(dataset.dataset.space()),
            Self::Native(id) => {
                let library = id.library();
                library.extent_of(library.native_space(id)?.get())
            }
        }
    }
}

/// A search for sources during one callback.
pub struct Search<'a> {
    dataset: &'a DatasetHandle,
    layout: &'a VirtualLayout,
    native_files: HashMap<Vec<u8>, Id>,
}

impl Drop for Search<'_> {
    fn drop(&mut self) {
        VIRTUAL_DEPTH.set(VIRTUAL_DEPTH.get() - 1);
    }
}

impl<'a> Search<'a> {
    /// Starts a search for sources of `dataset`.
    ///
    /// # Errors
    /// If virtual datasets are nested too deep, or lead back to themselves.
    pub fn new(dataset: &'a DatasetHandle, layout: &'a VirtualLayout) -> Result<Self> {
        let depth = VIRTUAL_DEPTH.get();
        if depth == DEEPEST {
            return Err(Error::new(Minor::CannotOperate, "virtual datasets lie too deep within one another"));
        }
        VIRTUAL_DEPTH.set(depth + 1);
        Ok(Self { dataset, layout, native_files: HashMap::new() })
    }

    fn library(&self) -> Library {
        self.dataset.base.session.library
    }

    /// Returns a source, if it exists. A file that exists and does not open is not treated as missing, as since HDF5
    /// 2.0, and neither is an object that exists and is no dataset: otherwise readers would take fill values for
    /// elements.
    ///
    /// # Errors
    /// Any cause that prevents an existing file from being read; a dataset that exists and does not open; an object
    /// that is no dataset; links without a target, as for [`is_there`]; a native file as a source if the settings
    /// refuse native files; a name that is not followed, if no source is found under another name.
    pub fn find(&mut self, file: &[u8], dataset: &[u8]) -> Result<Option<Source>> {
        let key = (file.to_vec(), dataset.to_vec());
        let known = self.layout.sources.dataset(&key);
        if let Some(open) = known {
            return Ok(Some(Source::Ours(open)));
        }
        let found = self.open(file, dataset)?;
        if let Some(Source::Ours(source)) = &found {
            // A source that is virtual itself shows elements of its own sources.
            extent::refresh(source)?;
            self.layout.sources.keep_dataset(key, source.clone());
        }
        Ok(found)
    }

    /// Returns whether a source exists. It is not kept open.
    pub fn exists(&mut self, file: &[u8], dataset: &[u8]) -> Result<bool> {
        Ok(self.open(file, dataset)?.is_some())
    }

    fn open(&mut self, file: &[u8], dataset: &[u8]) -> Result<Option<Source>> {
        if file == b"." {
            return self.in_session(&self.dataset.base.session, dataset);
        }
        if file.is_empty() {
            return Ok(None);
        }
        if let Some(native) = self.native_files.get(file) {
            return self.in_native(native, dataset);
        }
        let known = self.layout.sources.file(file);
        if let Some(session) = known {
            return self.in_session(&session, dataset);
        }
        let mut refused = Ok(None);
        // The last component of a folder's name is empty.
        for candidate in self.candidates(file).into_iter().filter(|candidate| !candidate.is_empty()) {
            let mut opened = self.open_file(&candidate, file);
            while lacks_descriptors(&opened) && self.layout.sources.close_one()? {
                opened = self.open_file(&candidate, file);
            }
            match opened {
                Err(error) if error.minor() == Minor::NotFollowed => refused = refused.and(Err(error)),
                Err(error) => return Err(error),
                Ok(None) => {}
                Ok(Some(File::Ours(session))) => {
                    self.layout.sources.keep_file(file, session.clone())?;
                    return self.in_session(&session, dataset);
                }
                Ok(Some(File::Native(id))) => {
                    let found = self.in_native(&id, dataset);
                    self.native_files.insert(file.to_vec(), id);
                    return found;
                }
            }
        }
        refused
    }

    /// Returns the paths at which a file may be (H5Fint.c, `H5F_prefix_open_file`).
    fn candidates(&self, file: &[u8]) -> Vec<Vec<u8>> {
        let session = &self.dataset.base.session;
        let prefix = Some(self.layout.prefix.as_slice()).filter(|prefix| !prefix.is_empty());
        all_candidates(session, file, &variable("HDF5_VDS_PREFIX"), prefix)
    }

    /// Opens a candidate for the file of that name.
    fn open_file(&self, candidate: &[u8], file: &[u8]) -> Result<Option<File>> {
        let (session, name) = (&self.dataset.base.session, candidate);
        check_candidate(session, candidate, file)?;
        let library = self.library();
        let list = library.external_access_list(0, session.access_list.get())?;
        let flags = flags_of(session);
        match storage::storage(library, &session.config, name, list.get(), flags.access()) {
            Ok(NamedFile::Native) => {
                storage::check_allowed(&session.config, Minor::CannotOpenFile, "open", name)?;
                self.open_native(name)
            }
            Ok(NamedFile::Container(place)) => {
                match file::open_source(library, &session.config, (name, *place), flags, list.get()) {
                    Ok(OpenedSource::Container(session)) => Ok(Some(File::Ours(session))),
                    Ok(OpenedSource::Native(id)) => Ok(Some(File::Native(id))),
                    Err(error) if is_of_no_file(&error) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            Err(error) if is_of_no_file(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a native file: read-only if it cannot be opened for writing.
    fn open_native(&self, name: &[u8]) -> Result<Option<File>> {
        let (library, access) = (self.library(), self.dataset.base.session.access());
        let opened = library.open_source_file(name, access).or_else(|error| match access {
            Access::ReadWrite => library.open_source_file(name, Access::ReadOnly).map_err(|_| error),
            Access::ReadOnly => Err(error),
        });
        match opened {
            Ok(id) => Ok(Some(File::Native(id))),
            Err(_) if is_no_file(Path::new(OsStr::from_bytes(name))) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn in_session(&self, session: &Arc<Session>, path: &[u8]) -> Result<Option<Source>> {
        let root = session.container.root();
        let base = Base { session: session.clone(), id: root, path: Some(root_path()) };
        let source = || {
            let path = String::from_utf8_lossy(path);
            format!("cannot open '{path}' of {}, a source of a virtual dataset", session.container.name())
        };
        self.open_dataset(&base, path).map_err(|error| error.after(source()))
    }

    fn open_dataset(&self, base: &Base, path: &[u8]) -> Result<Option<Source>> {
        if !is_there(base, path)? {
            return Ok(None);
        }
        let access = self.dataset.access_list.as_ref();
        let found = match base.resolve(&Location::ByName { name: path, access: 0 })? {
            Resolved::Here(found) => found,
            Resolved::Native(path) => {
                let id = path.open_dataset(access.map_or(0, |list| list.get()))?;
                return Ok(Some(Source::Native(Arc::new(id.kept()))));
            }
        };
        let mut dataset = match handle_of(&found.session, found.id, found.path)? {
            Handle::Dataset(dataset) => dataset,
            other => {
                let kind = if matches!(other, Handle::Group(_)) { "group" } else { "committed datatype" };
                let text = format!(
                    "it is a {kind} and not a dataset; give the dataset another name, or remove the {kind}"
                );
                return Err(Error::new(Minor::BadType, text));
            }
        };
        dataset.access_list = access.and_then(|list| self.library().copy_list(list.get()).ok().map(Id::kept));
        Ok(Some(Source::Ours(Arc::new(dataset))))
    }

    fn in_native(&self, file: &Id, path: &[u8]) -> Result<Option<Source>> {
        let access = self.dataset.access_list.as_ref().map_or(0, |list| list.get());
        let opened = self.library().open_source_dataset(file, path, access)?;
        Ok(opened.map(|id| Source::Native(Arc::new(id.kept()))))
    }
}

/// Returns whether an object exists at a path. None exists if the last component, or a group before that component, is
/// missing, or if the last component is a link to a missing target, like in the native connector
/// (`H5G_TARGET_EXISTS`).
///
/// # Errors
/// A link before the last component that leads nowhere, or to an object that is no group; a cycle of soft links; an
/// external link to a file that exists and does not open.
fn is_there(base: &Base, path: &[u8]) -> Result<bool> {
    let location = Location::ByName { name: path, access: 0 };
    match base.is_there(&location) {
        Ok(Resolved::Here(true)) => Ok(true),
        Ok(Resolved::Here(false)) => match base.resolve(&location) {
            Err(error) if is_of_unreadable_file(&error) => Err(error),
            _ => Ok(false),
        },
        Ok(Resolved::Native(path)) => path.exists(),
        Err(error) if error.minor() == Minor::NotFound && !lacks_group(base, path) => Err(error),
        Err(error) if error.minor() == Minor::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns whether a path names a group that is missing. A link in place of the group does not count as missing.
fn lacks_group(base: &Base, path: &[u8]) -> bool {
    let ends = (1..path.len()).filter(|end| path[*end] == b'/' && path[end - 1] != b'/');
    ends.map(|end| base.has_link(&path[..end], 0))
        .take_while(Result::is_ok)
        .any(|has_link| matches!(has_link, Ok(false)))
}

/// Returns whether an error is that of an external link to a file that exists and does not open, or of a link of a kind
/// that is not followed.
fn is_of_unreadable_file(error: &Error) -> bool {
    match error.minor() {
        Minor::CannotOpenFile => !is_of_no_file(error),
        minor => minor == Minor::Unsupported,
    }
}

/// Returns whether an error means that no file exists at a name. A folder does not count as a file.
fn is_of_no_file(error: &Error) -> bool {
    error.is_of_nothing_there() || error.errno() == Some(libc::EISDIR)
}

fn is_no_file(path: &Path) -> bool {
    !path.exists() || path.is_dir()
}

/// Returns whether a file did not open because the process has too many files open.
fn lacks_descriptors<T>(opened: &Result<T>) -> bool {
    opened.as_ref().is_err_and(|error| matches!(error.errno(), Some(libc::EMFILE | libc::ENFILE)))
}

/// Checks that the selection in a source has the source's rank. In a source of another rank, the selection would denote
/// other elements.
///
/// # Errors
/// For a source that has another rank.
pub fn check_rank(mapping: &Mapping, found: &Source) -> Result<()> {
    let extent = found.extent()?;
    let (rank, wanted) = (extent.dims().len(), mapping.source_rank);
    if wanted.is_none_or(|wanted| wanted == rank) {
        return Ok(());
    }
    let text = format!(
        "a mapping of a virtual dataset selects elements in {} dimensions, but its source, {}, has {rank} dimensions now; create the \
         virtual dataset again for this source",
        wanted.unwrap_or_default(),
        found.name()
    );
    Err(Error::new(Minor::BadValue, text).in_class(Major::Dataspace))
}

enum File {
    Ours(Arc<Session>),
    Native(Id),
}
