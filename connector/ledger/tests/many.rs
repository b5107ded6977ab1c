//! Several writers of one container: no commit is lost or torn, and conflicting changes are reported.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::work::{Chance, Map, content, data};
use common::{Place, places, threaded_place};
use h5lake_ledger::{Access, ErrorKind, Extent, Ledger, Options, Writers};
use proptest::prelude::*;

fn many() -> Options {
    Options { writers: Writers::Many, checkpoint_bytes: 4000, ..Options::default() }
}

/// Puts a value under a key: tag 0 and the bytes, or tag 1 and an extent. The old payload is freed.
fn put(l: &Ledger, key: &[u8], value: &[u8]) {
    release(l, key);
    let mut stored = vec![u8::from(value.len() > 300)];
    match value.len() {
        0..=300 => stored.extend_from_slice(value),
        _ => l.write_payload(value).unwrap().encode(&mut stored),
    }
    l.put(key, stored).unwrap();
}

fn release(l: &Ledger, key: &[u8]) {
    if let Some(old) = l.get(key).unwrap()
        && old[0] == 1
    {
        l.free_payload(&Extent::decode(&old[1..]).unwrap().0).unwrap();
    }
}

fn reader_content(place: &Place) -> Map {
    content(&place.open(Access::ReadOnly, &Options::default())).unwrap()
}

#[test]
fn two_writers_see_the_changes_of_each_other() {
    for place in places() {
        let a = place.create(&many());
        let b = place.open(Access::ReadWrite, &many());
        put(&a, b"a", b"1");
        put(&b, b"b", &data(1, 5000));
        a.commit().unwrap();
        assert_eq!(b.get(b"a").unwrap(), None, "what is not asked for does not change");
        assert_eq!(b.commit().unwrap(), 2);
        assert_eq!(b.get(b"a").unwrap().unwrap(), Bytes::from("\x001"));
        let changes = a.advance(&|_| false).unwrap();
        assert_eq!(changes.iter().map(|c| c.key.as_ref()).collect::<Vec<_>>(), [b"b"]);
        assert_eq!((changes[0].pid, changes[0].version), (std::process::id(), 2));
        assert_eq!(content(&a).unwrap(), content(&b).unwrap());
        assert_eq!(reader_content(&place), content(&a).unwrap());
    }
}

#[test]
fn a_key_that_both_writers_changed_must_be_merged() {
    for place in places() {
        let a = place.create(&many());
        put(&a, b"k", b"base");
        put(&a, b"other", b"base");
        a.commit().unwrap();
        let b = place.open(Access::ReadWrite, &many());
        put(&a, b"k", b"of a");
        put(&b, b"k", b"of b");
        put(&b, b"mine", b"of b");
        a.commit().unwrap();
        let wanted = |k: &[u8]| k == b"other";
        assert_eq!(b.try_commit().unwrap(), None);
        let e = b.commit().unwrap_err();
        assert_eq!(*e.kind(), ErrorKind::Conflict);
        assert!(b.advance(&wanted).unwrap().is_empty());
        assert_eq!(b.unmerged(), [(Bytes::from("k"), Some(Bytes::from("\0base")))]);
        assert_eq!(b.committed(b"k").unwrap().unwrap(), Bytes::from("\0of a"));
        assert_eq!(b.get(b"k").unwrap().unwrap(), Bytes::from("\0of b"));
        // The other writer changes the key a second time. The base remains the value that both writers started from.
        put(&a, b"k", b"of a again");
        put(&a, b"other", b"of a");
        a.commit().unwrap();
        let changes = b.advance(&wanted).unwrap();
        let other = changes.iter().find(|c| c.key == "other").unwrap();
        assert_eq!(other.before, Some(Bytes::from("\0base")));
        assert_eq!(b.unmerged()[0].1, Some(Bytes::from("\0base")));
        assert_eq!(*b.try_commit().unwrap_err().kind(), ErrorKind::Conflict);
        b.put(b"k", "\0of both").unwrap();
        b.merged(b"k");
        assert!(b.try_commit().unwrap().is_some());
        let left = reader_content(&place);
        assert_eq!((&left[&b"k"[..]], &left[&b"mine"[..]]), (&b"of both".to_vec(), &b"of b".to_vec()));
        // The other way to resolve the conflict is to drop the change.
        put(&a, b"x", b"of a");
        put(&b, b"x", b"of b");
        a.advance(&|_| false).unwrap();
        a.commit().unwrap();
        b.commit().unwrap_err();
        b.unstage(b"x").unwrap();
        b.commit().unwrap();
        assert_eq!(reader_content(&place)[&b"x"[..]], b"of a");
    }
}

#[test]
fn a_container_that_was_replaced_or_deleted_takes_no_commits() {
    let store: std::sync::Arc<dyn object_stores::ObjectStore> = common::store();
    let create = |o: &Options| {
        Ledger::create_objects(store.clone(), "c", h5lake_ledger::Replace::Atomically, o.clone()).unwrap()
    };
    let a = create(&many());
    put(&a, b"k", b"of a");
    a.commit().unwrap();
    let b = create(&many());
    put(&b, b"k", b"of b");
    b.commit().unwrap();
    put(&a, b"lost", &data(1, 5000));
    let e = a.commit().unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Broken { why } if why.contains("replaced")), "{e}");
    assert!(matches!(a.put(b"k", "x").unwrap_err().kind(), ErrorKind::Broken { .. }));
    let r = Ledger::open_objects(store.clone(), "c", Access::ReadOnly, Options::default()).unwrap();
    assert_eq!(r.get(b"k").unwrap().unwrap(), Bytes::from("\0of b"));
    assert_eq!(r.get(b"lost").unwrap(), None);
    Ledger::remove_objects(&store, "c").unwrap();
    put(&b, b"k", b"lost too");
    let e = b.commit().unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Broken { why } if why.contains("deleted")), "{e}");
}

/// Payloads of a little more than a megabyte do not divide a reserved region evenly. The remainders must not stay reserved,
/// and committed parts of a region must not stay locked: otherwise no writer finds free space.
#[test]
fn writers_that_overwrite_their_data_again_and_again_reuse_space() {
    const LENGTH: usize = (1 << 20) + 32;
    let place = Place::file();
    let opts = Options { writers: Writers::Many, retention: Some(Duration::ZERO), ..Options::default() };
    let mut all = vec![place.create(&opts)];
    all.extend((0..3).map(|_| place.open(Access::ReadWrite, &opts)));
    for round in 0..40_u8 {
        for (n, l) in all.iter().enumerate() {
            l.advance(&|_| false).unwrap();
            for part in 0..2 {
                put(l, &[n as u8, part], &vec![round; LENGTH]);
            }
            l.commit().unwrap();
        }
    }
    let Place::File(_, path) = &place else { panic!("a file") };
    let (length, data) = (path.metadata().unwrap().len(), (8 * LENGTH) as u64);
    assert!(length < 3 * data, "{length} bytes for {data} bytes of data");
}

#[test]
fn one_writer_and_many_keep_each_other_out() {
    let place = Place::file();
    let one = place.create(&Options::default());
    assert!(
        matches!(place.try_open(Access::ReadWrite, &many()).unwrap_err().kind(), ErrorKind::Locked { holder: Some(h), .. } if h.pid == std::process::id())
    );
    one.close().unwrap();
    let a = place.open(Access::ReadWrite, &many());
    let b = place.open(Access::ReadWrite, &many());
    let refused = || place.try_open(Access::ReadWrite, &Options::default()).unwrap_err();
    assert!(matches!(refused().kind(), ErrorKind::Locked { .. }));
    let e = place.try_create(h5lake_ledger::Replace::Atomically, &many()).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Locked { .. }), "{e}");
    a.close().unwrap();
    assert!(matches!(refused().kind(), ErrorKind::Locked { .. }));
    b.close().unwrap();
    place.open(Access::ReadWrite, &Options::default());
}

#[test]
fn numbers_are_given_once() {
    let place = threaded_place();
    let first = place.create(&many());
    put(&first, b"staged", b"1");
    let all: Vec<u64> = std::thread::scope(|s| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                s.spawn(|| {
                    let l = place.open(Access::ReadWrite, &many());
                    let (mut got, seen) = (Vec::new(), l.get(b"N").unwrap());
                    for n in 0..20 {
                        put(&l, format!("t{n}").as_bytes(), b"v");
                        got.push(l.take_numbers(b"N", 10, 1).unwrap());
                        assert_eq!(l.get(b"N").unwrap(), seen, "the view stays");
                    }
                    got
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    let set: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(set, (0..80).map(|n| 1 + 10 * n).collect());
    assert_eq!(first.take_numbers(b"N", 10, 1).unwrap(), 801);
    first.commit().unwrap();
    assert_eq!(first.get(b"N").unwrap().unwrap(), 811u64.to_be_bytes()[..]);
    let left = place.open(Access::ReadOnly, &Options::default());
    assert!(left.get(b"staged").unwrap().is_some() && left.get(b"t0").unwrap().is_none());
}

/// Writers in threads, each with keys of its own, and readers that verify every payload at every version.
#[test]
fn writers_in_threads_lose_and_tear_nothing() {
    const WRITERS: u64 = 4;
    const COMMITS: u64 = 60;
    let place = threaded_place();
    place.create(&many()).close().unwrap();
    let done = AtomicBool::new(false);
    // The number of versions that each reader has seen.
    let seen = [AtomicU64::new(0), AtomicU64::new(0)];
    let wanted: Map = std::thread::scope(|s| {
        let readers: Vec<_> = seen
            .iter()
            .map(|versions| {
                s.spawn(|| {
                    let l = place.open(Access::ReadOnly, &Options::default());
                    while !done.load(Ordering::Relaxed) {
                        versions.fetch_add(u64::from(l.refresh().unwrap()), Ordering::Relaxed);
                        content(&l).unwrap();
                    }
                })
            })
            .collect();
        let (place, seen) = (&place, &seen);
        let writers: Vec<_> = (0..WRITERS)
            .map(|w| {
                s.spawn(move || {
                    let l = place.open(Access::ReadWrite, &many());
                    let mut model = Map::new();
                    let mut c = Chance::new(w + 11);
                    for n in 0..COMMITS {
                        // On a busy machine the readers may not run during all of this.
                        let end = Instant::now() + Duration::from_secs(20);
                        while seen.iter().any(|s| s.load(Ordering::Relaxed) < n / 10) && Instant::now() < end
                        {
                            std::thread::sleep(Duration::from_micros(100));
                        }
                        for _ in 0..=c.below(4) {
                            let key = format!("{w}-{}", c.below(8)).into_bytes();
                            let value = data(n * 7 + w, [5, 200, 400, 9000, 70_000][c.below(5) as usize]);
                            put(&l, &key, &value);
                            model.insert(key, value);
                        }
                        l.commit().unwrap();
                    }
                    model
                })
            })
            .collect();
        let all = writers.into_iter().flat_map(|w| w.join().unwrap()).collect();
        done.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|r| r.join().unwrap());
        assert!(seen.iter().all(|s| s.load(Ordering::Relaxed) > 3), "{seen:?}");
        all
    });
    let l = place.open(Access::ReadOnly, &Options::default());
    assert_eq!(l.version(), WRITERS * COMMITS);
    assert!(content(&l).unwrap() == wanted);
    // The exclusive writer that follows finds a complete container.
    let l = place.open(Access::ReadWrite, &Options::default());
    put(&l, b"0-0", b"after");
    l.commit().unwrap();
    l.vacuum().unwrap();
    assert_eq!(content(&l).unwrap().len(), wanted.len());
}

/// One of two writers of a store dies at each of its modifying calls, with the call completed, half completed or not
/// started.
#[test]
fn a_writer_that_dies_at_any_call_blocks_no_other_writer() {
    use object_stores::{FaultStore, MemoryStore, ObjectStore, Timing};
    use std::sync::Arc;
    let opts = Options { checkpoint_bytes: 700, ..many() };
    let run = |dies: Option<(u64, Timing)>| {
        let inner: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        let open = |s: Arc<dyn ObjectStore>| Ledger::open_objects(s, "c.h5", Access::ReadWrite, opts.clone());
        Ledger::create_objects(inner.clone(), "c.h5", h5lake_ledger::Replace::Fail, opts.clone()).unwrap();
        let dying = FaultStore::new(inner.clone());
        if let Some((n, timing)) = dies {
            dying.crash_at(n, timing);
        }
        let mut a = open(Arc::new(dying.clone())).ok();
        let b = open(inner.clone()).unwrap();
        let (mut sure, mut maybe) = (Map::new(), Map::new());
        for n in 0..10u64 {
            if let Some(l) = &a {
                let (key, value) = (format!("a{}", n % 3).into_bytes(), data(n, 200 + 300 * (n % 2)));
                maybe = sure.clone();
                maybe.insert(key.clone(), value.clone());
                let staged = (|| {
                    if let Some(old) = l.get(&key)?.filter(|v| v[0] == 1) {
                        l.free_payload(&Extent::decode(&old[1..])?.0)?;
                    }
                    let mut v = vec![1];
                    l.write_payload(&value)?.encode(&mut v);
                    l.put(&key, v)?;
                    l.commit()
                })();
                match staged {
                    Ok(_) => sure = maybe.clone(),
                    Err(_) => a = None,
                }
            }
            let (key, value) = (format!("b{}", n % 3).into_bytes(), data(n + 50, 400));
            put(&b, &key, &value);
            b.commit().unwrap_or_else(|e| panic!("{dies:?}: {e}"));
            sure.insert(key.clone(), value.clone());
            maybe.insert(key, value);
        }
        drop((a, b));
        let left = Ledger::open_objects(inner.clone(), "c.h5", Access::ReadOnly, Options::default()).unwrap();
        let found = content(&left).unwrap_or_else(|e| panic!("{dies:?}: {e}"));
        assert!(found == sure || found == maybe, "{dies:?}: other content");
        let one = Ledger::open_objects(inner, "c.h5", Access::ReadWrite, Options::default()).unwrap();
        put(&one, b"after", b"1");
        one.commit().unwrap_or_else(|e| panic!("{dies:?}, going on: {e}"));
        one.vacuum().unwrap();
        assert_eq!(content(&one).unwrap().len(), found.len() + 1);
        dying.mutations()
    };
    let calls = run(None);
    assert!(calls > 20, "{calls} calls are too few to prove much");
    for n in 0..calls {
        for timing in Timing::ALL {
            run(Some((n, timing)));
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Put(usize, u8, u32),
    Delete(usize, u8),
    Commit(usize),
    Advance(usize),
    Rollback(usize),
    Reopen(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let w = || 0..3usize;
    prop_oneof![
        8 => (w(), 0u8..40, prop_oneof![0u32..250, 301u32..5000, 60_000u32..80_000]).prop_map(|(w, k, n)| Op::Put(w, k, n)),
        2 => (w(), 0u8..40).prop_map(|(w, k)| Op::Delete(w, k)),
        6 => w().prop_map(Op::Commit),
        1 => w().prop_map(Op::Advance),
        1 => w().prop_map(Op::Rollback),
        1 => w().prop_map(Op::Reopen),
    ]
}

/// Checks that any interleaving of three writers has the same result as their commits one after the other, in the order
/// of their versions, if a change that conflicts with an earlier commit is dropped.
fn interleave(place: &Place, ops: &[Op]) {
    let opts = Options { checkpoint_bytes: 1500, retention: Some(std::time::Duration::ZERO), ..many() };
    // Obsolete objects of a store are retained for as long as a writer may be without a refresh.
    let opts = if matches!(place, Place::Objects(..)) { Options { retention: None, ..opts } } else { opts };
    let mut writers = vec![Some(place.create(&opts))];
    writers.extend((0..2).map(|_| Some(place.open(Access::ReadWrite, &opts))));
    let mut committed = Map::new();
    let mut staged: Vec<BTreeMap<Vec<u8>, Option<Vec<u8>>>> = vec![BTreeMap::new(); 3];
    let (mut version, mut seed) = (0, 0);
    for op in ops {
        seed += 1;
        match *op {
            Op::Put(w, k, n) => {
                let (key, value) = (vec![b'k', k], data(seed, n.into()));
                put(writers[w].as_ref().unwrap(), &key, &value);
                staged[w].insert(key, Some(value));
            }
            Op::Delete(w, k) => {
                let l = writers[w].as_ref().unwrap();
                release(l, &[b'k', k]);
                l.delete(&[b'k', k]).unwrap();
                staged[w].insert(vec![b'k', k], None);
            }
            Op::Advance(w) => drop(writers[w].as_ref().unwrap().advance(&|_| false).unwrap()),
            Op::Rollback(w) => {
                writers[w].as_ref().unwrap().rollback().unwrap();
                staged[w].clear();
            }
            Op::Reopen(w) => {
                writers[w].take().unwrap().close().unwrap();
                writers[w] = Some(place.open(Access::ReadWrite, &opts));
                staged[w].clear();
            }
            Op::Commit(w) => {
                let l = writers[w].as_ref().unwrap();
                l.advance(&|_| false).unwrap();
                for (key, base) in l.unmerged() {
                    give_up(l, &key, base.as_deref());
                    staged[w].remove(&key[..]);
                }
                let now = l.commit().unwrap();
                assert!(now == version || now == version + 1);
                version = now;
                for (key, value) in std::mem::take(&mut staged[w]) {
                    match value {
                        Some(v) => committed.insert(key, v),
                        None => committed.remove(&key),
                    };
                }
                assert!(content(l).unwrap() == committed);
                assert!(reader_content(place) == committed);
            }
        }
    }
}

/// Drops the staged change of a key, and corrects the payloads of both sides.
fn give_up(l: &Ledger, key: &[u8], base: Option<&[u8]>) {
    let extent = |v: Option<&[u8]>| v.filter(|v| v[0] == 1).map(|v| Extent::decode(&v[1..]).unwrap().0);
    let ours = l.get(key).unwrap();
    if let Some(e) = extent(base) {
        l.keep_payload(&e).unwrap();
    }
    if let Some(e) = extent(ours.as_deref())
        && ours.as_deref() != base
    {
        l.free_payload(&e).unwrap();
    }
    l.unstage(key).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn interleavings_are_like_one_after_the_other_in_a_file(ops in prop::collection::vec(op(), 1..120)) {
        interleave(&Place::file(), &ops);
    }

    #[test]
    fn interleavings_are_like_one_after_the_other_in_a_store(ops in prop::collection::vec(op(), 1..120)) {
        interleave(&Place::objects(), &ops);
    }
}

/// A writer that has to join and to put payloads commits beside writers that commit all the time: a lost swap is repeated at once with the
/// newest manifest, not after a pause with an old one.
#[test]
fn no_writer_waits_for_other_writers_to_close() {
    const MOST: u64 = 20_000;
    for place in places() {
        drop(place.create(&many()));
        let (is_over, commits) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let (place, is_over, commits) = (&place, &is_over, &commits);
                scope.spawn(move || {
                    let l = place.open(Access::ReadWrite, &many());
                    while !is_over.load(Ordering::Relaxed) && commits.fetch_add(1, Ordering::Relaxed) < MOST {
                        put(&l, format!("fast {thread}").as_bytes(), b"value");
                        l.commit().unwrap();
                    }
                });
            }
            for n in 0..5 {
                let l = place.open(Access::ReadWrite, &many());
                put(&l, &[n], &data(n.into(), 5000));
                l.commit().unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
        });
        assert!(commits.load(Ordering::Relaxed) < MOST, "the busy writers had to end first");
    }
}
