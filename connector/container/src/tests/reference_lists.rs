//! Lists of the datasets that use a dimension scale, which several writers change concurrently.

use super::checks::{Versions, verify};
use super::many::{apart, check, conflict, find, writers};
use super::*;
use std::collections::BTreeSet;

const LIST: &[u8] = b"REFERENCE_LIST";

/// Returns an entry: a reference, the number of a dimension, and padding as a program leaves it.
fn entry(n: u64, padding: u8) -> Vec<u8> {
    [&n.to_le_bytes()[..], &[0; 4], &[padding; 4]].concat()
}

fn list_spec(entries: u64) -> AttrSpec {
    let spec = attr_spec(16, entries);
    let datatype = Datatype {
        encoded: Bytes::from_static(b"compound of dataset\0 and dimension\0"),
        class: 6,
        has_references: true,
        ..spec.datatype
    };
    AttrSpec { datatype, ..spec }
}

fn entries(c: &Arc<Container>, scale: ObjectId) -> Vec<u64> {
    let Ok(a) = c.attr_open(scale, LIST) else { return Vec::new() };
    let (value, _) = a.read_with_heap().unwrap();
    value.chunks(16).map(|e| u64::from_le_bytes(e[..8].try_into().unwrap())).collect()
}

/// Changes a list like H5DS: reads it, deletes it, and creates it anew.
fn change(c: &Arc<Container>, change: impl FnOnce(&mut Vec<u64>)) {
    let scale = find(c, b"scale");
    let mut all = entries(c, scale);
    if c.attr_open(scale, LIST).is_ok() {
        c.attr_delete(scale, LIST).unwrap();
    }
    change(&mut all);
    if !all.is_empty() {
        let padding = all.len() as u8;
        let value: Vec<u8> = all.iter().flat_map(|n| entry(*n, padding)).collect();
        c.attr_create(scale, LIST, list_spec(all.len() as u64)).unwrap().write(&value).unwrap();
    }
}

fn begin(p: &Place, first: &[u64]) -> [Arc<Container>; 2] {
    writers(p, |c| {
        group(c, c.root(), b"scale", CreationOrder::default());
        change(c, |all| all.extend(first));
    })
}

fn end(p: &Place, writers: [Arc<Container>; 2]) -> BTreeSet<u64> {
    drop(writers);
    let c = check(p);
    let all = entries(&c, find(&c, b"scale"));
    let set = BTreeSet::from_iter(all.iter().copied());
    assert_eq!(set.len(), all.len(), "an entry is there twice");
    let report = verify(&p.target, &Options::default(), Versions::All, &mut |_, _| ()).unwrap();
    assert!(report.found.is_empty(), "{:#?}", report.found);
    set
}

#[test]
fn writers_that_share_a_scale_both_commit() {
    for p in places() {
        // Some lists are too long for a record.
        for many in [0, 1, 300, 6000u64] {
            let first: Vec<u64> = (100..100 + many).collect();
            let [a, b] = begin(&p, &first);
            change(&a, |all| all.extend([1, 2]));
            change(&b, |all| all.extend([2, 3]));
            a.flush().unwrap();
            b.flush().unwrap();
            // Both writers continue, each on top of the other's changes.
            change(&b, |all| all.retain(|n| *n != 1));
            change(&a, |all| all.push(4));
            b.flush().unwrap();
            a.flush().unwrap();
            let wanted = first.into_iter().chain([2, 3, 4]).collect();
            assert_eq!(end(&p, [a, b]), wanted, "{many}");
        }
    }
}

#[test]
fn removed_entries_and_empty_lists_are_deleted() {
    for p in places() {
        let [a, b] = begin(&p, &[1, 2]);
        change(&a, |all| all.retain(|n| *n == 2));
        change(&b, |all| all.retain(|n| *n == 1));
        a.flush().unwrap();
        b.flush().unwrap();
        assert_eq!(end(&p, [a, b]), BTreeSet::new());
        let [a, b] = begin(&p, &[1]);
        change(&a, Vec::clear);
        change(&b, |all| all.push(2));
        a.flush().unwrap();
        b.flush().unwrap();
        assert_eq!(end(&p, [a, b]), BTreeSet::from([2]));
        let [a, b] = begin(&p, &[1]);
        change(&a, |all| all.push(2));
        change(&b, Vec::clear);
        a.flush().unwrap();
        b.flush().unwrap();
        assert_eq!(end(&p, [a, b]), BTreeSet::from([2]));
    }
}

#[test]
fn many_writers_add_to_one_list() {
    for p in places() {
        let [a, b] = begin(&p, &[]);
        let more: Vec<_> = (0..6).map(|_| apart(&p)).collect();
        let all: Vec<_> = [&a, &b].into_iter().chain(&more).collect();
        (10..).zip(&all).for_each(|(n, c)| change(c, |list| list.push(n)));
        all.iter().for_each(|c| c.flush().unwrap());
        drop(more);
        assert_eq!(end(&p, [a, b]), (10..18).collect());
    }
}

#[test]
fn another_attribute_of_that_type_is_no_set() {
    for p in places() {
        let [a, b] = writers(&p, |_| ());
        for (n, c) in [(1, &a), (2, &b)] {
            c.attr_create(c.root(), b"OTHER", list_spec(1)).unwrap().write(&entry(n, 0)).unwrap();
            c.attr_create(c.root(), LIST, attr_spec(16, 1)).unwrap().write(&entry(n, 0)).unwrap();
        }
        a.flush().unwrap();
        let text = conflict(&b);
        assert!(text.contains("attribute 'OTHER'") && text.contains("attribute 'REFERENCE_LIST'"), "{text}");
    }
}
