//! Rounds of commit, open and read by several writers, with the time of each operation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use h5lake_ledger::{Access, Ledger, Options, Replace};
use object_stores::{ObjectStore, deadline};

const KEY: &str = "c.h5";
/// The number of writers with a container each.
const WRITERS: u64 = 8;

/// Returns the time of an operation, within which a store has the time of its setting `timeout`.
pub fn timed<T>(
    times: &mut Vec<Duration>,
    what: &str,
    operation: impl FnOnce() -> h5lake_ledger::Result<T>,
) -> T {
    let begun = Instant::now();
    let bound = deadline::begin();
    let done = operation();
    drop(bound);
    times.push(begun.elapsed());
    done.unwrap_or_else(|e| panic!("{what} after {:?}: {e}", begun.elapsed()))
}

/// Returns the number of rounds of all writers together: `usual`, unless H5LAKE_TEST_FLUSHES says another number.
pub fn count(usual: u64) -> u64 {
    std::env::var("H5LAKE_TEST_FLUSHES").map_or(usual, |n| n.parse().unwrap())
}

/// Makes `count` rounds. Each writer gets a part of the store of its own from `fresh`. Returns the times of all
/// operations, sorted.
pub fn rounds(count: u64, fresh: impl Fn() -> Arc<dyn ObjectStore> + Sync) -> Vec<Duration> {
    let options = Options { retention: Some(Duration::ZERO), ..Options::default() };
    let mut all = std::thread::scope(|scope| {
        let threads = (0..WRITERS).map(|_| {
            scope.spawn(|| {
                let mut times = Vec::new();
                let store = fresh();
                let create = || Ledger::create_objects(store.clone(), KEY, Replace::Fail, options.clone());
                let writer = timed(&mut times, "creating", create);
                for n in 1..=count / WRITERS {
                    writer.put(b"step", n.to_be_bytes().to_vec()).unwrap();
                    timed(&mut times, "a commit", || writer.commit());
                    let open = || Ledger::open_objects(store.clone(), KEY, Access::ReadOnly, options.clone());
                    let reader = timed(&mut times, "an open", open);
                    let step = timed(&mut times, "a read", || reader.get(b"step"));
                    assert_eq!(step.unwrap(), n.to_be_bytes().to_vec());
                }
                timed(&mut times, "closing", || writer.close());
                times
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    all.sort();
    all
}

/// Prints the distribution of the times, and checks that of 1,000 operations 999 take less than 10 seconds.
pub fn check(seed: u64, all: &[Duration]) {
    let (count, longest) = (all.len(), all[all.len() - 1 - all.len() / 1000]);
    println!(
        "seed {seed}: {count} operations, p50 {:?}, p99 {:?}, p99.9 {longest:?}, longest {:?}",
        all[count / 2],
        all[count * 99 / 100],
        all[count - 1]
    );
    assert!(longest < Duration::from_secs(10), "{longest:?}");
}

/// Returns a pseudo-random number, and replaces the state by it (xorshift).
pub fn next(chance: &mut u64) -> u64 {
    *chance ^= *chance << 13;
    *chance ^= *chance >> 7;
    *chance ^= *chance << 17;
    *chance
}

/// Returns the seed of the faults: a fixed one, unless H5LAKE_TEST_SEED says another.
pub fn seed() -> u64 {
    std::env::var("H5LAKE_TEST_SEED").map_or(0x9e37_79b9, |n| n.parse().unwrap())
}
