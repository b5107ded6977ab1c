//! Opening a file by a name in a folder, where anybody may have given that name to something else.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// Opens a regular file as `options` say; `None` if what has the name is none. A symbolic link is not followed: it could lead out of
/// the folder. A named pipe does not hold the caller up until somebody opens its other end.
///
/// # Errors
/// Those of `open(2)`, such as `NotFound`.
pub fn open_regular(path: &Path, options: &OpenOptions) -> io::Result<Option<(File, Metadata)>> {
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = match options.clone().custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(e) if is_of_another_kind(&e) => return Ok(None),
        Err(e) => return Err(e),
    };
    let found = file.metadata()?;
    Ok(found.is_file().then_some((file, found)))
}

/// Whether opening failed because what is there is a folder, a symbolic link, or a pipe or a socket that nobody reads from.
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
}
