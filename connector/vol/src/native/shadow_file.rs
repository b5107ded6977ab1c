//! The native objects beneath ours.

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

/// What stands beneath one session: a native file of its own. (Natively shared by several sessions, it could be
/// closed only while an identifier of a file leads to it: `H5VL__native_file_close` looks for one.)
pub struct ShadowFile {
    library: Library,
    container: Weak<Container>,
    types: Mutex<HashMap<Bytes, CString>>,
    /// How many names committed types were given in the native file.
    type_names: AtomicU64,
    /// References to regions that were read. Each takes room in the native file until that is closed, so that there is one
    /// for each region, however often it is read.
    regions: Mutex<HashMap<Vec<u8>, [u8; REGION_BYTES]>>,
    /// Something of this session stays behind in the native file.
    is_marked: AtomicBool,
    /// Made when it is first asked for: an open of a file that only our own callbacks look into needs none.
    beneath: OnceLock<Beneath>,
}

/// A native file and its objects. Making them takes longer than all else of opening a small container, so that those of a
/// closed session are kept for the next one, unless something of the old one is left in them.
struct Beneath {
    library: Library,
    number: u64,
    /// Where the file ended when something was made in it last.
    end: AtomicU64,
    // Closed in this order. The native file goes with the last object of it.
    file: NativeObject,
    group: OnceLock<NativeObject>,
    attribute: OnceLock<NativeObject>,
    dataset: Mutex<DatasetBeneath>,
    /// Outlives the file.
    driver: Arc<KeptId>,
}

/// A native dataset, and what it needs when it closes last.
pub struct NativeDataset {
    object: NativeObject,
    _driver: Arc<KeptId>,
}

impl NativeDataset {
    /// The dataset.
    pub fn object(&self) -> &NativeObject {
        &self.object
    }
}

/// The native dataset that stands beneath every dataset. It is kept until the file is closed or the library shuts down,
/// from when on it is open as long as a dataset is: it holds an identifier of its datatype, and a library closes files
/// only when no datatype has one any more.
#[derive(Default)]
struct DatasetBeneath {
    made: bool,
    open: Weak<NativeDataset>,
    kept: Option<Arc<NativeDataset>>,
}

/// Native files without a session, of each slot's library.
static IDLE: [Mutex<Vec<Beneath>>; MAX_LIBRARIES] = [const { Mutex::new(Vec::new()) }; MAX_LIBRARIES];
/// How many are kept of a library: each takes a megabyte.
const MOST_IDLE: usize = 4;
/// What stands for objects that close and had no native object, of each slot's library.
static STAND_INS: [Mutex<Option<Arc<Beneath>>>; MAX_LIBRARIES] = [const { Mutex::new(None) }; MAX_LIBRARIES];

/// Any native object of a kind, for one of ours that closes and has none beneath: native code that closes another file asks
/// whether it is of that file.
///
/// # Errors
/// If none can be made, or the library shuts down.
pub fn stand_in(library: Library, kind: NativeKind) -> Result<*mut c_void> {
    let beneath = of_no_session(library)?;
    Ok(match kind {
        NativeKind::File => beneath.file.pointer(),
        NativeKind::Group => beneath.group()?.pointer(),
        NativeKind::Attribute => beneath.attribute()?.pointer(),
        // Kept beneath it, as the library is not shutting down.
        NativeKind::Dataset => beneath.dataset()?.object().pointer(),
        // Committed types have one of their own from the beginning.
        NativeKind::Datatype => return Err(gone()),
    })
}

fn gone() -> Error {
    Error::new(Minor::Internal, "an object's native side is gone")
}

/// The native file of a library that belongs to no session.
fn of_no_session(library: Library) -> Result<Arc<Beneath>> {
    let place = STAND_INS.get(library.slot()).filter(|_| library.is_to_tell()).ok_or_else(gone)?;
    let made = place.lock().clone();
    if let Some(beneath) = made {
        return Ok(beneath);
    }
    let new = Arc::new(Beneath::idle_or_new(library)?);
    // Another one that was made meanwhile stays, and this one is closed when the lock is free again.
    let first = place.lock().get_or_insert_with(|| new.clone()).clone();
    drop(new);
    Ok(first)
}

/// A read-only copy of a datatype: the native connector's answer for an attribute of that type.
///
/// # Errors
/// If a native file cannot hold the type, or the library shuts down.
pub fn read_only_type(library: Library, datatype: Hid) -> Result<Id> {
    let beneath = of_no_session(library)?;
    silently(library, || library.in_own_context(|| beneath.file.read_only_type(datatype)))
}

/// Lets go of native files without a session, for a library that shuts down.
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

    /// One that an earlier session has left, or a new one.
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
        // What it replaces is closed when the lock is free again.
        let old = std::mem::replace(&mut *self.dataset.lock(), new);
        drop(old);
        Ok(open)
    }

    /// Whether nobody but [`Self::making`] has put anything into the file.
    fn is_clean(&self) -> bool {
        shadow_driver::end_of(self.number) == Some(self.end.load(Ordering::Relaxed))
    }

    /// Makes something in the file.
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
    /// The native side of a session, of which nothing is made yet. The library is to tell when it shuts down.
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

    /// The native file of the session: one that an earlier session has left, or a new one.
    fn beneath(&self) -> Result<&Beneath> {
        once(&self.beneath, || {
            let beneath = Beneath::idle_or_new(self.library)?;
            shadow_driver::bind(beneath.number, self.container.clone());
            Ok(beneath)
        })
    }

    /// The native object of a kind, if it was asked for before; each dataset and each committed type knows its own.
    pub fn made(&self, kind: NativeKind) -> Option<*mut c_void> {
        let beneath = self.beneath.get()?;
        Some(match kind {
            NativeKind::File => beneath.file.pointer(),
            NativeKind::Group => beneath.group.get()?.pointer(),
            NativeKind::Attribute => beneath.attribute.get()?.pointer(),
            NativeKind::Dataset | NativeKind::Datatype => return None,
        })
    }

    /// Says that the native file is not as new any more, and not to be used again.
    pub fn mark(&self) {
        self.is_marked.store(true, Ordering::Relaxed);
    }

    /// The native file.
    pub fn file(&self) -> Result<&NativeObject> {
        Ok(&self.beneath()?.file)
    }

    /// The native group that stands beneath every group.
    pub fn group(&self) -> Result<&NativeObject> {
        self.beneath()?.group()
    }

    /// The native dataset that stands beneath every dataset, for as long as it is held.
    pub fn dataset(&self) -> Result<Arc<NativeDataset>> {
        self.beneath()?.dataset()
    }

    /// Lets go of what keeps the native file open, for a library that shuts down. What native code asks for until then is still
    /// made.
    pub fn let_go(&self) {
        let kept = self.beneath.get().and_then(|beneath| beneath.dataset.lock().kept.take());
        drop(kept);
    }

    /// The native attribute that stands beneath every attribute.
    pub fn attribute(&self) -> Result<&NativeObject> {
        self.beneath()?.attribute()
    }

    /// The region reference in memory that stands for a region, which `make` makes if there is none yet.
    ///
    /// # Errors
    /// Those of `make`.
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

    /// A native committed datatype equal to `encoded`. Each call opens one of its own, in the context of the program's call:
    /// what is wrong with its lists is found there.
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
