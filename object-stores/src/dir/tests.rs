use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use super::*;
use crate::{Etag, ObjectStoreExt};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn store() -> (tempfile::TempDir, DirStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = DirStore::open(dir.path(), Sync::Process).unwrap();
    (dir, store)
}

fn put(store: &DirStore, at: &str, bytes: &'static str) -> Etag {
    store.put(&key(at), bytes.into(), PutMode::Overwrite).unwrap().etag.unwrap()
}

fn listed(store: &DirStore) -> Vec<String> {
    store.list("", None).map(|meta| meta.unwrap().key.to_string()).collect()
}

fn lock(store: &DirStore, key: &Key) -> locks::Locked {
    store.shared.locks.lock(&Beneath::open(store.root()).unwrap(), key).unwrap().unwrap()
}

fn staged(store: &DirStore) -> usize {
    fs::read_dir(store.root().join(".object-store/tmp")).map_or(0, Iterator::count)
}

#[test]
fn conforms() {
    let outer = tempfile::tempdir().unwrap();
    crate::conformance::run(|| new_in(outer.path(), Sync::Process));
}

#[test]
fn conforms_with_every_put_synced() {
    let outer = tempfile::tempdir().unwrap();
    // Thousands of objects would show nothing more here, and take long.
    for (_, check) in
        crate::conformance::checks().into_iter().filter(|(name, _)| !name.contains("many objects"))
    {
        check(&new_in(outer.path(), Sync::Power));
    }
}

fn new_in(outer: &Path, sync: Sync) -> crate::conformance::Shared {
    let dir = tempfile::tempdir_in(outer).unwrap().keep();
    Arc::new(DirStore::open(dir, sync).unwrap())
}

#[test]
fn a_missing_directory_is_made_by_the_first_put() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("a/b");
    let store = DirStore::open(&path, Sync::Power).unwrap();
    assert!(store.get_opt(&key("x"), None).unwrap().is_none());
    assert!(store.head_opt(&key("x/y")).unwrap().is_none());
    assert_eq!(listed(&store), Vec::<String>::new());
    store.delete(&key("x")).unwrap();
    store.sweep(Duration::ZERO).unwrap();
    assert!(store.put(&key("x"), "1".into(), PutMode::Update(Etag::new("e"))).is_err() || path.exists());
    let other = DirStore::open(outer.path().join("c"), Sync::Process).unwrap();
    assert!(fs::read_dir(outer.path()).unwrap().all(|entry| entry.unwrap().file_name() != "c"));
    put(&store, "x", "1");
    assert!(path.join("x").is_file());
    put(&other, "d/x", "1");
    assert_eq!(DirStore::open(&path, Sync::Process).unwrap().place_of("x"), store.place_of("x"));
    // A user who removes the directory afterwards does so on purpose.
    fs::remove_dir_all(&path).unwrap();
    assert!(store.put(&key("x"), "1".into(), PutMode::Overwrite).is_err());
    // The path leads through a dangling link; then a file is in its place.
    symlink(outer.path().join("e"), outer.path().join("link")).unwrap();
    let through = DirStore::open(outer.path().join("link/f"), Sync::Process).unwrap();
    assert!(through.put(&key("x"), "1".into(), PutMode::Create).is_err());
    fs::write(outer.path().join("file"), "").unwrap();
    assert!(DirStore::open(outer.path().join("file"), Sync::Process).is_err());
    assert!(DirStore::open(outer.path().join("file/f"), Sync::Process).is_err());
}

#[test]
fn an_object_is_an_ordinary_file() {
    let (dir, store) = store();
    put(&store, "a/b c.h5", "bytes");
    let path = dir.path().join("a/b c.h5");
    assert_eq!(fs::read(&path).unwrap(), b"bytes");
    // The file has the permissions of any new file of this user.
    let plain = dir.path().join("plain");
    fs::write(&plain, "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&plain));
    store.delete(&key("a/b c.h5")).unwrap();
    assert!(!dir.path().join("a").exists(), "an emptied directory goes");
    assert!(dir.path().exists());
}

#[test]
fn objects_outlive_the_store() {
    let (dir, store) = store();
    let etag = put(&store, "a", "x");
    drop(store);
    let again = DirStore::open(dir.path(), Sync::Process).unwrap();
    assert_eq!(again.head(&key("a")).unwrap().etag, Some(etag));
}

#[test]
fn reading_leaves_no_trace() {
    let (dir, store) = store();
    assert!(store.get_opt(&key("a"), None).unwrap().is_none());
    assert!(listed(&store).is_empty());
    store.delete(&key("a")).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_removed_root_is_not_recreated() {
    let (dir, store) = store();
    put(&store, "a/b", "x");
    fs::remove_dir_all(dir.path()).unwrap();
    assert_eq!(store.get(&key("a/b"), None).unwrap_err().kind(), ErrorKind::NotFound);
    let refused = store.put(&key("a/b"), "x".into(), PutMode::Overwrite).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert_eq!(refused.raw_os_error(), Some(2));
    assert!(!dir.path().exists());
}

#[test]
fn symbolic_links_are_not_followed() {
    let (dir, store) = store();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "s").unwrap();
    symlink(outside.path(), dir.path().join("out")).unwrap();
    symlink(outside.path().join("secret"), dir.path().join("link")).unwrap();
    for at in ["out/secret", "link", "out"] {
        assert_eq!(store.get(&key(at), None).unwrap_err().kind(), ErrorKind::NotFound, "{at}");
        assert_eq!(store.head(&key(at)).unwrap_err().kind(), ErrorKind::NotFound, "{at}");
        store.delete(&key(at)).unwrap();
        for mode in [PutMode::Overwrite, PutMode::Create] {
            let refused = store.put(&key(at), "x".into(), mode).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unsupported, "{at}");
        }
    }
    let refused = store.put(&key("out/new"), "x".into(), PutMode::Overwrite).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(store.list("out/", None).next().is_none());
    assert!(listed(&store).is_empty());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"s");
}

#[test]
fn the_store_s_own_name_is_reserved() {
    let (_dir, store) = store();
    put(&store, "a", "x");
    for at in [".object-store", ".object-store/tmp/x", "a/.object-store/b"] {
        let at = key(at);
        let kind = |e: Error| e.kind();
        let invalid = ErrorKind::InvalidArgument;
        assert_eq!(store.put(&at, "x".into(), PutMode::Overwrite).map_err(kind).unwrap_err(), invalid);
        assert_eq!(store.get(&at, None).map_err(kind).unwrap_err(), invalid);
        assert_eq!(store.head(&at).map_err(kind).unwrap_err(), invalid);
        assert_eq!(store.delete(&at).map_err(kind).unwrap_err(), invalid);
        assert_eq!(store.put_stream(&at).map_err(kind).unwrap_err(), invalid);
    }
    assert_eq!(listed(&store), ["a"]);
    assert!(store.list(".object-store/", None).next().is_none());
    assert_eq!(listed(&store), ["a"]);
}

#[test]
fn unfinished_files_are_swept_and_files_in_use_are_not() {
    let (_dir, store) = store();
    put(&store, "a", "x");
    let left = store.root().join(".object-store/tmp/put-dead");
    fs::write(&left, "half").unwrap();
    let mut living = store.put_stream(&key("b")).unwrap();
    assert_eq!(store.sweep(Duration::from_secs(60)).unwrap(), 0, "too young");
    assert_eq!(store.sweep(Duration::ZERO).unwrap(), 1);
    assert!(!left.exists());
    living.write(b"y").unwrap();
    living.finish().unwrap();
    assert_eq!(listed(&store), ["a", "b"]);
    // A store's first put removes it, however young it is; the file of a living writer stays.
    let dead = store.root().join(".object-store/tmp/write-dead");
    fs::write(&dead, "half").unwrap();
    let mut living = store.put_stream(&key("b")).unwrap();
    living.write(b"z").unwrap();
    let other = DirStore::open(store.root(), Sync::Process).unwrap();
    put(&other, "c", "x");
    assert!(!dead.exists());
    living.finish().unwrap();
    store.delete(&key("c")).unwrap();
    // A file of an earlier version is removed only if it is old: its writer may be about to lock it.
    fs::write(&left, "half").unwrap();
    put(&DirStore::open(store.root(), Sync::Process).unwrap(), "a", "x");
    assert!(left.exists());
    let file = File::create(&left).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
    drop(file);
    put(&DirStore::open(store.root(), Sync::Process).unwrap(), "a", "x");
    assert!(!left.exists());
    assert_eq!(staged(&store), 0);
}

#[test]
fn nothing_is_left_staged() {
    let (_dir, store) = store();
    let etag = put(&store, "a", "x");
    let modes = [PutMode::Create, PutMode::Update(Etag::new("old")), PutMode::Update(etag)];
    for mode in modes {
        let _ = store.put(&key("a"), "y".into(), mode);
        assert_eq!(staged(&store), 0);
    }
    store.put_stream(&key("a")).unwrap().abort().unwrap();
    drop(store.put_stream(&key("a")).unwrap());
    assert_eq!(staged(&store), 0);
}

#[test]
fn an_etag_is_not_reused_when_the_clock_goes_back() {
    let (_dir, store) = store();
    put(&store, "a", "x");
    let ahead = SystemTime::now() + Duration::from_secs(1000);
    File::options().append(true).open(store.root().join("a")).unwrap().set_modified(ahead).unwrap();
    let stamp = || fs::metadata(store.root().join("a")).unwrap().modified().unwrap();
    let mut before = (store.head(&key("a")).unwrap(), stamp());
    for _ in 0..50 {
        put(&store, "a", "x");
        let now = (store.head(&key("a")).unwrap(), stamp());
        assert!(now.1 > before.1, "stamps of versions increase");
        assert_ne!(now.0.etag, before.0.etag);
        before = now;
    }
}

/// A store with its root inside another store, or with another root inside it, uses the same locks for the objects that
/// both contain.
#[test]
fn stores_of_several_roots_lock_alike() {
    let (dir, outer) = store();
    put(&outer, "sub/deep/x", "0");
    let open = |path: &str| DirStore::open(dir.path().join(path), Sync::Process).unwrap();
    let inner = open("sub");
    let deepest = open("sub/deep");
    put(&deepest, "y", "0");
    let all = [(&outer, key("sub/deep/x")), (&inner, key("deep/x")), (&deepest, key("x"))];
    for (holder, at) in &all {
        // The holder's store makes the lock file first.
        let held = lock(holder, at);
        std::thread::scope(|scope| {
            let waiting = all.each_ref().map(|(store, at)| scope.spawn(|| put(store, at.as_str(), "1")));
            std::thread::sleep(Duration::from_millis(60));
            assert!(waiting.iter().all(|put| !put.is_finished()), "{}", holder.name());
            drop(held);
        });
    }
    let counts: u64 = std::thread::scope(|scope| {
        let count = |(store, at): &(&DirStore, Key)| {
            let mut done = 0;
            while done < 50 {
                let found = store.get(at, None).unwrap();
                let number: u64 = std::str::from_utf8(&found.bytes).unwrap().parse().unwrap();
                let mode = PutMode::Update(found.meta.etag.unwrap());
                done += u64::from(store.put(at, (number + 1).to_string().into_bytes().into(), mode).is_ok());
            }
            done
        };
        let all = all.each_ref().map(|one| scope.spawn(move || count(one)));
        all.into_iter().map(|counted| counted.join().unwrap()).sum()
    });
    assert_eq!(outer.get(&key("sub/deep/x"), None).unwrap().bytes, (counts + 1).to_string());
}

/// The time is independent of the clock of the process that put the object.
#[test]
fn the_time_of_a_put_is_the_file_systems() {
    let (_dir, store) = store();
    put(&store, "a", "x");
    let ahead = SystemTime::now() + Duration::from_secs(365 * 86_400);
    File::options().append(true).open(store.root().join("a")).unwrap().set_modified(ahead).unwrap();
    let modified = store.head(&key("a")).unwrap().modified;
    assert!(modified < SystemTime::now() + Duration::from_secs(3600), "{modified:?}");
}

#[test]
fn an_inode_that_is_reused_gives_another_etag() {
    let (_dir, store) = store();
    let (mut etags, mut inodes) = (std::collections::HashSet::new(), std::collections::HashSet::new());
    for _ in 0..300 {
        assert!(etags.insert(put(&store, "a", "x")));
        inodes.insert(fs::metadata(store.root().join("a")).unwrap().ino());
        store.delete(&key("a")).unwrap();
    }
    // If this fails, the file system does not reuse inodes, and the test shows nothing there.
    eprintln!("{} inodes for {} versions", inodes.len(), etags.len());
}

#[test]
fn an_empty_directory_does_not_hold_a_name() {
    let (dir, store) = store();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    for mode in [PutMode::Create, PutMode::Overwrite] {
        store.put(&key("a/b"), "x".into(), mode).unwrap();
        store.delete(&key("a/b")).unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
    }
    assert_eq!(store.head(&key("a/b")).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(dir.path().join("a/b").exists(), "looking changes nothing");
}

#[test]
fn foreign_files_are_listed_only_if_they_could_be_objects() {
    use std::os::unix::ffi::OsStrExt;
    let (dir, store) = store();
    fs::write(dir.path().join("copied in"), "x").unwrap();
    fs::write(dir.path().join("bad\nname"), "x").unwrap();
    fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"not\xffutf8")), "x").unwrap();
    assert_eq!(listed(&store), ["copied in"]);
    assert_eq!(store.get(&key("copied in"), None).unwrap().bytes, "x");
}

#[test]
fn errors_of_the_system_keep_their_number() {
    let (dir, _) = store();
    fs::write(dir.path().join("file"), "x").unwrap();
    let refused = DirStore::open(dir.path().join("file/below"), Sync::Process).unwrap_err();
    assert!(refused.raw_os_error().is_some(), "{refused}");
    assert!(refused.to_string().contains("file/below"), "{refused}");
}

/// While another process holds the key's lock, as an update does between its comparison and its rename, every operation
/// that could change the key waits. A create, which could not, does not wait.
#[test]
fn whatever_changes_a_key_waits_for_its_lock() {
    let (_dir, store) = store();
    let at = key("held");
    let etag = put(&store, "held", "x");
    let finish = |store: &DirStore| {
        let mut stream = store.put_stream(&key("held")).unwrap();
        stream.write(b"streamed").unwrap();
        stream.finish().map(drop)
    };
    let update = PutMode::Update(etag);
    let acts: [&(dyn Fn() -> Result<()> + std::marker::Sync); 4] = [
        &|| store.put(&at, "updated".into(), update.clone()).map(drop),
        &|| store.put(&at, "overwritten".into(), PutMode::Overwrite).map(drop),
        &|| finish(&store),
        &|| store.delete(&at),
    ];
    for (i, act) in acts.into_iter().enumerate() {
        let held = lock(&store, &at);
        let before = store.head(&at).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(act);
            std::thread::sleep(Duration::from_millis(60));
            assert!(!waiting.is_finished(), "act {i} does not wait");
            assert_eq!(store.head(&at).unwrap(), before, "act {i} changed a key that is locked");
            // The create is refused at once, locked or not.
            let refused = store.put(&at, "created".into(), PutMode::Create).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
            drop(held);
            waiting.join().unwrap().unwrap();
        });
    }
    assert!(store.head_opt(&at).unwrap().is_none());
    let _held = lock(&store, &at);
    store.put(&at, "created".into(), PutMode::Create).unwrap();
}

/// The lock's holder was stopped between its comparison and its rename.
#[test]
fn a_lock_that_is_never_released_is_named_in_the_error() {
    let (_dir, mut store) = store();
    let at = key("held");
    let etag = put(&store, "held", "x");
    let stopped = DirStore::open(store.root(), Sync::Process).unwrap();
    let lock = lock(&stopped, &at);
    Arc::get_mut(&mut store.shared).unwrap().locks.max_time = Duration::from_millis(50);
    let refused = [
        store.put(&at, "y".into(), PutMode::Overwrite).unwrap_err(),
        store.put(&at, "y".into(), PutMode::Update(etag.clone())).unwrap_err(),
        store.delete(&at).unwrap_err(),
    ];
    for error in refused {
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Locked, "{text}");
        assert!(text.contains("/.object-store/locks/") && text.contains("stopped"), "{text}");
    }
    assert_eq!((store.head(&at).unwrap().etag, staged(&store)), (Some(etag), 0));
    drop(lock);
    put(&store, "held", "y");
}

/// Makes a folder of another user, with files of the names and the age that a store removes.
fn somebody_elses(outer: &Path) -> std::path::PathBuf {
    let other = outer.join("other");
    fs::create_dir(&other).unwrap();
    for name in ["write-0123456789abcdef", "put-dead", "thesis.tex", "reserve"] {
        fs::write(other.join(name), "precious").unwrap();
        let file = File::options().append(true).open(other.join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(86_400)).unwrap();
    }
    other
}

fn all_in(folder: &Path) -> Vec<(std::ffi::OsString, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut all: Vec<_> = entries.map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap())).collect();
    all.sort();
    all
}

/// Another user, or an archive, can put links in the place of the store's own folders and files. No file outside is
/// made or deleted.
#[test]
fn links_among_the_stores_own_files_are_not_followed() {
    for link in ["", "/tmp", "/locks", "/reserve", "/locks/*", "/tmp/write-0123456789abcdef"] {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("store");
        let store = DirStore::open(&root, Sync::Process).unwrap();
        put(&store, "a", "x");
        put(&store, "a", "x");
        let own = root.join(".object-store");
        let other = somebody_elses(outer.path());
        let before = all_in(&other);
        let replace = |name: &str, target: &Path| {
            let path = std::path::PathBuf::from(format!("{}{name}", own.display()));
            let _it_may_not_be_there = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            symlink(target, path).unwrap();
        };
        match link {
            "/locks/*" => {
                (0..256).for_each(|n| replace(&format!("/locks/{n:02x}"), &other.join(format!("{n:02x}"))))
            }
            "/reserve" => replace(link, &other.join("reserve")),
            "/tmp/write-0123456789abcdef" => replace(link, &other.join("thesis.tex")),
            _ => replace(link, &other),
        }
        let again = DirStore::open(&root, Sync::Process).unwrap();
        let acts: [&dyn Fn() -> Result<()>; 5] = [
            &|| again.put(&key("b"), "y".into(), PutMode::Create).map(drop),
            &|| again.put(&key("a"), "y".into(), PutMode::Overwrite).map(drop),
            &|| again.put_stream(&key("c")).and_then(PutStream::finish).map(drop),
            &|| again.delete(&key("a")),
            &|| again.sweep(Duration::ZERO).map(drop),
        ];
        for (n, act) in acts.into_iter().enumerate() {
            let done = act();
            let is_folder = ["", "/tmp", "/locks"].contains(&link);
            assert!(n > 0 || done.is_err() == is_folder, "{link}: the first put fails");
            if let Err(e) = done {
                let text = e.to_string();
                assert!(text.contains("symbolic link") || text.contains("no regular file"), "{link}: {text}");
            }
        }
        again.spend_reserve();
        assert!(all_in(&other) == before, "{link}");
        drop(again);
        assert!(all_in(&other) == before, "{link}");
    }
}

/// Folders above a store, such as /tmp, may belong to other users.
#[test]
fn folders_above_the_root_are_not_used() {
    let outer = tempfile::tempdir().unwrap();
    let locks = outer.path().join(".object-store/locks");
    fs::create_dir_all(&locks).unwrap();
    let held: Vec<_> = (0..256).map(|n| File::create(locks.join(format!("{n:02x}"))).unwrap()).collect();
    held.iter().for_each(|file| file.lock().unwrap());
    let mut store = DirStore::open(outer.path().join("mine/store"), Sync::Process).unwrap();
    Arc::get_mut(&mut store.shared).unwrap().locks.max_time = Duration::from_millis(50);
    put(&store, "a/b", "x");
    put(&store, "a/b", "y");
    store.delete(&key("a/b")).unwrap();
    drop(held);
    fs::remove_dir_all(&locks).unwrap();
    symlink("nowhere", &locks).unwrap();
    put(&store, "a/b", "x");
    put(&store, "a/b", "y");
    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 2);
}

/// The sticky bit allows every user to make `.object-store`, and only its owner to remove it.
#[test]
fn in_a_shared_folder_the_stores_own_folder_of_another_user_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("only root can make files of other users");
        return;
    }
    let (dir, store) = store();
    let own = dir.path().join(".object-store");
    fs::create_dir(&own).unwrap();
    let put = |store: &DirStore| store.put(&key("a"), "x".into(), PutMode::Overwrite);
    let owner = |path: &Path, user| std::os::unix::fs::chown(path, Some(user), None).unwrap();
    owner(&own, 65_534);
    put(&store).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let refused = put(&store).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{refused}");
    assert!(refused.to_string().contains("sticky bit"), "{refused}");
    // The owner of the folder around it can replace it in any case.
    owner(dir.path(), 65_534);
    put(&store).unwrap();
    owner(dir.path(), 1);
    owner(&own, nix::unistd::geteuid().as_raw());
    put(&store).unwrap();
}

/// Every user who may make names in the folder may use the store, whatever the first user's umask was.
#[test]
fn the_stores_own_folders_have_the_permissions_of_the_folder_around() {
    let (dir, store) = store();
    for mode in [0o700, 0o777, 0o2770] {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        put(&store, "a", "x");
        put(&store, "a", "y");
        let found = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o7777;
        for path in [".object-store", ".object-store/tmp", ".object-store/locks"] {
            assert_eq!(found(path), mode, "{path}");
        }
        assert_eq!(found(&format!(".object-store/locks/{:02x}", 0x8c)), mode & 0o666);
        fs::remove_dir_all(dir.path().join(".object-store")).unwrap();
    }
}

/// A folder with locks is removed with the last object in it, unless a process holds one of the locks, or the folder is
/// a store's root.
#[test]
fn a_folder_of_locks_is_deleted_with_the_last_object() {
    let (dir, store) = store();
    let exists = |path: &str| dir.path().join(path).exists();
    put(&store, "a/x", "1");
    put(&store, "a/y", "1");
    put(&store, "a/y", "2");
    store.delete(&key("a/x")).unwrap();
    assert!(exists("a/.object-store/locks"));
    store.delete(&key("a/y")).unwrap();
    assert!(!exists("a"));
    put(&store, "a/x", "1");
    let held = lock(&store, &key("a/z"));
    store.delete(&key("a/x")).unwrap();
    assert!(exists("a/.object-store/locks"));
    drop(held);
    put(&store, "a/x", "1");
    fs::write(dir.path().join("a/.object-store/locks/mine"), "").unwrap();
    store.delete(&key("a/x")).unwrap();
    assert!(exists("a/.object-store/locks/mine"));
    // A directory that contains only locks holds no object.
    fs::remove_file(dir.path().join("a/.object-store/locks/mine")).unwrap();
    put(&store, "a", "1");
    store.delete(&key("a")).unwrap();
    let inner = DirStore::open(dir.path().join("a"), Sync::Process).unwrap();
    put(&inner, "x", "1");
    store.delete(&key("a/x")).unwrap();
    assert!(exists("a/.object-store/tmp"));
    put(&inner, "x", "1");
}

/// No two writers hold the same lock while a third one removes empty folders of locks.
#[test]
fn a_lock_whose_file_was_removed_is_no_lock() {
    let (_dir, store) = store();
    let holders = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..200 {
                    put(&store, "a/y", "1");
                    store.delete(&key("a/y")).unwrap();
                }
            });
            scope.spawn(|| {
                for _ in 0..200 {
                    // The folder itself is not made for a lock.
                    put(&store, "a/x", "1");
                    let root = Beneath::open(store.root()).unwrap();
                    let Some(locked) = store.shared.locks.lock(&root, &key("a/z")).unwrap() else { continue };
                    assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                    std::thread::yield_now();
                    holders.fetch_sub(1, Ordering::SeqCst);
                    drop(locked);
                    store.delete(&key("a/x")).unwrap();
                }
            });
        }
    });
}
