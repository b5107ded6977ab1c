//! The number of requests of operations, counted at the server: requests cost money and time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{changed, environment, fresh, key, open, server};
use h5lake_container::{
    Access, CharSet, Container, CreationOrder, DatasetSpec, Dataspace, Datatype, FileCreation, Fill, Index,
    Layout, LinkTarget, Options, Order, Replace, Selection, Target,
};
use h5lake_ledger::{Ledger, Writers};
use h5lake_tests_s3::faults::Outcome;
use h5lake_tests_s3::{BUCKET, Server};
use object_stores::{
    Call, DiskCache, LatencyStore, ObjectStore, ObservedStore, Pace, PutMode, RequestKind, TraceStore,
    most_at_once, round_trips,
};

fn target(store: &Arc<dyn ObjectStore>) -> Target {
    Target::Objects { store: store.clone(), key: "c.h5".into(), url: store.name() }
}

fn create(store: &Arc<dyn ObjectStore>) -> Arc<Container> {
    Container::create(&target(store), Replace::Truncate, FileCreation::default(), Options::default()).unwrap()
}

fn spec(dims: &[u64], layout: Layout) -> DatasetSpec {
    DatasetSpec {
        datatype: Datatype {
            encoded: "float64".into(),
            size: 8,
            class: 1,
            has_heap: false,
            has_references: false,
            committed: None,
        },
        space: Dataspace::Simple { dims: dims.to_vec(), max: dims.to_vec() },
        layout,
        fill: Fill::default(),
        filters: Vec::new(),
        unfiltered_edges: false,
        creation_properties: Default::default(),
        attribute_order: CreationOrder::default(),
        track_times: false,
    }
}

fn dataset(c: &Arc<Container>, name: &str, spec: DatasetSpec) -> Arc<h5lake_container::Dataset> {
    let made = c.create_dataset(spec).unwrap();
    c.link_create(c.root(), name.as_bytes(), LinkTarget::Hard(made.id()), CharSet::Utf8).unwrap();
    c.dataset(made.id()).unwrap()
}

fn counted(server: &Server, what: &str, most: usize) -> Vec<String> {
    let requests = server.take_requests();
    println!("{what}: {} requests", requests.len());
    assert!(requests.len() <= most, "{what}: {} requests, {requests:#?}", requests.len());
    requests
}

/// Returns whether a key is that of payloads, pages or segments.
fn is_object(key: &str) -> bool {
    object_stores::Key::new(key).is_ok_and(|key| Ledger::is_immutable_object(&key))
}

#[test]
fn a_small_commit_is_one_put() {
    let server = server();
    let store = fresh(&server);
    let c = create(&store);
    let d = dataset(&c, "x", spec(&[1000], Layout::Chunked { chunk: vec![100] }));
    c.flush().unwrap();
    counted(&server, "creating a container with a dataset, with the probe of conditions", 27);
    for n in 0..10u64 {
        let all = Selection::All;
        d.write(&all, &[n as u8; 8000]).unwrap();
        c.flush().unwrap();
        // Segments of earlier records are put beside commits, which do not wait for them.
        let requests = server.take_requests();
        let (segments, other_requests): (Vec<_>, Vec<_>) =
            requests.into_iter().partition(|request| request.contains("c.h5.lake/"));
        assert!(other_requests.len() == 1 && other_requests[0].starts_with("PUT "), "{other_requests:#?}");
        assert!(segments.iter().all(|request| request.starts_with("PUT ")), "{segments:#?}");
    }
}

/// A writer that shares a container, and meets no other writer, does not look for one. A writer that was overtaken looks
/// before its next commit. A refused swap is followed by one load, which settles the swap and shows the remote commits. Beside every eighth
/// swap the writer lists the queue.
#[test]
fn a_commit_of_concurrent_writers_is_one_swap() {
    let server = server();
    let place = format!("s3://{BUCKET}/shared");
    // Two names of the server stand for two processes, which share no open container.
    let open_by = |host: &str| {
        let endpoint = server.endpoint().replace("127.0.0.1", host);
        let store = common::open(&place, &changed(&server, &[("AWS_ENDPOINT_URL", &endpoint)])).unwrap();
        let ledger = h5lake_ledger::Options { writers: Writers::Many, ..Default::default() };
        let options = Options { ledger, ..Options::default() };
        Container::open(&target(&store), Access::ReadWrite, options).unwrap()
    };
    drop(create(&common::open(&place, &environment(&server)).unwrap()));
    let (a, b) = (open_by("127.0.0.1"), open_by("localhost"));
    assert!(!Arc::ptr_eq(&a, &b));
    let is_listing = |request: &str| request.trim_end_matches('/') == format!("GET /{BUCKET}");
    let methods = |c: &Arc<Container>, comment: &str| {
        server.take_requests();
        c.set_comment(c.root(), Some(comment.as_bytes())).unwrap();
        c.flush().unwrap();
        let requests = server.take_requests();
        let not_listings = requests.iter().filter(|request| !is_listing(request));
        not_listings.map(|request| request.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for n in 0..5 {
        assert_eq!(methods(&a, &format!("a {n}")), ["PUT"], "alone, {n}");
    }
    dataset(&b, "x", spec(&[10], Layout::Contiguous));
    b.flush().unwrap();
    assert_eq!(methods(&a, "overtaken"), ["PUT", "GET", "PUT"]);
    assert_eq!(methods(&a, "careful"), ["GET", "PUT"]);
    assert_eq!(methods(&a, "alone again"), ["PUT"]);
    server.take_requests();
    for n in 0..16 {
        a.set_comment(a.root(), Some(format!("more {n}").as_bytes())).unwrap();
        a.flush().unwrap();
    }
    let listings = server.take_requests().iter().filter(|request| is_listing(request)).count();
    assert_eq!(listings, 2, "in 16 commits");
}

#[test]
fn ten_thousand_small_datasets_are_few_requests() {
    let server = server();
    let store = fresh(&server);
    let c = create(&store);
    for n in 0..10_000 {
        let d = dataset(&c, &format!("d{n:05}"), spec(&[10], Layout::Contiguous));
        d.write(&Selection::All, &[n as u8; 80]).unwrap();
    }
    c.flush().unwrap();
    drop(c);
    counted(&server, "10,000 small datasets, with the probe of conditions", 32);
    let c = Container::open(&target(&store), Access::ReadOnly, Options::default()).unwrap();
    counted(&server, "opening a container of 10,000 datasets", 6);
    let mut buf = [0; 80];
    let id = c.link(c.root(), b"d05000").unwrap().unwrap();
    let LinkTarget::Hard(id) = id.target else { panic!("no hard link") };
    c.dataset(id).unwrap().read(&Selection::All, &mut buf).unwrap();
    assert_eq!(buf, [5000u32 as u8; 80]);
    counted(&server, "reading one dataset of 10,000", 8);
}

/// The requests that creating, writing and closing a container wait for.
#[test]
fn making_a_container_is_few_round_trips() {
    let server = server();
    let (trace, target) = far(&fresh(&server));
    let make = || Container::create(&target, Replace::Truncate, FileCreation::default(), Options::default());
    let (c, calls) = asked(&trace, || make().unwrap());
    println!("creating: {} requests, {} round trips", calls.len(), round_trips(&calls));
    // A look whether a head is there, beside the lease; then the first version is put as the head. The store's own probe is not
    // counted here.
    assert_eq!((calls.len(), round_trips(&calls)), (3, 2), "{calls:#?}");
    trace.start_journal();
    let d = dataset(&c, "x", spec(&[2 << 20], Layout::Chunked { chunk: vec![128 << 10] }));
    d.write(&Selection::All, &vec![7; 16 << 20]).unwrap();
    c.flush().unwrap();
    drop((c, d));
    let calls = trace.take_journal();
    println!("16 MiB and closing: {} requests, {} round trips", calls.len(), round_trips(&calls));
    // Two packs; the head; the head without the session; and the lease is deleted.
    assert!(calls.len() <= 5 && round_trips(&calls) <= 4, "{calls:#?}");
    // The content of the map came with the head.
    let mut all = vec![0; 16 << 20];
    let ((), calls) = asked(&trace, || {
        let c = Container::open(&target, Access::ReadOnly, Options::default()).unwrap();
        by_path(&c, "x").read(&Selection::All, &mut all).unwrap();
    });
    println!("opening and 16 MiB: {} requests, {} round trips", calls.len(), round_trips(&calls));
    assert!(all == vec![7; 16 << 20]);
    assert_eq!(round_trips(&calls), 2, "{calls:#?}");
}

/// A small container is read with one request.
#[test]
fn a_small_container_is_read_with_its_manifest() {
    let server = server();
    let (trace, target) = far(&fresh(&server));
    let create =
        || Container::create(&target, Replace::Truncate, FileCreation::default(), Options::default());
    let c = create().unwrap();
    for name in ["x", "y"] {
        dataset(&c, name, spec(&[2000], Layout::Contiguous)).write(&Selection::All, &[7; 16_000]).unwrap();
    }
    drop(c);
    let mut all = vec![0; 16_000];
    let ((), calls) = asked(&trace, || {
        let c = Container::open(&target, Access::ReadOnly, Options::default()).unwrap();
        for name in ["x", "y"] {
            all.fill(0);
            by_path(&c, name).read(&Selection::All, &mut all).unwrap();
            assert!(all == [7; 16_000]);
        }
    });
    assert_eq!(calls.len(), 1, "{calls:#?}");
}

/// The probe of the store's capabilities runs in parallel with all work that does not depend on it: the lease and the
/// first record are put before its first answer.
#[test]
fn a_server_is_probed_concurrently() {
    let server = server();
    let probes = |_: &str, path: &str| path.contains("h5lake-probe") && !path.ends_with("-damaged");
    let slow = [Duration::from_millis(400); 4].map(Outcome::Delay);
    server.faults().add(probes, 0, slow);
    drop(create(&fresh(&server)));
    let requests = server.take_requests();
    let at = |n: usize, part: &str| {
        let found =
            requests.iter().enumerate().filter(|(_, r)| r.starts_with("PUT") && r.contains(part)).nth(n);
        found.unwrap_or_else(|| panic!("{part} of {requests:#?}")).0
    };
    // Four creates race, in parallel with the put of a damaged payload; the sixth put follows their answers. After
    // three races come updates.
    let (second_round, last_round) = (at(5, "h5lake-probe"), at(12, "h5lake-probe"));
    let looked = requests.iter().position(|r| r.starts_with("GET") && r.ends_with("/c.h5")).unwrap();
    assert!(looked < second_round, "{requests:#?}");
    // A server that ignores conditions would replace another writer's lease.
    let head = requests.iter().position(|r| r.starts_with("PUT") && r.ends_with("/c.h5")).unwrap();
    assert!(last_round < at(0, "/lease") && at(0, "/lease") < head, "{requests:#?}");
    // Both wait until it is known whether the server guards updates, because another register serves servers that do not.
    let server = common::server();
    let second = |method: &str, path: &str| {
        method == "PUT" && path.contains("h5lake-probe") && !path.ends_with("-damaged")
    };
    server.faults().add(second, 12, [Outcome::Delay(Duration::from_secs(2))]);
    let begun = Instant::now();
    drop(create(&fresh(&server)));
    assert!(
        begun.elapsed() >= Duration::from_secs(2),
        "the head is put before the answers: {:?}",
        begun.elapsed()
    );
}

/// A program that only reads may have no write permission, and does not wait for a probe of conditional puts.
#[test]
fn readers_only_read() {
    let server = server();
    let url = format!("s3://{BUCKET}/readers");
    let c = create(&open(&url, &environment(&server)).unwrap());
    let d = dataset(&c, "x", spec(&[2 << 20], Layout::Chunked { chunk: vec![128 << 10] }));
    d.write(&Selection::All, &vec![7; 16 << 20]).unwrap();
    drop((c, d));
    server.take_requests();
    // The store is accessed with another setting, so that nothing is known of it.
    let store = open(&url, &changed(&server, &[("AWS_MAX_ATTEMPTS", "3")])).unwrap();
    let c = Container::open(&target(&store), Access::ReadOnly, Options::default()).unwrap();
    by_path(&c, "x").read(&Selection::All, &mut vec![0; 16 << 20]).unwrap();
    c.refresh().unwrap();
    drop(c);
    let requests = server.take_requests();
    assert!(!requests.is_empty() && requests.iter().all(|r| r.starts_with("GET ")), "{requests:#?}");
}

/// Returns the store with the latency of a distant one, and a trace of its requests.
fn far(store: &Arc<dyn ObjectStore>) -> (TraceStore, Target) {
    let pace = Pace { per_request: Duration::from_millis(120), ..Pace::default() };
    let trace = TraceStore::new(Arc::new(LatencyStore::new(store.clone(), pace)));
    let url = format!("far {}", store.name());
    let target = Target::Objects { store: Arc::new(trace.clone()), key: "c.h5".into(), url };
    (trace, target)
}

/// Returns the requests that `work` sent to the store.
fn asked<T>(trace: &TraceStore, work: impl FnOnce() -> T) -> (T, Vec<Call>) {
    trace.start_journal();
    let done = work();
    (done, trace.take_journal())
}

fn by_path(c: &Arc<Container>, name: &str) -> Arc<h5lake_container::Dataset> {
    let link = c.link(c.root(), name.as_bytes()).unwrap().unwrap();
    let LinkTarget::Hard(id) = link.target else { panic!("no hard link") };
    c.dataset(id).unwrap()
}

fn every(start: u64, stride: u64, count: u64, block: u64) -> Selection {
    Selection::Hyperslab { start: vec![start], stride: vec![stride], count: vec![count], block: vec![block] }
}

fn bytes_of(calls: &[Call], part: &str) -> u64 {
    calls.iter().filter(|call| call.key.contains(part)).map(|call| call.bytes).sum()
}

/// OBJECTS=1000000 tests 1,000,000 objects, which needs a release build.
#[test]
fn a_cold_open_is_three_round_trips_whatever_the_container_holds() {
    let objects: usize = std::env::var("OBJECTS").map_or(20_000, |n| n.parse().unwrap());
    let server = server();
    let store = fresh(&server);
    let c = create(&store);
    for n in 0..objects {
        let d = dataset(&c, &format!("d{n:07}"), spec(&[10], Layout::Contiguous));
        d.write(&Selection::All, &[n as u8; 80]).unwrap();
        if n % 100_000 == 99_999 {
            c.flush().unwrap();
        }
    }
    c.flush().unwrap();
    drop(c);
    let (trace, target) = far(&store);
    let (c, calls) =
        asked(&trace, || Container::open(&target, Access::ReadOnly, Options::default()).unwrap());
    let bytes: u64 = calls.iter().map(|call| call.bytes).sum();
    println!(
        "{objects} objects: {} requests, {bytes} bytes, {} round trips",
        calls.len(),
        round_trips(&calls)
    );
    assert!(round_trips(&calls) <= 3, "{calls:#?}");
    let (d, calls) = asked(&trace, || by_path(&c, "d0012345"));
    assert!(round_trips(&calls) <= 2, "a link and a header: {calls:#?}");
    let mut buf = [0; 80];
    let ((), calls) = asked(&trace, || d.read(&Selection::All, &mut buf).unwrap());
    assert_eq!(buf, [12345u32 as u8; 80]);
    assert!(round_trips(&calls) <= 1, "its one block: {calls:#?}");
}

#[test]
fn a_read_joins_touched_chunks_and_fetches_them_concurrently() {
    const CHUNK: u64 = 128 << 10;
    let server = server();
    let store = fresh(&server);
    let c = create(&store);
    // The data are 40 MiB in 320 chunks, in packs of 8 MiB.
    let d = dataset(&c, "x", spec(&[320 * CHUNK / 8], Layout::Chunked { chunk: vec![CHUNK / 8] }));
    let data: Vec<u8> =
        (0..320 * CHUNK / 4).flat_map(|n| (n as u32).wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    d.write(&Selection::All, &data).unwrap();
    c.flush().unwrap();
    drop((c, d));
    let (trace, target) = far(&store);
    let c = Container::open(&target, Access::ReadOnly, Options::default()).unwrap();
    let d = by_path(&c, "x");
    let mut all = vec![0; data.len()];
    let ((), calls) = asked(&trace, || d.read(&Selection::All, &mut all).unwrap());
    assert!(all == data);
    println!(
        "40 MiB: {} requests, {} at once, {} round trips",
        calls.len(),
        most_at_once(&calls),
        round_trips(&calls)
    );
    assert!(calls.len() <= 12, "packs, not chunks: {calls:#?}");
    assert!(most_at_once(&calls) >= 4 && round_trips(&calls) <= 3, "{calls:#?}");
    assert!(bytes_of(&calls, "c.h5.lake/") <= data.len() as u64 + (1 << 20), "{calls:#?}");

    // The selection is three distant chunks: their bytes come with three parallel requests.
    let c = {
        drop((c, d));
        Container::open(&target, Access::ReadOnly, Options::default()).unwrap()
    };
    let d = by_path(&c, "x");
    let chunk = CHUNK / 8;
    let some = every(10 * chunk, 100 * chunk, 3, chunk);
    let mut out = vec![0; 3 * CHUNK as usize];
    let ((), calls) = asked(&trace, || d.read(&some, &mut out).unwrap());
    for (n, part) in out.chunks(CHUNK as usize).enumerate() {
        let at = (10 + 100 * n) * CHUNK as usize;
        assert!(part == &data[at..at + CHUNK as usize]);
    }
    let packs: Vec<_> = calls.iter().filter(|call| is_object(&call.key)).cloned().collect();
    assert_eq!((packs.len(), bytes_of(&packs, ""), most_at_once(&packs)), (3, 3 * CHUNK, 3), "{calls:#?}");

    // A line across all chunks reads the blocks of 64 KiB that it crosses, and still needs few requests.
    let line = every(7, chunk, 320, 1);
    let mut out = vec![0; 320 * 8];
    let ((), calls) = asked(&trace, || d.read(&line, &mut out).unwrap());
    for (n, part) in out.chunks(8).enumerate() {
        let at = n * CHUNK as usize + 56;
        assert!(part == &data[at..at + 8]);
    }
    assert!(calls.len() <= 8, "{calls:#?}");
    assert!(round_trips(&calls) <= 2, "{calls:#?}");
}

#[test]
fn a_listing_of_a_big_group_is_few_round_trips() {
    let server = server();
    let store = fresh(&server);
    let c = create(&store);
    for n in 0..10_000 {
        let target = LinkTarget::Soft(format!("/somewhere/else/{n}").into_bytes());
        c.link_create(c.root(), format!("link-{n:05}").as_bytes(), target, CharSet::Utf8).unwrap();
    }
    c.flush().unwrap();
    drop(c);
    let (trace, target) = far(&store);
    let c = Container::open(&target, Access::ReadOnly, Options::default()).unwrap();
    let (names, calls) = asked(&trace, || c.links(c.root(), Index::Name, Order::Increasing).unwrap().len());
    assert_eq!(names, 10_000);
    println!("10,000 links: {} requests, {} round trips", calls.len(), round_trips(&calls));
    assert!(round_trips(&calls) <= 4, "{calls:#?}");
}

#[test]
fn repeated_reads_are_served_from_the_local_cache() {
    let server = server();
    let store = fresh(&server);
    let c = create(&store);
    let data: Vec<u8> = (0..10_000_000u32).map(|n| (n / 7) as u8).collect();
    let d = dataset(&c, "x", spec(&[1_250_000], Layout::Chunked { chunk: vec![25_000] }));
    d.write(&Selection::All, &data).unwrap();
    // There are enough objects for pages: a short log would stay a log.
    for n in 0..9000 {
        dataset(&c, &format!("d{n:05}"), spec(&[10], Layout::Contiguous));
    }
    c.flush().unwrap();
    drop((c, d));
    let dir = tempfile::tempdir().unwrap();
    let mut asked_of_store = Vec::new();
    for _ in 0..2 {
        // As with two consecutive processes, only the directory is retained.
        let trace = TraceStore::new(store.clone());
        let cache =
            DiskCache::open(Arc::new(trace.clone()), dir.path(), 1 << 30, Ledger::is_immutable_object)
                .unwrap();
        let target = Target::Objects { store: Arc::new(cache), key: "c.h5".into(), url: store.name() };
        let (all, calls) = asked(&trace, || {
            let c = Container::open(&target, Access::ReadOnly, Options::default()).unwrap();
            let mut all = vec![0; data.len()];
            by_path(&c, "x").read(&Selection::All, &mut all).unwrap();
            by_path(&c, "d08999");
            all
        });
        assert!(all == data);
        let kept = calls.iter().filter(|call| is_object(&call.key));
        asked_of_store.push((kept.count(), calls.len()));
    }
    println!("packs and pages, and all requests, of the first and the second process: {asked_of_store:?}");
    assert!(asked_of_store[0].0 >= 3, "{asked_of_store:?}");
    assert_eq!(asked_of_store[1].0, 0, "no pack and no page is fetched again: {asked_of_store:?}");
}

#[test]
fn a_request_that_is_sent_again_is_counted() {
    let server = server();
    let store = ObservedStore::new(fresh(&server));
    let (key, requests) = (key("a"), store.requests().unwrap());
    store.put(&key, "12345".into(), PutMode::Overwrite).unwrap();
    assert_eq!(requests.retries(), 0);
    server.faults().add(|m, _| m == "GET", 0, vec![Outcome::Instead(503, "SlowDown"), Outcome::CutBefore]);
    assert_eq!(store.get(&key, None).unwrap().bytes.len(), 5);
    assert_eq!((requests.retries(), requests.read(RequestKind::Get).calls), (2, 1));
    server.faults().add(|m, _| m == "GET", 0, vec![Outcome::Instead(403, "AccessDenied")]);
    store.get(&key, None).unwrap_err();
    let shown = requests.read(RequestKind::Get);
    assert_eq!((requests.retries(), shown.calls, shown.errors, shown.bytes), (2, 2, 1, 5));
}

/// The newest version of a small closed container comes with its manifest.
#[test]
fn the_newest_version_of_a_closed_container_is_one_request() {
    let server = server();
    let store = fresh(&server);
    for name in ["a.h5", "b.h5"] {
        let target = Target::Objects { store: store.clone(), key: name.into(), url: store.name() };
        let create =
            Container::create(&target, Replace::Truncate, FileCreation::default(), Options::default());
        let c = create.unwrap();
        dataset(&c, "x", spec(&[4000], Layout::Contiguous)).write(&Selection::All, &[7; 32_000]).unwrap();
    }
    server.take_requests();
    let found = Ledger::newest_versions_of_objects(&store, &["a.h5", "b.h5"]);
    counted(&server, "the newest versions of two closed containers", 2);
    assert!(found.iter().all(|found| found.as_ref().unwrap().as_ref().unwrap().number > 0), "{found:?}");
}
