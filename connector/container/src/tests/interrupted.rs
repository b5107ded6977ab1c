//! Calls that fail midway: the previous state stays, and a later commit includes none of their changes.

use super::*;
use h5lake_records::record::UsageRecord;
use object_stores::{ErrorKind as StoreError, FaultStore, Rule, Select, Timing};
use std::time::Duration;

fn options() -> Options {
    let ledger =
        h5lake_ledger::Options { retention: Some(Duration::ZERO), cache_bytes: 0, ..Default::default() };
    Options { ledger, ..Options::default() }
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|i| ((i + seed * 7919).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// One store, directly and behind a fault injector.
struct Stores {
    place: Place,
    faulty: Place,
    faults: FaultStore,
}

impl Stores {
    fn new() -> Self {
        let (place, faulty, faults) = super::merge_faults::places();
        Self { place, faulty, faults }
    }

    /// Runs a call in which the nth read from the store fails; returns whether there was such a read.
    fn with_fault<T>(&self, n: u64, call: impl FnOnce() -> Result<T>) -> (Result<T>, bool) {
        self.faults.inject(Rule::fail_nth(Select::Reading, n, Timing::Before, StoreError::Io));
        let done = call();
        let is_struck = self.faults.struck() > 0;
        self.faults.clear();
        (done, is_struck)
    }

    fn open(&self, options: &Options) -> Arc<Container> {
        Container::open_apart(&self.faulty.target, Access::ReadWrite, options).unwrap()
    }
}

fn found(c: &Arc<Container>, name: &[u8]) -> Arc<Dataset> {
    match c.link(c.root(), name).unwrap().unwrap().target {
        LinkTarget::Hard(id) => c.dataset(id).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn bytes(d: &Dataset) -> Vec<u8> {
    let mut out = vec![0; d.space().points().unwrap() as usize];
    d.read(&Selection::All, &mut out).unwrap();
    out
}

/// Writes the entries to pages, so that they have to be read.
fn into_pages(c: &Arc<Container>) {
    c.flush().unwrap();
    c.vacuum().unwrap();
}

/// Lets a call fail at each of its reads in turn, each time on a new container created by `make`.
fn at_each_read(
    options: &Options,
    make: &dyn Fn(&Arc<Container>),
    call: &dyn Fn(&Container, &Dataset) -> Result<()>,
    check: &dyn Fn(&Stores, bool),
) {
    let mut errors = 0;
    for n in 0.. {
        let s = Stores::new();
        let c = s.place.create_with(options.clone());
        make(&c);
        c.flush().unwrap();
        drop(c);
        let c = s.open(options);
        let d = found(&c, b"d");
        let (done, is_struck) = s.with_fault(n, || call(&c, &d));
        errors += u32::from(done.is_err());
        drop((c, d));
        check(&s, done.is_ok());
        if !is_struck {
            break;
        }
    }
    assert!(errors > 0, "{errors} reads failed");
}

/// Segments of a dataset and an attribute that have several fragments, each in a pack with few other living bytes.
#[test]
fn a_failed_vacuum_frees_no_space_in_use() {
    const PIECE: usize = 128 << 10;
    let all = || noise(1, 8 * PIECE);
    let make = |c: &Arc<Container>| {
        let d = dataset(
            c,
            b"d",
            dataset_spec(1, simple(&[8 * PIECE as u64], &[8 * PIECE as u64]), Layout::Contiguous),
        );
        for i in 0..8 {
            let run = Run { offset: (i * PIECE) as u64, count: PIECE as u64 };
            d.write(&Selection::Runs(vec![run]), &all()[i * PIECE..][..PIECE]).unwrap();
            let name = [b'j', i as u8 + 64];
            let layout = Layout::Chunked { chunk: vec![1 << 20] };
            let junk = dataset(c, &name, dataset_spec(1, simple(&[1 << 20], &[UNLIMITED]), layout));
            junk.write(&Selection::All, &noise(9 + i as u64, 1 << 20)).unwrap();
            c.flush().unwrap();
        }
        for i in 0..8 {
            c.link_delete(c.root(), &[b'j', i + 64]).unwrap();
        }
    };
    at_each_read(&options(), &make, &|c, _| c.vacuum().map(drop), &|s, _| {
        // The space is freed by the next vacuum.
        s.place.open(Access::ReadWrite).vacuum().unwrap();
        assert!(bytes(&found(&s.place.open(Access::ReadOnly), b"d")) == all());
    });
}

#[test]
fn a_resize_that_fails_changes_nothing() {
    for gzip in [false, true] {
        let all = noise(2, 4 * 40_000);
        let make = |c: &Arc<Container>| {
            let layout = Layout::Chunked { chunk: vec![2, 20_000] };
            let mut spec = dataset_spec(1, simple(&[4, 40_000], &[UNLIMITED; 2]), layout);
            if gzip {
                spec.filters = vec![Filter { id: 1, flags: 0, name: Vec::new(), client_data: vec![1] }];
            }
            dataset(c, b"d", spec).write(&Selection::All, &all).unwrap();
            into_pages(c);
        };
        let call = |_: &Container, d: &Dataset| {
            let done = d.set_extent(&[4, 10_000]);
            let extent = if done.is_ok() { [4, 10_000] } else { [4, 40_000] };
            assert_eq!(d.space().dims(), extent);
            done
        };
        at_each_read(&Options::default(), &make, &call, &|s, is_done| {
            let left = bytes(&found(&s.place.open(Access::ReadOnly), b"d"));
            let cut = || all.chunks(40_000).flat_map(|row| row[..10_000].to_vec()).collect::<Vec<_>>();
            assert!(left == if is_done { cut() } else { all.clone() }, "gzip {gzip}, done {is_done}");
        });
    }
}

/// Earlier data that is still in memory is not lost if an overwrite fails.
#[test]
fn a_failed_overwrite_keeps_the_previous_data() {
    for (chunk, points) in [(100_000, 100_000), (300_000, 300_000), (1_000_000, 900_000)] {
        let (old, before, after) = (noise(3, points), noise(4, points / 2), noise(5, points));
        let make = |c: &Arc<Container>| {
            let layout = Layout::Chunked { chunk: vec![chunk] };
            let spec = dataset_spec(1, simple(&[points as u64], &[UNLIMITED]), layout);
            dataset(c, b"d", spec).write(&Selection::All, &old).unwrap();
            into_pages(c);
        };
        let mut wanted = old.clone();
        wanted[1000..][..500].copy_from_slice(&before[..500]);
        let call = |_: &Container, d: &Dataset| {
            d.write(&Selection::Runs(vec![Run { offset: 1000, count: 500 }]), &before[..500])?;
            d.write(&Selection::All, &after)
        };
        at_each_read(&options(), &make, &call, &|s, is_done| {
            let left = bytes(&found(&s.place.open(Access::ReadOnly), b"d"));
            let fits = if is_done { left == after } else { left == wanted || left == old };
            let like = |other: &[u8]| left.iter().zip(other).filter(|(a, b)| a == b).count();
            let like = (like(&old), like(&wanted), like(&after));
            assert!(fits, "{chunk}, done {is_done}: like {like:?} of {points}");
        });
    }
}

#[test]
fn a_forged_length_of_a_heap_segment_is_damage() {
    for (length, used) in [(1 << 60, 10), (1 << 33, 10), (1000, 2000)] {
        let place = file();
        let c = place.create();
        let id = c.heap_put(c.root(), b"something").unwrap();
        let number = u32::from_be_bytes(id[8..12].try_into().unwrap());
        c.flush().unwrap();
        drop(c);
        let c = place.open(Access::ReadWrite);
        let record = UsageRecord { length, used, live: 10 };
        c.ledger.put(&keys::segment(keys::USAGE, c.root().0, number), record.encode_to_vec()).unwrap();
        c.ledger.commit().unwrap();
        drop(c);
        let c = place.open(Access::ReadWrite);
        let refused = c.heap_put(c.root(), b"more").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    }
}
