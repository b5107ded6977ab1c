//! Conditional reads: an object is sent only if it has changed.

use super::{Check, Shared, content, key, kind, pattern, put};
use crate::{ErrorKind, Etag, PutMode};

pub(super) const CHECKS: &[Check] = &[
    ("an unchanged object is not sent again", unchanged),
    ("a changed object is sent, whole or in part", changed),
    ("a deleted object is missing, whatever etag is known", deleted),
    ("an object put again with the same bytes is the one that its etag names", put_again),
    ("a big object is sent only if it has changed", big),
    ("an etag that is no object's matches nothing", foreign_etags),
    ("a reader that polls misses no change", polling),
];

/// Puts an object; returns its etag, if the store has etags.
fn put_for_etag(store: &Shared, at: &str, bytes: &[u8]) -> Option<Etag> {
    store.put(&key(at), bytes.to_vec().into(), PutMode::Overwrite).unwrap().etag
}

/// Returns the bytes that are sent for an object, if its etag is not `known`.
fn changed_bytes(store: &Shared, at: &str, known: &Etag) -> Option<Vec<u8>> {
    let got = store.get_if_changed(&key(at), None, known).unwrap()?;
    assert_eq!(got.meta.key, key(at));
    assert_eq!(got.meta.size, got.bytes.len() as u64);
    assert_ne!(got.meta.etag.as_ref(), Some(known), "bytes came with the etag that is known");
    Some(got.bytes.to_vec())
}

fn unchanged(store: &Shared) {
    for (at, bytes) in [("same/short", &b"0123456789"[..]), ("same/empty", b""), ("same", b"beside")] {
        let at = if at == "same" && !store.capabilities().nested_keys { "same-beside" } else { at };
        let Some(known) = put_for_etag(store, at, bytes) else { return };
        for _ in 0..3 {
            assert_eq!(changed_bytes(store, at, &known), None, "{at}");
        }
        assert!(store.get_if_changed(&key(at), Some(0..4), &known).unwrap().is_none(), "{at}, a part");
        // A change of another object has no effect.
        put(store, "other", b"changes");
        assert_eq!(changed_bytes(store, at, &known), None, "{at} after a change of another object");
        assert_eq!(content(store, at).unwrap(), bytes);
        let read = store.get(&key(at), None).unwrap().meta.etag.unwrap();
        assert_eq!(changed_bytes(store, at, &read), None, "{at}, with the etag of a read");
    }
}

fn changed(store: &Shared) {
    let Some(first) = put_for_etag(store, "new/1", b"first") else { return };
    let second = put_for_etag(store, "new/1", b"0123456789").unwrap();
    let got = store.get_if_changed(&key("new/1"), None, &first).unwrap().unwrap();
    assert_eq!((&got.bytes[..], got.meta.size), (&b"0123456789"[..], 10));
    assert_eq!(got.meta, store.head(&key("new/1")).unwrap());
    assert_eq!(got.meta.etag.as_ref(), Some(&second));
    let part = |range| store.get_if_changed(&key("new/1"), Some(range), &first);
    for (range, wanted) in [(3..5, &b"34"[..]), (8..12, b"89"), (0..u64::MAX, b"0123456789"), (4..4, b"")] {
        let got = part(range).unwrap().unwrap();
        assert_eq!((&got.bytes[..], got.meta.size, got.meta.etag.as_ref()), (wanted, 10, Some(&second)));
    }
    assert_eq!(kind(part(10..11)), ErrorKind::ShortRead);
    #[allow(clippy::reversed_empty_ranges, reason = "that is the point")]
    let reversed = 5..4;
    assert_eq!(kind(part(reversed)), ErrorKind::InvalidArgument);
    // A stream replaces the object too.
    let mut stream = store.put_stream(&key("new/1")).unwrap();
    stream.write(b"third").unwrap();
    stream.finish().unwrap();
    assert_eq!(changed_bytes(store, "new/1", &second).unwrap(), b"third");
}

fn deleted(store: &Shared) {
    let Some(known) = put_for_etag(store, "gone", b"x") else { return };
    store.delete(&key("gone")).unwrap();
    for at in ["gone", "never"] {
        assert_eq!(kind(store.get_if_changed(&key(at), None, &known)), ErrorKind::NotFound, "{at}");
        assert_eq!(kind(store.get_if_changed(&key(at), Some(0..1), &known)), ErrorKind::NotFound, "{at}");
    }
}

/// Puts the same bytes again. If etags are digests of the content, the object then has the same etag as before;
/// otherwise it has another one.
fn put_again(store: &Shared) {
    let Some(first) = put_for_etag(store, "again", b"the same") else { return };
    let is_named =
        |known: &Etag| changed_bytes(store, "again", known).is_none_or(|bytes| bytes == b"the same");
    let second = put_for_etag(store, "again", b"the same").unwrap();
    assert_eq!(changed_bytes(store, "again", &first).is_none(), first == second, "replaced");
    assert!(is_named(&first) && changed_bytes(store, "again", &second).is_none());
    let between = put_for_etag(store, "again", b"another.").unwrap();
    assert_eq!(changed_bytes(store, "again", &first).unwrap(), b"another.");
    store.delete(&key("again")).unwrap();
    let third = put_for_etag(store, "again", b"the same").unwrap();
    assert_eq!(changed_bytes(store, "again", &first).is_none(), first == third, "deleted and put again");
    assert_eq!(changed_bytes(store, "again", &between).unwrap(), b"the same");
    assert!(is_named(&first) && changed_bytes(store, "again", &third).is_none());
}

fn big(store: &Shared) {
    let bytes = pattern((5 << 20) + 13);
    let Some(first) = put_for_etag(store, "big", &bytes) else { return };
    assert_eq!(changed_bytes(store, "big", &first), None);
    let second = put_for_etag(store, "big", &bytes[1..]).unwrap();
    assert!(changed_bytes(store, "big", &first).unwrap() == bytes[1..]);
    assert_eq!(changed_bytes(store, "big", &second), None);
    let range = 3_000_000..4_500_000_u64;
    let part = store.get_if_changed(&key("big"), Some(range), &first).unwrap().unwrap();
    assert!(part.bytes == bytes[3_000_001..4_500_001] && part.meta.size == bytes.len() as u64 - 1);
}

fn foreign_etags(store: &Shared) {
    let Some(known) = put_for_etag(store, "foreign", b"there") else { return };
    let weak = format!("W/{known}");
    for etag in ["never given", "\"never given\"", "", "*", "0", &weak] {
        let came = changed_bytes(store, "foreign", &Etag::new(etag));
        assert_eq!(came.unwrap_or_else(|| panic!("{etag:?} matches {known}")), b"there");
    }
    assert_eq!(changed_bytes(store, "foreign", &known), None);
}

fn polling(store: &Shared) {
    let Some(mut known) = put_for_etag(store, "polled", &[0; 2]) else { return };
    for round in 1..100_u8 {
        // The versions have the same length, and follow each other as quickly as possible.
        let newest = put_for_etag(store, "polled", &[round, 0]).unwrap();
        assert_eq!(changed_bytes(store, "polled", &known).unwrap(), [round, 0]);
        assert_eq!(changed_bytes(store, "polled", &newest), None);
        known = newest;
    }
}
