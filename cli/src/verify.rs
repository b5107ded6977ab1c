//! `h5lake verify`: checks containers and shows the findings.

use std::path::{Path, PathBuf};

use h5lake_ledger::Access;
use h5lake_tools::verify::{Report, Severity, VerifyFinding, Versions, verify};
use serde_json::{Value, json};

use crate::Failure;
use crate::find::find;
use crate::output::{Output, complain, json_text, print};

fn severity(found: &VerifyFinding) -> &'static str {
    if found.severity == Severity::Damage { "damage" } else { "warning" }
}

/// Describes the versions with a finding. Empty if the newest version has it.
fn versions_hit(found: &VerifyFinding) -> String {
    match &found.tag {
        _ if found.newest => String::new(),
        Some(tag) => format!(" (in the version of the tag '{tag}')"),
        None => " (in older versions only)".into(),
    }
}

/// Returns a finding as a line of text.
pub fn line(found: &VerifyFinding) -> String {
    let VerifyFinding { kind, at, why, what, .. } = found;
    let versions = versions_hit(found);
    let place =
        [what, at].into_iter().filter(|text| !text.is_empty()).map(String::as_str).collect::<Vec<_>>();
    format!("{}: {kind}, {}: {why}{versions}", severity(found), place.join(", "))
}

/// Returns a finding as JSON.
pub fn object(found: &VerifyFinding) -> Value {
    json!({
        "severity": severity(found), "kind": found.kind, "at": found.at, "why": found.why, "what": found.what,
        "path": found.path, "chunk": found.chunk, "attribute": found.attribute, "newest": found.newest,
        "tag": found.tag,
    })
}

fn summary(name: &Path, report: &Report) -> Vec<String> {
    let c = &report.counts;
    let mut lines: Vec<String> = report.found.iter().map(line).collect();
    if report.more > 0 {
        lines.push(format!("and {} findings more", report.more));
    }
    if report.is_salvaged {
        lines.push(format!("version {} was checked, because the newest cannot be opened", report.version));
    }
    lines.push(format!(
        "{} objects, {} entries, {} payloads, {} pages, {} records, {} versions, {} tags, {} bytes read",
        report.objects, c.entries, c.payloads, c.pages, c.records, c.versions, c.tags, c.bytes
    ));
    let state = match report.damaged {
        0 => "whole".to_owned(),
        n => format!("damaged in {n} places; all else is whole; restore what is named from a copy"),
    };
    lines.push(format!("{}: {state}", name.display()));
    lines
}

fn for_programs(name: &Path, report: &Report) -> Value {
    let c = &report.counts;
    json!({
        "name": name.display().to_string(), "whole": report.is_whole(), "version": report.version,
        "salvaged": report.is_salvaged, "damaged": report.damaged, "more": report.more,
        "objects": report.objects, "entries": c.entries, "payloads": c.payloads, "pages": c.pages,
        "records": c.records, "versions": c.versions, "tags": c.tags,
        "bytes": c.bytes,
        "found": report.found.iter().map(object).collect::<Vec<_>>(),
    })
}

/// Checks a container. Returns whether it is intact.
fn run(name: &Path, versions: Versions, output: Output) -> Result<bool, Failure> {
    let (target, ledger) = find(name, Access::ReadOnly)?;
    let options = h5lake_container::Options { ledger, ..Default::default() };
    let bar = output.bar("verify");
    let report = verify(&target, &options, versions, &mut |done, of| bar.show(done, of))?;
    drop(bar);
    match output {
        Output::Json => print([json_text(&for_programs(name, &report))])?,
        Output::Text | Output::TextWithoutProgress => print(summary(name, &report))?,
    }
    Ok(report.is_whole())
}

/// Checks containers one after the other. Returns whether all of them are intact. If containers cannot be read, returns the error of the
/// last one, and prints the earlier errors on stderr.
pub fn all(names: &[PathBuf], versions: Versions, output: Output) -> Result<bool, Failure> {
    let (mut are_whole, mut failure) = (true, None);
    for name in names {
        match run(name, versions, output) {
            Ok(is_whole) => are_whole &= is_whole,
            Err(error) => {
                if let Some(before) = failure.replace(error) {
                    complain(&before.to_string());
                }
            }
        }
    }
    failure.map_or(Ok(are_whole), Err)
}
