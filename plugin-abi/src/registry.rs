//! The libraries of this process, each bound once.

use std::sync::{Mutex, OnceLock, PoisonError};

use crate::resolve::{Object, object_of};
use crate::{BindError, Hdf5};

/// How many different libhdf5 one process may have.
///
/// The connector hands each library a class struct of its own, made at compile time, so there is a bound.
pub const MAX_LIBRARIES: usize = 16;

static LIBRARIES: [OnceLock<Hdf5>; MAX_LIBRARIES] = [const { OnceLock::new() }; MAX_LIBRARIES];

/// Held while a library is bound, so that it gets one slot only.
static BINDING: Mutex<()> = Mutex::new(());

/// The table of the libhdf5 whose code holds `address`, such as the return address of a call that it made.
///
/// The same library gives the same table and slot each time, also after H5close has started it anew. Calls
/// no HDF5 function.
///
/// # Errors
///
/// [`BindError`] if no object holds the address, its symbols are not exported or one is missing, it is older
/// than 1.14.0, or all slots are taken. A failure takes no slot.
pub fn library_at(address: usize) -> Result<&'static Hdf5, BindError> {
    let (base, _) = object_of(address).ok_or(BindError::NoObject { address })?;
    // A panic while binding leaves no half table behind: a slot is filled in one step.
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

/// The table in `slot`, if [`library_at`] has filled it.
pub fn library(slot: usize) -> Option<&'static Hdf5> {
    LIBRARIES.get(slot)?.get()
}
