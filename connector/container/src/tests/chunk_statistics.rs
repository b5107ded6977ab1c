//! Statistics of chunks: their range is never narrower than the data, after any operation.

use super::many::{self, open, writers};
use super::*;
use proptest::prelude::*;
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// A little-endian float of 8 bytes, as H5Tencode encodes it.
const DOUBLE: [u8; 22] = [3, 0, 0x11, 0x20, 63, 0, 8, 0, 0, 0, 0, 0, 64, 0, 52, 11, 0, 52, 255, 3, 0, 0];
/// A big-endian signed integer of 4 bytes, as H5Tencode encodes it.
const INT: [u8; 14] = [3, 0, 0x10, 9, 0, 0, 4, 0, 0, 0, 0, 0, 32, 0];

fn spec(encoded: &[u8], dims: &[u64], chunk: &[u64], filters: &[i32]) -> DatasetSpec {
    let max = vec![UNLIMITED; dims.len()];
    let size = u64::from(encoded[6]);
    let mut spec = dataset_spec(size, simple(dims, &max), Layout::Chunked { chunk: chunk.to_vec() });
    spec.datatype.encoded = Bytes::copy_from_slice(encoded);
    let filter = |id: &i32| Filter { id: *id, flags: 0, name: Vec::new(), client_data: vec![4] };
    spec.filters = filters.iter().map(filter).collect();
    spec
}

fn slab(start: &[u64], count: &[u64]) -> Selection {
    let ones = vec![1; start.len()];
    Selection::Hyperslab { start: start.to_vec(), stride: count.to_vec(), count: ones, block: count.to_vec() }
}

fn written(d: &Dataset) -> Vec<WrittenChunk> {
    let mut all = Vec::new();
    let keep = |chunk| {
        all.push(chunk);
        Ok(ControlFlow::Continue(()))
    };
    d.each_written_chunk(keep).unwrap();
    all
}

/// Compares the statistics of each chunk with its elements; returns the number of chunks with statistics.
fn check(d: &Dataset) -> usize {
    let of = d.number_type().unwrap();
    let mut known = 0;
    for chunk in written(d) {
        let Some(s) = chunk.statistics else { continue };
        known += 1;
        let mut data = vec![0; chunk.shape.iter().product::<u64>() as usize * of.size];
        d.read(&slab(&chunk.offset, &chunk.shape), &mut data).unwrap();
        let mut count = 0;
        for n in data.chunks(of.size).map(|bytes| of.number(bytes).unwrap()) {
            if n.is_nan() {
                assert!(s.may_have_nan, "{chunk:?}");
                continue;
            }
            count += 1;
            assert_ne!(n.compare(s.minimum.unwrap()), Some(Ordering::Less), "{n:?} {chunk:?}");
            assert_ne!(n.compare(s.maximum.unwrap()), Some(Ordering::Greater), "{n:?} {chunk:?}");
        }
        assert!(s.count.is_none_or(|known| known == count), "{count} {chunk:?}");
    }
    known
}

fn doubles(values: impl IntoIterator<Item = f64>) -> Vec<u8> {
    values.into_iter().flat_map(f64::to_le_bytes).collect()
}

fn number(n: Option<Number>) -> f64 {
    match n.unwrap() {
        Number::Float(f) => f,
        Number::Integer(n) => n as f64,
    }
}

/// An operation on a dataset of two dimensions.
#[derive(Debug, Clone)]
enum Step {
    /// Writes a box: its first element, its size, and the seed of its elements.
    Write([u64; 2], [u64; 2], u64),
    Resize([u64; 2]),
    /// Writes a chunk directly, without the filters.
    Direct([u64; 2], u64),
    Flush,
    Reopen,
    Vacuum,
    Copy,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let corner = || prop::array::uniform2(0_u64..80);
    let extent = || prop::array::uniform2(1_u64..90);
    let step = prop_oneof![
        6 => (corner(), extent(), any::<u64>()).prop_map(|(at, n, seed)| Step::Write(at, n, seed)),
        2 => extent().prop_map(Step::Resize),
        1 => (corner(), any::<u64>()).prop_map(|(at, seed)| Step::Direct(at, seed)),
        2 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        1 => Just(Step::Vacuum),
        1 => Just(Step::Copy),
    ];
    prop::collection::vec(step, 1..14)
}

/// Returns numbers around one that depends on the seed, sometimes NaN, so that the ranges of chunks differ.
fn some(seed: u64, count: u64) -> Vec<u8> {
    let base = (seed % 1000) as f64 - 500.0;
    let value = |n: u64| match (seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) % 97 {
        0 if seed.is_multiple_of(3) => f64::NAN,
        more => base + more as f64,
    };
    doubles((0..count).map(value))
}

fn apply(c: &mut Arc<Container>, d: &mut Arc<Dataset>, p: &Place, step: &Step, chunk: [u64; 2]) {
    let dims = d.space().dims().to_vec();
    let inside = |at: &[u64; 2]| [at[0] % dims[0], at[1] % dims[1]];
    match step {
        Step::Write(at, n, seed) => {
            let at = inside(at);
            let n = [n[0].min(dims[0] - at[0]), n[1].min(dims[1] - at[1])];
            d.write(&slab(&at, &n), &some(*seed, n[0] * n[1])).unwrap();
        }
        Step::Resize(to) => d.set_extent(to).unwrap(),
        Step::Direct(at, seed) => {
            let at = inside(at);
            let at = [at[0] / chunk[0] * chunk[0], at[1] / chunk[1] * chunk[1]];
            let bytes = some(*seed, chunk[0] * chunk[1]);
            // If there are filters, they count as skipped.
            d.write_chunk(&at, 3, &bytes).unwrap();
        }
        Step::Flush => c.flush().unwrap(),
        Step::Vacuum => {
            c.flush().unwrap();
            c.vacuum().unwrap();
        }
        Step::Copy => {
            let copy = c
                .copy_object(d.object().id(), c, CopyOptions::default(), &mut |_, _, elements| Ok(elements))
                .unwrap();
            check(&c.dataset_of(&copy).unwrap());
        }
        Step::Reopen => {
            c.flush().unwrap();
            *d = many::open(c, b"d");
            let other = p.open(Access::ReadOnly);
            check(&many::open(&other, b"d"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn every_element_is_within_the_range_of_its_chunk(
        steps in steps(),
        fill in prop_oneof![Just(0.0), Just(7.5), Just(f64::NAN)],
        kind in 0_usize..5,
    ) {
        // Small chunks are stored inline, large ones are written past the cache.
        let (chunk, filters): ([u64; 2], &[i32]) =
            [([5, 4], &[][..]), ([40, 90], &[]), ([16, 3000], &[]), ([5, 4], &[1]), ([40, 90], &[2, 1])][kind];
        let p = memory();
        let mut c = p.create();
        let mut spec = spec(&DOUBLE, &[60, 50], &chunk, filters);
        spec.fill.value = FillValue::User(doubles([fill]).into());
        let mut d = dataset(&c, b"d", spec);
        for step in &steps {
            apply(&mut c, &mut d, &p, step, chunk);
            check(&d);
        }
        c.flush().unwrap();
        check(&many::open(&p.open(Access::ReadOnly), b"d"));
        assert_sound(&p);
    }
}

fn assert_sound(p: &Place) {
    let report = super::checks::verify(
        &p.target,
        &Options::default(),
        super::checks::Versions::Newest,
        &mut |_, _| (),
    );
    let report = report.unwrap();
    assert!(report.damaged == 0, "{report:?}");
}

/// Chunks with only NaN have no range.
#[test]
fn chunks_of_nan_are_sound_whatever_was_done_to_them() {
    let p = memory();
    let c = p.create();
    let nan = |n: usize| doubles(std::iter::repeat_n(f64::NAN, n));
    let mut of_nan = spec(&DOUBLE, &[1000], &[1000], &[]);
    of_nan.fill.value = FillValue::User(nan(1).into());
    let filled = dataset(&c, b"filled", of_nan);
    filled.write(&slab(&[0], &[10]), &nan(10)).unwrap();
    let written_over = dataset(&c, b"over", spec(&DOUBLE, &[1000], &[1000], &[]));
    let cut = dataset(&c, b"cut", spec(&DOUBLE, &[1000], &[1000], &[]));
    for d in [&written_over, &cut] {
        d.write(&Selection::All, &nan(1000)).unwrap();
    }
    c.flush().unwrap();
    cut.set_extent(&[500]).unwrap();
    c.flush().unwrap();
    let c = {
        drop((c, filled, written_over, cut));
        p.open(Access::ReadWrite)
    };
    many::open(&c, b"over").write(&slab(&[5], &[3]), &nan(3)).unwrap();
    c.flush().unwrap();
    for name in [&b"filled"[..], b"over", b"cut"] {
        let d = many::open(&c, name);
        assert_eq!(check(&d), 1);
        assert_eq!(written(&d)[0].statistics.unwrap().count, Some(0));
    }
    assert_sound(&p);
}

#[test]
fn whole_writes_give_exact_statistics() {
    for (p, filters) in
        places().into_iter().zip([&[][..], &[1]]).chain(places().into_iter().zip([&[1][..], &[]]))
    {
        let c = p.create();
        // Chunks that filters make small have no statistics.
        let small = if filters.is_empty() { (10, 95) } else { (1000, 9500) };
        for (chunk, dims) in [small, (20_000, 45_000)] {
            let d =
                c.dataset_of(&c.create_dataset(spec(&DOUBLE, &[dims], &[chunk], filters)).unwrap()).unwrap();
            d.write(&Selection::All, &doubles((0..dims).map(|n| n as f64))).unwrap();
            c.flush().unwrap();
            let all = written(&d);
            assert_eq!(all.len() as u64, dims.div_ceil(chunk));
            for (n, found) in all.iter().enumerate() {
                let first = n as u64 * chunk;
                let last = (first + chunk).min(dims) - 1;
                let s = found.statistics.unwrap();
                assert_eq!((number(s.minimum), number(s.maximum)), (first as f64, last as f64));
                assert_eq!((s.count, s.may_have_nan), (Some(last - first + 1), false));
            }
        }
    }
}

#[test]
fn appends_stay_exact_and_small_overwrites_widen() {
    let p = memory();
    let c = p.create();
    let d = c.dataset_of(&c.create_dataset(spec(&INT, &[0], &[50_000], &[])).unwrap()).unwrap();
    let mut at = 0;
    for _ in 0..30 {
        d.set_extent(&[at + 4000]).unwrap();
        let bytes: Vec<u8> = (at..at + 4000).flat_map(|n| (n as i32).to_be_bytes()).collect();
        d.write(&slab(&[at], &[4000]), &bytes).unwrap();
        c.flush().unwrap();
        at += 4000;
    }
    let first = written(&d).remove(1).statistics.unwrap();
    assert_eq!((number(first.minimum), number(first.maximum)), (50_000.0, 99_999.0));
    assert_eq!(first.count, Some(50_000));
    d.write(&slab(&[60_000], &[1]), &(-7_i32).to_be_bytes()).unwrap();
    c.flush().unwrap();
    assert_eq!(number(written(&d).remove(1).statistics.unwrap().minimum), -7.0);
    assert_eq!(check(&d), 3);
}

#[test]
fn elements_exposed_by_growth_are_unknown() {
    let c = memory().create();
    let d = c.dataset_of(&c.create_dataset(spec(&DOUBLE, &[7], &[10], &[])).unwrap()).unwrap();
    d.write(&Selection::All, &doubles([5.0; 7])).unwrap();
    c.flush().unwrap();
    assert!(written(&d)[0].statistics.is_some());
    d.set_extent(&[8]).unwrap();
    assert!(written(&d)[0].statistics.is_none(), "a zero shows");
    d.set_extent(&[6]).unwrap();
    assert_eq!(number(written(&d)[0].statistics.unwrap().minimum), 5.0, "it does not any more");
}

#[test]
fn lossy_filters_and_direct_chunks_have_no_statistics() {
    let c = memory().create();
    // Scale-offset rounds floats to decimals.
    let mut lossy = spec(&DOUBLE, &[100], &[100], &[]);
    let mut client_data = vec![0, 2, 100, 1, 8, 0, 0];
    client_data.resize(20, 0);
    lossy.filters = vec![Filter { id: 6, flags: 0, name: Vec::new(), client_data }];
    let d = c.dataset_of(&c.create_dataset(lossy).unwrap()).unwrap();
    d.write(&Selection::All, &doubles([1.23456; 100])).unwrap();
    assert!(written(&d)[0].statistics.is_none());
    let d = c.dataset_of(&c.create_dataset(spec(&DOUBLE, &[1000], &[1000], &[1])).unwrap()).unwrap();
    d.write(&Selection::All, &doubles((0..1000).map(f64::from))).unwrap();
    assert!(written(&d)[0].statistics.is_some());
    d.write_chunk(&[0], 1, &doubles([2.0; 1000])).unwrap();
    assert!(written(&d)[0].statistics.is_none());
    // The stored chunk is hardly longer than its statistics would be.
    d.write(&Selection::All, &doubles([1.0; 1000])).unwrap();
    assert!(written(&d)[0].statistics.is_none());
}

#[test]
fn an_impossible_record_is_ignored_and_reported() {
    let p = memory();
    let c = p.create();
    let d = c.dataset_of(&c.create_dataset(spec(&DOUBLE, &[10], &[10], &[])).unwrap()).unwrap();
    d.write(&Selection::All, &doubles((0..10).map(f64::from))).unwrap();
    c.flush().unwrap();
    let key = keys::block(d.object().id().0, &[0]);
    let good: record::BlockRecord =
        record::decode(c.ledger.get(&key).unwrap().unwrap(), String::new).unwrap();
    let known = good.statistics.clone().unwrap();
    let bad = [
        record::StatisticsRecord { minimum: None, ..known.clone() },
        record::StatisticsRecord { minimum: Some(50_f64.to_bits()), ..known.clone() },
        record::StatisticsRecord { maximum: Some(f64::NAN.to_bits()), ..known.clone() },
        record::StatisticsRecord { count: Some(11), ..known.clone() },
        record::StatisticsRecord { within: vec![11], ..known.clone() },
        record::StatisticsRecord { within: vec![0], ..known.clone() },
        record::StatisticsRecord::default(),
        record::StatisticsRecord { within: vec![1, 10], ..known.clone() },
    ];
    for statistics in bad {
        let block = record::BlockRecord { statistics: Some(statistics.clone()), ..good.clone() };
        c.ledger.put(&key, block.encode_to_vec()).unwrap();
        assert!(written(&d)[0].statistics.is_none(), "{statistics:?}");
    }
    c.flush().unwrap();
    let report = super::checks::verify(
        &p.target,
        &Options::default(),
        super::checks::Versions::Newest,
        &mut |_, _| (),
    )
    .unwrap();
    assert!(report.damaged == 1 && report.found[0].why.contains("statistics"), "{report:?}");
}

#[test]
fn writers_of_one_chunk_leave_a_range_that_holds_for_both() {
    for (n, filters) in [(20, &[][..]), (20_000, &[]), (2000, &[1]), (20_000, &[1])] {
        let p = memory();
        let [a, b] = writers(&p, |c| {
            let d = dataset(c, b"d", spec(&DOUBLE, &[n], &[n], filters));
            d.write(&Selection::All, &doubles((0..n).map(|_| 1.0))).unwrap();
            c.flush().unwrap();
        });
        let (mine, theirs) = (open(&a, b"d"), open(&b, b"d"));
        let half = n / 2;
        mine.write(&slab(&[0], &[half]), &doubles((0..half).map(|n| -(n as f64)))).unwrap();
        theirs.write(&slab(&[half], &[half]), &doubles((0..half).map(|n| 5.0 + n as f64))).unwrap();
        a.flush().unwrap();
        b.flush().unwrap();
        let d = open(&p.open(Access::ReadOnly), b"d");
        assert_eq!(check(&d), 1, "{n} {filters:?}");
        let s = written(&d)[0].statistics.unwrap();
        assert!(number(s.minimum) <= -(half as f64 - 1.0) && number(s.maximum) >= 4.0 + half as f64);
    }
}
