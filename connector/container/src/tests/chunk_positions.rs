//! Finds chunks by position, while chunks are created and deleted.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Chunks of two by two elements of one byte.
const CHUNK: u64 = 2;

#[derive(Debug, Clone)]
enum Op {
    Write([u64; 2]),
    WriteStored([u64; 2]),
    Resize([u64; 2]),
    Flush,
    Reopen,
    /// Requests these positions, one after another.
    Ask(Vec<u64>),
    All,
}

fn op() -> impl Strategy<Value = Op> {
    let side = || 0..40u64;
    prop_oneof![
        6 => [side(), side()].prop_map(Op::Write),
        2 => [side(), side()].prop_map(Op::WriteStored),
        1 => [1..40u64, 1..40u64].prop_map(Op::Resize),
        1 => Just(Op::Flush),
        1 => Just(Op::Reopen),
        3 => prop::collection::vec(0..12u64, 1..4).prop_map(Op::Ask),
        2 => Just(Op::All),
    ]
}

struct Both {
    place: Place,
    c: Arc<Container>,
    d: Arc<Dataset>,
    dims: [u64; 2],
    written: BTreeSet<[u64; 2]>,
}

impl Both {
    fn new(place: Place) -> Self {
        let c = place.create();
        let layout = Layout::Chunked { chunk: vec![CHUNK; 2] };
        let mut spec = dataset_spec(1, simple(&[40, 40], &[UNLIMITED; 2]), layout);
        spec.fill.allocate = AllocTime::Incremental;
        let d = dataset(&c, b"d", spec);
        Self { place, c, d, dims: [40, 40], written: BTreeSet::new() }
    }

    fn has(&self, at: [u64; 2]) -> bool {
        at.iter().zip(self.dims).all(|(at, dim)| *at < dim)
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Write(at) if self.has(at) => {
                let selection = Selection::Hyperslab {
                    start: at.to_vec(),
                    stride: vec![1; 2],
                    count: vec![1; 2],
                    block: vec![1; 2],
                };
                self.d.write(&selection, b"x").unwrap();
                self.written.insert(at.map(|at| at / CHUNK * CHUNK));
            }
            Op::WriteStored(at) if self.has(at) => {
                let at = at.map(|at| at / CHUNK * CHUNK);
                self.d.write_chunk(&at, 0, b"abcd").unwrap();
                self.written.insert(at);
            }
            Op::Write(_) | Op::WriteStored(_) => (),
            Op::Resize(dims) => {
                self.d.set_extent(&dims).unwrap();
                self.dims = dims;
                self.written.retain(|at| at.iter().zip(dims).all(|(at, dim)| *at < dim));
            }
            Op::Flush => self.c.flush().unwrap(),
            Op::Reopen => {
                self.c.flush().unwrap();
                let id = self.d.object().id();
                self.c = self.place.open(Access::ReadOnly);
                self.d = self.c.dataset(id).unwrap();
                self.all();
                self.c = self.place.open(Access::ReadWrite);
                self.d = self.c.dataset(id).unwrap();
            }
            Op::Ask(positions) => positions.into_iter().for_each(|n| self.ask(n)),
            Op::All => self.all(),
        }
    }

    fn ask(&self, n: u64) {
        let wanted = self.written.iter().nth(n as usize).map(|at| at.to_vec());
        assert_eq!(self.d.chunk_at(n).ok().map(|chunk| chunk.offset), wanted, "chunk {n}");
    }

    fn all(&self) {
        let count = self.written.len() as u64;
        assert_eq!((self.d.chunk_count().unwrap(), self.d.has_chunks().unwrap()), (count, count > 0));
        assert_eq!(offsets(&self.d).unwrap(), self.written.iter().map(|at| at.to_vec()).collect::<Vec<_>>());
        (0..=count).for_each(|n| self.ask(n));
    }
}

/// Returns the offsets of the chunks of a dataset, found one after another.
fn offsets(d: &Dataset) -> Result<Vec<Vec<u64>>> {
    let (mut all, mut chunks) = (Vec::new(), d.chunks()?);
    while let Some(chunk) = chunks.next_chunk()? {
        all.push(chunk.offset);
    }
    Ok(all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn positions_are_those_of_existing_chunks(
        ops in prop::collection::vec(op(), 1..40),
        in_file in any::<bool>(),
    ) {
        let mut both = Both::new(if in_file { file() } else { memory() });
        ops.into_iter().for_each(|op| both.run(op));
        both.all();
    }
}

#[test]
fn sequential_positions_resume_at_the_last_one() {
    let place = file();
    let c = place.create();
    let mut spec = dataset_spec(1, simple(&[6000], &[UNLIMITED]), Layout::Chunked { chunk: vec![2] });
    spec.fill.allocate = AllocTime::Incremental;
    let d = dataset(&c, b"d", spec);
    d.write(&Selection::All, &[1; 6000]).unwrap();
    c.flush().unwrap();
    // Half of the chunks have changes in memory.
    let some = Selection::Hyperslab { start: vec![0], stride: vec![4], count: vec![1500], block: vec![1] };
    d.write(&some, &[2; 1500]).unwrap();
    assert_eq!(c.blocks.lock().dirty_keys(&keys::of(keys::BLOCK, d.object().id().0)).len(), 1500);
    for n in (0..3000).chain([2999, 7, 8, 2000]) {
        assert_eq!((d.chunk_at(n).unwrap().offset, d.chunk_count().unwrap()), (vec![n * 2], 3000));
    }
    let error = d.chunk_at(3000).unwrap_err().to_string();
    assert!(error.contains("chunk index is out of range: 3000 of 3000"), "{error}");
}

/// Keys of chunks that no container writes: of another rank, beyond all dimensions, or with numbers that overflow.
#[test]
fn keys_that_name_no_chunk_are_damage() {
    for coords in [&[1 << 61][..], &[u64::MAX], &[10], &[0, 0], &[]] {
        let place = memory();
        let c = place.create();
        let make = |name: &[u8], max: u64| {
            let mut spec = dataset_spec(4, simple(&[90], &[max]), Layout::Chunked { chunk: vec![10] });
            // With incremental allocation, chunks are listed by their keys.
            spec.fill.allocate = AllocTime::Incremental;
            let d = dataset(&c, name, spec);
            d.write(&Selection::All, &[1; 360]).unwrap();
            d
        };
        let (fixed, grows) = (make(b"d", 90), make(b"u", UNLIMITED));
        c.flush().unwrap();
        for d in [&fixed, &grows] {
            let key = keys::block(d.object().id().0, coords);
            let value = c.ledger.get(&keys::block(d.object().id().0, &[0])).unwrap().unwrap();
            c.ledger.put(&key, value).unwrap();
        }
        c.flush().unwrap();
        let ids = [&fixed, &grows].map(|d| d.object().id());
        drop((fixed, grows, c));
        let c = place.open(Access::ReadWrite);
        for id in ids {
            let d = c.dataset(id).unwrap();
            // One more chunk is valid for a dataset that can grow to it.
            let is_damage = id == ids[0] || coords != [10];
            assert_eq!(offsets(&d).is_err(), is_damage, "{coords:?}");
            let listed: Result<Vec<_>> = (0..10).map(|n| d.chunk_at(n)).collect();
            assert_eq!(listed.is_err(), is_damage, "{coords:?}");
        }
    }
}
