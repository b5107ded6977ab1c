//! Opens a file by its name in a folder in which other users may have given that name to another kind of entry.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// Opens a regular file with `options`; returns `None` if the entry with the name is of another kind. A symbolic link
/// is not followed, because it could lead out of the folder. No other kind of entry is opened, because merely opening a
/// device or a named pipe has effects.
///
/// # Errors
/// Those of `open(2)`, such as `NotFound`.
pub fn open_regular(path: &Path, options: &OpenOptions) -> io::Result<Option<(File, Metadata)>> {
    open_checked(path, options, OFlag::O_NOFOLLOW)
}

/// Opens the regular file that a path leads to, also through symbolic links; returns `None` without opening anything if
/// the path leads to another kind of entry.
///
/// # Errors
/// Those of `open(2)`, such as `NotFound`.
pub fn open_regular_target(path: &Path, options: &OpenOptions) -> io::Result<Option<(File, Metadata)>> {
    open_checked(path, options, OFlag::empty())
}

/// Opens a file in two steps: a descriptor that does not open the file finds it, and the file is opened if it is a
/// regular one. Between the two steps the name may be given to another entry.
fn open_checked(path: &Path, options: &OpenOptions, links: OFlag) -> io::Result<Option<(File, Metadata)>> {
    let find = File::options().read(true).custom_flags((OFlag::O_PATH | links).bits()).open(path);
    let place = match find {
        Ok(place) => place,
        Err(e) if is_of_another_kind(&e) => return Ok(None),
        Err(e) => return Err(e),
    };
    let found = place.metadata()?;
    if !found.is_file() {
        return Ok(None);
    }
    let open = |path: &Path, flags: OFlag| options.clone().custom_flags(flags.bits()).open(path);
    match open(format!("/proc/self/fd/{}", place.as_raw_fd()).as_ref(), OFlag::O_NONBLOCK) {
        // If /proc is not mounted, the file can only be opened by its name.
        Err(e) if e.kind() == io::ErrorKind::NotFound && !Path::new("/proc/self/fd").exists() => {
            let file = match open(path, OFlag::O_NONBLOCK | links) {
                Err(e) if is_of_another_kind(&e) => return Ok(None),
                opened => opened?,
            };
            let opened = file.metadata()?;
            let is_same = (opened.dev(), opened.ino()) == (found.dev(), found.ino());
            Ok(is_same.then_some((file, opened)))
        }
        opened => Ok(Some((opened?, found))),
    }
}

/// Returns whether opening failed because the entry is a folder, a symbolic link, or a pipe or a socket that no process
/// reads from.
fn is_of_another_kind(e: &io::Error) -> bool {
    let errno = e.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EISDIR | Errno::ELOOP | Errno::ENXIO))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn nothing_but_a_regular_file_is_opened_and_nothing_waits() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "bytes").unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        symlink(at("file"), at("link")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let opened =
            |name: &str, options: &OpenOptions| open_regular(&at(name), options).map(|o| o.is_some());
        for options in [OpenOptions::new().read(true), OpenOptions::new().write(true)] {
            assert!(opened("file", options).unwrap());
            for name in ["folder", "link", "pipe", "socket"] {
                assert!(!opened(name, options).unwrap(), "{name}");
            }
            assert_eq!(opened("none", options).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn links_are_followed_only_to_regular_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "bytes").unwrap();
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        symlink(at("file"), at("link")).unwrap();
        symlink(at("pipe"), at("to a pipe")).unwrap();
        let opened = |name: &str| open_regular_target(&at(name), OpenOptions::new().read(true)).unwrap();
        let (mut file, found) = opened("link").unwrap();
        let mut text = String::new();
        io::Read::read_to_string(&mut file, &mut text).unwrap();
        assert_eq!((text.as_str(), found.len()), ("bytes", 5));
        assert!(opened("pipe").is_none() && opened("to a pipe").is_none());
    }

    /// A writer of a pipe waits until a reader opens the pipe, even if only for an instant.
    #[test]
    fn a_pipe_is_never_opened() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let to_write = pipe.clone();
        std::thread::spawn(move || {
            sender.send("waits").unwrap();
            let _opened = OpenOptions::new().write(true).open(to_write);
            // The test may be over by now.
            let _heard = sender.send("was let in");
        });
        assert_eq!(receiver.recv().unwrap(), "waits");
        for _ in 0..50 {
            assert!(open_regular(&pipe, OpenOptions::new().read(true)).unwrap().is_none());
            assert!(open_regular_target(&pipe, OpenOptions::new().read(true)).unwrap().is_none());
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert!(receiver.try_recv().is_err(), "the pipe was opened to read");
    }
}
