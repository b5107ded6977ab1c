//! The log that `H5LAKE_LOG` requests: reports of the layers about their work, on stderr or in a file. `H5LAKE_STATS`
//! requests the cost of each container.
//!
//! | variable | values |
//! | --- | --- |
//! | `H5LAKE_LOG` | `error`, `warn`, `info`, `debug`, `trace` |
//! | `H5LAKE_LOG_FILE` | a file to append to, instead of stderr |
//! | `H5LAKE_LOG_FORMAT` | `text`, or `json`: one object a line |
//! | `H5LAKE_STATS` | `1`: one line for each container when it has been closed, and for reads of native files |
//!
//! Events contain names of containers, versions, sizes and times. No event contains a credential, because errors of
//! stores contain none.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::{Arc, Once, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use h5lake_container::statistics::{Summary, on_close};
use h5lake_ledger::At;
use object_stores::{printable_json, printable_lines};
use serde_json::{Value, json};
use tracing::Level;
use tracing_subscriber::fmt;

use crate::statistics;

/// The variable that requests the log.
pub const LEVEL: &str = "H5LAKE_LOG";
const FILE: &str = "H5LAKE_LOG_FILE";
const FORMAT: &str = "H5LAKE_LOG_FORMAT";
const STATS: &str = "H5LAKE_STATS";
const LEVELS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

/// Standard error without the lock of the standard library: a process that was forked while a thread held the lock
/// would wait forever.
#[derive(Debug, Clone, Copy)]
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(nix::unistd::write(io::stderr(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the value of a variable; `None` if it is empty or not set.
fn value(name: &str) -> Option<String> {
    env::var_os(name).filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().into_owned())
}

/// Reports a wrong variable. The log is no reason to refuse a file.
fn complain(name: &str, why: &str) {
    // A closed stderr is no reason to fail.
    writeln!(Stderr, "h5lake: variable {name} {why}").ok();
}

fn level(text: &str) -> Level {
    let known = LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    known.map_or_else(
        || {
            // The value 1 has always requested reports of errors.
            if text != "1" {
                let names = LEVELS.map(|(name, _)| name).join(", ");
                complain(LEVEL, &format!("takes {names}, not '{text}'"));
            }
            Level::WARN
        },
        |(_, level)| *level,
    )
}

/// Opens the file to append to, if one is named and can be opened.
fn file() -> Option<Arc<File>> {
    let path = env::var_os(FILE).filter(|path| !path.is_empty())?;
    match OpenOptions::new().create(true).append(true).open(&path) {
        Ok(file) => Some(Arc::new(file)),
        Err(error) => {
            complain(FILE, &format!("names {}: {error}; the log is on stderr", path.display()));
            None
        }
    }
}

fn is_json() -> bool {
    match value(FORMAT).as_deref() {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => {
            complain(FORMAT, &format!("takes text or json, not '{other}'"));
            false
        }
    }
}

/// Returns whether the cost of containers is to be reported.
fn tells_statistics() -> bool {
    match value(STATS).as_deref() {
        None | Some("0") => false,
        Some("1") => true,
        Some(other) => {
            complain(STATS, &format!("takes 1, not '{other}'"));
            false
        }
    }
}

/// The destination of a log: a file, or stderr. Names in the log may be a stranger's, so control characters for
/// terminals are escaped.
#[derive(Debug, Clone)]
struct Log {
    file: Option<Arc<File>>,
    is_json: bool,
}

impl Write for Log {
    /// Writes lines in one call, because processes may share the file.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let text = if self.is_json { printable_json(&text) } else { printable_lines(&text) };
        match &self.file {
            Some(file) => (&**file).write_all(text.as_bytes())?,
            None => Stderr.write_all(text.as_bytes())?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The destination of summaries.
static SUMMARIES: OnceLock<Log> = OnceLock::new();

/// Reports the summary of a container.
fn tell_summary(summary: &Summary) {
    if statistics::is_of_program(summary) {
        tell(|| (statistics::object(summary), statistics::line(summary)));
    }
}

/// Reports the reads of native files that were decoded here, if there were new ones. Called after a native file was
/// closed.
pub fn tell_native_reads() {
    if SUMMARIES.get().is_some()
        && let Some(unreported) = statistics::native_reads::take_unreported()
    {
        tell(|| unreported);
    }
}

/// Writes statistics as one line, as JSON or as text.
fn tell(statistics: impl FnOnce() -> (Value, String)) {
    let Some(log) = SUMMARIES.get() else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = At::Time(u64::try_from(now.as_micros()).unwrap_or_default()).setting_value();
    let (mut fields, line) = statistics();
    let line = if log.is_json {
        fields["message"] = "statistics".into();
        json!({ "timestamp": time, "level": "INFO", "target": "h5lake_connector::statistics", "fields": fields })
            .to_string()
    } else {
        format!("{time}  INFO h5lake_connector::statistics: {line}")
    };
    let line = format!("{line}\n");
    // A failure to write the log is no error.
    let _unwritten = log.clone().write_all(line.as_bytes());
}

/// Starts the log if the environment asks for one. Later calls do nothing.
pub fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let (text, tells_statistics) = (value(LEVEL), tells_statistics());
        if text.is_none() && !tells_statistics {
            return;
        }
        let log = Log { file: file(), is_json: is_json() };
        if tells_statistics {
            SUMMARIES.get_or_init(|| log.clone());
            on_close(tell_summary);
        }
        let Some(text) = text else { return };
        let builder = fmt::Subscriber::builder().with_max_level(level(&text)).with_ansi(false);
        // The first subscriber receives the log: a program that embeds this crate may have its own.
        let is_json = log.is_json;
        let builder = builder.with_writer(move || log.clone());
        let _another_was_first = match is_json {
            true => tracing::subscriber::set_global_default(builder.json().finish()),
            false => tracing::subscriber::set_global_default(builder.finish()),
        };
    });
}
