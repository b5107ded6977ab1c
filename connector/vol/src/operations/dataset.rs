//! Datasets.

use std::cell::Cell;
use std::sync::{Arc, OnceLock};

use h5lake_container::{
    Dataset, DatasetSpec, Dataspace, Fill, FillTime, FillValue, HeapPlace, Layout, Run, Selection,
};
use h5lake_ledger::locks::Mutex;

use crate::error::{Error, Major, Minor, Result};
use crate::handles::Handle;
use crate::handles::open_objects::{DatasetHandle, ObjectHandle};
use crate::handles::virtual_layout::check_extent;
use crate::hdf5::id::Id;
use crate::hdf5::library::Hid;
use crate::hdf5::plist::creation::DatasetCreation;
use crate::hdf5::plist::{FillDefined, ListClass, ListOnWrite};
use crate::operations::dataset_checks;
use crate::operations::datatype::{committed_id, identifier};
use crate::operations::external_data;
use crate::operations::filter_setup;
use crate::operations::group::{NewPlace, located};
use crate::operations::object::handle_of;
use crate::operations::path::external_link::open_native;
use crate::operations::path::prefix;
use crate::operations::path::{Location, Resolved, reach};
use crate::operations::virtual_dataset::extent;
use crate::operations::virtual_dataset::io;
use crate::operations::virtual_dataset::layout;
use crate::session::Session;
use crate::session::collective::CollectiveChange;
use crate::transfer;
use crate::transfer::filter_pipeline;
use crate::transfer::library_codec::LentDataset;
use crate::transfer::memory::borrowed::lend;
use crate::transfer::memory::element_conversion::MemoryElements;
use crate::transfer::memory::region::MemoryRegion;
use crate::transfer::split;
use crate::transfer::stored_type::{FileType, kept};
use crate::transfer::vlen_context;

/// The arguments of `H5Dcreate`.
pub struct NewDataset {
    /// The element type.
    pub datatype: Hid,
    /// The shape.
    pub space: Hid,
    /// Creation properties.
    pub creation: Hid,
    /// Access properties.
    pub access: Hid,
    /// Properties of the link.
    pub link_creation: Hid,
}

/// Creates a dataset (`H5Dcreate`; without a name `H5Dcreate_anon`).
pub fn create(
    handle: &Handle,
    location: &Location<'_>,
    name: Option<&[u8]>,
    new: &NewDataset,
) -> Result<Handle> {
    let session = handle.session()?;
    let lists = (new.link_creation, new.access);
    let find = || NewPlace::find_like(located(handle, location)?, name, lists, new.creation);
    let find_and_make = || {
        let place = reach(&session, find);
        let (is_outside, file) = (place.is_outside(&session), place.file);
        let make_there = || make(place.found?, new);
        match is_outside {
            true => file.change_structure(CollectiveChange::Made, make_there),
            false => make_there(),
        }
    };
    session.change_structure(CollectiveChange::Made, find_and_make).map(Handle::Dataset)
}

fn make(place: NewPlace, new: &NewDataset) -> Result<DatasetHandle> {
    let session = place.session.clone();
    let types = FileType::of_new(&session, new.datatype)?;
    let spec = spec_of(&session, &types, new)?;
    let object = session.container.create_dataset(spec)?;
    let dataset = session.container.dataset_of(&object)?;
    filter_setup::leave_out_missing(session.library, &dataset);
    let path = place.link(&object)?;
    let access_list = session.library.copy_dataset_access(new.access)?;
    let base = ObjectHandle { session, object, path };
    let codec = LentDataset::to(&base.session, &dataset);
    let (types, virtual_layout) = (kept(types), OnceLock::new());
    let user_properties = base.session.library.list_with_user_properties(new.creation)?;
    let native = OnceLock::new();
    let made = DatasetHandle {
        types,
        codec: Mutex::new(codec),
        virtual_layout,
        dataset,
        access_list: access_list.map(Id::kept),
        user_properties: user_properties.map(Id::kept),
        base,
        native,
    };
    external_data::check_prefix(&made)?;
    Ok(made)
}

fn spec_of(session: &Arc<Session>, types: &FileType, new: &NewDataset) -> Result<DatasetSpec> {
    let library = session.library;
    let space = library.extent_if_any(new.space)?;
    let space = space.ok_or_else(|| Error::argument("the dataspace of a dataset must have an extent"))?;
    let given = library.dataset_creation(new.creation)?;
    if let Layout::Virtual { mappings } = &given.layout {
        check_extent(library, mappings, space.dims())?;
    }
    let mut stored_list = ListOnWrite::new(library, new.creation);
    let fill = fill_of(session, types, &mut stored_list, &given)?;
    let filters = filter_setup::of_new(session, types, &space, &given, stored_list.get())?;
    Ok(DatasetSpec {
        datatype: types.to_datatype(committed_id(session, new.datatype)?),
        space,
        layout: given.layout.clone(),
        fill,
        unfiltered_edges: !filters.is_empty() && given.unfiltered_edges,
        filters,
        creation_properties: library.encode_list(stored_list.get())?.into(),
        attribute_order: given.object.attribute_order,
        track_times: given.object.track_times,
    })
}

/// Returns the fill properties. In the stored list, the application's fill value becomes one element of the dataset's
/// type, because a list's encoding holds only the bytes of the value, which are pointers for variable-length data.
fn fill_of(
    session: &Arc<Session>,
    types: &FileType,
    list: &mut ListOnWrite,
    given: &DatasetCreation,
) -> Result<Fill> {
    let library = session.library;
    let value = match given.fill_defined {
        FillDefined::Undefined => FillValue::Undefined,
        FillDefined::Default => FillValue::Default,
        FillDefined::User => {
            let value = MemoryElements::fill_value(types, list.get()).map_err(|_| {
                Error::new(Minor::CannotConvert, "the fill value does not convert to the datatype")
            })?;
            if types.has_heap {
                library.clear_fill_value(list.for_change()?)?;
            } else {
                value.set_fill_value(list.for_change()?)?;
            }
            let is_plain = !types.has_heap && !types.has_references;
            FillValue::User(match is_plain {
                true => value.bytes().to_vec().into(),
                false => fill_in_file(session, types, value)?.into(),
            })
        }
    };
    let mut time = given.fill_time;
    if types.has_heap {
        // Storage of variable-length data must be initialized, because its elements are pointers.
        if time == FillTime::Never {
            return Err(Error::new(
                Minor::Unsupported,
                "variable-length data needs fill values: the fill time may not be H5D_FILL_TIME_NEVER",
            ));
        }
        if time == FillTime::IfSet && matches!(value, FillValue::Default) {
            time = FillTime::Alloc;
            library.set_fill_time_alloc(list.for_change()?)?;
        }
    }
    if time == FillTime::Alloc && matches!(value, FillValue::Undefined) {
        let text = "fill value writing on allocation set, but no fill value defined";
        return Err(Error::new(Minor::BadValue, text));
    }
    Ok(Fill { value, time, allocate: given.allocation_time })
}

fn fill_in_file(session: &Arc<Session>, types: &FileType, value: MemoryElements) -> Result<Vec<u8>> {
    let mut background = vec![0; types.size];
    let stored = vlen_context::writing(HeapPlace::Owner(session.container.root()), || {
        types.converting(session, || value.into_stored(session, types, Some(&mut background), 0))
    })?;
    Ok(stored[..types.size].to_vec())
}

/// Opens a dataset (`H5Dopen`).
pub fn open(handle: &Handle, location: &Location<'_>, name: &[u8], access: Hid) -> Result<Handle> {
    let found = match located(handle, location)?.resolve(&Location::ByName { name, access })? {
        Resolved::Here(found) => found,
        Resolved::Native(path) => return open_native(&path, Some(h5lake_container::ObjectKind::Dataset)),
    };
    match handle_of(&found.session, found.id, found.path)? {
        Handle::Dataset(mut dataset) => {
            dataset.access_list = found.session.library.copy_dataset_access(access)?.map(Id::kept);
            external_data::check_prefix(&dataset)?;
            Ok(Handle::Dataset(dataset))
        }
        _ => Err(Error::new(Minor::BadType, format!("'{}' is not a dataset", String::from_utf8_lossy(name)))),
    }
}

/// Closes a dataset (`H5Dclose`). Chunks that wait for filters of libhdf5's pipeline are encoded now, because no one
/// could do so later.
pub fn close(handle: &Handle) -> Result<()> {
    match handle {
        Handle::Dataset(dataset) => dataset.release(),
        _ => Ok(()),
    }
}

/// Returns the dataset behind a handle.
pub fn of(handle: &Handle) -> Result<&DatasetHandle> {
    match handle {
        Handle::Dataset(dataset) => Ok(dataset),
        _ => Err(Error::argument("not a dataset")),
    }
}

/// Returns the dataset's types in its library.
pub fn types_of(dataset: &DatasetHandle) -> Result<Arc<FileType>> {
    if let Some(types) = dataset.types.get() {
        return Ok(types.clone());
    }
    let types = FileType::of_datatype(&dataset.base.session, dataset.dataset.datatype())?;
    Ok(if types.may_be_kept() { dataset.types.get_or_init(|| types).clone() } else { types })
}

/// Returns the selection in the file of `H5Dread` and `H5Dwrite`, given a dataspace or `None` for everything.
pub fn file_selection(dataset: &DatasetHandle, space: Option<Hid>) -> Result<(Selection, u64)> {
    let Some(space) = space else { return Ok((Selection::All, dataset.dataset.points()?)) };
    let library = dataset.base.session.library;
    let given = library.dims_of(space)?;
    let compare = |extent: &Dataspace| (extent.dims().len() == given.len(), extent.dims() == &*given);
    let (same_rank, same) = dataset.dataset.with_space(compare);
    if !same_rank {
        return in_sequence(dataset, space, &given);
    }
    let (selection, points) = library.selection_of(space, &given)?;
    if same {
        return Ok((selection, points));
    }
    Ok((in_extent(selection, &given, dataset.dataset.space().dims())?, points))
}

/// Returns the selection of a dataspace of another rank, if it has as many elements as the dataset. A dataset that is
/// one sequence takes the elements in their order, like in the native connector.
///
/// # Errors
/// For a chunked dataset, for which native HDF5 takes wrong elements; for another number of elements.
fn in_sequence(dataset: &DatasetHandle, space: Hid, given: &[u64]) -> Result<(Selection, u64)> {
    let library = dataset.base.session.library;
    let layout = dataset.dataset.layout();
    let is_one = matches!(layout, Layout::Contiguous | Layout::Compact | Layout::External { .. });
    if !is_one || library.extent_points(space)? != dataset.dataset.points()? {
        let text = "the file dataspace has another rank than the dataset";
        return Err(Error::new(Minor::BadValue, text).in_class(Major::Dataspace));
    }
    let (selection, points) = library.selection_of(space, given)?;
    Ok((Selection::Runs(selection.runs(given)?), points))
}

/// Adapts a selection in an extent of other sizes than the dataset has now (it was resized since).
fn in_extent(selection: Selection, from: &[u64], to: &[u64]) -> Result<Selection> {
    match selection {
        Selection::All => Ok(Selection::Hyperslab {
            start: vec![0; from.len()],
            stride: vec![1; from.len()],
            count: from.to_vec(),
            block: vec![1; from.len()],
        }),
        Selection::Runs(runs) => Ok(Selection::Runs(relinearised(&runs, from, to)?)),
        other => Ok(other),
    }
}

/// Checks that a hyperslab, which may refer to a former extent of the dataset, is within the current one.
///
/// # Errors
/// If a block is not.
pub(super) fn check_within(dataset: &DatasetHandle, selection: &Selection) -> Result<()> {
    let Selection::Hyperslab { start, stride, count, block } = selection else { return Ok(()) };
    if count.contains(&0) {
        return Ok(());
    }
    let end = |n: usize| (count[n] - 1).checked_mul(stride[n])?.checked_add(start[n])?.checked_add(block[n]);
    let lies_within = |space: &Dataspace| {
        space.dims().len() == count.len()
            && space.dims().iter().enumerate().all(|(n, size)| end(n).is_some_and(|end| end <= *size))
    };
    if dataset.dataset.with_space(lies_within) { Ok(()) } else { Err(outside()) }
}

fn outside() -> Error {
    Error::new(Minor::BadRange, "the selection lies outside the dataset").in_class(Major::Dataspace)
}

fn relinearised(runs: &[Run], from: &[u64], to: &[u64]) -> Result<Vec<Run>> {
    let row = from.last().copied().filter(|row| *row > 0).ok_or_else(outside)?;
    let mut moved = Vec::with_capacity(runs.len());
    for run in runs {
        let (mut offset, mut left) = (run.offset, run.count);
        while left > 0 {
            let count = left.min(row - offset % row);
            moved.push(Run { offset: position(offset, count, from, to).ok_or_else(outside)?, count });
            offset += count;
            left -= count;
        }
    }
    Ok(moved)
}

/// Returns the linear position in extent `to` of `count` elements of a row that begin at `offset` of extent `from`.
fn position(mut offset: u64, count: u64, from: &[u64], to: &[u64]) -> Option<u64> {
    let mut coordinates = vec![0; from.len()];
    for (coordinate, dim) in coordinates.iter_mut().zip(from).rev() {
        *coordinate = offset % dim;
        offset /= dim;
    }
    let fits = coordinates.iter().zip(to).all(|(c, dim)| c < dim);
    let row_fits = coordinates.last().zip(to.last()).is_some_and(|(c, dim)| c + count <= *dim);
    (fits && row_fits).then(|| coordinates.iter().zip(to).fold(0, |linear, (c, dim)| linear * dim + c))
}

/// The elements that a transfer touches in the file.
pub struct FileSelection {
    /// The elements.
    pub selection: Selection,
    /// The dataspace that selects the elements, or `None` for everything.
    pub space: Option<Hid>,
}

/// Reads elements of a dataset (`H5Dread`).
pub fn read(
    dataset: &DatasetHandle,
    memory_type: Hid,
    region: &mut MemoryRegion,
    selected: &FileSelection,
    transfer_list: Hid,
) -> Result<()> {
    dataset.base.session.before_read(&dataset.dataset, &selected.selection)?;
    if let Some(layout) = layout::of(dataset)? {
        return io::read(dataset, &layout, memory_type, region, selected.space, transfer_list);
    }
    dataset_checks::check_there_is_data(dataset, region.points())?;
    let (session, types) = (&dataset.base.session, types_of(dataset)?);
    let limit = part_limit(dataset, &types, memory_type, region)?;
    region.in_parts(
        &selected.selection,
        || dataset.dataset.space(),
        limit,
        |region, part| {
            transfer::read(session, &types, memory_type, region, transfer_list, |buffer| {
                fetch(dataset, part, buffer)
            })
        },
    )
}

/// Reads elements in file form, wherever they are stored.
fn fetch(dataset: &DatasetHandle, selection: &Selection, buffer: &mut [u8]) -> Result<()> {
    match dataset.dataset.layout() {
        Layout::External { files } => external_data::read(dataset, files, selection, buffer),
        _ => Ok(dataset.dataset.read(selection, buffer)?),
    }
}

/// Returns the number of elements to transfer at once: all of them if they are neither converted nor gathered;
/// otherwise as many as the processor's caches hold, but enough chunks to be filtered in parallel.
pub(super) fn part_limit(
    dataset: &DatasetHandle,
    types: &FileType,
    memory_type: Hid,
    region: &MemoryRegion,
) -> Result<u64> {
    let bytes =
        if dataset.dataset.filters().is_empty() { split::PLAIN_PART_BYTES } else { split::PART_BYTES };
    let limit = bytes / types.size.max(region.element()).max(1);
    // Whole segments of a contiguous dataset, so that no segment is stored in two pieces.
    let segment = (split::SEGMENT_BYTES / types.size).max(1);
    let limit = (limit / segment * segment).max(limit.min(segment)).max(1) as u64;
    let is_one =
        region.points() <= limit || (region.is_contiguous() && types.is_same_in_memory(memory_type)?);
    Ok(if is_one { u64::MAX } else { limit })
}

/// Writes elements of a dataset (`H5Dwrite`).
pub fn write(
    dataset: &DatasetHandle,
    memory_type: Hid,
    region: &mut MemoryRegion,
    selected: &FileSelection,
    transfer_list: Hid,
) -> Result<()> {
    dataset_checks::check_writable(dataset)?;
    if let Some(layout) = layout::of(dataset)? {
        return io::write(dataset, &layout, memory_type, region, selected.space, transfer_list);
    }
    let (session, types) = (&dataset.base.session, types_of(dataset)?);
    if session.together.is_some() && types.has_data_elsewhere() {
        // Refused like in the native connector: each process would store its own copy of the data behind the elements.
        return Err(Error::unsupported(
            "parallel writing of variable-length data, region references or new references (H5R_ref_t)",
        ));
    }
    // An element that is selected twice holds, the second time, the value written the first time. libhdf5 frees the
    // variable-length data of that value, and must not free the older data twice.
    let limit = match types.has_heap && split::has_repeats(&selected.selection) {
        true => 1,
        false => part_limit(dataset, &types, memory_type, region)?,
    };
    let space = || dataset.dataset.space();
    let has_looked = Cell::new(false);
    let done = vlen_context::writing(HeapPlace::Owner(dataset.base.id()), || {
        region.in_parts(&selected.selection, space, limit, |region, selection| {
            let part = Part { dataset, selection, whole: &selected.selection, has_looked: &has_looked };
            let (existing, store) =
                (|buffer: &mut [u8]| part.existing(buffer), |data: &[u8]| part.store(data));
            transfer::write(session, &types, memory_type, region, transfer_list, existing, store)
        })
    });
    session.after_write(&dataset.dataset, &selected.selection, done)
}

/// A part of a dataset that is being written.
struct Part<'a> {
    dataset: &'a DatasetHandle,
    selection: &'a Selection,
    /// All elements that the call writes.
    whole: &'a Selection,
    /// True if the call has fetched the writes of other processes.
    has_looked: &'a Cell<bool>,
}

impl Part<'_> {
    /// Reads the previous values of the part's elements. Some of them may remain, so the values must be the newest
    /// ones.
    fn existing(&self, buffer: &mut [u8]) -> Result<()> {
        if !self.has_looked.replace(true) {
            self.dataset.base.session.before_read(&self.dataset.dataset, self.whole)?;
        }
        fetch(self.dataset, self.selection, buffer)
    }

    /// Stores the part's elements in the dataset's storage.
    fn store(&self, data: &[u8]) -> Result<()> {
        match self.dataset.dataset.layout() {
            Layout::External { files } => external_data::write(self.dataset, files, self.selection, data),
            _ => store(&self.dataset.dataset, self.selection, data),
        }
    }
}

/// Passes elements in file form to the container.
///
/// # Errors
/// The errors of the container.
pub(super) fn store(dataset: &Dataset, selection: &Selection, data: &[u8]) -> Result<()> {
    match dataset.is_better_lent(data.len()) {
        true => Ok(lend(data, |data| dataset.write_bytes(selection, data))?),
        false => Ok(dataset.write(selection, data)?),
    }
}

/// Returns the datatype of a dataset (`H5Dget_type`).
pub fn datatype(handle: &Handle) -> Result<Id> {
    let dataset = of(handle)?;
    identifier(&dataset.base.session, &*types_of(dataset)?, dataset.dataset.datatype().committed)
}

/// Returns the dataspace of a dataset (`H5Dget_space`).
pub fn space(handle: &Handle) -> Result<Id> {
    let dataset = of(handle)?;
    extent::refresh(dataset)?;
    dataset.dataset.with_space(|space| dataset.base.session.library.space_of(space))
}

/// Returns the creation list of a dataset (`H5Dget_create_plist`).
pub fn creation_list(handle: &Handle) -> Result<Id> {
    let dataset = of(handle)?;
    let library = dataset.base.session.library;
    let list = library.decode_list(&dataset.dataset.creation_properties(), ListClass::DatasetCreate)?;
    filter_pipeline::apply(library, list.get(), dataset.dataset.filters())?;
    filter_setup::load_optional(library, dataset.dataset.filters());
    if dataset.dataset.has_unfiltered_edges() {
        library.leave_edges_unfiltered(list.get())?;
    }
    let types = types_of(dataset)?;
    if types.has_heap
        && let FillValue::User(value) = &dataset.dataset.fill().value
    {
        let value = MemoryElements::of_stored(&dataset.base.session, &types, types.stored()?, value)?;
        value.set_fill_value(list.get())?;
    }
    if let Some(own) = &dataset.user_properties {
        library.add_user_properties(own, list.get())?;
    }
    Ok(list)
}

/// Returns the access list of a dataset (`H5Dget_access_plist`).
pub fn access_list(handle: &Handle) -> Result<Id> {
    let dataset = of(handle)?;
    let library = dataset.base.session.library;
    let list = match &dataset.access_list {
        Some(list) => library.copy_list(list.get())?,
        None => library.default_list(ListClass::DatasetAccess)?,
    };
    // Native files return the effective values, too (H5Dint.c, H5D_get_access_plist).
    let is_chunked = matches!(dataset.dataset.layout(), Layout::Chunked { .. });
    let of_file = is_chunked.then(|| dataset.base.session.access_list.get());
    library.set_chunk_cache_of(list.get(), of_file)?;
    let (files, sources) = (prefix::of_external_files(dataset)?, prefix::of_virtual_sources(dataset)?);
    library.set_prefixes(&list, &files, &sources)?;
    Ok(list)
}

/// Resizes a dataset (`H5Dset_extent`).
pub fn set_extent(handle: &Handle, read_sizes: impl FnOnce(usize) -> Result<Vec<u64>>) -> Result<()> {
    let dataset = of(handle)?;
    dataset.base.session.change_structure(CollectiveChange::Resized, || resize(dataset, read_sizes))
}

fn resize(dataset: &DatasetHandle, read_sizes: impl FnOnce(usize) -> Result<Vec<u64>>) -> Result<()> {
    let rank = dataset.dataset.with_space(|space| match space {
        Dataspace::Simple { dims, .. } => Some(dims.len()),
        _ => None,
    });
    match rank {
        Some(rank) => {
            let sizes = read_sizes(rank)?;
            if let Layout::Virtual { mappings } = dataset.dataset.layout() {
                check_extent(dataset.base.session.library, mappings, &sizes)?;
            }
            Ok(dataset.dataset.set_extent(&sizes)?)
        }
        None => Err(Error::argument("a dataset with a scalar or null dataspace cannot be resized")),
    }
}
