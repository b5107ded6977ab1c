//! Tests of `h5lake docs`, and that every page that a message names exists.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::path::Path;

use common::tool;

#[test]
fn pages_and_sections_are_shown() {
    let (code, listed) = tool(&["docs"]);
    assert!(code == 0 && listed.lines().count() > 10 && listed.contains("troubleshooting"), "{listed}");
    for line in listed.lines() {
        let name = line.split_whitespace().next().unwrap();
        let (code, page) = tool(&["docs", name]);
        assert!(code == 0 && page.starts_with("# "), "{name}: {page:.100}");
    }
    let (code, section) = tool(&["docs", "versions#tags"]);
    assert!(
        code == 0
            && section.starts_with("## Tags\n")
            && section.contains("--keep 30d")
            && !section.contains("<!--"),
        "{section}"
    );
    let (code, said) = tool(&["docs", "version"]);
    assert!(code == 1 && said.contains("'h5lake docs' lists all"), "{said}");
    let (code, said) = tool(&["docs", "versions#nothing"]);
    assert!(code == 1 && said.contains("no heading 'nothing'"), "{said}");
}

/// Adds the pages that the sources in a folder mention as `h5lake docs PAGE`.
fn add_named(folder: &Path, named: &mut Vec<String>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_named(&path, named);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "py") {
            let text = std::fs::read_to_string(&path).unwrap();
            let pages = text.split("h5lake docs ").skip(1);
            let is_of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '#';
            named.extend(pages.map(|rest| rest.split(|c| !is_of_name(c)).next().unwrap().to_owned()));
        }
    }
}

#[test]
fn messages_name_pages_that_there_are() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut named = Vec::new();
    for folder in ["cli/src", "connector/vol/src", "python/src"] {
        add_named(&project.join(folder), &mut named);
    }
    named.retain(|page| !page.is_empty());
    assert!(named.len() >= 5, "{named:?}");
    for page in named {
        assert_eq!(tool(&["docs", &page]).0, 0, "{page}");
    }
}
