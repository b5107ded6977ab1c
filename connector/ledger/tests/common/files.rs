//! Options for containers in a file.

use std::path::Path;
use std::time::Duration;

use h5lake_ledger::{Access, Ledger, Options, Replace};

pub fn opts() -> Options {
    // Freed space is reused at once, unless a reader's pin protects it.
    Options { retention: Some(Duration::ZERO), checkpoint_bytes: 20_000, ..Options::default() }
}

pub fn create(path: &Path) -> Ledger {
    Ledger::create_file(path, Replace::Fail, opts()).unwrap()
}

pub fn read(path: &Path) -> Ledger {
    Ledger::open_file(path, Access::ReadOnly, opts()).unwrap()
}

pub fn write(path: &Path) -> Ledger {
    Ledger::open_file(path, Access::ReadWrite, opts()).unwrap()
}
