//! How a container is opened: what the settings and the file access list say.

use h5lake_container::{OnConflict, Options, Target};
use h5lake_ledger::{LockPolicy, Writers};

use crate::error::Result;
use crate::hdf5::library::{Hid, Library};
use crate::names::{self, sources::FollowedSources};
use crate::operations::file::OpenRequest;
use crate::session::memory;

/// The bound of a block cache above a local file, which the system caches, too. With code, buffers and the cache of pages a process
/// is so less than 64 MiB larger than with native HDF5.
const NEAR_CACHE_BYTES: usize = 48 << 20;
/// The bound of a block cache above a store: what is dropped there costs a request.
const FAR_CACHE_BYTES: usize = 256 << 20;

/// What the container wants to know to be opened.
///
/// # Errors
/// What libhdf5 says about the list.
pub(super) fn options(request: OpenRequest<'_>) -> Result<Options> {
    let OpenRequest { library, config, access, together, place, name, .. } = request;
    let default = match place.target {
        Target::File(_) => NEAR_CACHE_BYTES,
        Target::Objects { .. } => FAR_CACHE_BYTES,
    };
    let mut options = Options {
        cache_bytes: config.cache_bytes.unwrap_or(default),
        memory: memory::budget(),
        ..Options::default()
    };
    options.ledger.foreign = place.foreign.clone();
    options.ledger.retention = config.retention;
    options.ledger.salvage = config.salvage;
    options.ledger.writers =
        if config.many_writers || together.is_some() { Writers::Many } else { Writers::One };
    // What two processes of an MPI program write to the same elements is for them to agree on; MPI does not say who wins.
    options.on_conflict = if together.is_some() { OnConflict::Last } else { config.on_conflict };
    options.together = together;
    options.ledger.sync = config.sync;
    options.ledger.lock = locking(library, access)?;
    options.ledger.source_opener = Some(FollowedSources::opener(config, names::folder_of(name, config)));
    Ok(options)
}

/// Whether to lock, and whether to do without where the file system has no locks. As in native files the environment wins
/// over the property. A list that nobody changed says "best effort", as one does that asks for it: then whoever writes has
/// to be told, because a second writer is kept out by nothing.
fn locking(library: Library, access: Hid) -> Result<LockPolicy> {
    if let Some(policy) = LockPolicy::from_environment() {
        return Ok(policy);
    }
    Ok(match library.file_locking(access)? {
        (false, _) => LockPolicy::Off,
        (true, true) => LockPolicy::RequiredToWrite,
        (true, false) => LockPolicy::Required,
    })
}
