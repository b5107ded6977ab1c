//! Measures one swap of a register beside the puts that would replace it. Run with
//! `cargo run --release --example register [ROUNDS [STORE_URL...]]`.
//!
//! The four operations take turns, so that load on the machine meets all of them alike. They are: a swap of the head
//! object; a put without a condition over an object; a put of a new object, as a protocol with one object for each
//! commit makes it; and, below a local directory, a file that is written and renamed to a new name without a store.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "an example")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h5lake_ledger::register::{Load, Register, Swap, SwapRegister};
use object_stores::{DirStore, Key, MemoryStore, ObjectStore, PutMode, Registry, dir};

/// The lengths of a small manifest, and of one with as many inline records as it usually has.
const LENGTHS: [usize; 2] = [1 << 10, 12 << 10];

fn timed(times: &mut Vec<Duration>, act: impl FnOnce()) {
    let begun = Instant::now();
    act();
    times.push(begun.elapsed());
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Returns bytes that no other round puts.
fn content(length: usize, round: usize) -> Bytes {
    let mut bytes = vec![7; length];
    bytes[..8].copy_from_slice(&(round as u64).to_le_bytes());
    bytes.into()
}

fn rename_new(folder: &Path, round: usize, bytes: &[u8]) {
    let temporary = folder.join("temporary");
    std::fs::write(&temporary, bytes).unwrap();
    std::fs::rename(temporary, folder.join(format!("plain-{round}"))).unwrap();
}

fn measure(name: &str, store: &Arc<dyn ObjectStore>, folder: Option<&Path>, rounds: usize) {
    for length in LENGTHS {
        let head = Key::new(format!("head-{length}")).unwrap();
        let other = Key::new(format!("other-{length}")).unwrap();
        let register = SwapRegister::new(store.clone(), head, name);
        let Load::Loaded(_, mut token) = register.load(None).unwrap() else { return };
        let mut times = [const { Vec::new() }; 4];
        for round in 0..rounds {
            let [swapped, over, new, renamed] = [(); 4].map(|()| content(length, round));
            timed(&mut times[0], || match register.swap(&token, swapped) {
                Swap::Swapped(next) => token = next,
                Swap::Doubt(doubt) => panic!("{doubt:?}"),
            });
            timed(&mut times[1], || drop(store.put(&other, over.into(), PutMode::Overwrite).unwrap()));
            let key = Key::new(format!("new-{length}/{round}")).unwrap();
            timed(&mut times[2], || drop(store.put(&key, new.into(), PutMode::Create).unwrap()));
            if let Some(folder) = folder {
                timed(&mut times[3], || rename_new(folder, round, &renamed));
            }
        }
        print!("{name:<34} {length:>6} bytes");
        for (what, times) in ["swap", "put over", "put new", "rename to new"].iter().zip(&mut times) {
            if !times.is_empty() {
                print!("  {what} {:>8.1?}", median(times));
            }
        }
        println!();
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let rounds = args.next().map_or(500, |text| text.parse().unwrap());
    let memory: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    measure("memory", &memory, None, rounds);
    for parent in [std::env::temp_dir(), PathBuf::from("/dev/shm")] {
        for (name, sync) in [("process", dir::Sync::Process), ("power", dir::Sync::Power)] {
            let folder = tempfile::tempdir_in(&parent).unwrap();
            let store: Arc<dyn ObjectStore> =
                Arc::new(DirStore::open(folder.path().join("store"), sync).unwrap());
            let rounds = if sync == dir::Sync::Power { rounds / 5 } else { rounds };
            let name = format!("directory in {}, sync {name}", parent.display());
            measure(&name, &store, Some(folder.path()), rounds.max(3));
        }
    }
    for url in args {
        measure(&url, &Registry::default().open(&url).unwrap(), None, rounds);
    }
}
