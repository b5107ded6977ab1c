//! The native objects beneath ours.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};

use bytes::Bytes;
use h5lake_container::Container;
use parking_lot::Mutex;

use crate::error::Result;
use crate::ffi::library::Library;
use crate::ffi::native::NativeObject;
use crate::session::Session;

/// The native file beneath all sessions of one container in one library: natively they are one shared file.
struct Decoy {
    has_dataset: Mutex<bool>,
    has_attribute: Mutex<bool>,
    types: Mutex<HashMap<Bytes, CString>>,
    file: NativeObject,
}

/// What stands beneath one session.
pub struct Face {
    group: OnceLock<NativeObject>,
    dataset: OnceLock<NativeObject>,
    attribute: OnceLock<NativeObject>,
    file: NativeObject,
    decoy: Arc<Decoy>,
}

type DecoyKey = (usize, usize);

static DECOYS: LazyLock<Mutex<HashMap<DecoyKey, Weak<Decoy>>>> = LazyLock::new(Default::default);
/// Sessions by the native file beneath them: native code hands us that instead of our own object.
static SESSIONS: LazyLock<Mutex<HashMap<usize, Weak<Session>>>> = LazyLock::new(Default::default);

impl Face {
    /// Makes the native file of a session.
    ///
    /// # Errors
    /// If the native connector of the library does not make it.
    pub fn new(library: Library, container: &Arc<Container>) -> Result<Self> {
        let decoy = Decoy::of(library, container)?;
        let file = decoy.file.reopen()?;
        Ok(Self { group: OnceLock::new(), dataset: OnceLock::new(), attribute: OnceLock::new(), file, decoy })
    }

    /// Makes the session findable by its native file.
    pub fn register(&self, session: &Arc<Session>) {
        SESSIONS.lock().insert(self.file.pointer() as usize, Arc::downgrade(session));
    }

    /// The session whose native file this is.
    pub fn session_of(native_file: usize) -> Option<Arc<Session>> {
        SESSIONS.lock().get(&native_file).and_then(Weak::upgrade)
    }

    /// The native file.
    pub fn file(&self) -> &NativeObject {
        &self.file
    }

    /// The native group that stands beneath every group.
    pub fn group(&self) -> Result<&NativeObject> {
        once(&self.group, || self.file.open_root())
    }

    /// The native dataset that stands beneath every dataset.
    pub fn dataset(&self) -> Result<&NativeObject> {
        once(&self.dataset, || {
            let mut made = self.decoy.has_dataset.lock();
            let dataset = if *made {
                self.file.open_dataset(c"dataset")
            } else {
                self.file.create_dataset(c"dataset")
            }?;
            *made = true;
            Ok(dataset)
        })
    }

    /// The native attribute that stands beneath every attribute.
    pub fn attribute(&self) -> Result<&NativeObject> {
        once(&self.attribute, || {
            let mut made = self.decoy.has_attribute.lock();
            let attribute = if *made {
                self.file.open_attribute(c"attribute")
            } else {
                self.file.create_attribute(c"attribute")
            }?;
            *made = true;
            Ok(attribute)
        })
    }

    /// A native committed datatype equal to `encoded`. Each call opens one of its own.
    pub fn datatype(&self, encoded: &Bytes) -> Result<NativeObject> {
        let mut types = self.decoy.types.lock();
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
        SESSIONS.lock().remove(&(self.file.pointer() as usize));
    }
}

impl Decoy {
    fn of(library: Library, container: &Arc<Container>) -> Result<Arc<Self>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let key = (library.slot(), Arc::as_ptr(container) as usize);
        if let Some(decoy) = DECOYS.lock().get(&key).and_then(Weak::upgrade) {
            return Ok(decoy);
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(format!("h5lake-face-{}-{number}", std::process::id())).unwrap_or_default();
        let connector = Arc::new(library.native_connector()?);
        let file = library.native_memory_file(&connector, &name)?;
        let decoy = Arc::new(Self {
            has_dataset: Mutex::new(false),
            has_attribute: Mutex::new(false),
            types: Mutex::default(),
            file,
        });
        let mut decoys = DECOYS.lock();
        decoys.retain(|_, known| known.strong_count() > 0);
        decoys.insert(key, Arc::downgrade(&decoy));
        Ok(decoy)
    }
}

fn once(cell: &OnceLock<NativeObject>, make: impl FnOnce() -> Result<NativeObject>) -> Result<&NativeObject> {
    if let Some(object) = cell.get() {
        return Ok(object);
    }
    let object = make()?;
    Ok(cell.get_or_init(|| object))
}
