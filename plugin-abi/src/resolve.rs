//! Symbol lookup in one loaded object.

use std::ffi::{CStr, CString, OsStr, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use libloading::os::unix::Library;

use crate::BindError;
use crate::bindings::hid_t;
use crate::hidden::version_in;
use crate::version::{OLDEST, shown};

/// The name that errors use for an object without a path.
const MAIN_PROGRAM: &str = "the main program";

/// A loaded object (a shared library or the main program), and the linker's handle of it.
pub(crate) struct Object {
    /// The load address, which identifies the object.
    pub base: usize,
    /// The path of the object according to the linker. Empty for the main program.
    pub path: PathBuf,
    handle: Library,
    /// The prefix of all its symbol names, see [`PREFIXES`].
    prefix: &'static str,
    /// True if the global scope finds the symbols of this libhdf5.
    is_global: bool,
}

/// Returns the load address and the `dladdr` name of the object that contains `address`.
pub(crate) fn object_of(address: usize) -> Option<(usize, CString)> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr reads no memory at the address, it only compares; `info` is ours to write.
    let found = unsafe { libc::dladdr(address as *const c_void, info.as_mut_ptr()) } != 0;
    if !found {
        return None;
    }
    // SAFETY: dladdr succeeded and has filled it in; all-zero is a valid Dl_info as well.
    let info = unsafe { info.assume_init() };
    let name = if info.dli_fname.is_null() {
        CString::default()
    } else {
        // SAFETY: dladdr gives a NUL-terminated name that lives as long as the object is loaded; copied here.
        unsafe { CStr::from_ptr(info.dli_fname) }.to_owned()
    };
    Some((info.dli_fbase as usize, name))
}

impl Object {
    /// Opens a new handle of the object that contains `address`. The handle keeps the object loaded.
    pub fn holding(address: usize) -> Result<Object, BindError> {
        let (base, name) = object_of(address).ok_or(BindError::NoObject { address })?;
        let (handle, path) = if Some(base) == main_program() {
            // dladdr returns the name with which the main program was started, which the linker does not accept.
            (Library::this(), PathBuf::new())
        } else {
            let path = PathBuf::from(OsStr::from_bytes(name.as_bytes()));
            let flags = libc::RTLD_NOLOAD | libc::RTLD_LAZY;
            // SAFETY: with RTLD_NOLOAD nothing is loaded, so no initialiser runs.
            let handle = unsafe { Library::open(Some(&path), flags) }
                .map_err(|e| BindError::NoHandle { library: display(&path), reason: e.to_string() })?;
            (handle, path)
        };
        let mut object = Object { base, path, handle, prefix: "", is_global: false };
        for prefix in PREFIXES {
            object.prefix = prefix;
            if object.exports(ANCHOR_FUNCTION) && object.exports(VERSION_TEXT) {
                let shown = object.address_by(&Library::this(), VERSION_TEXT);
                object.is_global = shown.is_some() && shown == object.address(VERSION_TEXT);
                return Ok(object);
            }
        }
        Err(object.refusal())
    }

    /// Returns the reason why an object without HDF5 functions cannot be bound. The version is found in its file, even if it exports no
    /// symbols.
    fn refusal(&self) -> BindError {
        match version_in(&self.path) {
            Some(version) if version < OLDEST => {
                BindError::TooOld { library: self.display(), version: shown(version) }
            }
            _ => BindError::NotExported { library: self.display() },
        }
    }

    /// Returns the path for messages.
    pub fn display(&self) -> String {
        display(&self.path)
    }

    /// Returns the address of one of HDF5's symbols, found with the handle.
    pub fn address(&self, name: &CStr) -> Option<NonNull<c_void>> {
        self.address_by(&self.handle, name)
    }

    /// Returns the address of a symbol of a library to which this one is linked.
    pub fn foreign_address(&self, name: &CStr) -> Option<NonNull<c_void>> {
        address_in(&self.handle, name)
    }

    /// Returns the address of one of HDF5's symbols under its name in this build.
    fn address_by(&self, handle: &Library, name: &CStr) -> Option<NonNull<c_void>> {
        if self.prefix.is_empty() {
            return address_in(handle, name);
        }
        let name = [self.prefix.as_bytes(), name.to_bytes()].concat();
        address_in(handle, &CString::new(name).ok()?)
    }

    /// Returns the address of a data symbol that the library writes.
    ///
    /// A program that was compiled against the library may contain the live copy of a data symbol (copy relocation), while the symbol of
    /// the library keeps its initial value. Therefore the global scope is searched first. But a second libhdf5 must not provide the symbol,
    /// so the global scope is only used if it finds this library. This is checked with `H5_lib_vers_info_g`, which is never copied because
    /// no program refers to it.
    pub fn data_address(&self, name: &CStr) -> Option<NonNull<c_void>> {
        let global = self.is_global.then(Library::this);
        global.and_then(|global| self.address_by(&global, name)).or_else(|| self.address(name))
    }

    /// Returns whether the handle finds `name` in this object itself, not in a dependency.
    fn exports(&self, name: &CStr) -> bool {
        let found = self.address(name).and_then(|a| object_of(a.as_ptr() as usize));
        found.is_some_and(|(base, _)| base == self.base)
    }
}

/// The prefixes of symbol names in different builds. VTK's wheel contains an HDF5 with a prefix for all names (`vtk_hdf5_mangle.h`), so
/// that it can be loaded together with another one.
const PREFIXES: [&str; 2] = ["", "vtkhdf5_"];

/// A function that every libhdf5 exports.
const ANCHOR_FUNCTION: &CStr = c"H5get_libversion";

/// Returns a function of the libhdf5 of a handle, under any of its possible names.
pub(crate) fn function_of_hdf5(handle: &Library) -> Option<NonNull<c_void>> {
    PREFIXES.iter().find_map(|prefix| {
        let name = [prefix.as_bytes(), ANCHOR_FUNCTION.to_bytes()].concat();
        address_in(handle, &CString::new(name).ok()?)
    })
}

/// The data symbol with the version of the library as text: `HDF5 library version: 1.14.6`. Reading it requires no function call.
pub(crate) const VERSION_TEXT: &CStr = c"H5_lib_vers_info_g";

/// Returns the load address of the main program. The kernel passes the address of its program headers.
pub(crate) fn main_program() -> Option<usize> {
    // SAFETY: getauxval only reads the process's auxiliary vector.
    let headers = unsafe { libc::getauxval(libc::AT_PHDR) } as usize;
    object_of(headers).map(|(base, _)| base)
}

fn display(path: &Path) -> String {
    if path.as_os_str().is_empty() { MAIN_PROGRAM.to_owned() } else { path.display().to_string() }
}

fn address_in(handle: &Library, name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: the symbol is taken as a bare address and given no type here.
    let symbol = unsafe { handle.get::<*mut c_void>(name.to_bytes_with_nul()) }.ok()?;
    NonNull::new(symbol.as_raw_ptr())
}

/// The symbols of a library that is being bound.
pub(crate) struct Symbols<'a> {
    pub object: &'a Object,
    /// The version `a.b.c`, for messages.
    pub version: String,
}

impl Symbols<'_> {
    /// Returns a function that the library must export.
    ///
    /// # Safety
    ///
    /// `F` must be an `unsafe extern "C" fn` pointer with exactly the signature of the symbol.
    pub unsafe fn required<F: Copy>(&self, name: &CStr) -> Result<F, BindError> {
        // SAFETY: the caller guarantees the type F.
        unsafe { self.optional(name) }.ok_or_else(|| self.missing(name))
    }

    /// Returns a function that some libraries lack.
    ///
    /// # Safety
    ///
    /// As for [`Symbols::required`].
    pub unsafe fn optional<F: Copy>(&self, name: &CStr) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let address = self.object.address(name)?.as_ptr();
        // SAFETY: the caller guarantees that F is a function pointer with the symbol's signature; the sizes are equal.
        Some(unsafe { std::mem::transmute_copy::<*mut c_void, F>(&address) })
    }

    /// Returns the functions of a list in which each name is terminated by a zero. A name that follows a question mark may be missing, and
    /// its address is then null.
    ///
    /// # Errors
    ///
    /// Returns an error if another function is missing, or if the list does not have `N` names.
    pub fn functions<const N: usize>(&self, names: &str) -> Result<[*mut c_void; N], BindError> {
        self.addresses(names, &mut |name| self.object.address(name))
    }

    /// Returns the data symbols of type `hid_t` of a list in the same format as for [`Self::functions`].
    pub fn ids<const N: usize>(&self, names: &str) -> Result<[*mut c_void; N], BindError> {
        self.addresses(names, &mut |name| self.object.data_address(name))
    }

    fn addresses<const N: usize>(
        &self,
        names: &str,
        find: &mut dyn FnMut(&CStr) -> Option<NonNull<c_void>>,
    ) -> Result<[*mut c_void; N], BindError> {
        let mut found = [std::ptr::null_mut(); N];
        let mut names = names.split_inclusive('\0');
        for address in &mut found {
            let listed = names.next().unwrap_or_default();
            let name = listed.strip_prefix('?').unwrap_or(listed);
            let name = CStr::from_bytes_with_nul(name.as_bytes()).unwrap_or_default();
            *address = match find(name) {
                Some(symbol) => symbol.as_ptr(),
                None if listed.starts_with('?') => std::ptr::null_mut(),
                None => return Err(self.missing(name)),
            };
        }
        Ok(found)
    }

    /// Returns a data symbol of type `hid_t` that the library must export.
    pub fn required_id(&self, name: &CStr) -> Result<IdSymbol, BindError> {
        let found = self.object.data_address(name).ok_or_else(|| self.missing(name))?;
        Ok(IdSymbol(found.cast()))
    }

    fn missing(&self, name: &CStr) -> BindError {
        BindError::MissingSymbol {
            library: self.object.display(),
            version: self.version.clone(),
            symbol: name.to_string_lossy().into_owned(),
        }
    }
}

/// A variable of libhdf5 with an id. The library sets the id during its start and again after H5close, so it is read at each use.
#[repr(transparent)]
pub(crate) struct IdSymbol(NonNull<hid_t>);

// SAFETY: the pointer is only read; it stays valid because the library is never unloaded (its handle is kept
// for ever), and ids are written under the library's own lock before any callback of ours can run.
unsafe impl Send for IdSymbol {}
// SAFETY: as for Send.
unsafe impl Sync for IdSymbol {}

impl IdSymbol {
    pub fn read(&self) -> hid_t {
        // SAFETY: the symbol is a `hid_t` of a library that stays loaded; the read is volatile because the library changes it.
        unsafe { self.0.as_ptr().read_volatile() }
    }
}
