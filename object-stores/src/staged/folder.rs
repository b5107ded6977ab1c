//! The folder of one writer's queue: `about.json`, `lock`, `arrived`, and a file for each operation.
//!
//! The process that writes to the folder holds a record lock on `lock`. The lock ends with the process, and a forked
//! child does not inherit it. Files are removed in the order of their numbers, and `arrived` contains the last number
//! that has arrived: so a gap means that operations are lost, and is detected.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use parking_lot::Mutex;
use rustix::fs::OFlags;
use serde_json::{Value, json};

use super::operation::Queued;
use crate::beneath::{Beneath, Kind, NewFile, is_link, is_same};
use crate::private_files::is_private;

const ABOUT: &str = "about.json";
const LOCK: &str = "lock";
const ARRIVED: &str = "arrived";
/// The suffix of the names of operations' files.
const SUFFIX: &str = ".op";
/// The prefix of the name of a file that is being written.
const NEW: &str = ".new-";
const FORMAT: u64 = 1;
/// The maximum length of a description, in bytes.
const MAX_ABOUT_BYTES: u64 = 64 << 10;

/// The description of a queue: its container and its writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The store's URL. It holds no credentials.
    pub url: String,
    /// The container's key in it.
    pub key: String,
    /// The container's name among all stores ([`place_of`](crate::ObjectStore::place_of)).
    pub place: String,
    /// The host name of the writer's machine.
    pub host: String,
    /// The writer's process id.
    pub pid: u32,
    /// True if the operations were written with power-loss durability. If so, the store has to sync them too.
    pub sync: bool,
}

impl About {
    fn encode(&self) -> String {
        let About { url, key, place, host, pid, sync } = self;
        json!({
            "format": FORMAT, "url": url, "key": key, "place": place, "host": host, "pid": pid, "sync": sync
        })
        .to_string()
    }

    fn decode(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
        if value.get("format")?.as_u64()? != FORMAT {
            return None;
        }
        let pid = u32::try_from(value.get("pid")?.as_u64()?).ok()?;
        let (url, key, place, host) = (text("url")?, text("key")?, text("place")?, text("host")?);
        let sync = value.get("sync")?.as_bool()?;
        Some(About { url, key, place, host, pid, sync })
    }
}

/// The folders that this process writes to. A record lock cannot tell them from each other within the process, because
/// it belongs to the process.
static OURS: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);

/// Returns whether this process writes to a folder.
pub(super) fn is_ours(path: &Path) -> bool {
    OURS.lock().contains(path)
}

/// A queue's folder, locked by this process until it is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    arrived: File,
    _lock: File,
    /// True if writes are synced.
    sync: bool,
    owner: u32,
}

/// Makes the staging directory if it is missing, and returns its path without symbolic links.
///
/// # Errors
/// Those of the operating system.
pub(super) fn make(dir: &Path) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    fs::canonicalize(dir)
}

/// Hashes a text for use in a name (FNV-1a). The description of a folder proves that it is the right one; its name does
/// not.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn prefix_of(place: &str) -> String {
    format!("{:016x}-", hash(place))
}

impl Folder {
    /// Creates a new, empty folder in `dir`.
    pub(super) fn create(dir: &Path, about: &About, sync: bool) -> io::Result<Self> {
        let (stages, name) = (Beneath::open(dir)?, prefix_of(&about.place));
        let name = format!("{name}{:012x}", RandomState::new().hash_one(std::process::id()) >> 16);
        stages.make_folder(&name, 0o700)?;
        let path = dir.join(&name);
        let made = open_inside(&path).and_then(|inside| Self::fill(&path, inside, about, sync));
        if made.is_err() {
            OURS.lock().remove(&path);
            let _it_is_no_queue_without_a_description = remove(&path);
        }
        made
    }

    fn fill(path: &Path, inside: Beneath, about: &About, sync: bool) -> io::Result<Self> {
        let lock = inside.create(LOCK, 0o600)?;
        if !OURS.lock().insert(path.to_owned()) || !try_lock(&lock)? {
            return Err(io::Error::other("a new folder is in use"));
        }
        let arrived = inside.create(ARRIVED, 0o600)?;
        let (path, owner) = (path.to_owned(), std::process::id());
        let folder = Folder { path, arrived, _lock: lock, sync, owner };
        folder.note_arrived(0)?;
        let mut file = folder.new_file()?;
        file.write_all(about.encode().as_bytes())?;
        folder.sync_bytes(file.file())?;
        file.publish_here(ABOUT)?;
        folder.sync_names()?;
        if sync && let Some(dir) = folder.path.parent() {
            Beneath::open(dir)?.sync_folder(".")?;
        }
        Ok(folder)
    }

    /// Takes over a folder that an earlier writer left; returns `None` while it is in use.
    pub(super) fn adopt(path: &Path) -> io::Result<Option<Self>> {
        let path = path.to_owned();
        // If this process has the folder open, closing another descriptor of the lock file would release its record
        // lock.
        if !OURS.lock().insert(path.clone()) {
            return Ok(None);
        }
        let opened = open_existing(&path);
        if !matches!(opened, Ok(Some(_))) {
            OURS.lock().remove(&path);
        }
        let Some((lock, arrived)) = opened? else { return Ok(None) };
        Ok(Some(Folder { path, arrived, _lock: lock, sync: true, owner: std::process::id() }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the folder's name in the staging directory.
    pub(super) fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Returns the path of an operation's file, for messages.
    pub(super) fn file(&self, number: u64) -> PathBuf {
        file_of(&self.path, number)
    }

    /// Opens the file of an operation.
    pub(super) fn open_operation(&self, number: u64) -> io::Result<File> {
        open_operation(&open_inside(&self.path)?, number)
    }

    /// Removes the file of an operation.
    pub(super) fn remove_operation(&self, number: u64) -> io::Result<()> {
        open_inside(&self.path)?.remove_file(name_of(number))
    }

    /// Gives a new file the name of an operation, which makes it part of the queue.
    pub(super) fn publish(&self, file: NewFile, number: u64) -> io::Result<()> {
        file.publish_here(&name_of(number))
    }

    /// Creates a new file under a temporary name, which is not part of the queue.
    pub(super) fn new_file(&self) -> io::Result<NewFile> {
        NewFile::make(&Arc::new(open_inside(&self.path)?), NEW, 0o600)
    }

    /// Syncs a file's data, if the queue has to survive a power loss.
    pub(super) fn sync_bytes(&self, file: &File) -> io::Result<()> {
        if self.sync { file.sync_data() } else { Ok(()) }
    }

    /// Syncs the folder's names, if the queue has to survive a power loss.
    pub(super) fn sync_names(&self) -> io::Result<()> {
        if self.sync { open_inside(&self.path)?.sync_folder(".") } else { Ok(()) }
    }

    /// Records that the operations up to `number` have arrived in the store.
    pub(super) fn note_arrived(&self, number: u64) -> io::Result<()> {
        let mut bytes = number.to_le_bytes().to_vec();
        let sum = crc_fast::crc32_iscsi(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        check_descriptor(&self.arrived, &self.path, ARRIVED)?;
        self.arrived.write_all_at(&bytes, 0)?;
        // The record is synced before the files are removed: if the record were lost, the missing files would look like
        // lost operations.
        if self.sync { self.arrived.sync_data() } else { Ok(()) }
    }

    fn arrived(&self) -> io::Result<u64> {
        let mut bytes = [0; 12];
        self.arrived.read_exact_at(&mut bytes, 0)?;
        let (number, sum) = bytes.split_at(8);
        match crc_fast::crc32_iscsi(number).to_le_bytes() == sum {
            true => Ok(number.try_into().map_or(0, u64::from_le_bytes)),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "the note of what arrived is damaged")),
        }
    }

    /// Returns the pending operations in their order, up to the first that is lost or damaged, and what is wrong with
    /// that operation.
    pub(super) fn operations(&self) -> io::Result<(Vec<Queued>, Option<String>)> {
        let arrived = self.arrived()?;
        let mut found = Vec::new();
        for number in numbers(&self.path)? {
            if number <= arrived {
                continue;
            }
            if number != arrived + 1 + found.len() as u64 {
                return Ok((found, Some(format!("operations before {number:016x}{SUFFIX} are missing"))));
            }
            match self.open_operation(number).and_then(|file| Queued::read(file, number)) {
                Ok(queued) => found.push(queued),
                Err(e) => return Ok((found, Some(format!("{number:016x}{SUFFIX} cannot be used: {e}")))),
            }
        }
        Ok((found, None))
    }

    /// Deletes the folder with its files.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove(&self.path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.owner == std::process::id() {
            OURS.lock().remove(&self.path);
        }
    }
}

pub(super) fn file_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(name_of(number))
}

fn name_of(number: u64) -> String {
    format!("{number:016x}{SUFFIX}")
}

/// Opens the folder of a queue. Fails if its name in the staging directory is a symbolic link, or if another user could
/// have put a file into it.
fn open_inside(path: &Path) -> io::Result<Beneath> {
    let inside = Beneath::open_itself(path)?;
    match is_private(&inside.own_metadata()?) {
        true => Ok(inside),
        false => Err(io::Error::new(io::ErrorKind::PermissionDenied, "other users may write to the folder")),
    }
}

fn open_operation(inside: &Beneath, number: u64) -> io::Result<File> {
    let file = inside.file(name_of(number), OFlags::RDONLY)?;
    let is_none = || io::Error::new(io::ErrorKind::InvalidData, "it is no regular file");
    file.map(|(file, _)| file).ok_or_else(is_none)
}

/// Returns the numbers of the operations in a folder, in ascending order.
pub(super) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    numbers_in(&open_inside(folder)?)
}

fn numbers_in(inside: &Beneath) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in inside.entries()? {
        numbers.extend(entry?.name.to_str().and_then(number_of));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Returns the number of the operation that is stored in the file with this name.
fn number_of(name: &str) -> Option<u64> {
    let number = name.strip_suffix(SUFFIX).filter(|text| text.len() == 16)?;
    u64::from_str_radix(number, 16).ok()
}

/// Reads every pending operation in a folder. If the file of an operation no longer exists, the operation has arrived
/// in the store.
pub(super) fn look(folder: &Path) -> io::Result<Vec<Queued>> {
    let mut found = Vec::new();
    let inside = match open_inside(folder) {
        // All operations have arrived, and the writer has closed.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
        other => other?,
    };
    for number in numbers_in(&inside)? {
        match open_operation(&inside, number).and_then(|file| Queued::read(file, number)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => (),
            other => found.push(other?),
        }
    }
    Ok(found)
}

/// Deletes the folder of a queue with the files of the queue. The description is deleted first, because a folder
/// without a description is no queue. A folder that contains a file with another name is not deleted.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let gone = |done: io::Result<()>| match done {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    let inside = match open_inside(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    gone(inside.remove_file(ABOUT))?;
    for entry in inside.entries()? {
        let name = entry?.name;
        let is_own = |name: &str| {
            [LOCK, ARRIVED].contains(&name) || name.starts_with(NEW) || number_of(name).is_some()
        };
        if name.to_str().is_some_and(is_own) {
            gone(inside.remove_file(&name))?;
        }
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    gone(Beneath::open(dir)?.remove_folder(name))
}

/// Lists the folders in `dir` that hold queues, of the container at `place` or of all containers, with their
/// descriptions.
pub(super) fn list(dir: &Path, place: Option<&str>) -> io::Result<Vec<(PathBuf, About)>> {
    let mut found = Vec::new();
    let prefix = place.map_or_else(String::new, prefix_of);
    let stages = match Beneath::open(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
        other => other?,
    };
    for entry in stages.entries()? {
        let entry = entry?;
        let is_named = entry.name.to_str().is_some_and(|name| name.starts_with(&prefix));
        if !is_named || entry.kind(&stages)? != Kind::Folder {
            continue;
        }
        let path = dir.join(&entry.name);
        if let Some(about) = describe(&path)?
            && place.is_none_or(|place| place == about.place)
        {
            found.push((path, about));
        }
    }
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Reads the description of a folder; `None` if the folder is no queue, or belongs to another user.
fn describe(path: &Path) -> io::Result<Option<About>> {
    use io::ErrorKind as K;
    let opened = open_inside(path).and_then(|inside| inside.file(ABOUT, OFlags::RDONLY));
    let Some((file, found)) = (match opened {
        Err(e) if matches!(e.kind(), K::NotFound | K::PermissionDenied | K::NotADirectory) => None,
        Err(e) if is_link(&e) => None,
        other => other?,
    }) else {
        return Ok(None);
    };
    if !is_private(&found) || found.len() > MAX_ABOUT_BYTES {
        return Ok(None);
    }
    Ok(About::decode(&io::read_to_string(file)?))
}

/// Checks that a descriptor refers to the file `name`. Other code in the program may have closed the descriptor, and
/// its number may belong to another file by now, which must not be written.
fn check_descriptor(file: &File, path: &Path, name: &str) -> io::Result<()> {
    if is_same(&file.metadata()?, &open_inside(path)?.metadata(name)?) {
        return Ok(());
    }
    let text = format!(
        "another part of this program closed the descriptor of '{}'; what is staged there stays: run 'h5lake drain' when the program \
         has ended",
        path.join(name).display()
    );
    Err(io::Error::other(text))
}

/// Takes the lock, and opens the file with the number of the last arrived operation; returns `None` while another
/// process has the lock.
fn open_existing(path: &Path) -> io::Result<Option<(File, File)>> {
    let inside = open_inside(path)?;
    let open = |name: &str| {
        let is_none = || io::Error::other(format!("{name} is no regular file"));
        inside.file(name, OFlags::RDWR)?.map(|(file, _)| file).ok_or_else(is_none)
    };
    let lock = open(LOCK)?;
    if !try_lock(&lock)? {
        return Ok(None);
    }
    Ok(Some((lock, open(ARRIVED)?)))
}

/// Takes the record lock of a file. Returns whether that succeeded; it fails if another process has the lock.
fn try_lock(file: &File) -> io::Result<bool> {
    let all = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_SETLK(&all)) {
        Ok(_) => Ok(true),
        Err(nix::errno::Errno::EACCES | nix::errno::Errno::EAGAIN) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_record_is_written_only_to_its_own_file() {
        let dir = tempfile::tempdir().unwrap();
        let about = About {
            url: "memory:".into(),
            key: "key".into(),
            place: "place".into(),
            host: "host".into(),
            pid: 1,
            sync: false,
        };
        let mut folder = Folder::create(dir.path(), &about, false).unwrap();
        folder.note_arrived(3).unwrap();
        assert_eq!(folder.arrived().unwrap(), 3);
        // The file that the number of a closed descriptor refers to now.
        let notes = dir.path().join("notes.txt");
        fs::write(&notes, "important notes").unwrap();
        let own = std::mem::replace(&mut folder.arrived, File::options().write(true).open(&notes).unwrap());
        let e = folder.note_arrived(4).unwrap_err();
        assert!(e.to_string().contains("closed the descriptor"), "{e}");
        assert_eq!(fs::read_to_string(&notes).unwrap(), "important notes");
        folder.arrived = own;
        assert_eq!(folder.arrived().unwrap(), 3);
    }
}
