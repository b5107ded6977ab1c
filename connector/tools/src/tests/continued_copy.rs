//! Copies that were killed: the next attempt continues, and the copy is complete and equal, whatever the first one
//! left.

use super::snapshot_copy::assert_whole;
use super::*;
use crate::repair::tests::{described, fill};
use h5lake_ledger::Ledger;
use object_stores::{
    DirStore, FaultStore, Key, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload, Rule, Select,
    Timing, dir,
};
use std::collections::HashMap;

/// The options give journals many parts.
fn options() -> Options {
    let ledger = h5lake_ledger::Options {
        retention: Some(std::time::Duration::from_secs(3600)),
        journal_bytes: 100_000,
        ..h5lake_ledger::Options::default()
    };
    Options { ledger, ..Options::default() }
}

fn copy(source: &Place, target: &Place) -> Result<Copied> {
    copy_to(End::new(&source.target, &options()), End::new(&target.target, &options()), &mut |_, _| ())
}

/// Returns pseudo-random bytes.
fn noise(seed: u64, n: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2) + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..n).map(|_| next()).collect()
}

const CHUNKS: u64 = 24;
const CHUNK: u64 = 90_000;

/// Creates a container with all kinds of objects, and with chunks that are payloads.
fn source() -> (Place, [u8; 16]) {
    let place = file();
    let blob = fill(&place);
    let c = Container::open(&place.target, Access::ReadWrite, options()).unwrap();
    let space = simple(&[CHUNKS * CHUNK], &[CHUNKS * CHUNK]);
    let d = dataset(&c, b"chunks", dataset_spec(1, space, Layout::Chunked { chunk: vec![CHUNK] }));
    d.write(&Selection::All, &noise(7, (CHUNKS * CHUNK) as usize)).unwrap();
    c.flush().unwrap();
    (place, blob)
}

/// Creates a store that outlives its process, and a wrapper that injects faults.
fn store() -> (tempfile::TempDir, Arc<dyn ObjectStore>, FaultStore) {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(DirStore::open(dir.path(), dir::Sync::Process).unwrap());
    let faults = FaultStore::new(store.clone());
    (dir, store, faults)
}

fn stored_in(store: Arc<dyn ObjectStore>) -> Place {
    let url = format!("x {}", store.place_of("c.h5"));
    Place::at(Target::Objects { store, key: "c.h5".into(), url })
}

fn objects(store: &dyn ObjectStore, part: &str) -> Vec<ObjectMeta> {
    store.list("", None).map(|meta| meta.unwrap()).filter(|meta| meta.key.as_str().contains(part)).collect()
}

fn is_equal(source: &(Place, [u8; 16]), target: &Place) {
    assert_eq!(described(&source.0, &source.1), described(target, &source.1));
    let (a, b) = (source.0.open(Access::ReadOnly), target.open(Access::ReadOnly));
    let read = |c: &Arc<Container>| {
        let Resolution::Object { id } = c.resolve(c.root(), b"chunks", LastLink::Follow, 0).unwrap() else {
            panic!()
        };
        let mut data = vec![0; (CHUNKS * CHUNK) as usize];
        c.dataset(id).unwrap().read(&Selection::All, &mut data).unwrap();
        data
    };
    assert!(read(&a) == read(&b));
}

/// Checks that the store contains only the container, and no temporary objects.
fn is_tidy(store: &dyn ObjectStore) {
    assert!(objects(store, "/copy/").is_empty(), "{:?}", objects(store, "/copy/"));
}

/// The result of an attempt after one that died at a call.
#[derive(PartialEq)]
enum Outcome {
    NothingDied,
    Continued,
    Other,
}

fn after_a_death(from: &(Place, [u8; 16]), n: u64, timing: Timing) -> Outcome {
    let (_dir, store, faults) = store();
    let (target, dying) = (stored_in(store.clone()), stored_in(Arc::new(faults.clone())));
    faults.crash_at(n, timing);
    let died = copy(&from.0, &dying);
    if !faults.is_crashed() {
        died.unwrap();
        return Outcome::NothingDied;
    }
    let mut outcome = Outcome::Other;
    let found = Ledger::probe_objects(store.as_ref(), "c.h5").unwrap();
    // Otherwise the attempt died after everything except the cleanup was done.
    if found == h5lake_ledger::Probe::NotFound {
        let done = copy(&from.0, &target).unwrap_or_else(|e| panic!("{timing:?} {n}: {e}"));
        assert_eq!(done.begun_anew, None);
        if done.continued > 0 {
            outcome = Outcome::Continued;
        }
        is_tidy(store.as_ref());
    }
    is_equal(from, &target);
    let c = target.open(Access::ReadOnly);
    assert_eq!(c.ledger().versions(usize::MAX).unwrap().len(), 1, "{timing:?} {n}");
    outcome
}

#[test]
fn at_each_call_a_copy_into_a_store_dies_and_the_next_one_goes_on() {
    let from = source();
    let (mut continued, mut calls) = (0, 0);
    for (timing, step) in [(Timing::Before, 4), (Timing::After, 1)] {
        for n in (0..).step_by(step) {
            match after_a_death(&from, n, timing) {
                Outcome::NothingDied => break,
                Outcome::Continued => continued += 1,
                Outcome::Other => (),
            }
            calls = n;
        }
    }
    assert!(calls > 20 && continued > 20, "{calls} calls, {continued} tries went on");
}

/// A copy that is killed repeatedly finishes nevertheless, and uploads little twice.
#[test]
fn a_copy_that_is_killed_again_and_again_ends() {
    let from = source();
    let (_dir, store, faults) = store();
    let (target, dying) = (stored_in(store.clone()), stored_in(Arc::new(faults.clone())));
    let mut tries = 0;
    let done = loop {
        faults.clear();
        // The progress is recorded in objects that each attempt reads first. Their number depends on the speed of
        // uploads: an attempt that dies during these reads makes no progress.
        faults.crash_at(9 + tries as u64 / 8, [Timing::Before, Timing::After][tries % 2]);
        tries += 1;
        assert!(tries < 100);
        match copy(&from.0, &dying) {
            Ok(done) => break done,
            Err(e) => assert!(e.kind() != ErrorKind::Corrupt, "{e}"),
        }
        let found = Ledger::probe_objects(store.as_ref(), "c.h5").unwrap();
        if faults.is_crashed() && found == h5lake_ledger::Probe::Container {
            break Copied { continued: u64::MAX, ..Copied::default() };
        }
    };
    assert!(tries > 4 && done.continued > CHUNKS * CHUNK / 2, "{tries} {done:?}");
    is_equal(&from, &target);
    let c = Container::open(&target.target, Access::ReadWrite, options()).unwrap();
    c.vacuum().unwrap();
    drop(c);
    is_equal(&from, &target);
}

/// Kills a copy to a store after `n` calls that change the store.
fn killed(from: &Place, faults: &FaultStore, n: u64) {
    faults.crash_at(n, Timing::After);
    copy(from, &stored_in(Arc::new(faults.clone()))).unwrap_err();
    assert!(faults.is_crashed());
}

#[test]
fn few_objects_are_put_again() {
    let from = source();
    let (_dir, store, faults) = store();
    killed(&from.0, &faults, 24);
    let packs = objects(store.as_ref(), "")
        .iter()
        .filter(|meta| Ledger::is_immutable_object(&meta.key))
        .map(|meta| meta.size)
        .sum::<u64>();
    let target = stored_in(store.clone());
    let done = copy(&from.0, &target).unwrap();
    assert!(done.continued > packs / 2 && done.continued <= packs, "{packs} {done:?}");
    is_equal(&from, &target);
    assert_whole(&target);
    is_tidy(store.as_ref());
}

#[test]
fn another_version_and_another_source_begin_anew() {
    let (from, other) = (source(), source());
    for is_other in [true, false] {
        let (_dir, store, faults) = store();
        killed(&from.0, &faults, 24);
        if !is_other {
            let c = Container::open(&from.0.target, Access::ReadWrite, options()).unwrap();
            group(&c, c.root(), b"new", tracked());
            c.flush().unwrap();
        }
        let (target, from) = (stored_in(store.clone()), if is_other { &other } else { &from });
        let done = copy(&from.0, &target).unwrap();
        assert!(
            done.continued == 0 && done.begun_anew.unwrap().contains("another version or container"),
            "{done:?}"
        );
        is_equal(from, &target);
        assert_whole(&target);
        is_tidy(store.as_ref());
    }
}

/// The copy dies while it replaces an attempt from another source.
#[test]
fn at_each_call_a_copy_that_begins_anew_dies() {
    let (from, other) = (source(), source());
    for n in (0..12).chain((12..).step_by(5)) {
        let (_dir, store, faults) = store();
        killed(&other.0, &faults, 24);
        faults.clear();
        faults.crash_at(n, Timing::After);
        let died = copy(&from.0, &stored_in(Arc::new(faults.clone())));
        let target = stored_in(store.clone());
        if Ledger::probe_objects(store.as_ref(), "c.h5").unwrap() == h5lake_ledger::Probe::NotFound {
            copy(&from.0, &target).unwrap_or_else(|e| panic!("{n}: {e}"));
            is_tidy(store.as_ref());
        }
        is_equal(&from, &target);
        if !faults.is_crashed() {
            died.unwrap();
            break;
        }
    }
}

/// A copy that replaces another attempt and needs no journal also leaves no temporary objects.
#[test]
fn a_short_copy_in_the_place_of_a_long_one_is_tidy() {
    let (from, short) = (source(), file());
    let blob = fill(&short);
    let (_dir, store, faults) = store();
    killed(&from.0, &faults, 24);
    let target = stored_in(store.clone());
    let options = Options::default();
    let done = copy_to(End::new(&short.target, &options), End::new(&target.target, &options), &mut |_, _| ())
        .unwrap();
    assert!(done.begun_anew.is_some());
    assert_eq!(described(&short, &blob), described(&target, &blob));
    is_tidy(store.as_ref());
    assert_whole(&target);
}

/// With any damage to a journal and to packs, the copy is correct.
#[test]
fn damaged_and_hostile_journals_harm_nothing() {
    let from = source();
    let (_dir, there, faults) = store();
    killed(&from.0, &faults, 24);
    let kept: HashMap<Key, bytes::Bytes> = objects(there.as_ref(), "")
        .into_iter()
        .map(|meta| (meta.key.clone(), there.get(&meta.key, None).unwrap().bytes))
        .collect();
    let mut anew = 0;
    let mut keys: Vec<_> = kept
        .iter()
        .filter(|(key, _)| key.as_str().contains(".lake/") && !key.as_str().ends_with("/lease"))
        .collect();
    keys.sort();
    for (n, (key, bytes)) in keys.into_iter().enumerate() {
        // The header is damaged in each way, each of the other objects in one way.
        for way in if key.as_str().ends_with("/copy/header") { 0..4 } else { n % 4..n % 4 + 1 } {
            let (_dir, store, _) = store();
            for (key, bytes) in &kept {
                store.put(key, PutPayload::from(bytes.clone()), PutMode::Overwrite).unwrap();
            }
            let mut bad = bytes.to_vec();
            match way {
                0 => store.delete(key).unwrap(),
                1 => bad.truncate(bytes.len() / 2),
                2 => bad.iter_mut().step_by(97).for_each(|b| *b ^= 0x40),
                _ => bad.clear(),
            }
            if way > 0 {
                store.put(key, PutPayload::from(bad), PutMode::Overwrite).unwrap();
            }
            let target = stored_in(store.clone());
            let done = copy(&from.0, &target).unwrap_or_else(|e| panic!("{key} {way}: {e}"));
            anew += u32::from(done.begun_anew.is_some());
            is_equal(&from, &target);
            assert_whole(&target);
        }
    }
    assert_eq!(anew, 3, "the header, cut, damaged and empty");
}

/// The journal has valid checksums, but describes one chunk with the data of another.
#[test]
fn a_journal_of_other_data_is_not_believed() {
    let (from, other) = (source(), file());
    // Both containers have equal objects under equal ids.
    let (Target::File(path), Target::File(copied)) = (&from.0.target, &other.target) else { panic!() };
    std::fs::copy(path, copied).unwrap();
    let c = Container::open(&other.target, Access::ReadWrite, options()).unwrap();
    let Resolution::Object { id } = c.resolve(c.root(), b"chunks", LastLink::Follow, 0).unwrap() else {
        panic!()
    };
    let d = c.dataset(id).unwrap();
    d.write(&Selection::All, &noise(8, (CHUNKS * CHUNK) as usize)).unwrap();
    c.flush().unwrap();
    drop((d, c));
    let (_dir, store, faults) = store();
    killed(&other, &faults, 24);
    // The header of an attempt from one source, before the journal of the other.
    let (_dir2, there, failing) = self::store();
    killed(&from.0, &failing, 24);
    let name = |meta: &ObjectMeta| meta.key.as_str().rsplit('/').nth(2).unwrap().to_owned();
    let (right, wrong) = (objects(there.as_ref(), "/copy/header"), objects(store.as_ref(), "/copy/header"));
    let mut header = there.get(&right[0].key, None).unwrap().bytes.to_vec();
    let id = u128::from_str_radix(&name(&wrong[0]), 16).unwrap().to_be_bytes();
    header[5..21].copy_from_slice(&id);
    header.truncate(header.len() - 4);
    h5lake_ledger::checksum::seal(&mut header);
    store.put(&wrong[0].key, PutPayload::from(header), PutMode::Overwrite).unwrap();
    let target = stored_in(store.clone());
    let done = copy(&from.0, &target).unwrap();
    assert!(done.begun_anew.is_none() && done.bytes >= CHUNKS * CHUNK, "{done:?}");
    is_equal(&from, &target);
    assert_whole(&target);
}

/// After a network error the uploaded data is retained, and a failed copy is replaced by the next call of the same
/// process.
#[test]
fn an_error_keeps_what_arrived() {
    let from = source();
    let (_dir, store, faults) = store();
    // A busy machine puts several journal parts at once, so that a later call would be after the commit.
    let rule = Rule::fail_nth(Select::Mutating, 12, Timing::Before, object_stores::ErrorKind::Io);
    faults.inject(Rule { times: u64::MAX, ..rule });
    copy(&from.0, &stored_in(Arc::new(faults.clone()))).unwrap_err();
    faults.clear();
    let target = stored_in(Arc::new(faults));
    let done = copy(&from.0, &target).unwrap();
    assert!(done.continued > 0, "{done:?}");
    is_equal(&from, &target);
    is_tidy(store.as_ref());
}

/// A running copy excludes other copies to the same target, and they do not disturb it.
#[test]
fn two_copies_to_one_place() {
    let (from, other) = (source(), source());
    let (_dir, store, _) = store();
    let target = stored_in(store.clone());
    let (mut refused, mut calls) = (0, 0);
    let meanwhile = &mut |_: u64, _: u64| {
        calls += 1;
        if objects(store.as_ref(), "/copy/header").is_empty() || calls % 8 > 0 {
            return;
        }
        for from in [&from, &other] {
            let e = copy(&from.0, &target).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Locked, "{e}");
            refused += 1;
        }
    };
    copy_to(End::new(&from.0.target, &options()), End::new(&target.target, &options()), meanwhile).unwrap();
    assert!(refused > 0);
    is_equal(&from, &target);
    is_tidy(store.as_ref());
    assert_whole(&target);
}

/// A copy that was suspended for longer than its lease, and was fenced meanwhile, cannot commit, and does no damage.
#[test]
fn a_fenced_copy_cannot_commit() {
    let from = source();
    for is_finished in [true, false] {
        let (_dir, store, faults) = store();
        let target = stored_in(store.clone());
        let (mut calls, mut taken_over) = (0, false);
        let meanwhile = &mut |_: u64, _: u64| {
            calls += 1;
            let begun = objects(store.as_ref(), "/copy/header");
            if taken_over || calls <= 12 || begun.is_empty() {
                return;
            }
            taken_over = true;
            for lease in objects(store.as_ref(), ".lake/lease") {
                store.delete(&lease.key).unwrap();
            }
            if is_finished {
                copy(&from.0, &target).unwrap();
            } else {
                killed(&from.0, &faults, 6);
            }
        };
        let slept =
            copy_to(End::new(&from.0.target, &options()), End::new(&target.target, &options()), meanwhile);
        assert!(taken_over);
        let e = slept.unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists), "{e}");
        if !is_finished {
            copy(&from.0, &target).unwrap();
        }
        is_equal(&from, &target);
        let c = Container::open(&target.target, Access::ReadWrite, options()).unwrap();
        c.vacuum().unwrap();
        drop(c);
        is_equal(&from, &target);
    }
}

/// Returns the files left by a killed copy to a file: its two hidden files, as they were at some call of `progress`.
fn left_by(from: &Place, at: impl Fn(u32) -> bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    let to = file();
    let Target::File(path) = &to.target else { panic!() };
    let hidden = |what: &str| path.with_file_name(format!(".c.h5.h5lake-{what}"));
    let (mut calls, mut left) = (0, Vec::new());
    let keep = &mut |_: u64, _: u64| {
        calls += 1;
        if at(calls) {
            left.push((
                std::fs::read(hidden("new")).unwrap(),
                std::fs::read(hidden("copy")).unwrap_or_default(),
            ));
        }
    };
    copy_to(End::new(&from.target, &options()), End::new(&to.target, &options()), keep).unwrap();
    assert!(!hidden("new").exists() && !hidden("copy").exists());
    left
}

/// Continues a copy from the files that a kill left.
fn go_on(from: &(Place, [u8; 16]), new: &[u8], journal: &[u8]) -> Copied {
    let to = file();
    let Target::File(path) = &to.target else { panic!() };
    let hidden = |what: &str| path.with_file_name(format!(".c.h5.h5lake-{what}"));
    std::fs::write(hidden("new"), new).unwrap();
    std::fs::write(hidden("copy"), journal).unwrap();
    let done = copy(&from.0, &to).unwrap();
    is_equal(from, &to);
    assert_whole(&to);
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    done
}

#[test]
fn a_copy_into_a_file_goes_on() {
    let from = source();
    let mut continued = Vec::new();
    for (new, journal) in left_by(&from.0, |calls| calls % 3 == 0) {
        let done = go_on(&from, &new, &journal);
        assert!(done.begun_anew.is_none() || journal.is_empty(), "{done:?}");
        continued.push(done.continued);
    }
    assert!(continued.is_sorted() && *continued.last().unwrap() > CHUNKS * CHUNK / 2, "{continued:?}");
    let other = source();
    let (new, journal) = left_by(&from.0, |calls| calls == 20).remove(0);
    let done = go_on(&other, &new, &journal);
    assert!(
        done.continued == 0 && done.begun_anew.unwrap().contains("another version or container"),
        "{done:?}"
    );
}

/// With any damage to the two files that a killed copy left, the copy is correct.
#[test]
fn damage_of_an_unfinished_copy_in_a_file_does_no_harm() {
    let from = source();
    let (new, journal) = left_by(&from.0, |calls| calls == 20).remove(0);
    let mut seen = HashMap::new();
    let mut check = |what: String, new: &[u8], journal: &[u8]| {
        seen.insert(what, go_on(&from, new, journal));
    };
    check("whole".into(), &new, &journal);
    check("no journal".into(), &new, &[]);
    check("no file".into(), &[], &journal);
    for n in [4600, 100_000, new.len() / 2, new.len() - 1] {
        check(format!("cut at {n}"), &new[..n], &journal);
    }
    for n in [0, 20, 60, 200, journal.len() / 2, journal.len() - 5] {
        check(format!("journal cut at {n}"), &new, &journal[..n]);
        let mut bad = journal.clone();
        bad[n] ^= 0x20;
        check(format!("journal damaged at {n}"), &new, &bad);
    }
    let mut bad = new.clone();
    bad[8192..].iter_mut().step_by(5_000).for_each(|b| *b ^= 1);
    check("data damaged".into(), &bad, &journal);
    let whole = seen["whole"];
    assert!(whole.continued > 300_000 && whole.begun_anew.is_none(), "{whole:?}");
    assert!(seen["no journal"].continued == 0 && seen["no journal"].begun_anew.is_some());
    assert_eq!(seen["data damaged"].continued, 0, "each payload is read");
    assert!(seen[&format!("journal cut at {}", journal.len() / 2)].continued > 0);
}

/// Users who may not read a container may not read its copy, nor the incomplete copy.
#[test]
fn a_copy_of_a_file_has_its_permissions() {
    use std::os::unix::fs::PermissionsExt;

    let (source, _) = source();
    let Target::File(path) = &source.target else { panic!() };
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    for (bits, expected) in [(0o600, 0o600), (0o640, 0o640), (0o400, 0o600)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(bits)).unwrap();
        for is_repair in [false, true] {
            let to = file();
            let Target::File(copy) = &to.target else { panic!() };
            let folder = copy.parent().unwrap().to_owned();
            let mut beside = Vec::new();
            let mut look = |_, _| {
                let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
                beside.extend(entries.map(|path| mode(&path)));
            };
            if is_repair {
                crate::repair::repair(
                    End::new(&source.target, &options()),
                    End::new(&to.target, &options()),
                    &mut look,
                )
                .unwrap();
            } else {
                copy_to(End::new(&source.target, &options()), End::new(&to.target, &options()), &mut look)
                    .unwrap();
            }
            assert_eq!(mode(copy), expected, "{bits:o}, a repair: {is_repair}");
            assert!(!beside.is_empty() && beside.iter().all(|found| *found == expected), "{beside:?}");
        }
    }
}
