//! Containers that were replaced or deleted, and stay for the retention time: readers that have one open go on, and it can be
//! brought back.
//!
//! A *tombstone* says so: an object with the head that the container had. It is put before the head is replaced, so that there
//! is no moment at which nothing leads to the container. While the head still names the container, its tombstone is void.

mod restoration;

pub(crate) use restoration::restore;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_stores::{
    Condition, Etag, Key, ObjectMeta, ObjectStore, ObjectStoreExt, Operation, PutMode, PutPayload,
};

use crate::checksum::{seal, unseal};
use crate::clock;
use crate::codec::{Decoded, Reader, hex, put_string, put_varint};
use crate::error::{Error, ErrorKind, Result};
use crate::locks::Mutex;
use crate::objects::manifest::{Head, MAX_HEAD_BYTES, Names, put_over, read_head, store_error};
use crate::objects::open::delete_lake;
use crate::objects::{lock, orphans, store_clock};
use crate::options::{KeptName, ReplacedObject};
use crate::wal::record::Author;

const MAGIC: &[u8; 4] = b"h5lD";

/// What became of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Replaced,
    Deleted,
}

/// What a tombstone says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tombstone {
    end: End,
    /// Milliseconds for which the container stays.
    retention: u64,
    by: Author,
    /// The head object, as it was.
    head: Bytes,
}

impl Tombstone {
    /// Its bytes: others each time. Some stores' etags are digests of the content, and whoever read one before is to find it changed.
    ///
    /// # Errors
    /// `Io`, where the system gives no random bytes.
    fn encode(&self, target: &str) -> Result<Vec<u8>> {
        let random: [u8; 16] = clock::random(target)?;
        let mut out = MAGIC.to_vec();
        out.push(u8::from(self.end == End::Deleted));
        put_varint(&mut out, self.retention);
        self.by.encode(&mut out);
        put_string(&mut out, &self.head);
        out.extend_from_slice(&random);
        seal(&mut out);
        Ok(out)
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
        // What follows upon the head says nothing.
        Ok(Self { end, retention, by, head: Bytes::copy_from_slice(r.string()?) })
    }
}

/// A container that is to be replaced or deleted.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) names: Names,
    /// Its head, as it is.
    pub(crate) head: Bytes,
    /// Milliseconds for which it stays.
    pub(crate) retention: u64,
}

/// Whether a container of an id was replaced or deleted, and is kept.
pub(super) fn is_kept(store: &dyn ObjectStore, head: &Key, id: &str, target: &str) -> Result<bool> {
    let found = store.get_whole_opt(&key_of(head, id, target)?, MAX_HEAD_BYTES);
    Ok(found.map_err(|e| store_error(target, &e))?.is_some())
}

fn folder(head: &Key) -> String {
    format!("{head}.lake/replaced/")
}

fn key_of(head: &Key, id: &str, target: &str) -> Result<Key> {
    Key::new(format!("{}{id}", folder(head))).map_err(|e| Error::invalid(target, e.to_string()))
}

impl Outgoing {
    /// Puts the tombstone, where objects outlive this process. A repetition is harmless.
    pub(crate) fn bury(&self, store: &dyn ObjectStore, end: End, target: &str) -> object_stores::Result<()> {
        if !store.capabilities().persistent {
            return Ok(());
        }
        let by = Author::myself();
        let stone = Tombstone { end, retention: self.retention, by, head: self.head.clone() };
        let Ok(key) = key_of(&self.names.head, &self.id(), target) else { return Ok(()) };
        let failed = |e: Error| {
            object_stores::Error::new(object_stores::ErrorKind::Io, Operation::Put).because(e.to_string())
        };
        let bytes = stone.encode(target).map_err(failed)?;
        store.put(&key, PutPayload::from(bytes), PutMode::Overwrite).map(drop)
    }

    fn id(&self) -> String {
        self.names.lake.as_str().rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// Once the head is another one: deletes what may go.
    pub(crate) fn let_go(&self, store: &dyn ObjectStore, target: &str) -> Result<()> {
        if store.capabilities().persistent {
            return sweep(store, &self.names.head, target);
        }
        if is_open(store, &self.names) { Ok(()) } else { delete_lake(store, &self.names, target) }
    }
}

/// The tombstones under a name.
pub(super) fn tombstones(store: &dyn ObjectStore, head: &Key, target: &str) -> Result<Vec<ObjectMeta>> {
    let all = store.list(&folder(head), None).collect::<object_stores::Result<Vec<_>>>();
    all.map_err(|e| store_error(target, &e))
}

fn read(store: &dyn ObjectStore, key: &Key, target: &str) -> Result<Option<Tombstone>> {
    Ok(look(store, key, target)?.map(|(stone, _)| stone))
}

/// A tombstone, and what the store says of it now.
fn look(store: &dyn ObjectStore, key: &Key, target: &str) -> Result<Option<(Tombstone, ObjectMeta)>> {
    let found = store.get_whole_opt(key, MAX_HEAD_BYTES).map_err(|e| store_error(target, &e))?;
    let damaged = |why| Error::corrupt(target, format!("tombstone {key}"), why);
    found.map(|found| Ok((Tombstone::decode(&found.bytes).map_err(damaged)?, found.meta))).transpose()
}

pub(super) fn id_of(key: &Key) -> &str {
    key.as_str().rsplit('/').next().unwrap_or_default()
}

/// The container that a name leads to now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Current {
    Nothing,
    Id(String),
    /// The head is damaged, or of a newer h5lake: it may be of any container.
    Unknown,
}

impl Current {
    pub(super) fn read(store: &dyn ObjectStore, head: &Key, target: &str) -> Result<Self> {
        let Some((bytes, _)) = read_head(store, head, target)? else { return Ok(Self::Nothing) };
        Ok(Head::decode(&bytes, target).map_or(Self::Unknown, |head| Self::Id(hex(&head.fixed.id))))
    }

    /// Whether the name leads to the container of a tombstone: the tombstone is void then.
    fn is(&self, id: &str) -> bool {
        matches!(self, Self::Id(current) if current == id)
    }

    /// Whether the name leads to the container with an id, for all that is known.
    pub(super) fn may_be(&self, id: &str) -> bool {
        *self == Self::Unknown || self.is(id)
    }
}

/// Deletes the containers under a name whose time is over, by the store's clock.
pub(crate) fn sweep(store: &dyn ObjectStore, head: &Key, target: &str) -> Result<()> {
    let stones = tombstones(store, head, target)?;
    if stones.is_empty() {
        return Ok(());
    }
    let now = store_clock::now(store, head, target)?;
    stones.iter().try_for_each(|meta| sweep_one(store, head, meta, now, target))
}

/// Keeps a container that is about to be swept from being brought back meanwhile: its tombstone says from now on that it stays for
/// no time. False if somebody else has put the tombstone anew.
fn claim(
    store: &dyn ObjectStore,
    key: &Key,
    stone: &Tombstone,
    etag: Option<&Etag>,
    target: &str,
) -> Result<bool> {
    let claimed = Tombstone { retention: 0, by: Author::myself(), ..stone.clone() };
    match put_over(store, key, claimed.encode(target)?, etag) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == object_stores::ErrorKind::PreconditionFailed => Ok(false),
        Err(e) => Err(store_error(target, &e)),
    }
}

fn sweep_one(
    store: &dyn ObjectStore,
    head: &Key,
    meta: &ObjectMeta,
    now: SystemTime,
    target: &str,
) -> Result<()> {
    // One that cannot be read leads nowhere, and its container stays: nobody knows for how long.
    let Ok(Some((stone, there))) = look(store, &meta.key, target) else { return Ok(()) };
    let (age, etag) = (now.duration_since(there.modified).unwrap_or_default(), there.etag);
    if age < Duration::from_millis(stone.retention) {
        return Ok(());
    }
    // Only now: somebody may have brought the container back since the listing.
    let id = id_of(&meta.key);
    match Current::read(store, head, target)? {
        Current::Unknown => return Ok(()),
        // It is void. Whoever put it may be about to replace the head, and another replaces it in the end: to delete it could meet
        // the tombstone that this one puts in its place.
        current if current.is(id) => return Ok(()),
        _ => {
            // What it says of another container counts for nothing.
            let old = Head::decode(&stone.head, target).ok().filter(|old| hex(&old.fixed.id) == id);
            let Some(old) = old else { return Ok(()) };
            if !claim(store, &meta.key, &stone, etag.as_ref(), target)? {
                return Ok(());
            }
            // Where the store refuses no claim that comes late, the container may have been brought back since the look.
            if !store.honours(Condition::Update) && Current::read(store, head, target)?.may_be(id) {
                return Ok(());
            }
            delete_lake(store, &Names::new(head.clone(), &old.fixed.id, target)?, target)?;
        }
    }
    // Last, so that what is left of a sweep that was cut off is swept later.
    store.delete(&meta.key).map_err(|e| store_error(target, &e))
}

/// The same, and what belongs to no container any more. This looks at all objects under a name but those of the container that it
/// leads to.
pub(crate) fn sweep_all(store: &dyn ObjectStore, head: &Key, target: &str) -> Result<()> {
    sweep(store, head, target)?;
    match store.capabilities().persistent {
        true => orphans::sweep(store, head, store_clock::now(store, head, target)?, target),
        false => Ok(()),
    }
}

/// The same for a name as users give it.
pub(crate) fn sweep_name(store: &dyn ObjectStore, key: &str) -> Result<()> {
    let target = super::open::name(store, key);
    sweep_all(store, &super::open::head_key(key, &target)?, &target)
}

/// The containers that a name led to and that are kept, the newest first.
pub(crate) fn list(store: &dyn ObjectStore, key: &str) -> Result<Vec<ReplacedObject>> {
    let target = super::open::name(store, key);
    let head = super::open::head_key(key, &target)?;
    let stones = tombstones(store, &head, &target)?;
    if stones.is_empty() {
        return Ok(Vec::new());
    }
    let current = Current::read(store, &head, &target)?;
    let mut all = Vec::new();
    for meta in stones.iter().filter(|meta| !current.is(id_of(&meta.key))) {
        let Ok(Some(stone)) = read(store, &meta.key, &target) else { continue };
        let Ok(old) = Head::decode(&stone.head, &target) else { continue };
        if hex(&old.fixed.id) != id_of(&meta.key) {
            continue;
        }
        let since = meta.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        all.push(ReplacedObject {
            name: KeptName { id: old.fixed.id, until: None },
            id: id_of(&meta.key).to_owned(),
            version: old.version,
            time: clock::micros(since),
            until: clock::micros(since.saturating_add(Duration::from_millis(stone.retention))),
            deleted: stone.end == End::Deleted,
            host: stone.by.host.to_string(),
            pid: stone.by.pid,
        });
    }
    all.sort_unstable_by_key(|b| std::cmp::Reverse(b.time));
    Ok(all)
}

/// The head of a container that was replaced or deleted, and is kept.
///
/// # Errors
/// `NotFound` if it is not kept any more; `Corrupt`; those of the store.
pub(super) fn head_of(store: &dyn ObjectStore, head: &Key, kept: &KeptName, target: &str) -> Result<Head> {
    let stone = read(store, &key_of(head, &hex(&kept.id), target)?, target)?;
    // One without a retention time is being swept.
    let stone = stone.filter(|stone| stone.retention > 0);
    let stone = stone.ok_or_else(|| Error::new(target, ErrorKind::NotFound))?;
    let found = Head::decode(&stone.head, target)?;
    match found.fixed.id == kept.id {
        true => Ok(found),
        false => Err(Error::corrupt(target, "the tombstone", "its head is of another container")),
    }
}

/// How many handles have a container open that lives in this process only, and whether it goes with the last of them.
static OPEN: LazyLock<Mutex<HashMap<String, (usize, bool)>>> = LazyLock::new(Mutex::default);

/// Whether a container in memory is open; if so, it is deleted when it is closed.
fn is_open(store: &dyn ObjectStore, names: &Names) -> bool {
    match lock(&OPEN).get_mut(&store.place_of(names.lake.as_str())) {
        Some((_, doomed)) => {
            *doomed = true;
            true
        }
        None => false,
    }
}

/// Counts a handle of a container in memory.
#[derive(Debug)]
pub(crate) struct Opened {
    store: Arc<dyn ObjectStore>,
    names: Names,
    place: String,
    target: String,
}

impl Opened {
    pub(crate) fn new(store: &Arc<dyn ObjectStore>, names: &Names, target: &str) -> Option<Self> {
        if store.capabilities().persistent {
            return None;
        }
        let place = store.place_of(names.lake.as_str());
        lock(&OPEN).entry(place.clone()).or_default().0 += 1;
        Some(Self { store: store.clone(), names: names.clone(), place, target: target.into() })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let mut open = lock(&OPEN);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Arc<dyn ObjectStore>) {
        let dir = tempfile::tempdir().unwrap();
        let store = object_stores::DirStore::open(dir.path(), object_stores::dir::Sync::Process).unwrap();
        (dir, Arc::new(store))
    }

    /// A head of a newer h5lake may be of any container: nothing is swept. Nor is what a tombstone of another id speaks of.
    #[test]
    fn a_sweep_that_cannot_tell_deletes_nothing() {
        use crate::ledger::Ledger;
        use crate::options::{Access, Options, Replace};
        let (_dir, store) = store();
        let opts = Options { retention: Some(Duration::ZERO), ..Options::default() };
        let make = |key: &str| {
            let l = Ledger::create_objects(store.clone(), key, Replace::Fail, opts.clone()).unwrap();
            l.put(b"k", "v").unwrap();
            l.commit().unwrap();
            l.close().unwrap();
        };
        make("x");
        let head = Key::new("x").unwrap();
        let whole = store.get(&head, None).unwrap().bytes;
        let id = hex(&Head::decode(&whole, "x").unwrap().fixed.id);
        let stone = Tombstone { end: End::Replaced, retention: 0, by: Author::myself(), head: whole.clone() };
        let void = key_of(&head, &id, "x").unwrap();
        let other = key_of(&head, &"0".repeat(32), "x").unwrap();
        store.put(&void, PutPayload::from(stone.encode("x").unwrap()), PutMode::Overwrite).unwrap();
        store.put(&other, PutPayload::from(stone.encode("x").unwrap()), PutMode::Overwrite).unwrap();
        let mut newer = whole.to_vec();
        newer[12] ^= 0xff;
        store.put(&head, newer.into(), PutMode::Overwrite).unwrap();
        sweep_name(store.as_ref(), "x").unwrap();
        store.put(&head, whole.into(), PutMode::Overwrite).unwrap();
        sweep_name(store.as_ref(), "x").unwrap();
        let l = Ledger::open_objects(store.clone(), "x", Access::ReadOnly, opts.clone()).unwrap();
        assert_eq!(l.get(b"k").unwrap().unwrap(), "v");
        assert!(list(store.as_ref(), "x").unwrap().is_empty());
    }

    #[test]
    fn a_tombstone_comes_back_and_damage_is_seen() {
        let stone = Tombstone {
            end: End::Deleted,
            retention: 600_000,
            by: Author::myself(),
            head: Bytes::from_static(b"a head"),
        };
        let good = stone.encode("x").unwrap();
        assert_eq!(Tombstone::decode(&good), Ok(stone.clone()));
        assert_ne!(stone.encode("x").unwrap(), good, "no two have the same digest");
        // As earlier versions put it.
        let mut early = good.clone();
        early.truncate(early.len() - 16 - 4);
        seal(&mut early);
        assert_eq!(Tombstone::decode(&early), Ok(stone));
        for n in 0..good.len() {
            let mut bad = good.clone();
            bad[n] ^= 2;
            assert!(Tombstone::decode(&bad).is_err(), "byte {n}");
        }
    }
}
