//! Tests of `h5lake settings`, and that docs/settings.md has the same table of settings as the code.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::process::{Command, Output};

use h5lake_connector::config::{SETTINGS, variable};
use serde_json::Value;

/// Runs the tool with these variables and no other settings. Returns its exit code, output and error output.
fn tool(args: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_h5lake"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("H5LAKE_") {
            command.env_remove(name);
        }
    }
    command.args(args).env_remove("HDF5_VOL_CONNECTOR").envs(variables.iter().copied());
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Returns a cell of a Markdown table as plain text.
fn plain(cell: &str) -> String {
    let mut text = cell.trim().replace('`', "");
    while let Some((before, rest)) = text.split_once('[') {
        let (label, rest) = rest.split_once("](").unwrap();
        let (_, after) = rest.split_once(')').unwrap();
        text = format!("{before}{label}{after}");
    }
    text
}

#[test]
fn the_page_has_the_settings_of_the_code() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/settings.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `") && line.contains("| `H5LAKE_"));
    let rows: Vec<Vec<String>> =
        rows.map(|row| row.trim_matches('|').split(" | ").map(plain).collect()).collect();
    let code: Vec<Vec<String>> = SETTINGS
        .iter()
        .map(|s| [s.key, &variable(s.key), s.values, s.default, s.meaning].map(str::to_owned).to_vec())
        .collect();
    assert_eq!(rows, code);
}

#[test]
fn the_value_in_force_is_shown() {
    let variables =
        [("HDF5_VOL_CONNECTOR", "h5lake store='memory:a b' sync=commit"), ("H5LAKE_RETENTION", "1h")];
    let (code, out, _) = tool(&["settings", "--json"], &variables);
    assert_eq!(code, 0);
    let all: Vec<Value> = serde_json::from_str(&out).unwrap();
    let value = |key: &str| all.iter().find(|s| s["key"] == key).unwrap()["value"].clone();
    assert_eq!((value("store"), value("sync")), ("memory:a b".into(), "commit".into()));
    assert_eq!((value("retention"), value("cache")), ("3600s".into(), Value::Null));
    let (code, out, _) = tool(&["settings"], &variables);
    assert!(code == 0 && out.contains("memory:a b") && out.contains("H5LAKE_CACHE"), "{out}");
}

#[test]
fn wrong_settings_are_named() {
    let (code, _, err) = tool(&["settings"], &[("H5LAKE_STROE", "memory:x")]);
    assert!(code == 1 && err.contains("H5LAKE_STROE") && err.contains("did you mean H5LAKE_STORE?"), "{err}");
    let (code, _, err) = tool(&["settings"], &[("HDF5_VOL_CONNECTOR", "h5lake cache=big")]);
    assert!(code == 1 && err.contains("cache"), "{err}");
    let (code, ..) = tool(&["settings"], &[("HDF5_VOL_CONNECTOR", "native cache=big")]);
    assert_eq!(code, 0, "another connector's words are none of ours");
}

#[test]
fn a_program_runs_under_the_connector() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("libh5lake.so"), "").unwrap();
    let path = format!("/nowhere:{}", folder.path().display());
    let show = [
        "run",
        "--set",
        "sync=commit",
        "--",
        "sh",
        "-c",
        "echo $HDF5_VOL_CONNECTOR; echo $HDF5_PLUGIN_PATH; exit 7",
    ];
    let (code, out, _) = tool(&show, &[("HDF5_PLUGIN_PATH", &path)]);
    assert_eq!((code, out), (7, format!("h5lake sync=commit\n{path}\n")));
    // Existing values of the variables remain unchanged.
    let variables = [("HDF5_PLUGIN_PATH", path.as_str()), ("HDF5_VOL_CONNECTOR", "h5lake  store=memory:x")];
    let (_, out, _) = tool(&["run", "sh", "-c", "echo \"$HDF5_VOL_CONNECTOR\""], &variables);
    assert_eq!(out, "h5lake  store=memory:x\n");
    let (code, _, err) = tool(&["run", "true"], &[("HDF5_PLUGIN_PATH", &path), ("H5LAKE_STROE", "x")]);
    assert!(code == 1 && err.contains("H5LAKE_STORE"), "{err}");
}
