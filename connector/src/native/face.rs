//! The native objects beneath ours.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};

use bytes::Bytes;
use h5lake_container::Container;
use parking_lot::Mutex;

use crate::error::Result;
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
    number: u64,
    // Closed in this order. The native file goes with the last object of it.
    file: NativeObject,
    group: OnceLock<NativeObject>,
    attribute: OnceLock<NativeObject>,
    dataset: Mutex<Beneath>,
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
struct Beneath {
    made: bool,
    open: Weak<NativeDataset>,
    kept: Option<Arc<NativeDataset>>,
}

/// Sessions by the native file beneath them: native code hands us that instead of our own object.
static SESSIONS: LazyLock<Mutex<HashMap<usize, Weak<Session>>>> = LazyLock::new(Default::default);

impl Face {
    /// Makes the native file of a session.
    ///
    /// # Errors
    /// If the native connector of the library does not make it.
    pub fn new(library: Library, container: &Arc<Container>) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(face_driver::file_name(number)).unwrap_or_default();
        let connector = Arc::new(library.native_connector()?);
        let (file, driver) = library.native_memory_file(&connector, &name)?;
        face_driver::bind(number, Arc::downgrade(container));
        Ok(Self {
            library,
            types: Mutex::default(),
            number,
            file,
            group: OnceLock::new(),
            attribute: OnceLock::new(),
            dataset: Mutex::default(),
            driver: Arc::new(driver),
        })
    }

    /// Makes the session findable by its native file.
    pub fn register(&self, session: &Arc<Session>) {
        SESSIONS.lock().insert(self.file.pointer() as usize, Arc::downgrade(session));
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
    pub fn file(&self) -> &NativeObject {
        &self.file
    }

    /// The native group that stands beneath every group.
    pub fn group(&self) -> Result<&NativeObject> {
        once(&self.group, || self.file.open_root())
    }

    /// The native dataset that stands beneath every dataset, for as long as it is held.
    pub fn dataset(&self) -> Result<Arc<NativeDataset>> {
        let mut beneath = self.dataset.lock();
        if let Some(open) = beneath.open.upgrade() {
            return Ok(open);
        }
        let name = c"dataset";
        let object =
            if beneath.made { self.file.open_dataset(name)? } else { self.file.create_dataset(name)? };
        let open = Arc::new(NativeDataset { object, _driver: self.driver.clone() });
        *beneath = Beneath { made: true, open: Arc::downgrade(&open), kept: None };
        self.library.tell_when_closing()?;
        beneath.kept = Some(open.clone());
        Ok(open)
    }

    /// Lets go of what keeps files open, for a library that shuts down.
    pub fn library_closes(library: Library) {
        let all: Vec<_> = SESSIONS.lock().values().filter_map(Weak::upgrade).collect();
        for session in all.iter().filter(|session| session.library == library) {
            let kept = session.face.dataset.lock().kept.take();
            drop(kept);
        }
    }

    /// The native attribute that stands beneath every attribute.
    pub fn attribute(&self) -> Result<&NativeObject> {
        once(&self.attribute, || self.file.create_attribute(c"attribute"))
    }

    /// A native committed datatype equal to `encoded`. Each call opens one of its own.
    pub fn datatype(&self, encoded: &Bytes) -> Result<NativeObject> {
        let mut types = self.types.lock();
        if let Some(name) = types.get(encoded) {
            return self.file.open_type(name);
        }
        let name = CString::new(format!("type{}", types.len())).unwrap_or_default();
        let committed = self.file.commit_type(&name, encoded)?;
        types.insert(encoded.clone(), name);
        Ok(committed)
    }
}

impl Drop for Face {
    fn drop(&mut self) {
        face_driver::unbind(self.number);
        SESSIONS.lock().remove(&(self.file.pointer() as usize));
    }
}

fn once(cell: &OnceLock<NativeObject>, make: impl FnOnce() -> Result<NativeObject>) -> Result<&NativeObject> {
    if let Some(object) = cell.get() {
        return Ok(object);
    }
    let object = make()?;
    Ok(cell.get_or_init(|| object))
}
