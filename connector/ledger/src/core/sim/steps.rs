//! Steps: everything that may happen next in a world, and its effect.

use std::iter;

use super::actor::{ALONE, Actor, LEADING, Op, Phase, QUEUED, Task};
use super::rules::{Rule, is_broken};
use super::storage::ids;
use super::world::{Reader, World};
use crate::core::events::Event;
use crate::core::ids::{Nonce, ObjectId};
use crate::core::reclaim::is_held;
use crate::core::session::{Entry, State};

/// A step that the scheduler can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A swap takes effect, and its answer is lost or late.
    Effect(usize),
    /// A swap takes effect, and the answer arrives.
    Answered(usize),
    /// A swap never arrives.
    Lose(usize),
    /// An actor loads the manifest after a doubt.
    Look(usize),
    /// An actor begins an operation.
    Start(usize, Task),
    /// An actor's sweep continues.
    Sweep(usize),
    /// An actor with a queued commit leads the queue.
    Lead(usize),
    Abandon(usize),
    Crash(usize),
    /// An object that may be deleted is deleted.
    Delete(ObjectId),
    /// A second copy of a put arrives.
    Late(usize),
    /// A reader opens a version.
    Open(u64),
}

impl Step {
    /// Returns whether random histories take the step less often.
    pub(super) fn is_rare(self) -> bool {
        matches!(self, Self::Lose(_) | Self::Abandon(_) | Self::Crash(_) | Self::Open(..) | Self::Late(_))
    }
}

impl World {
    /// Lists all possible next steps. With `answers`, steps in which an answer arrives are included; they lead to the same states as an
    /// immediate load after a lost answer.
    pub(super) fn steps(&self, answers: bool, out: &mut Vec<Step>) {
        out.clear();
        for i in 0..self.net.len() {
            out.push(Step::Effect(i));
            if answers {
                out.push(Step::Answered(i));
            }
            if self.losses > 0 {
                out.push(Step::Lose(i));
            }
        }
        for p in 0..self.actors.len() {
            self.actor_steps(p, out);
        }
        out.extend(self.deletes.iter().filter(|object| self.store.has(**object)).map(|o| Step::Delete(*o)));
        out.extend((0..self.late.len()).map(Step::Late));
        if self.readers.len() < self.scenario.0.readers {
            let tags = self.store.all_tags(&self.head);
            let tagged = tags.iter().map(|tag| tag.mark.version);
            let is_new = |version: &u64| self.readers.iter().all(|reader| reader.version != *version);
            let current = iter::once(self.head.line.version);
            out.extend(current.chain(tagged).filter(is_new).map(Step::Open));
        }
    }

    fn actor_steps(&self, p: usize, out: &mut Vec<Step>) {
        let a = &self.actors[p];
        match a.session.state() {
            _ if a.phase != Phase::None => out.push(Step::Sweep(p)),
            State::Swapping(pending) | State::Doubt(pending) => {
                let sent = pending.sent.as_ref().filter(|(over, _)| *over == self.token);
                let is_on_its_way =
                    sent.is_some_and(|(_, m)| self.net.iter().any(|sent| sent.manifest == *m));
                if !is_on_its_way || a.is_abandoned && !pending.is_cancelling || is_broken(Rule::SameSwap) {
                    out.push(Step::Look(p));
                }
                if pending.is_queued && sent.is_none() {
                    out.push(Step::Lead(p));
                }
                if self.scenario.0.cancels && !a.is_abandoned && pending.change.has_record() {
                    out.push(Step::Abandon(p));
                }
            }
            _ if a.task.is_none() && !a.is_stopped => self.starts(p, out),
            _ => (),
        }
        let can_crash = self.crashes > 0 && a.incarnation < 3 && (a.next > 0 || a.task.is_some());
        if can_crash && a.next < self.scenario.0.actors[p].len() + usize::from(a.task.is_some()) {
            out.push(Step::Crash(p));
        }
    }

    /// Returns an operation of an actor, with no choices made yet.
    pub(super) fn task(&self, p: usize, op: Op) -> Task {
        let id = (8 * p + self.actors[p].next + 1) as u8;
        Task { op, id, key: p % 2, version: 0, tag: Nonce::default(), choice: ALONE, is_late: false }
    }

    fn starts(&self, p: usize, out: &mut Vec<Step>) {
        let a = &self.actors[p];
        let Some(ops) = self.scenario.0.actors[p].get(a.next) else { return };
        let mut joins = false;
        for op in *ops {
            let is_own = self.head.id == crate::core::ids::ContainerId::ABSENT || !op.puts();
            if op.puts() && a.session.entry() != Entry::Listed && !is_own {
                if !std::mem::replace(&mut joins, true) {
                    out.push(Step::Start(p, self.task(p, Op::Join)));
                }
                continue;
            }
            self.choices(self.task(p, *op), &mut |task| out.push(Step::Start(p, task)));
        }
    }

    /// Passes all combinations of the choices of an operation to `each`.
    fn choices(&self, task: Task, each: &mut dyn FnMut(Task)) {
        let m = &*self.head;
        match task.op {
            Op::Commit | Op::Inline if self.scenario.0.groups => {
                each(task);
                each(Task { choice: QUEUED, ..task });
                if !self.queue.is_empty() {
                    each(Task { choice: LEADING, ..task });
                }
            }
            Op::Commit | Op::Last if self.lates > 0 => {
                each(task);
                each(Task { is_late: true, ..task });
            }
            Op::Tag | Op::Restore => self.held_versions(task, each),
            Op::Untag => {
                self.store.all_tags(m).iter().for_each(|tag| each(Task { tag: tag.id, ..task }));
            }
            Op::Reclaim => (0..3).for_each(|choice| each(Task { choice, ..task })),
            Op::Sweep => {
                each(Task { choice: u64::MAX, ..task });
                m.sessions.iter().for_each(|entry| each(Task { choice: entry.id.0, ..task }));
                if !m.copies.is_empty() {
                    each(Task { choice: u64::MAX - 1, ..task });
                }
            }
            _ => each(task),
        }
    }

    fn held_versions(&self, task: Task, each: &mut dyn FnMut(Task)) {
        let m = &*self.head;
        let tags = self.store.all_tags(m);
        let versions = self.oracle.versions.iter().filter(|v| is_held(m, v.0, tags.iter()));
        for (version, content) in versions {
            let fits = match task.op {
                Op::Tag => *content != [0; 2] && tags.is_empty(),
                _ => m.line.version != *version,
            };
            if fits {
                each(Task { version: *version, ..task });
            }
        }
    }

    /// Carries out a step, and checks the invariants afterwards.
    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Effect(i) => self.effect(i, false),
            Step::Answered(i) => self.effect(i, true),
            Step::Lose(i) => {
                self.losses -= 1;
                self.net.remove(i);
            }
            Step::Look(p) => {
                if matches!(self.actors[p].session.state(), State::Swapping(_)) {
                    self.feed(p, Event::Doubt);
                } else {
                    let (m, token) = self.load();
                    self.feed(p, Event::Loaded(m, token));
                }
            }
            Step::Start(p, task) => self.begin(p, task),
            Step::Sweep(p) => self.sweep(p),
            Step::Lead(p) => {
                let (m, token) = self.load();
                self.feed(p, Event::Loaded(m, token));
                if matches!(self.actors[p].session.state(), State::Doubt(_))
                    && let Some(change) = self.lead(p)
                {
                    self.feed(p, Event::Prepared(change));
                }
            }
            Step::Abandon(p) => {
                self.actors[p].is_abandoned = true;
                self.feed(p, Event::Abandon);
            }
            Step::Crash(p) => self.crash(p),
            Step::Delete(object) => {
                self.deletes.remove(&object);
                self.store.0.remove(&object);
                self.is_unchecked = true;
            }
            Step::Late(i) => {
                let (object, stored) = self.late.remove(i);
                self.store.0.insert(object, stored);
            }
            Step::Open(version) => {
                if let Some((content, used)) = self.store.content(&self.head, version) {
                    self.readers.push(Reader { version, content: ids(&content), used });
                }
            }
        }
        self.check();
    }

    /// Makes a swap take effect. All other swaps in transit will be refused.
    pub(super) fn effect(&mut self, i: usize, is_answered: bool) {
        let sent = self.net.remove(i);
        let before = std::mem::replace(&mut self.head, sent.manifest.clone());
        self.token += 1;
        self.net.clear();
        self.observe(&before, &sent);
        let a = &self.actors[sent.actor];
        let waits = match a.session.state() {
            State::Swapping(pending) => {
                let is_it = pending.sent.as_ref().is_some_and(|(_, m)| *m == sent.manifest);
                a.session.id() == sent.session && pending.nonce == sent.nonce && is_it
            }
            _ => false,
        };
        if is_answered && waits {
            self.feed(sent.actor, Event::Swapped(self.token));
        }
    }

    fn crash(&mut self, p: usize) {
        self.crashes -= 1;
        let queue = self.queue.clone();
        let begun = self.actors[p].task.is_some();
        self.end(p, begun);
        self.renew(p, self.head.id);
        let a = &mut self.actors[p];
        *a = Actor { stands: None, is_stopped: false, task: None, ..a.clone() };
        // Queued commits remain in the store.
        self.queue = queue;
    }
}
