//! The log that `H5LAKE_LOG` asks for: what the layers tell of their work, on stderr or in a file.
//!
//! | variable | values |
//! | --- | --- |
//! | `H5LAKE_LOG` | `error`, `warn`, `info`, `debug`, `trace` |
//! | `H5LAKE_LOG_FILE` | a file to append to, instead of stderr |
//! | `H5LAKE_LOG_FORMAT` | `text`, or `json`: one object a line |
//!
//! Events name containers, versions, sizes and times. None holds a credential: errors of stores have none.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::{Arc, Once};

use tracing::Level;
use tracing_subscriber::fmt;

/// The variable that asks for the log.
pub const LEVEL: &str = "H5LAKE_LOG";
const FILE: &str = "H5LAKE_LOG_FILE";
const FORMAT: &str = "H5LAKE_LOG_FORMAT";
const LEVELS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

/// Standard error, without the lock of the standard library: a process that is forked while a thread holds that would wait
/// for ever.
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

/// The value of a variable; `None` if it is empty or not set.
fn value(name: &str) -> Option<String> {
    env::var_os(name).filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().into_owned())
}

/// Tells of a variable that is wrong. The log is no reason to refuse a file.
fn complain(name: &str, why: &str) {
    // A closed stderr is no reason to fail.
    writeln!(Stderr, "h5lake: variable {name} {why}").ok();
}

fn level(text: &str) -> Level {
    let known = LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    known.map_or_else(
        || {
            // 1 has always meant: tell what goes wrong.
            if text != "1" {
                let names = LEVELS.map(|(name, _)| name).join(", ");
                complain(LEVEL, &format!("takes {names}, not '{text}'"));
            }
            Level::WARN
        },
        |(_, level)| *level,
    )
}

/// The file to append to, if one is named and can be opened.
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

/// Starts the log if the environment asks for one. Later calls do nothing.
pub fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let Some(text) = value(LEVEL) else { return };
        let builder = fmt::Subscriber::builder().with_max_level(level(&text)).with_ansi(false);
        // Whoever was first has the log: a program that embeds this crate may have its own.
        let _another_was_first = match (file(), is_json()) {
            (Some(file), true) => {
                tracing::subscriber::set_global_default(builder.json().with_writer(file).finish())
            }
            (Some(file), false) => {
                tracing::subscriber::set_global_default(builder.with_writer(file).finish())
            }
            (None, true) => {
                tracing::subscriber::set_global_default(builder.json().with_writer(|| Stderr).finish())
            }
            (None, false) => tracing::subscriber::set_global_default(builder.with_writer(|| Stderr).finish()),
        };
    });
}
