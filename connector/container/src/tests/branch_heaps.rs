//! Variable-length data in a branch and in the main line: ids of blobs refer to the same data in both, or the merge is
//! refused.

use super::branches::{begin, is_whole, main_ledger, merge, name, on_branch};
use super::many::{check, chunked, open, part};
use super::*;
use h5lake_ledger::{At, TagName, Tagging};
use h5lake_records::record::{UsageRecord, decode};

const TEXTS: u64 = 4;

fn strings() -> DatasetSpec {
    let mut spec = dataset_spec(20, simple(&[TEXTS], &[TEXTS]), Layout::Chunked { chunk: vec![TEXTS] });
    spec.datatype = Datatype { class: 3, has_heap: true, ..spec.datatype };
    spec
}

/// Returns the element of a text.
fn element(id: &[u8; 16], length: usize) -> Vec<u8> {
    [&(length as u32).to_le_bytes()[..], id].concat()
}

fn number_of(id: &[u8; 16]) -> u32 {
    u32::from_be_bytes(id[8..12].try_into().unwrap())
}

fn blob(c: &Container, id: &[u8; 16]) -> Vec<u8> {
    let mut blob = vec![0; c.heap_len(id).unwrap() as usize];
    c.heap_get(id, &mut blob).unwrap();
    blob
}

fn old() -> TagName {
    TagName::new("old").unwrap()
}

/// Retains the present version by a tag.
fn keep_version(p: &Place) {
    let ledger = main_ledger(p, Access::ReadWrite);
    ledger.tag(old(), None, Tagging::default()).unwrap();
    ledger.close().unwrap();
}

/// Creates a branch that is based on the retained version.
fn begin_with_old(p: &Place) {
    let ledger = main_ledger(p, Access::ReadWrite);
    ledger.create_branch(name(), Some(At::Tag(old()))).unwrap();
    ledger.close().unwrap();
}

fn is_refused(p: &Place) {
    let e = merge(p).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
    let text = e.to_string();
    assert!(text.contains("/d, its variable-length data, was changed in the main line too"), "{text}");
    assert!(text.contains("the branch 'fix' stays") && !text.contains("H5LAKE_CONFLICT=last"), "{text}");
    is_whole(p);
}

/// The heap's only segment was deleted, and another one was created, before a branch was based on the version with the
/// first one.
#[test]
fn a_branch_of_an_older_version_takes_no_new_heap_segment_for_an_old_one() {
    for p in places() {
        let c = p.create();
        let owner = dataset(&c, b"d", chunked(100, 10, false)).object().id();
        let first = c.heap_put(owner, &[1; 3000]).unwrap();
        drop(c);
        keep_version(&p);
        let c = p.open(Access::ReadWrite);
        c.heap_delete(&first).unwrap();
        drop(c);
        let c = p.open(Access::ReadWrite);
        let second = c.heap_put(owner, &[2; 500]).unwrap();
        drop(c);
        assert_ne!(number_of(&first), number_of(&second));
        begin_with_old(&p);
        let b = on_branch(&p, Access::ReadWrite);
        b.heap_delete(&first).unwrap();
        drop(b);
        merge(&p).unwrap();
        let c = check(&p);
        assert_eq!(blob(&c, &second), [2; 500]);
        drop(c);
        is_whole(&p);
    }
}

/// The second segment has the number and the length of the first, as it can have after a restore.
#[test]
fn a_segment_with_a_reused_number_is_a_conflict() {
    for p in places() {
        let c = p.create();
        let owner = dataset(&c, b"d", chunked(100, 10, false)).object().id();
        let first = c.heap_put(owner, &[1; 3000]).unwrap();
        drop(c);
        begin(&p);
        let c = p.open(Access::ReadWrite);
        c.heap_delete(&first).unwrap();
        c.flush().unwrap();
        let second = c.heap_put(owner, &[2; 3000]).unwrap();
        c.flush().unwrap();
        drop(c);
        let c = p.open(Access::ReadWrite);
        for letter in [keys::SEGMENT, keys::USAGE] {
            let [from, to] = [&second, &first].map(|id| keys::segment(letter, owner.0, number_of(id)));
            let value = c.ledger.get(&from).unwrap().unwrap();
            c.ledger.put(&to, value).unwrap();
            c.ledger.delete(&from).unwrap();
        }
        c.flush().unwrap();
        drop(c);
        assert_eq!(blob(&check(&p), &first), [2; 3000]);
        let b = on_branch(&p, Access::ReadWrite);
        b.heap_delete(&first).unwrap();
        drop(b);
        is_refused(&p);
        assert_eq!(blob(&check(&p), &first), [2; 3000]);
        // The conflict is resolved: the branch deletes the object, and wins.
        let b = on_branch(&p, Access::ReadWrite);
        b.link_delete(b.root(), b"d").unwrap();
        drop(b);
        let last = Options { on_conflict: OnConflict::Last, ..Options::default() };
        Container::merge_branch(&p.target, name(), &last).unwrap();
        check(&p);
        is_whole(&p);
    }
}

/// The segment has the same bytes, but in the main line another element has the text: it was created anew there, or
/// restored.
#[test]
fn a_blob_of_the_base_in_another_element_is_a_conflict() {
    for p in places() {
        let c = p.create();
        let d = dataset(&c, b"d", strings());
        let text = c.heap_put(d.object().id(), &[1; 100]).unwrap();
        d.write(&part(1, 1), &element(&text, 100)).unwrap();
        drop((c, d));
        begin(&p);
        let c = p.open(Access::ReadWrite);
        open(&c, b"d").write(&part(1, 1), &[0; 20]).unwrap();
        open(&c, b"d").write(&part(2, 1), &element(&text, 100)).unwrap();
        drop(c);
        let b = on_branch(&p, Access::ReadWrite);
        open(&b, b"d").write(&part(1, 1), &[0; 20]).unwrap();
        b.heap_delete(&text).unwrap();
        drop(b);
        is_refused(&p);
        assert_eq!(blob(&check(&p), &text), [1; 100]);
    }
}

/// Appends of the main line to a segment of the base, and deletions in it, do not prevent a merge.
#[test]
fn a_segment_to_which_the_main_line_appends_is_merged() {
    for p in places() {
        let c = p.create();
        let d = dataset(&c, b"d", strings());
        let put = |c: &Arc<Container>, at: u64, byte: u8| {
            let id = c.heap_put(open(c, b"d").object().id(), &[byte; 100]).unwrap();
            open(c, b"d").write(&part(at, 1), &element(&id, 100)).unwrap();
            id
        };
        let first: Vec<_> = (0..3).map(|at| put(&c, at, 1)).collect();
        drop((c, d));
        begin(&p);
        let b = on_branch(&p, Access::ReadWrite);
        let ours = put(&b, 0, 7);
        b.heap_delete(&first[0]).unwrap();
        drop(b);
        let c = p.open(Access::ReadWrite);
        let theirs = [put(&c, 1, 8), put(&c, 3, 9)];
        c.heap_delete(&first[1]).unwrap();
        drop(c);
        merge(&p).unwrap();
        let c = check(&p);
        for (id, byte) in [(ours, 7), (theirs[0], 8), (first[2], 1), (theirs[1], 9)] {
            assert_eq!(blob(&c, &id), [byte; 100]);
        }
        drop(c);
        is_whole(&p);
    }
}

/// A session continues the segment of the previous session in a file. In a store it creates another one, because other
/// writers may still append there.
#[test]
fn segments_of_a_single_writer_grow_with_its_data() {
    for p in places() {
        let c = p.create();
        let owner = dataset(&c, b"d", chunked(100, 10, false)).object().id();
        drop(c);
        let mut ids = Vec::new();
        for (n, length) in [3000, 3000, 60_000, 20_000, 5].into_iter().enumerate() {
            let c = p.open(Access::ReadWrite);
            ids.push((c.heap_put(owner, &vec![n as u8; length]).unwrap(), n as u8));
        }
        let c = check(&p);
        ids.iter().for_each(|(id, byte)| assert!(blob(&c, id).iter().all(|b| b == byte)));
        let mut lengths = Vec::new();
        c.each(&[keys::USAGE], |_, value| {
            let usage: UsageRecord = decode(value, || "usage".into())?;
            lengths.push(usage.length);
            Ok(())
        })
        .unwrap();
        let wanted: Vec<u64> = match p.target {
            Target::File(_) => vec![4 << 10, 64 << 10, 1 << 20],
            Target::Objects { .. } => vec![4 << 10, 4 << 10, 60_003, 20_003, 4 << 10],
        };
        assert_eq!(lengths, wanted);
        drop(c);
        is_whole(&p);
    }
}
