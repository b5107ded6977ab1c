//! Names in Azure Blob Storage, which turns backslashes into slashes: two keys are never one object.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use object_stores::registry::Settings;
use object_stores::remote::{Environment, open_in};
use object_stores::{ErrorKind, Key, ObjectStore, PrefixStore, PutMode, PutPayload};
use parking_lot::Mutex;

type Blobs = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// Decodes the percent-encoding of a path.
fn decoded(path: &str) -> Option<String> {
    let mut parts = path.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(part.get(2..)?.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// Answers puts and gets like the service, for every name.
fn answer(stream: &TcpStream, blobs: &Blobs) -> Option<()> {
    let mut from = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        (from.read_line(&mut head).ok()? > 0).then_some(())?;
    }
    let mut words = head.split(' ');
    let (method, path) = (words.next()?, words.next()?.split('?').next()?);
    let name = decoded(path)?.replace('\\', "/");
    let lower = head.to_lowercase();
    let length =
        lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    let fixed = "ETag: \"1\"\r\nLast-Modified: Fri, 20 Nov 2026 10:00:00 GMT\r\nConnection: close\r\n";
    let mut blobs = blobs.lock();
    let (status, body) = match method {
        "PUT" => {
            blobs.insert(name, body);
            ("201 Created", Vec::new())
        }
        _ => match blobs.get(&name) {
            Some(blob) => ("200 OK", blob.clone()),
            None => ("404 Not Found", Vec::new()),
        },
    };
    let mut to = stream;
    to.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{fixed}\r\n", body.len()).as_bytes())
        .ok()?;
    if method == "GET" {
        to.write_all(&body).ok()?;
    }
    Some(())
}

fn store() -> (Blobs, Arc<dyn ObjectStore>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let blobs = Blobs::default();
    let served = blobs.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let served = served.clone();
            std::thread::spawn(move || answer(&stream, &served));
        }
    });
    let environment: Environment = [
        ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "a2V5"),
        ("AZURE_STORAGE_ENDPOINT", &endpoint),
        ("AZURE_ALLOW_HTTP", "true"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    (blobs, open_in("az://lake", &Settings::new(), &environment).unwrap())
}

#[test]
fn a_name_is_one_object_or_is_refused() {
    let (blobs, store) = store();
    let key = |text: &str| Key::new(text).unwrap();
    store.put(&key("x/y.h5"), "the container".into(), PutMode::Overwrite).unwrap();
    for changed in ["x\\y.h5", "x/y.h5.", "x./y.h5", "x/\\y.h5"] {
        let at = key(changed);
        assert!(store.why_not_key(&at).is_some(), "{changed}");
        let error = store.put(&at, "another".into(), PutMode::Overwrite).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{changed}");
        let said = error.to_string();
        assert!(said.contains("choose a name") && said.contains(&format!("{changed:?}")), "{said}");
        for refused in [
            store.put(&at, "another".into(), PutMode::Create).map(drop),
            store.get(&at, None).map(drop),
            store.get_into(&at, 0, &mut [0]).map(drop),
            store.head(&at).map(drop),
            store.put_stream(&at).map(drop),
            store.delete(&at),
            store.delete_many(&[key("z"), at.clone()]),
        ] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument, "{changed}");
        }
    }
    // A prefix with such a name is refused at its first use.
    let below = PrefixStore::new(store.clone(), key("x\\z"));
    assert!(below.why_not_key(&key("a")).is_some());
    assert_eq!(below.head(&key("a")).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(store.get(&key("x/y.h5"), None).unwrap().bytes, "the container");
    assert_eq!(blobs.lock().len(), 1, "{:?}", blobs.lock().keys());
}

#[test]
fn every_other_name_reaches_the_service_as_it_is() {
    let (blobs, store) = store();
    let printable = (' '..='~').filter(|c| !matches!(c, '/' | '\\' | '.'));
    let mut names: Vec<String> =
        printable.flat_map(|c| [format!("{c}a"), format!("a{c}"), format!("a{c}/{c}b")]).collect();
    names.extend(
        ["a%2Fb", "a%5Cb", "a%2E", "%2e%2e/a", ".a", "a.b", "..a/b", "é", "e\u{301}", "😀"].map(String::from),
    );
    for name in &names {
        store
            .put(&Key::new(name).unwrap(), PutPayload::copy_from(name.as_bytes()), PutMode::Overwrite)
            .unwrap();
    }
    let mut wanted: Vec<_> =
        names.iter().map(|name| (format!("/lake/{name}"), name.clone().into_bytes())).collect();
    wanted.sort();
    wanted.dedup();
    assert_eq!(blobs.lock().clone().into_iter().collect::<Vec<_>>(), wanted);
    for name in &names {
        assert_eq!(store.get(&Key::new(name).unwrap(), None).unwrap().bytes, name.as_bytes(), "{name}");
    }
}
