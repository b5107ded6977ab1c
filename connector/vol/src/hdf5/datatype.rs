//! Datatypes: encoding, comparing, converting.

use std::ffi::c_void;

use h5lake_container::encoded::check_datatype;
use h5lake_ledger::locks::assert_none_held;
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Minor, Result};
use crate::hdf5::anchor::Anchor;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::saved_errors::silently;
use crate::hdf5::token;

/// `H5T_OPAQUE`
pub const OPAQUE: u8 = 5;
/// `H5T_COMPOUND`
pub const COMPOUND: u8 = 6;
/// `H5T_REFERENCE`
pub const REFERENCE: u8 = 7;
/// `H5T_ENUM`
pub const ENUM: u8 = 8;
/// `H5T_VLEN`
pub const VARIABLE_LENGTH: u8 = 9;
/// `H5T_ARRAY`
pub const ARRAY: u8 = 10;

/// The length in bytes that most encodings do not exceed.
const SHORT: usize = 256;

/// HDF5's datatype class numbers that the connector asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeClass {
    /// `H5T_STRING`.
    String,
    /// `H5T_COMPOUND`.
    Compound,
    /// `H5T_REFERENCE`.
    Reference,
    /// `H5T_VLEN`.
    VariableLength,
}

impl TypeClass {
    fn number(self) -> i32 {
        match self {
            Self::String => 3,
            Self::Compound => 6,
            Self::Reference => 7,
            Self::VariableLength => 9,
        }
    }
}

/// The background buffer that a conversion needs beside its buffer, with as many elements of the destination's type
/// (`H5T_bkg_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Background {
    /// Nothing.
    None,
    /// A temporary buffer.
    Temporary,
    /// The previous elements of the destination: members of a compound that the source lacks keep their values.
    Existing,
}

impl Library {
    /// Makes a transient copy of a datatype.
    pub fn copy_type(self, id: Hid) -> Result<Id> {
        // SAFETY: any value may be given; a bad one is an error.
        Id::from_call(self, unsafe { (self.table().H5Tcopy)(id) }, "H5Tcopy")
    }

    /// Makes a read-only copy of one of the library's own datatypes. No call of the library makes such a copy. But a
    /// variable-length type has a copy of its base type, in which a lock becomes the state "read-only"
    /// (`H5T_COPY_ALL`), and `H5Tget_super` returns a copy like that. Other types are not locked for this, because the
    /// library then refuses to close them.
    ///
    /// # Errors
    /// If the library does not make it.
    pub fn read_only_copy_of_own(self, predefined: Hid) -> Result<Id> {
        // SAFETY: any value may be given; a bad one is an error.
        let holder = unsafe { (self.table().H5Tvlen_create)(predefined) };
        let holder = Id::from_call(self, holder, "H5Tvlen_create")?;
        self.base_type(holder.get())
    }

    /// Returns the size of one element in bytes.
    pub fn type_size(self, id: Hid) -> Result<usize> {
        self.predefined(id).map_or_else(|| self.type_size_of(id), |known| Ok(known.size))
    }

    /// Returns the same, from a call of the library.
    pub(in crate::hdf5) fn type_size_of(self, id: Hid) -> Result<usize> {
        // SAFETY: any value may be given; a bad one gives 0.
        match unsafe { (self.table().H5Tget_size)(id) } {
            0 => Err(Error::call("H5Tget_size")),
            size => Ok(size),
        }
    }

    /// Returns whether two datatypes are the same, location (memory or file) included.
    pub fn types_equal(self, first: Hid, second: Hid) -> Result<bool> {
        if first == second {
            return Ok(true);
        }
        if let (Some(first), Some(second)) = (self.predefined(first), self.predefined(second)) {
            return Ok(first.encoded == second.encoded);
        }
        // SAFETY: any value may be given; a bad one is an error.
        truth(unsafe { (self.table().H5Tequal)(first, second) }, "H5Tequal")
    }

    /// Returns the class number of a datatype (`H5T_class_t`).
    pub fn type_class(self, id: Hid) -> Result<u8> {
        self.predefined(id).map_or_else(|| self.type_class_of(id), |known| Ok(known.class))
    }

    /// Returns the same, from a call of the library.
    pub(in crate::hdf5) fn type_class_of(self, id: Hid) -> Result<u8> {
        // SAFETY: any value may be given; a bad one is negative.
        let class = unsafe { (self.table().H5Tget_class)(id) };
        u8::try_from(class.0).map_err(|_| Error::call("H5Tget_class"))
    }

    /// Returns whether the elements of a datatype are references themselves.
    pub fn is_reference(self, id: Hid) -> Result<bool> {
        Ok(i32::from(self.type_class(id)?) == TypeClass::Reference.number())
    }

    /// Returns whether a class occurs anywhere in a datatype. A variable-length string is a `String` here.
    pub fn type_contains(self, id: Hid, class: TypeClass) -> Result<bool> {
        // SAFETY: any value may be given; a bad one is an error.
        truth(
            unsafe { (self.table().H5Tdetect_class)(id, sys::H5T_class_t(class.number())) },
            "H5Tdetect_class",
        )
    }

    /// Returns whether a datatype is itself a variable-length string.
    pub fn is_variable_string(self, id: Hid) -> Result<bool> {
        if self.type_class(id)? != TypeClass::String.number() as u8 {
            return Ok(false);
        }
        // SAFETY: any value may be given; a bad one is an error.
        truth(unsafe { (self.table().H5Tis_variable_str)(id) }, "H5Tis_variable_str")
    }

    /// Returns whether a datatype is committed.
    pub fn is_committed(self, id: Hid) -> Result<bool> {
        // SAFETY: any value may be given; a bad one is an error.
        truth(unsafe { (self.table().H5Tcommitted)(id) }, "H5Tcommitted")
    }

    /// Returns whether a datatype is one of the library's own, which cannot be changed, closed or committed. No call
    /// reports this. But `H5Tclose` refuses exactly these types, and only drops the previously added reference of any
    /// other type.
    pub fn is_immutable(self, id: Hid) -> Result<bool> {
        let table = self.table();
        // SAFETY: any value may be given; a bad one is negative.
        if unsafe { (table.H5Iinc_ref)(id) } < 0 {
            return Err(Error::call("H5Iinc_ref"));
        }
        // SAFETY: closes the reference that was added.
        if self.quietly(|| unsafe { (table.H5Tclose)(id) }, |answer| *answer < 0).is_ok() {
            return Ok(false);
        }
        // SAFETY: the added reference is still there.
        unsafe { (table.H5Idec_ref)(id) };
        Ok(true)
    }

    /// Returns the base type of an array, variable-length or enumeration type.
    pub fn base_type(self, id: Hid) -> Result<Id> {
        // SAFETY: any value may be given; a bad one is an error.
        Id::from_call(self, unsafe { (self.table().H5Tget_super)(id) }, "H5Tget_super")
    }

    /// Returns the number of members of a compound, or of an enumeration.
    pub fn member_count(self, id: Hid) -> Result<u32> {
        // SAFETY: any value may be given; a bad one is negative.
        let count = unsafe { (self.table().H5Tget_nmembers)(id) };
        u32::try_from(count).map_err(|_| Error::call("H5Tget_nmembers"))
    }

    /// Returns the types of a compound's members.
    pub fn member_types(self, id: Hid) -> Result<Vec<Id>> {
        (0..self.member_count(id)?)
            .map(|member| {
                // SAFETY: `member` is below the count.
                let member_type = unsafe { (self.table().H5Tget_member_type)(id, member) };
                Id::from_call(self, member_type, "H5Tget_member_type")
            })
            .collect()
    }

    /// Returns HDF5's portable encoding of a datatype (`H5Tencode`). A committed type is encoded as a transient one.
    pub fn encode_type(self, id: Hid) -> Result<Vec<u8>> {
        // If the buffer is long enough, H5Tencode does not report the encoded length. So the length is queried first.
        let mut size = 0;
        // SAFETY: without a buffer just the size is answered.
        let result = unsafe { (self.table().H5Tencode)(id, std::ptr::null_mut(), &mut size) };
        check(result, "H5Tencode")?;
        let mut bytes = vec![0_u8; size];
        // SAFETY: the buffer has `size` bytes.
        let result = unsafe { (self.table().H5Tencode)(id, bytes.as_mut_ptr().cast(), &mut size) };
        check(result, "H5Tencode")?;
        Ok(bytes)
    }

    /// Returns whether a datatype has exactly this encoding.
    pub fn is_encoded_as(self, id: Hid, encoded: &[u8]) -> Result<bool> {
        if let Some(known) = self.predefined(id) {
            return Ok(known.encoded == encoded);
        }
        // H5Tencode does not report how many bytes it filled: after a shorter encoding the last byte still has its
        // wrong value.
        let (mut short, mut long) = ([0; SHORT], Vec::new());
        let bytes = if encoded.len() <= SHORT {
            &mut short[..encoded.len()]
        } else {
            long.resize(encoded.len(), 0);
            &mut long[..]
        };
        if let (Some(last), Some(right)) = (bytes.last_mut(), encoded.last()) {
            *last = !right;
        }
        let mut size = bytes.len();
        // SAFETY: the buffer has `size` bytes; nothing is written if more are needed.
        let result = unsafe { (self.table().H5Tencode)(id, bytes.as_mut_ptr().cast(), &mut size) };
        check(result, "H5Tencode")?;
        Ok(size == bytes.len() && bytes == encoded)
    }

    /// Decodes a datatype, located in memory.
    ///
    /// # Errors
    /// If the encoding is damaged, or the library refuses it.
    pub fn decode_type(self, encoded: &[u8]) -> Result<Id> {
        check_datatype(encoded).map_err(|why| Error::damaged_encoding("datatype", why))?;
        // SAFETY: the encoding is a sound one and ends within its bytes: it was just checked.
        Id::from_call(self, unsafe { self.table().decode_datatype(encoded) }, "H5Tdecode")
    }

    /// Makes a copy of a datatype that is located in the file: variable-length data and references go through the blob
    /// and token callbacks of `anchor`'s file.
    pub fn file_type(self, anchor: &Anchor, connector: &Id, id: Hid) -> Result<Id> {
        // SAFETY: the anchor is a file handle of ours that outlives every type made on it.
        let file = unsafe { (self.table().H5VLget_file_type)(anchor.pointer(), connector.get(), id) };
        Id::from_call(self, file, "H5VLget_file_type")
    }

    /// Returns the background that a conversion needs. Functions that a program registers (`H5Tregister`) rely on the
    /// background that they requested, between any types.
    ///
    /// # Errors
    /// If the library has no such conversion.
    pub fn background(self, source: Hid, destination: Hid, transfer: Hid) -> Result<Background> {
        let is_default = transfer == sys::H5P_DEFAULT || transfer == self.transfer_default();
        if !is_default && self.has_conversion_callback(transfer)? {
            // A query without that list would cache a conversion that passes no types of members to the callback.
            return Ok(Background::Existing);
        }
        let known = self.find_conversion(source, destination)?;
        // SAFETY: null, or the library's record of the conversion, which lives until the library is queried for
        // another one.
        let asked = match unsafe { known.as_ref() }.map(|known| known.need_bkg) {
            Some(sys::H5T_BKG_NO) => return Ok(Background::None),
            Some(sys::H5T_BKG_TEMP) => Background::Temporary,
            _ => Background::Existing,
        };
        // SAFETY: any value may be given; a bad one is an error.
        match !is_default && truth(unsafe { (self.table().H5Pget_preserve)(transfer) }, "H5Pget_preserve")? {
            true => Ok(Background::Existing),
            false => Ok(asked),
        }
    }

    /// Returns whether a transfer list has a function for elements that cannot be converted (`H5Pset_type_conv_cb`).
    fn has_conversion_callback(self, transfer: Hid) -> Result<bool> {
        let (mut function, mut data) = (None, std::ptr::null_mut());
        // SAFETY: the answers' places outlive the call; a bad list is an error.
        let result = unsafe { (self.table().H5Pget_type_conv_cb)(transfer, &mut function, &mut data) };
        check(result, "H5Pget_type_conv_cb").map(|()| function.is_some())
    }

    /// Checks that the library converts between two datatypes.
    ///
    /// # Errors
    /// If it has no such conversion.
    pub fn check_conversion(self, source: Hid, destination: Hid) -> Result<()> {
        self.find_conversion(source, destination).map(drop)
    }

    fn find_conversion(self, source: Hid, destination: Hid) -> Result<*mut sys::H5T_cdata_t> {
        let mut known = std::ptr::null_mut();
        // SAFETY: the answer's place outlives the call.
        let found = silently(self, || unsafe { (self.table().H5Tfind)(source, destination, &mut known) });
        if found.is_none() { Err(no_conversion()) } else { Ok(known) }
    }

    /// Converts `count` elements in place, from `source` to `destination` type. `buffer` has space for the larger of
    /// both; `background` (as large as `count` destination elements) holds the previous elements, for compounds that
    /// are written in part and variable-length data that is replaced.
    ///
    /// # Safety
    /// The elements are of the source's type. If that type is located in memory, the data that the elements point to
    /// is valid.
    pub(crate) unsafe fn convert(
        self,
        (source, destination): (Hid, Hid),
        count: usize,
        buffer: &mut [u8],
        background: Option<&mut [u8]>,
        transfer: Hid,
    ) -> Result<()> {
        let (from, to) = (self.type_size(source)?, self.type_size(destination)?);
        let fits = |bytes: usize, size: usize| count.checked_mul(size).is_some_and(|need| need <= bytes);
        if !fits(buffer.len(), from.max(to)) || background.as_ref().is_some_and(|b| !fits(b.len(), to)) {
            return Err(Error::new(Minor::Internal, "a conversion buffer is too small"));
        }
        let background = background.map_or(std::ptr::null_mut(), |b| b.as_mut_ptr().cast::<c_void>());
        assert_none_held("conversions");
        let buffer = buffer.as_mut_ptr().cast();
        // A failure is reported to the program once, by the call that the program made itself.
        // SAFETY: both buffers hold `count` elements, as checked above, of the types that the caller says.
        let result = silently(self, || unsafe {
            (self.table().H5Tconvert)(source, destination, count, buffer, background, transfer)
        });
        if result < 0 {
            return Err(no_conversion());
        }
        Ok(())
    }

    /// Frees the variable-length data that elements in memory point to.
    ///
    /// # Safety
    /// The buffer holds the elements of the space, which the library made for this type, and nothing else refers to
    /// the data that the elements point to.
    pub(crate) unsafe fn reclaim(self, id: Hid, space: Hid, buffer: &mut [u8]) {
        assert_none_held("functions that free memory");
        // SAFETY: as the caller says.
        unsafe { (self.table().H5Treclaim)(id, space, sys::H5P_DEFAULT, buffer.as_mut_ptr().cast()) };
    }
}

fn no_conversion() -> Error {
    Error::new(Minor::CannotConvert, "no conversion between the memory and the file datatype")
}

/// Returns an error that names `function` if its result is negative.
pub(crate) fn check(result: i32, function: &str) -> Result<()> {
    if result < 0 { Err(Error::call(function)) } else { Ok(()) }
}

/// Converts HDF5's `htri_t` into a boolean.
pub(in crate::hdf5) fn truth(result: i32, function: &str) -> Result<bool> {
    check(result, function).map(|()| result > 0)
}

impl Library {
    /// Returns the id and the file number of the object behind an identifier, if it is an object of a file.
    pub fn object_of(self, id: Hid) -> Option<(h5lake_container::ObjectId, u64)> {
        // SAFETY: all-zero is a valid value of this plain structure.
        let mut info: sys::H5O_info2_t = unsafe { std::mem::zeroed() };
        // SAFETY: the answer's place outlives the call.
        let result = unsafe { (self.table().H5Oget_info3)(id, &mut info, sys::H5O_INFO_BASIC) };
        (result >= 0).then(|| (token::decode(info.token.__data), info.fileno as u64))
    }
}
