//! Prints how long commits, opens and lookups take on this machine. Run with `cargo run --release --example latency
//! [DIRECTORY]`.
#![allow(clippy::unwrap_used, missing_docs, reason = "an example")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use h5lake_ledger::{Access, Ledger, Options, Replace, SyncPolicy};

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    println!("{what:<52} median {:>10.1?}  99% {:>10.1?}  most {:>10.1?}", at(50), at(99), at(100));
}

fn timed(n: usize, mut f: impl FnMut(usize)) -> Vec<Duration> {
    (0..n)
        .map(|i| {
            let start = Instant::now();
            f(i);
            start.elapsed()
        })
        .collect()
}

fn main() {
    let dir = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let path = dir.join(format!("latency-{}.h5", std::process::id()));
    for (name, sync) in [("no sync", SyncPolicy::Process), ("sync=commit", SyncPolicy::Commit)] {
        let rounds = if sync == SyncPolicy::Commit { 200 } else { 20_000 };
        let o = Options { sync, ..Options::default() };
        let create = || Ledger::create_file(&path, Replace::Atomically, o.clone()).unwrap();
        report(&format!("create, close ({name})"), timed(rounds / 20, |_| create().close().unwrap()));
        let l = create();
        let put = |i: usize| {
            l.put(format!("key-{:06}", i % 5000).as_bytes(), vec![i as u8; 100]).unwrap();
            l.commit().unwrap();
        };
        report(&format!("put of 100 bytes, commit ({name})"), timed(rounds, put));
        let bytes = vec![7u8; 4096];
        let payload = |i: usize| {
            let e = l.write_payload(&bytes).unwrap();
            l.put(format!("chunk-{i:06}").as_bytes(), e.to_bytes()).unwrap();
            l.commit().unwrap();
        };
        report(&format!("payload of 4 KiB, put, commit ({name})"), timed(rounds, payload));
        let get = |i: usize| assert!(l.get(format!("key-{:06}", i * 7 % 200).as_bytes()).unwrap().is_some());
        report("get", timed(rounds, get));
        let scan = || l.scan_prefix(b"key-", None, 1000).unwrap();
        report("scan of 1,000", timed(100, |_| assert!(scan().len() >= 200)));
        l.close().unwrap();
        let open = || Ledger::open_file(&path, Access::ReadOnly, o.clone()).unwrap();
        report(
            "open to read, one get",
            timed(200, |i| assert!(open().get(format!("key-{i:06}").as_bytes()).unwrap().is_some())),
        );
        println!("file: {} bytes", std::fs::metadata(&path).unwrap().len());
    }
    std::fs::remove_file(&path).unwrap();
}
