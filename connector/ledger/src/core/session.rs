//! Sessions: the state machine of a writer.
//!
//! The caller passes events to the session and carries out the actions that it returns; the session decides which actions may follow. The
//! session never waits, reads a clock or makes a request. The caller decides when and how often to load after a doubt, and provides the
//! session's id.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::apply::apply;
use super::change::{By, Change, Reject};
use super::events::{Action, Event, Outcome};
use super::group::is_broken;
use super::ids::{ContainerId, Nonce, ObjectId, SessionId, SessionProcess};
use super::manifest::Manifest;
use super::records::Segments;
use super::settle::{Verdict, settle};

/// The relation of a session to other writers of its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// The only writer: a version of another writer ends the session.
    Exclusive,
    /// A concurrent writer: versions of other writers are merged.
    Shared,
}

/// The session's knowledge about its entry in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Entry {
    /// The session has not joined, and has put no object.
    Unlisted,
    /// A manifest had the entry.
    Listed,
    /// The session left or was expelled. It never joins again.
    Gone,
}

/// A change that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Pending<T> {
    pub(crate) change: Change,
    pub(crate) nonce: Nonce,
    /// No swap up to this sequence can have the nonce.
    view: u64,
    /// The newest swap that was sent, and the token that it is conditional on.
    pub(crate) sent: Option<(T, Arc<Manifest>)>,
    /// The commit is in the queue, where leaders find it.
    pub(crate) is_queued: bool,
    /// The caller has prepared the queued commit to lead.
    is_leading: bool,
    is_abandoned: bool,
    /// A cancel record was sent over the token of `sent`.
    pub(crate) is_cancelling: bool,
    /// The bytes of `sent` were sent before, with an unknown outcome.
    is_resent: bool,
}

/// The state of a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum State<T> {
    /// No change is pending.
    Idle,
    /// A change waits for a load or to be prepared again. No swap of it can take effect.
    Prepared(Pending<T>),
    /// A swap was sent.
    Swapping(Pending<T>),
    /// A swap may have taken effect, or a leader may have taken the queued commit.
    Doubt(Pending<T>),
    Fenced,
    Expelled,
    Undecided,
}

/// A writer's session with one container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Session<T> {
    id: SessionId,
    container: ContainerId,
    mode: Mode,
    process: Option<SessionProcess>,
    /// The number of nonces that were used.
    count: u64,
    /// The number of object names that were used.
    objects: u64,
    entry: Entry,
    known: Option<(Arc<Manifest>, T)>,
    segments: Segments,
    /// True if a swap of the newest change may have taken effect, although the change was prepared again or ended as not committed.
    is_unproven: bool,
    state: State<T>,
}

impl<T: Clone + PartialEq> Session<T> {
    /// Returns a session that has not joined yet. The id must be random.
    pub(crate) fn new(id: SessionId, container: ContainerId, mode: Mode) -> Self {
        Self {
            id,
            container,
            mode,
            process: None,
            count: 0,
            objects: 0,
            entry: Entry::Unlisted,
            known: None,
            segments: Segments::default(),
            is_unproven: false,
            state: State::Idle,
        }
    }

    /// Returns the session with the process that its entry names.
    pub(crate) fn of_process(self, process: Option<SessionProcess>) -> Self {
        Self { process, ..self }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    pub(crate) fn container(&self) -> ContainerId {
        self.container
    }

    pub(crate) fn state(&self) -> &State<T> {
        &self.state
    }

    pub(crate) fn entry(&self) -> Entry {
        self.entry
    }

    /// Returns the newest manifest that the session has loaded or swapped in.
    pub(crate) fn known(&self) -> Option<&Arc<Manifest>> {
        self.known.as_ref().map(|(manifest, _)| manifest)
    }

    /// Returns the newest known manifest, with its token.
    pub(crate) fn newest(&self) -> Option<(&Arc<Manifest>, &T)> {
        self.known.as_ref().map(|(manifest, token)| (manifest, token))
    }

    /// Returns whether a manifest may name the objects that were put for the newest change, although the change did not end as done, or was
    /// prepared again. The caller must not delete these objects. A sweep deletes them if no manifest names them.
    pub(crate) fn may_be_named(&self) -> bool {
        self.is_unproven
    }

    /// Returns the nonce of the next change that is submitted or queued.
    pub(crate) fn next_nonce(&self) -> Nonce {
        Nonce { session: self.id, count: self.count + 1 }
    }

    /// Returns a name for an object to be put; `None` if the session has to join first.
    pub(crate) fn next_object(&mut self) -> Option<ObjectId> {
        // Rule: objects are put after the entry is known to be in a manifest.
        if !rule!(JoinFirst, self.entry == Entry::Listed) {
            return None;
        }
        Some(self.name_object())
    }

    /// Returns a name for an object that is filled in memory. The session has to be [listed](Self::entry) when the object is put.
    pub(crate) fn name_object(&mut self) -> ObjectId {
        self.objects += 1;
        ObjectId { session: self.id, number: self.objects }
    }

    /// Returns the day of joining, if the next change should add the session's entry.
    pub(crate) fn day_to_join(&self, today: u64) -> Option<u64> {
        // A listed session may have put objects, so it never joins again.
        rule!(JoinOnce, self.entry == Entry::Unlisted; true).then_some(today)
    }

    /// Returns whether a queued commit waits for a leader and was not abandoned.
    pub(crate) fn waits_in_queue(&self) -> bool {
        matches!(&self.state, State::Doubt(p) if p.is_queued && !p.is_abandoned)
    }

    /// Processes an event and returns the actions for the caller. Events that do not belong to the state change nothing.
    pub(crate) fn step(&mut self, event: Event<T>) -> Vec<Action<T>> {
        let state = std::mem::replace(&mut self.state, State::Idle);
        match (event, state) {
            (Event::Submit(change), State::Idle) => self.submit(change, false),
            (Event::Queued(change), State::Idle) => self.submit(change, true),
            (Event::Prepared(change), State::Prepared(p)) => self.attempt(Pending { change, ..p }),
            (Event::Prepared(change), State::Doubt(p)) => {
                let is_leading = p.is_queued;
                self.settle(Pending { change, is_leading, ..p })
            }
            (Event::Loaded(manifest, token), state) => self.loaded(manifest, token, state),
            (Event::Read(segments), state) => {
                self.merge_segments(segments);
                match state {
                    State::Doubt(p) => self.settle(p),
                    state => self.stay(state),
                }
            }
            (Event::Swapped(token), State::Swapping(p)) => self.swapped(token, p),
            (Event::Doubt, State::Swapping(p)) => {
                self.state = State::Doubt(p);
                vec![Action::Load]
            }
            // A swap that was sent before may still take effect, and so may a queued commit.
            (Event::Refused, State::Swapping(p)) if p.is_resent || p.is_queued || p.is_cancelling => {
                self.state = State::Doubt(p);
                vec![Action::Load]
            }
            (Event::Refused, State::Swapping(_)) => self.end(Outcome::NotCommitted),
            (Event::Abandon, State::Prepared(p)) if !p.is_queued => self.end(Outcome::NotCommitted),
            (Event::Abandon, State::Prepared(p)) => self.abandon(p, State::Doubt, Some(Action::Load)),
            (Event::Abandon, State::Swapping(p)) => self.abandon(p, State::Swapping, None),
            (Event::Abandon, State::Doubt(p)) => self.abandon(p, State::Doubt, Some(Action::Load)),
            (_, state) => self.stay(state),
        }
    }

    /// Adds segments that were read, and retains those that the newest known manifest names.
    fn merge_segments(&mut self, read: Segments) {
        let known = self.known.as_ref().map(|(manifest, _)| manifest.clone());
        let named = known.iter().flat_map(|m| m.line.direct());
        let named: BTreeSet<ObjectId> = named.collect();
        self.segments.merge(read, |object| named.contains(&object));
    }

    fn stay(&mut self, state: State<T>) -> Vec<Action<T>> {
        self.state = state;
        Vec::new()
    }

    fn abandon(
        &mut self,
        p: Pending<T>,
        state: impl FnOnce(Pending<T>) -> State<T>,
        then: Option<Action<T>>,
    ) -> Vec<Action<T>> {
        self.state = state(Pending { is_abandoned: true, ..p });
        then.into_iter().collect()
    }

    fn end(&mut self, outcome: Outcome) -> Vec<Action<T>> {
        self.state = match outcome {
            Outcome::Fenced => State::Fenced,
            Outcome::Undecided => State::Undecided,
            // Rule: an expelled session returns under a new id, and puts its objects again.
            Outcome::Expelled => rule!(NewSessionId, State::Expelled; State::Idle),
            _ => State::Idle,
        };
        if matches!(outcome, Outcome::Expelled) {
            self.entry = rule!(NewSessionId, Entry::Gone; Entry::Unlisted);
        }
        vec![Action::Report(outcome)]
    }

    fn submit(&mut self, change: Change, is_queued: bool) -> Vec<Action<T>> {
        if is_queued && !change.can_be_queued() {
            return self.end(Outcome::Rejected(Reject::NotQueueable));
        }
        let nonce = self.next_nonce();
        (self.count, self.is_unproven) = (nonce.count, false);
        let view = self.known.as_ref().map_or(0, |(manifest, _)| manifest.sequence);
        let p = Pending {
            change,
            nonce,
            view,
            sent: None,
            is_queued,
            is_leading: false,
            is_abandoned: false,
            is_cancelling: false,
            is_resent: false,
        };
        match is_queued {
            true => self.stay(State::Doubt(p)),
            false => self.attempt(p),
        }
    }

    fn by(&self, p: &Pending<T>) -> By {
        let is_alone = self.mode == Mode::Exclusive;
        By { container: self.container, nonce: p.nonce, is_alone, process: self.process }
    }

    /// Applies the change to the newest known manifest, and sends the swap. No earlier swap of the change can take effect any more.
    fn attempt(&mut self, mut p: Pending<T>) -> Vec<Action<T>> {
        let Some((on, over)) = self.known.clone() else {
            self.state = State::Prepared(p);
            return vec![Action::Load];
        };
        // Rule: a swap adds an entry only for a session that has put no object.
        let joins_late = p.change.joins().is_some() && self.entry != Entry::Unlisted;
        if !rule!(JoinOnce, !joins_late) {
            return self.end(Outcome::Rejected(Reject::NotListed));
        }
        match apply(&on, &p.change, &self.by(&p)) {
            Ok(next) => {
                // A leader may have read a queued commit at any time, so its view stays the same.
                p.view = if p.is_queued { p.view } else { on.sequence };
                self.send(p, over, Arc::new(next))
            }
            // Rule: an exclusive writer never continues over another writer's version.
            Err(Reject::Moved) if rule!(Fence, self.mode == Mode::Exclusive; false) => {
                self.end(Outcome::Fenced)
            }
            Err(Reject::NotListed) if !p.is_queued => self.end(Outcome::Expelled),
            Err(why) if why.is_stale() => {
                self.state = if p.is_queued { State::Doubt(p) } else { State::Prepared(p) };
                vec![Action::Prepare { why, on }]
            }
            // A queued commit may still be taken by a leader: only a cancel record ends it.
            Err(_) if p.is_queued => self.stay(State::Doubt(p)),
            Err(why) => self.end(Outcome::Rejected(why)),
        }
    }

    fn send(&mut self, mut p: Pending<T>, over: T, manifest: Arc<Manifest>) -> Vec<Action<T>> {
        p.is_resent = p.sent.as_ref().is_some_and(|(_, before)| *before == manifest);
        p.sent = Some((over.clone(), manifest.clone()));
        self.state = State::Swapping(p);
        vec![Action::Swap { over, manifest }]
    }

    fn loaded(&mut self, manifest: Arc<Manifest>, token: T, state: State<T>) -> Vec<Action<T>> {
        self.known = Some((manifest, token));
        match state {
            State::Doubt(p) => self.settle(p),
            State::Prepared(p) if p.sent.is_none() && !p.is_queued => self.attempt(p),
            state => self.stay(state),
        }
    }

    fn swapped(&mut self, token: T, p: Pending<T>) -> Vec<Action<T>> {
        let Some((_, manifest)) = p.sent.clone() else { return self.stay(State::Doubt(p)) };
        let sequence = manifest.sequence;
        self.known = Some((manifest, token));
        if p.is_cancelling {
            return self.end(Outcome::NotCommitted);
        }
        self.done(p, Some(sequence))
    }

    /// Determines the outcome of a doubt from the newest known manifest.
    fn settle(&mut self, mut p: Pending<T>) -> Vec<Action<T>> {
        let Some((m, token)) = self.known.clone() else { return self.stay(State::Doubt(p)) };
        // Rule: after a doubt only the same bytes or a cancel record follow, while the load shows the token of the condition.
        if let Some((over, manifest)) = p.sent.clone().filter(|(over, _)| *over == token) {
            if p.is_abandoned && !p.is_cancelling && p.change.has_record() {
                return self.cancel(p);
            }
            if rule!(SameSwap, true; p.is_cancelling) {
                return self.send(p, over, manifest);
            }
            p.nonce = self.next_nonce();
            self.count = p.nonce.count;
            return self.attempt(p);
        }
        match settle(&m, &p.change, &self.by(&p), p.view, &self.segments) {
            Verdict::Mine(sequence) => self.done(p, sequence),
            Verdict::Cancelled => self.end(Outcome::NotCommitted),
            Verdict::Undecided => self.end(Outcome::Undecided),
            Verdict::NotMine => self.not_mine(p),
            Verdict::Unknown => {
                self.is_unproven = true;
                self.not_mine(p)
            }
            Verdict::Unread(segments) => {
                self.state = State::Doubt(p);
                vec![Action::Read(segments)]
            }
            Verdict::Unprepared => {
                self.state = State::Doubt(p);
                vec![Action::Prepare { why: Reject::Stale, on: m }]
            }
        }
    }

    /// Continues after a load has shown that the change did not take effect, and that no swap of this session can make it take effect.
    fn not_mine(&mut self, p: Pending<T>) -> Vec<Action<T>> {
        let p = Pending { sent: None, ..p };
        // Rule: a queued commit is ended by a cancel record, or by a record that breaks its conditions.
        if p.is_queued && p.is_abandoned && rule!(QueueCancel, !self.is_broken(&p); false) {
            return self.cancel(p);
        }
        if p.is_abandoned || p.is_cancelling {
            return self.end(Outcome::NotCommitted);
        }
        // Rule: a creation is not sent again under the same id, because it may have taken effect and been deleted since.
        if matches!(p.change, Change::Create(_)) && rule!(CreateOnce, true; false) {
            return self.end(Outcome::Rejected(Reject::Replaced));
        }
        // Rule: an exclusive writer is fenced by the version of the line, not by the token.
        if self.mode == Mode::Exclusive && p.change.has_record() && rule!(FenceByLine, false; true) {
            return self.end(Outcome::Fenced);
        }
        if p.is_queued && !p.is_leading {
            return self.stay(State::Doubt(p));
        }
        self.attempt(Pending { is_leading: false, ..p })
    }

    /// Returns whether no leader can include the queued commit any more, because a record breaks its conditions.
    fn is_broken(&self, p: &Pending<T>) -> bool {
        match (&p.change, self.known()) {
            (Change::Commit(c), Some(m)) => {
                rule!(BrokenEnds, is_broken(&m.line, p.view, &c.conditions); true)
            }
            _ => false,
        }
    }

    /// Sends the cancel record over the newest known manifest, in which no record has the nonce.
    fn cancel(&mut self, p: Pending<T>) -> Vec<Action<T>> {
        let Some((on, over)) = self.known.clone() else { return self.stay(State::Doubt(p)) };
        match apply(&on, &Change::Cancel, &self.by(&p)) {
            Ok(next) => self.send(Pending { is_cancelling: true, ..p }, over, Arc::new(next)),
            // The record exists, which the next load shows.
            Err(_) => self.stay(State::Doubt(p)),
        }
    }

    fn done(&mut self, p: Pending<T>, sequence: Option<u64>) -> Vec<Action<T>> {
        match &p.change {
            Change::Create(c) => self.container = c.id,
            Change::FinishCopy { copy, .. } => self.container = copy.id,
            _ => (),
        }
        if p.change.joins().is_some() {
            self.entry = Entry::Listed;
        }
        if p.change.leaves() {
            self.entry = rule!(NewSessionId, Entry::Gone; Entry::Unlisted);
        }
        let numbers = match (&p.change, self.known()) {
            (Change::Numbers { count, .. }, Some(m)) => Some(m.numbers.saturating_sub(*count)),
            (Change::Commit(c), _) => c.numbers.map(|(seen, _)| seen),
            _ => None,
        };
        let mut actions = self.end(Outcome::Done { sequence, numbers });
        if let Change::Reclaim(c) = p.change {
            // Rule: objects are deleted once the swap that removed them from the dead list is known to have taken effect.
            actions.insert(0, Action::Delete(c.deletable));
        }
        actions
    }
}
