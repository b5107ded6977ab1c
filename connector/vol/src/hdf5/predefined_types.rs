//! Datatypes that libhdf5 has made itself: using them costs no identifier, and their properties can be cached.
//!
//! An identifier of a datatype that is kept open would be counted by `H5Fget_obj_count(H5F_OBJ_ALL, …)`, which counts
//! every datatype that an application could have opened.
//!
//! Each type is encoded when it is first needed: most programs use two or three of them, and encoding all takes longer
//! than opening a file.

use std::ffi::{c_int, c_long, c_short};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use bytes::Bytes;
use h5lake_plugin_abi::{Hdf5, MAX_LIBRARIES};

use crate::error::Result;
use crate::hdf5::library::{Hid, Library};

type Symbol = fn(&Hdf5) -> Hid;

/// Numbers of classes (`H5T_class_t`), which encodings use, too.
const INTEGER: u8 = 0;
const FLOAT: u8 = 1;
const STRING: u8 = 3;
const BITFIELD: u8 = 4;

/// The number of types.
pub const COUNT: usize = 42;

/// The types with their classes and their sizes in bytes; 0 for a size that differs between machines. Native types
/// come last: the first one of several equal types stands for all of them.
const TYPES: [(Symbol, u8, usize); COUNT] = [
    (Hdf5::H5T_STD_I8LE_g, INTEGER, 1),
    (Hdf5::H5T_STD_I8BE_g, INTEGER, 1),
    (Hdf5::H5T_STD_I16LE_g, INTEGER, 2),
    (Hdf5::H5T_STD_I16BE_g, INTEGER, 2),
    (Hdf5::H5T_STD_I32LE_g, INTEGER, 4),
    (Hdf5::H5T_STD_I32BE_g, INTEGER, 4),
    (Hdf5::H5T_STD_I64LE_g, INTEGER, 8),
    (Hdf5::H5T_STD_I64BE_g, INTEGER, 8),
    (Hdf5::H5T_STD_U8LE_g, INTEGER, 1),
    (Hdf5::H5T_STD_U8BE_g, INTEGER, 1),
    (Hdf5::H5T_STD_U16LE_g, INTEGER, 2),
    (Hdf5::H5T_STD_U16BE_g, INTEGER, 2),
    (Hdf5::H5T_STD_U32LE_g, INTEGER, 4),
    (Hdf5::H5T_STD_U32BE_g, INTEGER, 4),
    (Hdf5::H5T_STD_U64LE_g, INTEGER, 8),
    (Hdf5::H5T_STD_U64BE_g, INTEGER, 8),
    (Hdf5::H5T_STD_B8LE_g, BITFIELD, 1),
    (Hdf5::H5T_STD_B8BE_g, BITFIELD, 1),
    (Hdf5::H5T_STD_B16LE_g, BITFIELD, 2),
    (Hdf5::H5T_STD_B16BE_g, BITFIELD, 2),
    (Hdf5::H5T_STD_B32LE_g, BITFIELD, 4),
    (Hdf5::H5T_STD_B32BE_g, BITFIELD, 4),
    (Hdf5::H5T_STD_B64LE_g, BITFIELD, 8),
    (Hdf5::H5T_STD_B64BE_g, BITFIELD, 8),
    (Hdf5::H5T_IEEE_F32LE_g, FLOAT, 4),
    (Hdf5::H5T_IEEE_F32BE_g, FLOAT, 4),
    (Hdf5::H5T_IEEE_F64LE_g, FLOAT, 8),
    (Hdf5::H5T_IEEE_F64BE_g, FLOAT, 8),
    (Hdf5::H5T_NATIVE_LDOUBLE_g, FLOAT, 0),
    (Hdf5::H5T_C_S1_g, STRING, 1),
    (Hdf5::H5T_NATIVE_SCHAR_g, INTEGER, 1),
    (Hdf5::H5T_NATIVE_UCHAR_g, INTEGER, 1),
    (Hdf5::H5T_NATIVE_SHORT_g, INTEGER, size_of::<c_short>()),
    (Hdf5::H5T_NATIVE_USHORT_g, INTEGER, size_of::<c_short>()),
    (Hdf5::H5T_NATIVE_INT_g, INTEGER, size_of::<c_int>()),
    (Hdf5::H5T_NATIVE_UINT_g, INTEGER, size_of::<c_int>()),
    (Hdf5::H5T_NATIVE_LONG_g, INTEGER, size_of::<c_long>()),
    (Hdf5::H5T_NATIVE_ULONG_g, INTEGER, size_of::<c_long>()),
    (Hdf5::H5T_NATIVE_LLONG_g, INTEGER, 8),
    (Hdf5::H5T_NATIVE_ULLONG_g, INTEGER, 8),
    (Hdf5::H5T_NATIVE_FLOAT_g, FLOAT, 4),
    (Hdf5::H5T_NATIVE_DOUBLE_g, FLOAT, 8),
];

/// The properties of one of these types.
#[derive(Debug, Clone)]
pub struct Predefined {
    /// The first type of the list with this encoding.
    first: Symbol,
    /// HDF5's portable encoding (`H5Tencode`).
    pub encoded: Bytes,
    /// The size of one element in bytes.
    pub size: usize,
    /// The class number (`H5T_class_t`).
    pub class: u8,
    /// The type's index in the list.
    pub number: usize,
}

/// Identifiers of these types are consecutive numbers, so that each has a slot of its own.
const PLACES: usize = 64;

/// The type that was last found for an identifier, by the identifier's lowest bits. It is verified before use.
static FOUND: [[AtomicU8; PLACES]; MAX_LIBRARIES] =
    [const { [const { AtomicU8::new(0) }; PLACES] }; MAX_LIBRARIES];

/// The type that was last found for an encoding with the same key fields. It is verified before use.
static ENCODED: [[AtomicU8; PLACES]; MAX_LIBRARIES] =
    [const { [const { AtomicU8::new(u8::MAX) }; PLACES] }; MAX_LIBRARIES];

/// The range of the types' identifiers when they were last read: a program's own identifiers are outside of it, and
/// are checked here several times in each of its calls. The entries are: the identifier of the first type, which shows
/// whether the library has assigned new ones since; the lowest; the highest.
static BOUNDS: [[AtomicI64; 3]; MAX_LIBRARIES] = [const { [const { AtomicI64::new(-1) }; 3] }; MAX_LIBRARIES];

/// The properties of the types of each slot's library.
static KNOWN: [[OnceLock<Predefined>; COUNT]; MAX_LIBRARIES] =
    [const { [const { OnceLock::new() }; COUNT] }; MAX_LIBRARIES];

impl Predefined {
    /// Returns the identifier of the type in its library, or of an equal type. It must not be closed.
    pub fn id(&self, library: Library) -> Hid {
        (self.first)(library.table())
    }
}

/// Returns the class and the size of an encoded type, to exclude types that it cannot be. Returns `None` for an
/// encoding of an unknown version.
fn kind_of(encoded: &[u8]) -> Option<(u8, usize)> {
    match encoded {
        // The bytes are: the mark of a datatype and the version of the encoding; version and class, bits of the class,
        // bytes of an element.
        [3, 0, class, _, _, _, a, b, c, d, ..] => {
            Some((class & 0x0f, u32::from_le_bytes([*a, *b, *c, *d]) as usize))
        }
        _ => None,
    }
}

/// Returns the slot in [`ENCODED`] of an encoding: class, sign, byte order and size distinguish most types.
fn place_of(encoded: &[u8]) -> usize {
    match encoded {
        [_, _, class, bits, _, _, size, ..] => {
            (usize::from(*class) * 29 + usize::from(*bits) * 5 + usize::from(*size)) % PLACES
        }
        _ => 0,
    }
}

/// Returns whether type `n` may be of a kind.
fn may_be(n: usize, kind: Option<(u8, usize)>) -> bool {
    let (_, class, size) = TYPES[n];
    kind.is_none_or(|(c, s)| c == class && (size == 0 || s == 0 || s == size))
}

impl Library {
    /// Returns the library's own datatype with this encoding, if it was found before, and was the last one found in
    /// its slot.
    pub fn predefined_seen(self, encoded: &[u8]) -> Option<&'static Predefined> {
        let last = ENCODED.get(self.slot())?[place_of(encoded)].load(Ordering::Relaxed);
        let known = KNOWN.get(self.slot())?.get(usize::from(last))?.get()?;
        (known.encoded == encoded).then_some(known)
    }

    /// Returns the library's own datatype with this encoding, if it has one.
    ///
    /// # Errors
    /// If the library cannot encode its own types.
    pub fn predefined_type(self, encoded: &[u8]) -> Result<Option<&'static Predefined>> {
        let kind = kind_of(encoded);
        let Some(places) = ENCODED.get(self.slot()) else { return Ok(None) };
        let place = &places[place_of(encoded)];
        let last = usize::from(place.load(Ordering::Relaxed));
        for n in std::iter::once(last).chain((0..COUNT).filter(|n| may_be(*n, kind))) {
            if let Some(known) = self.predefined_number(n)?.filter(|known| known.encoded == encoded) {
                place.store(n as u8, Ordering::Relaxed);
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    /// Returns the properties of an identifier, if it belongs to one of the library's own datatypes.
    pub fn predefined(self, id: Hid) -> Option<&'static Predefined> {
        if !self.may_be_predefined(id) {
            return None;
        }
        let is_it = |(symbol, ..): &(Symbol, u8, usize)| symbol(self.table()) == id;
        let place = &FOUND.get(self.slot())?[id as usize % PLACES];
        let found = usize::from(place.load(Ordering::Relaxed));
        let n = match TYPES.get(found).filter(|known| is_it(known)) {
            Some(_) => found,
            None => {
                let n = TYPES.iter().position(is_it)?;
                place.store(n as u8, Ordering::Relaxed);
                n
            }
        };
        self.predefined_number(n).ok().flatten()
    }

    /// Returns whether an identifier is in the range of the library's own datatypes.
    fn may_be_predefined(self, id: Hid) -> bool {
        let Some([first, lowest, highest]) = BOUNDS.get(self.slot()) else { return false };
        let now = TYPES[0].0(self.table());
        if first.load(Ordering::Acquire) != now {
            let ids = || TYPES.iter().map(|(symbol, ..)| symbol(self.table()));
            lowest.store(ids().min().unwrap_or(0), Ordering::Relaxed);
            highest.store(ids().max().unwrap_or(Hid::MAX), Ordering::Relaxed);
            first.store(now, Ordering::Release);
        }
        (lowest.load(Ordering::Relaxed)..=highest.load(Ordering::Relaxed)).contains(&id)
    }

    /// Returns the properties of type `n`; `None` for a library that has no slot.
    fn predefined_number(self, n: usize) -> Result<Option<&'static Predefined>> {
        let Some(place) = KNOWN.get(self.slot()).and_then(|types| types.get(n)) else { return Ok(None) };
        if let Some(known) = place.get() {
            return Ok(Some(known));
        }
        let (symbol, class, size) = TYPES[n];
        let id = symbol(self.table());
        let encoded = Bytes::from(self.encode_type(id)?);
        debug_assert!(may_be(n, kind_of(&encoded)), "type {n} is encoded as another kind");
        let mut first = symbol;
        for before in (0..n).filter(|before| may_be(*before, Some((class, size)))) {
            if let Some(same) = self.predefined_number(before)?.filter(|known| known.encoded == encoded) {
                first = same.first;
                break;
            }
        }
        let (size, class) = (self.type_size_of(id)?, self.type_class_of(id)?);
        Ok(Some(place.get_or_init(|| Predefined { first, encoded, size, class, number: n })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_leave_out_other_types() {
        // These are the encodings of H5T_STD_I32LE and H5T_IEEE_F64LE in HDF5 1.14.
        let int = [3, 0, 0x10, 8, 0, 0, 4, 0, 0, 0, 0, 0, 32, 0];
        let float = [3, 0, 0x11, 32, 63, 0, 8, 0, 0, 0, 0, 0, 64, 0, 52, 11, 0, 52, 255, 3, 0, 0];
        let those = |encoded: &[u8]| {
            (0..COUNT)
                .filter(|n| may_be(*n, kind_of(encoded)))
                .map(|n| (TYPES[n].1, TYPES[n].2))
                .collect::<Vec<_>>()
        };
        assert_eq!(those(&int), [(INTEGER, 4); 6]);
        assert_eq!(those(&float), [(FLOAT, 8), (FLOAT, 8), (FLOAT, 0), (FLOAT, 8)]);
        // An encoding of another version excludes no type.
        assert_eq!(those(&[3, 1, 0x10, 8, 0, 0, 4, 0, 0, 0]).len(), COUNT);
    }
}
