//! Reads of objects as files: the requests to the store, and reads of an object that changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use object_stores::{
    Call, Fault, FaultStore, Key, LatencyStore, MemoryStore, ObjectStore, ObjectStoreExt, Operation, Pace,
    PutMode, Rule, Select, Timing, TraceStore, at_longer_latencies, most_at_once, round_trips,
};

use super::*;

const MIB: usize = 1 << 20;

/// An object of `length` bytes in a store with slow requests.
struct Place {
    memory: Arc<MemoryStore>,
    trace: Arc<TraceStore>,
    target: Target,
    bytes: Vec<u8>,
}

fn content(length: usize, seed: u32) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 24) as u8).collect()
}

fn place(length: usize) -> Place {
    place_at(length, Duration::from_millis(5))
}

fn place_at(length: usize, per_request: Duration) -> Place {
    // Objects with one name in stores with one name would be considered equal.
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("object-file-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let memory = Arc::new(MemoryStore::with_name(&name));
    let bytes = content(length, 1);
    memory.put(&Key::new("a.h5").unwrap(), Bytes::from(bytes.clone()).into(), PutMode::Create).unwrap();
    let pace = Pace { per_request, ..Pace::default() };
    let trace = Arc::new(TraceStore::new(Arc::new(LatencyStore::new(memory.clone(), pace))));
    let target =
        Target::Objects { store: trace.clone(), key: "a.h5".into(), url: format!("memory:{length}") };
    Place { memory, trace, target, bytes }
}

impl Place {
    fn open(&self, cache_bytes: usize) -> Arc<ObjectFile> {
        let front = self.trace.get_front(&Key::new("a.h5").unwrap(), MIB as u64).unwrap();
        self.trace.start_journal();
        ObjectFile::open(&self.target, &front, &Options { cache_bytes, ..Options::default() }).unwrap()
    }

    fn replace(&self) {
        let other = Bytes::from(content(self.bytes.len(), 7));
        self.memory.put(&Key::new("a.h5").unwrap(), other.into(), PutMode::Overwrite).unwrap();
    }

    fn check(&self, file: &ObjectFile, at: usize, length: usize, content: Content) {
        let mut read = vec![1; length];
        file.read(at as u64, &mut read, content).unwrap();
        let there = &self.bytes[at.min(self.bytes.len())..(at + length).min(self.bytes.len())];
        assert!(
            read.starts_with(there) && read[there.len()..].iter().all(|byte| *byte == 0),
            "{length} at {at}"
        );
    }
}

fn sum(calls: &[Call]) -> u64 {
    calls.iter().map(|call| call.bytes).sum()
}

#[test]
fn each_read_returns_the_bytes_of_the_object() {
    let place = place(9 * MIB + 123);
    for cache in [64 << 20, 5 << 20, 0] {
        let file = place.open(cache);
        let mut seed = 12345_usize;
        for _ in 0..300 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (at, length) = ((seed >> 33) % (10 * MIB), 1 + (seed >> 20) % (1 << (1 + seed % 22)));
            let content = if seed & 64 == 0 { Content::Raw } else { Content::Metadata };
            place.check(&file, at, length, content);
        }
    }
}

#[test]
fn cached_bytes_are_not_requested_again() {
    let place = place(3 * MIB);
    let file = place.open(64 << 20);
    for _ in 0..3 {
        place.check(&file, 0, MIB, Content::Metadata);
        place.check(&file, 2 * MIB + 5, 100, Content::Metadata);
    }
    assert_eq!(place.trace.take_journal().len(), 1);
    // Another open of this version shares it.
    let again = place.open(64 << 20);
    assert!(Arc::ptr_eq(&file, &again));
}

#[test]
fn chunks_are_fetched_concurrently_without_surplus() {
    let chunks: Vec<_> =
        (0..40).map(|n| (10 * MIB + n * 1_500_000) as u64).map(|at| at..at + 1_300_000).collect();
    let needed: u64 = chunks.iter().map(|chunk| chunk.end - chunk.start).sum();
    let calls_of_reads = |latency| {
        let place = place_at(80 * MIB, latency);
        let file = place.open(256 << 20);
        file.reading_ahead(&chunks, || {
            for chunk in &chunks {
                place.check(&file, chunk.start as usize, (chunk.end - chunk.start) as usize, Content::Raw);
            }
        });
        let calls = place.trace.take_journal();
        // The chunks stay in memory.
        place.check(&file, chunks[7].start as usize, 1000, Content::Raw);
        assert!(place.trace.take_journal().is_empty());
        calls
    };
    let is_beside = |calls: &Vec<Call>| most_at_once(calls) > 1 && round_trips(calls) < 20;
    let calls = at_longer_latencies(Duration::from_millis(5), is_beside, calls_of_reads);
    assert!(sum(&calls) <= needed * 6 / 5 + 1, "{} of {needed}", sum(&calls));
    let (beside, trips) = (most_at_once(&calls), round_trips(&calls));
    assert!(is_beside(&calls) && beside <= MAX_REQUESTS, "{beside} at once, {trips} round trips");
}

#[test]
fn a_reader_ahead_of_the_threads_makes_no_surplus_requests() {
    let place = place(80 * MIB);
    let file = place.open(256 << 20);
    let chunks: Vec<_> =
        (0..20).map(|n| (10 * MIB + n * 3_000_000) as u64).map(|at| at..at + 2_000_000).collect();
    // Simulates that no thread has started.
    *file.ahead.lock() = Some(Arc::new(ahead::Ahead::new(chunks.clone(), 64 << 20)));
    for chunk in &chunks {
        place.check(&file, chunk.start as usize, 2_000_000, Content::Raw);
    }
    let asked: Vec<_> = place.trace.take_journal().iter().map(|call| call.bytes).collect();
    assert_eq!(asked, [2_000_000; 20]);
}

#[test]
fn a_nonsequential_reader_gets_all_bytes() {
    let place = place(70 * MIB);
    for cache in [256 << 20, 6 << 20] {
        let chunks: Vec<_> = (0..60).map(|n| (5 * MIB + n * MIB) as u64).map(|at| at..at + 900_000).collect();
        let file = place.open(cache);
        file.reading_ahead(&chunks, || {
            for n in [0, 59, 3, 30, 31, 2, 58, 0, 45] {
                place.check(&file, chunks[n].start as usize, 900_000, Content::Raw);
            }
            place.check(&file, 3 * MIB, 10, Content::Metadata);
        });
    }
}

#[test]
fn a_replaced_object_is_an_error_in_every_kind_of_read() {
    let place = place(80 * MIB);
    let file = place.open(256 << 20);
    place.check(&file, 20 * MIB, 100, Content::Raw);
    place.replace();
    let gone = |read: Result<()>| {
        let error = read.unwrap_err();
        assert_eq!((error.kind(), error.errno()), (ErrorKind::Gone, Some(ESTALE)), "{error}");
        assert!(error.to_string().contains("was replaced while it was open"), "{error}");
    };
    let mut long = vec![0; 9 * MIB];
    gone(file.read(30 << 20, &mut long[..10], Content::Metadata));
    gone(file.read(30 << 20, &mut long[..MIB], Content::Raw));
    gone(file.read(30 << 20, &mut long, Content::Raw));
    let chunks = [40 << 20..41 << 20, 50 << 20..51 << 20];
    file.reading_ahead(&chunks, || gone(file.read(40 << 20, &mut long[..MIB], Content::Raw)));
    // Cached bytes stay unchanged.
    place.check(&file, 20 * MIB, 100, Content::Raw);
    // A new open gets the new version.
    let other = place.open(256 << 20);
    assert!(!Arc::ptr_eq(&file, &other));
    place.memory.delete(&Key::new("a.h5").unwrap()).unwrap();
    let error = other.read(60 << 20, &mut long[..10], Content::Raw).unwrap_err();
    assert!(error.to_string().contains("was deleted"), "{error}");
}

#[test]
fn a_failed_request_is_the_error_of_the_read_that_needs_it() {
    let place = place(80 * MIB);
    let faulty = Arc::new(FaultStore::new(place.memory.clone()));
    let target = Target::Objects { store: faulty.clone(), key: "a.h5".into(), url: "memory:faulty".into() };
    let front = faulty.get_front(&Key::new("a.h5").unwrap(), MIB as u64).unwrap();
    let file = ObjectFile::open(&target, &front, &Options::default()).unwrap();
    let fault = Fault::Fail(Timing::Before, object_stores::ErrorKind::Unavailable);
    faulty.inject(Rule { select: Select::One(Operation::Get), skip: 0, times: u64::MAX, fault });
    let chunks = [40 << 20..41 << 20, 50 << 20..51 << 20];
    let mut read = vec![0; MIB];
    file.reading_ahead(&chunks, || {
        file.read(40 << 20, &mut read, Content::Raw).unwrap_err();
    });
    faulty.clear();
    file.read(40 << 20, &mut read, Content::Raw).unwrap();
    assert_eq!(read, place.bytes[40 << 20..41 << 20]);
}
