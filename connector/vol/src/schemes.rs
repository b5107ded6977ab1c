//! Which words before a colon choose a store.

use object_stores::registry::{self, Registry};

use crate::config::Config;

/// Whether stores have this scheme: ours, or those of libraries.
pub(crate) fn knows(scheme: &str, config: &Config) -> bool {
    if let Some(paths) = &config.store_path {
        registry::add_store_path(paths);
    }
    Registry::global().knows(scheme)
}
