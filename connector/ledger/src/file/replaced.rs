//! Containers that were replaced or deleted, and stay for their retention time under a hidden name in the same folder.
//!
//! The [hidden name](hidden) contains the container's id and the end of its retention time. No other data is needed, and
//! the file itself is not changed.

mod exchange;
pub(super) mod hidden;
mod restoration;

pub(super) use exchange::{Leaving, swap_back, swap_in};
pub(crate) use restoration::restore;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_stores::open_regular;

use crate::error::{Error, ErrorKind, Result};
use crate::file::expired;
use crate::file::file_io::OsFile;
use crate::file::locks::Locks;
use crate::file::log;
use crate::file::open::{container, is_at, locked_for_good, name, not_ours, storage_clock, unchecked_head};
use crate::file::temporary::sync_folder;
use crate::hidden_names::folder;
use crate::options::{Options, Replaced, SyncPolicy, Writers};
use crate::paths::followed;
use crate::timekeeping::at_most;
use hidden::{Form, HiddenName};

/// The shortest retention of a damaged container, and of one that a restored container replaces.
const MIN_STAY: Duration = Duration::from_secs(86_400);

/// The kind of a file that was a container when an operation began, for the error text.
const CHANGED: &str = "a file that another program has changed meanwhile";

/// The id of a container that loses its name, and the time for which it is retained.
type Stay = ([u8; 16], Duration);

/// Returns whether an error says that a file is not a container with its data in the file.
fn is_of_another(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::NotAContainer { .. } | ErrorKind::WrongStorage { .. })
}

fn is_damage(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::Corrupt { .. })
}

/// Returns the time for which the container in a file is to be retained: the requested time, else the time in the container
/// itself. Returns `None` if neither is set, and for a file that is no container. A damaged container stays for a day at
/// least, because `h5lake repair` may recover its content.
///
/// # Errors
/// Read errors; `EarlierFormat` and `NewerFormat`, because the retention time of such a container is unknown. They are
/// no errors if the requested time is zero.
fn stay(file: &Arc<File>, asked: Option<Duration>, target: &str) -> Result<Option<Stay>> {
    if asked.is_some_and(|time| time.is_zero()) {
        return Ok(None);
    }
    let length = length_of(file, target)?;
    match container(file, length, target) {
        Ok(fixed) => Ok(retention(asked, file, fixed.base, target)?.map(|time| (fixed.id, time))),
        Err(e) if is_of_another(&e) => Ok(None),
        Err(e) if is_damage(&e) => {
            let (id, base) = unchecked_head(file, length).ok_or(e)?;
            let time = retention(asked, file, base, target)?;
            Ok(time.map(|time| (id, time.max(MIN_STAY))))
        }
        Err(e) => Err(e),
    }
}

fn retention(asked: Option<Duration>, file: &Arc<File>, base: u64, target: &str) -> Result<Option<Duration>> {
    if asked.is_some() {
        return Ok(asked);
    }
    match log::newest_slot(&OsFile::new(file.clone(), base), target) {
        Ok(slot) => Ok(slot.retention.checked_sub(1).filter(|ms| *ms > 0).map(Duration::from_millis)),
        // The unreadable slots may have set a retention time.
        Err(e) if is_damage(&e) => Ok(Some(MIN_STAY)),
        Err(e) => Err(e),
    }
}

fn length_of(file: &File, target: &str) -> Result<u64> {
    Ok(file.metadata().map_err(|e| Error::io(target, "identifying", &e))?.len())
}

/// Returns the id of the container that a file holds, damaged or not; `None` for a file of another kind.
pub(super) fn id_in(file: &File) -> Option<[u8; 16]> {
    let length = length_of(file, "").ok()?;
    match container(file, length, "") {
        Ok(fixed) => Some(fixed.id),
        Err(e) if is_damage(&e) => unchecked_head(file, length).map(|(found, _)| found),
        Err(_) => None,
    }
}

fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Describes the container in a file that is about to lose its name, if the container is to be retained. `now` returns the time in
/// microseconds; it is called only in this case.
pub(super) fn leaving(
    file: &Arc<File>,
    opts: &Options,
    now: impl FnOnce() -> u64,
    target: &str,
) -> Result<Option<Leaving>> {
    let Some((id, time)) = stay(file, opts.retention, target)? else { return Ok(None) };
    let meta = file.metadata().map_err(|e| Error::io(target, "identifying", &e))?;
    let until = now() / 1_000_000 + seconds(time);
    Ok(Some(Leaving { id, until, file: (meta.dev(), meta.ino()) }))
}

/// Returns the error for a container that should be retained and cannot be. It is neither replaced nor removed.
pub(super) fn cannot_stay(target: &str, e: &io::Error) -> Error {
    let what = format!(
        "cannot keep the container for its retention time, because it cannot get a hidden name in its folder: {e}; \
         allow that, or set retention=0s, which keeps nothing"
    );
    Error::new(target, ErrorKind::Io { errno: e.raw_os_error().or(Some(1)), what })
}

/// Returns the time of the newest version of a container's file; 0 if the file is no container.
pub(super) fn newest_time(file: &Arc<File>) -> u64 {
    let Ok(meta) = file.metadata() else { return 0 };
    let newest = container(file, meta.len(), "")
        .and_then(|fixed| log::newest_slot(&OsFile::new(file.clone(), fixed.base), ""));
    newest.map_or(0, |slot| slot.time)
}

/// Returns whether a container would have to be retained if it were replaced now, or if that is unknown.
pub(super) fn is_to_stay(file: &Arc<File>, opts: &Options) -> bool {
    !matches!(stay(file, opts.retention, ""), Ok(None))
}

/// Removes the hidden names that a killed replacement left for the file at a path. The file is locked. The folder is listed only
/// if the file has several names.
pub(super) fn forget(path: &Path, file: &File) {
    let Ok(meta) = file.metadata() else { return };
    if meta.nlink() < 2 {
        return;
    }
    let Ok(real) = followed(path) else { return };
    for (hidden, _) in hidden::all(&real).unwrap_or_default() {
        if is_at(&hidden, (meta.dev(), meta.ino())) {
            let _by_the_next = std::fs::remove_file(hidden);
        }
    }
}

/// Removes the replaced containers of a path that have passed their retention time.
pub(crate) fn sweep(path: &Path, now: u64) {
    for (hidden, name) in hidden::all(path).unwrap_or_default() {
        sweep_one(&hidden, &name, now);
    }
}

/// Removes a replaced container that has passed its retention time, or a file that a killed replacement left at least a day ago.
/// Any user can give a file any name, so a file that holds no container is not removed.
pub(super) fn sweep_one(hidden: &Path, name: &HiddenName, now: u64) {
    let opened = open_regular(hidden, File::options().read(true));
    let Some(id) = opened.ok().flatten().and_then(|(file, _)| id_in(&file)) else { return };
    if name.form == Form::Replacing && id != name.id {
        expired::sweep_leftover(hidden, now);
    } else if name.is_over(now) {
        let _by_the_next = std::fs::remove_file(hidden);
    }
}

/// Returns the retained containers of a path, ordered by the end of their retention time, the latest first.
pub(crate) fn list(path: &Path) -> Result<Vec<Replaced>> {
    let target = name(path);
    let fail = |e: io::Error| Error::io(&target, "listing replaced containers", &e);
    let real = followed(path).map_err(fail)?;
    let hidden = hidden::all(&real).map_err(fail)?;
    let mut files = HashSet::new();
    let mut listed: Vec<Replaced> =
        hidden.into_iter().filter_map(|(hidden, name)| describe(&real, hidden, name, &mut files)).collect();
    listed.sort_unstable_by_key(|r| std::cmp::Reverse((r.until, r.id)));
    Ok(listed)
}

/// Returns `None` for a file that holds no retained container, is the file at the path, or was described before.
fn describe(
    path: &Path,
    hidden: PathBuf,
    name: HiddenName,
    files: &mut HashSet<(u64, u64)>,
) -> Option<Replaced> {
    let (file, meta) = open_regular(&hidden, File::options().read(true)).ok()??;
    let file = Arc::new(file);
    let id = id_in(&file)?;
    let inode = (meta.dev(), meta.ino());
    if name.form == Form::Replacing && id != name.id || is_at(path, inode) || !files.insert(inode) {
        return None;
    }
    let newest = container(&file, meta.len(), "")
        .and_then(|fixed| log::newest_slot(&OsFile::new(file.clone(), fixed.base), ""));
    let (version, time) = newest.as_ref().map_or((0, 0), |slot| (slot.version, slot.time));
    Some(Replaced {
        name: name.kept(),
        path: hidden,
        id,
        // The file got its hidden name at this time.
        replaced: u64::try_from(meta.ctime()).unwrap_or(0).saturating_mul(1_000_000),
        until: name.until.saturating_mul(1_000_000),
        version,
        time,
        bytes: meta.len(),
        is_damaged: newest.is_err(),
    })
}

/// Removes the container at a path, or retains it under a hidden name.
pub(crate) fn retire(path: &Path, opts: &Options) -> Result<()> {
    let target = name(path);
    let fail = |e: io::Error| Error::io(&target, "removing", &e);
    // If the path is a symbolic link, only the link is removed.
    if path.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) {
        std::fs::remove_file(path).map_err(fail)?;
        return sync_name(path, opts, &target);
    }
    // A process without write permission may still remove the file, but cannot lock it.
    let Ok(file) = File::options().read(true).write(true).open(path).map(Arc::new) else {
        let file = Arc::new(File::open(path).map_err(fail)?);
        return remove_kept(path, &file, &options_to_remove(&file, opts, &target)?, &target);
    };
    let opts = &options_to_remove(&file, opts, &target)?;
    let Some(guard) = lock_to_replace(&file, opts, &target)? else {
        return Err(not_ours(&target, CHANGED));
    };
    let done = remove_kept(path, &file, opts, &target);
    guard.release_writer();
    done
}

/// Returns the options for removing a file. A container of an earlier format is removed at once, because this build cannot read its
/// retention time, nor restore it.
fn options_to_remove(file: &Arc<File>, opts: &Options, target: &str) -> Result<Options> {
    let found = container(file, length_of(file, target)?, target);
    let is_earlier = found.is_err_and(|e| matches!(e.kind(), ErrorKind::EarlierFormat { .. }));
    match opts.retention {
        Some(time) if is_earlier && !time.is_zero() => Err(Error::invalid(
            target,
            "cannot retain a container of an earlier format; set retention=0s to remove it at once",
        )),
        None if is_earlier => Ok(Options { retention: Some(Duration::ZERO), ..opts.clone() }),
        _ => Ok(opts.clone()),
    }
}

/// Removes the name of a container's file. If the container is to be retained, it gets a hidden name.
fn remove_kept(path: &Path, file: &Arc<File>, opts: &Options, target: &str) -> Result<()> {
    let fail = |e: io::Error| Error::io(target, "removing", &e);
    let meta = file.metadata().map_err(fail)?;
    forget(path, file);
    let is_gone = match leaving(file, opts, || storage_now(path), target)? {
        Some(leaving) => leaving.hide(path).map_err(|e| cannot_stay(target, &e))?,
        None if is_at(path, (meta.dev(), meta.ino())) => {
            std::fs::remove_file(path).map_err(fail)?;
            true
        }
        None => false,
    };
    // Otherwise another process has put another file there.
    if is_gone { sync_name(path, opts, target) } else { Ok(()) }
}

/// Syncs the folder of a name, if commits are synced.
fn sync_name(path: &Path, opts: &Options, target: &str) -> Result<()> {
    if opts.sync == SyncPolicy::Process {
        return Ok(());
    }
    let what = "syncing the folder; after a loss of power the name may lead to what it led to before";
    sync_folder(path).map_err(|e| Error::io(target, what, &e))
}

/// Locks a container, damaged or not, that is about to lose its name. Returns an error if a writer has it open, and `None`
/// if it is no container.
fn lock_to_replace(file: &Arc<File>, opts: &Options, target: &str) -> Result<Option<Locks>> {
    let length = length_of(file, target)?;
    let base = match container(file, length, target) {
        Ok(fixed) => fixed.base,
        Err(e) if is_of_another(&e) => return Ok(None),
        Err(e) if is_damage(&e) => unchecked_head(file, length).map_or(0, |(_, base)| base),
        // With a requested retention time of zero, the kind of the file does not matter.
        Err(_) if opts.retention.is_some_and(|time| time.is_zero()) => 0,
        Err(e) => return Err(e),
    };
    let guard = Locks::writer(file, opts.lock, Writers::One, target)?;
    let raw = OsFile::new(file.clone(), base);
    guard.map(Some).ok_or_else(|| locked_for_good(target, file, &raw))
}

/// The number of attempts if the path leads to another file by the time the file is locked.
const MAX_ATTEMPTS: u32 = 100;

/// A container with a name that is about to lead to another file, such as the pointer file of a container in a store. No writer can open
/// the container meanwhile. Unless [`done`](Self::done) is called, the name continues to lead to the container.
#[derive(Debug)]
pub struct Replacing {
    real: PathBuf,
    file: Arc<File>,
    guard: Locks,
    /// The hidden name of the container in addition to its own.
    hidden: Option<PathBuf>,
}

impl Replacing {
    /// Records that the name leads to something else now.
    pub fn done(mut self) {
        if self.hidden.take().is_some() {
            sweep(&self.real, at_most(storage_now(&self.real), newest_time(&self.file)));
        }
    }
}

impl Drop for Replacing {
    fn drop(&mut self) {
        if let Some(hidden) = &self.hidden {
            let _forgotten_by_the_next_writer = std::fs::remove_file(hidden);
        }
        self.guard.release_writer();
    }
}

/// Retains the container at a path, if there is one, before its name leads to something else; see
/// [`Ledger::replacing_file`](crate::Ledger::replacing_file).
pub(crate) fn begin(path: &Path, opts: &Options) -> Result<Option<Replacing>> {
    let target = name(path);
    let fail = |e: io::Error| Error::io(&target, "replacing", &e);
    let real = followed(path).map_err(fail)?;
    for _ in 0..MAX_ATTEMPTS {
        let file = match File::options().read(true).write(true).open(&real) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => Arc::new(other.map_err(fail)?),
        };
        let meta = file.metadata().map_err(fail)?;
        let Some(guard) = lock_to_replace(&file, opts, &target)? else { return Ok(None) };
        let mut replacing = Replacing { real: real.clone(), file, guard, hidden: None };
        if !is_at(&real, (meta.dev(), meta.ino())) {
            continue;
        }
        forget(&real, &replacing.file);
        let Some(leaving) = leaving(&replacing.file, opts, || storage_now(&real), &target)? else {
            return Ok(Some(replacing));
        };
        replacing.hidden = leaving.link(&real).map_err(|e| cannot_stay(&target, &e))?;
        if replacing.hidden.is_some() {
            return Ok(Some(replacing));
        }
    }
    Err(Error::new(&target, ErrorKind::locked(None)))
}

/// Returns the time for hidden names and for sweeping, from a file that is created just now. The modification time of the
/// container's file can be set by its owner, and may be in the future.
fn storage_now(real: &Path) -> u64 {
    let made = tempfile::tempfile_in(folder(real));
    made.map(|file| storage_clock(&OsFile::new(Arc::new(file), 0))).unwrap_or_default().now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::file::expired;
    use crate::options::{KeptName, LockPolicy, Replace};
    use crate::{Access, Ledger};

    fn opts(retention: Option<u64>) -> Options {
        Options { retention: retention.map(Duration::from_secs), ..Options::default() }
    }

    fn make(path: &Path, value: &'static str, o: &Options) -> [u8; 16] {
        let l = Ledger::create_file(path, Replace::Atomically, o.clone()).unwrap();
        l.put(b"k", value).unwrap();
        l.commit().unwrap();
        let id = l.identity().id;
        l.close().unwrap();
        id
    }

    fn value(path: &Path) -> String {
        let l = Ledger::open_file(path, Access::ReadOnly, Options::default()).unwrap();
        String::from_utf8(l.get(b"k").unwrap().unwrap().to_vec()).unwrap()
    }

    /// Returns the name of the retained container with an id.
    fn kept(path: &Path, id: &[u8; 16]) -> KeptName {
        list(path).unwrap().iter().find(|found| found.id == *id).unwrap().name
    }

    fn ids(path: &Path) -> Vec<[u8; 16]> {
        list(path).unwrap().into_iter().map(|r| r.id).collect()
    }

    #[test]
    fn replaced_and_deleted_containers_can_be_restored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        // The container has the retention time that its writer set.
        let first = make(&path, "first", &opts(Some(100)));
        let second = make(&path, "second", &opts(None));
        let [replaced] = &list(&path).unwrap()[..] else { panic!("one was replaced") };
        assert_eq!((replaced.id, replaced.version), (first, 1));
        let left = (replaced.until / 1_000_000).abs_diff(clock::now() / 1_000_000);
        assert!((95..=101).contains(&left), "{left}");
        restore(&path, &kept(&path, &first), Replace::Fail, &opts(None)).unwrap_err();
        assert_eq!(value(&path), "second");
        restore(&path, &kept(&path, &first), Replace::Atomically, &opts(None)).unwrap();
        assert_eq!((value(&path), ids(&path)), ("first".into(), vec![second]));
        Ledger::remove_file(&path, &opts(None)).unwrap();
        assert!(!path.exists() && ids(&path).contains(&first));
        restore(&path, &kept(&path, &first), Replace::Fail, &opts(None)).unwrap();
        assert_eq!(value(&path), "first");
        let missing =
            restore(&path, &KeptName { id: [7; 16], until: Some(1) }, Replace::Atomically, &opts(None))
                .unwrap_err();
        assert_eq!(*missing.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_container_that_loses_its_name_to_another_file_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        assert!(begin(&path, &opts(None)).unwrap().is_none());
        std::fs::write(&path, "no container").unwrap();
        assert!(begin(&path, &opts(Some(50))).unwrap().is_none());
        std::fs::remove_file(&path).unwrap();
        let first = make(&path, "first", &opts(None));
        begin(&path, &opts(None)).unwrap().unwrap().done();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nobody asked for a time");
        drop(begin(&path, &opts(Some(50))).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "it was not replaced");
        let open = Ledger::open_file(&path, Access::ReadWrite, Options::default()).unwrap();
        let refused = begin(&path, &opts(Some(50))).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::Locked { .. }), "{refused}");
        drop(open);
        let replacing = begin(&path, &opts(Some(50))).unwrap().unwrap();
        let refused = Ledger::open_file(&path, Access::ReadWrite, Options::default()).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::Locked { .. }), "{refused}");
        std::fs::write(dir.path().join("new"), "something else").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        replacing.done();
        assert_eq!(ids(&path), [first]);
        std::fs::remove_file(&path).unwrap();
        restore(&path, &kept(&path, &first), Replace::Fail, &opts(None)).unwrap();
        assert_eq!(value(&path), "first");
    }

    #[test]
    fn a_replaced_container_is_kept_for_its_retention_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        make(&path, "first", &opts(None));
        make(&path, "second", &opts(Some(0)));
        make(&path, "third", &opts(None));
        assert!(ids(&path).is_empty(), "nobody asked for a time");
        make(&path, "fourth", &opts(Some(50)));
        assert_eq!(ids(&path).len(), 1);
        sweep(&path, clock::now());
        assert_eq!(ids(&path).len(), 1);
        sweep(&path, clock::now() + 60_000_000);
        assert!(ids(&path).is_empty());
        Ledger::remove_file(&path, &opts(Some(0))).unwrap();
        assert!(ids(&path).is_empty());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    /// The clocks of the machine and of the file system are wrong; the time of the replaced container shows that.
    #[test]
    fn a_clock_that_is_ahead_removes_nothing_that_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let first = make(&path, "first", &opts(Some(86_400)));
        let second = make(&path, "second", &opts(None));
        let file = Arc::new(File::open(&path).unwrap());
        let ahead = clock::now() + 3650 * 86_400_000_000;
        sweep(&path, at_most(ahead, newest_time(&file)));
        let newest = || newest_time(&file);
        expired::sweep_at(&path, ahead, newest);
        assert_eq!(ids(&path), [first]);
        assert_ne!(first, second);
        sweep(&path, ahead);
        assert!(ids(&path).is_empty());
    }

    /// A copy with the same id, which is replaced in the same second.
    #[test]
    fn containers_with_one_id_are_kept_under_names_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("a.h5"), dir.path().join("copy"));
        let first = make(&path, "first", &opts(Some(50)));
        std::fs::copy(&path, &copy).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        let now = clock::now();
        let leaving = leaving(&file, &opts(None), || now, "x").unwrap().unwrap();
        std::fs::rename(&copy, &path).unwrap();
        assert!(!leaving.hide(&path).unwrap(), "another file has the name");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(value(&path), "first");
        std::fs::copy(&path, &copy).unwrap();
        let change = |value: &'static str| {
            let l = Ledger::open_file(&path, Access::ReadWrite, Options::default()).unwrap();
            l.put(b"k", value).unwrap();
            l.commit().unwrap();
            l.close().unwrap();
        };
        change("second");
        make(&path, "third", &opts(None));
        std::fs::rename(&copy, &path).unwrap();
        change("fourth");
        Ledger::remove_file(&path, &opts(None)).unwrap();
        assert_eq!(ids(&path), [first, first]);
        let names: Vec<_> = list(&path).unwrap().iter().map(|found| found.name).collect();
        assert_ne!(names[0], names[1]);
        let mut values: Vec<_> = names
            .iter()
            .map(|name| {
                restore(&path, name, Replace::Atomically, &opts(None)).unwrap();
                value(&path)
            })
            .collect();
        values.sort();
        assert_eq!(values, ["fourth", "second"]);
    }

    #[test]
    fn a_container_that_a_writer_has_open_is_not_removed() {
        for (lock, writers) in [(LockPolicy::BestEffort, Writers::One), (LockPolicy::Required, Writers::Many)]
        {
            for retention in [None, Some(50)] {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("a.h5");
                make(&path, "first", &opts(None));
                let o = Options { lock, writers, ..opts(retention) };
                let open = Ledger::open_file(&path, Access::ReadWrite, o).unwrap();
                let refused = Ledger::remove_file(&path, &opts(retention)).unwrap_err();
                assert!(matches!(refused.kind(), ErrorKind::Locked { .. }), "{refused}");
                open.put(b"k", "second").unwrap();
                open.commit().unwrap();
                open.close().unwrap();
                assert_eq!((value(&path), ids(&path).len()), ("second".into(), 0));
                let read = Ledger::open_file(&path, Access::ReadOnly, Options::default()).unwrap();
                Ledger::remove_file(&path, &opts(retention)).unwrap();
                assert_eq!(&read.get(b"k").unwrap().unwrap()[..], b"second");
            }
        }
    }

    #[test]
    fn a_restore_replaces_nothing_that_a_writer_has_open() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let first = make(&path, "first", &opts(Some(50)));
        make(&path, "second", &opts(Some(50)));
        let open = Ledger::open_file(&path, Access::ReadWrite, Options::default()).unwrap();
        let refused = restore(&path, &kept(&path, &first), Replace::Atomically, &opts(None)).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::Locked { .. }), "{refused}");
        drop(open);
        std::fs::write(&path, "no container").unwrap();
        let refused = restore(&path, &kept(&path, &first), Replace::Atomically, &opts(None)).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::NotAContainer { .. }), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), b"no container");
    }
}
