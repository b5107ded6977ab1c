//! Native files that a file driver spreads over several, opened to read without that driver.
//!
//! HDF5's tools open a file first as the environment says, with the default driver. If that fails they try each driver,
//! with the native connector. Such a file and a container then have different connectors, between which libhdf5 refuses
//! copies and links. So a name that leads to no container is opened here if the file that one of these drivers would
//! open first names that driver.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::hdf5::plist::drivers::SpreadingDriver;
use crate::operations::file::OpenRequest;
use crate::operations::object_file;
use crate::operations::storage;

/// The number of bytes of a file that are searched for a driver's signature. The signature lies in or behind the
/// superblock, which may follow a user block.
const LOOKED_AT: u64 = 64 << 10;
/// The maximum width of a number in a name.
const MAX_WIDTH: usize = 20;

/// Opens a native file at a name where opening a container failed with `error`.
///
/// # Errors
/// `error`, if no native file exists there either; the cause that forbids opening the file, or prevents the native
/// connector from opening it.
pub(super) fn open_instead(request: OpenRequest<'_>, error: Error) -> Result<Handle> {
    let OpenRequest { library, config, name, flags, access, .. } = request;
    let may_be = !flags.write && request.together.is_none();
    let Some(driver) = may_be.then(|| driver_of(name)).flatten() else {
        return object_file::open_instead(request, error);
    };
    storage::check_allowed(config, Minor::CannotOpenFile, "open", name)?;
    let list = library.with_driver(access, driver)?;
    library.open_native_file(name, flags, list.get(), config.native_filters)
}

/// Returns the driver of the file to which a name leads.
fn driver_of(name: &[u8]) -> Option<SpreadingDriver> {
    let first_of = |driver| match driver {
        SpreadingDriver::Family => first_member(name),
        SpreadingDriver::Split => Some([name, b"-m.h5"].concat()),
        SpreadingDriver::Multi => Some([name, b"-s.h5"].concat()),
    };
    let all = [SpreadingDriver::Family, SpreadingDriver::Split, SpreadingDriver::Multi];
    all.into_iter()
        .find(|driver| first_of(*driver).is_some_and(|first| is_signed(&first, signature_of(*driver))))
}

/// Returns the signature of a driver in the superblock (`H5FD__family_sb_encode`, `H5FD_multi_sb_encode`).
fn signature_of(driver: SpreadingDriver) -> &'static [u8] {
    match driver {
        SpreadingDriver::Family => b"NCSAfami",
        SpreadingDriver::Split | SpreadingDriver::Multi => b"NCSAmult",
    }
}

/// Returns whether the first [`LOOKED_AT`] bytes of a file contain a signature.
fn is_signed(name: &[u8], signature: &[u8]) -> bool {
    let path = Path::new(OsStr::from_bytes(name));
    // No other kind of file is opened, because opening a pipe waits for its writer.
    if !path.metadata().is_ok_and(|found| found.is_file()) {
        return false;
    }
    let mut begin = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LOOKED_AT).read_to_end(&mut begin));
    read.is_ok() && begin.windows(signature.len()).any(|part| part == signature)
}

/// Returns the name of member 0, the first member of a family, if the name contains one place for a number in the
/// format of `printf`.
fn first_member(name: &[u8]) -> Option<Vec<u8>> {
    let at = name.iter().position(|byte| *byte == b'%')?;
    let (before, after) = (&name[..at], &name[at + 1..]);
    let digits = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (width, rest) = after.split_at(digits);
    let rest =
        rest.strip_prefix(b"d").or_else(|| rest.strip_prefix(b"i")).or_else(|| rest.strip_prefix(b"u"))?;
    if rest.contains(&b'%') {
        return None;
    }
    let filler = if width.first() == Some(&b'0') { b'0' } else { b' ' };
    let width = match width {
        [] => 1,
        digits => std::str::from_utf8(digits).ok()?.parse::<usize>().ok()?.clamp(1, MAX_WIDTH),
    };
    let mut first = before.to_vec();
    first.resize(before.len() + width - 1, filler);
    first.push(b'0');
    first.extend_from_slice(rest);
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_members_are_named_as_printf_names_them() {
        let first = |name: &str| first_member(name.as_bytes()).map(|first| String::from_utf8(first).unwrap());
        for (name, member) in
            [("a%d.h5", "a0.h5"), ("a%05d.h5", "a00000.h5"), ("x/%3i", "x/  0"), ("%0u", "0"), ("%1d-", "0-")]
        {
            assert_eq!(first(name).as_deref(), Some(member));
        }
        for name in ["a.h5", "%", "a%", "%s.h5", "%d%d", "%%d", "%5", "a%20b.h5", "%-3d"] {
            assert_eq!(first(name), None, "{name}");
        }
        assert_eq!(first("%999999999999999999999d"), None);
        assert_eq!(first("%9999d").map(|first| first.len()), Some(MAX_WIDTH));
    }

    #[test]
    fn the_signature_of_the_first_file_decides() {
        let folder = tempfile::tempdir().unwrap();
        let name = |name: &str| [folder.path().as_os_str().as_bytes(), b"/", name.as_bytes()].concat();
        let write = |name: &str, signature: &str| {
            std::fs::write(folder.path().join(name), format!("HDF ... {signature} ...")).unwrap();
        };
        assert_eq!(driver_of(&name("a%d.h5")), None);
        write("a0.h5", "no family");
        assert_eq!([driver_of(&name("a%d.h5")), driver_of(&name("a0.h5"))], [None; 2]);
        write("a0.h5", "NCSAfami");
        assert_eq!(driver_of(&name("a%d.h5")), Some(SpreadingDriver::Family));
        assert_eq!([driver_of(&name("a0.h5")), driver_of(&name("a%02d.h5"))], [None; 2]);
        write("b-m.h5", "NCSAfami");
        assert_eq!(driver_of(&name("b")), None);
        write("b-m.h5", "NCSAmult");
        write("c-s.h5", "NCSAmult");
        assert_eq!(driver_of(&name("b")), Some(SpreadingDriver::Split));
        assert_eq!(driver_of(&name("c")), Some(SpreadingDriver::Multi));
        std::fs::create_dir(folder.path().join("d-m.h5")).unwrap();
        assert_eq!(driver_of(&name("d")), None);
    }
}
