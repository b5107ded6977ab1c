//! The libraries of this process, each of which is bound once.

use std::sync::{Mutex, OnceLock, PoisonError};

use crate::resolve::{Object, object_of};
use crate::{BindError, Hdf5};

/// The maximum number of different libhdf5 libraries in one process.
///
/// The number is limited because the connector has a separate class struct for each library, which is made at compile time.
pub const MAX_LIBRARIES: usize = 16;

static LIBRARIES: [OnceLock<Hdf5>; MAX_LIBRARIES] = [const { OnceLock::new() }; MAX_LIBRARIES];

/// Locked while a library is bound, so that it gets only one slot.
static BINDING: Mutex<()> = Mutex::new(());

/// Returns the table of the libhdf5 that contains `address`, such as the return address of a call from it.
///
/// The same library gets the same table and slot each time, also after H5close and a new start. Calls no HDF5 function.
///
/// # Errors
///
/// Returns a [`BindError`] if no object contains the address, if the library does not export its symbols or lacks one of them, if it is
/// older than 1.14.0, or if all slots are in use. A failure uses no slot.
pub fn library_at(address: usize) -> Result<&'static Hdf5, BindError> {
    let (base, _) = object_of(address).ok_or(BindError::NoObject { address })?;
    // A panic during binding leaves no incomplete table, because a slot is filled in one step.
    let _one_at_a_time = BINDING.lock().unwrap_or_else(PoisonError::into_inner);
    for (slot, place) in LIBRARIES.iter().enumerate() {
        match place.get() {
            Some(known) if known.base == base => return Ok(known),
            Some(_) => {}
            None => {
                let bound = Hdf5::bind(Object::holding(address)?, slot)?;
                return Ok(place.get_or_init(|| bound));
            }
        }
    }
    let library = Object::holding(address)?.display();
    Err(BindError::TooMany { library, max: MAX_LIBRARIES })
}

/// Returns the table in `slot` if [`library_at`] has filled it.
pub fn library(slot: usize) -> Option<&'static Hdf5> {
    LIBRARIES.get(slot)?.get()
}
