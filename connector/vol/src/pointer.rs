//! Pointer files: files at local paths that stand for containers in a store.
//!
//! PyTables, pandas, emcee and netCDF check the path before HDF5 is called, so there must be a regular file that
//! begins like HDF5. Native HDF5 refuses it for its superblock version. The bytes are described in docs/format.md.

mod place;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use h5lake_ledger::SyncPolicy;
use h5lake_ledger::checksum::{checksum, checksum_on, seal};
use nix::fcntl::{AT_FDCWD, AtFlags};

use crate::error::{Error, Minor, Result};

/// HDF5's signature, a superblock version that native HDF5 refuses, and the kind of the file.
const MAGIC: &[u8; 16] = b"\x89HDF\r\n\x1a\n\x4Ch5lptr\0";
/// The version of the bytes that follow.
const VERSION: u32 = 1;
/// The longest text that a pointer file may hold, in bytes.
const MAXIMUM_TEXT: u32 = 64 * 1024;
const HEAD_BYTES: usize = 24;
/// The permissions of a new pointer file, which the process's mask narrows.
const MODE: u32 = 0o666;

/// The container that a pointer file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// The store's URL. It never holds credentials: a store takes those from its environment.
    pub store: String,
    /// The container's key in the store.
    pub key: String,
}

/// A pointer file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPointer {
    /// The container that the file names.
    pub pointer: Pointer,
    /// True if the user that this process runs as owns the file.
    pub is_own: bool,
}

impl Pointer {
    /// Returns the container's URL.
    pub fn url(&self) -> String {
        format!("{}/{}", self.store.trim_end_matches('/'), self.key)
    }
}

/// Reads the pointer file at `path`. Returns `None` if there is no file, or a file of another kind.
///
/// # Errors
/// A pointer file that is damaged, or of another version; a file that cannot be read.
pub fn read(path: &Path) -> Result<Option<FoundPointer>> {
    if place::is_special(path) {
        return Ok(None);
    }
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_unknown(&error) => return Err(unopened(path, &error)),
        Err(_) => return Ok(None),
    };
    let mut head = [0; HEAD_BYTES];
    match file.read_exact(&mut head) {
        Ok(()) if head.starts_with(MAGIC) => (),
        // The kind of the file is unknown, so it must not be treated as another kind.
        Err(error) if is_failure(&error) => return Err(unopened(path, &error)),
        _ => return Ok(None),
    }
    let bad = |why: &str| {
        Error::file(Minor::CannotOpenFile, format!("pointer file '{}' {why}", path.display()), None)
    };
    let [version, length] =
        [16, 20].map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
    if version != VERSION {
        return Err(bad(&format!("is of version {version}, and this connector knows {VERSION}")));
    }
    if length > MAXIMUM_TEXT {
        return Err(bad("is damaged: its length makes no sense"));
    }
    let mut body = vec![0; length as usize + 4];
    file.read_exact(&mut body).map_err(|error| match is_failure(&error) {
        true => unopened(path, &error),
        false => bad("is cut short"),
    })?;
    let (text, sum) = body.split_at(length as usize);
    if checksum_on(checksum(&head), text).to_le_bytes() != *sum {
        return Err(bad("is damaged: its checksum is wrong"));
    }
    let text = std::str::from_utf8(text).map_err(|_| bad("is damaged: it is not UTF-8"))?;
    let (store, key) = text.split_once('\n').ok_or_else(|| bad("is damaged: it names no key"))?;
    let pointer = Pointer { store: store.to_owned(), key: key.to_owned() };
    // Checks the file that was read, whatever file has its name by now.
    let is_own = file.metadata().is_ok_and(|file| is_own(&file));
    Ok(Some(FoundPointer { pointer, is_own }))
}

/// Returns whether an open failed for a reason that does not tell what kind of file is at the path.
fn is_unknown(error: &io::Error) -> bool {
    let unknown =
        [libc::EACCES, libc::EPERM, libc::EIO, libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EINTR];
    error.raw_os_error().is_some_and(|number| unknown.contains(&number))
}

/// Returns whether a read failed for a reason other than the file's kind or length.
fn is_failure(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::IsADirectory)
}

/// Checks before the container is written that its pointer file may be written: the pointer file's permissions stand
/// for the container's.
///
/// # Errors
/// The system's error, with its number.
pub fn check_writable(path: &Path) -> Result<()> {
    if place::is_special(path) {
        return Ok(());
    }
    match std::fs::OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(unopened(path, &error)),
        _ => Ok(()),
    }
}

/// A pointer file that is written but not yet at its path.
pub struct Prepared {
    written: Written,
    bytes: Vec<u8>,
    path: PathBuf,
    /// True if a symbolic link leads to the path.
    is_behind_link: bool,
    /// Says whether the file's name is synced, too.
    sync: SyncPolicy,
}

/// The form in which the pointer file was written.
enum Written {
    /// Nothing was written: the file at the path already has the same content. It is opened for writing.
    There(File),
    /// A file without a name: it is deleted when its process ends. It can be linked only to a name that no file has.
    Nameless(File),
    /// A file under a name of its own, which replaces another file.
    Named(tempfile::NamedTempFile),
}

impl Written {
    fn new(path: &Path, bytes: &[u8]) -> io::Result<Written> {
        if says(path, bytes)
            && let Ok(file) = std::fs::OpenOptions::new().write(true).open(path)
        {
            return Ok(Written::There(file));
        }
        let nameless = || {
            let flags = libc::O_TMPFILE | libc::O_CLOEXEC;
            std::fs::OpenOptions::new().write(true).mode(MODE).custom_flags(flags).open(folder_of(path))
        };
        // Some file systems do not support files without a name.
        if path.symlink_metadata().is_err()
            && let Ok(file) = nameless()
        {
            return Ok(Written::Nameless(file));
        }
        named(path).map(Written::Named)
    }

    fn as_file(&self) -> &File {
        match self {
            Written::There(file) | Written::Nameless(file) => file,
            Written::Named(file) => file.as_file(),
        }
    }

    /// Puts the file at `path`, where no file exists.
    fn put_new(self, path: &Path) -> io::Result<()> {
        match self {
            Written::There(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Written::Nameless(file) => {
                let it = format!("/proc/self/fd/{}", file.as_raw_fd());
                let linked =
                    nix::unistd::linkat(AT_FDCWD, it.as_str(), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW);
                linked.map_err(io::Error::from)
            }
            Written::Named(file) => file.persist_noclobber(path).map(drop).map_err(|error| error.error),
        }
    }

    /// Puts the file at `path`, and replaces a file that is there.
    fn put(self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        match self {
            Written::There(file) if says(path, bytes) => {
                // Sets the modification time, as if the file had been written. Only its owner may do so.
                let _it_stays_as_old_as_it_is = file.set_modified(std::time::SystemTime::now());
                Ok(())
            }
            Written::There(_) => Err(io::ErrorKind::NotFound.into()),
            Written::Nameless(_) => self.put_new(path),
            Written::Named(file) => {
                place::check_replaceable(path)?;
                file.persist(path).map(drop).map_err(|error| error.error)
            }
        }
    }
}

/// Writes a pointer file beside `path`, so that any obstacle is found before the container is made. With
/// [`SyncPolicy::Commit`] the file survives a power loss once it has been put at its path.
///
/// # Errors
/// The system's error, with its number: no such folder, no permission, something at `path` that is no regular file,
/// links in circles.
pub fn prepare(path: &Path, pointer: &Pointer, sync: SyncPolicy) -> Result<Prepared> {
    let failed = |error: &io::Error| failed(path, error);
    let is_behind_link = path.is_symlink();
    let path = &place::of_pointer(path)?;
    let bytes = encode(pointer)?;
    let written = Written::new(path, &bytes).map_err(|error| failed(&error))?;
    let mut file = written.as_file();
    if !matches!(written, Written::There(_)) {
        file.write_all(&bytes).map_err(|error| failed(&error))?;
        if let Ok(old) = path.metadata() {
            // The user decides who may use the name, so a new file takes over the old file's permissions.
            file.set_permissions(old.permissions()).map_err(|error| failed(&error))?;
        }
    }
    if sync == SyncPolicy::Commit {
        file.sync_all().map_err(|error| failed(&error))?;
    }
    Ok(Prepared { written, bytes, path: path.to_owned(), is_behind_link, sync })
}

/// Returns the folder that holds `path`.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Prepared {
    /// Puts the file at its path in one step, and replaces a file that is there.
    ///
    /// # Errors
    /// The system's error, with its number.
    pub fn put(self) -> Result<()> {
        let Self { written, bytes, path, sync, .. } = self;
        let is_named = matches!(written, Written::Named(_));
        let put = match written.put(&path, &bytes) {
            // Another process was faster, or there is no /proc.
            Err(_) if !is_named => again(&path, &bytes, sync).and_then(|written| written.put(&path, &bytes)),
            put => put,
        };
        put.map_err(|error| failed(&path, &error))?;
        sync_name(&path, sync)
    }

    /// Puts the file at its path, unless something exists there.
    ///
    /// # Errors
    /// The system's error, with its number; `EEXIST` if something is there, even a dangling symbolic link.
    pub fn put_new(self) -> Result<()> {
        let Self { written, bytes, path, is_behind_link, sync } = self;
        if is_behind_link {
            return Err(failed(&path, &io::Error::from_raw_os_error(libc::EEXIST)));
        }
        let is_nameless = matches!(written, Written::Nameless(_));
        let put = match written.put_new(&path) {
            Err(error) if is_nameless && error.kind() != io::ErrorKind::AlreadyExists => {
                again(&path, &bytes, sync).and_then(|written| written.put_new(&path))
            }
            put => put,
        };
        put.map_err(|error| failed(&path, &error))?;
        sync_name(&path, sync)
    }
}

/// Returns whether the file at `path` holds exactly these bytes.
fn says(path: &Path, bytes: &[u8]) -> bool {
    let mut found = Vec::new();
    let length = bytes.len() as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(length).read_to_end(&mut found));
    read.is_ok() && found == bytes
}

/// Makes a file beside `path` under a name of its own.
fn named(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let permissions = std::fs::Permissions::from_mode(MODE);
    tempfile::Builder::new().prefix(".h5lake-").permissions(permissions).tempfile_in(folder_of(path))
}

/// Writes a file under a name of its own, in place of a file that cannot get a name.
fn again(path: &Path, bytes: &[u8], sync: SyncPolicy) -> io::Result<Written> {
    let mut file = named(path)?;
    file.write_all(bytes)?;
    if sync == SyncPolicy::Commit {
        file.as_file().sync_all()?;
    }
    Ok(Written::Named(file))
}

fn sync_name(path: &Path, sync: SyncPolicy) -> Result<()> {
    if sync == SyncPolicy::Process {
        return Ok(());
    }
    File::open(folder_of(path)).and_then(|folder| folder.sync_all()).map_err(|error| failed(path, &error))
}

/// Makes the pointer file at `path`, and replaces a pointer file that is there. Any other file there is left as it is.
///
/// # Errors
/// Something at `path` that is no pointer file; any error of writing the file.
pub fn link(path: &Path, pointer: &Pointer, sync: SyncPolicy) -> Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => prepare(path, pointer, sync)?.put_new(),
        // A damaged pointer file may be replaced, too.
        _ if !matches!(read(path), Ok(None)) => prepare(path, pointer, sync)?.put(),
        _ => {
            let text = format!(
                "'{}' is there already and is no pointer file; move it away or name another path",
                path.display()
            );
            Err(Error::file(Minor::CannotCreateFile, text, Some(libc::EEXIST)))
        }
    }
}

fn unopened(path: &Path, error: &io::Error) -> Error {
    let text = format!("unable to open file: name = '{}', error message = '{error}'", path.display());
    Error::file(Minor::CannotOpenFile, text, number_of(error))
}

fn failed(path: &Path, error: &io::Error) -> Error {
    let text =
        format!("unable to write pointer file: name = '{}', error message = '{error}'", path.display());
    Error::file(Minor::CannotCreateFile, text, number_of(error))
}

/// Returns the system's number of an error, also if a library has wrapped the error.
fn number_of(error: &io::Error) -> Option<i32> {
    error.raw_os_error().or(match error.kind() {
        io::ErrorKind::NotFound => Some(libc::ENOENT),
        io::ErrorKind::PermissionDenied => Some(libc::EACCES),
        io::ErrorKind::NotADirectory => Some(libc::ENOTDIR),
        io::ErrorKind::StorageFull => Some(libc::ENOSPC),
        io::ErrorKind::ReadOnlyFilesystem => Some(libc::EROFS),
        _ => None,
    })
}

fn encode(pointer: &Pointer) -> Result<Vec<u8>> {
    let text = format!("{}\n{}", pointer.store, pointer.key);
    let length = u32::try_from(text.len())
        .ok()
        .filter(|length| *length <= MAXIMUM_TEXT && !pointer.store.contains('\n'))
        .ok_or_else(|| Error::argument("the store's URL or the name is too long for a pointer file"))?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    seal(&mut bytes);
    Ok(bytes)
}

/// Returns whether the user that this process runs as owns a file.
fn is_own(file: &std::fs::Metadata) -> bool {
    file.uid() == nix::unistd::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Result<Option<Pointer>> {
        Ok(super::read(path)?.map(|found| {
            assert!(found.is_own);
            found.pointer
        }))
    }

    fn some() -> Pointer {
        Pointer { store: "file:///data".to_owned(), key: "a/b\n.h5".to_owned() }
    }

    #[test]
    fn a_pointer_file_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.h5");
        assert_eq!(read(&path).unwrap(), None);
        prepare(&path, &some(), SyncPolicy::Commit).unwrap().put().unwrap();
        assert_eq!(read(&path).unwrap(), Some(some()));
        assert!(prepare(folder.path(), &some(), SyncPolicy::Process).is_err());
        assert!(prepare(&folder.path().join("no/x.h5"), &some(), SyncPolicy::Process).is_err());
        let other = Pointer { key: "other".to_owned(), ..some() };
        assert!(prepare(&path, &other, SyncPolicy::Process).unwrap().put_new().is_err());
        assert_eq!(read(&path).unwrap(), Some(some()));
    }

    #[test]
    fn a_new_pointer_file_has_no_name_until_it_is_put() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.h5");
        let count = || std::fs::read_dir(folder.path()).unwrap().count();
        let first = prepare(&path, &some(), SyncPolicy::Process).unwrap();
        assert!(matches!(first.written, Written::Named(_)) || count() == 0);
        // With two concurrent creators the last one wins, and neither fails.
        let other = Pointer { key: "other".to_owned(), ..some() };
        prepare(&path, &other, SyncPolicy::Process).unwrap().put().unwrap();
        first.put().unwrap();
        assert_eq!((read(&path).unwrap(), count()), (Some(some()), 1));
        // A file with the same content is left in place; if it is deleted meanwhile, it is made again.
        let same = prepare(&path, &some(), SyncPolicy::Commit).unwrap();
        assert_eq!(count(), 1);
        std::fs::remove_file(&path).unwrap();
        same.put().unwrap();
        assert_eq!((read(&path).unwrap(), count()), (Some(some()), 1));
        prepare(&path, &some(), SyncPolicy::Process).unwrap().put().unwrap();
        assert!(prepare(&path, &some(), SyncPolicy::Process).unwrap().put_new().is_err());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o600, 0o600);
    }

    #[test]
    fn a_link_replaces_a_pointer_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.h5");
        for pointer in [some(), Pointer { key: "other".to_owned(), ..some() }] {
            link(&path, &pointer, SyncPolicy::Process).unwrap();
            assert_eq!(read(&path).unwrap(), Some(pointer));
        }
        std::fs::write(&path, &std::fs::read(&path).unwrap()[..30]).unwrap();
        link(&path, &some(), SyncPolicy::Process).unwrap();
        assert_eq!(read(&path).unwrap(), Some(some()), "a damaged one is replaced");
        std::fs::write(&path, "data").unwrap();
        let error = link(&path, &some(), SyncPolicy::Process).unwrap_err().to_string();
        assert!(error.contains("no pointer file") && error.contains("errno = 17"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
        std::os::unix::fs::symlink("nowhere", folder.path().join("s")).unwrap();
        assert!(link(&folder.path().join("s"), &some(), SyncPolicy::Process).is_err());
        assert!(link(folder.path(), &some(), SyncPolicy::Process).is_err());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_not_taken_for_another_kind() {
        // The system fails a read of this file with EIO.
        let error = super::read(Path::new("/proc/self/mem")).err().unwrap();
        assert!(error.to_string().contains("os error 5"), "{error}");
        assert_eq!(read(Path::new("/proc")).unwrap(), None);
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.h5");
        let good = encode(&some()).unwrap();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert!(!matches!(read(&path), Ok(Some(_))), "byte {at}");
            std::fs::write(&path, &good[..at]).unwrap();
            assert!(!matches!(read(&path), Ok(Some(_))), "cut at {at}");
        }
    }
}
