//! The containers of a store, and their newest versions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use object_stores::{ObjectMeta, ObjectStore};

use super::committer::load;
use super::fetch::Fetcher;
use super::head::target_of;
use super::names::{Names, is_id};
use super::note::version_of;
use super::open::{head_key, probe};
use super::past::marks;
use crate::core::records::Segments;
use crate::error::{Error, ErrorKind, Result, store_error};
use crate::options::{Probe, Version};
use crate::register::SwapRegister;
use crate::side_by_side::side_by_side;

/// The number of keys in the first page of a listing, and in the largest page. Pages grow, because a directory is read again for each page.
const FIRST_PAGE: usize = 1000;
const LAST_PAGE: usize = 64_000;
/// The containers of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreListing {
    /// The containers, and other objects that may be containers, by their keys.
    pub entries: BTreeMap<String, ListedObject>,
    /// The folders that a listing of one level did not enter, as `folder/`.
    pub folders: BTreeSet<String>,
}

/// A container, or an object that may be a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedObject {
    /// Bytes of all objects of the container, including containers that are retained under the same key.
    pub bytes: u64,
    /// The time when the object at the key was put. `None` if no object is at the key: the container was deleted and is retained.
    pub modified: Option<SystemTime>,
    /// True if other objects show that a container is or was at the key. A small container has no such objects; the first bytes of the
    /// object show that it is a container. The same bytes show that a container was deleted.
    pub has_parts: bool,
}

impl StoreListing {
    fn add(&mut self, object: &ObjectMeta, whole: bool) {
        let key = object.key.as_str();
        let owner = owner_of(key);
        if !whole && let Some(slash) = owner.find('/') {
            self.folders.insert(owner[..=slash].to_owned());
            return;
        }
        let entry = self.entries.entry(owner.to_owned()).or_default();
        entry.bytes = entry.bytes.saturating_add(object.size);
        if owner == key { entry.modified = Some(object.modified) } else { entry.has_parts = true }
    }
}

/// Lists the containers of a store; if `whole` is true, including those in folders.
pub(crate) fn list(store: &dyn ObjectStore, whole: bool) -> Result<StoreListing> {
    let mut found = StoreListing::default();
    let (mut after, mut limit) = (None::<String>, FIRST_PAGE);
    loop {
        let page = store.list_page("", after.as_deref(), limit);
        let page = page.map_err(|e| store_error(&store.name(), &e))?;
        page.objects.iter().for_each(|object| found.add(object, whole));
        let Some(last) = page.objects.last().filter(|_| page.more) else { return Ok(found) };
        let last = last.key.as_str();
        after = Some(match owner_of(last).split_once('/') {
            // The remaining keys of the folder are skipped. That takes no more requests than listing them would.
            Some((folder, _)) if !whole => format!("{folder}/\u{10ffff}"),
            _ => last.to_owned(),
        });
        limit = LAST_PAGE.min(2 * limit);
    }
}

/// Returns the key of the container that an object belongs to by its key, or the key itself.
fn owner_of(key: &str) -> &str {
    let mut from = 0;
    while let Some(at) = key[from..].find(".lake/") {
        let end = from + at;
        from = end + ".lake/".len();
        if end > 0 && !key[..end].ends_with('/') && is_part(&key[from..]) {
            return &key[..end];
        }
    }
    key
}

/// Returns whether the part of a key after `.lake/` is that of a container's object.
fn is_part(suffix: &str) -> bool {
    match suffix.split_once('/') {
        Some(("replaced", stone)) => stone.split_once('-').is_some_and(|(id, _)| is_id(id)),
        // A numbered manifest of a store without conditional puts.
        Some(("head", name)) => !name.contains('/'),
        Some(("clock", name)) => !name.contains('/') && name.bytes().all(|b| b.is_ascii_hexdigit()),
        Some((id, _)) => is_id(id),
        // The lease of a writer.
        None => suffix == "lease",
    }
}

/// The number of objects that are read in parallel.
const MAX_READS: usize = 16;

/// Determines from the first bytes of objects what they are. Several objects are read in parallel.
pub(crate) fn probes(store: &Arc<dyn ObjectStore>, keys: &[&str]) -> Vec<Result<Probe>> {
    let mut found: Vec<_> = keys.iter().map(|_| Ok(Probe::NotFound)).collect();
    let items = keys.iter().zip(&mut found).collect();
    let _no_error_ends_it = side_by_side(items, MAX_READS, |(key, found)| {
        *found = probe(store.as_ref(), key);
        Ok(())
    });
    found
}

/// Reads the newest versions of containers, several in parallel. Each container has its own result, so that the versions of all readable
/// containers are returned.
pub(crate) fn newest_versions(store: &Arc<dyn ObjectStore>, keys: &[&str]) -> Vec<Result<Option<Version>>> {
    let mut found: Vec<_> = keys.iter().map(|_| Ok(None)).collect();
    let items = keys.iter().zip(&mut found).collect();
    let _no_error_ends_it = side_by_side(items, MAX_READS, |(key, found)| {
        *found = newest_version(store, key);
        Ok(())
    });
    found
}

/// Returns the newest version, or `None` for a container without commits. This takes one request, and one more for a container if its last
/// change was a checkpoint.
fn newest_version(store: &Arc<dyn ObjectStore>, key: &str) -> Result<Option<Version>> {
    let target: Arc<str> = target_of(store.as_ref(), key).into();
    let key = head_key(key, &target)?;
    let (manifest, _) = load(&SwapRegister::new(store.clone(), key.clone(), &target), &target)?;
    if manifest.is_absent() {
        return Err(Error::new(&target, ErrorKind::NotFound));
    }
    let names = Names::new(key, manifest.id, &target)?;
    let fetcher = Fetcher::new(store.clone(), names, target);
    let newest = marks(&manifest, 1, &mut Segments::default(), &fetcher)?.pop();
    Ok(newest.filter(|mark| mark.number > 0).as_ref().map(version_of))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn objects_belong_to_the_container_with_their_key_prefix() {
        for (part, owner) in [
            (format!("a/b.h5.lake/{ID}/0123456789abcdef-1"), "a/b.h5"),
            (format!("my.lake/b.h5.lake/{ID}/copy/header"), "my.lake/b.h5"),
            (format!("b.h5.lake/replaced/{ID}-1f"), "b.h5"),
            ("b.h5.lake/clock/0011".to_owned(), "b.h5"),
            ("my.lake/b.h5.lake/lease".to_owned(), "my.lake/b.h5"),
        ] {
            assert_eq!(owner_of(&part), owner);
        }
        let names =
            ["a/b.h5", "my.lake/run.h5", "b.h5.lake/replaced/x.h5", "b.lake/clock/a/b", ".lake/replaced/x"];
        for name in names.into_iter().chain([&*format!("my.lake/{ID}"), &format!("a/.lake/{ID}/x")]) {
            assert_eq!(owner_of(name), name);
        }
    }
}
