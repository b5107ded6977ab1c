//! The open sources of a virtual dataset.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use h5lake_ledger::locks::Mutex;
use nix::sys::resource::{Resource, getrlimit};

use crate::error::Result;
use crate::handles::open_objects::DatasetHandle;
use crate::session::Session;
use crate::session::registry;

/// The most source files that virtual datasets keep open, because of their memory.
const MOST_FILES: usize = 16_384;

/// The number of descriptors of a process with an unknown limit.
const LEAST_LIMIT: u64 = 256;

/// An odd multiplier that spreads consecutive numbers.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The number of source files that virtual datasets of this process keep open.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// Sources in containers that stay open with the virtual dataset.
#[derive(Default)]
pub struct Sources {
    open: Mutex<OpenSource>,
}

/// Open files and datasets, in an order that is the same in all processes of an MPI program, which commit files
/// together.
#[derive(Default)]
struct OpenSource {
    /// By the name that the mapping has.
    files: BTreeMap<Vec<u8>, KeptFile>,
    /// By the names of file and path.
    datasets: BTreeMap<(Vec<u8>, Vec<u8>), Arc<DatasetHandle>>,
    /// The number of files that were closed so that another file could be opened.
    evicted: u64,
}

impl OpenSource {
    /// Takes out a file with its datasets, so that another one can be opened. The choice is pseudorandom: programs
    /// that go through all sources again and again find most of them open, and so do programs that use a few.
    fn take_one(&mut self) -> Self {
        self.evicted += 1;
        let number = self.evicted.wrapping_mul(SPREAD) >> 32;
        let position = (number as usize).checked_rem(self.files.len()).unwrap_or_default();
        let mut taken = Self::default();
        let Some(name) = self.files.keys().nth(position).cloned() else { return taken };
        taken.files.extend(self.files.remove(&name).map(|file| (name.clone(), file)));
        let of_file =
            self.datasets.range((name.clone(), Vec::new())..).take_while(|((file, _), _)| *file == name);
        let keys: Vec<_> = of_file.map(|(key, _)| key.clone()).collect();
        taken.datasets.extend(keys.into_iter().filter_map(|key| self.datasets.remove_entry(&key)));
        taken
    }

    /// Closes all sources, see [`Sources::close`].
    fn close(self) -> Result<()> {
        let mut closed = Ok(());
        for source in self.datasets.into_values() {
            if let Some(source) = Arc::into_inner(source) {
                closed = closed.and(source.release());
            }
        }
        for file in self.files.into_values() {
            if let Err(error) = commit_alone(&file.session) {
                file.session.keep_unclosed(&error);
            }
        }
        closed
    }
}

/// A file that stays open, counted among the files of all virtual datasets.
struct KeptFile {
    session: Arc<Session>,
}

impl KeptFile {
    fn new(session: Arc<Session>) -> Self {
        KEPT.fetch_add(1, Ordering::Relaxed);
        Self { session }
    }
}

impl Drop for KeptFile {
    fn drop(&mut self) {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns the most files that virtual datasets of this process keep open: seven eighths of the process's limit of
/// descriptors.
fn most_files() -> usize {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((LEAST_LIMIT, LEAST_LIMIT));
    usize::try_from(soft - soft / 8).unwrap_or(usize::MAX).min(MOST_FILES)
}

impl Sources {
    /// Returns an open source.
    pub fn dataset(&self, key: &(Vec<u8>, Vec<u8>)) -> Option<Arc<DatasetHandle>> {
        self.open.lock().datasets.get(key).cloned()
    }

    /// Keeps a source open.
    pub fn keep_dataset(&self, key: (Vec<u8>, Vec<u8>), source: Arc<DatasetHandle>) {
        // The replaced source is closed after the lock has been released.
        let old = self.open.lock().datasets.insert(key, source);
        drop(old);
    }

    /// Returns an open file.
    pub fn file(&self, name: &[u8]) -> Option<Arc<Session>> {
        self.open.lock().files.get(name).map(|file| file.session.clone())
    }

    /// Keeps a file open. If virtual datasets keep too many files open, another one is closed first.
    ///
    /// # Errors
    /// As for [`Self::close`].
    pub fn keep_file(&self, name: &[u8], session: Arc<Session>) -> Result<()> {
        if KEPT.load(Ordering::Relaxed) >= most_files() {
            self.close_one()?;
        }
        let old = self.open.lock().files.insert(name.to_vec(), KeptFile::new(session));
        drop(old);
        Ok(())
    }

    /// Closes a file, so that another can be opened. Returns whether a file was open.
    ///
    /// # Errors
    /// As for [`Self::close`].
    pub fn close_one(&self) -> Result<bool> {
        let taken = self.open.lock().take_one();
        let is_one = !taken.files.is_empty();
        taken.close().map(|()| is_one)
    }

    /// Commits changes in files that the program does not have open for writing itself: none of its flushes would
    /// commit them.
    ///
    /// # Errors
    /// The errors of the commits.
    pub fn commit(&self) -> Result<()> {
        let files = self.sessions();
        // All files are tried: other processes wait in the files that they have open together with this process.
        let mut done = Ok(());
        for file in &files {
            done = done.and(commit_alone(file));
        }
        done
    }

    /// Commits elements that were written to such files. A write is not a collective call: if other processes have a
    /// file open together with this process, this process commits only its own elements.
    ///
    /// # Errors
    /// The errors of the commits.
    pub fn commit_own(&self) -> Result<()> {
        let files = self.sessions();
        files.iter().try_for_each(commit_own)
    }

    /// Returns the open files, and those of sources that are virtual themselves, in the same order in all processes.
    pub fn files(&self) -> Vec<Arc<Session>> {
        let open = self.open.lock();
        let mut files: Vec<_> = open.files.values().map(|file| file.session.clone()).collect();
        let datasets: Vec<_> = open.datasets.values().cloned().collect();
        drop(open);
        files.extend(datasets.iter().flat_map(|dataset| dataset.source_files()));
        files
    }

    /// Closes all sources, after committing their changes. Changes that cannot be committed are kept for another try,
    /// see [`Session::keep_unclosed`].
    ///
    /// # Errors
    /// The errors of encoding chunks.
    pub fn close(&self) -> Result<()> {
        let open = std::mem::take(&mut *self.open.lock());
        open.close()
    }

    fn sessions(&self) -> Vec<Arc<Session>> {
        self.open.lock().files.values().map(|file| file.session.clone()).collect()
    }
}

fn commit_alone(session: &Arc<Session>) -> Result<()> {
    if registry::has_writing_file(&session.container) { Ok(()) } else { session.commit(Ok(())) }
}

/// Commits like [`commit_alone`], but without the processes that have the file open together with this one: they do
/// not take part.
fn commit_own(session: &Arc<Session>) -> Result<()> {
    let Some(together) = session.sharers() else { return commit_alone(session) };
    let is_flushed = registry::has_writing_file(&session.container) || !session.container.has_changes();
    if is_flushed || session.is_inherited() { Ok(()) } else { together.commit_own(&session.container) }
}
