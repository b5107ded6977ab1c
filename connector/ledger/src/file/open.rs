//! Creating, opening, recognising and removing a container's file.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};

use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::file::free::RestRule;
use crate::file::head::{self, Fixed, Slot};
use crate::file::locks::Locks;
use crate::file::raw::{OsFile, RawFile};
use crate::file::writer::Writer;
use crate::file::{BLIND_REST, COURTESY, FileSpace, log};
use crate::options::{Access, At, Options, Probe, Replace, SyncPolicy, Writers};

/// What the first bytes of a file are.
enum Found {
    Container(Fixed),
    NativeHdf5,
    Pointer,
    Other,
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

/// Looks for our signature where HDF5 looks for its own: at 0, 512, 1024 … (H5FD_locate_signature).
fn recognise(file: &File, len: u64, target: &str) -> Result<Found> {
    let mut at = 0u64;
    while at + 16 <= len {
        let mut bytes = [0; head::FIXED];
        let there = head::FIXED.min((len - at) as usize);
        file.read_exact_at(&mut bytes[..there], at).map_err(|e| Error::io(target, "reading the head", &e))?;
        let first = &bytes[..16];
        if first == head::SIGNATURE {
            if there < head::FIXED {
                let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(log::unreadable(target, "head", &cut));
            }
            let fixed = Fixed::decode(&bytes, target)?;
            // A user block may have been put before it, or taken away (h5jam, h5unjam).
            return Ok(Found::Container(Fixed { base: at, ..fixed }));
        }
        if first == head::POINTER {
            return Ok(Found::Pointer);
        }
        if first.starts_with(head::HDF5) {
            return Ok(Found::NativeHdf5);
        }
        at = if at == 0 { 512 } else { at * 2 };
    }
    Ok(Found::Other)
}

fn not_ours(target: &str, what: &str) -> Error {
    Error::new(target, ErrorKind::NotAContainer { what: what.into() })
}

fn container(file: &File, len: u64, target: &str) -> Result<Fixed> {
    match recognise(file, len, target)? {
        Found::Container(fixed) => Ok(fixed),
        Found::NativeHdf5 => Err(not_ours(target, "a native HDF5 file")),
        Found::Pointer => Err(not_ours(target, "a pointer to a container elsewhere")),
        Found::Other => Err(not_ours(target, "a file of another kind")),
    }
}

pub(crate) fn probe(path: &Path) -> Result<Probe> {
    look(path, Access::ReadOnly).map(|(probe, _)| probe)
}

/// A container's open file of which no more than the first bytes were looked at: it is not locked.
#[derive(Debug, Clone)]
pub struct OpenedFile {
    file: Arc<File>,
    fixed: Fixed,
    id: (u64, u64),
    is_writable: bool,
}

impl OpenedFile {
    /// Device and inode.
    pub fn id(&self) -> (u64, u64) {
        self.id
    }
}

/// Opens a file to look at it; for writing, where that is asked for and allowed.
fn open_to_look(path: &Path, access: Access) -> io::Result<(File, bool)> {
    if access == Access::ReadWrite
        && let Ok(file) = File::options().read(true).write(true).open(path)
    {
        return Ok((file, true));
    }
    Ok((File::open(path)?, false))
}

pub(crate) fn look(path: &Path, access: Access) -> Result<(Probe, Option<OpenedFile>)> {
    let target = name(path);
    let meta = match path.metadata() {
        Ok(m) => m,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((Probe::NotFound, None)),
        Err(e) => return Err(Error::io(&target, "looking", &e)),
    };
    // Opening a pipe could wait for its other end.
    if !meta.is_file() {
        return Ok((Probe::Other, None));
    }
    let (file, is_writable) = open_to_look(path, access).map_err(|e| Error::io(&target, "opening", &e))?;
    let meta = file.metadata().map_err(|e| Error::io(&target, "identifying", &e))?;
    match recognise(&file, meta.len(), &target) {
        Ok(Found::Container(fixed)) => {
            let id = (meta.dev(), meta.ino());
            Ok((Probe::Container, Some(OpenedFile { file: Arc::new(file), fixed, id, is_writable })))
        }
        Ok(Found::NativeHdf5) => Ok((Probe::NativeHdf5, None)),
        Ok(Found::Pointer) => Ok((Probe::Pointer, None)),
        Ok(Found::Other) => Ok((Probe::Other, None)),
        // Ours, though opening it will fail with a better message than a probe can give.
        Err(e) if matches!(e.kind(), ErrorKind::Corrupt { .. } | ErrorKind::NewerFormat { .. }) => {
            Ok((Probe::Container, None))
        }
        Err(e) => Err(e),
    }
}

pub(crate) fn remove(path: &Path) -> Result<()> {
    let target = name(path);
    match probe(path)? {
        Probe::Container => std::fs::remove_file(path).map_err(|e| Error::io(&target, "removing", &e)),
        Probe::NotFound => Err(Error::new(&target, ErrorKind::NotFound)),
        Probe::NativeHdf5 => Err(not_ours(&target, "a native HDF5 file")),
        Probe::Pointer => Err(not_ours(&target, "a pointer to a container elsewhere")),
        Probe::Other => Err(not_ours(&target, "a file of another kind")),
    }
}

fn rest_rule(opts: &Options, locks: &Locks) -> RestRule {
    let asked = opts.retention.map_or(0, clock::micros);
    let least = if locks.work() { asked } else { asked.max(BLIND_REST) };
    // Who names a retention time means it; the courtesy to copiers is for those who do not.
    let courtesy = if opts.retention.is_some() { 0 } else { COURTESY };
    RestRule { least, courtesy }
}

fn locked(target: &str, raw: &dyn RawFile) -> Error {
    let mut note = [0; head::NOTE_LEN];
    let holder = raw.read_at(&mut note, head::NOTE).ok().and_then(|()| head::decode_note(&note));
    Error::new(target, ErrorKind::Locked { holder })
}

/// The error for an old version that is to be written.
pub(crate) fn old_is_read_only(target: &str, at: At) -> Error {
    Error::new(target, ErrorKind::OldVersion { which: at.to_string() })
}

/// Opens the container at a path; `looked` is what was there when somebody looked.
pub(crate) fn open(
    path: &Path,
    access: Access,
    opts: &Options,
    looked: Option<OpenedFile>,
) -> Result<FileSpace> {
    let target = name(path);
    let mut looked = looked.filter(|file| file.is_writable || access == Access::ReadOnly);
    if access == Access::ReadWrite
        && let Some(at) = opts.at
    {
        return Err(old_is_read_only(&target, at));
    }
    for _ in 0..TRIES {
        if let Some(space) = try_open(path, access, opts, &target, looked.take())? {
            return Ok(space);
        }
    }
    Err(Error::new(&target, ErrorKind::Locked { holder: None }))
}

/// The container's file at a path, not yet locked.
fn find(path: &Path, write: bool, target: &str) -> Result<OpenedFile> {
    let fail = |e: io::Error| Error::io(target, "opening", &e);
    let meta = path.metadata().map_err(fail)?;
    if meta.is_dir() {
        return Err(Error::new(target, ErrorKind::IsADirectory));
    }
    if !meta.is_file() {
        return Err(not_ours(target, kind_of(&meta)));
    }
    let file = Arc::new(OpenOptions::new().read(true).write(write).open(path).map_err(fail)?);
    let meta = file.metadata().map_err(|e| Error::io(target, "identifying", &e))?;
    let fixed = container(&file, meta.len(), target)?;
    Ok(OpenedFile { file, fixed, id: (meta.dev(), meta.ino()), is_writable: write })
}

/// Opens, or answers `None` to a writer when somebody else put another container there meanwhile.
fn try_open(
    path: &Path,
    access: Access,
    opts: &Options,
    target: &str,
    looked: Option<OpenedFile>,
) -> Result<Option<FileSpace>> {
    let write = access == Access::ReadWrite;
    let opened = looked.map_or_else(|| find(path, write, target), Ok)?;
    let mut locks = Locks::none();
    if write {
        let raw = OsFile { file: opened.file.clone(), base: opened.fixed.base };
        let taken = Locks::writer(&opened.file, opts.lock, opts.writers, target)?;
        locks = taken.ok_or_else(|| locked(target, &raw))?;
        // Until it was locked it could be replaced. What is written to a file that has lost its name is lost.
        if !is_still_there(path, &opened) {
            locks.release_writer();
            return Ok(None);
        }
        Writer::leave_note(&raw);
    }
    Ok(Some(space(target.into(), opened, locks, write, opts)))
}

/// Whether what was opened is what a path leads to, and the same container is in it.
fn is_still_there(path: &Path, opened: &OpenedFile) -> bool {
    let mut head = [0; head::FIXED];
    let found = opened.file.read_exact_at(&mut head, opened.fixed.base);
    let same = || Fixed::decode(&head, "").is_ok_and(|found| found.id == opened.fixed.id);
    found.is_ok() && same() && is_at(path, opened.id)
}

/// Whether a path leads to the file of this device and inode.
fn is_at(path: &Path, id: (u64, u64)) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == id)
}

fn kind_of(meta: &Metadata) -> &'static str {
    let t = meta.file_type();
    if t.is_fifo() {
        "a pipe"
    } else if t.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

fn space(target: String, opened: OpenedFile, locks: Locks, write: bool, opts: &Options) -> FileSpace {
    let OpenedFile { file, fixed, id, .. } = opened;
    FileSpace {
        rule: rest_rule(opts, &locks),
        target,
        raw: Arc::new(OsFile { file: file.clone(), base: fixed.base }),
        fixed,
        file: Some(id),
        locks: Mutex::new(locks),
        lock_policy: opts.lock,
        handle: Mutex::new(Some(file)),
        opener: AtomicU32::new(crate::process::id()),
        writer: write.then(Mutex::default),
        options: opts.clone(),
        seen: Mutex::default(),
        known: Mutex::default(),
    }
}

/// The head of a new container.
pub(crate) fn fresh(target: &str, user_block: u64) -> Result<(Fixed, Slot)> {
    if user_block != 0 && (user_block < 512 || !user_block.is_power_of_two()) {
        let why = format!("a user block of {user_block} bytes; 0 or a power of two from 512 on is possible");
        return Err(Error::invalid(target, why));
    }
    let created = clock::now();
    let fixed = Fixed { id: clock::random(target)?, base: user_block, created, edits: true };
    let slot = Slot { time: created, end: head::DATA, base_end: head::DATA, ..Slot::default() };
    Ok((fixed, slot))
}

/// What a path leads to when symbolic links are followed, even if nothing is there yet.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut at = path.to_path_buf();
    // As many as Linux follows (path_resolution(7)).
    for _ in 0..40 {
        match std::fs::read_link(&at) {
            Ok(to) => at = at.parent().unwrap_or(Path::new("")).join(to),
            Err(_) => return Ok(at),
        }
    }
    Err(io::Error::from_raw_os_error(nix::libc::ELOOP))
}

/// How often who creates or opens to write looks again when others create and replace under the same name.
const TRIES: u32 = 100;

pub(crate) fn create(path: &Path, replace: Replace, opts: &Options) -> Result<FileSpace> {
    let target = name(path);
    for _ in 0..TRIES {
        if let Some(space) = try_create(path, replace, opts, &target)? {
            return Ok(space);
        }
    }
    Err(Error::new(&target, ErrorKind::Locked { holder: None }))
}

/// What lies under the name of a new container.
struct Old {
    file: Arc<File>,
    meta: Metadata,
}

/// Creates, or answers `None` when somebody else put another file there meanwhile.
fn try_create(path: &Path, replace: Replace, opts: &Options, target: &str) -> Result<Option<FileSpace>> {
    let fail = |e: io::Error| Error::io(target, "creating", &e);
    let (fixed, slot) = fresh(target, opts.user_block)?;
    let exists = std::fs::symlink_metadata(path);
    if replace == Replace::Fail && exists.is_ok() {
        return Err(Error::new(target, ErrorKind::AlreadyExists));
    }
    let real = match exists {
        Ok(meta) if meta.is_symlink() => followed(path).map_err(fail)?,
        _ => path.to_path_buf(),
    };
    let old = match File::options().read(true).write(true).open(&real) {
        Ok(f) => Some(Old { meta: f.metadata().map_err(fail)?, file: Arc::new(f) }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(fail(e)),
    };
    let mut guard = Locks::none();
    if let Some(old) = &old {
        // Held until the new one has the name: of two that replace at the same time one is kept out.
        guard = lock_replaceable(old, opts, target)?;
        if !is_at(&real, (old.meta.dev(), old.meta.ino())) {
            guard.release_writer();
            return Ok(None);
        }
    }
    let (file, locks) = match beside(&real, old.as_ref(), &fixed, &slot, opts, target) {
        Ok(new) => {
            guard.release_writer();
            new
        }
        Err(e) if matches!(e.kind(), ErrorKind::PermissionDenied { .. }) && old.is_some() => {
            let Some(old) = old else { return Err(e) };
            in_place(old.file, &fixed, &slot, opts, target)?
        }
        Err(e) if *e.kind() == ErrorKind::AlreadyExists && replace == Replace::Atomically => return Ok(None),
        Err(e) => return Err(e),
    };
    let meta = file.metadata().map_err(|e| Error::io(target, "identifying", &e))?;
    let opened = OpenedFile { file, fixed, id: (meta.dev(), meta.ino()), is_writable: true };
    Ok(Some(space(target.into(), opened, locks, true, opts)))
}

/// Refuses to replace what a writer has open, or what is no regular file; else keeps writers away from it.
fn lock_replaceable(old: &Old, opts: &Options, target: &str) -> Result<Locks> {
    let Old { file: old, meta } = old;
    if !meta.is_file() {
        return Err(not_ours(target, kind_of(meta)));
    }
    match Locks::writer(old, opts.lock, Writers::One, target)? {
        Some(locks) => Ok(locks),
        None => {
            let base = match recognise(old, meta.len(), target) {
                Ok(Found::Container(fixed)) => fixed.base,
                _ => 0,
            };
            Err(locked(target, &OsFile { file: old.clone(), base }))
        }
    }
}

/// Writes the head of a new container, behind its user block.
fn write_new(file: &Arc<File>, fixed: &Fixed, slot: &Slot, opts: &Options, target: &str) -> Result<()> {
    let raw = OsFile { file: file.clone(), base: fixed.base };
    let fail = |e: io::Error| Error::io(target, "writing the head", &e);
    let mut bytes = head::new_head(fixed, slot);
    let note = head::encode_note(&head::myself());
    bytes[head::NOTE as usize..head::NOTE as usize + note.len()].copy_from_slice(&note);
    raw.write_at(&bytes, 0).map_err(fail)?;
    if opts.sync == SyncPolicy::Commit {
        file.sync_all().map_err(fail)?;
    }
    Ok(())
}

fn take_lock(file: &Arc<File>, opts: &Options, target: &str) -> Result<Locks> {
    let locks = Locks::writer(file, opts.lock, opts.writers, target)?;
    locks.ok_or_else(|| Error::new(target, ErrorKind::Locked { holder: None }))
}

/// Makes the container in a file beside and gives it the name in one step.
fn beside(
    real: &Path,
    old: Option<&Old>,
    fixed: &Fixed,
    slot: &Slot,
    opts: &Options,
    target: &str,
) -> Result<(Arc<File>, Locks)> {
    let fail = |e: io::Error| Error::io(target, "creating", &e);
    let dir = real.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temp = tempfile::Builder::new()
        .prefix(".h5lake-")
        .suffix(".new")
        // What open(2) is given for a new file; the umask takes its part.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(dir)
        .map_err(fail)?;
    if let Some(old) = old {
        keep_permissions(&old.meta, temp.as_file()).map_err(fail)?;
    }
    let file = Arc::new(temp.as_file().try_clone().map_err(fail)?);
    write_new(&file, fixed, slot, opts, target)?;
    // Locked before it has its name, so that nobody can come in between.
    let locks = take_lock(&file, opts, target)?;
    let named = match old {
        None => temp.persist_noclobber(real),
        Some(_) => temp.persist(real),
    };
    named.map_err(|e| fail(e.error))?;
    if opts.sync == SyncPolicy::Commit {
        File::open(dir).and_then(|d| d.sync_all()).map_err(fail)?;
    }
    Ok((file, locks))
}

/// To run as the owner or the group, and to keep others from deleting.
const SPECIAL_BITS: u32 = 0o7000;

fn keep_permissions(was: &Metadata, new: &File) -> io::Result<()> {
    let is = new.metadata()?;
    if (was.uid(), was.gid()) != (is.uid(), is.gid()) {
        // Only a privileged process can; for others the file becomes theirs, as if they had made it.
        let _best_effort = std::os::unix::fs::fchown(new, Some(was.uid()), Some(was.gid()));
    }
    // After a change of owner bits may be gone that both had.
    if was.mode() == is.mode() && was.mode() & SPECIAL_BITS == 0 {
        return Ok(());
    }
    new.set_permissions(was.permissions())
}

/// Where the directory cannot be written but the file can: overwrites it. Not atomic, but what `open(O_TRUNC)` would do.
fn in_place(
    old: Arc<File>,
    fixed: &Fixed,
    slot: &Slot,
    opts: &Options,
    target: &str,
) -> Result<(Arc<File>, Locks)> {
    let locks = take_lock(&old, opts, target)?;
    old.set_len(0).map_err(|e| Error::io(target, "emptying", &e))?;
    write_new(&old, fixed, slot, opts, target)?;
    Ok((old, locks))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::LockPolicy;

    fn unlocked(user_block: u64) -> Options {
        Options { lock: LockPolicy::Off, user_block, ..Options::default() }
    }

    /// Where a directory cannot be written, a new container comes into the file of the old one.
    #[test]
    fn a_writer_knows_the_container_that_it_locked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        create(&path, Replace::Fail, &Options::default()).unwrap();
        let opened = find(&path, true, "x").unwrap();
        assert!(is_still_there(&path, &opened));
        for user_block in [0, 2048] {
            let opts = Options { user_block, ..Options::default() };
            let (fixed, slot) = fresh("x", user_block).unwrap();
            in_place(opened.file.clone(), &fixed, &slot, &opts, "x").unwrap();
            assert!(!is_still_there(&path, &opened), "{user_block}");
        }
        assert_eq!(open(&path, Access::ReadWrite, &unlocked(0), Some(opened)).unwrap().fixed.base, 2048);
    }

    #[test]
    fn what_was_looked_at_is_opened_unless_a_writer_finds_another_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let made = create(&path, Replace::Fail, &unlocked(512)).unwrap();
        let looked = |access| look(&path, access).unwrap().1.unwrap();
        let (read, write) = (looked(Access::ReadOnly), looked(Access::ReadWrite));
        assert_eq!((read.is_writable, write.is_writable), (false, true));
        let opened = |access, looked: &OpenedFile| {
            let space = open(&path, access, &unlocked(0), Some(looked.clone())).unwrap();
            let handle = space.handle.lock().unwrap().clone().unwrap();
            (space.fixed.base, Arc::ptr_eq(&handle, &looked.file))
        };
        assert_eq!(opened(Access::ReadWrite, &write), (512, true));
        assert_eq!(opened(Access::ReadWrite, &read), (512, false), "it cannot be written by that");
        drop(made);
        create(&path, Replace::Atomically, &unlocked(2048)).unwrap();
        assert_eq!(opened(Access::ReadWrite, &write), (2048, false));
        assert_eq!(opened(Access::ReadOnly, &read), (512, true));
    }
}
