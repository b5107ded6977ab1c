//! Creators that are killed: a name refers to a complete container, the old or the new one, or to none.

use super::*;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PATH: &str = "H5LAKE_TEST_CREATES_AT";
const SYNC: &str = "H5LAKE_TEST_SYNCS";

fn options() -> Options {
    let sync = match std::env::var_os(SYNC) {
        Some(_) => h5lake_ledger::SyncPolicy::Commit,
        None => h5lake_ledger::SyncPolicy::Process,
    };
    Options { ledger: h5lake_ledger::Options { sync, ..Default::default() }, ..Options::default() }
}

/// Runs only in the child process, and does nothing in this process.
#[test]
fn create_until_killed() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let (old, new) = (Target::File(path.clone().into()), |n: u64| {
        let mut fresh = path.clone();
        fresh.push(n.to_string());
        Target::File(fresh.into())
    });
    for n in 0.. {
        for target in [&old, &new(n % 100)] {
            Container::create(target, Replace::Truncate, FileCreation::default(), options()).unwrap();
        }
    }
}

fn start(path: &std::path::Path, syncs: bool) -> Child {
    let mut other = Command::new(std::env::current_exe().unwrap());
    other.args(["--exact", "tests::killed::create_until_killed"]).env(PATH, path);
    if syncs {
        other.env(SYNC, "1");
    }
    other.stdout(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_killed_creator_leaves_no_name_that_cannot_be_opened() {
    for syncs in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let create = || {
            let target = Target::File(path.clone());
            Container::create(&target, Replace::Truncate, FileCreation::default(), Options::default())
        };
        create().unwrap();
        for round in 0..25u64 {
            let inode = || std::fs::metadata(&path).unwrap().ino();
            let (before, begun) = (inode(), std::time::Instant::now());
            let mut other = start(&path, syncs);
            while inode() == before {
                assert!(begun.elapsed() < Duration::from_secs(60), "it does not begin");
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_micros(700 * round));
            other.kill().unwrap();
            other.wait().unwrap();
            for entry in std::fs::read_dir(&dir).unwrap() {
                let entry = entry.unwrap();
                if !entry.file_name().to_string_lossy().starts_with('.') {
                    let opened =
                        Container::open(&Target::File(entry.path()), Access::ReadOnly, Options::default());
                    opened.unwrap_or_else(|e| panic!("{e}"));
                }
            }
        }
        create().unwrap();
        let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!left.iter().any(|n| n == ".a.h5.h5lake-new"), "{left:?}");
    }
}
