//! Decides at which paths a pointer file may be put: over a regular file, or where nothing exists.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use h5lake_ledger::paths::{followed, kind_of};

use super::failed;
use crate::error::{Error, Minor, Result};

/// Returns the path at which a pointer file is put: it follows symbolic links, like a program that writes the file
/// itself.
///
/// # Errors
/// The system's error, with its number: a folder, a device, a pipe or a socket is there; links lead in circles; the
/// path cannot be read.
pub(super) fn of_pointer(path: &Path) -> Result<PathBuf> {
    let failed = |error: io::Error| failed(path, &error);
    match path.metadata() {
        Ok(found) if found.is_dir() => Err(failed(io::Error::from_raw_os_error(libc::EISDIR))),
        Ok(found) if !found.is_file() => Err(not_regular(path, &found)),
        Ok(_) => path.canonicalize().or_else(|_| followed(path)).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => followed(path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

/// Returns whether opening a path could wait for another process, or would use a device. If the path cannot be read,
/// the code that opens it reports the error.
pub(super) fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Checks, just before a pointer file takes a name, that the name now leads to a regular file at most.
///
/// # Errors
/// `EEXIST` if anything else has the name.
pub(super) fn check_replaceable(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => Err(io::Error::from_raw_os_error(libc::EEXIST)),
        _ => Ok(()),
    }
}

/// Returns the error for a path that is neither a file nor a folder: a pointer file would replace it for every
/// program.
fn not_regular(path: &Path, found: &Metadata) -> Error {
    let text = format!(
        "unable to create file: name = '{}' is no regular file but {}; name another path",
        path.display(),
        kind_of(found)
    );
    Error::file(Minor::CannotCreateFile, text, Some(libc::EEXIST))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use h5lake_ledger::SyncPolicy;

    use super::super::{Pointer, Prepared, check_writable, prepare, read};
    use super::*;

    fn some() -> Pointer {
        Pointer { store: "file:///data".to_owned(), key: "a.h5".to_owned() }
    }

    fn prepared(path: &Path) -> Result<Prepared> {
        prepare(path, &some(), SyncPolicy::Process)
    }

    fn pipe(path: &Path) {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }

    #[test]
    fn nothing_but_a_regular_file_is_replaced_and_nothing_waits() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        pipe(&at("pipe"));
        let _socket = UnixListener::bind(at("socket")).unwrap();
        symlink("pipe", at("to-pipe")).unwrap();
        symlink("socket", at("to-socket")).unwrap();
        for name in ["pipe", "to-pipe", "socket", "to-socket"] {
            let error = prepared(&at(name)).err().unwrap().to_string();
            assert!(error.contains("no regular file but a ") && error.contains("errno = 17"), "{error}");
            assert!(!at(name).metadata().unwrap().is_file(), "{name}");
            assert_eq!(read(&at(name)).unwrap(), None, "{name}");
            check_writable(&at(name)).unwrap();
        }
        symlink("loop", at("loop")).unwrap();
        let error = prepared(&at("loop")).err().unwrap().to_string();
        assert!(error.contains("errno = 40"), "{error}");
        assert!(at("loop").is_symlink());
    }

    #[test]
    fn a_file_made_meanwhile_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.h5");
        std::fs::write(&path, "old").unwrap();
        let made = prepared(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        pipe(&path);
        assert!(made.put().is_err());
        assert!(is_special(&path));
    }

    #[test]
    fn a_link_to_nothing_is_followed_unless_the_name_has_to_be_new() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("sub")).unwrap();
        symlink("end.h5", at("link.h5")).unwrap();
        symlink("link.h5", at("far.h5")).unwrap();
        symlink("../other.h5", at("sub/up.h5")).unwrap();
        for (name, end) in [("far.h5", "end.h5"), ("sub/up.h5", "other.h5")] {
            assert!(prepared(&at(name)).unwrap().put_new().is_err(), "{name}");
            assert!(!at(end).exists(), "{end}");
            prepared(&at(name)).unwrap().put().unwrap();
            assert!(at(name).is_symlink() && at(end).symlink_metadata().unwrap().is_file(), "{name}");
            assert_eq!(read(&at(name)).unwrap().map(|found| found.pointer), Some(some()), "{name}");
        }
    }
}
