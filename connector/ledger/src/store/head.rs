//! The head object: decodes its bytes, and returns the errors for bytes that are no manifest of this format.

use bytes::Bytes;
use object_stores::ObjectStore;

use crate::core::ids::ContainerId;
use crate::core::manifest::Manifest;
use crate::error::{Error, ErrorKind, Result};
use crate::file::superblock::{has_slots, id_of_any_format};
use crate::signatures::{FORMAT, HDF5, SIGNATURE};

/// Returns the name of the container at a key, for messages.
pub(crate) fn target_of(store: &dyn ObjectStore, key: &str) -> String {
    format!("{}/{key}", store.name())
}

/// Decodes the bytes of a head object.
///
/// # Errors
/// `NotAContainer`, `WrongStorage`, `EarlierFormat`, `NewerFormat`; `Corrupt` for damage.
pub(crate) fn decode(bytes: &Bytes, target: &str) -> Result<Manifest> {
    if !bytes.starts_with(SIGNATURE) {
        let is_native = bytes.starts_with(HDF5);
        let what = if is_native { "a native HDF5 file" } else { "an object of another kind" };
        return Err(Error::new(target, ErrorKind::NotAContainer { what: what.into() }));
    }
    if has_slots(bytes) {
        return Err(in_one_file(target));
    }
    check_format(bytes, target)?;
    Manifest::decode(bytes).map_err(|why| Error::corrupt(target, "head object", why))
}

/// Checks the number of the format, which is at the same offset in all formats.
fn check_format(bytes: &[u8], target: &str) -> Result<()> {
    let at = SIGNATURE.len();
    let found = bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    match found {
        Some(format) if format > FORMAT => {
            Err(Error::new(target, ErrorKind::NewerFormat { found: format!("format {format}") }))
        }
        Some(format) if format < FORMAT => Err(Error::new(target, ErrorKind::EarlierFormat { format })),
        _ => Ok(()),
    }
}

/// Returns whether an error says that a container is of an earlier format.
pub(super) fn is_earlier(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::EarlierFormat { .. })
}

/// Decodes the head object of a container that is to be deleted. A container of an earlier format becomes a manifest that has only the
/// container's id and names nothing, because no more is needed to delete the container.
pub(super) fn decode_to_delete(bytes: &Bytes, target: &str) -> Result<Manifest> {
    match decode(bytes, target) {
        Err(e) if is_earlier(&e) => {
            let id = id_of_any_format(bytes);
            let id = id.map_err(|why| Error::corrupt(target, "head object, bytes 0 to 63", why))?;
            Ok(Manifest { id: ContainerId(id), ..Manifest::absent() })
        }
        decoded => decoded,
    }
}

/// Returns the error for a container that is a file.
fn in_one_file(target: &str) -> Error {
    let what = "is a container in one file, and not one in objects; open it by its local path (in a remote store: copy it \
                to a local file first)";
    Error::new(target, ErrorKind::WrongStorage { what: what.into() })
}

/// Returns the sequence of a manifest, for a register that numbers manifests.
pub(crate) fn sequence_of(bytes: &[u8]) -> Option<u64> {
    Manifest::decode(bytes).ok().map(|manifest| manifest.sequence)
}

/// Returns the sequence of a manifest that is to be deleted. Any manifest is newer than a head object of an earlier format.
pub(super) fn sequence_to_delete(bytes: &[u8]) -> Option<u64> {
    match check_format(bytes, "") {
        Err(e) if is_earlier(&e) && bytes.starts_with(SIGNATURE) => Some(0),
        _ => sequence_of(bytes),
    }
}
