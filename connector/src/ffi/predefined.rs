//! Datatypes that libhdf5 has made itself: using them costs no identifier, and what they are need not be asked again.
//!
//! An identifier of a datatype that is kept would show up in `H5Fget_obj_count(H5F_OBJ_ALL, …)`, which counts
//! every datatype that an application could have opened.

use std::sync::OnceLock;

use bytes::Bytes;
use h5lake_plugin_abi::{Hdf5, MAX_LIBRARIES};

use super::library::{Hid, Library};
use crate::error::Result;

type Symbol = fn(&Hdf5) -> Hid;

/// Native types come last: of those that are the same the first stands for all.
const SYMBOLS: [Symbol; 42] = [
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
    Hdf5::H5T_NATIVE_SCHAR_g,
    Hdf5::H5T_NATIVE_UCHAR_g,
    Hdf5::H5T_NATIVE_SHORT_g,
    Hdf5::H5T_NATIVE_USHORT_g,
    Hdf5::H5T_NATIVE_INT_g,
    Hdf5::H5T_NATIVE_UINT_g,
    Hdf5::H5T_NATIVE_LONG_g,
    Hdf5::H5T_NATIVE_ULONG_g,
    Hdf5::H5T_NATIVE_LLONG_g,
    Hdf5::H5T_NATIVE_ULLONG_g,
    Hdf5::H5T_NATIVE_FLOAT_g,
    Hdf5::H5T_NATIVE_DOUBLE_g,
];

/// What is known of one of these types.
#[derive(Debug, Clone)]
pub struct Predefined {
    symbol: Symbol,
    /// The first of the list with this encoding.
    first: Symbol,
    /// HDF5's portable encoding (`H5Tencode`).
    pub encoded: Bytes,
    /// Bytes of one element.
    pub size: usize,
    /// The class number (`H5T_class_t`).
    pub class: u8,
}

/// The types of each slot's library.
static TYPES: [OnceLock<Vec<Predefined>>; MAX_LIBRARIES] = [const { OnceLock::new() }; MAX_LIBRARIES];

impl Predefined {
    /// The identifier of the type in its library, or of one that is the same. Not to be closed.
    pub fn id(&self, library: Library) -> Hid {
        (self.first)(library.table())
    }
}

impl Library {
    /// The library's own datatype with this encoding, if it has one.
    ///
    /// # Errors
    /// If the library cannot encode its own types.
    pub fn predefined_type(self, encoded: &[u8]) -> Result<Option<&'static Predefined>> {
        Ok(self.predefined_types()?.iter().find(|known| known.encoded == encoded))
    }

    /// What is known of an identifier, if it is that of one of the library's own datatypes.
    pub fn predefined(self, id: Hid) -> Option<&'static Predefined> {
        let known = self.predefined_types().ok()?;
        known.iter().find(|known| (known.symbol)(self.table()) == id)
    }

    fn predefined_types(self) -> Result<&'static [Predefined]> {
        let Some(place) = TYPES.get(self.slot()) else { return Ok(&[]) };
        if let Some(known) = place.get() {
            return Ok(known);
        }
        let mut all: Vec<Predefined> = Vec::with_capacity(SYMBOLS.len());
        for symbol in SYMBOLS {
            let id = symbol(self.table());
            let encoded = Bytes::from(self.encode_type(id)?);
            let first = all.iter().find(|known| known.encoded == encoded).map_or(symbol, |known| known.first);
            let (size, class) = (self.type_size_of(id)?, self.type_class_of(id)?);
            all.push(Predefined { symbol, first, encoded, size, class });
        }
        Ok(place.get_or_init(|| all))
    }
}
