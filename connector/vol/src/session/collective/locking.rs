//! How the processes that write a file together lock it.
//!
//! Each process locks bytes of the file, like every writer in multi-writer mode. This protects the file only if the
//! processes see each other's locks. A file system may have no locks, or locks that other nodes do not see. So before
//! the file is opened, one process locks a small file beside it, and all other processes check that they see this
//! lock. If they do not, and the user permits to write without locks (`HDF5_USE_FILE_LOCKING=BEST_EFFORT` or `FALSE`), the processes use
//! lock files, which exclude each other but no other program.

use std::path::Path;

use h5lake_container::{Container, Target};
use h5lake_ledger::{LockFiles, LockPolicy, ProbeLock, SeenLock};

use super::{CollectiveFile, flag};
use crate::error::{Error, Minor, Result};

/// Sent to all processes: this process has the container open already.
const OPEN: u32 = 1;
/// Sent to all processes: this process does not write without locks.
const STRICT: u32 = 2;
/// Sent to all processes: this process takes no locks.
const OFF: u32 = 4;
/// Sent to all processes by the first process: it holds a lock.
const HELD: u32 = 8;
/// Sent to all processes by the first process: the file system has no locks.
const UNSUPPORTED: u32 = 16;

impl CollectiveFile {
    /// Returns the lock files that the processes use in place of locks.
    pub fn lock_files(&self) -> Option<LockFiles> {
        self.lock_files.get().cloned()
    }

    /// Decides how the processes lock a container that they are about to open for writing. Collective.
    ///
    /// # Errors
    /// If the processes do not see each other's locks, and one of them must not write without locks. If the folder of the
    /// container is not the same in all processes.
    pub fn agree_on_locks(&self, target: &Target, policy: Result<LockPolicy>) -> Result<()> {
        let Target::File(path) = target else { return Ok(()) };
        let open = Container::found_open(target).filter(|container| container.writable());
        let run_of_open = open.as_ref().and_then(|open| open.lock_files()).map_or(0, LockFiles::run);
        let drawn = if self.is_first() { with_error(LockFiles::draw_run()) } else { Ok(0) };
        let number = *drawn.as_ref().unwrap_or(&0);
        let policy = drawn.and(policy);
        let (policy, all_flags, runs) =
            self.processes.exchange_numbers(policy, flag(open.is_some(), OPEN), 0, number)?;
        if all_flags & OPEN != 0 {
            // Another process may have closed its last handle of the container already.
            let ((), _, runs) = self.processes.exchange_numbers(Ok(()), 0, 0, run_of_open)?;
            self.use_lock_files(path, runs.into_iter().max().filter(|run| *run != 0));
            return Ok(());
        }
        let run = runs[0];
        if self.need_lock_files(path, run, policy)? {
            self.use_lock_files(path, Some(run));
            self.agree(|| match (self.is_first(), self.lock_files.get()) {
                (true, Some(files)) => with_error(files.make()),
                _ => Ok(()),
            })?;
        }
        Ok(())
    }

    fn use_lock_files(&self, path: &Path, run: Option<u64>) {
        let rank = u32::try_from(self.processes.rank()).unwrap_or(u32::MAX);
        if let Some(run) = run {
            self.lock_files.get_or_init(|| LockFiles::beside(path, run, rank));
        }
    }

    /// Returns whether locks do not protect the processes from each other, and they may write nevertheless. Collective.
    fn need_lock_files(&self, path: &Path, run: u64, policy: LockPolicy) -> Result<bool> {
        let is_strict = matches!(policy, LockPolicy::Required | LockPolicy::RequiredToWrite);
        let is_off = policy == LockPolicy::Off;
        let probe = (self.is_first() && !is_off).then(|| ProbeLock::hold(path, run));
        let found = match &probe {
            Some(ProbeLock::Held(_)) => HELD,
            Some(ProbeLock::Unsupported) => UNSUPPORTED,
            Some(ProbeLock::Unknown) | None => 0,
        };
        let flags = found | flag(is_strict, STRICT) | flag(is_off, OFF);
        let ((), all_flags) = self.processes.exchange(Ok(()), flags, 0)?;
        if all_flags & OFF != 0 {
            return Ok(true);
        }
        if all_flags & UNSUPPORTED != 0 {
            // A process that must not write without locks reports that when it opens the container.
            return Ok(all_flags & STRICT == 0);
        }
        let is_seen = if all_flags & HELD == 0 || self.is_first() { Ok(true) } else { sees_lock(path, run) };
        self.decide(all_flags, is_seen)
    }

    /// Decides after each process has checked whether it sees the lock of the first process. Collective.
    fn decide(&self, all_flags: u32, is_seen: Result<bool>) -> Result<bool> {
        let is_unseen = matches!(is_seen, Ok(false));
        let numbers = self.processes.exchange_numbers(is_seen, 0, 0, u64::from(is_unseen));
        let (_, _, unseen) = numbers?;
        let Some(rank) = unseen.iter().position(|is_unseen| *is_unseen != 0) else { return Ok(false) };
        if all_flags & STRICT == 0 {
            return Ok(true);
        }
        let text = format!(
            "unable to open file: process {rank} of the MPI program does not see the file lock of process 0, because the file \
             system locks for each node alone (as Lustre with 'localflock'); mount it with 'flock', or, if no other program \
             writes the file, set HDF5_USE_FILE_LOCKING=BEST_EFFORT"
        );
        Err(Error::file(Minor::CannotOpenFile, text, Some(libc::ENOLCK)))
    }
}

fn with_error<T>(done: h5lake_ledger::Result<T>) -> Result<T> {
    done.map_err(h5lake_container::Error::from).map_err(Error::from)
}

/// Returns whether this process sees the lock of the first process.
fn sees_lock(path: &Path, run: u64) -> Result<bool> {
    match SeenLock::of(path, run) {
        SeenLock::Seen => Ok(true),
        SeenLock::Unseen => Ok(false),
        SeenLock::NoFile => {
            let text = format!(
                "unable to open file: name = '{}': this process does not see the files that process 0 makes in the folder, \
                 so the folder is not the same on all nodes; write to a file system that all nodes share",
                path.display()
            );
            Err(Error::file(Minor::CannotOpenFile, text, Some(libc::ENOENT)))
        }
    }
}
