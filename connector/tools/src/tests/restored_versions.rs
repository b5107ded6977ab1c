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
    (Place::at(target), trace)
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
    restore_version(&place.target, &Options::default(), At::Version(version), &mut |_, _| ())
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
    assert!(put.bytes < 100_000 && put.requests <= 10, "{put:?}");
    assert!(trace.count(Operation::Get).bytes < 100_000);
    let d = found(&place.open(Access::ReadOnly), b"d").unwrap();
    let mut bytes = vec![0; LONG as usize];
    d.read(&Selection::All, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 1));
    assert_whole(&place);
}

/// A vacuum deletes the long records of an era that no version needs, although a tag holds an earlier version of the era. The container is
/// whole nevertheless.
#[test]
fn a_container_is_whole_without_the_records_after_a_tagged_version() {
    let (place, trace) = in_store();
    let c = place.create_with(retaining(Duration::ZERO));
    let fill = |c: &Arc<Container>, name: &str, count: usize| {
        for n in 0..count {
            group(c, c.root(), format!("{name}{n}").as_bytes(), CreationOrder::default());
        }
        c.flush().unwrap();
    };
    fill(&c, "a", 2000);
    fill(&c, "b", 1);
    let Target::Objects { store, key, .. } = &place.target else { panic!("no store") };
    drop(c);
    let tag = || {
        let options = h5lake_ledger::Options { retention: Some(Duration::ZERO), ..Default::default() };
        let l = h5lake_ledger::Ledger::open_objects(store.clone(), key, Access::ReadWrite, options).unwrap();
        l.tag(h5lake_ledger::TagName::new("held").unwrap(), None, Default::default()).unwrap();
        l.version()
    };
    let version = tag();
    let c = Container::open(&place.target, Access::ReadWrite, retaining(Duration::ZERO)).unwrap();
    fill(&c, "c", 1);
    fill(&c, "d", 2000);
    fill(&c, "e", 1);
    let before = trace.count(Operation::DeleteMany).requests + trace.count(Operation::Delete).requests;
    c.vacuum().unwrap();
    drop(c);
    let after = trace.count(Operation::DeleteMany).requests + trace.count(Operation::Delete).requests;
    assert!(after > before, "nothing was deleted");
    assert_whole(&place);
    let old = Container::open(&place.target, Access::ReadOnly, at_version(version)).unwrap();
    assert_eq!(old.group_info(old.root()).unwrap().link_count, 2001);
}

/// A concurrent writer merges its changes with a version that was restored meanwhile, or reports a conflict. Both may have freed the same
/// payloads.
#[test]
fn concurrent_writers_merge_with_a_restored_version() {
    let (mut merged, mut conflicts) = (0, 0);
    for seed in 1..=25 {
        let mut dice = Dice(seed);
        let (place, _) = in_store();
        let c = place.create_with(retaining(Duration::from_secs(3600)));
        let mut old = Content::new();
        for name in NAMES {
            let d = dataset(
                &c,
                name,
                dataset_spec(1, simple(&[BYTES as u64], &[BYTES as u64]), Layout::Contiguous),
            );
            let bytes = dice.bytes(BYTES);
            d.write(&Selection::All, &bytes).unwrap();
            old.insert(name, bytes);
        }
        c.flush().unwrap();
        let version = c.version();
        let mut newer = old.clone();
        for _ in 0..=dice.below(3) {
            change(&c, &mut dice, &mut newer);
            c.flush().unwrap();
        }
        drop(c);
        let mut shared = retaining(Duration::from_secs(3600));
        shared.ledger.writers = h5lake_ledger::Writers::Many;
        let writer = Container::open(&place.target, Access::ReadWrite, shared).unwrap();
        // The first chunk of each dataset is overwritten, whether the restoration replaces it or not.
        let own = dice.bytes(CHUNK);
        let mut written = Vec::new();
        for name in NAMES {
            if let Some(d) = found(&writer, name).filter(|_| dice.below(2) == 0) {
                let chunk = Selection::Runs(vec![Run { offset: 0, count: CHUNK as u64 }]);
                d.write(&chunk, &own).unwrap();
                written.push(name);
            }
        }
        restore(&place, version).unwrap();
        match writer.flush() {
            Ok(()) => {
                for name in &written {
                    old.entry(name).and_modify(|bytes| bytes[..CHUNK].copy_from_slice(&own));
                }
                merged += 1;
            }
            // The restoration and this writer changed the same elements.
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::Conflict, "seed {seed}: {e}");
                conflicts += 1;
            }
        }
        drop(writer);
        assert_eq!(content(&place.open(Access::ReadOnly)), old, "seed {seed}");
        assert_whole(&place);
    }
    assert!(merged >= 5 && conflicts >= 5, "{merged} merged, {conflicts} conflicts");
}
