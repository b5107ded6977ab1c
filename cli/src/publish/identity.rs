//! What tells versions of referenced objects and native files apart: etags, and times of the last change. A container's own file has
//! neither: it changes with every commit, and what is published stays in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use h5lake_container::{Container, Target};
use h5lake_ledger::Source;
use object_stores::registry::is_url;
use object_stores::{Etag, ObjectMeta, ObjectStore, ObjectStoreExt};
use serde_json::{Map, Value, json};

use crate::Failure;

/// How to find out what a URL in references had when they were made.
pub struct Identities {
    sources: Vec<(String, Source)>,
    /// The store of the container's objects, and what their URLs begin with.
    objects: Option<(Arc<dyn ObjectStore>, String)>,
}

/// What references say of a version. Readers compare times in whole seconds, so a part of one counts as a whole.
fn described(etag: Option<&str>, modified: SystemTime) -> Value {
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs() + u64::from(since.subsec_nanos() > 0);
    json!({ "etag": etag, "modified": seconds })
}

/// A strong etag, as other clients of the store see it: those of a directory are our own.
fn of_object(url: &str, meta: &ObjectMeta) -> Value {
    let etag = meta.etag.as_ref().filter(|etag| !etag.is_weak() && !url.starts_with("file:"));
    described(etag.map(Etag::as_str), meta.modified)
}

impl Identities {
    /// Of a container whose objects have URLs that begin with `base`. Where others hand them out, nobody knows their etags.
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

    /// By URL, what is known of those that are asked for. Lists the container's objects once.
    ///
    /// # Errors
    /// Those of the store.
    pub fn of(&self, urls: &BTreeSet<String>) -> Result<Map<String, Value>, Failure> {
        let mut found = Map::new();
        for (url, source) in &self.sources {
            if urls.contains(url) {
                let etag = Some(&*source.etag).filter(|etag| !etag.is_empty() && !etag.starts_with("W/"));
                let modified = SystemTime::UNIX_EPOCH + Duration::from_nanos(source.modified);
                found.insert(url.clone(), described(etag.filter(|_| !url.starts_with("file:")), modified));
            }
        }
        let Some((store, base)) = &self.objects else { return Ok(found) };
        let keys: BTreeSet<&str> = urls.iter().filter_map(|url| url.strip_prefix(&**base)).collect();
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return Ok(found) };
        let common = first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count();
        // A part of a character is none of a prefix.
        let common = (0..=common).rev().find(|end| first.is_char_boundary(*end)).unwrap_or(0);
        for meta in store.list(&first[..common], None) {
            let meta = meta?;
            if keys.contains(meta.key.as_str()) {
                let url = format!("{base}{}", meta.key);
                found.insert(url.clone(), of_object(&url, &meta));
            }
        }
        Ok(found)
    }
}
