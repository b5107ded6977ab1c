//! Files that the processes of an MPI program open together (`H5Pset_fapl_mpio`).
//!
//! What changes a file's structure is collective in parallel HDF5: every process does it, in the same order. So each stages
//! the same changes with the same numbers for new objects, the first process commits them, and the others commit the
//! elements that they wrote. A failure of one is told to all.
//!
//! A transfer that all take part in, and a call that makes or resizes a dataset, tells all processes in one message each whether
//! it failed and who has something to commit. So a collective read first commits what any process has written.

mod elements;

use std::any::Any;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use h5lake_container::{Container, NumberSource, ObjectId, Options, Recoverability, Target, Together};
use h5lake_ledger::locks::Mutex;

use crate::error::{Error, Minor, Result};
use crate::hdf5::library::Hid;
use crate::hdf5::mpi::Processes;
use crate::names::Place;
use crate::session::pace::Pace;
use crate::session::trace::{self, Traces};
use crate::session::uncommitted::Uncommitted;

pub use self::elements::Writing;

/// What the processes share that have a file open together.
#[derive(Debug)]
pub struct CollectiveFile {
    processes: Processes,
    /// Whether every write is seen by all at once (`H5Fset_mpi_atomicity`).
    atomic: AtomicBool,
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
    /// The datasets that this process took part in writing: bit n for those whose number is n modulo 64.
    written: AtomicU64,
    /// Whether this process has read such a dataset by itself since the last message.
    has_read: AtomicBool,
    /// What this process wrote and did not commit.
    left: Mutex<Traces>,
    /// What this process read by itself since the last message.
    looked: Mutex<Traces>,
    /// What processes wrote and did not commit, as far as this one knows.
    uncommitted: Mutex<Uncommitted>,
    /// Whether a process read what another had left: from then on everything is committed at once.
    is_eager: AtomicBool,
    /// Bytes that this process leaves to whoever has the file alone, from its last flush on.
    left_room: AtomicU64,
    /// The container, for who gives back what all have left.
    place: OnceLock<OpenedPlace>,
}

/// Where a container is that processes write together, and how it was opened.
struct OpenedPlace {
    target: Target,
    options: Options,
}

impl std::fmt::Debug for OpenedPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenedPlace").finish_non_exhaustive()
    }
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
            atomic: AtomicBool::default(),
            in_collective: AtomicBool::default(),
            is_told: AtomicBool::default(),
            structure: Mutex::default(),
            elements: Mutex::default(),
            own: Mutex::default(),
            written: AtomicU64::default(),
            has_read: AtomicBool::default(),
            left: Mutex::default(),
            looked: Mutex::default(),
            uncommitted: Mutex::default(),
            is_eager: AtomicBool::default(),
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

    /// Opens a container in all processes: where `make` is given, the first one makes it, and the others then open it.
    /// Collective.
    ///
    /// # Errors
    /// If any process failed.
    pub fn open(
        self: &Arc<Self>,
        make: Option<&dyn Fn() -> Result<Arc<Container>>>,
        open: &dyn Fn() -> Result<Arc<Container>>,
    ) -> Result<Arc<Container>> {
        let container = match make {
            Some(make) => {
                let made = self.agree(|| if self.is_first() { make().map(Some) } else { Ok(None) })?;
                self.agree(|| made.map_or_else(open, Ok))?
            }
            None => self.agree(open)?,
        };
        if container.writable() {
            container.number_together(self.numbers());
            // One process may have given more of them than another, as long as it had the container alone.
            container.forget_numbers();
        }
        Ok(container)
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
        self.agree(|| if first { Ok(container.flush_for_all()?) } else { Ok(()) })?;
        self.agree(|| if first { Ok(()) } else { Ok(container.flush_elements()?) })?;
        self.agree(|| Ok(container.refresh()?))?;
        self.left.lock().clear();
        self.uncommitted.lock().clear();
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
                | flag(self.has_read.swap(false, Ordering::Relaxed), READ)
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
        panic.map_or(told, |panic| resume_unwind(panic))
    }

    /// Begins what all do with what was written: commits whatever any process has changed, and moves all to the version that has
    /// it. Without changes it costs one message. `cause` is told to all, and the answer has what anybody told. Collective.
    ///
    /// # Errors
    /// If any process failed.
    pub fn settle(&self, container: &Container, cause: u32) -> Result<u32> {
        let ((), told) = self.tell(container, Ok(()), self.flags(container) | cause << CAUSES, 0)?;
        self.elements.lock().was_read();
        match told & CHANGED {
            0 => container.look_at_others()?,
            _ => self.commit(container)?,
        }
        Ok(told >> CAUSES)
    }

    /// Tells all others a cause of this process; the answer has what anybody told. Collective.
    ///
    /// # Errors
    /// Those of MPI.
    pub fn tell_causes(&self, cause: u32) -> Result<u32> {
        self.processes.exchange(Ok(()), cause << CAUSES, 0).map(|((), told)| told >> CAUSES)
    }

    /// What is to be told of this process.
    fn flags(&self, container: &Container) -> u32 {
        flag(container.has_changes(), CHANGED)
            | flag(!self.left.lock().is_empty(), LEFT)
            | flag(!self.looked.lock().is_empty(), LOOKED)
            | flag(container.has_cut(), CUT)
    }

    /// Talks to all others. If there is reason to, all find out whether anybody has read what another had not committed.
    fn tell<T>(&self, container: &Container, done: Result<T>, flags: u32, alike: u16) -> Result<(T, u32)> {
        let (done, told) = self.processes.exchange(done, flags, alike)?;
        self.heard(container, told)?;
        Ok((done, told))
    }

    fn heard(&self, container: &Container, told: u32) -> Result<()> {
        if told & LEFT != 0 && told & LOOKED != 0 && !self.is_eager() {
            self.compare(container)?;
        }
        self.looked.lock().clear();
        Ok(())
    }

    /// Says it on stderr, once, if a process has read what another had written and not committed. From then on all commit at
    /// once: the program relies on it. Collective.
    fn compare(&self, container: &Container) -> Result<()> {
        let mine = [self.left.lock().encoded(), self.looked.lock().encoded()].concat();
        let all = self.processes.gather(&mine)?;
        let (of_each, _) = all.as_chunks::<{ 2 * trace::BYTES }>();
        let decoded = |part: &[u8]| Traces::decoded(part);
        let lefts: Vec<Traces> = of_each.iter().map(|each| decoded(&each[..trace::BYTES])).collect();
        let looks: Vec<Traces> = of_each.iter().map(|each| decoded(&each[trace::BYTES..])).collect();
        let found = looks.iter().enumerate().find_map(|(reader, looked)| {
            let is_it = |(writer, left): (usize, &Traces)| writer != reader && left.were_read(looked);
            lefts.iter().enumerate().position(is_it).map(|writer| (reader, writer))
        });
        let Some((reader, writer)) = found else { return Ok(()) };
        self.is_eager.store(true, Ordering::Relaxed);
        if reader == self.processes.rank() {
            warn_of_older(container.name(), reader, writer);
        }
        Ok(())
    }

    fn is_eager(&self) -> bool {
        self.is_eager.load(Ordering::Relaxed)
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

    /// Says where the container is that is being opened.
    pub fn set_place(&self, target: &Target, options: Options) {
        self.place.get_or_init(|| OpenedPlace { target: target.clone(), options });
    }

    /// Waits until all have closed the file: one of them may create it anew at once. If they left much room that nobody could
    /// give back while there were others, the first process does that now, and all wait for it. Collective.
    pub fn let_go(&self) {
        let mine = self.left_room.swap(0, Ordering::Relaxed).to_le_bytes();
        // The file is closed, whatever is said here.
        let Ok(all) = self.processes.gather(&mine) else { return };
        let left = all.as_chunks::<8>().0.iter().map(|left| u64::from_le_bytes(*left));
        let left = left.fold(0, u64::saturating_add);
        if left == 0 {
            return;
        }
        if self.is_first() {
            self.give_back(left);
        }
        self.agree(|| Ok(())).ok();
    }

    fn give_back(&self, left: u64) {
        let Some(OpenedPlace { target, options }) = self.place.get() else { return };
        // The others wait, whatever happens here.
        let done = catch_unwind(AssertUnwindSafe(|| Container::compact_left(target, options, left)));
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("dead room was not given back: {error}"),
            Err(_) => tracing::warn!("dead room was not given back: a panic"),
        }
    }

    /// Says whether every write is to be seen by all at once.
    pub fn set_atomic(&self, atomic: bool) {
        self.atomic.store(atomic, Ordering::Relaxed);
    }

    /// Whether every write is seen by all at once.
    pub fn is_atomic(&self) -> bool {
        self.atomic.load(Ordering::Relaxed)
    }

    fn is_collective(&self) -> bool {
        self.in_collective.load(Ordering::Relaxed)
    }

    /// Whether there are others.
    pub fn has_others(&self) -> bool {
        self.processes.size() > 1
    }
}

fn warn_of_older(name: &str, reader: usize, writer: usize) {
    let text = format!(
        "{name}: process {reader} of the MPI program has read by itself what process {writer} had written before and nobody had \
         committed. It may have got older elements. Before such reads let all processes call H5Fflush, or read collectively, or \
         set H5Fset_mpi_atomicity. From now on writes to this file are committed at once"
    );
    // A closed stderr is no reason to fail.
    writeln!(std::io::stderr(), "h5lake: {text}").ok();
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
