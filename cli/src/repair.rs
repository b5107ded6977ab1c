//! `h5lake repair`: copies everything intact in a container to a new container, and lists the losses.

use std::path::Path;

use h5lake_container::Options;
use h5lake_ledger::{Access, TagName};
use h5lake_tools::End;
use h5lake_tools::repair::{Repaired, repair};
use object_stores::shell_quoted;
use serde_json::{Value, json};

use crate::find::{find, vacant};
use crate::output::{Output, json_text, print};
use crate::verify::{line, object};
use crate::{Failure, Outcome};

/// Returns lines that list the tags and branches that were not copied. Each line includes a command to copy one, unless no name is valid.
fn left_out(name: &Path, done: &Repaired) -> Vec<String> {
    let left_out_line = |kind: &str, names: &[String]| {
        let all: Vec<_> = names.iter().map(|name| shell_quoted(name)).collect();
        let usable = names.iter().find(|name| TagName::new(name).is_some());
        let hint = usable.map(|first| {
            let source = format!("{}@{kind}={first}", name.display());
            format!("; to keep one, copy it: h5lake copy {} TARGET", shell_quoted(&source))
        });
        let left = format!("left out: {kind} {}", all.join(", "));
        (!names.is_empty()).then(|| format!("{left}{}", hint.unwrap_or_default()))
    };
    [left_out_line("branch", &done.branches), left_out_line("tag", &done.tags)]
        .into_iter()
        .flatten()
        .collect()
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
    lines.extend(done.sources.iter().map(|why| format!("not checked: data in a native file: {why}")));
    lines.extend(left_out(name, done));
    lines.push(format!("{} objects, {} bytes of payloads copied", done.objects, done.bytes));
    let state = match done.lost.len() as u64 + done.more {
        0 if done.is_whole() => "nothing was lost".to_owned(),
        0 if !done.sources.is_empty() => {
            let text = "nothing was lost of what lies in the container itself; data in native files could not be looked at. Bring them \
                        back, and keep the container until 'h5lake verify' calls the new one whole";
            text.to_owned()
        }
        0 => "nothing of the main line's newest version was lost; tags and branches were left out".to_owned(),
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
        "tags": done.tags, "branches": done.branches, "sources": done.sources,
        "lost": done.lost.iter().map(object).collect::<Vec<_>>(),
    })
}

/// Repairs a container. The outcome says whether something was lost, or tags or branches were left out.
pub fn run(name: &Path, new: &Path, output: Output) -> Result<Outcome, Failure> {
    let (source, ledger) = find(name, Access::ReadOnly)?;
    let target = vacant(new)?;
    let options = Options { ledger, ..Options::default() };
    let bar = output.bar("repair");
    let done =
        repair(End::new(&source, &options), End::new(&target, &options), &mut |done, of| bar.show(done, of))?;
    drop(bar);
    match output {
        Output::Json => print([json_text(&for_programs(name, new, &done))])?,
        Output::Text | Output::TextWithoutProgress => print(summary(name, new, &done))?,
    }
    Ok(match (done.has_losses(), done.is_whole()) {
        (true, _) => Outcome::Found,
        (false, false) => Outcome::LeftOut,
        (false, true) => Outcome::Well,
    })
}
