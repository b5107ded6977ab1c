//! Containers that were replaced or deleted, and stay for their retention time under a hidden name in the same folder.
//!
//! The name tells the container's id and until when it stays: `.NAME.h5lake-replaced-<id>-<seconds since 1970>`, both
//! hexadecimal. Nothing else has to be stored, and the file itself is not touched.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_stores::open_regular;

use crate::clock;
use crate::codec::hex;
use crate::error::{Error, ErrorKind, Result};
use crate::file::file_io::OsFile;
use crate::file::locks::Locks;
use crate::file::log;
use crate::file::open::{container, is_at, locked, name, not_ours, storage_clock, unchecked_head};
use crate::file::temporary::{folder, rename_new, sibling, sibling_prefix, sync_folder};
use crate::options::{Options, Replace, Replaced, SyncPolicy, Writers};
use crate::paths::followed;
use crate::timekeeping::at_most;

const MARK: &[u8] = b"replaced-";
/// How long a container stays at least that is damaged, or that a restored one replaces.
const MIN_STAY: Duration = Duration::from_secs(86_400);

fn hidden_name(path: &Path, id: &[u8; 16], until: u64) -> PathBuf {
    sibling(path, &format!("replaced-{}-{until:x}", hex(id)))
}

/// The id and the end of the retention time, in seconds since 1970, of what a hidden name says behind its prefix.
pub(super) fn parse(text: &[u8]) -> Option<([u8; 16], u64)> {
    let text = std::str::from_utf8(text.strip_prefix(MARK)?).ok()?;
    let (id, until) = text.split_once('-')?;
    let id = u128::from_str_radix(id, 16).ok().filter(|_| id.len() == 32)?;
    Some((id.to_be_bytes(), u64::from_str_radix(until, 16).ok()?))
}

/// What a container is to stay by and for how long, if it loses its name.
type Stay = ([u8; 16], Duration);

/// Whether an error says that a file holds something else than a container with its objects in it.
fn is_of_another(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::NotAContainer { .. } | ErrorKind::WrongStorage { .. })
}

fn is_damage(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::Corrupt { .. })
}

/// For how long what a file holds is to stay: what was asked for now, else what the container says itself. `None` where nobody asked
/// for a time, and for what is no container. A damaged one stays for a day at least: `h5lake repair` may bring back what it holds.
///
/// # Errors
/// Those of reading; `NewerFormat`, unless no time is asked for: nobody can tell what such a container says.
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
        // It may have said so.
        Err(e) if is_damage(&e) => Ok(Some(MIN_STAY)),
        Err(e) => Err(e),
    }
}

fn length_of(file: &File, target: &str) -> Result<u64> {
    Ok(file.metadata().map_err(|e| Error::io(target, "identifying", &e))?.len())
}

/// Whether a file holds the container with an id, damaged or not.
pub(super) fn holds(file: &File, id: &[u8; 16]) -> bool {
    let Ok(length) = length_of(file, "") else { return false };
    match container(file, length, "") {
        Ok(fixed) => fixed.id == *id,
        Err(e) => is_damage(&e) && unchecked_head(file, length).is_some_and(|(found, _)| found == *id),
    }
}

fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// Gives the container under a name a hidden name, too, if it is to stay. Whether it is. Then `now` is asked, in microseconds.
pub(super) fn keep(
    real: &Path,
    file: &Arc<File>,
    opts: &Options,
    now: impl FnOnce() -> u64,
    target: &str,
) -> Result<bool> {
    let Some((id, time)) = stay(file, opts.retention, target)? else { return Ok(false) };
    let until = now() / 1_000_000 + seconds(time);
    link_hidden(real, file, &id, until).map(|()| true).map_err(|e| cannot_stay(target, &e))
}

/// The error for a container that is to stay for its retention time, and cannot. It is neither replaced nor removed.
pub(super) fn cannot_stay(target: &str, e: &dyn std::fmt::Display) -> Error {
    let what = format!(
        "the container is to stay for its retention time, which needs a hard link in its folder: {e}; \
         with retention=0s it does not stay"
    );
    Error::new(target, ErrorKind::Io { errno: Some(1), what })
}

/// A copy of a container has its id, and so may have its hidden name in the same second.
const MAX_NAMESAKES: u64 = 1000;

/// Gives the file a hidden name that says `until`, or a little later.
fn link_hidden(real: &Path, file: &File, id: &[u8; 16], until: u64) -> io::Result<()> {
    let meta = file.metadata()?;
    for later in 0..MAX_NAMESAKES {
        let hidden = hidden_name(real, id, until + later);
        let linked = std::fs::hard_link(real, &hidden);
        let is_taken = linked.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::AlreadyExists);
        if (linked.is_ok() || is_taken) && is_at(&hidden, (meta.dev(), meta.ino())) {
            return Ok(());
        }
        if !is_taken {
            // Another file has the name by now: nothing of that one is to be kept.
            linked.and_then(|()| std::fs::remove_file(&hidden))?;
            return Err(io::ErrorKind::NotFound.into());
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// The time of the newest version of a container's file; 0 for what is none.
pub(super) fn newest_time(file: &Arc<File>) -> u64 {
    let Ok(meta) = file.metadata() else { return 0 };
    let newest = container(file, meta.len(), "")
        .and_then(|fixed| log::newest_slot(&OsFile::new(file.clone(), fixed.base), ""));
    newest.map_or(0, |slot| slot.time)
}

/// Whether a container would have to stay for a time if it were replaced now, as far as anybody can tell.
pub(super) fn is_to_stay(file: &Arc<File>, opts: &Options) -> bool {
    !matches!(stay(file, opts.retention, ""), Ok(None))
}

/// Takes back what [`keep`] did: the container keeps its own name.
pub(super) fn forget(real: &Path) {
    let Ok(meta) = real.metadata() else { return };
    for (hidden, ..) in hidden_names(real).unwrap_or_default() {
        if is_at(&hidden, (meta.dev(), meta.ino())) {
            let _swept_later = std::fs::remove_file(hidden);
        }
    }
}

/// Removes the hidden names whose time is over.
pub(crate) fn sweep(path: &Path, now: u64) {
    for (hidden, _, until) in hidden_names(path).unwrap_or_default() {
        if until.saturating_mul(1_000_000) <= now {
            let _by_the_next = std::fs::remove_file(hidden);
        }
    }
}

type Hidden = (PathBuf, [u8; 16], u64);

fn hidden_names(path: &Path) -> io::Result<Vec<Hidden>> {
    let prefix = sibling_prefix(path);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder(path))? {
        let entry = entry?;
        let name = entry.file_name();
        let said = name.as_bytes().strip_prefix(prefix.as_bytes()).and_then(parse);
        if let Some((id, until)) = said {
            found.push((entry.path(), id, until));
        }
    }
    Ok(found)
}

/// What the containers that the path led to before have to say.
pub(crate) fn list(path: &Path) -> Result<Vec<Replaced>> {
    let target = name(path);
    let fail = |e: io::Error| Error::io(&target, "listing replaced containers", &e);
    let real = followed(path).map_err(fail)?;
    let hidden = hidden_names(&real).map_err(fail)?;
    let mut listed: Vec<Replaced> = hidden.into_iter().filter_map(|h| describe(&real, h)).collect();
    listed.sort_unstable_by_key(|r| std::cmp::Reverse((r.until, r.id)));
    Ok(listed)
}

/// `None` for what is none any more, or is the container that has the name.
fn describe(path: &Path, (hidden, id, until): Hidden) -> Option<Replaced> {
    let (file, meta) = open_regular(&hidden, File::options().read(true)).ok()??;
    let file = Arc::new(Some(file).filter(|file| holds(file, &id))?);
    if is_at(path, (meta.dev(), meta.ino())) {
        return None;
    }
    let newest = container(&file, meta.len(), "")
        .and_then(|fixed| log::newest_slot(&OsFile::new(file.clone(), fixed.base), ""));
    let (version, time) = newest.as_ref().map_or((0, 0), |slot| (slot.version, slot.time));
    Some(Replaced {
        id,
        // Since then it has one name less.
        replaced: u64::try_from(meta.ctime()).unwrap_or(0).saturating_mul(1_000_000),
        until: until.saturating_mul(1_000_000),
        version,
        time,
        bytes: meta.len(),
        is_damaged: newest.is_err(),
    })
}

/// Removes the container at a path, or lets it stay under a hidden name.
pub(crate) fn retire(path: &Path, opts: &Options) -> Result<()> {
    let target = name(path);
    let fail = |e: io::Error| Error::io(&target, "removing", &e);
    // Of a symbolic link the container stays.
    if path.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) {
        std::fs::remove_file(path).map_err(fail)?;
        return sync_name(path, opts, &target);
    }
    // Who may not write the file may remove it all the same, and cannot lock it.
    let Ok(file) = File::options().read(true).write(true).open(path).map(Arc::new) else {
        return remove_kept(path, &Arc::new(File::open(path).map_err(fail)?), opts, &target);
    };
    let Some(guard) = lock_to_replace(&file, opts, &target)? else {
        return Err(not_ours(&target, "no container any more"));
    };
    let done = remove_kept(path, &file, opts, &target);
    guard.release_writer();
    done
}

/// Removes the name of a container's file, which stays under a hidden one if it is to.
fn remove_kept(path: &Path, file: &Arc<File>, opts: &Options, target: &str) -> Result<()> {
    let fail = |e: io::Error| Error::io(target, "removing", &e);
    let meta = file.metadata().map_err(fail)?;
    keep(path, file, opts, || storage_now(path), target)?;
    // Else somebody has put another one there.
    if !is_at(path, (meta.dev(), meta.ino())) {
        return Ok(());
    }
    std::fs::remove_file(path).map_err(fail)?;
    sync_name(path, opts, target)
}

/// Makes it durable what a name leads to, where commits are.
fn sync_name(path: &Path, opts: &Options, target: &str) -> Result<()> {
    if opts.sync == SyncPolicy::Process {
        return Ok(());
    }
    let what = "syncing the folder; after a loss of power the name may lead to what it led to before";
    sync_folder(path).map_err(|e| Error::io(target, what, &e))
}

/// Keeps writers away from a container, damaged or not, that is about to lose its name; an error if one has it open. `None` if it is
/// no container.
fn lock_to_replace(file: &Arc<File>, opts: &Options, target: &str) -> Result<Option<Locks>> {
    let length = length_of(file, target)?;
    let base = match container(file, length, target) {
        Ok(fixed) => fixed.base,
        Err(e) if is_of_another(&e) => return Ok(None),
        Err(e) if is_damage(&e) => unchecked_head(file, length).map_or(0, |(_, base)| base),
        // Who asks for no time at all means whatever it is.
        Err(_) if opts.retention.is_some_and(|time| time.is_zero()) => 0,
        Err(e) => return Err(e),
    };
    let guard = Locks::writer(file, opts.lock, Writers::One, target)?;
    let raw = OsFile::new(file.clone(), base);
    guard.map(Some).ok_or_else(|| locked(target, &raw))
}

/// How often one looks again whose path leads to another file by the time that file is locked.
const MAX_ATTEMPTS: u32 = 100;

/// A container that loses its name to something else, such as the pointer file of a container in a store. No writer opens it
/// meanwhile. Unless that is [`done`](Self::done), everything is as before.
#[derive(Debug)]
pub struct Replacing {
    real: PathBuf,
    file: Arc<File>,
    guard: Locks,
    kept: bool,
}

impl Replacing {
    /// The name leads to something else now.
    pub fn done(mut self) {
        if std::mem::take(&mut self.kept) {
            sweep(&self.real, at_most(storage_now(&self.real), newest_time(&self.file)));
        }
    }
}

impl Drop for Replacing {
    fn drop(&mut self) {
        if self.kept {
            forget(&self.real);
        }
        self.guard.release_writer();
    }
}

/// Keeps the container at a path, if there is one, before something else takes its name; see
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
        let mut replacing = Replacing { real: real.clone(), file, guard, kept: false };
        if is_at(&real, (meta.dev(), meta.ino())) {
            replacing.kept = keep(&real, &replacing.file, opts, || storage_now(&real), &target)?;
            return Ok(Some(replacing));
        }
    }
    Err(Error::new(&target, ErrorKind::locked(None)))
}

/// The time by which names are made and swept: that of a file that is made just now. The container's own has the time that its owner
/// gave it, which may lie in the future.
fn storage_now(real: &Path) -> u64 {
    let made = tempfile::tempfile_in(folder(real));
    made.map_or_else(|_| clock::now(), |file| storage_clock(&OsFile::new(Arc::new(file), 0)).now())
}

/// Lets a path lead to a container that it led to before; see [`Ledger::restore_file`](crate::Ledger::restore_file).
pub(crate) fn restore(path: &Path, id: &[u8; 16], replace: Replace, opts: &Options) -> Result<()> {
    let target = name(path);
    let fail = |e: io::Error| Error::io(&target, "restoring", &e);
    let path = &followed(path).map_err(fail)?;
    let hidden = hidden_names(path).map_err(fail)?.into_iter().filter(|(_, found, _)| found == id);
    let Some((hidden, ..)) = hidden.max_by_key(|(.., until)| *until) else {
        return Err(Error::new(&target, ErrorKind::NotFound));
    };
    for _ in 0..MAX_ATTEMPTS {
        let present = match File::options().read(true).write(true).open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                rename_new(&hidden, path).map_err(fail)?;
                return sync_name(path, opts, &target);
            }
            Ok(_) if replace != Replace::Atomically => {
                return Err(Error::new(&target, ErrorKind::AlreadyExists));
            }
            other => Arc::new(other.map_err(fail)?),
        };
        let Some(guard) = lock_to_replace(&present, opts, &target)? else {
            return Err(not_ours(&target, "no container; it stays"));
        };
        let done = restore_over(path, &hidden, &present, opts, &target);
        guard.release_writer();
        if done? {
            return Ok(());
        }
    }
    Err(Error::new(&target, ErrorKind::Locked { holder: None }))
}

/// Lets a hidden container take the place of the one at a path, which is locked and is kept. False if another one is there by now.
fn restore_over(
    path: &Path,
    hidden: &Path,
    present: &Arc<File>,
    opts: &Options,
    target: &str,
) -> Result<bool> {
    let fail = |e: io::Error| Error::io(target, "restoring", &e);
    let meta = present.metadata().map_err(fail)?;
    if !is_at(path, (meta.dev(), meta.ino())) {
        return Ok(false);
    }
    let asked = stay(present, opts.retention, target)?.map(|(_, time)| time);
    let time = asked.unwrap_or_default().max(MIN_STAY);
    let kept = Options { retention: Some(time), ..opts.clone() };
    keep(path, present, &kept, || storage_now(path), target)?;
    std::fs::rename(hidden, path).map_err(fail)?;
    sync_name(path, opts, target)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::expired;
    use crate::options::LockPolicy;
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

    fn ids(path: &Path) -> Vec<[u8; 16]> {
        list(path).unwrap().into_iter().map(|r| r.id).collect()
    }

    #[test]
    fn what_was_replaced_or_deleted_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        // The container keeps the time that its writer asked for.
        let first = make(&path, "first", &opts(Some(100)));
        let second = make(&path, "second", &opts(None));
        let [replaced] = &list(&path).unwrap()[..] else { panic!("one was replaced") };
        assert_eq!((replaced.id, replaced.version), (first, 1));
        let left = (replaced.until / 1_000_000).abs_diff(clock::now() / 1_000_000);
        assert!((95..=101).contains(&left), "{left}");
        restore(&path, &first, Replace::Fail, &opts(None)).unwrap_err();
        assert_eq!(value(&path), "second");
        restore(&path, &first, Replace::Atomically, &opts(None)).unwrap();
        assert_eq!((value(&path), ids(&path)), ("first".into(), vec![second]));
        Ledger::remove_file(&path, &opts(None)).unwrap();
        assert!(!path.exists() && ids(&path).contains(&first));
        restore(&path, &first, Replace::Fail, &opts(None)).unwrap();
        assert_eq!(value(&path), "first");
        let missing = restore(&path, &[7; 16], Replace::Atomically, &opts(None)).unwrap_err();
        assert_eq!(*missing.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn what_loses_its_name_to_something_else_stays_too() {
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
        restore(&path, &first, Replace::Fail, &opts(None)).unwrap();
        assert_eq!(value(&path), "first");
    }

    #[test]
    fn what_is_replaced_stays_for_its_time_and_no_longer() {
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

    /// The clock of the machine is wrong, and so the file system's: the container that is replaced can tell.
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

    #[test]
    fn a_copy_with_the_same_id_does_not_stand_for_what_is_to_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let first = make(&path, "first", &opts(Some(50)));
        std::fs::copy(&path, dir.path().join("copy")).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        let copy = Arc::new(File::open(dir.path().join("copy")).unwrap());
        let now = clock::now();
        assert!(keep(&path, &file, &opts(None), || now, "x").unwrap());
        assert!(keep(&path, &file, &opts(None), || now, "x").unwrap(), "it is kept already");
        std::fs::rename(dir.path().join("copy"), &path).unwrap();
        let refused = keep(&path, &file, &opts(None), || now + 3_000_000, "x").unwrap_err();
        assert!(refused.to_string().contains("retention=0s"), "another file has the name: {refused}");
        assert!(keep(&path, &copy, &opts(None), || now, "x").unwrap());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(ids(&path), [first, first]);
    }

    #[test]
    fn what_a_writer_has_open_is_not_removed() {
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
        let refused = restore(&path, &first, Replace::Atomically, &opts(None)).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::Locked { .. }), "{refused}");
        drop(open);
        std::fs::write(&path, "no container").unwrap();
        let refused = restore(&path, &first, Replace::Atomically, &opts(None)).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::NotAContainer { .. }), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), b"no container");
    }
}
