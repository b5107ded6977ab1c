//! Operations on single files.

use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustix::fs::OFlags;

use super::{Sync, locks};
use crate::beneath::{Beneath, Existing, NewFile, is_link};
use crate::{Etag, Key, ObjectMeta};

/// The kind of entry that has a key's name.
pub(super) enum Occupant {
    Nothing,
    Object(fs::Metadata),
    Directory,
    /// A part of the key before the last segment is not a directory, but for example an object.
    BelowObject,
    /// A symbolic link, a device, a socket and the like, at the name or above it.
    Foreign,
}

/// Returns the kind of entry at a key's name, without following symbolic links below the root. Changes nothing.
pub(super) fn occupant(root: &Beneath, key: &Key) -> io::Result<Occupant> {
    use io::ErrorKind as K;
    match root.metadata(key.as_str()) {
        Ok(found) if found.is_dir() => Ok(Occupant::Directory),
        Ok(found) if found.is_file() => Ok(Occupant::Object(found)),
        Ok(_) => Ok(Occupant::Foreign),
        Err(e) if e.kind() == K::NotFound => Ok(Occupant::Nothing),
        Err(e) if e.kind() == K::NotADirectory => Ok(Occupant::BelowObject),
        Err(e) if is_link(&e) => Ok(Occupant::Foreign),
        Err(e) => Err(e),
    }
}

/// Opens the object's file for reading, and returns it with its metadata.
pub(super) fn open_regular(root: &Beneath, key: &Key) -> io::Result<Option<(File, fs::Metadata)>> {
    match root.file(key.as_str(), OFlags::RDONLY) {
        Err(e) if is_no_object(&e) => Ok(None),
        opened => opened,
    }
}

/// Returns whether opening failed because the entry is missing or is not an ordinary file.
fn is_no_object(e: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(e.kind(), K::NotFound | K::NotADirectory | K::IsADirectory) || is_link(e)
}

/// Returns the version of the file; the store's module explains why it is unique.
pub(super) fn etag_of(found: &fs::Metadata) -> Etag {
    let nanos = i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec());
    Etag::new(format!("{:x}-{nanos:x}-{:x}", found.ino(), found.len()))
}

pub(super) fn meta_of(key: &Key, found: &fs::Metadata) -> ObjectMeta {
    ObjectMeta { key: key.clone(), size: found.len(), modified: changed(found), etag: Some(etag_of(found)) }
}

/// Returns the time at which the file got its name, by the clock of the kernel or of the file server, which all
/// processes share. The modification time comes from the clock of the writing process.
pub(super) fn changed(found: &fs::Metadata) -> SystemTime {
    let (seconds, nanos) = (found.ctime(), found.ctime_nsec());
    let since = Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanos).unwrap_or(0));
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Reads the bytes of `range`, which lies within the file.
pub(super) fn read_range(file: &File, range: Range<u64>) -> io::Result<Vec<u8>> {
    let len = usize::try_from(range.end - range.start).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut bytes = Vec::new();
    // A sparse file may have any length, so that a failed allocation must not abort the process.
    bytes.try_reserve_exact(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut file = file;
    file.seek(SeekFrom::Start(range.start))?;
    file.take(len as u64).read_to_end(&mut bytes)?;
    if bytes.len() < len {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file was cut while it was read"));
    }
    Ok(bytes)
}

/// Writes all pieces, many with one call.
pub(super) fn write_pieces(file: &mut File, pieces: &[Bytes]) -> io::Result<()> {
    // The number of pieces that one call accepts on Linux (IOV_MAX).
    for group in pieces.chunks(1024) {
        let mut slices: Vec<_> = group.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut rest = &mut slices[..];
        IoSlice::advance_slices(&mut rest, 0); // removes empty slices at the front
        while !rest.is_empty() {
            match file.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(())
}

/// Stamps the file with the current time, or with a time later than that of the file it replaces; returns the file's
/// metadata.
pub(super) fn stamp(file: &File, replaced: Option<&fs::Metadata>) -> io::Result<fs::Metadata> {
    let before = replaced.map(fs::Metadata::modified).transpose()?;
    let mut stamp = SystemTime::now();
    if let Some(before) = before {
        stamp = stamp.max(before + Duration::from_nanos(1));
    }
    // A file system rounds times down, by at most two seconds (FAT): the step doubles until it exceeds that.
    for doublings in 0..33 {
        file.set_modified(stamp)?;
        let found = file.metadata()?;
        match before {
            Some(before) if found.modified()? <= before => {
                stamp = before + Duration::from_nanos(1 << doublings);
            }
            _ => return Ok(found),
        }
    }
    Err(io::Error::other("the file system keeps no later modification time than the replaced file's"))
}

/// Returns whether the time of a stamped file is not later than that of the file to be replaced.
pub(super) fn is_not_later(stamped: &fs::Metadata, replaced: &fs::Metadata) -> bool {
    (stamped.mtime(), stamped.mtime_nsec()) <= (replaced.mtime(), replaced.mtime_nsec())
}

/// Gives the file the key's name, making directories as needed. Returns the file if an existing file has the name and
/// must be kept.
pub(super) fn give_name(
    root: &Beneath,
    key: &Key,
    mut file: NewFile,
    existing: Existing,
) -> io::Result<Option<NewFile>> {
    // A round is lost only if a delete has removed an empty directory meanwhile.
    for _ in 0..1000 {
        let failed;
        (file, failed) = match file.publish(root, key.as_str(), existing) {
            Ok(()) => return Ok(None),
            Err(failed) => failed,
        };
        match failed.kind() {
            io::ErrorKind::AlreadyExists if existing == Existing::Keep => return Ok(Some(file)),
            io::ErrorKind::NotFound if !root.is_removed() => make_parents(root, key)?,
            _ => return Err(failed),
        }
    }
    Err(io::Error::other("the directory was removed again and again"))
}

/// Returns the directories above a key, from the root's child downwards.
fn parents(key: &Key) -> impl DoubleEndedIterator<Item = &str> {
    let all: Vec<_> = key.as_str().match_indices('/').map(|(at, _)| &key.as_str()[..at]).collect();
    all.into_iter()
}

fn make_parents(root: &Beneath, key: &Key) -> io::Result<()> {
    for path in parents(key) {
        match root.make_folder(path, 0o777) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            // A delete has removed the directory again: the caller's next round makes it anew, unless the root itself
            // was removed.
            Err(e) if e.kind() == io::ErrorKind::NotFound && !root.is_removed() => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Removes the object's file; succeeds if it does not exist.
pub(super) fn remove(root: &Beneath, key: &Key) -> io::Result<()> {
    match root.remove_file(key.as_str()) {
        Err(e) if is_no_object(&e) => Ok(()),
        answer => answer,
    }
}

/// Removes the directories above a deleted key that are now empty.
pub(super) fn prune_parents(root: &Beneath, key: &Key) {
    for path in parents(key).rev() {
        if !remove_empty(root, path) {
            return;
        }
    }
}

/// Removes a directory that is empty, or contains only lock files that no process has locked. Returns whether it is
/// gone.
pub(super) fn remove_empty(root: &Beneath, path: &str) -> bool {
    match root.remove_folder(path) {
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {
            locks::remove_idle(root, path).is_ok_and(|is_idle| is_idle) && root.remove_folder(path).is_ok()
        }
        answer => answer.is_ok(),
    }
}

/// Syncs all directories above a key up to the root, because another writer may have made one of them a moment ago
/// without having synced it yet.
pub(super) fn sync_parents(root: &Beneath, key: &Key) -> io::Result<()> {
    for path in parents(key).rev().chain(["."]) {
        match root.sync_folder(path) {
            Ok(()) => {}
            // The directory was emptied and removed meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Returns the absolute path of a store's directory, with symbolic links resolved in the part that exists, and whether
/// the directory is missing.
pub(super) fn find_root(path: &Path) -> io::Result<(PathBuf, bool)> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok((fs::canonicalize(path)?, false)),
        Ok(_) => return Err(io::Error::from(io::ErrorKind::NotADirectory)),
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Err(_) => {}
    }
    let path = std::path::absolute(path)?;
    let above = path.ancestors().find_map(|above| Some((above, fs::canonicalize(above).ok()?)));
    let Some((above, root)) = above else { return Ok((path, true)) };
    // The missing part may contain `..`; the operating system resolves it when the directory is made.
    let below = path.strip_prefix(above).unwrap_or(Path::new(""));
    Ok((root.join(below), true))
}

/// Makes the root. It survives the same failures as a put.
pub(super) fn make_root(path: &Path, sync: Sync) -> io::Result<()> {
    let missing: Vec<_> = path.ancestors().take_while(|path| !path.exists()).collect();
    fs::create_dir_all(path)?;
    if sync == Sync::Power {
        for made in missing {
            let above = made.parent().filter(|above| !above.as_os_str().is_empty());
            File::open(above.unwrap_or(Path::new(".")))?.sync_all()?;
        }
    }
    Ok(())
}
