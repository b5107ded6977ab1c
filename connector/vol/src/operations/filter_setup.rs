//! The setup of the filters of a dataset that is being created, as in native code (`H5D__create`, H5Dint.c).

use std::collections::BTreeSet;

use h5lake_container::{Dataset, Dataspace, Filter, Layout};
use h5lake_ledger::locks::Mutex;

use crate::error::{Error, Major, Minor, Result};
use crate::hdf5::datatype::{ARRAY, COMPOUND, VARIABLE_LENGTH};
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::plist::creation::DatasetCreation;
use crate::session::Session;
use crate::transfer::filter_pipeline::{self, is_variable_length};
use crate::transfer::library_codec;
use crate::transfer::stored_type::FileType;

/// `H5Z_FLAG_OPTIONAL`.
const OPTIONAL: u32 = 1;
/// The filter that has the size of an element as its parameter (`H5Z_FILTER_SHUFFLE`).
const SHUFFLE: i32 = 2;
/// `H5Z_FILTER_NBIT`.
const NBIT: i32 = 5;
/// The first filter that is not HDF5's own (`H5Z_FILTER_RESERVED`).
const FIRST_REGISTERED: i32 = 256;
/// Deflate, shuffle, fletcher32: h5lake itself does their setup as native code would.
const SET_UP_HERE: std::ops::RangeInclusive<i32> = 1..=3;

/// Returns the filters to be stored: checked (`can_apply`), with the parameters that they set for themselves
/// (`set_local`).
///
/// # Errors
/// The refusals of native code, with its texts.
pub fn of_new(
    session: &Session,
    types: &FileType,
    space: &Dataspace,
    given: &DatasetCreation,
    creation: Hid,
) -> Result<Vec<Filter>> {
    let mut filters = given.filters.clone();
    if filters.is_empty() {
        return Ok(filters);
    }
    // Optional filters that the settings forbid are skipped for all chunks.
    for filter in filters.iter().filter(|filter| filter.flags & OPTIONAL == 0) {
        library_codec::check_allowed(session.config.foreign_filters, filter)?;
    }
    if is_unsuitable(types, space)? {
        // Optional filters stay in the pipeline as they were given, and skip chunks that they cannot filter
        // (H5Z_ignore_filters).
        if filters.iter().any(|filter| filter.flags & OPTIONAL == 0) {
            return Err(Error::new(Minor::BadValue, "not suitable for filters").in_class(Major::Argument));
        }
        return Ok(filters);
    }
    let Layout::Chunked { chunk } = &given.layout else {
        return Err(Error::new(Minor::BadValue, "filters can only be used with chunked layout"));
    };
    if !filters.iter().all(|filter| SET_UP_HERE.contains(&filter.id)) {
        if types.has_heap
            && filters.iter().any(|filter| filter.id == NBIT)
            && has_arrays_of_sequences(types.library(), types.stored()?)?
        {
            return Err(
                Error::new(Minor::BadType, "datatype not supported by nbit").in_class(Major::Argument)
            );
        }
        let scratch = match types.has_references && !types.has_heap {
            true => filter_pipeline::scratch_of_references(session, types, chunk, creation),
            false => filter_pipeline::scratch(session, types, chunk, creation),
        };
        return scratch?.filters();
    }
    for filter in filters.iter_mut().filter(|filter| filter.id == SHUFFLE) {
        let size = u32::try_from(types.size);
        filter.client_data = vec![size.map_err(|_| Error::argument("elements too large to shuffle"))?];
    }
    Ok(filters)
}

/// Makes the new dataset's chunks skip optional filters that the library lacks, like native code does: the parameters
/// that such a filter sets for itself are unknown, although the plugin may have the filter.
pub fn leave_out_missing(library: Library, dataset: &Dataset) {
    let missing = |filter: &Filter| {
        filter.id >= FIRST_REGISTERED && filter.flags & OPTIONAL != 0 && !library.has_filter(filter.id)
    };
    let filters = dataset.filters().iter().take(32).enumerate();
    let mask = filters.filter(|(_, filter)| missing(filter)).fold(0, |mask, (n, _)| mask | 1 << n);
    if mask != 0 {
        dataset.leave_out_filters(mask);
    }
}

/// Makes the library load the plugins of optional filters, each once, before the application gets a list with these
/// filters. A list takes a filter's name from its class only. If a native dataset is made with the list and the plugin
/// is loaded later, HDF5 reserves no space for a name but writes one (`H5O__pline_size`, `H5O__pline_encode`): the
/// object header is damaged. Mandatory filters are loaded in time.
pub fn load_optional(library: Library, filters: &[Filter]) {
    static ASKED: Mutex<BTreeSet<(usize, i32)>> = Mutex::new(BTreeSet::new());
    let optional = |filter: &&Filter| filter.id >= FIRST_REGISTERED && filter.flags & OPTIONAL != 0;
    for filter in filters.iter().filter(optional) {
        let is_new = ASKED.lock().insert((library.slot(), filter.id));
        if is_new {
            library.has_filter(filter.id);
        }
    }
}

/// Returns whether native code would not set up filters for such a dataset.
fn is_unsuitable(types: &FileType, space: &Dataspace) -> Result<bool> {
    Ok(!matches!(space, Dataspace::Simple { .. }) || is_variable_length(types)?)
}

/// Returns whether a datatype contains arrays of variable-length data: native code has no parameters of the n-bit
/// filter for them (H5Z__calc_parms_array), but has them for the same data in a compound.
fn has_arrays_of_sequences(library: Library, datatype: Hid) -> Result<bool> {
    match library.type_class(datatype)? {
        ARRAY => {
            let base = library.base_type(datatype)?;
            Ok(library.type_class(base.get())? == VARIABLE_LENGTH
                || library.is_variable_string(base.get())?
                || has_arrays_of_sequences(library, base.get())?)
        }
        COMPOUND => {
            for member in library.member_types(datatype)? {
                if has_arrays_of_sequences(library, member.get())? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Ok(false),
    }
}
