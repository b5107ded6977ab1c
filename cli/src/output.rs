//! Output of the tool: lines, JSON that is written incrementally, colours, and progress.

use std::io::{self, IsTerminal, StdoutLock, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use object_stores::{printable, printable_json, printable_lines};
use serde_json::Value;

use crate::Failure;

/// The format of a result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Text, with a progress bar.
    Text,
    /// Text without a progress bar.
    TextWithoutProgress,
    /// JSON.
    Json,
}

impl Output {
    /// Returns the format that the options `--json` and `--quiet` select.
    pub fn of(json: bool, quiet: bool) -> Self {
        match (json, quiet) {
            (true, _) => Self::Json,
            (false, true) => Self::TextWithoutProgress,
            (false, false) => Self::Text,
        }
    }

    /// Returns a progress bar. It is hidden unless it is wanted and stderr is a terminal.
    pub fn bar(self, what: &'static str) -> Bar {
        match self {
            Self::Text if io::stderr().is_terminal() => Bar::new(what),
            _ => Bar(None),
        }
    }

    /// Returns a spinner for work of unknown length. It is hidden unless it is wanted and stderr is a terminal.
    pub fn spinner(self, what: &'static str) -> Bar {
        match self {
            Self::Text if io::stderr().is_terminal() => {
                let spinner = ProgressBar::new_spinner().with_message(what);
                spinner.enable_steady_tick(TURN);
                Bar(Some(spinner))
            }
            _ => Bar(None),
        }
    }
}

/// The interval at which a spinner turns.
const TURN: Duration = Duration::from_millis(100);

/// A progress bar or spinner on a terminal, or nothing.
pub struct Bar(Option<ProgressBar>);

impl Bar {
    fn new(what: &'static str) -> Self {
        let style =
            ProgressStyle::with_template("{msg} [{bar:40}] {bytes} of about {total_bytes}, {eta} left");
        let bar = ProgressBar::new(0).with_message(what);
        Self(Some(style.map(|style| bar.clone().with_style(style)).unwrap_or(bar)))
    }

    /// Shows progress: `done` of `of` bytes.
    pub fn show(&self, done: u64, of: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(of.max(done));
            bar.set_position(done);
        }
    }

    /// Hides the bar while `write` writes to the terminal.
    pub fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(bar) => bar.suspend(write),
            None => write(),
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

/// Returns a value as one line of JSON, with the characters escaped that a terminal would interpret.
pub fn json_text(value: &Value) -> String {
    printable_json(&value.to_string()).into_owned()
}

/// Writes a message to standard error. Names in the message are escaped, because they may be untrusted. Lines after the first are indented,
/// so that they cannot be mistaken for another message.
pub fn complain(message: &str) {
    let mut lines = message.split('\n');
    let mut text = format!("h5lake: {}", printable(lines.next().unwrap_or_default()));
    for line in lines {
        let indent = if line.starts_with("  ") { "" } else { "  " };
        text.push_str(&format!("\n{indent}{}", printable(line)));
    }
    eprintln!("{text}");
}

/// Writes lines to standard output, with the characters escaped that a terminal would interpret. If the reader closes the pipe,
/// as `head` does, the output ends without an error.
pub fn print(lines: impl IntoIterator<Item = String>) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = lines
        .into_iter()
        .try_for_each(|line| writeln!(out, "{}", printable(&line)))
        .and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Returns whether a failure is that the reader of the output has closed the pipe.
pub fn is_closed_pipe(failure: &Failure) -> bool {
    failure.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Standard output for results that are written in fragments. [`finish`](Self::finish) writes the last fragment. Texts are
/// escaped for a terminal, or for JSON.
pub struct Sink {
    out: io::BufWriter<StdoutLock<'static>>,
    colours: bool,
    is_json: bool,
}

impl Sink {
    pub fn new(is_json: bool) -> Self {
        let stdout = io::stdout();
        let is_forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let colours = stdout.is_terminal() && !is_forbidden && !is_dumb;
        Self { out: io::BufWriter::new(stdout.lock()), colours, is_json }
    }

    pub fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.text(line)?;
        self.bytes(b"\n")
    }

    /// Writes a line of cells that are separated by tabs. A tab in a cell is escaped.
    pub fn cells(&mut self, cells: &[String]) -> Result<(), Failure> {
        let cells: Vec<_> = cells.iter().map(|cell| printable(cell)).collect();
        self.bytes(cells.join("\t").as_bytes())?;
        self.bytes(b"\n")
    }

    /// Writes a line that contains a name. On a terminal, the name of a group is bold and blue, unless the variable NO_COLOR is
    /// set.
    pub fn named_line(
        &mut self,
        before: &str,
        name: &str,
        is_group: bool,
        after: &str,
    ) -> Result<(), Failure> {
        let [begin, end] = if is_group && self.colours { ["\x1b[1;34m", "\x1b[0m"] } else { [""; 2] };
        let [before, name, after] = [before, name, after].map(printable);
        let line = format!("{before}{begin}{name}{end}{after}");
        self.bytes(line.trim_end().as_bytes())?;
        self.bytes(b"\n")
    }

    /// Writes bytes unchanged: data that the user requested, or text of this program.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.out.write_all(bytes)?)
    }

    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        let text = if self.is_json { printable_json(text) } else { printable_lines(text) };
        self.bytes(text.as_bytes())
    }

    /// Writes the buffered output, so that a reader sees it.
    pub fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }

    pub fn finish(&mut self) -> Result<(), Failure> {
        self.flush()
    }
}

/// A JSON array that is written element by element, with one element on each line.
pub struct JsonArray {
    count: u64,
}

impl JsonArray {
    pub fn begin(out: &mut Sink) -> Result<Self, Failure> {
        out.text("[")?;
        Ok(Self { count: 0 })
    }

    pub fn add(&mut self, out: &mut Sink, element: &Value) -> Result<(), Failure> {
        out.text(if self.count == 0 { "\n" } else { ",\n" })?;
        self.count += 1;
        out.text(&element.to_string())
    }

    pub fn end(self, out: &mut Sink) -> Result<(), Failure> {
        out.line(if self.count == 0 { "]" } else { "\n]" })
    }
}
