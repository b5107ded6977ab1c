//! Transfer lists: the requests that they carry, and the reports that they return to the program.
//!
//! libhdf5 offers functions that read the reports, and none that set them, because it sets them itself after a native
//! transfer. But they are plain properties of a list, so `H5Pset` sets them by their names (`H5Dprivate.h`).

use std::ffi::{CStr, c_uint, c_void};
use std::sync::OnceLock;

use h5lake_plugin_abi::{MAX_LIBRARIES, bindings as sys};

use crate::hdf5::library::{Hid, Library};

/// The program's request about selection I/O (`H5Pset_selection_io`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SelectionIo {
    /// No request (`H5D_SELECTION_IO_MODE_DEFAULT`).
    #[default]
    Default,
    /// Selection I/O is not used (`H5D_SELECTION_IO_MODE_OFF`).
    Off,
    /// Selection I/O is used (`H5D_SELECTION_IO_MODE_ON`).
    On,
}

/// The program's request about collective transfers of chunks (`H5Pset_dxpl_mpio_chunk_opt`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChunkTransfers {
    /// No request (`H5FD_MPIO_CHUNK_DEFAULT`).
    #[default]
    Default,
    /// All chunks at once (`H5FD_MPIO_CHUNK_ONE_IO`).
    Linked,
    /// One chunk after another (`H5FD_MPIO_CHUNK_MULTI_IO`).
    Single,
}

/// How a transfer was done, in HDF5's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransferReport {
    /// `H5Pget_no_selection_io_cause`.
    pub no_selection_io: u32,
    /// `H5Pget_actual_selection_io_mode`.
    pub selection_io: u32,
    /// Further reports, for a file that processes have open together.
    pub mpi: Option<MpiReport>,
}

/// How a transfer of an MPI program was done, in HDF5's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MpiReport {
    /// `H5Pget_mpio_actual_io_mode`.
    pub io_mode: u32,
    /// `H5Pget_mpio_actual_chunk_opt_mode`.
    pub chunk_mode: u32,
    /// `H5Pget_mpio_no_collective_cause`: why this process did not take part in a collective transfer.
    pub local_cause: u32,
    /// The causes of all processes together.
    pub global_cause: u32,
}

impl Library {
    /// Returns whether a list is one of the program's own: only such lists receive reports.
    pub fn is_own_transfer_list(self, list: Hid) -> bool {
        list != sys::H5P_DEFAULT && list != self.transfer_default()
    }

    /// Returns the request of a list about selection I/O. A libhdf5 without selection I/O has no requests.
    pub fn selection_io(self, list: Hid) -> SelectionIo {
        let Some(get) = self.table().H5Pget_selection_io else { return SelectionIo::Default };
        let mut mode = sys::H5D_SELECTION_IO_MODE_DEFAULT;
        // SAFETY: the answer's place outlives the call; a bad list is an error.
        let done = unsafe { get(list, &mut mode) };
        match mode {
            sys::H5D_SELECTION_IO_MODE_OFF if done >= 0 => SelectionIo::Off,
            sys::H5D_SELECTION_IO_MODE_ON if done >= 0 => SelectionIo::On,
            _ => SelectionIo::Default,
        }
    }

    /// Returns the request of a list about collective transfers of chunks.
    pub fn chunk_transfers(self, list: Hid) -> ChunkTransfers {
        match self.transfer_number(list, Number::ChunkTransfers) {
            Some(1) => ChunkTransfers::Linked,
            Some(2) => ChunkTransfers::Single,
            _ => ChunkTransfers::Default,
        }
    }

    /// Returns the most bytes of elements that native HDF5 would convert at once (`H5Pset_buffer`).
    pub fn conversion_buffer(self, list: Hid) -> u64 {
        let nobody = std::ptr::null_mut();
        // SAFETY: null pointers request the size alone; a bad list is an error, and gives 0.
        unsafe { (self.table().H5Pget_buffer)(list, nobody, nobody) as u64 }
    }

    /// Returns whether a list is one of the program's own, with an expression ([`has_transform`](Self::has_transform)).
    pub fn transforms_data(self, list: Hid) -> bool {
        self.is_own_transfer_list(list) && self.has_transform(list)
    }

    /// Returns whether a list has an expression that changes elements during a transfer (`H5Pset_data_transform`). As in
    /// native HDF5, the expression of one variable alone changes nothing (`H5Z_xform_noop`).
    pub fn has_transform(self, list: Hid) -> bool {
        const NAME: &CStr = c"data_transform";
        let (mut size, mut value) = (0_usize, std::ptr::null_mut::<c_void>());
        let place: *mut c_void = (&raw mut value).cast();
        // The property is only checked for null, because libhdf5 copies an expression for each caller, and the copy cannot
        // be freed.
        // SAFETY: a terminated name; the answers' places outlive the calls, and the second has as many bytes as the
        // property.
        let is_set = unsafe {
            (self.table().H5Pget_size)(list, NAME.as_ptr(), &mut size) >= 0
                && size == size_of::<*mut c_void>()
                && (self.table().H5Pget)(list, NAME.as_ptr(), place) >= 0
                && !value.is_null()
        };
        let is_variable = |text: Vec<u8>| matches!(text[..], [letter, 0] if letter.is_ascii_alphabetic());
        is_set && !self.expression(list).is_ok_and(is_variable)
    }

    /// Returns whether native HDF5 may convert elements in the buffer that they are written from
    /// (`H5Pset_modify_write_buf`).
    pub fn may_modify_buffer(self, list: Hid) -> bool {
        let mut may = false;
        let Some(get) = self.table().H5Pget_modify_write_buf else { return false };
        // SAFETY: the answer's place outlives the call; a bad list is an error.
        unsafe { get(list, (&raw mut may).cast()) >= 0 && may }
    }

    /// Returns the bytes of a dataset's native chunk cache, according to the access list that the dataset was opened
    /// with.
    pub fn chunk_cache_bytes(self, access: Option<Hid>) -> u64 {
        const DEFAULT: u64 = 1 << 20;
        let Some(access) = access else { return DEFAULT };
        let (mut slots, mut bytes, mut preemption) = (0_usize, 0_usize, 0.0);
        // SAFETY: the answers' places outlive the call; a bad list is an error.
        let done =
            unsafe { (self.table().H5Pget_chunk_cache)(access, &mut slots, &mut bytes, &mut preemption) };
        if done < 0 { DEFAULT } else { bytes as u64 }
    }

    /// Reports to a list how a transfer was done. Properties that the lists of this libhdf5 lack are left out.
    pub fn report(self, list: Hid, report: &TransferReport) {
        self.set_transfer_number(list, Number::NoSelectionIo, report.no_selection_io);
        self.set_transfer_number(list, Number::SelectionIo, report.selection_io);
        let Some(mpi) = &report.mpi else { return };
        self.set_transfer_number(list, Number::IoMode, mpi.io_mode);
        self.set_transfer_number(list, Number::ChunkMode, mpi.chunk_mode);
        self.set_transfer_number(list, Number::LocalCause, mpi.local_cause);
        self.set_transfer_number(list, Number::GlobalCause, mpi.global_cause);
    }

    /// Returns the numbers that the lists of this libhdf5 have: bit n stands for the number with the value n.
    fn transfer_numbers(self) -> u32 {
        static KNOWN: [OnceLock<u32>; MAX_LIBRARIES] = [const { OnceLock::new() }; MAX_LIBRARIES];
        let class = self.table().H5P_CLS_DATASET_XFER_ID_g();
        let has = |number: &Number| {
            // SAFETY: a terminated name; a bad class is an error.
            unsafe { (self.table().H5Pexist)(class, number.name().as_ptr()) > 0 }
        };
        let ask =
            || Number::ALL.iter().filter(|number| has(number)).fold(0, |known, n| known | 1 << *n as u32);
        KNOWN.get(self.slot()).map_or_else(ask, |known| *known.get_or_init(ask))
    }

    /// Returns whether a list has a number of 32 bits: a property of another size would have another meaning.
    fn has_transfer_number(self, list: Hid, number: Number) -> bool {
        let mut size = 0_usize;
        let is_known = self.transfer_numbers() & 1 << number as u32 != 0;
        // SAFETY: a terminated name; the answer's place outlives the call; a bad list is an error.
        is_known
            && unsafe { (self.table().H5Pget_size)(list, number.name().as_ptr(), &mut size) } >= 0
            && size == size_of::<c_uint>()
    }

    fn transfer_number(self, list: Hid, number: Number) -> Option<u32> {
        let mut value: c_uint = 0;
        let place: *mut c_void = (&raw mut value).cast();
        // SAFETY: the property has as many bytes as the answer's place; a terminated name.
        let found = self.has_transfer_number(list, number)
            && unsafe { (self.table().H5Pget)(list, number.name().as_ptr(), place) } >= 0;
        found.then_some(value)
    }

    fn set_transfer_number(self, list: Hid, number: Number, value: u32) {
        if self.has_transfer_number(list, number) {
            // SAFETY: the property has as many bytes as the value; a terminated name. A list that refuses the value is
            // unchanged.
            unsafe { (self.table().H5Pset)(list, number.name().as_ptr(), (&raw const value).cast()) };
        }
    }
}

/// Properties of transfer lists that are numbers of 32 bits. libhdf5 has no functions that set the reports among them.
#[derive(Debug, Clone, Copy)]
enum Number {
    ChunkTransfers,
    NoSelectionIo,
    SelectionIo,
    IoMode,
    ChunkMode,
    LocalCause,
    GlobalCause,
}

impl Number {
    const ALL: [Self; 7] = [
        Self::ChunkTransfers,
        Self::NoSelectionIo,
        Self::SelectionIo,
        Self::IoMode,
        Self::ChunkMode,
        Self::LocalCause,
        Self::GlobalCause,
    ];

    /// Returns the property's name in `H5Dprivate.h`.
    fn name(self) -> &'static CStr {
        match self {
            Self::ChunkTransfers => c"mpio_chunk_opt_hard",
            Self::NoSelectionIo => c"no_selection_io_cause",
            Self::SelectionIo => c"actual_selection_io_mode",
            Self::IoMode => c"actual_io_mode",
            Self::ChunkMode => c"actual_chunk_opt_mode",
            Self::LocalCause => c"local_no_collective_cause",
            Self::GlobalCause => c"global_no_collective_cause",
        }
    }
}
