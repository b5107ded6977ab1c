//! `h5lake doctor`: checks that programs find h5lake, and reports what to correct.

mod clients;
mod environment;
mod mpi;

use std::path::{Path, PathBuf};

use h5lake_connector::config::Config;
use h5lake_connector::names;
use h5lake_container::Target;
use h5lake_ledger::Ledger;
use object_stores::ObjectStore;
use serde_json::{Value, json};

use crate::Failure;
use crate::output::{Output, json_text, print};

/// The arguments of `h5lake doctor`.
pub struct Wanted<'a> {
    /// Programs or libhdf5 libraries to examine. If it is empty, the HDF5 modules of the Python are examined.
    pub targets: &'a [PathBuf],
    /// The Python interpreter with the modules to examine.
    pub python: &'a Path,
    /// A folder in which the processes of an MPI program check whether they see each other's locks. Nothing else is checked
    /// then.
    pub shared: Option<&'a Path>,
    pub output: Output,
}

/// A line of the report: the subject and the result.
struct Line {
    label: String,
    text: String,
    /// The remedy if the result is a problem.
    fix: Option<String>,
}

/// The lines of the report.
#[derive(Default)]
struct Report(Vec<Line>);

impl Report {
    fn tell(&mut self, label: impl Into<String>, text: impl Into<String>) {
        self.0.push(Line { label: label.into(), text: text.into(), fix: None });
    }

    /// Adds a problem and its remedy.
    fn problem(&mut self, label: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Line { label: label.into(), text: what.into(), fix: Some(fix.into()) });
    }

    fn problems(&self) -> usize {
        self.0.iter().filter(|line| line.fix.is_some()).count()
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for Line { label, text, fix } in &self.0 {
            let mark = if fix.is_some() { "PROBLEM: " } else { "" };
            lines.push(format!("{label:<22} {mark}{text}"));
            lines.extend(fix.as_ref().map(|fix| format!("{:<22} to fix: {fix}", "")));
        }
        lines.push(match self.problems() {
            0 => "all is well".into(),
            1 => "1 problem".into(),
            n => format!("{n} problems; begin with the first"),
        });
        lines
    }

    fn json(&self) -> Value {
        let line = |line: &Line| json!({ "what": line.label, "found": line.text, "fix": line.fix });
        json!({ "problems": self.problems(), "found": self.0.iter().map(line).collect::<Vec<_>>() })
    }
}

/// Runs all checks. Returns whether there are no problems.
pub fn run(wanted: &Wanted<'_>) -> Result<bool, Failure> {
    if let Some(folder) = wanted.shared {
        return mpi::run(folder)?.map_or(Ok(true), |report| show(&report, wanted.output));
    }
    let mut report = Report::default();
    report.tell("h5lake", format!("tool of version {}", env!("CARGO_PKG_VERSION")));
    let config = environment::settings(&mut report);
    environment::plugin_folders(&mut report);
    if let Some(config) = &config {
        store(config, &mut report);
    }
    clients::all(wanted, config.as_ref(), &mut report)?;
    show(&report, wanted.output)
}

/// Prints the report. Returns whether there are no problems.
fn show(report: &Report, output: Output) -> Result<bool, Failure> {
    match output {
        Output::Json => print([json_text(&report.json())])?,
        _ => print(report.lines())?,
    }
    Ok(report.problems() == 0)
}

/// Probes the store of the settings with a name that does not exist. Writes nothing.
fn store(config: &Config, report: &mut Report) {
    let Some(url) = &config.store else { return };
    let name = format!("h5lake-doctor-{}", std::process::id());
    let answer = match names::in_store_at(url, &name, config) {
        Ok(Target::Objects { store, key, .. }) => {
            Ledger::probe_objects(&*store, &key).map(|_| store).map_err(|e| e.to_string())
        }
        Ok(Target::File(_)) => return,
        Err(error) => Err(error.to_string()),
    };
    match answer {
        Ok(store) => {
            report.tell("store", format!("{url} answers"));
            if keeps_noncurrent(&*store) {
                report.tell(
                    "versioning",
                    "the bucket keeps a noncurrent version for each commit: let a lifecycle rule remove them \
                     ('h5lake docs backends')",
                );
            }
        }
        Err(error) => report.problem(
            "store",
            format!("{url}: {error}"),
            "correct store=URL; 'h5lake check-store URL' tries a store",
        ),
    }
}

/// Returns whether a bucket has versioning, as far as its first object shows it.
fn keeps_noncurrent(store: &dyn ObjectStore) -> bool {
    let first = store.list_page("", None, 1).ok().and_then(|page| page.objects.into_iter().next());
    first.is_some_and(|meta| matches!(store.keeps_noncurrent(&meta.key), Ok(Some(true))))
}
