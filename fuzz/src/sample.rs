//! A small container with one item of each kind.

use std::sync::Arc;

use bytes::Bytes;
use h5lake_container::{
    AllocTime, AttrSpec, CharSet, Container, CreationOrder, DatasetSpec, Dataspace, Datatype, DatatypeSpec,
    ExternalFile, FileCreation, Fill, FillValue, Filter, GroupSpec, Layout, LinkTarget, Options, Replace,
    Result, Selection, Target, UNLIMITED, VirtualMapping,
};

/// HDF5's encodings of a 4-byte integer and of a string of variable length.
const INTEGER: &[u8] = b"\x03\x00\x10\x08\0\0\x04\0\0\0\0\0\x20\0";
const STRING: &[u8] = b"\x03\x00\x19\x01\x01\0\x08\0\0\0\x10\0\0\0\x01\0\0\0\0\0\x08\0";
/// The selection of all elements of an extent of 4.
const ALL: &[u8] =
    b"\x01\x00\x08\x0c\0\0\0\x02\x01\0\x01\x04\0\0\0\0\0\0\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0";

fn integer() -> Datatype {
    Datatype {
        encoded: Bytes::from_static(INTEGER),
        size: 4,
        class: 0,
        has_heap: false,
        has_references: false,
        committed: None,
    }
}

fn string() -> Datatype {
    Datatype { encoded: Bytes::from_static(STRING), size: 20, class: 9, has_heap: true, ..integer() }
}

fn simple(dims: &[u64], max: &[u64]) -> Dataspace {
    Dataspace::Simple { dims: dims.to_vec(), max: max.to_vec() }
}

fn spec(datatype: Datatype, space: Dataspace, layout: Layout) -> DatasetSpec {
    let allocate = if layout == Layout::Compact { AllocTime::Early } else { AllocTime::Incremental };
    DatasetSpec {
        datatype,
        space,
        layout,
        fill: Fill { allocate, value: FillValue::User(Bytes::from_static(&[7, 0, 0, 0])), ..Fill::default() },
        filters: Vec::new(),
        unfiltered_edges: false,
        creation_properties: Bytes::new(),
        attribute_order: CreationOrder::default(),
        track_times: true,
    }
}

/// Returns the description of a dataset of integers.
pub fn integers(dims: &[u64], max: &[u64], layout: Layout) -> DatasetSpec {
    spec(integer(), simple(dims, max), layout)
}

fn attribute(
    c: &Arc<Container>,
    id: h5lake_container::ObjectId,
    name: &[u8],
    t: Datatype,
    n: u64,
) -> Result<()> {
    let length = t.size * n;
    let spec = AttrSpec {
        datatype: t,
        space: simple(&[n], &[n]),
        cset: CharSet::Utf8,
        creation_properties: Bytes::new(),
    };
    c.attr_create(id, name, spec)?.write(&vec![3; length as usize])
}

/// Creates the sample container.
///
/// # Errors
/// Those of containers.
pub fn create(target: &Target) -> Result<()> {
    create_with(target, Options::default())
}

/// Creates a sample container that may have chunks in native files.
///
/// # Errors
/// Those of containers.
pub fn create_for_sources(target: &Target) -> Result<()> {
    let ledger = h5lake_ledger::Options { sources: true, ..Default::default() };
    create_with(target, Options { ledger, ..Options::default() })
}

fn create_with(target: &Target, options: Options) -> Result<()> {
    let c = Container::create(target, Replace::Truncate, FileCreation::default(), options)?;
    let root = c.root();
    let tracked = CreationOrder { tracked: true, indexed: true };
    let group =
        c.create_group(GroupSpec { link_order: tracked, attribute_order: tracked, ..GroupSpec::default() })?;
    let link = |name: &[u8], id| c.link_create(root, name, LinkTarget::Hard(id), CharSet::Ascii);
    link(b"g", group.id())?;
    c.link_create(group.id(), b"up", LinkTarget::Hard(root), CharSet::Ascii)?;
    c.link_create(group.id(), b"soft", LinkTarget::Soft(b"/g/up".to_vec()), CharSet::Utf8)?;
    let external = LinkTarget::External { file: b"f".to_vec(), path: b"p".to_vec(), flags: 0 };
    c.link_create(group.id(), b"external", external, CharSet::Ascii)?;
    attribute(&c, group.id(), b"small", integer(), 4)?;
    attribute(&c, group.id(), b"text", string(), 1)?;
    let committed = c.create_datatype(DatatypeSpec {
        datatype: integer(),
        creation_properties: Bytes::new(),
        attribute_order: CreationOrder::default(),
        track_times: false,
    })?;
    link(b"t", committed.id())?;
    let of_committed = Datatype { committed: Some(committed.id()), ..integer() };
    let mut filtered =
        spec(integer(), simple(&[9, 9], &[UNLIMITED; 2]), Layout::Chunked { chunk: vec![4, 5] });
    filtered.filters = [2, 1, 3]
        .map(|id| Filter { id, flags: 0, name: Vec::new(), client_data: vec![if id == 2 { 4 } else { 6 }] })
        .to_vec();
    filtered.unfiltered_edges = true;
    let mapping = VirtualMapping {
        file: b".".to_vec(),
        dataset: b"/c".to_vec(),
        source: Bytes::from_static(ALL),
        place: Bytes::from_static(ALL),
    };
    let file = ExternalFile { name: b"e".to_vec(), offset: 3, size: 16 };
    let line = || simple(&[4], &[4]);
    let all = [
        (b"c", spec(of_committed, line(), Layout::Contiguous)),
        (b"k", spec(integer(), line(), Layout::Compact)),
        (b"p", spec(integer(), simple(&[9, 9], &[9, UNLIMITED]), Layout::Chunked { chunk: vec![4, 5] })),
        (b"f", filtered),
        (b"s", DatasetSpec { fill: Fill::default(), ..spec(string(), line(), Layout::Contiguous) }),
        (b"v", spec(integer(), line(), Layout::Virtual { mappings: vec![mapping] })),
        (b"e", spec(integer(), line(), Layout::External { files: vec![file] })),
    ];
    for (name, spec) in all {
        let object = c.create_dataset(spec)?;
        link(name, object.id())?;
        let dataset = c.dataset_of(&object)?;
        if dataset.is_elsewhere() {
            continue;
        }
        let mut elements = vec![1; (dataset.points()? * dataset.datatype().size) as usize];
        if dataset.datatype().has_heap {
            elements.fill(0);
            elements[4..20].copy_from_slice(&c.heap_put(object.id(), b"a blob")?);
        }
        dataset.write(&Selection::All, &elements)?;
    }
    c.flush()?;
    c.set_comment(group.id(), Some(b"a comment"))?;
    c.flush()
}
