//! What the Python package makes of a file of references: Parquet, and repositories of Icechunk.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::Wanted;
use crate::Failure;

/// The interpreters that are tried: beside the tool, where a wheel puts it, and then by the path.
const NAMES: [&str; 2] = ["python3", "python"];

/// Whether references are to be in Parquet.
pub fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "parquet" || extension == "parq")
}

fn interpreter() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|tool| Some(tool.parent()?.to_owned()));
    let found =
        beside.and_then(|folder| NAMES.iter().map(|name| folder.join(name)).find(|path| path.is_file()));
    found.unwrap_or_else(|| NAMES[0].into())
}

/// Runs a command of the Python package, which makes something of this kind; returns what it writes.
///
/// # Errors
/// What Python says, or that it cannot be started.
pub fn run(kind: &str, arguments: &[&OsStr]) -> Result<String, Failure> {
    let python = interpreter();
    let made = format!("{kind} is made by h5lake's Python package");
    let done = Command::new(&python).args(["-m", "h5lake"]).args(arguments).output();
    let done = done.map_err(|error| format!("{made}, and {} does not start: {error}", python.display()))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        let said = said.trim().lines().last().unwrap_or("it ended without a word").to_owned();
        return Err(format!("{made} ({}): {said}", python.display()).into());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// Makes what was asked for of a file of references, if it is not that file. Returns the paths of what it does not show, and why.
///
/// # Errors
/// As for [`run`].
pub fn convert(wanted: &Wanted<'_>, references: &Path) -> Result<Vec<(String, String)>, Failure> {
    let mut left_out = Vec::new();
    let parquet = wanted.kerchunk.filter(|path| is_parquet(path)).map(|path| ("parquet", path));
    for (kind, target) in parquet.into_iter().chain(wanted.icechunk.map(|path| ("icechunk", path))) {
        let said = run(kind, &["references".as_ref(), kind.as_ref(), references.as_ref(), target.as_ref()])?;
        let found: Value = serde_json::from_str(said.lines().last().unwrap_or("[]"))?;
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let entries = found.as_array().into_iter().flatten();
        left_out.extend(entries.map(|entry| (text(entry, "path"), text(entry, "reason"))));
    }
    Ok(left_out)
}
