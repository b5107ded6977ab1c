//! Checks that only this process's user can have put a file at its place.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// Returns whether this user owns a file or a folder, and no other user may write to it.
pub(crate) fn is_private(found: &Metadata) -> bool {
    found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o022 == 0
}
