//! `h5lake rm`: deletes containers, as `H5Fdelete` does.

use std::path::{Path, PathBuf};

use h5lake_connector::names::Place;
use h5lake_container::Target;
use h5lake_ledger::{Access, Ledger};
use object_stores::shell_quoted;
use serde_json::json;

use crate::find::{check_container, find_place, url_of};
use crate::output::{complain, json_text, print};
use crate::{Failure, restore};

/// Deletes containers one after the other. A container that cannot be deleted does not prevent the deletion of the following ones. Returns
/// the last error, and prints the earlier errors on stderr.
pub fn all(names: &[PathBuf], json: bool) -> Result<(), Failure> {
    let mut failure: Option<Failure> = None;
    for name in names {
        if let Err(error) = run(name, json)
            && let Some(before) = failure.replace(error)
        {
            complain(&before.to_string());
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Deletes a container. If it has a retention time, it is retained for this time and can be restored.
fn run(name: &Path, json: bool) -> Result<(), Failure> {
    let (place, options) = find_place(name, Access::ReadWrite)?;
    check_container(name, &place)?;
    place.check_removable().map_err(|error| format!("{}: {error}", name.display()))?;
    let before = kept_of(&place);
    match &place.target {
        Target::File(path) => Ledger::remove_file(path, &options)?,
        Target::Objects { store, key, .. } => Ledger::remove_objects(store, key)?,
    }
    let left = place.remove_pointer().err().filter(|error| error.kind() != std::io::ErrorKind::NotFound);
    if let Some(error) = left {
        let text =
            format!("the container is deleted, and its pointer file is not: {error}; remove that file");
        return Err(format!("{}: {text}", name.display()).into());
    }
    let kept = kept_of(&place).into_iter().find(|name| !before.contains(name));
    let shown = name.display().to_string();
    let url = url_of(&place.target);
    print([match (json, kept) {
        (true, kept) => json_text(&json!({ "name": shown, "kept": kept, "url": url })),
        (false, Some(kept)) => {
            // The deleted pointer file was the only connection between the name and the container, so the command shows the URL.
            let by = url
                .filter(|_| place.pointer.is_some())
                .map(|url| format!(" {}", shell_quoted(&url)))
                .unwrap_or_default();
            format!("{shown}: deleted; kept for its retention time as {kept}, for 'h5lake restore{by}'")
        }
        (false, None) => format!("{shown}: deleted"),
    }])?;
    Ok(())
}

/// Returns the names of the containers that can be restored.
fn kept_of(place: &Place) -> Vec<String> {
    let found = restore::before(place).unwrap_or_default();
    found.iter().map(|before| before.name()).collect()
}
