//! Operations through a stage, and their fate after failures.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::{
    Etag, Fault, FaultStore, LatencyStore, MemoryStore, ObjectStoreExt, Pace, Rule, Select, Timing,
    TraceStore,
};

mod failures;
mod left;
mod order;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn role(key: &Key) -> Role {
    match key.as_str().split('/').next() {
        Some("clock") => Role::Straight,
        Some("lock") => Role::Lock,
        Some("head") => Role::Head,
        Some("pack") => Role::Immutable,
        _ => Role::Other,
    }
}

fn options(dir: &TempDir) -> StageOptions {
    StageOptions {
        dir: dir.path().to_owned(),
        bound: 1 << 30,
        sync: false,
        patience: Duration::from_secs(20),
        url: "memory://x".into(),
        key: "head".into(),
    }
}

fn staged(inner: &Arc<dyn ObjectStore>, dir: &TempDir) -> StagedStore {
    StagedStore::open(inner.clone(), options(dir), role).unwrap()
}

/// A store with a gate: while it is shut, no change arrives.
struct Gate {
    faults: FaultStore,
    /// The objects in the store.
    memory: Arc<dyn ObjectStore>,
    /// The store below the stage: `memory` behind the gate.
    store: Arc<dyn ObjectStore>,
    trace: TraceStore,
    dir: TempDir,
}

impl Gate {
    fn new() -> Self {
        let memory: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        let trace = TraceStore::new(memory.clone());
        let faults = FaultStore::new(Arc::new(trace.clone()));
        let store = Arc::new(faults.clone());
        Gate { faults, memory, store, trace, dir: tempfile::tempdir().unwrap() }
    }

    /// Returns a gate in front of a store that honours no condition.
    fn without_conditions() -> Self {
        let gate = Self::new();
        let store = Arc::new(gate.faults.clone().without_create().without_update());
        Gate { store, ..gate }
    }

    fn shut(self) -> Self {
        let fault = Fault::Fail(Timing::Before, ErrorKind::Unavailable);
        self.faults.inject(Rule { select: Select::Mutating, skip: 0, times: u64::MAX, fault });
        self
    }

    fn open(&self) {
        self.faults.clear();
    }

    fn staged(&self) -> StagedStore {
        staged(&self.store, &self.dir)
    }

    fn there(&self, at: &str) -> Option<Bytes> {
        self.memory.get_opt(&key(at), None).unwrap().map(|got| got.bytes)
    }

    /// Returns the folders of stages.
    fn folders(&self) -> Vec<PathBuf> {
        fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

/// Ends a stage as the death of its process would: the folder stays, and no thread uses it.
fn die(store: StagedStore) -> PathBuf {
    let path = store.queue.folder.path().to_owned();
    store.queue.end();
    drop(store);
    await_end(&path);
    path
}

/// Waits until no thread uses a stage.
fn await_end(path: &Path) {
    let until = Instant::now() + Duration::from_secs(10);
    while folder::is_ours(path) {
        assert!(Instant::now() < until, "a thread of the stage does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn put(store: &dyn ObjectStore, at: &str, text: &str, mode: PutMode) -> Result<Option<Etag>> {
    store.put(&key(at), PutPayload::copy_from(text.as_bytes()), mode).map(|put| put.etag)
}

fn overwrite(store: &dyn ObjectStore, at: &str, text: &str) -> Option<Etag> {
    put(store, at, text, PutMode::Overwrite).unwrap()
}

fn read(store: &dyn ObjectStore, at: &str) -> Option<Bytes> {
    store.get_opt(&key(at), None).unwrap().map(|got| got.bytes)
}

/// If no roles are given, a stage behaves like every other store.
#[test]
fn conforms() {
    let dir = tempfile::tempdir().unwrap();
    for (name, check) in crate::conformance::checks() {
        let inner: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        let store: Arc<dyn ObjectStore> =
            Arc::new(StagedStore::open(inner, options(&dir), |_| Role::Other).unwrap());
        eprintln!("{name}");
        check(&store);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "a stage that is drained leaves nothing");
}

#[test]
fn queued_objects_are_readable_before_upload() {
    let gate = Gate::new();
    overwrite(&*gate.memory, "pack/old", "0123456789");
    overwrite(&*gate.memory, "other", "beneath");
    let gate = gate.shut();
    let store = gate.staged();
    overwrite(&store, "pack/a", "hello world");
    overwrite(&store, "other", "newer");
    assert_eq!(read(&store, "pack/a").unwrap(), "hello world");
    assert_eq!(store.get(&key("pack/a"), Some(6..99)).unwrap().bytes, "world");
    let mut buf = [0; 4];
    let meta = store.get_into(&key("pack/a"), 1, &mut buf).unwrap();
    assert_eq!((&buf, meta.size), (b"ello", 11));
    assert_eq!(store.head(&key("pack/a")).unwrap().size, 11);
    assert_eq!(store.get_into(&key("pack/a"), 9, &mut buf).unwrap_err().kind(), ErrorKind::ShortRead);
    assert_eq!(
        (read(&store, "other").unwrap(), read(&store, "pack/old").unwrap()),
        ("newer".into(), "0123456789".into())
    );
    store.delete(&key("pack/old")).unwrap();
    assert_eq!((read(&store, "pack/old"), read(&store, "pack/none")), (None, None));
    assert_eq!((gate.there("pack/a"), gate.there("other").unwrap()), (None, "beneath".into()));
    gate.open();
    store.drain().unwrap();
    assert_eq!(
        (gate.there("pack/a").unwrap(), gate.there("other").unwrap()),
        ("hello world".into(), "newer".into())
    );
    assert_eq!((gate.there("pack/old"), read(&store, "pack/a").unwrap()), (None, "hello world".into()));
    let counts = store.counts();
    assert_eq!((counts.staged_bytes(), counts.drained_bytes()), (16, 16));
    drop(store);
    assert!(gate.folders().is_empty());
}

#[test]
fn metadata_is_the_same_before_and_after_upload() {
    let gate = Gate::new().shut();
    let store = gate.staged();
    overwrite(&store, "other", "text");
    let before = store.head(&key("other")).unwrap();
    std::thread::sleep(Duration::from_millis(2));
    gate.open();
    store.drain().unwrap();
    assert_ne!(gate.memory.head(&key("other")).unwrap().modified, before.modified);
    assert_eq!(store.head(&key("other")).unwrap(), before);
    assert_eq!(store.get(&key("other"), None).unwrap().meta, before);
    assert_eq!(store.list("", None).next().unwrap().unwrap(), before);
}

/// A put returns when it is in the folder: no request goes to the store.
#[test]
fn only_the_first_manifest_waits_for_the_store() {
    let gate = Gate::new();
    let store = gate.staged();
    let first = overwrite(&store, "head/x", "0").unwrap();
    assert_eq!(gate.there("head/x").unwrap(), "0", "the first head decides which client writes");
    let gate = gate.shut();
    let mut etag = first;
    for n in 1..=5 {
        overwrite(&store, &format!("pack/{n}"), "p");
        overwrite(&store, &format!("note/{n}"), "l");
        etag = put(&store, "head/x", &n.to_string(), PutMode::Update(etag)).unwrap().unwrap();
    }
    assert_eq!(read(&store, "head/x").unwrap(), "5");
    assert_eq!(gate.there("head/x").unwrap(), "0");
    gate.open();
    store.drain().unwrap();
    assert_eq!(gate.there("head/x").unwrap(), "5");
    assert!((1..=5).all(|n| gate.there(&format!("note/{n}")).is_some()));
    // The etag stays valid when its version has arrived, and so does the etag of a read.
    assert_eq!(store.head(&key("head/x")).unwrap().etag.as_ref(), Some(&etag));
    put(&store, "head/x", "6", PutMode::Update(etag)).unwrap();
    store.drain().unwrap();
    assert_eq!(gate.there("head/x").unwrap(), "6");
}

#[test]
fn a_condition_violated_by_queued_objects_is_refused_at_once() {
    let gate = Gate::new();
    let store = gate.staged();
    let first = overwrite(&store, "head/x", "0").unwrap();
    let gate = gate.shut();
    let second = put(&store, "head/x", "1", PutMode::Update(first.clone())).unwrap().unwrap();
    for stale in [first, Etag::new("never"), Etag::new("stage:x:1")] {
        let refused = put(&store, "head/x", "2", PutMode::Update(stale)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PreconditionFailed);
    }
    put(&store, "head/x", "2", PutMode::Update(second.clone())).unwrap();
    gate.open();
    store.drain().unwrap();
    assert_eq!(gate.there("head/x").unwrap(), "2");
    let late = put(&store, "head/x", "3", PutMode::Update(second)).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::PreconditionFailed);
}

/// A writer that puts more than the stage may hold waits until an operation arrives. It times out if none arrives.
#[test]
fn a_full_stage_makes_writers_wait() {
    let gate = Gate::new().shut();
    let bounded = StageOptions { bound: 100, patience: Duration::from_millis(300), ..options(&gate.dir) };
    let store = StagedStore::open(gate.store.clone(), bounded, role).unwrap();
    for n in 0..4 {
        overwrite(&store, &format!("pack/{n}"), &"x".repeat(25));
    }
    let late = put(&store, "pack/4", "x", PutMode::Overwrite).unwrap_err();
    let said = late.to_string();
    assert!(
        late.kind() == ErrorKind::Timeout && said.contains("h5lake drain") && said.contains("unavailable"),
        "{said}"
    );
    std::thread::scope(|s| {
        let waiting = s.spawn(|| overwrite(&store, "pack/4", "x"));
        std::thread::sleep(Duration::from_millis(50));
        gate.open();
        waiting.join().unwrap();
    });
    // An object longer than the bound bypasses the queue, after all other operations.
    gate.trace.start_journal();
    overwrite(&store, "pack/long", &"y".repeat(101));
    assert_eq!(gate.there("pack/long").unwrap().len(), 101);
    let last = gate.trace.take_journal().pop().unwrap();
    assert_eq!(last.key, "pack/long");
    assert!((0..5).all(|n| gate.there(&format!("pack/{n}")).is_some()));
}

#[test]
fn only_the_owner_can_access_the_folder() {
    use std::os::unix::fs::PermissionsExt;
    let gate = Gate::new().shut();
    let store = gate.staged();
    overwrite(&store, "pack/a", "secret");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for folder in gate.folders() {
        assert_eq!(mode(&folder), 0o700);
        for file in fs::read_dir(folder).unwrap() {
            assert_eq!(mode(&file.unwrap().path()), 0o600);
        }
    }
    let not_a_folder = StageOptions { dir: gate.dir.path().join("file"), ..options(&gate.dir) };
    fs::write(&not_a_folder.dir, "x").unwrap();
    let refused = StagedStore::open(gate.store.clone(), not_a_folder, role).unwrap_err();
    assert!(refused.to_string().contains("the stage"), "{refused}");
}

/// A forked child reads the files, and takes no lock.
#[test]
fn a_forked_child_reads_queued_objects() {
    let gate = Gate::new().shut();
    let store = gate.staged();
    overwrite(&store, "pack/a", "hello");
    overwrite(&store, "pack/b", "b");
    store.delete(&key("pack/b")).unwrap();
    let locked = store.queue.state.lock();
    let child = Inherited::new();
    let newest = |at: &str| child.newest(&store.queue, &key(at)).unwrap();
    let found = newest("pack/a").unwrap();
    assert_eq!(found.length(), 5);
    assert_eq!(newest("pack/b").unwrap().action, Action::Delete(vec![key("pack/b")]));
    assert!(newest("pack/c").is_none());
    let read = store.read_queued(Operation::Get, &key("pack/a"), found.number, 1..3);
    assert_eq!(read.unwrap().unwrap(), "el");
    drop(locked);
    gate.open();
    store.drain().unwrap();
    // The operation has arrived meanwhile. Its file is removed after that was recorded.
    let file = store.queue.folder.file(found.number);
    let until = Instant::now() + Duration::from_secs(20);
    while file.exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(store.read_queued(Operation::Get, &key("pack/a"), found.number, 0..5).unwrap(), None);
}
