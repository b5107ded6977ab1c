//! The ids by which elements of a container name their variable-length data.

/// The bytes of an id, as reported by `H5VL_FILE_GET_CONT_INFO`.
pub const ID_BYTES: usize = 16;

/// The id that stands for no data.
const NULL: [u8; ID_BYTES] = [0; ID_BYTES];

/// Returns whether `id` stands for no data.
pub fn is_null(id: &[u8; ID_BYTES]) -> bool {
    *id == NULL
}

/// Returns the id that stands for no data.
pub fn null() -> [u8; ID_BYTES] {
    NULL
}
