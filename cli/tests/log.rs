//! Tests of `h5lake log`: the text, the graph and the JSON of a history, in a file and in a store.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;
#[path = "common/sample.rs"]
mod sample;

use std::time::Duration;

use common::{Store, json, tool};
use h5lake_container::*;
use h5lake_ledger::set_commit_message;

/// Runs the tool, which must succeed. Returns the lines of its output.
fn lines(args: &[&str]) -> Vec<String> {
    let (code, said) = tool(args);
    assert_eq!(code, 0, "{args:?}: {said}");
    said.lines().map(str::to_owned).collect()
}

fn create(target: &Target, retention: Duration) -> std::sync::Arc<Container> {
    let ledger = h5lake_ledger::Options { retention: Some(retention), ..Default::default() };
    let options = Options { ledger, ..Options::default() };
    Container::create(target, Replace::Never, FileCreation::default(), options).unwrap()
}

/// Commits versions 2 and 3, the latter with a message of two lines, tags version 2, and begins a branch with it.
fn make(target: &Target, name: &str) {
    let c = create(target, Duration::from_secs(3600));
    sample::attribute(&c, c.root(), "a", 1);
    c.flush().unwrap();
    set_commit_message("darks of lamp 3\nwithout the first frame").unwrap();
    sample::attribute(&c, c.root(), "b", 2);
    c.flush().unwrap();
    set_commit_message("").unwrap();
    drop(c);
    let then = format!("{name}@v=2");
    assert_eq!(tool(&["tag", &then, "paper"]).0, 0);
    assert_eq!(tool(&["branch", &then, "fix"]).0, 0);
}

/// A history looks the same in a file and in a store. The message of commits belongs to the process, so that one test makes both.
#[test]
fn histories_have_authors_messages_and_names() {
    let (at, dir) = (Store::new(), tempfile::tempdir().unwrap());
    let path = dir.path().join("a.h5");
    let file = (Target::File(path.clone()), path.to_str().unwrap().to_owned());
    let objects = Target::Objects { store: at.store.clone(), key: "a.h5".into(), url: at.url.clone() };
    for (target, name) in [file, (objects, at.url_of("a.h5"))] {
        make(&target, &name);
        full_text(&name);
        graph(&name);
        parts(&name);
        same_as_versions(&name);
    }
}

fn full_text(name: &str) {
    let all = lines(&["log", name]);
    let from = |begin: &str| {
        let at = all.iter().position(|line| line.starts_with(begin)).unwrap();
        &all[at..]
    };
    let third = from("version 3");
    assert!(
        third[1].starts_with("Author: ") && third[1].contains('@') && third[1].contains("log-"),
        "{all:?}"
    );
    assert!(third[2].starts_with("Date:   20") && third[2].ends_with('Z'), "{all:?}");
    assert_eq!(third[3..7], ["", "    darks of lamp 3", "    without the first frame", ""]);
    assert_eq!(third[7], "version 2 (tag: branch-fix, tag: paper)");
    assert!(all[0].ends_with("(newest)") && from("version 1")[0] == "version 1", "{all:?}");
}

fn graph(name: &str) {
    let all = lines(&["log", "--graph", "--oneline", name]);
    let at = all.iter().position(|line| line.starts_with("| * branch fix: ")).unwrap();
    assert_eq!(all[at - 1], "* 3 darks of lamp 3");
    assert!(all[at].contains(" commits, last changed 20"), "{all:?}");
    assert!(all[at + 1] == "|/" && all[at + 2].starts_with("* 2 (tag: paper) by "), "{all:?}");
    assert!(all.iter().filter(|line| line.starts_with("* ")).count() == all.len() - 2, "{all:?}");
    let full = lines(&["log", "-g", name]);
    let at = full.iter().position(|line| line.starts_with("| * branch fix: ")).unwrap();
    assert!(full[at - 2] == "|     without the first frame" && full[at - 1] == "|", "{full:?}");
    assert!(full[at + 1].starts_with("| | Begun:  20") && full[at + 2] == "|/", "{full:?}");
    // Without the marks, the graph has the lines of the text.
    let text: Vec<_> = full.iter().filter_map(|line| line.strip_prefix("* version")).collect();
    assert_eq!(text.len(), lines(&["log", name]).iter().filter(|line| line.starts_with("version")).count());
}

/// Names with a version show the history up to the version.
fn parts(name: &str) {
    for (of, first) in [("@v=3", "3"), ("@tag=paper", "2"), ("@branch=fix", "2")] {
        let all = lines(&["log", "--oneline", &format!("{name}{of}")]);
        assert!(all[0].starts_with(&format!("{first} ")) && !all[0].contains("newest"), "{of}: {all:?}");
        assert!(all.last().unwrap().starts_with("1 "), "{of}: {all:?}");
    }
    assert_eq!(lines(&["log", "--oneline", "-n", "2", name]).len(), 2);
    assert_eq!(lines(&["log", "--oneline", "-n", "1", &format!("{name}@v=3")]), ["3 darks of lamp 3"]);
    let (code, said) = tool(&["log", &format!("{name}@v=99")]);
    assert!(code == 1 && said.contains("version 99 is not retained"), "{said}");
    let (code, said) = tool(&["log", &format!("{name}@branch=other")]);
    assert!(code == 1 && said.contains("other"), "{said}");
}

fn same_as_versions(name: &str) {
    let (log, versions) = (json(&["log", "--json", name]), json(&["versions", "--json", name]));
    assert_eq!(log, serde_json::json!({ "versions": versions["versions"] }));
    let log = json(&["log", "--json", "--graph", name]);
    assert_eq!(log["versions"], versions["versions"]);
    assert_eq!(log["branches"], json(&["branch", "--json", name]));
    assert_eq!(log["branches"][0]["base"], 2);
}

#[test]
fn versions_that_are_not_retained_interrupt_the_graph() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let name = path.to_str().unwrap();
    let c = create(&Target::File(path.clone()), Duration::ZERO);
    sample::dataset(&c, "x", Vec::new(), &[0; 50_000]);
    drop(c);
    assert_eq!(tool(&["tag", name, "paper"]).0, 0);
    let rewrite = |value: i32| {
        let c = sample::open(&path);
        sample::write(&c.dataset(sample::id_of(&c, "x")).unwrap(), &[value; 50_000]);
    };
    (1..6).for_each(rewrite);
    assert_eq!(tool(&["vacuum", name]).0, 0);
    let all = lines(&["log", "-g", "--oneline", name]);
    let numbers: Vec<u64> = json(&["log", "--json", name])["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["number"].as_u64().unwrap())
        .collect();
    let [newest, tagged @ 2] = numbers[..] else { panic!("{all:?}") };
    let wanted = [
        format!("* {newest} (newest) by "),
        format!(": versions {} to {} are not retained", tagged + 1, newest - 1),
        format!("* {tagged} (tag: paper) by "),
        ": version 1 is not retained".to_owned(),
    ];
    assert_eq!(all.len(), wanted.len(), "{all:?}");
    assert!(all.iter().zip(&wanted).all(|(line, wanted)| line.starts_with(wanted)), "{all:?}");
    // Versions that were not requested may be retained.
    assert_eq!(lines(&["log", "-g", "--oneline", "-n", "1", name]).len(), 1);
}

#[test]
fn containers_that_are_not_there_and_native_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let [missing, native] = ["missing.h5", "native.h5"].map(|name| dir.path().join(name));
    std::fs::write(&native, [&b"\x89HDF\r\n\x1a\n"[..], &[0; 2048]].concat()).unwrap();
    let (code, said) = tool(&["log", missing.to_str().unwrap()]);
    assert!(code == 1 && said.contains("missing.h5: no such container"), "{said}");
    let (code, said) = tool(&["log", native.to_str().unwrap()]);
    assert!(code == 1 && said.contains("is a native HDF5 file"), "{said}");
}
