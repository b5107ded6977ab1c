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
    let told = format!("{name} -> {new}: version {second}, ");
    assert!(code == 0 && said.starts_with(&told) && said.ends_with(" entries\n"), "{said}");
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
