//! A connection to a cluster.

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Pool;
use crate::library::{Functions, Raw, answered, functions};

/// How to reach a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The cluster's name, which is part of its default files: `ceph`.
    pub cluster: CString,
    /// The client's whole name: `client.admin`.
    pub name: CString,
    /// Its configuration file. Without one it is that of `CEPH_CONF`, or a default one.
    pub configuration: Option<CString>,
    /// Options by name, which win over the file and over `CEPH_ARGS`.
    pub settings: Vec<(CString, CString)>,
}

/// Connections are left as they are when they are dropped.
static ARE_LEFT: AtomicBool = AtomicBool::new(false);

/// From now on connections that are dropped are left as they are: librados's static objects end with the program, and its threads with
/// the process.
pub fn leave_connections() {
    ARE_LEFT.store(true, Ordering::Relaxed);
}

/// A connection. It ends when the last pool of it is dropped, in the process that made it.
pub struct Cluster {
    functions: &'static Functions,
    raw: Raw,
    process: u32,
}

// SAFETY: librados's handles of clusters are for all threads of the process ("librados.h", `rados_t`).
unsafe impl Send for Cluster {}
// SAFETY: as above.
unsafe impl Sync for Cluster {}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("process", &self.process).finish_non_exhaustive()
    }
}

/// What was being done when a connection failed.
fn named(what: &str, error: &io::Error) -> io::Error {
    let text = format!("{what}: {error}");
    // The number has to stay: programs choose what they do by it.
    match error.raw_os_error() {
        Some(number) => {
            io::Error::new(error.kind(), Numbered { text, number: io::Error::from_raw_os_error(number) })
        }
        None => io::Error::new(error.kind(), text),
    }
}

/// Why a connection was not made. librados finds no key, or a file of keys that is not there, with the number of `ENOENT`.
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

/// A text with the system's error that it is about.
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
    /// Connects. The option `client_mount_timeout` bounds how long that takes.
    ///
    /// # Errors
    /// Without librados; without a configuration file that can be read; an option that librados does not know; no monitor that
    /// answers, or one that does not accept the client. The source of the error has the system's number, if librados gave one.
    pub fn connect(options: &Options) -> io::Result<Arc<Cluster>> {
        // librados tells its clients apart by a random number, of a generator that each thread has. Forked children share the
        // state of their parent's, and servers take two of them for one, whose connections they close. A new thread has a new
        // generator.
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
        // SAFETY: the texts end with NUL, `raw` is there to be written.
        let made =
            unsafe { (functions.create2)(&mut raw, options.cluster.as_ptr(), options.name.as_ptr(), 0) };
        answered(made).map_err(|e| named("a client of Ceph cannot be made", &e))?;
        // From here on dropping it gives it back.
        let cluster = Cluster { functions, raw, process: std::process::id() };
        cluster.configure(options)?;
        // SAFETY: the handle is a new one, and not connected.
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

    /// The cluster's own identifier, the same for all its clients.
    ///
    /// # Errors
    /// Those of librados.
    pub fn identifier(&self) -> io::Result<String> {
        // A UUID as text, and NUL.
        let mut text = [0_u8; 64];
        // SAFETY: the buffer is as long as it says.
        let written = unsafe {
            (self.functions.cluster_fsid)(self.raw, text.as_mut_ptr().cast::<c_char>(), text.len())
        };
        answered(written)?;
        let text = CStr::from_bytes_until_nul(&text).map_err(io::Error::other)?;
        Ok(text.to_string_lossy().into_owned())
    }

    /// A namespace of a pool. The option `rados_mon_op_timeout` bounds how long a monitor is waited for.
    ///
    /// # Errors
    /// `NotFound` if there is no such pool, and those of librados.
    pub fn pool(self: &Arc<Self>, pool: &CStr, namespace: &CStr) -> io::Result<Arc<Pool>> {
        let mut raw = std::ptr::null_mut();
        // SAFETY: the text ends with NUL, `raw` is there to be written.
        answered(unsafe { (self.functions.ioctx_create)(self.raw, pool.as_ptr(), &mut raw) })?;
        // SAFETY: the handle is a new one, which nobody else uses yet.
        unsafe { (self.functions.ioctx_set_namespace)(raw, namespace.as_ptr()) };
        Ok(Arc::new(Pool { functions: self.functions, raw, cluster: self.clone() }))
    }

    /// Whether this process made the connection.
    pub fn is_own(&self) -> bool {
        self.process == std::process::id()
    }

    /// Whether it can be ended: a forked child has none of the threads that an end would wait for.
    pub(crate) fn can_end(&self) -> bool {
        self.is_own() && !ARE_LEFT.load(Ordering::Relaxed)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.can_end() {
            // SAFETY: the handle is given back once, and all pools of it are.
            unsafe { (self.functions.shutdown)(self.raw) }
        }
    }
}
