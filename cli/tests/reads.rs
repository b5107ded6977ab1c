//! Tests of `h5lake ls`, `tree`, `info` and `cat` with containers that other programs do not make, and of the help texts.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;
#[path = "common/sample.rs"]
mod sample;

use common::{json, tool};
use h5lake_container::{CharSet, Filter, LinkTarget};

#[test]
fn groups_below_one_another_have_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let name = path.to_str().unwrap();
    let c = sample::create(&path);
    let mut group = c.root();
    for _ in 0..1100 {
        group = sample::group(&c, group, "g");
    }
    drop(c);
    let all = json(&["tree", "--json", name]);
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 1 + 1024);
    assert_eq!(all[1024]["too_deep"], true);
    assert!(tool(&["tree", name]).1.contains("too deep"));
    let below = all[1024]["path"].as_str().unwrap();
    assert_eq!(json(&["tree", "--json", name, below]).as_array().unwrap().len(), 1 + 1100 - 1024);
}

/// Creates groups that each contain the next group under two names: 61 groups, including the root, with 2 to the power of 60 paths.
#[test]
fn groups_with_many_paths_are_shown_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let c = sample::create(&path);
    let mut group = c.root();
    for _ in 0..60 {
        let next = sample::group(&c, group, "a");
        sample::link(&c, group, "b", next);
        group = next;
    }
    drop(c);
    assert_eq!(json(&["tree", "--json", path.to_str().unwrap()]).as_array().unwrap().len(), 1 + 2 * 60);
}

#[test]
fn a_large_group_is_listed_whole_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let c = sample::create(&path);
    let mut names: Vec<String> = (0..2500).map(|n| format!("{n:05}")).collect();
    names.push("z".repeat(3000));
    for name in &names {
        c.link_create(c.root(), name.as_bytes(), LinkTarget::Soft(b"/".to_vec()), CharSet::Utf8).unwrap();
    }
    drop(c);
    let listed = json(&["ls", "--json", path.to_str().unwrap()]);
    let listed: Vec<_> =
        listed.as_array().unwrap().iter().map(|e| e["path"].as_str().unwrap()[1..].to_owned()).collect();
    assert!(listed == names);
}

#[test]
fn a_filter_that_is_not_here_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let name = path.to_str().unwrap();
    let c = sample::create(&path);
    let foreign = Filter { id: 31_999, flags: 0, name: b"odd".to_vec(), client_data: vec![1] };
    sample::dataset(&c, "x", vec![foreign], &[1, 2]);
    drop(c);
    let (code, said) = tool(&["cat", name, "/x"]);
    assert!(code == 1 && said.contains("odd") && said.contains("/x"), "{code} {said}");
    assert!(tool(&["ls", "-l", name]).1.contains("odd(1)"));
}

#[test]
fn terminals_are_not_fooled_by_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let name = path.to_str().unwrap();
    let c = sample::create(&path);
    sample::group(&c, c.root(), "a\x1b[31m\nb");
    drop(c);
    let said = tool(&["ls", name]).1;
    assert!(said.starts_with("a\\u{1b}[31m\\nb") && said.lines().count() == 1, "{said}");
}

#[test]
fn every_command_has_examples_and_the_codes_are_documented() {
    let (code, help) = tool(&["--help"]);
    assert!(code == 0 && help.contains("Exit codes") && help.contains("NAME@v=12"), "{help}");
    let commands = commands_of(&help);
    assert!(commands.len() > 30, "{commands:?}");
    for (command, _) in commands {
        let (code, long) = tool(&["help", &command]);
        assert!(code == 0 && long.contains("Examples:\n  "), "{command}: {long}");
        assert_eq!(tool(&[&command, "--help"]), (0, long));
    }
    // Exit code 2 is reserved for findings, so wrong arguments exit with 1.
    for wrong in [&["cat"][..], &["no-such-command"], &["ls", "--no-such-option"]] {
        assert_eq!(tool(wrong).0, 1, "{wrong:?}");
    }
}

/// Returns the commands in the help text of the tool, with their summaries.
fn commands_of(help: &str) -> Vec<(String, String)> {
    let lines = help.lines().skip_while(|line| !line.ends_with(':')).take_while(|line| *line != "Options:");
    let of = |line: &str| {
        let (names, summary) = line.strip_prefix("  ")?.split_once("  ")?;
        Some((names.split(',').next()?.trim().to_owned(), summary.trim().to_owned()))
    };
    lines.filter_map(of).collect()
}

#[test]
fn the_short_help_has_a_line_for_each_command_in_groups() {
    let (code, help) = tool(&["-h"]);
    assert!(code == 0 && help.contains("\n  copy, cp ") && help.contains("h5lake help COMMAND"), "{help}");
    let headings = help.lines().filter(|line| line.ends_with(':') && !line.starts_with(' '));
    assert_eq!(headings.count(), 6, "{help}");
    let mut commands = commands_of(&help);
    let script = tool(&["completions", "fish"]).1;
    let in_script = |line: &&str| line.contains("__fish_h5lake_needs_command") && line.contains(" -a ");
    let completed = script.lines().filter(in_script);
    // The completion script also has the command `help`, and the other name of `copy`.
    assert_eq!(completed.count(), commands.len() + 2, "{script}");
    for (command, summary) in &commands {
        assert!(!summary.is_empty() && summary.len() < 80, "{command}: {summary}");
        let (code, short) = tool(&[command, "-h"]);
        assert!(code == 0 && short.starts_with(&format!("{summary}\n\nUsage:")), "{command}: {short}");
    }
    commands.sort();
    commands.dedup();
    assert_eq!(commands.len(), commands_of(&help).len());
    assert_eq!(tool(&["cp", "-h"]), tool(&["copy", "-h"]));
}

#[test]
fn completions_and_manuals_have_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script) = tool(&["completions", shell]);
        assert!(code == 0 && script.contains("vacuum") && script.contains("slice"), "{shell}");
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("man1");
    let (code, said) = tool(&["man", folder.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    for page in ["h5lake.1", "h5lake-cat.1", "h5lake-vacuum.1"] {
        assert!(std::fs::read_to_string(folder.join(page)).unwrap().contains(".TH"), "{page}");
    }
    for page in std::fs::read_dir(&folder).unwrap() {
        let page = std::fs::read_to_string(page.unwrap().path()).unwrap().replace("\\-", "-");
        let name = page.split(".SH NAME\n").nth(1).unwrap().lines().next().unwrap();
        let summary = name.split_once(" - ").unwrap_or_else(|| panic!("{name}")).1;
        assert!(summary.starts_with(|first: char| first.is_ascii_lowercase()) && name.len() < 80, "{name}");
    }
}
