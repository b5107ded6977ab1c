//! Region references beside, or in, variable-length data. libhdf5 has to convert such elements, because it walks into
//! sequences. So the region references of the container have a type of their own there, opaque with a tag, and libhdf5
//! is given functions between that type and region references in memory.

use std::ffi::{CStr, c_int, c_void};

use h5lake_plugin_abi::bindings as sys;

use crate::error::Result;
use crate::hdf5::datatype::{ARRAY, COMPOUND, OPAQUE, REFERENCE, VARIABLE_LENGTH, check};
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::references::REGION_BYTES;
use crate::transfer::references;

/// The tag of the type that represents a region reference of the container in libhdf5.
const TAG: &CStr = c"h5lake region reference";

type ConversionFunction = unsafe extern "C" fn(
    Hid,
    Hid,
    *mut sys::H5T_cdata_t,
    usize,
    usize,
    usize,
    *mut c_void,
    *mut c_void,
    Hid,
) -> c_int;

impl Library {
    /// Returns whether a datatype in memory is an old region reference.
    fn is_region(self, datatype: Hid) -> Result<bool> {
        Ok(self.type_class(datatype)? == REFERENCE && self.type_size(datatype)? == REGION_BYTES)
    }

    /// Returns whether a datatype is the opaque type that carries region references.
    pub fn is_carried_region(self, datatype: Hid) -> Result<bool> {
        if self.type_class(datatype)? != OPAQUE || self.type_size(datatype)? != REGION_BYTES {
            return Ok(false);
        }
        // SAFETY: the tag is a terminated string of the library's, which is freed.
        unsafe {
            let tag = (self.table().H5Tget_tag)(datatype);
            let same = !tag.is_null() && CStr::from_ptr(tag) == TAG;
            (self.table().H5free_memory)(tag.cast());
            Ok(same)
        }
    }

    /// Returns whether old region references occur anywhere in a datatype in memory, including sequences.
    pub fn holds_regions(self, datatype: Hid) -> Result<bool> {
        match self.type_class(datatype)? {
            REFERENCE => self.is_region(datatype),
            COMPOUND => {
                for member in self.member_types(datatype)? {
                    if self.holds_regions(member.get())? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            ARRAY | VARIABLE_LENGTH => self.holds_regions(self.base_type(datatype)?.get()),
            _ => Ok(false),
        }
    }

    /// Returns a datatype in memory with the region references of the container in place of libhdf5's. Everything
    /// else, and its position, is the same.
    pub fn carrying_regions(self, datatype: Hid) -> Result<Id> {
        let table = self.table();
        if self.is_region(datatype)? {
            return self.carried_region();
        }
        match self.type_class(datatype)? {
            COMPOUND => {
                let size = self.type_size(datatype)?;
                // SAFETY: identifiers are checked by the library; names are terminated, and freed.
                unsafe {
                    let made = Id::from_call(self, (table.H5Tcreate)(sys::H5T_COMPOUND, size), "H5Tcreate")?;
                    for (index, member) in self.member_types(datatype)?.iter().enumerate() {
                        let carried = self.carrying_regions(member.get())?;
                        let offset = self.member_offset(datatype, index)?;
                        let name = (table.H5Tget_member_name)(datatype, index as u32);
                        let result = (table.H5Tinsert)(made.get(), name, offset, carried.get());
                        (table.H5free_memory)(name.cast());
                        check(result, "H5Tinsert")?;
                    }
                    Ok(made)
                }
            }
            VARIABLE_LENGTH => {
                let base = self.carrying_regions(self.base_type(datatype)?.get())?;
                // SAFETY: the identifier is a datatype's.
                Id::from_call(self, unsafe { (table.H5Tvlen_create)(base.get()) }, "H5Tvlen_create")
            }
            ARRAY => {
                let base = self.carrying_regions(self.base_type(datatype)?.get())?;
                let mut dims = [0; sys::H5S_MAX_RANK as usize];
                // SAFETY: the array has space for as many dimensions as an array type can have.
                unsafe {
                    let rank = (table.H5Tget_array_dims2)(datatype, dims.as_mut_ptr());
                    check(rank, "H5Tget_array_dims2")?;
                    let made = (table.H5Tarray_create2)(base.get(), rank as u32, dims.as_ptr());
                    Id::from_call(self, made, "H5Tarray_create2")
                }
            }
            _ => self.copy_type(datatype),
        }
    }

    fn carried_region(self) -> Result<Id> {
        let made = self.opaque_type(REGION_BYTES)?;
        // SAFETY: the tag is terminated.
        check(unsafe { (self.table().H5Tset_tag)(made.get(), TAG.as_ptr()) }, "H5Tset_tag")?;
        Ok(made)
    }

    /// Registers the functions between both kinds of region references in libhdf5, unless it has them: `H5close`
    /// forgets them.
    pub fn register_region_conversions(self) -> Result<()> {
        let table = self.table();
        let carried = self.carried_region()?;
        let region = table.H5T_STD_REF_DSETREG_g();
        for (from, to, function) in [
            (region, carried.get(), convert_all::<true> as ConversionFunction),
            (carried.get(), region, convert_all::<false> as ConversionFunction),
        ] {
            let mut private = std::ptr::null_mut();
            // SAFETY: the answer's place outlives the call.
            let known = self.quietly(
                || unsafe { (table.H5Tfind)(from, to, &mut private) },
                |found: &sys::H5T_conv_t| found.is_none(),
            );
            if known.is_ok() {
                continue;
            }
            // SAFETY: the function belongs to this plugin, which is never unloaded.
            let result =
                unsafe { (table.H5Tregister)(sys::H5T_PERS_HARD, TAG.as_ptr(), from, to, Some(function)) };
            check(result, "H5Tregister")?;
        }
        Ok(())
    }
}

/// Converts references to the opaque type that carries them, and back.
unsafe extern "C" fn convert_all<const TO_CONTAINER: bool>(
    _from: Hid,
    _to: Hid,
    data: *mut sys::H5T_cdata_t,
    count: usize,
    stride: usize,
    _background_stride: usize,
    buffer: *mut c_void,
    _background: *mut c_void,
    _transfer: Hid,
) -> c_int {
    let each = if TO_CONTAINER { references::carry } else { references::uncarry };
    // SAFETY: as libhdf5 calls conversions.
    unsafe { convert(data, count, stride, buffer, each) }
}

/// Converts elements of equal size in place.
///
/// # Safety
/// As libhdf5 calls conversions: `data` is valid, the buffer holds `count` elements, `stride` bytes apart unless 0.
unsafe fn convert(
    data: *mut sys::H5T_cdata_t,
    count: usize,
    stride: usize,
    buffer: *mut c_void,
    each: fn(&mut [u8; REGION_BYTES]),
) -> c_int {
    // SAFETY: as the caller says.
    unsafe {
        if (*data).command == sys::H5T_CONV_INIT {
            (*data).need_bkg = sys::H5T_BKG_NO;
        }
        if (*data).command != sys::H5T_CONV_CONV {
            return 0;
        }
        let stride = if stride == 0 { REGION_BYTES } else { stride };
        for index in 0..count {
            let place = buffer.cast::<u8>().add(index * stride).cast::<[u8; REGION_BYTES]>();
            let mut slot = place.read_unaligned();
            if slot != [0; REGION_BYTES] {
                each(&mut slot);
                place.write_unaligned(slot);
            }
        }
    }
    0
}
