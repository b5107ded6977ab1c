//! Single filters of libhdf5, run on bytes of any length.
//!
//! HDF5 has no public function that runs a filter. A native dataset with one element does: its pipeline is the filter
//! between two *carriers*, which are filters of ours. One carrier replaces the element by the bytes that the filter is
//! given, and the other one takes what the filter returns and gives libhdf5 an element back. So libhdf5 never
//! interprets the bytes of a container, and none of its own filters sees them.
//!
//! The filter has to run with the stored parameters, but libhdf5 lets the filters of a new dataset set their parameters (`set_local`) and
//! judge its type (`can_apply`). So the dataset is created with a carrier alone. The `set_local` of the carrier puts the filter into the
//! pipeline after libhdf5 has called all filters that it will call.

use std::ffi::{c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use h5lake_container::Filter;
use h5lake_ledger::buffers;
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Minor, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::native::NativeObject;
use crate::thread_state::{OfThisThread, ThreadState, ThreadValue};

/// The carriers' number, from the range that HDF5 leaves to filters which no file names.
const CARRIER: sys::H5Z_filter_t = 46_362;
/// The only parameter of the carrier that encodes first.
const OUTER: c_uint = 0;
/// The only parameter of the carrier that encodes last.
const INNER: c_uint = 1;
/// The bit of the filter between the carriers in a chunk's mask.
const FILTER_BIT: u32 = 1 << 1;
/// The bytes of an element of the dataset.
const ELEMENT_BYTES: usize = 1;

/// The bytes that a thread sends through a filter.
struct Transit {
    library: Library,
    input: *const u8,
    length: usize,
    is_decoding: bool,
    /// The most bytes that the filter may return.
    limit: usize,
    output: Option<Carried>,
}

/// The output of a filter.
enum Carried {
    Bytes(Vec<u8>),
    /// More bytes than the limit.
    TooMany(usize),
}

thread_local! {
    static TRANSIT: ThreadState<Option<Transit>> = const { ThreadState::new(None) };
    /// The pipeline of the dataset that this thread is creating.
    static PIPELINE: ThreadState<Option<(Library, Vec<Filter>)>> = const { ThreadState::new(None) };
}

struct Class(sys::H5Z_class2_t);

// SAFETY: the structure is constant; libhdf5 only reads it.
unsafe impl Sync for Class {}

static CLASS: Class = Class(sys::H5Z_class2_t {
    version: sys::H5Z_CLASS_T_VERS,
    id: CARRIER,
    encoder_present: 1,
    decoder_present: 1,
    name: c"h5lake carrier".as_ptr(),
    can_apply: None,
    set_local: Some(put_pipeline),
    filter: Some(carry),
});

/// Puts the pipeline into the creation list of a new dataset.
unsafe extern "C" fn put_pipeline(creation: Hid, _datatype: Hid, _space: Hid) -> sys::herr_t {
    let work =
        || PIPELINE.put(None).map_or(Ok(()), |(library, filters)| library.set_filters(creation, &filters));
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => 0,
        _ => -1,
    }
}

/// The function of a carrier, in the form of libhdf5's filters; see the comment on this module.
unsafe extern "C" fn carry(
    flags: c_uint,
    count: usize,
    values: *const c_uint,
    bytes: usize,
    size: *mut usize,
    buffer: *mut *mut c_void,
) -> usize {
    if count != 1 {
        return 0;
    }
    let is_decoding = flags & sys::H5Z_FLAG_REVERSE != 0;
    // SAFETY: there is one parameter; libhdf5 lends size and buffer for this call.
    let (position, size, buffer) = unsafe { (*values, &mut *size, &mut *buffer) };
    let work = || {
        TRANSIT.with_borrow_mut(|transit| {
            let transit = transit.as_mut().filter(|transit| transit.is_decoding == is_decoding)?;
            match (position == OUTER) == is_decoding {
                true => transit.unload(bytes, size, buffer),
                false => transit.load(size, buffer),
            }
        })
    };
    catch_unwind(AssertUnwindSafe(work)).ok().flatten().unwrap_or(0)
}

impl Transit {
    /// Replaces the data that libhdf5 passed by the input.
    fn load(&self, size: &mut usize, buffer: &mut *mut c_void) -> Option<usize> {
        let made = self.allocate(self.length)?;
        // SAFETY: the input outlives the call for which it is in transit; both have the length.
        unsafe { std::ptr::copy_nonoverlapping(self.input, made.cast::<u8>(), self.length) };
        self.put(made, buffer);
        *size = self.length;
        Some(self.length)
    }

    /// Takes the filter's output, and puts an empty element in its place.
    fn unload(&mut self, bytes: usize, size: &mut usize, buffer: &mut *mut c_void) -> Option<usize> {
        self.output = Some(if bytes > self.limit {
            Carried::TooMany(bytes)
        } else {
            // SAFETY: the filter returned a buffer with that many bytes.
            let output = unsafe { std::slice::from_raw_parts((*buffer).cast::<u8>(), bytes) };
            Carried::Bytes(taken(output)?)
        });
        let made = self.allocate(ELEMENT_BYTES)?;
        self.put(made, buffer);
        *size = ELEMENT_BYTES;
        Some(ELEMENT_BYTES)
    }

    /// Allocates zeros with the library's own allocator, which also allocates the buffers of filters.
    fn allocate(&self, bytes: usize) -> Option<*mut c_void> {
        // SAFETY: any size may be given; null means that there is no memory.
        let made = unsafe { (self.library.table().H5allocate_memory)(bytes, true) };
        (!made.is_null()).then_some(made)
    }

    /// Replaces the buffer of a filter.
    fn put(&self, made: *mut c_void, buffer: &mut *mut c_void) {
        let before = std::mem::replace(buffer, made);
        // SAFETY: the buffer comes from the same allocator, and its owner is the filter that is called.
        unsafe { (self.library.table().H5free_memory)(before) };
    }
}

/// Makes a copy in a pooled buffer; returns `None` if there is no memory.
fn taken(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut copy = buffers::try_take(bytes.len())?;
    copy.copy_from_slice(bytes);
    Some(copy)
}

impl Library {
    /// Registers the carriers. Registering them again changes nothing.
    fn register_carriers(self) -> Result<()> {
        // SAFETY: the class lives as long as the process.
        check(unsafe { (self.table().H5Zregister)((&raw const CLASS.0).cast()) }, "H5Zregister")
    }

    /// Makes a creation list for one element behind a carrier.
    fn carrying_list(self, carrier: Filter) -> Result<Id> {
        let table = self.table();
        // SAFETY: constants, and one dimension.
        let list = unsafe {
            let list = (table.H5Pcreate)(table.H5P_CLS_DATASET_CREATE_ID_g());
            let list = Id::from_call(self, list, "H5Pcreate")?;
            check((table.H5Pset_chunk)(list.get(), 1, &1), "H5Pset_chunk")?;
            check((table.H5Pset_alloc_time)(list.get(), sys::H5D_ALLOC_TIME_INCR), "H5Pset_alloc_time")?;
            list
        };
        self.set_filters(list.get(), &[carrier])?;
        Ok(list)
    }

    /// Returns the type of the element: one of the library's own, so that no identifier is made.
    fn element_type(self) -> Hid {
        self.table().H5T_NATIVE_UCHAR_g()
    }
}

/// Returns a carrier at one of the two positions.
fn carrier(position: c_uint) -> Filter {
    Filter { id: CARRIER, flags: sys::H5Z_FLAG_OPTIONAL, name: Vec::new(), client_data: vec![position] }
}

/// A native dataset that runs one filter. It holds no identifier that a program could count.
pub struct SingleFilter(NativeObject);

impl SingleFilter {
    /// Prepares a registered filter with its stored parameters, in a native file.
    ///
    /// # Errors
    /// The errors of native code.
    pub fn new(file: &NativeObject, filter: &Filter) -> Result<Self> {
        let library = file.library;
        library.register_carriers()?;
        let list = library.carrying_list(carrier(INNER))?;
        // The filter is optional, so that a filter that declines is left out of the chunk's mask, and is no error.
        let filter = Filter { flags: sys::H5Z_FLAG_OPTIONAL, ..filter.clone() };
        let pipeline = vec![carrier(OUTER), filter, carrier(INNER)];
        let _pipeline = PIPELINE.scoped(Some((library, pipeline)));
        Ok(Self(file.create_scratch(library.element_type(), &[1], list.get())?))
    }

    /// Encodes bytes; returns `None` if the filter declines or fails. Consumes this dataset.
    ///
    /// # Errors
    /// The errors of native code; no memory.
    pub fn encode(self, data: &[u8]) -> Result<Option<Vec<u8>>> {
        let (mask, carried) = self.carrying(data, false, usize::MAX, |element| {
            self.0.write_all(element, &[0; ELEMENT_BYTES])?;
            Ok(self.0.stored_chunk(1)?.0)
        })?;
        Ok(if mask & FILTER_BIT != 0 { None } else { Some(carried) })
    }

    /// Makes this filter ready to decode, any number of times.
    ///
    /// # Errors
    /// The errors of native code.
    pub fn for_decoding(self) -> Result<Self> {
        self.0.store_chunk(1, 0, &[0])?;
        Ok(self)
    }

    /// Decodes bytes, to at most `limit` bytes, with a filter that was prepared by [`Self::for_decoding`].
    ///
    /// # Errors
    /// The errors of native code; more bytes than the limit; no memory.
    pub fn decode(&self, data: &[u8], limit: usize) -> Result<Vec<u8>> {
        let read = |element| self.0.read_all(element, &mut [0; ELEMENT_BYTES]);
        Ok(self.carrying(data, true, limit, read)?.1)
    }

    /// Sends bytes through the filter while `work` makes libhdf5 run the pipeline.
    fn carrying<T>(
        &self,
        data: &[u8],
        is_decoding: bool,
        limit: usize,
        work: impl FnOnce(Hid) -> Result<T>,
    ) -> Result<(T, Vec<u8>)> {
        if data.is_empty() {
            return Err(Error::argument("a filter is given no bytes"));
        }
        let library = self.0.library;
        let (input, length) = (data.as_ptr(), data.len());
        let transit = Transit { library, input, length, is_decoding, limit, output: None };
        // A filter may use HDF5, and thus other filters, in this thread.
        let scope = TRANSIT.scoped(Some(transit));
        let done = work(library.element_type());
        let output = scope.end().flatten().and_then(|transit| transit.output);
        match output {
            Some(Carried::TooMany(bytes)) => {
                Err(Error::new(Minor::ReadError, format!("{bytes} bytes come out, more than {limit}")))
            }
            Some(Carried::Bytes(bytes)) => Ok((done?, bytes)),
            None => Err(done.err().unwrap_or_else(|| {
                Error::new(Minor::CannotOperate, "libhdf5 ran no filter; is there memory for a chunk?")
            })),
        }
    }
}
