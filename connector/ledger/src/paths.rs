//! Inspects the object at a path before it is opened.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Follows the symbolic links of a path and returns the final path, even if nothing exists there yet.
///
/// # Errors
/// `ELOOP` for too many links.
pub fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut at = path.to_path_buf();
    // The limit of Linux (path_resolution(7)).
    for _ in 0..40 {
        match at.read_link() {
            Ok(to) => at = at.parent().unwrap_or(Path::new("")).join(to),
            Err(_) => return Ok(at),
        }
    }
    Err(io::Error::from_raw_os_error(nix::libc::ELOOP))
}

/// Returns the name of a file type other than a file or a folder, with its article.
pub fn kind_of(meta: &Metadata) -> &'static str {
    let t = meta.file_type();
    if t.is_fifo() {
        "a pipe"
    } else if t.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}
