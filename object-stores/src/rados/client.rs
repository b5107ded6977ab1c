//! Connections, cached for the next open of the same cluster, and the time limits of requests.

use std::ffi::CString;
use std::io;
use std::sync::{Arc, Once, mpsc};
use std::time::{Duration, Instant};

use h5lake_rados_abi::{Bound, Cluster, Options, PendingWrite, Pool, WriteOperation};
use parking_lot::Mutex;

use super::address::{Address, Identity};
use super::clock::StoreClock;
use crate::deadline::{self, Budget, Patience};
use crate::per_process::PerProcess;
use crate::{Error, ErrorKind, Operation, Result, exit};

/// The number of connections that are cached for the next open.
const MAX_IDLE_CLIENTS: usize = 4;
/// The number of writes or reads of one call that are in flight at the same time.
pub(super) const MAX_UNDER_WAY: usize = 16;

/// A client of a cluster.
struct Client {
    identity: Identity,
    /// The connection of each process, because a connection belongs to the process that made it.
    connections: PerProcess<Arc<Cluster>>,
    patience: Patience,
}

/// The cached clients, most recently used last.
static OPEN: Mutex<Vec<Arc<Client>>> = Mutex::new(Vec::new());

impl Client {
    /// Returns the client of an identity; it does not connect yet.
    fn shared(identity: Identity) -> Arc<Client> {
        let mut open = OPEN.lock();
        let found = open.iter().position(|client| client.identity == identity);
        let client = found.map(|at| open.remove(at)).unwrap_or_else(|| {
            let patience = Patience::new(identity.timeout);
            Arc::new(Client { identity, connections: PerProcess::new(), patience })
        });
        open.push(client.clone());
        let oldest = (open.len() > MAX_IDLE_CLIENTS).then(|| open.remove(0));
        // Dropping the client may end its connection, which takes a while, so the lock is released first.
        drop(open);
        drop(oldest);
        client
    }

    fn options(&self) -> Options {
        let seconds = self.identity.timeout.as_secs().max(1).to_string();
        let text = |text: &str| CString::new(text).unwrap_or_default();
        let settings = [
            ("client_mount_timeout", &*seconds),
            ("rados_mon_op_timeout", &*seconds),
            ("rados_osd_op_timeout", &*seconds),
            // Failures are reported as errors. The library must not write to the program's stderr.
            ("log_to_stderr", "false"),
            ("err_to_stderr", "false"),
        ];
        Options {
            cluster: self.identity.cluster.clone(),
            name: self.identity.name.clone(),
            configuration: self.identity.configuration.clone(),
            settings: settings.map(|(name, value)| (text(name), text(value))).into(),
        }
    }

    fn cluster(&self) -> io::Result<&Arc<Cluster>> {
        self.connections.get_or_make(|| {
            let connected = Cluster::connect(&self.options())?;
            AT_EXIT.call_once(|| h5lake_store_abi::at_exit(end));
            Ok(connected)
        })
    }
}

/// The time that is left for an operation. A part of an answer counts as an answered request.
struct Within<'a>(&'a Budget);

impl Bound for Within<'_> {
    fn ends(&self) -> Instant {
        self.0.ends()
    }

    fn progressed(&self) {
        self.0.answered();
    }
}

/// Registers the exit handler once, for the program and its forked children.
static AT_EXIT: Once = Once::new();
/// The time that the end of a program waits for connections to end.
const MAX_END: Duration = Duration::from_secs(2);

/// Runs at the end of a program: closes open stores, and ends the connections that no store uses then. Other
/// connections are left as they are.
fn end() {
    exit::close_all();
    end_idle();
    h5lake_rados_abi::leave_connections();
}

fn end_idle() {
    let Some(mut open) = OPEN.try_lock_for(MAX_END) else { return };
    let idle = std::mem::take(&mut *open);
    drop(open);
    let (ended, wait) = mpsc::channel();
    let end = move || {
        drop(idle);
        let _nobody_waits = ended.send(());
    };
    // The connections end in a thread, so that the program ends whatever a cluster does.
    if std::thread::Builder::new().name("h5lake-store".into()).spawn(end).is_ok() {
        let _late_or_not = wait.recv_timeout(MAX_END);
    }
}

/// A namespace of a pool, accessed through one client.
pub(super) struct Namespace {
    /// `rados://POOL/NAMESPACE`.
    pub(super) name: String,
    /// The cluster's own identifier.
    pub(super) cluster_identifier: String,
    pub(super) clock: StoreClock,
    pool: CString,
    namespace: CString,
    client: Arc<Client>,
    pools: PerProcess<Arc<Pool>>,
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Namespace").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Namespace {
    /// Opens a namespace of an existing pool. The namespace need not contain any objects.
    pub(super) fn open(address: &Address, identity: Identity) -> Result<Namespace> {
        let text = |text: &str| CString::new(text).unwrap_or_default();
        let mut space = Namespace {
            name: format!("rados://{}/{}", address.pool, address.namespace),
            cluster_identifier: String::new(),
            clock: StoreClock::default(),
            pool: text(&address.pool),
            namespace: text(&address.namespace),
            client: Client::shared(identity),
            pools: PerProcess::new(),
        };
        let cluster = space.client.cluster().map_err(|e| space.open_error(e))?;
        let identifier = cluster.identifier().map_err(|e| space.open_error(e))?;
        // A missing pool is reported when the store is opened.
        let pool = space.pool().map(drop).map_err(|e| match e.raw_os_error() {
            Some(libc::ENOENT) => {
                let why = format!("the cluster has no pool '{}'", address.pool);
                Error::new(ErrorKind::NoStore, Operation::Open).because(why).in_store(&space.name)
            }
            _ => space.open_error(e),
        });
        pool?;
        space.cluster_identifier = identifier;
        Ok(space)
    }

    fn open_error(&self, error: io::Error) -> Error {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied => ErrorKind::Unauthenticated,
            _ => kind_of(&error),
        };
        Error::new(kind, Operation::Open).in_store(&self.name).with_source(error)
    }

    /// Returns this process's handle of the pool.
    pub(super) fn pool(&self) -> io::Result<&Arc<Pool>> {
        if exit::is_over() {
            return Err(io::Error::other("the program ends, and Ceph's library with it"));
        }
        self.pools.get_or_make(|| self.client.cluster()?.pool(&self.pool, &self.namespace))
    }

    /// Returns the budget of the caller's operation.
    pub(super) fn budget(&self) -> Arc<Budget> {
        deadline::budget(|| self.client.patience.left())
    }

    /// Does work that waits for the cluster, within the limits of the caller's operation. `bytes` returns the number of
    /// bytes that were transferred.
    pub(super) fn ask<T>(
        &self,
        work: impl FnOnce(&Arc<Pool>, &dyn Bound) -> io::Result<T>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> io::Result<T> {
        let budget = self.budget();
        if budget.remaining().is_zero() {
            return Err(late(budget.timeout(), budget.last_failure()));
        }
        let since = Instant::now();
        let answer = self.pool().and_then(|pool| work(pool, &Within(&budget)));
        match &answer {
            Err(e) if matches!(kind_of(e), ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::Io) => {
                self.client.patience.spend(budget.charge(since));
                if e.raw_os_error() == Some(libc::ETIMEDOUT) {
                    return Err(late(budget.timeout(), budget.last_failure()));
                }
                budget.refused(e.to_string());
            }
            _ => {
                self.client.patience.restore();
                budget.answered();
                budget.succeeded();
            }
        }
        let answer = answer?;
        budget.progressed(bytes(&answer));
        Ok(answer)
    }

    /// Starts a write. The object gets the time of the cluster's clock.
    pub(super) fn start(
        &self,
        name: &str,
        operation: impl FnOnce(WriteOperation) -> WriteOperation,
    ) -> io::Result<PendingWrite> {
        let (name, modified) = (object_name(name)?, self.clock.seconds());
        let pool = self.pool()?;
        pool.start(&name, operation(WriteOperation::new(pool)?), modified)
    }

    /// Makes a write of `bytes` bytes; returns the object's new version.
    pub(super) fn write(
        &self,
        name: &str,
        bytes: usize,
        operation: impl FnOnce(WriteOperation) -> WriteOperation,
    ) -> io::Result<u64> {
        self.ask(|_, bound| self.start(name, operation)?.wait(bound), |_| bytes)
    }

    /// Makes the same write to several objects, some at a time. The answers are in the order of the names.
    pub(super) fn write_all(
        &self,
        names: &[String],
        operation: impl Fn(WriteOperation) -> WriteOperation,
    ) -> Vec<io::Result<u64>> {
        let mut answers = Vec::with_capacity(names.len());
        for batch in names.chunks(MAX_UNDER_WAY) {
            let started: Vec<_> = batch.iter().map(|name| self.start(name, &operation)).collect();
            let waited = started.into_iter().map(|write| {
                let write = write?;
                self.ask(|_, bound| write.wait(bound), |_| 0)
            });
            answers.extend(waited);
        }
        answers
    }

    /// Converts an error of librados into the store's error.
    pub(super) fn error(&self, operation: Operation, error: io::Error) -> Error {
        Error::new(kind_of(&error), operation).in_store(&self.name).with_source(error)
    }
}

/// Returns an object's name for librados.
pub(super) fn object_name(name: &str) -> io::Result<CString> {
    CString::new(name).map_err(io::Error::from)
}

/// Returns the kind of an error of librados. RADOS uses some error numbers with meanings that differ from the operating
/// system's.
pub(super) fn kind_of(error: &io::Error) -> ErrorKind {
    match error.raw_os_error() {
        // An asserted version is not the object's version.
        Some(libc::ERANGE | libc::EOVERFLOW) => ErrorKind::PreconditionFailed,
        Some(libc::ENOTCONN | libc::ESHUTDOWN | libc::EAGAIN | libc::ECANCELED) => ErrorKind::Unavailable,
        Some(libc::ENAMETOOLONG | libc::EFBIG | libc::EINVAL) => ErrorKind::InvalidArgument,
        Some(libc::EPERM) => ErrorKind::PermissionDenied,
        _ if error.kind() == io::ErrorKind::InvalidData => ErrorKind::Corrupt,
        _ => ErrorKind::of_io(error),
    }
}

/// Returns the error of an operation that has used up its time. It has the operating system's error number, because
/// programs base decisions on it.
fn late(timeout: Duration, last: Option<String>) -> io::Error {
    let last = last.map_or_else(String::new, |last| format!("; the last try: {last}"));
    let time = timeout.as_secs_f32();
    let text = format!("nothing came of it within {time} seconds, by the setting 'timeout'{last}");
    io::Error::new(
        io::ErrorKind::TimedOut,
        Late { text, number: io::Error::from_raw_os_error(libc::ETIMEDOUT) },
    )
}

#[derive(Debug)]
struct Late {
    text: String,
    number: io::Error,
}

impl std::fmt::Display for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Late {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_rados_are_kinds_and_lateness_has_its_number() {
        let kind = |number| kind_of(&io::Error::from_raw_os_error(number));
        for (number, expected) in [
            (libc::ENOENT, ErrorKind::NotFound),
            (libc::EEXIST, ErrorKind::AlreadyExists),
            (libc::ERANGE, ErrorKind::PreconditionFailed),
            (libc::EOVERFLOW, ErrorKind::PreconditionFailed),
            (libc::EPERM, ErrorKind::PermissionDenied),
            (libc::EACCES, ErrorKind::PermissionDenied),
            (libc::ETIMEDOUT, ErrorKind::Timeout),
            (libc::ESHUTDOWN, ErrorKind::Unavailable),
            (libc::ENOSPC, ErrorKind::NoSpace),
            (libc::EDQUOT, ErrorKind::NoSpace),
            (libc::EFBIG, ErrorKind::InvalidArgument),
            (libc::EIO, ErrorKind::Io),
        ] {
            assert_eq!(kind(number), expected, "{number}");
        }
        let late = late(Duration::from_secs(5), None);
        assert_eq!(kind_of(&late), ErrorKind::Timeout);
        let error = Error::new(kind_of(&late), Operation::Put).with_source(late);
        assert_eq!(error.errno(), Some(libc::ETIMEDOUT));
        assert!(error.to_string().contains("within 5 seconds"), "{error}");
    }
}
