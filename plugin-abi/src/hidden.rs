//! The version of an HDF5 that shows no symbols: a library or program may hold one for itself alone.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::version::parse_version;

/// What the text of `H5_lib_vers_info_g` begins with, which the code of every HDF5 holds (`H5public.h`).
const MARK: &[u8] = b"HDF5 library version: ";

/// The longest version that is looked for after the mark, and how much is read at a time.
const MAX_VERSION: usize = 32;
const CHUNK: usize = 1 << 20;

/// The version of the HDF5 inside the library at `path`, or inside the main program if `path` is empty. None if its file
/// cannot be read, or holds no such text.
pub(crate) fn version_in(path: &Path) -> Option<(u32, u32, u32)> {
    let path = if path.as_os_str().is_empty() { Path::new("/proc/self/exe") } else { path };
    find(File::open(path).ok()?)
}

/// The first version that follows the mark. A format for messages, `HDF5 library version: %d.%d.%d`, is none.
fn find(mut file: impl Read) -> Option<(u32, u32, u32)> {
    let finder = memchr::memmem::Finder::new(MARK);
    let mut bytes = Vec::with_capacity(CHUNK + MARK.len() + MAX_VERSION);
    loop {
        let is_last = fill(&mut file, &mut bytes)?;
        // A mark whose version is cut off waits for the next chunk.
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

/// Adds the next chunk to `bytes`, and says whether it was the last; None after an error.
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
