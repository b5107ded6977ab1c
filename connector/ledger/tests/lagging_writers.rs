//! A concurrent writer that has not read remote commits for long continues from each version that the container retains.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::Place;
use h5lake_ledger::{Access, Ledger, Options, Writers};

/// The length of a value. Sixteen records with one value each are longer than half of the longest merged segment, so that the segments of
/// two checkpoints are not merged into one.
const LENGTH: usize = 40_000;
/// The number of commits after which the line no longer has the records of the first ones: with a checkpoint after each sixteenth commit,
/// the line would have more segments than it retains.
const COMMITS: usize = 56 * 16;

fn many() -> Options {
    let retention = Some(Duration::from_secs(3600));
    Options { writers: Writers::Many, checkpoint_bytes: 10 * LENGTH as u64, retention, ..Options::default() }
}

fn commit(l: &Ledger, n: usize) {
    l.put(&[b'k', n as u8], vec![n as u8; LENGTH]).unwrap();
    l.commit().unwrap();
}

#[test]
fn a_writer_continues_from_each_retained_version() {
    let place = Place::Objects(common::store(), "dir/c.h5".into());
    let other = place.create(&many());
    other.put(b"common", "before").unwrap();
    other.commit().unwrap();
    let [first, second, third] = std::array::from_fn(|_| place.open(Access::ReadWrite, &many()));
    for (l, own) in [(&first, &b"first"[..]), (&second, b"second"), (&third, b"third")] {
        l.put(own, "staged").unwrap();
    }
    first.put(b"common", "of the first writer").unwrap();
    other.put(b"once", "early").unwrap();
    other.put(b"common", "after").unwrap();
    other.commit().unwrap();
    let taken = other.take_numbers(b"N", 10, 1).unwrap();
    for n in 0..COMMITS / 2 {
        commit(&other, n);
    }
    second.advance(&|_| false).unwrap();
    for n in COMMITS / 2..COMMITS {
        commit(&other, n);
    }
    assert!(third.take_numbers(b"N", 10, 1).unwrap() >= taken + 10);
    third.commit().unwrap();

    // All changes since the version of the writer are reported, with the values that this version has.
    let changes = first.advance(&|_| true).unwrap();
    let of =
        |key: &[u8]| changes.iter().find(|change| change.key == key).map(|c| (c.version, c.before.clone()));
    assert_eq!(of(b"once"), Some((2, None)));
    assert_eq!(of(b"common"), Some((2, Some(Bytes::from("before")))));
    assert!((0..=255).all(|n| of(&[b'k', n]).is_some()) && of(b"third").is_some());
    assert_eq!(first.unmerged(), [(Bytes::from("common"), Some(Bytes::from("before")))]);
    first.merged(b"common");
    first.commit().unwrap();
    second.commit().unwrap();

    let reader = place.open(Access::ReadOnly, &Options::default());
    for own in [&b"first"[..], b"second", b"third"] {
        assert_eq!(reader.get(own).unwrap().unwrap(), "staged");
    }
    assert_eq!(reader.get(b"common").unwrap().unwrap(), "of the first writer");
    assert_eq!(reader.get(b"once").unwrap().unwrap(), "early");
    assert_eq!(reader.get(&[b'k', (COMMITS - 1) as u8]).unwrap().unwrap(), vec![(COMMITS - 1) as u8; LENGTH]);
}
