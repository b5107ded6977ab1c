//! The order in which changes arrive.

use super::*;

fn head_of(store: &dyn ObjectStore) -> u32 {
    String::from_utf8(read(store, "head/x").unwrap().to_vec()).unwrap().parse().unwrap()
}

/// Whatever object a reader of the store beneath finds, the objects that it refers to exist: the packs of a note, the
/// notes of a head.
#[test]
fn every_prefix_of_the_queue_is_consistent() {
    let memory: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let pace = Pace { per_request: Duration::from_millis(2), bytes_per_second: None };
    let slow: Arc<dyn ObjectStore> = Arc::new(LatencyStore::new(memory.clone(), pace));
    let dir = tempfile::tempdir().unwrap();
    let store = staged(&slow, &dir);
    let mut etag = overwrite(&store, "head/x", "0").unwrap();
    std::thread::scope(|s| {
        let drained = s.spawn(|| {
            for n in 1..=30u32 {
                for part in 0..5 {
                    overwrite(&store, &format!("pack/{n}-{part}"), &"x".repeat(part * 100));
                }
                overwrite(&store, &format!("note/{n}"), "l");
                if n % 4 == 0 {
                    etag = put(&store, "head/x", &n.to_string(), PutMode::Update(etag.clone()))
                        .unwrap()
                        .unwrap();
                    store.delete(&key(&format!("pack/{}-0", n - 3))).unwrap();
                }
            }
            store.drain()
        });
        let mut seen = 0;
        while !drained.is_finished() {
            // The last object is read first: the objects that it needs existed before it.
            let is_there = |at: &str| read(&*memory, at).is_some();
            let newest = (1..=30).rev().find(|n| is_there(&format!("note/{n}"))).unwrap_or(0);
            let gone = (1..=newest).filter(|n| !is_there(&format!("pack/{n}-0"))).max().unwrap_or(0);
            let head = head_of(&*memory);
            assert!(gone == 0 || head >= gone + 3, "pack {gone}-0 is gone before head {head}");
            assert!((1..=newest).all(|n| is_there(&format!("note/{n}"))), "a gap before {newest}");
            for n in 1..=newest {
                let parts = (1..5).filter(|part| is_there(&format!("pack/{n}-{part}"))).count();
                assert_eq!(parts, 4, "note {n} of {newest}");
            }
            let head = head_of(&*memory);
            assert!((1..=head).all(|n| is_there(&format!("note/{n}"))), "the head says {head}");
            assert!(seen <= newest);
            seen = newest;
        }
        drained.join().unwrap().unwrap();
    });
    assert_eq!(read(&*memory, "head/x").unwrap(), "28");
    assert!(store.lag() > Duration::ZERO);
}

#[test]
fn only_new_objects_are_uploaded_concurrently() {
    let memory: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let trace = TraceStore::new(memory);
    let most = crate::at_longer_latencies(
        Duration::from_millis(20),
        |most: &usize| *most > 4,
        |per_request| {
            let pace = Pace { per_request, bytes_per_second: None };
            // The outer trace measures the time of each call.
            let slow: Arc<dyn ObjectStore> = Arc::new(TraceStore::clone(&trace));
            let slow: Arc<dyn ObjectStore> = Arc::new(LatencyStore::new(slow, pace));
            let outside = TraceStore::new(slow);
            let dir = tempfile::tempdir().unwrap();
            let store = staged(&(Arc::new(outside.clone()) as Arc<dyn ObjectStore>), &dir);
            outside.start_journal();
            for n in 0..16 {
                overwrite(&store, &format!("pack/{n}"), "x");
            }
            overwrite(&store, "other", "y");
            overwrite(&store, "pack/last", "x");
            store.drain().unwrap();
            let calls = outside.take_journal();
            let alone = calls.iter().find(|call| call.key == "other").unwrap();
            for call in calls.iter().filter(|call| call.key != "other") {
                let before = call.time.end < alone.time.start;
                assert_eq!(before, call.key != "pack/last", "{} is on the wrong side", call.key);
                assert!(before || call.time.start > alone.time.end, "{} is concurrent with it", call.key);
            }
            crate::most_at_once(&calls)
        },
    );
    assert!((5..=8).contains(&most), "{most} at once");
}

/// Changes that must be visible at once bypass the queue; a lock is released when all other operations have arrived.
#[test]
fn a_lock_is_deleted_last() {
    let gate = Gate::new();
    let store = gate.staged();
    put(&store, "lock/x", "me", PutMode::Create).unwrap();
    assert_eq!(
        put(&store, "lock/x", "me too", PutMode::Create).unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    let gate = gate.shut();
    overwrite(&store, "pack/a", "x");
    std::thread::scope(|s| {
        let released = s.spawn(|| store.delete(&key("lock/x")));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!released.is_finished() && gate.there("lock/x").is_some());
        gate.open();
        released.join().unwrap().unwrap();
    });
    assert_eq!((gate.there("lock/x"), gate.there("pack/a").unwrap()), (None, "x".into()));
    let gate = gate.shut();
    assert!(put(&store, "clock/1", "now", PutMode::Overwrite).is_err(), "it is not queued");
    overwrite(&store, "note/1", "x");
    assert!(store.list_page("pack/", None, 9).is_ok(), "a listing of what is not queued does not wait");
    gate.open();
    assert_eq!(store.list("note/", None).count(), 1, "one of what is queued does");
}

/// A head refers to queued objects, and so waits for them.
#[test]
fn the_first_manifest_follows_the_queued_objects() {
    let gate = Gate::new();
    let store = gate.staged();
    gate.trace.start_journal();
    overwrite(&store, "note/1", "x");
    overwrite(&store, "head/x", "1");
    let keys: Vec<_> = gate.trace.take_journal().into_iter().map(|call| call.key).collect();
    assert_eq!(keys, ["note/1", "head/x"]);
    let gate = Gate::new();
    let store = gate.staged();
    let refusal = Rule {
        times: 1,
        ..Rule::fail_nth(Select::Mutating, 0, Timing::Before, ErrorKind::PreconditionFailed)
    };
    gate.faults.inject(refusal);
    assert!(put(&store, "head/x", "1", PutMode::Overwrite).is_err());
    let _gate = gate.shut();
    assert!(
        put(&store, "head/x", "1", PutMode::Overwrite).is_err(),
        "an operation that was refused is repeated"
    );
}
