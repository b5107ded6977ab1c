//! A worker, which changes its region and flushes repeatedly.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use h5lake_container::{
    Access, CharSet, Container, CreationOrder, Dataset, DatasetSpec, Dataspace, Datatype, ErrorKind,
    FileCreation, Fill, LastLink, Layout, LinkTarget, Options, Replace, Resolution, Selection, Target,
};
use h5lake_ledger::Writers;

use crate::Regions;
use crate::server::{Client, Server};

/// The number of elements of eight bytes in a worker's region.
const REGION: u64 = 512;

/// The results of a worker.
#[derive(Debug)]
pub struct Outcome {
    /// The seconds of each commit, from the write until the return of the flush.
    pub times: Vec<f64>,
    /// The number of flushes that reported a conflict.
    pub conflicts: u64,
}

pub struct Worker {
    client: Client,
    container: Arc<Container>,
    dataset: Arc<Dataset>,
    region: Selection,
}

fn target(client: Client, number: usize) -> Target {
    let store = Arc::new(client);
    Target::Objects { store, key: "run.h5".into(), url: format!("simulated:{number}") }
}

fn options() -> Options {
    let ledger = h5lake_ledger::Options { writers: Writers::Many, ..Default::default() };
    Options { ledger, cache_bytes: 1 << 20, ..Options::default() }
}

fn text(e: h5lake_container::Error) -> String {
    e.to_string()
}

fn spec(elements: u64, chunk: u64) -> DatasetSpec {
    let datatype = Datatype {
        encoded: Bytes::from_static(b"eight bytes"),
        size: 8,
        class: 5,
        has_heap: false,
        has_references: false,
        committed: None,
    };
    DatasetSpec {
        datatype,
        space: Dataspace::Simple { dims: vec![elements], max: vec![elements] },
        layout: Layout::Chunked { chunk: vec![chunk] },
        fill: Fill::default(),
        filters: Vec::new(),
        unfiltered_edges: false,
        creation_properties: Bytes::new(),
        attribute_order: CreationOrder::default(),
        track_times: true,
    }
}

/// Creates the container that `workers` will write.
pub fn create(server: &Arc<Server>, workers: usize, regions: Regions) -> Result<(), String> {
    let target = target(Client::new(server, usize::MAX), usize::MAX);
    let c =
        Container::create(&target, Replace::Truncate, FileCreation::default(), options()).map_err(text)?;
    let all = REGION * workers as u64;
    let (datasets, elements, chunk) = match regions {
        Regions::Chunks | Regions::Same => (1, all, REGION),
        Regions::Rows => (1, all, 2 * REGION),
        Regions::Datasets => (workers, REGION, REGION),
    };
    for n in 0..datasets {
        let made = c.create_dataset(spec(elements, chunk)).map_err(text)?;
        c.link_create(c.root(), name(n).as_bytes(), LinkTarget::Hard(made.id()), CharSet::Utf8)
            .map_err(text)?;
    }
    c.flush().map_err(text)
}

fn name(n: usize) -> String {
    format!("data{n}")
}

impl Worker {
    /// Opens the container as worker `n`.
    pub fn open(server: &Arc<Server>, n: usize, regions: Regions) -> Result<Self, String> {
        let client = Client::new(server, n);
        let container =
            Container::open(&target(client.clone(), n), Access::ReadWrite, options()).map_err(text)?;
        let (which, start) = match regions {
            Regions::Chunks | Regions::Rows => (0, n as u64 * REGION),
            Regions::Datasets => (n, 0),
            Regions::Same => (0, 0),
        };
        let found = container.resolve(container.root(), name(which).as_bytes(), LastLink::Follow, 16);
        let Resolution::Object { id } = found.map_err(text)? else { return Err("no such dataset".into()) };
        let dataset = container.dataset(id).map_err(text)?;
        let region =
            Selection::Hyperslab { start: vec![start], stride: vec![1], count: vec![1], block: vec![REGION] };
        Ok(Worker { client, container, dataset, region })
    }

    /// Commits until `end`. A batch that conflicts is written again.
    pub fn commit_until(&mut self, end: Instant) -> Result<Outcome, String> {
        self.client.begin();
        let mut done = Outcome { times: Vec::new(), conflicts: 0 };
        while Instant::now() < end {
            let begun = Instant::now();
            let value = done.times.len() as u64 + 1;
            self.write(value)?;
            while let Err(e) = self.container.flush() {
                if e.kind() != ErrorKind::Conflict {
                    return Err(text(e));
                }
                done.conflicts += 1;
                self.write(value)?;
            }
            done.times.push(begun.elapsed().as_secs_f64());
        }
        Ok(done)
    }

    fn write(&self, value: u64) -> Result<(), String> {
        let data: Vec<u8> = (0..REGION).flat_map(|_| value.to_le_bytes()).collect();
        self.dataset.write(&self.region, &data).map_err(text)
    }
}

/// Checks that a new reader finds each worker's last commit.
pub fn check(server: &Arc<Server>, outcomes: &[Outcome], regions: Regions) -> Result<(), String> {
    let target = target(Client::new(server, usize::MAX - 1), usize::MAX - 1);
    let container = Container::open(&target, Access::ReadOnly, Options::default()).map_err(text)?;
    for (n, outcome) in outcomes.iter().enumerate().filter(|_| regions != Regions::Same) {
        let which = if regions == Regions::Datasets { n } else { 0 };
        let found = container.resolve(container.root(), name(which).as_bytes(), LastLink::Follow, 16);
        let Resolution::Object { id } = found.map_err(text)? else { return Err("no such dataset".into()) };
        let start = if regions == Regions::Datasets { 0 } else { n as u64 * REGION };
        let region =
            Selection::Hyperslab { start: vec![start], stride: vec![1], count: vec![1], block: vec![REGION] };
        let mut found = vec![0; 8 * REGION as usize];
        container.dataset(id).map_err(text)?.read(&region, &mut found).map_err(text)?;
        let wanted = outcome.times.len() as u64;
        if found.chunks_exact(8).any(|v| v != wanted.to_le_bytes()) {
            return Err(format!("worker {n}: its commit {wanted} is not there"));
        }
    }
    Ok(())
}
