//! Listings: order, prefixes, start, pages.

use super::{Check, Shared, key, listed, put};
use crate::{ObjectMeta, ObjectStoreExt};

pub(super) const CHECKS: &[Check] = &[
    ("an empty store lists nothing", nothing),
    ("keys are listed in the order of their bytes", bytewise),
    ("a prefix is text, not a directory", prefixes),
    ("a listing starts after any text", starts),
    ("pages join without gap or repeat", pages),
    ("a listing of many objects is whole", many),
    ("a listing tells what head tells", metadata),
    ("a listing of several pages while objects come and go", changing),
];

/// Keys that are ordered differently "by bytes" and "by directory": `-` and `.` are less than `/`, `0` is greater. No
/// key is a directory of another one, so that every store can contain them.
const KEYS: [&str; 12] =
    ["a-b", "a.b", "a.b2/c", "a/b", "a/c/d", "a/c/e", "a/d", "a0", "a0b/x", "b", "é", "日"];

fn fill(store: &Shared) {
    for text in KEYS.iter().rev() {
        put(store, text, text.as_bytes());
    }
}

fn nothing(store: &Shared) {
    for prefix in ["", "a", "a/", "/", "..", "../", "a//", "./", "\0"] {
        assert!(listed(store, prefix, None).is_empty());
        assert!(listed(store, prefix, Some("a")).is_empty());
    }
}

fn bytewise(store: &Shared) {
    fill(store);
    assert_eq!(listed(store, "", None), KEYS);
}

fn with_prefix(prefix: &str) -> Vec<&'static str> {
    KEYS.into_iter().filter(|text| text.starts_with(prefix)).collect()
}

fn prefixes(store: &Shared) {
    fill(store);
    for prefix in [
        "a", "a/", "a.", "a.b", "a.b2", "a.b2/", "a/c", "a/c/", "a/c/d", "a0", "b", "b/", "c", "zz", "é",
        "日",
    ] {
        assert_eq!(listed(store, prefix, None), with_prefix(prefix), "{prefix:?}");
    }
    // No key begins with these prefixes, and none of them may lead out of the store.
    for prefix in ["/", "/a", "..", "../", "a/../a", "a//", "./a", "a/.", "a/c/d/", "\0", "a\0"] {
        assert_eq!(listed(store, prefix, None), with_prefix(prefix), "{prefix:?}");
    }
}

fn starts(store: &Shared) {
    fill(store);
    let texts = [
        "",
        "a",
        "a-",
        "a/",
        "a/b",
        "a/b\0",
        "a/c",
        "a/c/",
        "a/c/d",
        "a/c/zz",
        "a/zz",
        "a.b2/",
        "b",
        "b/",
        "é",
        "zzz",
        "日",
        "\u{10ffff}",
        "/",
        "../x",
    ];
    for after in texts {
        for prefix in ["", "a", "a/", "a/c", "a/c/", "b", "zz"] {
            let expected: Vec<_> = with_prefix(prefix).into_iter().filter(|text| *text > after).collect();
            assert_eq!(listed(store, prefix, Some(after)), expected, "{prefix:?} after {after:?}");
        }
    }
}

fn pages(store: &Shared) {
    fill(store);
    for limit in [0, 1, 2, 3, 5, 11, 12, 13, 1000] {
        for prefix in ["", "a/"] {
            let mut got = Vec::new();
            let mut more = true;
            while more {
                let after = got.last().cloned();
                let page = store.list_page(prefix, after.as_deref(), limit).unwrap();
                assert!(page.objects.len() <= limit.max(1));
                assert!(!(page.more && page.objects.is_empty()), "an empty page promises more");
                more = page.more;
                got.extend(page.objects.into_iter().map(|meta| meta.key.to_string()));
                assert!(got.len() <= KEYS.len(), "the listing does not end");
            }
            assert_eq!(got, with_prefix(prefix), "pages of {limit}");
        }
    }
}

fn many(store: &Shared) {
    // There are more objects than in the first page that an iterator requests, and than in a page of S3.
    let texts: Vec<String> = (0..2500).map(|i| format!("many/{}/{i:04}", i / 1000)).collect();
    texts.iter().for_each(|text| put(store, text, b""));
    assert!(listed(store, "many/", None) == texts);
    assert!(listed(store, "", Some(&texts[1234])) == texts[1235..]);
}

fn metadata(store: &Shared) {
    fill(store);
    for meta in store.list("", None) {
        let meta = meta.unwrap();
        let head = store.head(&meta.key).unwrap();
        assert_eq!(meta.size, meta.key.as_str().len() as u64);
        // A listing may have no etag, but never another one.
        let etag = meta.etag.clone().or_else(|| head.etag.clone());
        assert_eq!(ObjectMeta { etag, ..meta }, head);
    }
}

fn changing(store: &Shared) {
    for i in 0..40 {
        put(store, &format!("l/{i:03}"), b"x");
    }
    let mut got: Vec<String> = Vec::new();
    let mut round = 0;
    loop {
        let page = store.list_page("l/", got.last().map(String::as_str), 7).unwrap();
        got.extend(page.objects.iter().map(|meta| meta.key.to_string()));
        if !page.more {
            break;
        }
        // Objects with odd numbers are deleted, new ones are put: all objects with even numbers have to be listed
        // nevertheless.
        store.delete(&key(&format!("l/{:03}", 2 * round + 1))).unwrap();
        store.delete(&key(&format!("l/{:03}", 39 - 2 * round))).unwrap();
        put(store, &format!("l/{:03}-new", 30 - round), b"y");
        round += 1;
    }
    assert!(got.is_sorted_by(|a, b| a < b), "out of order or repeated: {got:?}");
    for i in (0..40).step_by(2) {
        assert!(got.contains(&format!("l/{i:03}")), "{i} is missing");
    }
}
