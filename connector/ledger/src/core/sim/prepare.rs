//! Preparations of a caller before it submits a change: reads, and puts of pages. The change states both.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::actor::{ALONE, Actor, LEADING, Op, Task, created, session_id};
use super::rules::{Rule, is_broken};
use super::storage::{Content, PAYLOAD, Store, Stored, Value, entries, key};
use super::world::World;
use crate::address::{Address, PageRef};
use crate::core::change::{Change, Checkpoint, Commit, NewContainer, NewTables, NewTag, Reclaim};
use crate::core::group::{self, Member};
use crate::core::history::Mark;
use crate::core::ids::{ContainerId, Name, ObjectId, SessionId};
use crate::core::line::{Line, MergedSegment, Root};
use crate::core::manifest::{Manifest, TableRefs};
use crate::core::reclaim::plan;
use crate::core::records::{Content as Recorded, Data, Gained, Notes, Part, Record, Segment};
use crate::core::references::encode_page;
use crate::core::session::Entry;
use crate::core::usage::{NOW, Tables};

/// Returns the change that publishes a copy under a name that leads to no container.
fn finished(copy: Manifest) -> Change {
    Change::FinishCopy { copy: Box::new(copy), replaces: None }
}

/// The day of all events.
const DAY: u64 = 20_000;

impl World {
    fn next_object(&mut self, p: usize) -> Option<ObjectId> {
        self.actors[p].session.next_object()
    }

    /// Puts the payload of an operation, unless the batch is staged already.
    pub(super) fn stage(&mut self, p: usize, m: &Manifest, task: Task) {
        let early = task.op == Op::Join && is_broken(Rule::JoinFirst);
        let wants = task.op.has_payload() || task.op == Op::Stage || early;
        if !wants || self.actors[p].staged.is_some() {
            return;
        }
        let Some(object) = self.next_object(p) else { return };
        if !is_broken(Rule::DurableFirst) {
            self.store.put(object, Stored::Payload);
        }
        if task.is_late && self.lates > 0 {
            self.lates -= 1;
            self.late.push((object, Arc::new(Stored::Payload)));
        }
        self.actors[p].staged = Some((object, m.sequence));
    }

    /// Returns the value that an operation commits, and the notes about its payload.
    fn value(&self, p: usize, task: Task) -> (Value, Vec<Gained>) {
        let staged = self.actors[p].staged.filter(|_| task.op.has_payload());
        let place = |object: ObjectId| Address { location: object.pack(), offset: 0, length: PAYLOAD };
        let gained = staged.map(|(object, stood)| Gained { object, bytes: PAYLOAD, stood });
        let value = Value { id: task.id, payload: staged.map(|(object, _)| place(object)) };
        (value, gained.into_iter().collect())
    }

    /// Prepares a change on a manifest. Returns `None` if the operation is not possible there.
    pub(super) fn prepare(&mut self, p: usize, task: Task, m: &Manifest) -> Option<Change> {
        use Op::*;
        let a = &mut self.actors[p];
        let before = std::mem::take(&mut a.prepared);
        a.superseded.extend(before);
        match task.op {
            Commit | Long | Last | Inline | New => self.commit(p, task, m),
            Spill | Checkpoint | Trim => self.checkpoint(p, task, m),
            Join => Some(Change::Join { day: DAY }),
            Numbers => {
                let joins = self.actors[p].session.day_to_join(DAY);
                Some(Change::Numbers { on: m.line.version, least: 0, count: 1, joins })
            }
            Leave => Some(Change::Leave),
            CancelQueued => self.cancel_queued(p, m),
            Tag => self.tag(task, m),
            Untag => {
                let read = self.store.tags(m);
                let is_stored = m.references.page.is_some() && read.tags.iter().any(|tag| tag.id == task.tag);
                Some(Change::Untag { id: task.tag, is_stored, since: m.references.since })
            }
            FoldTags => self.fold_tags(p, m),
            Restore => self.restore(p, task, m),
            Reclaim => self.reclaim(p, task, m),
            Sweep => Some(Change::Expel {
                sessions: vec![SessionId(task.choice)],
                copies: m.copies.iter().map(|c| (c.id, c.session)).collect(),
            }),
            Create => {
                if is_broken(Rule::FirstNamesNothing) {
                    let object = self.early_object(p);
                    self.store.put(object, Stored::Payload);
                }
                Some(Change::Create(Box::new(NewContainer { id: created(p), ..NewContainer::default() })))
            }
            Delete => (!m.is_absent()).then_some(Change::Delete { on: m.sequence }),
            Copy => {
                if is_broken(Rule::CopyJoins) {
                    self.put_copy(p)?;
                }
                Some(Change::BeginCopy { id: created(p), day: DAY, over: None })
            }
            TakeOver => {
                let begun = m.copies.iter().find(|entry| entry.id != created(p))?;
                Some(Change::BeginCopy { id: begun.id, day: DAY, over: Some(begun.session) })
            }
            FinishTaken => {
                let mine = self.actors[p].session.id();
                let id = m.copies.iter().find(|entry| entry.session == mine)?.id;
                copy(&mut self.store, p, id).map(finished)
            }
            FinishCopy => {
                let copy = if is_broken(Rule::CopyJoins) { self.copied(p) } else { self.put_copy(p) };
                copy.map(finished)
            }
            Stage | Segment | Orphans => None,
        }
    }

    fn cancel_queued(&self, p: usize, m: &Manifest) -> Option<Change> {
        let mine = self.actors[p].session.id();
        let queued = self.queue.iter().filter(|member| member.nonce.session != mine);
        let queued: Vec<Member> = queued.cloned().collect();
        let nonces = group::undecided(&m.line, &queued, &self.store.segments(m)).ok()?;
        (!nonces.is_empty()).then_some(Change::CancelQueued { on: m.line.version, nonces })
    }

    fn commit(&mut self, p: usize, task: Task, m: &Manifest) -> Option<Change> {
        let (content, _) = self.store.content(m, m.line.version)?;
        let (value, gained) = self.value(p, task);
        let old = content[task.key].and_then(|old| old.payload);
        let notes = Notes { gained, freed: old.into_iter().collect() };
        let on = self.actors[p].stands.filter(|_| !is_broken(Rule::Fence)).unwrap_or(m.line.version);
        let data = Data { notes, author: Bytes::new(), entries: entries(&[(task.key, Some(value))]) };
        let stored = match task.op {
            Op::Long => Some(self.put_long(p, &data)?),
            _ => None,
        };
        let a = &self.actors[p];
        let members = match task.choice {
            ALONE => Vec::new(),
            _ => self.queue.iter().filter(|member| member.nonce.session != a.session.id()).cloned().collect(),
        };
        Some(Change::Commit(Box::new(Commit {
            on,
            time: 1,
            note: Bytes::new(),
            data,
            other_sessions: Vec::new(),
            stored,
            numbers: (task.op == Op::New).then_some((m.numbers, 1)),
            joins: a.session.day_to_join(DAY).filter(|_| task.op == Op::New),
            leaves: task.op == Op::Last,
            closes: false,
            segment: self.actors[p].segment,
            members,
            conditions: vec![key(task.key)],
            segments: self.store.segments(m),
            tables: None,
        })))
    }

    /// Puts the content of a commit as an object.
    fn put_long(&mut self, p: usize, data: &Data) -> Option<PageRef> {
        let object = self.next_object(p)?;
        let (bytes, crc) = data.to_object();
        assert_eq!(Data::of_object(&bytes, crc).as_ref(), Ok(data));
        Some(PageRef { crc, ..self.store.put(object, Stored::Table(bytes)) })
    }

    /// Puts a commit into the queue.
    pub(super) fn enqueue(&mut self, p: usize, task: Task, change: &Change, view: u64) {
        let Change::Commit(c) = change else { return };
        let nonce = self.actors[p].session.next_nonce();
        let (data, conditions) = (c.data.clone(), c.conditions.clone());
        let member = Member { nonce, view, data, conditions };
        assert_eq!(Member::decode(&member.encode()).as_ref(), Ok(&member));
        self.queue.push(member);
        self.oracle.queued(task, view);
    }

    /// Prepares a queued commit again, in order to lead.
    pub(super) fn lead(&mut self, p: usize) -> Option<Change> {
        let task = Task { choice: LEADING, ..self.actors[p].task? };
        self.prepare(p, task, &self.head.clone())
    }

    /// Puts a segment of the inline records.
    pub(super) fn put_segment(&mut self, p: usize, m: &Manifest) {
        let segment = m.line.segment(u64::MAX);
        if let Some((object, mut segment)) =
            self.actors[p].segment.is_none().then_some(()).and(self.next_object(p).zip(segment))
        {
            if is_broken(Rule::SegmentAccepted) {
                // The segment gets a record that no manifest has accepted: that of a future commit.
                let value = Value { id: 63, payload: None };
                let data = Data {
                    notes: Notes::default(),
                    author: Bytes::new(),
                    entries: entries(&[(0, Some(value))]),
                };
                let part =
                    Part { nonce: self.actors[p].session.next_nonce(), content: Recorded::Inline(data) };
                let previous = m.line.version;
                segment.records.push(Arc::new(Record {
                    version: m.sequence + 1,
                    previous,
                    number: m.line.number + 1,
                    time: 1,
                    note: Bytes::new(),
                    parts: vec![part],
                }));
            }
            let page = self.put_segment_object(object, segment.clone());
            self.actors[p].segment = segment.reference(page);
        }
        self.end(p, true);
    }

    fn put_segment_object(&mut self, object: ObjectId, segment: Segment) -> PageRef {
        let page = self.store.put(object, Stored::Segment(Arc::new(segment)));
        if is_broken(Rule::SegmentDurable) {
            self.store.0.remove(&object);
        }
        page
    }

    /// Returns the line after the segment of a checkpoint is named, and that segment.
    fn with_segment(&mut self, p: usize, line: &Line, to: u64) -> Option<(Line, Option<MergedSegment>)> {
        let mut line = line.clone();
        let read = self.store.read_segments(line.segments.iter());
        let Some((segment, replaces)) = line.merged_segment(to, &read) else { return Some((line, None)) };
        let object = self.next_object(p)?;
        self.actors[p].prepared.push(object);
        let page = self.put_segment_object(object, segment.clone());
        let merged = MergedSegment { at: segment.reference(page)?, replaces };
        line.name_merged(&merged);
        Some((line, Some(merged)))
    }

    /// Folds the records up to `to` into the tables.
    fn folded(&self, m: &Manifest, line: &Line, to: u64) -> Option<(Tables, Vec<Arc<Record>>)> {
        let mut tables = self.store.tables(m)?;
        let segments = self.store.read_segments(line.segments.iter());
        let records = line.records((line.base(), to), &segments).ok()?;
        let plain: Vec<&Record> = records.iter().map(|record| &***record).collect();
        tables.fold(&plain).ok()?;
        let records = records.into_iter().cloned().collect();
        Some((tables, records))
    }

    fn put_tables(&mut self, p: usize, tables: Tables) -> Option<NewTables> {
        let Actor { session, prepared, .. } = &mut self.actors[p];
        self.store.put_tables(tables, || session.next_object().inspect(|object| prepared.push(*object)))
    }

    /// Puts the page of a root, which the tables gain, and enters the page that it replaces into the dead list.
    fn put_root(&mut self, p: usize, line: &Line, content: Content, tables: &mut Tables) -> Option<PageRef> {
        let object = self.next_object(p)?;
        self.actors[p].prepared.push(object);
        let page = self.store.put(object, Stored::Root(content));
        tables.gain_pages(object, page.place.length, line.version);
        if let Some(old) = line.root.page {
            tables.bury(&old.place, NOW).ok()?;
        }
        Some(page)
    }

    fn checkpoint(&mut self, p: usize, task: Task, m: &Manifest) -> Option<Change> {
        let (before, to) = (&m.line, m.line.version);
        let (mut content, _) = self.store.content(m, to)?;
        let (line, segment) = self.with_segment(p, before, to)?;
        let (mut tables, records) = self.folded(m, &line, to)?;
        let spills = task.op == Op::Spill;
        if spills {
            let (value, gained) = self.value(p, task);
            gained.iter().for_each(|g| tables.gain(g.object, g.bytes, g.stood));
            let old = content[task.key].replace(value).and_then(|old| old.payload);
            old.iter().try_for_each(|place| tables.bury(place, NOW)).ok()?;
        }
        let root = self.put_root(p, &line, content, &mut tables)?;
        let plain: Vec<&Record> = records.iter().map(AsRef::as_ref).collect();
        tables.end_era(before, &line, if spills { to + 1 } else { to }, &plain).ok()?;
        let tables = self.put_tables(p, tables)?;
        Some(Change::Checkpoint(Box::new(Checkpoint {
            root: Some(root),
            base: to,
            commit: spills.then(|| (1, Bytes::new())),
            numbers: None,
            segment,
            records_from: if task.op == Op::Trim { u64::MAX } else { 0 },
            tables,
        })))
    }

    fn restore(&mut self, p: usize, task: Task, m: &Manifest) -> Option<Change> {
        let on = m.line.version;
        let (now, _) = self.store.content(m, on)?;
        if self.actors[p].source.is_none() {
            let (content, _) = self.store.content(m, task.version)?;
            self.actors[p].source = Some(content);
        }
        let content = self.actors[p].source?;
        let places = |content: &Content| -> Vec<Address> {
            content.iter().flatten().filter_map(|v| v.payload).collect()
        };
        let (have, want) = (places(&now), places(&content));
        let mut tables = self.store.tables(m)?;
        let wanted: HashSet<Address> = want.iter().filter(|place| !have.contains(place)).copied().collect();
        if !tables.revive(&wanted) {
            return None;
        }
        let freed = have.into_iter().filter(|place| !want.contains(place)).collect();
        let notes = Notes { freed, ..Notes::default() };
        let tables = self.put_tables(p, tables)?;
        let changes: Vec<_> = content.into_iter().enumerate().collect();
        Some(Change::Commit(Box::new(Commit {
            on,
            time: 1,
            note: Bytes::new(),
            data: Data { notes, author: Bytes::new(), entries: entries(&changes) },
            other_sessions: Vec::new(),
            stored: None,
            numbers: None,
            joins: None,
            leaves: false,
            closes: false,
            segment: self.actors[p].segment,
            members: Vec::new(),
            conditions: Vec::new(),
            segments: self.store.segments(m),
            tables: Some(tables),
        })))
    }

    fn tag(&mut self, task: Task, m: &Manifest) -> Option<Change> {
        Some(Change::Tag(Box::new(NewTag {
            name: Name::new("t")?,
            mark: Mark { version: task.version, ..Mark::default() },
            made: 1,
            until: None,
            publication: None,
            replaces: None,
            read: self.store.tags(m),
        })))
    }

    fn fold_tags(&mut self, p: usize, m: &Manifest) -> Option<Change> {
        let (bytes, crc) = encode_page(&self.store.all_tags(m));
        let object = self.next_object(p)?;
        let page = PageRef { crc, ..self.store.put(object, Stored::Table(bytes)) };
        Some(Change::FoldTags { page: Some(page), seen: Box::new((*m.references).clone()) })
    }

    fn reclaim(&mut self, p: usize, task: Task, m: &Manifest) -> Option<Change> {
        let horizon = match task.choice {
            0 => m.sequence,
            1 => m.line.version,
            _ => m.line.horizon,
        };
        let (read, tags) = (self.store.tags(m), self.store.all_tags(m));
        let planned = plan(m, tags.iter(), self.store.tables(m)?, horizon).ok()?;
        let session = &mut self.actors[p].session;
        if session.entry() != Entry::Listed {
            return None;
        }
        let mut names = Vec::new();
        for _ in 0..3 {
            names.push(session.next_object()?);
        }
        self.actors[p].prepared.extend(&names);
        let store = &mut self.store;
        let tables = NewTables::put(&planned.pages, |bytes, crc| {
            let object = names.pop().expect("three pages at most");
            PageRef { crc, ..store.put(object, Stored::Table(bytes.to_vec())) }
        });
        Some(Change::Reclaim(Box::new(Reclaim::new(planned, read, tables))))
    }

    /// Returns the payload that a creator puts before its container exists, if the rule is broken.
    pub(super) fn early_object(&self, p: usize) -> ObjectId {
        ObjectId { session: session_id(p, self.actors[p].incarnation + 1, created(p)), number: 99 }
    }

    /// Puts the objects of a copy.
    fn put_copy(&mut self, p: usize) -> Option<Manifest> {
        copy(&mut self.store, p, created(p))
    }

    /// Returns a copy with objects that were put before.
    fn copied(&self, p: usize) -> Option<Manifest> {
        copy(&mut Store::default(), p, created(p))
    }
}

/// Returns a copy with one value. Its objects belong to the container that the copy will be.
fn copy(store: &mut Store, p: usize, id: ContainerId) -> Option<Manifest> {
    let session = session_id(p, 0, id);
    let object = |number| ObjectId { session, number };
    let value = Value { id: 8 * p as u8 + 1, payload: None };
    let page = store.put(object(1), Stored::Root([Some(value), None]));
    let mut tables = Tables::default();
    tables.gain_pages(object(1), page.place.length, 0);
    let mut numbers = 2..;
    let new = store.put_tables(tables, || numbers.next().map(object))?;
    let tables = TableRefs { since: 1, usage: Some(new.usage), dead: Vec::new(), history: Vec::new() };
    let mut copy = Manifest { id, sequence: 1, tables: Arc::new(tables), ..Manifest::absent() };
    Arc::make_mut(&mut copy.line).root = Root { page: Some(page), base: 0 };
    Some(copy)
}
