//! Containers in a file: creating, replacing, pinned readers, copies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::files::{create, opts, read, write};
use common::work::{Map, content, data, work};
use h5lake_ledger::{Access, ErrorKind, Extent, Ledger, LockPolicy, Options, Probe, Replace, SyncPolicy};

#[test]
fn a_new_container_is_small_and_closed_files_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let l = create(&path);
    assert_eq!(l.version(), 0);
    assert!(l.size().unwrap() <= 8192);
    l.put(b"k", "v").unwrap();
    assert_eq!(l.staged_bytes(), 2);
    assert_eq!(l.commit().unwrap(), 1);
    assert_eq!(l.commit().unwrap(), 1, "nothing is staged");
    l.put(b"lost", "v").unwrap();
    drop(l);
    let r = read(&path);
    assert_eq!(r.get(b"k").unwrap().unwrap(), "v");
    assert_eq!(r.get(b"lost").unwrap(), None, "dropping a handle commits nothing");
    assert_eq!(r.put(b"k", "w").unwrap_err().kind(), &ErrorKind::ReadOnly);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666 & !umask());
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing is left beside");
}

fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("Umask:")).unwrap();
    u32::from_str_radix(line[6..].trim(), 8).unwrap()
}

#[test]
fn errors_have_their_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let errno = |r: h5lake_ledger::Result<Ledger>| r.unwrap_err().errno();
    assert_eq!(errno(Ledger::open_file(&path, Access::ReadOnly, opts())), Some(2));
    assert_eq!(errno(Ledger::open_file(dir.path(), Access::ReadOnly, opts())), Some(21));
    assert_eq!(errno(Ledger::create_file(dir.path(), Replace::Atomically, opts())), Some(21));
    let nowhere = dir.path().join("no/such/a.h5");
    let missing = Ledger::create_file(&nowhere, Replace::Fail, opts()).unwrap_err();
    assert_eq!(missing.errno(), Some(2));
    assert!(missing.to_string().contains("no/such' does not exist"), "{missing}");
    let l = create(&path);
    assert_eq!(errno(Ledger::create_file(&path, Replace::Fail, opts())), Some(17));
    let locked = Ledger::open_file(&path, Access::ReadWrite, opts()).unwrap_err();
    assert_eq!(locked.errno(), Some(11));
    let text = locked.to_string();
    assert!(text.contains(&std::process::id().to_string()) && text.contains("a.h5"), "{text}");
    assert_eq!(errno(Ledger::create_file(&path, Replace::Atomically, opts())), Some(11));
    assert!(l.put(&vec![0; (64 << 10) + 1], "").unwrap_err().errno() == Some(22));
}

#[test]
fn a_damage_error_mentions_salvaging() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let l = create(&path);
    let payload = l.write_payload(&[b'p'; 5000]).unwrap();
    for value in ["first", "second"] {
        l.put(b"k", value).unwrap();
        l.commit().unwrap();
    }
    drop(l);
    let whole = fs::read(&path).unwrap();
    let damaged = |spots: &[&[u8]]| {
        let mut bytes = whole.clone();
        for spot in spots {
            let at = bytes.windows(spot.len()).position(|found| found == *spot).unwrap();
            bytes[at] ^= 1;
        }
        fs::write(&path, bytes).unwrap();
    };
    let open = |salvage| Ledger::open_file(&path, Access::ReadOnly, Options { salvage, ..opts() });
    damaged(&[b"second"]);
    let text = open(false).unwrap_err().to_string();
    assert!(text.contains("or open it to read with salvage=yes"), "{text}");
    assert_eq!(open(true).unwrap().get(b"k").unwrap().unwrap(), "first");
    damaged(&[b"first", b"second"]);
    let text = open(true).unwrap_err().to_string();
    assert!(text.contains("salvage=yes is set") && !text.contains("open it to read"), "{text}");
    // This damage does not prevent an open.
    damaged(&[&[b'p'; 5000]]);
    for salvage in [false, true] {
        let text = open(salvage).unwrap().read_payload(&payload, 0, &mut [0; 5000]).unwrap_err().to_string();
        assert!(text.contains("damaged") && !text.contains("salvage"), "{text}");
    }
}

#[test]
fn files_are_recognised_and_only_ours_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    assert_eq!(Ledger::probe_file(&path).unwrap(), Probe::NotFound);
    assert_eq!(Ledger::probe_file(dir.path()).unwrap(), Probe::Other);
    let native = b"\x89HDF\r\n\x1a\n\x03\x08\x08\0more than sixteen bytes";
    let behind = [vec![0; 1024], native.to_vec()].concat();
    let pointer = b"\x89HDF\r\n\x1a\n\x4Ch5lptr\0s3://bucket/key".to_vec();
    for (bytes, probe) in [
        (Vec::new(), Probe::Other),
        (b"text".to_vec(), Probe::Other),
        (native.to_vec(), Probe::NativeHdf5),
        (behind, Probe::NativeHdf5),
        (pointer, Probe::Pointer),
    ] {
        fs::write(&path, &bytes).unwrap();
        assert_eq!(Ledger::probe_file(&path).unwrap(), probe);
        let refused = Ledger::remove_file(&path, &opts()).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::NotAContainer { .. }), "{refused}");
        let refused = Ledger::open_file(&path, Access::ReadOnly, opts()).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::NotAContainer { .. }), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    drop(Ledger::create_file(&path, Replace::Atomically, opts()).unwrap());
    assert_eq!(Ledger::probe_file(&path).unwrap(), Probe::Container);
    Ledger::remove_file(&path, &opts()).unwrap();
    assert_eq!(Ledger::probe_file(&path).unwrap(), Probe::NotFound);
}

#[test]
fn a_user_block_is_kept_and_found() {
    let dir = tempfile::tempdir().unwrap();
    for (n, user_block) in [512u64, 1024, 65536].into_iter().enumerate() {
        let path = dir.path().join(format!("{n}.h5"));
        let o = Options { user_block, ..opts() };
        let l = Ledger::create_file(&path, Replace::Fail, o).unwrap();
        let states = work(&l, &Map::new(), 10).1;
        l.close().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        assert!(bytes[..user_block as usize].iter().all(|b| *b == 0));
        bytes[..user_block as usize].fill(b'#');
        fs::write(&path, bytes).unwrap();
        assert_eq!(Ledger::probe_file(&path).unwrap(), Probe::Container);
        let l = write(&path);
        assert!(content(&l).unwrap() == states[10]);
        let states = work(&l, &states[10], 10).1;
        l.close().unwrap();
        assert!(content(&read(&path)).unwrap() == states[10]);
        assert!(fs::read(&path).unwrap()[..user_block as usize].iter().all(|b| *b == b'#'));
    }
    for user_block in [1, 511, 768] {
        let o = Options { user_block, ..opts() };
        let refused = Ledger::create_file(&dir.path().join("x"), Replace::Fail, o).unwrap_err();
        assert_eq!(refused.errno(), Some(22));
    }
}

#[test]
fn replacing_keeps_links_permissions_and_readers() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real.h5"), dir.path().join("link.h5"));
    let l = create(&real);
    let states = work(&l, &Map::new(), 5).1;
    l.close().unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("real.h5", &link).unwrap();
    let reader = read(&link);
    let new = Ledger::create_file(&link, Replace::Atomically, opts()).unwrap();
    assert_ne!(reader.identity(), new.identity());
    new.put(b"new", "1").unwrap();
    new.commit().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(content(&reader).unwrap() == states[5]);
    assert!(!reader.refresh().unwrap(), "the old file has no news");
    assert_eq!(read(&real).get(b"new").unwrap().unwrap(), "1");
    // A dangling link is followed when its target is replaced, as open(2) with O_CREAT does.
    let (dangling, end) = (dir.path().join("dangling.h5"), dir.path().join("end.h5"));
    symlink("end.h5", &dangling).unwrap();
    drop(Ledger::create_file(&dangling, Replace::Atomically, opts()).unwrap());
    assert_eq!(Ledger::probe_file(&end).unwrap(), Probe::Container);
}

#[test]
fn two_opens_of_one_file_have_one_identity_and_copies_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.h5"), dir.path().join("b.h5"));
    let l = create(&a);
    fs::copy(&a, &b).unwrap();
    assert_eq!(l.identity(), read(&a).identity());
    let copy = read(&b);
    assert_eq!(l.identity().id, copy.identity().id);
    assert_ne!(l.identity(), copy.identity());
}

#[test]
fn freed_space_is_used_again_and_a_pinned_reader_keeps_its_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let l = create(&path);
    let mut old: Option<Extent> = None;
    let overwrite = |l: &Ledger, old: &mut Option<Extent>, n: u64| {
        let e = l.write_payload(&data(n, 100_000)).unwrap();
        if let Some(old) = old.replace(e.clone()) {
            l.free_payload(&old).unwrap();
        }
        l.put(b"chunk", e.to_bytes()).unwrap();
        l.put(format!("k{}", n % 7).as_bytes(), data(n, 500)).unwrap();
        l.commit().unwrap();
    };
    (0..1000).for_each(|n| overwrite(&l, &mut old, n));
    let bounded = l.size().unwrap();
    assert!(bounded < 1_000_000, "{bounded} bytes for a live payload of 100,000");
    let r = Ledger::open_file(&path, Access::ReadOnly, Options { cache_bytes: 0, ..opts() }).unwrap();
    let check = |r: &Ledger, n: u64| {
        let e = Extent::decode(&r.get(b"chunk").unwrap().unwrap()).unwrap().0;
        let mut buf = vec![0; 100_000];
        r.read_payload(&e, 0, &mut buf).unwrap();
        assert!(buf == data(n, 100_000));
        assert_eq!(r.scan_prefix(b"k", None, 100).unwrap().len(), 7);
    };
    check(&r, 999);
    for n in 1000..1100 {
        overwrite(&l, &mut old, n);
        check(&r, 999);
    }
    assert!(l.size().unwrap() > 100 * 100_000 / 2, "a pinned snapshot's successors wait");
    assert!(r.refresh().unwrap());
    check(&r, 1099);
    drop(r);
    let before = l.size().unwrap();
    (1100..2000).for_each(|n| overwrite(&l, &mut old, n));
    assert!(l.size().unwrap() <= before, "what waited is used again");
    l.close().unwrap();
    let l = write(&path);
    let old = Extent::decode(&l.get(b"chunk").unwrap().unwrap()).unwrap().0;
    l.free_payload(&old).unwrap();
    assert_eq!(l.free_payload(&old).unwrap_err().errno(), Some(22), "freed twice");
}

#[test]
fn readers_in_threads_see_whole_versions_while_a_writer_writes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let l = create(&path);
    let stop = AtomicBool::new(false);
    // Version n has n in every key, and a payload of n.
    let commit = |n: u64| {
        for k in 0..20 {
            if let Some(v) = l.get(format!("p{k}").as_bytes()).unwrap() {
                l.free_payload(&Extent::decode(&v).unwrap().0).unwrap();
            }
            let e = l.write_payload(&data(n, 3000 + k)).unwrap();
            l.put(format!("p{k}").as_bytes(), e.to_bytes()).unwrap();
            l.put(format!("n{k}").as_bytes(), n.to_le_bytes().to_vec()).unwrap();
        }
        assert_eq!(l.commit().unwrap(), n);
    };
    commit(1);
    std::thread::scope(|s| {
        for id in 0..3 {
            let (path, stop) = (&path, &stop);
            s.spawn(move || {
                let mut r = read(path);
                let mut last = 0;
                while !stop.load(Ordering::Relaxed) {
                    let v = r.version();
                    assert!(v >= last);
                    last = v;
                    for (k, n) in r.scan_prefix(b"n", None, 100).unwrap() {
                        assert_eq!(n, v.to_le_bytes()[..], "{k:?}");
                    }
                    for (k, e) in r.scan_prefix(b"p", None, 100).unwrap() {
                        let e = Extent::decode(&e).unwrap().0;
                        let mut buf = vec![0; e.len() as usize];
                        r.read_payload(&e, 0, &mut buf).unwrap_or_else(|e| panic!("{k:?} of {v}: {e}"));
                        assert!(buf == data(v, e.len()), "{k:?}");
                    }
                    if id == 0 {
                        r = read(path);
                    } else {
                        r.refresh().unwrap();
                    }
                }
            });
        }
        (2..600).for_each(commit);
        stop.store(true, Ordering::Relaxed);
    });
}

/// Stops a background loop when this is dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_plain_copy_of_a_live_container_opens() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("a.h5"), dir.path().join("copy.h5"));
    let o = Options { checkpoint_bytes: 20_000, ..Options::default() };
    let l = Ledger::create_file(&path, Replace::Fail, o.clone()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut state = Map::new();
            // Fewer commits than would quarantine 1 MiB, from which amount on freed space is not quarantined for two
            // seconds; and slower than a copy reads the data that it needs.
            for _ in (0..12).take_while(|_| !stop.load(Ordering::Relaxed)) {
                state = work(&l, &state, 5).1[5].clone();
                std::thread::sleep(Duration::from_millis(15));
            }
        });
        // The loop must stop also if an assertion fails here; otherwise the writer would continue for ever.
        let _end = Stop(&stop);
        for _ in 0..50 {
            fs::copy(&path, &copy).unwrap();
            let c = Ledger::open_file(&copy, Access::ReadWrite, o.clone()).unwrap();
            let state = content(&c).unwrap();
            work(&c, &state, 2).2.unwrap();
        }
    });
}

#[test]
fn without_locks_a_second_writer_is_stopped_at_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let o = Options { lock: LockPolicy::Off, ..opts() };
    let a = Ledger::create_file(&path, Replace::Fail, o.clone()).unwrap();
    let b = Ledger::open_file(&path, Access::ReadWrite, o).unwrap();
    a.put(b"k", "a").unwrap();
    a.commit().unwrap();
    b.put(b"k", "b").unwrap();
    assert_eq!(b.commit().unwrap_err().kind(), &ErrorKind::Conflict);
    assert_eq!(b.put(b"k", "b").unwrap_err().kind(), &ErrorKind::Conflict, "it has to be reopened");
    assert_eq!(read(&path).get(b"k").unwrap().unwrap(), "a");
}

#[test]
fn synced_commits_work() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let o = Options { sync: SyncPolicy::Commit, ..opts() };
    let l = Ledger::create_file(&path, Replace::Atomically, o).unwrap();
    let states = work(&l, &Map::new(), 3).1;
    assert!(content(&read(&path)).unwrap() == states[3]);
}

/// Reads parts of all lengths, which begin and end in the middle of blocks and at their ends.
#[test]
fn any_part_of_a_payload_is_read_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let l = create(&path);
    let data: Vec<u8> =
        (0..2_400_001u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    let e = l.write_payload(&data).unwrap();
    l.put(b"e", e.to_bytes()).unwrap();
    l.commit().unwrap();
    let reader = read(&path);
    const BLOCK: usize = 16 << 10;
    let edges =
        [0, 1, 100, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, (1 << 20) - 5, (1 << 20) + BLOCK, 2_400_001];
    let from = |a: usize| edges.into_iter().filter(move |b| a <= *b).map(move |b| a..b);
    let parts: Vec<_> = edges.into_iter().flat_map(from).collect();
    let part = |l: &Ledger, r: &std::ops::Range<usize>| {
        let mut buf = vec![0; r.len()];
        let read = l.read_payload(&e, r.start as u64, &mut buf);
        let mut viewed = Vec::new();
        let view = l.view_payload(&e, r.start as u64..r.end as u64, |bytes| viewed = bytes.to_vec());
        assert_eq!(read.is_ok(), view.is_ok(), "{r:?}");
        read.map(|()| {
            assert!(buf == viewed, "{r:?}");
            buf
        })
    };
    for r in &parts {
        for l in [&l, &reader] {
            assert!(part(l, r).unwrap() == data[r.clone()], "{r:?}");
        }
    }
    let whole = fs::read(&path).unwrap();
    let begin = whole.windows(64).position(|w| w == &data[..64]).unwrap();
    for bad in [50, BLOCK, 2 * BLOCK + 9, (1 << 20) - 1, 1 << 20, 2_400_000] {
        let mut damaged = whole.clone();
        damaged[begin + bad] ^= 16;
        fs::write(&path, &damaged).unwrap();
        for r in parts.iter().filter(|r| !r.is_empty()) {
            let touched = r.start / BLOCK <= bad / BLOCK && bad / BLOCK <= (r.end - 1) / BLOCK;
            match part(&reader, r) {
                Ok(found) => assert!(!touched && found == data[r.clone()], "byte {bad}, {r:?}"),
                Err(e) => {
                    assert!(touched && matches!(e.kind(), ErrorKind::Corrupt { .. }), "byte {bad}, {r:?}")
                }
            }
        }
    }
    for outside in [2_400_002..2_400_002, 5..2_400_002] {
        assert!(part(&reader, &outside).is_err());
    }
}

#[test]
fn vacuum_makes_a_file_shorter() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let l = create(&path);
    l.put(b"small", "kept").unwrap();
    let e = l.write_payload(&data(1, 5 << 20)).unwrap();
    l.put(b"big", e.to_bytes()).unwrap();
    l.commit().unwrap();
    l.delete(b"big").unwrap();
    l.free_payload(&e).unwrap();
    l.commit().unwrap();
    // The first vacuum writes after the payload; the next ones fill the space before it and truncate the file.
    let freed: u64 = (0..3).map(|_| l.vacuum().unwrap()).sum();
    assert!(freed >= 5 << 20, "{freed}");
    assert!(l.size().unwrap() < 100_000, "{}", l.size().unwrap());
    l.close().unwrap();
    assert_eq!(read(&path).get(b"small").unwrap().unwrap(), "kept");
}

/// A file that is opened, rewritten as a whole and closed repeatedly takes the space of the old and the new data, and a
/// quarter more.
#[test]
fn rewriting_a_file_again_and_again_does_not_let_it_grow() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    drop(Ledger::create_file(&path, Replace::Fail, Options::default()).unwrap());
    let (pieces, piece) = (16u64, 512u64 << 10);
    let mut longest = 0;
    for round in 0..8 {
        let l = Ledger::open_file(&path, Access::ReadWrite, Options::default()).unwrap();
        for n in 0..pieces {
            let key = n.to_be_bytes();
            let new = l.write_payload(&data(round * pieces + n, piece)).unwrap();
            if let Some(old) = l.replace(&key, new.to_bytes()).unwrap() {
                l.free_payload(&Extent::decode(&old).unwrap().0).unwrap();
            }
        }
        l.commit_to_close().unwrap();
        l.close().unwrap();
        longest = longest.max(fs::metadata(&path).unwrap().len());
    }
    let live = pieces * piece;
    assert!(longest < live * 9 / 4 + (256 << 10), "{longest} bytes for {live}");
}
