//! Permissions of results that are made from a source. A user that may not read the source may not read the result. Copies of containers
//! follow the same rule.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The maximum permissions of a new file. The umask restricts them further.
pub const ANY: u32 = 0o666;

/// Removes the permissions from a new file that are not in `mode`. The umask was already applied when the file was created.
pub fn restrict(made: &Path, mode: u32) -> io::Result<()> {
    let has = made.metadata()?.mode() & 0o777;
    fs::set_permissions(made, Permissions::from_mode(has & mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use h5lake_ledger::mode_of_copy;

    #[test]
    fn results_have_no_more_permissions_than_their_source_and_the_umask_leave() {
        let dir = tempfile::tempdir().unwrap();
        let (source, made) = (dir.path().join("source"), dir.path().join("made"));
        fs::write(&source, "").unwrap();
        fs::write(&made, "").unwrap();
        for (of_source, has, wanted) in [
            (0o600, 0o644, 0o600),
            (0o640, 0o644, 0o640),
            (0o444, 0o644, 0o644),
            (0o755, 0o664, 0o644),
            (0o666, 0o600, 0o600),
        ] {
            fs::set_permissions(&source, Permissions::from_mode(of_source)).unwrap();
            fs::set_permissions(&made, Permissions::from_mode(has)).unwrap();
            restrict(&made, mode_of_copy(&source, &made)).unwrap();
            assert_eq!(made.metadata().unwrap().mode() & 0o777, wanted, "{of_source:o} {has:o}");
        }
    }
}
