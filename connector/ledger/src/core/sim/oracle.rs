//! The oracle: the facts that only the simulator knows, and the invariants.

use std::collections::BTreeSet;

use super::actor::{Op, Task};
use super::rules::{Rule, is_any_broken, is_broken};
use super::storage::{Stored, ids};
use super::world::{Sent, World};
use crate::codec::Reader;
use crate::core::ids::{ObjectId, SessionId};
use crate::core::manifest::Manifest;
use crate::core::reclaim::is_held;
use crate::core::records::Content;
use crate::core::salvage;
use crate::core::session::{Entry, State};
use crate::core::sweep;

pub(super) const BACK: &str = "1 a container is back that was deleted or replaced";
pub(super) const MISSING: &str = "2 a manifest names an object that is not there";
pub(super) const DELETED: &str = "3 an object that a held version needs is deleted";
pub(super) const UNLISTED: &str = "3 an object that a held version needs is neither live nor in a dead list";
pub(super) const TWICE: &str = "4 a commit is in the sequence twice";
pub(super) const DENIED: &str = "4 NotCommitted was reported, and the commit is in the sequence";
pub(super) const FALSE: &str = "4 Done was reported, and the commit is not in the sequence";
pub(super) const READER: &str = "5 a reader misses an object and is not told that the version is gone";
pub(super) const NUMBER: &str = "6 a number is given twice";
pub(super) const LOST: &str = "7 a commit of another writer is lost";
pub(super) const UNMERGED: &str = "7 a commit replaces a value that it was not merged with";
pub(super) const WRONG_TAG: &str = "7 another writer's tag is removed";
pub(super) const OVER: &str = "7 an exclusive writer went on over another writer's version";
pub(super) const STAGED: &str = "8 a session that is listed lost a staged object";
pub(super) const EXPELLED: &str = "9 an object of an expelled session is named";
pub(super) const SALVAGED: &str = "10 salvage returns a state that the container never had";
pub(super) const LEAKED: &str = "(progress) space stays in use for ever";
pub(super) const NEEDLESS: &str = "(progress) an exclusive writer is fenced, and nobody made a version";

/// The content that the newest version should have, by the ids of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Truth {
    now: [u8; 2],
    /// The sequences that changed the values.
    changed: [u64; 2],
}

/// The facts that only the simulator knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Oracle {
    /// Values (bits) that were committed, and values with a commit that was reported as not committed.
    applied: u64,
    denied: u64,
    given: u64,
    /// Queued commits: their values and views.
    queued: Vec<(u8, u64)>,
    /// Sessions that were expelled after they had observed their entry.
    expelled: Vec<SessionId>,
    truth: Truth,
    /// Held versions with their content.
    pub(super) versions: Vec<(u64, [u8; 2])>,
    /// All versions with their content, for salvage.
    all: Vec<(u64, [u8; 2])>,
    /// Containers that were replaced or deleted.
    gone: Vec<u8>,
    pub(super) bad: Option<&'static str>,
}

impl Oracle {
    pub(super) fn new() -> Self {
        Self {
            applied: 0,
            denied: 0,
            given: 0,
            queued: Vec::new(),
            expelled: Vec::new(),
            truth: Truth::default(),
            versions: vec![(0, [0; 2])],
            all: vec![(0, [0; 2])],
            gone: Vec::new(),
            bad: None,
        }
    }

    fn fail(&mut self, what: &'static str) {
        self.bad = self.bad.or(Some(what));
    }

    pub(super) fn is_applied(&self, id: u8) -> bool {
        self.applied >> id & 1 != 0
    }

    /// Records that a client's commit was reported as not committed.
    pub(super) fn deny(&mut self, task: Task) {
        if task.op.has_record() {
            if self.is_applied(task.id) {
                self.fail(DENIED);
            }
            self.denied |= 1 << task.id;
        }
    }

    /// Records that a client's change was reported as done.
    pub(super) fn reported_done(&mut self, task: Task, numbers: Option<u64>) {
        if task.op.has_record() && !self.is_applied(task.id) {
            self.fail(FALSE);
        }
        if let Some(first) = numbers.filter(|_| task.op == Op::Numbers) {
            self.give(first);
        }
    }

    fn give(&mut self, number: u64) {
        if self.given >> number & 1 != 0 {
            self.fail(NUMBER);
        }
        self.given |= 1 << number;
    }

    pub(super) fn fenced(&mut self, stands: Option<u64>, now: u64) {
        if stands == Some(now) {
            self.fail(NEEDLESS);
        }
    }

    fn commit(&mut self, id: u8) {
        if self.applied >> id & 1 != 0 {
            self.fail(TWICE);
        }
        if self.denied >> id & 1 != 0 {
            self.fail(DENIED);
        }
        self.applied |= 1 << id;
    }

    /// Records that a client has queued a commit that was merged with all records up to a sequence.
    pub(super) fn queued(&mut self, task: Task, view: u64) {
        self.queued.push((task.id, view));
    }

    /// Records that a commit that was merged with everything up to `view` puts a value.
    fn set(&mut self, (key, id): (usize, u8), view: u64, sequence: u64) {
        self.truth.now[key] = id;
        let changed = std::mem::replace(&mut self.truth.changed[key], sequence);
        if changed > view {
            self.fail(UNMERGED);
        }
    }
}

/// Returns the keys and ids of a record's entries.
fn committed(entries: &[u8]) -> Vec<(usize, u8)> {
    let mut r = Reader::new(entries);
    let mut all = Vec::new();
    for _ in 0..r.varint().expect("a count") {
        r.u8().expect("a kind");
        let key = usize::from(r.string().expect("a key") == b"b");
        all.push((key, r.string().expect("a value")[0]));
    }
    all
}

impl World {
    /// Records a swap that took effect. `before` is the manifest that it replaced.
    pub(super) fn observe(&mut self, before: &Manifest, sent: &Sent) {
        let m = &*sent.manifest;
        if m.id != before.id {
            // The tombstone has the manifest on which the deletion was prepared, or the name led to no container.
            if sent.on.map_or(!before.is_absent() && sent.task.op != Op::Create, |on| on != before.sequence) {
                self.oracle.fail(LOST);
            }
            return self.observe_replacement(before, m);
        }
        if !sent.is_cancel {
            self.observe_members(before, sent);
            self.observe_change(before, sent);
            self.observe_expelled(before, m);
        }
        let (version, now) = (m.line.version, self.oracle.truth.now);
        if before.line.version != version {
            self.oracle.versions.push((version, now));
            if self.scenario.0.salvage {
                self.oracle.all.push((version, now));
            }
        }
        match self.store.content(m, version) {
            Some((content, _)) if ids(&content) == now => (),
            Some(_) => self.oracle.fail(LOST),
            None => self.oracle.fail(MISSING),
        }
    }

    fn observe_replacement(&mut self, before: &Manifest, m: &Manifest) {
        self.oracle.gone.extend((!before.is_absent()).then_some(before.id.0[0]));
        if self.oracle.gone.contains(&m.id.0[0]) {
            self.oracle.fail(BACK);
        }
        let now = self.store.content(m, m.line.version).map(|(content, _)| ids(&content));
        if now.is_none() {
            self.oracle.fail(MISSING);
        }
        let now = now.unwrap_or_default();
        self.oracle.truth = Truth { now, ..Truth::default() };
        self.oracle.versions = vec![(m.line.version, now)];
    }

    /// Records the commits of members that a leader included.
    fn observe_members(&mut self, before: &Manifest, sent: &Sent) {
        let m = &sent.manifest;
        let newest = m.line.tail.last().filter(|record| record.version == m.sequence);
        if before.line.version != m.line.version {
            for part in newest.iter().flat_map(|record| &record.parts).filter(|part| part.nonce != sent.nonce)
            {
                let Content::Inline(data) = &part.content else { continue };
                for (key, id) in committed(&data.entries) {
                    self.oracle.commit(id);
                    let view = self.oracle.queued.iter().find(|q| q.0 == id).map_or(0, |q| q.1);
                    self.oracle.set((key, id), view, m.sequence);
                }
            }
        }
    }

    fn observe_change(&mut self, before: &Manifest, sent: &Sent) {
        use Op::*;
        let (task, m) = (sent.task, &*sent.manifest);
        if task.op.has_record() {
            self.oracle.commit(task.id);
        }
        match task.op {
            Commit | Long | Last | Inline | New | Spill => {
                let view = sent.on.unwrap_or(u64::MAX);
                self.oracle.set((task.key, task.id), view, m.sequence);
                if sent.stands.is_some_and(|stands| stands != before.line.version) {
                    self.oracle.fail(OVER);
                }
                if task.op == New {
                    self.oracle.give(m.numbers - 1);
                }
            }
            Tag if self.oracle.versions.iter().all(|(version, _)| *version != task.version) => {
                self.oracle.fail(DELETED);
            }
            Restore => match sent.source.map(|content| ids(&content)) {
                Some(now) => self.oracle.truth = Truth { now, changed: [m.sequence; 2] },
                None => self.oracle.fail(MISSING),
            },
            Untag => {
                let had = self.store.all_tags(before);
                let has = self.store.all_tags(m);
                let removed = had.iter().filter(|tag| has.iter().all(|other| other.id != tag.id));
                if removed.into_iter().any(|tag| tag.id != task.tag) {
                    self.oracle.fail(WRONG_TAG);
                }
            }
            _ => (),
        }
    }

    /// Records expelled sessions, and checks that no swap names their objects afterwards.
    fn observe_expelled(&mut self, before: &Manifest, m: &Manifest) {
        let left = before.sessions.iter().filter(|entry| !m.lists(entry.id)).map(|entry| entry.id);
        // A session that has not observed its entry has put no objects, and joins again.
        let aware = |id: &SessionId| {
            let of = |a: &&super::actor::Actor| a.session.id() == *id;
            self.actors.iter().find(of).is_none_or(|a| a.session.entry() != Entry::Unlisted)
        };
        let expelled: Vec<SessionId> = left.filter(aware).collect();
        let gained = m.line.tail.last().filter(|record| record.version == m.sequence);
        let parts = gained.iter().flat_map(|record| &record.parts).filter_map(|part| part.data());
        let mut named = parts.flat_map(|data| &data.notes.gained).map(|gained| gained.object.session);
        if named.any(|session| self.oracle.expelled.contains(&session)) {
            self.oracle.fail(EXPELLED);
        }
        self.oracle.expelled.extend(expelled);
    }

    /// Checks the invariants that must hold in every state.
    pub(super) fn check(&mut self) {
        if self.oracle.bad.is_some() {
            return;
        }
        let m = self.head.clone();
        let before = self.checked.0.replace(m.clone());
        let has_deleted = std::mem::take(&mut self.is_unchecked);
        let is_same =
            |same: fn(&Manifest, &Manifest) -> bool| before.as_ref().is_some_and(|before| same(before, &m));
        let same_space = is_same(|a, b| a.tables == b.tables && a.line == b.line);
        let same_tags = is_same(|a, b| a.references == b.references);
        if !same_space || !same_tags || has_deleted {
            let used = self.check_versions(&m);
            if !same_space {
                self.check_space(&m, &used);
                self.check_encoding(&m);
            }
            self.check_readers(&m);
            if self.scenario.0.salvage {
                self.check_salvage();
            }
        }
        if has_deleted || before.is_none_or(|before| before.sessions != m.sessions) {
            self.check_staged(&m);
        }
    }

    /// Checks that held versions can be read. Returns the objects that they need, with those of current versions
    /// separate.
    fn check_versions(&mut self, m: &Manifest) -> [BTreeSet<ObjectId>; 2] {
        let tags = self.store.all_tags(m);
        let mut versions = std::mem::take(&mut self.oracle.versions);
        versions.retain(|v| is_held(m, v.0, tags.iter()));
        let (mut held, mut current) = (BTreeSet::new(), BTreeSet::new());
        for (version, expected) in &versions {
            let is_current = m.line.version == *version;
            match self.store.content(m, *version) {
                None => self.oracle.fail(DELETED),
                Some((content, _)) if ids(&content) != *expected => self.oracle.fail(LOST),
                Some((_, used)) if is_current => current.extend(used),
                Some((_, used)) => held.extend(used),
            }
        }
        self.oracle.versions = versions;
        [held, current]
    }

    /// Checks that the tables have all objects that versions need, and no object that can never be freed.
    fn check_space(&mut self, m: &Manifest, [held, current]: &[BTreeSet<ObjectId>; 2]) {
        let segments = self.store.segments(m);
        let Some(tables) = self.store.tables(m) else { return self.oracle.fail(MISSING) };
        let Ok(named) = sweep::named(m, &tables, &segments) else { return self.oracle.fail(MISSING) };
        let is_named = held.is_subset(&named) && current.is_subset(&named);
        // A sweep that does not spare dead lists deletes the missing objects. This is the harm to be shown.
        if !is_named && !is_broken(Rule::SpareDead) {
            self.oracle.fail(UNLISTED);
        }
        let mut freeable = current.clone();
        freeable.extend(tables.dead.iter().filter_map(|dead| ObjectId::of(&dead.place)));
        let records = m.line.records((m.line.base(), m.line.version), &segments).unwrap_or_default();
        let parts = records.iter().flat_map(|record| &record.parts).filter_map(|part| part.data());
        freeable.extend(parts.flat_map(|data| &data.notes.freed).filter_map(ObjectId::of));
        if !tables.usage.keys().all(|object| freeable.contains(object)) {
            self.oracle.fail(LEAKED);
        }
    }

    /// Checks in some histories that manifests have one encoding.
    fn check_encoding(&mut self, m: &Manifest) {
        if self.encodes.0 && !is_any_broken() {
            let bytes = m.encode();
            let decoded = Manifest::decode(&bytes);
            assert_eq!(decoded.as_ref().map(Manifest::encode), Ok(bytes), "{m:?}");
        }
    }

    fn check_readers(&mut self, m: &Manifest) {
        let tags = self.store.all_tags(m);
        for reader in self.readers.clone() {
            let misses = reader.used.iter().any(|object| !self.store.has(*object));
            if !misses || !is_held(m, reader.version, tags.iter()) {
                continue;
            }
            // A checkpoint may have replaced the root of the version. The reader then loads the manifest, and finds the
            // version elsewhere.
            let again = self.store.content(m, reader.version);
            if again.is_none_or(|(content, _)| ids(&content) != reader.content) {
                self.oracle.fail(READER);
            }
        }
    }

    fn check_staged(&mut self, m: &Manifest) {
        if is_broken(Rule::DurableFirst) {
            return;
        }
        for a in &self.actors {
            let Some((object, _)) = a.staged else { continue };
            let is_late = self.late.iter().any(|(late, _)| *late == object);
            let is_pending = !matches!(a.session.state(), State::Fenced | State::Undecided | State::Expelled);
            let id = a.task.map_or(0, |task| task.id);
            let is_done = self.oracle.applied >> id & 1 != 0 && id != 0;
            if is_pending && m.lists(object.session) && !is_done && !self.store.has(object) && !is_late {
                self.oracle.bad = self.oracle.bad.or(Some(STAGED));
            }
        }
    }

    fn check_salvage(&mut self) {
        let segment = |stored: &std::sync::Arc<Stored>| match &**stored {
            Stored::Segment(segment) => Some((**segment).clone()),
            _ => None,
        };
        let segments: Vec<_> = self.store.0.values().filter_map(segment).collect();
        let begin = Manifest { id: super::world::CONTAINER, ..Manifest::absent() };
        for copy in self.copies.iter().map(|copy| &**copy).chain([&begin]) {
            let found = salvage::salvage(copy, &segments, Default::default());
            let version = found.line.version;
            let Some((content, _)) = self.store.content(&found, version) else { continue };
            let expected = self.oracle.all.iter().find(|(v, _)| *v == version);
            if expected.is_none_or(|(_, expected)| *expected != ids(&content)) {
                self.oracle.bad = self.oracle.bad.or(Some(SALVAGED));
            }
        }
    }
}
