//! `h5lake versions`: lists the versions that can be opened and the containers that can be restored, as a table.

use std::path::Path;

use h5lake_container::Target;
use h5lake_ledger::{Access, At, ErrorKind, Ledger, Version};
use serde_json::{Value, json};

use crate::history::{History, Selection, author_of};
use crate::output::{json_text, print};
use crate::{Failure, find, restore};

pub fn run(name: &Path, most: usize, flushes: bool, json: bool) -> Result<(), Failure> {
    let (place, options) = find::find_place(name, Access::ReadOnly)?;
    let before = restore::before(&place);
    let ledger = match place.target {
        Target::File(path) => Ledger::open_file(&path, Access::ReadOnly, options),
        Target::Objects { store, key, .. } => Ledger::open_objects(store, &key, Access::ReadOnly, options),
    };
    let history = match (ledger, &before) {
        // A deleted container has no versions, but it can be restored, even if another file has its name by now.
        (Err(e), Ok(before)) if has_no_container(e.kind()) && !before.is_empty() => Default::default(),
        (ledger, _) => History::read(&ledger?, &Selection { most, last: None, flushes })?,
    };
    let listed = &history.versions;
    if json {
        let (versions, replaced) =
            (listed.iter().map(|v| history.object(v)).collect(), restore::objects(&before?));
        print([json_text(&json!({ "versions": Value::Array(versions), "replaced": replaced }))])?;
        return Ok(());
    }
    let title = format!("{:>10}  {:<27}  {:>15}  writer, tags, message", "version", "time", "bytes");
    let versions = std::iter::once(title).chain(listed.iter().map(|v| line(&history, v)));
    print(versions.chain(history.hint()).chain(restore::listing(&before?)))?;
    Ok(())
}

fn has_no_container(error: &ErrorKind) -> bool {
    matches!(error, ErrorKind::NotFound | ErrorKind::NotAContainer { .. })
}

fn line(history: &History, version: &Version) -> String {
    let Version { number, time, bytes, .. } = version;
    let time = At::Time(*time).setting_value();
    let writer = author_of(version);
    let tags = history.tags_of(version);
    let tags = if tags.is_empty() { String::new() } else { format!("  [{}]", tags.join(", ")) };
    let message = version.message.lines().next().map_or_else(String::new, |first| format!("  {first}"));
    format!("{number:>10}  {time:<27}  {bytes:>15}  {writer}{tags}{message}")
}
