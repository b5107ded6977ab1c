//! `h5lake copy`: copies a container, or updates an earlier copy.

use std::path::Path;

use h5lake_connector::names::Place;
use h5lake_container::{Options, Target};
use h5lake_ledger::{Access, Ledger, Probe};
use h5lake_tools::{Copied, End, UpdatedCopy};
use serde_json::json;

use crate::Failure;
use crate::find::{check_container, find_place, find_version, taken, target_of};
use crate::output::{Output, json_text, print};

/// The arguments of `h5lake copy`.
pub struct Wanted<'a> {
    pub source: &'a Path,
    pub target: &'a Path,
    /// True if the target may be an earlier copy, which is then updated.
    pub update: bool,
    pub output: Output,
}

/// Copies a container, or one version of it.
pub fn run(wanted: &Wanted<'_>) -> Result<(), Failure> {
    let Wanted { source, target, update, output } = *wanted;
    let (place, ledger) = find_version(source, Access::ReadOnly)?;
    check_container(source, &place)?;
    let options = Options { ledger, ..Options::default() };
    let earlier = if update { earlier_copy(target)? } else { None };
    let there = match &earlier {
        Some(there) => there.clone(),
        None => new_copy(target, update)?,
    };
    let (from, to) = (End::new(&place.target, &options), End::new(&there, &options));
    let bar = output.bar("copy");
    let mut progress = |done, of| bar.show(done, of);
    let done = if earlier.is_some() {
        let updated = h5lake_tools::update_copy(from, to, &mut progress);
        updated.map(|UpdatedCopy { before, copied }| (Some(before), copied))
    } else {
        let copied = h5lake_tools::copy_to(from, to, &mut progress);
        copied.map(|copied| (None, copied))
    };
    drop(bar);
    let (before, copied) = done?;
    let anew = copied.begun_anew.filter(|_| output != Output::Json);
    let anew = anew.map(|why| format!("{}: begun anew, because {why}", target.display()));
    print(anew.into_iter().chain([summary_line(wanted, before, &copied)]))?;
    Ok(())
}

/// Returns the location of a new copy. Fails if anything exists there.
fn new_copy(target: &Path, update: bool) -> Result<Target, Failure> {
    match target_of(target)? {
        (there, false) => Ok(there),
        (_, true) if update => Err(taken(target)),
        (_, true) => {
            let hint = "or give --update to bring an earlier copy up to date";
            Err(format!("{}, {hint}", taken(target)).into())
        }
    }
}

/// Returns the container that exists at the target, or `None` if nothing exists there.
fn earlier_copy(target: &Path) -> Result<Option<Target>, Failure> {
    let (place, _) = find_place(target, Access::ReadWrite)?;
    check_container(target, &place)?;
    let Place { target: there, .. } = place;
    let found = match &there {
        Target::File(path) => Ledger::probe_file(path)?,
        Target::Objects { store, key, .. } => Ledger::probe_objects(&**store, key)?,
    };
    match found {
        Probe::Container => Ok(Some(there)),
        Probe::NotFound => Ok(None),
        _ => Err(taken(target)),
    }
}

/// Returns the line that reports the copy. `before` is the version that an earlier copy showed.
fn summary_line(wanted: &Wanted<'_>, before: Option<u64>, copied: &Copied) -> String {
    let Copied { from: version, entries, bytes, continued, begun_anew, .. } = *copied;
    let (name, target) = (wanted.source.display().to_string(), wanted.target.display().to_string());
    match (wanted.output, before) {
        (Output::Json, _) => json_text(&json!({
            "name": name, "target": target, "version": version, "before": before, "entries": entries, "bytes": bytes,
            "continued": continued, "begun_anew": begun_anew
        })),
        (_, Some(before)) if before == version => {
            format!("{target}: shows version {version} of {name} already; nothing was moved")
        }
        (_, before) => {
            let before = before.map(|before| format!(" instead of {before}")).unwrap_or_default();
            // Small data is stored in the entries and not counted in `bytes`.
            let data = if bytes > 0 { format!(", {bytes} bytes of data") } else { String::new() };
            let arrived = match continued {
                0 => String::new(),
                _ => format!("; continued: {continued} bytes had arrived"),
            };
            format!("{name} -> {target}: version {version}{before}, {entries} entries{data}{arrived}")
        }
    }
}
