//! Listings of servers that contain other programs' objects, or do not continue where the request says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{changed, environment, key, open, server};
use h5lake_ledger::Ledger;
use h5lake_tests_s3::BUCKET;
use object_stores::registry::Settings;
use object_stores::remote::open_in;
use object_stores::{Error, ErrorKind, ObjectStoreExt, PutMode};

#[test]
fn names_that_no_key_has_stop_no_listing() {
    let server = server();
    let store = open(&format!("s3://{BUCKET}"), &environment(&server)).unwrap();
    for name in ["p/a", "p/m", "p/z"] {
        store.put(&key(name), "x".into(), PutMode::Overwrite).unwrap();
    }
    let long = "n".repeat(300);
    for foreign in
        [format!("p/{long}"), format!("p/b/{long}/x"), "p/y\u{85}".to_owned(), format!("p/zz{long}")]
    {
        server.put(&foreign, b"foreign");
    }
    for url in [format!("s3://{BUCKET}"), format!("s3://{BUCKET}/p")] {
        let store = open(&url, &environment(&server)).unwrap();
        for limit in [1, 2, 1000] {
            let (mut found, mut after) = (Vec::new(), None::<String>);
            loop {
                let page = store.list_page("", after.as_deref(), limit).unwrap();
                found.extend(page.objects.iter().map(|object| object.key.file_name().to_owned()));
                if !page.more {
                    break;
                }
                after = page.objects.last().map(|object| object.key.to_string());
            }
            assert_eq!(found, ["a", "m", "z"], "{url}, {limit} at a time");
        }
    }
}

/// Starts a server that answers each listing with the page that `answer` returns for the request's number, and counts requests.
fn lists(answer: impl Fn(usize) -> String + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            if lines.take_while(|line| !line.is_empty()).count() == 0 {
                continue;
            }
            let body = answer(counted.fetch_add(1, Ordering::Relaxed));
            let length = body.len();
            let text =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            let _gone_by_now = (&stream).write_all(text.as_bytes());
        }
    });
    (endpoint, count)
}

fn page(keys: &[&str], token: Option<&str>) -> String {
    let object = |key: &&str| {
        format!(
            "<Contents><Key>{key}</Key><LastModified>2026-11-20T10:00:00.000Z</LastModified><ETag>e</ETag>\
             <Size>3</Size></Contents>"
        )
    };
    let keys: String = keys.iter().map(object).collect();
    let token = token.map(|token| format!("<NextContinuationToken>{token}</NextContinuationToken>"));
    let is_cut = token.is_some();
    let token = token.unwrap_or_default();
    format!("<ListBucketResult><IsTruncated>{is_cut}</IsTruncated>{token}{keys}</ListBucketResult>")
}

/// Lists all keys of a server within a timeout. Returns the keys or the error, and the number of requests.
fn listed(
    answer: impl Fn(usize) -> String + Send + 'static,
    timeout: &str,
) -> (Result<Vec<String>, Error>, usize) {
    let (endpoint, count) = lists(answer);
    let reach = changed(&server(), &[("AWS_ENDPOINT_URL", &endpoint)]);
    let settings = Settings::from([("timeout".to_owned(), timeout.to_owned())]);
    let store = open_in("s3://lake", &settings, &reach).unwrap();
    let keys = store.list("", None).map(|found| Ok(found?.key.to_string())).collect();
    (keys, count.load(Ordering::Relaxed))
}

#[test]
fn a_listing_without_progress_is_retried_a_few_times() {
    let refused = |answer: fn(usize) -> String| {
        let (found, requests) = listed(answer, "50s");
        let error = found.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("the same keys again"), "{error}");
        assert!(requests < 20, "{requests} requests");
    };
    // Every page has the same single name, which is not a valid key.
    refused(|_| page(&["t/../x.h5"], None));
    refused(|n| page(&["t/../x.h5"], Some(&n.to_string())));
    // Every page has the same keys and another token.
    refused(|n| page(&["a", "b"], Some(&n.to_string())));
    refused(|n| page(&[&"n".repeat(300)], Some(&n.to_string())));
}

#[test]
fn the_timeout_ends_a_listing_of_pages_without_keys() {
    let (found, requests) = listed(
        |n| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            page(&[], Some(&n.to_string()))
        },
        "1s",
    );
    let error = found.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("'timeout'"), "{error}");
    assert!(requests < 50, "{requests} requests");
    // A few pages without keys are valid.
    let (found, _) =
        listed(|n| if n < 5 { page(&[], Some(&n.to_string())) } else { page(&["a"], None) }, "50s");
    assert_eq!(found.unwrap(), ["a"]);
}

/// The objects of ten thousand containers, and a folder with as many other objects.
#[test]
fn a_list_of_containers_takes_one_request_for_a_thousand_objects() {
    let server = server();
    for n in 0..10_000 {
        server.put(&format!("many/c{n:05}.h5"), b"manifest");
        server.put(&format!("many/c{n:05}.h5.lake/{n:032x}/0123456789abcdef-1"), b"record");
        server.put(&format!("many/below/{n}"), b"other");
    }
    let store = open(&format!("s3://{BUCKET}/many"), &environment(&server)).unwrap();
    server.take_requests();
    let all = Ledger::list_objects(&*store, true).unwrap();
    let requests = server.take_requests().len();
    println!("a list of 10,000 containers and 10,000 other objects: {requests} requests");
    assert_eq!(requests, 30);
    assert_eq!(all.entries.values().filter(|entry| entry.has_parts).count(), 10_000);
    assert!(all.entries.values().all(|entry| entry.modified.is_some()));
    let level = Ledger::list_objects(&*store, false).unwrap();
    assert_eq!(server.take_requests().len(), 21, "one page of the folder, which is skipped then");
    assert_eq!((level.entries.len(), level.folders.len()), (10_000, 1));
    assert!(level.entries.values().all(|entry| entry.bytes == 14 && entry.has_parts));
}
