//! Containers that were replaced or deleted. They are retained for their retention time: readers that have such a container open continue,
//! and the container can be restored.
//!
//! A *tombstone* is an object with the manifest of such a container. It is put before the head object is replaced, so that the container
//! can be found at any moment. While the head object still names the container, its tombstone is void.
//!
//! A sweep and a restoration of one container cannot both succeed:
//!
//! ```text
//! sweep      deletes the tombstone ─▶ loads the head ─▶ deletes the objects, unless the head names or lists the container
//! restore    lists the container in the head ─▶ finds the tombstone ─▶ swaps its manifest in
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_stores::{Key, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

use super::committer::{Committer, failure, load};
use super::copying::{expel, expel_abandoned};
use super::draft::make;
use super::fetch::Fetcher;
use super::head;
use super::names::{Names, beside, is_id};
use super::open::{delete_lake, head_key};
use super::store_clock::today;
use crate::author::Author;
use crate::checksum::{seal, unseal};
use crate::clock;
use crate::codec::{Decoded, Reader, hex, put_string, put_varint};
use crate::core::change::Change;
use crate::core::events::Outcome;
use crate::core::ids::ContainerId;
use crate::core::manifest::Manifest;
use crate::core::session::Mode;
use crate::core::sweep::ListedContainers;
use crate::error::{Error, ErrorKind, Result, store_error};
use crate::locks::Mutex;
use crate::options::{KeptName, ReplacedObject};
use crate::register::{self, MAX_MANIFEST_BYTES};
use crate::store::store_clock;

const MAGIC: &[u8; 4] = b"h5lZ";
/// The minimum time for which a container is retained after a restoration has replaced it, in milliseconds: a day.
const AFTER_RESTORE: u64 = 86_400_000;
/// The minimum age of objects of containers that neither the head object nor a tombstone names. Tools that do not know the protocol may
/// still be uploading younger ones.
const MIN_ORPHAN_AGE: Duration = Duration::from_secs(86_400);

/// The maximum number of attempts to replace or delete a container to which other writers commit.
const MAX_BURIALS: u32 = 32;

/// The end of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Replaced,
    Deleted,
}

/// The content of a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tombstone {
    end: End,
    /// The time for which the container is retained, in milliseconds.
    retention: u64,
    by: Author,
    /// The encoded manifest.
    manifest: Bytes,
}

impl Tombstone {
    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(u8::from(self.end == End::Deleted));
        put_varint(&mut out, self.retention);
        self.by.encode(&mut out);
        put_string(&mut out, &self.manifest);
        seal(&mut out);
        out
    }

    fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(unseal(bytes)?.0);
        if r.take(4)? != MAGIC {
            return Err("not a tombstone");
        }
        let end = match r.u8()? {
            0 => End::Replaced,
            1 => End::Deleted,
            _ => return Err("neither of a replaced container nor of a deleted one"),
        };
        let (retention, by) = (r.varint()?, Author::read(&mut r)?);
        let manifest = Bytes::copy_from_slice(r.string()?);
        r.end()?;
        Ok(Self { end, retention, by, manifest })
    }

    /// Returns the manifest, if it is that of the container with the id in the tombstone's key.
    fn manifest(&self, id: &str, target: &str) -> Result<Manifest> {
        let manifest = head::decode(&self.manifest, target)?;
        match hex(&manifest.id.0) == id {
            true => Ok(manifest),
            false => Err(Error::corrupt(target, "the tombstone", "its manifest is of another container")),
        }
    }
}

/// Returns the key of the tombstone of a manifest. A container that is restored and replaced again gets another tombstone.
fn key_of(head: &Key, old: &Manifest, target: &str) -> Result<Key> {
    beside(head, &format!("replaced/{}-{:x}", hex(&old.id.0), old.sequence), target)
}

/// Returns the sequence of the manifest in a tombstone. The sequences of a name ascend, and later tombstones of a container have later
/// commits.
fn sequence_of(key: &Key) -> Option<u64> {
    u64::from_str_radix(key.as_str().rsplit_once('-')?.1, 16).ok()
}

fn id_of(key: &Key) -> &str {
    let name = key.as_str().rsplit('/').next().unwrap_or_default();
    name.split_once('-').map_or(name, |(id, _)| id)
}

/// Puts the tombstone of a container that is about to be replaced or deleted, if objects outlive this process.
pub(super) fn bury(
    store: &dyn ObjectStore,
    head: &Key,
    old: &Manifest,
    end: End,
    asked: Option<Duration>,
    target: &str,
) -> Result<()> {
    if !store.capabilities().persistent {
        return Ok(());
    }
    let retention = asked.map_or(old.line.retention, |asked| clock::micros(asked) / 1000);
    put(store, head, old, end, retention, target)
}

fn put(
    store: &dyn ObjectStore,
    head: &Key,
    old: &Manifest,
    end: End,
    retention: u64,
    target: &str,
) -> Result<()> {
    let stone = Tombstone { end, retention, by: Author::myself(), manifest: old.encode().into() };
    let key = key_of(head, old, target)?;
    let done = store.put(&key, PutPayload::from(stone.encode()), PutMode::Overwrite);
    done.map(drop).map_err(|e| store_error(target, &e))
}

/// Submits the change that replaces or deletes a container. `prepare` puts the tombstone of a manifest, and returns the change of this very
/// manifest. If another writer commits first, this is done again, so that a restored container has all commits.
///
/// # Errors
/// Those of `prepare` and of the store. The outcome is `NotCommitted` if other writers commit all the time.
pub(super) fn replace(
    committer: &mut Committer,
    fetcher: &Fetcher,
    prepare: &dyn Fn(&Manifest) -> Result<Change>,
) -> Result<Outcome> {
    let first = prepare(&committer.known())?;
    let mut left = MAX_BURIALS;
    committer.submit(first, fetcher, &mut |_, on| {
        left -= 1;
        if left == 0 { Ok(None) } else { prepare(on).map(Some) }
    })
}

/// Deletes what may be deleted after the head object of a container was replaced.
pub(super) fn let_go(store: &dyn ObjectStore, head: &Key, id: ContainerId, target: &str) -> Result<()> {
    if store.capabilities().persistent {
        // Containers that cannot be deleted now are left to the next sweep.
        if let Err(e) = sweep(store, head, target) {
            tracing::debug!(error = %e, "replaced containers were not looked after");
        }
        return Ok(());
    }
    let names = Names::new(head.clone(), id, target)?;
    if is_open(store, &names) { Ok(()) } else { delete_lake(store, &names, target) }
}

/// Returns the tombstones of containers with ids that begin with `id`.
fn tombstones(store: &dyn ObjectStore, head: &Key, id: &str, target: &str) -> Result<Vec<ObjectMeta>> {
    let prefix = format!("{}/{id}", beside(head, "replaced", target)?);
    let all = store.list(&prefix, None).collect::<object_stores::Result<Vec<_>>>();
    match all {
        // A web server lists nothing. Nothing is replaced there either.
        Err(e) if e.kind() == object_stores::ErrorKind::Unsupported => Ok(Vec::new()),
        all => all.map_err(|e| store_error(target, &e)),
    }
}

/// Returns whether a container has a tombstone: it was replaced or deleted, and can perhaps be restored.
pub(super) fn is_kept(store: &dyn ObjectStore, head: &Key, id: ContainerId, target: &str) -> Result<bool> {
    Ok(!tombstones(store, head, &hex(&id.0), target)?.is_empty())
}

fn read(store: &dyn ObjectStore, key: &Key, target: &str) -> Result<Option<Tombstone>> {
    let found = store.get_whole_opt(key, MAX_MANIFEST_BYTES).map_err(|e| store_error(target, &e))?;
    let damaged = |why| Error::corrupt(target, format!("tombstone {key}"), why);
    found.map(|found| Tombstone::decode(&found.bytes).map_err(damaged)).transpose()
}

/// Returns the sequence of the newest manifest in the tombstones of a container.
pub(super) fn buried_at(
    store: &dyn ObjectStore,
    head: &Key,
    id: ContainerId,
    target: &str,
) -> Result<Option<u64>> {
    let stones = tombstones(store, head, &hex(&id.0), target)?;
    Ok(stones.iter().filter_map(|meta| sequence_of(&meta.key)).max())
}

/// Deletes the containers of a name for which the retention time is over, by the store's clock.
pub(super) fn sweep(store: &dyn ObjectStore, head: &Key, target: &str) -> Result<()> {
    let stones = tombstones(store, head, "", target)?;
    if stones.is_empty() {
        return Ok(());
    }
    let now = store_clock::now(store, head, target)?;
    for meta in stones {
        // A tombstone that cannot be read leads to no container. Its container stays, because the retention time is unknown.
        let Ok(Some(stone)) = read(store, &meta.key, target) else { continue };
        let age = now.duration_since(meta.modified).unwrap_or_default();
        if age < Duration::from_millis(stone.retention) {
            continue;
        }
        let Ok(old) = stone.manifest(id_of(&meta.key), target) else { continue };
        sweep_one(store, head, &meta.key, &old, target)?;
    }
    Ok(())
}

fn head_manifest(store: &dyn ObjectStore, head: &Key, target: &str) -> Result<Option<Manifest>> {
    let found = store.get_whole_opt(head, MAX_MANIFEST_BYTES).map_err(|e| store_error(target, &e))?;
    match found {
        None => Ok(Some(Manifest::absent())),
        Some(found) => Ok(head::decode(&found.bytes, target).ok()),
    }
}

fn sweep_one(store: &dyn ObjectStore, head: &Key, stone: &Key, old: &Manifest, target: &str) -> Result<()> {
    // If the name leads to the container of the tombstone, the tombstone is void: its writer may be about to replace the head object.
    match head_manifest(store, head, target)? {
        Some(now) if now.id != old.id && !now.lists_copy(old.id) => (),
        _ => return Ok(()),
    }
    store.delete(stone).map_err(|e| store_error(target, &e))?;
    // A restoration lists the container first, and reads the tombstone afterwards.
    match head_manifest(store, head, target)? {
        Some(now) if now.id != old.id && !now.lists_copy(old.id) => (),
        _ => return Ok(()),
    }
    // The container was restored and replaced again.
    if is_kept(store, head, old.id, target)? {
        return Ok(());
    }
    delete_lake(store, &Names::new(head.clone(), old.id, target)?, target)
}

/// Deletes objects of containers that neither the head object nor a tombstone names. They are orphaned objects of abandoned containers and
/// copies.
fn sweep_orphans(store: &dyn ObjectStore, head: &Key, target: &str) -> Result<()> {
    let folder = format!("{head}.lake/");
    let listed: Vec<ObjectMeta> = store
        .list(&folder, None)
        .collect::<object_stores::Result<_>>()
        .map_err(|e| store_error(target, &e))?;
    let now = store_clock::now(store, head, target)?;
    let mut newest: HashMap<&str, SystemTime> = HashMap::new();
    for meta in &listed {
        let suffix = meta.key.as_str().strip_prefix(&folder).and_then(|suffix| suffix.split_once('/'));
        if let Some((id, _)) = suffix.filter(|(id, _)| is_id(id)) {
            let known = newest.entry(id).or_insert(meta.modified);
            *known = (*known).max(meta.modified);
        }
    }
    let is_old = |at: &SystemTime| now.duration_since(*at).is_ok_and(|age| age >= MIN_ORPHAN_AGE);
    let ids = newest.iter().filter(|(_, at)| is_old(at)).filter_map(|(id, _)| parse_id(id)).collect();
    let listed = ListedContainers::new(ids);
    // A head object is never deleted. If it is missing nevertheless, nothing shows which objects are needed.
    let is_there = store.head_opt(head).map_err(|e| store_error(target, &e))?.is_some();
    let Some(now) = head_manifest(store, head, target)?.filter(|_| is_there) else { return Ok(()) };
    for id in listed.orphaned(&now) {
        // The manifest is loaded first: a container gets its tombstone before it leaves the manifest.
        if !is_kept(store, head, id, target)? {
            delete_lake(store, &Names::new(head.clone(), id, target)?, target)?;
        }
    }
    Ok(())
}

pub(super) fn parse_id(text: &str) -> Option<ContainerId> {
    u128::from_str_radix(text, 16).ok().map(|n| ContainerId(n.to_be_bytes())).filter(|_| is_id(text))
}

/// Deletes containers of a name for which the retention time is over, and objects that belong to no container any more.
pub(crate) fn sweep_name(store: &Arc<dyn ObjectStore>, key: &str) -> Result<()> {
    let target: Arc<str> = head::target_of(store.as_ref(), key).into();
    let head = head_key(key, &target)?;
    sweep(store.as_ref(), &head, &target)?;
    if !store.capabilities().persistent {
        return Ok(());
    }
    if let Some(now) = head_manifest(store.as_ref(), &head, &target)? {
        expel_abandoned(store, &head, &now, &target)?;
    }
    sweep_orphans(store.as_ref(), &head, &target)
}

/// Returns the retained containers to which a name led before, the newest first.
pub(crate) fn list(store: &dyn ObjectStore, key: &str) -> Result<Vec<ReplacedObject>> {
    let target = head::target_of(store, key);
    let head = head_key(key, &target)?;
    let mut stones = tombstones(store, &head, "", &target)?;
    if stones.is_empty() {
        return Ok(Vec::new());
    }
    // If a container has several tombstones, the one with the newest manifest is valid.
    stones.sort_unstable_by_key(|meta| std::cmp::Reverse(sequence_of(&meta.key)));
    let mut seen = HashSet::new();
    stones.retain(|meta| seen.insert(id_of(&meta.key).to_owned()));
    let now = head_manifest(store, &head, &target)?;
    let mut all = Vec::new();
    for meta in &stones {
        let id = id_of(&meta.key);
        let Ok(Some(stone)) = read(store, &meta.key, &target) else { continue };
        let Ok(old) = stone.manifest(id, &target) else { continue };
        if now.as_ref().is_some_and(|now| now.id == old.id) {
            continue;
        }
        let since = meta.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        all.push(ReplacedObject {
            name: KeptName { id: old.id.0, until: None },
            id: id.to_owned(),
            version: old.line.number,
            time: clock::micros(since),
            until: clock::micros(since.saturating_add(Duration::from_millis(stone.retention))),
            deleted: stone.end == End::Deleted,
            host: stone.by.host.to_string(),
            pid: stone.by.pid,
        });
    }
    all.sort_by_key(|b| std::cmp::Reverse(b.time));
    Ok(all)
}

/// Returns the manifest of a retained container.
///
/// # Errors
/// `NotFound` if the container is not retained any more; `Corrupt`; those of the store.
pub(super) fn manifest_of(
    store: &dyn ObjectStore,
    head: &Key,
    kept: &KeptName,
    target: &str,
) -> Result<Manifest> {
    let id = hex(&kept.id);
    let newest = tombstones(store, head, &id, target)?.into_iter().max_by_key(|meta| sequence_of(&meta.key));
    let stone = newest.map_or(Ok(None), |meta| read(store, &meta.key, target))?;
    stone.ok_or_else(|| Error::new(target, ErrorKind::NotFound))?.manifest(&id, target)
}

/// Returns the only retained container with an id that begins with `id`; the newest one if `id` is empty.
fn find(store: &dyn ObjectStore, key: &str, id: &str, target: &str) -> Result<ReplacedObject> {
    let mut found: Vec<_> = list(store, key)?.into_iter().filter(|r| r.id.starts_with(id)).collect();
    if id.is_empty() {
        found.truncate(1);
    }
    if found.len() > 1 {
        let why = format!("{} replaced containers have ids that begin with {id}", found.len());
        return Err(Error::invalid(target, why));
    }
    found.pop().ok_or_else(|| Error::new(target, ErrorKind::NotFound))
}

/// Restores the container with an id that begins with `id` under its name. The container to which the name leads now is replaced, and is
/// retained in turn.
///
/// # Errors
/// `NotFound` if the container is not retained any more; `Locked` while the container to be replaced is open for writing; `Conflict` if the
/// latter changed meanwhile; those of the store.
pub(crate) fn restore(store: &Arc<dyn ObjectStore>, key: &str, id: &str) -> Result<ReplacedObject> {
    let target: Arc<str> = head::target_of(store.as_ref(), key).into();
    let head = head_key(key, &target)?;
    let found = find(store.as_ref(), key, id, &target)?;
    let _lease = super::open::lease_to_replace(store, &head, &target)?;
    let register = register::open_to_write(store, &head, &target, head::sequence_of)?;
    let (now, token) = load(register.as_ref(), &target)?;
    let kept = ContainerId(found.name.id);
    let names = Names::new(head.clone(), kept, &target)?;
    let fetcher = Fetcher::new(store.clone(), names, target.clone());
    let mut committer =
        Committer::new(register, target.clone(), now.id, Mode::Exclusive, (now.clone(), token))?;
    let over = now.copier(kept);
    make(&mut committer, &fetcher, Change::BeginCopy { id: kept, day: today(store.as_ref()), over })?;
    let old = match manifest_of(store.as_ref(), &head, &found.name, &target) {
        Ok(old) => old,
        Err(e) => {
            expel(&mut committer, &fetcher, kept)?;
            return Err(e);
        }
    };
    // The tombstone of the restored container remains until the retention time is over. It is void while the name leads to its container.
    let finish = |on: &Manifest| -> Result<Change> {
        if !on.is_absent() {
            let retention = on.line.retention.max(AFTER_RESTORE);
            put(store.as_ref(), &head, on, End::Replaced, retention, &target)?;
        }
        let replaces = (!on.is_absent()).then_some(on.sequence);
        Ok(Change::FinishCopy { copy: Box::new(old.clone()), replaces })
    };
    match replace(&mut committer, &fetcher, &finish)? {
        Outcome::Done { .. } => Ok(found),
        other => {
            expel(&mut committer, &fetcher, kept)?;
            let is_overtaken = matches!(other, Outcome::Rejected(_) | Outcome::Expelled);
            Err(if is_overtaken {
                Error::new(&target, ErrorKind::Conflict)
            } else {
                failure(&other, &target)
            })
        }
    }
}

/// The number of open handles of each container in this process's memory, and whether the container is deleted with the last handle.
static OPEN: LazyLock<Mutex<HashMap<String, (usize, bool)>>> = LazyLock::new(Mutex::default);

/// Returns whether a container in memory is open. If so, the container will be deleted with its last handle.
fn is_open(store: &dyn ObjectStore, names: &Names) -> bool {
    match OPEN.lock().get_mut(&store.place_of(names.lake.as_str())) {
        Some((_, doomed)) => {
            *doomed = true;
            true
        }
        None => false,
    }
}

/// Counts a handle of a container in memory until it is dropped.
#[derive(Debug)]
pub(crate) struct Opened {
    store: Arc<dyn ObjectStore>,
    names: Names,
    place: String,
    target: Arc<str>,
}

impl Opened {
    pub(super) fn new(store: &Arc<dyn ObjectStore>, names: &Names, target: &Arc<str>) -> Option<Self> {
        if store.capabilities().persistent {
            return None;
        }
        let place = store.place_of(names.lake.as_str());
        OPEN.lock().entry(place.clone()).or_default().0 += 1;
        Some(Self { store: store.clone(), names: names.clone(), place, target: target.clone() })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let mut open = OPEN.lock();
        let Some((count, doomed)) = open.get_mut(&self.place) else { return };
        *count -= 1;
        let goes = *count == 0 && *doomed;
        if *count == 0 {
            open.remove(&self.place);
        }
        drop(open);
        if goes && let Err(e) = delete_lake(self.store.as_ref(), &self.names, &self.target) {
            tracing::warn!(error = %e, "a replaced container was not deleted whole");
        }
    }
}
