//! Transfers and flushes that run in the background while an event set waits for them (docs/design/055-event-sets.md).
//!
//! A transfer runs in the background only if it needs nothing more of libhdf5: its elements have the same form in
//! memory or were converted in the call, its filters are built in, and its data is in the container. All other
//! operations are done when their call returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use h5lake_container::{Dataset, Layout, Selection};

use crate::background::{Kind, Work};
use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::handles::open_objects::DatasetHandle;
use crate::handles::request::RequestHandle;
use crate::hdf5::datatype::Background;
use crate::hdf5::library::Hid;
use crate::operations::collective::Direction;
use crate::operations::dataset::{self, FileSelection, part_limit, store, types_of};
use crate::operations::dataset_checks;
use crate::transfer;
use crate::transfer::buffers::{buffer_of, scratch_of};
use crate::transfer::memory::region::{LentRegion, MemoryRegion};
use crate::transfer::stored_type::FileType;

/// From this many bytes on, elements to be written are read from the program's buffer when the task runs. Fewer bytes
/// are copied.
const MIN_LENT_BYTES: usize = 256 << 10;
/// The most bytes that are copied for waiting writes. A further write is done by its caller.
const MAX_COPIED_BYTES: usize = 64 << 20;

static COPIED: AtomicUsize = AtomicUsize::new(0);

/// The elements that a call transfers to or from one dataset.
pub struct Transfer {
    /// The datatype in memory.
    pub memory_type: Hid,
    /// The elements in memory.
    pub region: MemoryRegion,
    /// The elements in the file.
    pub selected: FileSelection,
}

/// Bytes that count as copied until this value is dropped.
struct Copied(usize);

impl Copied {
    fn reserve(bytes: usize) -> Option<Self> {
        let more = |held: usize| held.checked_add(bytes).filter(|all| *all <= MAX_COPIED_BYTES);
        COPIED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self(bytes))
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        COPIED.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// The elements of a fragment of a transfer.
enum Elements {
    /// Lent from the program's buffer, with the number of elements to transfer at a time.
    Lent(LentRegion, u64),
    /// Copied, in file form.
    Copied(Vec<u8>),
}

/// A fragment of a transfer, as its worker needs it.
struct Piece {
    dataset: Arc<Dataset>,
    selection: Selection,
    elements: Elements,
}

/// A transfer that is being prepared.
#[derive(Default)]
struct Pieces {
    all: Vec<Piece>,
    copied: Vec<Copied>,
    has_buffer: bool,
}

impl Transfer {
    /// Checks, as far as possible in advance, that the transfer can be done: a call on several datasets must not fail
    /// after some of them were transferred.
    ///
    /// # Errors
    /// If the elements do not convert, or are outside of the dataset.
    pub fn check(&self, dataset: &DatasetHandle, direction: Direction) -> Result<()> {
        if direction == Direction::Write {
            dataset_checks::check_writable(dataset)?;
        }
        dataset::check_within(dataset, &self.selected.selection)?;
        let (session, types) = (&dataset.base.session, types_of(dataset)?);
        match direction {
            Direction::Read => transfer::check_read(session, &types, self.memory_type),
            Direction::Write => transfer::check_write(session, &types, self.memory_type),
        }
    }

    /// Does the transfer.
    ///
    /// # Errors
    /// As for [`read`](dataset::read) and [`write`](dataset::write).
    pub fn run(mut self, dataset: &DatasetHandle, list: Hid, direction: Direction) -> Result<()> {
        let transfer = if direction == Direction::Read { dataset::read } else { dataset::write };
        transfer(dataset, self.memory_type, &mut self.region, &self.selected, list)
    }
}

/// Transfers of one call, each with its dataset.
type Planned<'a> = Vec<(&'a DatasetHandle, Transfer)>;

/// The outcome of trying to run transfers in the background.
pub enum Begun<'a> {
    /// The transfers run in the background.
    GoesOn(RequestHandle),
    /// The caller has to do the transfers.
    Refused(Planned<'a>),
}

/// Returns whether a call on an object that has an event set may run in the background at all.
pub fn may_go_on(object: &Handle) -> bool {
    object.session().is_ok_and(|session| session.may_go_on())
}

/// Begins the transfers of one call, on datasets of one file. They are refused if any of them needs libhdf5, or too
/// many tasks wait already.
///
/// # Errors
/// If elements do not convert.
pub fn transfer<'a>(planned: Planned<'a>, list: Hid, direction: Direction) -> Result<Begun<'a>> {
    let Some((first, _)) = planned.first() else { return Ok(Begun::Refused(planned)) };
    let session = first.base.session.clone();
    let mut pieces = Pieces::default();
    for (dataset, transfer) in &planned {
        if !pieces.reserve(dataset, transfer, list, direction)? {
            return Ok(Begun::Refused(planned));
        }
    }
    if !session.has_space() {
        return Ok(Begun::Refused(planned));
    }
    for (dataset, transfer) in planned {
        pieces.add(dataset, transfer, list, direction)?;
    }
    let has_buffer = pieces.has_buffer;
    let (kind, work): (_, Work) = match direction {
        Direction::Write => (Kind::Write, Box::new(move || pieces.write())),
        Direction::Read => (Kind::Read, Box::new(move || pieces.read())),
    };
    let task = session.submit(kind, work);
    Ok(Begun::GoesOn(RequestHandle::new(session.library, task, has_buffer)))
}

/// Begins a flush of the file of an object. Returns `None` if the caller has to do it.
///
/// # Errors
/// If the object's file is closed.
pub fn flush(handle: &Handle) -> Result<Option<RequestHandle>> {
    let session = handle.session()?;
    let may = session.may_go_on() && session.container.writable() && session.has_space();
    if !may || session.needs_library_to_flush() {
        return Ok(None);
    }
    let container = session.container.clone();
    let task = session.submit(Kind::Flush, Box::new(move || Ok(container.flush()?)));
    Ok(Some(RequestHandle::new(session.library, task, false)))
}

/// Returns whether the elements are in the container, behind built-in filters.
fn is_in_container(dataset: &DatasetHandle) -> bool {
    let dataset = &dataset.dataset;
    let is_here = matches!(dataset.layout(), Layout::Compact | Layout::Contiguous | Layout::Chunked { .. });
    is_here && !dataset.needs_codec()
}

impl Pieces {
    /// Returns whether a transfer can run in the background, and reserves memory for the parts of it that are copied.
    fn reserve(
        &mut self,
        dataset: &DatasetHandle,
        transfer: &Transfer,
        list: Hid,
        direction: Direction,
    ) -> Result<bool> {
        let is_write = direction == Direction::Write;
        if (is_write && !dataset.base.session.container.writable()) || !is_in_container(dataset) {
            return Ok(false);
        }
        // Missing elements are an error of the read itself, which the caller must report.
        if !is_write && dataset_checks::has_no_fill(dataset) {
            return Ok(false);
        }
        let types = types_of(dataset)?;
        if types.has_heap || types.has_references {
            return Ok(false);
        }
        let is_same = types.is_same_in_memory(transfer.memory_type)?;
        if is_same && (!is_write || transfer.region.bytes() >= MIN_LENT_BYTES) {
            return Ok(true);
        }
        if !is_write {
            return Ok(false);
        }
        if !is_same {
            let both = (transfer.memory_type, types.in_file(&dataset.base.session)?);
            // A missing conversion is reported by the synchronous call.
            match transfer::background_of(&types, both, list) {
                Ok(Background::None) => (),
                Ok(_) | Err(_) => return Ok(false),
            }
        }
        let bytes = usize::try_from(transfer.region.points()).ok().and_then(|n| n.checked_mul(types.size));
        let copied = bytes.and_then(Copied::reserve);
        let is_reserved = copied.is_some();
        self.copied.extend(copied);
        Ok(is_reserved)
    }

    /// Adds a transfer that can run in the background.
    fn add(
        &mut self,
        dataset: &DatasetHandle,
        transfer: Transfer,
        list: Hid,
        direction: Direction,
    ) -> Result<()> {
        let types = types_of(dataset)?;
        let is_same = types.is_same_in_memory(transfer.memory_type)?;
        let is_short = !is_same || transfer.region.bytes() < MIN_LENT_BYTES;
        match direction == Direction::Write && is_short {
            true => self.copy(dataset, &types, transfer, list),
            false => self.lend(dataset, &types, transfer),
        }
    }

    fn lend(&mut self, dataset: &DatasetHandle, types: &FileType, transfer: Transfer) -> Result<()> {
        let Transfer { memory_type, region, selected } = transfer;
        if region.points() == 0 {
            return Ok(());
        }
        let limit = part_limit(dataset, types, memory_type, &region)?;
        self.has_buffer = true;
        let elements = Elements::Lent(LentRegion::new(region), limit);
        self.all.push(Piece { dataset: dataset.dataset.clone(), selection: selected.selection, elements });
        Ok(())
    }

    fn copy(
        &mut self,
        dataset: &DatasetHandle,
        types: &FileType,
        transfer: Transfer,
        list: Hid,
    ) -> Result<()> {
        let Transfer { memory_type, mut region, selected } = transfer;
        let session = &dataset.base.session;
        let limit = part_limit(dataset, types, memory_type, &region)?;
        let space = || dataset.dataset.space();
        region.in_parts(&selected.selection, space, limit, |region, selection| {
            let existing = |_: &mut [u8]| Err(Error::new(Minor::Internal, "older elements are not wanted"));
            transfer::write(session, types, memory_type, region, list, existing, |data| {
                let mut copy = buffer_of(data.len(), 1)?;
                copy.copy_from_slice(data);
                self.all.push(Piece {
                    dataset: dataset.dataset.clone(),
                    selection: selection.clone(),
                    elements: Elements::Copied(copy),
                });
                Ok(())
            })
        })
    }

    /// Does a write in a worker.
    fn write(self) -> Result<()> {
        self.all.into_iter().try_for_each(|Piece { dataset, selection, elements }| match elements {
            Elements::Copied(data) => store(&dataset, &selection, &data),
            Elements::Lent(mut region, limit) => {
                let size = usize::try_from(dataset.datatype().size).unwrap_or(0);
                region.get().in_parts(
                    &selection,
                    || dataset.space(),
                    limit,
                    |region, selection| {
                        if let Some(data) = region.contiguous() {
                            return store(&dataset, selection, data);
                        }
                        let mut packed = scratch_of(region.points() as usize, size)?;
                        region.gather(0, &mut packed);
                        store(&dataset, selection, &packed)
                    },
                )
            }
        })
    }

    /// Does a read in a worker.
    fn read(self) -> Result<()> {
        self.all.into_iter().try_for_each(|Piece { dataset, selection, elements }| match elements {
            Elements::Copied(_) => Err(Error::new(Minor::Internal, "a read has no copy")),
            Elements::Lent(mut region, limit) => {
                let size = usize::try_from(dataset.datatype().size).unwrap_or(0);
                region.get().in_parts(
                    &selection,
                    || dataset.space(),
                    limit,
                    |region, selection| {
                        if let Some(buffer) = region.contiguous_mut() {
                            return Ok(dataset.read(selection, buffer)?);
                        }
                        let mut packed = scratch_of(region.points() as usize, size)?;
                        dataset.read(selection, &mut packed)?;
                        region.scatter(0, &packed);
                        Ok(())
                    },
                )
            }
        })
    }
}
