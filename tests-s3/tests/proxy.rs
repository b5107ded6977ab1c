//! Connections that break between the program and the server: the data is right or there is an error, in bounded time,
//! and it is never silently wrong. The test uses the loopback server, or the one of the environment if
//! LEDGER_TEST_STORE is set.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;
#[path = "common/rounds.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod rounds;
#[path = "../../connector/ledger/tests/common/work.rs"]
#[allow(dead_code, reason = "the ledger's tests use the rest")]
mod work;

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{environment, key, open, server};
use h5lake_ledger::{Access, ErrorKind, Ledger, Options, Replace};
use h5lake_tests_s3::Server;
use h5lake_tests_s3::proxy::{Proxy, Trouble};
use object_stores::conformance::lending::Watch;
use object_stores::remote::Environment;
use object_stores::{ObjectStore, PutMode};
use work::{Chance, Map, content, work};

const KEY: &str = "c.h5";
const COMMITS: u64 = 5;
/// The time limit of one request with all its tries: see docs/backends.md, with the time limit that is set here.
const REQUEST: Duration = Duration::from_secs(12);

/// The server behind the proxies.
struct Behind {
    _ours: Option<Server>,
    address: SocketAddr,
    environment: Environment,
}

fn behind() -> Behind {
    if std::env::var_os("LEDGER_TEST_STORE").is_some() {
        let environment: Environment =
            std::env::vars().filter(|(name, _)| name.starts_with("AWS_")).collect();
        let host = environment["AWS_ENDPOINT_URL"].trim_start_matches("http://").to_owned();
        let address = host.to_socket_addrs().unwrap().next().unwrap();
        return Behind { _ours: None, address, environment };
    }
    let server = server();
    let environment = environment(&server);
    let address = server.endpoint().trim_start_matches("http://").parse().unwrap();
    Behind { _ours: Some(server), address, environment }
}

impl Behind {
    fn directly(&self, url: &str) -> Arc<dyn ObjectStore> {
        open(url, &self.environment).unwrap()
    }

    fn through(&self, proxy: &Proxy, url: &str) -> Arc<dyn ObjectStore> {
        let mut environment = self.environment.clone();
        environment.insert("AWS_ENDPOINT_URL".into(), proxy.endpoint());
        environment.insert("AWS_TIMEOUT".into(), "1s".into());
        open(url, &environment).unwrap()
    }
}

/// Returns a URL in the bucket that no other test uses.
fn fresh_url() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let time = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("s3://lake/proxy/{}-{time:x}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

fn options() -> Options {
    Options { checkpoint_bytes: 20_000, retention: Some(Duration::ZERO), ..Options::default() }
}

/// Works through troubles, then checks the content without the proxy; returns whether all the work was done, and the
/// number of connections.
fn struck(behind: &Behind, what: &str, plan: impl Fn(u64) -> Trouble + Send + Sync + 'static) -> (bool, u64) {
    let url = fresh_url();
    let direct = behind.directly(&url);
    // The container exists before the troubles begin.
    drop(Ledger::create_objects(direct.clone(), KEY, Replace::Fail, options()).unwrap());
    let proxy = Proxy::start(behind.address, plan).unwrap();
    let begun = Instant::now();
    let opened = Ledger::open_objects(behind.through(&proxy, &url), KEY, Access::ReadWrite, options());
    let (done, states, result) = match &opened {
        Ok(ledger) => work(ledger, &Map::new(), COMMITS),
        Err(_) => (0, vec![Map::new()], Ok(())),
    };
    // A commit is a few consecutive requests.
    assert!(begun.elapsed() < REQUEST * 6, "{:?}, {what}", begun.elapsed());
    let read = Ledger::open_objects(direct.clone(), KEY, Access::ReadOnly, options()).unwrap();
    let version = read.version();
    assert!(
        version == done || version == done + 1,
        "version {version} after {done} commits, {what}: {result:?}"
    );
    assert!(content(&read).unwrap() == states[version as usize], "other content, {what}: {result:?}");
    if let Ok(ledger) = &opened {
        // A read through the troubles is right, or an error.
        if let Ok(found) = content(ledger) {
            assert!(states[done as usize..].contains(&found), "read otherwise, {what}");
        }
        match ledger.commit() {
            Ok(_) => {
                let read = Ledger::open_objects(direct, KEY, Access::ReadOnly, options()).unwrap();
                assert!(content(&read).unwrap() == *states.last().unwrap(), "after a repetition, {what}");
            }
            Err(e) => assert!(!e.to_string().contains("loopback-secret"), "{e}"),
        }
    }
    (opened.is_ok() && result.is_ok(), proxy.connections())
}

#[test]
fn a_quiet_proxy_changes_nothing() {
    let (done, connections) = struck(&behind(), "no trouble", |_| Trouble::default());
    assert!(done && connections > 0);
}

#[test]
fn requests_sent_twice_take_effect_once() {
    let (done, _) = struck(&behind(), "twice", |_| Trouble { twice: true, ..Trouble::default() });
    assert!(done);
}

#[test]
fn slow_answers_are_awaited() {
    let slow = |_| Trouble { delay: Duration::from_millis(60), ..Trouble::default() };
    assert!(struck(&behind(), "slow", slow).0);
}

/// Returns a trouble of any kind in the first kilobytes of a connection; with every second seed some connections have
/// none.
fn random_trouble(seed: u64, connection: u64) -> Trouble {
    let mut chance = Chance::new((seed << 20) + connection + 1);
    // The offsets are near the heads of requests, and within bodies.
    let mut at = || {
        let most = [600, 6_000, 120_000][chance.below(3) as usize];
        Some(chance.below(most))
    };
    let (a, kind) = (at(), Chance::new(seed * 7919 + connection).below(7 + 3 * (seed % 2)));
    let t = Trouble::default();
    match kind {
        0 => Trouble { refuse: true, ..t },
        1 => Trouble { cut_up: a, ..t },
        2 => Trouble { cut_down: a, ..t },
        // A server that does not check signatures stores damaged bytes; another test checks that.
        3 if std::env::var("S3_SERVER").is_ok_and(|name| name == "moto") => t,
        3 => Trouble { flip_up: a, ..t },
        4 => Trouble { flip_down: a, ..t },
        5 => Trouble { silent_after: a, ..t },
        6 => Trouble { twice: true, cut_down: a, ..t },
        _ => t,
    }
}

#[test]
fn random_troubles_never_make_wrong_data() {
    let behind = behind();
    let seeds: u64 = std::env::var("SEEDS").map_or(24, |n| n.parse().unwrap());
    let next = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    std::thread::scope(|s| {
        for _ in 0..6 {
            s.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let (all, _) = struck(&behind, &format!("seed {seed}"), move |n| random_trouble(seed, n));
                    done.fetch_add(u64::from(all), Ordering::Relaxed);
                }
            });
        }
    });
    let done = done.into_inner();
    println!("{done} of {seeds} went through");
    // Retries have to overcome the troubles of some seeds: if the work never succeeded, the test would show little.
    assert!(done > seeds / 8, "{done} of {seeds}");
}

/// Puts objects, each with one byte changed in transit at another offset. Returns how often the server refused the put,
/// and how often it stored changed bytes.
fn put_changed(behind: &Behind) -> (u32, u32) {
    let url = fresh_url();
    let direct = behind.directly(&url);
    let bytes: Vec<u8> = (0..200_000u32).map(|n| ((n * 7) >> 3) as u8).collect();
    let (mut refused, mut kept) = (0, 0);
    for at in [2_000, 50_000, 150_000] {
        let flip = move |_| Trouble { flip_up: Some(at), ..Trouble::default() };
        let proxy = Proxy::start(behind.address, flip).unwrap();
        let name = key(&format!("up-{at}"));
        match behind.through(&proxy, &url).put(&name, bytes.clone().into(), PutMode::Overwrite) {
            Ok(_) => kept += u32::from(direct.get(&name, None).unwrap().bytes != bytes),
            Err(_) => {
                refused += 1;
                assert!(direct.get(&name, None).is_err(), "{at}: refused, and there");
            }
        }
    }
    (refused, kept)
}

#[test]
fn a_changed_byte_of_an_upload_is_refused_by_the_server() {
    let behind = behind();
    let (refused, kept) = put_changed(&behind);
    if std::env::var("S3_SERVER").is_ok_and(|name| name == "moto") {
        // Moto verifies nothing, and stores the bytes that arrive: readers detect the damage.
        assert!(refused == 0 && kept > 0, "moto checks signatures by now: {refused} refused");
        let damaged = (0..6).filter(|n| detects_damage(&behind, 3_000 + n * 900)).count();
        assert!(damaged > 0, "nothing was changed on its way");
        return;
    }
    assert!(refused > 0, "nothing was changed on its way");
    assert_eq!(kept, 0);
}

/// Commits with one byte changed in transit to a server that does not verify; returns whether readers detected damage.
/// Each read is right or reports damage.
fn detects_damage(behind: &Behind, at: u64) -> bool {
    let url = fresh_url();
    let direct = behind.directly(&url);
    drop(Ledger::create_objects(direct.clone(), KEY, Replace::Fail, options()).unwrap());
    let flip = move |_| Trouble { flip_up: Some(at), ..Trouble::default() };
    let proxy = Proxy::start(behind.address, flip).unwrap();
    let Ok(ledger) = Ledger::open_objects(behind.through(&proxy, &url), KEY, Access::ReadWrite, options())
    else {
        return false;
    };
    let (_, states, _) = work(&ledger, &Map::new(), COMMITS);
    drop(ledger);
    let read = Ledger::open_objects(direct, KEY, Access::ReadOnly, options());
    match read.and_then(|read| content(&read)) {
        Ok(found) => {
            assert!(states.contains(&found), "wrong, and silent");
            false
        }
        Err(e) => matches!(e.kind(), ErrorKind::Corrupt { .. }),
    }
}

/// Every connection breaks, on average after some twenty requests: while a request is sent, while an answer is sent, or
/// by silence. No flush and no open fails, and none takes long.
#[test]
fn flushes_and_opens_succeed_over_connections_that_break() {
    let (behind, seed) = (behind(), rounds::seed());
    let trouble = move |connection: u64| {
        let mut chance = seed.wrapping_mul(connection + 1) | 1;
        let after = Some(rounds::next(&mut chance) % (20 << 10));
        let none = Trouble::default();
        match rounds::next(&mut chance) % 3 {
            0 => Trouble { cut_up: after, ..none },
            1 => Trouble { cut_down: after, ..none },
            _ => Trouble { silent_after: after, ..none },
        }
    };
    let proxy = Proxy::start(behind.address, trouble).unwrap();
    let mut environment = behind.environment.clone();
    environment.insert("AWS_ENDPOINT_URL".into(), proxy.endpoint());
    let count = rounds::count(160);
    let times = rounds::rounds(count, || open(&fresh_url(), &environment).unwrap());
    println!("{} connections", proxy.connections());
    assert!(proxy.connections() > count / 16, "{} connections", proxy.connections());
    rounds::check(seed, &times);
}

#[test]
fn a_silent_server_is_an_error_in_bounded_time() {
    let behind = behind();
    let url = fresh_url();
    behind.directly(&url).put(&key("a"), vec![7; 100_000].into(), PutMode::Overwrite).unwrap();
    for after in [0, 500, 50_000] {
        let silent = move |_| Trouble { silent_after: Some(after), ..Trouble::default() };
        let proxy = Proxy::start(behind.address, silent).unwrap();
        let begun = Instant::now();
        let got = behind.through(&proxy, &url).get(&key("a"), None);
        assert!(begun.elapsed() < REQUEST, "{:?}", begun.elapsed());
        match got {
            Ok(got) => assert!(got.bytes == vec![7; 100_000]),
            Err(e) => assert!(e.kind().is_ambiguous(), "{e}"),
        }
    }
    let ledger = Ledger::create_objects(behind.directly(&url), KEY, Replace::Fail, options()).unwrap();
    drop(ledger);
    let proxy =
        Proxy::start(behind.address, |_| Trouble { silent_after: Some(0), ..Trouble::default() }).unwrap();
    let begun = Instant::now();
    // All requests of an operation of HDF5 have one time limit together, of 50 seconds if no setting says another.
    let operation = object_stores::deadline::begin();
    let error =
        Ledger::open_objects(behind.through(&proxy, &url), KEY, Access::ReadWrite, options()).unwrap_err();
    drop(operation);
    assert!(matches!(error.kind(), ErrorKind::Store { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(50) + REQUEST, "{:?}", begun.elapsed());
}

/// A put that has returned soon releases the bytes that it was given, however it ended, because a program's buffer is
/// lent to it. If the peer stops reading and keeps the connection open, the operating system has to end the connection
/// (`TCP_USER_TIMEOUT`, 30 seconds in the client).
#[test]
fn payload_buffers_are_released() {
    let behind = behind();
    let t = Trouble::default;
    let troubles = [
        ("none", t()),
        ("refused", Trouble { refuse: true, ..t() }),
        ("cut", Trouble { cut_up: Some(3 << 20), ..t() }),
        ("cut before the answer", Trouble { cut_down: Some(5), ..t() }),
        ("changed", Trouble { flip_up: Some(3 << 20), ..t() }),
        ("silent at the beginning", Trouble { silent_after: Some(0), ..t() }),
        ("deaf in the middle", Trouble { deaf_after: Some(1 << 20), ..t() }),
        ("silent in the middle", Trouble { silent_after: Some(3 << 20), ..t() }),
    ];
    std::thread::scope(|s| {
        for (what, trouble) in troubles {
            let behind = &behind;
            s.spawn(move || {
                let proxy = Proxy::start(behind.address, move |_| trouble).unwrap();
                let store = behind.through(&proxy, &fresh_url());
                assert!(!store.capabilities().keeps_pieces);
                let (whole, watch) = Watch::over(vec![7; 8 << 20]);
                let pieces = (0..8).map(|n| whole.slice(n << 20..(n + 1) << 20)).collect();
                drop(whole);
                let put = store.put(&key("lent"), pieces, PutMode::Overwrite);
                let returned = Instant::now();
                let most = if trouble.deaf_after.is_some() { 45 } else { 2 };
                assert!(watch.wait(Duration::from_secs(most)), "{what}: {put:?}");
                println!(
                    "{what}: {} after {:?}",
                    if put.is_ok() { "put" } else { "failed" },
                    returned.elapsed()
                );
            });
        }
    });
}
