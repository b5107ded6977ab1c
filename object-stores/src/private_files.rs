//! Whether nobody but this process's user can have put a file where it lies.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Whether a file or a folder is this user's, and nobody else may write to it.
pub(crate) fn is_private(found: &Metadata) -> bool {
    found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o022 == 0
}
