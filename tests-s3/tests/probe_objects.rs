//! The objects of the probe of conditional puts: none of them remains in the bucket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use common::{environment, fresh, key, open, server};
use h5lake_ledger::{Ledger, Options, Replace};
use h5lake_tests_s3::faults::Outcome;
use h5lake_tests_s3::{BUCKET, Server};
use object_stores::{Condition, ErrorKind, ObjectStoreExt, PutMode};

/// Returns the keys in the bucket that belong to a probe, once all background requests have arrived.
fn left(server: &Server) -> Vec<String> {
    server.take_requests();
    let all = open(&format!("s3://{BUCKET}"), &environment(server)).unwrap();
    let keys = all.list("", None).map(|object| object.unwrap().key.to_string());
    keys.filter(|key| key.contains("probe")).collect()
}

/// Some servers store an object although they answer its put with an error.
#[test]
fn a_closed_writer_leaves_no_object_of_the_probe() {
    let answers = [None, Some("BadDigest"), Some("InvalidRequest")];
    for code in answers {
        let server = server();
        let is_damaged = |method: &str, path: &str| method == "PUT" && path.ends_with("-damaged");
        server.faults().add(is_damaged, 0, code.map(|code| Outcome::After(400, code)));
        let ledger =
            Ledger::create_objects(fresh(&server), "c.h5", Replace::Atomically, Options::default()).unwrap();
        ledger.put(b"k", "value").unwrap();
        ledger.commit().unwrap();
        ledger.close().unwrap();
        assert_eq!(left(&server), [""; 0], "answer to the damaged payload: {code:?}");
        assert_eq!(server.faults().clear(), 0);
    }
}

#[test]
fn a_probe_that_fails_leaves_no_object() {
    let server = server();
    let is_second_round =
        |method: &str, path: &str| method == "PUT" && path.contains("probe") && path.ends_with("-1");
    server.faults().add(is_second_round, 0, [Outcome::Instead(403, "AccessDenied")]);
    let error = fresh(&server).put(&key("a"), "x".into(), PutMode::Create).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert_eq!(left(&server), [""; 0]);
}

/// One connection of a probe breaks: the probe is repeated with other objects.
#[test]
fn a_broken_connection_does_not_end_a_probe() {
    for cut in [Outcome::CutBefore, Outcome::CutAfter] {
        for nth in 0..20 {
            let server = server();
            let is_probe = |method: &str, path: &str| method == "PUT" && path.contains("probe");
            server.faults().add(is_probe, nth, [cut.clone()]);
            let store = fresh(&server);
            store.put(&key("a"), "x".into(), PutMode::Create).unwrap();
            assert!(store.honours(Condition::Create) && store.honours(Condition::Update), "{cut:?} {nth}");
            drop(store);
            assert_eq!(left(&server), [""; 0], "{cut:?} {nth}");
            server.faults().clear();
        }
    }
}

/// The answer to the winner of each race of creates is lost, and the server refuses the client's second try.
#[test]
fn lost_answers_do_not_disable_conditions() {
    let server = server();
    for round in 0..3 {
        let suffix = format!("-{round}");
        let is_race = move |method: &str, path: &str| {
            method == "PUT" && path.contains("probe") && path.ends_with(&suffix)
        };
        server.faults().add(is_race, 0, vec![Outcome::After(500, "InternalError"); 4]);
    }
    let store = fresh(&server);
    assert!(store.honours(Condition::Create), "{:?}", store.why_not(Condition::Create));
    assert!(store.honours(Condition::Update), "{:?}", store.why_not(Condition::Update));
    assert_eq!(server.faults().clear(), 0);
}

/// The prefix at which a process of [`a_probe_is_stored_for_other_processes`] puts its objects.
const PUTS_AT: &str = "H5LAKE_TEST_PUTS_AT";

/// Puts an object under each condition, if this process was started to do so.
#[test]
fn child() {
    let Ok(prefix) = std::env::var(PUTS_AT) else { return };
    let variables = std::env::vars().filter(|(name, _)| name != PUTS_AT).collect();
    let store = open(&format!("s3://{BUCKET}/{prefix}"), &variables).unwrap();
    let put = store.put(&key("a"), "x".into(), PutMode::Create).unwrap();
    store.put(&key("a"), "y".into(), PutMode::Update(put.etag.unwrap())).unwrap();
}

/// A process probes a server on another machine, and the next process does not. The proxy stands for the other machine.
#[test]
fn a_probe_is_stored_for_other_processes() {
    let (server, folder) = (server(), tempfile::tempdir().unwrap());
    let requests = |endpoint: &str, prefix: &str| {
        server.take_requests();
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["child", "--exact"]).envs(server.variables());
        command.env("AWS_ENDPOINT_URL", endpoint).env("AWS_PROXY_URL", server.endpoint());
        command.env("XDG_CACHE_HOME", folder.path()).env(PUTS_AT, prefix);
        assert!(command.output().unwrap().status.success());
        server.take_requests().len()
    };
    assert!(requests("http://store.example:9000", "first") > 10);
    assert_eq!(requests("http://store.example:9000", "second"), 2);
    assert!(requests("http://other.example:9000", "third") > 10);
    assert_eq!(requests("http://other.example:9000", "fourth"), 2);
    // A port of this machine may have belonged to another server.
    assert!(requests("http://localhost:9000", "fifth") > 10);
    assert!(requests("http://localhost:9000", "sixth") > 10);
    std::fs::remove_dir_all(folder.path().join("h5lake")).unwrap();
    assert!(requests("http://store.example:9000", "seventh") > 10);
}
