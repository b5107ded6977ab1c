//! The native objects beneath ours.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};

use bytes::Bytes;
use h5lake_container::Container;
use h5lake_plugin_abi::MAX_LIBRARIES;
use parking_lot::Mutex;

use crate::error::{Error, Minor, Result};
use crate::ffi::face_driver;
use crate::ffi::ids::Id;
use crate::ffi::library::Library;
use crate::ffi::native::NativeObject;
use crate::session::Session;

/// What stands beneath one session: a native file of its own. (Natively shared by several sessions, it could be
/// closed only while an identifier of a file leads to it: `H5VL__native_file_close` looks for one.)
pub struct Face {
    library: Library,
    types: Mutex<HashMap<Bytes, CString>>,
    /// Something of this session stays behind in the native file.
    is_marked: AtomicBool,
    /// Only while this is dropped is there none.
    beneath: Option<Beneath>,
}

/// A native file and its objects. Making them takes longer than all else of opening a small container, so that those of a
/// closed session are kept for the next one, unless something of the old one is left in them.
struct Beneath {
    number: u64,
    /// Where the file ended when something was made in it last.
    end: AtomicU64,
    // Closed in this order. The native file goes with the last object of it.
    file: NativeObject,
    group: OnceLock<NativeObject>,
    attribute: OnceLock<NativeObject>,
    dataset: Mutex<DatasetBeneath>,
    /// Outlives the file.
    driver: Arc<Id>,
}

/// A native dataset, and what it needs when it closes last.
pub struct NativeDataset {
    object: NativeObject,
    _driver: Arc<Id>,
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

/// Sessions by the native file beneath them: native code hands us that instead of our own object.
static SESSIONS: LazyLock<Mutex<HashMap<usize, Weak<Session>>>> = LazyLock::new(Default::default);

/// Native files without a session, of each slot's library.
static IDLE: [Mutex<Vec<Beneath>>; MAX_LIBRARIES] = [const { Mutex::new(Vec::new()) }; MAX_LIBRARIES];
/// How many are kept of a library: each takes a megabyte.
const MOST_IDLE: usize = 4;

impl Beneath {
    fn new(library: Library) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(face_driver::file_name(number)).unwrap_or_default();
        let connector = Arc::new(library.native_connector()?);
        let (file, driver) = library.native_memory_file(&connector, &name)?;
        Ok(Self {
            number,
            end: AtomicU64::new(face_driver::end_of(number).unwrap_or_default()),
            file,
            group: OnceLock::new(),
            attribute: OnceLock::new(),
            dataset: Mutex::default(),
            driver: Arc::new(driver),
        })
    }

    /// Whether nobody but [`Self::making`] has put anything into the file.
    fn is_clean(&self) -> bool {
        face_driver::end_of(self.number) == Some(self.end.load(Ordering::Relaxed))
    }

    /// Makes something in the file.
    fn making<T>(&self, make: impl FnOnce() -> T) -> T {
        let clean = self.is_clean();
        let made = make();
        if clean && let Some(end) = face_driver::end_of(self.number) {
            self.end.store(end, Ordering::Relaxed);
        }
        made
    }
}

impl Face {
    /// The native file of a session: one that an earlier session has left, or a new one.
    ///
    /// # Errors
    /// If the native connector of the library does not make it.
    pub fn new(library: Library, container: &Arc<Container>) -> Result<Self> {
        library.tell_when_closing()?;
        let idle = IDLE.get(library.slot()).and_then(|idle| idle.lock().pop());
        let beneath = idle.map_or_else(|| Beneath::new(library), Ok)?;
        face_driver::bind(beneath.number, Arc::downgrade(container));
        let (types, is_marked) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { library, types, is_marked, beneath: Some(beneath) })
    }

    fn beneath(&self) -> Result<&Beneath> {
        self.beneath.as_ref().ok_or_else(|| Error::new(Minor::Internal, "a file's native side is gone"))
    }

    /// Says that the native file is not as new any more, and not to be used again.
    pub fn mark(&self) {
        self.is_marked.store(true, Ordering::Relaxed);
    }

    /// Makes the session findable by its native file.
    pub fn register(&self, session: &Arc<Session>) {
        if let Ok(file) = self.file() {
            SESSIONS.lock().insert(file.pointer() as usize, Arc::downgrade(session));
        }
    }

    /// The session whose native file this is.
    pub fn session_of(native_file: usize) -> Option<Arc<Session>> {
        SESSIONS.lock().get(&native_file).and_then(Weak::upgrade)
    }

    /// All sessions on the container of `session` in its library, itself included: natively one shared file.
    pub fn sessions_beside(session: &Session) -> Vec<Arc<Session>> {
        let mut all = Self::sessions_on(&session.container);
        all.retain(|other| other.library == session.library);
        all
    }

    /// All sessions on a container, of whatever library.
    pub fn sessions_on(container: &Arc<Container>) -> Vec<Arc<Session>> {
        let mut all: Vec<_> = SESSIONS.lock().values().filter_map(Weak::upgrade).collect();
        all.retain(|session| Arc::ptr_eq(&session.container, container));
        all
    }

    /// The native file.
    pub fn file(&self) -> Result<&NativeObject> {
        Ok(&self.beneath()?.file)
    }

    /// The native group that stands beneath every group.
    pub fn group(&self) -> Result<&NativeObject> {
        let beneath = self.beneath()?;
        once(&beneath.group, || beneath.making(|| beneath.file.open_root()))
    }

    /// The native dataset that stands beneath every dataset, for as long as it is held.
    pub fn dataset(&self) -> Result<Arc<NativeDataset>> {
        let beneath = self.beneath()?;
        let mut dataset = beneath.dataset.lock();
        if let Some(open) = dataset.open.upgrade() {
            return Ok(open);
        }
        let name = c"dataset";
        let object = beneath.making(|| match dataset.made {
            true => beneath.file.open_dataset(name),
            false => beneath.file.create_dataset(name),
        })?;
        let open = Arc::new(NativeDataset { object, _driver: beneath.driver.clone() });
        let kept = self.library.is_to_tell().then(|| open.clone());
        *dataset = DatasetBeneath { made: true, open: Arc::downgrade(&open), kept };
        Ok(open)
    }

    /// Lets go of what keeps files open, for a library that shuts down.
    pub fn library_closes(library: Library) {
        let idle = IDLE.get(library.slot()).map(|idle| std::mem::take(&mut *idle.lock()));
        drop(idle);
        let all: Vec<_> = SESSIONS.lock().values().filter_map(Weak::upgrade).collect();
        for session in all.iter().filter(|session| session.library == library) {
            let kept = session.face.beneath.as_ref().and_then(|beneath| beneath.dataset.lock().kept.take());
            drop(kept);
        }
    }

    /// The native attribute that stands beneath every attribute.
    pub fn attribute(&self) -> Result<&NativeObject> {
        let beneath = self.beneath()?;
        once(&beneath.attribute, || beneath.making(|| beneath.file.create_attribute(c"attribute")))
    }

    /// A native committed datatype equal to `encoded`. Each call opens one of its own.
    pub fn datatype(&self, encoded: &Bytes) -> Result<NativeObject> {
        let (mut types, file) = (self.types.lock(), self.file()?);
        if let Some(name) = types.get(encoded) {
            return file.open_type(name);
        }
        let name = CString::new(format!("type{}", types.len())).unwrap_or_default();
        self.mark();
        let committed = file.commit_type(&name, encoded)?;
        types.insert(encoded.clone(), name);
        Ok(committed)
    }
}

impl Drop for Face {
    fn drop(&mut self) {
        let Some(beneath) = self.beneath.take() else { return };
        SESSIONS.lock().remove(&(beneath.file.pointer() as usize));
        face_driver::bind(beneath.number, Weak::new());
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

fn once(cell: &OnceLock<NativeObject>, make: impl FnOnce() -> Result<NativeObject>) -> Result<&NativeObject> {
    if let Some(object) = cell.get() {
        return Ok(object);
    }
    let object = make()?;
    Ok(cell.get_or_init(|| object))
}
