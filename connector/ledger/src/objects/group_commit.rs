//! Group commits: one log object takes in the commits of several writers (design record 056).
//!
//! A writer that others overtook queues its commit as an object. Whoever finds its own first in the queue leads: it creates
//! the next log object with its own commit and with those of the others that are apart. They find theirs in it by its nonce.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_stores::{ErrorKind as StoreKind, Key, ObjectMeta, ObjectStoreExt, PutMode, PutPayload};

use super::joint::{Conditions, Joint, MAX_JOINT_BYTES, MAX_MEMBERS, QueuedCommit, encode_queued};
use super::manifest::store_error;
use super::queue_turn::Turn;
use super::writer::ObjectWriter;
use super::{FetchedRecord, ObjectStorage, lock, parse_log};
use crate::address::Location;
use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{GroupCommit, RemoteCommits};
use crate::wal::record::Header;

/// The longest queued commit, in bytes.
const MAX_QUEUED_BYTES: u64 = 1 << 20;
/// Queued commits that are listed: a page of S3.
const MAX_LISTED: usize = 1000;
/// How many versions back the view of a commit may lie that another takes in.
const MAX_VERSIONS_BEHIND: u64 = 256;
/// Nobody takes in a commit that was queued longer ago: its writer may be gone, and its user not expect it any more.
const MAX_AGE: Duration = Duration::from_secs(60);
/// So often one that leads tries again at once when others were first.
const MAX_LEADS: u32 = 16;
/// How long a commit waits in the queue at most.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A queued commit of this writer.
#[derive(Debug)]
pub(super) struct Queue {
    key: Key,
    object: Bytes,
    commit: QueuedCommit,
    is_put: bool,
    /// What was committed since the view.
    since: Vec<SeenRecord>,
    /// The version that took it in.
    version: Option<u64>,
    leads: bool,
    /// Whether its record was the first of its number.
    is_first: Option<bool>,
}

/// A record, and which keys it changed.
#[derive(Debug)]
struct SeenRecord {
    fetched: FetchedRecord,
    keys: Vec<Bytes>,
}

impl SeenRecord {
    fn breaks(&self, conditions: &Conditions) -> bool {
        self.keys.iter().any(|key| conditions.are_broken_by(key))
    }

    fn version(&self) -> u64 {
        self.fetched.record.header.version
    }
}

impl ObjectStorage {
    /// Queues a commit, and waits until a log object takes it in or others changed what it depends on.
    pub(super) fn queue_commit(
        &self,
        view: u64,
        entries: &[u8],
        conditions: &[Bytes],
    ) -> Result<GroupCommit> {
        let Some(queue) = self.with_writer(|w| w.queue(view, entries, conditions))? else {
            return Ok(GroupCommit::TooLong);
        };
        *lock(&self.queue) = Some(queue);
        self.settle_queued()
    }

    /// The same of a commit that is queued already and in doubt.
    pub(super) fn settle_queued(&self) -> Result<GroupCommit> {
        let Some(mut queue) = lock(&self.queue).take() else {
            return Err(Error::invalid(&self.target, "no commit is queued"));
        };
        // Whatever fails before it is known what became of it leaves it queued: its notes of room are with it.
        match self.settle_in(&mut queue) {
            Ok(true) => Ok(queue.into()),
            Ok(false) => {
                let _garbage_at_worst = self.store.delete(&queue.key);
                self.with_writer(|w| {
                    w.unqueue();
                    Ok(())
                })?;
                Ok(GroupCommit::Behind)
            }
            Err(e) if matches!(e.kind(), ErrorKind::Broken { .. }) => Err(e),
            Err(e) => {
                *lock(&self.queue) = Some(queue);
                Ok(GroupCommit::InDoubt(e))
            }
        }
    }

    /// Whether it was taken in, and what else was committed is known here; if not, nobody will take it in any more.
    fn settle_in(&self, q: &mut Queue) -> Result<bool> {
        self.with_writer(|w| w.renew_staged_packs())?;
        let is_in = self.wait_in(q)?;
        if is_in {
            self.take_in(q)?;
        }
        Ok(is_in)
    }

    /// Whether it was taken in; if not, others changed what it depends on, and nobody will take it in any more.
    fn wait_in(&self, q: &mut Queue) -> Result<bool> {
        if !q.is_put {
            let put = self.store.put(&q.key, PutPayload::from(q.object.clone()), PutMode::Overwrite);
            match put {
                Ok(_) => q.is_put = true,
                Err(e) if e.kind().is_ambiguous() => return Err(store_error(&self.target, &e)),
                // A refusal may be of a second try, after one that was broken off and had its effect.
                Err(e) => match self.store.head_opt(&q.key).map_err(|_| store_error(&self.target, &e))? {
                    Some(_) => q.is_put = true,
                    None => {
                        tracing::warn!(error = %e, "a commit could not be queued");
                        return Ok(false);
                    }
                },
            }
        }
        let (begun, mut turn) = (Instant::now(), Turn::default());
        while q.version.is_none() {
            let asked = Instant::now();
            let newest = q.newest();
            for fetched in self.after(newest, newest)? {
                q.since.push(self.seen_record(fetched)?);
            }
            let round_trip = asked.elapsed();
            let fresh = &q.since[(newest - q.commit.view) as usize..];
            let others_went_on = !fresh.is_empty();
            if let Some(seen) = fresh.iter().find(|seen| seen.fetched.record.holds(q.nonce())) {
                let version = seen.version();
                // What came after it is news: others may have changed the same keys again.
                q.since.truncate((version - q.commit.view) as usize);
                q.version = Some(version);
            } else if fresh.iter().any(|seen| seen.breaks(&q.commit.conditions)) {
                // Whoever commits from now on knows of this record, and leaves the queued commit out.
                return Ok(false);
            } else if turn.wants_listing(others_went_on) {
                let queued = self.list_queue()?;
                if turn.is_to_lead(&queued, &q.key) && !self.lead(q, queued)? {
                    return Ok(false);
                }
            } else if begun.elapsed() > MAX_WAIT {
                return Err(self.store_gave_up());
            } else {
                std::thread::sleep(turn.pause(round_trip));
            }
        }
        // A commit counts only in a container that is still there.
        let version = q.version.unwrap_or_default();
        let is_first = *q.is_first.get_or_insert_with(|| self.is_first(version));
        self.check_named(version, is_first).map(|()| true)
    }

    fn store_gave_up(&self) -> Error {
        let what = "other writers commit all the time, and take this commit in neither; flush again".into();
        Error::new(&self.target, ErrorKind::Store { errno: Some(nix::libc::EAGAIN), what })
    }

    fn seen_record(&self, fetched: FetchedRecord) -> Result<SeenRecord> {
        let changes = fetched.record.changes().map_err(|why| {
            let at = format!("record of version {}", fetched.record.header.version);
            Error::corrupt(&self.target, at, why)
        })?;
        // One of many writes no edits, but a base may have been followed by some before.
        let keys = changes.into_iter().map(|(key, _)| key).collect();
        Ok(SeenRecord { fetched, keys })
    }

    /// The queued commits that are not too old, in the order of their names.
    fn list_queue(&self) -> Result<Vec<ObjectMeta>> {
        let prefix = format!("{}/", self.names.queue(&self.target)?);
        let queued = match self.store.list_page(&prefix, None, MAX_LISTED) {
            Ok(page) => page.objects,
            Err(e) if e.kind().is_ambiguous() => return Err(store_error(&self.target, &e)),
            // Who may not list commits alone.
            Err(e) => {
                tracing::debug!(error = %e, "the queue of commits cannot be listed");
                Vec::new()
            }
        };
        let now = self.with_writer(|w| Ok(w.present()))?;
        let age = |meta: &ObjectMeta| now.saturating_sub(clock::since_1970(meta.modified));
        let (old, fresh): (Vec<_>, Vec<_>) =
            queued.into_iter().partition(|meta| age(meta) > clock::micros(MAX_AGE));
        let forgotten: Vec<Key> = old
            .into_iter()
            .filter(|meta| age(meta) > clock::micros(10 * MAX_AGE))
            .map(|meta| meta.key)
            .collect();
        if !forgotten.is_empty() {
            let _the_next_one_deletes_it = self.store.delete_many(&forgotten);
        }
        Ok(fresh)
    }

    /// Creates the next log object with this commit and those of others that are apart. Where another writer is first it tries
    /// again at once: writers that are in no queue are as fast. False if this commit cannot be made any more.
    fn lead(&self, q: &mut Queue, queued: Vec<ObjectMeta>) -> Result<bool> {
        let mut room = MAX_JOINT_BYTES as u64;
        let has_room = |meta: &ObjectMeta| {
            let fits = meta.size <= room;
            room = room.saturating_sub(meta.size);
            fits
        };
        let others = queued.into_iter().filter(|meta| meta.key != q.key).take_while(has_room);
        let others: Vec<Key> = others.map(|meta| meta.key).take(MAX_MEMBERS - 1).collect();
        let candidates = self.fetch_queued(&others);
        let older = self.older_records(q, &candidates)?;
        for _ in 0..MAX_LEADS {
            let mut joint = Joint::new();
            if !joint.take_in(&q.commit) {
                return Err(Error::invalid(&self.target, "a queued commit that cannot be committed"));
            }
            let mut taken = vec![q.key.clone()];
            for (key, candidate) in others.iter().zip(&candidates) {
                let Some(candidate) = candidate else { continue };
                if is_open(candidate, &older, &q.since, q.newest()) && joint.take_in(candidate) {
                    taken.push(key.clone());
                }
            }
            let version = q.newest() + 1;
            let last = q.since.last().map_or(0, |seen| seen.fetched.record.header.time);
            if let Some(object) = self.with_writer(|w| w.create_joint(version, last, joint))? {
                let damaged = |why: &str| Error::corrupt(&self.target, "own log object", why);
                q.since.push(self.seen_record(parse_log(&object).map_err(damaged)?)?);
                (q.version, q.leads) = (Some(version), true);
                let _garbage_at_worst = self.store.delete_many(&taken);
                return Ok(true);
            }
            // It is refused to others before it is shown, in some stores.
            let Some(fetched) = self.record(version)? else { return Ok(true) };
            if fetched.record.header.is_intent {
                self.pass_intent(version)?;
            }
            let seen = self.seen_record(fetched)?;
            let (is_in, breaks) = (seen.fetched.record.holds(q.nonce()), seen.breaks(&q.commit.conditions));
            q.since.push(seen);
            if is_in {
                q.version = Some(version);
            }
            if is_in || breaks {
                return Ok(is_in);
            }
        }
        Ok(true)
    }

    /// What others queued, in the order of the keys; `None` for what is gone or cannot be read.
    fn fetch_queued(&self, keys: &[Key]) -> Vec<Option<QueuedCommit>> {
        let fetch = |key: &Key| {
            let found = self.store.get_whole_opt(key, MAX_QUEUED_BYTES).ok()??;
            QueuedCommit::decode(&found.bytes).ok()
        };
        std::thread::scope(|scope| {
            let ask = |key| std::thread::Builder::new().spawn_scoped(scope, move || fetch(key)).ok();
            let asked: Vec<_> = keys.iter().map(ask).collect();
            // What there is no thread for waits for the next one that leads.
            asked.into_iter().map(|thread| thread?.join().ok()?).collect()
        })
    }

    /// The records from the oldest view of the candidates up to this writer's, by version. Some may be missing.
    fn older_records(
        &self,
        q: &Queue,
        candidates: &[Option<QueuedCommit>],
    ) -> Result<HashMap<u64, SeenRecord>> {
        let least = q.newest().saturating_sub(MAX_VERSIONS_BEHIND);
        let views = candidates.iter().flatten().map(|c| c.view).filter(|view| *view >= least);
        let Some(oldest) = views.min().filter(|view| *view < q.commit.view) else {
            return Ok(HashMap::new());
        };
        let mut older = HashMap::new();
        let mut next = oldest + 1;
        while next <= q.commit.view {
            let last = q.commit.view.min(next + super::MAX_RECORDS_PER_FETCH as u64 - 1);
            for fetched in self.together(next..=last) {
                if let Ok(Some(fetched)) = fetched {
                    let seen = self.seen_record(fetched)?;
                    older.insert(seen.version(), seen);
                }
            }
            next = last + 1;
        }
        Ok(older)
    }

    /// Learns what was committed up to the version that took the commit in. After a failure it is tried again.
    fn take_in(&self, q: &Queue) -> Result<()> {
        let records: Vec<_> = q.since.iter().map(|seen| &seen.fetched).collect();
        self.with_writer(|w| w.joined(&records, q.leads))?;
        lock(&self.seen).version = Some(q.newest());
        Ok(())
    }
}

/// The last part of a queued commit's key. Listings are in its order: where more commits wait than a group takes in, those that have
/// waited longest go first.
fn queued_name(time: u64, nonce: u64) -> String {
    format!("{time:016x}-{nonce:016x}")
}

/// Whether another's queued commit may follow the newest version: nobody broke its conditions, and it is in no version yet.
fn is_open(c: &QueuedCommit, older: &HashMap<u64, SeenRecord>, since: &[SeenRecord], newest: u64) -> bool {
    let view = newest - since.len() as u64;
    let record = |version: u64| match version.checked_sub(view + 1) {
        Some(n) => since.get(n as usize),
        None => older.get(&version),
    };
    let nonce = c.record.header.nonce;
    let allows = |seen: &SeenRecord| !seen.fetched.record.holds(nonce) && !seen.breaks(&c.conditions);
    c.view <= newest
        && newest - c.view <= MAX_VERSIONS_BEHIND
        && (c.view + 1..=newest).all(|version| record(version).is_some_and(allows))
}

impl From<Queue> for GroupCommit {
    /// What became of a commit that was taken in.
    fn from(q: Queue) -> Self {
        let (version, led) = (q.newest(), q.leads);
        let records = q.since.into_iter().map(|seen| seen.fetched.record).collect();
        Self::Joined {
            version: 0,
            commits: RemoteCommits { version, records, ..RemoteCommits::default() },
            led,
        }
    }
}

impl Queue {
    fn nonce(&self) -> u64 {
        self.commit.record.header.nonce
    }

    /// The newest version that it knows of.
    fn newest(&self) -> u64 {
        self.commit.view + self.since.len() as u64
    }
}

impl ObjectWriter {
    /// Makes a commit to be queued; `None` for one that is too long. Its notes of room are those of no other commit until it is
    /// [taken back](Self::unqueue).
    fn queue(&mut self, view: u64, entries: &[u8], conditions: &[Bytes]) -> Result<Option<Queue>> {
        if self.is_pending() || self.queued.is_some() {
            return Err(Error::invalid(&self.target, "a commit is pending; settle it first"));
        }
        self.finish_packs()?;
        self.renew_staged_packs()?;
        self.await_first_head()?;
        // Others have to tell it from everything that was ever queued.
        let nonce = u64::from_le_bytes(clock::random(&self.target)?);
        let time = self.present();
        let header = Header::of_now(view + 1, nonce, time);
        let notes = self.payloads.notes.encode();
        let object: Bytes = encode_queued(view, conditions, &header, &notes, entries).into();
        if object.len() as u64 > MAX_QUEUED_BYTES {
            return Ok(None);
        }
        let damaged =
            |why: &str| Error::invalid(&self.target, format!("a commit that cannot be queued: {why}"));
        let commit = QueuedCommit::decode(&object).map_err(damaged)?;
        let key = self.names.queue(&self.target)?.join(queued_name(time, nonce));
        let key = key.map_err(|e| Error::invalid(&self.target, e.to_string()))?;
        self.queued = Some(std::mem::take(&mut self.payloads.notes));
        Ok(Some(Queue {
            key,
            object,
            commit,
            is_put: false,
            since: Vec::new(),
            version: None,
            leads: false,
            is_first: None,
        }))
    }

    /// The queued commit will never be in the log.
    fn unqueue(&mut self) {
        if let Some(notes) = self.queued.take() {
            self.take_back(notes);
        }
    }

    /// Creates the log object of several commits; its bytes, if nobody else's is there.
    fn create_joint(&mut self, version: u64, after: u64, joint: Joint) -> Result<Option<Bytes>> {
        let time = self.present().max(self.last_time.max(after) + 1);
        let nonce = self.nonces.next();
        let header = Header::of_now(version, nonce, time);
        let object: Bytes = joint.log_object(&header).into();
        let key = self.names.object_key(&Location::Log(version), &self.target)?;
        match self.store.put(&key, PutPayload::from(object.clone()), PutMode::Create) {
            Ok(_) => Ok(Some(object)),
            // Or its own, if an answer was lost: then the queued commit is found in it. The same if it arrives later.
            Err(e) if matches!(e.kind(), StoreKind::AlreadyExists | StoreKind::PreconditionFailed) => {
                Ok(None)
            }
            Err(e) => Err(store_error(&self.target, &e)),
        }
    }

    /// Takes in the records up to the one that has the queued commit.
    fn joined(&mut self, records: &[&FetchedRecord], leads: bool) -> Result<()> {
        self.learn_refs(records)?;
        (self.queued, self.gave_up) = (None, false);
        self.wrote = true;
        self.forget_since();
        if leads && self.version.is_multiple_of(super::writer::COMMITS_PER_HEAD) {
            self.hint();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With names in a random order, a queue longer than a group would let some wait for ever.
    #[test]
    fn who_waits_longest_is_first_in_the_queue() {
        let mut names: Vec<String> = (0..1000u64)
            .map(|n| queued_name(1_795_000_000_000_000 + 997 * n, n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect();
        assert!(names.is_sorted());
        names.dedup();
        assert_eq!(names.len(), 1000);
        assert!(queued_name(u64::MAX - 1, u64::MAX) < queued_name(u64::MAX, 0));
    }
}
