use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;

thread_local! {
    /// Simulates a kernel without the system call.
    pub(crate) static WITHOUT_OPENAT2: Cell<bool> = const { Cell::new(false) };
}

/// Runs a check with and without `openat2`.
fn on_all_kernels(check: impl Fn()) {
    for without in [false, true] {
        WITHOUT_OPENAT2.set(without);
        check();
    }
    WITHOUT_OPENAT2.set(false);
}

/// Makes a folder, and next to it another folder that links lead to.
fn folders() -> (tempfile::TempDir, Beneath) {
    let dir = tempfile::tempdir().unwrap();
    for path in ["own/a/b", "other/b"] {
        fs::create_dir_all(dir.path().join(path)).unwrap();
    }
    fs::write(dir.path().join("own/a/b/file"), "own").unwrap();
    fs::write(dir.path().join("other/b/file"), "other's").unwrap();
    symlink("../other", dir.path().join("own/link")).unwrap();
    symlink("../other/b/file", dir.path().join("own/file")).unwrap();
    symlink("../other/new", dir.path().join("own/new")).unwrap();
    symlink("b", dir.path().join("own/a/inside")).unwrap();
    let own = Beneath::open(&dir.path().join("own")).unwrap();
    (dir, own)
}

#[test]
fn no_link_below_the_folder_is_followed() {
    on_all_kernels(|| {
        let (dir, own) = folders();
        let (mut file, found) = own.file("a/b/file", OFlags::RDONLY).unwrap().unwrap();
        assert_eq!((io::read_to_string(&mut file).unwrap().as_str(), found.len()), ("own", 3));
        for path in ["link/b/file", "link/new", "a/inside/file"] {
            assert!(is_link(&own.file(path, OFlags::RDONLY).unwrap_err()), "{path}");
            assert!(is_link(&own.metadata(path).unwrap_err()), "{path}");
            assert!(is_link(&own.create(path, 0o600).unwrap_err()), "{path}");
            assert!(is_link(&own.make_folder(path, 0o700).unwrap_err()), "{path}");
            assert!(is_link(&own.remove_file(path).unwrap_err()), "{path}");
        }
        assert!(is_link(&own.folder("link").unwrap_err()) && is_link(&own.folder("link/b").unwrap_err()));
        assert!(is_link(&own.sync_folder("link").unwrap_err()));
        // The link itself is not followed.
        assert!(own.metadata("link").unwrap().is_symlink());
        assert!(own.file("file", OFlags::RDWR).unwrap().is_none());
        for name in ["new", "file"] {
            assert_eq!(own.create(name, 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            own.remove_file(name).unwrap();
        }
        let entries = |path: &str| fs::read_dir(dir.path().join(path)).unwrap().count();
        assert_eq!((entries("other"), entries("other/b"), entries("own")), (1, 1, 2));
        assert_eq!(fs::read(dir.path().join("other/b/file")).unwrap(), b"other's");
    });
}

#[test]
fn no_name_leaves_the_folder() {
    on_all_kernels(|| {
        let (dir, own) = folders();
        for path in ["..", "../other/b/file", "a/../../other/b/file", "/etc/hostname", ""] {
            assert!(own.metadata(path).is_err(), "{path}");
            assert!(own.file(path, OFlags::RDONLY).is_err(), "{path}");
            assert!(own.remove_file(path).is_err(), "{path}");
        }
        assert!(dir.path().join("other/b/file").exists());
    });
}

#[test]
fn nothing_but_a_regular_file_is_opened_and_nothing_waits() {
    on_all_kernels(|| {
        let (dir, own) = folders();
        let at = |name: &str| dir.path().join("own").join(name);
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for access in [OFlags::RDONLY, OFlags::WRONLY, OFlags::RDWR] {
            for name in ["a", "link", "file", "pipe", "socket"] {
                assert!(own.file(name, access).unwrap().is_none(), "{name}");
            }
            assert_eq!(own.file("none", access).unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(own.file("a/b/file/x", access).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        }
        let kinds: Vec<_> = own.entries().unwrap().map(|entry| entry.unwrap().kind(&own).unwrap()).collect();
        let count = |kind| kinds.iter().filter(|one| **one == kind).count();
        assert_eq!((count(Kind::Folder), count(Kind::File), count(Kind::Other)), (1, 0, 5));
    });
}

#[test]
fn an_unnamed_file_is_deleted() {
    on_all_kernels(|| {
        let (dir, own) = folders();
        let at = |name: &str| dir.path().join("own").join(name);
        let folder = Arc::new(own.folder("a").unwrap());
        drop(NewFile::make(&folder, "x-", 0o600).unwrap());
        NewFile::make(&folder, "x-", 0o600).unwrap().remove().unwrap();
        let mut made = NewFile::make(&folder, "x-", 0o600).unwrap();
        made.write_all(b"1").unwrap();
        assert!(made.has_its_name());
        let (made, e) = made.publish(&own, "a/b/file", Existing::Keep).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::AlreadyExists);
        let (made, e) = made.publish(&own, "link/b/file", Existing::Replace).unwrap_err();
        assert!(is_link(&e));
        let (made, e) = made.publish(&own, "none/file", Existing::Keep).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::NotFound);
        made.publish(&own, "a/b/file", Existing::Replace).unwrap();
        assert_eq!(fs::read(at("a/b/file")).unwrap(), b"1");
        // The link itself is replaced.
        NewFile::make(&folder, "x-", 0o600).unwrap().publish(&own, "file", Existing::Replace).unwrap();
        assert!(fs::symlink_metadata(at("file")).unwrap().is_file());
        assert_eq!(fs::read_dir(at("a")).unwrap().count(), 2);
    });
}

#[test]
fn a_removed_folder_is_known() {
    let (dir, own) = folders();
    assert!(!own.is_removed());
    fs::remove_dir_all(dir.path().join("own")).unwrap();
    assert!(own.is_removed());
}
