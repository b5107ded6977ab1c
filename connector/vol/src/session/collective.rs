//! Files that the processes of an MPI program open together (`H5Pset_fapl_mpio`).
//!
//! Changes to a file's structure are collective in parallel HDF5: every process makes the same changes in the same
//! order. So every process stages the same changes with the same numbers for new objects. At a flush the other processes
//! send the elements that they wrote to the first process, which commits everything as one version. A failure in one
//! process is reported to all processes.
//!
//! Before a collective transfer, and in a call that makes or resizes a dataset, each process sends one message to all
//! processes. It says whether the call failed, and whether the process has something to commit. So a collective read
//! first commits the elements that any process has written.

mod aggregation;
mod commits;
mod elements;
mod locking;
mod opening;
mod stale_reads;
mod visibility;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use h5lake_container::{Container, NumberSource, ObjectId, Target, Together};
use h5lake_ledger::LockFiles;
use h5lake_ledger::locks::Mutex;

use crate::error::{Error, Minor, Result};
use crate::hdf5::library::Hid;
use crate::hdf5::mpi::Processes;
use crate::names::Place;
use crate::session::pace::Pace;

use self::aggregation::caught;
pub use self::elements::Writing;
use self::opening::OpenedPlace;
use self::visibility::Visibility;

/// State of a file that the processes of an MPI program have open together.
#[derive(Debug)]
pub struct CollectiveFile {
    processes: Processes,
    /// True if this process is in a collective call.
    in_collective: AtomicBool,
    /// True if all processes have heard within a collective call that it failed.
    is_failure_known: AtomicBool,
    /// When datasets that all processes made or resized are committed before a flush.
    structure: Mutex<Pace>,
    /// When elements that all processes wrote are committed before a flush.
    elements: Mutex<Pace>,
    /// When elements that this process wrote independently are committed before a flush.
    own: Mutex<Pace>,
    /// Elements known to be uncommitted. All handles of the container share this state.
    visibility: OnceLock<Arc<Visibility>>,
    /// Bytes of free space that this process's last flush left for a later exclusive writer to reclaim.
    left_space: AtomicU64,
    /// True if this process has made versions since the last flush that do not count as flushes.
    has_committed_apart: AtomicBool,
    /// The container, as the process opens it that reclaims the space which all processes have left.
    place: OnceLock<OpenedPlace>,
    /// The lock files that the processes use if the file system has no locks.
    lock_files: OnceLock<LockFiles>,
}

/// Sent to all processes: this process has uncommitted changes.
const CHANGED: u32 = 1;
/// Sent to all processes by the first process: enough time has passed for a commit.
const DUE: u32 = 2;
/// Sent to all processes: this process has read written elements independently.
const READ: u32 = 4;
/// Sent to all processes: this process has written elements that it did not commit.
const LEFT: u32 = 8;
/// Sent to all processes: this process has read independently.
const LOOKED: u32 = 16;
/// Sent to all processes: a dataset has shrunk since the last commit.
const CUT: u32 = 32;
/// Sent to all processes: the program has no file of the container open in this process, so no flush or close would
/// commit the changes of this call.
const ALONE: u32 = 64;
/// Sent to all processes: this process will write once the elements that other processes left uncommitted are
/// committed.
const WAITS: u32 = 128;
/// Sent to all processes: a single box does not describe the elements that this process wrote.
const SEVERAL: u32 = 256;
/// Sent to all processes: a source of a virtual dataset that all processes read is uncommitted in this process.
const SOURCES: u32 = 512;

/// Sent to all processes: this process has made versions since the last flush that do not count as flushes.
const APART: u32 = 1024;

/// From this bit on, each process sends why a collective transfer would break up into independent ones in native HDF5.
const CAUSES: u32 = 16;

/// Sent by every process that takes numbers for new objects; must be the same in all processes.
const NUMBERS: u16 = 1;
/// Sent by every process that has made or resized an object, with the lowest bits of the next number; must be the same
/// in all processes.
const NEXT: u16 = 0x8000;

/// The error of a process that has already heard of another process's failure.
const FAILED: &str = "another process of the MPI program failed";

/// A change of the structure that all processes make in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectiveChange {
    /// An object is made.
    Made,
    /// A dataset is resized.
    Resized,
}

/// The flags that all processes have exchanged before a collective read.
#[derive(Debug, Clone)]
pub struct BeforeRead {
    flags: u32,
    /// The version of each process.
    versions: Vec<u64>,
}

impl BeforeRead {
    /// Returns the causes for which processes would not take part in a native collective transfer.
    pub fn causes(&self) -> u32 {
        self.flags >> CAUSES
    }

    /// Returns whether any process has something to commit to a source of a virtual dataset.
    pub fn has_changed_sources(&self) -> bool {
        self.flags & SOURCES != 0
    }
}

/// Splits the result of `catch_unwind` into an outcome and the panic, if there was one. After a panic this process
/// still has to send its message, because the other processes wait for it.
fn outcome<T>(done: std::thread::Result<Result<T>>) -> (Result<T>, Option<Box<dyn Any + Send>>) {
    match done {
        Ok(done) => (done, None),
        Err(panic) => (Err(Error::new(Minor::Internal, "a panic")), Some(panic)),
    }
}

fn bit(id: ObjectId) -> u64 {
    1 << (id.0 % 64)
}

impl CollectiveFile {
    /// Makes the state of a file that these processes open.
    pub fn new(processes: Processes) -> Arc<Self> {
        Arc::new(Self {
            processes,
            in_collective: AtomicBool::default(),
            is_failure_known: AtomicBool::default(),
            structure: Mutex::default(),
            elements: Mutex::default(),
            own: Mutex::default(),
            visibility: OnceLock::new(),
            left_space: AtomicU64::default(),
            has_committed_apart: AtomicBool::default(),
            place: OnceLock::new(),
            lock_files: OnceLock::new(),
        })
    }

    /// Returns whether this process is the first one, which commits the changes of the structure for all processes.
    pub fn is_first(&self) -> bool {
        self.processes.rank() == 0
    }

    /// Returns this process's place among the processes that have the container open together.
    pub fn part(&self) -> Together {
        Together { processes: self.processes.size(), rank: self.processes.rank() }
    }

    /// Runs this process's part of a collective operation. If the part fails in one process, by a panic too, the
    /// operation fails in all processes. See [`Processes::agree`].
    ///
    /// # Errors
    /// If any process failed.
    pub fn agree<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let (done, panic) = outcome(catch_unwind(AssertUnwindSafe(body)));
        let agreed = self.processes.agree(done);
        panic.map_or(agreed, |panic| resume_unwind(panic))
    }

    /// Shares an outcome as [`agree`](Self::agree) does, as long as MPI has not ended and other processes can receive
    /// it.
    ///
    /// # Errors
    /// If any process failed.
    pub fn agree_if_any(&self, done: Result<()>) -> Result<()> {
        if self.processes.are_over() { done } else { self.agree(|| done) }
    }

    fn visibility(&self) -> &Visibility {
        self.visibility.get_or_init(Arc::default)
    }

    fn numbers(self: &Arc<Self>) -> NumberSource {
        let together = self.clone();
        Arc::new(move |count, take| together.number(count, take))
    }

    /// Returns numbers for new objects, the same in all processes: the first process takes them. Collective, as making
    /// objects is.
    fn number(
        &self,
        count: u64,
        take: &dyn Fn(u64) -> h5lake_container::Result<u64>,
    ) -> h5lake_container::Result<u64> {
        let failed = |text: String| h5lake_container::Error::new(h5lake_container::ErrorKind::Io, text);
        if self.is_failure_known.load(Ordering::Relaxed) {
            return Err(failed(FAILED.into()));
        }
        let take = || if self.is_first() { take(count).map_err(Error::from) } else { Ok(0) };
        let (taken, panic) = outcome(catch_unwind(AssertUnwindSafe(take)));
        let exchanged = self.processes.exchange(taken, 0, NUMBERS);
        // A process with a failed call reports the failure in its last message. The other processes receive that
        // message here, because it sends no other one for them.
        self.is_failure_known.store(exchanged.is_err() && self.is_collective(), Ordering::Relaxed);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
        exchanged
            .and_then(|(first, _)| self.processes.number_of_first(first))
            .map_err(|e| failed(e.to_string()))
    }

    /// Runs a change that all processes make in one call. A process with a failed part takes part, too: then the call
    /// fails in all processes. As [`Pace`] decides, the change is sometimes committed at once, so that it is visible
    /// without a flush. If the container `is_alone` in any process, that is, the program has no file of it open there,
    /// the change is always committed, because no flush or close of a file would do so.
    ///
    /// # Errors
    /// If any process failed.
    pub fn change<T>(
        self: &Arc<Self>,
        container: &Container,
        kind: CollectiveChange,
        is_alone: bool,
        body: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let flags = || {
            let is_due = self.is_first() && self.structure.lock().is_due();
            self.flags(container)
                | flag(is_due, DUE)
                | flag(self.visibility().has_read.swap(false, Ordering::Relaxed), READ)
                | flag(is_alone, ALONE)
        };
        let (done, all_flags) = self.make_and_exchange(container, kind, flags, body)?;
        let wanted =
            self.structure.lock().is_turn(all_flags & READ != 0) || all_flags & DUE != 0 || self.is_eager();
        let commits =
            (wanted && all_flags & CHANGED != 0) || all_flags & (CUT | ALONE) != 0 || self.is_atomic();
        if commits {
            let started = std::time::Instant::now();
            self.commit(container)?;
            self.structure.lock().took(started);
        }
        Ok(done)
    }

    /// Makes an object in a collective call. If the call fails in one process, it fails in all processes. The object
    /// is committed at once if the container `is_alone` in any process.
    ///
    /// # Errors
    /// If any process failed, or the processes have made different numbers of objects before.
    pub fn make<T>(
        self: &Arc<Self>,
        container: &Container,
        is_alone: bool,
        body: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let flags = || self.flags(container) | flag(is_alone, ALONE);
        let (done, all_flags) = self.make_and_exchange(container, CollectiveChange::Made, flags, body)?;
        self.commit_if_alone(container, all_flags)?;
        Ok(done)
    }

    /// Ends a change that all processes have made through a path that leads from another file into the container, and
    /// with the outcome `done` in this process. If the change failed in one process, it fails in all processes. It is
    /// committed at once if the container `is_alone` in any process. Collective.
    ///
    /// # Errors
    /// If any process failed.
    pub fn finish<T>(&self, container: &Container, is_alone: bool, done: Result<T>) -> Result<T> {
        let flags = self.flags(container) | flag(is_alone, ALONE);
        let (done, all_flags) = self.tell(container, done, flags, 0)?;
        self.commit_if_alone(container, all_flags)?;
        Ok(done)
    }

    fn commit_if_alone(&self, container: &Container, all_flags: u32) -> Result<()> {
        if all_flags & ALONE != 0 { self.commit(container) } else { Ok(()) }
    }

    fn make_and_exchange<T>(
        self: &Arc<Self>,
        container: &Container,
        kind: CollectiveChange,
        flags: impl FnOnce() -> u32,
        body: impl FnOnce() -> Result<T>,
    ) -> Result<(T, u32)> {
        // Several groups of processes may have the container open; the processes of this file hear of a failure.
        container.number_together(self.numbers());
        self.is_failure_known.store(false, Ordering::Relaxed);
        let (done, panic) = outcome(self.during(|| {
            container.settle_known_offer()?;
            if kind == CollectiveChange::Made {
                container.prepare_number()?;
            }
            body()
        }));
        let exchanged = match self.is_failure_known.swap(false, Ordering::Relaxed) {
            true => done.and_then(|_| Err(Error::new(Minor::CannotOperate, FAILED))),
            false => self.tell(container, done, flags(), NEXT | container.next_number() as u16),
        };
        if exchanged.is_err() {
            // Some processes may have given a number to an object that other processes have not made.
            container.forget_numbers();
        }
        container.number_apart();
        panic.map_or(exchanged, |panic| resume_unwind(panic))
    }

    /// Begins a collective use of written elements: commits the changes of all processes, and moves all processes to
    /// one version. Without changes it costs one message. Collective.
    ///
    /// # Errors
    /// If any process failed.
    pub fn settle(&self, container: &Container) -> Result<()> {
        let exchanged = self.tell_before_read(container, 0, false)?;
        self.settle_exchanged(container, &exchanged)
    }

    /// Exchanges the message of a collective read: what this process has to commit, its version, and a `cause` of its
    /// own. `has_changed_sources` says whether this process has something to commit to a source in another file.
    /// Collective.
    ///
    /// # Errors
    /// The errors of MPI; the error of a process that failed.
    pub fn tell_before_read(
        &self,
        container: &Container,
        cause: u32,
        has_changed_sources: bool,
    ) -> Result<BeforeRead> {
        let flags = flag(has_changed_sources, SOURCES) | cause << CAUSES;
        if !container.writable() {
            let ((), flags) = self.processes.exchange(Ok(()), flags, 0)?;
            return Ok(BeforeRead { flags, versions: Vec::new() });
        }
        // One process looks for commits of other programs. All processes know their own commits.
        let looked =
            if self.is_first() { caught(|| Ok(container.observe_remote_commits()?)) } else { Ok(()) };
        let flags = self.flags(container) | flags;
        let version = container.committed_version();
        let ((), flags, versions) = self.processes.exchange_numbers(looked, flags, 0, version)?;
        self.heard(container, flags)?;
        Ok(BeforeRead { flags, versions })
    }

    /// Commits the changes of all processes after [`tell_before_read`](Self::tell_before_read), and moves all processes
    /// to one version. That version contains everything that a process wrote before it sent that message. It contains
    /// nothing that a process writes after this call, because no process returns before all of them have moved.
    /// Collective.
    ///
    /// # Errors
    /// If any process failed; the errors of reading remote commits.
    pub fn settle_exchanged(&self, container: &Container, exchanged: &BeforeRead) -> Result<()> {
        if !container.writable() {
            return Ok(());
        }
        self.elements.lock().was_read();
        match exchanged.flags & CHANGED {
            0 => self.align_versions(container, exchanged.versions.clone()),
            _ => self.commit(container),
        }
    }

    /// Returns the flags that this process sends to all processes.
    fn flags(&self, container: &Container) -> u32 {
        let visibility = self.visibility();
        flag(container.has_changes(), CHANGED)
            | flag(!visibility.left.lock().is_empty(), LEFT)
            | flag(!visibility.looked.lock().is_empty(), LOOKED)
            | flag(container.has_cut(), CUT)
    }

    /// Exchanges a message with all processes. If the flags call for it, the processes also find out whether any of
    /// them has read elements that another process had not committed.
    fn tell<T>(&self, container: &Container, done: Result<T>, flags: u32, alike: u16) -> Result<(T, u32)> {
        let (done, all_flags) = self.processes.exchange(done, flags, alike)?;
        self.heard(container, all_flags)?;
        Ok((done, all_flags))
    }

    fn is_eager(&self) -> bool {
        self.visibility().is_eager.load(Ordering::Relaxed)
    }

    /// Returns whether a transfer with this list is collective.
    ///
    /// # Errors
    /// If the library cannot read the list.
    pub fn is_collective_transfer(&self, list: Hid) -> Result<bool> {
        self.processes.is_collective(list)
    }

    /// Runs a part of a collective call.
    pub fn during<T>(&self, body: impl FnOnce() -> T) -> std::thread::Result<T> {
        self.in_collective.store(true, Ordering::Relaxed);
        let done = catch_unwind(AssertUnwindSafe(body));
        self.in_collective.store(false, Ordering::Relaxed);
        done
    }

    /// Sets whether every write becomes visible to all processes at once.
    pub fn set_atomic(&self, atomic: bool) {
        self.visibility().atomic.store(atomic, Ordering::Relaxed);
    }

    /// Returns whether every write becomes visible to all processes at once.
    pub fn is_atomic(&self) -> bool {
        self.visibility().atomic.load(Ordering::Relaxed)
    }

    fn is_collective(&self) -> bool {
        self.in_collective.load(Ordering::Relaxed)
    }

    /// Returns whether more than one process has the file open together.
    pub fn has_several_processes(&self) -> bool {
        self.processes.size() > 1
    }
}

fn flag(is_set: bool, flag: u32) -> u32 {
    if is_set { flag } else { 0 }
}

/// Refuses stores that other processes cannot read.
///
/// # Errors
/// For a store in memory.
pub fn check_shared(place: &Place) -> Result<()> {
    match &place.target {
        Target::Objects { store, .. } if !store.capabilities().persistent => {
            Err(Error::argument("a store in memory cannot be shared by the processes of an MPI program"))
        }
        _ => Ok(()),
    }
}
