//! Sources of containers in stores: adopted native files, which the container refers to by their URLs.

use std::sync::Arc;

use h5lake_container::Target;
use h5lake_ledger::{NotFollowed, SourceOpener};
use object_stores::{Key, ObjectStore};

use super::{in_store, split_key};
use crate::config::Config;
use crate::trust;

/// Follows URLs of sources as far as `links=` allows.
#[derive(Debug)]
pub struct FollowedSources {
    config: Config,
    /// The container's folder, as returned by [`folder_of`](super::folder_of).
    folder: Vec<u8>,
}

impl FollowedSources {
    /// Makes an opener for a container in `folder`.
    pub fn opener(config: &Config, folder: Vec<u8>) -> Arc<dyn SourceOpener> {
        Arc::new(Self { config: config.clone(), folder })
    }
}

impl SourceOpener for FollowedSources {
    fn open(&self, url: &str) -> Result<(Arc<dyn ObjectStore>, Key), NotFollowed> {
        let failed = |why: String| NotFollowed { errno: None, why };
        let refused =
            |error: crate::error::Error| NotFollowed { errno: Some(libc::EACCES), why: error.to_string() };
        trust::check_name(url.as_bytes(), &self.folder, &self.config).map_err(refused)?;
        let (store, key) = split_key(url);
        let found = in_store(store, "", key, &self.config).map_err(|error| failed(error.to_string()))?;
        let Target::Objects { store, key, .. } = found else {
            return Err(failed(format!("'{url}' is no object of a store")));
        };
        let key = Key::new(key).map_err(|error| failed(error.to_string()))?;
        Ok((store, key))
    }
}
