//! The version of an HDF5 that exports no symbols because a library or program contains it privately.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::version::parse_version;

/// The beginning of the text of `H5_lib_vers_info_g`, which the code of every HDF5 contains (`H5public.h`).
const MARK: &[u8] = b"HDF5 library version: ";

/// The maximum length of the version after the mark, in bytes.
const MAX_VERSION: usize = 32;
/// The number of bytes that are read at a time.
const CHUNK: usize = 1 << 20;

/// Returns the version of the HDF5 in the library at `path`, or in the main program if `path` is empty. Returns `None` if the file cannot
/// be read or contains no version.
pub(crate) fn version_in(path: &Path) -> Option<(u32, u32, u32)> {
    let path = if path.as_os_str().is_empty() { Path::new("/proc/self/exe") } else { path };
    find(File::open(path).ok()?)
}

/// Returns the first version that follows the mark. A format of messages, `HDF5 library version: %d.%d.%d`, does not count.
fn find(mut file: impl Read) -> Option<(u32, u32, u32)> {
    let finder = memchr::memmem::Finder::new(MARK);
    let mut bytes = Vec::with_capacity(CHUNK + MARK.len() + MAX_VERSION);
    loop {
        let is_last = fill(&mut file, &mut bytes)?;
        // If the version after a mark may be incomplete, the mark is searched again with the next chunk.
        let complete = bytes.len() - if is_last { 0 } else { (MARK.len() + MAX_VERSION).min(bytes.len()) };
        for at in finder.find_iter(&bytes).take_while(|at| *at < complete) {
            let text = &bytes[at..bytes.len().min(at + MARK.len() + MAX_VERSION)];
            let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
            if let Some(version) = std::str::from_utf8(text).ok().and_then(parse_version) {
                return Some(version);
            }
        }
        if is_last {
            return None;
        }
        bytes.drain(..complete);
    }
}

/// Appends the next chunk to `bytes`. Returns whether it was the last one, or `None` after an error.
fn fill(file: &mut impl Read, bytes: &mut Vec<u8>) -> Option<bool> {
    match file.take(CHUNK as u64).read_to_end(bytes) {
        Ok(read) => Some(read < CHUNK),
        Err(error) if error.kind() == ErrorKind::Interrupted => Some(false),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, MARK, find};

    fn file_of(padding: usize, text: &str) -> Vec<u8> {
        [&vec![1; padding][..], b"HDF5 library version: %d.%d.%d%s%s\n\0", MARK, text.as_bytes(), b"\0more"]
            .concat()
    }

    #[test]
    fn a_version_is_found_wherever_it_lies() {
        for padding in [0, 1, 100, CHUNK - 80, CHUNK - 60, CHUNK - 40, CHUNK - 20, CHUNK, 3 * CHUNK - 50] {
            assert_eq!(find(&file_of(padding, "1.12.2")[..]), Some((1, 12, 2)), "{padding}");
        }
    }

    #[test]
    fn a_file_without_a_version_has_none() {
        for text in ["", "x.y.z", "\u{fffd}"] {
            assert_eq!(find(&file_of(50, text)[..]), None);
        }
        assert_eq!(find(&[][..]), None);
        assert_eq!(find(MARK), None);
    }
}
