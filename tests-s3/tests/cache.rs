//! Several processes share one local cache; one of them damages it and one is killed. Each child is this test's own
//! binary, run again with a task in its environment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{open, server};
use h5lake_ledger::{Access, Extent, Ledger, Options, PayloadPart, Replace};
use h5lake_tests_s3::Server;
use object_stores::DiskCache;
use object_stores::remote::Environment;

const TASK: &str = "H5LAKE_TEST_CACHE_TASK";
const FOLDER: &str = "H5LAKE_TEST_CACHE_FOLDER";
const URL: &str = "s3://lake/shared";
const KEY: &str = "c.h5";
/// The content: payloads of 1 MiB, three times the cache's capacity.
const PAYLOADS: u64 = 24;
const MIB: usize = 1 << 20;
const BOUND: u64 = 8 << 20;
const READERS: u64 = 4;
/// The maximum length of a block's file.
const FILE: u64 = (256 << 10) + 512;

fn payload(n: u64) -> Vec<u8> {
    let at = n * MIB as u64;
    (at..at + MIB as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let below = |path: &Path| {
        fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>()
    };
    below(folder).iter().flat_map(|inner| below(inner)).collect()
}

fn used(folder: &Path) -> u64 {
    files(folder).iter().filter_map(|path| path.metadata().ok()).map(|m| m.len()).sum()
}

/// Runs the task of a child; does nothing when the suite itself runs this.
#[test]
fn child() {
    let (Ok(task), Some(folder)) = (std::env::var(TASK), std::env::var_os(FOLDER)) else { return };
    let (task, seed) = task.rsplit_once(' ').unwrap();
    let (folder, dice) = (Path::new(&folder), Dice(seed.parse().unwrap()));
    match task {
        "read" => read(folder, dice, 60),
        "read all" => read_all(folder),
        "read until killed" => read(folder, dice, usize::MAX),
        "damage until killed" => damage(folder, dice),
        other => panic!("no task {other}"),
    }
}

/// Opens the container through the cache; returns it with its payloads.
fn opened(folder: &Path) -> (Ledger, Vec<Extent>) {
    let environment: Environment = std::env::vars().filter(|(name, _)| name.starts_with("AWS_")).collect();
    let store = open(URL, &environment).unwrap();
    let cache = DiskCache::open(store, folder, BOUND, Ledger::is_immutable_object).unwrap();
    let ledger = Ledger::open_objects(Arc::new(cache), KEY, Access::ReadOnly, Options::default()).unwrap();
    let found = ledger.scan_prefix(b"p", None, PAYLOADS as usize).unwrap();
    let extents: Vec<_> = found.iter().map(|(_, value)| Extent::decode(value).unwrap().0).collect();
    assert_eq!(extents.len(), PAYLOADS as usize);
    (ledger, extents)
}

fn read(folder: &Path, mut dice: Dice, steps: usize) {
    let (ledger, extents) = opened(folder);
    for _ in 0..steps {
        let n = dice.below(PAYLOADS);
        let from = dice.below(MIB as u64);
        let to = from + 1 + dice.below(MIB as u64 - from);
        let mut out = vec![0; (to - from) as usize];
        let part = PayloadPart { extent: &extents[n as usize], range: from..to, into: Some(&mut out) };
        ledger.read_payloads(vec![part]).unwrap();
        assert!(out == payload(n)[from as usize..to as usize], "payload {n}, {from}..{to}");
    }
}

/// Reads the first payloads: as many as fit into the cache.
fn read_all(folder: &Path) {
    let (ledger, extents) = opened(folder);
    for (n, extent) in extents.iter().enumerate().take(5) {
        let mut out = vec![0; MIB];
        ledger.read_payload(extent, 0, &mut out).unwrap();
        assert!(out == payload(n as u64), "payload {n}");
    }
}

/// Flips, truncates, swaps and removes cached files.
fn damage(folder: &Path, mut dice: Dice) {
    loop {
        let all = files(folder);
        sleep(Duration::from_millis(2));
        if all.is_empty() {
            continue;
        }
        let mut any = || &all[dice.below(all.len() as u64) as usize];
        let (one, other) = (any(), any());
        let Ok(mut bytes) = fs::read(one) else { continue };
        let length = bytes.len() as u64;
        let _another_process_may_have_removed_it = match dice.below(4) {
            _ if length == 0 => Ok(()),
            0 => {
                bytes[dice.below(length) as usize] ^= 1 << dice.below(8);
                fs::write(one, bytes)
            }
            1 => fs::write(one, &bytes[..dice.below(length) as usize]),
            2 => fs::copy(other, one).map(drop),
            _ => fs::remove_file(one),
        };
    }
}

/// A child that is killed when the test ends, however the test ends.
struct Doomed(Option<Child>);

impl Doomed {
    /// Kills the child, unless that was done before, and checks how it ended.
    fn end(mut self) {
        let Some(mut child) = self.0.take() else { return };
        let _it_may_have_been = child.kill();
        let done = child.wait_with_output().unwrap();
        assert!(!done.status.success(), "it ended by itself");
        assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _it_may_be_gone = child.kill();
        }
    }
}

fn start(server: &Server, folder: &Path, task: &str, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture"])
        .env(TASK, format!("{task} {seed}"))
        .env(FOLDER, folder)
        .envs(server.variables())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn succeeded(child: Child, what: &str) {
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{what}: {}", String::from_utf8_lossy(&done.stderr));
}

fn container(server: &Server) {
    let store = open(URL, &common::environment(server)).unwrap();
    let ledger = Ledger::create_objects(store, KEY, Replace::Fail, Options::default()).unwrap();
    for n in 0..PAYLOADS {
        let extent = ledger.write_payload(&payload(n)).unwrap();
        ledger.put(format!("p{n:03}").as_bytes(), extent.to_bytes()).unwrap();
    }
    ledger.commit().unwrap();
}

/// Returns the number of packs and pages that were requested from the server.
fn fetched(server: &Server) -> usize {
    let requests = server.take_requests();
    let is_object = |request: &&String| {
        let key = request.strip_prefix("GET /").and_then(|path| object_stores::Key::new(path).ok());
        key.is_some_and(|key| Ledger::is_immutable_object(&key))
    };
    requests.iter().filter(is_object).count()
}

#[test]
fn processes_share_a_cache_that_is_damaged_meanwhile() {
    let server = server();
    container(&server);
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("cache");
    let vandal = Doomed(Some(start(&server, &folder, "damage until killed", 99)));
    let mut victim = Doomed(Some(start(&server, &folder, "read until killed", 98)));
    let readers: Vec<_> = (0..READERS).map(|n| start(&server, &folder, "read", n)).collect();
    let (begun, mut most) = (Instant::now(), 0);
    let mut readers: Vec<_> = readers.into_iter().map(Some).collect();
    let mut killed = false;
    while readers.iter().any(Option::is_some) {
        most = most.max(used(&folder));
        if !killed && most > BOUND / 2 {
            victim.0.as_mut().unwrap().kill().unwrap();
            killed = true;
        }
        for (n, slot) in readers.iter_mut().enumerate() {
            if slot.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some()) {
                succeeded(slot.take().unwrap(), &format!("reader {n}"));
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "the readers do not end");
        sleep(Duration::from_millis(5));
    }
    vandal.end();
    victim.end();
    assert!(killed, "the cache never filled: {most}");
    // Each process may add a sixteenth before it lists the directory, and may be writing one file.
    let allowed = BOUND + (READERS + 1) * (BOUND / 16 + FILE);
    println!("at most {most} bytes of {BOUND}, allowed {allowed}");
    assert!(most <= allowed, "{most} bytes were kept, {allowed} are allowed");
}

#[test]
fn cached_blocks_are_shared_and_damaged_ones_are_fetched_again() {
    let server = server();
    container(&server);
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("cache");
    let fetches = || {
        server.take_requests();
        succeeded(start(&server, &folder, "read all", 0), "a reader");
        fetched(&server)
    };
    assert!(fetches() >= 5, "the first process fetches");
    assert_eq!(fetches(), 0, "the second has it all");
    let all = files(&folder);
    assert!(all.len() >= 20, "{} blocks", all.len());
    for (n, path) in all.iter().enumerate() {
        let mut bytes = fs::read(path).unwrap();
        let at = n * 7919 % bytes.len();
        bytes[at] ^= 0x20;
        fs::write(path, bytes).unwrap();
    }
    assert!(fetches() >= 5, "damaged blocks are noticed");
    assert_eq!(fetches(), 0, "and kept anew");
}
