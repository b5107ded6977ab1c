//! Tests that a publication fails if the container cannot be read, and leaves out only what Zarr cannot represent.

use std::path::Path;
use std::sync::Arc;

use h5lake_container::{
    AttrSpec, CharSet, Container, CreationOrder, DatasetSpec, Dataspace, Datatype, FileCreation, Fill,
    FillValue, InlineHeap, Layout, LinkTarget, ObjectId, Options, Replace, Target,
};
use h5lake_ledger::{Access, Ledger, PayloadPlace};
use serde_json::json;

use super::hierarchy::{Hierarchy, Report};
use super::references::References;
use crate::Failure;
use crate::output::Output;

/// HDF5's encodings of an integer of four bytes, a variable-length string and a region reference, and bytes that encode no type.
const INTEGER: &[u8] = &[3, 0, 0x10, 8, 0, 0, 4, 0, 0, 0, 0, 0, 32, 0];
const TEXT: &[u8] = &[3, 0, 0x19, 1, 0, 0, 16, 0, 0, 0, 0x10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 8, 0];
const REGION: &[u8] = &[3, 0, 0x17, 1, 0, 0, 12, 0, 0, 0];
const UNKNOWN: &[u8] = b"no type";

/// Returns a type with elements of `size` bytes.
fn datatype(encoded: &[u8], size: u64, has_heap: bool) -> Datatype {
    let (class, encoded) = (encoded[2] & 15, encoded.to_vec().into());
    Datatype { encoded, size, class, has_heap, has_references: false, committed: None }
}

/// Creates a container with a dataset `x` of four chunks, none of which was written.
fn container(path: &Path, fill: FillValue) -> (Arc<Container>, ObjectId) {
    let target = Target::File(path.to_owned());
    let made = Container::create(&target, Replace::Never, FileCreation::default(), Options::default());
    let c = made.unwrap();
    let spec = DatasetSpec {
        datatype: datatype(INTEGER, 4, false),
        space: Dataspace::Simple { dims: vec![40], max: vec![40] },
        layout: Layout::Chunked { chunk: vec![10] },
        fill: Fill { value: fill, ..Fill::default() },
        filters: Vec::new(),
        unfiltered_edges: false,
        creation_properties: Vec::new().into(),
        attribute_order: CreationOrder::default(),
        track_times: false,
    };
    // An object without a link exists only as long as it is open.
    let x = c.create_dataset(spec).unwrap();
    c.link_create(c.root(), b"x", LinkTarget::Hard(x.id()), CharSet::Utf8).unwrap();
    (c, x.id())
}

/// Creates a scalar attribute.
fn attribute(c: &Arc<Container>, on: ObjectId, name: &str, of: Datatype, element: &[u8]) {
    let (space, cset, creation_properties) = (Dataspace::Scalar, CharSet::Utf8, Vec::new().into());
    let spec = AttrSpec { datatype: of, space, cset, creation_properties };
    let made = c.attr_create(on, name.as_bytes(), spec).unwrap();
    made.write_with_heap(element, &InlineHeap::default()).unwrap();
}

fn close(c: Arc<Container>) {
    c.flush().unwrap();
    drop(c);
}

/// Publishes the newest version and returns the report.
fn published(path: &Path) -> Result<Report, Failure> {
    let ledger = Ledger::open_file(path, Access::ReadWrite, h5lake_ledger::Options::default())?;
    let tag = ledger.publish(None)?.tag;
    let held = ledger.held_space(&tag.name)?;
    ledger.close()?;
    let c = Container::open(&Target::File(path.to_owned()), Access::ReadOnly, Options::default())?;
    let (target, bar) = (path.with_extension("json"), Output::Json.bar("test"));
    let mut out = References::begin(&target, 0o600, &json!({}), c.size()?, bar)?;
    let url = |_: &PayloadPlace| String::new();
    let report = Hierarchy::new(&c, &held, &url, &mut out)?.write()?;
    Ok(report)
}

#[test]
fn an_attribute_that_cannot_be_read_ends_a_publication() {
    for name in ["title", "_FillValue", "CLASS", "DIMENSION_LIST", "DIMENSION_LABELS"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let (c, x) = container(&path, FillValue::Default);
        // The string refers to a blob that does not exist.
        let element = [&5_u32.to_le_bytes()[..], &[1; 16]].concat();
        attribute(&c, x, name, datatype(TEXT, 20, true), &element);
        close(c);
        let error = published(&path).err().unwrap().to_string();
        assert!(error.starts_with("/x: ") && error.contains(name), "{error}");
    }
}

#[test]
fn a_block_that_cannot_be_read_ends_a_publication() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let (c, x) = container(&path, FillValue::User(vec![7, 0, 0, 0].into()));
    close(c);
    let ledger = Ledger::open_file(&path, Access::ReadWrite, h5lake_ledger::Options::default()).unwrap();
    let key = [&b"B"[..], &x.0.to_be_bytes(), &0_u64.to_be_bytes()].concat();
    ledger.put(&key, vec![0xff; 4]).unwrap();
    ledger.commit().unwrap();
    ledger.close().unwrap();
    let error = published(&path).err().unwrap().to_string();
    assert!(error.starts_with("/x: "), "{error}");
}

#[test]
fn objects_without_a_zarr_form_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let (c, x) = container(&path, FillValue::Default);
    attribute(&c, x, "odd", datatype(UNKNOWN, 4, false), &[0; 4]);
    // The reference leads to no region. The attribute is left out without reading it, because JSON cannot represent its type.
    attribute(&c, x, "region", datatype(REGION, 12, false), &[1; 12]);
    c.link_create(c.root(), b"soft", LinkTarget::Soft(b"/none/there".to_vec()), CharSet::Utf8).unwrap();
    close(c);
    let report = published(&path).unwrap();
    let left_out: Vec<_> = report.left_out.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!((left_out, report.datasets.len()), (vec!["/soft", "/x@odd", "/x@region"], 1));
}
