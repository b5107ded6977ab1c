//! The register in a store without conditional puts. It serves one writer, and only the writer's lease keeps a second writer away.
//!
//! The head object is the manifest, as in every store. All readers load the head object, and the next writer continues
//! from it, so a swap takes effect when the head object is put.
//!
//! Each manifest is also put under a name of its own, `HEAD.lake/head/NUMBER-DIGEST`, where the number is its sequence. No object is
//! overwritten there, so a lost commit is noticed: two names have the same number. Lost commits are not prevented. Prevention would require
//! puts that end within [`PATIENCE`], clocks that agree, and listings that are never stale, and no store guarantees these.
//!
//! 1. A writer that takes the lease waits for [`PATIENCE`] before its first swap, and then checks that it still holds the lease, because
//!    another writer may have taken the lease at the same moment.
//! 2. Before each swap a writer checks its lease, its clock and the newest number. It puts the head object, then the numbered manifest, and
//!    then lists the names with that number.
//! 3. The newest manifest has the greatest number and, among manifests with equal numbers, the greatest digest. Usually it is the head
//!    object. If a late put has replaced the head object with an older manifest, the newest numbered manifest is the newest one. A load
//!    puts the missing or outdated object again.
//! 4. Old manifests are deleted once two newer ones exist and [`PATIENCE`] has passed since. Manifests with equal numbers are retained.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use object_stores::deadline::{self, wait_outside_store};
use object_stores::{Etag, GetResult, Key, ObjectStore, ObjectStoreExt, PutMode};

use super::lease::Lease;
use super::{Doubt, Load, MAX_MANIFEST_BYTES, Register, SequenceOf, Swap, Token, Version};
use crate::checksum::fingerprint;
use crate::error::{Error, ErrorKind, Result, store_error};
use crate::locks::Mutex;

/// The time within which a put is assumed to take effect or to fail for good, even if its answer was lost.
const PATIENCE: Duration = Duration::from_secs(2);
/// The [`PATIENCE`] for a store in this process's memory.
const PATIENCE_NEAR: Duration = Duration::from_millis(50);
/// The time that tests with stores on this machine set instead of [`PATIENCE`].
#[cfg(any(test, feature = "conformance"))]
pub(super) static TEST_PATIENCE: std::sync::OnceLock<Duration> = std::sync::OnceLock::new();
/// The number of manifests that are retained besides the newest one.
const KEPT: usize = 2;
/// The minimum number of old manifests that are deleted together.
const MIN_DELETED: usize = 16;
/// The maximum number of attempts to read a manifest that another process deleted after the listing.
const MAX_LOOKS: u32 = 4;

/// A numbered manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Numbered {
    number: u64,
    /// A digest of the manifest's bytes, which distinguishes it from other manifests. The bytes contain a nonce.
    digest: u64,
}

impl Numbered {
    fn name(self) -> String {
        format!("{:016x}-{:016x}", self.number, self.digest)
    }

    fn of_name(name: &str) -> Option<Self> {
        let (number, digest) = name.split_once('-')?;
        let parse = |text: &str| u64::from_str_radix(text, 16).ok();
        let found = Self { number: parse(number)?, digest: parse(digest)? };
        (found.name() == name).then_some(found)
    }
}

/// A manifest in a listing.
#[derive(Debug)]
struct Listed {
    manifest: Numbered,
    key: Key,
    modified: SystemTime,
}

/// The newest manifest.
#[derive(Debug)]
struct Newest {
    manifest: Numbered,
    bytes: Bytes,
    /// The key of the head object or of the numbered manifest, if that object is missing or old because an earlier swap
    /// was interrupted or a put was late.
    unput: Option<Key>,
}

/// The register of one writer in a store without conditional puts.
#[derive(Debug)]
pub struct LeaseGuarded {
    store: Arc<dyn ObjectStore>,
    head: Key,
    /// `HEAD.lake/head`.
    folder: Key,
    target: Arc<str>,
    sequence_of: SequenceOf,
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lease: Lease,
    /// The time before which no swap is made, because another writer's lease may still arrive.
    settled: Instant,
    /// The time before which the manifest is not loaded, because a put that failed may still arrive.
    certain: Option<Instant>,
}

impl LeaseGuarded {
    /// Opens the register of the head object `head`, and takes the lease of its container. The lease is released when
    /// this is dropped.
    ///
    /// # Errors
    /// `Locked` if another writer has the lease; the errors of the store.
    pub fn open(
        store: &Arc<dyn ObjectStore>,
        head: &Key,
        target: &str,
        sequence_of: SequenceOf,
    ) -> Result<Self> {
        Self::open_with(store, head, target, sequence_of, patience_with(store.as_ref()))
    }

    /// Opens a register as [`open`](Self::open) does, with another limit for the time that puts take.
    pub(super) fn open_with(
        store: &Arc<dyn ObjectStore>,
        head: &Key,
        target: &str,
        sequence_of: SequenceOf,
        patience: Duration,
    ) -> Result<Self> {
        let below = |name: &str| {
            head.append(format!(".lake/{name}")).map_err(|e| Error::invalid(target, e.to_string()))
        };
        let lease = Lease::take(store, below("lease")?, target)?;
        let state = State { lease, settled: Instant::now() + patience, certain: None };
        Ok(Self {
            store: store.clone(),
            head: head.clone(),
            folder: below("head")?,
            target: target.into(),
            sequence_of,
            patience,
            state: Mutex::new(state),
        })
    }

    fn failed(&self, e: &object_stores::Error) -> Error {
        store_error(&self.target, e)
    }

    fn numbered(&self, manifest: &[u8]) -> Result<Numbered> {
        let number = (self.sequence_of)(manifest).ok_or_else(|| {
            Error::corrupt(&self.target, "manifest", "it has no sequence by which it could be numbered")
        })?;
        Ok(Numbered { number, digest: fingerprint(manifest) })
    }

    fn key_of(&self, manifest: Numbered) -> Result<Key> {
        self.folder.join(manifest.name()).map_err(|e| Error::invalid(&self.target, e.to_string()))
    }

    /// Lists the manifests, the newest one last.
    fn list(&self) -> Result<Vec<Listed>> {
        let prefix = format!("{}/", self.folder);
        let mut all = Vec::new();
        for found in self.store.list(&prefix, None) {
            let found = found.map_err(|e| self.failed(&e))?;
            let manifest = found.key.as_str().strip_prefix(&prefix).and_then(Numbered::of_name);
            all.extend(manifest.map(|manifest| Listed {
                manifest,
                key: found.key,
                modified: found.modified,
            }));
        }
        if let Some(pair) = all.windows(2).find(|pair| is_tie(&pair[0], &pair[1])) {
            tracing::warn!(
                container = %self.target,
                number = pair[0].manifest.number,
                "two writers put a manifest of one number: commits of one of them are lost"
            );
        }
        Ok(all)
    }

    fn get(&self, key: &Key) -> Result<Option<GetResult>> {
        self.store.get_whole_opt(key, MAX_MANIFEST_BYTES).map_err(|e| self.failed(&e))
    }

    /// Returns the newest manifest.
    fn newest(&self) -> Result<Option<Newest>> {
        for _ in 0..MAX_LOOKS {
            let head = match self.get(&self.head)? {
                Some(found) => Some((self.numbered(&found.bytes)?, found.bytes)),
                None => None,
            };
            let all = self.list()?;
            let last = all.last();
            if let Some((manifest, bytes)) = head
                && last.is_none_or(|last| last.manifest <= manifest)
            {
                let is_listed = last.is_some_and(|last| last.manifest == manifest);
                let unput = if is_listed { None } else { Some(self.key_of(manifest)?) };
                return Ok(Some(Newest { manifest, bytes, unput }));
            }
            let Some(last) = last else { return Ok(None) };
            if let Some(found) = self.get(&last.key)? {
                if self.numbered(&found.bytes)? != last.manifest {
                    let why = "it has another sequence, or other bytes, than its name says";
                    return Err(Error::corrupt(&self.target, format!("manifest {}", last.key), why));
                }
                let unput = Some(self.head.clone());
                return Ok(Some(Newest { manifest: last.manifest, bytes: found.bytes, unput }));
            }
        }
        let what = "manifests were deleted each time they were looked for; try again".to_owned();
        Err(Error::new(&self.target, ErrorKind::Store { errno: None, what }))
    }

    fn try_swap(&self, over: &Token, manifest: Bytes) -> Result<Option<Token>> {
        let old = match &over.0 {
            Version::Absent => None,
            Version::Numbered(numbered) => Some(*numbered),
            Version::Etag(_) | Version::Draft(_) => {
                return Err(Error::invalid(&self.target, "a token of another kind of register"));
            }
        };
        let new = self.numbered(&manifest)?;
        if old.is_some_and(|old| new.number <= old.number) {
            return Err(Error::invalid(
                &self.target,
                "the sequence of a manifest is not above the one before",
            ));
        }
        // All objects that the manifest names must arrive first, however long that takes. The lease is checked after
        // that.
        if let Some(stage) = self.store.stage() {
            stage.drain().map_err(|e| self.failed(&e))?;
        }
        let mut state = self.state.lock();
        sleep_until(state.settled);
        state.lease.renew_if_due()?;
        state.lease.check()?;
        let before = self.list()?;
        // The numbered manifests other than the one to be replaced and this one, which a repeated swap finds.
        let is_overtaken = before.iter().any(|found| Some(found.manifest) > old && found.manifest != new);
        if is_overtaken || self.is_head_beyond(old, new)? {
            return Ok(None);
        }
        // The head object is put first, because the next writer must not continue from a manifest that readers do not
        // see.
        for key in [&self.head, &self.key_of(new)?] {
            let _bound = deadline::begin_within(state.lease.left().min(self.patience));
            state.certain = Some(Instant::now() + self.patience);
            self.put(key, &manifest)?;
        }
        let after = self.list()?;
        if after.iter().any(|found| found.manifest.number == new.number && found.manifest != new) {
            return Err(Error::new(&self.target, ErrorKind::Broken { why: overtaken(new.number) }));
        }
        state.certain = None;
        drop(state);
        self.delete_old(&before);
        Ok(Some(Token(Version::Numbered(new))))
    }

    /// Returns whether the head object is a manifest other than this one and newer than the one to be replaced. A
    /// listing may be old, so the head object is read.
    fn is_head_beyond(&self, old: Option<Numbered>, new: Numbered) -> Result<bool> {
        let Some(found) = self.get(&self.head)? else { return Ok(false) };
        let head = self.numbered(&found.bytes)?;
        Ok(Some(head) > old && head != new)
    }

    /// Puts the object that an interrupted swap did not put, so that both the head object and a numbered manifest have
    /// the state that this register loads.
    fn complete(&self, key: &Key, manifest: &Bytes) -> Result<()> {
        let mut state = self.state.lock();
        state.lease.renew_if_due()?;
        state.lease.check()?;
        let _bound = deadline::begin_within(state.lease.left().min(self.patience));
        self.put(key, manifest).map(drop)
    }

    fn put(&self, key: &Key, manifest: &Bytes) -> Result<Option<Etag>> {
        let put = self.store.put(key, manifest.clone().into(), PutMode::Overwrite);
        put.map(|put| put.etag).map_err(|e| self.failed(&e))
    }

    /// Deletes manifests that are older than the newest one. A manifest that cannot be deleted now is deleted at the
    /// next opportunity.
    fn delete_old(&self, before: &[Listed]) {
        let Some((kept, old)) = before.len().checked_sub(KEPT).map(|n| (&before[n..], &before[..n])) else {
            return;
        };
        let Some(newest) = kept.last() else { return };
        let is_old = |found: &Listed| {
            newest.modified.duration_since(found.modified).is_ok_and(|age| age >= self.patience)
        };
        let is_single = |n: usize| {
            let is_like = |other: Option<usize>| {
                other.and_then(|other| before.get(other)).is_some_and(|other| is_tie(other, &before[n]))
            };
            !is_like(n.checked_sub(1)) && !is_like(Some(n + 1))
        };
        let deleted = old.iter().enumerate().filter(|(n, found)| is_old(found) && is_single(*n));
        let keys: Vec<Key> = deleted.map(|(_, found)| found.key.clone()).collect();
        if keys.len() >= MIN_DELETED
            && let Err(e) = self.store.delete_many(&keys)
        {
            tracing::debug!(error = %e, "old manifests were not deleted");
        }
    }
}

/// Returns the maximum time that puts are assumed to take. No put is late in this process's memory.
fn patience_with(store: &dyn ObjectStore) -> Duration {
    if !store.capabilities().persistent {
        return PATIENCE_NEAR;
    }
    #[cfg(any(test, feature = "conformance"))]
    if let Some(set) = TEST_PATIENCE.get() {
        return *set;
    }
    PATIENCE
}

fn is_tie(one: &Listed, other: &Listed) -> bool {
    one.manifest.number == other.manifest.number
}

fn overtaken(number: u64) -> String {
    format!(
        "another writer committed at the same time, which this store cannot prevent (two manifests have the number {number}), and \
         the commits of one of the two writers are lost; open the container again, and check what it contains"
    )
}

fn sleep_until(then: Instant) {
    let left = then.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        wait_outside_store(|| std::thread::sleep(left));
    }
}

impl Register for LeaseGuarded {
    fn load(&self, known: Option<&Token>) -> Result<Load> {
        // After this time, a put that failed has arrived or never arrives.
        let certain = self.state.lock().certain.take();
        certain.into_iter().for_each(sleep_until);
        let (manifest, token) = match self.newest()? {
            Some(Newest { manifest, bytes, unput }) => {
                unput.map_or(Ok(()), |key| self.complete(&key, &bytes))?;
                (Some(bytes), Token(Version::Numbered(manifest)))
            }
            None => (None, Token(Version::Absent)),
        };
        Ok(if known == Some(&token) { Load::NotModified } else { Load::Loaded(manifest, token) })
    }

    fn swap(&self, over: &Token, manifest: Bytes) -> Swap {
        match self.try_swap(over, manifest) {
            Ok(Some(token)) => Swap::Swapped(token),
            Ok(None) => Swap::Doubt(Doubt::Mismatch),
            Err(e) => Swap::Doubt(Doubt::Failed(e)),
        }
    }
}
