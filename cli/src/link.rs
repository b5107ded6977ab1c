//! `h5lake link`: creates a pointer file to a container or to a native HDF5 file in a store.

use std::path::Path;

use h5lake_connector::config::Config;
use h5lake_connector::{names, pointer};
use h5lake_container::Target;
use h5lake_ledger::{Ledger, Probe};
use serde_json::json;

use crate::Failure;
use crate::output::{json_text, print};

/// Creates the pointer file at `path`. Fails if neither a container nor a native HDF5 file is at `url`.
pub fn run(url: &str, path: &Path, json: bool) -> Result<(), Failure> {
    let config = Config::from_environment()?;
    let (pointer, target) = names::pointer_to(url, &config).map_err(|error| error.to_string())?;
    if let Target::Objects { store, key, .. } = target {
        match Ledger::probe_objects(&*store, &key)? {
            Probe::Container | Probe::NativeHdf5 => {}
            Probe::NotFound => return Err(format!("{url}: nothing is there; correct the URL").into()),
            Probe::WrongStorage => {
                return Err(format!("{url}: is a container in one file; open it by its path").into());
            }
            _ => return Err(format!("{url}: is no container and no HDF5 file; correct the URL").into()),
        }
    }
    pointer::link(path, &pointer, config.sync).map_err(|error| error.to_string())?;
    let shown = path.display().to_string();
    print([if json {
        json_text(&json!({ "path": shown, "url": pointer.url() }))
    } else {
        format!("{shown}: names {}", pointer.url())
    }])?;
    Ok(())
}
