//! `h5lake filter`: the elements of a dataset that match an expression. Chunks of which the statistics say that no element can match
//! are not read, and where the store compares numbers itself it is asked.

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

/// What is wanted.
pub struct Wanted<'a> {
    pub path: &'a str,
    pub expression: &'a str,
    /// Count the matches, and show none.
    pub count: bool,
    /// End after so many.
    pub limit: Option<u64>,
    /// Read what can match, also where the store could look for it.
    pub local: bool,
    /// A match on a line, and a line with what was read; or one JSON object.
    pub output: Output,
}

/// Writes the matches.
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

/// A progress bar, where no matches are written to the same terminal meanwhile.
fn bar(wanted: &Wanted<'_>) -> Bar {
    let is_shared = !wanted.count && io::stdout().is_terminal();
    let output = if is_shared { Output::TextWithoutProgress } else { wanted.output };
    output.bar("filter")
}
