//! `h5lake versions`: lists the versions that can be opened and the containers that can be restored.

use std::path::Path;

use h5lake_container::Target;
use h5lake_ledger::{Access, At, ErrorKind, Ledger, Tag, Version};
use serde_json::{Value, json};

use crate::output::{json_text, print};
use crate::{Failure, find, restore};

pub fn run(name: &Path, most: usize, json: bool) -> Result<(), Failure> {
    let (place, options) = find::find_place(name, Access::ReadOnly)?;
    let before = restore::before(&place);
    let ledger = match place.target {
        Target::File(path) => Ledger::open_file(&path, Access::ReadOnly, options),
        Target::Objects { store, key, .. } => Ledger::open_objects(store, &key, Access::ReadOnly, options),
    };
    let (mut listed, tags) = match (ledger, &before) {
        // A deleted container has no versions, but it can be restored.
        (Err(e), Ok(before)) if *e.kind() == ErrorKind::NotFound && !before.is_empty() => Default::default(),
        (ledger, _) => {
            let ledger = ledger?;
            (ledger.versions(most)?, ledger.tags()?)
        }
    };
    add_tagged(&mut listed, &tags, most);
    if json {
        let (versions, replaced) =
            (listed.iter().map(|v| object(v, &tags)).collect(), restore::objects(&before?));
        print([json_text(&json!({ "versions": Value::Array(versions), "replaced": replaced }))])?;
        return Ok(());
    }
    let title = format!("{:>10}  {:<27}  {:>15}  writer, tags, message", "version", "time", "bytes");
    let versions = std::iter::once(title).chain(listed.iter().map(|v| line(v, &tags)));
    print(versions.chain(hint(&listed, most)).chain(restore::listing(&before?)))?;
    Ok(())
}

/// Returns a hint on retention if only the newest of several versions is left.
fn hint(listed: &[Version], most: usize) -> Option<String> {
    let text = "no older version is kept: the setting retention=, for instance retention=7d, keeps versions that are replaced from \
                now on ('h5lake docs guide#old-versions')";
    matches!(listed, [newest] if newest.number > 1 && most > 1).then(|| text.to_owned())
}

/// Adds the versions that only tags retain.
fn add_tagged(listed: &mut Vec<Version>, tags: &[Tag], most: usize) {
    let mut kept: Vec<&Version> = tags.iter().filter_map(|tag| tag.version.as_ref()).collect();
    kept.sort_by_key(|v| std::cmp::Reverse(v.number));
    kept.dedup_by_key(|v| v.number);
    let oldest = listed.last().map_or(u64::MAX, |v| v.number);
    listed.extend(kept.into_iter().filter(|v| v.number < oldest).cloned());
    listed.truncate(most);
}

/// Returns the names of a version's tags.
fn tags_of<'a>(version: &Version, tags: &'a [Tag]) -> Vec<&'a str> {
    let is_its = |tag: &&Tag| tag.version.as_ref().is_some_and(|v| v.number == version.number);
    tags.iter().filter(is_its).map(|tag| tag.name.as_str()).collect()
}

/// Returns a version as JSON.
fn object(version: &Version, tags: &[Tag]) -> Value {
    let Version { number, time, bytes, .. } = version;
    let time = At::Time(*time).setting_value();
    json!({ "number": number, "time": time, "bytes": bytes, "host": version.host, "pid": version.pid, "user": version.user,
            "program": version.program, "message": version.message, "processes": version.processes,
            "tags": tags_of(version, tags) })
}

fn line(version: &Version, tags: &[Tag]) -> String {
    let Version { number, time, bytes, .. } = version;
    let time = At::Time(*time).setting_value();
    let writer = writer_of(version);
    let tags = tags_of(version, tags);
    let tags = if tags.is_empty() { String::new() } else { format!("  [{}]", tags.join(", ")) };
    let message = version.message.lines().next().map_or_else(String::new, |first| format!("  {first}"));
    format!("{number:>10}  {time:<27}  {bytes:>15}  {writer}{tags}{message}")
}

/// Returns the user, host, program and process id of a version's writer, as far as they are known.
fn writer_of(version: &Version) -> String {
    let Version { host, pid, user, program, .. } = version;
    match (&**host, &**user, &**program) {
        ("", ..) => "-".to_owned(),
        (host, "", "") => format!("{pid}@{host}"),
        (host, user, program) => format!("{user}@{host} {program} ({pid})"),
    }
}
