//! How files of HDF5, containers and pointer files begin (docs/format.md, "File layout").

/// HDF5's own signature (HDF5 File Format Specification, "Format Signature").
pub(crate) const HDF5: &[u8; 8] = b"\x89HDF\r\n\x1a\n";
/// HDF5's signature and a superblock version that native HDF5 refuses, then our name.
pub(crate) const SIGNATURE: &[u8; 16] = b"\x89HDF\r\n\x1a\n\x4Ch5lake\0";
/// A file that names a container elsewhere begins so.
pub(crate) const POINTER: &[u8; 16] = b"\x89HDF\r\n\x1a\n\x4Ch5lptr\0";

/// The version of the format of all containers that this build makes and opens (docs/format.md, "File layout").
pub const FORMAT: u32 = 2;
