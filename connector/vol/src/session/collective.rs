//! Files that the processes of an MPI program open together (`H5Pset_fapl_mpio`).
//!
//! What changes a file's structure is collective in parallel HDF5: every process does it, in the same order. So each stages
//! the same changes with the same numbers for new objects, the first process commits them, and the others commit the
//! elements that they wrote. A failure of one is told to all.
//!
//! A transfer that all take part in, and a call that makes or resizes a dataset, tells all processes in one message each whether
//! it failed and who has something to commit. So a collective read first commits what any process has written.

mod aggregation;
mod elements;
mod opening;
mod stale_reads;
mod visibility;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use h5lake_container::{Container, NumberSource, ObjectId, Recoverability, Target, Together};
use h5lake_ledger::locks::Mutex;

use crate::error::{Error, Minor, Result};
use crate::hdf5::library::Hid;
use crate::hdf5::mpi::Processes;
use crate::names::Place;
use crate::session::pace::Pace;

pub use self::elements::Writing;
use self::opening::OpenedPlace;
use self::visibility::Visibility;

/// What the processes share that have a file open together.
#[derive(Debug)]
pub struct CollectiveFile {
    processes: Processes,
    /// Whether this process is in a call that all take part in.
    in_collective: AtomicBool,
    /// Whether all have heard within such a call that it failed.
    is_told: AtomicBool,
    /// When datasets that all made or resized are committed before a flush.
    structure: Mutex<Pace>,
    /// When elements that all wrote are committed before a flush.
    elements: Mutex<Pace>,
    /// When elements that this process wrote by itself are committed before a flush.
    own: Mutex<Pace>,
    /// What is known of elements that are not committed. All handles of the container share it.
    visibility: OnceLock<Arc<Visibility>>,
    /// Bytes that this process leaves to whoever has the file alone, from its last flush on.
    left_room: AtomicU64,
    /// The container, for who gives back what all have left.
    place: OnceLock<OpenedPlace>,
}

/// Told to all: something is not committed here.
const CHANGED: u32 = 1;
/// Told to all by the first process: there was time for a commit.
const DUE: u32 = 2;
/// Told to all: this process reads by itself what was written.
const READ: u32 = 4;
/// Told to all: this process has written what it did not commit.
const LEFT: u32 = 8;
/// Told to all: this process has read by itself.
const LOOKED: u32 = 16;
/// Told to all: a dataset has shrunk since the last commit.
const CUT: u32 = 32;
/// Told to all: the program has no file of the container open here, whose flush or close would commit what this call changes.
const ALONE: u32 = 64;
/// Told to all: this process writes when what others have left is committed.
const WAITS: u32 = 128;
/// Told to all: one box does not tell what this process wrote.
const SEVERAL: u32 = 256;
/// Told to all: a source of a virtual dataset that all read is not committed here.
const SOURCES: u32 = 512;

/// From this bit on each process tells why it would not take part in a collective transfer natively.
const CAUSES: u32 = 16;

/// Told alike by all who take numbers for new objects,
const NUMBERS: u16 = 1;
/// and by all who have made or resized an object, with the lowest bits of the next number.
const NEXT: u16 = 0x8000;

/// What is said in a process that has heard of another's failure before.
const FAILED: &str = "another process of the MPI program failed";

/// What all change of the structure in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectiveChange {
    /// An object is made.
    Made,
    /// A dataset is resized.
    Resized,
}

/// What all have told before they read together.
#[derive(Debug, Clone, Copy)]
pub struct BeforeRead(u32);

impl BeforeRead {
    /// Why processes would not take part natively.
    pub fn causes(self) -> u32 {
        self.0 >> CAUSES
    }

    /// Whether any process has something to commit to a source of a virtual dataset.
    pub fn has_changed_sources(self) -> bool {
        self.0 & SOURCES != 0
    }
}

/// What was done, and the panic that ended it: the others wait for a message all the same.
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
    /// Of the processes that open a file.
    pub fn new(processes: Processes) -> Arc<Self> {
        Arc::new(Self {
            processes,
            in_collective: AtomicBool::default(),
            is_told: AtomicBool::default(),
            structure: Mutex::default(),
            elements: Mutex::default(),
            own: Mutex::default(),
            visibility: OnceLock::new(),
            left_room: AtomicU64::default(),
            place: OnceLock::new(),
        })
    }

    /// Whether this process is the one whose changes of the structure stand for all.
    pub fn is_first(&self) -> bool {
        self.processes.rank() == 0
    }

    /// This process, as a container that all open knows it.
    pub fn part(&self) -> Together {
        Together { processes: self.processes.size(), rank: self.processes.rank() }
    }

    /// Does a part of what all do; if it fails in one, by a panic too, it fails in all. See [`Processes::agree`].
    ///
    /// # Errors
    /// If any process failed.
    pub fn agree<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let (done, panic) = outcome(catch_unwind(AssertUnwindSafe(body)));
        let told = self.processes.agree(done);
        panic.map_or(told, |panic| resume_unwind(panic))
    }

    /// As [`agree`](Self::agree) for what another part has done, as long as there is somebody to tell.
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

    /// Numbers for new objects, the same in all processes: the first one takes them. Collective, as making objects is.
    fn number(
        &self,
        count: u64,
        take: &dyn Fn(u64) -> h5lake_container::Result<u64>,
    ) -> h5lake_container::Result<u64> {
        let failed = |text: String| h5lake_container::Error::new(h5lake_container::ErrorKind::Io, text);
        if self.is_told.load(Ordering::Relaxed) {
            return Err(failed(FAILED.into()));
        }
        let take = || if self.is_first() { take(count).map_err(Error::from) } else { Ok(0) };
        let (taken, panic) = outcome(catch_unwind(AssertUnwindSafe(take)));
        let told = self.processes.exchange(taken, 0, NUMBERS);
        // Whose call has failed tells it in its last message, which the others get here: it has no other for them.
        self.is_told.store(told.is_err() && self.is_collective(), Ordering::Relaxed);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
        told.and_then(|(first, _)| self.processes.number_of_first(first)).map_err(|e| failed(e.to_string()))
    }

    /// Commits what all have written, and moves all to the version that has it. If what comes `before` it has failed in one,
    /// nothing is committed. Collective.
    ///
    /// # Errors
    /// If any process failed.
    pub fn flush(&self, container: &Container, before: Result<()>) -> Result<()> {
        // Only when all are here: one that comes later may look at the newest version before, and would then find there what
        // it has yet to make itself.
        self.tell(container, before, self.flags(container), 0)?;
        self.commit(container)
    }

    /// The same when all are known to be here, because each of them has just told something. Collective.
    fn commit(&self, container: &Container) -> Result<()> {
        let first = self.is_first();
        self.commit_aggregated(container, |is_made| {
            let begin = || match first {
                true => Ok(container.flush_for_all()?),
                // What the others encode, they encode meanwhile.
                false => {
                    let _it_fails_again_when_they_commit = container.prepare_flush();
                    Ok(())
                }
            };
            self.agree(|| begin().inspect(|()| *is_made = first))?;
            let end = || if first { Ok(()) } else { Ok(container.flush_elements()?) };
            self.agree(|| end().inspect(|()| *is_made = true))
        })?;
        self.agree(|| Ok(container.refresh()?))?;
        self.visibility().forget_committed();
        Ok(())
    }

    /// The same at a close, and what all processes then expect of another try. Collective.
    pub fn last_flush(&self, container: &Container, before: Result<()>) -> (Result<()>, Recoverability) {
        let done = self.flush(container, before);
        // It failed in all if it failed in one.
        if done.is_ok() {
            self.left_room.store(container.room_left_to_others(), Ordering::Relaxed);
            return (done, Recoverability::Open);
        }
        let lost = || if container.is_lost() { Err(Error::argument("lost")) } else { Ok(()) };
        let recoverability =
            if self.agree(lost).is_err() { Recoverability::Lost } else { Recoverability::Open };
        (done, recoverability)
    }

    /// What all make or resize in one call, also a process whose part fails: then it fails in all. Now and then, as [`Pace`] says,
    /// what was changed is committed, so that it is visible without a flush. Where the container `is_alone` in any process, it always
    /// is: no flush or close of a file would do it.
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
        let (done, told) = self.make_telling(container, kind, flags, body)?;
        let wanted = self.structure.lock().is_turn(told & READ != 0) || told & DUE != 0 || self.is_eager();
        let commits = (wanted && told & CHANGED != 0) || told & (CUT | ALONE) != 0 || self.is_atomic();
        if commits {
            let started = std::time::Instant::now();
            self.commit(container)?;
            self.structure.lock().took(started);
        }
        Ok(done)
    }

    /// What all make in a call that all take part in: if it fails in one, it fails in all. It is committed where the container
    /// `is_alone` in any process.
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
        let (done, told) = self.make_telling(container, CollectiveChange::Made, flags, body)?;
        self.commit_if_alone(container, told)?;
        Ok(done)
    }

    /// The end of a change that all have made by a path into the container from another file, and that came to `done` here: if it
    /// failed in one, it fails in all. It is committed where the container `is_alone` in any process. Collective.
    ///
    /// # Errors
    /// If any process failed.
    pub fn finish<T>(&self, container: &Container, is_alone: bool, done: Result<T>) -> Result<T> {
        let flags = self.flags(container) | flag(is_alone, ALONE);
        let (done, told) = self.tell(container, done, flags, 0)?;
        self.commit_if_alone(container, told)?;
        Ok(done)
    }

    fn commit_if_alone(&self, container: &Container, told: u32) -> Result<()> {
        if told & ALONE != 0 { self.commit(container) } else { Ok(()) }
    }

    fn make_telling<T>(
        self: &Arc<Self>,
        container: &Container,
        kind: CollectiveChange,
        flags: impl FnOnce() -> u32,
        body: impl FnOnce() -> Result<T>,
    ) -> Result<(T, u32)> {
        // Of those who opened the container together, these hear of a failure.
        container.number_together(self.numbers());
        self.is_told.store(false, Ordering::Relaxed);
        let (done, panic) = outcome(self.during(|| {
            if kind == CollectiveChange::Made {
                container.prepare_number()?;
            }
            body()
        }));
        let told = match self.is_told.swap(false, Ordering::Relaxed) {
            true => done.and_then(|_| Err(Error::new(Minor::CannotOperate, FAILED))),
            false => self.tell(container, done, flags(), NEXT | container.next_number() as u16),
        };
        if told.is_err() {
            // Some may have given a number to what others have not made.
            container.forget_numbers();
        }
        container.number_apart();
        panic.map_or(told, |panic| resume_unwind(panic))
    }

    /// Begins what all do with what was written: commits whatever any process has changed, and moves all to the version that has
    /// it. Without changes it costs one message. Collective.
    ///
    /// # Errors
    /// If any process failed.
    pub fn settle(&self, container: &Container) -> Result<()> {
        let told = self.tell_before_read(container, 0, false)?;
        self.settle_told(container, told)
    }

    /// The message of a collective read: what this process has to commit, and a `cause` of its own. `has_changed_sources` says whether
    /// that is so of a source in another file. Collective.
    ///
    /// # Errors
    /// Those of MPI.
    pub fn tell_before_read(
        &self,
        container: &Container,
        cause: u32,
        has_changed_sources: bool,
    ) -> Result<BeforeRead> {
        let flags = flag(has_changed_sources, SOURCES) | cause << CAUSES;
        let ((), told) = match container.writable() {
            true => self.tell(container, Ok(()), self.flags(container) | flags, 0)?,
            false => self.processes.exchange(Ok(()), flags, 0)?,
        };
        Ok(BeforeRead(told))
    }

    /// Then commits what any process has changed, and moves all to the version that has it. Collective.
    ///
    /// # Errors
    /// If any process failed; those of looking at what others have committed.
    pub fn settle_told(&self, container: &Container, told: BeforeRead) -> Result<()> {
        if !container.writable() {
            return Ok(());
        }
        self.elements.lock().was_read();
        match told.0 & CHANGED {
            0 => Ok(container.look_at_others()?),
            _ => self.commit(container),
        }
    }

    /// What is to be told of this process.
    fn flags(&self, container: &Container) -> u32 {
        let visibility = self.visibility();
        flag(container.has_changes(), CHANGED)
            | flag(!visibility.left.lock().is_empty(), LEFT)
            | flag(!visibility.looked.lock().is_empty(), LOOKED)
            | flag(container.has_cut(), CUT)
    }

    /// Talks to all others. If there is reason to, all find out whether anybody has read what another had not committed.
    fn tell<T>(&self, container: &Container, done: Result<T>, flags: u32, alike: u16) -> Result<(T, u32)> {
        let (done, told) = self.processes.exchange(done, flags, alike)?;
        self.heard(container, told)?;
        Ok((done, told))
    }

    fn is_eager(&self) -> bool {
        self.visibility().is_eager.load(Ordering::Relaxed)
    }

    /// Whether a transfer by this list is one that all take part in.
    ///
    /// # Errors
    /// If the library does not read the list.
    pub fn is_collective_transfer(&self, list: Hid) -> Result<bool> {
        self.processes.is_collective(list)
    }

    /// Runs a part of what all do.
    pub fn during<T>(&self, body: impl FnOnce() -> T) -> std::thread::Result<T> {
        self.in_collective.store(true, Ordering::Relaxed);
        let done = catch_unwind(AssertUnwindSafe(body));
        self.in_collective.store(false, Ordering::Relaxed);
        done
    }

    /// Says whether every write is to be seen by all at once.
    pub fn set_atomic(&self, atomic: bool) {
        self.visibility().atomic.store(atomic, Ordering::Relaxed);
    }

    /// Whether every write is seen by all at once.
    pub fn is_atomic(&self) -> bool {
        self.visibility().atomic.load(Ordering::Relaxed)
    }

    fn is_collective(&self) -> bool {
        self.in_collective.load(Ordering::Relaxed)
    }

    /// Whether there are others.
    pub fn has_others(&self) -> bool {
        self.processes.size() > 1
    }
}

fn flag(is_set: bool, flag: u32) -> u32 {
    if is_set { flag } else { 0 }
}

/// Refuses stores that other processes do not see.
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
