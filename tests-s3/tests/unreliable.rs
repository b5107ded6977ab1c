//! An unreliable network, as users have it: a few of a hundred requests meet a reset, a truncated answer or a long
//! silence. No flush and no open fails, and none takes long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;
#[path = "common/rounds.rs"]
mod rounds;

use std::time::Duration;

use common::{fresh, server};
use h5lake_ledger::{Access, Ledger, Options, Replace};
use h5lake_tests_s3::Server;
use h5lake_tests_s3::faults::Outcome;
use rounds::timed;

const KEY: &str = "c.h5";
/// Far more requests than a test makes.
const REQUESTS: usize = 100_000;

/// Returns the outcome of one request. Of a hundred requests, one is reset, before or after its effect, one has a
/// truncated answer, and one is delayed by 30 s.
fn outcome(chance: &mut u64) -> Outcome {
    let random = rounds::next(chance);
    let (of_200, at) = (random % 200, (random >> 32) as usize % 5000);
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

#[test]
fn flushes_and_opens_succeed() {
    let (server, seed) = (server(), rounds::seed());
    strike(&server, seed);
    let times = rounds::rounds(rounds::count(60), || fresh(&server));
    server.faults().clear();
    rounds::check(seed, &times);
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
