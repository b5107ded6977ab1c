//! One file in several processes: the writer's lock, pinned readers, writers that are killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::files::{create, opts, read, write};
use common::work::{Map, content, data, work};
use h5lake_ledger::{Access, ErrorKind, Extent, Ledger, Options};

fn other_process(helper: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", helper, "--ignored", "--nocapture"])
        .env("H5LAKE_TEST_FILE", path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn given() -> std::path::PathBuf {
    std::env::var_os("H5LAKE_TEST_FILE").unwrap().into()
}

fn wait_for(path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "no {}", path.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
#[ignore = "run by another test in a process of its own"]
fn helper_holds_the_writers_lock() {
    let path = given();
    let _l = write(&path);
    fs::write(path.with_extension("ready"), "").unwrap();
    std::thread::sleep(Duration::from_secs(120));
}

#[test]
fn the_writers_lock_dies_with_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    create(&path).close().unwrap();
    let mut child = other_process("helper_holds_the_writers_lock", &path);
    wait_for(&path.with_extension("ready"));
    let refused = Ledger::open_file(&path, Access::ReadWrite, opts()).unwrap_err();
    match refused.kind() {
        ErrorKind::Locked { holder: Some(h), .. } => assert_eq!(h.pid, child.id()),
        other => panic!("{other:?}"),
    }
    drop(read(&path));
    child.kill().unwrap();
    child.wait().unwrap();
    drop(write(&path));
}

#[test]
#[ignore = "run by another test in a process of its own"]
fn helper_keeps_a_snapshot() {
    let path = given();
    let r = Ledger::open_file(&path, Access::ReadOnly, Options { cache_bytes: 0, ..opts() }).unwrap();
    let first = content(&r).unwrap();
    fs::write(path.with_extension("ready"), "").unwrap();
    while !path.with_extension("done").exists() {
        assert!(content(&r).unwrap() == first, "the snapshot changed");
    }
    assert!(content(&r).unwrap() == first, "the snapshot changed");
    assert!(r.refresh().unwrap());
    content(&r).unwrap();
}

#[test]
fn a_reader_in_another_process_keeps_its_snapshot_through_a_thousand_commits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let l = create(&path);
    let mut state = work(&l, &Map::new(), 20).1[20].clone();
    let mut child = other_process("helper_keeps_a_snapshot", &path);
    wait_for(&path.with_extension("ready"));
    for _ in 0..100 {
        state = work(&l, &state, 10).1[10].clone();
    }
    fs::write(path.with_extension("done"), "").unwrap();
    assert!(child.wait().unwrap().success());
    assert!(content(&l).unwrap() == state);
}

/// Commits until the process is killed: version n has n in every key and in every payload.
#[test]
#[ignore = "run by another test in a process of its own"]
fn helper_commits_until_killed() {
    let path = given();
    let l = write(&path);
    for n in l.version() + 1.. {
        for k in 0..5 {
            let key = format!("p{k}");
            if let Some(v) = l.get(key.as_bytes()).unwrap() {
                l.free_payload(&Extent::decode(&v).unwrap().0).unwrap();
            }
            let e = l.write_payload(&data(n, 1000 + 30_000 * k)).unwrap();
            l.put(key.as_bytes(), e.to_bytes()).unwrap();
            l.put(format!("n{k}").as_bytes(), n.to_le_bytes().to_vec()).unwrap();
        }
        assert_eq!(l.commit().unwrap(), n);
        if n % 8 == 0 {
            fs::write(path.with_extension("ready"), n.to_string()).unwrap();
        }
    }
}

#[test]
fn a_writer_that_is_killed_leaves_its_last_commit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    create(&path).close().unwrap();
    let mut last = 0;
    for round in 0..12u64 {
        let ready = path.with_extension("ready");
        let _ = fs::remove_file(&ready);
        let mut child = other_process("helper_commits_until_killed", &path);
        wait_for(&ready);
        std::thread::sleep(Duration::from_micros(round * 1717));
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged: u64 = fs::read_to_string(&ready).unwrap().parse().unwrap_or(0);
        let r = read(&path);
        let v = r.version();
        assert!(v >= acknowledged && v > last, "version {v} after {acknowledged} and {last}");
        last = v;
        let all = r.scan_prefix(b"", None, 100).unwrap();
        assert_eq!(all.len(), 10);
        for (k, value) in all {
            if k[0] == b'n' {
                assert_eq!(value, v.to_le_bytes()[..]);
            } else {
                let e = Extent::decode(&value).unwrap().0;
                let mut buf = vec![0; e.len() as usize];
                r.read_payload(&e, 0, &mut buf).unwrap();
                assert!(buf == data(v, e.len()));
            }
        }
    }
    assert!(read(&path).size().unwrap() < 3_000_000, "space of writers that died is used again");
}
