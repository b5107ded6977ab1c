//! `h5lake versions`: what can be opened, and what can be brought back.

use std::path::Path;

use h5lake_container::Target;
use h5lake_ledger::{Access, At, ErrorKind, Ledger, Version};
use serde_json::{Value, json};

use crate::output::print;
use crate::{Failure, find, restore};

pub fn run(name: &Path, most: usize, json: bool) -> Result<(), Failure> {
    let (place, options) = find::find_place(name, Access::ReadOnly)?;
    let before = restore::before(&place);
    let ledger = match place.target {
        Target::File(path) => Ledger::open_file(&path, Access::ReadOnly, options),
        Target::Objects { store, key, .. } => Ledger::open_objects(store, &key, Access::ReadOnly, options),
    };
    let listed = match (ledger, &before) {
        // What was deleted has no versions, and can be brought back.
        (Err(e), Ok(before)) if *e.kind() == ErrorKind::NotFound && !before.is_empty() => Vec::new(),
        (ledger, _) => ledger?.versions(most)?,
    };
    if json {
        let (versions, replaced) = (listed.iter().map(object).collect(), restore::objects(&before?));
        print([json!({ "versions": Value::Array(versions), "replaced": replaced }).to_string()])?;
        return Ok(());
    }
    let title = format!("{:>10}  {:<27}  {:>15}  writer", "version", "time", "bytes");
    let versions = std::iter::once(title).chain(listed.iter().map(line));
    print(versions.chain(restore::listing(&before?)))?;
    Ok(())
}

/// One version, for programs.
fn object(version: &Version) -> Value {
    let Version { number, time, bytes, .. } = version;
    let time = At::Time(*time).setting_value();
    json!({ "number": number, "time": time, "bytes": bytes, "host": version.host, "pid": version.pid })
}

fn line(version: &Version) -> String {
    let Version { number, time, bytes, .. } = version;
    let time = At::Time(*time).setting_value();
    let writer =
        if version.host.is_empty() { "-".to_owned() } else { format!("{}@{}", version.pid, version.host) };
    format!("{number:>10}  {time:<27}  {bytes:>15}  {writer}")
}
