//! `h5lake filter`: finds the elements of a dataset that match an expression. Chunks that contain no match according to their statistics
//! are not read. If the store can compare numbers itself, it searches the chunks.

mod area;
mod batch;
mod expression;
mod in_store;
mod parse;
mod report;
mod search;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::path::Path;

use crate::cat::readable;
use crate::elements::type_of;
use crate::objects::object;
use crate::output::{Bar, Output};
use crate::walk::Paths;
use crate::{Failure, find};
use report::Report;
use search::Search;

/// The arguments of `h5lake filter`.
pub struct Wanted<'a> {
    pub path: &'a str,
    pub expression: &'a str,
    /// True if the matches are only counted, not shown.
    pub count: bool,
    /// The maximum number of matches.
    pub limit: Option<u64>,
    /// True if chunks are read even if the store could search them.
    pub local: bool,
    /// The output format: one line for each match and a summary line, or one JSON object.
    pub output: Output,
}

/// Finds and shows the matches.
pub fn run(name: &Path, wanted: &Wanted<'_>) -> Result<(), Failure> {
    let container = find::open(name)?;
    let id = object(&container, wanted.path)?;
    let dataset = readable(&container, id, wanted.path)?;
    let of =
        type_of(dataset.datatype()).map_err(|why| format!("{}: {}: {why}", container.name(), wanted.path))?;
    let expression = parse::parse(wanted.expression, &of)
        .map_err(|mistake| format!("in the expression: {}", mistake.shown(wanted.expression)))?;
    let mut paths = Paths::default();
    let mut report = Report::begin(&container, &dataset, &of, wanted, &mut paths)?;
    let bar = bar(wanted);
    let search = Search::new(&dataset, &expression, parse::number_type(&of).is_some(), wanted, &bar);
    let read = search.run(&mut report)?;
    drop(bar);
    report.end(&read)
}

/// Returns the progress bar. It is hidden if the matches are written to the same terminal.
fn bar(wanted: &Wanted<'_>) -> Bar {
    let is_shared = !wanted.count && io::stdout().is_terminal();
    let output = if is_shared { Output::TextWithoutProgress } else { wanted.output };
    output.bar("filter")
}
