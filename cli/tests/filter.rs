//! Tests of `h5lake filter` with containers that other programs do not make, such as containers with unreadable chunks, and of its output.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;
#[path = "common/sample.rs"]
mod sample;

use std::path::Path;
use std::sync::Arc;

use common::{json, tool};
use h5lake_container::*;

/// Creates a dataset of numbers from 0 on in chunks of `chunk` elements.
fn numbers(c: &Arc<Container>, name: &str, count: i32, chunk: u64) {
    let spec = DatasetSpec {
        datatype: sample::int32(),
        space: Dataspace::Simple { dims: vec![count as u64], max: vec![UNLIMITED] },
        layout: Layout::Chunked { chunk: vec![chunk] },
        fill: Fill::default(),
        filters: Vec::new(),
        unfiltered_edges: false,
        creation_properties: Default::default(),
        attribute_order: CreationOrder::default(),
        track_times: false,
    };
    let made = c.create_dataset(spec).unwrap();
    sample::link(c, c.root(), name, made.id());
    sample::write(&c.dataset(made.id()).unwrap(), &(0..count).collect::<Vec<_>>());
    c.flush().unwrap();
}

/// Damages the payload of the chunk that begins with the element `first`.
fn damage(path: &Path, first: i32) {
    let mut bytes = std::fs::read(path).unwrap();
    let wanted: Vec<u8> = (first..first + 64).flat_map(i32::to_le_bytes).collect();
    let at = bytes.windows(wanted.len()).position(|part| part == wanted).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_chunk_that_cannot_match_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let name = path.to_str().unwrap();
    let c = sample::create(&path);
    numbers(&c, "x", 100_000, 10_000);
    drop(c);
    damage(&path, 30_000);
    let found = json(&["filter", "--json", name, "x", "59998 <= x < 60002"]);
    let at: Vec<_> = found["matches"].as_array().unwrap().iter().map(|m| m["index"][0].clone()).collect();
    assert_eq!(at, [59_998, 59_999, 60_000, 60_001]);
    assert_eq!(found["chunks"], serde_json::json!({ "written": 10, "read": 2, "searched": 0 }));
    assert_eq!(found["bytes"], serde_json::json!({ "stored": 400_000, "read": 80_000 }));
    let (code, said) = tool(&["filter", name, "x", "x == 30000"]);
    assert!(code == 1 && said.contains("h5lake: "), "{said}");
    // All elements of the damaged chunk match, and only their number is needed.
    assert_eq!(json(&["filter", "--json", "--count", name, "x", "x >= 0"])["count"], 100_000);
}

#[test]
fn matches_are_lines_and_a_summary() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let name = path.to_str().unwrap();
    let c = sample::create(&path);
    numbers(&c, "x", 100, 50);
    drop(c);
    let (code, said) = tool(&["filter", name, "x", "x > 96 or x == 1"]);
    let wanted =
        "[1]: 1\n[97]: 97\n[98]: 98\n[99]: 99\n4 elements match; 2 of 2 chunks were read, 400 of 400 bytes\n";
    assert_eq!((code, said.as_str()), (0, wanted));
    let (code, said) = tool(&["filter", name, "x", "-n", "1", "x > 96"]);
    assert_eq!(code, 0);
    assert!(
        said.starts_with("[97]: 97\nthe first 1 elements that match; there are more; 1 of 2 chunks"),
        "{said}"
    );
    assert_eq!(
        tool(&["filter", "--count", name, "x", "-1 > x"]).1,
        "0 elements match; 0 of 2 chunks were read, 0 of 400 bytes\n"
    );
}

#[test]
fn a_mistake_ends_with_1_and_shows_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let c = sample::create(&path);
    numbers(&c, "x", 100, 50);
    drop(c);
    let (code, said) = tool(&["filter", path.to_str().unwrap(), "x", "x > 5 and y < 2"]);
    assert_eq!(code, 1);
    assert!(said.ends_with("\n  x > 5 and y < 2\n            ^\n"), "{said}");
    assert!(said.contains("the elements have no members; an element is called 'x'"), "{said}");
}
