//! Old versions in a store become the newest again without a copy of their payloads.

use super::*;
use crate::verify::{Versions, verify};
use h5lake_ledger::At;
use object_stores::{MemoryStore, Operation, TraceStore};
use std::collections::BTreeMap;
use std::time::Duration;

const NAMES: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];
/// The bytes of a dataset: four chunks.
const BYTES: usize = 40_000;
const CHUNK: usize = BYTES / 4;

/// The datasets of a version with their bytes.
type Content = BTreeMap<&'static [u8], Vec<u8>>;

/// Generates pseudo-random numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.below(256) as u8).collect()
    }
}

fn retaining(time: Duration) -> Options {
    let ledger = h5lake_ledger::Options { retention: Some(time), ..h5lake_ledger::Options::default() };
    Options { ledger, ..Options::default() }
}

fn at_version(version: u64) -> Options {
    let mut options = Options::default();
    options.ledger.at = Some(At::Version(version));
    options
}

fn in_store() -> (Place, TraceStore) {
    let trace = TraceStore::new(Arc::new(MemoryStore::new()));
    let url = "memory:restored".to_owned();
    let target = Target::Objects { store: Arc::new(trace.clone()), key: "c.h5".into(), url };
    (Place { target, _dir: None }, trace)
}

fn found(c: &Arc<Container>, name: &[u8]) -> Option<Arc<Dataset>> {
    let link = c.link(c.root(), name).unwrap()?;
    let LinkTarget::Hard(id) = link.target else { panic!("no hard link") };
    Some(c.dataset(id).unwrap())
}

fn content(c: &Arc<Container>) -> Content {
    let mut all = Content::new();
    for name in NAMES {
        if let Some(d) = found(c, name) {
            let mut bytes = vec![0; BYTES];
            d.read(&Selection::All, &mut bytes).unwrap();
            all.insert(name, bytes);
        }
    }
    all
}

/// Creates, deletes or writes a dataset.
fn change(c: &Arc<Container>, dice: &mut Dice, content: &mut Content) {
    let name = NAMES[dice.below(NAMES.len())];
    let Some(d) = found(c, name) else {
        let layout = match dice.below(2) {
            0 => Layout::Contiguous,
            _ => Layout::Chunked { chunk: vec![CHUNK as u64] },
        };
        let d = dataset(c, name, dataset_spec(1, simple(&[BYTES as u64], &[BYTES as u64]), layout));
        let bytes = dice.bytes(BYTES);
        d.write(&Selection::All, &bytes).unwrap();
        content.insert(name, bytes);
        return;
    };
    if dice.below(4) == 0 {
        c.link_delete(c.root(), name).unwrap();
        content.remove(name);
        return;
    }
    let (offset, count) = match dice.below(3) {
        0 => (0, BYTES),
        1 => (CHUNK * dice.below(4), CHUNK),
        _ => (dice.below(BYTES - 100), 100),
    };
    let bytes = dice.bytes(count);
    let runs = Selection::Runs(vec![Run { offset: offset as u64, count: count as u64 }]);
    d.write(&runs, &bytes).unwrap();
    content.get_mut(name).unwrap()[offset..offset + count].copy_from_slice(&bytes);
}

fn restore(place: &Place, version: u64) -> Result<Copied> {
    Container::restore_version(&place.target, &Options::default(), At::Version(version), &mut |_, _| ())
}

fn assert_whole(place: &Place) {
    let report = verify(&place.target, &Options::default(), Versions::All, &mut |_, _| ()).unwrap();
    assert!(report.is_whole() && report.found.is_empty(), "{:?}", report.found);
}

/// Random histories of commits, restorations and vacuums: each version that is retained reads what it contained, and no payload is lost
/// although restored versions use payloads that were out of use.
#[test]
fn restored_versions_are_whole_beside_commits_and_vacuums() {
    let (mut restored, mut reclaimed) = (0, 0);
    for seed in 1..=25 {
        let mut dice = Dice(seed);
        let (place, _) = in_store();
        let c = place.create_with(retaining(Duration::from_secs(3600)));
        let mut newest = Content::new();
        change(&c, &mut dice, &mut newest);
        c.flush().unwrap();
        let mut versions = BTreeMap::from([(c.version(), newest.clone())]);
        drop(c);
        for _ in 0..20 {
            match dice.below(6) {
                0 | 1 => {
                    let versions_before: Vec<u64> = versions.keys().copied().collect();
                    let version = versions_before[dice.below(versions_before.len())];
                    match restore(&place, version) {
                        Ok(done) => {
                            newest = versions[&version].clone();
                            versions.insert(done.to, newest.clone());
                            restored += 1;
                        }
                        Err(e) => assert_eq!(e.kind(), ErrorKind::OutOfRange, "seed {seed}: {e}"),
                    }
                }
                2 => {
                    let time = Duration::from_secs(if dice.below(2) == 0 { 0 } else { 3600 });
                    let c = Container::open(&place.target, Access::ReadWrite, retaining(time)).unwrap();
                    c.vacuum().unwrap();
                    versions.insert(c.version(), newest.clone());
                }
                _ => {
                    let options = retaining(Duration::from_secs(3600));
                    let c = Container::open(&place.target, Access::ReadWrite, options).unwrap();
                    for _ in 0..=dice.below(3) {
                        for _ in 0..=dice.below(2) {
                            change(&c, &mut dice, &mut newest);
                        }
                        c.flush().unwrap();
                        versions.insert(c.version(), newest.clone());
                    }
                }
            }
            assert_eq!(content(&place.open(Access::ReadOnly)), newest, "seed {seed}");
        }
        assert_whole(&place);
        for (version, expected) in &versions {
            match Container::open(&place.target, Access::ReadOnly, at_version(*version)) {
                Ok(c) => assert!(content(&c) == *expected, "seed {seed}: version {version}"),
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::OutOfRange, "seed {seed}: {e}");
                    reclaimed += 1;
                }
            }
        }
    }
    assert!(restored > 50 && reclaimed > 50, "{restored} restored, {reclaimed} reclaimed");
}

/// A restoration puts no payload, and few requests beyond the changed pages.
#[test]
fn a_restoration_in_a_store_moves_no_payload() {
    const LONG: u64 = 8 << 20;
    let (place, trace) = in_store();
    let c = place.create_with(retaining(Duration::from_secs(3600)));
    let d = dataset(&c, b"d", dataset_spec(1, simple(&[LONG], &[LONG]), Layout::Contiguous));
    d.write(&Selection::All, &vec![1; LONG as usize]).unwrap();
    c.flush().unwrap();
    let version = c.version();
    d.write(&Selection::All, &vec![2; LONG as usize]).unwrap();
    c.flush().unwrap();
    drop((c, d));
    trace.reset();
    let done = restore(&place, version).unwrap();
    assert_eq!(done.bytes, 0);
    let put = trace.count(Operation::Put);
    assert!(put.bytes < 100_000 && put.requests <= 8, "{put:?}");
    assert!(trace.count(Operation::Get).bytes < 100_000);
    let d = found(&place.open(Access::ReadOnly), b"d").unwrap();
    let mut bytes = vec![0; LONG as usize];
    d.read(&Selection::All, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 1));
    assert_whole(&place);
}
