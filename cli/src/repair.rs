//! `h5lake repair`: copies what is intact of a container into a new one, and lists what is lost.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use h5lake_connector::config::Config;
use h5lake_connector::names::{self, Place};
use h5lake_container::repair::{Repaired, repair};
use h5lake_container::{Options, Target};
use h5lake_ledger::{Access, Ledger, Probe};
use serde_json::{Value, json};

use crate::verify::{Output, line, object};
use crate::{Failure, find, print};

/// Where a new container comes to lie, if nothing is there.
fn vacant(name: &Path) -> Result<Target, Failure> {
    let place = names::place_of_new(name.as_os_str().as_bytes(), &Config::from_environment()?);
    let Place { target, pointer, .. } = place.map_err(|error| error.to_string())?;
    if pointer.is_some() {
        let text = "the setting 'store' sends new containers to a store; name the target by its URL, or unset H5LAKE_STORE";
        return Err(format!("{}: {text}", name.display()).into());
    }
    let is_taken = match &target {
        Target::File(path) => path.symlink_metadata().is_ok(),
        Target::Objects { store, key, .. } => Ledger::probe_objects(&**store, key)? != Probe::NotFound,
    };
    if is_taken {
        return Err(
            format!("{}: something is there; name a target that is not there yet", name.display()).into()
        );
    }
    Ok(target)
}

fn summary(name: &Path, new: &Path, done: &Repaired) -> Vec<String> {
    let mut lines: Vec<String> =
        done.lost.iter().map(|found| line(found).replacen("damage: ", "lost: ", 1)).collect();
    if done.more > 0 {
        lines.push(format!("and {} losses more", done.more));
    }
    if done.is_salvaged {
        lines.push(format!("version {} was copied, because the newest cannot be opened", done.version));
    }
    if done.found > 0 {
        lines.push(format!("{} objects that no link leads to any more are in /lost+found", done.found));
    }
    lines.push(format!("{} objects, {} bytes of payloads copied", done.objects, done.bytes));
    let state = match done.lost.len() as u64 + done.more {
        0 => "nothing was lost".to_owned(),
        n => format!("{n} losses; all else is copied; restore what is named from a copy"),
    };
    lines.push(format!("{} -> {}: {state}", name.display(), new.display()));
    lines
}

fn for_programs(name: &Path, new: &Path, done: &Repaired) -> Value {
    json!({
        "name": name.display().to_string(), "target": new.display().to_string(), "whole": done.is_whole(),
        "version": done.version, "salvaged": done.is_salvaged, "objects": done.objects,
        "lost_and_found": done.found, "bytes": done.bytes, "more": done.more,
        "lost": done.lost.iter().map(object).collect::<Vec<_>>(),
    })
}

/// Repairs a container; says whether nothing was lost.
pub fn run(name: &Path, new: &Path, output: Output) -> Result<bool, Failure> {
    let (source, ledger) = find(name, Access::ReadOnly)?;
    let target = vacant(new)?;
    let options = Options { ledger, ..Options::default() };
    let bar = output.bar("repair");
    let done = repair(&source, &options, &target, &options, &mut |done, of| bar.show(done, of))?;
    drop(bar);
    match output {
        Output::Json => print([for_programs(name, new, &done).to_string()])?,
        Output::Text | Output::TextWithoutProgress => print(summary(name, new, &done))?,
    }
    Ok(done.is_whole())
}
