//! The functions of librados, which are looked up by name when they are first needed.

use std::ffi::{c_char, c_int, c_void};
use std::io;
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

/// The name that the dynamic linker searches for. Its number is that of the binary interface, unchanged since 2009.
pub const LIBRARY: &str = "librados.so.2";

/// A handle of librados: a cluster, a pool, an operation, a completion, an iterator.
pub(crate) type Raw = *mut c_void;

macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) $(-> $answer:ty)?;)*) => {
        /// librados, loaded. The fields are its functions without the prefix `rados_`; `librados.h` describes them.
        pub(crate) struct Functions {
            $(pub(crate) $name: unsafe extern "C" fn($($argument),*) $(-> $answer)?,)*
            /// Keeps the code in memory.
            _library: Library,
        }

        impl Functions {
            fn bind(library: Library) -> Result<Functions, libloading::Error> {
                Ok(Functions {
                    $($name: {
                        // SAFETY: the type is that of the function's declaration in librados.h, which does not change
                        // within a binary interface. The library stays loaded beside it.
                        *unsafe { library.get(concat!("rados_", stringify!($name), "\0").as_bytes()) }?
                    },)*
                    _library: library,
                })
            }
        }
    };
}

functions! {
    create2: fn(*mut Raw, *const c_char, *const c_char, u64) -> c_int;
    conf_read_file: fn(Raw, *const c_char) -> c_int;
    conf_parse_env: fn(Raw, *const c_char) -> c_int;
    conf_set: fn(Raw, *const c_char, *const c_char) -> c_int;
    connect: fn(Raw) -> c_int;
    shutdown: fn(Raw);
    cluster_fsid: fn(Raw, *mut c_char, usize) -> c_int;
    ioctx_create: fn(Raw, *const c_char, *mut Raw) -> c_int;
    ioctx_destroy: fn(Raw);
    ioctx_set_namespace: fn(Raw, *const c_char);
    aio_create_completion2: fn(*mut c_void, Option<extern "C" fn(Raw, *mut c_void)>, *mut Raw) -> c_int;
    aio_wait_for_complete: fn(Raw) -> c_int;
    aio_get_return_value: fn(Raw) -> c_int;
    aio_get_version: fn(Raw) -> u64;
    aio_cancel: fn(Raw, Raw) -> c_int;
    aio_release: fn(Raw);
    create_write_op: fn() -> Raw;
    release_write_op: fn(Raw);
    write_op_create: fn(Raw, c_int, *const c_char);
    write_op_assert_exists: fn(Raw);
    write_op_assert_version: fn(Raw, u64);
    write_op_write_full: fn(Raw, *const c_char, usize);
    write_op_append: fn(Raw, *const c_char, usize);
    write_op_setxattr: fn(Raw, *const c_char, *const c_char, usize);
    write_op_rmxattr: fn(Raw, *const c_char);
    write_op_cmpxattr: fn(Raw, *const c_char, u8, *const c_char, usize);
    write_op_remove: fn(Raw);
    aio_write_op_operate: fn(Raw, Raw, Raw, *const c_char, *mut libc::time_t, c_int) -> c_int;
    create_read_op: fn() -> Raw;
    release_read_op: fn(Raw);
    read_op_assert_version: fn(Raw, u64);
    read_op_stat: fn(Raw, *mut u64, *mut libc::time_t, *mut c_int);
    read_op_read: fn(Raw, u64, usize, *mut c_char, *mut usize, *mut c_int);
    read_op_getxattrs: fn(Raw, *mut Raw, *mut c_int);
    read_op_exec_user_buf: fn(Raw, *const c_char, *const c_char, *const c_char, usize, *mut c_char, usize, *mut usize, *mut c_int);
    getxattrs_next: fn(Raw, *mut *const c_char, *mut *const c_char, *mut usize) -> c_int;
    getxattrs_end: fn(Raw);
    aio_read_op_operate: fn(Raw, Raw, Raw, *const c_char, c_int) -> c_int;
    nobjects_list_open: fn(Raw, *mut Raw) -> c_int;
    nobjects_list_seek: fn(Raw, u32) -> u32;
    nobjects_list_next2: fn(Raw, *mut *const c_char, *mut *const c_char, *mut *const c_char, *mut usize, *mut usize, *mut usize) -> c_int;
    nobjects_list_close: fn(Raw);
}

/// Returns librados, which is loaded once in a process. It stays loaded, because its threads and exit handlers need it.
///
/// # Errors
/// `Unsupported` with the dynamic linker's message and the package's name, or if a function is missing.
pub(crate) fn functions() -> io::Result<&'static Functions> {
    static LOADED: OnceLock<Result<Functions, (io::ErrorKind, String)>> = OnceLock::new();
    LOADED.get_or_init(load).as_ref().map_err(|(kind, why)| io::Error::new(*kind, why.clone()))
}

fn load() -> Result<Functions, (io::ErrorKind, String)> {
    // SAFETY: librados's initialisers run, as in every program that is linked to it.
    let library = unsafe { Library::open(Some(LIBRARY), RTLD_NOW | RTLD_LOCAL) }.map_err(|e| {
        let why = format!(
            "Ceph's client library cannot be loaded: {e}; the package is 'librados2' (Debian, Ubuntu, Fedora, RHEL)"
        );
        (io::ErrorKind::Unsupported, why)
    })?;
    Functions::bind(library).map_err(|e| {
        (io::ErrorKind::Unsupported, format!("{LIBRARY} is too old, Ceph 12 or later is needed: {e}"))
    })
}

/// Checks whether librados is available.
///
/// # Errors
/// As [`Cluster::connect`](crate::Cluster::connect), if it is not.
pub fn is_available() -> io::Result<()> {
    functions().map(drop)
}

/// Converts the return value of a function of librados: a count, or a negative error number.
pub(crate) fn answered(code: c_int) -> io::Result<c_int> {
    match code {
        0.. => Ok(code),
        // A number that is not one of the operating system's, such as -MAX_ERRNO, has a text too.
        _ => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}
