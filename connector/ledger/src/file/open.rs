//! Opens, recognises and removes a container's file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use object_stores::open_regular;

use crate::checksum::unseal;
use crate::clock;
use crate::error::{Error, ErrorKind, Holder, Result};
use crate::file::counted::counted;
use crate::file::file_io::{FileIo, OsFile};
use crate::file::free_space::ReclaimRule;
use crate::file::lock_holders;
use crate::file::locks::{Locks, WRITER};
use crate::file::resync::resyncing;
use crate::file::superblock::{self, Fixed};
use crate::file::temporary::sweep_beside;
use crate::file::writer::FileWriter;
use crate::file::{
    FileStorage, PLAIN_COPY_QUARANTINE_MICROS, UNSEEN_READERS_QUARANTINE_MICROS, expired, log, replaced,
};
use crate::liveness;
use crate::locks::Mutex;
use crate::options::{Access, At, Options, Probe};
use crate::paths::kind_of;
use crate::signatures;
use crate::timekeeping::StorageClock;

/// The kind of a file, according to its first bytes.
pub(super) enum FoundFile {
    Container(Fixed),
    /// The head object of a container in an object store.
    StoreHead,
    NativeHdf5,
    Pointer,
    Other,
}

pub(super) fn name(path: &Path) -> String {
    path.display().to_string()
}

impl FoundFile {
    /// Returns the result of a probe. A container that cannot be opened counts as a container, because the error of the
    /// open is better than that of a probe.
    pub(super) fn probed(found: Result<Self>) -> Result<Probe> {
        match found {
            Ok(Self::Container(_)) => Ok(Probe::Container),
            Ok(Self::StoreHead) => Ok(Probe::WrongStorage),
            Ok(Self::NativeHdf5) => Ok(Probe::NativeHdf5),
            Ok(Self::Pointer) => Ok(Probe::Pointer),
            Ok(Self::Other) => Ok(Probe::Other),
            Err(e) => match e.kind() {
                ErrorKind::Corrupt { .. }
                | ErrorKind::EarlierFormat { .. }
                | ErrorKind::NewerFormat { .. } => Ok(Probe::Container),
                _ => Err(e),
            },
        }
    }
}

/// A function that fills a buffer with the bytes at an offset.
pub(super) type ReadAt<'a> = &'a dyn Fn(&mut [u8], u64) -> io::Result<()>;

fn recognise_file(file: &File, len: u64, target: &str) -> Result<FoundFile> {
    recognise(&|buf, at| file.read_exact_at(buf, at), len, target)
}

/// Returns the offset of a container in a file; 0 if the file is no container.
pub(super) fn recognised_base(file: &File, len: u64, target: &str) -> u64 {
    match recognise_file(file, len, target) {
        Ok(FoundFile::Container(fixed)) => fixed.base,
        _ => 0,
    }
}

/// Returns whether a file is the head object of a container in an object store.
pub(super) fn is_head_of_store(file: &File, len: u64, target: &str) -> bool {
    matches!(recognise_file(file, len, target), Ok(FoundFile::StoreHead))
}

/// Returns the id in a file's superblock and the offset of the superblock, even if its checksum is wrong. Returns `None` if
/// our signature is not found.
pub(super) fn unchecked_head(file: &File, len: u64) -> Option<([u8; 16], u64)> {
    let mut at = 0u64;
    while at + 16 <= len {
        let mut head = [0; superblock::FIXED];
        let there = head.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
        file.read_exact_at(&mut head[..there], at).ok()?;
        if head.starts_with(signatures::SIGNATURE) {
            return Some((superblock::unchecked_id(&head), at));
        }
        at = next_place(at);
    }
    None
}

/// Returns the next offset at which a signature may be, after `at`.
fn next_place(at: u64) -> u64 {
    if at == 0 { 512 } else { at * 2 }
}

/// Searches for our signature at the offsets at which HDF5 searches for its own: 0, 512, 1024 … (H5FD_locate_signature).
pub(super) fn recognise(read: ReadAt<'_>, len: u64, target: &str) -> Result<FoundFile> {
    let mut at = 0u64;
    while at + 16 <= len {
        let mut bytes = [0; superblock::MIN_TELLING_BYTES];
        let there = bytes.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
        read(&mut bytes[..there], at).map_err(|e| Error::io(target, "reading the head", &e))?;
        let first = &bytes[..16];
        if first == signatures::SIGNATURE {
            if at == 0 && !superblock::has_slots(&bytes) && is_store_head(read, len, target)? {
                return Ok(FoundFile::StoreHead);
            }
            if there < superblock::FIXED {
                let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(log::unreadable(target, "head", &cut));
            }
            let fixed = Fixed::decode(&bytes[..superblock::FIXED], target)?;
            // A user block may have been added in front of the container, or removed (h5jam, h5unjam).
            return Ok(FoundFile::Container(Fixed { base: at, ..fixed }));
        }
        if first == signatures::POINTER {
            return Ok(FoundFile::Pointer);
        }
        if first.starts_with(signatures::HDF5) {
            return Ok(FoundFile::NativeHdf5);
        }
        at = next_place(at);
    }
    Ok(FoundFile::Other)
}

/// Returns whether a file that begins with our signature is the head object of a container in an object store: a manifest, which has
/// one checksum over all of it. Called only if the file has no slot at the offset of the first slot.
fn is_store_head(read: ReadAt<'_>, len: u64, target: &str) -> Result<bool> {
    let read = |bytes: &mut [u8]| read(bytes, 0).map_err(|e| Error::io(target, "reading the head", &e));
    let mut front = vec![0; usize::try_from(len.min(superblock::DATA)).unwrap_or_default()];
    read(&mut front)?;
    // The part that both kinds have in common has its own checksum, so a file that is truncated after it would pass.
    let lengths = superblock::FIXED as u64 + 1..=MAX_STORE_HEAD_BYTES;
    if superblock::has_slots(&front) || !lengths.contains(&len) {
        return Ok(false);
    }
    let mut whole = vec![0; usize::try_from(len).unwrap_or_default()];
    read(&mut whole)?;
    Ok(unseal(&whole).is_ok())
}

/// An upper bound of the length of a head object.
const MAX_STORE_HEAD_BYTES: u64 = 64 << 20;

/// Returns the error for the head object of a container in an object store.
pub(super) fn in_objects(path: &Path) -> Error {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // These characters have a special meaning in a URL.
    let url = absolute.display().to_string().replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    let what = format!(
        "is the head of a container that is kept as objects in this directory; open it as file://{url}"
    );
    Error::new(&name(path), ErrorKind::WrongStorage { what })
}

pub(super) fn not_ours(target: &str, what: &str) -> Error {
    Error::new(target, ErrorKind::NotAContainer { what: what.into() })
}

pub(super) fn container(file: &File, len: u64, target: &str) -> Result<Fixed> {
    found_container(recognise_file(file, len, target)?, target)
}

/// Returns the fixed part of a container's superblock, if a container was found.
pub(super) fn found_container(found: FoundFile, target: &str) -> Result<Fixed> {
    match found {
        FoundFile::Container(fixed) => Ok(fixed),
        FoundFile::StoreHead => Err(in_objects(Path::new(target))),
        FoundFile::NativeHdf5 => Err(not_ours(target, "a native HDF5 file")),
        FoundFile::Pointer => Err(not_ours(target, "a pointer to a container elsewhere")),
        FoundFile::Other => Err(not_ours(target, "a file of another kind")),
    }
}

pub(crate) fn probe(path: &Path) -> Result<Probe> {
    look(path, Access::ReadOnly).map(|(probe, _)| probe)
}

/// A container's open file of which only the first bytes were read. It is not locked.
#[derive(Debug, Clone)]
pub struct OpenedFile {
    pub(super) file: Arc<File>,
    pub(super) fixed: Fixed,
    pub(super) id: (u64, u64),
    pub(super) is_writable: bool,
}

impl OpenedFile {
    /// Returns device and inode.
    pub fn id(&self) -> (u64, u64) {
        self.id
    }
}

/// Opens a file to read its first bytes; for writing, if that is requested and allowed.
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
    // Opening a pipe could block until its other end is opened.
    if !meta.is_file() {
        return Ok((Probe::Other, None));
    }
    let (file, is_writable) = open_to_look(path, access).map_err(|e| Error::io(&target, "opening", &e))?;
    let meta = file.metadata().map_err(|e| Error::io(&target, "identifying", &e))?;
    match recognise_file(&file, meta.len(), &target) {
        Ok(FoundFile::Container(fixed)) => {
            let id = (meta.dev(), meta.ino());
            Ok((Probe::Container, Some(OpenedFile { file: Arc::new(file), fixed, id, is_writable })))
        }
        other => FoundFile::probed(other).map(|probe| (probe, None)),
    }
}

pub(crate) fn remove(path: &Path, opts: &Options) -> Result<()> {
    let target = name(path);
    match probe(path)? {
        Probe::Container => replaced::retire(path, opts),
        Probe::WrongStorage => Err(in_objects(path)),
        Probe::NotFound => Err(Error::new(&target, ErrorKind::NotFound)),
        Probe::NativeHdf5 => Err(not_ours(&target, "a native HDF5 file")),
        Probe::Pointer => Err(not_ours(&target, "a pointer to a container elsewhere")),
        Probe::Other => Err(not_ours(&target, "a file of another kind")),
    }
}

pub(super) fn reclaim_rule(opts: &Options, locks: &Locks) -> ReclaimRule {
    let asked = opts.retention.map_or(0, clock::micros);
    let least = if locks.work() { asked } else { asked.max(UNSEEN_READERS_QUARANTINE_MICROS) };
    // A retention time that the user sets is used as it is. The additional time for file copies applies only without one.
    let courtesy = if opts.retention.is_some() { 0 } else { PLAIN_COPY_QUARANTINE_MICROS };
    ReclaimRule { least, courtesy }
}

/// Returns the error for a container that another writer has open. The error names the writer from the note in the file.
pub(super) fn locked(target: &str, raw: &dyn FileIo) -> Error {
    Error::new(target, ErrorKind::locked(noted_writer(raw)))
}

fn noted_writer(raw: &dyn FileIo) -> Option<Holder> {
    let mut note = [0; superblock::NOTE_LEN];
    raw.read_at(&mut note, superblock::NOTE).ok().and_then(|()| superblock::decode_note(&note))
}

/// Returns the error for a caller that stops waiting for a writer. If the writer in the note no longer runs, the processes that
/// hold the lock are searched for: a forked child of that writer, or another writer that could not leave a note.
pub(super) fn locked_for_good(target: &str, file: &File, raw: &dyn FileIo) -> Error {
    let holder = noted_writer(raw);
    let is_here = |h: &Holder| h.host == superblock::myself().host;
    let is_gone = holder.as_ref().is_some_and(|h| is_here(h) && !liveness::is_running(h.pid));
    let processes = match is_gone || holder.is_none() {
        true => lock_holders::of(file, WRITER),
        false => Vec::new(),
    };
    Error::new(target, ErrorKind::Locked { holder, is_gone, processes })
}

/// Returns the error for an attempt to write an old version.
pub(crate) fn old_is_read_only(target: &str, at: At) -> Error {
    Error::new(target, ErrorKind::OldVersion { which: at.to_string() })
}

/// The number of times that a writer opens the file again because another process put a new container under the name.
const MAX_ATTEMPTS: u32 = 100;

/// Opens the container at a path. `looked` is the file that an earlier probe opened.
pub(crate) fn open(
    path: &Path,
    access: Access,
    opts: &Options,
    looked: Option<OpenedFile>,
) -> Result<FileStorage> {
    let target = name(path);
    let mut looked = looked.filter(|file| file.is_writable || access == Access::ReadOnly);
    if access == Access::ReadWrite
        && let Some(at) = opts.at
    {
        return Err(old_is_read_only(&target, at));
    }
    // The path of a retained container leads to its own file, and the newest version in that file is opened.
    let of_kept = matches!(opts.at, Some(At::Replaced(_))).then(|| Options { at: None, ..opts.clone() });
    let opts = of_kept.as_ref().unwrap_or(opts);
    for _ in 0..MAX_ATTEMPTS {
        if let Some(storage) = try_open(path, access, opts, &target, looked.take())? {
            return Ok(storage);
        }
    }
    Err(Error::new(&target, ErrorKind::locked(None)))
}

/// Opens the container's file at a path, without a lock.
pub(super) fn find(path: &Path, access: Access, target: &str) -> Result<OpenedFile> {
    let fail = |e: io::Error| Error::io(target, "opening", &e);
    let meta = path.metadata().map_err(fail)?;
    if meta.is_dir() {
        return Err(Error::new(target, ErrorKind::IsADirectory));
    }
    if !meta.is_file() {
        return Err(not_ours(target, kind_of(&meta)));
    }
    let is_writable = access == Access::ReadWrite;
    let file = Arc::new(OpenOptions::new().read(true).write(is_writable).open(path).map_err(fail)?);
    let meta = file.metadata().map_err(|e| Error::io(target, "identifying", &e))?;
    let fixed = container(&file, meta.len(), target)?;
    Ok(OpenedFile { file, fixed, id: (meta.dev(), meta.ino()), is_writable })
}

/// Opens the container's file at a path if `e` says that its superblock is damaged after the signature. The slots still
/// lead to its content. The fields of the superblock are guessed, so the file must not be written.
fn find_damaged(path: &Path, e: Error) -> Result<OpenedFile> {
    if !matches!(e.kind(), ErrorKind::Corrupt { .. }) {
        return Err(e);
    }
    let Ok(Some((file, meta))) =
        open_regular(&path.canonicalize().unwrap_or_default(), File::options().read(true))
    else {
        return Err(e);
    };
    let (id, base) = unchecked_head(&file, meta.len()).ok_or(e)?;
    let fixed = Fixed { id, base, created: 0, tags: true, sources: false };
    Ok(OpenedFile { file: Arc::new(file), fixed, id: (meta.dev(), meta.ino()), is_writable: false })
}

/// Opens the file. Returns `None` to a writer if another process put another container there meanwhile.
fn try_open(
    path: &Path,
    access: Access,
    opts: &Options,
    target: &str,
    looked: Option<OpenedFile>,
) -> Result<Option<FileStorage>> {
    let mut opened = match looked.map_or_else(|| find(path, access, target), Ok) {
        Err(e) if opts.salvage && access == Access::ReadOnly => find_damaged(path, e)?,
        found => found?,
    };
    let (mut locks, mut clock) = (Locks::none(), None);
    if access == Access::ReadWrite {
        let raw = OsFile::new(opened.file.clone(), opened.fixed.base);
        let taken = Locks::of_writer(&opened.file, opts, target)?;
        locks = taken.ok_or_else(|| locked_for_good(target, &opened.file, &raw))?;
        // Before the lock was taken, the file could be replaced. Data that is written to a file without a name is lost.
        let Some(fixed) = still_there(path, &opened) else {
            locks.release_writer();
            return Ok(None);
        };
        // The previous holder of the lock may have made the first tag.
        opened.fixed = Fixed { base: opened.fixed.base, ..fixed };
        sweep_beside(path, opts, target);
        replaced::forget(path, &opened.file);
        let noted = FileWriter::leave_note(&raw);
        let storage = if noted { storage_clock(&raw) } else { StorageClock::default() };
        let newest = || log::newest_slot(&raw, target).map_or(0, |slot| slot.time);
        expired::sweep_sometimes(path, storage, newest);
        clock = Some(storage);
    }
    Ok(Some(storage(target.into(), opened, locks, clock, opts)))
}

/// Returns the current fixed part of the opened file, if the path still leads to this file and the file still has the same
/// container.
pub(super) fn still_there(path: &Path, opened: &OpenedFile) -> Option<Fixed> {
    let mut head = [0; superblock::FIXED];
    opened.file.read_exact_at(&mut head, opened.fixed.base).ok()?;
    let found = Fixed::decode(&head, "").ok()?;
    (found.id == opened.fixed.id && is_at(path, opened.id)).then_some(found)
}

/// Returns whether a path leads to the file with this device and inode.
pub(super) fn is_at(path: &Path, id: (u64, u64)) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == id)
}

/// Returns the clock of the file system, from the modification time of a file that was changed just now.
pub(super) fn storage_clock(raw: &dyn FileIo) -> StorageClock {
    raw.modified().map(StorageClock::compared_with).unwrap_or_default()
}

/// Builds the storage of an opened file. Only the storage of a writer has a clock.
pub(super) fn storage(
    target: String,
    opened: OpenedFile,
    locks: Locks,
    clock: Option<StorageClock>,
    opts: &Options,
) -> FileStorage {
    let OpenedFile { file, fixed, id, .. } = opened;
    let raw = counted(Arc::new(OsFile::new(file.clone(), fixed.base)), &opts.statistics);
    FileStorage {
        rule: reclaim_rule(opts, &locks),
        target,
        raw: match clock {
            Some(_) => resyncing(raw, opts.sync, opts.writers),
            None => raw,
        },
        fixed,
        file: Some(id),
        locks: Mutex::new(locks),
        lock_policy: opts.lock,
        handle: Mutex::new(Some(file)),
        opener: AtomicU32::new(crate::process::id()),
        writer: clock.is_some().then(Mutex::default),
        clock: clock.unwrap_or_default(),
        journal: Mutex::default(),
        earlier_end: None,
        gone: Default::default(),
        options: opts.clone(),
        seen: Mutex::default(),
        known: Mutex::default(),
        tagged: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::create::create;
    use crate::options::{LockPolicy, Replace};

    fn unlocked(user_block: u64) -> Options {
        Options { lock: LockPolicy::Off, user_block, ..Options::default() }
    }

    #[test]
    fn the_probed_file_is_opened_unless_a_writer_finds_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let made = create(&path, Replace::Fail, &unlocked(512), &Ok, &Ok).unwrap();
        let looked = |access| look(&path, access).unwrap().1.unwrap();
        let (read, write) = (looked(Access::ReadOnly), looked(Access::ReadWrite));
        assert_eq!((read.is_writable, write.is_writable), (false, true));
        let opened = |access, looked: &OpenedFile| {
            let storage = open(&path, access, &unlocked(0), Some(looked.clone())).unwrap();
            let handle = storage.handle.lock().clone().unwrap();
            (storage.fixed.base, Arc::ptr_eq(&handle, &looked.file))
        };
        assert_eq!(opened(Access::ReadWrite, &write), (512, true));
        assert_eq!(opened(Access::ReadWrite, &read), (512, false), "it cannot be written by that");
        drop(made);
        create(&path, Replace::Atomically, &unlocked(2048), &Ok, &Ok).unwrap();
        assert_eq!(opened(Access::ReadWrite, &write), (2048, false));
        assert_eq!(opened(Access::ReadOnly, &read), (512, true));
    }
}
