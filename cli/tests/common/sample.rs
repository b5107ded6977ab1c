//! Sample containers, made with the container crate.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]
#![allow(dead_code, reason = "each test uses its part")]

use std::path::Path;
use std::sync::Arc;

use h5lake_container::*;

/// The type of little-endian 32-bit integers, as `H5Tencode` encodes it.
pub fn int32() -> Datatype {
    let encoded = [&[3, 0, 0x10, 8, 0, 0, 4, 0, 0, 0][..], &[0, 0, 32, 0]].concat().into();
    Datatype { encoded, size: 4, class: 0, has_heap: false, has_references: false, committed: None }
}

pub fn create(path: &Path) -> Arc<Container> {
    let target = Target::File(path.to_owned());
    Container::create(&target, Replace::Never, FileCreation::default(), Options::default()).unwrap()
}

pub fn open(path: &Path) -> Arc<Container> {
    Container::open(&Target::File(path.to_owned()), Access::ReadWrite, Options::default()).unwrap()
}

pub fn link(c: &Arc<Container>, group: ObjectId, name: &str, id: ObjectId) {
    c.link_create(group, name.as_bytes(), LinkTarget::Hard(id), CharSet::Utf8).unwrap();
}

/// Returns the object of a hard link in the root group.
pub fn id_of(c: &Arc<Container>, name: &str) -> ObjectId {
    let link = c.link(c.root(), name.as_bytes()).unwrap().unwrap();
    let id = if let LinkTarget::Hard(id) = link.target { Some(id) } else { None };
    id.unwrap()
}

pub fn group(c: &Arc<Container>, parent: ObjectId, name: &str) -> ObjectId {
    let made = c.create_group(GroupSpec::default()).unwrap();
    link(c, parent, name, made.id());
    made.id()
}

/// Creates a chunked dataset of numbers in the root group.
pub fn dataset(c: &Arc<Container>, name: &str, filters: Vec<Filter>, data: &[i32]) -> Arc<Dataset> {
    let n = data.len() as u64;
    let spec = DatasetSpec {
        datatype: int32(),
        space: Dataspace::Simple { dims: vec![n], max: vec![UNLIMITED] },
        layout: Layout::Chunked { chunk: vec![n.max(1)] },
        fill: Fill::default(),
        filters,
        unfiltered_edges: false,
        creation_properties: Default::default(),
        attribute_order: CreationOrder::default(),
        track_times: false,
    };
    let made = c.create_dataset(spec).unwrap();
    link(c, c.root(), name, made.id());
    let dataset = c.dataset(made.id()).unwrap();
    write(&dataset, data);
    dataset
}

pub fn write(dataset: &Dataset, data: &[i32]) {
    if !dataset.needs_codec() {
        let bytes: Vec<u8> = data.iter().flat_map(|n| n.to_le_bytes()).collect();
        dataset.write(&Selection::All, &bytes).unwrap();
    }
}

pub fn attribute(c: &Arc<Container>, id: ObjectId, name: &str, value: i32) {
    let spec = AttrSpec {
        datatype: int32(),
        space: Dataspace::Scalar,
        cset: CharSet::Utf8,
        creation_properties: Default::default(),
    };
    c.attr_create(id, name.as_bytes(), spec).unwrap().write(&value.to_le_bytes()).unwrap();
}
