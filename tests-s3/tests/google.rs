//! The store of Google Cloud Storage against a server on loopback: the suite of all stores, preconditions on generations, credentials.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use h5lake_tests_s3::google::{BUCKET, Behaviour, GoogleServer};
use object_stores::registry::Settings;
use object_stores::remote::{Environment, open_in};
use object_stores::{
    Condition, ErrorKind, Key, ObjectStore, ObjectStoreExt as _, PutMode, Result, conformance,
};

const PUBLIC: Behaviour = Behaviour { is_public: true, ignores_preconditions: false };

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// Opens a prefix of the bucket that no other test uses, with the variables of the server and further ones.
fn open(server: &GoogleServer, further: &[(&str, &str)]) -> Result<Arc<dyn ObjectStore>> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut environment: Environment =
        server.variables().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    environment.extend(further.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    open_in(&format!("gs://{BUCKET}/fresh/{n}"), &Settings::new(), &environment)
}

fn anonymous(server: &GoogleServer) -> Arc<dyn ObjectStore> {
    open(server, &[("GOOGLE_SKIP_SIGNATURE", "true")]).unwrap()
}

#[test]
fn the_suite_of_all_stores() {
    let server = GoogleServer::start(PUBLIC).unwrap();
    conformance::run(|| anonymous(&server));
}

#[test]
fn an_etag_is_a_generation_and_two_puts_of_the_same_content_differ() {
    let server = GoogleServer::start(PUBLIC).unwrap();
    let store = anonymous(&server);
    let first = store.put(&key("a"), "x".into(), PutMode::Create).unwrap().etag.unwrap();
    let second = store.put(&key("a"), "x".into(), PutMode::Overwrite).unwrap().etag.unwrap();
    assert_ne!(first, second);
    let error = store.put(&key("a"), "y".into(), PutMode::Update(first)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PreconditionFailed, "{error}");
    store.put(&key("a"), "y".into(), PutMode::Update(second)).unwrap();
    // A digest of the content in place of the generation would be taken for another version.
    let listed = store.list("", None).next().unwrap().unwrap();
    assert_eq!((listed.etag, listed.size), (None, 1));
}

#[test]
fn a_server_that_ignores_preconditions_is_found_out() {
    let server = GoogleServer::start(Behaviour { ignores_preconditions: true, ..PUBLIC }).unwrap();
    let store = anonymous(&server);
    for condition in [Condition::Create, Condition::Update] {
        assert!(!store.honours(condition), "{condition:?}");
        assert!(store.why_not(condition).unwrap().contains("ignores"), "{:?}", store.why_not(condition));
    }
    let error = store.put(&key("a"), "x".into(), PutMode::Create).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

#[test]
fn a_server_that_honours_preconditions_is_probed_once() {
    let server = GoogleServer::start(PUBLIC).unwrap();
    for _ in 0..2 {
        let store = anonymous(&server);
        assert!(store.honours(Condition::Create) && store.honours(Condition::Update));
    }
    let requests = server.state().take_requests();
    let probes =
        requests.iter().filter(|request| request.contains("probe") && request.starts_with("PUT")).count();
    // Three races of four creates, one update from a wrong generation, one race of four updates.
    assert_eq!(probes, 17, "{requests:?}");
}

#[test]
fn reads_of_a_private_bucket_need_credentials() {
    let server = GoogleServer::start(Behaviour::default()).unwrap();
    let error = anonymous(&server).get(&key("a"), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    let store = open(&server, &[("GOOGLE_BEARER_TOKEN", "token-0")]).unwrap();
    store.put(&key("a"), "x".into(), PutMode::Create).unwrap();
    assert_eq!(store.get(&key("a"), None).unwrap().bytes, "x");
}

#[test]
fn plain_http_has_to_be_allowed() {
    let server = GoogleServer::start(PUBLIC).unwrap();
    let error = open(&server, &[("GOOGLE_ALLOW_HTTP", "false")]).unwrap_err().to_string();
    assert!(error.contains("GOOGLE_BASE_URL") && error.contains("GOOGLE_ALLOW_HTTP=true"), "{error}");
    let url = server.variables().remove(0).1;
    let account = format!(
        r#"{{"private_key": "", "private_key_id": "", "client_email": "", "disable_oauth": true, "gcs_base_url": "{url}"}}"#
    );
    let variables = |allows: &str| {
        let pairs = [("GOOGLE_SERVICE_ACCOUNT_KEY", account.as_str()), ("GOOGLE_ALLOW_HTTP", allows)];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Environment>()
    };
    let of_account =
        |allows| open_in(&format!("gs://{BUCKET}/account"), &Settings::new(), &variables(allows));
    let error = of_account("").unwrap_err().to_string();
    assert!(error.contains("GOOGLE_SERVICE_ACCOUNT_KEY"), "{error}");
    let store = of_account("true").unwrap();
    store.put(&key("a"), "x".into(), PutMode::Create).unwrap();
    assert!(
        server.state().take_requests().iter().any(|request| request.contains("probe")),
        "the server was not probed"
    );
}
