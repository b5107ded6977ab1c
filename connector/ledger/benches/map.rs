//! The inner loops of the map: records, pages, extents. `cargo bench --package h5lake-ledger`
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use h5lake_ledger::{Access, Extent, Ledger, Options, Replace};

const KEYS: u64 = 20_000;

fn key(n: u64) -> Vec<u8> {
    let mut key = b"L\x40\0\0\0\0\0\x10\0name".to_vec();
    key.extend_from_slice(&n.to_be_bytes());
    key
}

fn filled(path: &std::path::Path) -> Ledger {
    let l = Ledger::create_file(path, Replace::Atomically, Options::default()).unwrap();
    (0..KEYS).for_each(|n| l.put(&key(n), vec![n as u8; 60]).unwrap());
    l.commit().unwrap();
    l
}

fn map(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bench");
    let mut group = criterion.benchmark_group("map");
    group.sample_size(20);
    group.bench_function("records and pages written: 20,000 puts, commit, checkpoint", |b| {
        b.iter(|| filled(&path).close().unwrap());
    });
    filled(&path).close().unwrap();
    let open = || Ledger::open_file(&path, Access::ReadOnly, Options::default()).unwrap();
    group.bench_function("pages read: a scan of 20,000", |b| {
        b.iter_batched(
            open,
            |l| black_box(l.scan_prefix(b"L", None, 30_000).unwrap().len()),
            BatchSize::LargeInput,
        );
    });
    let l = open();
    let mut n = 0;
    group.bench_function("get", |b| {
        b.iter(|| {
            n = (n + 7919) % KEYS;
            black_box(l.get(&key(n)).unwrap())
        });
    });
    group.finish();
}

fn extents(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let l = Ledger::create_file(&dir.path().join("bench"), Replace::Atomically, Options::default()).unwrap();
    let data = vec![7; 1 << 20];
    let extent = l.write_payload(&data).unwrap();
    let encoded = extent.to_bytes();
    let mut out = vec![0; data.len()];
    let mut group = criterion.benchmark_group("payload");
    group.bench_function("an extent of 1 MiB decoded", |b| {
        b.iter(|| Extent::decode(black_box(&encoded)).unwrap())
    });
    group.throughput(Throughput::Bytes(data.len() as u64));
    group.bench_function("1 MiB read and verified", |b| {
        b.iter(|| l.read_payload(&extent, 0, &mut out).unwrap())
    });
    group.finish();
}

criterion_group!(benches, map, extents);
criterion_main!(benches);
