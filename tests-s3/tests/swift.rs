//! The store of Swift against a server on loopback: the suite of all stores, tokens, fresh reads, large objects, clear errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use h5lake_tests_s3::swift::{CONTAINER, KEY, SwiftServer};
use object_stores::registry::Settings;
use object_stores::remote::{Environment, open_in};
use object_stores::{Condition, ErrorKind, Key, ObjectStore, PutMode, Result, conformance};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn environment(variables: Vec<(&'static str, String)>) -> Environment {
    variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn open(url: &str, variables: Vec<(&'static str, String)>) -> Result<Arc<dyn ObjectStore>> {
    open_in(url, &Settings::new(), &environment(variables))
}

/// Returns a part of the container that no other test uses, with single puts of at most a MiB.
fn fresh(server: &SwiftServer) -> Arc<dyn ObjectStore> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let settings = Settings::from([("segment-size".to_owned(), (1 << 20).to_string())]);
    open_in(&format!("swift://{CONTAINER}/fresh/{n}"), &settings, &environment(server.variables())).unwrap()
}

#[test]
fn the_suite_of_all_stores() {
    let server = SwiftServer::start().unwrap();
    conformance::run(|| fresh(&server));
}

#[test]
fn no_condition_is_honoured_and_no_probe_is_sent() {
    let server = SwiftServer::start().unwrap();
    let store = fresh(&server);
    for condition in [Condition::Create, Condition::Update] {
        assert!(!store.honours(condition));
        assert!(store.why_not(condition).unwrap().contains("OpenStack Swift"));
    }
    let error = store.put(&key("a"), "x".into(), PutMode::Create).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(server.state().take_requests().is_empty());
}

#[test]
fn a_token_is_fetched_once_and_renewed_once() {
    let server = SwiftServer::start().unwrap();
    for variables in [server.variables(), server.keystone()] {
        let store = open(&format!("swift://{CONTAINER}/tokens"), variables).unwrap();
        store.put(&key("a"), "1".into(), PutMode::Overwrite).unwrap();
        store.get(&key("a"), None).unwrap();
        let asked = |part: &str, requests: &[String]| requests.iter().filter(|r| r.contains(part)).count();
        let requests = server.state().take_requests();
        assert_eq!((asked("auth", &requests), requests.len()), (1, 3), "{requests:?}");
        server.expire_tokens();
        assert_eq!(store.get(&key("a"), None).unwrap().bytes, "1");
        let requests = server.state().take_requests();
        assert_eq!((asked("auth", &requests), requests.len()), (1, 3), "{requests:?}");
        server.state().refuses_tokens = true;
        let error = store.get(&key("a"), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        let mut state = server.state();
        assert_eq!(state.take_requests().len(), 3, "one new token, and no more");
        state.refuses_tokens = false;
    }
}

#[test]
fn reads_ask_for_the_newest_copy() {
    let server = SwiftServer::start().unwrap();
    let store = fresh(&server);
    for text in ["old", "newer"] {
        store.put(&key("a"), text.into(), PutMode::Overwrite).unwrap();
    }
    assert_eq!(store.get(&key("a"), None).unwrap().bytes, "newer");
    assert_eq!(store.get(&key("a"), Some(3..5)).unwrap().bytes, "er");
    assert_eq!(store.head(&key("a")).unwrap().size, 5);
}

#[test]
fn interrupted_and_throttled_requests_are_retried() {
    let server = SwiftServer::start().unwrap();
    let store = fresh(&server);
    let content: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    server.state().failures = vec![503, 429, 422, 409];
    store.put(&key("a"), content.clone().into(), PutMode::Overwrite).unwrap();
    server.state().cuts = vec![10_000, 1];
    assert_eq!(store.get(&key("a"), Some(5..90_000)).unwrap().bytes, content[5..90_000]);
}

#[test]
fn segments_are_deleted_with_their_large_object() {
    let server = SwiftServer::start().unwrap();
    for no_bulk in [false, true] {
        server.state().no_bulk = no_bulk;
        let store = fresh(&server);
        let content: Vec<u8> = (0..(5_u32 << 19) + 7).map(|n| (n >> 3) as u8).collect();
        let segments = || server.state().names("lake_segments").len();
        store.put(&key("single"), content.clone().into(), PutMode::Overwrite).unwrap();
        assert_eq!(segments(), 3);
        let stream = |bytes: &[u8]| {
            let mut stream = store.put_stream(&key("streamed")).unwrap();
            (0..9).for_each(|_| stream.write(bytes).unwrap());
            stream
        };
        stream(&content).finish().unwrap();
        assert_eq!(segments(), 3 + 3, "parts of 8 MiB");
        assert_eq!(store.head(&key("streamed")).unwrap().size, 9 * content.len() as u64);
        let from = content.len() as u64 * 4 - 3;
        let got = store.get(&key("streamed"), Some(from..from + 6)).unwrap().bytes;
        assert_eq!(got, [&content[content.len() - 3..], &content[..3]].concat());
        stream(&content).finish().unwrap();
        assert_eq!(segments(), 3 + 3, "those of the object that was replaced are gone");
        stream(&content).abort().unwrap();
        assert_eq!(segments(), 3 + 3, "and those of one that was given up");
        store.delete_many(&[key("single"), key("streamed"), key("not-there")]).unwrap();
        assert_eq!(segments(), 0);
    }
}

/// Returns a store that tries each request twice.
fn hasty(server: &SwiftServer, name: &str) -> Arc<dyn ObjectStore> {
    let settings = Settings::from([("segment-size".to_owned(), (1 << 20).to_string())]);
    let variables = server.variables().into_iter().chain([("AWS_MAX_ATTEMPTS", "2".to_owned())]).collect();
    open_in(&format!("swift://{CONTAINER}/{name}"), &settings, &environment(variables)).unwrap()
}

#[test]
fn a_redirected_change_is_not_taken_for_done() {
    let server = SwiftServer::start().unwrap();
    let store = hasty(&server, "elsewhere");
    store.put(&key("there"), "1".into(), PutMode::Overwrite).unwrap();
    server.state().wants_login = true;
    store.put(&key("a"), "x".into(), PutMode::Overwrite).unwrap_err();
    store.put(&key("large"), vec![1; 3 << 20].into(), PutMode::Overwrite).unwrap_err();
    store.delete(&key("there")).unwrap_err();
    server.state().wants_login = false;
    assert_eq!(store.get(&key("there"), None).unwrap().bytes, "1");
    assert_eq!(store.head(&key("a")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn segments_of_a_possibly_stored_manifest_are_retained() {
    let server = SwiftServer::start().unwrap();
    let store = hasty(&server, "hidden");
    let content: Vec<u8> = (0..(5_u32 << 19) + 7).map(|n| (n >> 3) as u8).collect();
    server.state().hides_manifests = true;
    store.put(&key("large"), content.clone().into(), PutMode::Overwrite).unwrap_err();
    assert_eq!(server.state().names("lake_segments").len(), 3);
    let mut stream = store.put_stream(&key("streamed")).unwrap();
    (0..9).for_each(|_| stream.write(&content).unwrap());
    stream.finish().unwrap_err();
    assert_eq!(server.state().names("lake_segments").len(), 3 + 3);
    assert_eq!(store.get(&key("large"), None).unwrap().bytes, content);
}

#[test]
fn a_part_that_was_not_requested_is_an_error() {
    let server = SwiftServer::start().unwrap();
    let store = fresh(&server);
    store.put(&key("a"), "0123456789".into(), PutMode::Overwrite).unwrap();
    server.state().gives_first_parts = true;
    store.get(&key("a"), Some(5..8)).unwrap_err();
    assert_eq!(store.get(&key("a"), Some(0..3)).unwrap().bytes, "012");
}

#[test]
fn errors_name_location_and_remedy_without_secrets() {
    let server = SwiftServer::start().unwrap();
    let url = format!("swift://{CONTAINER}/errors");
    let refused = |url: &str, variables| {
        let error = match open(url, variables) {
            Err(e) => e,
            Ok(store) => store.put(&key("a"), "x".into(), PutMode::Overwrite).unwrap_err(),
        };
        let text = format!("{error} {error:?}");
        assert!(!text.contains(KEY) && !text.contains("wrong-key") && !text.contains("token-"), "{text}");
        error
    };
    let said = |error: &object_stores::Error, kind, words: &[&str]| {
        assert_eq!(error.kind(), kind, "{error}");
        words.iter().for_each(|word| assert!(error.to_string().contains(word), "no {word:?} in {error}"));
    };
    let with = |name: &'static str, value: &str| {
        let unchanged = server.variables().into_iter().filter(|(known, _)| *known != name);
        unchanged.chain((!value.is_empty()).then(|| (name, value.to_owned()))).collect::<Vec<_>>()
    };
    said(
        &refused(&url, with("ST_KEY", "wrong-key")),
        ErrorKind::Unauthenticated,
        &["401", "/auth/v1.0", "ST_KEY"],
    );
    said(&refused(&url, with("ST_KEY", "")), ErrorKind::Unauthenticated, &["ST_AUTH", "ST_KEY"]);
    said(&refused(&url, with("ST_AUTH", "")), ErrorKind::Unauthenticated, &["ST_AUTH", "OS_AUTH_URL"]);
    said(&refused(&url, with("SWIFT_ALLOW_HTTP", "")), ErrorKind::InvalidArgument, &["SWIFT_ALLOW_HTTP"]);
    let missing = refused("swift://not-there/x", server.variables());
    said(&missing, ErrorKind::NoStore, &["404", "v1/AUTH_test/not-there", "tx-of-a-test", "swift post"]);
    server.state().failures = vec![403];
    said(
        &refused(&url, server.variables()),
        ErrorKind::PermissionDenied,
        &["403", "tx-of-a-test", "access list"],
    );
    server.state().failures = vec![413];
    said(&refused(&url, server.variables()), ErrorKind::NoSpace, &["quota"]);
}

/// Swift supports a single writer only: the error of `writers=many` gives the reason.
#[test]
fn many_writers_are_refused_with_the_reason() {
    use h5lake_container::{Container, FileCreation, Options, Replace, Target};
    let server = SwiftServer::start().unwrap();
    let store = fresh(&server);
    let target = || Target::Objects { store: store.clone(), key: "x.h5".into(), url: store.name() };
    let make = |options| Container::create(&target(), Replace::Never, FileCreation::default(), options);
    let mut many = Options::default();
    many.ledger.writers = h5lake_ledger::Writers::Many;
    let error = make(many).map(drop).unwrap_err().to_string();
    assert!(error.contains("OpenStack Swift") && error.contains("one writer"), "{error}");
    drop(make(Options::default()).unwrap());
}
