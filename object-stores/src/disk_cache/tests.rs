use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::{Damage, FaultStore, MemoryStore, Rule, TraceStore};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn data(n: usize) -> Vec<u8> {
    (0..n as u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).take(n).collect()
}

struct Cached {
    trace: TraceStore,
    store: DiskCache,
    dir: tempfile::TempDir,
}

/// Returns a store with one object of a little more than 3 MiB, read through a cache; the requests to the store are
/// counted.
fn cached(bound: u64) -> Cached {
    let dir = tempfile::tempdir().unwrap();
    let trace = TraceStore::new(Arc::new(MemoryStore::new()));
    let store = again(&trace, dir.path(), bound);
    trace.put(&key("pack/a"), data((3 << 20) + 5).into(), PutMode::Create).unwrap();
    trace.reset();
    Cached { trace, store, dir }
}

fn again(trace: &TraceStore, dir: &Path, bound: u64) -> DiskCache {
    DiskCache::open(Arc::new(trace.clone()), dir, bound, |key| key.as_str().starts_with("pack/")).unwrap()
}

fn gets(trace: &TraceStore) -> u64 {
    trace.count(Operation::Get).requests + trace.count(Operation::GetInto).requests
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let below = |path: &Path| fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
    below(dir).iter().flat_map(|folder| below(folder)).collect()
}

/// Blocks that other users may have put there are not trusted.
#[test]
fn a_shared_cache_directory_has_a_folder_per_user() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let shared = tempfile::tempdir().unwrap();
    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(blocks::make(shared.path()).unwrap(), shared.path().canonicalize().unwrap());
    allow(shared.path(), 0o1777);
    let own = blocks::make(shared.path()).unwrap();
    assert_eq!(own.parent().unwrap(), shared.path().canonicalize().unwrap());
    assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(blocks::make(shared.path()).unwrap(), own);
    allow(&own, 0o777);
    assert_eq!(blocks::make(shared.path()).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    fs::remove_dir(&own).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), &own).unwrap();
    assert!(blocks::make(shared.path()).is_err(), "a link leads elsewhere");
}

#[test]
fn conforms_with_and_without_caching() {
    for keeps in [false, true] {
        let outer = tempfile::tempdir().unwrap();
        crate::conformance::run(|| {
            let dir = tempfile::tempdir_in(outer.path()).unwrap().keep();
            Arc::new(DiskCache::open(Arc::new(MemoryStore::new()), &dir, 1 << 30, move |_| keeps).unwrap())
        });
    }
}

#[test]
fn a_cached_block_ends_with_the_crc_32c_of_its_bytes() {
    let c = cached(1 << 30);
    c.store.get(&key("pack/a"), Some((3 << 20)..(3 << 20) + 5)).unwrap();
    let file = fs::read(&files(c.dir.path())[0]).unwrap();
    let (body, sum) = file.split_at(file.len() - 4);
    // The definition of CRC-32C, bit by bit.
    let crc = !body.iter().fold(!0_u32, |crc, b| {
        (0..8).fold(crc ^ u32::from(*b), |c, _| if c & 1 == 1 { c >> 1 ^ 0x82F6_3B78 } else { c >> 1 })
    });
    assert_eq!(sum, crc.to_le_bytes());
}

#[test]
fn a_second_read_is_local_in_another_process_too() {
    let c = cached(1 << 30);
    let whole = data((3 << 20) + 5);
    let parts = [0..10, 100..400_000, (1 << 20) - 1..(1 << 20) + 1, (3 << 20) - 1..(3 << 20) + 5];
    for part in &parts {
        let got = c.store.get(&key("pack/a"), Some(part.clone())).unwrap();
        assert!(got.bytes == whole[part.start as usize..part.end as usize], "{part:?}");
        assert_eq!(got.meta, c.trace.head(&key("pack/a")).unwrap());
    }
    assert!(c.trace.sum(|_| true).bytes < 2 << 20, "what is not touched is not fetched");
    c.trace.reset();
    // Like another process, the new cache knows nothing but the directory.
    folders().clear();
    let other = again(&c.trace, c.dir.path(), 1 << 30);
    for store in [&c.store, &other] {
        for part in &parts {
            let mut buf = vec![0; (part.end - part.start) as usize];
            store.get_into(&key("pack/a"), part.start, &mut buf).unwrap();
            assert!(buf == whole[part.start as usize..part.end as usize], "{part:?}");
        }
        // The range extends beyond the end, which is known without a request.
        let got = store.get(&key("pack/a"), Some((3 << 20)..(9 << 20))).unwrap();
        assert_eq!(got.bytes.len(), 5);
    }
    assert_eq!(gets(&c.trace), 0);
    // An object that is not immutable is requested each time.
    c.trace.put(&key("head"), "1".into(), PutMode::Create).unwrap();
    assert_eq!(c.store.get(&key("head"), Some(0..1)).unwrap().bytes, "1");
    c.trace.put(&key("head"), "2".into(), PutMode::Overwrite).unwrap();
    assert_eq!(c.store.get(&key("head"), Some(0..1)).unwrap().bytes, "2");
}

#[test]
fn a_block_of_another_version_with_an_equal_etag_is_not_taken() {
    let c = cached(1 << 30);
    let version = c.store.head(&key("pack/a")).unwrap();
    let later =
        ObjectMeta { modified: version.modified + std::time::Duration::from_secs(5), ..version.clone() };
    let longer = ObjectMeta { size: version.size + 1, ..version.clone() };
    for version in [version, later, longer] {
        for fetched in [1, 1] {
            c.store.get_unchanged(&key("pack/a"), 0..10, &version).unwrap();
            assert_eq!(gets(&c.trace), fetched, "{version:?}");
        }
        c.trace.reset();
    }
}

#[test]
fn changes_run_concurrently() {
    let at_once = crate::at_longer_latencies(
        std::time::Duration::from_millis(20),
        |most| *most > 2,
        |per_request| {
            let dir = tempfile::tempdir().unwrap();
            let pace = crate::Pace { per_request, ..crate::Pace::default() };
            let far = crate::LatencyStore::new(Arc::new(MemoryStore::new()), pace);
            let trace = TraceStore::new(Arc::new(far));
            let store = again(&trace, dir.path(), 1 << 30);
            trace.start_journal();
            std::thread::scope(|s| {
                for n in 0..4 {
                    let store = &store;
                    s.spawn(move || {
                        store.put(&key(&format!("pack/{n}")), "x".into(), PutMode::Create).unwrap()
                    });
                }
            });
            crate::most_at_once(&trace.take_journal())
        },
    );
    assert!(at_once > 2, "{at_once}");
}

#[test]
fn a_store_of_this_process_alone_has_no_cache() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Arc::new(MemoryStore::new());
    let store = DiskCache::open_if_possible(memory, dir.path(), 1 << 30, |_| true);
    store.put(&key("a"), "x".into(), PutMode::Create).unwrap();
    assert_eq!(store.get(&key("a"), Some(0..1)).unwrap().bytes, "x");
    assert!(files(dir.path()).is_empty());
}

#[test]
fn a_truncated_answer_is_an_error_and_not_cached() {
    let dir = tempfile::tempdir().unwrap();
    let faults = FaultStore::new(Arc::new(MemoryStore::new()));
    let own = |key: &Key| key.as_str().starts_with("pack/");
    let store = DiskCache::open(Arc::new(faults.clone()), dir.path(), 1 << 30, own).unwrap();
    let whole = data(300_000);
    store.put(&key("pack/a"), whole.clone().into(), PutMode::Create).unwrap();
    for cut in [0, 5, 262_144, 299_999] {
        faults.inject(Rule::damage_nth(0, Damage::Cut(cut)));
        let mut part = vec![0; 300_000];
        let error = store.get_into(&key("pack/a"), 0, &mut part).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ShortRead, "{cut}: {error}");
        assert!(files(dir.path()).is_empty(), "{cut}");
    }
    assert!(store.get(&key("pack/a"), Some(0..300_000)).unwrap().bytes == whole);
}

#[test]
fn a_damaged_file_is_fetched_again() {
    let c = cached(1 << 30);
    let whole = data((3 << 20) + 5);
    let read = || c.store.get(&key("pack/a"), Some(0..whole.len() as u64)).unwrap().bytes;
    assert!(read() == whole);
    let damage: [fn(&mut Vec<u8>); 5] = [
        |bytes| bytes[3] ^= 1,
        |bytes| *bytes.last_mut().unwrap() ^= 0x80,
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.clear(),
        |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        },
    ];
    for (n, damage) in damage.into_iter().enumerate() {
        let path = &files(c.dir.path())[n];
        let mut bytes = fs::read(path).unwrap();
        damage(&mut bytes);
        fs::write(path, bytes).unwrap();
        c.trace.reset();
        assert!(read() == whole, "damage {n}");
        assert_eq!(gets(&c.trace), 1, "the damaged block alone");
        assert!(read() == whole);
        assert_eq!(gets(&c.trace), 1, "and then it is here again");
    }
    // The file contains a valid block of the same object, but another one.
    let all = files(c.dir.path());
    let kept: Vec<_> = all.iter().map(|path| fs::read(path).unwrap()).collect();
    for (n, path) in all.iter().enumerate() {
        fs::write(path, &kept[(n + 1) % kept.len()]).unwrap();
    }
    assert!(read() == whole, "blocks that changed places");
    // The file contains a valid block of another object, under this one's name.
    let c2 = cached(1 << 30);
    c2.trace.put(&key("pack/b"), vec![9; 100].into(), PutMode::Create).unwrap();
    c2.store.get(&key("pack/b"), Some(0..100)).unwrap();
    let foreign = files(c2.dir.path()).pop().unwrap();
    for path in files(c.dir.path()) {
        fs::copy(&foreign, path).unwrap();
    }
    assert!(read() == whole);
}

#[test]
fn the_bound_holds_and_files_in_use_are_retained() {
    let bound = 8 << 20;
    let c = cached(bound);
    for n in 0..40 {
        c.trace.put(&key(&format!("pack/{n}")), data(1 << 20).into(), PutMode::Create).unwrap();
        c.store.get(&key(&format!("pack/{n}")), Some(0..1 << 20)).unwrap();
        let used: u64 = files(c.dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
        assert!(used <= bound + bound / 16, "{used} after {n}");
    }
    c.trace.reset();
    c.store.get(&key("pack/39"), Some(0..1 << 20)).unwrap();
    assert_eq!(gets(&c.trace), 0, "the newest is here");
    c.store.get(&key("pack/0"), Some(0..1 << 20)).unwrap();
    assert!(gets(&c.trace) > 0, "the oldest had to go");
}

#[test]
fn a_directory_that_cannot_be_used_costs_no_more_than_requests() {
    let c = cached(1 << 30);
    c.store.get(&key("pack/a"), Some(0..10)).unwrap();
    fs::remove_dir_all(c.dir.path()).unwrap();
    fs::write(c.dir.path(), "in the way").unwrap();
    assert_eq!(c.store.get(&key("pack/a"), Some(0..10)).unwrap().bytes, data(10));
    assert!(DiskCache::open(Arc::new(MemoryStore::new()), c.dir.path(), 1, |_| true).is_err());
    fs::remove_file(c.dir.path()).unwrap();
    fs::create_dir(c.dir.path()).unwrap();
}

#[test]
fn threads_and_directories_are_shared() {
    let c = cached(2 << 20);
    let whole = data((3 << 20) + 5);
    std::thread::scope(|s| {
        for n in 0..6 {
            let (c, whole) = (&c, &whole);
            s.spawn(move || {
                folders().clear();
                let store = again(&c.trace, c.dir.path(), 2 << 20);
                for step in 0..60u64 {
                    let from = (step * 977_777 + n * 13) % (3 << 20);
                    let to = (from + 300_000).min(whole.len() as u64);
                    let got = store.get(&key("pack/a"), Some(from..to)).unwrap();
                    assert!(got.bytes == whole[from as usize..to as usize]);
                }
            });
        }
    });
}

/// An unpacked archive may contain a folder of links, and another user can make one in a folder that was writable for a
/// while.
#[test]
fn links_and_pipes_in_the_cache_are_not_opened() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let private = tempfile::tempdir().unwrap();
    let name = format!("{:032x}-0", 7);
    for name in [&*name, ".new-123456", "thesis.tex"] {
        fs::write(private.path().join(name), "precious".repeat(10_000)).unwrap();
    }
    let c = cached(1 << 20);
    for n in 0..256 {
        symlink(private.path(), c.dir.path().join(format!("{n:02x}"))).unwrap();
    }
    let whole = data((3 << 20) + 5);
    let read = |c: &Cached| {
        let got = c.store.get(&key("pack/a"), Some(0..whole.len() as u64)).unwrap();
        assert!(got.bytes == whole[..]);
    };
    read(&c);
    c.store.delete(&key("pack/a")).unwrap();
    assert_eq!(fs::read_dir(private.path()).unwrap().count(), 3);
    // The blocks themselves are pipes, links and too long files, in folders that every user may write to.
    let c = cached(1 << 30);
    read(&c);
    for (n, path) in files(c.dir.path()).into_iter().enumerate() {
        fs::remove_file(&path).unwrap();
        match n % 3 {
            0 => nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            1 => symlink(private.path().join("thesis.tex"), &path).unwrap(),
            _ => fs::File::create(&path).unwrap().set_len(1 << 40).unwrap(),
        }
    }
    read(&c);
    assert_eq!(fs::read(private.path().join("thesis.tex")).unwrap().len(), 80_000);
    c.trace.reset();
    read(&c);
    assert_eq!(gets(&c.trace), 0, "blocks have taken the places of what was none");
    for folder in fs::read_dir(c.dir.path()).unwrap() {
        fs::set_permissions(folder.unwrap().path(), fs::Permissions::from_mode(0o777)).unwrap();
    }
    read(&c);
    assert!(gets(&c.trace) > 0);
}
