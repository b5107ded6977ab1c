//! Tests that the tool creates pointer files and never overwrites other files.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use h5lake_ledger::{Access, Ledger, Options, Replace};
use object_stores::registry::Registry;

fn link(url: &str, path: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_h5lake")).arg("link").arg(url).arg(path).output().unwrap()
}

/// Runs `h5lake link`, which must fail. Returns its error message.
fn refused(url: &str, path: &Path) -> String {
    let done = link(url, path);
    assert!(!done.status.success(), "{url}");
    String::from_utf8(done.stderr).unwrap()
}

#[test]
fn a_link_leads_to_a_container() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/objects", dir.path().display());
    let store = Registry::global().open(&url).unwrap();
    let made = Ledger::create_objects(Arc::clone(&store), "a.h5", Replace::Fail, Options::default());
    made.unwrap().close().unwrap();
    let path = dir.path().join("here.h5");
    for _ in 0..2 {
        let done = link(&format!("{url}/a.h5"), &path);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let listed = Command::new(env!("CARGO_BIN_EXE_h5lake")).arg("versions").arg(&path).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));

    std::fs::write(dir.path().join("objects/text"), "text").unwrap();
    let other = dir.path().join("other.h5");
    for (url, word) in [
        (format!("{url}/missing.h5"), "nothing is there"),
        (format!("{url}/text"), "no container"),
        ("a.h5".to_owned(), "no URL"),
        ("memory:m/a.h5".to_owned(), "when the process ends"),
        ("gopher://host/a.h5".to_owned(), "gopher"),
    ] {
        let said = refused(&url, &other);
        assert!(said.contains(word), "{said}");
        assert!(!other.exists(), "{url}");
    }
    std::fs::write(&other, "data").unwrap();
    assert!(refused(&format!("{url}/a.h5"), &other).contains("no pointer file"));
    assert_eq!(std::fs::read(&other).unwrap(), b"data");
}

#[test]
fn a_local_container_replaced_by_a_link_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/objects", dir.path().display());
    let store = Registry::global().open(&url).unwrap();
    Ledger::create_objects(Arc::clone(&store), "a.h5", Replace::Fail, Options::default())
        .unwrap()
        .close()
        .unwrap();
    let path = dir.path().join("here.h5");
    let options = Options { retention: Some(Duration::from_secs(3600)), ..Options::default() };
    let local = Ledger::create_file(&path, Replace::Fail, options.clone()).unwrap();
    local.put(b"k", "local").unwrap();
    local.commit().unwrap();
    local.close().unwrap();
    // Replaces the file in the same way as a creation with `store=`.
    let replacing = Ledger::replacing_file(&path, &options).unwrap().unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(link(&format!("{url}/a.h5"), &path).status.success());
    replacing.done();
    let tool = |arguments: &[&str]| {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_h5lake"));
        let done = tool.arg(arguments[0]).arg(&path).args(&arguments[1..]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let listed = tool(&["versions"]);
    let kept = listed.lines().last().unwrap().split_whitespace().next().unwrap();
    let (id, until) = kept.split_once('-').unwrap();
    assert!(listed.contains("h5lake restore") && id.len() == 32 && !until.is_empty(), "{listed}");
    tool(&["restore", &id[..8]]);
    let back = Ledger::open_file(&path, Access::ReadOnly, Options::default()).unwrap();
    assert_eq!(back.get(b"k").unwrap().unwrap(), "local");
    assert!(Ledger::replaced_files(&path).unwrap().is_empty());
    // The other container is still in the store.
    assert!(Ledger::open_objects(store, "a.h5", Access::ReadOnly, Options::default()).is_ok());
}
