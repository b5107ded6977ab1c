//! Reads from a remote store: directly into the caller's buffer, and decoded while more data is fetched.

use super::*;
use object_stores::{
    Call, LatencyStore, MemoryStore, ObjectStore, Pace, TraceStore, at_longer_latencies, most_at_once,
    round_trips,
};
use std::time::Duration;

/// Creates a container in a store with slow requests, and counts the requests.
pub(super) fn far(per_request: Duration) -> (Place, TraceStore) {
    let pace = Pace { per_request, ..Pace::default() };
    let store = LatencyStore::new(Arc::new(MemoryStore::new()), pace);
    let trace = TraceStore::new(Arc::new(store));
    let url = format!("far of {}", trace.place_of("c.h5"));
    let target = Target::Objects { store: Arc::new(trace.clone()), key: "c.h5".into(), url };
    (Place::at(target), trace)
}

/// Generates pseudo-random numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n.max(1)
    }
}

fn pattern(n: usize, salt: u64) -> Vec<u8> {
    (0..n as u64).map(|i| ((i + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

fn opened(c: &Arc<Container>, name: &[u8]) -> Arc<Dataset> {
    let link = c.link(c.root(), name).unwrap().unwrap();
    let LinkTarget::Hard(id) = link.target else { panic!("no hard link") };
    c.dataset(id).unwrap()
}

/// Blocks are stored in several fragments, at odd offsets, with gaps, and are read in parts of all lengths.
#[test]
fn any_part_equals_the_written_data() {
    let layouts = [
        (Layout::Contiguous, vec![3_000_000u64]),
        (Layout::Chunked { chunk: vec![700_001] }, vec![3_000_000]),
        (Layout::Chunked { chunk: vec![300, 500] }, vec![1500, 2000]),
    ];
    for (n, (layout, dims)) in layouts.into_iter().enumerate() {
        let (place, _) = far(Duration::ZERO);
        let total: u64 = dims.iter().product();
        let mut wanted = vec![0; total as usize];
        let mut dice = Dice(n as u64 + 1);
        let c = place.create();
        let d = dataset(&c, b"d", dataset_spec(1, simple(&dims, &dims), layout));
        // A part of whole rows in the first dimension.
        let row = total / dims[0];
        let rows = |from: u64, to: u64| {
            let ones = vec![1; dims.len()];
            let start = [vec![from], vec![0; dims.len() - 1]].concat();
            let block = [vec![to - from], dims[1..].to_vec()].concat();
            (
                Selection::Hyperslab { start, stride: ones.clone(), count: ones, block },
                (from * row) as usize..(to * row) as usize,
            )
        };
        for step in 0..12 {
            let from = dice.below(dims[0]);
            let to = from + 1 + dice.below((dims[0] - from).min(dims[0] / 3));
            let (selection, range) = rows(from, to);
            let data = pattern(range.len(), step);
            d.write(&selection, &data).unwrap();
            wanted[range].copy_from_slice(&data);
            if step % 3 == 2 {
                c.flush().unwrap();
            }
        }
        c.flush().unwrap();
        drop((c, d));
        let c = place.open(Access::ReadOnly);
        let d = opened(&c, b"d");
        for _ in 0..60 {
            let from = dice.below(dims[0]);
            let to = from + 1 + dice.below(dims[0] - from);
            let (selection, range) = rows(from, to);
            let mut out = vec![0xAA; range.len()];
            d.read(&selection, &mut out).unwrap();
            assert!(out == wanted[range.clone()], "{n}: {range:?}");
        }
    }
}

/// The read is longer than a batch was in the past, and takes one round trip.
#[test]
fn a_long_read_is_requested_at_once() {
    let is_at_once = |calls: &Vec<Call>| most_at_once(calls) > 12 && round_trips(calls) <= 2;
    let calls = at_longer_latencies(Duration::from_millis(30), is_at_once, calls_of_a_long_read);
    assert!(is_at_once(&calls), "{calls:#?}");
    assert!(calls.len() <= 18, "packs, not chunks: {calls:#?}");
}

/// Returns the requests of a read of 120 chunks.
fn calls_of_a_long_read(latency: Duration) -> Vec<Call> {
    const MIB: u64 = 1 << 20;
    let (place, trace) = far(latency);
    let c = place.create();
    let layout = Layout::Chunked { chunk: vec![MIB] };
    let d = dataset(&c, b"d", dataset_spec(1, simple(&[120 * MIB], &[120 * MIB]), layout));
    let data = pattern(120 << 20, 3);
    d.write(&Selection::All, &data).unwrap();
    c.flush().unwrap();
    drop((c, d));
    let d = opened(&place.open(Access::ReadOnly), b"d");
    read_all(&d, &data, &trace)
}

/// Reads all of a dataset, compares it, and returns the requests to the store.
fn read_all(d: &Dataset, wanted: &[u8], trace: &TraceStore) -> Vec<Call> {
    let mut out = vec![0; wanted.len()];
    trace.start_journal();
    d.read(&Selection::All, &mut out).unwrap();
    let calls = trace.take_journal();
    assert!(out == wanted);
    calls
}

/// Encoded chunks are fetched in batches, and the next batch is fetched while one is decoded.
#[test]
fn batches_of_filtered_chunks_are_fetched_concurrently() {
    const MIB: u64 = 1 << 20;
    let (place, trace) = far(Duration::from_millis(2));
    let c = place.create();
    let mut spec = dataset_spec(1, simple(&[130 * MIB], &[130 * MIB]), Layout::Chunked { chunk: vec![MIB] });
    // Filter 2 is HDF5's shuffle, 3 its Fletcher checksum.
    spec.filters = vec![Filter { id: 3, flags: 0, name: b"fletcher32".to_vec(), client_data: Vec::new() }];
    let d = dataset(&c, b"d", spec);
    let data = pattern(130 << 20, 4);
    // Written one by one: if several are written at once, a thread that has to wait puts its chunk into a later pack.
    for (n, chunk) in data.chunks(MIB as usize).enumerate() {
        let start = vec![n as u64 * MIB];
        let one = Selection::Hyperslab { start, stride: vec![1], count: vec![1], block: vec![MIB] };
        d.write(&one, chunk).unwrap();
    }
    c.flush().unwrap();
    drop((c, d));
    let d = opened(&place.open(Access::ReadOnly), b"d");
    let calls = read_all(&d, &data, &trace);
    assert!(calls.len() <= 26, "packs, not chunks: {calls:#?}");
    // Parts that begin and end within a batch, and one chunk alone.
    for (start, block) in [(40 * MIB + 5, 50 * MIB), (7 * MIB, 1), (99 * MIB - 1, 2)] {
        let some =
            Selection::Hyperslab { start: vec![start], stride: vec![1], count: vec![1], block: vec![block] };
        let mut part = vec![0; block as usize];
        d.read(&some, &mut part).unwrap();
        assert!(part == data[start as usize..(start + block) as usize], "{start}");
    }
}

/// Each request is necessary: the lease and the manifest; the queue of commits, and the manifest after it; the swap that
/// lists the session, the payload, the commit, and the swap that removes the session. The close makes none of its own.
#[test]
fn a_task_of_a_shared_writer_makes_eight_requests() {
    let (place, trace) = far(Duration::ZERO);
    let c = place.create_with(many::options());
    let spec = dataset_spec(1, simple(&[1 << 20], &[1 << 20]), Layout::Chunked { chunk: vec![1 << 17] });
    dataset(&c, b"d", spec);
    drop(c);
    let data = pattern(1 << 17, 7);
    let task = |has_flush: bool| {
        let c = many::apart(&place);
        let version = c.version();
        let d = opened(&c, b"d");
        d.write(&many::part(0, 1 << 17), &data).unwrap();
        if has_flush {
            c.flush().unwrap();
        }
        version
    };
    for has_flush in [true, false] {
        // Commits after an even version are made in groups if this crate is tested.
        while !task(true).is_multiple_of(2) {}
        trace.start_journal();
        task(has_flush);
        let calls = trace.take_journal();
        assert_eq!(calls.len(), 8, "{calls:#?}");
    }
}
