//! Open files and objects: the contents of h5lake's handles.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use h5lake_container::{Attribute, Dataset, ObjectId, OpenObject};
use h5lake_ledger::locks::Mutex;

use crate::error::Result;
use crate::handles::virtual_layout::VirtualLayout;
use crate::hdf5::id::KeptId;
use crate::hdf5::native::NativeObject;
use crate::native::shadow_file::NativeDataset;
use crate::session::Session;
use crate::transfer::library_codec::LentDataset;
use crate::transfer::stored_type::FileType;

/// An identifier of an open file.
pub struct FileHandle {
    /// The session that the file shares with its objects.
    pub session: Arc<Session>,
}

impl FileHandle {
    /// Makes another identifier of the session's file.
    pub fn new(session: Arc<Session>) -> Self {
        session.file_handles.fetch_add(1, Ordering::Relaxed);
        session.is_applications.store(true, Ordering::Relaxed);
        Self { session }
    }
}

impl Drop for FileHandle {
    fn drop(&mut self) {
        self.session.file_handles.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An open object: a group, and the common part of datasets and committed types.
pub struct ObjectHandle {
    /// The session the object was opened in.
    pub session: Arc<Session>,
    /// Keeps the object alive while it is open.
    pub object: OpenObject,
    /// The path by which the object was opened, if it was opened by a path.
    pub path: Option<Bytes>,
}

impl ObjectHandle {
    /// Returns the object's id.
    pub fn id(&self) -> ObjectId {
        self.object.id()
    }
}

/// An open dataset.
pub struct DatasetHandle {
    /// The dataset's types as this library's identifiers. Closed before the session.
    pub types: OnceLock<Arc<FileType>>,
    /// The codec that runs the dataset's filters, if the container cannot. Taken back before the session is closed.
    pub codec: Mutex<Option<LentDataset>>,
    /// The data.
    pub dataset: Arc<Dataset>,
    /// The access list that the dataset was opened with.
    pub access_list: Option<KeptId>,
    /// A creation list with properties of the application's own.
    pub user_properties: Option<KeptId>,
    /// The sources of a virtual dataset, once its elements were needed.
    pub virtual_layout: OnceLock<Arc<VirtualLayout>>,
    /// The part that all objects have.
    pub base: ObjectHandle,
    /// The native dataset beneath, once it was needed.
    pub native: OnceLock<Arc<NativeDataset>>,
}

impl DatasetHandle {
    /// Returns the native dataset beneath, as long as this dataset is open.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn native(&self) -> Result<&Arc<NativeDataset>> {
        if let Some(native) = self.native.get() {
            return Ok(native);
        }
        let native = self.base.session.shadow.dataset()?;
        Ok(self.native.get_or_init(|| native))
    }

    /// Does the work of a close before the dataset is dropped, including its sources.
    ///
    /// # Errors
    /// The errors of encoding chunks, and of closing the sources.
    pub fn release(&self) -> Result<()> {
        let lent = self.codec.lock().take();
        let encoded = lent.map_or(Ok(()), LentDataset::take_back);
        let sources = self.close_sources();
        encoded.and(sources)
    }

    /// Commits elements that were written to sources of a virtual dataset in other files.
    pub fn commit_sources(&self) -> Result<()> {
        self.virtual_layout.get().map_or(Ok(()), |layout| layout.sources.commit())
    }

    /// Returns the files of other containers that a virtual dataset holds open.
    pub fn source_files(&self) -> Vec<Arc<Session>> {
        self.virtual_layout.get().map_or_else(Vec::new, |layout| layout.sources.files())
    }

    /// Closes the sources of a virtual dataset: they are opened again when they are needed, in their state at that
    /// time.
    pub fn close_sources(&self) -> Result<()> {
        self.virtual_layout.get().map_or(Ok(()), |layout| layout.sources.close())
    }
}

/// An open attribute.
pub struct AttributeHandle {
    /// The attribute's types as this library's identifiers. Closed before the session.
    pub types: OnceLock<Arc<FileType>>,
    /// The value. It keeps the object of the attribute alive.
    pub attribute: Arc<Attribute>,
    /// The path of that object, if it is known.
    pub path: Option<Bytes>,
    /// The session the attribute was opened in.
    pub session: Arc<Session>,
}

/// An open committed datatype.
pub struct DatatypeHandle {
    /// A copy of the datatype that is committed in the shadow native file, for native code.
    pub native: NativeObject,
    /// The part that all objects have.
    pub base: ObjectHandle,
}
