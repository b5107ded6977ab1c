//! Tests of `h5lake ls FOLDER` and `h5lake du` with the containers of a store and of a local directory.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod common;
#[path = "common/sample.rs"]
mod sample;

use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::Arc;

use common::{Store, json, tool};
use h5lake_ledger::{Ledger, Options, Replace};
use object_stores::{Key, ObjectStore, ObjectStoreExt};
use serde_json::Value;

/// Creates a container with `commits` commits.
fn make(store: &Store, key: &str, commits: u8) {
    make_in(&store.store, key, commits);
}

fn make_in(store: &Arc<dyn ObjectStore>, key: &str, commits: u8) {
    let options = Options::default();
    let ledger = Ledger::create_objects(store.clone(), key, Replace::Atomically, options).unwrap();
    // Every container must have this entry.
    ledger.put(b"C", vec![0x08, 2]).unwrap();
    for n in 0..commits {
        ledger.put(b"k", vec![n]).unwrap();
        ledger.commit().unwrap();
    }
    ledger.close().unwrap();
}

/// Runs the tool, which must succeed. Returns the first cells of its lines.
fn names(args: &[&str]) -> Vec<String> {
    let (code, said) = tool(args);
    assert_eq!(code, 0, "{args:?}: {said}");
    said.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

fn field<'a>(rows: &'a Value, name: &str, field: &str) -> &'a Value {
    let found = rows.as_array().unwrap().iter().find(|row| row["name"] == name);
    found.map(|row| &row[field]).unwrap_or_else(|| panic!("no {name} in {rows}"))
}

#[test]
fn the_containers_of_a_store_are_listed() {
    let store = Store::new();
    make(&store, "a.h5", 3);
    make(&store, "b\u{202e}.h5", 1);
    make(&store, "sub/c.h5", 1);
    store.put(&Key::new("notes.txt").unwrap(), b"no container, and longer than the first bytes of one");
    store.put(&Key::new("empty").unwrap(), b"");
    let folder = format!("{}/", store.url);
    for args in [&["ls", &folder][..], &["ls", &store.url], &["ls", "-r", &folder]] {
        assert_eq!(names(args), ["a.h5", "b\\u{202e}.h5", "sub/c.h5"]);
    }
    for place in ["sub/", "sub"] {
        assert_eq!(names(&["ls", &store.url_of(place)]), ["c.h5"]);
    }
    let rows = json(&["ls", "--json", "-l", &folder]);
    assert_eq!(
        (field(&rows, "a.h5", "version"), field(&rows, "sub/c.h5", "kind")),
        (&3.into(), &"objects".into())
    );
    assert_eq!(field(&rows, "a.h5", "location"), &Value::from(store.url_of("a.h5")));
    let versions = json(&["versions", "--json", &store.url_of("a.h5")]);
    for (listed, of_version) in [("time", "time"), ("host", "host"), ("pid", "pid"), ("version", "number")] {
        assert_eq!(field(&rows, "a.h5", listed), &versions["versions"][0][of_version], "{listed}");
    }
    assert_eq!(names(&["ls", &store.url_of("none/")]), [""; 0]);
    let (code, said) = tool(&["ls", &store.url_of("none")]);
    assert!(code == 1 && said.contains("none"), "{said}");
    let (code, said) = tool(&["ls", &folder, "/group"]);
    assert!(code == 1 && said.contains("folder of containers"), "{said}");
    let (code, said) = tool(&["ls", "-r", &store.url_of("a.h5")]);
    assert!(code == 1 && said.contains("h5lake tree"), "{said}");
}

#[test]
fn the_bytes_of_containers_are_those_of_all_objects() {
    let store = Store::new();
    make(&store, "a.h5", 2);
    make(&store, "sub/b.h5", 1);
    Ledger::remove_objects(&store.store, "sub/b.h5").unwrap();
    let bytes: usize = store.objects().iter().map(|(_, bytes)| bytes.len()).sum();
    let sizes = json(&["du", "--json", &store.url]);
    assert_eq!(sizes["bytes"], bytes);
    assert_eq!(field(&sizes["containers"], "sub/b.h5", "kind"), "deleted");
    let (code, said) = tool(&["du", &format!("{}/", store.url)]);
    assert!(code == 0 && said.contains("\tsub/b.h5 (deleted, retained)\n"), "{said}");
    assert!(said.ends_with(&format!("{bytes}\ttotal\n")), "{said}");
    assert_eq!(names(&["ls", "-r", &store.url]), ["a.h5"]);
    let one = json(&["du", "--json", &store.url_of("a.h5")]);
    assert_eq!(&one["bytes"], field(&sizes["containers"], "a.h5", "bytes"));
}

#[test]
fn a_manifest_that_cannot_be_read_hides_no_other_container() {
    let store = Store::new();
    make(&store, "a.h5", 1);
    make(&store, "b.h5", 1);
    let key = Key::new("a.h5").unwrap();
    let mut manifest = store.store.get_whole(&key, 1 << 20).unwrap().bytes.to_vec();
    let last = manifest.len() - 1;
    manifest[last] ^= 1;
    store.put(&key, &manifest);
    let (code, said) = tool(&["ls", "-l", &format!("{}/", store.url)]);
    assert!(code == 1 && said.contains("unreadable") && said.contains("b.h5\t"), "{said}");
    assert_eq!(names(&["ls", &format!("{}/", store.url)]), ["a.h5", "b.h5"]);
}

#[test]
fn the_containers_of_a_directory_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let store = Store::new();
    make(&store, "far.h5", 1);
    drop(sample::create(&dir.path().join("file.h5")));
    assert_eq!(tool(&["link", &store.url_of("far.h5"), &at("pointer.h5")]).0, 0);
    std::fs::create_dir(at("sub")).unwrap();
    std::fs::copy(at("file.h5"), at("sub/copy.h5")).unwrap();
    std::fs::write(at("native.h5"), b"\x89HDF\r\n\x1a\n\0").unwrap();
    std::fs::write(at(".file.h5.h5lake-new"), std::fs::read(at("file.h5")).unwrap()).unwrap();
    symlink("file.h5", at("link.h5")).unwrap();
    let objects = format!("file://{}", dir.path().display());
    let beside = object_stores::Registry::global().open(&objects).unwrap();
    make_in(&beside, "objects.h5", 1);
    let folder = dir.path().display().to_string();
    let all = ["file.h5", "objects.h5", "pointer.h5"];
    for place in [&folder, &format!("{folder}/")] {
        assert_eq!(names(&["ls", place]), ["sub/", all[0], all[1], all[2]], "{place}");
    }
    assert_eq!(names(&["ls", &format!("{objects}/")]), ["objects.h5"], "a URL is a store");
    assert_eq!(field(&json(&["ls", "--json", &folder]), "sub/", "kind"), "folder");
    assert_eq!(names(&["ls", "-r", &folder]), [all[0], all[1], all[2], "sub/copy.h5"]);
    let rows = json(&["ls", "--json", "-l", &folder]);
    let kinds = all.map(|name| field(&rows, name, "kind").as_str().unwrap());
    assert_eq!(kinds, ["file", "objects", "pointer"]);
    let real = dir.path().canonicalize().unwrap();
    assert_eq!(field(&rows, "file.h5", "location"), &Value::from(real.join("file.h5").display().to_string()));
    assert_eq!(field(&rows, "pointer.h5", "location"), &Value::from(store.url_of("far.h5")));
    assert!(field(&rows, "file.h5", "version").as_u64() > Some(0), "{rows}");
    let sizes = json(&["du", "--json", &folder]);
    assert_eq!(
        field(&sizes["containers"], "sub/copy.h5", "bytes"),
        std::fs::metadata(at("file.h5")).unwrap().len()
    );
    let (code, said) = tool(&["ls", &at("none/")]);
    assert!(code == 1 && said.contains("none"), "{said}");
}

/// With `store=`, names have the same meaning as in programs.
#[test]
fn a_plain_name_under_a_store_is_a_folder_of_its_keys() {
    let store = Store::new();
    make(&store, "runs/a.h5", 1);
    let run = |args: &[&str]| {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_h5lake"));
        let done =
            tool.args(args).env("H5LAKE_STORE", &store.url).env("H5LAKE_ROOT", "/data").output().unwrap();
        String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap()
    };
    for place in ["/data/runs/", "/data/runs"] {
        assert!(run(&["ls", place]).starts_with("a.h5\t"), "{}", run(&["ls", place]));
    }
    assert!(run(&["ls", "/data/"]).starts_with("runs/a.h5\t"));
    let (container, outside) = (run(&["ls", "/data/runs/a.h5"]), run(&["ls", "/other/"]));
    assert!(outside.contains("root '/data'"), "{outside}");
    assert!(
        container.contains("runs/a.h5: there is no object"),
        "the container itself is opened: {container}"
    );
}
