//! Variable-length data in memory: `char *` for strings, `hvl_t` for sequences.

use std::ffi::{CStr, c_void};
use std::ops::Deref;

use h5lake_ledger::buffers;
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::library::{Hid, Library};

/// The kind of elements of a variable-length type in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pointers {
    /// Terminated strings (`char *`).
    Strings,
    /// Sequences (`hvl_t`) of elements with this number of bytes.
    Sequences(usize),
}

/// The kind of a datatype's elements in memory.
#[derive(Debug, Clone, Copy)]
pub struct MemoryPointers {
    kind: Pointers,
    datatype: Hid,
}

impl MemoryPointers {
    /// Takes a datatype with elements of this kind.
    pub(super) fn new(kind: Pointers, datatype: Hid) -> Self {
        Self { kind, datatype }
    }

    /// Returns the datatype.
    pub(super) fn datatype(self) -> Hid {
        self.datatype
    }
}

impl Deref for MemoryPointers {
    type Target = Pointers;

    fn deref(&self) -> &Pointers {
        &self.kind
    }
}

impl Pointers {
    /// Returns the size of one element in memory in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::Strings => size_of::<*mut c_void>(),
            Self::Sequences(_) => size_of::<sys::hvl_t>(),
        }
    }

    /// Returns the size of one item of the data in bytes.
    pub fn unit(self) -> usize {
        match self {
            Self::Strings => 1,
            Self::Sequences(unit) => unit,
        }
    }

    /// Returns the data of each element of an application's packed buffer; `None` for an element without data.
    ///
    /// # Errors
    /// For a length that exceeds the address space.
    ///
    /// # Safety
    /// The elements are of this kind, as `H5Dwrite` and `H5Awrite` require: null, or pointing to as much data as they
    /// say (to a terminated string), for as long as the result is used.
    pub unsafe fn data(self, elements: &[u8]) -> Result<Vec<Option<&[u8]>>> {
        elements
            .chunks_exact(self.size())
            .map(|element| {
                let (pointer, length) = match self {
                    Self::Strings => {
                        // SAFETY: the element has the size of a pointer.
                        let text = unsafe { element.as_ptr().cast::<*const c_void>().read_unaligned() };
                        // SAFETY: a string that is not null is terminated, as the caller says.
                        let length =
                            (!text.is_null()).then(|| unsafe { CStr::from_ptr(text.cast()) }.count_bytes());
                        (text, length)
                    }
                    Self::Sequences(unit) => {
                        // SAFETY: the element has the size of an `hvl_t`.
                        let sequence = unsafe { element.as_ptr().cast::<sys::hvl_t>().read_unaligned() };
                        let bytes = sequence.len.checked_mul(unit).filter(|n| isize::try_from(*n).is_ok());
                        let bytes = bytes
                            .ok_or_else(|| Error::argument("a sequence is longer than memory can be"))?;
                        (sequence.p.cast_const(), (bytes > 0 && !sequence.p.is_null()).then_some(bytes))
                    }
                };
                // SAFETY: not null, and pointing to that number of bytes, as the caller says.
                Ok(length.map(|length| unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), length) }))
            })
            .collect()
    }
}

/// Elements of a variable-length type that are being read. Their data is freed with them unless it is handed to the
/// application.
pub struct Allocated {
    kind: Pointers,
    elements: Vec<u8>,
}

impl Allocated {
    /// Makes `count` elements without data.
    pub fn new(kind: Pointers, count: usize) -> Self {
        let mut elements = buffers::take(count * kind.size());
        elements.fill(0);
        Self { kind, elements }
    }

    /// Allocates the data of an element as libhdf5 does by default, so that `H5Treclaim` and `free` can free it. A
    /// string gets its terminator. An empty sequence has no data.
    ///
    /// # Errors
    /// If there is no memory.
    pub fn set(&mut self, index: usize, data: &[u8]) -> Result<()> {
        let terminator = usize::from(self.kind == Pointers::Strings);
        let size = self.kind.size();
        let place = &mut self.elements[index * size..(index + 1) * size];
        if data.len() + terminator == 0 {
            return Ok(());
        }
        // SAFETY: a size of at least 1; all of the memory is filled below.
        let pointer = unsafe { libc::malloc(data.len() + terminator) };
        if pointer.is_null() {
            return Err(Error::argument(format!(
                "there is no memory for {} bytes of variable length",
                data.len()
            )));
        }
        // SAFETY: the memory has space for the data and the terminator.
        unsafe {
            std::ptr::copy_nonoverlapping(data.as_ptr(), pointer.cast::<u8>(), data.len());
            if terminator > 0 {
                pointer.cast::<u8>().add(data.len()).write(0);
            }
        }
        match self.kind {
            // SAFETY: the place has the size of a pointer.
            Pointers::Strings => unsafe { place.as_mut_ptr().cast::<*mut c_void>().write_unaligned(pointer) },
            Pointers::Sequences(unit) => {
                let sequence = sys::hvl_t { len: data.len() / unit, p: pointer };
                // SAFETY: the place has the size of an `hvl_t`.
                unsafe { place.as_mut_ptr().cast::<sys::hvl_t>().write_unaligned(sequence) };
            }
        }
        Ok(())
    }

    /// Returns the elements; their data belongs to the application from now on.
    pub fn into_elements(mut self) -> Vec<u8> {
        std::mem::take(&mut self.elements)
    }
}

impl Drop for Allocated {
    fn drop(&mut self) {
        for element in self.elements.chunks_exact(self.kind.size()) {
            // SAFETY: the elements are null or were written by `set`, and no other code has them.
            unsafe {
                let pointer = match self.kind {
                    Pointers::Strings => element.as_ptr().cast::<*mut c_void>().read_unaligned(),
                    Pointers::Sequences(_) => element.as_ptr().cast::<sys::hvl_t>().read_unaligned().p,
                };
                libc::free(pointer);
            }
        }
    }
}

impl Library {
    /// Returns whether a transfer list has functions of its own to allocate variable-length data.
    pub fn has_allocator(self, transfer: Hid) -> Result<bool> {
        if transfer == sys::H5P_DEFAULT || transfer == self.table().H5P_LST_DATASET_XFER_ID_g() {
            return Ok(false);
        }
        let (mut allocate, mut free) = (None, None);
        let (mut with, mut free_with) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the answers' places outlive the call.
        let result = unsafe {
            (self.table().H5Pget_vlen_mem_manager)(
                transfer,
                &mut allocate,
                &mut with,
                &mut free,
                &mut free_with,
            )
        };
        check(result, "H5Pget_vlen_mem_manager")?;
        Ok(allocate.is_some() || free.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocated_elements_are_read_back() {
        for kind in [Pointers::Strings, Pointers::Sequences(2)] {
            let mut allocated = Allocated::new(kind, 3);
            allocated.set(0, b"four").unwrap();
            allocated.set(2, b"").unwrap();
            // SAFETY: the elements were just made by `set`.
            let data = unsafe { kind.data(&allocated.elements) }.unwrap();
            let empty = (kind == Pointers::Strings).then_some(&b""[..]);
            assert_eq!(data, [Some(&b"four"[..]), None, empty]);
        }
    }

    #[test]
    fn a_sequence_longer_than_memory_is_an_error() {
        let sequence = sys::hvl_t { len: usize::MAX / 4, p: std::ptr::dangling_mut() };
        let mut element = [0; size_of::<sys::hvl_t>()];
        // SAFETY: the element has the size of an `hvl_t`.
        unsafe { element.as_mut_ptr().cast::<sys::hvl_t>().write_unaligned(sequence) };
        // SAFETY: the length is refused before the pointer is followed.
        assert!(unsafe { Pointers::Sequences(8).data(&element) }.is_err());
    }
}
