//! Tests on a cluster: `tests-ceph/on` starts one and runs them.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::parts::{MAX_PARTS, Manifest, PARTS, part_name};
use super::*;
use crate::ObjectStoreExt;

/// A new, empty namespace of the pool that `RADOS_TEST_POOL` names.
fn store() -> RadosStore {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let pool = std::env::var("RADOS_TEST_POOL").unwrap_or_else(|_| "h5lake".to_owned());
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let address = address::parse(&format!("//{pool}/unit-{}-{number}", std::process::id())).unwrap();
    let variable = |name: &str| std::env::var(name).ok();
    let identity = address::identity(&address, &Settings::new(), &variable).unwrap();
    RadosStore { space: Arc::new(Namespace::open(&address, identity).unwrap()) }
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// Returns the names in the namespace that are no valid keys.
fn hidden(store: &RadosStore) -> Vec<String> {
    let mut names = Vec::new();
    let mut take = |name: &[u8]| {
        let name = String::from_utf8(name.to_vec()).unwrap();
        names.extend(Some(name).filter(|name| name.starts_with("//part/")));
        std::ops::ControlFlow::Continue(())
    };
    store.space.ask(|pool, bound| pool.names(None, bound, &mut take), |()| 0).unwrap();
    names.sort_unstable();
    names
}

/// Returns the bytes of a long object, which differ in each version.
fn long(version: u8) -> Vec<u8> {
    let length = usize::try_from(MAX_WHOLE_BYTES).unwrap() + 100_000 * usize::from(version) + 1;
    (0..length).map(|i| (i / 4096) as u8 ^ version).collect()
}

#[test]
#[ignore = "needs a cluster: tests-ceph/on"]
fn conforms() {
    crate::conformance::run(|| Arc::new(store()));
}

#[test]
#[ignore = "needs a cluster: tests-ceph/on"]
fn the_etag_is_that_of_the_very_put_in_a_race_of_eight_threads() {
    let store = store();
    let at = key("head");
    let first = store.put(&at, "start".into(), PutMode::Create).unwrap().etag.unwrap();
    let (mut current, mut wins) = (first, 0);
    for round in 0..200_u32 {
        let barrier = Barrier::new(8);
        let answers: Vec<_> = thread::scope(|scope| {
            let racers: Vec<_> = (0..8_u32)
                .map(|thread| {
                    let (store, at, barrier, current) = (&store, &at, &barrier, &current);
                    scope.spawn(move || {
                        barrier.wait();
                        // Puts of other objects through the same connection must not show in the answer.
                        let other = key(&format!("other/{thread}"));
                        let own = store.put(&other, vec![thread as u8].into(), PutMode::Overwrite).unwrap();
                        assert_eq!(store.head(&other).unwrap().etag, own.etag);
                        let text = format!("{round} {thread}");
                        let put =
                            store.put(at, text.clone().into_bytes().into(), PutMode::Update(current.clone()));
                        (text, put)
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let (won, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, put)| put.is_ok());
        assert_eq!(won.len(), 1, "round {round}");
        assert!(
            refused
                .iter()
                .all(|(_, put)| put.as_ref().is_err_and(|e| e.kind() == ErrorKind::PreconditionFailed))
        );
        let (text, put) = won.into_iter().next().unwrap();
        let now = store.get(&at, None).unwrap();
        assert_eq!(
            (now.bytes.as_ref(), &now.meta.etag),
            (text.as_bytes(), &put.unwrap().etag),
            "round {round}"
        );
        current = now.meta.etag.unwrap();
        wins += 1;
    }
    assert_eq!(wins, 200);
}

#[test]
#[ignore = "needs a cluster: tests-ceph/on"]
fn long_objects_are_stored_in_parts_and_deleted_with_them() {
    let store = store();
    let at = key("dir/long");
    let one = long(1);
    let put = store.put(&at, one.clone().into(), PutMode::Create).unwrap();
    assert_eq!(hidden(&store).len(), 5);
    let meta = store.head(&at).unwrap();
    assert_eq!((meta.size, &meta.etag), (one.len() as u64, &put.etag));
    assert!(store.get(&at, None).unwrap().bytes == one);
    let range = (PART_BYTES - 5)..(3 * PART_BYTES + 7);
    let part = &one[range.start as usize..range.end as usize];
    assert!(store.get(&at, Some(range.clone())).unwrap().bytes == part);
    let mut read = vec![0; part.len()];
    store.get_into(&at, range.start, &mut read).unwrap();
    assert!(read == part);
    read.clear();
    store.get_each(&at, range, &mut |piece| read.extend_from_slice(piece)).unwrap();
    assert!(read == part);
    assert_eq!(store.list("", None).map(|meta| meta.unwrap().size).collect::<Vec<_>>(), [one.len() as u64]);

    // A refused put leaves the existing object, and no parts of its own.
    let refused = store.put(&at, long(2).into(), PutMode::Create).unwrap_err();
    assert_eq!((refused.kind(), hidden(&store).len()), (ErrorKind::AlreadyExists, 5));
    // An update, an overwrite and a short object each remove the parts of the object they replace.
    let before = hidden(&store);
    let put = store.put(&at, long(2).into(), PutMode::Update(put.etag.unwrap())).unwrap();
    assert_eq!(put.etag, store.head(&at).unwrap().etag);
    assert!(hidden(&store).len() == 5 && hidden(&store).iter().all(|name| !before.contains(name)));
    store.put(&at, long(3).into(), PutMode::Overwrite).unwrap();
    assert!(store.get(&at, None).unwrap().bytes == long(3));
    assert_eq!(hidden(&store).len(), 5);
    let put = store.put(&at, "short".into(), PutMode::Overwrite).unwrap();
    assert_eq!((store.get(&at, None).unwrap().bytes, hidden(&store).len()), ("short".into(), 0));
    let put = store.put(&at, long(1).into(), PutMode::Update(put.etag.unwrap())).unwrap();
    store.put(&at, "again".into(), PutMode::Update(put.etag.unwrap())).unwrap();
    assert_eq!((store.get(&at, None).unwrap().bytes, hidden(&store).len()), ("again".into(), 0));
    store.put(&at, long(1).into(), PutMode::Overwrite).unwrap();
    store.delete_many(&[key("none"), at.clone()]).unwrap();
    assert_eq!((store.head_opt(&at).unwrap(), hidden(&store)), (None, Vec::<String>::new()));
}

#[test]
#[ignore = "needs a cluster: tests-ceph/on"]
fn a_reader_never_sees_parts_of_two_versions() {
    let store = store();
    let at = key("mixed");
    let versions = [long(1), long(2), b"short".to_vec()];
    store.put(&at, versions[0].clone().into(), PutMode::Create).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 1..8 {
                store.put(&at, versions[round % 3].clone().into(), PutMode::Overwrite).unwrap();
            }
        });
        let mut reads = 0;
        while !writer.is_finished() {
            let got = store.get(&at, None).unwrap();
            assert!(
                versions.iter().any(|version| *version == got.bytes),
                "{} bytes of no version",
                got.bytes.len()
            );
            assert_eq!(got.meta.size, got.bytes.len() as u64);
            reads += 1;
        }
        assert!(reads > 0);
    });
}

#[test]
#[ignore = "needs a cluster: tests-ceph/on"]
fn unfinished_uploads_are_swept_and_finished_ones_are_not() {
    let store = store();
    let kept = key("kept");
    store.put(&kept, long(1).into(), PutMode::Create).unwrap();
    let own = hidden(&store);
    let mut upload = Upload::new(store.space.clone(), key("lost"));
    upload.add(&long(2)).unwrap();
    // The writer's process dies.
    std::mem::forget(upload);
    assert!(hidden(&store).len() > own.len());
    assert_eq!(store.space.sweep(0, sweep::MIN_AGE).unwrap(), 0, "it is young");
    assert!(hidden(&store).len() > own.len());
    assert_eq!(store.space.sweep(0, 0).unwrap(), 1);
    assert_eq!(hidden(&store), own);
    assert!(store.get(&kept, None).unwrap().bytes == long(1));

    // An upload that is swept while in progress fails, and leaves no parts.
    let mut late: Box<dyn PutStream> = store.put_stream(&kept).unwrap();
    late.write(&long(3)).unwrap();
    assert_eq!(store.space.sweep(0, 0).unwrap(), 1);
    assert!(late.finish().unwrap_err().to_string().contains("more than a day"));
    assert_eq!(hidden(&store), own);
    assert!(store.get(&kept, None).unwrap().bytes == long(1));
}

#[test]
#[ignore = "needs a cluster: tests-ceph/on"]
fn a_listing_ends_with_its_bound() {
    let store = store();
    for n in 0..50 {
        store.put(&key(&format!("{n}")), "x".into(), PutMode::Overwrite).unwrap();
    }
    let over = std::time::Instant::now();
    let mut take = |_: &[u8]| std::ops::ControlFlow::Continue(());
    let error = store.space.pool().unwrap().names(None, &|| over, &mut take).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ETIMEDOUT));
    assert_eq!(store.list("", None).count(), 50);
}

#[test]
#[ignore = "needs a cluster: tests-ceph/on"]
fn parts_that_are_missing_are_an_error_and_no_wait() {
    let store = store();
    let at = key("torn");
    store.put(&at, long(1).into(), PutMode::Create).unwrap();
    let (head, _) = store.space.read(&at, 0, &mut []).unwrap();
    let second = part_name(head.parts.unwrap().upload, 1);
    store.space.write(&second, 0, |operation| operation.remove()).unwrap();
    assert_eq!(store.get(&at, None).unwrap_err().kind(), ErrorKind::Unavailable);
    let mut buffer = vec![0; 16 << 20];
    assert_eq!(store.get_into(&at, 0, &mut buffer).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
#[ignore = "needs a cluster: tests-ceph/on"]
fn the_clusters_clock_is_known_after_the_first_put_and_stamps_objects() {
    let store = store();
    assert_eq!(store.clock(), None);
    store.put(&key("a"), "x".into(), PutMode::Create).unwrap();
    let (clock, own) = (store.clock().unwrap(), SystemTime::now());
    let apart = clock.duration_since(own).unwrap_or_else(|e| e.duration());
    assert!(apart < Duration::from_secs(5), "one machine has one clock, and they are {apart:?} apart");
    // An object has the cluster's time, whatever this process's clock shows: this test makes it wrong.
    store.space.clock.learn(Duration::from_secs(1_700_000_000));
    store.put(&key("b"), "x".into(), PutMode::Create).unwrap();
    let modified = store.head(&key("b")).unwrap().modified.duration_since(UNIX_EPOCH).unwrap();
    assert!((1_700_000_000..1_700_000_010).contains(&modified.as_secs()), "{modified:?}");
}

#[test]
#[ignore = "needs a cluster: tests-ceph/on"]
fn each_of_the_first_puts_waits_for_the_clusters_clock() {
    let store = store();
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        for n in 0..8 {
            let (store, barrier) = (&store, &barrier);
            scope.spawn(move || {
                barrier.wait();
                store.space.ask_for_time().unwrap();
                assert!(store.space.clock.seconds().is_some());
                store.put(&key(&format!("{n}")), "x".into(), PutMode::Create).unwrap();
            });
        }
    });
}

#[test]
#[ignore = "needs a cluster: tests-ceph/on"]
fn missing_parts_do_not_delay_a_delete() {
    let store = store();
    let forge = |at: &Key, parts: &[u8]| {
        let write = store.space.write(at.as_str(), 0, |operation| {
            operation.create(false).write_full(&[]).set_attribute(PARTS, parts)
        });
        write.unwrap();
    };
    let at = key("forged");
    let longest = Manifest { upload: 7, part_bytes: PART_BYTES, size: MAX_PARTS * PART_BYTES };
    let begun = std::time::Instant::now();
    forge(&at, longest.encode().as_bytes());
    store.put(&at, "x".into(), PutMode::Overwrite).unwrap();
    forge(&at, longest.encode().as_bytes());
    store.delete(&at).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!(store.head_opt(&at).unwrap(), None);
    forge(&at, b"1 00000000000000000000000000000007 1 9223372036854775807");
    assert_eq!(store.delete(&at).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
#[ignore = "needs a cluster: tests-ceph/on"]
fn an_unreachable_cluster_is_an_error_with_a_cause() {
    let open = |url: &str, settings: &[(&str, &str)]| {
        let settings = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        crate::Registry::new().open_with(url, &settings).unwrap_err()
    };
    let none = open("rados://no-such-pool/n", &[]);
    assert_eq!((none.kind(), none.errno()), (ErrorKind::NoStore, Some(2)));
    assert!(none.to_string().contains("no-such-pool"), "{none}");
    let stranger = open("rados://stranger@h5lake/n", &[("timeout", "5s")]);
    assert_eq!((stranger.kind(), stranger.errno()), (ErrorKind::Unauthenticated, Some(13)), "{stranger}");
    assert!(stranger.to_string().contains("client.stranger"), "{stranger}");
    let file = open("rados://h5lake/n", &[("conf", "/no/such/ceph.conf")]);
    assert_eq!(file.errno(), Some(2), "{file}");
    assert!(file.to_string().contains("/no/such/ceph.conf"), "{file}");
    // The monitor does not answer.
    let silent = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(silent.path(), "[global]\nmon host = 127.0.0.1:1\nauth client required = none\n").unwrap();
    let begun = std::time::Instant::now();
    let late = open("rados://h5lake/n", &[("conf", silent.path().to_str().unwrap()), ("timeout", "2s")]);
    assert_eq!((late.kind(), late.errno()), (ErrorKind::Timeout, Some(110)), "{late}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}
