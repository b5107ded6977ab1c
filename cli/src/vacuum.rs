//! `h5lake vacuum`: frees space.

use std::path::Path;
use std::time::Duration;

use h5lake_connector::names::Place;
use h5lake_container::{Container, Target};
use h5lake_ledger::{Access, Ledger, TagName};
use object_stores::shell_quoted;
use serde_json::json;

use crate::output::{Output, json_text, print};
use crate::{Failure, find, tag};

/// The maximum time for which a vacuum waits for freed space that is in quarantine.
const MAX_VACUUM_WAIT: Duration = Duration::from_secs(12);

pub fn run(name: &Path, output: Output) -> Result<(), Failure> {
    let (Place { target, pointer, .. }, ledger) = find::find_place(name, Access::ReadWrite)?;
    let options = h5lake_container::Options { ledger, ..Default::default() };
    let local = match &target {
        Target::Objects { store, key, .. } => {
            Ledger::sweep_replaced_objects(store, key)?;
            pointer
        }
        Target::File(path) => Some(path.clone()),
    };
    if let Some(path) = local {
        // An error is ignored, because nothing can be deleted in a folder that cannot be written.
        let _swept_by_another = Ledger::sweep_replaced_files(&path);
    }
    let tags = tag::open(&target, Access::ReadOnly, &options.ledger)?.tags()?;
    let ended = match tags.iter().any(|tag| tag.until.is_some()) {
        true => tag::change(&target, &options.ledger, Ledger::delete_ended_tags)?,
        false => Vec::new(),
    };
    let spinner = output.spinner("vacuum");
    let freed = Container::vacuum_patiently(&target, &options, MAX_VACUUM_WAIT);
    drop(spinner);
    let freed = freed?;
    let name = name.display().to_string();
    let held = if tags.len() > ended.len() { held_by_tags(&target, &options.ledger)? } else { 0 };
    if output == Output::Json {
        let ended: Vec<_> = ended.iter().map(TagName::as_str).collect();
        let report =
            json!({ "name": name, "freed_bytes": freed, "held_by_tags": held, "deleted_tags": ended });
        return Ok(print([json_text(&report)])?);
    }
    let deleted =
        ended.iter().map(|tag| format!("{name}: the time of the tag {tag} was over; it is deleted"));
    let held = match held {
        0 => String::new(),
        _ => format!("; tags hold {held} bytes ('h5lake tag {}' lists them)", shell_quoted(&name)),
    };
    Ok(print(deleted.chain([format!("{name}: {freed} bytes freed{held}")]))?)
}

/// Returns the number of bytes that only tags retain.
fn held_by_tags(target: &Target, options: &h5lake_ledger::Options) -> Result<u64, Failure> {
    let ledger = tag::open(target, Access::ReadWrite, options)?;
    let held = ledger.held_bytes()?;
    ledger.close()?;
    Ok(held)
}
