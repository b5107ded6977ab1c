//! Faults between the ledger and the store: the data is right or there is an error, but it is never silently wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;
#[path = "../../connector/ledger/tests/common/work.rs"]
#[allow(dead_code, reason = "the ledger's tests use the rest")]
mod work;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{changed, fresh, fresh_within, key, open, server};
use h5lake_ledger::{Access, Ledger, Options, PayloadPart, Replace};
use h5lake_tests_s3::{BUCKET, Behaviour, Server, faults::Outcome};
use object_stores::{ErrorKind, ObjectStore, ObjectStoreExt, PutMode, deadline};
use work::{Map, content, work};

const KEY: &str = "c.h5";
const COMMITS: u64 = 6;

fn options() -> Options {
    Options { checkpoint_bytes: 20_000, retention: Some(Duration::ZERO), ..Options::default() }
}

fn create(store: &Arc<dyn ObjectStore>) -> Ledger {
    Ledger::create_objects(store.clone(), KEY, Replace::Fail, options()).unwrap()
}

fn reader(store: &Arc<dyn ObjectStore>) -> Ledger {
    Ledger::open_objects(store.clone(), KEY, Access::ReadOnly, options()).unwrap()
}

/// Works while the outcomes strike the requests from the `skip`th on, then checks that the content is right.
fn struck(server: &Server, method: &'static str, skip: usize, outcomes: &[Outcome]) -> bool {
    let store = fresh(server);
    let ledger = create(&store);
    server.faults().add(move |m, _| m == method, skip, outcomes.to_vec());
    let (done, states, result) = work(&ledger, &Map::new(), COMMITS);
    let has_struck = server.faults().clear() < outcomes.len();
    let what = format!("{outcomes:?} at {method} {skip}: {result:?}");
    let read = reader(&store);
    let version = read.version();
    assert!(version == done || version == done + 1, "version {version} after {done} commits, {what}");
    assert!(result.is_err() || done == COMMITS, "{what}");
    assert!(content(&read).unwrap() == states[version as usize], "other content, {what}");
    // The writer can continue, or reports that its state is unknown.
    match ledger.commit() {
        Ok(_) => assert!(content(&ledger).unwrap() == *states.last().unwrap(), "after a repetition, {what}"),
        Err(e) => assert!(matches!(e.kind(), h5lake_ledger::ErrorKind::Broken { .. }), "{e}, {what}"),
    }
    has_struck
}

#[test]
fn single_faults_at_any_put_are_repaired_or_reported() {
    let server = server();
    let outcomes = [
        Outcome::Instead(500, "InternalError"),
        Outcome::Instead(503, "SlowDown"),
        Outcome::Instead(429, "TooManyRequests"),
        Outcome::Instead(403, "AccessDenied"),
        Outcome::After(500, "InternalError"),
        Outcome::After(503, "ServiceUnavailable"),
        Outcome::CutBefore,
        Outcome::CutAfter,
        Outcome::Twice,
        Outcome::Delay(Duration::from_millis(50)),
    ];
    let mut strikes = 0;
    for outcome in outcomes {
        for skip in 0..COMMITS as usize + 2 {
            strikes += usize::from(struck(&server, "PUT", skip, std::slice::from_ref(&outcome)));
        }
    }
    assert!(strikes > 60, "{strikes} strikes are too few to prove much");
}

#[test]
fn short_outages_are_retried() {
    let server = server();
    for (status, code) in [(500, "InternalError"), (503, "SlowDown"), (429, "TooManyRequests")] {
        let store = fresh(&server);
        let ledger = create(&store);
        server.faults().add(|_, _| true, 1, vec![Outcome::Instead(status, code); 3]);
        let (done, states, result) = work(&ledger, &Map::new(), 3);
        result.unwrap();
        assert_eq!((done, server.faults().clear()), (3, 0));
        assert!(content(&reader(&store)).unwrap() == states[3]);
    }
}

#[test]
fn long_outages_are_bounded_errors_without_data_loss() {
    let server = server();
    for outcome in
        [Outcome::Instead(503, "SlowDown"), Outcome::CutBefore, Outcome::After(500, "InternalError")]
    {
        let store = fresh_within(&server, "5s");
        let ledger = create(&store);
        let (_, states, result) = work(&ledger, &Map::new(), 2);
        result.unwrap();
        ledger.put(b"after", "the storm").unwrap();
        server.faults().add(|_, _| true, 0, vec![outcome.clone(); 1000]);
        let begun = Instant::now();
        let operation = deadline::begin();
        let error = ledger.commit().unwrap_err();
        drop(operation);
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}: {error}", begun.elapsed());
        server.faults().clear();
        let read = reader(&store);
        let version = read.version();
        assert!(version == 2 || matches!(outcome, Outcome::After(..)), "{error}");
        if version == 2 {
            assert!(content(&read).unwrap() == states[2], "{outcome:?}");
        } else {
            assert_eq!(read.get(b"after").unwrap().unwrap(), "the storm");
        }
    }
}

/// The server requests patience for ten seconds, as S3 does when many clients start at once.
#[test]
fn ten_seconds_of_slow_down_are_retried() {
    let server = server();
    let store = fresh(&server);
    store.put(&key("a"), "x".into(), PutMode::Overwrite).unwrap();
    let until = Instant::now() + Duration::from_secs(10);
    let storm = vec![Outcome::Instead(503, "SlowDown"); 1000];
    server.faults().add(move |_, _| Instant::now() < until, 0, storm);
    assert_eq!(store.get(&key("a"), None).unwrap().bytes, "x");
    assert!(Instant::now() > until);
}

/// Consecutive operations share one timeout while no request succeeds.
#[test]
fn a_flush_and_a_close_share_one_bound() {
    let server = server();
    let store = fresh_within(&server, "4s");
    store.put(&key("a"), "x".into(), PutMode::Overwrite).unwrap();
    server.faults().add(|_, _| true, 0, vec![Outcome::Delay(Duration::from_secs(60)); 100]);
    let begun = Instant::now();
    for bound in [4, 6, 8] {
        let _operation = deadline::begin();
        for _ in 0..3 {
            let error = store.put(&key("a"), "y".into(), PutMode::Overwrite).unwrap_err();
            assert!(error.kind() == ErrorKind::Timeout && error.to_string().contains("'timeout'"), "{error}");
        }
        let elapsed = begun.elapsed().as_secs_f32();
        assert!(elapsed < bound as f32 + 1.0, "{elapsed} seconds, {bound} at most");
    }
    server.faults().clear();
    assert_eq!(store.get(&key("a"), None).unwrap().bytes, "x");
}

/// A request that has to arrive in time or be abandoned, such as a put of an unguarded head, ends in time although its
/// call has more time.
#[test]
fn a_part_of_a_call_has_a_bound_of_its_own() {
    let server = server();
    let store = fresh_within(&server, "30s");
    let _call = deadline::begin();
    store.put(&key("a"), "x".into(), PutMode::Overwrite).unwrap();
    server.faults().add(|_, _| true, 0, vec![Outcome::Delay(Duration::from_secs(60)); 100]);
    let begun = Instant::now();
    let in_time = deadline::begin_within(Duration::from_secs(1));
    let error = store.put(&key("a"), "late".into(), PutMode::Overwrite).unwrap_err();
    drop(in_time);
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    server.faults().clear();
    assert_eq!(store.get(&key("a"), None).unwrap().bytes, "x");
}

/// An object of unknown length is read only up to the caller's limit.
#[test]
fn a_long_object_is_refused_before_it_is_read() {
    let server = server();
    let store = fresh(&server);
    store.put(&key("long"), vec![7; 1 << 20].into(), PutMode::Overwrite).unwrap();
    store.put(&key("empty"), "".into(), PutMode::Overwrite).unwrap();
    assert_eq!(store.get_whole(&key("long"), 1 << 20).unwrap().bytes.len(), 1 << 20);
    assert_eq!(store.get_whole(&key("long"), 1000).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(store.get_whole(&key("empty"), 1000).unwrap().bytes.is_empty());
    assert!(store.get_whole_opt(&key("none"), 1000).unwrap().is_none());
}

/// Damage in one answer leads to a second request. Damage in all answers is reported.
#[test]
fn damaged_answers_are_detected() {
    let server = server();
    let store = fresh(&server);
    let ledger = create(&store);
    let (_, states, result) = work(&ledger, &Map::new(), 12);
    result.unwrap();
    ledger.close().unwrap();
    let struck = |nth, outcomes| {
        server.faults().add(|m, _| m == "GET", nth, outcomes);
        let opened = Ledger::open_objects(store.clone(), KEY, Access::ReadOnly, options());
        let found = opened.and_then(|ledger| content(&ledger));
        server.faults().clear();
        assert!(found.as_ref().map_or(true, |found| *found == states[12]), "other content, from {nth}");
        found.is_ok()
    };
    let places = || (0..8).flat_map(|nth| [0, 5, 40, 77, 300, 1234].map(|at| (nth, at)));
    let once =
        |(nth, at)| [Outcome::Flip(at), Outcome::CutBody(at)].map(|outcome| struck(nth, vec![outcome]));
    let wholes = places().flat_map(once).filter(|is_whole| *is_whole).count();
    // A damaged front that is not that of a head cannot be detected.
    assert!(wholes > 90, "{wholes} of 96 readers found all behind one damaged answer");
    let errors = places().filter(|(nth, at)| !struck(*nth, vec![Outcome::Flip(*at); 1000])).count();
    assert!(errors > 20, "{errors} of 48 readers were told of damage in every answer");
}

/// Reads into the caller's buffer, with several requests in parallel.
#[test]
fn long_reads_are_right_or_an_error() {
    let server = server();
    let store = fresh_within(&server, "5s");
    let ledger = create(&store);
    let data: Vec<u8> = (0..9_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let extents: Vec<_> = data.chunks(3_000_000).map(|part| ledger.write_payload(part).unwrap()).collect();
    ledger.put(b"all", extents.iter().flat_map(|e| e.to_bytes()).collect::<Vec<u8>>()).unwrap();
    ledger.commit().unwrap();
    drop(ledger);
    let read = reader(&store);
    let long = |from: u64, to: u64| {
        let mut out = vec![0; (to - from) as usize * extents.len()];
        let buffers = out.chunks_mut((to - from) as usize);
        let part = |(extent, buffer)| PayloadPart { extent, range: from..to, into: Some(buffer) };
        read.read_payloads(extents.iter().zip(buffers).map(part).collect()).map(|_| out)
    };
    let wanted = |from: usize, to: usize| {
        data.chunks(3_000_000).flat_map(|part| part[from..to].to_vec()).collect::<Vec<u8>>()
    };
    let mended = [
        Outcome::Instead(500, "InternalError"),
        Outcome::Instead(503, "SlowDown"),
        Outcome::Instead(429, "TooManyRequests"),
        Outcome::CutBefore,
        Outcome::CutAfter,
        Outcome::CutBody(0),
        Outcome::CutBody(1_234_567),
        Outcome::Delay(Duration::from_millis(30)),
    ];
    for (from, to) in [(0, 3_000_000), (5, 2_999_999), (16_384, 163_840), (100_000, 100_001)] {
        for outcome in &mended {
            server.faults().add(|m, _| m == "GET", 0, [outcome.clone()]);
            let found = long(from, to);
            assert!(found.unwrap() == wanted(from as usize, to as usize), "{outcome:?} in {from}..{to}");
            assert_eq!(server.faults().clear(), 0, "{outcome:?} has not struck");
        }
        for at in [0, 20_000, 1_000_003] {
            // The byte may belong to a block that is read only for its checksum.
            server.faults().add(|m, _| m == "GET", 0, [Outcome::Flip(at)]);
            assert!(long(from, to).unwrap() == wanted(from as usize, to as usize));
            assert_eq!(server.faults().clear(), 0, "{at} has not struck");
            server.faults().add(|m, _| m == "GET", 0, vec![Outcome::Flip(at); 1000]);
            let error = long(from, to).unwrap_err();
            assert!(matches!(error.kind(), h5lake_ledger::ErrorKind::Corrupt { .. }), "{error}");
            server.faults().clear();
            assert!(long(from, to).unwrap() == wanted(from as usize, to as usize));
        }
        server.faults().add(|m, _| m == "GET", 0, vec![Outcome::Instead(503, "SlowDown"); 1000]);
        let begun = Instant::now();
        let operation = deadline::begin();
        assert!(long(from, to).is_err());
        drop(operation);
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        server.faults().clear();
    }
}

#[test]
fn a_truncated_body_is_fetched_to_its_end() {
    let server = server();
    let store = fresh(&server);
    let bytes: Vec<u8> = (0..300_000u32).map(|n| ((n * 7) >> 3) as u8).collect();
    store.put(&key("big"), bytes.clone().into(), PutMode::Overwrite).unwrap();
    for keep in [0, 1, 1000, 299_999] {
        server.faults().add(|m, _| m == "GET", 0, [Outcome::CutBody(keep)]);
        assert!(store.get(&key("big"), None).unwrap().bytes == bytes);
        server.faults().add(|m, _| m == "GET", 0, [Outcome::CutBody(keep)]);
        let mut part = vec![0; 200_000];
        store.get_into(&key("big"), 50_000, &mut part).unwrap();
        assert!(part == bytes[50_000..250_000]);
        assert_eq!(server.faults().clear(), 0);
    }
}

/// The answer to a deletion is a document, after which the client would not send the request again.
#[test]
fn a_deletion_whose_answer_breaks_off_is_repeated() {
    let server = server();
    let store = fresh(&server);
    for keep in [0, 20] {
        store.put(&key("a"), "x".into(), PutMode::Overwrite).unwrap();
        server.take_requests();
        server.faults().add(|m, _| m == "POST", 0, [Outcome::CutBody(keep)]);
        store.delete(&key("a")).unwrap();
        assert_eq!(server.faults().clear(), 0);
        assert_eq!(server.take_requests().len(), 2);
        assert_eq!(store.head(&key("a")).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn an_unresponsive_server_is_a_timeout() {
    let server = server();
    let hasty = changed(&server, &[("AWS_TIMEOUT", "1s")]);
    let store = open(&format!("s3://{BUCKET}/hasty"), &hasty).unwrap();
    store.put(&key("a"), "x".into(), PutMode::Create).unwrap();
    server.faults().add(|_, _| true, 0, vec![Outcome::Delay(Duration::from_secs(30)); 100]);
    let begun = Instant::now();
    let error = store.put(&key("b"), "x".into(), PutMode::Create).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let error = store.get(&key("a"), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_stream_with_failed_parts_is_not_visible() {
    let server = server();
    let store = fresh(&server);
    for skip in 0..4 {
        server.faults().add(
            |m, _| m == "PUT" || m == "POST",
            skip,
            vec![Outcome::Instead(403, "AccessDenied"); 10],
        );
        let mut stream = store.put_stream(&key("s")).unwrap();
        let written = (0..20).try_for_each(|_| stream.write(&[7; 1 << 20]));
        assert!(written.and_then(|()| stream.finish()).is_err(), "{skip}");
        server.faults().clear();
        assert_eq!(store.get(&key("s"), None).unwrap_err().kind(), ErrorKind::NotFound);
    }
    server.faults().add(
        |m, _| m == "POST" || m == "PUT",
        1,
        [Outcome::CutBefore, Outcome::Instead(503, "SlowDown")],
    );
    let mut stream = store.put_stream(&key("s")).unwrap();
    (0..20).for_each(|n| stream.write(&[n; 1 << 20]).unwrap());
    stream.finish().unwrap();
    assert_eq!(server.faults().clear(), 0);
    let whole = store.get(&key("s"), None).unwrap().bytes;
    assert!(whole.len() == 20 << 20 && whole.iter().enumerate().all(|(at, byte)| *byte == (at >> 20) as u8));
}

/// MinIO denies a put into a folder that another request is removing.
#[test]
fn a_put_that_minio_denies_in_error_is_sent_again() {
    let server = Server::start(Behaviour { minio: true, ..Behaviour::default() }).unwrap();
    let store = fresh(&server);
    let denied = |times| vec![Outcome::Instead(403, "AccessDenied"); times];
    let deny = |method: &'static str, times| server.faults().add(move |m, _| m == method, 0, denied(times));
    store.put(&key("before"), "x".into(), PutMode::Create).unwrap();
    for mode in [PutMode::Overwrite, PutMode::Create] {
        let at = key(&format!("{mode:?}"));
        deny("PUT", 4);
        store.put(&at, "x".into(), mode).unwrap();
        assert_eq!(server.faults().clear(), 0);
        assert_eq!(store.get(&at, None).unwrap().bytes, "x");
    }
    let error = store.put(&key("before"), "y".into(), PutMode::Create).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    // The requests start the upload, put its parts and complete it.
    deny("POST", 2);
    deny("PUT", 2);
    let mut stream = store.put_stream(&key("s")).unwrap();
    (0..20).for_each(|n| stream.write(&[n; 1 << 20]).unwrap());
    deny("POST", 2);
    stream.finish().unwrap();
    assert_eq!(server.faults().clear(), 0);
    assert_eq!(store.get(&key("s"), None).unwrap().bytes.len(), 20 << 20);
    // A permanent denial is reported, in bounded time.
    deny("PUT", 100);
    let error = store.put(&key("never"), "x".into(), PutMode::Overwrite).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert_eq!(server.faults().clear(), 100 - 6);
}

#[test]
fn a_put_that_another_server_denies_is_not_sent_again() {
    let server = server();
    let store = fresh(&server);
    server.faults().add(|m, _| m == "PUT", 0, vec![Outcome::Instead(403, "AccessDenied"); 2]);
    let error = store.put(&key("a"), "x".into(), PutMode::Overwrite).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert_eq!(server.faults().clear(), 1);
}
