//! Rewrites the locations of elements in dataset creation lists: files of virtual sources, and external files.

use super::bytes::{Bytes, Checked};
use super::dataspace::dataspace;
use super::property_list::{ListKind, each_property};

/// The beginning of a virtual layout: the property's name, and its class.
const VIRTUAL: &[u8] = b"layout\0\x03";

/// Returns the encoding of a dataset creation list without the external files.
///
/// # Errors
/// The error in the encoding.
pub fn without_external_files(encoded: &[u8]) -> Checked<Vec<u8>> {
    changed(encoded, &mut |name, property, out| {
        if name != b"efl" {
            out.extend_from_slice(property);
        }
        Ok(())
    })
}

/// Returns the encoding of a dataset creation list with the files of virtual sources renamed by `rename`. New names
/// contain no zero byte.
///
/// # Errors
/// The error in the encoding.
pub fn rename_sources(encoded: &[u8], rename: &mut dyn FnMut(&[u8]) -> Vec<u8>) -> Checked<Vec<u8>> {
    changed(encoded, &mut |_, property, out| match property.strip_prefix(VIRTUAL) {
        Some(mappings) => {
            out.extend_from_slice(VIRTUAL);
            rename_in(mappings, rename, out)
        }
        None => {
            out.extend_from_slice(property);
            Ok(())
        }
    })
}

type Change<'a> = dyn FnMut(&[u8], &[u8], &mut Vec<u8>) -> Checked<()> + 'a;

/// Returns the encoding in which `change` replaces each property's name and bytes.
fn changed(encoded: &[u8], change: &mut Change<'_>) -> Checked<Vec<u8>> {
    let mut out = encoded.get(..2).ok_or("it is cut short")?.to_vec();
    each_property(encoded, ListKind::Dataset, &mut |name, property| change(name, property, &mut out))?;
    out.push(0);
    Ok(out)
}

fn rename_in(mappings: &[u8], rename: &mut dyn FnMut(&[u8]) -> Vec<u8>, out: &mut Vec<u8>) -> Checked<()> {
    let mut bytes = Bytes::new(mappings);
    let count = bytes.u64()?;
    out.extend_from_slice(&count.to_le_bytes());
    for _ in 0..count {
        out.extend(rename(bytes.name()?));
        out.push(0);
        let before = bytes.remaining();
        bytes.name()?;
        dataspace(&mut bytes)?;
        dataspace(&mut bytes)?;
        out.extend_from_slice(&before[..before.len() - bytes.remaining().len()]);
    }
    Ok(())
}
