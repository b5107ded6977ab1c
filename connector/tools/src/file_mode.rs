//! The permissions of copies.

use crate::end::End;
use h5lake_container::Target;
use h5lake_ledger::Options;

/// Returns the options to create a copy. Users who may not read a container in a file may not read its copy in a file.
pub(crate) fn options_of_copy(from: End<'_>, to: End<'_>) -> Options {
    let options = to.options.ledger.clone();
    match (from.target, to.target) {
        (Target::File(source), Target::File(target)) if source.exists() => {
            Options { file_mode: h5lake_ledger::mode_of_copy(source, target), ..options }
        }
        _ => options,
    }
}
