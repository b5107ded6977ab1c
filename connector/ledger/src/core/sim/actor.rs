//! Actors: clients that carry out a program through sessions of the core.

use std::sync::Arc;

use super::rules::{Rule, is_broken};
use super::storage::{Content, container_of};
use super::world::{Sent, World};
use crate::core::change::{Change, Reject};
use crate::core::events::{Action, Event, Outcome};
use crate::core::ids::{ContainerId, Nonce, ObjectId, SessionId};
use crate::core::line::Line;
use crate::core::manifest::Manifest;
use crate::core::records::SegmentRef;
use crate::core::session::{Entry, Mode, Session, State};
use crate::core::sweep::{ListedContainers, ListedObjects};

/// An operation of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Op {
    /// Commits a payload.
    Commit,
    /// Commits a payload, with the record in an object of its own.
    Long,
    /// Commits a payload, and the session leaves.
    Last,
    /// Commits an inline value.
    Inline,
    /// Commits an inline value, takes a number, and joins.
    New,
    /// Commits a value within a new root.
    Spill,
    /// Makes a new root.
    Checkpoint,
    /// Makes a new root, and forgets all records that the root contains.
    Trim,
    /// Puts a segment of the inline records, for a later commit to name.
    Segment,
    Join,
    Numbers,
    Leave,
    /// Cancels the queued commits of the other actors, as if they were dead.
    CancelQueued,
    /// Puts the payload of the next commit.
    Stage,
    Tag,
    Untag,
    FoldTags,
    Restore,
    /// Expels sessions, lists, loads, deletes.
    Sweep,
    Reclaim,
    Create,
    Delete,
    Copy,
    /// Appears as a copy that was begun.
    FinishCopy,
    /// Takes over a copy that another actor began, and deletes the objects that the other actor put.
    TakeOver,
    /// Appears as the copy that was taken over.
    FinishTaken,
    /// Deletes objects of other containers: lists, loads, deletes.
    Orphans,
}

impl Op {
    pub(super) fn has_record(self) -> bool {
        use Op::*;
        matches!(self, Commit | Long | Last | Inline | New | Spill | Restore)
    }

    /// Returns whether the operation puts objects, so its session has to be listed.
    pub(super) fn puts(self) -> bool {
        use Op::*;
        let no = matches!(
            self,
            Inline | New | Join | Numbers | Leave | CancelQueued | Tag | Untag | Sweep | Create | Delete
        );
        !no && !matches!(self, Copy | FinishCopy | TakeOver | FinishTaken | Orphans)
    }

    /// Returns whether the operation commits a payload of its own.
    pub(super) fn has_payload(self) -> bool {
        matches!(self, Op::Commit | Op::Long | Op::Last | Op::Spill)
    }

    /// Returns whether the operation commits a value.
    pub(super) fn writes(self) -> bool {
        matches!(self, Op::Commit | Op::Long | Op::Last | Op::Inline | Op::New | Op::Spill)
    }
}

/// An operation with its choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Task {
    pub(super) op: Op,
    /// The number of the value that the operation commits, from 1.
    pub(super) id: u8,
    pub(super) key: usize,
    pub(super) version: u64,
    pub(super) tag: Nonce,
    pub(super) choice: u64,
    pub(super) is_late: bool,
}

/// The way in which a commit of a group is made.
pub(super) const ALONE: u64 = 0;
pub(super) const QUEUED: u64 = 1;
pub(super) const LEADING: u64 = 2;

/// The progress of an operation with several steps.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    None,
    /// A sweep may list, or load if the rule is broken.
    Begun,
    /// A sweep has listed these objects of a container.
    Objects(ContainerId, Vec<ObjectId>),
    /// A sweep of orphans has listed these containers.
    Containers(Vec<ContainerId>),
    /// A broken sweep has loaded this manifest.
    Manifest(Arc<Manifest>),
}

/// A client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Actor {
    pub(super) session: Session<u64>,
    pub(super) incarnation: u8,
    pub(super) next: usize,
    pub(super) task: Option<Task>,
    pub(super) is_stopped: bool,
    pub(super) is_abandoned: bool,
    pub(super) phase: Phase,
    /// For an exclusive writer: the version that it continues.
    pub(super) stands: Option<u64>,
    /// The payload of the next commit, and the sequence of the manifest that was known when it was put.
    pub(super) staged: Option<(ObjectId, u64)>,
    pub(super) segment: Option<SegmentRef>,
    /// The objects that were put for the newest preparation of the operation, and for earlier ones.
    pub(super) prepared: Vec<ObjectId>,
    pub(super) superseded: Vec<ObjectId>,
    /// The content to restore, as it was read at the start of the operation.
    pub(super) source: Option<Content>,
}

/// The session id of an actor's incarnation, with the container that it belongs to.
pub(super) fn session_id(p: usize, incarnation: u8, container: ContainerId) -> SessionId {
    SessionId(u64::from(container.0[0]) * 256 + p as u64 * 4 + u64::from(incarnation))
}

/// The last incarnation of an actor.
const LAST: u8 = 3;

impl Actor {
    pub(super) fn new(p: usize, incarnation: u8, container: ContainerId, exclusive: bool) -> Self {
        let mode = if exclusive { Mode::Exclusive } else { Mode::Shared };
        Self {
            session: Session::new(session_id(p, incarnation, container), container, mode),
            incarnation,
            next: 0,
            task: None,
            is_stopped: false,
            is_abandoned: false,
            phase: Phase::None,
            stands: None,
            staged: None,
            segment: None,
            prepared: Vec::new(),
            superseded: Vec::new(),
            source: None,
        }
    }
}

impl World {
    pub(super) fn is_exclusive(&self, p: usize) -> bool {
        self.scenario.0.exclusive >> p & 1 != 0
    }

    /// Makes the actor join before the scenario begins.
    pub(super) fn join_at_once(&mut self, p: usize) {
        let task = Task { op: Op::Join, ..self.task(p, Op::Join) };
        self.begin(p, task);
        self.effect(0, true);
    }

    /// Starts a new session of an actor, which has another id.
    pub(super) fn renew(&mut self, p: usize, container: ContainerId) {
        let exclusive = self.is_exclusive(p);
        let a = &mut self.actors[p];
        if a.incarnation == LAST {
            a.is_stopped = true;
            return;
        }
        let (next, task, stands) = (a.next, a.task, a.stands);
        *a = Actor { next, task, stands, ..Actor::new(p, a.incarnation + 1, container, exclusive) };
    }

    /// Ends an operation.
    pub(super) fn end(&mut self, p: usize, advance: bool) {
        let a = &mut self.actors[p];
        a.next += usize::from(advance);
        (a.task, a.is_abandoned, a.phase, a.source) = (None, false, Phase::None, None);
        // The queue object of a commit that has ended is deleted.
        let session = a.session.id();
        self.queue.retain(|member| member.nonce.session != session);
    }

    /// Loads, prepares an operation, puts its objects and submits it.
    pub(super) fn begin(&mut self, p: usize, task: Task) {
        let (m, token) = self.load();
        self.actors[p].task = Some(task);
        let segments = self.store.segments(&m);
        let container = m.id;
        let a = &mut self.actors[p];
        a.session.step(Event::Loaded(m.clone(), token));
        a.session.step(Event::Read(segments));
        if a.session.entry() == Entry::Gone {
            self.renew(p, container);
            self.actors[p].session.step(Event::Loaded(m.clone(), token));
        }
        if self.is_exclusive(p) && self.actors[p].stands.is_none() {
            self.actors[p].stands = Some(m.line.version);
        }
        self.stage(p, &m, task);
        match task.op {
            Op::Stage => self.end(p, true),
            Op::Segment => self.put_segment(p, &m),
            Op::Orphans => self.actors[p].phase = Phase::Begun,
            Op::Sweep if task.choice == u64::MAX => self.actors[p].phase = Phase::Begun,
            _ => match self.prepare(p, task, &m) {
                Some(change) if task.choice == QUEUED && task.op.writes() => {
                    self.enqueue(p, task, &change, m.sequence);
                    self.feed(p, Event::Queued(change));
                }
                Some(change) => self.feed(p, Event::Submit(change)),
                None => self.end(p, true),
            },
        }
    }

    /// Gives an event to an actor's session, and carries out the actions.
    pub(super) fn feed(&mut self, p: usize, event: Event<u64>) {
        let mut events = vec![event];
        let mut prepared = 0;
        while let Some(event) = events.pop() {
            for action in self.actors[p].session.step(event) {
                match action {
                    Action::Load => {
                        let (m, token) = self.load();
                        events.push(Event::Loaded(m, token));
                    }
                    Action::Read(refs) => events.push(Event::Read(self.store.read_segments(refs.iter()))),
                    Action::Prepare { why, on } => {
                        assert!(why.is_stale());
                        prepared += 1;
                        let task = self.actors[p].task.expect("an operation that is prepared again");
                        let change = (prepared < 3).then(|| self.prepare(p, task, &on)).flatten();
                        events.push(change.map_or(Event::Abandon, Event::Prepared));
                    }
                    Action::Swap { over, manifest } => self.send(p, over, manifest),
                    Action::Delete(objects) => self.delete(objects),
                    Action::Report(outcome) => self.report(p, &outcome),
                }
            }
        }
    }

    fn send(&mut self, p: usize, over: u64, manifest: Arc<Manifest>) {
        debug_assert_eq!(over, self.token);
        let a = &self.actors[p];
        let State::Swapping(pending) = a.session.state() else { return };
        let sent = Sent {
            actor: p,
            session: a.session.id(),
            task: a.task.expect("an operation"),
            nonce: pending.nonce,
            is_cancel: pending.is_cancelling,
            stands: a.stands,
            on: match &pending.change {
                Change::Commit(c) => Some(c.on),
                Change::Delete { on } => Some(*on),
                _ => None,
            },
            source: a.source,
            manifest,
        };
        let early = match &pending.change {
            Change::Reclaim(c) if is_broken(Rule::ReclaimFirst) => c.deletable.clone(),
            _ => Vec::new(),
        };
        if is_broken(Rule::CopyAfterSwap) {
            self.copy_manifest(sent.task, &sent.manifest);
        }
        if !self.net.contains(&sent) {
            self.net.push(sent);
        }
        if !early.is_empty() {
            self.delete(early);
        }
    }

    /// Puts a copy of a manifest, for salvage.
    fn copy_manifest(&mut self, task: Task, manifest: &Arc<Manifest>) {
        if self.scenario.0.salvage && task.op.has_record() && self.copies.len() < 3 {
            self.copies.push(manifest.clone());
            self.is_unchecked = true;
        }
    }

    /// Handles the end of a change, as the session reports it.
    fn report(&mut self, p: usize, outcome: &Outcome) {
        let task = self.actors[p].task.expect("an operation");
        self.delete_needless(p, outcome);
        match outcome {
            Outcome::Done { sequence, numbers } => self.done(p, task, *sequence, *numbers),
            Outcome::NotCommitted | Outcome::Rejected(_) => {
                self.oracle.deny(task);
                // A session of a container that was replaced abandons its operation.
                let is_replaced = *outcome == Outcome::Rejected(Reject::Replaced);
                self.end(p, task.op != Op::Join || is_replaced);
            }
            Outcome::Fenced => {
                self.oracle.fenced(self.actors[p].stands, self.head.line.version);
                self.oracle.deny(task);
                self.end(p, true);
                self.actors[p].is_stopped = true;
            }
            Outcome::Expelled => {
                // The actor begins again as a new session, which puts its objects again.
                if !is_broken(Rule::NewSessionId) {
                    self.renew(p, self.head.id);
                }
                self.end(p, false);
            }
            Outcome::Undecided => {
                self.end(p, true);
                self.actors[p].is_stopped = true;
            }
        }
    }

    /// Deletes objects that were put for preparations which did not take effect.
    fn delete_needless(&mut self, p: usize, outcome: &Outcome) {
        let a = &mut self.actors[p];
        let (prepared, superseded) = (std::mem::take(&mut a.prepared), std::mem::take(&mut a.superseded));
        if a.session.may_be_named() || *outcome == Outcome::Undecided {
            return;
        }
        let is_done = matches!(outcome, Outcome::Done { .. });
        self.delete(if is_done { superseded } else { [prepared, superseded].concat() });
    }

    fn done(&mut self, p: usize, task: Task, sequence: Option<u64>, numbers: Option<u64>) {
        self.oracle.reported_done(task, numbers);
        let known = self.actors[p].session.known().cloned();
        let a = &mut self.actors[p];
        if self.scenario.0.exclusive >> p & 1 != 0 && task.op.writes() {
            a.stands = sequence;
        }
        if task.op.has_record() {
            a.staged = None;
        }
        if let Some(at) = a.segment {
            // The segment was named, fits a later swap, or is an object that no manifest names.
            let fits = known.as_ref().is_some_and(|m| Line::clone(&m.line).name_segment(&at));
            a.segment = a.segment.filter(|_| fits);
        }
        let is_own = known.as_ref().is_some_and(|m| Some(m.sequence) == sequence);
        if let Some(manifest) = known.clone().filter(|_| is_own && !is_broken(Rule::CopyAfterSwap)) {
            self.copy_manifest(task, &manifest);
        }
        match task.op {
            Op::Sweep => self.actors[p].phase = Phase::Begun,
            Op::TakeOver => {
                let mine = self.actors[p].session.id();
                let taken = known.and_then(|m| m.copies.iter().find(|entry| entry.session == mine).copied());
                self.delete(taken.map_or_else(Vec::new, |entry| self.objects_of(entry.id)));
                self.end(p, true);
            }
            Op::Join => self.end(p, false),
            Op::Create => {
                let early = self.early_object(p);
                self.end(p, true);
                self.renew(p, created(p));
                self.actors[p].staged = is_broken(Rule::FirstNamesNothing).then_some((early, 0));
            }
            _ => {
                self.end(p, true);
                if matches!(task.op, Op::Leave | Op::Last) && !is_broken(Rule::NewSessionId) {
                    self.renew(p, self.head.id);
                }
            }
        }
    }

    /// Carries out the next step of a sweep.
    pub(super) fn sweep(&mut self, p: usize) {
        let task = self.actors[p].task.expect("a sweep");
        let lists_first = !is_broken(Rule::ListFirst) && !is_broken(Rule::ListContainersFirst);
        let is_orphans = task.op == Op::Orphans;
        self.actors[p].phase = match std::mem::replace(&mut self.actors[p].phase, Phase::None) {
            Phase::Begun if !lists_first => Phase::Manifest(self.head.clone()),
            Phase::Begun if is_orphans => Phase::Containers(self.containers()),
            Phase::Begun => Phase::Objects(self.actors[p].session.container(), self.objects(p)),
            Phase::Objects(container, objects) => {
                self.delete_unneeded(&self.head.clone(), ListedObjects::new(container, objects));
                return self.end_sweep(p);
            }
            Phase::Containers(all) => {
                self.delete_orphans(&self.head.clone(), all);
                return self.end_sweep(p);
            }
            Phase::Manifest(m) => {
                match is_orphans {
                    true => self.delete_orphans(&m, self.containers()),
                    false => self.delete_unneeded(&m, ListedObjects::new(m.id, self.objects(p))),
                }
                return self.end_sweep(p);
            }
            Phase::None => return self.end_sweep(p),
        };
    }

    fn end_sweep(&mut self, p: usize) {
        self.end(p, true);
    }

    fn containers(&self) -> Vec<ContainerId> {
        let mut all: Vec<_> = self.store.0.keys().map(|object| container_of(object.session)).collect();
        all.dedup();
        all
    }

    /// Returns the objects of the container that an actor's session belongs to.
    fn objects(&self, p: usize) -> Vec<ObjectId> {
        self.objects_of(self.actors[p].session.container())
    }

    fn objects_of(&self, container: ContainerId) -> Vec<ObjectId> {
        let is_of = |object: &&ObjectId| container_of(object.session) == container;
        self.store.0.keys().filter(is_of).copied().collect()
    }

    fn delete_unneeded(&mut self, m: &Manifest, listed: ListedObjects) {
        let segments = self.store.segments(m);
        let Some(tables) = self.store.tables(m) else { return };
        let Ok(named) = crate::core::sweep::named(m, &tables, &segments) else { return };
        let deletable = listed.deletable(m, &named);
        self.delete(deletable);
    }

    fn delete_orphans(&mut self, m: &Manifest, all: Vec<ContainerId>) {
        let orphaned = ListedContainers::new(all).orphaned(m);
        let of_orphan = |object: &&ObjectId| orphaned.contains(&container_of(object.session));
        let objects: Vec<ObjectId> = self.store.0.keys().filter(of_orphan).copied().collect();
        self.delete(objects);
    }
}

/// Returns the id of the container that an actor creates or copies.
pub(super) fn created(p: usize) -> ContainerId {
    let mut id = [0; 16];
    id[0] = 10 + p as u8;
    ContainerId(id)
}
