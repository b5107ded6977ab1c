//! The options with which a container is opened, from the settings and the file access list.

use h5lake_container::{OnConflict, Options, Target};
use h5lake_ledger::{LockPolicy, Writers};

use crate::config::Config;
use crate::error::Result;
use crate::hdf5::library::{Hid, Library};
use crate::names::{self, Place, sources::FollowedSources};
use crate::operations::file::OpenRequest;
use crate::session::collective::CollectiveFile;
use crate::session::memory;

/// The bound of a block cache above a local file, which the system caches, too. With this bound, a process with its
/// code, buffers and page cache is less than 64 MiB larger than with native HDF5.
const NEAR_CACHE_BYTES: usize = 48 << 20;
/// The bound of a block cache above a store: each dropped block costs a request.
const FAR_CACHE_BYTES: usize = 256 << 20;

/// Returns the options for opening the container.
///
/// # Errors
/// libhdf5's error for the list.
pub(super) fn options(request: OpenRequest<'_>) -> Result<Options> {
    let OpenRequest { library, config, access, together, place, name, .. } = request;
    if let Some(message) = &config.message {
        let _was_checked = h5lake_ledger::set_default_message(message);
    }
    let mut options = reading_options(config, place, name);
    options.ledger.foreign = place.foreign.clone();
    options.ledger.writers =
        if config.many_writers || together.is_some() { Writers::Many } else { Writers::One };
    // If two processes of an MPI program write the same elements, the program must order the writes; MPI does not
    // define the result.
    options.on_conflict = if together.is_some() { OnConflict::Last } else { config.on_conflict };
    options.together = together.map(CollectiveFile::part);
    options.ledger.sync = config.sync;
    options.ledger.lock = locking(library, access)?;
    options.ledger.lock_files = together.and_then(CollectiveFile::lock_files);
    Ok(options)
}

/// Returns the options that depend on the settings and the name alone, and that readers need. Files are not locked.
pub fn reading_options(config: &Config, place: &Place, name: &[u8]) -> Options {
    let default = match place.target {
        Target::File(_) => NEAR_CACHE_BYTES,
        Target::Objects { .. } => FAR_CACHE_BYTES,
    };
    let mut options = Options {
        cache_bytes: config.cache_bytes.unwrap_or(default),
        memory: memory::budget(),
        ..Options::default()
    };
    options.ledger.retention = config.retention;
    options.ledger.salvage = config.salvage;
    options.ledger.source_opener = Some(FollowedSources::opener(config, names::folder_of(name, config)));
    options
}

/// Returns whether to lock, and whether to continue if the file system has no locks. Like for native files, the
/// environment takes precedence over the property. An unchanged list says "best effort", like a list that requests it
/// explicitly. In that case a writer must get an error, because nothing would exclude a second writer.
pub(super) fn locking(library: Library, access: Hid) -> Result<LockPolicy> {
    if let Some(policy) = LockPolicy::from_environment() {
        return Ok(policy);
    }
    Ok(match library.file_locking(access)? {
        (false, _) => LockPolicy::Off,
        (true, true) => LockPolicy::RequiredToWrite,
        (true, false) => LockPolicy::Required,
    })
}
