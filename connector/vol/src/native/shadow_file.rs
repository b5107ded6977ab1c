//! The native objects beneath h5lake's own objects.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use h5lake_container::Container;
use h5lake_ledger::locks::Mutex;
use h5lake_plugin_abi::MAX_LIBRARIES;

use crate::error::{Error, Minor, Result};
use crate::hdf5::id::{Id, KeptId};
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::native::shadow_driver;
use crate::hdf5::native::{NativeKind, NativeObject};
use crate::hdf5::references::REGION_BYTES;
use crate::hdf5::saved_errors::silently;

/// The native file beneath one session. Each session has its own, because a native file shared by several sessions
/// could be closed only while an identifier of a file leads to it: `H5VL__native_file_close` searches for one.
pub struct ShadowFile {
    library: Library,
    container: Weak<Container>,
    types: Mutex<HashMap<Bytes, CString>>,
    /// The number of committed types that were named in the native file.
    type_names: AtomicU64,
    /// References to regions that were read. Each one takes space in the native file until the file is closed, so
    /// there is only one reference for each region, however often the region is read.
    regions: Mutex<HashMap<Vec<u8>, [u8; REGION_BYTES]>>,
    /// True if objects of this session remain in the native file.
    is_marked: AtomicBool,
    /// Made when it is first needed: an open of a file that only our own callbacks use needs no native file.
    beneath: OnceLock<Beneath>,
}

/// A native file and its objects. Making them takes longer than everything else in opening a small container. So those
/// of a closed session are reused for the next one, unless objects of the old session remain in the file.
struct Beneath {
    library: Library,
    number: u64,
    /// The end of the file when an object was last made in it.
    end: AtomicU64,
    // The fields are closed in this order. The native file is closed with its last object.
    file: NativeObject,
    group: OnceLock<NativeObject>,
    attribute: OnceLock<NativeObject>,
    dataset: Mutex<DatasetBeneath>,
    /// Outlives the file.
    driver: Arc<KeptId>,
}

/// A native dataset, and the driver that it needs if it is the last to be closed.
pub struct NativeDataset {
    object: NativeObject,
    _driver: Arc<KeptId>,
}

impl NativeDataset {
    /// Returns the dataset.
    pub fn object(&self) -> &NativeObject {
        &self.object
    }
}

/// The native dataset beneath every dataset. It is kept until the file is closed or the library shuts down. During a
/// shutdown it is open only as long as one of our datasets is: it holds an identifier of its datatype, and a library
/// closes files only when no datatype has an identifier any more.
#[derive(Default)]
struct DatasetBeneath {
    made: bool,
    open: Weak<NativeDataset>,
    kept: Option<Arc<NativeDataset>>,
}

/// Native files without a session, for each slot's library.
static IDLE: [Mutex<Vec<Beneath>>; MAX_LIBRARIES] = [const { Mutex::new(Vec::new()) }; MAX_LIBRARIES];
/// The most native files that are kept for a library: each one takes a megabyte.
const MOST_IDLE: usize = 4;
/// The native files that stand in for closing objects without a native object, for each slot's library.
static STAND_INS: [Mutex<Option<Arc<Beneath>>>; MAX_LIBRARIES] = [const { Mutex::new(None) }; MAX_LIBRARIES];

/// Returns any native object of a kind, as the stand-in of a closing object without a native object: native code that
/// closes another file asks whether the object belongs to that file.
///
/// # Errors
/// If no object can be made, or the library shuts down.
pub fn stand_in(library: Library, kind: NativeKind) -> Result<*mut c_void> {
    let beneath = of_no_session(library)?;
    Ok(match kind {
        NativeKind::File => beneath.file.pointer(),
        NativeKind::Group => beneath.group()?.pointer(),
        NativeKind::Attribute => beneath.attribute()?.pointer(),
        // The native file keeps the dataset open, because the library is not shutting down.
        NativeKind::Dataset => beneath.dataset()?.object().pointer(),
        // Committed types always have a native object of their own.
        NativeKind::Datatype => return Err(gone()),
    })
}

fn gone() -> Error {
    Error::new(Minor::Internal, "an object's native side is gone")
}

/// Returns the native file of a library that belongs to no session.
fn of_no_session(library: Library) -> Result<Arc<Beneath>> {
    let place = STAND_INS.get(library.slot()).filter(|_| library.is_to_tell()).ok_or_else(gone)?;
    let made = place.lock().clone();
    if let Some(beneath) = made {
        return Ok(beneath);
    }
    let new = Arc::new(Beneath::idle_or_new(library)?);
    // If another thread made a file meanwhile, that file stays, and this one is closed after the lock has been
    // released.
    let first = place.lock().get_or_insert_with(|| new.clone()).clone();
    drop(new);
    Ok(first)
}

/// Returns a read-only copy of a datatype: the native connector's answer for an attribute of that type.
///
/// # Errors
/// If a native file cannot hold the type, or the library shuts down.
pub fn read_only_type(library: Library, datatype: Hid) -> Result<Id> {
    let beneath = of_no_session(library)?;
    silently(library, || library.in_own_context(|| beneath.file.read_only_type(datatype)))
}

/// Frees native files without a session, for a library that shuts down.
pub fn let_go_of_idle(library: Library) {
    let idle = IDLE.get(library.slot()).map(|idle| std::mem::take(&mut *idle.lock()));
    let stand_in = STAND_INS.get(library.slot()).and_then(|place| place.lock().take());
    drop((idle, stand_in));
}

impl Beneath {
    fn new(library: Library) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(shadow_driver::file_name(number)).unwrap_or_default();
        let connector = Arc::new(library.native_connector()?.kept());
        let (file, driver) = library.in_own_context(|| library.native_memory_file(&connector, &name))?;
        Ok(Self {
            library,
            number,
            end: AtomicU64::new(shadow_driver::end_of(number).unwrap_or_default()),
            file,
            group: OnceLock::new(),
            attribute: OnceLock::new(),
            dataset: Mutex::default(),
            driver: Arc::new(driver.kept()),
        })
    }

    /// Returns a native file that an earlier session has left, or a new one.
    fn idle_or_new(library: Library) -> Result<Self> {
        let idle = IDLE.get(library.slot()).and_then(|idle| idle.lock().pop());
        idle.map_or_else(|| Self::new(library), Ok)
    }

    fn group(&self) -> Result<&NativeObject> {
        once(&self.group, || self.making(|| self.file.open_root()))
    }

    fn attribute(&self) -> Result<&NativeObject> {
        once(&self.attribute, || self.making(|| self.file.create_attribute(c"attribute")))
    }

    fn dataset(&self) -> Result<Arc<NativeDataset>> {
        let (open, made) = {
            let dataset = self.dataset.lock();
            (dataset.open.upgrade(), dataset.made)
        };
        if let Some(open) = open {
            return Ok(open);
        }
        let name = c"dataset";
        let object = self.making(|| match made {
            true => self.file.open_dataset(name),
            false => self.file.create_dataset(name),
        })?;
        let open = Arc::new(NativeDataset { object, _driver: self.driver.clone() });
        let kept = self.library.is_to_tell().then(|| open.clone());
        let new = DatasetBeneath { made: true, open: Arc::downgrade(&open), kept };
        // The replaced dataset is closed after the lock has been released.
        let old = std::mem::replace(&mut *self.dataset.lock(), new);
        drop(old);
        Ok(open)
    }

    /// Returns whether only [`Self::making`] has put objects into the file.
    fn is_clean(&self) -> bool {
        shadow_driver::end_of(self.number) == Some(self.end.load(Ordering::Relaxed))
    }

    /// Makes an object in the file.
    fn making<T>(&self, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let clean = self.is_clean();
        let made = self.library.in_own_context(make);
        if clean && let Some(end) = shadow_driver::end_of(self.number) {
            self.end.store(end, Ordering::Relaxed);
        }
        made
    }
}

impl ShadowFile {
    /// Makes the native side of a session, without any objects yet. The library must report its shutdown.
    pub fn new(library: Library, container: &Arc<Container>) -> Self {
        Self {
            library,
            container: Arc::downgrade(container),
            types: Mutex::default(),
            type_names: AtomicU64::new(0),
            regions: Mutex::default(),
            is_marked: AtomicBool::new(false),
            beneath: OnceLock::new(),
        }
    }

    /// Returns the native file of the session: one that an earlier session has left, or a new one.
    fn beneath(&self) -> Result<&Beneath> {
        once(&self.beneath, || {
            let beneath = Beneath::idle_or_new(self.library)?;
            shadow_driver::bind(beneath.number, self.container.clone());
            Ok(beneath)
        })
    }

    /// Returns the native object of a kind, if it was needed before; each dataset and each committed type knows its
    /// own.
    pub fn made(&self, kind: NativeKind) -> Option<*mut c_void> {
        let beneath = self.beneath.get()?;
        Some(match kind {
            NativeKind::File => beneath.file.pointer(),
            NativeKind::Group => beneath.group.get()?.pointer(),
            NativeKind::Attribute => beneath.attribute.get()?.pointer(),
            NativeKind::Dataset | NativeKind::Datatype => return None,
        })
    }

    /// Marks the native file as changed, so that it is not reused.
    pub fn mark(&self) {
        self.is_marked.store(true, Ordering::Relaxed);
    }

    /// Returns the native file.
    pub fn file(&self) -> Result<&NativeObject> {
        Ok(&self.beneath()?.file)
    }

    /// Returns the native group beneath every group.
    pub fn group(&self) -> Result<&NativeObject> {
        self.beneath()?.group()
    }

    /// Returns the native dataset beneath every dataset. It is open as long as the returned value is held.
    pub fn dataset(&self) -> Result<Arc<NativeDataset>> {
        self.beneath()?.dataset()
    }

    /// Releases the objects that keep the native file open, for a library that shuts down. Objects that native code
    /// needs after this are still made.
    pub fn let_go(&self) {
        let kept = self.beneath.get().and_then(|beneath| beneath.dataset.lock().kept.take());
        drop(kept);
    }

    /// Returns the native attribute beneath every attribute.
    pub fn attribute(&self) -> Result<&NativeObject> {
        self.beneath()?.attribute()
    }

    /// Returns the region reference in memory that stands for a region. Calls `make` to make it if it does not exist
    /// yet.
    ///
    /// # Errors
    /// The errors of `make`.
    pub fn region_reference(
        &self,
        region: &[u8],
        make: impl FnOnce() -> Result<[u8; REGION_BYTES]>,
    ) -> Result<[u8; REGION_BYTES]> {
        let known = self.regions.lock().get(region).copied();
        if let Some(reference) = known {
            return Ok(reference);
        }
        let reference = make()?;
        self.regions.lock().insert(region.to_vec(), reference);
        Ok(reference)
    }

    /// Opens a native committed datatype equal to `encoded`. Each call opens an object of its own, in the context of
    /// the program's call: errors in the call's lists are found there.
    pub fn datatype(&self, encoded: &Bytes) -> Result<NativeObject> {
        let file = self.file()?;
        let known = self.types.lock().get(encoded).cloned();
        if let Some(name) = known {
            return file.open_type(&name);
        }
        let number = self.type_names.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(format!("type{number}")).unwrap_or_default();
        self.mark();
        let committed = file.commit_type(&name, encoded)?;
        self.types.lock().insert(encoded.clone(), name);
        Ok(committed)
    }
}

impl Drop for ShadowFile {
    fn drop(&mut self) {
        let Some(beneath) = self.beneath.take() else { return };
        shadow_driver::bind(beneath.number, Weak::new());
        let is_new = !self.is_marked.load(Ordering::Relaxed) && beneath.is_clean();
        if is_new
            && self.library.is_to_tell()
            && let Some(idle) = IDLE.get(self.library.slot())
        {
            let mut idle = idle.lock();
            if idle.len() < MOST_IDLE {
                idle.push(beneath);
            }
        }
    }
}

fn once<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(object) = cell.get() {
        return Ok(object);
    }
    let object = make()?;
    Ok(cell.get_or_init(|| object))
}
