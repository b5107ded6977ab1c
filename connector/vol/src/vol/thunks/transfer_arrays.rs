//! The arguments of `H5Dread`, `H5Dwrite` and similar functions for several datasets, decoded.

use std::ffi::c_void;
use std::sync::Arc;

use h5lake_container::Container;
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Major, Minor, Result};
use crate::handles::Handle;
use crate::hdf5::library::Hid;
use crate::operations::asynchronous::Transfer;
use crate::operations::collective::{self, Direction};
use crate::operations::dataset::{self, FileSelection};
use crate::operations::transfer_report::{Moved, Report};
use crate::session::Session;
use crate::session::collective::Writing;
use crate::transfer::memory::region::MemoryRegion;

const ALL: Hid = sys::H5S_ALL as Hid;
const BLOCK: Hid = sys::H5S_BLOCK as Hid;
const LISTED: Hid = sys::H5S_PLIST as Hid;

/// The arguments of a transfer on several datasets: arrays with one entry for each dataset.
pub(super) struct Arrays {
    pub(super) count: usize,
    pub(super) datasets: *mut *mut c_void,
    pub(super) memory_types: *mut Hid,
    pub(super) memory_spaces: *mut Hid,
    pub(super) file_spaces: *mut Hid,
    pub(super) buffers: *mut *mut c_void,
}

impl Arrays {
    /// Returns the elements that the transfer of one dataset touches.
    ///
    /// # Safety
    /// All arrays have their entries, and each buffer contains its selection; with a request, until the request has
    /// ended.
    pub(super) unsafe fn plan(
        &self,
        index: usize,
        handle: &Handle,
        direction: Direction,
    ) -> Result<Transfer> {
        // SAFETY: as the caller says.
        unsafe {
            let memory_type = *self.memory_types.add(index);
            let given = (direction == Direction::Write).then_some(memory_type);
            let spaces = (*self.memory_spaces.add(index), *self.file_spaces.add(index));
            let (region, selected) = plan(handle, memory_type, spaces, given, *self.buffers.add(index))?;
            Ok(Transfer { memory_type, region, selected })
        }
    }

    /// Begins the report for the transfer list. Returns `None` if the program cannot read it, or if the arguments are
    /// wrong, which the transfer itself reports.
    ///
    /// # Safety
    /// As for [`Arrays::plan`].
    pub(super) unsafe fn report(&self, list: Hid, direction: Direction) -> Option<Report> {
        let first = dataset::of(self.handle(0).ok()?).ok()?;
        let mut report = Report::begin(first, list).ok()??;
        for index in 0..self.count {
            let handle = self.handle(index).ok()?;
            // SAFETY: the array has `count` entries.
            let memory_type = unsafe { *self.memory_types.add(index) };
            let selected = || {
                // SAFETY: as the caller says.
                let region = unsafe { self.plan(index, handle, direction) }?.region;
                Ok((region.points(), region.is_contiguous()))
            };
            report
                .add(
                    &Moved { dataset: dataset::of(handle).ok()?, memory_type, selected: &selected },
                    direction,
                )
                .ok()?;
        }
        Some(report)
    }

    /// Returns the elements that the call writes, to be sent to the other processes of the call.
    ///
    /// # Safety
    /// All arrays have their entries.
    pub(super) unsafe fn writing(&self, list: Hid) -> Writing {
        let mut writing = Writing::default();
        for index in 0..self.count {
            let Ok(dataset) = self.handle(index).and_then(dataset::of) else { continue };
            // SAFETY: as the caller says.
            let (memory_type, space) =
                unsafe { (*self.memory_types.add(index), *self.file_spaces.add(index)) };
            match space {
                BLOCK | LISTED => {}
                ALL => collective::add_write(&mut writing, dataset, (memory_type, None), list),
                space => collective::add_write(&mut writing, dataset, (memory_type, Some(space)), list),
            }
        }
        writing
    }

    /// Returns the files of sources that the virtual datasets of the call hold open.
    pub(super) fn source_files(&self) -> Vec<Arc<Session>> {
        let datasets = (0..self.count).filter_map(|index| self.handle(index).and_then(dataset::of).ok());
        datasets.flat_map(|dataset| dataset.source_files()).collect()
    }

    /// Refuses datasets of several files, like the native connector (`H5VL__native_dataset_io_setup`).
    pub(super) fn check_file(&self) -> Result<()> {
        let container = |index| -> Result<&Arc<Container>> {
            Ok(&dataset::of(self.handle(index)?)?.base.session.container)
        };
        let first = container(0)?;
        for index in 1..self.count {
            if !Arc::ptr_eq(first, container(index)?) {
                let text = "different files detected in multi dataset I/O request";
                return Err(Error::new(Minor::Unsupported, text).in_class(Major::Argument));
            }
        }
        Ok(())
    }

    pub(super) fn handle<'a>(&self, index: usize) -> Result<&'a Handle> {
        // SAFETY: the array has `count` entries, each one of our objects.
        unsafe { Handle::from_pointer(*self.datasets.add(index)) }
    }
}

/// Returns the elements that one transfer touches, in memory and in the file. `given` is the memory type, if the
/// buffer holds elements of that type.
unsafe fn plan(
    handle: &Handle,
    memory_type: Hid,
    (memory_space, file_space): (Hid, Hid),
    given: Option<Hid>,
    buffer: *mut c_void,
) -> Result<(MemoryRegion, FileSelection)> {
    if file_space == LISTED {
        return Err(Error::unsupported("a selection given by H5Pset_dataset_io_hyperslab_selection"));
    }
    if file_space == BLOCK {
        return Err(Error::argument("H5S_BLOCK selects in memory only"));
    }
    let open = dataset::of(handle)?;
    let library = open.base.session.library;
    let size = library.type_size(memory_type)?;
    let space = (file_space != ALL).then_some(file_space);
    let (selection, points) = dataset::file_selection(open, space)?;
    // SAFETY: H5Dread and H5Dwrite require a buffer that contains the selection in memory.
    let region = unsafe {
        match memory_space {
            ALL if file_space == ALL => MemoryRegion::packed(buffer, size, points, given)?,
            ALL => MemoryRegion::selected(library, buffer, size, file_space, given)?,
            BLOCK => MemoryRegion::packed(buffer, size, points, given)?,
            space => MemoryRegion::selected(library, buffer, size, space, given)?,
        }
    };
    if region.points() != points {
        let text = format!(
            "{} elements are selected in memory and {points} in the file: they must be as many",
            region.points()
        );
        return Err(Error::new(Minor::BadValue, text).in_class(Major::Argument));
    }
    Ok((region, FileSelection { selection, space }))
}
