//! Decides which words before a colon choose a store.

use object_stores::registry::{self, Registry};

use crate::config::Config;

/// Returns whether a store has this scheme, including stores in libraries.
pub(crate) fn knows(scheme: &str, config: &Config) -> bool {
    if let Some(paths) = &config.store_path {
        registry::add_store_path(paths);
    }
    Registry::global().knows(scheme)
}
