//! Answers of a store server (docs/store-protocol.md) that break off: the client requests the missing bytes of the same
//! version, or returns an error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::io::{Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use object_stores::registry::Settings;
use object_stores::remote::{Environment, open_in};
use object_stores::{Key, ObjectStore};
use parking_lot::Mutex;

/// A server that has the same object under every key.
#[derive(Default)]
struct State {
    content: Vec<u8>,
    /// The next answers break off after this many bytes.
    cuts: Vec<usize>,
    /// Each answer is of another version.
    changes: bool,
    /// The requested ranges.
    asked: Vec<String>,
}

fn head_of(stream: &mut TcpStream) -> Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(String::from_utf8_lossy(&head).to_lowercase())
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> Result<()> {
    let head = head_of(&mut stream)?;
    let mut state = state.lock();
    if head.starts_with("get /v1 ") {
        let body = r#"{"protocol": "h5store", "versions": [1], "capabilities": []}"#;
        let length = body.len();
        return write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
    }
    let size = state.content.len();
    let range = head.lines().find_map(|line| line.strip_prefix("range: bytes=")).map(str::to_owned);
    let (first, last) = range.as_deref().and_then(|range| range.split_once('-')).unwrap_or(("0", ""));
    let first: usize = first.parse().unwrap();
    let end = last.parse::<usize>().map_or(size, |last| (last + 1).min(size));
    state.asked.push(range.clone().unwrap_or_default());
    let version = if state.changes { state.asked.len() } else { 1 };
    let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nETag: \"{version}\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    )?;
    if range.is_some() {
        write!(stream, "Content-Range: bytes {first}-{}/{size}\r\n", end - 1)?;
    }
    write!(stream, "Content-Length: {}\r\nConnection: close\r\n\r\n", end - first)?;
    let cut = if state.cuts.is_empty() { usize::MAX } else { state.cuts.remove(0) };
    stream.write_all(&state.content[first..end.min(first.saturating_add(cut))])
}

/// Starts a server on an unused port, which ends with the process; returns its state and its store.
fn started(content: &[u8]) -> (Arc<Mutex<State>>, Arc<dyn ObjectStore>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("h5store+http://{}/x", listener.local_addr().unwrap());
    let state = Arc::new(Mutex::new(State { content: content.to_vec(), ..State::default() }));
    let served = state.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let served = served.clone();
            std::thread::spawn(move || answer(stream, &served));
        }
    });
    (state, open_in(&url, &Settings::new(), &Environment::new()).unwrap())
}

fn content() -> Vec<u8> {
    (0..100_000_u32).map(|n| ((n * 7) >> 3) as u8).collect()
}

fn key() -> Key {
    Key::new("a").unwrap()
}

#[test]
fn interrupted_reads_are_resumed() {
    let content = content();
    let (state, store) = started(&content);
    state.lock().cuts = vec![10_000, 1, 0];
    assert!(store.get(&key(), None).unwrap().bytes == content);
    assert_eq!(state.lock().asked, ["", "10000-99999", "10001-99999", "10001-99999"]);
    state.lock().cuts = vec![0, 70_000];
    assert!(store.get(&key(), Some(5..90_000)).unwrap().bytes == content[5..90_000]);
    state.lock().cuts = vec![1000];
    let mut part = vec![0; 50_000];
    store.get_into(&key(), 7, &mut part).unwrap();
    assert!(part == content[7..50_007]);
    assert_eq!(state.lock().asked[4..], ["5-89999", "5-89999", "70005-89999", "7-50006", "1007-50006"]);
}

#[test]
fn two_versions_are_not_joined() {
    let (state, store) = started(&content());
    *state.lock() = State { content: content(), cuts: vec![10_000], changes: true, ..State::default() };
    store.get(&key(), None).unwrap_err();
    // The answer that arrives completely is correct.
    assert!(store.get(&key(), None).unwrap().bytes == content());
}

#[test]
fn answers_that_always_break_off_are_an_error() {
    let (state, store) = started(&content());
    state.lock().cuts = vec![1; 100];
    store.get(&key(), None).unwrap_err();
    assert_eq!(state.lock().asked.len(), 11);
}
