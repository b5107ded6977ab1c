//! Variable-length data of several writers: blobs that they delete in one segment are deleted, and living blobs stay.

use super::many::{check, open, part, writers_that};
use super::*;
use h5lake_records::record::{UsageRecord, decode};
use std::cell::Cell;

const TEXTS: u64 = 40;

/// Returns a dataset of strings in chunks of `chunk` elements.
fn strings(chunk: u64) -> DatasetSpec {
    let mut spec = dataset_spec(20, simple(&[TEXTS], &[TEXTS]), Layout::Chunked { chunk: vec![chunk] });
    spec.datatype = Datatype { class: 3, has_heap: true, ..spec.datatype };
    spec
}

/// Returns a dataset like [`strings`], of a type of which only the size is known.
fn structures(chunk: u64) -> DatasetSpec {
    let mut spec = strings(chunk);
    spec.datatype.class = 6;
    spec
}

/// An element: the id of its blob, and the blob's content.
#[derive(Clone, Default)]
struct Text {
    id: [u8; 16],
    bytes: Vec<u8>,
}

impl Text {
    fn stored(&self) -> u64 {
        (prost::encoding::encoded_len_varint(self.bytes.len() as u64) + self.bytes.len()) as u64
    }
}

/// Overwrites an element like libhdf5: stores the new blob, and deletes the old one.
fn overwrite(c: &Arc<Container>, at: u64, old: &Text, bytes: Vec<u8>) -> Text {
    let d = open(c, b"d");
    let id = c.heap_put(d.object().id(), &bytes).unwrap();
    let element = [&(bytes.len() as u32).to_le_bytes()[..], &id].concat();
    d.write(&part(at, 1), &element).unwrap();
    c.heap_delete(&old.id).unwrap();
    Text { id, bytes }
}

fn fill(c: &Arc<Container>, spec: DatasetSpec) -> Vec<Text> {
    dataset(c, b"d", spec);
    (0..TEXTS).map(|at| overwrite(c, at, &Text::default(), vec![1; 1000])).collect()
}

/// Returns the number of living bytes according to the segments.
fn living(c: &Container) -> u64 {
    let mut live = 0;
    c.each(&[keys::USAGE], |_, value| {
        let r: UsageRecord = decode(value, || "usage".into())?;
        live += r.live;
        Ok(())
    })
    .unwrap();
    live
}

/// Returns the elements, after checking that they can be read.
fn texts(c: &Arc<Container>) -> Vec<Text> {
    let d = open(c, b"d");
    let one = |at| {
        let mut element = [0; 20];
        d.read(&part(at, 1), &mut element).unwrap();
        let id: [u8; 16] = element[4..].try_into().unwrap();
        let mut bytes = vec![0; u32::from_le_bytes(element[..4].try_into().unwrap()) as usize];
        c.heap_get(&id, &mut bytes).unwrap();
        Text { id, bytes }
    };
    (0..TEXTS).map(one).collect()
}

#[test]
fn deletions_of_two_writers_in_one_segment_add_up() {
    for p in places() {
        for spec in [strings(TEXTS), strings(7), structures(TEXTS), structures(1)] {
            let mut now = Vec::new();
            let [a, b] = writers_that(&p, OnConflict::Fail, |c| now = fill(c, spec.clone()));
            for round in 0..16u32 {
                for at in 0..TEXTS {
                    // Each segment has elements that one writer overwrites, and elements that the other overwrites.
                    let c = if (at >> (round % 4)) & 1 == 0 { &a } else { &b };
                    now[at as usize] = overwrite(c, at, &now[at as usize], vec![round as u8; 1000]);
                }
                a.flush().unwrap();
                b.flush().unwrap();
                a.refresh().unwrap();
            }
            drop((a, b));
            let c = check(&p);
            let found = texts(&c);
            assert!(found.iter().zip(&now).all(|(a, b)| a.bytes == b.bytes && a.id == b.id));
            assert_eq!(living(&c), now.iter().map(Text::stored).sum::<u64>());
            drop(c);
        }
    }
}

/// Blobs that both writers overwrote were deleted by both.
#[test]
fn live_blobs_are_never_counted_as_dead() {
    for p in places() {
        for on_conflict in [OnConflict::Merge, OnConflict::Last] {
            for spec in [strings(TEXTS), strings(7), structures(TEXTS), structures(7)] {
                let writers = writers_that(&p, on_conflict, |c| drop(fill(c, spec.clone())));
                let [a, b, c] = &writers;
                let mut random = 7u64;
                for round in 0..16u8 {
                    for (n, c) in writers.iter().enumerate() {
                        let before = texts(c);
                        c.flush().unwrap();
                        for at in 0..TEXTS {
                            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                            let length = (random >> 40) as usize % 300;
                            if random >> 61 == 0 {
                                let bytes = vec![round * 3 + n as u8; length];
                                overwrite(c, at, &before[at as usize], bytes);
                            }
                        }
                    }
                    let _another_commit_may_be_first = a.flush();
                    // The writer merges with one commit, is overtaken, and merges with the other.
                    let is_first = Cell::new(true);
                    let _it_may_conflict = b.commit_shared(&|_| {
                        if is_first.replace(false) {
                            let _it_may_conflict = c.flush();
                        }
                        Ok(())
                    });
                    writers.iter().for_each(|c| _ = c.refresh().unwrap());
                    texts(a);
                }
                drop(writers);
                let c = check(&p);
                let least: u64 = texts(&c).iter().map(Text::stored).sum();
                assert!(living(&c) >= least, "{on_conflict:?}: {} of {least}", living(&c));
                drop(c);
            }
        }
    }
}

/// Both write the same text, which the second writer has not read: both have deleted the old blob.
#[test]
fn the_same_text_by_two_writers_deletes_the_old_one_once() {
    for p in places() {
        let mut now = Vec::new();
        let [a, b] = writers_that(&p, OnConflict::Fail, |c| now = fill(c, strings(TEXTS)));
        for c in [&a, &b] {
            for at in 0..TEXTS / 2 {
                overwrite(c, at, &now[at as usize], vec![2; 1000]);
            }
        }
        overwrite(&b, TEXTS - 1, &now[TEXTS as usize - 1], vec![3; 1000]);
        a.flush().unwrap();
        b.flush().unwrap();
        drop((a, b));
        let c = check(&p);
        let found = texts(&c);
        assert!(found[0].bytes == [2; 1000] && found[39].bytes == [3; 1000] && found[30].bytes == [1; 1000]);
        let least: u64 = found.iter().map(Text::stored).sum();
        assert!(living(&c) >= least);
    }
}
