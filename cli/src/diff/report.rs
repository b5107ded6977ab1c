//! The report of a comparison: the differences line by line, as a JSON array, or as a statistic.

use super::difference::{Difference, What};
use super::stat::Stat;
use crate::Failure;
use crate::output::{Bar, JsonArray, Output, Sink};

/// The form of a report.
enum Form {
    Text,
    Json(JsonArray),
    Stat(Box<Stat>),
}

/// A report that is written while the containers are compared.
pub(super) struct Report {
    out: Sink,
    form: Form,
    /// The number of differences so far.
    differences: u64,
    /// The number of things that could not be compared.
    unread: u64,
    bar: Bar,
}

impl Report {
    /// Begins a report. With `stat`, the differences of each object are counted.
    pub(super) fn begin(output: Output, stat: bool) -> Result<Self, Failure> {
        let is_json = output == Output::Json;
        let mut out = Sink::new(is_json);
        let form = match (stat, is_json) {
            (true, _) => Form::Stat(Box::new(Stat::begin(&mut out, is_json)?)),
            (false, true) => Form::Json(JsonArray::begin(&mut out)?),
            (false, false) => Form::Text,
        };
        Ok(Self { out, form, differences: 0, unread: 0, bar: output.bar("diff") })
    }

    pub(super) fn is_stat(&self) -> bool {
        matches!(self.form, Form::Stat(_))
    }

    pub(super) fn bar(&self) -> &Bar {
        &self.bar
    }

    /// Adds a difference. The differences of one object follow one another.
    pub(super) fn add(&mut self, difference: Difference) -> Result<(), Failure> {
        match difference.what {
            What::Unread(_) => self.unread += 1,
            _ => self.differences += 1,
        }
        let (out, form) = (&mut self.out, &mut self.form);
        self.bar.aside(|| match form {
            Form::Text => out.line(&difference.line()),
            Form::Json(array) => array.add(out, &difference.json()),
            Form::Stat(stat) => stat.add(out, difference),
        })
    }

    /// Ends the report. Returns the number of differences, and the number of things that could not be compared.
    pub(super) fn finish(self) -> Result<(u64, u64), Failure> {
        let Self { mut out, form, differences, unread, bar } = self;
        drop(bar);
        match form {
            Form::Text => (),
            Form::Json(array) => array.end(&mut out)?,
            Form::Stat(stat) => stat.end(&mut out)?,
        }
        out.finish()?;
        Ok((differences, unread))
    }
}
