//! The ids by which elements of a container name their variable-length data.

/// Bytes of an id, as told by `H5VL_FILE_GET_CONT_INFO`.
pub const ID_BYTES: usize = 16;

/// The id of no data.
const NULL: [u8; ID_BYTES] = [0; ID_BYTES];

/// Whether `id` stands for no data.
pub fn is_null(id: &[u8; ID_BYTES]) -> bool {
    *id == NULL
}

/// The id of no data.
pub fn null() -> [u8; ID_BYTES] {
    NULL
}
