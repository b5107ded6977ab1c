use std::time::SystemTime;

use bytes::Bytes;
use object_stores::{Call, LatencyStore, Pace, TraceStore, at_longer_latencies, most_at_once};

use super::note::Rest;
use super::*;
use crate::codec::{Reader, put_string, put_varint};

fn names() -> Names {
    Names::new(Key::new("c").unwrap(), &[1; 16], "x").unwrap()
}

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(object_stores::MemoryStore::new())
}

fn note() -> Note {
    let identity = ProcessIdentity::myself();
    Note { holder: myself(), nonce: [5; 16], until: seconds() + 50, identity, rests: Vec::new() }
}

fn put(store: &Arc<dyn ObjectStore>, note: &Note) -> Option<Etag> {
    let key = names().key("lock", "x").unwrap();
    store.put(&key, PutPayload::from(note.encode()), PutMode::Overwrite).unwrap().etag
}

#[test]
fn a_lease_is_stale_when_its_holder_is_gone() {
    let mut note = note();
    assert_eq!(Note::decode(&note.encode()), Ok(note.clone()));
    assert_eq!(note.life(), Life::Dead, "a handle of this process that died");
    lock(&LIVE).insert([5; 16]);
    assert_eq!(note.life(), Life::Alive);
    lock(&LIVE).remove(&[5; 16]);
    // As earlier versions wrote it.
    note.identity = None;
    let early = Bytes::from(note.encode());
    assert_eq!(Note::decode(&early), Ok(note.clone()));
    assert_eq!(note.life(), Life::Unknown, "a process id alone says little");
    note.holder.host = "elsewhere".into();
    assert_eq!(note.life(), Life::Unknown);
}

/// Of a process that cannot be seen from here.
fn elsewhere() -> ProcessIdentity {
    let mut bytes = Vec::new();
    put_string(&mut bytes, b"another boot");
    put_varint(&mut bytes, 1);
    put_varint(&mut bytes, 1);
    ProcessIdentity::read(&mut Reader::new(&bytes)).unwrap()
}

/// Earlier versions of h5lake went by the time in the note. So a store that was copied with such a one is not locked anew.
#[test]
fn an_earlier_versions_lease_ends_when_it_says() {
    let (store, names) = (memory(), names());
    put(&store, &Note { identity: None, until: seconds() - 1, ..note() });
    check_free(store.as_ref(), &names, "x").unwrap();
}

/// What the holder's clock says is of no account: a year ahead, it does not keep the container for a year.
#[test]
fn the_stores_clock_decides() {
    let (store, names) = (memory(), names());
    let ahead = seconds() + 365 * 86_400;
    for (identity, until) in [(Some(elsewhere()), 0), (Some(elsewhere()), ahead), (None, ahead)] {
        let other = Note { identity, until, ..note() };
        put(&store, &other);
        let found = find(store.as_ref(), &names, "x").unwrap().unwrap();
        let refused = stale_or_locked(store.as_ref(), &names, &found, "x").unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::Locked { holder: Some(_), .. }), "{refused}");
        let put_at = |modified: SystemTime| {
            let mut found = found.clone();
            found.meta.modified = modified;
            stale_or_locked(store.as_ref(), &names, &found, "x").is_ok()
        };
        let now = SystemTime::now();
        assert!(!put_at(now - TERM / 2) && !put_at(now + TERM / 2));
        assert!(put_at(now - TERM * 2), "nobody renewed it");
        assert!(put_at(now + TERM * 2), "the store's clock was set back");
    }
}

/// Who slept past its lease finds out before it commits that somebody else has taken it.
#[test]
fn a_lost_lease_is_noticed_when_it_is_renewed() {
    let unguarded = object_stores::FaultStore::new(memory()).without_create().without_update();
    is_noticed_when_it_is_renewed(memory());
    is_noticed_when_it_is_renewed(Arc::new(unguarded));
}

fn is_noticed_when_it_is_renewed(store: Arc<dyn ObjectStore>) {
    let names = names();
    let key = names.key("lock", "x").unwrap();
    let take = || Lease::take(&store, &names, "x");
    let mut first = take().unwrap();
    assert!(matches!(take().unwrap_err().kind(), ErrorKind::Locked { .. }));
    first.renew().unwrap();
    // It is taken away while the holder sleeps.
    let sleep = |lease: &Lease| lock(&lease.held).renewed.1 -= 100;
    sleep(&first);
    let found = holder(store.as_ref(), &names, "x").unwrap().unwrap();
    take_away(store.as_ref(), &names, &found, "x").unwrap();
    let second = take().unwrap();
    assert_eq!(*first.renew().unwrap_err().kind(), ErrorKind::Conflict);
    // Nor does it give back what is another's.
    first.release().unwrap();
    assert!(store.get_opt(&key, None).unwrap().is_some());
    second.release().unwrap();
    assert!(store.get_opt(&key, None).unwrap().is_none());
    // Where nobody wanted it meanwhile, it goes on.
    let mut third = take().unwrap();
    sleep(&third);
    third.renew().unwrap();
    assert!(lock(&third.held).age() < RENEW_INTERVAL);
    third.release().unwrap();
    assert!(store.get_opt(&key, None).unwrap().is_none());
}

/// Who is refused and then finds the lease given back creates it, and does not put it over another's who did the same.
#[test]
fn a_lease_that_is_given_back_meanwhile_is_created() {
    for (times, is_taken) in [(1, true), (u64::MAX, false)] {
        let faulty = object_stores::FaultStore::new(memory());
        faulty.inject(object_stores::Rule {
            select: object_stores::Select::Mutating,
            skip: 0,
            times,
            fault: object_stores::Fault::Fail(
                object_stores::Timing::Before,
                object_stores::ErrorKind::AlreadyExists,
            ),
        });
        let store: Arc<dyn ObjectStore> = Arc::new(faulty);
        match Lease::take(&store, &names(), "x") {
            Ok(_) => assert!(is_taken),
            Err(e) => assert!(!is_taken && matches!(e.kind(), ErrorKind::Locked { holder: None, .. }), "{e}"),
        }
    }
}

/// A renewal whose answer was lost is no other writer's lease.
#[test]
fn a_renewal_without_an_answer_costs_nothing() {
    let faulty = object_stores::FaultStore::new(memory());
    let store: Arc<dyn ObjectStore> = Arc::new(faulty.clone());
    let mut lease = Lease::take(&store, &names(), "x").unwrap();
    lock(&lease.held).renewed.1 -= 100;
    let lost = object_stores::Rule {
        times: 2,
        ..object_stores::Rule::fail_nth(
            object_stores::Select::Any,
            0,
            object_stores::Timing::After,
            object_stores::ErrorKind::Timeout,
        )
    };
    faulty.inject(lost);
    assert!(matches!(lease.renew().unwrap_err().kind(), ErrorKind::Store { .. }));
    lock(&lease.held).note.until += 7;
    lease.renew().unwrap();
}

/// A store that does not answer costs writers in other stores nothing.
#[test]
fn a_store_that_hangs_keeps_no_other_lease_from_renewal() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let open = |dir: &tempfile::TempDir| {
        object_stores::Registry::global().open(&format!("file://{}", dir.path().display()))
    };
    let well = open(&dirs[1]).unwrap();
    let stuck = Lease::take(&open(&dirs[0]).unwrap(), &names(), "x").unwrap();
    let lease = Lease::take(&well, &names(), "x").unwrap();
    let etag = || find(well.as_ref(), &names(), "x").unwrap().unwrap().meta.etag;
    let hangs = object_stores::Pace { per_request: Duration::from_secs(30), bytes_per_second: None };
    let inner = lock(&stuck.held).store.clone();
    lock(&stuck.held).store = Arc::new(object_stores::LatencyStore::new(inner, hangs));
    lock(&stuck.held).renewed.1 -= 100;
    let other = Names::new(Key::new("d").unwrap(), &[2; 16], "x").unwrap();
    let _wakes = Lease::take(&well, &other, "x").unwrap();
    while stuck.held.try_lock().is_some() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let before = etag();
    lock(&lease.held).renewed.1 -= 100;
    let another = Names::new(Key::new("e").unwrap(), &[3; 16], "x").unwrap();
    let _wakes_again = Lease::take(&well, &another, "x").unwrap();
    let is_renewed = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        etag() != before
    });
    assert!(is_renewed);
    // It does not end: the thread waits for the store.
    std::mem::forget(stuck);
}

/// Leases that were taken together are due together. One after the other, the last of many would end in a slow store.
#[test]
fn leases_in_a_slow_store_are_renewed_several_at_a_time_and_the_oldest_first() {
    let is_beside = |calls: &Vec<Call>| most_at_once(calls) > 1;
    let calls = at_longer_latencies(Duration::from_millis(10), is_beside, renewed_in_a_slow_store);
    assert!((2..=8).contains(&most_at_once(&calls)), "{calls:#?}");
    assert_eq!(calls.len(), LEASES, "each once");
    let first = calls.iter().min_by_key(|call| call.time.start).unwrap();
    assert!((LEASES - 8..LEASES).any(|n| first.key.starts_with(&format!("c{n}."))), "{}", first.key);
}

const LEASES: usize = 24;

/// What renewing leases asks of a store, each of which is older than the one before.
fn renewed_in_a_slow_store(per_request: Duration) -> Vec<Call> {
    let pace = Pace { per_request, bytes_per_second: None };
    let trace = TraceStore::new(Arc::new(LatencyStore::new(memory(), pace)));
    let store: Arc<dyn ObjectStore> = Arc::new(trace.clone());
    let take = |n: usize| {
        let names = Names::new(Key::new(format!("c{n}")).unwrap(), &[1; 16], "x").unwrap();
        Lease::take(&store, &names, "x").unwrap()
    };
    let leases: Vec<Lease> = (0..LEASES).map(take).collect();
    for (n, lease) in leases.iter().enumerate() {
        lock(&lease.held).renewed.1 -= 100 + n as u64;
    }
    trace.start_journal();
    keeper::renew_all(leases.iter().map(|lease| Arc::downgrade(&lease.held)).collect());
    trace.take_journal()
}

/// An idle writer's lease is renewed by the thread that looks after them.
#[test]
fn an_idle_writer_keeps_its_lease() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().display());
    let store = object_stores::Registry::global().open(&url).unwrap();
    let lease = Lease::take(&store, &names(), "x").unwrap();
    let before = find(store.as_ref(), &names(), "x").unwrap().unwrap();
    lock(&lease.held).renewed.1 -= 100;
    // Another lease wakes the thread before its time.
    let other = Names::new(Key::new("d").unwrap(), &[2; 16], "x").unwrap();
    let _other = Lease::take(&store, &other, "x").unwrap();
    for _ in 0..500 {
        if find(store.as_ref(), &names(), "x").unwrap().unwrap().meta.etag != before.meta.etag {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("not renewed");
}

fn rest(folder: &std::path::Path, queue: Option<&str>) -> Rest {
    let (host, folder) = (myself().host, folder.display().to_string());
    Rest { host, folder, queue: queue.map(str::to_owned) }
}

/// The rest of a dead writer's commits may lie where only its machine sees it. Earlier versions write and read notes without that.
#[test]
fn a_stage_is_told_to_whoever_wants_to_write() {
    let (store, names) = (memory(), names());
    let folder = tempfile::tempdir().unwrap();
    let earlier = rest(folder.path(), None);
    let staged = Note { rests: vec![earlier.clone()], ..note() };
    let bytes = staged.encode();
    assert_eq!(Note::decode(&bytes), Ok(staged.clone()));
    assert!(bytes.starts_with(&note().encode()[..20]), "what comes before is as it was");
    let check = |note: &Note| rest::check(store.as_ref(), &names, &note.encode(), "x");
    assert!(
        check(&staged).unwrap().is_empty() && check(&note()).unwrap().is_empty(),
        "nothing lies in the folder"
    );
    let rebooted = check(&Note { identity: Some(elsewhere()), ..staged.clone() }).unwrap_err();
    assert!(
        matches!(rebooted.kind(), ErrorKind::Staged { .. }),
        "the folder may have been cleared: {rebooted}"
    );
    let hidden = Note { rests: vec![rest(&folder.path().join("hidden"), None)], ..note() };
    assert!(matches!(check(&hidden).unwrap_err().kind(), ErrorKind::Staged { .. }));
    put(&store, &staged);
    Lease::take(&store, &names, "x").unwrap().release().unwrap();
    let far = Note { rests: vec![Rest { host: "node17".into(), ..earlier }], ..note() };
    let refused = check(&far).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("node17") && text.contains(&folder.path().display().to_string()), "{text}");
    // To bring the rest, the lease is had; and if that fails, the note is there again.
    put(&store, &staged);
    let lease = Lease::take_to_drain(&store, &names, "x").unwrap();
    assert_eq!(holder(store.as_ref(), &names, "x").unwrap().unwrap().lives, Some(true));
    lease.put_back().unwrap();
    let again = find(store.as_ref(), &names, "x").unwrap().unwrap();
    assert_eq!(Note::decode(&again.bytes), Ok(staged));
}

/// A note of an earlier version, which says a folder and no queue.
#[test]
fn an_earlier_versions_note_is_read() {
    let staged = Note { rests: vec![rest(std::path::Path::new("/scratch"), None)], ..note() };
    let mut earlier = b"h5lW".to_vec();
    put_string(&mut earlier, staged.holder.host.as_bytes());
    put_varint(&mut earlier, u64::from(staged.holder.pid));
    put_varint(&mut earlier, staged.holder.since);
    earlier.extend_from_slice(&staged.nonce);
    put_varint(&mut earlier, staged.until);
    staged.identity.as_ref().unwrap().encode(&mut earlier);
    put_string(&mut earlier, b"/scratch");
    crate::checksum::seal(&mut earlier);
    assert_eq!(Note::decode(&earlier), Ok(staged));
}

/// A queue that is there and empty is drained, whatever else is so. One that cannot be seen is not.
#[test]
fn only_an_empty_queue_is_drained() {
    let (store, names) = (memory(), names());
    let folder = tempfile::tempdir().unwrap();
    let check = |rest: Rest| {
        let note = Note { rests: vec![rest], identity: Some(elsewhere()), ..note() };
        rest::check(store.as_ref(), &names, &note.encode(), "x")
    };
    let queue = "0123456789abcdef-a";
    let path = folder.path().join(queue);
    assert!(check(rest(folder.path(), Some(queue))).is_err(), "it is not there");
    std::fs::create_dir(&path).unwrap();
    assert!(check(rest(folder.path(), Some(queue))).unwrap().is_empty());
    std::fs::write(path.join("0000000000000001.op"), "").unwrap();
    assert!(check(rest(folder.path(), Some(queue))).is_err(), "an operation waits");
    for lie in ["../x", "", ".", "a/b", "x\0"] {
        assert!(!object_stores::staged::is_drained(folder.path(), lie), "{lie:?}");
    }
}

/// Whoever dies while it brings what a dead writer left leaves a lock object that tells of it.
#[test]
fn who_brings_a_rest_goes_on_telling_of_it() {
    let (store, names) = (memory(), names());
    let folder = tempfile::tempdir().unwrap();
    let rests: Vec<Rest> = ["a", "b"].map(|queue| rest(folder.path(), Some(queue))).into();
    let dead = Note { rests: rests.clone(), ..note() };
    let told = || find(store.as_ref(), &names, "x").unwrap().map(|found| Note::decode(&found.bytes).unwrap());
    put(&store, &dead);
    let lease = Lease::take_to_drain(&store, &names, "x").unwrap();
    assert_eq!(told().unwrap().rests, rests, "while it is brought");
    lease.release_drained("a").unwrap();
    assert_eq!(told(), Some(Note { rests: rests[1..].to_vec(), ..dead }), "the other one waits");
    Lease::take_to_drain(&store, &names, "x").unwrap().release_drained("b").unwrap();
    assert_eq!(told(), None);
}
