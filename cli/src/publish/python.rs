//! Runs the Python package, which makes references in Parquet and Icechunk repositories, and copies to and from Zarr.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::Wanted;
use crate::{Failure, helper};

/// A part of the source that was left out.
pub struct LeftOut {
    pub path: String,
    pub reason: String,
    /// True if it is a group or dataset, false if it is a smaller part such as an attribute.
    pub is_object: bool,
}

/// Returns whether the references at this path are in Parquet format.
pub fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "parquet" || extension == "parq")
}

/// Returns the folders of `PYTHONPATH` without the working folder. An empty entry also denotes the working folder, and is often there by
/// mistake.
fn places_of_modules(named: &OsStr, working: &Path) -> Option<OsString> {
    let is_working = |place: &PathBuf| {
        place.as_os_str().is_empty() || place.canonicalize().is_ok_and(|place| place == working)
    };
    let places: Vec<_> = std::env::split_paths(named).filter(|place| !is_working(place)).collect();
    std::env::join_paths(places).ok().filter(|places| !places.is_empty())
}

/// Returns the command that runs a module of the Python package.
///
/// The working folder is removed from `sys.path`, where Python before 3.11 puts it first. Otherwise, a file such as `secrets.py` among a
/// user's data would be executed.
pub fn command(module: &str) -> Result<Command, Failure> {
    let start = format!(
        "import sys; sys.path[:] = filter(None, sys.path); from h5lake import {module}; sys.exit({module}.main(sys.argv[1:]))"
    );
    let mut command = Command::new(helper::python());
    command.args(["-c", &start]).env("PYTHONSAFEPATH", "1");
    if let Some(named) = std::env::var_os("PYTHONPATH") {
        command.env_remove("PYTHONPATH");
        let places = places_of_modules(&named, &std::env::current_dir()?.canonicalize()?);
        command.envs(places.map(|places| ("PYTHONPATH", places)));
    }
    Ok(command)
}

/// Runs a command of the Python package. `kind` names its result in errors. Returns the parts that were left out.
///
/// # Errors
///
/// Returns the last line of Python's error output, or an error that Python cannot be started.
pub fn run(kind: &str, arguments: &[&OsStr]) -> Result<Vec<LeftOut>, Failure> {
    let python = helper::python();
    let made = format!("{kind} is made by h5lake's Python package");
    let done = helper::output(command("_helper")?.args(arguments));
    let done = done.map_err(|error| format!("{made}, and {} does not start: {error}", python.display()))?;
    Ok(answer(&done).map_err(|said| format!("{made} ({}): {said}", python.display()))?)
}

/// Parses the last line of Python's output. A process without this line has not completed its work, whatever its exit code is.
fn answer(done: &Output) -> Result<Vec<LeftOut>, String> {
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(said.trim().lines().last().unwrap_or("it ended without a word").to_owned());
    }
    let said = String::from_utf8_lossy(&done.stdout);
    let answer: Value = serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap_or_default();
    let without = || "it ended without an answer; is the package of the same version as the tool?".to_owned();
    let entries = answer["left_out"].as_array().filter(|_| answer["done"] == true).ok_or_else(without)?;
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let one = |entry| LeftOut {
        path: text(entry, "path"),
        reason: text(entry, "reason"),
        is_object: entry["is_object"] == true,
    };
    Ok(entries.iter().map(one).collect())
}

/// Makes the requested output from a file of references, unless the output is that file itself. Returns the paths that are left out, with
/// the reasons.
///
/// # Errors
///
/// Returns the errors of [`run`].
pub fn convert(wanted: &Wanted<'_>, references: &Path) -> Result<Vec<(String, String)>, Failure> {
    let mut left_out = Vec::new();
    let parquet = wanted.kerchunk.filter(|path| is_parquet(path)).map(|path| ("parquet", path));
    for (kind, target) in parquet.into_iter().chain(wanted.icechunk.map(|path| ("icechunk", path))) {
        let found = run(kind, &["references".as_ref(), kind.as_ref(), references.as_ref(), target.as_ref()])?;
        left_out.extend(found.into_iter().map(|LeftOut { path, reason, .. }| (path, reason)));
    }
    Ok(left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn the_working_folder_is_no_place_of_modules() {
        let dir = tempfile::tempdir().unwrap();
        let working = dir.path().canonicalize().unwrap();
        let of = |named: String| places_of_modules(OsStr::new(&named), &working);
        let own = working.display();
        assert_eq!(of(format!(":/a:{own}:{own}/:/b:")), Some("/a:/b".into()));
        assert_eq!(of(format!(":{own}")), None);
    }

    #[test]
    fn a_run_without_an_answer_has_failed() {
        let done = |code, stdout: &str| Output {
            status: std::process::ExitStatus::from_raw(code << 8),
            stdout: stdout.into(),
            stderr: "a\nwhy\n".into(),
        };
        for said in ["", "[]", "x\n", "{\"done\": true}", "{\"left_out\": []}\nmore"] {
            assert!(answer(&done(0, said)).is_err(), "{said}");
        }
        assert_eq!(answer(&done(1, "{\"done\": true, \"left_out\": []}")).err().as_deref(), Some("why"));
        let one = r#"{"path": "/x", "reason": "no", "is_object": true}"#;
        let found = answer(&done(0, &format!("noise\n{{\"done\": true, \"left_out\": [{one}]}}\n"))).unwrap();
        assert!(found.len() == 1 && found[0].path == "/x" && found[0].reason == "no" && found[0].is_object);
    }
}
