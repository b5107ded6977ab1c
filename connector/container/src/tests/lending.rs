//! Long writes to remote stores, directly from the program's buffer.

use super::*;
use h5lake_ledger::Ledger;
use object_stores::conformance::lending::Watch;
use object_stores::{
    Call, FaultStore, LatencyStore, ObjectStore, Operation, Pace, Registry, Rule, Select, Timing, TraceStore,
    at_longer_latencies, most_at_once, round_trips,
};
use proptest::prelude::*;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const ROW: u64 = 700;
const ROWS: u64 = 2000;

fn noise(n: usize, salt: u64) -> Bytes {
    (0..n as u64).map(|i| ((i + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

fn in_store(store: Arc<dyn ObjectStore>) -> Place {
    let url = format!("lent to {}", store.place_of("c.h5"));
    Place::at(Target::Objects { store, key: "c.h5".into(), url })
}

fn rows(from: u64, count: u64) -> Selection {
    let (start, one) = (vec![from, 0], vec![1, 1]);
    Selection::Hyperslab { start, stride: one.clone(), count: one, block: vec![count, ROW] }
}

fn opened(place: &Place) -> Arc<Dataset> {
    let c = place.open(Access::ReadOnly);
    let LinkTarget::Hard(id) = c.link(c.root(), b"d").unwrap().unwrap().target else {
        panic!("no hard link")
    };
    c.dataset(id).unwrap()
}

fn all_of(d: &Dataset) -> Vec<u8> {
    let mut out = vec![0; d.space().points().unwrap() as usize];
    d.read(&Selection::All, &mut out).unwrap();
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn lent_bytes_are_stored_unchanged(
        chunk in prop::option::of((1u64..400, 1u64..=ROW)),
        writes in prop::collection::vec((0..ROWS, 1..=ROWS, any::<u64>(), any::<bool>(), any::<bool>()), 1..8),
    ) {
        let place = in_store(Arc::new(FaultStore::new(Arc::new(MemoryStore::new()))));
        let c = place.create();
        let layout = chunk.map_or(Layout::Contiguous, |(rows, row)| Layout::Chunked { chunk: vec![rows, row] });
        let d = dataset(&c, b"d", dataset_spec(1, simple(&[ROWS, ROW], &[ROWS, ROW]), layout));
        let mut flat = vec![0; (ROWS * ROW) as usize];
        for (from, count, salt, lent, flush) in writes {
            let count = count.min(ROWS - from);
            let data = noise((count * ROW) as usize, salt);
            match lent {
                true => d.write_bytes(&rows(from, count), &data).unwrap(),
                false => d.write(&rows(from, count), &data).unwrap(),
            }
            flat[(from * ROW) as usize..((from + count) * ROW) as usize].copy_from_slice(&data);
            if flush {
                c.flush().unwrap();
            }
            prop_assert!(all_of(&d) == flat);
        }
        c.flush().unwrap();
        drop((c, d));
        prop_assert!(all_of(&opened(&place)) == flat);
    }
}

#[test]
fn a_long_write_waits_once() {
    let shape = |calls: &Vec<Call>| [calls.len(), round_trips(calls), most_at_once(calls)];
    let wanted = [13, 1, 13];
    let calls = at_longer_latencies(
        Duration::from_millis(100),
        |calls| shape(calls) == wanted,
        calls_of_a_long_write,
    );
    assert_eq!(shape(&calls), wanted, "{calls:#?}");
}

/// Returns the packs of a write of 99 chunks and a part of one, which is read back.
fn calls_of_a_long_write(latency: Duration) -> Vec<Call> {
    let pace = Pace { per_request: latency, ..Pace::default() };
    let trace = TraceStore::new(Arc::new(LatencyStore::new(Arc::new(MemoryStore::new()), pace)));
    let place = in_store(Arc::new(trace.clone()));
    let c = place.create();
    let layout = Layout::Chunked { chunk: vec![MIB] };
    let dims = [99 * MIB + 5];
    let d = dataset(&c, b"d", dataset_spec(1, simple(&dims, &dims), layout));
    let data = noise(dims[0] as usize, 1);
    trace.start_journal();
    d.write_bytes(&Selection::All, &data).unwrap();
    // The last chunk is stored as a whole, so its part is copied.
    let calls = trace
        .take_journal()
        .into_iter()
        .filter(|c| {
            object_stores::Key::new(c.key.as_str()).is_ok_and(|key| Ledger::is_immutable_object(&key))
        })
        .collect();
    c.flush().unwrap();
    drop((c, d));
    assert!(all_of(&opened(&place)) == data);
    calls
}

/// Each put of a write fails once: the error is returned, and the elements stay unchanged.
#[test]
fn a_write_that_fails_changes_nothing() {
    let of = |salt| noise((ROWS * ROW * 16) as usize, salt);
    for n in 0..3 {
        let faults = FaultStore::new(Arc::new(MemoryStore::new()));
        let place = in_store(Arc::new(faults.clone()));
        let c = place.create();
        let dims = [ROWS * ROW * 16];
        let spec = dataset_spec(1, simple(&dims, &dims), Layout::Chunked { chunk: vec![ROWS * ROW] });
        let d = dataset(&c, b"d", spec);
        d.write_bytes(&Selection::All, &of(1)).unwrap();
        c.flush().unwrap();
        faults.inject(Rule::fail_nth(
            Select::One(Operation::Put),
            n,
            Timing::Before,
            object_stores::ErrorKind::Io,
        ));
        assert!(d.write_bytes(&Selection::All, &of(2)).is_err(), "put {n}");
        assert_eq!(faults.struck(), 1);
        assert!(all_of(&d) == of(1), "put {n}");
        d.write_bytes(&Selection::All, &of(2)).unwrap();
        c.flush().unwrap();
        drop((c, d));
        assert!(all_of(&opened(&place)) == of(2), "put {n}");
    }
}

#[test]
fn only_stores_that_release_buffers_are_lent_to() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Registry::global().open(&format!("file://{}", dir.path().display())).unwrap();
    let memory: Arc<dyn ObjectStore> = Arc::new(TraceStore::new(Arc::new(MemoryStore::new())));
    for (store, lets_go) in [(folder, true), (memory, false)] {
        let place = in_store(store);
        let c = place.create();
        let dims = [20 * MIB];
        let d =
            dataset(&c, b"d", dataset_spec(1, simple(&dims, &dims), Layout::Chunked { chunk: vec![MIB] }));
        assert_eq!(d.is_better_lent(64 << 20), lets_go);
        assert!(!d.is_better_lent(63 << 20), "that is on its way while the program goes on");
        let (data, watch) = Watch::over(noise(dims[0] as usize, 5).to_vec());
        d.write_bytes(&Selection::All, &data).unwrap();
        drop(data);
        assert!(watch.is_gone() || !lets_go);
        c.flush().unwrap();
        drop((c, d));
        assert!(all_of(&opened(&place)) == noise(dims[0] as usize, 5));
    }
}
