//! Tests that `h5lake repair` copies intact data between files and stores and lists the losses.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;

use common::{Store, tool};
use h5lake_ledger::{BranchName, Ledger, Options, Replace, TagName, Tagging};

/// Fills a container and closes it.
fn fill(ledger: Ledger) {
    common::fill(&ledger);
    ledger.close().unwrap();
}

/// Returns the files of a folder with their bytes.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut out: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    out.sort();
    out
}

#[test]
fn whole_containers_go_from_files_to_stores_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let remote = Store::new();
    let store = remote.url_of("b.h5");
    fill(Ledger::create_file(Path::new(&at("a.h5")), Replace::Fail, Options::default()).unwrap());
    for (from, to) in [(at("a.h5"), store.clone()), (store.clone(), at("c.h5")), (at("a.h5"), at("d.h5"))] {
        let (code, said) = tool(&["repair", &from, &to]);
        assert!(code == 0 && said.contains("nothing was lost"), "{from} {to}: {code} {said}");
        let (code, said) = tool(&["verify", &to]);
        assert!(code == 0 && !said.contains("warning"), "{to}: {code} {said}");
        // An existing target is not changed.
        let before = (files(dir.path()), remote.objects());
        let (code, said) = tool(&["repair", &from, &to]);
        assert!(code == 1 && said.contains("something is there"), "{code} {said}");
        assert!((files(dir.path()), remote.objects()) == before);
    }
}

#[test]
fn losses_are_listed_and_the_source_stays() {
    let dir = tempfile::tempdir().unwrap();
    let at = Store::new();
    fill(Ledger::create_objects(at.store.clone(), "a.h5", Replace::Fail, Options::default()).unwrap());
    at.store.delete(&at.pack().0).unwrap();
    let before = at.objects();
    let target = dir.path().join("b.h5");
    let name = target.to_str().unwrap();
    let (code, said) = tool(&["repair", "--json", &at.url_of("a.h5"), name]);
    assert!(code == 2 && said.contains(r#""whole":false"#), "{code} {said}");
    assert!(said.contains("variable-length data of /") && said.contains("it is missing"), "{said}");
    assert!(at.objects() == before, "the source was changed");
    let (code, said) = tool(&["verify", name]);
    assert!(code == 0 && said.contains("warning: lost data"), "{code} {said}");
    let (code, said) = tool(&["repair", name, &at.url_of("c.h5")]);
    assert!(code == 2 && said.contains("lost: heap segment"), "{code} {said}");
}

#[test]
fn tags_and_branches_are_named_that_stay_behind() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let ledger = Ledger::create_file(Path::new(&at("a.h5")), Replace::Fail, Options::default()).unwrap();
    common::fill(&ledger);
    ledger.tag(TagName::new("paper").unwrap(), None, Tagging::default()).unwrap();
    ledger.create_branch(BranchName::new("fix").unwrap(), None).unwrap();
    ledger.close().unwrap();
    let (code, said) = tool(&["repair", &at("a.h5"), &at("b.h5")]);
    assert!(code == 3 && !said.contains(": nothing was lost"), "{code} {said}");
    assert!(said.contains("left out: branch fix;") && said.contains("left out: tag paper;"), "{said}");
    let (code, said) = tool(&["repair", "--json", &at("a.h5"), &at("c.h5")]);
    assert!(code == 3 && said.contains(r#""whole":false"#), "{code} {said}");
    assert!(said.contains(r#""tags":["paper"]"#) && said.contains(r#""branches":["fix"]"#), "{said}");
}

#[test]
fn a_failed_repair_leaves_no_target() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("a.h5"), dir.path().join("b.h5"));
    fs::write(&source, b"no container at all").unwrap();
    let (code, said) = tool(&["repair", source.to_str().unwrap(), target.to_str().unwrap()]);
    assert_eq!(code, 1, "{said}");
    assert_eq!(files(dir.path()).len(), 1);
    assert_eq!(tool(&["repair", "/nowhere/at/all.h5", target.to_str().unwrap()]).0, 1);
    assert!(!target.exists());
}
