//! Names: each key is an object of its own, which is listed under exactly that key, or it is refused.
//!
//! A request takes 100 ms at some servers. So names are packed into a few long keys, and the sizes distinguish the
//! objects of a listing.

use super::{Check, Shared, content, key, kind, listed};
use crate::{ErrorKind, ObjectStoreExt, PutMode};

pub(super) const CHECKS: &[Check] = &[
    ("keys are kept as they are", odd_keys),
    ("every character stands anywhere in a key", every_character),
    ("similar keys are different objects", similar_keys),
    ("a key that was never put reaches no similar object", unknown_keys),
];

/// The printable characters of ASCII without the slash, which separates segments.
fn characters() -> impl Iterator<Item = char> {
    (' '..='~').filter(|c| *c != '/')
}

/// Returns whether a store may refuse a key: some servers turn backslashes into slashes, or drop dots at the end of a
/// segment.
fn may_be_refused(text: &str) -> bool {
    text.contains('\\') || text.split('/').any(|segment| segment.ends_with('.'))
}

/// Puts an object of `size` bytes, and returns whether the store accepted its name. A refused name has to be refused by
/// each operation.
fn takes(store: &Shared, text: &str, size: usize) -> bool {
    let at = key(text);
    let put = store.put(&at, vec![b'n'; size].into(), PutMode::Overwrite);
    let Some(why) = store.why_not_key(&at) else {
        put.unwrap_or_else(|e| panic!("{text:?} is refused, and 'why_not_key' does not say so: {e}"));
        return true;
    };
    assert!(may_be_refused(text), "{text:?} is refused: {why}");
    assert_eq!(kind(put), ErrorKind::InvalidArgument, "{text:?}");
    assert_eq!(kind(store.get(&at, None)), ErrorKind::InvalidArgument, "{text:?}");
    assert_eq!(kind(store.get_into(&at, 0, &mut [0])), ErrorKind::InvalidArgument, "{text:?}");
    assert_eq!(kind(store.head(&at)), ErrorKind::InvalidArgument, "{text:?}");
    assert_eq!(kind(store.put_stream(&at).map(drop)), ErrorKind::InvalidArgument, "{text:?}");
    assert_eq!(kind(store.delete(&at)), ErrorKind::InvalidArgument, "{text:?}");
    assert_eq!(kind(store.delete_many(&[at])), ErrorKind::InvalidArgument, "{text:?}");
    false
}

/// Puts an object under each name, each of another size, and compares the listing with the names that the store
/// accepted.
fn put_and_list(store: &Shared, names: impl IntoIterator<Item = String>) -> Vec<(String, u64)> {
    let mut taken = Vec::new();
    for (n, name) in names.into_iter().enumerate() {
        if takes(store, &name, n + 1) {
            taken.push((name, n as u64 + 1));
        }
    }
    taken.sort();
    let found = store.list("", None).map(|meta| meta.unwrap());
    let found: Vec<_> = found.map(|meta| (meta.key.to_string(), meta.size)).collect();
    assert_eq!(found, taken, "the listing has other names or sizes than were put");
    taken
}

fn odd_keys(store: &Shared) {
    let mut texts: Vec<String> = [
        "a b",
        " lead",
        "trail ",
        "a%2Fb",
        "%",
        "%41",
        "A",
        "a+b",
        "a?b=c&d",
        "a#b",
        "a\\b",
        "a:b",
        "a*b",
        "\"q\"",
        "'",
        "{x}",
        "[y]",
        "<z>",
        "|",
        "^",
        "`",
        "~",
        "$HOME",
        "é",
        "e\u{301}",
        "日本/語",
        "😀",
        ".hidden",
        "...",
        "..a",
        "a..",
        "-",
        "x@v=12",
        "x.lake/82e482cde584bac4abcbad91cae94a56/6a09e667f3bcc908-1f",
        "\u{fffd}",
        "\u{feff}",
    ]
    .map(String::from)
    .to_vec();
    texts.push("s".repeat(255));
    texts.push(vec!["deep"; 100].join("/"));
    let texts = put_and_list(store, texts);
    for (text, size) in &texts {
        let head = store.head(&key(text)).unwrap();
        assert_eq!((head.key.as_str(), head.size), (text.as_str(), *size));
        assert_eq!(content(store, text).unwrap().len() as u64, *size, "{text}");
    }
    for (text, _) in &texts {
        store.delete(&key(text)).unwrap();
    }
    assert!(listed(store, "", None).is_empty());
}

/// One key has each character at the beginning, in the middle and at the end of a segment. If a store refuses that key,
/// each half of the characters is tried alone, so that the refusal of one character hides no other.
fn every_character(store: &Shared) {
    let mut names = Vec::new();
    let mut parts = vec![characters().collect::<Vec<_>>()];
    while let Some(part) = parts.pop() {
        let segments =
            |form: &dyn Fn(char) -> String| part.iter().map(|c| form(*c)).collect::<Vec<_>>().join("/");
        let both = [segments(&|c| format!("{c}first")), segments(&|c| format!("last{c}"))];
        let middle = format!("middle{}middle", part.iter().collect::<String>());
        let all = [both[0].as_str(), both[1].as_str(), middle.as_str()].map(str::to_owned);
        let is_refused = all.iter().any(|name| store.why_not_key(&key(name)).is_some());
        names.extend(all);
        if is_refused && part.len() > 1 {
            let (low, high) = part.split_at(part.len() / 2);
            parts.extend([low.to_vec(), high.to_vec()]);
        }
    }
    let taken = put_and_list(store, names);
    for c in characters().filter(|c| !matches!(c, '\\' | '.')) {
        assert!(
            taken.iter().any(|(name, _)| name.contains(&format!("last{c}"))),
            "no key with {c:?} was taken"
        );
    }
}

/// Checks keys that a server may confuse because they differ only in letter case, escapes, separators, dots, blanks or
/// forms of Unicode.
fn similar_keys(store: &Shared) {
    let letters: String = ('a'..='z').collect();
    let upper = letters.to_uppercase();
    let groups: [&[&str]; 9] = [
        &[&letters, &upper],
        &["s/b", "s\\b", "s%2Fb", "s%2fb", "s%5Cb", "s%5cb", "s%252Fb", "s:b", "s|b"],
        &[
            "u",
            "u%20",
            "u ",
            " u",
            "u+",
            "u.",
            ".u",
            "u..",
            "u%2E",
            "u%00",
            "u\u{a0}",
            "u\u{3000}",
            "u\u{200b}",
        ],
        &["q", "q?", "q#", "q?x=1", "q#x", "q;x=1", "q&x", "q*", "q%3F"],
        &["d/x", "d./x", "d /x", " d/x", "d%2E/x", "d/.x", "d/..x", "d/...", "d/%2E%2E", "d/%2e"],
        &["c\u{e9}", "ce\u{301}", "c\u{c9}", "c%C3%A9", "ce", "c\u{fffd}"],
        &[
            "k\u{212b}",
            "k\u{c5}",
            "kA\u{30a}",
            "k\u{e5}",
            "kss",
            "k\u{df}",
            "kK",
            "k\u{212a}",
            "k\u{fb01}",
            "kfi",
        ],
        &["t~1", "T~1", "con", "nul", "aux.h5", "-t", "--t", "~", "$t", "`t`", "'t'", "\"t\""],
        &["n0", "n00", "n\u{ff10}", "n%30", "n%6E", "%6E0", "%n", "n%", "n%%", "n%0"],
    ];
    put_and_list(store, groups.iter().flat_map(|group| group.iter().map(|name| (*name).to_owned())));
}

/// A server that finds an object by another name than its own would also delete or replace the object by that name.
fn unknown_keys(store: &Shared) {
    assert!(takes(store, "name/Of.h5", 1));
    for other in [
        "name\\Of.h5",
        "name%2FOf.h5",
        "name/of.h5",
        "name/Of.h5.",
        "name/Of.h5 ",
        "name/%4Ff.h5",
        "name /Of.h5",
    ] {
        let at = key(other);
        let wanted = match store.why_not_key(&at) {
            None => ErrorKind::NotFound,
            Some(_) => ErrorKind::InvalidArgument,
        };
        assert_eq!(kind(store.head(&at)), wanted, "{other}");
        assert_eq!(store.delete(&at).is_ok(), wanted == ErrorKind::NotFound, "{other}");
    }
    assert_eq!(listed(store, "", None), ["name/Of.h5"]);
}
