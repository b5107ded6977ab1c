//! The permissions of copies.

use std::os::unix::fs::MetadataExt;

use h5lake_ledger::Options;

use crate::Target;

/// For a copy of a container in a file: who may not read that may not read its copy. The owner may go on with it.
pub(crate) fn with_mode_of(source: &Target, options: Options) -> Options {
    let Target::File(path) = source else { return options };
    let Ok(meta) = path.metadata() else { return options };
    Options { file_mode: meta.mode() & 0o666 | 0o600, ..options }
}
