//! Libraries, which stay loaded for ever.

use std::ffi::{c_char, c_void};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use libloading::os::unix::{Library as Loaded, RTLD_LOCAL, RTLD_NOW};
use parking_lot::RwLock;

use crate::{Failure, check, raw};

/// The maximum number of schemes of a library.
pub const MAX_SCHEMES: usize = 16;
/// The maximum length of a scheme, in bytes.
const MAX_SCHEME: usize = 64;
/// The maximum length of a library's name, in bytes.
const MAX_LIBRARY_NAME: usize = 255;
/// The maximum number of libraries that a process loads.
const MAX_LIBRARIES: usize = 64;

/// A library of stores.
pub struct Library {
    path: PathBuf,
    name: &'static str,
    schemes: Vec<&'static str>,
    pub(crate) functions: Functions,
    index: usize,
    /// True if it answered a call that had ended.
    is_distrusted: AtomicBool,
    /// True if a function is registered that ends its use before its static objects are destroyed.
    is_to_end: AtomicBool,
}

/// The functions of a library.
pub(crate) struct Functions {
    pub(crate) open: unsafe extern "C" fn(*const raw::Call, *const raw::Open) -> i32,
    pub(crate) close: unsafe extern "C" fn(*mut c_void),
    pub(crate) read: unsafe extern "C" fn(*mut c_void, *const raw::Call, *const raw::Read) -> i32,
    /// Optional.
    pub(crate) read_if_changed:
        Option<unsafe extern "C" fn(*mut c_void, *const raw::Call, *const raw::Read) -> i32>,
    pub(crate) write: unsafe extern "C" fn(*mut c_void, *const raw::Call, *const raw::Write) -> i32,
    pub(crate) remove: unsafe extern "C" fn(*mut c_void, *const raw::Call, *const raw::Remove) -> i32,
    pub(crate) list: unsafe extern "C" fn(*mut c_void, *const raw::Call, *const raw::List) -> i32,
}

/// The libraries of the process, by their index. None is ever removed.
static LIBRARIES: RwLock<Vec<&'static Library>> = RwLock::new(Vec::new());

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library").field("path", &self.path).field("name", &self.name).finish_non_exhaustive()
    }
}

/// Records that the library with this index answered a call that had ended.
pub(crate) fn distrust(index: usize) {
    if let Some(library) = LIBRARIES.read().get(index) {
        library.is_distrusted.store(true, Ordering::Relaxed);
    }
}

impl Library {
    /// Loads the library at `path`, or returns the one that was loaded from there. It stays loaded, because its threads
    /// and exit handlers need it. Its initialisers run, with all rights of this process.
    ///
    /// # Errors
    /// The reason why it cannot be loaded, or what is wrong with its description of itself.
    pub fn load(path: &Path) -> Result<&'static Library, String> {
        // SAFETY: the function takes a number and returns one.
        if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
            return Err(
                "this program has rights that its user has not, and loads no library for him".to_owned()
            );
        }
        let path = path.canonicalize().map_err(|e| e.to_string())?;
        if let Some(known) = known(&path) {
            return Ok(known);
        }
        // No lock is held, because initialisers are foreign code. Threads that race load the same library, and make the
        // same calls.
        // SAFETY: the library's initialisers run, like those of every library that a program loads.
        let loaded = unsafe { Loaded::open(Some(&path), RTLD_NOW | RTLD_LOCAL | libc::RTLD_NODELETE) };
        let loaded = loaded.map_err(|e| e.to_string())?;
        let entry = {
            // SAFETY: according to the interface, only functions of this type have this name.
            let found = unsafe { loaded.get::<raw::LibraryOf>(raw::SYMBOL.as_bytes()) };
            *found.map_err(|_| format!("it has no function {}", raw::SYMBOL))?
        };
        std::mem::forget(loaded);
        let library = describe(path, entry).map_err(|failure| failure.detail)?;
        let mut libraries = LIBRARIES.write();
        if let Some(known) = libraries.iter().find(|known| known.path == library.path) {
            return Ok(known);
        }
        if libraries.len() == MAX_LIBRARIES {
            return Err(format!("{MAX_LIBRARIES} libraries are loaded, and no more can be"));
        }
        let index = libraries.len();
        let library: &'static Library = Box::leak(Box::new(Library { index, ..library }));
        libraries.push(library);
        Ok(library)
    }

    /// Registers `end`, which is called when the program exits, before this library's static objects are destroyed
    /// ([`at_exit`](crate::at_exit)). Only the first call has an effect.
    pub fn at_exit(&self, end: fn()) {
        if !self.is_to_end.swap(true, Ordering::Relaxed) {
            crate::at_exit(end);
        }
    }

    /// Returns the path that it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its own name with its version.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the schemes of the URLs that it opens, in lower case. None is empty.
    pub fn schemes(&self) -> &[&'static str] {
        &self.schemes
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Checks that the library has never answered a call that had ended.
    ///
    /// # Errors
    /// If it has.
    pub(crate) fn check_trust(&self) -> Result<(), Failure> {
        if self.is_distrusted.load(Ordering::Relaxed) {
            let why = "it answered to a call after that had returned, or from another thread; \
                       no call of it can be trusted until the program ends";
            return Err(Failure::misuse(why));
        }
        Ok(())
    }
}

fn known(path: &Path) -> Option<&'static Library> {
    LIBRARIES.read().iter().find(|known| known.path == path).copied()
}

/// Validates a library's description of itself.
fn describe(path: PathBuf, entry: raw::LibraryOf) -> Result<Library, Failure> {
    // SAFETY: according to the interface, only functions of this type have this name, and any thread may call them.
    let table = unsafe { entry(raw::VERSION) };
    if table.is_null() {
        let why =
            format!("it needs a newer version of the interface than {}, which this h5lake has", raw::VERSION);
        return Err(Failure::misuse(why));
    }
    let table = check::read(table)?;
    if table.version > raw::VERSION {
        let (is, known) = (table.version, raw::VERSION);
        return Err(Failure::misuse(format!(
            "it has version {is} of the interface, and this h5lake has {known}"
        )));
    }
    let missing = |what: &str| Failure::misuse(format!("it has no function '{what}'"));
    let functions = Functions {
        open: table.open.ok_or_else(|| missing("open"))?,
        close: table.close.ok_or_else(|| missing("close"))?,
        read: table.read.ok_or_else(|| missing("read"))?,
        read_if_changed: table.read_if_changed,
        write: table.write.ok_or_else(|| missing("write"))?,
        remove: table.remove.ok_or_else(|| missing("remove"))?,
        list: table.list.ok_or_else(|| missing("list"))?,
    };
    let name = check::c_text(table.name, MAX_LIBRARY_NAME, "its name")?;
    let schemes = schemes(table.schemes)?;
    Ok(Library {
        path,
        name,
        schemes,
        functions,
        index: 0,
        is_distrusted: AtomicBool::new(false),
        is_to_end: AtomicBool::new(false),
    })
}

fn schemes(at: *const *const c_char) -> Result<Vec<&'static str>, Failure> {
    if at.is_null() || !at.is_aligned() {
        return Err(Failure::misuse("its list of schemes is missing"));
    }
    let mut schemes = Vec::new();
    loop {
        // SAFETY: according to the interface, the list ends with a null pointer, and nothing after it is read.
        let scheme = unsafe { *at.add(schemes.len()) };
        match (scheme.is_null(), schemes.len()) {
            (true, 0) => return Err(Failure::misuse("it has no scheme")),
            (true, _) => return Ok(schemes),
            (false, MAX_SCHEMES) => {
                return Err(Failure::misuse(format!("it has more than {MAX_SCHEMES} schemes")));
            }
            (false, _) => schemes.push(check::c_text(scheme, MAX_SCHEME, "a scheme of it")?),
        }
    }
}

/// Returns a text followed by a NUL, for a library. Texts of requests may contain further NULs; their length counts.
pub(crate) fn with_nul(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}
