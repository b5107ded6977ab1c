//! The newest version of a container, for listings of many containers.

use std::sync::Arc;

use object_stores::ObjectStore;

use super::manifest::{Names, read_decoded_head};
use super::open::{head_key, open};
use super::version_lookup::{history, mark_of, version_of};
use super::{initial_manifest, parse_log};
use crate::error::{Error, ErrorKind, Result};
use crate::options::{Access, Options, Version};

/// Returns the newest version, or `None` for a container without commits. Of a container that was closed, this reads the manifest,
/// and one object more if the manifest does not hold the log.
pub(super) fn newest_version(
    store: &Arc<dyn ObjectStore>,
    key: &str,
    target: &str,
) -> Result<Option<Version>> {
    let head_key = head_key(key, target)?;
    initial_manifest::wait_for(target);
    let head = read_decoded_head(store.as_ref(), &head_key, target)?;
    let head = head.ok_or_else(|| Error::new(target, ErrorKind::NotFound))?;
    if let Some(log) = &head.closed {
        if let Some(last) = log.last() {
            let last =
                parse_log(last).map_err(|why| Error::corrupt(target, "the log in the manifest", why))?;
            return Ok(Some(version_of(mark_of(&last))));
        }
        if head.version == head.base.version {
            let names = Names::new(head_key, &head.fixed.id, target)?;
            let base = history(store.as_ref(), &names, &head, target)?.base;
            return Ok((base.version > 0).then(|| version_of(base)));
        }
    }
    let storage = open(store.clone(), key, Access::ReadOnly, &Options::default())?;
    Ok(storage.list_versions(1)?.pop())
}
