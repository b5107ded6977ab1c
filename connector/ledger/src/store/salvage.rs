//! Copies of manifests. If the head object of a container is damaged, a reader uses the newest copy, and adds the records of later
//! segments.
//!
//! A copy is put after its swap is known to have taken effect, so it never shows uncommitted data. A small container without a root has no
//! copy: all of its content is in the head object.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use object_stores::{Key, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::committer::new_session_id;
use super::fetch::Fetcher;
use super::names::{Names, is_id, object_of};
use super::writer::Writer;
use super::{ObjectStorage, head, open, replaced};
use crate::core::ids::{ContainerId, Nonce};
use crate::core::line::MAX_MERGED_SEGMENT;
use crate::core::manifest::{MAX_MANIFEST_BYTES, Manifest};
use crate::core::records::Segment;
use crate::core::salvage::salvage;
use crate::error::{Error, Result, store_error};
use crate::options::Options;
use crate::register::DraftRegister;

/// The number of copies that are retained.
const KEPT: usize = 2;

/// Returns the prefix of the keys of a container's copies of manifests.
fn copies_prefix(names: &Names) -> String {
    format!("{}/manifest/", names.lake)
}

impl Writer {
    /// Puts a copy of the newest manifest, which is known to be in the store, beside its objects, and deletes old copies. If the copy
    /// cannot be put, salvage finds an older one.
    pub(super) fn copy_manifest(&mut self) {
        if let Err(e) = self.replace_copies() {
            tracing::debug!(error = %e, "a copy of the manifest was not put");
        }
    }

    fn replace_copies(&mut self) -> Result<()> {
        let fetcher = self.io.fetcher.clone();
        let failed = |e| store_error(&fetcher.target, &e);
        let known = self.committer.known();
        let key = fetcher.names.key(&format!("manifest/{:016x}", known.sequence), &fetcher.target)?;
        fetcher.store.put(&key, PutPayload::from(known.encode()), PutMode::Overwrite).map_err(failed)?;
        // Each writer lists the copies only once, because a listing through a staging directory may have to wait for the store.
        let copies = match &mut self.copies {
            Some(copies) => {
                copies.push_back(key);
                copies
            }
            None => self.copies.insert(listed_copies(&fetcher).map_err(failed)?),
        };
        let old: Vec<Key> = copies.drain(..copies.len().saturating_sub(KEPT)).collect();
        if old.is_empty() { Ok(()) } else { fetcher.store.delete_many(&old).map_err(failed) }
    }
}

/// Returns the keys of all copies of a container's manifests, oldest first.
fn listed_copies(fetcher: &Fetcher) -> object_stores::Result<VecDeque<Key>> {
    fetcher.store.list(&copies_prefix(&fetcher.names), None).map(|meta| Ok(meta?.key)).collect()
}

/// Opens a container with a damaged head object from a copy of its manifest. `e` is the error about the damage.
pub(super) fn open_damaged(
    store: Arc<dyn ObjectStore>,
    key: Key,
    target: Arc<str>,
    opts: &Options,
    e: Error,
) -> Result<ObjectStorage> {
    let Some(copy) = newest_copy(store.as_ref(), &key, &target)? else { return Err(e) };
    let names = Names::new(key.clone(), copy.0.id, &target)?;
    let segments = later_segments(store.as_ref(), &names, &copy.1, &target)?;
    let nonce = Nonce { session: new_session_id(&target)?, count: 0 };
    let manifest = salvage(&copy.0, &segments, nonce);
    tracing::warn!(target_container = &*target, error = %e, "shows an older version from a copy of the manifest");
    let register = Arc::new(DraftRegister::new(manifest.encode().into()));
    let found = super::committer::load(register.as_ref(), &target)?;
    open::reader(store, key, target, register, found, opts)
}

/// Returns the newest readable copy of a container that was not replaced, with the metadata of the object.
fn newest_copy(
    store: &dyn ObjectStore,
    head_key: &Key,
    target: &str,
) -> Result<Option<(Manifest, ObjectMeta)>> {
    let lake = format!("{head_key}.lake/");
    let all = store.list(&lake, None).collect::<object_stores::Result<Vec<_>>>();
    let all = all.map_err(|e| store_error(target, &e))?;
    let copy_of = |meta: &ObjectMeta| {
        let (id, name) = meta.key.as_str().strip_prefix(&lake)?.split_once('/')?;
        let sequence = u64::from_str_radix(name.strip_prefix("manifest/")?, 16).ok()?;
        let id = u128::from_str_radix(id, 16).ok().filter(|_| is_id(id))?;
        Some((sequence, ContainerId(id.to_be_bytes())))
    };
    let mut copies: Vec<_> = all.into_iter().filter_map(|meta| Some((copy_of(&meta)?, meta))).collect();
    // If a container replaces another one of the same name, its sequences continue those of the old container.
    copies.sort_unstable_by_key(|((sequence, _), _)| std::cmp::Reverse(*sequence));
    for ((sequence, id), meta) in copies {
        // If a container was replaced and restored, its later manifests are newer than its tombstone.
        if replaced::buried_at(store, head_key, id, target)?.is_some_and(|buried| buried >= sequence) {
            continue;
        }
        let found = store.get_whole_opt(&meta.key, MAX_MANIFEST_BYTES as u64);
        let Some(found) = found.map_err(|e| store_error(target, &e))? else { continue };
        if let Ok(manifest) = head::decode(&found.bytes, target)
            && manifest.id == id
        {
            return Ok(Some((manifest, meta)));
        }
    }
    Ok(None)
}

/// Returns the readable segments that were put after a copy.
fn later_segments(
    store: &dyn ObjectStore,
    names: &Names,
    copy: &ObjectMeta,
    target: &str,
) -> Result<Vec<Segment>> {
    let lake = format!("{}/", names.lake);
    let mut found = Vec::new();
    for meta in store.list(&lake, None) {
        let meta = meta.map_err(|e| store_error(target, &e))?;
        let is_object = meta.key.as_str().strip_prefix(&lake).and_then(object_of).is_some();
        if !is_object || meta.modified < copy.modified || meta.size > MAX_MERGED_SEGMENT {
            continue;
        }
        let bytes: Option<Bytes> =
            store.get_whole_opt(&meta.key, MAX_MERGED_SEGMENT).ok().flatten().map(|got| got.bytes);
        found.extend(bytes.and_then(|bytes| Segment::decode(&bytes).ok()));
    }
    Ok(found)
}
