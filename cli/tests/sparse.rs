//! Tests of `h5lake diff` and `filter` with sparse datasets: elements that were never written are handled as ranges. If they were read one
//! by one, these tests would not end.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;
#[path = "common/sample.rs"]
mod sample;

use std::path::Path;
use std::sync::Arc;

use common::{json, tool};
use h5lake_container::*;
use serde_json::json;

const ALL: u64 = 1 << 50;

fn filled(value: i32) -> Fill {
    Fill { value: FillValue::User(value.to_le_bytes().to_vec().into()), ..Fill::default() }
}

fn dataset(c: &Arc<Container>, name: &str, dims: &[u64], layout: Layout, fill: Fill) -> Arc<Dataset> {
    let spec = DatasetSpec {
        datatype: sample::int32(),
        space: Dataspace::Simple { dims: dims.to_vec(), max: dims.to_vec() },
        layout,
        fill,
        filters: Vec::new(),
        unfiltered_edges: false,
        creation_properties: Default::default(),
        attribute_order: CreationOrder::default(),
        track_times: false,
    };
    let made = c.create_dataset(spec).unwrap();
    sample::link(c, c.root(), name, made.id());
    c.dataset(made.id()).unwrap()
}

fn chunks(shape: &[u64]) -> Layout {
    Layout::Chunked { chunk: shape.to_vec() }
}

/// Writes consecutive elements, beginning with the element number `offset`.
fn put(d: &Dataset, offset: u64, values: &[i32]) {
    let run = Run { offset, count: values.len() as u64 };
    let bytes: Vec<u8> = values.iter().flat_map(|n| n.to_le_bytes()).collect();
    d.write(&Selection::Runs(vec![run]), &bytes).unwrap();
}

/// Creates a container with one dataset, `x`.
fn made(path: &Path, dims: &[u64], layout: Layout, fill: Fill, written: &[(u64, &[i32])]) {
    let c = sample::create(path);
    let d = dataset(&c, "x", dims, layout, fill);
    written.iter().for_each(|(offset, values)| put(&d, *offset, values));
}

#[test]
fn gaps_are_compared_as_ranges_whatever_the_layouts() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let name = |name: &str| at(name).display().to_string();
    let far = ALL - 3;
    let layouts = [("chunks", chunks(&[16])), ("other", chunks(&[1000])), ("line", Layout::Contiguous)];
    for (file, layout) in &layouts {
        let empty = format!("{file}-empty.h5");
        made(&at(&empty), &[ALL], layout.clone(), Fill::default(), &[]);
        let some: &[(u64, &[i32])] = &[(5, &[1, 2, 3]), (1 << 40, &[4; 40]), (far, &[7, 8, 9])];
        made(&at(&format!("{file}-some.h5")), &[ALL], layout.clone(), Fill::default(), some);
        let other_values: &[(u64, &[i32])] = &[(6, &[2, 0]), (1 << 40, &[4; 40]), (1 << 41, &[0, 5])];
        made(&at(&format!("{file}-others.h5")), &[ALL], layout.clone(), Fill::default(), other_values);
        made(&at(&format!("{file}-filled.h5")), &[ALL], layout.clone(), filled(3), &[(7, &[3, 1])]);
    }
    for (a, _) in &layouts {
        for (b, _) in &layouts {
            let differences = |first: &str, second: &str, more: &[&str]| {
                let names = [name(&format!("{a}-{first}.h5")), name(&format!("{b}-{second}.h5"))];
                let (code, said) = tool(&[&["diff", "--json", &names[0], &names[1], "/x"], more].concat());
                assert!(code == 0 || code == 2, "{said}");
                let found: serde_json::Value = serde_json::from_str(&said).unwrap();
                let elements =
                    found.as_array().unwrap().iter().find(|found| found["change"] == "elements").cloned();
                assert_eq!(elements.is_some(), code == 2, "{said}");
                elements
            };
            assert_eq!(differences("empty", "empty", &[]), None);
            assert_eq!(differences("some", "some", &[]), None);
            let found = differences("empty", "some", &[]).unwrap();
            assert_eq!((&found["differing"], &found["elements"]), (&json!(46), &json!(ALL)));
            // These are elements 5 and 7, the three elements at the end, and the element that is 5 only in the second file.
            let found = differences("some", "others", &["--elements", "10"]).unwrap();
            assert_eq!(found["differing"], 6);
            let mut positions: Vec<u64> =
                found["first"].as_array().unwrap().iter().map(|one| one["at"][0].as_u64().unwrap()).collect();
            positions.sort_unstable();
            assert_eq!(positions, [5, 7, (1 << 41) + 1, far, far + 1, far + 2]);
            // The fill values differ, so all elements differ unless they were written with equal values.
            let found = differences("empty", "filled", &["--elements", "3"]).unwrap();
            assert_eq!(found["differing"], json!(ALL), "{a} {b}");
            assert_eq!(found["first"].as_array().unwrap().len(), 3);
            assert_eq!((&found["first"][0]["from"], &found["first"][0]["to"]), (&json!(0), &json!(3)));
            let found = differences("filled", "some", &[]).unwrap();
            assert_eq!(found["differing"], json!(ALL - 1), "one was written as 3");
        }
    }
}

#[test]
fn gaps_of_several_dimensions_are_compared_as_ranges() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.h5"), dir.path().join("b.h5"));
    let dims = [1 << 25, 1 << 25];
    let last = (1 << 50) - 1;
    made(&a, &dims, chunks(&[10, 100]), Fill::default(), &[(3, &[1]), (last, &[2])]);
    made(&b, &dims, Layout::Contiguous, Fill::default(), &[(1 << 25, &[5]), (last, &[2])]);
    let names = [a.to_str().unwrap(), b.to_str().unwrap()];
    let (code, said) = tool(&["diff", "--elements", "5", names[0], names[1], "/x"]);
    assert!(code == 2 && said.contains("2 of 1125899906842624 elements differ"), "{code} {said}");
    assert!(said.contains("[0, 3]  1 -> 0") && said.contains("[1, 0]  0 -> 5"), "{said}");
}

#[test]
fn gaps_are_searched_as_ranges() {
    let dir = tempfile::tempdir().unwrap();
    let written: &[(u64, &[i32])] = &[(5, &[1, 2, 3]), (1 << 40, &[4; 40]), (ALL - 3, &[7, 0, 9])];
    for (file, layout) in [("chunks.h5", chunks(&[16])), ("line.h5", Layout::Contiguous)] {
        let path = dir.path().join(file);
        made(&path, &[ALL], layout, Fill::default(), written);
        let name = path.to_str().unwrap();
        let search = |words: &[&str]| json(&[&["filter", "--json", name, "/x"], words].concat());
        let count = |words: &[&str]| {
            let found = search(&[words, &["--count"]].concat());
            (found["count"].as_u64().unwrap(), found["complete"] == true)
        };
        assert_eq!(count(&["x > 3"]), (42, true), "{file}");
        assert_eq!(count(&["x < 1"]), (ALL - 45, true), "{file}");
        assert_eq!(count(&["x >= 0"]), (ALL, true), "{file}");
        assert_eq!(count(&["x < 1", "--limit", "1000000000000"]), (1_000_000_000_000, false), "{file}");
        assert_eq!(count(&["x > 3", "--limit", "42"]), (42, true), "{file}");
        assert_eq!(count(&["x > 3", "--limit", "41"]), (41, false), "{file}");
        let matches = |words: &[&str]| {
            let found = search(words);
            let all = found["matches"].as_array().unwrap().iter();
            all.map(|one| (one["index"][0].as_u64().unwrap(), one["value"].as_i64().unwrap()))
                .collect::<Vec<_>>()
        };
        assert_eq!(matches(&["x > 6"]), [(ALL - 3, 7), (ALL - 1, 9)], "{file}");
        assert_eq!(matches(&["x < 3", "--limit", "8"])[4..], [(4, 0), (5, 1), (6, 2), (8, 0)], "{file}");
    }
    // None of the elements of this dataset were written.
    let path = dir.path().join("none.h5");
    made(&path, &[ALL], Layout::Contiguous, filled(4), &[]);
    let found = json(&["filter", "--json", "--count", path.to_str().unwrap(), "/x", "x > 3"]);
    assert_eq!(found["count"], json!(ALL));
}
