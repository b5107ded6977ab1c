//! Files that the processes of an MPI program open together (`H5Pset_fapl_mpio`).
//!
//! What changes a file's structure is collective in parallel HDF5: every process does it, in the same order. So each stages
//! the same changes with the same numbers for new objects, the first process commits them, and the others commit the
//! elements that they wrote. A failure of one is told to all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use h5lake_container::{Container, Outlook, Target};

use crate::error::{Error, Result};
use crate::ffi::handle::Handle;
use crate::ffi::mpi::Processes;
use crate::names::Place;
use crate::session::Session;

/// What the processes share that have a file open together.
#[derive(Debug)]
pub struct Together {
    processes: Processes,
    /// Whether every write is seen by all at once (`H5Fset_mpi_atomicity`).
    atomic: AtomicBool,
}

impl Together {
    /// Of the processes that open a file.
    pub fn new(processes: Processes) -> Arc<Self> {
        Arc::new(Self { processes, atomic: AtomicBool::new(false) })
    }

    /// Whether this process is the one whose changes of the structure stand for all.
    pub fn is_first(&self) -> bool {
        self.processes.rank() == 0
    }

    /// See [`Processes::agree`].
    ///
    /// # Errors
    /// If any process failed.
    pub fn agree<T>(&self, done: Result<T>) -> Result<T> {
        self.processes.agree(done)
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
                let made = self.agree(if self.is_first() { make().map(Some) } else { Ok(None) })?;
                self.agree(made.map_or_else(open, Ok))?
            }
            None => self.agree(open())?,
        };
        if container.writable() {
            let together = self.clone();
            container.number_together(Arc::new(move |count, take| together.number(count, take)));
        }
        Ok(container)
    }

    /// Numbers for new objects, the same in all processes: the first one takes them. Collective, as making objects is.
    fn number(
        &self,
        count: u64,
        take: &dyn Fn(u64) -> h5lake_container::Result<u64>,
    ) -> h5lake_container::Result<u64> {
        let taken = if self.is_first() { take(count).map_err(Error::from) } else { Ok(0) };
        let told = self.agree(taken).and_then(|first| self.processes.number_of_first(first));
        told.map_err(|error| h5lake_container::Error::new(h5lake_container::ErrorKind::Io, error.to_string()))
    }

    /// Commits what all have written, and moves all to the version that has it. Collective.
    ///
    /// # Errors
    /// If any process failed.
    pub fn flush(&self, container: &Container) -> Result<()> {
        let first = self.is_first();
        self.agree(if first { container.flush().map_err(Error::from) } else { Ok(()) })?;
        self.agree(if first { Ok(()) } else { container.flush_elements().map_err(Error::from) })?;
        self.agree(container.refresh().map_err(Error::from))?;
        Ok(())
    }

    /// The same at a close, and what all processes then expect of another try. Collective.
    pub fn last_flush(&self, container: &Container) -> (Result<()>, Outlook) {
        let done = self.flush(container);
        // It failed in all if it failed in one.
        if done.is_ok() {
            return (done, Outlook::Open);
        }
        let lost = if container.is_lost() { Err(Error::argument("lost")) } else { Ok(()) };
        let outlook = if self.agree(lost).is_err() { Outlook::Lost } else { Outlook::Open };
        (done, outlook)
    }

    fn is_atomic(&self) -> bool {
        self.atomic.load(Ordering::Relaxed)
    }
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

impl Session {
    /// Before elements are read in atomic mode: moves to what the others have written.
    ///
    /// # Errors
    /// Those of the container.
    pub fn before_read(&self) -> Result<()> {
        match &self.together {
            Some(together) if together.is_atomic() => self.container.refresh().map(drop).map_err(Error::from),
            _ => Ok(()),
        }
    }

    /// After elements were written in atomic mode: lets the others see them.
    ///
    /// # Errors
    /// Those of the container.
    pub fn after_write(&self) -> Result<()> {
        match &self.together {
            Some(together) if together.is_atomic() => Ok(self.container.commit_elements()?),
            _ => Ok(()),
        }
    }

    /// After a dataset was made or resized in atomic mode: elements of it can be written by each process from now on.
    /// Collective.
    ///
    /// # Errors
    /// If any process failed.
    pub fn after_change(&self) -> Result<()> {
        match &self.together {
            Some(together) if together.is_atomic() => together.flush(&self.container),
            _ => Ok(()),
        }
    }
}

/// `H5Fget_mpi_atomicity`.
///
/// # Errors
/// For a file that was not opened with MPI's driver.
pub fn atomicity(handle: &Handle) -> Result<bool> {
    Ok(of(&*handle.session()?)?.is_atomic())
}

/// `H5Fset_mpi_atomicity`. Collective; what was written before is seen by all when it returns.
///
/// # Errors
/// For a file that was not opened with MPI's driver; if any process failed.
pub fn set_atomicity(handle: &Handle, atomic: bool) -> Result<()> {
    let session = handle.session()?;
    let together = of(&session)?;
    if session.container.writable() {
        together.flush(&session.container)?;
    }
    together.atomic.store(atomic, Ordering::Relaxed);
    Ok(())
}

fn of(session: &Session) -> Result<&Arc<Together>> {
    session
        .together
        .as_ref()
        .ok_or_else(|| Error::argument("the file was not opened with the MPI file driver"))
}
