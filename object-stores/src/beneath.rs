//! Files below a folder that other users may write to: no symbolic link in the names of these files is followed.
//!
//! A store, a cache and a staging directory keep files below a folder that the user names. Links in the name of that
//! folder are the user's own choice. Links below it may be another user's, or come from an unpacked archive, and could
//! lead to any file that the process's user may access. So each name is resolved relative to a descriptor of the
//! folder: by `openat2` with `RESOLVE_BENEATH` and `RESOLVE_NO_SYMLINKS` if the kernel has it (Linux 5.6), otherwise
//! component by component.
//!
//! Functions of `std::fs` with a path below such a folder are not allowed in these modules; `tests/link_free.rs` looks for them.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, Permissions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};
use std::sync::{Arc, OnceLock};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, linkat, mkdirat, openat, openat2,
    renameat_with, statat, unlinkat,
};
use rustix::io::{Errno, retry_on_intr};

/// The number of new names that are tried. Each name has 64 random bits.
const MAX_NEW_NAMES: u32 = 100;

/// A folder, open, below which names are resolved.
#[derive(Debug)]
pub(crate) struct Beneath(OwnedFd);

/// The effect of a rename on a file that has the new name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// The file is replaced.
    Replace,
    /// The rename fails with `AlreadyExists`.
    Keep,
}

impl Beneath {
    /// Opens the folder that the user named. Links in its path are followed.
    ///
    /// # Errors
    /// The errors of `open(2)`, such as `NotFound` and `NotADirectory`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Beneath(retry_on_intr(|| openat(CWD, path, flags, Mode::empty()))?))
    }

    /// Opens a folder that is not itself a symbolic link; links in the path before its name are followed.
    ///
    /// # Errors
    /// As for [`folder`](Self::folder).
    pub(crate) fn open_itself(path: &Path) -> io::Result<Self> {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Self::open(parent)?.folder(name),
            _ => Self::open(path),
        }
    }

    /// Opens a folder below this one.
    ///
    /// # Errors
    /// `FilesystemLoop` (ELOOP) if the path leads over a symbolic link, and those of `open(2)`.
    pub(crate) fn folder(&self, path: impl AsRef<Path>) -> io::Result<Self> {
        self.resolve(path.as_ref(), OFlags::PATH | OFlags::DIRECTORY).map(Beneath)
    }

    /// Returns the metadata of the entry at a path below this folder. For a symbolic link, this is the metadata of the
    /// link itself.
    ///
    /// # Errors
    /// As for [`folder`](Self::folder).
    pub(crate) fn metadata(&self, path: impl AsRef<Path>) -> io::Result<Metadata> {
        File::from(self.resolve(path.as_ref(), OFlags::PATH)?).metadata()
    }

    /// Returns the metadata of this folder.
    ///
    /// # Errors
    /// The errors of `stat(2)`.
    pub(crate) fn own_metadata(&self) -> io::Result<Metadata> {
        self.metadata(".")
    }

    /// Opens a regular file to read, or with `OFlags::RDWR` to change it; `None` if something else has the name. The call does not
    /// wait for a named pipe.
    ///
    /// # Errors
    /// As for [`folder`](Self::folder).
    pub(crate) fn file(
        &self,
        path: impl AsRef<Path>,
        access: OFlags,
    ) -> io::Result<Option<(File, Metadata)>> {
        let file = match self.resolve(path.as_ref(), access | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(file) => File::from(file),
            // The entry is a folder, which cannot be opened for writing, or a socket, or a pipe without a reader.
            Err(e) if is_any(&e, &[Errno::ISDIR, Errno::NXIO]) => return Ok(None),
            // The name is a symbolic link, or the path leads over a symbolic link.
            Err(e) if is_any(&e, &[Errno::LOOP]) && self.metadata(path).is_ok() => return Ok(None),
            Err(e) => return Err(e),
        };
        let found = file.metadata()?;
        Ok(found.is_file().then_some((file, found)))
    }

    /// Makes a file under a name that does not exist in this folder.
    ///
    /// # Errors
    /// `AlreadyExists`, for a symbolic link too, and those of `open(2)`.
    pub(crate) fn create(&self, name: impl AsRef<Path>, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        self.at(name.as_ref(), |folder, name| retry_on_intr(|| openat(folder, name, flags, mode)))
            .map(File::from)
    }

    /// Makes a folder below this one.
    ///
    /// # Errors
    /// `AlreadyExists` if anything has the name, and those of `mkdir(2)`.
    pub(crate) fn make_folder(&self, path: impl AsRef<Path>, mode: u32) -> io::Result<()> {
        self.at(path.as_ref(), |folder, name| mkdirat(folder, name, Mode::from_raw_mode(mode)))
    }

    /// Sets the permissions of a folder below this one.
    ///
    /// # Errors
    /// As for [`folder`](Self::folder), and those of `chmod(2)`.
    pub(crate) fn set_mode(&self, path: impl AsRef<Path>, mode: Permissions) -> io::Result<()> {
        let folder = self.resolve(path.as_ref(), OFlags::RDONLY | OFlags::DIRECTORY)?;
        File::from(folder).set_permissions(mode)
    }

    /// Removes the name of a file, or of a link itself.
    ///
    /// # Errors
    /// The errors of `unlink(2)`; `IsADirectory` for a folder.
    pub(crate) fn remove_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.at(path.as_ref(), |folder, name| unlinkat(folder, name, AtFlags::empty()))
    }

    /// Removes an empty folder.
    ///
    /// # Errors
    /// The errors of `rmdir(2)`.
    pub(crate) fn remove_folder(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.at(path.as_ref(), |folder, name| unlinkat(folder, name, AtFlags::REMOVEDIR))
    }

    /// Renames a file of this folder to a path below another folder, in one step. If the file system has no rename that
    /// keeps an existing file, a hard link is used instead.
    ///
    /// # Errors
    /// The errors of `rename(2)` and `link(2)`.
    pub(crate) fn rename(
        &self,
        from: &str,
        to: &Beneath,
        path: impl AsRef<Path>,
        existing: Existing,
    ) -> io::Result<()> {
        let flags = match existing {
            Existing::Replace => RenameFlags::empty(),
            Existing::Keep => RenameFlags::NOREPLACE,
        };
        to.at(path.as_ref(), |folder, name| match renameat_with(&self.0, from, folder, name, flags) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if existing == Existing::Keep => {
                linkat(&self.0, from, folder, name, AtFlags::empty())?;
                // The file has its new name. A later sweep removes the old name at the latest.
                unlinkat(&self.0, from, AtFlags::empty()).or(Ok(()))
            }
            other => other,
        })
    }

    /// Lists the names in this folder, without `.` and `..`.
    ///
    /// # Errors
    /// The errors of `open(2)`. The iterator returns the errors of `getdents(2)`.
    pub(crate) fn entries(&self) -> io::Result<impl Iterator<Item = io::Result<Entry>>> {
        let folder = self.resolve(Path::new("."), OFlags::RDONLY | OFlags::DIRECTORY)?;
        let entries = Dir::new(folder)?.map(|entry| {
            let entry = entry?;
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            Ok(Entry { name, kind: entry.file_type() })
        });
        Ok(entries.filter(|entry| !entry.as_ref().is_ok_and(|entry| entry.name == "." || entry.name == "..")))
    }

    /// Waits until changes of names in a folder below this one are durable.
    ///
    /// # Errors
    /// As for [`folder`](Self::folder), and those of `fsync(2)`.
    pub(crate) fn sync_folder(&self, path: impl AsRef<Path>) -> io::Result<()> {
        File::from(self.resolve(path.as_ref(), OFlags::RDONLY | OFlags::DIRECTORY)?).sync_all()
    }

    /// Returns whether this folder was removed since it was opened.
    pub(crate) fn is_removed(&self) -> bool {
        self.own_metadata().is_ok_and(|found| found.nlink() == 0)
    }

    /// Opens the entry at a path itself, if no component of the path is a symbolic link.
    fn resolve(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        check_components(path)?;
        let all = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let opened = match has_openat2() {
            true => retry_on_intr(|| openat2(&self.0, path, all, Mode::empty(), how)),
            false => self.step_by_step(path, all),
        };
        match opened {
            // The kernel returns this error also for a link in place of a folder.
            Err(Errno::NOTDIR) if flags.contains(OFlags::DIRECTORY) && self.is_link(path) => {
                Err(Errno::LOOP.into())
            }
            other => Ok(other?),
        }
    }

    fn is_link(&self, path: &Path) -> bool {
        self.metadata(path).is_ok_and(|found| found.is_symlink())
    }

    /// Does the work of [`resolve`](Self::resolve) on kernels and in sandboxes without `openat2`.
    fn step_by_step(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let mut parts: Vec<&OsStr> = path.components().map(Component::as_os_str).collect();
        let last = parts.pop().unwrap_or(OsStr::new("."));
        let mut above: Option<OwnedFd> = None;
        for part in parts {
            let folder = above.as_ref().map_or(self.0.as_fd(), AsFd::as_fd);
            above = Some(enter(folder, part)?);
        }
        let folder = above.as_ref().map_or(self.0.as_fd(), AsFd::as_fd);
        retry_on_intr(|| openat(folder, last, flags, Mode::empty()))
    }

    /// Calls a function with the last name of a path, and with the folder in which that name lies.
    fn at<T>(
        &self,
        path: &Path,
        act: impl FnOnce(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        check_components(path)?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            None => Ok(act(self.0.as_fd(), name)?),
            Some(parent) => Ok(act(self.folder(parent)?.0.as_fd(), name)?),
        }
    }
}

/// A name in a folder.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: OsString,
    kind: FileType,
}

impl Entry {
    /// Returns whether the name is that of a folder or of a regular file. Some file systems do not list the kind; then the kind
    /// is read from `folder`, in which the name lies.
    pub(crate) fn kind(&self, folder: &Beneath) -> io::Result<Kind> {
        Ok(match self.kind {
            FileType::Directory => Kind::Folder,
            FileType::RegularFile => Kind::File,
            FileType::Unknown => match folder.metadata(&self.name) {
                Ok(found) if found.is_dir() => Kind::Folder,
                Ok(found) if found.is_file() => Kind::File,
                Ok(_) => Kind::Other,
                // The entry was removed meanwhile.
                Err(e) if e.kind() == io::ErrorKind::NotFound => Kind::Other,
                Err(e) => return Err(e),
            },
            _ => Kind::Other,
        })
    }
}

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A folder.
    Folder,
    /// A regular file.
    File,
    /// A symbolic link, a pipe, a socket or a device.
    Other,
}

/// A new file under a temporary name, which is removed when this is dropped, unless the file got another name.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    folder: Arc<Beneath>,
    name: String,
    is_named: bool,
}

impl NewFile {
    /// Makes a file in a folder. Its name is `prefix` and 16 random hexadecimal digits.
    ///
    /// # Errors
    /// The errors of `open(2)`.
    pub(crate) fn make(folder: &Arc<Beneath>, prefix: &str, mode: u32) -> io::Result<Self> {
        for _ in 0..MAX_NEW_NAMES {
            let name = format!("{prefix}{:016x}", RandomState::new().hash_one(std::process::id()));
            match folder.create(&name, mode) {
                Ok(file) => return Ok(NewFile { file, folder: folder.clone(), name, is_named: false }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn file_mut(&mut self) -> &mut File {
        &mut self.file
    }

    /// Returns whether the file still has its temporary name.
    pub(crate) fn has_its_name(&self) -> bool {
        let found = self.file.metadata();
        found.is_ok_and(|found| self.folder.metadata(&self.name).is_ok_and(|named| is_same(&named, &found)))
    }

    /// Gives the file its final name, below another folder.
    ///
    /// # Errors
    /// As for [`Beneath::rename`], with the file, which keeps its temporary name.
    pub(crate) fn publish(
        mut self,
        to: &Beneath,
        path: impl AsRef<Path>,
        existing: Existing,
    ) -> Result<(), (Self, io::Error)> {
        match self.folder.rename(&self.name, to, path, existing) {
            Ok(()) => {
                self.is_named = true;
                Ok(())
            }
            Err(e) => Err((self, e)),
        }
    }

    /// Gives the file its final name in the folder that it was made in, and replaces an existing entry with that name.
    ///
    /// # Errors
    /// As for [`Beneath::rename`].
    pub(crate) fn publish_here(self, name: &str) -> io::Result<()> {
        let folder = self.folder.clone();
        self.publish(&folder, name, Existing::Replace).map_err(|(_, e)| e)
    }

    /// Removes the file.
    ///
    /// # Errors
    /// The errors of `unlink(2)`.
    pub(crate) fn remove(mut self) -> io::Result<()> {
        self.is_named = true;
        self.folder.remove_file(&self.name)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_named {
            let _swept_later = self.folder.remove_file(&self.name);
        }
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.file.write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Returns whether two metadata belong to the same file.
pub(crate) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Returns whether an error says that a path led over a symbolic link.
pub(crate) fn is_link(e: &io::Error) -> bool {
    is_any(e, &[Errno::LOOP])
}

fn is_any(e: &io::Error, codes: &[Errno]) -> bool {
    e.raw_os_error().is_some_and(|code| codes.iter().any(|one| one.raw_os_error() == code))
}

/// Checks that a path has no `..` and does not begin with `/`. Keys are validated, and all other names are chosen by
/// the project.
fn check_components(path: &Path) -> io::Result<()> {
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if is_plain && !path.as_os_str().is_empty() { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Opens a folder in another one. Fails with ELOOP if the name is a symbolic link.
fn enter(folder: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let is_link = || {
        statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink)
    };
    match retry_on_intr(|| openat(folder, name, flags, Mode::empty())) {
        Err(Errno::NOTDIR) if is_link() => Err(Errno::LOOP),
        other => other,
    }
}

/// Returns whether this process may call `openat2`: older kernels do not have it, and some sandboxes refuse unknown
/// system calls.
fn has_openat2() -> bool {
    #[cfg(test)]
    if tests::WITHOUT_OPENAT2.get() {
        return false;
    }
    static HAS: OnceLock<bool> = OnceLock::new();
    let probe =
        || openat2(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    *HAS.get_or_init(|| probe().is_ok())
}

#[cfg(test)]
#[path = "beneath_tests.rs"]
pub(crate) mod tests;
