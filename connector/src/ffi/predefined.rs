//! Datatypes that libhdf5 has made itself: using them costs no identifier.
//!
//! An identifier of a datatype that is kept would show up in `H5Fget_obj_count(H5F_OBJ_ALL, …)`, which counts
//! every datatype that an application could have opened.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use h5lake_plugin_abi::Hdf5;

use super::library::{Hid, Library};
use crate::error::Result;

type Symbol = fn(&Hdf5) -> Hid;

const SYMBOLS: [Symbol; 30] = [
    Hdf5::H5T_STD_I8LE_g,
    Hdf5::H5T_STD_I8BE_g,
    Hdf5::H5T_STD_I16LE_g,
    Hdf5::H5T_STD_I16BE_g,
    Hdf5::H5T_STD_I32LE_g,
    Hdf5::H5T_STD_I32BE_g,
    Hdf5::H5T_STD_I64LE_g,
    Hdf5::H5T_STD_I64BE_g,
    Hdf5::H5T_STD_U8LE_g,
    Hdf5::H5T_STD_U8BE_g,
    Hdf5::H5T_STD_U16LE_g,
    Hdf5::H5T_STD_U16BE_g,
    Hdf5::H5T_STD_U32LE_g,
    Hdf5::H5T_STD_U32BE_g,
    Hdf5::H5T_STD_U64LE_g,
    Hdf5::H5T_STD_U64BE_g,
    Hdf5::H5T_STD_B8LE_g,
    Hdf5::H5T_STD_B8BE_g,
    Hdf5::H5T_STD_B16LE_g,
    Hdf5::H5T_STD_B16BE_g,
    Hdf5::H5T_STD_B32LE_g,
    Hdf5::H5T_STD_B32BE_g,
    Hdf5::H5T_STD_B64LE_g,
    Hdf5::H5T_STD_B64BE_g,
    Hdf5::H5T_IEEE_F32LE_g,
    Hdf5::H5T_IEEE_F32BE_g,
    Hdf5::H5T_IEEE_F64LE_g,
    Hdf5::H5T_IEEE_F64BE_g,
    Hdf5::H5T_NATIVE_LDOUBLE_g,
    Hdf5::H5T_C_S1_g,
];

/// Which symbol has which encoding.
type Encodings = HashMap<Vec<u8>, Symbol>;

/// The encodings of each slot's library.
static ENCODINGS: LazyLock<Mutex<HashMap<usize, Encodings>>> = LazyLock::new(Default::default);

impl Library {
    /// The library's own datatype with this encoding, if it has one. Not to be closed.
    pub fn predefined_type(self, encoded: &[u8]) -> Result<Option<Hid>> {
        let known = |all: &HashMap<usize, Encodings>| {
            all.get(&self.slot()).map(|mine| mine.get(encoded).map(|symbol| symbol(self.table())))
        };
        if let Some(answer) = known(&ENCODINGS.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(answer);
        }
        let mut mine = HashMap::new();
        for symbol in SYMBOLS {
            mine.entry(self.encode_type(symbol(self.table()))?).or_insert(symbol);
        }
        let answer = mine.get(encoded).map(|symbol| symbol(self.table()));
        ENCODINGS.lock().unwrap_or_else(PoisonError::into_inner).insert(self.slot(), mine);
        Ok(answer)
    }
}
