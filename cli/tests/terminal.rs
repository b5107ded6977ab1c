//! Escaping of names that another user chose: no control character reaches a terminal, and JSON remains JSON.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;
#[path = "common/sample.rs"]
mod sample;

use std::path::Path;

use common::tool;
use h5lake_container::*;
use h5lake_ledger::{Access, Ledger};

const EVIL: &str = "\x1b]0;title\x07\u{202e}\u{9b}31m\u{2066}\u{85}";

/// Returns whether a text contains no control character and no directional formatting character, except line feeds.
fn is_harmless(said: &str) -> bool {
    let is_obeyed = |c: char| {
        (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    !said.contains(is_obeyed)
}

/// Puts entries into the map that h5lake itself never writes.
fn forge(path: &Path, keys: &[&str]) {
    let ledger = Ledger::open_file(path, Access::ReadWrite, Default::default()).unwrap();
    for key in keys {
        ledger.put(key.as_bytes(), vec![1]).unwrap();
    }
    ledger.commit().unwrap();
    ledger.close().unwrap();
}

#[test]
fn names_in_containers_are_escaped_wherever_they_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, tagged] = ["a.h5", "b.h5", "tagged.h5"].map(|name| dir.path().join(name));
    for (path, value) in [(&a, 1), (&b, 2)] {
        let c = sample::create(path);
        let group = sample::group(&c, c.root(), EVIL);
        sample::attribute(&c, group, EVIL, value);
        sample::link(&c, group, "deep", c.root());
        let filter = Filter { id: 32_099, flags: 0, name: EVIL.into(), client_data: vec![7] };
        sample::dataset(&c, "filtered", vec![filter], &[1, 2, 3]);
        if value == 2 {
            sample::group(&c, group, EVIL);
        }
    }
    let c = sample::create(&tagged);
    drop(c);
    forge(&tagged, &[&format!("T{EVIL}"), &format!("V\0{EVIL}")]);
    let [a, b, tagged] = [&a, &b, &tagged].map(|path| path.to_str().unwrap());
    let within = format!("/{EVIL}");
    let mended = dir.path().join("mended.h5");
    let commands: &[&[&str]] = &[
        &["ls", a],
        &["ls", "-l", a],
        &["ls", "--json", a],
        &["tree", a],
        &["tree", "--json", a],
        &["info", a, &within],
        &["info", "--json", a, &within],
        &["info", a, "/filtered"],
        &["info", "--json", a, "/filtered"],
        &["cat", a, "/filtered"],
        &["cat", a, &within],
        &["cat", "--attribute", EVIL, a, &within],
        &["cat", "--json", "--attribute", EVIL, a, &within],
        &["cat", a, &format!("{within}/nowhere")],
        &["filter", a, "/filtered", "x>3"],
        &["filter", a, "/filtered", &format!("x>{EVIL}")],
        &["diff", a, b],
        &["diff", "--json", a, b],
        &["diff", "--stat", a, b],
        &["diff", "--stat", "--json", a, b],
        &["verify", tagged],
        &["verify", "--json", tagged],
        &["tag", tagged],
        &["versions", tagged],
        &["log", tagged],
        &["log", "--graph", tagged],
        &["repair", tagged, mended.to_str().unwrap()],
    ];
    for command in commands {
        let (code, said) = tool(command);
        assert!(!said.is_empty() && is_harmless(&said), "{command:?}: {said:?}");
        if command.contains(&"--json") && code != 1 {
            serde_json::from_str::<serde_json::Value>(&said)
                .unwrap_or_else(|e| panic!("{command:?}: {e}: {said}"));
        }
    }
    assert_eq!(tool(&["verify", tagged]).0, 2, "names of tags and branches that are none are damage");
}

#[test]
fn commands_to_paste_are_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a b; touch pwned.h5");
    let name = path.to_str().unwrap();
    drop(sample::create(&path));
    assert_eq!(tool(&["tag", name, "paper"]).0, 0);
    let command = |said: &str, begins: &str| {
        let at = said.find(begins).unwrap_or_else(|| panic!("{begins}: {said}"));
        said[at..].lines().next().unwrap().to_owned()
    };
    let said = tool(&["repair", name, dir.path().join("b.h5").to_str().unwrap()]).1;
    assert_eq!(command(&said, "h5lake copy"), format!("h5lake copy '{name}@tag=paper' TARGET"));
    let said = tool(&["tag", name, "published-v1"]).1;
    assert!(said.contains(&format!("h5lake publish '{name}@v=1'")), "{said}");
    // A name that is no valid tag name appears in no command.
    forge(&path, &["Tx; touch pwned #"]);
    let said = tool(&["repair", name, dir.path().join("c.h5").to_str().unwrap()]).1;
    assert!(said.contains("left out: tag paper, 'x; touch pwned #'; to keep one"), "{said}");
}
