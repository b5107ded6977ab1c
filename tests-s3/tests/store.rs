//! The remote store against the loopback server: the suite of all stores, configuration, conditions, clear errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{changed, environment, fresh, key, open, server};
use h5lake_tests_s3::faults::Outcome;
use h5lake_tests_s3::{ACCESS_KEY, BUCKET, Behaviour, Conditions, SECRET_KEY, Server};
use object_stores::registry::Settings;
use object_stores::remote::{Environment, open_in};
use object_stores::{
    Condition, Error, ErrorKind, ObjectStore, ObjectStoreExt, PutMode, TraceStore, conformance,
};

#[test]
fn the_suite_of_all_stores() {
    let server = server();
    conformance::run(|| fresh(&server));
}

#[test]
fn the_suite_of_all_stores_where_conditions_are_ignored() {
    for conditions in [Conditions::Ignored, Conditions::Refused, Conditions::Racy] {
        let server = Server::start(Behaviour { conditions, ..Behaviour::default() }).unwrap();
        let store = fresh(&server);
        for condition in [Condition::Create, Condition::Update] {
            assert!(!store.honours(condition), "{conditions:?}, {condition:?}");
        }
        conformance::run(|| fresh(&server));
    }
}

#[test]
fn the_suite_of_the_register() {
    let server = server();
    h5lake_ledger::register::conformance::run(|| fresh(&server));
}

#[test]
fn a_conditional_read_is_one_request_and_sends_no_known_bytes() {
    for (conditions, least) in [(Conditions::Honoured, 1), (Conditions::Ignored, 2)] {
        let server = Server::start(Behaviour { conditions, ..Behaviour::default() }).unwrap();
        let store = fresh(&server);
        let put = |text: &'static str| {
            let etag = store.put(&key("a"), text.into(), PutMode::Overwrite).unwrap().etag.unwrap();
            server.take_requests();
            etag
        };
        let known = put("one");
        let asked = || {
            let got = store.get_if_changed(&key("a"), Some(0..100), &known).unwrap().map(|got| got.bytes);
            (got, server.take_requests().len())
        };
        for _ in 0..3 {
            // A server that ignores the condition sends the bytes once; from then on the client requests the metadata.
            assert_eq!(asked(), (None, 1), "{conditions:?}");
        }
        put("two");
        assert_eq!(asked(), (Some("two".into()), least), "{conditions:?}");
    }
}

#[test]
fn conditions_are_probed_once_and_the_probe_is_deleted() {
    let server = server();
    let store = fresh(&server);
    assert!(store.get_opt(&key("a"), None).unwrap().is_none());
    assert_eq!(server.take_requests().len(), 1, "reading needs no probe");
    store.put(&key("a"), "x".into(), PutMode::Create).unwrap();
    let requests = server.take_requests();
    assert_eq!(
        requests.len(),
        20,
        "three races of four creates and a damaged payload, a race of four updates and one that is refused, a delete, \
         and the put itself: {requests:?}"
    );
    store.put(&key("b"), "x".into(), PutMode::Create).unwrap();
    let other = fresh(&server);
    other.put(&key("a"), "x".into(), PutMode::Create).unwrap();
    assert_eq!(server.take_requests().len(), 2);
    let all = open(&format!("s3://{BUCKET}"), &environment(&server)).unwrap();
    assert!(all.list("", None).all(|meta| !meta.unwrap().key.as_str().contains("probe")));
}

#[test]
fn keys_of_other_programs_are_omitted_from_listings() {
    let server = server();
    let store = open(&format!("s3://{BUCKET}"), &environment(&server)).unwrap();
    let mut wanted = Vec::new();
    for n in 0..40 {
        let name = format!("a/{n:02}");
        store.put(&key(&name), "x".into(), PutMode::Create).unwrap();
        wanted.push(name);
    }
    for foreign in ["a//", "a/00//x", "a/17//x", "a/17//y", "a/17/../z", "a/39//x", "b//"] {
        server.put(foreign, b"x");
    }
    for limit in [1, 3, 1000] {
        let (mut found, mut after) = (Vec::new(), None::<String>);
        loop {
            server.take_requests();
            let page = store.list_page("a/", after.as_deref(), limit).unwrap();
            assert!(server.take_requests().len() < 60);
            found.extend(page.objects.iter().map(|object| object.key.as_str().to_owned()));
            if !page.more {
                break;
            }
            after = Some(found.last().unwrap().clone());
        }
        assert_eq!(found, wanted, "{limit} at a time");
    }
    assert!(store.list("b", None).next().is_none());
}

/// Servers of each kind: the conditions that each honours, the store's description of it, and the maximum number of
/// requests of the probe.
#[test]
fn the_probe_distinguishes_servers() {
    let table = [
        (Conditions::Honoured, true, true, "", 19),
        (Conditions::Unquoted, true, true, "", 27),
        (Conditions::NeverUpdates, true, false, "even if the condition held", 27),
        (Conditions::Racy, false, false, "several racing puts win", 11),
        (Conditions::Ignored, false, false, "ignores it", 11),
        (Conditions::Refused, false, false, "refuses it", 6),
    ];
    for (conditions, creates, updates, why, most) in table {
        let server = Server::start(Behaviour { conditions, ..Behaviour::default() }).unwrap();
        let store = fresh(&server);
        let found = [Condition::Create, Condition::Update].map(|condition| store.honours(condition));
        assert_eq!(found, [creates, updates], "{conditions:?}");
        let requests = server.take_requests();
        println!("{conditions:?}: {} requests", requests.len());
        assert!(requests.len() <= most, "{conditions:?}: {} requests, {requests:?}", requests.len());
        let said = store.why_not(Condition::Update).unwrap_or_default();
        assert!(said.contains(why) && said.is_empty() == updates, "{conditions:?}: {said}");
        if updates {
            let etag = store.put(&key("a"), "1".into(), PutMode::Create).unwrap().etag.unwrap();
            let changed = store.put(&key("a"), "2".into(), PutMode::Update(etag.clone())).unwrap();
            assert_ne!(changed.etag.as_ref(), Some(&etag));
            let error = store.put(&key("a"), "3".into(), PutMode::Update(etag)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PreconditionFailed, "{conditions:?}: {error}");
        } else {
            let update = PutMode::Update(object_stores::Etag::new("\"0\""));
            let error = store.put(&key("a"), "1".into(), update).unwrap_err();
            assert_says(&error, ErrorKind::Unsupported, why);
        }
    }
}

/// A racy server has one winner in some races; the probe must not trust it nevertheless.
#[test]
fn a_server_with_nonatomic_conditions_is_never_trusted() {
    for _ in 0..20 {
        let behaviour = Behaviour { conditions: Conditions::Racy, ..Behaviour::default() };
        let server = Server::start(behaviour).unwrap();
        let store = fresh(&server);
        assert!(!store.honours(Condition::Create));
        store.put(&key("a"), "1".into(), PutMode::Overwrite).unwrap();
    }
}

/// The server's software counts more than a lucky race: Swift is recognised by its answers, and its reads request the
/// newest copy.
#[test]
fn swift_is_known_by_its_answers() {
    let server = Server::start(Behaviour { swift: true, ..Behaviour::default() }).unwrap();
    let store = fresh(&server);
    store.put(&key("a"), "old".into(), PutMode::Overwrite).unwrap();
    store.put(&key("a"), "new".into(), PutMode::Overwrite).unwrap();
    assert_eq!(store.get(&key("a"), None).unwrap().bytes, "new");
    assert_eq!(store.head(&key("a")).unwrap().size, 3);
    // A client that starts with a read sends that read twice, once only.
    let late =
        open(&format!("s3://{BUCKET}/fresh"), &changed(&server, &[("AWS_MAX_ATTEMPTS", "7")])).unwrap();
    let path = store.place_of("a");
    let (_, below) = path.split_once("fresh/").unwrap();
    server.take_requests();
    assert_eq!(late.get(&key(below), None).unwrap().bytes, "new");
    assert_eq!(server.take_requests().len(), 2);
    assert_eq!(late.get(&key(below), None).unwrap().bytes, "new");
    assert_eq!(server.take_requests().len(), 1);
    for condition in [Condition::Create, Condition::Update] {
        assert!(!store.honours(condition));
        assert!(store.why_not(condition).unwrap().contains("OpenStack Swift"));
    }
    assert!(server.take_requests().len() <= 6, "one race, a damaged payload and a delete");
}

/// A bucket's server is probed once in a process, whatever other settings differ.
#[test]
fn the_verdict_is_remembered_for_endpoint_and_bucket() {
    let server = server();
    fresh(&server).put(&key("a"), "1".into(), PutMode::Create).unwrap();
    server.take_requests();
    for (n, changes) in [("AWS_MAX_ATTEMPTS", "3"), ("AWS_TIMEOUT", "9s")].into_iter().enumerate() {
        let store = open(&format!("s3://{BUCKET}/other/{n}"), &changed(&server, &[changes])).unwrap();
        store.put(&key("a"), "1".into(), PutMode::Create).unwrap();
        assert!(store.honours(Condition::Update));
        assert_eq!(server.take_requests().len(), 1);
    }
}

#[test]
fn the_suite_of_all_stores_where_etags_have_no_quotes() {
    let server =
        Server::start(Behaviour { conditions: Conditions::Unquoted, ..Behaviour::default() }).unwrap();
    conformance::run(|| fresh(&server));
}

/// Long payloads have a checksum instead of a signature over them, if the server compares the checksum; a payload that
/// arrives damaged there is put again.
#[test]
fn long_payloads_are_unsigned_where_the_server_compares_checksums() {
    let long = |n: u8| vec![n; 600_000];
    for ignores_checksums in [false, true] {
        let server = Server::start(Behaviour { ignores_checksums, ..Behaviour::default() }).unwrap();
        let store = fresh(&server);
        store.put(&key("before"), long(0).into(), PutMode::Overwrite).unwrap();
        assert_eq!(server.faults().take_unsigned(), 0, "nothing is known of the server yet");
        store.put(&key("a"), "short".into(), PutMode::Create).unwrap();
        assert_eq!(server.faults().take_unsigned(), 1, "the probe");
        server.take_requests();
        store.put(&key("b"), long(1).into(), PutMode::Create).unwrap();
        store.put(&key("c"), long(2).into(), PutMode::Overwrite).unwrap();
        store.put(&key("d"), vec![3; 1000].into(), PutMode::Create).unwrap();
        assert_eq!(server.faults().take_unsigned(), if ignores_checksums { 0 } else { 2 });
        let left = open(&format!("s3://{BUCKET}"), &environment(&server)).unwrap();
        assert!(left.list("", None).all(|meta| !meta.unwrap().key.as_str().contains("probe")));
        server.faults().add(
            |method, path| method == "PUT" && path.ends_with("/e"),
            0,
            [Outcome::FlipSent(77)],
        );
        let put = store.put(&key("e"), long(4).into(), PutMode::Create);
        match ignores_checksums {
            false => assert!(put.is_ok() && store.get(&key("e"), None).unwrap().bytes == long(4)),
            true => assert!(put.is_err() && store.get_opt(&key("e"), None).unwrap().is_none()),
        }
        assert_eq!(store.get(&key("b"), None).unwrap().bytes, long(1));
        assert_eq!(store.get(&key("c"), None).unwrap().bytes, long(2));
    }
}

/// A setting for payloads in the environment takes precedence over the server's capabilities.
#[test]
fn payloads_are_signed_on_request() {
    let server = server();
    let environment = changed(&server, &[("AWS_UNSIGNED_PAYLOAD", "false")]);
    let store = open(&format!("s3://{BUCKET}/signed"), &environment).unwrap();
    store.put(&key("a"), "short".into(), PutMode::Create).unwrap();
    store.put(&key("b"), vec![1; 600_000].into(), PutMode::Create).unwrap();
    assert_eq!(server.faults().take_unsigned(), 0);
    assert_eq!(store.get(&key("b"), None).unwrap().bytes, vec![1; 600_000]);
}

/// Asserts that an error is clear, comes soon and contains no secret; returns it.
fn refused(environment: &Environment, url: &str) -> Error {
    let begun = Instant::now();
    let error = match open(url, environment) {
        Err(e) => e,
        Ok(store) => store.get(&key("some/key"), None).unwrap_err(),
    };
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?} for {error}", begun.elapsed());
    let text = format!("{error} {error:?}");
    assert!(!text.contains(SECRET_KEY) && !text.contains("Signature="), "a secret in {text}");
    error
}

fn assert_says(error: &Error, kind: ErrorKind, words: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn credentials_that_are_wrong_or_missing_are_named() {
    let server = server();
    let url = &format!("s3://{BUCKET}/x");
    let wrong = refused(&changed(&server, &[("AWS_SECRET_ACCESS_KEY", "not-the-secret")]), url);
    assert_says(&wrong, ErrorKind::Unauthenticated, "AWS_SECRET_ACCESS_KEY");
    assert_eq!(wrong.errno(), Some(13));
    assert!(!wrong.to_string().contains("not-the-secret"));
    let unknown = refused(&changed(&server, &[("AWS_ACCESS_KEY_ID", "nobody")]), url);
    assert!(matches!(unknown.kind(), ErrorKind::Unauthenticated | ErrorKind::PermissionDenied), "{unknown}");
    let none =
        [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", ""), ("AWS_EC2_METADATA_DISABLED", "true")];
    assert_says(&refused(&changed(&server, &none), url), ErrorKind::Unauthenticated, "no credentials");
    // No server answers where a role's credentials would be.
    let port = unused();
    let metadata = format!("http://127.0.0.1:{port}");
    let role =
        [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", ""), ("AWS_METADATA_ENDPOINT", &metadata)];
    assert_says(&refused(&changed(&server, &role), url), ErrorKind::Unauthenticated, "no credentials");
    let (id, secret) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
    for missing in [id, secret] {
        let half = refused(&changed(&server, &[(missing, "")]), url);
        assert_says(&half, ErrorKind::Unauthenticated, &format!("without {missing}"));
        assert_eq!(half.errno(), Some(13));
    }
}

#[test]
fn a_missing_bucket_and_a_wrong_clock_are_named() {
    let server = server();
    let missing = refused(&environment(&server), "s3://not-there/x");
    assert_says(&missing, ErrorKind::NoStore, "no bucket 'not-there', it has to be made first");
    assert_eq!(missing.errno(), Some(2));
    let put =
        open("s3://not-there/x", &environment(&server)).unwrap().put(&key("a"), "x".into(), PutMode::Create);
    assert_says(&put.unwrap_err(), ErrorKind::NoStore, "no bucket 'not-there'");
    let skewed = Server::start(Behaviour { skewed: true, ..Behaviour::default() }).unwrap();
    // The server tolerates less than a whole second of difference, so that a quick request may still succeed.
    let error = (0..10).map(|_| {
        std::thread::sleep(Duration::from_millis(300));
        refused(&environment(&skewed), &format!("s3://{BUCKET}/x"))
    });
    let error = error.into_iter().find(|e| e.kind() != ErrorKind::NotFound).unwrap();
    assert_says(&error, ErrorKind::Unauthenticated, "clock");
}

/// Returns a port that no server listens on.
fn unused() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

#[test]
fn no_network_is_an_error_within_seconds() {
    let server = server();
    let nobody = format!("http://127.0.0.1:{}", unused());
    let error = refused(&changed(&server, &[("AWS_ENDPOINT_URL", &nobody)]), "s3://lake/x");
    assert_says(&error, ErrorKind::Unavailable, "cannot be reached");
    let error =
        refused(&changed(&server, &[("AWS_ENDPOINT_URL", "http://no.such.host.invalid")]), "s3://lake/x");
    assert_says(&error, ErrorKind::Unavailable, "cannot be reached");
    let once = [("AWS_ENDPOINT_URL", nobody.as_str()), ("AWS_MAX_ATTEMPTS", "1")];
    let begun = Instant::now();
    refused(&changed(&server, &once), "s3://lake/x");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn plain_http_is_used_only_when_allowed() {
    let server = server();
    let error = refused(&changed(&server, &[("AWS_ALLOW_HTTP", "")]), "s3://lake/x");
    assert_says(&error, ErrorKind::InvalidArgument, "AWS_ALLOW_HTTP");
    let settings = Settings::from([("allow-http".to_owned(), "true".to_owned())]);
    let store = open_in("s3://lake/x", &settings, &changed(&server, &[("AWS_ALLOW_HTTP", "")])).unwrap();
    assert!(store.get_opt(&key("a"), None).unwrap().is_none());
    for bad in ["ftp://host", "host:9000", "http://user:pass@host", "https://"] {
        let error = refused(&changed(&server, &[("AWS_ENDPOINT_URL", bad)]), "s3://lake/x");
        assert_says(&error, ErrorKind::InvalidArgument, "endpoint");
        assert!(!error.to_string().contains("pass"), "{error}");
    }
}

#[test]
fn h5pyvols_variables_work() {
    let server = server();
    let address = server.endpoint().replace("http://", "");
    let none = [("AWS_ENDPOINT_URL", ""), ("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    for address in [address.clone(), format!("http://{address}")] {
        let minio =
            [("MINIO_ADDRESS", address.as_str()), ("ACCESS_KEY", ACCESS_KEY), ("SECRET_KEY", SECRET_KEY)];
        let store = open("s3://lake/minio", &changed(&server, &[&none[..], &minio[..]].concat())).unwrap();
        store.put(&key("a"), "x".into(), PutMode::Overwrite).unwrap();
        assert_eq!(store.get(&key("a"), None).unwrap().bytes, "x");
    }
}

#[test]
fn a_profile_serves() {
    let server = server();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    let text = format!(
        "[lake]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\nendpoint_url = {}\n",
        server.endpoint()
    );
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let changes = [
        ("AWS_ENDPOINT_URL", ""),
        ("AWS_ACCESS_KEY_ID", ""),
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("AWS_SHARED_CREDENTIALS_FILE", file.as_str()),
        ("AWS_PROFILE", "lake"),
    ];
    let store = open("s3://lake/profile", &changed(&server, &changes)).unwrap();
    assert!(store.get_opt(&key("a"), None).unwrap().is_none());
}

/// The region, the endpoint and a session's token come from the two files that AWS's tools write.
#[test]
fn profiles_of_both_files_serve() {
    let dir = tempfile::tempdir().unwrap();
    let (credentials, config) = (dir.path().join("credentials"), dir.path().join("config"));
    let (endpoint, requests) = listening();
    let keys =
        "[lake]\naws_access_key_id = some\naws_secret_access_key = s3cr3t\naws_session_token = the-token\n";
    std::fs::write(&credentials, keys).unwrap();
    std::fs::write(&config, format!("[profile lake]\nregion = eu-north-7\nendpoint_url = {endpoint}\n"))
        .unwrap();
    let environment = [
        ("AWS_SHARED_CREDENTIALS_FILE", credentials.display().to_string()),
        ("AWS_CONFIG_FILE", config.display().to_string()),
        ("AWS_PROFILE", "lake".to_owned()),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
    ];
    let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let store = open("s3://lake/profile", &environment).unwrap();
    assert!(store.get_opt(&key("a"), None).unwrap().is_none());
    let request = requests.recv().unwrap();
    assert!(request.starts_with("GET /lake/profile/a "), "{request}");
    assert!(request.contains("/eu-north-7/s3/"), "signed for the profile's region: {request}");
    assert!(request.contains("x-amz-security-token: the-token"), "{request}");
    assert!(!request.contains("s3cr3t"), "{request}");
}

#[test]
fn a_sessions_token_is_sent_and_signed() {
    let server = server();
    let (endpoint, requests) = listening();
    let changes = [("AWS_ENDPOINT_URL", endpoint.as_str()), ("AWS_SESSION_TOKEN", "of-a-session")];
    let store = open("s3://lake/x", &changed(&server, &changes)).unwrap();
    assert!(store.get_opt(&key("a"), None).unwrap().is_none());
    let request = requests.recv().unwrap();
    assert!(request.contains("x-amz-security-token: of-a-session"), "{request}");
    let signed = request.split("signedheaders=").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    assert!(signed.contains("x-amz-security-token"), "{signed}");
}

#[test]
fn a_payload_is_sent_unsigned_with_a_checksum_on_request() {
    let server = server();
    let changes = [("AWS_UNSIGNED_PAYLOAD", "true"), ("AWS_CHECKSUM_ALGORITHM", "crc64nvme")];
    let put = |server: &Server, endpoint: &str| {
        let changes = [changes[0], changes[1], ("AWS_ENDPOINT_URL", endpoint)];
        let store = open(&format!("s3://{BUCKET}/unsigned"), &changed(server, &changes)).unwrap();
        let put = store.put(&key("a"), "xyz".into(), PutMode::Overwrite);
        put.and_then(|_| store.get(&key("a"), None)).map(|got| got.bytes)
    };
    assert_eq!(put(&server, &server.endpoint()).unwrap(), "xyz");
    let (endpoint, requests) = listening();
    put(&server, &endpoint).unwrap_err();
    let request = requests.recv().unwrap();
    assert!(request.contains("\nx-amz-content-sha256: unsigned-payload"), "{request}");
    assert!(request.contains("\nx-amz-checksum-crc64nvme: "), "{request}");
    let bad = changed(&server, &[("AWS_CHECKSUM_ALGORITHM", "md5")]);
    assert_says(&refused(&bad, "s3://lake/x"), ErrorKind::InvalidArgument, "checksum");
}

/// The bucket is part of the host's name. The request goes to a proxy, so that the name needs no address.
#[test]
fn virtual_hosts_are_addressed() {
    let server = server();
    let (proxy, requests) = listening();
    let changes = [
        ("AWS_ENDPOINT_URL", "http://storage.example:9000"),
        ("AWS_PROXY_URL", proxy.as_str()),
        ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true"),
    ];
    let by_variable = open("s3://lake/x", &changed(&server, &changes)).unwrap();
    let virtually = Settings::from([("style".to_owned(), "virtual".to_owned())]);
    let by_setting = open_in("s3://lake/x", &virtually, &changed(&server, &changes[..2])).unwrap();
    for store in [by_variable, by_setting] {
        assert!(store.get_opt(&key("a"), None).unwrap().is_none());
        let request = requests.recv().unwrap();
        assert!(request.starts_with("GET http://lake.storage.example:9000/x/a "), "{request}");
        assert!(request.contains("\nhost: lake.storage.example:9000"), "{request}");
    }
    let by_path = Settings::from([("style".to_owned(), "path".to_owned())]);
    let store = open_in("s3://lake/x", &by_path, &changed(&server, &changes)).unwrap();
    assert!(store.get_opt(&key("a"), None).unwrap().is_none());
    let request = requests.recv().unwrap();
    assert!(request.starts_with("GET http://storage.example:9000/lake/x/a "), "{request}");
}

/// Answers every request with not found; returns the endpoint, and the received requests, in lower case except for the
/// first line.
fn listening() -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (send, requests) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines =
                BufReader::new(&stream).lines().map_while(Result::ok).take_while(|l| !l.is_empty());
            let Some(first) = lines.next() else { continue };
            let rest: Vec<_> = lines.map(|line| line.to_lowercase()).collect();
            let body = "<Error><Code>NoSuchKey</Code></Error>";
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 404 Not Found\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            let _gone_by_now = (&stream).write_all(answer.as_bytes());
            if send.send(format!("{first}\n{}", rest.join("\n"))).is_err() {
                return;
            }
        }
    });
    (endpoint, requests)
}

#[test]
fn anonymous_requests_are_not_signed() {
    let server = server();
    let error = refused(&changed(&server, &[("AWS_SKIP_SIGNATURE", "true")]), "s3://lake/x");
    // The loopback server accepts only signed requests.
    assert_says(&error, ErrorKind::PermissionDenied, "AccessDenied");
}

#[test]
fn a_web_server_is_read_only() {
    let server = server();
    let environment = environment(&server);
    let store = open(&format!("{}/lake/x", server.endpoint()), &environment).unwrap();
    assert!(!store.honours(Condition::Create) && !store.honours(Condition::Update));
    for mode in [PutMode::Overwrite, PutMode::Create] {
        assert_eq!(store.put(&key("a"), "x".into(), mode).unwrap_err().kind(), ErrorKind::Unsupported);
    }
    assert_eq!(store.delete(&key("a")).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(store.put_stream(&key("a")).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(store.list_page("", None, 1).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn a_container_is_one_whatever_its_url_says() {
    use h5lake_container::{Access, Container, FileCreation, Options, Replace, Target};
    let server = server();
    let target = |url: &str, key: &str| {
        let store = open(url, &environment(&server)).unwrap();
        Target::Objects { store, key: key.into(), url: url.into() }
    };
    let deep = target("s3://lake/one/a", "x.h5");
    let made = Container::create(&deep, Replace::Never, FileCreation::default(), Options::default()).unwrap();
    for same in [
        target("s3://lake/one", "a/x.h5"),
        target("s3://lake", "one/a/x.h5"),
        target("s3://lake//one/a/", "x.h5"),
    ] {
        let found = Container::open(&same, Access::ReadWrite, Options::default()).unwrap();
        assert!(Arc::ptr_eq(&found, &made));
    }
    // A bucket of the same name on another server is another bucket.
    let other = Server::start(Behaviour::default()).unwrap();
    let store = open("s3://lake/one/a", &environment(&other)).unwrap();
    let elsewhere = Target::Objects { store, key: "x.h5".into(), url: "s3://lake/one/a".into() };
    assert!(Container::open(&elsewhere, Access::ReadOnly, Options::default()).is_err());
}

#[test]
fn calls_are_one_request_each() {
    let server = server();
    let store = fresh(&server);
    store.put(&key("probe/first"), "x".into(), PutMode::Create).unwrap();
    server.take_requests();
    let trace = TraceStore::new(store);
    trace.put(&key("a"), vec![1; 100].into(), PutMode::Create).unwrap();
    trace.get(&key("a"), None).unwrap();
    trace.get_into(&key("a"), 10, &mut [0; 20]).unwrap();
    trace.head(&key("a")).unwrap();
    trace.list_page("", None, 10).unwrap();
    trace.delete_many(&(0..500).map(|n| key(&format!("k{n}"))).collect::<Vec<_>>()).unwrap();
    assert_eq!(trace.requests(), 6);
    let requests = server.take_requests();
    assert_eq!(requests.len(), 6, "{requests:?}");
    let store: Arc<dyn ObjectStore> = Arc::new(trace);
    let mut stream = store.put_stream(&key("big")).unwrap();
    (0..20).for_each(|_| stream.write(&[7; 1 << 20]).unwrap());
    stream.finish().unwrap();
    // The requests are: begin, three parts of 8 MiB, complete.
    assert_eq!(server.take_requests().len(), 5);
}
