//! Tests of `h5lake diff`, `copy`, `rm` and `restore --version`, including their exit codes.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;
#[path = "common/sample.rs"]
mod sample;

use common::{Store, tool};
use serde_json::Value;

fn json(wanted: i32, args: &[&str]) -> Value {
    let (code, said) = tool(args);
    assert_eq!(code, wanted, "{args:?}: {said}");
    serde_json::from_str(&said).unwrap()
}

/// Creates a container with two versions. The second version has other numbers and no attribute.
fn two_versions(path: &std::path::Path) -> (u64, u64) {
    let c = sample::create(path);
    let numbers = sample::dataset(&c, "x", Vec::new(), &[1, 2, 3]);
    sample::attribute(&c, c.root(), "a", 7);
    c.flush().unwrap();
    let first = c.version();
    sample::write(&numbers, &[1, 9, 3]);
    c.attr_delete(c.root(), b"a").unwrap();
    c.flush().unwrap();
    (first, c.version())
}

#[test]
fn versions_differ_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let name = path.to_str().unwrap();
    let (first, second) = two_versions(&path);
    let old = format!("{name}@v={first}");
    let found = json(2, &["diff", "--json", "--elements", "3", &old, name]);
    let text = found.to_string();
    assert_eq!(found.as_array().unwrap().len(), 2, "{text}");
    assert!(text.contains(r#""at":[1],"from":2,"to":9"#) && text.contains(r#""attribute":"a""#), "{text}");
    assert_eq!(tool(&["diff", name, name]), (0, String::new()));
    let restored = json(0, &["restore", "--json", name, "--version", &first.to_string()]);
    assert_eq!(restored["version"], second + 1);
    assert_eq!(json(0, &["cat", "--json", name, "x"])["data"].to_string(), "[1,2,3]");
    assert_eq!(tool(&["diff", &old, name]).0, 0);
    let (code, said) = tool(&["restore", &old, "--version", "1"]);
    assert!(code == 1 && said.contains("name the container"), "{said}");
}

/// Creates a container with two versions, between which objects were changed, created, deleted and renamed.
fn many_changes(path: &std::path::Path) -> u64 {
    let c = sample::create(path);
    let numbers: Vec<i32> = (0..4000).collect();
    let changed = sample::dataset(&c, "changed", Vec::new(), &numbers);
    let id = sample::id_of(&c, "changed");
    sample::link(&c, c.root(), "changed too", id);
    sample::dataset(&c, "renamed", Vec::new(), &[1, 2]);
    let old = sample::group(&c, c.root(), "old");
    sample::group(&c, old, "below");
    sample::attribute(&c, id, "a", 1);
    sample::attribute(&c, id, "b", 1);
    c.flush().unwrap();
    let first = c.version();
    sample::write(&changed, &numbers.iter().map(|n| n + n % 2).collect::<Vec<_>>());
    c.attr_delete(id, b"a").unwrap();
    sample::attribute(&c, id, "c", 1);
    sample::link(&c, c.root(), "new name", sample::id_of(&c, "renamed"));
    c.link_delete(c.root(), b"renamed").unwrap();
    c.link_delete(c.root(), b"old").unwrap();
    let new = sample::group(&c, c.root(), "new");
    let below = sample::group(&c, new, "below");
    sample::link(&c, below, "above", new);
    c.flush().unwrap();
    first
}

#[test]
fn a_statistic_counts_each_object_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let name = path.to_str().unwrap();
    let old = format!("{name}@v={}", many_changes(&path));
    let (code, said) = tool(&["diff", "--stat", &old, name]);
    assert_eq!(code, 2, "{said}");
    let wanted = [
        "! /changed  1 attribute added, 1 removed; 2,000 of 4,000 elements differ, 8,000 bytes",
        "+ /new  group, 2 objects",
        "+ /new name  link to dataset  {2/unlimited}",
        "- /old  group, 2 objects",
        "- /renamed  link to dataset  {2/unlimited}",
        "1 object changed, 2 created, 2 deleted, 1 link added, 1 removed, 1 attribute added, 1 removed, 2,000 elements differ",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), wanted);
    let chunks = tool(&["diff", "--stat", "--chunks", &old, name, "/changed"]).1;
    assert!(
        chunks.lines().next().unwrap().ends_with("2,000 of 4,000 elements differ, 8,000 bytes, in 1 chunk"),
        "{chunks}"
    );
    assert_eq!(tool(&["diff", "--stat", name, name]), (0, String::new()));
    let (code, said) = tool(&["diff", "--stat", "--elements", "1", &old, name]);
    assert!(code == 1 && said.contains("--elements"), "{said}");
}

#[test]
fn a_statistic_is_json_too_and_compares_other_containers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let name = path.to_str().unwrap();
    let old = format!("{name}@v={}", many_changes(&path));
    let found = json(2, &["diff", "--stat", "--json", &old, name]);
    let objects = found["objects"].as_array().unwrap();
    let changes: Vec<_> = objects.iter().map(|one| one["change"].as_str().unwrap()).collect();
    assert_eq!(changes, ["changed", "created", "link added", "deleted", "link removed"]);
    assert_eq!(objects[0]["elements"]["bytes"], 8000);
    assert_eq!(objects[1]["objects"], 2);
    let summary = &found["summary"];
    assert_eq!([&summary["changed"], &summary["created"], &summary["deleted"]], [1, 2, 2]);
    assert_eq!([&summary["links"]["added"], &summary["elements"]], [1, 2000]);
    let equal = json(0, &["diff", "--stat", "--json", name, name]);
    assert!(equal["objects"].as_array().unwrap().is_empty() && equal["summary"]["changed"] == 0, "{equal}");
    // The objects of another container have other ids, so that a renamed object counts as deleted and created.
    let copy = dir.path().join("b.h5");
    assert_eq!(tool(&["cp", name, copy.to_str().unwrap()]).0, 0);
    let summary = &json(2, &["diff", "--stat", "--json", &old, copy.to_str().unwrap()])["summary"];
    assert_eq!([&summary["changed"], &summary["created"], &summary["deleted"]], [1, 3, 3]);
    assert_eq!(summary["links"]["added"], 0);
}

#[test]
fn a_writer_is_not_disturbed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let name = path.to_str().unwrap();
    let (first, second) = two_versions(&path);
    let writer = sample::open(&path);
    let (code, said) = tool(&["restore", name, "--version", &first.to_string()]);
    assert!(code == 1 && said.contains("open for writing"), "{said}");
    drop(writer);
    assert_eq!(sample::open(&path).version(), second);
}

#[test]
fn copies_and_deleted_containers() {
    let at = Store::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let name = path.to_str().unwrap();
    let (first, second) = two_versions(&path);
    let (new, old) = (at.url_of("new.h5"), at.url_of("old.h5"));
    let (code, said) = tool(&["copy", name, &new]);
    // Data of this size is stored in the entries.
    let prefix = format!("{name} -> {new}: version {second}, ");
    assert!(code == 0 && said.starts_with(&prefix) && said.ends_with(" entries\n"), "{said}");
    assert_eq!(tool(&["copy", &format!("{name}@v={first}"), &old]).0, 0);
    assert_eq!(tool(&["diff", name, &new]).0, 0);
    assert_eq!(json(0, &["cat", "--json", &old, "x"])["data"].to_string(), "[1,2,3]");
    let (code, said) = tool(&["copy", name, &new]);
    assert!(code == 1 && said.contains("something is there"), "{said}");
    let kept = json(0, &["rm", "--json", &new])["kept"].as_str().unwrap().to_owned();
    assert_eq!(tool(&["ls", &new]).0, 1);
    assert_eq!(json(0, &["restore", "--json", &new, &kept[..8]])["id"], kept.as_str());
    assert_eq!(tool(&["diff", name, &new]).0, 0);
    assert_eq!(tool(&["rm", &at.url_of("missing.h5")]).0, 1);
    assert_eq!(json(0, &["rm", "--json", name])["kept"], Value::Null);
    assert!(!path.exists());
}

#[test]
fn all_that_can_be_deleted_are() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["a.h5", "missing.h5", "b.h5"].map(|name| dir.path().join(name));
    drop((sample::create(&paths[0]), sample::create(&paths[2])));
    let [a, missing, b] = paths.each_ref().map(|path| path.to_str().unwrap());
    let (code, said) = tool(&["rm", a, missing, b]);
    assert!(code == 1 && said.contains("missing.h5: no such container"), "{code} {said}");
    assert!(!paths[0].exists() && !paths[2].exists(), "{said}");
}

/// A setting that selects a version applies to commands that read data, and not to commands for the whole container.
#[test]
fn settings_choose_the_version_that_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let name = path.to_str().unwrap();
    let (first, second) = two_versions(&path);
    let set = |args: &[&str]| {
        let mut tool = std::process::Command::new(env!("CARGO_BIN_EXE_h5lake"));
        let tool = tool.args(args).env_remove("H5LAKE_STORE").env("H5LAKE_VERSION", first.to_string());
        let done = tool.output().unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let read = |said: String| serde_json::from_str::<Value>(&said).unwrap()["data"].to_string();
    assert_eq!(read(set(&["cat", "--json", name, "x"])), "[1,2,3]");
    assert_eq!(read(set(&["cat", "--json", &format!("{name}@v={second}"), "x"])), "[1,9,3]");
    let copy = dir.path().join("b.h5");
    set(&["copy", name, copy.to_str().unwrap()]);
    assert_eq!(json(0, &["cat", "--json", copy.to_str().unwrap(), "x"])["data"].to_string(), "[1,2,3]");
    let listed: Value = serde_json::from_str(&set(&["versions", "--json", "-n", "1", name])).unwrap();
    assert_eq!(listed["versions"][0]["number"], second);
    set(&["verify", name]);
}
