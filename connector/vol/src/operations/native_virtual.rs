//! Virtual datasets of native files with containers as sources.
//!
//! Native code opens the sources by itself, and cannot open a container ("bad superblock version number"). So the
//! elements of such a dataset are read from a copy of the dataset, which is made in a container in memory for one
//! read. Programs create such datasets in files of the core driver.

use std::sync::atomic::{AtomicU64, Ordering};

use h5lake_container::{Access, CharSet, Layout, LinkTarget, VirtualMapping};
use h5lake_ledger::Probe;

use crate::config::Config;
use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::handles::source_name::SourceName;
use crate::hdf5::file_flags::OpenFlags;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::native::chunked_dataset::BorrowedDataset;
use crate::hdf5::plist::ListClass;
use crate::names::{folder_of, place_to_open};
use crate::operations::dataset::{self, FileSelection, NewDataset};
use crate::operations::file::{self, file_handle};
use crate::operations::object::OwnHandles;
use crate::operations::open_file;
use crate::operations::path::Location;
use crate::session::{OpenedBy, Session, SessionParts, Swmr};
use crate::transfer::memory::region::MemoryRegion;

/// The name of the copy in its container.
const COPY: &[u8] = b"copy";

/// A virtual dataset of a native file, with a container among its sources.
pub struct NativeVirtual<'a> {
    dataset: BorrowedDataset<'a>,
    creation: Id,
    mappings: Vec<VirtualMapping>,
    config: Config,
    /// The name of the native file.
    file: Vec<u8>,
}

impl<'a> NativeVirtual<'a> {
    /// Returns the dataset, if it is a virtual dataset with a container among its sources.
    ///
    /// # Errors
    /// Settings that cannot be read; calls of libhdf5 that fail.
    pub fn of(dataset: BorrowedDataset<'a>) -> Result<Option<Self>> {
        let creation = dataset.creation_list()?;
        let Some(Layout::Virtual { mappings }) = dataset.library().layout_elsewhere(creation.get())? else {
            return Ok(None);
        };
        let config = Config::from_environment().map_err(|why| Error::new(Minor::BadValue, why))?;
        let file = dataset.file_name()?;
        let folder = folder_of(&file, &config);
        let names = mappings.iter().filter_map(|mapping| SourceName::parse(&mapping.file).ok());
        let leads_to_container = names.map(|name| name.of_block(0)).any(|name| {
            let beside = [folder.as_slice(), &name].concat();
            name != b"." && [&name, &beside].iter().any(|name| is_container(name, &config))
        });
        Ok(leads_to_container.then_some(Self { dataset, creation, mappings, config, file }))
    }

    /// Returns the error for an operation that neither native code nor this module can do.
    pub fn refuse(&self, operation: &str) -> Error {
        let text = format!(
            "cannot {operation} a virtual dataset of the native HDF5 file '{}': a source of it is an h5lake container, which native HDF5 \
             cannot open; create the virtual dataset in a container instead, without a file driver",
            String::from_utf8_lossy(&self.file)
        );
        Error::new(Minor::CannotOpenFile, text)
    }

    /// Reads elements.
    ///
    /// # Errors
    /// For a dataset that also takes elements of its own file; errors of the sources.
    pub fn read(
        &self,
        memory_type: Hid,
        region: &mut MemoryRegion,
        file_space: Option<Hid>,
        transfer: Hid,
    ) -> Result<()> {
        if self.mappings.iter().any(|mapping| &mapping.file[..] == b".") {
            return Err(self.refuse("read, because it takes elements of its own file, too,"));
        }
        let scratch = Scratch::new(self.dataset.library())?;
        let read = scratch.make(self).and_then(|()| {
            let copy = scratch.open(self)?;
            let Handle::Dataset(copy) = &copy else { return Err(self.refuse("read")) };
            let (selection, _) = dataset::file_selection(copy, file_space)?;
            dataset::read(
                copy,
                memory_type,
                region,
                &FileSelection { selection, space: file_space },
                transfer,
            )
        });
        let removed = scratch.remove();
        read.and(removed)
    }
}

fn is_container(name: &[u8], config: &Config) -> bool {
    let place = place_to_open(name, config, Access::ReadOnly);
    place.is_ok_and(|place| matches!(place.found(), Some(Probe::Container | Probe::Pointer)))
}

/// A container in memory, for one read.
struct Scratch {
    library: Library,
    name: Vec<u8>,
    config: Config,
    access: Id,
}

impl Scratch {
    fn new(library: Library) -> Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("memory:h5lake-native-virtual-{number}/file").into_bytes();
        let access = library.source_access()?;
        Ok(Self { library, name, config: Config::default(), access })
    }

    /// Makes the container, and in it a dataset with the same sources.
    fn make(&self, of: &NativeVirtual<'_>) -> Result<()> {
        let (library, access) = (self.library, self.access.get());
        let flags = OpenFlags { write: true, ..OpenFlags::default() };
        let creation = library.default_list(ListClass::FileCreate)?;
        let file = file::create(library, &self.config, &self.name, flags, creation.get(), access)?;
        let (datatype, space) = (of.dataset.datatype()?, of.dataset.space()?);
        let accessed = library.default_list(ListClass::DatasetAccess)?;
        let new = NewDataset {
            datatype: datatype.get(),
            space: space.get(),
            creation: of.creation.get(),
            access: accessed.get(),
            link_creation: 0,
        };
        let made = dataset::create(&file, &Location::Itself, None, &new)?;
        let container = file.session()?.container.clone();
        let target = LinkTarget::Hard(dataset::of(&made)?.base.id());
        container.link_create(container.root(), COPY, target, CharSet::Ascii)?;
        drop(made);
        open_file::close(&file)
    }

    /// Opens the dataset in the container to read, as if it were in the native file: sources are searched from there.
    fn open(&self, of: &NativeVirtual<'_>) -> Result<Handle> {
        let library = self.library;
        let file = file::open(library, &self.config, &self.name, OpenFlags::default(), self.access.get())?;
        let parts = SessionParts {
            library,
            handles: &OwnHandles,
            container: file.session()?.container.clone(),
            together: None,
            config: of.config.clone(),
            name: of.file.clone(),
            access_list: library.copy_list(self.access.get())?,
            writable: false,
            opened_by: OpenedBy::Link,
            swmr: Swmr::Off,
        };
        let access = of.dataset.access_list()?;
        dataset::open(&file_handle(Session::start(parts)?), &Location::Itself, COPY, access.get())
    }

    fn remove(&self) -> Result<()> {
        file::delete(self.library, &self.config, &self.name, self.access.get())
    }
}
