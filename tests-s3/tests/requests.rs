//! How many requests things take, counted at the server: requests are money, and each takes time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;

use common::{fresh, server};
use h5lake_container::{
    Access, CharSet, Container, CreationOrder, DatasetSpec, Dataspace, Datatype, FileCreation, Fill, Layout,
    LinkTarget, Options, Replace, Selection, Target,
};
use h5lake_tests_s3::Server;
use object_stores::ObjectStore;

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
    let requests = server.faults().take_requests();
    println!("{what}: {} requests", requests.len());
    assert!(requests.len() <= most, "{what}: {} requests, {requests:#?}", requests.len());
    requests
}

#[test]
fn a_small_commit_is_one_put() {
    let server = server();
    let store = fresh(&server);
    let c = create(&store);
    let d = dataset(&c, "x", spec(&[1000], Layout::Chunked { chunk: vec![100] }));
    c.flush().unwrap();
    counted(&server, "creating a container with a dataset, with the probe of conditions", 14);
    for n in 0..10u64 {
        let all = Selection::All;
        d.write(&all, &[n as u8; 8000]).unwrap();
        c.flush().unwrap();
        counted(&server, "a flush of 8,000 bytes", 2);
    }
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
    counted(&server, "10,000 small datasets", 19);
    let c = Container::open(&target(&store), Access::ReadOnly, Options::default()).unwrap();
    counted(&server, "opening a container of 10,000 datasets", 6);
    let mut buf = [0; 80];
    let id = c.link(c.root(), b"d05000").unwrap().unwrap();
    let LinkTarget::Hard(id) = id.target else { panic!("no hard link") };
    c.dataset(id).unwrap().read(&Selection::All, &mut buf).unwrap();
    assert_eq!(buf, [5000u32 as u8; 80]);
    counted(&server, "reading one dataset of 10,000", 8);
}
