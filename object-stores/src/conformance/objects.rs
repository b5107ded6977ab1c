//! Objects put whole: content, ranges, metadata, conditions, deletion.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::{Check, Shared, content, key, kind, listed, pattern, put};
use crate::{Condition, ErrorKind, Etag, ObjectStoreExt, PutMode, PutPayload};

pub(super) const CHECKS: &[Check] = &[
    ("what is missing is not found", missing),
    ("an empty object is an object", empty_object),
    ("a big object comes back whole and in ranges", big_object),
    ("ranges at and beyond the end", ranges),
    ("get_into reads exactly or says so", exact_reads),
    ("get_each hands out exactly the range, in order", each_piece),
    ("get_scattered fills parts one behind the other", scattered),
    ("the pieces of a payload follow each other", pieces),
    ("a put replaces the object whole", overwrite),
    ("create refuses what is there", create),
    ("update replaces only what it saw", update),
    ("etags agree and change", etags),
    ("the time of a put is about now", modified),
    ("delete is idempotent", delete),
    ("delete_many takes what is there", delete_many),
    ("a key below another key", nested),
];

fn missing(store: &Shared) {
    put(store, "dir/there", b"x");
    for at in ["a", "dir", "dir/a", "dir/ther", "dir/there2", "dir/there/below"] {
        let at = key(at);
        assert_eq!(kind(store.get(&at, None)), ErrorKind::NotFound, "{at}");
        assert_eq!(kind(store.get(&at, Some(0..1))), ErrorKind::NotFound, "{at}");
        assert_eq!(kind(store.get_into(&at, 0, &mut [])), ErrorKind::NotFound, "{at}");
        assert_eq!(kind(store.get_into(&at, 0, &mut [0; 4])), ErrorKind::NotFound, "{at}");
        assert_eq!(kind(store.head(&at)), ErrorKind::NotFound, "{at}");
        assert!(store.get_opt(&at, None).unwrap().is_none());
        assert!(store.head_opt(&at).unwrap().is_none());
    }
}

fn empty_object(store: &Shared) {
    put(store, "empty", b"");
    let at = key("empty");
    assert_eq!(store.head(&at).unwrap().size, 0);
    assert!(store.get(&at, None).unwrap().bytes.is_empty());
    assert!(store.get(&at, Some(0..0)).unwrap().bytes.is_empty());
    store.get_into(&at, 0, &mut []).unwrap();
    assert_eq!(kind(store.get(&at, Some(0..1))), ErrorKind::ShortRead);
    assert_eq!(kind(store.get_into(&at, 0, &mut [0])), ErrorKind::ShortRead);
    assert_eq!(listed(store, "", None), ["empty"]);
}

fn big_object(store: &Shared) {
    let bytes = pattern((5 << 20) + 13);
    put(store, "big", &bytes);
    let at = key("big");
    assert!(store.get(&at, None).unwrap().bytes == bytes);
    for range in [0..1, 1_000_000..1_000_001, (4 << 20) - 3..(4 << 20) + 3, 77..5_000_000] {
        let got = store.get(&at, Some(range.clone())).unwrap();
        assert_eq!(got.meta.size, bytes.len() as u64, "the size is the whole object's");
        assert!(got.bytes == bytes[range.start as usize..range.end as usize], "{range:?}");
        let mut buf = vec![0; (range.end - range.start) as usize];
        store.get_into(&at, range.start, &mut buf).unwrap();
        assert!(buf == got.bytes, "{range:?}");
    }
}

fn ranges(store: &Shared) {
    put(store, "r", b"0123456789");
    let at = key("r");
    let get = |range| store.get(&at, Some(range)).unwrap().bytes;
    assert_eq!(get(0..10), "0123456789");
    assert_eq!(get(3..5), "34");
    assert_eq!(get(8..12), "89", "cut at the end");
    assert_eq!(get(0..u64::MAX), "0123456789");
    assert_eq!(get(4..4), "", "an empty range");
    assert_eq!(get(10..10), "", "an empty range at the end");
    for beyond in [10..11, 11..11, 11..12, u64::MAX - 1..u64::MAX] {
        assert_eq!(kind(store.get(&at, Some(beyond.clone()))), ErrorKind::ShortRead, "{beyond:?}");
    }
    #[allow(clippy::reversed_empty_ranges, reason = "that is the point")]
    let reversed = 5..4;
    assert_eq!(kind(store.get(&at, Some(reversed))), ErrorKind::InvalidArgument);
}

fn exact_reads(store: &Shared) {
    put(store, "e", b"0123456789");
    let at = key("e");
    let mut buf = [0; 4];
    assert_eq!(store.get_into(&at, 6, &mut buf).unwrap().size, 10);
    assert_eq!(&buf, b"6789");
    store.get_into(&at, 10, &mut []).unwrap();
    for offset in [7, 10, 11, u64::MAX - 2, u64::MAX] {
        assert_eq!(kind(store.get_into(&at, offset, &mut buf)), ErrorKind::ShortRead, "{offset}");
    }
    assert_eq!(kind(store.get_into(&at, 11, &mut [])), ErrorKind::ShortRead);
}

fn each_piece(store: &Shared) {
    let bytes = pattern((5 << 20) + 13);
    put(store, "each", &bytes);
    let at = key("each");
    let each = |range: std::ops::Range<u64>| {
        let mut got = Vec::new();
        let meta = store.get_each(&at, range, &mut |piece| got.extend_from_slice(piece))?;
        Ok((meta, got))
    };
    let all = bytes.len() as u64;
    for range in [0..all, 0..1, all - 1..all, (1 << 20) - 3..(4 << 20) + 3, 77..78, 9..9, all..all] {
        let (meta, got) = each(range.clone()).unwrap();
        assert!(got == bytes[range.start as usize..range.end as usize], "{range:?}");
        assert_eq!((meta.size, meta), (all, store.head(&at).unwrap()));
    }
    for range in [0..all + 1, all..all + 1, all + 1..all + 2, 5..u64::MAX, u64::MAX - 1..u64::MAX] {
        assert_eq!(kind(each(range.clone())), ErrorKind::ShortRead, "{range:?}");
    }
    let backwards = std::ops::Range { start: 5, end: 4 };
    assert_eq!(kind(each(backwards)), ErrorKind::InvalidArgument);
    assert_eq!(kind(store.get_each(&key("none"), 0..1, &mut |_| ())), ErrorKind::NotFound);
}

fn scattered(store: &Shared) {
    let bytes = pattern((3 << 20) + 5);
    put(store, "scattered", &bytes);
    let at = key("scattered");
    let scattered = |offset: u64, lengths: &[usize]| {
        let mut parts: Vec<_> = lengths.iter().map(|length| vec![0_u8; *length]).collect();
        let mut places: Vec<_> = parts.iter_mut().map(Vec::as_mut_slice).collect();
        let meta = store.get_scattered(&at, offset, &mut places)?;
        Ok((meta, parts.concat()))
    };
    let many = vec![1_000; 100];
    for (offset, lengths) in [(0, &[3 << 20, 0, 5][..]), (7, &[1, 1 << 20, 9]), (1 << 20, &many), (9, &[])] {
        // An object that is staged gets the store's time when it arrives.
        let before = store.head(&at).unwrap();
        let (meta, got) = scattered(offset, lengths).unwrap();
        let end = offset as usize + lengths.iter().sum::<usize>();
        assert!(got == bytes[offset as usize..end], "{lengths:?} from {offset} on");
        let behind = store.head(&at).unwrap();
        assert!([&before, &behind].contains(&&meta), "{meta:?} between {before:?} and {behind:?}");
    }
    for (offset, lengths) in [(0, &[3 << 20, 6][..]), ((3 << 20) + 5, &[1]), (u64::MAX - 1, &[1, 1])] {
        assert_eq!(kind(scattered(offset, lengths)), ErrorKind::ShortRead, "{lengths:?} from {offset} on");
    }
    assert_eq!(kind(store.get_scattered(&key("none"), 0, &mut [])), ErrorKind::NotFound);
}

fn pieces(store: &Shared) {
    let pieces: PutPayload =
        ["", "ab", "", "c", ""].map(|text| Bytes::copy_from_slice(text.as_bytes())).into_iter().collect();
    store.put(&key("p"), pieces, PutMode::Overwrite).unwrap();
    assert_eq!(content(store, "p").unwrap(), b"abc");
    store.put(&key("p"), PutPayload::new(), PutMode::Overwrite).unwrap();
    assert_eq!(content(store, "p").unwrap(), b"");
    // There are more pieces than one vectored write accepts on Linux (IOV_MAX, 1,024).
    let many: PutPayload = (0..3000u32).map(|i| Bytes::copy_from_slice(&i.to_le_bytes())).collect();
    store.put(&key("p"), many.clone(), PutMode::Overwrite).unwrap();
    assert!(content(store, "p").unwrap() == many.into_bytes());
}

fn overwrite(store: &Shared) {
    for bytes in [&b"long content"[..], b"short", b"", b"long content"] {
        put(store, "o", bytes);
        assert_eq!(content(store, "o").unwrap(), bytes);
        assert_eq!(store.head(&key("o")).unwrap().size, bytes.len() as u64);
    }
    assert_eq!(listed(store, "", None), ["o"]);
}

fn create(store: &Shared) {
    let at = key("c/1");
    let create = |text: &'static str| store.put(&at, text.into(), PutMode::Create);
    if !store.honours(Condition::Create) {
        assert_eq!(kind(create("x")), ErrorKind::Unsupported);
        assert_eq!(content(store, "c/1"), None);
        return;
    }
    let put = create("first").unwrap();
    assert_eq!(put.etag, store.head(&at).unwrap().etag);
    assert_eq!(kind(create("second")), ErrorKind::AlreadyExists);
    assert_eq!(content(store, "c/1").unwrap(), b"first");
    store.delete(&at).unwrap();
    create("third").unwrap();
    assert_eq!(content(store, "c/1").unwrap(), b"third");
}

fn update(store: &Shared) {
    let at = key("u/1");
    let update = |text: &'static str, etag: &Etag| store.put(&at, text.into(), PutMode::Update(etag.clone()));
    if !store.honours(Condition::Update) {
        assert_eq!(kind(update("x", &Etag::new("e"))), ErrorKind::Unsupported);
        return;
    }
    let e1 = store.put(&at, "one".into(), PutMode::Overwrite).unwrap().etag.unwrap();
    let e2 = update("two", &e1).unwrap().etag.unwrap();
    assert_eq!(kind(update("lost", &e1)), ErrorKind::PreconditionFailed);
    assert_eq!(content(store, "u/1").unwrap(), b"two");
    let e3 = update("six", &e2).unwrap().etag.unwrap();
    for stale in [&e1, &e2, &Etag::new("never given"), &Etag::new("")] {
        assert_eq!(kind(update("lost", stale)), ErrorKind::PreconditionFailed);
    }
    store.delete(&at).unwrap();
    assert_eq!(kind(update("lost", &e3)), ErrorKind::PreconditionFailed, "an update does not create");
    assert_eq!(content(store, "u/1"), None);
    // A new object under the key is another version, even at once and with the same length.
    store.put(&at, "new".into(), PutMode::Overwrite).unwrap();
    assert_eq!(kind(update("lost", &e3)), ErrorKind::PreconditionFailed);
}

fn etags(store: &Shared) {
    let at = key("etag");
    let mut seen = std::collections::HashSet::new();
    for i in 0..200u8 {
        if i % 3 == 1 {
            store.delete(&at).unwrap();
        }
        // Different content of one length, as quickly as possible.
        let given = store.put(&at, vec![i, 0].into(), PutMode::Overwrite).unwrap().etag;
        assert_eq!(given, store.head(&at).unwrap().etag);
        assert_eq!(given, store.get(&at, None).unwrap().meta.etag);
        assert_eq!(given, store.get_into(&at, 0, &mut [0]).unwrap().etag);
        let listed = store.list("", None).next().unwrap().unwrap().etag;
        assert!(listed.is_none() || listed == given, "put {i} is listed with another etag");
        match given {
            Some(etag) => assert!(seen.insert(etag), "put {i} has an etag that was given before"),
            None => assert!(!store.honours(Condition::Update), "update needs etags"),
        }
    }
}

fn modified(store: &Shared) {
    put(store, "m", b"x");
    let modified = store.head(&key("m")).unwrap().modified;
    let hour = Duration::from_secs(3600);
    assert!(modified > SystemTime::now() - hour && modified < SystemTime::now() + hour);
}

fn delete(store: &Shared) {
    put(store, "d/1", b"x");
    put(store, "d/2", b"y");
    for _ in 0..2 {
        store.delete(&key("d/1")).unwrap();
        assert_eq!(content(store, "d/1"), None);
    }
    for never in ["d", "never", "d/2/below", "n/e/v/e/r"] {
        store.delete(&key(never)).unwrap();
    }
    assert_eq!(listed(store, "", None), ["d/2"]);
    assert_eq!(content(store, "d/2").unwrap(), b"y");
}

fn delete_many(store: &Shared) {
    store.delete_many(&[]).unwrap();
    let texts: Vec<String> = (0..25).map(|i| format!("m/{i:02}")).collect();
    texts.iter().for_each(|text| put(store, text, b"x"));
    let mut keys: Vec<_> = texts[..20].iter().map(|text| key(text)).collect();
    keys.push(key("m/never"));
    keys.push(keys[0].clone());
    store.delete_many(&keys).unwrap();
    assert_eq!(listed(store, "", None), texts[20..]);
}

fn nested(store: &Shared) {
    for (first, second) in [("n", "n/below"), ("p/q/r", "p/q"), ("s", "s/t/u")] {
        put(store, first, b"first");
        let answer = store.put(&key(second), "second".into(), PutMode::Overwrite);
        if store.capabilities().nested_keys {
            answer.unwrap();
            assert_eq!(content(store, second).unwrap(), b"second");
        } else {
            assert_eq!(kind(answer), ErrorKind::Unsupported, "{second} beside {first}");
            assert_eq!(content(store, second), None);
        }
        assert_eq!(content(store, first).unwrap(), b"first");
        // Once the first object is deleted, every store accepts the second one.
        store.delete(&key(first)).unwrap();
        put(store, second, b"now");
        assert_eq!(content(store, second).unwrap(), b"now");
        store.delete(&key(second)).unwrap();
    }
}
