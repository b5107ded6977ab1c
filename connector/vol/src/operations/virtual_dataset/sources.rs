//! The sources of a virtual dataset: datasets of its own file, of other containers, of native files.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use h5lake_container::{Access, Dataspace};

use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::handles::open_objects::DatasetHandle;
use crate::handles::virtual_layout::VirtualLayout;
use crate::hdf5::id::{Id, KeptId};
use crate::hdf5::library::Library;
use crate::operations::file::{self, OpenedSource};
use crate::operations::object::handle_of;
use crate::operations::path::external_link::{all_candidates, check_candidate, flags_of, variable};
use crate::operations::path::{Base, Location, root_path};
use crate::operations::storage::{self, NamedFile};
use crate::operations::virtual_dataset::extent;
use crate::session::Session;
use crate::transfer::context::VIRTUAL_DEPTH;

/// How deep virtual datasets may lie within one another.
const DEEPEST: u32 = 32;

/// A source that is open.
#[derive(Clone)]
pub enum Source {
    /// A dataset of a container.
    Ours(Arc<DatasetHandle>),
    /// A dataset of a native file, open until the end of the callback.
    Native(Arc<KeptId>),
}

impl Source {
    /// What messages call it.
    pub fn name(&self) -> String {
        match self {
            Self::Ours(dataset) => {
                let path = dataset.base.path.as_deref().unwrap_or(b"a dataset");
                format!("{} of {}", String::from_utf8_lossy(path), dataset.base.session.container.name())
            }
            Self::Native(_) => "a dataset of a native file".to_owned(),
        }
    }

    /// Its present extent.
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
    /// If virtual datasets lie too deep within one another, or lead back to themselves.
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

    /// A source, if it is there. A file that is there but does not open is none that is missing, as since HDF5 2.0: its elements
    /// would be fill values that nobody wrote.
    ///
    /// # Errors
    /// Whatever keeps a file that is there from being read; a dataset that is there and does not open; a native file as a source where
    /// the settings refuse native files; a name that is not followed, where nothing else is found.
    pub fn find(&mut self, file: &[u8], dataset: &[u8]) -> Result<Option<Source>> {
        let key = (file.to_vec(), dataset.to_vec());
        let known = self.layout.sources.dataset(&key);
        if let Some(open) = known {
            return Ok(Some(Source::Ours(open)));
        }
        let found = self.open(file, dataset)?;
        if let Some(Source::Ours(source)) = &found {
            // A source that is virtual itself shows what its own sources have.
            extent::refresh(source)?;
            self.layout.sources.keep_dataset(key, source.clone());
        }
        Ok(found)
    }

    /// Whether a source is there. It is not kept open.
    pub fn exists(&mut self, file: &[u8], dataset: &[u8]) -> Result<bool> {
        Ok(self.open(file, dataset)?.is_some())
    }

    fn open(&mut self, file: &[u8], dataset: &[u8]) -> Result<Option<Source>> {
        if file == b"." {
            return Ok(self.in_session(&self.dataset.base.session, dataset)?.map(Source::Ours));
        }
        if let Some(native) = self.native_files.get(file) {
            return self.in_native(native, dataset);
        }
        let known = self.layout.sources.file(file);
        if let Some(session) = known {
            return Ok(self.in_session(&session, dataset)?.map(Source::Ours));
        }
        let mut refused = Ok(None);
        for candidate in self.candidates(file) {
            match self.open_file(&candidate, file) {
                Err(error) if error.minor() == Minor::NotFollowed => refused = refused.and(Err(error)),
                Err(error) => return Err(error),
                Ok(None) => {}
                Ok(Some(File::Ours(session))) => {
                    self.layout.sources.keep_file(file, session.clone())?;
                    return Ok(self.in_session(&session, dataset)?.map(Source::Ours));
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

    /// Where a file may lie (H5Fint.c, `H5F_prefix_open_file`).
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
                    Err(error) if error.is_of_nothing_there() => Ok(None),
                    Err(error) => Err(error),
                }
            }
            Err(error) if error.is_of_nothing_there() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a native file: to read alone, where it cannot be opened to write.
    fn open_native(&self, name: &[u8]) -> Result<Option<File>> {
        let (library, access) = (self.library(), self.dataset.base.session.access());
        let opened = library.open_source_file(name, access).or_else(|error| match access {
            Access::ReadWrite => library.open_source_file(name, Access::ReadOnly).map_err(|_| error),
            Access::ReadOnly => Err(error),
        });
        match opened {
            Ok(id) => Ok(Some(File::Native(id))),
            Err(_) if !Path::new(OsStr::from_bytes(name)).exists() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn in_session(&self, session: &Arc<Session>, path: &[u8]) -> Result<Option<Arc<DatasetHandle>>> {
        let root = session.container.root();
        let base = Base { session: session.clone(), id: root, path: Some(root_path()) };
        let found = base.find(&Location::ByName { name: path, access: 0 });
        let opened = found.and_then(|found| handle_of(&found.session, found.id, found.path));
        match unless_missing(opened)? {
            Some(Handle::Dataset(mut dataset)) => {
                let access = self.dataset.access_list.as_ref();
                dataset.access_list =
                    access.and_then(|list| self.library().copy_list(list.get()).ok().map(Id::kept));
                Ok(Some(Arc::new(dataset)))
            }
            _ => Ok(None),
        }
    }

    fn in_native(&self, file: &Id, path: &[u8]) -> Result<Option<Source>> {
        let access = self.dataset.access_list.as_ref().map_or(0, |list| list.get());
        let opened = self.library().open_source_dataset(file, path, access)?;
        Ok(opened.map(|id| Source::Native(Arc::new(id.kept()))))
    }
}

/// `None` for what is not there or is something else; an error for what cannot be read just now.
fn unless_missing<T>(opened: Result<T>) -> Result<Option<T>> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if matches!(error.minor(), Minor::ReadError | Minor::CannotOperate) => Err(error),
        Err(_) => Ok(None),
    }
}

enum File {
    Ours(Arc<Session>),
    Native(Id),
}
