//! Looking symbols up in one loaded object.

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

/// A loaded object (shared library or main program) and the linker's handle of it.
pub(crate) struct Object {
    /// Load address; tells two objects apart, and the same object is found again by it.
    pub base: usize,
    /// Path as the linker knows it; empty for the main program.
    pub path: PathBuf,
    handle: Library,
    /// What the names of all its symbols begin with, see [`PREFIXES`].
    prefix: &'static str,
    /// Whether this is the libhdf5 that the global scope shows.
    is_global: bool,
}

/// Where `address` lies: load address and the name that `dladdr` knows for the object.
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
    /// Opens a new handle of the object that holds `address`. The handle keeps the object loaded.
    pub fn holding(address: usize) -> Result<Object, BindError> {
        let (base, name) = object_of(address).ok_or(BindError::NoObject { address })?;
        let (handle, path) = if Some(base) == main_program() {
            // dladdr names the main program by what it was started as, which is no name for the linker.
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

    /// Why an object that shows no HDF5 functions cannot be served. The version is in its file even so.
    fn refusal(&self) -> BindError {
        match version_in(&self.path) {
            Some(version) if version < OLDEST => {
                BindError::TooOld { library: self.display(), version: shown(version) }
            }
            _ => BindError::NotExported { library: self.display() },
        }
    }

    /// Path for messages.
    pub fn display(&self) -> String {
        display(&self.path)
    }

    /// Address of one of HDF5's symbols by the handle.
    pub fn address(&self, name: &CStr) -> Option<NonNull<c_void>> {
        self.address_by(&self.handle, name)
    }

    /// Address of a symbol that is not HDF5's: of a library that this one is linked to.
    pub fn foreign_address(&self, name: &CStr) -> Option<NonNull<c_void>> {
        address_in(&self.handle, name)
    }

    /// Address of one of HDF5's symbols, under the name that it has in this build.
    fn address_by(&self, handle: &Library, name: &CStr) -> Option<NonNull<c_void>> {
        if self.prefix.is_empty() {
            return address_in(handle, name);
        }
        let name = [self.prefix.as_bytes(), name.to_bytes()].concat();
        address_in(handle, &CString::new(name).ok()?)
    }

    /// Address of a data symbol that the library writes.
    ///
    /// A program compiled against the library may hold the live copy of a data symbol itself (copy
    /// relocation), while the library's own stays as it was on disk: the global scope goes first. But a
    /// second libhdf5 must not answer for this one, so the global scope counts only if this library is the
    /// one that it shows. `H5_lib_vers_info_g` tells: no program names it, so nothing copies it.
    pub fn data_address(&self, name: &CStr) -> Option<NonNull<c_void>> {
        let global = self.is_global.then(Library::this);
        global.and_then(|global| self.address_by(&global, name)).or_else(|| self.address(name))
    }

    /// Whether the handle finds `name` in this very object, not in another that it depends on.
    fn exports(&self, name: &CStr) -> bool {
        let found = self.address(name).and_then(|a| object_of(a.as_ptr() as usize));
        found.is_some_and(|(base, _)| base == self.base)
    }
}

/// What the symbols of a build begin with. VTK's wheel has an HDF5 whose names are all mangled so
/// (`vtk_hdf5_mangle.h`), so that it can lie beside another one.
const PREFIXES: [&str; 2] = ["", "vtkhdf5_"];

/// A function that every libhdf5 has.
const ANCHOR_FUNCTION: &CStr = c"H5get_libversion";

/// Some function of the libhdf5 that a handle is of, under either of its names.
pub(crate) fn function_of_hdf5(handle: &Library) -> Option<NonNull<c_void>> {
    PREFIXES.iter().find_map(|prefix| {
        let name = [prefix.as_bytes(), ANCHOR_FUNCTION.to_bytes()].concat();
        address_in(handle, &CString::new(name).ok()?)
    })
}

/// The library's version as text: `HDF5 library version: 1.14.6`. No function has to be called for it.
pub(crate) const VERSION_TEXT: &CStr = c"H5_lib_vers_info_g";

/// Load address of the main program: the kernel passes where its program headers lie.
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

/// The symbols of one library, on the way into a table.
pub(crate) struct Symbols<'a> {
    pub object: &'a Object,
    /// `a.b.c`, for messages.
    pub version: String,
}

impl Symbols<'_> {
    /// A function that must be there.
    ///
    /// # Safety
    ///
    /// `F` must be an `unsafe extern "C" fn` pointer of exactly the signature that the symbol has.
    pub unsafe fn required<F: Copy>(&self, name: &CStr) -> Result<F, BindError> {
        // SAFETY: the caller answers for F.
        unsafe { self.optional(name) }.ok_or_else(|| self.missing(name))
    }

    /// A function that not every library has.
    ///
    /// # Safety
    ///
    /// As for [`Symbols::required`].
    pub unsafe fn optional<F: Copy>(&self, name: &CStr) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let address = self.object.address(name)?.as_ptr();
        // SAFETY: the caller says that F is a function pointer of the symbol's signature; the sizes agree.
        Some(unsafe { std::mem::transmute_copy::<*mut c_void, F>(&address) })
    }

    /// The functions of a list, each name terminated. A name after a question mark may be missing: its address is null then, and
    /// no other is.
    ///
    /// # Errors
    /// If another one is missing, or the list has not `N` names.
    pub fn functions<const N: usize>(&self, names: &str) -> Result<[*mut c_void; N], BindError> {
        self.addresses(names, &mut |name| self.object.address(name))
    }

    /// The same for data symbols of type `hid_t`.
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

    /// A data symbol of type `hid_t` that must be there.
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

/// A variable of libhdf5 that holds an id. The library fills it in while it starts and anew after H5close,
/// so it is read at each use.
#[repr(transparent)]
pub(crate) struct IdSymbol(NonNull<hid_t>);

// SAFETY: the pointer is only read; it stays valid because the library is never unloaded (its handle is kept
// for ever), and ids are written under the library's own lock before any callback of ours can run.
unsafe impl Send for IdSymbol {}
// SAFETY: as for Send.
unsafe impl Sync for IdSymbol {}

impl IdSymbol {
    pub fn read(&self) -> hid_t {
        // SAFETY: the symbol is a `hid_t` of a library that stays loaded; volatile, for others change it.
        unsafe { self.0.as_ptr().read_volatile() }
    }
}
