//! Object tokens: an object id in bytes 0–7, little-endian, and zeros; native code uses the token as an address.

use h5lake_container::ObjectId;

use crate::error::{Error, Result};

/// The bytes of a token in HDF5's structures.
pub const BYTES: usize = 16;
/// The significant bytes of a token, as reported by `H5VL_FILE_GET_CONT_INFO`.
pub const SIGNIFICANT_BYTES: usize = 8;

/// Returns the token of an object.
pub fn encode(id: ObjectId) -> [u8; BYTES] {
    let mut token = [0; BYTES];
    token[..SIGNIFICANT_BYTES].copy_from_slice(&id.0.to_le_bytes());
    token
}

/// Returns the object of a token. Opening the object shows whether it exists.
pub fn decode(token: [u8; BYTES]) -> ObjectId {
    let mut id = [0; SIGNIFICANT_BYTES];
    id.copy_from_slice(&token[..SIGNIFICANT_BYTES]);
    ObjectId(u64::from_le_bytes(id))
}

/// Returns the token as text (`H5Otoken_to_str`): the object id in decimal, like native addresses.
pub fn to_text(token: [u8; BYTES]) -> String {
    decode(token).0.to_string()
}

/// Parses the text of a token.
pub fn from_text(text: &[u8]) -> Result<[u8; BYTES]> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .map(|id| encode(ObjectId(id)))
        .ok_or_else(|| Error::argument(format!("'{}' is no object token", String::from_utf8_lossy(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text() {
        let token = encode(ObjectId(0x4000_0000_0000_0123));
        assert_eq!(from_text(to_text(token).as_bytes()).unwrap(), token);
        assert_eq!(token[8..], [0; 8]);
        assert!(from_text(b"x").is_err());
    }
}
