//! Variable-length data that one writer deleted and that the merge result still refers to: it is retained.

use super::checks::{Versions, verify};
use super::many::{check, open, part, writers_that};
use super::*;

const ALL: [OnConflict; 3] = [OnConflict::Fail, OnConflict::Merge, OnConflict::Last];
const COUNT: u64 = 6;
const NUMBER: usize = 4;
const BLOB: usize = 20;

/// Returns a dataset of records with a number and some variable-length members.
fn records(members: usize, chunk: u64) -> DatasetSpec {
    let size = (NUMBER + members * BLOB) as u64;
    let mut spec = dataset_spec(size, simple(&[COUNT], &[UNLIMITED]), Layout::Chunked { chunk: vec![chunk] });
    spec.datatype = Datatype { class: 6, has_heap: true, ..spec.datatype };
    spec
}

fn record_at(c: &Arc<Container>, at: u64) -> Vec<u8> {
    let d = open(c, b"d");
    let mut record = vec![0; d.datatype().size as usize];
    d.read(&part(at, 1), &mut record).unwrap();
    record
}

fn set_number(c: &Arc<Container>, at: u64, number: u8) {
    let mut record = record_at(c, at);
    record[0] = number;
    open(c, b"d").write(&part(at, 1), &record).unwrap();
}

fn id_of(element: &[u8]) -> [u8; 16] {
    element[4..20].try_into().unwrap()
}

fn blob(c: &Container, element: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; c.heap_len(&id_of(element)).unwrap() as usize];
    c.heap_get(&id_of(element), &mut bytes).unwrap();
    bytes
}

fn element(c: &Container, owner: ObjectId, bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes()[..], &c.heap_put(owner, bytes).unwrap()].concat()
}

/// Overwrites one member like libhdf5: stores the new blob, and deletes the old one.
fn set_member(c: &Arc<Container>, at: u64, member: usize, bytes: &[u8]) {
    let d = open(c, b"d");
    let mut record = record_at(c, at);
    let place = NUMBER + member * BLOB..NUMBER + (member + 1) * BLOB;
    let old = id_of(&record[place.clone()]);
    record[place].copy_from_slice(&element(c, d.object().id(), bytes));
    d.write(&part(at, 1), &record).unwrap();
    c.heap_delete(&old).unwrap();
}

/// Overwrites a sequence of one string, and deletes the inner blob as well.
fn set_nested(c: &Arc<Container>, at: u64, bytes: &[u8]) {
    let id = open(c, b"d").object().id();
    let before = record_at(c, at);
    let inner = element(c, id, bytes);
    if before[NUMBER..] != [0; BLOB] {
        let old = blob(c, &before[NUMBER..]);
        set_member(c, at, 0, &inner);
        c.heap_delete(&id_of(&old)).unwrap();
    } else {
        set_member(c, at, 0, &inner);
    }
}

fn write_whole(c: &Arc<Container>, at: u64, number: u8, set: impl Fn(&Arc<Container>, u64)) {
    set(c, at);
    set_number(c, at, number);
}

fn verified(p: &Place) -> Arc<Container> {
    let report = verify(&p.target, &Options::default(), Versions::Newest, &mut |_, _| ()).unwrap();
    assert!(report.is_whole(), "{report:?}");
    check(p)
}

/// Reads all records, and again while one record after another is overwritten: no living blob was counted as dead.
fn read_to_the_end(
    p: &Place,
    set: impl Fn(&Arc<Container>, u64),
    get: impl Fn(&Arc<Container>, u64) -> Vec<u8>,
) {
    let c = verified(p);
    let before: Vec<_> = (0..COUNT).map(|at| get(&c, at)).collect();
    drop(c);
    let c = p.open(Access::ReadWrite);
    for at in 0..COUNT {
        set(&c, at);
        c.flush().unwrap();
        (at + 1..COUNT).for_each(|left| assert_eq!(get(&c, left), before[left as usize]));
    }
    drop(c);
    verified(p);
}

/// Tests a writer of whole records together with a writer of one member of some records.
fn with_records(
    set: impl Fn(&Arc<Container>, u64, u8) + Copy,
    get: impl Fn(&Arc<Container>, u64) -> Vec<u8> + Copy,
) {
    for p in places() {
        for on_conflict in ALL {
            for chunk in [COUNT, 2, 1] {
                for whole_first in [false, true] {
                    let case = format!("{on_conflict:?} {chunk} {whole_first}");
                    let [a, b] = writers_that(&p, on_conflict, |c| {
                        dataset(c, b"d", records(1, chunk));
                        (0..COUNT).for_each(|at| write_whole(c, at, 1, |c, at| set(c, at, 1)));
                    });
                    (0..COUNT / 2).for_each(|at| set_number(&a, at, 2));
                    (0..COUNT).for_each(|at| write_whole(&b, at, 3, |c, at| set(c, at, 3)));
                    let order = if whole_first { [&b, &a] } else { [&a, &b] };
                    order[0].flush().unwrap();
                    let is_reported = order[1].flush().is_err();
                    order[1].flush().unwrap();
                    // The last writer cannot win if its blobs were deleted.
                    let wins = on_conflict == OnConflict::Last && !whole_first;
                    assert_eq!(is_reported, !wins, "{case}");
                    for c in [&a, &b] {
                        c.refresh().unwrap();
                        for at in 0..COUNT {
                            let (number, text) = (record_at(c, at)[0], get(c, at));
                            let (first, second) = match (whole_first || wins, on_conflict) {
                                (true, _) => (3, 3),
                                (_, OnConflict::Fail) => (2, 1),
                                _ => (2, 3),
                            };
                            let wanted = if at < COUNT / 2 { first } else { second };
                            let kept = if wanted == 2 { 1 } else { wanted };
                            assert_eq!((number, text[0]), (wanted, kept), "{case}");
                        }
                    }
                    drop((a, b));
                    read_to_the_end(&p, |c, at| set(c, at, 9), get);
                }
            }
        }
    }
}

#[test]
fn the_text_of_the_winning_record_is_retained() {
    for length in [10, 3000] {
        let set = |c: &Arc<Container>, at, byte| set_member(c, at, 0, &vec![byte; length]);
        with_records(set, |c, at| blob(c, &record_at(c, at)[NUMBER..]));
    }
}

#[test]
fn nested_sequences_of_the_winning_record_are_retained() {
    let set = |c: &Arc<Container>, at, byte| set_nested(c, at, &[byte; 3000]);
    with_records(set, |c, at| blob(c, &blob(c, &record_at(c, at)[NUMBER..])));
}

#[test]
fn members_of_one_record_that_two_writers_set_can_be_read() {
    for p in places() {
        for on_conflict in ALL {
            for length in [10, 5000] {
                let [a, b] = writers_that(&p, on_conflict, |c| {
                    dataset(c, b"d", records(2, COUNT));
                    for (at, member) in (0..COUNT).flat_map(|at| [(at, 0), (at, 1)]) {
                        set_member(c, at, member, &vec![1; length]);
                    }
                });
                (0..COUNT).for_each(|at| set_member(&a, at, 0, &vec![2; length]));
                (0..COUNT).for_each(|at| set_member(&b, at, 1, &vec![3; length]));
                a.flush().unwrap();
                let _it_conflicts = b.flush().unwrap_err();
                b.flush().unwrap();
                drop((a, b));
                let get = |c: &Arc<Container>, at| {
                    let record = record_at(c, at);
                    [0, 1].map(|member| blob(c, &record[NUMBER + member * BLOB..])).concat()
                };
                let c = verified(&p);
                (0..COUNT)
                    .for_each(|at| assert_eq!(get(&c, at), [vec![2; length], vec![1; length]].concat()));
                drop(c);
                read_to_the_end(&p, |c, at| (0..2).for_each(|m| set_member(c, at, m, &vec![9; length])), get);
            }
        }
    }
}

/// The overwritten and truncated elements of a dataset that the other writer enlarged are restored.
#[test]
fn a_text_restored_by_a_refused_truncation_is_retained() {
    for p in places() {
        for (chunk, shrinks) in [(COUNT, 3), (1, 3), (2, 3), (1, 2)] {
            let [a, b] = writers_that(&p, OnConflict::Merge, |c| {
                dataset(c, b"d", records(1, chunk));
                (0..COUNT).for_each(|at| set_member(c, at, 0, &[1; 3000]));
            });
            open(&a, b"d").set_extent(&[COUNT + 2]).unwrap();
            a.flush().unwrap();
            (0..COUNT).for_each(|at| set_member(&b, at, 0, &[3; 3000]));
            open(&b, b"d").set_extent(&[shrinks]).unwrap();
            let _it_conflicts = b.flush().unwrap_err();
            drop((a, b));
            let get = |c: &Arc<Container>, at| blob(c, &record_at(c, at)[NUMBER..]);
            let c = verified(&p);
            assert_eq!(open(&c, b"d").space().dims(), [COUNT + 2]);
            (0..COUNT).for_each(|at| assert_eq!(get(&c, at)[0], if at < shrinks { 3 } else { 1 }));
            drop(c);
            read_to_the_end(&p, |c, at| set_member(c, at, 0, &[9; 3000]), get);
        }
    }
}

fn set_text(c: &Arc<Container>, text: &[u8]) {
    let a = c.attr_open(c.root(), b"a").unwrap();
    let mut heap = InlineHeap::default();
    let id = heap.put(text);
    a.write_with_heap(&id, &heap).unwrap();
}

/// The change of one writer to an attribute.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Write,
    Rename,
    Delete,
    DeleteOpen,
    Replace,
}

impl Change {
    fn make(self, c: &Arc<Container>, text: &[u8]) {
        let root = c.root();
        match self {
            Self::Write => set_text(c, text),
            Self::Rename => c.attr_rename(root, b"a", b"renamed").unwrap(),
            Self::Delete => c.attr_delete(root, b"a").unwrap(),
            Self::DeleteOpen => {
                let _open = c.attr_open(root, b"a").unwrap();
                c.attr_delete(root, b"a").unwrap();
            }
            Self::Replace => {
                c.attr_delete(root, b"a").unwrap();
                drop(text_attribute(c, root, b"a", text));
            }
        }
    }
}

#[test]
fn texts_of_attributes_that_two_writers_changed_can_be_read() {
    use Change::{Delete, DeleteOpen, Rename, Replace, Write};
    const CHANGES: [Change; 5] = [Write, Rename, Delete, DeleteOpen, Replace];
    let mut failures = Vec::new();
    for p in places() {
        for (on_conflict, length) in ALL.into_iter().flat_map(|o| [(o, 10), (o, 200_000)]) {
            for (first, second) in CHANGES.into_iter().flat_map(|x| CHANGES.map(|y| (x, y))) {
                let o = super::many::options();
                let c = p.create_with(o.clone());
                text_attribute(&c, c.root(), b"a", &vec![1; length]);
                drop(c);
                let o = Options { on_conflict, ..o };
                let [a, b] = [0; 2].map(|_| Container::open_apart(&p.target, Access::ReadWrite, &o).unwrap());
                first.make(&a, &vec![2; length]);
                second.make(&b, &vec![3; length]);
                a.flush().unwrap();
                let _it_may_conflict = b.flush();
                b.flush().unwrap();
                // Freed space is reused.
                for (n, c) in [&a, &b].into_iter().enumerate() {
                    c.refresh().unwrap();
                    for m in 0..4u8 {
                        let name = format!("{n} {m}");
                        text_attribute(c, c.root(), name.as_bytes(), &vec![9; length]);
                        c.flush().unwrap();
                    }
                }
                drop((a, b));
                drop(p.open(Access::ReadWrite));
                let report = verify(&p.target, &Options::default(), Versions::Newest, &mut |_, _| ());
                let c = p.open(Access::ReadOnly);
                let case = format!("{on_conflict:?} {length} {first:?} {second:?}");
                if !report.unwrap().is_whole() {
                    failures.push(format!("{case}: verify"));
                }
                for name in [&b"a"[..], b"renamed"] {
                    if c.attr_exists(c.root(), name).unwrap() {
                        let attribute = c.attr_open(c.root(), name).unwrap();
                        let text =
                            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| text_of(&attribute)));
                        if !text.is_ok_and(|t| t.len() == length && t[0] < 4 && t.iter().all(|x| *x == t[0]))
                        {
                            failures.push(case.clone());
                        }
                    }
                }
                drop(c);
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
