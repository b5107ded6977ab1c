//! A container that is published on a plain web server, as the files of a directory store, and read from there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::open;
use h5lake_ledger::{Access, ErrorKind, Ledger, Options, PayloadPart, Replace};
use object_stores::remote::Environment;
use object_stores::{DirStore, ObjectStore};

/// Serves files with GET and HEAD, whole or in one range, like any web server.
fn serve(root: PathBuf) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let root = root.clone();
            std::thread::spawn(move || while answer(&stream, &root).is_some() {});
        }
    });
    url
}

fn answer(mut stream: &TcpStream, root: &Path) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next()?.ok()?;
    let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let mut words = request.split(' ');
    let (method, path) = (words.next()?, words.next()?.trim_start_matches('/'));
    let range = head
        .iter()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("range: bytes=").map(str::to_owned));
    let (status, more, body) = match std::fs::read(root.join(path)) {
        Err(_) => ("404 Not Found", String::new(), Vec::new()),
        Ok(whole) => match range.as_deref().and_then(|range| range.split_once('-')) {
            None => ("200 OK", String::new(), whole),
            Some((from, to)) => {
                let from: usize = from.parse().ok()?;
                let to = to.parse().map_or(whole.len(), |to: usize| whole.len().min(to + 1));
                if from >= to {
                    ("416 Range Not Satisfiable", String::new(), Vec::new())
                } else {
                    let more = format!("Content-Range: bytes {from}-{}/{}\r\n", to - 1, whole.len());
                    ("206 Partial Content", more, whole[from..to].to_vec())
                }
            }
        },
    };
    let fixed = "Last-Modified: Fri, 20 Nov 2026 10:00:00 GMT\r\nETag: \"published\"\r\n";
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{fixed}{more}\r\n", body.len());
    stream.write_all(text.as_bytes()).ok()?;
    if method == "GET" {
        stream.write_all(&body).ok()?;
    }
    Some(())
}

#[test]
fn a_published_container_is_read_and_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(DirStore::open(dir.path().join("lake"), Default::default()).unwrap());
    let ledger = Ledger::create_objects(store, "data/c.h5", Replace::Fail, Options::default()).unwrap();
    let payload: Vec<u8> = (0..3_000_000u32).map(|n| (n / 3) as u8).collect();
    let extent = ledger.write_payload(&payload).unwrap();
    ledger.put(b"big", extent.to_bytes()).unwrap();
    for n in 0..5000u32 {
        ledger.put(format!("key-{n}").as_bytes(), n.to_le_bytes().to_vec()).unwrap();
    }
    ledger.commit().unwrap();
    ledger.close().unwrap();

    let url = serve(dir.path().to_owned());
    let environment = Environment::from([("HTTP_ALLOW_HTTP".to_owned(), "true".to_owned())]);
    let web: Arc<dyn ObjectStore> = open(&format!("{url}/lake"), &environment).unwrap();
    let read = Ledger::open_objects(web.clone(), "data/c.h5", Access::ReadOnly, Options::default()).unwrap();
    assert_eq!(read.scan_prefix(b"key-", None, usize::MAX).unwrap().len(), 5000);
    assert_eq!(read.get(b"key-4321").unwrap().unwrap(), 4321u32.to_le_bytes().to_vec());
    let part = |range| PayloadPart { extent: &extent, range, into: None };
    let got = read.read_payloads(vec![part(0..3_000_000), part(1_000_000..1_000_100)]).unwrap();
    assert!(got[0] == payload && got[1] == payload[1_000_000..1_000_100]);
    assert!(!read.refresh().unwrap());

    let write =
        Ledger::open_objects(web.clone(), "data/c.h5", Access::ReadWrite, Options::default()).unwrap_err();
    assert!(write.to_string().contains("read-only"), "{write}");
    let none = Ledger::open_objects(web, "data/none.h5", Access::ReadOnly, Options::default()).unwrap_err();
    assert_eq!(none.kind(), &ErrorKind::NotFound);
    let refused = open(&format!("{url}/lake"), &Environment::new()).unwrap_err();
    assert!(refused.to_string().contains("HTTP_ALLOW_HTTP"), "{refused}");
}
