//! The first bytes of HDF5 files, containers and pointer files (docs/format.md, "File layout").

/// HDF5's own signature (HDF5 File Format Specification, "Format Signature").
pub(crate) const HDF5: &[u8; 8] = b"\x89HDF\r\n\x1a\n";
/// HDF5's signature and a superblock version that native HDF5 refuses, then our name.
pub(crate) const SIGNATURE: &[u8; 16] = b"\x89HDF\r\n\x1a\n\x4Ch5lake\0";
/// The first bytes of a pointer file, which names a container elsewhere.
pub(crate) const POINTER: &[u8; 16] = b"\x89HDF\r\n\x1a\n\x4Ch5lptr\0";

/// The version of the format that this build makes and opens (docs/format.md, "File layout").
pub const FORMAT: u32 = 2;
