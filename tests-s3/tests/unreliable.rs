//! An unreliable network, as users have it: a few of a hundred requests meet a reset, a truncated answer or a long
//! silence. No flush and no open fails, and none takes long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::{fresh, server};
use h5lake_ledger::{Access, Ledger, Options, Replace};
use h5lake_tests_s3::Server;
use h5lake_tests_s3::faults::Outcome;
use object_stores::deadline;

const KEY: &str = "c.h5";
/// The number of writers with a container each.
const WRITERS: u64 = 8;
/// Far more requests than a test makes.
const REQUESTS: usize = 100_000;

/// Returns the outcome of one request. Of a hundred requests, one is reset, before or after its effect, one has a
/// truncated answer, and one is delayed by 30 s.
fn outcome(chance: &mut u64) -> Outcome {
    *chance ^= *chance << 13;
    *chance ^= *chance >> 7;
    *chance ^= *chance << 17;
    let (of_200, at) = (*chance % 200, (*chance >> 32) as usize % 5000);
    match of_200 {
        0 => Outcome::CutBefore,
        1 => Outcome::CutAfter,
        2 | 3 => Outcome::CutBody(at),
        4 | 5 => Outcome::Delay(Duration::from_secs(30)),
        6 => Outcome::Instead(400, "RequestTimeout"),
        7 => Outcome::Shorten(at),
        _ => Outcome::Delay(Duration::ZERO),
    }
}

fn strike(server: &Server, seed: u64) {
    let mut chance = seed;
    let outcomes = std::iter::repeat_with(|| outcome(&mut chance)).take(REQUESTS).collect::<Vec<_>>();
    server.faults().add(|_, _| true, 0, outcomes);
}

/// Returns the time of an operation, within which a store has the time of its setting `timeout`.
fn timed<T>(
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

#[test]
fn flushes_and_opens_succeed() {
    let each = std::env::var("H5LAKE_TEST_FLUSHES").map_or(60, |n| n.parse::<u64>().unwrap()) / WRITERS;
    let seed = std::env::var("H5LAKE_TEST_SEED").map_or(0x9e37_79b9, |n| n.parse().unwrap());
    let server = server();
    let options = Options { retention: Some(Duration::ZERO), ..Options::default() };
    strike(&server, seed);
    let all = std::thread::scope(|scope| {
        let threads = (0..WRITERS).map(|_| {
            scope.spawn(|| {
                let mut times = Vec::new();
                let store = fresh(&server);
                let create = || Ledger::create_objects(store.clone(), KEY, Replace::Fail, options.clone());
                let writer = timed(&mut times, "creating", create);
                for n in 1..=each {
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
    server.faults().clear();
    let mut all = all;
    all.sort();
    let (count, longest) = (all.len(), all[all.len() - 1 - all.len() / 1000]);
    println!(
        "seed {seed}: {count} operations, p50 {:?}, p99 {:?}, p99.9 {longest:?}, longest {:?}",
        all[count / 2],
        all[count * 99 / 100],
        all[count - 1]
    );
    assert!(longest < Duration::from_secs(10), "{longest:?}");
}

/// A deletion that hangs, or loses its connection, is repeated: the close of a writer, which deletes its lease, succeeds.
#[test]
fn deletions_are_repeated() {
    let server = server();
    for outcome in [Outcome::Delay(Duration::from_secs(30)), Outcome::CutBefore, Outcome::CutAfter] {
        let store = fresh(&server);
        let writer = Ledger::create_objects(store.clone(), KEY, Replace::Fail, Options::default()).unwrap();
        server.faults().add(|method, _| matches!(method, "DELETE" | "POST"), 0, [outcome]);
        timed(&mut Vec::new(), "closing", || writer.close());
        assert_eq!(server.faults().clear(), 0, "a deletion met the fault");
        Ledger::open_objects(store, KEY, Access::ReadWrite, Options::default()).unwrap().close().unwrap();
    }
}
