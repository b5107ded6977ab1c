//! `h5lake verify`: shows what a check of a container finds.

use std::io::IsTerminal;
use std::path::Path;

use h5lake_container::verify::{Report, Severity, VerifyFinding, Versions, verify};
use h5lake_ledger::Access;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::{Failure, find, print};

/// Something is damaged.
pub const DAMAGED: u8 = 2;

/// How a result is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Text, and progress meanwhile.
    Text,
    /// Text alone.
    TextWithoutProgress,
    /// One JSON object, for programs.
    Json,
}

impl Output {
    /// What the options `--json` and `--quiet` ask for.
    pub fn of(json: bool, quiet: bool) -> Self {
        match (json, quiet) {
            (true, _) => Self::Json,
            (false, true) => Self::TextWithoutProgress,
            (false, false) => Self::Text,
        }
    }

    /// A progress bar, where one is wanted and there is a terminal.
    pub fn bar(self, what: &'static str) -> Bar {
        match self {
            Self::Text if std::io::stderr().is_terminal() => Bar::new(what),
            _ => Bar(None),
        }
    }
}

/// A bar on a terminal; nothing elsewhere.
pub struct Bar(Option<ProgressBar>);

impl Bar {
    fn new(what: &'static str) -> Self {
        let style =
            ProgressStyle::with_template("{msg} [{bar:40}] {bytes} of about {total_bytes}, {eta} left");
        let bar = ProgressBar::new(0).with_message(what);
        Self(Some(style.map(|style| bar.clone().with_style(style)).unwrap_or(bar)))
    }

    /// So much is done, of so much.
    pub fn show(&self, done: u64, of: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(of.max(done));
            bar.set_position(done);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

fn severity(found: &VerifyFinding) -> &'static str {
    if found.severity == Severity::Damage { "damage" } else { "warning" }
}

/// One finding, as a line.
pub fn line(found: &VerifyFinding) -> String {
    let VerifyFinding { kind, at, why, what, newest, .. } = found;
    let older = if *newest { "" } else { " (in older versions only)" };
    let place =
        [what, at].into_iter().filter(|text| !text.is_empty()).map(String::as_str).collect::<Vec<_>>();
    format!("{}: {kind}, {}: {why}{older}", severity(found), place.join(", "))
}

/// One finding, for programs.
pub fn object(found: &VerifyFinding) -> Value {
    json!({
        "severity": severity(found), "kind": found.kind, "at": found.at, "why": found.why, "what": found.what,
        "path": found.path, "chunk": found.chunk, "attribute": found.attribute, "newest": found.newest,
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
        "{} objects, {} entries, {} payloads, {} pages, {} records, {} versions, {} bytes read",
        report.objects, c.entries, c.payloads, c.pages, c.records, c.versions, c.bytes
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
        "records": c.records, "versions": c.versions, "bytes": c.bytes,
        "found": report.found.iter().map(object).collect::<Vec<_>>(),
    })
}

/// Checks a container; says whether it is whole.
pub fn run(name: &Path, versions: Versions, output: Output) -> Result<bool, Failure> {
    let (target, ledger) = find(name, Access::ReadOnly)?;
    let options = h5lake_container::Options { ledger, ..Default::default() };
    let bar = output.bar("verify");
    let report = verify(&target, &options, versions, &mut |done, of| bar.show(done, of))?;
    drop(bar);
    match output {
        Output::Json => print([for_programs(name, &report).to_string()])?,
        Output::Text | Output::TextWithoutProgress => print(summary(name, &report))?,
    }
    Ok(report.is_whole())
}
