//! Streamed puts: the object is complete and visible after the finish, and does not exist before.

use bytes::Bytes;

use super::{Check, Shared, content, key, listed, pattern, put};
use crate::{Condition, PutMode};

pub(super) const CHECKS: &[Check] = &[
    ("a stream is visible only when finished", visible_at_finish),
    ("a stream replaces at its finish", replaces),
    ("an aborted stream leaves nothing", abort),
    ("a dropped stream leaves nothing", dropped),
    ("an empty stream is an empty object", empty),
    ("a big stream in odd pieces comes back whole", big),
    ("concurrent streams do not mix", interleaved),
];

fn visible_at_finish(store: &Shared) {
    let mut stream = store.put_stream(&key("s/1")).unwrap();
    assert!(listed(store, "", None).is_empty());
    stream.write(b"hello ").unwrap();
    stream.write_bytes(Bytes::from_static(b"world")).unwrap();
    assert_eq!(content(store, "s/1"), None);
    assert!(listed(store, "", None).is_empty(), "what is being written is listed");
    let given = stream.finish().unwrap().etag;
    assert_eq!(content(store, "s/1").unwrap(), b"hello world");
    assert_eq!(store.head(&key("s/1")).unwrap().etag, given);
    assert_eq!(listed(store, "", None), ["s/1"]);
}

fn replaces(store: &Shared) {
    let before = store.put(&key("s"), "old".into(), PutMode::Overwrite).unwrap().etag;
    let mut stream = store.put_stream(&key("s")).unwrap();
    stream.write(b"new").unwrap();
    assert_eq!(content(store, "s").unwrap(), b"old");
    assert_eq!(store.head(&key("s")).unwrap().etag, before);
    let after = stream.finish().unwrap().etag;
    assert_eq!(content(store, "s").unwrap(), b"new");
    if store.honours(Condition::Update) {
        assert_ne!(before, after);
    }
}

fn abort(store: &Shared) {
    put(store, "kept", b"old");
    for at in ["kept", "a/b/c"] {
        let mut stream = store.put_stream(&key(at)).unwrap();
        stream.write(&pattern(100_000)).unwrap();
        stream.abort().unwrap();
        store.put_stream(&key(at)).unwrap().abort().unwrap();
    }
    assert_eq!(listed(store, "", None), ["kept"]);
    assert_eq!(content(store, "kept").unwrap(), b"old");
}

fn dropped(store: &Shared) {
    put(store, "kept", b"old");
    for at in ["kept", "a/b/c"] {
        let mut stream = store.put_stream(&key(at)).unwrap();
        stream.write(b"never seen").unwrap();
        drop(stream);
    }
    assert_eq!(listed(store, "", None), ["kept"]);
    assert_eq!(content(store, "kept").unwrap(), b"old");
}

fn empty(store: &Shared) {
    store.put_stream(&key("e")).unwrap().finish().unwrap();
    let mut stream = store.put_stream(&key("f")).unwrap();
    stream.write(b"").unwrap();
    stream.finish().unwrap();
    assert_eq!(content(store, "e").unwrap(), b"");
    assert_eq!(content(store, "f").unwrap(), b"");
}

fn big(store: &Shared) {
    let bytes = pattern((11 << 20) + 5);
    let mut stream = store.put_stream(&key("big")).unwrap();
    let (mut at, mut step) = (0, 1);
    while at < bytes.len() {
        let end = bytes.len().min(at + step);
        stream.write(&bytes[at..end]).unwrap();
        at = end;
        step = (step * 3) % 3_000_017 + 1;
    }
    stream.finish().unwrap();
    assert!(content(store, "big").unwrap() == bytes);
}

fn interleaved(store: &Shared) {
    let mut streams: Vec<_> =
        (0..4).map(|i| store.put_stream(&key(&format!("i/{}", i % 3))).unwrap()).collect();
    for round in 0..10u8 {
        for (i, stream) in streams.iter_mut().enumerate() {
            stream.write(&[i as u8, round]).unwrap();
        }
    }
    // Streams 0 and 3 have the same key: the stream that finishes last determines the object.
    streams.into_iter().for_each(|stream| {
        stream.finish().unwrap();
    });
    for (at, i) in [("i/0", 3), ("i/1", 1), ("i/2", 2)] {
        let expected: Vec<u8> = (0..10).flat_map(|round| [i, round]).collect();
        assert_eq!(content(store, at).unwrap(), expected);
    }
}
