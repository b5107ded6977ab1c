//! The identities of referenced objects and native files: their etags and modification times, with which a reader detects changes. The file
//! of a container has no identity, because it changes with every commit and its published content stays valid.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use h5lake_container::{Container, Target};
use h5lake_ledger::Source;
use object_stores::registry::is_url;
use object_stores::{Etag, ObjectStore, ObjectStoreExt};
use serde_json::{Map, Value, json};

use crate::Failure;

/// The sources of the identities that URLs had when the references were made.
pub struct Identities {
    sources: Vec<(String, Source)>,
    /// The store of the container's objects, and the beginning of their URLs.
    objects: Option<(Arc<dyn ObjectStore>, String)>,
}

/// Returns the identity of the object at a URL, as JSON. The time is rounded up to whole seconds, because readers compare times in seconds.
/// The identity includes the etag only if other clients of the store see the same one. It omits weak etags, the etags that h5lake makes for
/// the files of a directory, and the generations of Google Cloud Storage, because other clients of that service see digests as etags.
fn described(url: &str, etag: Option<&str>, modified: SystemTime) -> Value {
    let is_own = url.starts_with("file:") || url.starts_with("gs:");
    let etag = etag.filter(|etag| !etag.is_empty() && !etag.starts_with("W/") && !is_own);
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs() + u64::from(since.subsec_nanos() > 0);
    json!({ "etag": etag, "modified": seconds })
}

impl Identities {
    /// Creates the identities of a container. The URLs of its objects begin with `base`. If another server provides these URLs, the etags
    /// are unknown.
    pub fn new(
        container: &Container,
        target: &Target,
        base: &str,
        is_own_url: bool,
    ) -> Result<Self, Failure> {
        let objects = match target {
            Target::Objects { store, .. } if is_own_url => Some((store.clone(), format!("{base}/"))),
            _ => None,
        };
        let mut sources = Vec::new();
        for (number, source) in container.sources()? {
            let name = container.source_name(number)?;
            sources.push((if is_url(&name) { name } else { format!("file://{name}") }, source));
        }
        Ok(Self { sources, objects })
    }

    /// Returns the known identities of the given URLs. Lists the container's objects once.
    ///
    /// # Errors
    ///
    /// Returns an error if the store cannot list the objects.
    pub fn of(&self, urls: &BTreeSet<String>) -> Result<Map<String, Value>, Failure> {
        let mut found = Map::new();
        for (url, source) in &self.sources {
            if urls.contains(url) {
                let modified = SystemTime::UNIX_EPOCH + Duration::from_nanos(source.modified);
                found.insert(url.clone(), described(url, Some(&source.etag), modified));
            }
        }
        let Some((store, base)) = &self.objects else { return Ok(found) };
        let keys: BTreeSet<&str> = urls.iter().filter_map(|url| url.strip_prefix(&**base)).collect();
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return Ok(found) };
        let common = first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count();
        // The prefix must not end within a character.
        let common = (0..=common).rev().find(|end| first.is_char_boundary(*end)).unwrap_or(0);
        for meta in store.list(&first[..common], None) {
            let meta = meta?;
            if keys.contains(meta.key.as_str()) {
                let url = format!("{base}{}", meta.key);
                found.insert(
                    url.clone(),
                    described(&url, meta.etag.as_ref().map(Etag::as_str), meta.modified),
                );
            }
        }
        Ok(found)
    }
}
