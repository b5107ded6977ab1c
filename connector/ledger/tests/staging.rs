//! Containers behind a staging directory: the versions that other processes see before the upload, and the pending uploads of a writer that
//! died.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::work::{Chance, Map, content, stage, work};
use h5lake_ledger::{Access, Drained, Error, ErrorKind, Ledger, LockPolicy, Options, Probe, Replace};
use object_stores::staged::{Leftover, StageOptions, leftovers};
use object_stores::{
    Damage, ErrorKind as StoreKind, Fault, FaultStore, LatencyStore, ObjectStore, ObjectStoreExt, Operation,
    Pace, Registry, Rule, Select, StagedStore, Timing, TraceStore,
};
use tempfile::TempDir;

const KEY: &str = "dir/name.h5";

/// A store that outlives a handle, and a folder for staging directories.
struct Places {
    store: Arc<dyn ObjectStore>,
    folder: TempDir,
    _objects: TempDir,
}

impl Places {
    fn new() -> Self {
        let objects = tempfile::tempdir().unwrap();
        let store = Registry::new().open(&format!("file://{}", objects.path().display())).unwrap();
        Places { store, folder: tempfile::tempdir().unwrap(), _objects: objects }
    }

    /// Returns `inner` with a staging directory in front of it.
    fn staged(&self, inner: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        self.staged_for(inner, Duration::from_secs(20))
    }

    /// Returns `inner` with a staging directory. A wait for uploads takes at most `patience`.
    fn staged_for(&self, inner: Arc<dyn ObjectStore>, patience: Duration) -> Arc<dyn ObjectStore> {
        let options = StageOptions {
            dir: self.folder.path().to_owned(),
            bound: 1 << 30,
            sync: false,
            patience,
            url: self.store.name(),
            key: KEY.into(),
        };
        Arc::new(StagedStore::open(inner, options, |key| Ledger::role_of_object(KEY, key)).unwrap())
    }

    fn leftovers(&self) -> usize {
        leftovers(self.folder.path(), None).unwrap().len()
    }

    /// Creates a container and closes it.
    fn create(&self) {
        let l = Ledger::create_objects(self.store.clone(), KEY, Replace::Fail, Options::default()).unwrap();
        work(&l, &Map::new(), 1).2.unwrap();
        l.close().unwrap();
    }

    fn content(&self) -> (u64, Map) {
        let l = open(&self.store, Access::ReadOnly).unwrap();
        (l.version(), content(&l).unwrap())
    }
}

fn open(store: &Arc<dyn ObjectStore>, access: Access) -> Result<Ledger, Error> {
    // Checkpoints are frequent, so that pages and head objects are staged, too.
    let opts = Options { checkpoint_records: 5, ..Options::default() };
    Ledger::open_objects(store.clone(), KEY, access, opts)
}

fn create(store: &Arc<dyn ObjectStore>) -> Ledger {
    let opts = Options { checkpoint_records: 5, ..Options::default() };
    Ledger::create_objects(store.clone(), KEY, Replace::Fail, opts).unwrap()
}

/// While staged changes are uploaded to a slow store, its readers see complete versions, one after the other, and the writer sees its
/// newest version.
#[test]
fn readers_elsewhere_see_whole_versions() {
    // The staging directory skips head objects that a later one has replaced, so few uploads are pending at a time. On a busy machine the
    // uploads may be complete before a reader reads; then the test is repeated with a slower store.
    let is_seen = [3, 30, 300].into_iter().any(|ms| seen_while_draining(Duration::from_millis(ms)) < 40);
    assert!(is_seen, "all had arrived before anybody looked");
}

/// Returns the first version that a reader sees of 40 versions that are uploaded, if each request takes `per_request`.
fn seen_while_draining(per_request: Duration) -> u64 {
    let places = Places::new();
    let pace = Pace { per_request, bytes_per_second: None };
    let store = places.staged(Arc::new(LatencyStore::new(places.store.clone(), pace)));
    let l = create(&store);
    let (_, states, done) = work(&l, &Map::new(), 40);
    done.unwrap();
    assert!(content(&l).unwrap() == states[40], "the writer reads what has not arrived");
    let reader = open(&places.store, Access::ReadOnly).unwrap();
    let mut seen = vec![reader.version()];
    std::thread::scope(|s| {
        let closing = s.spawn(|| l.close());
        while !closing.is_finished() {
            // One reader keeps its handle while versions advance, and one opens the container again each time.
            reader.refresh().unwrap();
            for r in [&reader, &open(&places.store, Access::ReadOnly).unwrap()] {
                assert!(content(r).unwrap() == states[r.version() as usize], "version {}", r.version());
            }
            seen.push(reader.version());
        }
        closing.join().unwrap().unwrap();
    });
    assert!(seen.is_sorted(), "{seen:?}");
    assert!(places.content() == (40, states[40].clone()));
    drop(store);
    assert_eq!(places.leftovers(), 0);
    seen[0]
}

/// When a commit returns, it is in the staging directory. Neither the commit nor a checkpoint makes a request to the store, once the writer
/// has listed the copies of manifests.
#[test]
fn a_commit_does_not_wait_for_the_store() {
    let places = Places::new();
    let trace = TraceStore::new(places.store.clone());
    let faults = FaultStore::new(Arc::new(trace.clone()));
    let store = places.staged(Arc::new(faults.clone()));
    let l = create(&store);
    for n in 0..12u8 {
        l.put(b"a", vec![n; 10]).unwrap();
        l.commit().unwrap();
    }
    store.stage().unwrap().drain().unwrap();
    // From here on no upload succeeds.
    faults.crash_at(0, Timing::Before);
    trace.reset();
    for n in 0..16u8 {
        l.put(b"a", vec![n; 1000]).unwrap();
        l.commit().unwrap();
    }
    assert_eq!(l.get(b"a").unwrap().unwrap(), vec![15; 1000]);
    assert_eq!(trace.requests(), 0, "{:?}", trace.count(Operation::Put));
    faults.clear();
    l.close().unwrap();
    let reader = open(&places.store, Access::ReadOnly).unwrap();
    assert_eq!((reader.version(), reader.get(b"a").unwrap().unwrap()), (28, vec![15; 1000].into()));
    assert_eq!(
        places.store.list("", None).filter(|meta| meta.as_ref().unwrap().key.file_name() == "lock").count(),
        0
    );
}

/// Runs the writer of the tests below. Returns the number of commits that returned, and the state after each commit.
fn scenario(places: &Places, faults: &FaultStore) -> (u64, Vec<Map>) {
    let store = places.staged_for(Arc::new(faults.clone()), Duration::from_millis(100));
    let l = open(&store, Access::ReadWrite).unwrap();
    let start = content(&l).unwrap();
    let (done, states, _) = work(&l, &start, 8);
    let _it_may_be_dead = l.close();
    (done, states)
}

/// The process dies at any request. Readers see a complete version, writers without the staging directory get an error, and the next writer
/// with the staging directory uploads every commit that had returned.
#[test]
fn the_next_writer_uploads_the_pending_uploads_of_a_dead_writer() {
    let places = Places::new();
    places.create();
    let counted = FaultStore::new(places.store.clone());
    scenario(&places, &counted);
    let (all, mut with_pending) = (counted.mutations(), 0);
    for n in 0..all {
        let places = Places::new();
        places.create();
        let faults = FaultStore::new(places.store.clone());
        // The first requests belong to the open itself, before anything is staged.
        faults.crash_at(n, Timing::ALL[n as usize % 3]);
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scenario(&places, &faults)));
        let Ok((done, states)) = tried else { continue };
        let (version, seen) = places.content();
        assert!(seen == states[version as usize - 1], "request {n}: version {version}");
        if places.leftovers() > 0 && version < 1 + done {
            with_pending += 1;
            let error = open(&places.store, Access::ReadWrite).unwrap_err();
            let ErrorKind::Staged { folder, arrived, .. } = error.kind() else {
                panic!("request {n}: {error}")
            };
            assert_eq!(
                (Path::new(folder), *arrived),
                (&*places.folder.path().canonicalize().unwrap(), Some(version))
            );
            let text = error.to_string();
            for part in ["h5lake drain", "h5lake unlock", &format!("version {version}")] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
        let next = places.staged(places.store.clone());
        let l = open(&next, Access::ReadWrite).unwrap();
        // A commit with a lost answer may have been uploaded, too.
        assert!(l.version() > done, "request {n}: {} of {done} commits", l.version() - 1);
        assert!(content(&l).unwrap() == states[l.version() as usize - 1], "request {n}");
        l.put(b"key-last", vec![0, 1]).unwrap();
        l.commit().unwrap();
        l.close().unwrap();
        drop(next);
        assert_eq!(places.leftovers(), 0, "request {n}");
        open(&places.store, Access::ReadWrite).unwrap().close().unwrap();
    }
    assert!(with_pending > all / 3, "{with_pending} of {all}");
}

/// Runs a writer that dies in the middle. Returns the state after each of its commits.
fn left(places: &Places) -> Vec<Map> {
    places.create();
    let faults = FaultStore::new(places.store.clone());
    faults.crash_at(6, Timing::Before);
    let (done, states) = scenario(places, &faults);
    assert!(done == 8 && places.leftovers() == 1);
    states
}

fn drain(places: &Places) -> Result<Drained, Error> {
    drain_for(places, Duration::from_secs(20))
}

/// Returns the pending uploads of a dead writer, once no thread of the writer uses them any more.
fn take(places: &Places) -> Leftover {
    let (path, about) = leftovers(places.folder.path(), None).unwrap().pop().unwrap();
    for _ in 0..1000 {
        if let Some(leftover) = Leftover::open(&path, about.clone()).unwrap() {
            return leftover;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("a thread of the stage does not end");
}

/// Uploads the pending uploads of a dead writer, and waits for up to `patience`.
fn drain_for(places: &Places, patience: Duration) -> Result<Drained, Error> {
    let leftover = take(places);
    Ledger::drain_leftover(&places.store, leftover, LockPolicy::default(), patience)
}

#[test]
fn a_leftover_is_drained_without_a_writer() {
    let places = Places::new();
    let states = left(&places);
    let (before, _) = places.content();
    let drained = drain(&places).unwrap();
    assert_eq!((drained.from, drained.to), (before, 9));
    assert!(drained.operations >= 9 - before && drained.bytes > 0);
    assert!(places.content() == (9, states[8].clone()));
    assert_eq!(places.leftovers(), 0);
    open(&places.store, Access::ReadWrite).unwrap().close().unwrap();
}

/// If a user breaks the lock, a writer can continue without the pending uploads. From then on they conflict, an upload of them reports
/// that, and the container is unchanged.
#[test]
fn abandoned_pending_uploads_do_no_harm() {
    let places = Places::new();
    left(&places);
    let stage_of =
        |l: &Arc<dyn ObjectStore>| Ledger::lock_holder(l.as_ref(), KEY).unwrap().and_then(|lock| lock.stage);
    assert!(stage_of(&places.store).is_some());
    let lock = Ledger::lock_holder(places.store.as_ref(), KEY).unwrap().unwrap();
    Ledger::break_lock(places.store.as_ref(), KEY, &lock).unwrap();
    let l = open(&places.store, Access::ReadWrite).unwrap();
    l.put(b"mine", vec![0, 7]).unwrap();
    l.commit().unwrap();
    let locked = drain(&places).unwrap_err();
    assert!(matches!(locked.kind(), ErrorKind::Locked { .. }), "{locked}");
    l.close().unwrap();
    let (version, content) = places.content();
    let conflict = drain(&places).unwrap_err();
    assert!(matches!(conflict.kind(), ErrorKind::Stranded { .. }), "{conflict}");
    assert!(conflict.to_string().contains("another writer"), "{conflict}");
    assert!(places.content() == (version, content));
    // A writer with the staging directory gets the same error, and the container is unchanged.
    let next = places.staged(places.store.clone());
    assert!(matches!(open(&next, Access::ReadWrite).unwrap_err().kind(), ErrorKind::Stranded { .. }));
    open(&places.store, Access::ReadWrite).unwrap().close().unwrap();
}

/// Makes this many commits with a writer that ignores locks and retains no earlier versions.
fn overtake(places: &Places, commits: u8) {
    let retention = Some(Duration::ZERO);
    let opts = Options { checkpoint_records: 1, retention, lock: LockPolicy::Off, ..Options::default() };
    let l = Ledger::open_objects(places.store.clone(), KEY, Access::ReadWrite, opts).unwrap();
    for n in 0..commits {
        l.put(b"mine", vec![0, n]).unwrap();
        l.commit().unwrap();
    }
    l.close().unwrap();
}

/// The pending uploads are also refused if another writer has advanced far beyond their versions, so that the store has no trace of these
/// versions.
#[test]
fn pending_uploads_for_versions_of_another_writer_are_refused() {
    let places = Places::new();
    left(&places);
    let lock = Ledger::lock_holder(places.store.as_ref(), KEY).unwrap().unwrap();
    Ledger::break_lock(places.store.as_ref(), KEY, &lock).unwrap();
    overtake(&places, 30);
    Ledger::sweep_replaced_objects(&places.store, KEY).unwrap();
    let (version, content) = places.content();
    assert!(version > 30 && content[b"mine".as_slice()] == [29]);
    for _ in 0..2 {
        let conflict = drain(&places).unwrap_err();
        assert!(matches!(conflict.kind(), ErrorKind::Stranded { .. }), "{conflict}");
        assert!(conflict.to_string().contains("another writer"), "{conflict}");
        let next = places.staged(places.store.clone());
        assert!(matches!(open(&next, Access::ReadWrite).unwrap_err().kind(), ErrorKind::Stranded { .. }));
        drop(next);
        assert!(places.content() == (version, content.clone()) && places.leftovers() == 1);
    }
    // The pending objects that were uploaded before the head object was refused do no harm.
    overtake(&places, 1);
    assert!(places.content().1[b"mine".as_slice()] == [0]);
}

/// A failed upload leaves the lock object unchanged: it still names the staging directory with the pending uploads.
#[test]
fn a_failed_drain_keeps_the_lock_object() {
    let places = Places::new();
    left(&places);
    let lock_holder = || Ledger::lock_holder(places.store.as_ref(), KEY).unwrap().unwrap();
    let before = lock_holder();
    assert!(before.stage.is_some());
    // The next head object is that of another writer, which ignored the lock.
    overtake(&places, 1);
    let now = places.content();
    let next = places.staged(places.store.clone());
    let refused = open(&next, Access::ReadWrite).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Stranded { .. }), "{refused}");
    drop(next);
    assert_eq!((lock_holder(), places.leftovers()), (before.clone(), 1));
    assert!(drain(&places).is_err());
    assert_eq!((lock_holder(), places.leftovers()), (before, 1));
    assert!(places.content() == now);
}

/// The store has an empty container, and the creator's commits are in its staging directory only. Such a container is not replaced under
/// `Replace::IfAbsent`.
#[test]
fn staged_writes_of_a_killed_creator_are_not_ignored() {
    let places = Places::new();
    let faults = FaultStore::new(places.store.clone());
    {
        let store = places.staged_for(Arc::new(faults.clone()), Duration::from_millis(100));
        let l = create(&store);
        // From here on no upload succeeds.
        faults.crash_at(0, Timing::Before);
        l.put(b"k", vec![0, 1]).unwrap();
        l.commit().unwrap();
        let _it_is_dead = l.close();
    }
    assert_eq!((places.leftovers(), open(&places.store, Access::ReadOnly).unwrap().version()), (1, 0));
    let make = || Ledger::create_objects(places.store.clone(), KEY, Replace::IfAbsent, Options::default());
    assert_eq!(*make().unwrap_err().kind(), ErrorKind::AlreadyExists);
    let next = places.staged(places.store.clone());
    let l = open(&next, Access::ReadWrite).unwrap();
    assert_eq!(l.get(b"k").unwrap().unwrap(), vec![0, 1]);
    l.close().unwrap();
}

/// Replaces the container by another one, through a staging directory.
fn replace(places: &Places, retention: Option<Duration>) {
    let next = places.staged(places.store.clone());
    let opts = Options { retention, ..Options::default() };
    let l = Ledger::create_objects(next, KEY, Replace::Atomically, opts).unwrap();
    l.put(b"new", vec![0]).unwrap();
    l.commit().unwrap();
    l.close().unwrap();
}

fn discard(places: &Places) {
    let leftover = take(places);
    let (about, queue) = (leftover.about().clone(), leftover.queue().to_owned());
    leftover.discard().unwrap();
    Ledger::forget_leftover(&places.store, &about, &queue).unwrap();
}

/// The container that replaces another one is not affected by the pending uploads of the old container.
#[test]
fn pending_uploads_of_a_replaced_container_remain() {
    let places = Places::new();
    left(&places);
    replace(&places, None);
    for _ in 0..2 {
        let next = places.staged(places.store.clone());
        let l = open(&next, Access::ReadWrite).unwrap();
        assert_eq!(l.get(b"new").unwrap().unwrap(), vec![0]);
        l.close().unwrap();
        drop(next);
        let error = drain(&places).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Stranded { .. }), "{error}");
        for part in ["replaced since", "h5lake drain --discard"] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        assert_eq!(places.leftovers(), 1);
    }
    discard(&places);
    assert_eq!(places.leftovers(), 0);
    open(&places.store, Access::ReadWrite).unwrap().close().unwrap();
}

/// The pending uploads of a deleted container do not affect a new container of the same name.
#[test]
fn pending_uploads_of_a_deleted_container_remain() {
    let places = Places::new();
    left(&places);
    let next = places.staged(places.store.clone());
    Ledger::remove_objects(&next, KEY).unwrap();
    drop(next);
    for is_made_again in [false, true] {
        if is_made_again {
            let next = places.staged(places.store.clone());
            let l = Ledger::create_objects(next, KEY, Replace::Fail, Options::default()).unwrap();
            l.close().unwrap();
        }
        let error = drain(&places).unwrap_err();
        assert!(error.to_string().contains("deleted or replaced since"), "{error}");
        assert_eq!(places.leftovers(), 1);
    }
    assert_eq!(places.content().0, 0);
    discard(&places);
}

/// A container that was replaced and restored has another state, so the pending uploads conflict with it, and none of them takes effect.
#[test]
fn pending_uploads_conflict_with_a_restored_container() {
    let places = Places::new();
    left(&places);
    let before = places.content();
    replace(&places, None);
    Ledger::restore_objects(&places.store, KEY, "").unwrap();
    assert!(places.content() == before);
    let refused = drain(&places).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Stranded { .. }), "{refused}");
    assert!(refused.to_string().contains("another writer"), "{refused}");
    let next = places.staged(places.store.clone());
    assert!(matches!(open(&next, Access::ReadWrite).unwrap_err().kind(), ErrorKind::Stranded { .. }));
    drop(next);
    assert!(places.content() == before && places.leftovers() == 1);
    discard(&places);
    let next = places.staged(places.store.clone());
    open(&next, Access::ReadWrite).unwrap().close().unwrap();
    assert!(places.content() == before);
}

/// The creation of a container deletes the objects of the replaced container if its retention time is over. These pending deletions do not
/// prevent the upload.
#[test]
fn pending_deletions_of_a_replaced_container_are_uploaded() {
    let places = Places::new();
    places.create();
    let count = || places.store.list("", None).count();
    let faults = FaultStore::new(places.store.clone());
    // The staging directory uploads deletions in batches. The tombstone is deleted at once, so that a restoration does not find it any
    // more.
    let fault = Fault::Fail(Timing::Before, StoreKind::Unavailable);
    faults.inject(Rule { select: Select::One(Operation::DeleteMany), skip: 0, times: u64::MAX, fault });
    let store = places.staged_for(Arc::new(faults), Duration::from_millis(100));
    let opts = Options { retention: Some(Duration::ZERO), ..Options::default() };
    let l = Ledger::create_objects(store.clone(), KEY, Replace::Atomically, opts).unwrap();
    assert!(Ledger::replaced_objects(places.store.as_ref(), KEY).unwrap().is_empty());
    assert!(Ledger::restore_objects(&places.store, KEY, "").is_err());
    l.put(b"new", vec![0, 1]).unwrap();
    l.commit().unwrap();
    let _it_is_dead = l.close();
    drop(store);
    assert_eq!(places.leftovers(), 1);
    let before = count();
    let next = places.staged(places.store.clone());
    let l = open(&next, Access::ReadWrite).unwrap();
    assert_eq!(l.get(b"new").unwrap().unwrap(), vec![0, 1]);
    l.close().unwrap();
    drop(next);
    assert!(places.leftovers() == 0 && count() < before);
}

/// Creates a container that was reported as complete, but is in the staging directory only, so that no other process can find it.
fn staged_copy(places: &Places) -> Map {
    let faults = FaultStore::new(places.store.clone());
    let store = places.staged_for(Arc::new(faults.clone()), Duration::from_millis(100));
    let mut made = Map::new();
    let l = Ledger::create_whole_objects(store, KEY, Options::default(), |l| {
        // From here on no upload succeeds.
        faults.crash_at(0, Timing::Before);
        let (_, states, done) = work(l, &Map::new(), 3);
        made = states[3].clone();
        done
    })
    .unwrap();
    let _it_is_dead = l.close();
    assert_eq!(places.leftovers(), 1);
    assert_eq!(Ledger::probe_objects(places.store.as_ref(), KEY).unwrap(), Probe::NotFound);
    made
}

#[test]
fn a_complete_container_known_only_to_a_staging_directory_is_uploaded() {
    for way in 0..3 {
        let places = Places::new();
        let made = staged_copy(&places);
        let again = |store: &Arc<dyn ObjectStore>| {
            Ledger::create_whole_objects(store.clone(), KEY, Options::default(), |_| Ok::<_, Error>(()))
        };
        // A creator without access to the staging directory gets an error that names it.
        let error = again(&places.store).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Staged { arrived: None, .. }), "{error}");
        assert!(Ledger::lock_holder(places.store.as_ref(), KEY).unwrap().unwrap().stage.is_some());
        // After the upload the name leads to that container, which the next creator must not replace.
        let refused = match way {
            0 => drain(&places).map(|drained| assert_eq!(drained.from, 0)).err(),
            1 => again(&places.staged(places.store.clone())).err(),
            _ => {
                let next = places.staged(places.store.clone());
                Ledger::create_objects(next, KEY, Replace::IfAbsent, Options::default()).err()
            }
        };
        assert_eq!(refused.map(|e| e.kind().clone()), (way > 0).then_some(ErrorKind::AlreadyExists));
        assert!(places.content().1 == made, "way {way}");
        assert_eq!(places.leftovers(), 0, "way {way}");
        open(&places.store, Access::ReadWrite).unwrap().close().unwrap();
    }
}

/// After a user has broken the lock, the name can be used again, and a later upload of the staged container is refused.
#[test]
fn a_staged_container_is_refused_after_its_lock_was_broken() {
    let places = Places::new();
    staged_copy(&places);
    let lock = Ledger::lock_holder(places.store.as_ref(), KEY).unwrap().unwrap();
    Ledger::break_lock(places.store.as_ref(), KEY, &lock).unwrap();
    places.create();
    let before = places.content();
    assert!(matches!(drain(&places).unwrap_err().kind(), ErrorKind::Stranded { .. }));
    assert!(places.content() == before && places.leftovers() == 1);
}

/// With a store without conditional puts a commit waits for its upload, so only objects that no manifest names can be left behind.
#[test]
fn a_stage_over_a_store_without_conditions_leaves_no_commit() {
    let places = Places::new();
    let bare = |store: Arc<dyn ObjectStore>| -> Arc<dyn ObjectStore> {
        Arc::new(FaultStore::new(store).without_create().without_update())
    };
    let faults = FaultStore::new(places.store.clone());
    let store = places.staged_for(bare(Arc::new(faults.clone())), Duration::from_millis(100));
    let l = create(&store);
    let (done, states, _) = work(&l, &Map::new(), 3);
    assert_eq!(done, 3);
    assert!(places.content() == (3, states[3].clone()), "it has arrived");
    // From here on no upload succeeds.
    faults.crash_at(0, Timing::Before);
    let payload = l.write_payload(&vec![7; 9 << 20]).unwrap();
    l.put(b"late", [&[1][..], &payload.to_bytes()].concat()).unwrap();
    assert!(l.commit().is_err());
    let _it_is_dead = l.close();
    drop(store);
    assert_eq!(places.leftovers(), 1);
    let next = places.staged(bare(places.store.clone()));
    let l = open(&next, Access::ReadWrite).unwrap();
    assert!(l.version() == 3 && content(&l).unwrap() == states[3]);
    l.put(b"next", vec![0, 1]).unwrap();
    l.commit().unwrap();
    l.close().unwrap();
    drop(next);
    assert_eq!(places.leftovers(), 0);
    let l = open(&bare(places.store.clone()), Access::ReadWrite).unwrap();
    assert_eq!(l.get(b"next").unwrap().unwrap(), vec![0, 1]);
    l.close().unwrap();
}

/// A staging directory that is not visible does not count as drained, because its disk may not be mounted.
#[test]
fn an_unreachable_staging_directory_excludes_writers() {
    let places = Places::new();
    left(&places);
    let elsewhere = tempfile::tempdir().unwrap();
    let hidden = elsewhere.path().join("stage");
    std::fs::rename(places.folder.path(), &hidden).unwrap();
    for is_there in [false, true] {
        if is_there {
            std::fs::create_dir(places.folder.path()).unwrap();
        }
        let next = places.staged(places.store.clone());
        for store in [&places.store, &next] {
            let error = open(store, Access::ReadWrite).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Staged { .. }), "{error}");
        }
        drop(next);
        let _it_was_made = std::fs::remove_dir(places.folder.path());
    }
    std::fs::rename(&hidden, places.folder.path()).unwrap();
    let next = places.staged(places.store.clone());
    let l = open(&next, Access::ReadWrite).unwrap();
    assert_eq!(l.version(), 9);
    l.close().unwrap();
}

/// The process that uploads the pending operations dies at any request. No writer continues without these operations, and the next writer
/// with access uploads them.
#[test]
fn a_crash_during_a_drain_loses_no_data() {
    for by_tool in [false, true] {
        for n in 0.. {
            let places = Places::new();
            let states = left(&places);
            let faults = FaultStore::new(places.store.clone());
            faults.crash_at(n, Timing::ALL[n as usize % 3]);
            let dying =
                Places { store: Arc::new(faults.clone()), folder: places.folder, _objects: places._objects };
            let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match by_tool {
                true => drain_for(&dying, Duration::from_millis(100)).map(drop),
                false => {
                    let next = dying.staged_for(dying.store.clone(), Duration::from_millis(100));
                    open(&next, Access::ReadWrite).and_then(|l| l.close())
                }
            }));
            let is_done = matches!(tried, Ok(Ok(())));
            let places = Places { store: places.store, folder: dying.folder, _objects: dying._objects };
            if let Ok(l) = open(&places.store, Access::ReadWrite) {
                assert_eq!(l.version(), 9, "request {n}, by the tool: {by_tool}");
                l.close().unwrap();
            }
            let next = places.staged(places.store.clone());
            let l = open(&next, Access::ReadWrite).unwrap();
            assert!(
                l.version() == 9 && content(&l).unwrap() == states[8],
                "request {n}, by the tool: {by_tool}"
            );
            l.close().unwrap();
            drop(next);
            if is_done {
                assert!(n > 3);
                break;
            }
        }
    }
}

/// Returns a store in which requests fail, get lost or damaged answers, or are the last request of the process.
fn careless(places: &Places, c: &mut Chance) -> FaultStore {
    let (faults, mut skip) = (FaultStore::new(places.store.clone()), 0);
    for _ in 0..4 {
        skip += 1 + c.below(12);
        let kind = [StoreKind::Io, StoreKind::Timeout, StoreKind::Unavailable][c.below(3) as usize];
        let fault = match c.below(6) {
            0 => Fault::Damage(Damage::Flip(c.below(300) as usize)),
            1 => Fault::Damage(Damage::Cut(c.below(100) as usize)),
            n => Fault::Fail(Timing::ALL[n as usize % 3], kind),
        };
        faults.inject(Rule { select: Select::Any, skip, times: 1, fault });
    }
    if c.below(2) == 0 {
        faults.crash_at(1 + c.below(30), Timing::ALL[c.below(3) as usize]);
    }
    faults
}

/// Runs a session of a writer with a staging directory, which may die. `states` are the states that readers may see, and the last
/// `open_states` of them are the states that the next writer may find.
fn careless_session(
    places: &Places,
    faults: &FaultStore,
    seed: u64,
    states: &mut Vec<Map>,
    open_states: &mut usize,
) {
    let store = places.staged_for(Arc::new(faults.clone()), Duration::from_millis(300));
    let Ok(l) = open(&store, Access::ReadWrite) else { return };
    let Ok(mut model) = content(&l) else { return };
    let is_possible = states[states.len() - *open_states..].contains(&model);
    assert!(is_possible, "seed {seed}: the next writer finds other content");
    for n in 0..6 {
        if stage(&l, &mut model, seed * 100 + n).is_err() {
            break;
        }
        states.push(model.clone());
        *open_states += 1;
        if l.commit().is_ok() {
            *open_states = 1;
        }
        let (_, seen) = places.content();
        assert!(states.contains(&seen), "seed {seed}: a reader sees other content");
    }
    let _it_may_be_dead = l.close();
}

#[test]
fn a_store_that_fails_often_behind_a_stage_loses_nothing() {
    for seed in 0..30 {
        let (places, mut c) = (Places::new(), Chance::new(seed));
        places.create();
        let (mut states, mut open_states) = (vec![places.content().1], 1);
        for n in 0..3 {
            let faults = careless(&places, &mut c);
            careless_session(&places, &faults, seed * 10 + n, &mut states, &mut open_states);
        }
        let next = places.staged(places.store.clone());
        let l = open(&next, Access::ReadWrite).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let found = content(&l).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert!(states[states.len() - open_states..].contains(&found), "seed {seed}: other content at last");
        l.close().unwrap();
        drop(next);
        assert_eq!(places.leftovers(), 0, "seed {seed}");
    }
}
