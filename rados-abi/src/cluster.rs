//! A connection to a cluster.

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Pool;
use crate::library::{Functions, Raw, answered, functions};

/// The parameters of a connection to a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The cluster's name, which is part of its default files: `ceph`.
    pub cluster: CString,
    /// The client's full name: `client.admin`.
    pub name: CString,
    /// The client's configuration file. Without one, `CEPH_CONF` names it, or a default file is used.
    pub configuration: Option<CString>,
    /// Options by name, which take precedence over the file and over `CEPH_ARGS`.
    pub settings: Vec<(CString, CString)>,
}

/// True once connections are not closed any more when they are dropped.
static ARE_LEFT: AtomicBool = AtomicBool::new(false);

/// From now on connections that are dropped are not closed: the static objects of librados are destroyed when the
/// program ends, and its threads end with the process.
pub fn leave_connections() {
    ARE_LEFT.store(true, Ordering::Relaxed);
}

/// A connection. It is closed when its last pool is dropped, in the process that made it.
pub struct Cluster {
    functions: &'static Functions,
    raw: Raw,
    process: u32,
}

// SAFETY: any thread of the process may use librados's handles of clusters ("librados.h", `rados_t`).
unsafe impl Send for Cluster {}
// SAFETY: as above.
unsafe impl Sync for Cluster {}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("process", &self.process).finish_non_exhaustive()
    }
}

/// Adds to an error the action that failed.
fn named(what: &str, error: &io::Error) -> io::Error {
    let text = format!("{what}: {error}");
    // The error number is retained, because programs base decisions on it.
    match error.raw_os_error() {
        Some(number) => {
            io::Error::new(error.kind(), Numbered { text, number: io::Error::from_raw_os_error(number) })
        }
        None => io::Error::new(error.kind(), text),
    }
}

/// Explains why a connection was refused. librados reports a missing key, or a missing file of keys, with the number of
/// `ENOENT`.
fn refused(name: &str, error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENOENT) => named(
            &format!("no key of {name} is found (Ceph's option 'keyring')"),
            &io::Error::from_raw_os_error(libc::EACCES),
        ),
        Some(libc::ETIMEDOUT) => named("no monitor of the cluster answers", &error),
        _ => named(&format!("the cluster does not accept {name}"), &error),
    }
}

/// A text with the operating system's error that it describes.
#[derive(Debug)]
struct Numbered {
    text: String,
    number: io::Error,
}

impl std::fmt::Display for Numbered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Numbered {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.number)
    }
}

impl Cluster {
    /// Connects. The option `client_mount_timeout` bounds the time for that.
    ///
    /// # Errors
    /// A missing librados; an unreadable configuration file; an option that librados does not know; no answer of a
    /// monitor, or a refusal of the client. The source of the error has the operating system's number, if librados
    /// returned one.
    pub fn connect(options: &Options) -> io::Result<Arc<Cluster>> {
        // librados identifies its clients by a random number, from a generator in each thread. Forked children share
        // the state of their parent's generator, so servers mistake two of them for one client and close its
        // connections. A new thread has a new generator.
        let connect = || Cluster::connect_here(options);
        std::thread::scope(|scope| {
            let thread =
                std::thread::Builder::new().name("h5lake-store".into()).spawn_scoped(scope, connect)?;
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that connects failed")))
        })
    }

    fn connect_here(options: &Options) -> io::Result<Arc<Cluster>> {
        let functions = functions()?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: the texts end with NUL, `raw` can be written.
        let made =
            unsafe { (functions.create2)(&mut raw, options.cluster.as_ptr(), options.name.as_ptr(), 0) };
        answered(made).map_err(|e| named("a client of Ceph cannot be made", &e))?;
        // From here on dropping the cluster releases the handle.
        let cluster = Cluster { functions, raw, process: std::process::id() };
        cluster.configure(options)?;
        // SAFETY: the handle is new, and not connected.
        answered(unsafe { (functions.connect)(raw) })
            .map_err(|e| refused(&options.name.to_string_lossy(), e))?;
        Ok(Arc::new(cluster))
    }

    fn configure(&self, options: &Options) -> io::Result<()> {
        let file = options.configuration.as_deref().map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: null means the default files; a text ends with NUL.
        answered(unsafe { (self.functions.conf_read_file)(self.raw, file) }).map_err(|e| {
            let which = options.configuration.as_deref().map(|file| format!(" {}", file.to_string_lossy()));
            named(&format!("Ceph's configuration file{} cannot be read", which.unwrap_or_default()), &e)
        })?;
        // SAFETY: null means the variable CEPH_ARGS.
        answered(unsafe { (self.functions.conf_parse_env)(self.raw, std::ptr::null()) })
            .map_err(|e| named("the variable CEPH_ARGS is not understood", &e))?;
        for (name, value) in &options.settings {
            // SAFETY: both texts end with NUL.
            answered(unsafe { (self.functions.conf_set)(self.raw, name.as_ptr(), value.as_ptr()) })
                .map_err(|e| named(&format!("Ceph's option {} is not taken", name.to_string_lossy()), &e))?;
        }
        Ok(())
    }

    /// Returns the cluster's own identifier, which all its clients see.
    ///
    /// # Errors
    /// Those of librados.
    pub fn identifier(&self) -> io::Result<String> {
        // The text is a UUID and a NUL.
        let mut text = [0_u8; 64];
        // SAFETY: the buffer has the length that is passed.
        let written = unsafe {
            (self.functions.cluster_fsid)(self.raw, text.as_mut_ptr().cast::<c_char>(), text.len())
        };
        answered(written)?;
        let text = CStr::from_bytes_until_nul(&text).map_err(io::Error::other)?;
        Ok(text.to_string_lossy().into_owned())
    }

    /// Returns a namespace of a pool. The option `rados_mon_op_timeout` bounds the wait for a monitor.
    ///
    /// # Errors
    /// `NotFound` if the pool does not exist, and those of librados.
    pub fn pool(self: &Arc<Self>, pool: &CStr, namespace: &CStr) -> io::Result<Arc<Pool>> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: the text ends with NUL, `raw` can be written.
        answered(unsafe { (self.functions.ioctx_create)(self.raw, pool.as_ptr(), &mut raw) })?;
        // SAFETY: the handle is new, and no other code uses it yet.
        unsafe { (self.functions.ioctx_set_namespace)(raw, namespace.as_ptr()) };
        Ok(Arc::new(Pool { functions: self.functions, raw, cluster: self.clone() }))
    }

    /// Returns whether this process made the connection.
    pub fn is_own(&self) -> bool {
        self.process == std::process::id()
    }

    /// Returns whether the connection can be closed: a forked child has none of the threads that closing would wait
    /// for.
    pub(crate) fn can_end(&self) -> bool {
        self.is_own() && !ARE_LEFT.load(Ordering::Relaxed)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.can_end() {
            // SAFETY: the handle is released once, and all its pools have been released.
            unsafe { (self.functions.shutdown)(self.raw) }
        }
    }
}
