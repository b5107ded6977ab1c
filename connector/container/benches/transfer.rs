//! Benchmarks of the inner loops of a transfer: mapping of selections to chunks, gathering and scattering, filters. The
//! container is in memory, so that no system call hides them. `cargo bench --package h5lake-container`
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use h5lake_container::{
    Container, CreationOrder, Dataset, DatasetSpec, Dataspace, Datatype, FileCreation, Fill, Filter, Layout,
    Options, Replace, Run, Selection, Target,
};
use object_stores::MemoryStore;

const EDGE: u64 = 1024;

fn container() -> Arc<Container> {
    let store = Arc::new(MemoryStore::new());
    let target = Target::Objects { store, key: "bench".into(), url: "memory:bench".into() };
    Container::create(&target, Replace::Truncate, FileCreation::default(), Options::default()).unwrap()
}

/// Creates a plane of 4-byte elements in chunks of `chunk` by `chunk`.
fn plane(c: &Arc<Container>, chunk: u64, filters: Vec<Filter>) -> Arc<Dataset> {
    let datatype = Datatype {
        encoded: Bytes::from_static(b"f32"),
        size: 4,
        class: 1,
        has_heap: false,
        has_references: false,
        committed: None,
    };
    let spec = DatasetSpec {
        datatype,
        space: Dataspace::Simple { dims: vec![EDGE, EDGE], max: vec![EDGE, EDGE] },
        layout: Layout::Chunked { chunk: vec![chunk, chunk] },
        fill: Fill::default(),
        filters,
        unfiltered_edges: false,
        creation_properties: Bytes::new(),
        attribute_order: CreationOrder::default(),
        track_times: false,
    };
    c.dataset(c.create_dataset(spec).unwrap().id()).unwrap()
}

fn smooth() -> Vec<u8> {
    (0..EDGE * EDGE).flat_map(|n| ((n as f32 / 5000.0).sin() * 100.0).to_le_bytes()).collect()
}

fn slab(start: [u64; 2], stride: u64, count: [u64; 2]) -> Selection {
    Selection::Hyperslab {
        start: start.into(),
        stride: vec![stride; 2],
        count: count.into(),
        block: vec![1, 1],
    }
}

fn selections(criterion: &mut Criterion) {
    let c = container();
    let d = plane(&c, 64, Vec::new());
    d.write(&Selection::All, &smooth()).unwrap();
    let points = (0..1000).map(|n| Run { offset: n * 7919 % (EDGE * EDGE), count: 1 }).collect();
    let mut group = criterion.benchmark_group("selection to chunks, scatter");
    for (name, selection, elements) in [
        ("a row", slab([17, 0], 1, [1, EDGE]), EDGE),
        ("a column", slab([0, 17], 1, [EDGE, 1]), EDGE),
        ("every second of both", slab([0, 0], 2, [EDGE / 2, EDGE / 2]), EDGE * EDGE / 4),
        ("1,000 points", Selection::Runs(points), 1000),
        ("all", Selection::All, EDGE * EDGE),
    ] {
        let mut out = vec![0; elements as usize * 4];
        group.throughput(Throughput::Bytes(out.len() as u64));
        group.bench_function(name, |b| b.iter(|| d.read(black_box(&selection), &mut out).unwrap()));
    }
    group.finish();
    let mut group = criterion.benchmark_group("gather");
    let column = slab([0, 17], 1, [EDGE, 1]);
    let data = vec![1; EDGE as usize * 4];
    group.bench_function("a column", |b| b.iter(|| d.write(black_box(&column), &data).unwrap()));
    group.finish();
}

fn filters(criterion: &mut Criterion) {
    let filter = |id, client_data: &[u32]| Filter {
        id,
        flags: 0,
        name: Vec::new(),
        client_data: client_data.to_vec(),
    };
    let data = smooth();
    let mut group = criterion.benchmark_group("filters");
    group.throughput(Throughput::Bytes(data.len() as u64)).sample_size(20);
    for (name, list) in [
        ("shuffle", vec![filter(2, &[4])]),
        ("deflate 4", vec![filter(1, &[4])]),
        ("shuffle, deflate 4", vec![filter(2, &[4]), filter(1, &[4])]),
        ("fletcher32", vec![filter(3, &[])]),
    ] {
        let c = container();
        let d = plane(&c, 256, list);
        group.bench_function(format!("{name}: encode"), |b| {
            b.iter(|| d.write(&Selection::All, black_box(&data)).unwrap());
        });
        d.flush().unwrap();
        let mut out = vec![0; data.len()];
        group.bench_function(format!("{name}: decode"), |b| {
            b.iter(|| d.read(&Selection::All, black_box(&mut out)).unwrap());
        });
        assert_eq!(out, data);
    }
    group.finish();
}

criterion_group!(benches, selections, filters);
criterion_main!(benches);
