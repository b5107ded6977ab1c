//! One opened file in one libhdf5.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use h5lake_container::{Access, CodecProvider, Container, Edition, ObjectId, Recoverability};
use h5lake_ledger::locks::Mutex;

use crate::background::Queue;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::hdf5::anchor::Anchor;
use crate::hdf5::exit;
use crate::hdf5::fork;
use crate::hdf5::id::{Id, KeptId};
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::located_types::Located;
use crate::names;
use crate::native::shadow_file::ShadowFile;
use crate::session::collective::CollectiveFile;

pub mod collective;
pub mod memory;
pub mod moves;
pub mod pace;
pub mod registry;
mod sharers;
pub mod tasks;
pub mod trace;
mod unclosed;
pub mod uncommitted;

/// One `H5Fopen` or `H5Fcreate`: the container it reached, and its shadow native file. It lives until the file and
/// every object opened through it are closed.
pub struct Session {
    /// The library the file was opened in.
    pub library: Library,
    /// The container.
    pub container: Arc<Container>,
    /// The processes that have the file open together, where MPI's driver was chosen.
    pub together: Option<Arc<CollectiveFile>>,
    /// The settings the file was opened with.
    pub config: Config,
    /// The name as the application gave it.
    pub name: Vec<u8>,
    /// The folder that contained the file when it was opened, see [`names::folder_of`].
    pub folder: Vec<u8>,
    /// The access list the file was opened with.
    pub access_list: KeptId,
    /// True if the application may write through this file (its `H5F_ACC_RDWR`).
    pub writable: bool,
    /// The single-writer-multiple-reader mode that was requested and is in effect now.
    pub swmr: Mutex<Swmr>,
    /// Identifiers of this file that are open.
    pub file_handles: AtomicUsize,
    /// Says whether the program or a link opened the file.
    pub opened_by: OpenedBy,
    /// True if the application has ever had an identifier of the file.
    pub is_applications: AtomicBool,
    /// A descriptor of the container's file, for an application that requested one. PyTables reads its number as a
    /// `uintptr_t`, which finds zero after it in native files: hence the second number.
    pub descriptor: OnceLock<(std::fs::File, Box<[i32; 2]>)>,
    /// The file image for which `H5Fget_file_image` has reported the size but not handed out the bytes yet, with the
    /// edition that the image shows.
    pub image: Mutex<Option<(Edition, Vec<u8>)>>,
    /// The files mounted on this one, and where it is mounted itself.
    pub mounts: Mounts,
    /// Links that were moved: names of open objects follow them.
    pub moves: Mutex<moves::Moves>,
    /// The native objects that answer for this session's objects.
    pub shadow: ShadowFile,
    /// Our connector in this library.
    pub connector: KeptId,
    /// The file pointer that libhdf5 sees for this session's objects.
    pub anchor: Anchor,
    handles: &'static dyn Handles,
    /// The process that opened the file: a forked child that closes it writes nothing.
    process: u32,
    failed_close: FailedClose,
    /// The queue of background work on the container, once any of the container's sessions may have such work.
    queue: OnceLock<Arc<Queue>>,
    /// Datasets of this session with filters that run in libhdf5.
    pub lent_codecs: AtomicUsize,
    /// Dropped last, after the container may have been freed.
    _memory: memory::GiveBack,
}

/// The single-writer-multiple-reader mode of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Swmr {
    /// Not requested.
    #[default]
    Off,
    /// Opened with `H5F_ACC_SWMR_WRITE`, or switched by `H5Fstart_swmr_write`.
    Write,
    /// Opened with `H5F_ACC_SWMR_READ`.
    Read,
}

/// How a file was opened. The value is the same in all processes that have the file open together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenedBy {
    /// The program, by `H5Fopen`, `H5Fcreate` or `H5Freopen`.
    Program,
    /// An external link or a virtual dataset that led to it.
    Link,
}

/// The functions that a session needs from higher layers, which know the handles that libhdf5 is given for objects.
pub trait Handles: Sync {
    /// Returns the file pointer that libhdf5 sees for the session's objects.
    fn anchor(&self, session: Weak<Session>) -> Anchor;

    /// Returns the file pointer to which datatypes in containers refer, in one library.
    fn anchor_of_types(&self, library: Library) -> &'static Anchor;

    /// Returns an identifier of an object of the session.
    ///
    /// # Errors
    /// If there is no such object, or it cannot be opened.
    fn identifier(&self, session: &Arc<Session>, id: ObjectId) -> Result<Id>;
}

/// The references between a file and the files mounted on it.
#[derive(Default)]
pub struct Mounts {
    /// Files mounted on groups of this one, in an order that is the same in all processes of an MPI program.
    pub children: Mutex<BTreeMap<ObjectId, Arc<Session>>>,
    /// The mount point of this file.
    pub parent: Mutex<Option<MountedOn>>,
}

/// A mount point.
#[derive(Clone)]
pub struct MountedOn {
    /// The session of its file.
    pub session: Weak<Session>,
    /// The group.
    pub group: ObjectId,
    /// The path by which the file was mounted, starting from the file at the bottom of the mounts.
    pub path: Option<bytes::Bytes>,
}

/// State that a failed close left behind.
struct FailedClose {
    /// Says whether uncommitted changes can still be committed, as the failed close reported it.
    reported: Mutex<Recoverability>,
    /// The reason why changes are lost, from the close that reports the loss until the next close releases the file.
    loss: Mutex<Option<String>>,
}

/// The parts of a new session.
pub struct SessionParts {
    /// See [`Session::library`].
    pub library: Library,
    /// Makes handles of the session's objects.
    pub handles: &'static dyn Handles,
    /// See [`Session::container`].
    pub container: Arc<Container>,
    /// See [`Session::together`].
    pub together: Option<Arc<CollectiveFile>>,
    /// See [`Session::config`].
    pub config: Config,
    /// See [`Session::name`].
    pub name: Vec<u8>,
    /// See [`Session::access_list`].
    pub access_list: Id,
    /// See [`Session::writable`].
    pub writable: bool,
    /// See [`Session::opened_by`].
    pub opened_by: OpenedBy,
    /// See [`Session::swmr`].
    pub swmr: Swmr,
}

impl Session {
    /// Starts a session.
    ///
    /// # Errors
    /// If the library cannot report its shutdown.
    pub fn start(parts: SessionParts) -> Result<Arc<Self>> {
        fork::watch();
        parts.library.tell_when_closing(registry::library_closes)?;
        let shadow = ShadowFile::new(parts.library, &parts.container);
        let connector = parts.library.connector_of(parts.access_list.get())?.kept();
        let session = Arc::new_cyclic(|weak| Self {
            library: parts.library,
            container: parts.container,
            together: parts.together,
            folder: names::folder_of(&parts.name, &parts.config),
            config: parts.config,
            name: parts.name,
            access_list: parts.access_list.kept(),
            writable: parts.writable,
            swmr: Mutex::new(parts.swmr),
            file_handles: AtomicUsize::new(0),
            opened_by: parts.opened_by,
            is_applications: AtomicBool::new(false),
            descriptor: OnceLock::new(),
            image: Mutex::default(),
            mounts: Mounts::default(),
            moves: Mutex::default(),
            shadow,
            connector,
            anchor: parts.handles.anchor(weak.clone()),
            handles: parts.handles,
            process: h5lake_ledger::process::id(),
            failed_close: FailedClose { reported: Mutex::new(Recoverability::Open), loss: Mutex::default() },
            queue: OnceLock::new(),
            lent_codecs: AtomicUsize::new(0),
            _memory: memory::GiveBack,
        });
        h5lake_container::report_losses_by(exit::report_loss);
        registry::add(&session);
        tasks::join(&session);
        let lender: Weak<dyn CodecProvider> = Arc::downgrade(&(session.clone() as Arc<dyn CodecProvider>));
        session.container.add_codec_lender(lender);
        Ok(session)
    }

    /// Returns a datatype as it is located in containers, given its encoding and the datatype in memory.
    ///
    /// # Errors
    /// If the library cannot make it.
    pub fn located_type(&self, encoded: &Bytes, memory: Hid) -> Result<Located> {
        self.library.located_type(
            self.handles.anchor_of_types(self.library),
            &self.connector,
            encoded,
            memory,
        )
    }

    /// Returns an identifier of an object, for libhdf5 or an application's callback. Dropping the returned value
    /// closes it.
    ///
    /// # Errors
    /// If there is no such object, or it cannot be opened.
    pub fn identifier(self: &Arc<Self>, id: ObjectId) -> Result<Id> {
        self.handles.identifier(self, id)
    }

    /// Returns the access for which the application opened this file.
    pub fn access(&self) -> Access {
        if self.writable { Access::ReadWrite } else { Access::ReadOnly }
    }

    /// Commits the staged changes, if this process may write the container at all and `before` is a success.
    /// Collective if processes have the file open together: a failure `before` in one process is reported to all
    /// processes.
    ///
    /// # Errors
    /// The error of `before`; the errors of the commit. Then the container contains none of the staged changes.
    pub fn commit(&self, before: Result<()>) -> Result<()> {
        let before = before.and(self.complete_and_tell());
        if !self.container.writable() || self.is_inherited() {
            return before;
        }
        let done = match &self.together {
            Some(together) => together.flush(&self.container, before),
            None => before.and_then(|()| Ok(self.container.flush()?)),
        };
        done.inspect(|()| unclosed::committed(&self.container))
    }

    /// Commits at a close. Changes that can never be committed are reported by the first close that encounters them.
    /// The next close, of any object that is still open, succeeds without them: libhdf5 keeps the identifier of an
    /// object that could not be closed, and a program would never get rid of it. When the library shuts down, the
    /// first try is the last one, and a failure is reported on stderr. Collective if processes have the file open
    /// together: a failure `before` in one process is reported to all processes.
    ///
    /// # Errors
    /// The error of `before`. The errors of the commit, as long as another try may succeed, and once if no try will.
    pub fn commit_to_close(&self, before: Result<()>) -> Result<()> {
        let before = before.and(self.complete_and_tell());
        let reported = *self.failed_close.reported.lock();
        if !self.container.writable() || self.is_inherited() {
            return before;
        }
        if reported == Recoverability::Lost {
            // Garbage collectors close objects that the program did not close, and ignore errors. A program that saw
            // the error closes again.
            let loss = self.failed_close.loss.lock().take();
            if let Some(why) = loss.filter(|_| !self.library.is_to_tell() && self.has_file_open()) {
                self.report_loss(&why);
            }
            return self.together.as_ref().map_or(before.clone(), |together| together.agree_if_any(before));
        }
        let (done, recoverability) = match &self.together {
            Some(together) => together.last_flush(&self.container, before),
            None => {
                before?;
                let done = self.container.flush_to_close();
                let recoverability = done
                    .as_ref()
                    .map_or_else(|e| self.container.recoverability(e), |()| Recoverability::Open);
                (done.map_err(Error::from), recoverability)
            }
        };
        if let Err(error) = &done
            && !self.library.is_to_tell()
        {
            self.report_loss(&error.to_string());
            self.container.abandon("its last changes could not be committed when the program ended");
            return Ok(());
        }
        if done.is_ok() {
            unclosed::committed(&self.container);
        }
        *self.failed_close.reported.lock() = recoverability;
        *self.failed_close.loss.lock() = done.as_ref().err().map(ToString::to_string);
        if recoverability == Recoverability::Lost
            && registry::sessions_on(&self.container).iter().all(|s| s.is_loss_reported())
        {
            self.container.let_go();
        }
        if reported != Recoverability::Open && recoverability == reported { Ok(()) } else { done }
    }

    /// Returns whether the application has an identifier of this file.
    pub fn has_file_open(&self) -> bool {
        self.file_handles.load(Ordering::Relaxed) > 0
    }

    /// Returns whether the file is mounted on a group of another file.
    pub fn is_mounted(&self) -> bool {
        self.mounts.parent.lock().is_some()
    }

    /// Reports on stderr, once for the container, that its uncommitted changes are lost because the library shuts
    /// down. The library would try a hundred times, and then end as if nothing were lost; between two tries no one
    /// could repair anything.
    fn report_loss(&self, why: &str) {
        for session in registry::sessions_on(&self.container) {
            *session.failed_close.reported.lock() = Recoverability::Lost;
            session.failed_close.loss.lock().take();
        }
        let name = String::from_utf8_lossy(&self.name);
        let version = self.container.committed_version();
        exit::report_loss(&format!(
            "the program ends, and what was changed in '{name}' since its last commit is lost. {} stays at version {version}. \
             The last try failed: {why}",
            self.container.name()
        ));
    }

    fn is_loss_reported(&self) -> bool {
        *self.failed_close.reported.lock() == Recoverability::Lost
    }

    /// Returns whether this process inherited the file through `fork` and did not open it itself.
    pub fn is_inherited(&self) -> bool {
        self.process != h5lake_ledger::process::id()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        registry::remove(self);
    }
}
