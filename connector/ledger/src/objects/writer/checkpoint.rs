//! Checkpoints in an object store: pages, the history, the room table, the head that makes them count; then what nobody has
//! needed for the retention time is deleted.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use object_stores::{Key, ObjectMeta};

use super::{ObjectWriter, PackBuffer};
use crate::address::{Address, Location, PageRef};
use crate::clock::{self, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::history::{History, Mark, tell_of_given_up};
use crate::objects::manifest::{Head, read_head};
use crate::objects::object_usage::{UsageTable, Use};
use crate::objects::open::{is_behind, usual_retention};
use crate::objects::orphans::MIN_IDLE_TIME;
use crate::objects::{replaced, store_clock, version_lookup};
use crate::storage::Checkpoint;

/// Orphans that are deleted between two looks at whether they still are: what S3 deletes in a request.
const MAX_ORPHANS_PER_BATCH: usize = 1000;
/// Slack for what accounting for itself changes in a table.
const TABLE_RESERVE_BYTES: usize = 64;

/// A base that is ready but for its head.
#[derive(Debug)]
pub(super) struct NextBase {
    pub(super) head: Head,
    history: History,
    pub(super) table: UsageTable,
    /// What nobody will need once the head is there.
    doomed: Vec<Location>,
}

impl ObjectWriter {
    pub(crate) fn checkpoint_write(&mut self, data: &[u8]) -> Result<Address> {
        if self.checkpoint.pages.is_full_with(data.len()) {
            self.finish_pages()?;
        }
        self.checkpoint.pages.add(data, Location::Page, &self.target)
    }

    pub(super) fn finish_pages(&mut self) -> Result<()> {
        if let Some(location) = self.checkpoint.pages.location.take() {
            let bytes = std::mem::take(&mut self.checkpoint.pages.bytes);
            self.checkpoint.gained.push((location, bytes.len() as u64));
            self.put_new(&location, bytes)?;
        }
        Ok(())
    }

    pub(crate) fn checkpoint_free(&mut self, place: &Address) {
        self.checkpoint.freed.push(*place);
    }

    pub(crate) fn checkpoint_rollback(&mut self) {
        self.checkpoint.pages = PackBuffer::default();
        // Page objects that were put stay: if a head's put failed without an answer, it may have arrived and name them.
        self.checkpoint.gained.clear();
        self.checkpoint.freed.clear();
    }

    /// Makes `base` count, then deletes what nobody has needed for the retention time.
    pub(crate) fn checkpoint_commit(&mut self, base: Checkpoint) -> Result<()> {
        if let Some(lease) = &mut self.lease {
            lease.renew()?;
        }
        self.await_first_head()?;
        if self.shared {
            self.check_head()?;
        }
        let next = self.next_base(base, None)?;
        self.put_head(next.head.clone())?;
        self.take_in_base(next);
        Ok(())
    }

    /// Makes a base ready, but for its head. `made` is the mark of its version where the head makes that too, with all that is staged; its times are those of the head.
    /// The room that this writes to belongs to nobody yet.
    pub(super) fn next_base(&mut self, base: Checkpoint, made: Option<Mark>) -> Result<NextBase> {
        self.check_tags()?;
        let begun = Moment::now();
        let now = self.present().max(self.last_time + 1);
        let present = self
            .earliest_present(base.version)?
            // What is staged went out of use for others when it arrived.
            .saturating_sub(self.store.stage().map_or(0, |stage| clock::micros(stage.lag())));
        let before = present.saturating_sub(self.manifest.head.retention.saturating_mul(1000));
        let records_before = before.min(present.saturating_sub(self.record_lifetime()));
        // Others may have committed more, also beside a single writer where many were: then the base is whole until its own time only,
        // for all that is known here.
        let may_be_behind = self.shared || self.manifest.is_after_many_writers;
        let reclaim_epoch = if may_be_behind { self.last_time } else { now };
        let mut table = self.load()?.clone();
        let damaged = |why: &str| Error::corrupt(&self.target, "room table", why);
        if made.is_some() {
            table.replay(&self.payloads.notes, now).map_err(damaged)?;
        }
        let newest = made.map(|mark| Mark { time: now, ..mark }).or_else(|| self.newest.clone());
        let (past, history) = self.write_history((base.version, newest), reclaim_epoch, before)?;
        for n in self.manifest.head.base.version + 1..=base.version {
            // Until now they were needed as records, whether or not they hold payload.
            let used =
                table.locations.entry(Location::Log(n)).or_insert(Use { total: 0, live: 0, since: now });
            if used.live == 0 {
                used.since = now;
            }
        }
        for (location, bytes) in &self.checkpoint.gained {
            table.gain(*location, *bytes, now);
        }
        if let Some(location) = self.checkpoint.pages.location {
            table.gain(location, self.checkpoint.pages.bytes.len() as u64, now);
        }
        let old = self.manifest.head.table.iter().chain(&self.manifest.head.history).map(|p| &p.place);
        for place in self.checkpoint.freed.iter().chain(old) {
            table.lose(place, now).map_err(|why| Error::corrupt(&self.target, "room table", why))?;
        }
        let (doomed, since) = table.take_dead((before, records_before), base.version, &self.held);
        let at = self.write_table(&mut table)?;
        let lost = self.manifest.head.lost.max(since);
        self.check_not_held_up(begun)?;
        let (table_at, history) = (Some(at), Some(history));
        let version = self.version.max(self.manifest.head.version).max(base.version);
        let old = self.manifest.head.clone();
        let head = Head { version, base, table: table_at, reclaim_epoch, lost, history, ..old };
        Ok(NextBase { head, history: past, table, doomed })
    }

    /// The head is there: deletes what nobody has needed for the retention time.
    pub(super) fn take_in_base(&mut self, next: NextBase) {
        self.last_time = next.head.reclaim_epoch;
        self.history = Some(next.history);
        self.manifest.tail.rebase(next.head.base.version);
        self.newest = None;
        self.usage.table = Some(next.table);
        self.usage.obsolete = 0;
        self.checkpoint.gained.clear();
        self.checkpoint.freed.clear();
        self.delete(&next.doomed);
        self.sweep_replaced();
    }

    /// How long records behind the base stay at least, in microseconds, whatever retention time was asked for. One of many writers
    /// that is at an older version needs them to go on. Were they gone, it would take its own for the next one.
    fn record_lifetime(&self) -> u64 {
        match self.manifest.is_after_many_writers {
            // Others rely on what they saw for half of that. The other half is for a head that takes long to arrive, and for clocks.
            true => clock::micros(2 * usual_retention(self.store.as_ref())),
            false => 0,
        }
    }

    /// A base that comes late would be deleted behind too early: others rely on an older head that they saw meanwhile.
    fn check_not_held_up(&self, begun: Moment) -> Result<()> {
        let is_late = begun.elapsed() > usual_retention(self.store.as_ref()) / 2;
        if !is_late || !self.manifest.is_after_many_writers {
            return Ok(());
        }
        let what = "a checkpoint was held up, and is given up".into();
        Err(Error::new(&self.target, ErrorKind::Store { errno: Some(nix::libc::EAGAIN), what }))
    }

    /// What time it is, for telling what nobody needs any more: not later than the store's clock says, whatever this process's says.
    fn earliest_present(&self, version: u64) -> Result<u64> {
        let here = self.present();
        // Without a retention time nothing waits for a clock, and S3 tells times in whole seconds.
        let waits = self.manifest.head.retention > 0 || self.record_lifetime() > 0;
        if !waits || self.store.capabilities().near {
            return Ok(here);
        }
        // The newest record has been put a moment ago, or long ago: then less is deleted than could be.
        let there = match version > self.manifest.head.base.version {
            true => {
                let key = self.names.object_key(&Location::Log(version), &self.target)?;
                self.store.head(&key).map_err(|e| self.fail(&e))?.modified
            }
            false => store_clock::now(self.store.as_ref(), &self.names.head, &self.target)?,
        };
        let since = there.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(here.min(clock::micros(since)))
    }

    /// Deletes containers that this one replaced and whose time is over, once in the life of a writer.
    fn sweep_replaced(&mut self) {
        if std::mem::replace(&mut self.swept, true) || !self.store.capabilities().persistent {
            return;
        }
        if let Err(e) = replaced::sweep(self.store.as_ref(), &self.names.head, &self.target) {
            tracing::debug!(error = %e, "replaced containers were not looked after");
        }
    }

    /// What the head's history says.
    pub(super) fn known_history(&mut self) -> Result<&History> {
        if self.history.is_none() {
            let (store, head) = (self.store.as_ref(), &self.manifest.head);
            self.history = Some(version_lookup::history(store, &self.names, head, &self.target)?);
        }
        Ok(self.history.get_or_insert_default())
    }

    /// The retention time of the container, in microseconds.
    fn asked_retention(&self) -> u64 {
        self.manifest.head.retention.saturating_mul(1000)
    }

    /// Whether the next checkpoint should wait until the log is very long, for the history's sake.
    pub(crate) fn spares_checkpoints(&mut self) -> Result<bool> {
        let (now, retention) = (self.present(), self.asked_retention());
        let is_long = self.manifest.head.history.is_some_and(|p| History::may_be_crowded(p.place.length));
        Ok(retention > 0 && is_long && self.known_history()?.is_crowded(now, retention))
    }

    /// Writes what will lead to the versions before the base that is coming.
    fn write_history(
        &mut self,
        (version, newest): (u64, Option<Mark>),
        reclaim_epoch: u64,
        before: u64,
    ) -> Result<(History, PageRef)> {
        let mut history = self.known_history()?.clone();
        let base = newest.unwrap_or_else(|| history.base.clone());
        let given_up = history.advance(
            Mark { version, reclaim_epoch, ..base },
            self.manifest.head.base.root,
            (None, 0),
            before,
        );
        tell_of_given_up(&self.target, given_up, self.present(), self.asked_retention());
        let (bytes, crc) = history.encode();
        let place = self.checkpoint_write(&bytes)?;
        Ok((history, PageRef { place, crc }))
    }

    /// The table goes to the end of the last page object and counts itself.
    fn write_table(&mut self, table: &mut UsageTable) -> Result<PageRef> {
        let bound = table.encode(None).0.len() + TABLE_RESERVE_BYTES;
        let (location, offset) = (
            self.checkpoint.pages.location(Location::Page, &self.target)?,
            self.checkpoint.pages.bytes.len() as u64,
        );
        let live = table.locations.get(&location).map_or(0, |u| u.live);
        let used = Use { total: offset + bound as u64, live: live + bound as u64, since: 0 };
        table.locations.insert(location, used);
        let (bytes, crc) = table.encode(Some(bound));
        if bytes.len() != bound {
            return Err(Error::invalid(&self.target, "a room table outgrew its room; commit again"));
        }
        self.checkpoint.pages.location = None;
        let mut object = std::mem::take(&mut self.checkpoint.pages.bytes);
        object.extend_from_slice(&bytes);
        self.put_new(&location, object)?;
        Ok(PageRef { place: Address { location, offset, length: bound as u64 }, crc })
    }

    /// Deletes those of the container's objects that the table does not know: a writer that died made them and never
    /// committed. They have to be older than the retention time, by the store's clock. Those that one of many writers has put and
    /// not committed yet look the same, so they have a day where there are many, or were.
    pub(crate) fn sweep(&mut self, all: Vec<ObjectMeta>) -> Result<()> {
        self.await_first_head()?;
        // Until it is known what becomes of a head, what it names stays.
        if self.has_intent() || self.is_pending() {
            return Ok(());
        }
        let (names, target) = (self.names.clone(), self.target.clone());
        self.load()?;
        let mut known: HashSet<Key> =
            self.known_locations().filter_map(|location| names.object_key(&location, &target).ok()).collect();
        known.insert(names.key("lock", &target)?);
        let asked = Duration::from_millis(self.manifest.head.retention);
        let age = if self.manifest.is_after_many_writers { asked.max(MIN_IDLE_TIME) } else { asked };
        let now = store_clock::now(self.store.as_ref(), &names.head, &target)?;
        let old = |m: &ObjectMeta| now.duration_since(m.modified).is_ok_and(|e| e >= age);
        let orphans: Vec<Key> =
            all.into_iter().filter(|m| !known.contains(&m.key) && old(m)).map(|m| m.key).collect();
        for batch in orphans.chunks(MAX_ORPHANS_PER_BATCH) {
            if !self.is_undisturbed()? {
                tracing::warn!(
                    "another writer came meanwhile; what no version names stays until the next vacuum"
                );
                return Ok(());
            }
            self.store.delete_many(batch).map_err(|e| self.fail(&e))?;
        }
        Ok(())
    }

    /// The objects that a version names, or that one under way is to name.
    fn known_locations(&self) -> impl Iterator<Item = Location> {
        let staged = self.notes_under_way().chain([&self.payloads.notes]).flat_map(|n| n.gained.keys());
        let in_table = self.usage.table.iter().flat_map(|table| table.locations.keys());
        let pages = self.checkpoint.gained.iter().map(|(location, _)| location);
        // Records are not in the table before they are in the base.
        let records = (self.manifest.head.base.version + 1..=self.version).map(Location::Log);
        staged.chain(in_table).chain(pages).copied().chain(records)
    }

    /// Right before orphans are deleted: whether nobody else has committed, or come to write, since this writer looked. One of
    /// many may have put what looks like an orphan, and name it by now.
    ///
    /// # Errors
    /// `Conflict` if the lease is another's; those of the store.
    fn is_undisturbed(&mut self) -> Result<bool> {
        if let Some(lease) = &mut self.lease {
            lease.renew()?;
        }
        let known = &self.manifest.head;
        let is_known = |head: Head| {
            head.fixed.id == known.fixed.id
                && head.base == known.base
                // An own head may be there whose put seemed to have failed.
                && (head.table, head.history) == (known.table, known.history)
                // One of many puts its own.
                && head.fencing_token == known.fencing_token
        };
        let there = read_head(self.store.as_ref(), &self.names.head, &self.target)?;
        let there = there.and_then(|(bytes, _)| Head::decode(&bytes, &self.target).ok());
        Ok(there.is_some_and(is_known)
            && !is_behind(self.store.as_ref(), &self.names, self.version, &self.target)?)
    }

    pub(super) fn delete(&self, locations: &[Location]) {
        let keys: Vec<Key> =
            locations.iter().filter_map(|r| self.names.object_key(r, &self.target).ok()).collect();
        if !keys.is_empty()
            && let Err(e) = self.store.delete_many(&keys)
        {
            // They are garbage that nothing refers to; they cost room, not truth.
            tracing::warn!(error = %e, "obsolete objects were not deleted");
        }
    }
}
