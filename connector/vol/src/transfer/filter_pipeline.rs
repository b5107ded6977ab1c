//! The setup of filters by libhdf5, in the native file beneath the session; and the state of threads that run filters.
#![forbid(unsafe_code)]

use std::sync::Arc;

use h5lake_container::{Container, Filter};

use crate::error::{Error, Minor, Result};
use crate::hdf5::datatype::{ARRAY, COMPOUND, ENUM, OPAQUE, VARIABLE_LENGTH};
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::native::filter_dataset::Scratch;
use crate::session::Session;
use crate::transfer::context::FILTERED;
use crate::transfer::stored_type::FileType;

/// Returns whether elements are variable-length data as a whole. HDF5 sets up no filter for such elements
/// (`H5Z_ignore_filters`).
///
/// # Errors
/// The errors of libhdf5.
pub fn is_variable_length(types: &FileType) -> Result<bool> {
    Ok(types.class == VARIABLE_LENGTH || types.library().is_variable_string(types.stored()?)?)
}

/// Makes a native dataset of one chunk with a dataset's type and filters, to set up the filters. The native dataset
/// has the dataset's own type, so that filters get class, size, precision and order; heap ids and references are bytes
/// to them.
///
/// # Errors
/// The errors of native code, like for the creation of a native dataset.
pub fn scratch(session: &Session, types: &FileType, chunk: &[u64], creation: Hid) -> Result<Scratch> {
    let library = session.library;
    let datatype = if !types.has_heap && !types.has_references {
        types.copy()?
    } else if types.class == ARRAY && has_precision(library, types.stored()?)? {
        // Filters that read a precision get that of an array's elements, if these have any.
        library.array_of_bytes(types.size)?
    } else {
        library.opaque_type(types.size)?
    };
    scratch_of(session, types, datatype, chunk, creation)
}

/// Makes a native dataset of a type with references, as [`scratch`] does for other types.
///
/// # Errors
/// As for [`scratch`].
pub fn scratch_of_references(
    session: &Session,
    types: &FileType,
    chunk: &[u64],
    creation: Hid,
) -> Result<Scratch> {
    let datatype = types.copy()?;
    scratch_of(session, types, datatype, chunk, creation)
}

fn scratch_of(
    session: &Session,
    types: &FileType,
    datatype: Id,
    chunk: &[u64],
    creation: Hid,
) -> Result<Scratch> {
    let library = session.library;
    let list = library.copy_list(creation)?;
    library.allocate_nothing(list.get())?;
    if types.has_heap || types.has_references {
        library.clear_fill_value(list.get())?;
    }
    Scratch::new(session.shadow.file()?, &datatype, chunk, list.get())
}

/// Returns whether the innermost elements of arrays and variable-length data are atomic (`H5T_get_precision`).
fn has_precision(library: Library, datatype: Hid) -> Result<bool> {
    match library.type_class(datatype)? {
        ARRAY | VARIABLE_LENGTH | ENUM => has_precision(library, library.base_type(datatype)?.get()),
        class => Ok(!matches!(class, COMPOUND | OPAQUE)),
    }
}

/// Returns whether this thread runs filters.
pub fn is_filtering() -> bool {
    FILTERED.get() != 0
}

/// Refuses a call that a filter makes on the file of its own chunk, because the chunk's place is being changed.
///
/// # Errors
/// If this thread runs filters on a chunk of the container.
pub fn check_not_filtering(container: &Arc<Container>) -> Result<()> {
    if FILTERED.get() != Arc::as_ptr(container).addr() {
        return Ok(());
    }
    Err(Error::new(
        Minor::CannotOperate,
        "a filter may not use the file whose chunk it is given; let it use another file, or the dataset's own \
         parameters",
    ))
}

/// Puts stored flags and parameters into a creation list that has the same filters.
///
/// # Errors
/// If the list has other filters: changing a filter that a list lacks would write behind its filters (H5Z_modify).
pub fn apply(library: Library, list: Hid, filters: &[Filter]) -> Result<()> {
    if filters.is_empty() {
        return Ok(());
    }
    let given = library.filters(list)?;
    if !given.iter().map(|f| f.id).eq(filters.iter().map(|f| f.id)) {
        return Err(Error::damaged_encoding("property list", "it has other filters than its dataset"));
    }
    for (filter, given) in filters.iter().zip(&given) {
        if (filter.flags, &filter.client_data) != (given.flags, &given.client_data) {
            library.set_filter_parameters(list, filter)?;
        }
    }
    Ok(())
}
