//! `h5lake import` and `h5lake export`: convert native HDF5 files to containers, and containers to native files.
//!
//! A libhdf5 converts each file in a separate process, because it may be built without thread safety, and because a crash on a damaged file
//! then ends only that process. The result is created under a hidden name and gets its final name when it is complete.

mod pairs;
pub mod publish;
pub mod worker;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use h5lake_connector::NotHeld;
use serde_json::json;

use crate::Failure;
use crate::libhdf5::{candidates, library_of};
use crate::output::{Bar, Output, complain, json_text, print};
use pairs::Pair;

/// The direction of a conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From a native file to a container.
    Import,
    /// From a container to a native file.
    Export,
}

impl Direction {
    /// Returns the name of the command.
    fn name(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Export => "export",
        }
    }
}

/// The arguments of `h5lake import` and `h5lake export`.
pub struct Wanted<'a> {
    pub direction: Direction,
    pub source: &'a Path,
    pub target: &'a Path,
    /// The libhdf5 to use, or a program that loads a libhdf5.
    pub library: Option<&'a Path>,
    /// The number of files that are converted at the same time.
    pub jobs: Option<usize>,
    /// True if a file is not converted when links would be left out.
    pub strict: bool,
    pub output: Output,
}

/// The result of converting one file.
struct Done {
    pair: Pair,
    /// The links that were left out, or the reason why the file was not converted.
    result: Result<Vec<NotHeld>, String>,
}

/// Converts a file, or all files of a folder. Returns whether every file was converted and nothing was left out.
pub fn run(wanted: &Wanted<'_>) -> Result<bool, Failure> {
    let pairs = pairs::of(wanted)?;
    let library = library(wanted.library)?;
    let bar = wanted.output.bar(wanted.direction.name());
    let jobs = wanted.jobs.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    let way = publish::Way { direction: wanted.direction, library: &library, strict: wanted.strict };
    let done = convert_all(&way, pairs, jobs.max(1), &bar);
    drop(bar);
    report(wanted, done)
}

/// Returns the libhdf5 that the user named, directly or as a program that loads it. Without a name, returns the first libhdf5 that works.
pub fn library(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let Some(named) = named else { return search() };
    let library = library_of(named).unwrap_or_else(|_| named.to_owned());
    worker::probe(&library).map_err(|why| format!("{}: {why}", named.display()))?;
    Ok(library)
}

/// Converts all files, up to `jobs` at the same time. Returns their results in the order of the files.
fn convert_all(way: &publish::Way<'_>, pairs: Vec<Pair>, jobs: usize, bar: &Bar) -> Vec<Done> {
    let all: u64 = pairs.iter().map(|pair| pair.bytes).sum();
    let (next, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
    let results: Vec<OnceLock<Result<Vec<NotHeld>, String>>> =
        pairs.iter().map(|_| OnceLock::new()).collect();
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(pairs.len()) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(pair), Some(place)) = (pairs.get(n), results.get(n)) else { break };
                    place.get_or_init(|| publish::convert(way, pair).map_err(|error| error.to_string()));
                    bar.show(bytes.fetch_add(pair.bytes, Ordering::Relaxed) + pair.bytes, all);
                }
            });
        }
    });
    let unknown = || Err("the conversion did not end".to_owned());
    let results = results.into_iter().map(|place| place.into_inner().unwrap_or_else(unknown));
    pairs.into_iter().zip(results).map(|(pair, result)| Done { pair, result }).collect()
}

fn report(wanted: &Wanted<'_>, done: Vec<Done>) -> Result<bool, Failure> {
    let is_one = done.len() == 1 && done[0].pair.source == wanted.source;
    let failed = done.iter().filter(|one| one.result.is_err()).count();
    let is_whole = |one: &Done| one.result.as_ref().is_ok_and(Vec::is_empty);
    let all_whole = done.iter().all(is_whole);
    let mut lines = Vec::new();
    for Done { pair, result } in &done {
        let (source, target) = (pair.source.display().to_string(), pair.target.display().to_string());
        match (result, wanted.output) {
            (Err(why), _) if is_one => return Err(why.clone().into()),
            (result, Output::Json) => {
                let (error, links) = (result.as_ref().err(), result.as_deref().unwrap_or_default());
                let left_out = worker::as_json(links);
                let object =
                    json!({ "name": source, "target": target, "error": error, "left_out": left_out });
                lines.push(json_text(&object));
            }
            (Ok(links), _) => {
                lines.push(format!("{source} -> {target}"));
                lines.extend(links.iter().map(|link| format!("  left out: {link}")));
            }
            (Err(why), _) => complain(why),
        }
    }
    print(lines)?;
    if failed > 0 && failed == done.len() {
        return Err(
            format!("{}: none of its {failed} files could be converted", wanted.source.display()).into()
        );
    }
    Ok(all_whole)
}

/// Returns the first libhdf5 that works.
fn search() -> Result<PathBuf, Failure> {
    let mut reasons = Vec::new();
    for path in candidates() {
        match worker::probe(&path) {
            Ok(()) => return Ok(path),
            // A bare name is only tried in case the system's loader finds it, so its absence is not reported.
            Err(_) if path.components().count() == 1 => (),
            Err(why) => reasons.push(format!("\n  {why}")),
        }
    }
    let tried = if reasons.is_empty() { String::new() } else { format!("; tried:{}", reasons.concat()) };
    let advice = "install h5py, or name a libhdf5 or a program that loads one by --library";
    Err(format!("no libhdf5 from 1.14.0 on was found: {advice}{tried}").into())
}
