//! Hidden names of files that belong to a container's file, in the same folder: `.NAME.h5lake-WHAT`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::paths::followed;

/// The greatest length of a name of a container in its hidden name. Longer names are truncated and made distinct by a hash,
/// so that the hidden name is valid on file systems with short names.
const MAX_NAME: usize = 80;

/// Returns the folder of a path.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns a hidden name in the same folder, made of the path's own name and `what`.
pub(crate) fn sibling(path: &Path, what: &str) -> PathBuf {
    let mut hidden = sibling_prefix(path);
    hidden.push(what);
    folder(path).join(hidden)
}

/// Returns a hidden name as [`sibling`] does, of the file to which symbolic links lead.
pub(crate) fn followed_sibling(path: &Path, what: &str) -> PathBuf {
    sibling(&followed(path).unwrap_or_else(|_| path.to_owned()), what)
}

/// Returns the prefix of all hidden names of a path.
pub(crate) fn sibling_prefix(path: &Path) -> OsString {
    let own = path.file_name().unwrap_or_default().as_bytes();
    let mut hidden = OsString::from(".");
    if own.len() <= MAX_NAME {
        hidden.push(OsStr::from_bytes(own));
    } else {
        hidden.push(OsStr::from_bytes(&own[..MAX_NAME - 17]));
        hidden.push(format!("~{:016x}", fnv1a(own)));
    }
    hidden.push(".h5lake-");
    hidden
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}
