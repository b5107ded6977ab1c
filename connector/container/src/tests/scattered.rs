//! Scattered bytes of blocks that are not stored inline: columns, points, lists of rows; repeatedly, while other bytes
//! are written.

use super::datasets::{Flat, filters, values};
use super::*;
use crate::chunk::grid::tests_support::slab_in;
use crate::statistics::Summary;
use proptest::prelude::*;
use std::os::unix::fs::FileExt;

/// Rows and columns of the planes here: chunks of 100 × 200 elements have 20 to 160 KB.
const DIMS: [u64; 2] = [330, 450];

#[derive(Debug, Clone)]
enum Op {
    /// Reads a column this many times.
    Column(u64, u8),
    /// Some rows, in any order.
    Rows(Vec<u64>),
    /// Points in any order, some of them twice.
    Points(Vec<prop::sample::Index>),
    Slab(u64),
    Write(u64, u8),
    WritePoints(Vec<prop::sample::Index>, u8),
    Flush,
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let points = || prop::collection::vec(any::<prop::sample::Index>(), 1..60);
    prop_oneof![
        4 => (0..DIMS[1], 1u8..12).prop_map(|(at, n)| Op::Column(at, n)),
        2 => prop::collection::vec(0..DIMS[0], 1..40).prop_map(Op::Rows),
        2 => points().prop_map(Op::Points),
        2 => any::<u64>().prop_map(Op::Slab),
        2 => (any::<u64>(), any::<u8>()).prop_map(|(s, v)| Op::Write(s, v)),
        2 => (points(), any::<u8>()).prop_map(|(p, v)| Op::WritePoints(p, v)),
        2 => Just(Op::Flush),
        1 => Just(Op::Reopen),
    ]
}

fn column(at: u64) -> Selection {
    let one = vec![1, 1];
    Selection::Hyperslab { start: vec![0, at], stride: one.clone(), count: one, block: vec![DIMS[0], 1] }
}

fn points(at: &[prop::sample::Index]) -> Selection {
    let total = (DIMS[0] * DIMS[1]) as usize;
    Selection::Runs(at.iter().map(|i| Run { offset: i.index(total) as u64, count: 1 }).collect())
}

fn rows(at: &[u64]) -> Selection {
    Selection::Runs(at.iter().map(|r| Run { offset: r * DIMS[1], count: DIMS[1] }).collect())
}

fn run(ops: Vec<Op>, size: usize, layout: Layout, filtered: u8, cache: usize, place: Place) {
    let options = Options { cache_bytes: cache, ..Options::default() };
    let mut c = place.create_with(options.clone());
    let mut spec = dataset_spec(size as u64, simple(&DIMS, &DIMS), layout);
    spec.filters = filters(filtered, size as u64);
    let mut d = dataset(&c, b"d", spec);
    let id = d.object().id();
    let mut flat = Flat::new(&DIMS, size, vec![0; size]);
    let first = values(flat.data.len(), 3);
    d.write(&Selection::All, &first).unwrap();
    flat.write(&Selection::All, &first);
    for op in ops {
        let (times, s) = match op {
            Op::Column(at, n) => (n, column(at)),
            Op::Rows(at) => (1, rows(&at)),
            Op::Points(at) => (1, points(&at)),
            Op::Slab(seed) => (1, slab_in(&DIMS, seed)),
            Op::Write(seed, v) => {
                let s = slab_in(&DIMS, seed);
                let data = values(s.points(&DIMS).unwrap() as usize * size, v);
                d.write(&s, &data).unwrap();
                flat.write(&s, &data);
                (1, s)
            }
            Op::WritePoints(at, v) => {
                let s = points(&at);
                let data = values(at.len() * size, v);
                d.write(&s, &data).unwrap();
                flat.write(&s, &data);
                (1, s)
            }
            Op::Flush => {
                c.flush().unwrap();
                continue;
            }
            Op::Reopen => {
                drop((d, c));
                c = Container::open(&place.target, Access::ReadWrite, options.clone()).unwrap();
                d = c.dataset(id).unwrap();
                continue;
            }
        };
        for _ in 0..times {
            let mut got = vec![0xee; s.points(&DIMS).unwrap() as usize * size];
            d.read(&s, &mut got).unwrap();
            assert!(got == flat.read(&s), "{s:?}");
        }
        // The cache must have space for one block, or nothing could be written to it.
        let (kept, block) = (c.blocks.lock().bytes(), d.shape().len + 256);
        assert!(kept <= cache.max(block), "{kept} bytes are kept");
    }
    let mut all = vec![0xee; flat.data.len()];
    d.read(&Selection::All, &mut all).unwrap();
    assert!(all == flat.data);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn scattered_bytes_equal_a_flat_array(
        ops in prop::collection::vec(op(), 1..20),
        size in prop::sample::select(vec![1usize, 3, 4, 8]),
        chunked in any::<bool>(),
        cache in prop::sample::select(vec![200_000usize, 800_000, 256 << 20]),
        in_file in any::<bool>(),
    ) {
        let layout = if chunked { Layout::Chunked { chunk: vec![100, 200] } } else { Layout::Contiguous };
        run(ops, size, layout, 0, cache, if in_file { file() } else { memory() });
    }

    /// Several chunks are decoded in parallel, some directly into the caller's buffer.
    #[test]
    fn filtered_bytes_equal_a_flat_array(
        ops in prop::collection::vec(op(), 1..12),
        size in prop::sample::select(vec![1usize, 3, 4, 8]),
        filtered in 1u8..3,
        chunk in prop::sample::select(vec![[100, 200], [55, 450], [330, 90]]),
        cache in prop::sample::select(vec![200_000usize, 256 << 20]),
        in_file in any::<bool>(),
    ) {
        let layout = Layout::Chunked { chunk: chunk.to_vec() };
        run(ops, size, layout, filtered, cache, if in_file { file() } else { memory() });
    }
}

/// Creates a plane in a separate container, committed and opened for reading.
fn plane(place: &Place) -> (Arc<Dataset>, Vec<u8>) {
    let c = place.create();
    let spec = dataset_spec(4, simple(&DIMS, &DIMS), Layout::Chunked { chunk: vec![100, 200] });
    let d = dataset(&c, b"d", spec);
    let numbers = (0..(DIMS[0] * DIMS[1]) as u32).map(|i| i.wrapping_mul(0x9E37_79B9));
    let data: Vec<u8> = numbers.flat_map(u32::to_le_bytes).collect();
    d.write(&Selection::All, &data).unwrap();
    let id = d.object().id();
    drop(d);
    c.flush().unwrap();
    drop(c);
    (place.open(Access::ReadOnly).dataset(id).unwrap(), data)
}

fn read(d: &Dataset, s: &Selection) -> Result<Vec<u8>> {
    let mut out = vec![0; s.points(&DIMS)? as usize * 4];
    d.read(s, &mut out).map(|()| out)
}

fn is_corrupt(d: &Dataset, s: &Selection) -> bool {
    read(d, s).is_err_and(|e| e.kind() == ErrorKind::Corrupt)
}

#[test]
fn a_block_is_cached_after_repeated_reads() {
    let place = file();
    let (d, data) = plane(&place);
    let c = d.object().container().clone();
    let chunk = 100 * 200 * 4;
    for n in 1..=12u64 {
        let found = read(&d, &column(n)).unwrap();
        let wanted: Vec<u8> = data
            .chunks_exact(DIMS[1] as usize * 4)
            .flat_map(|row| row[n as usize * 4..][..4].to_vec())
            .collect();
        assert!(found == wanted, "column {n}");
        let kept = c.blocks.lock().bytes();
        // The last chunk of a column has 30 of its rows.
        let chunks = if n < 9 { 0 } else { 3 };
        assert!(kept >= chunks * chunk && kept < (chunks + 1) * chunk, "{kept} bytes after {n} columns");
    }
}

#[test]
fn data_of_a_memory_store_is_not_cached() {
    let place = memory();
    let (d, _) = plane(&place);
    for n in 0..20 {
        read(&d, &column(n)).unwrap();
        read(&d, &rows(&[n, 50, 7])).unwrap();
    }
    assert_eq!(d.object().container().blocks.lock().bytes(), 0);
}

#[test]
fn damage_is_reported_to_scattered_reads() {
    let place = file();
    let (d, data) = plane(&place);
    let Target::File(path) = &place.target else { unreachable!() };
    let bytes = std::fs::read(path).unwrap();
    // A position in the chunk of rows 100 to 199, in a column that is not requested.
    let wanted = &data[(150 * DIMS[1] as usize + 100) * 4..][..64];
    let at = bytes.windows(64).position(|w| w == wanted).unwrap() as u64;
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    for _ in 0..2 {
        file.write_at(&[!wanted[0]], at).unwrap();
        assert!(is_corrupt(&d, &column(7)));
        assert!(is_corrupt(&d, &rows(&[151, 140, 102, 177, 120, 165])));
        // No damaged bytes stay in the cache.
        file.write_at(&[wanted[0]], at).unwrap();
        for _ in 0..3 {
            assert_eq!(read(&d, &column(7)).unwrap()[4..8], data[DIMS[1] as usize * 4 + 28..][..4]);
        }
    }
}

/// Creates a dataset of 4-byte elements, 4,000 by 4,000, all written and committed, and opens the container again.
fn committed(place: &Place, layout: Layout) -> (Arc<Container>, Arc<Dataset>) {
    let c = place.create();
    let d = dataset(&c, b"d", dataset_spec(4, simple(&[SIDE; 2], &[SIDE; 2]), layout));
    d.write(&Selection::All, &vec![1; (SIDE * SIDE * 4) as usize]).unwrap();
    c.flush().unwrap();
    let id = d.object().id();
    drop((d, c));
    let c = place.open(Access::ReadWrite);
    let d = c.dataset(id).unwrap();
    (c, d)
}

const SIDE: u64 = 4000;

/// Selects every `step`th element of every `step`th row.
fn every(step: u64) -> Selection {
    let count = SIDE.div_ceil(step);
    Selection::Hyperslab {
        start: vec![0; 2],
        stride: vec![step; 2],
        count: vec![count; 2],
        block: vec![1; 2],
    }
}

/// Returns the bytes read and written by a strided write, or by one write for each of its rows, and the flush, and the
/// bytes that a later read of the dataset reads.
fn cost_of_strided(layout: Layout, step: u64, by_rows: bool) -> [u64; 3] {
    let place = file();
    let (c, d) = committed(&place, layout);
    let s = every(step);
    let before = super::statistics::of(&c);
    if by_rows {
        for at in (0..SIDE).step_by(step as usize) {
            let count = SIDE.div_ceil(step);
            let row = (vec![at, 0], vec![1, step], vec![1, count], vec![1; 2]);
            let (start, stride, count, block) = row;
            let row = Selection::Hyperslab { start, stride, count, block };
            d.write(&row, &vec![2; row.points(&[SIDE; 2]).unwrap() as usize * 4]).unwrap();
        }
    } else {
        d.write(&s, &vec![2; s.points(&[SIDE; 2]).unwrap() as usize * 4]).unwrap();
    }
    c.flush().unwrap();
    let after = super::statistics::of(&c);
    let id = d.object().id();
    drop((d, c));
    let c = place.open(Access::ReadOnly);
    let d = c.dataset(id).unwrap();
    let mut all = vec![0; (SIDE * SIDE * 4) as usize];
    d.read(&Selection::All, &mut all).unwrap();
    for (n, element) in (0..).zip(all.chunks(4)) {
        let is_written = (n / SIDE).is_multiple_of(step) && (n % SIDE).is_multiple_of(step);
        assert_eq!(element, [if is_written { 2 } else { 1 }; 4], "element {n}");
    }
    let [read, written] = [Summary::bytes_read, Summary::bytes_written]
        .map(|bytes: fn(&Summary) -> u64| bytes(&after) - bytes(&before));
    [read, written, super::statistics::of(&c).bytes_read()]
}

#[test]
fn a_strided_write_reads_and_stores_only_the_parts_of_a_contiguous_dataset_that_it_touches() {
    let all = SIDE * SIDE * 4;
    for (step, by_rows) in [(400, false), (400, true), (40, false), (40, true), (13, false), (13, true)] {
        // Each row has 16,000 bytes, and touches two checksum units of 16 KiB.
        let touched = SIDE.div_ceil(step) * (32 << 10);
        let [read, written, later] = cost_of_strided(Layout::Contiguous, step, by_rows);
        assert!(read <= touched + (64 << 10), "every {step}th: {read} bytes are read, {touched} touched");
        assert!(written <= touched + (64 << 10), "every {step}th: {written} bytes are written");
        assert!(later <= all + all / 10, "every {step}th: {later} bytes are read later");
    }
    for by_rows in [false, true] {
        let costs = cost_of_strided(Layout::Contiguous, 4, by_rows);
        assert!(costs.iter().all(|cost| *cost <= all + all / 10), "{costs:?}");
    }
}

#[test]
fn a_strided_write_reads_and_stores_no_chunk_twice() {
    let all = SIDE * SIDE * 4;
    for (step, by_rows) in [(400, false), (40, false), (13, false), (4, false), (13, true), (4, true)] {
        let costs = cost_of_strided(Layout::Chunked { chunk: vec![200; 2] }, step, by_rows);
        assert!(costs.iter().all(|cost| *cost <= all + all / 10), "every {step}th: {costs:?}");
    }
}
