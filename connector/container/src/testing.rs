//! Helpers that the tests of containers share: places for containers, and functions that make objects.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::*;
use bytes::Bytes;
use object_stores::MemoryStore;
use std::sync::Arc;

/// The location of a container, which is deleted with the test.
pub struct Place {
    pub target: Target,
    _dir: Option<tempfile::TempDir>,
}

pub fn memory() -> Place {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let url = format!("memory:test{n}");
    let target = Target::Objects { store: Arc::new(MemoryStore::new()), key: format!("c{n}"), url };
    Place::at(target)
}

pub fn file() -> Place {
    let dir = tempfile::tempdir().unwrap();
    Place { target: Target::File(dir.path().join("c.h5")), _dir: Some(dir) }
}

pub fn places() -> [Place; 2] {
    [memory(), file()]
}

impl Place {
    pub fn at(target: Target) -> Self {
        Self { target, _dir: None }
    }

    pub fn create(&self) -> Arc<Container> {
        self.create_with(Options::default())
    }

    pub fn create_with(&self, o: Options) -> Arc<Container> {
        Container::create(&self.target, Replace::Truncate, FileCreation::default(), o).unwrap()
    }

    pub fn open(&self, access: Access) -> Arc<Container> {
        Container::open(&self.target, access, Options::default()).unwrap()
    }
}

pub fn bytes_type(size: u64) -> Datatype {
    Datatype {
        encoded: Bytes::from(format!("type of {size}")),
        size,
        class: 5,
        has_heap: false,
        has_references: false,
        committed: None,
    }
}

pub fn simple(dims: &[u64], max: &[u64]) -> Dataspace {
    Dataspace::Simple { dims: dims.to_vec(), max: max.to_vec() }
}

pub fn dataset_spec(size: u64, space: Dataspace, layout: Layout) -> DatasetSpec {
    let allocate = if layout == Layout::Compact { AllocTime::Early } else { Fill::default().allocate };
    DatasetSpec {
        datatype: bytes_type(size),
        space,
        layout,
        fill: Fill { allocate, ..Fill::default() },
        filters: Vec::new(),
        unfiltered_edges: false,
        creation_properties: Bytes::new(),
        attribute_order: CreationOrder::default(),
        track_times: true,
    }
}

pub fn attr_spec(size: u64, n: u64) -> AttrSpec {
    AttrSpec {
        datatype: bytes_type(size),
        space: simple(&[n], &[n]),
        cset: CharSet::Utf8,
        creation_properties: Bytes::new(),
    }
}

pub fn tracked() -> CreationOrder {
    CreationOrder { tracked: true, indexed: true }
}

/// Creates a group and links it.
pub fn group(c: &Arc<Container>, parent: ObjectId, name: &[u8], link_order: CreationOrder) -> ObjectId {
    let g = c.create_group(GroupSpec { link_order, ..GroupSpec::default() }).unwrap();
    c.link_create(parent, name, LinkTarget::Hard(g.id()), CharSet::Utf8).unwrap();
    g.id()
}

/// Creates a dataset and links it.
pub fn dataset(c: &Arc<Container>, name: &[u8], spec: DatasetSpec) -> Arc<Dataset> {
    let d = c.create_dataset(spec).unwrap();
    c.link_create(c.root(), name, LinkTarget::Hard(d.id()), CharSet::Utf8).unwrap();
    c.dataset(d.id()).unwrap()
}

/// Creates an attribute of one blob.
pub fn text_attribute(c: &Arc<Container>, on: ObjectId, name: &[u8], text: &[u8]) -> Arc<Attribute> {
    let mut spec = attr_spec(16, 1);
    spec.datatype.has_heap = true;
    let a = c.attr_create(on, name, spec).unwrap();
    let mut heap = InlineHeap::default();
    a.write_with_heap(&heap.put(text), &heap).unwrap();
    a
}

/// Returns the text of such an attribute.
pub fn text_of(a: &Attribute) -> Vec<u8> {
    let (value, heap) = a.read_with_heap().unwrap();
    let id: [u8; 16] = value.as_ref().try_into().unwrap();
    let length = u64::from_be_bytes(id[8..].try_into().unwrap());
    heap.get(&id, length).unwrap().to_vec()
}
