//! Containers in stores with a staging directory, a local folder in which pending uploads wait (`stage=`).

use std::sync::Arc;

use h5lake_container::Target;
use h5lake_ledger::{Ledger, SyncPolicy};
use object_stores::staged::{DEFAULT_PATIENCE, StageOptions};
use object_stores::{ObjectStore, StagedStore};

use crate::error::{Error, Minor, Result};
use crate::operations::file::OpenRequest;

/// The bound of one container's pending uploads in the folder, if the settings give none.
const STAGE_SIZE: u64 = 16 << 30;

/// Returns the target of a container that is opened or made for writing, behind a staging directory if the settings
/// request one. Local files and containers in memory have none, because they are fast.
///
/// # Errors
/// If the folder cannot be used, or several processes want to write.
pub(super) fn target(request: OpenRequest<'_>) -> Result<Target> {
    let OpenRequest { config, place, name, together, .. } = request;
    let (Some(dir), Target::Objects { store, key, url }) = (&config.stage, &place.target) else {
        return Ok(place.target.clone());
    };
    if !store.capabilities().persistent {
        return Ok(place.target.clone());
    }
    let failed = |why: String| {
        let name = String::from_utf8_lossy(name);
        Error::file(
            Minor::CannotOpenFile,
            format!("unable to open or make the file: name = '{name}': {why}"),
            None,
        )
    };
    let writers = match (together, config.many_writers) {
        (Some(_), _) => Some("the MPI driver has several"),
        (_, true) => Some("writers=many asks for several"),
        _ => None,
    };
    if let Some(writers) = writers {
        return Err(failed(format!("stage= is for one writer, and {writers}; leave one of the two out")));
    }
    let options = StageOptions {
        dir: dir.into(),
        bound: config.stage_size.map_or(STAGE_SIZE, |bytes| bytes as u64),
        sync: config.sync == SyncPolicy::Commit,
        patience: config.timeout.unwrap_or(DEFAULT_PATIENCE),
        url: url.clone(),
        key: key.clone(),
    };
    let head = key.clone();
    let staged = StagedStore::open(store.clone(), options, move |key| Ledger::role_of_object(&head, key));
    let staged = staged.map_err(|error| failed(error.to_string()))?;
    let store: Arc<dyn ObjectStore> = Arc::new(staged);
    Ok(Target::Objects { store, key: key.clone(), url: url.clone() })
}
