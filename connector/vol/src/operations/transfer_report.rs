//! The reports that a transfer list receives after a transfer: whether processes did it collectively, and if not, why.
//!
//! Programs and their tests read these reports to find out whether their transfers were collective. The reports equal
//! those of native HDF5 for the same call (`H5D__read`, `H5D__mpio_opt_possible` and `H5D__piece_io` in its source),
//! as far as they follow from the list, the datasets and the driver. They ignore the state of native buffers (a sieve
//! buffer, a cached chunk): elements count as moved to or from the file, as `H5D_SCALAR_IO` says.

use std::cell::Cell;

use h5lake_container::{Dataspace, Layout};

use crate::error::Result;
use crate::handles::open_objects::DatasetHandle;
use crate::hdf5::datatype::Background;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::plist::transfer::{ChunkTransfers, MpiReport, SelectionIo, TransferReport};
use crate::operations::collective::Direction;
use crate::operations::dataset::types_of;
use crate::transfer;
use crate::transfer::stored_type::FileType;

/// Causes that selection I/O was not done (`H5D_SEL_IO_…`).
mod not_selected {
    pub const BY_CALLER: u32 = 0x1;
    pub const LAYOUT: u32 = 0x2;
    pub const NO_CALLBACK: u32 = 0x8;
    pub const FILTER: u32 = 0x20;
    pub const CHUNK_CACHE: u32 = 0x40;
    pub const CONVERSION_BUFFER: u32 = 0x80;
    pub const BACKGROUND_BUFFER: u32 = 0x100;
    pub const DEFAULT_OFF: u32 = 0x200;
}

/// The ways of moving elements (`H5D_SCALAR_IO`, `H5D_VECTOR_IO`, `H5D_SELECTION_IO`).
const SCALAR: u32 = 1;
const VECTOR: u32 = 2;
const SELECTION: u32 = 4;

/// Causes that a transfer was not collective (`H5D_MPIO_…`).
mod not_collective {
    pub const BY_CALLER: u32 = 0x1;
    pub const CONVERSION: u32 = 0x2;
    pub const TRANSFORM: u32 = 0x4;
    pub const SPACE: u32 = 0x10;
    pub const LAYOUT: u32 = 0x20;
    pub const NO_SELECTION_IO: u32 = 0x100;
}

/// `H5D_mpio_actual_io_mode_t`.
const CHUNKS_ALONE: u32 = 1;
const CHUNKS_TOGETHER: u32 = 2;
const CONTIGUOUS_TOGETHER: u32 = 4;
/// `H5D_mpio_actual_chunk_opt_mode_t`.
const LINKED: u32 = 1;
const ONE_BY_ONE: u32 = 2;

/// The storage of a dataset's elements, as far as reports distinguish layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Contiguous,
    /// Stored in chunks; `is_small` says whether native HDF5 would cache a chunk.
    Chunked {
        is_small: bool,
    },
    /// Another layout: compact, external or virtual.
    Elsewhere,
}

/// The properties of one dataset in a transfer.
#[derive(Debug, Clone, Copy)]
struct Part {
    kept: Kept,
    is_filtered: bool,
    /// True if the dataset has no elements at all: a null dataspace.
    is_null: bool,
    /// True if elements have another type in memory.
    is_converted: bool,
    /// Bytes that conversion needs beside the program's buffer: for all elements, and for their previous values.
    buffers: (u64, u64),
}

/// The requests of the transfer list.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    selection_io: SelectionIo,
    chunks: ChunkTransfers,
    is_transforming: bool,
    /// `H5Pset_buffer`.
    buffer: u64,
}

/// A file that processes have open together.
#[derive(Debug, Clone, Copy)]
struct Together {
    is_collective: bool,
    writable: bool,
    has_several_processes: bool,
}

/// A transfer that is reported to a list when it is done.
#[derive(Debug)]
pub struct Report {
    library: Library,
    list: Hid,
    asked: Asked,
    together: Option<Together>,
    parts: Vec<Part>,
    moved: Cell<u64>,
}

/// One dataset of a call: its handle, the type in memory, the number of elements, and whether they are contiguous in
/// memory.
pub struct Moved<'a> {
    /// The dataset.
    pub dataset: &'a DatasetHandle,
    /// The memory datatype.
    pub memory_type: Hid,
    /// Returns the number of elements selected in memory, and whether they are contiguous there. It is called only if
    /// elements are converted, and only for a file that processes have open together.
    pub selected: &'a dyn Fn() -> Result<(u64, bool)>,
}

/// Reports to a list, for a read of one native dataset with filters that h5lake did itself, the values that native
/// HDF5 reports (`H5D__chunk_may_use_select_io`).
pub fn tell_of_filtered_read(library: Library, list: Hid) {
    if library.is_own_transfer_list(list) {
        let is_off = library.selection_io(list) == SelectionIo::Off;
        let no_selection_io = if is_off { not_selected::BY_CALLER } else { not_selected::FILTER };
        library.report(list, &TransferReport { no_selection_io, selection_io: SCALAR, mpi: None });
    }
}

impl Report {
    /// Begins the report of a transfer, if `list` is one of the program's own: no other list can be read by the
    /// program. `first` is the first dataset of the call.
    ///
    /// # Errors
    /// If libhdf5 does not know the list.
    pub fn begin(first: &DatasetHandle, list: Hid) -> Result<Option<Self>> {
        let session = &first.base.session;
        let library = session.library;
        if !library.is_own_transfer_list(list) {
            return Ok(None);
        }
        let mut asked = Asked { selection_io: library.selection_io(list), ..Asked::default() };
        let together = match &session.together {
            None => None,
            Some(together) => {
                asked.chunks = library.chunk_transfers(list);
                asked.is_transforming = library.has_transform(list);
                asked.buffer = library.conversion_buffer(list);
                let is_collective = together.is_collective_transfer(list)?;
                let (writable, has_several_processes) =
                    (session.container.writable(), together.has_several_processes());
                Some(Together { is_collective, writable, has_several_processes })
            }
        };
        Ok(Some(Self { library, list, asked, together, parts: Vec::new(), moved: Cell::default() }))
    }

    /// Adds a dataset of the call.
    ///
    /// # Errors
    /// If its type cannot be compared with the one in memory.
    pub fn add(&mut self, moved: &Moved<'_>, direction: Direction) -> Result<()> {
        let (dataset, types) = (&moved.dataset.dataset, types_of(moved.dataset)?);
        let kept = match dataset.layout() {
            Layout::Contiguous => Kept::Contiguous,
            Layout::Chunked { chunk } => {
                let bytes = chunk.iter().fold(types.size as u64, |bytes, side| bytes.saturating_mul(*side));
                let cache = moved.dataset.access_list.as_ref().map(|list| list.get());
                Kept::Chunked { is_small: bytes <= self.library.chunk_cache_bytes(cache) }
            }
            Layout::Compact | Layout::External { .. } | Layout::Virtual { .. } => Kept::Elsewhere,
        };
        let is_converted = self.together.is_some() && !types.is_same_in_memory(moved.memory_type)?;
        let needs_buffers = is_converted || (self.together.is_some() && self.asked.is_transforming);
        self.parts.push(Part {
            kept,
            is_filtered: !dataset.filters().is_empty(),
            is_null: dataset.with_space(|space| matches!(space, Dataspace::Null)),
            is_converted,
            buffers: if needs_buffers { self.buffers(moved, &types, direction)? } else { (0, 0) },
        });
        Ok(())
    }

    /// Returns the bytes that native HDF5 would need to convert all elements at once.
    fn buffers(&self, moved: &Moved<'_>, types: &FileType, direction: Direction) -> Result<(u64, u64)> {
        let (count, is_one_run) = (moved.selected)()?;
        let (in_memory, in_file) = (self.library.type_size(moved.memory_type)?, types.size);
        let may_modify = direction == Direction::Read || self.library.may_modify_buffer(self.list);
        let converted = match may_modify && in_memory >= in_file && is_one_run {
            true => 0,
            false => count.saturating_mul(in_memory.max(in_file) as u64),
        };
        let target = if direction == Direction::Read { in_memory } else { in_file };
        let stored = types.in_file(&moved.dataset.base.session)?;
        let both = match direction {
            Direction::Read => (stored, moved.memory_type),
            Direction::Write => (moved.memory_type, stored),
        };
        // Without a conversion the transfer itself fails, and reports the error.
        let needed = transfer::background_of(types, both, self.list).unwrap_or(Background::None);
        let before = if needed > Background::None { count.saturating_mul(target as u64) } else { 0 };
        Ok((converted, before))
    }

    /// Counts elements that were moved.
    pub fn note(&self, points: u64) {
        self.moved.set(self.moved.get().saturating_add(points));
    }

    /// Returns the causes, in HDF5's bits, for which this process would not take part in a collective transfer; 0 for
    /// a file of one process.
    pub fn local_cause(&self) -> u32 {
        self.together.map_or(0, |together| self.local(together))
    }

    /// Reports to the list how the transfer was done; `global` has the causes of all processes.
    pub fn end(&self, global: u32) {
        self.library.report(self.list, &self.report(global));
    }

    /// Reports to the list that the transfer failed, so that no collective transfer was done.
    pub fn fail(&self) {
        if self.together.is_some() {
            let mpi = MpiReport { local_cause: self.local_cause(), ..MpiReport::default() };
            self.library.report(self.list, &TransferReport { mpi: Some(mpi), ..TransferReport::default() });
        }
    }

    fn report(&self, global: u32) -> TransferReport {
        let (is_on, mut no_selection_io) = self.selection();
        let Some(together) = self.together else {
            if is_on {
                no_selection_io |= not_selected::NO_CALLBACK;
            }
            let in_file = self.parts.iter().any(|part| part.kept != Kept::Elsewhere);
            let selection_io = if in_file && self.moved.get() > 0 { SCALAR } else { 0 };
            return TransferReport { no_selection_io, selection_io, mpi: None };
        };
        let local_cause = self.local(together);
        let global_cause = if together.is_collective { global | local_cause } else { local_cause };
        let is_collective = global_cause == 0;
        let selection_io = match is_on {
            // The driver splits the selections of an independent transfer.
            true if !is_collective && self.moved.get() > 0 => {
                no_selection_io |= not_selected::NO_CALLBACK;
                SCALAR | SELECTION
            }
            true => SELECTION,
            false => self.parts.iter().fold(0, |how, part| how | self.moved_how(part, is_collective)),
        };
        let (io_mode, chunk_mode) = if is_collective { self.modes(is_on) } else { (0, 0) };
        let mpi = MpiReport { io_mode, chunk_mode, local_cause, global_cause };
        TransferReport { no_selection_io, selection_io, mpi: Some(mpi) }
    }

    /// Returns how elements of a dataset were moved if no selections were passed to the driver.
    fn moved_how(&self, part: &Part, is_collective: bool) -> u32 {
        let has_moved = self.moved.get() > 0;
        match (part.kept, part.is_filtered) {
            (Kept::Elsewhere, _) => 0,
            (Kept::Chunked { .. }, true) if is_collective && has_moved => VECTOR,
            (Kept::Chunked { .. }, true) if is_collective => 0,
            _ if is_collective || has_moved => SCALAR,
            _ => 0,
        }
    }

    /// Returns whether native HDF5 would pass selections to its driver, and the causes if not.
    fn selection(&self) -> (bool, u32) {
        let mut cause = 0;
        let mut mode = self.asked.selection_io;
        if mode == SelectionIo::Off {
            cause = not_selected::BY_CALLER;
        }
        for part in &self.parts {
            let why = match part.kept {
                // Reported whatever the request.
                Kept::Elsewhere => not_selected::LAYOUT,
                _ if mode == SelectionIo::Off => continue,
                Kept::Contiguous => continue,
                Kept::Chunked { .. } if part.is_filtered => not_selected::FILTER,
                // With MPI, chunks that other processes may write are not cached.
                Kept::Chunked { is_small: true } if !self.together.is_some_and(|all| all.writable) => {
                    not_selected::CHUNK_CACHE
                }
                Kept::Chunked { .. } => continue,
            };
            cause |= why;
            mode = SelectionIo::Off;
        }
        if mode == SelectionIo::Default {
            // MPI's driver is the only one that accepts selections.
            match self.together {
                Some(_) => mode = SelectionIo::On,
                None => (mode, cause) = (SelectionIo::Off, cause | not_selected::DEFAULT_OFF),
            }
        }
        if mode == SelectionIo::Off || self.together.is_none() {
            return (mode == SelectionIo::On, cause);
        }
        let needed = self.parts.iter().map(|part| part.buffers);
        let (converted, before) = needed
            .fold((0_u64, 0_u64), |all, one| (all.0.saturating_add(one.0), all.1.saturating_add(one.1)));
        if converted > self.asked.buffer {
            return (false, cause | not_selected::CONVERSION_BUFFER);
        }
        if before > self.asked.buffer {
            return (false, cause | not_selected::BACKGROUND_BUFFER);
        }
        (true, cause)
    }

    fn local(&self, together: Together) -> u32 {
        let (is_on, _) = self.selection();
        let mut cause = if together.is_collective { 0 } else { not_collective::BY_CALLER };
        for part in &self.parts {
            if !is_on && part.is_converted {
                cause |= not_collective::CONVERSION;
            }
            if !is_on && self.asked.is_transforming {
                cause |= not_collective::TRANSFORM;
            }
            if part.is_null {
                cause |= not_collective::SPACE;
            }
            if part.kept == Kept::Elsewhere {
                cause |= not_collective::LAYOUT;
            }
            let of_types = not_collective::CONVERSION | not_collective::TRANSFORM;
            if !is_on && cause != 0 && cause & !of_types == 0 {
                cause |= not_collective::NO_SELECTION_IO;
            }
        }
        cause
    }

    /// Returns the modes of a collective transfer: that of its elements, and that of chunks.
    fn modes(&self, is_on: bool) -> (u32, u32) {
        let mode_of = |part: &Part| match part.kept {
            Kept::Chunked { .. } => CHUNKS_TOGETHER,
            _ => CONTIGUOUS_TOGETHER,
        };
        let all = self.parts.iter().fold(0, |mode, part| mode | mode_of(part));
        if is_on {
            return (all, LINKED);
        }
        let has_several_processes = self.together.is_some_and(|together| together.has_several_processes);
        let is_one_by_one = self.asked.chunks == ChunkTransfers::Single;
        match &self.parts[..] {
            [part] if part.kept == Kept::Contiguous => (CONTIGUOUS_TOGETHER, 0),
            // The native connector transfers no chunk collectively in a single process.
            [part] if is_one_by_one && !part.is_filtered && !has_several_processes => {
                (CHUNKS_ALONE, ONE_BY_ONE)
            }
            [part] => (mode_of(part), if is_one_by_one { ONE_BY_ONE } else { LINKED }),
            parts if is_one_by_one => {
                let chunked = parts.iter().any(|part| part.kept != Kept::Contiguous);
                (parts.last().map_or(0, mode_of), if chunked { ONE_BY_ONE } else { 0 })
            }
            parts => {
                // The native connector reports the mode of the unfiltered datasets last.
                let plain = parts.iter().filter(|part| !part.is_filtered || part.kept == Kept::Contiguous);
                let plain = plain.fold(0, |mode, part| mode | mode_of(part));
                (if plain == 0 { all } else { plain }, LINKED)
            }
        }
    }
}
