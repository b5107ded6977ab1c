//! `h5lake materialize`: copies the data that a container refers to in native files, so that the native files can be deleted.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use h5lake_container::{Container, Options, Referenced, Target};
use h5lake_ledger::{Access, At, Options as LedgerOptions};
use serde_json::{Value, json};

use crate::Failure;
use crate::convert::publish::folder_of;
use crate::find::{check_container, find_place, find_version, open_at};
use crate::objects::shown;
use crate::output::{Output, json_text, print};
use crate::tag;

/// The kind of files that external links lead to.
const LINK: &str = "link";

/// A file that datasets or external links of a container need. Its content is not copied.
struct Needed {
    file: Vec<u8>,
    /// The kind of the datasets that need the file, or [`LINK`].
    kind: &'static str,
    /// The number of datasets or links that need the file.
    count: u64,
}

impl Needed {
    fn json(&self) -> Value {
        json!({ "file": String::from_utf8_lossy(&self.file), "kind": self.kind, "datasets": self.count })
    }

    fn line(&self) -> String {
        let Self { file, kind, count } = self;
        let what = match *kind {
            LINK => "external links".to_owned(),
            kind => format!("{kind} datasets"),
        };
        format!("  {}: {count} {what}", shown(file))
    }
}

/// A branch or a tag with a version that refers to native files. The data of this version is not copied.
struct Holder {
    /// The word `branch` or `tag`.
    kind: &'static str,
    name: String,
}

impl Holder {
    fn json(&self) -> Value {
        json!({ (self.kind): self.name })
    }

    fn line(&self) -> String {
        format!("  {} {}", self.kind, self.name)
    }
}

/// Copies the data that the newest version refers to. With `dry_run`, only lists the files. Returns whether the container needs no further
/// files, and no branch or tag needs a native file.
pub fn run(name: &Path, dry_run: bool, output: Output) -> Result<bool, Failure> {
    if dry_run {
        return show(name, output);
    }
    let (place, ledger) = find_place(name, Access::ReadWrite)?;
    check_container(name, &place)?;
    let options = Options { ledger: ledger.clone(), ..Options::default() };
    let container = Container::open(&place.target, Access::ReadWrite, options)?;
    let all: u64 = container.referenced()?.values().map(|of| of.bytes).sum();
    let bar = output.bar("materialize");
    let done = container.materialize(&mut |done| bar.show(done, all));
    drop(bar);
    let done = done?;
    let needed = needed(&container, &place.target)?;
    drop(container);
    let holders = holders(&place.target, &ledger)?;
    let is_free = needed.is_empty() && holders.is_empty();
    let shown = name.display().to_string();
    if output == Output::Json {
        let needed: Value = needed.iter().map(Needed::json).collect();
        let holders: Value = holders.iter().map(Holder::json).collect();
        let object = json!({
            "name": shown, "blocks": done.blocks, "bytes": done.bytes, "needed": needed, "held_by": holders,
        });
        print([json_text(&object)])?;
        return Ok(is_free);
    }
    let end = if needed.is_empty() { "; the newest version needs no other file" } else { "" };
    let first = match (done.bytes, is_free) {
        (0, true) => format!("{shown}: refers to no other file"),
        (0, false) => format!("{shown}: nothing is by reference"),
        (bytes, _) => format!("{shown}: {bytes} bytes in {} blocks were copied{end}", done.blocks),
    };
    print(std::iter::once(first).chain(lines(&needed)).chain(held(&holders)))?;
    Ok(is_free)
}

/// Returns the branches and tags of a container with a version that refers to native files.
fn holders(target: &Target, ledger: &LedgerOptions) -> Result<Vec<Holder>, Failure> {
    let newest = tag::open(target, Access::ReadOnly, ledger)?;
    if !newest.has_sources()? {
        return Ok(Vec::new());
    }
    let (branches, tags) = (newest.branches()?, newest.tags()?);
    drop(newest);
    let refers = |at: At| -> Result<bool, Failure> {
        let ledger = LedgerOptions { at: Some(at), salvage: false, ..ledger.clone() };
        let options = Options { ledger, ..Options::default() };
        Ok(!Container::open(target, Access::ReadOnly, options)?.referenced()?.is_empty())
    };
    let mut found = Vec::new();
    let mut bases = Vec::new();
    for branch in branches {
        let base = branch.name.tag();
        if refers(At::Branch(branch.name))? || refers(At::Tag(base))? {
            found.push(Holder { kind: "branch", name: branch.name.to_string() });
        }
        bases.push(base);
    }
    // A tag with a damaged entry is skipped, because its version cannot be opened.
    for tag in tags.iter().filter(|tag| tag.version.is_some() && !bases.contains(&tag.name)) {
        if refers(At::Tag(tag.name))? {
            found.push(Holder { kind: "tag", name: tag.name.to_string() });
        }
    }
    Ok(found)
}

fn held(holders: &[Holder]) -> Vec<String> {
    if holders.is_empty() {
        return Vec::new();
    }
    let first =
        "versions that refer to native files still; before these go, merge the branches and delete the tags:";
    std::iter::once(first.to_owned()).chain(holders.iter().map(Holder::line)).collect()
}

/// Returns the files that virtual datasets, external storage and external links need. A name by which a virtual dataset or a link refers to
/// its own container is left out.
fn needed(container: &Container, target: &Target) -> Result<Vec<Needed>, Failure> {
    let found = container.needed_files()?;
    let needed = |kind, files: std::collections::BTreeMap<Vec<u8>, u64>| {
        files.into_iter().map(move |(file, count)| Needed { file, kind, count })
    };
    let named = needed("virtual", found.of_virtual).chain(needed(LINK, found.of_links));
    let other_files = named.filter(|one| !is_own_name(&one.file, target));
    Ok(other_files.chain(needed("external", found.of_external)).collect())
}

fn is_own_name(file: &[u8], target: &Target) -> bool {
    let Target::File(own) = target else { return false };
    let named = folder_of(own).join(OsStr::from_bytes(file)).canonicalize();
    named.is_ok_and(|named| own.canonicalize().is_ok_and(|own| own == named))
}

fn lines(needed: &[Needed]) -> Vec<String> {
    if needed.is_empty() {
        return Vec::new();
    }
    let first = format!("needs {} other files, of which nothing is copied:", needed.len());
    std::iter::once(first).chain(needed.iter().map(Needed::line)).collect()
}

fn show(name: &Path, output: Output) -> Result<bool, Failure> {
    let (place, ledger) = find_version(name, Access::ReadOnly)?;
    let (target, at) = (place.target.clone(), place.at);
    // Without a version in the name, the newest version is shown, as the command itself copies it. Settings that select a version are
    // ignored.
    let ledger = LedgerOptions { at, ..ledger };
    let container = open_at(name, place, ledger.clone())?;
    let (all, needed) = (container.referenced()?, needed(&container, &target)?);
    // If the name includes a version, branches and tags are not checked.
    let holders = if at.is_none() { holders(&target, &ledger)? } else { Vec::new() };
    let is_free = needed.is_empty() && holders.is_empty();
    let shown = name.display().to_string();
    let named = |number: u32| container.source_name(number);
    if output == Output::Json {
        let mut sources = Vec::new();
        for (number, Referenced { blocks, bytes }) in &all {
            sources.push(json!({ "source": named(*number)?, "blocks": blocks, "bytes": bytes }));
        }
        let needed: Value = needed.iter().map(Needed::json).collect();
        let holders: Value = holders.iter().map(Holder::json).collect();
        let object = json!({ "name": shown, "sources": sources, "needed": needed, "held_by": holders });
        print([json_text(&object)])?;
        return Ok(is_free);
    }
    let mut output_lines = Vec::new();
    match (all.is_empty(), is_free) {
        (true, true) => output_lines.push(format!("{shown}: refers to no other file")),
        (true, false) => output_lines.push(format!("{shown}: nothing is by reference")),
        _ => output_lines.push(format!("{:>15}  {:>10}  source", "bytes", "blocks")),
    }
    for (number, Referenced { blocks, bytes }) in &all {
        output_lines.push(format!("{bytes:>15}  {blocks:>10}  {}", named(*number)?));
    }
    output_lines.extend(lines(&needed));
    output_lines.extend(held(&holders));
    print(output_lines)?;
    Ok(is_free)
}
