//! The permissions of copies.

use h5lake_ledger::Options;

use h5lake_container::Target;

/// Returns the options for a copy of a container in a file: users who may not read the container may not read its copy.
pub(crate) fn with_mode_of(source: &Target, target: &Target, options: Options) -> Options {
    match (source, target) {
        (Target::File(source), Target::File(target)) if source.exists() => {
            Options { file_mode: h5lake_ledger::mode_of_copy(source, target), ..options }
        }
        _ => options,
    }
}
