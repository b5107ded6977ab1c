//! Group commits: a commit waits in a queue until one of the writers includes it in its swap.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_stores::deadline::wait_outside_store;
use object_stores::{Key, ObjectMeta, ObjectStoreExt, PutMode, PutPayload};

use super::ObjectStorage;
use super::committer::delete_objects;
use super::fetch::Fetcher;
use super::note::Note;
use super::staged::Staged;
use super::view::{View, new_commits};
use super::writer::Writer;
use crate::clock;
use crate::core::change::{Change, Commit as CommitChange};
use crate::core::events::{Event, Outcome};
use crate::core::group::{MAX_QUEUED_BYTES, Member, are_spared};
use crate::core::ids::Nonce;
use crate::core::manifest::Manifest;
use crate::core::records::{Data, MAX_CURRENT_RECORD, MAX_PARTS, SegmentRef};
use crate::core::session::Entry;
use crate::error::{Error, ErrorKind, Result, store_error};
use crate::side_by_side::{both, side_by_side};
use crate::storage::GroupCommit;
use crate::store::queue_turn::{QueueName, Turn, is_recorded, longest_first};

/// The maximum number of queued commits that are listed.
const MAX_LISTED: usize = 1000;
/// A leader includes no commits that are older than this. Commits that are ten times as old are deleted from the queue.
const MAX_AGE: Duration = Duration::from_secs(60);
/// The maximum time that a commit waits.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// The number of queued commits that are read in parallel.
const MAX_READS: usize = 32;
/// The maximum size of a record without its commits, in bytes.
const RECORD_BYTES: usize = 1024;

/// A queued commit of this writer.
#[derive(Debug)]
pub(super) struct Queued {
    key: Key,
    member: Member,
    /// The objects and frees of the commit.
    staged: Staged,
    /// True if the queue object was put, or cannot be put.
    is_put: bool,
    led: bool,
    turn: Turn,
    /// The outcome of the commit, until the records of the other commits have been read, too.
    ended: Option<Outcome>,
}

/// The result of a check of a queued commit.
enum Step {
    Wait(Duration),
    Ended(Box<GroupCommit>),
}

impl ObjectStorage {
    pub(super) fn queue_commit(&self, entries: &[u8], conditions: &[Bytes]) -> Result<GroupCommit> {
        if !self.with_view(|w, view| w.queue(view, entries, conditions))? {
            return Ok(GroupCommit::TooLong);
        }
        self.settle_queued()
    }

    /// Waits until a queued commit was committed, or can no longer be.
    pub(super) fn settle_queued(&self) -> Result<GroupCommit> {
        let begun = Instant::now();
        loop {
            match self.with_view(|w, view| w.look_at_queue(view)) {
                Ok(Step::Ended(end)) => return Ok(*end),
                Ok(Step::Wait(_)) if begun.elapsed() > MAX_WAIT => {
                    let what =
                        "other writers commit all the time, and take this commit in neither; flush again";
                    let kind = ErrorKind::Store { errno: Some(nix::libc::EAGAIN), what: what.into() };
                    return Ok(GroupCommit::OutcomeUnknown(self.fail(kind)));
                }
                Ok(Step::Wait(pause)) => wait_outside_store(|| std::thread::sleep(pause)),
                Err(e) if self.with_writer(|w| Ok(w.queued.is_some()))? && !e.is_final() => {
                    return Ok(GroupCommit::OutcomeUnknown(e));
                }
                Err(e) => return Err(e),
            }
        }
    }
}

impl Writer {
    /// Queues a commit. Returns false if the commit is too long for the queue.
    fn queue(&mut self, view: &View, entries: &[u8], conditions: &[Bytes]) -> Result<bool> {
        self.finish_everything()?;
        // The leader puts the segment, and a session cannot join while its commit is queued.
        if self.committer.known().line.wants_segment() {
            self.ensure_listed()?;
        }
        let data = Data {
            notes: self.staged.notes(),
            author: Note::of_now(self.staged.bytes()).encode(),
            entries: Bytes::copy_from_slice(entries),
        };
        let reported = self.reported(view)?;
        let nonce = self.committer.session.next_nonce();
        let member = Member { nonce, view: reported.version, data, conditions: conditions.to_vec() };
        if member.data.size() + RECORD_BYTES > MAX_CURRENT_RECORD || member.encode().len() > MAX_QUEUED_BYTES
        {
            return Ok(false);
        }
        let time = self.present();
        let name = QueueName { time, since: *self.waits_since.get_or_insert(time), nonce };
        let key = self.io.fetcher.names.key(&name.text(), self.target())?;
        let change = self.own_change(&member, reported.version, Vec::new(), None);
        self.committer.session.step(Event::Queued(change));
        let staged = std::mem::take(&mut self.staged);
        let turn = Turn::default();
        self.queued = Some(Queued { key, member, staged, is_put: false, led: false, turn, ended: None });
        Ok(true)
    }

    /// Returns the change that commits a queued commit, together with commits of other writers.
    fn own_change(&self, own: &Member, on: u64, members: Vec<Member>, segment: Option<SegmentRef>) -> Change {
        Change::Commit(Box::new(CommitChange {
            on,
            time: self.time(),
            note: Note::of_now(own.data.entries.len() as u64).encode(),
            data: own.data.clone(),
            other_sessions: Vec::new(),
            stored: None,
            numbers: None,
            joins: None,
            leaves: false,
            closes: false,
            segment,
            members,
            conditions: own.conditions.clone(),
            segments: self.io.segments.clone(),
            tables: None,
        }))
    }

    /// Puts the queue object, unless it is known to exist.
    fn put_queued(&mut self) -> Result<()> {
        let (store, target) = (self.io.fetcher.store.clone(), self.io.fetcher.target.clone());
        let Some(q) = self.queued.as_mut().filter(|q| !q.is_put) else { return Ok(()) };
        // The name was never used, so a repetition of the put is harmless.
        let put = store.put(&q.key, PutPayload::from(q.member.encode()), PutMode::Overwrite);
        match put {
            Ok(_) => q.is_put = true,
            Err(e) if e.kind().is_ambiguous() => return Err(store_error(&target, &e)),
            Err(e) => {
                tracing::warn!(error = %e, "a commit could not be queued");
                // The commit can still be made by its own session.
                q.is_put = true;
            }
        }
        Ok(())
    }

    fn look_at_queue(&mut self, view: &mut View) -> Result<Step> {
        if let Some(outcome) = self.queued.as_ref().and_then(|q| q.ended.clone()) {
            return self.end_queued(view, outcome).map(|end| Step::Ended(Box::new(end)));
        }
        self.put_queued()?;
        let asked = Instant::now();
        let fetcher = self.io.fetcher.clone();
        let present = self.present();
        let is_new = self.queued.as_ref().is_some_and(|q| q.turn.is_new());
        let first = || is_new.then(|| list(&fetcher, present));
        let (listed, looked) = both(is_new, first, || self.committer.look(&fetcher));
        if let Some(outcome) = looked? {
            return self.end_queued(view, outcome).map(|end| Step::Ended(Box::new(end)));
        }
        let round_trip = asked.elapsed();
        let known = self.committer.known();
        let Some(q) = &self.queued else {
            return Err(Error::invalid(&fetcher.target, "no commit is queued"));
        };
        let conditions = q.member.conditions.clone();
        if known.id == self.committer.session.container() && self.is_broken(&known, &conditions, &fetcher)? {
            // Every later leader finds the cancel record, and leaves out the queued commit.
            let outcome = self.committer.abandon(&fetcher)?;
            return self.end_queued(view, outcome).map(|end| Step::Ended(Box::new(end)));
        }
        let recorded = self.recorded(&known);
        let Some(q) = &mut self.queued else { return Ok(Step::Wait(round_trip)) };
        if q.turn.wants_listing(&recorded) {
            let mut listed = listed.unwrap_or_else(|| list(&fetcher, present))?;
            listed.retain(|meta| !is_recorded(&meta.key, &recorded));
            let leads = q.turn.is_to_lead(&listed, &q.key);
            if leads && let Some(outcome) = self.lead(listed, &fetcher)? {
                return self.end_queued(view, outcome).map(|end| Step::Ended(Box::new(end)));
            }
        }
        let pause = self.queued.as_ref().map_or(round_trip, |q| q.turn.pause(round_trip));
        Ok(Step::Wait(pause))
    }

    /// Returns the nonces of the newest records, as far as this writer has read them.
    fn recorded(&self, known: &Manifest) -> HashSet<Nonce> {
        let line = &known.line;
        let segments = line.segments.iter().filter_map(|at| self.io.segments.get(at));
        let records = segments.flat_map(|segment| &segment.records).chain(&line.tail);
        records.flat_map(|record| record.parts.iter().map(|part| part.nonce)).collect()
    }

    /// Returns whether a record after the commit's view changed a key that the commit depends on.
    fn is_broken(&mut self, known: &Manifest, conditions: &[Bytes], fetcher: &Fetcher) -> Result<bool> {
        let Some(since) = self.queued.as_ref().map(|q| q.member.view) else { return Ok(false) };
        let line = &known.line;
        if !line.reaches(since) {
            return Ok(true);
        }
        let records = match fetcher.records(line, (since, line.version), &mut self.io.segments) {
            // The content of a record below the root was reclaimed, so its keys are unknown.
            Err(e) if *e.kind() == ErrorKind::Gone => return Ok(true),
            records => records?,
        };
        Ok(!are_spared(&records, conditions))
    }

    /// Leads a group: commits the queued commit together with other queued commits that are independent of it.
    fn lead(&mut self, listed: Vec<ObjectMeta>, fetcher: &Fetcher) -> Result<Option<Outcome>> {
        let Some(q) = &self.queued else { return Ok(None) };
        let (own, key) = (q.member.clone(), q.key.clone());
        let mut space = (MAX_CURRENT_RECORD - RECORD_BYTES).saturating_sub(own.data.size()) as u64;
        let has_space = |meta: &ObjectMeta| {
            let fits = meta.size <= space;
            space = space.saturating_sub(meta.size);
            fits
        };
        let candidates =
            longest_first(listed).into_iter().filter(|meta| meta.key != key).take_while(has_space);
        let candidates: Vec<Key> = candidates.map(|meta| meta.key).take(MAX_PARTS - 1).collect();
        let members: Vec<Member> = read(fetcher, &candidates).into_iter().flatten().collect();
        // A session cannot join while its commit is queued.
        let is_listed = self.committer.session.entry() == Entry::Listed;
        let segment = if is_listed { self.segment_for_commit()? } else { None };
        self.start_segment_beside(segment.as_ref());
        let known = self.committer.known();
        let line = &known.line;
        let oldest = members.iter().map(|member| member.view).chain([own.view]).min().unwrap_or(own.view);
        // The core needs these records to check whether a member already has a record, and whether a condition is broken.
        if line.reaches(oldest) {
            fetcher.record_heads(line, (oldest, line.version), &mut self.io.segments)?;
        }
        let change = self.own_change(&own, line.version, members, segment);
        if let Some(q) = &mut self.queued {
            q.led = true;
        }
        let outcome = self.committer.lead(change, fetcher)?;
        self.take_back_unnamed(segment, outcome.as_ref());
        Ok(outcome)
    }

    /// Takes back the segment of a swap, if no manifest names it.
    fn take_back_unnamed(&mut self, segment: Option<SegmentRef>, outcome: Option<&Outcome>) {
        let known = self.committer.known();
        let is_newest = match outcome {
            Some(Outcome::Done { sequence, .. }) => *sequence == Some(known.sequence),
            // No manifest up to this one has the commit, so none names the segment.
            Some(Outcome::NotCommitted | Outcome::Rejected(_)) | None => true,
            Some(_) => false,
        };
        let is_named = |at: &SegmentRef| known.line.segments.contains(at);
        self.segment.take_back(segment.filter(|at| is_newest && !is_named(at)));
    }

    /// Applies the outcome of a queued commit. After an error the commit remains queued with that outcome, and the next check tries again.
    fn end_queued(&mut self, view: &mut View, outcome: Outcome) -> Result<GroupCommit> {
        let Some(q) = &mut self.queued else { return Ok(GroupCommit::Superseded) };
        q.ended = Some(outcome.clone());
        let (key, nonce, since, led) = (q.key.clone(), q.member.nonce, q.member.view, q.led);
        let fetcher = self.io.fetcher.clone();
        let _garbage_at_worst = fetcher.store.delete(&key);
        let Outcome::Done { sequence, .. } = outcome else {
            let staged = self.queued.take().map(|q| q.staged).unwrap_or_default();
            // A commit that may be in the container may need all of its objects.
            if outcome != Outcome::Undecided {
                self.staged.take_back(staged);
            }
            return match outcome {
                Outcome::NotCommitted => Ok(GroupCommit::Superseded),
                other => Err(self.committer.failure(&other)),
            };
        };
        let known = self.committer.known();
        let line = &known.line;
        let version = sequence.unwrap_or(line.version);
        let records = fetcher.record_heads(line, (since, line.version), &mut self.io.segments)?;
        let own = records.iter().find(|record| record.version == version).map_or(line.number, |r| r.number);
        let found = new_commits(&known, view.reported, own, true, &mut self.io.segments, &fetcher)?;
        let found = found.ok_or_else(|| fetcher.corrupt("record", "a commit that was made is not there"))?;

        let staged = self.queued.take().map(|q| q.staged).unwrap_or_default();
        self.wrote = true;
        self.waits_since = None;
        delete_objects(&fetcher, &staged.unused());
        self.staged.freed.remove_all(staged.freed.iter());
        self.take_notes(&found.records);
        view.reported = Some(found.reported);
        let newest = line.tail.last().and_then(|record| record.parts.last());
        let led = led && newest.is_some_and(|part| part.nonce == nonce);
        view.manifest = known;
        Ok(GroupCommit::Joined { commits: Box::new(found.commits), version: own, led })
    }
}

/// Returns the queued commits that are not too old, in the order of their names: the one that has waited longest is first.
pub(super) fn list(fetcher: &Fetcher, now: u64) -> Result<Vec<ObjectMeta>> {
    let queued = match fetcher.store.list_page(&fetcher.names.queue(), None, MAX_LISTED) {
        Ok(page) => page.objects,
        Err(e) if e.kind().is_ambiguous() => return Err(store_error(&fetcher.target, &e)),
        // A client without the permission to list objects leads its commit alone.
        Err(e) => {
            tracing::debug!(error = %e, "the queue of commits cannot be listed");
            Vec::new()
        }
    };
    let age = |meta: &ObjectMeta| now.saturating_sub(clock::since_1970(meta.modified));
    let (old, fresh): (Vec<_>, Vec<_>) =
        queued.into_iter().partition(|meta| age(meta) > clock::micros(MAX_AGE));
    let is_forgotten = |meta: &ObjectMeta| age(meta) > clock::micros(10 * MAX_AGE);
    let forgotten: Vec<Key> = old.into_iter().filter(is_forgotten).map(|meta| meta.key).collect();
    if !forgotten.is_empty() {
        let _the_next_one_deletes_it = fetcher.store.delete_many(&forgotten);
    }
    Ok(fresh)
}

/// Reads commits that other writers queued, in the order of the keys; `None` for a commit that is gone or cannot be read.
pub(super) fn read(fetcher: &Fetcher, keys: &[Key]) -> Vec<Option<Member>> {
    let mut out: Vec<Option<Member>> = vec![None; keys.len()];
    let work: Vec<_> = keys.iter().zip(&mut out).collect();
    let _what_cannot_be_read_waits = side_by_side(work, MAX_READS, |(key, slot)| {
        if let Ok(Some(found)) = fetcher.store.get_whole_opt(key, MAX_QUEUED_BYTES as u64) {
            *slot = Member::decode(&found.bytes).ok();
        }
        Ok(())
    });
    out
}
