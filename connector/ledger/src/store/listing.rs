//! The newest versions of containers, for listings of many containers.

use std::sync::Arc;

use object_stores::ObjectStore;

use super::committer::load;
use super::fetch::Fetcher;
use super::head::target_of;
use super::names::Names;
use super::note::version_of;
use super::open::head_key;
use super::past::marks;
use crate::core::records::Segments;
use crate::error::{Error, ErrorKind, Result};
use crate::options::Version;
use crate::register::SwapRegister;
use crate::side_by_side::side_by_side;

/// Objects that are read side by side.
const MAX_READS: usize = 16;

/// Reads the newest versions of containers, several side by side. Each container has its own result, so that one that cannot be read
/// hides no other.
pub(crate) fn newest_versions(store: &Arc<dyn ObjectStore>, keys: &[&str]) -> Vec<Result<Option<Version>>> {
    let mut found: Vec<_> = keys.iter().map(|_| Ok(None)).collect();
    let items = keys.iter().zip(&mut found).collect();
    let _no_error_ends_it = side_by_side(items, MAX_READS, |(key, found)| {
        *found = newest_version(store, key);
        Ok(())
    });
    found
}

/// Returns the newest version, or `None` for a container without commits. One request, and one more for a container that was
/// checkpointed last.
fn newest_version(store: &Arc<dyn ObjectStore>, key: &str) -> Result<Option<Version>> {
    let target: Arc<str> = target_of(store.as_ref(), key).into();
    let key = head_key(key, &target)?;
    let (manifest, _) = load(&SwapRegister::new(store.clone(), key.clone(), &target), &target)?;
    if manifest.is_absent() {
        return Err(Error::new(&target, ErrorKind::NotFound));
    }
    let names = Names::new(key, manifest.id, &target)?;
    let fetcher = Fetcher { store: store.clone(), names, target };
    let newest = marks(&manifest, 1, &mut Segments::default(), &fetcher)?.pop();
    Ok(newest.filter(|mark| mark.number > 0).as_ref().map(version_of))
}
