//! One of many writers of a container in an object store.
//!
//! What decides is that a log object can be created once. Nobody holds a lease, and there is nothing to wait for.

use std::time::Duration;

use crate::address::Location;
use crate::clock::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::objects::manifest::{Head, MULTI_WRITER_TOKEN, put_over, read_head, store_error};
use crate::objects::open::usual_retention;
use crate::objects::{FetchedRecord, ObjectStorage, ReaderState};
use crate::options::Writers;
use crate::storage::{Checkpoint, Commit, RemoteCommits};
use crate::wal::record::CommitRecord;

/// How often a commit beside what is staged is tried.
const MAX_ATTEMPTS: u32 = 200;
/// A log this long, in records, has probably been checkpointed by somebody: worth a look at the head, every so many versions.
const LONG_LOG_RECORDS: u64 = 64;
const VERSIONS_PER_HEAD_CHECK: u64 = 16;

/// Where a container's head was.
enum There {
    /// With its base, and whether another than one of many put the head.
    This {
        base: Checkpoint,
        is_taken_over: bool,
    },
    /// Another container.
    Another,
    /// Something that is no container, as far as its bytes tell.
    NoContainer,
    Nothing,
}

impl ObjectStorage {
    pub(super) fn is_shared(&self) -> bool {
        self.writer.is_some() && self.writers == Writers::Many
    }

    /// What the others committed, if what is known is so old that records behind it may be deleted soon.
    pub(super) fn look_ahead_if_old(&self) -> Result<Option<RemoteCommits>> {
        let mut seen = super::lock(&self.seen);
        let is_old = self.is_shared() && seen.read.elapsed() >= usual_retention(self.store.as_ref()) / 2;
        let Some(version) = seen.version.filter(|_| is_old) else { return Ok(None) };
        seen.looks_for_base = true;
        let basis = *super::lock(&self.basis);
        let news = self.poll_shared(&mut seen, version);
        // The snapshot in use stands on what it stood on. When that moves on, the head says on what.
        *super::lock(&self.basis) = basis;
        seen.looks_for_base = !matches!(news, Ok(None));
        news
    }

    /// What the others committed since `version`.
    pub(super) fn poll_shared(&self, seen: &mut ReaderState, version: u64) -> Result<Option<RemoteCommits>> {
        let records = self.after(version, version)?;
        let newest = version + records.len() as u64;
        let long = newest >= seen.head.base.version + LONG_LOG_RECORDS
            && newest >= seen.looked + VERSIONS_PER_HEAD_CHECK;
        if long || seen.looks_for_base || self.is_old(seen) {
            let fresh = ReaderState { looks_for_base: false, ..self.look_again(seen)? };
            if fresh.head.base != seen.head.base {
                return self.rebased(seen, fresh, version).map(Some);
            }
            (*seen, seen.looked) = (fresh, newest);
            self.stand_on(seen);
        }
        if records.is_empty() {
            return Ok(None);
        }
        self.with_writer(|w| w.apply(&records))?;
        seen.version = Some(newest);
        let records = records.into_iter().map(|l| l.record).collect();
        Ok(Some(RemoteCommits { version: newest, records, ..RemoteCommits::default() }))
    }

    /// The news after somebody checkpointed: everything behind the new base, and what lies between this one's version and it.
    /// After an error nothing is known that was not known before.
    fn rebased(&self, seen: &mut ReaderState, fresh: ReaderState, view: u64) -> Result<RemoteCommits> {
        let base = fresh.head.base;
        // A record that was behind the base when it was looked at last goes with those before it, or later. If the own one is gone,
        // what is there in place of the next may be one that came late.
        if view > seen.head.base.version
            && base.version > view
            && seen.read.elapsed() >= usual_retention(self.store.as_ref())
            && self.record(view)?.is_none()
        {
            return Err(Error::new(&self.target, ErrorKind::Gone));
        }
        let from = view.min(base.version);
        let all = self.after(from, fresh.head.version.max(view))?;
        let newest = from + all.len() as u64;
        let unknown: Vec<&FetchedRecord> = all.iter().filter(|l| l.record.header.version > view).collect();
        let behind: Vec<&FetchedRecord> =
            all.iter().filter(|l| l.record.header.version > base.version).collect();
        self.with_writer(|w| {
            w.learn_refs(&unknown)?;
            w.rebase(fresh.head.clone(), &behind);
            Ok(())
        })?;
        *seen = ReaderState { version: Some(newest), looked: newest, ..fresh };
        self.stand_on(seen);
        let split = all.partition_point(|l| l.record.header.version <= base.version);
        let mut skipped: Vec<_> = all.into_iter().map(|l| l.record).collect();
        let records = skipped.split_off(split);
        skipped.drain(..(view - from).min(skipped.len() as u64) as usize);
        Ok(RemoteCommits {
            version: newest,
            restart: Some(base),
            records,
            skipped,
            ..RemoteCommits::default()
        })
    }

    /// Records that are gone were needed by a writer that looked away for longer than the retention time.
    pub(super) fn after(&self, version: u64, known: u64) -> Result<Vec<FetchedRecord>> {
        let mut settled = self.with_writer(|w| Ok(w.manifest.head.version)).unwrap_or_default();
        loop {
            let log = self.log(version, known, settled).map_err(|e| match e.kind() {
                ErrorKind::Corrupt { .. } => Error::new(&self.target, ErrorKind::Gone),
                _ => e,
            })?;
            let Some(intent) = log.intent else { return Ok(log.records) };
            self.pass_intent(intent)?;
            settled = intent;
        }
    }

    pub(super) fn commit_shared(&self, version: u64, entries: &[u8]) -> Result<Commit> {
        let done = self.with_writer(|w| w.commit(version, &entries));
        let is_first = self.is_first(version);
        self.named(done, version, is_first)
    }

    /// Whether a record that has just been created is known to be the first of its number: a base of many writers that is older was
    /// seen not long ago.
    pub(super) fn is_first(&self, version: u64) -> bool {
        let seen = super::lock(&self.seen);
        seen.head.base.version < version
            && seen.head.is_after_many_writers()
            && seen.read.elapsed() < usual_retention(self.store.as_ref())
    }

    /// The same of a commit that was in doubt.
    pub(super) fn settle_shared(&self) -> Result<Commit> {
        let unnamed = *super::lock(&self.unnamed);
        match unnamed {
            Some((version, length, is_first)) => self.named(Ok(Commit::Done(length)), version, is_first),
            None => {
                let done = self.with_writer(|w| w.settle());
                let version = self.with_writer(|w| Ok(w.version))?;
                let is_first = self.is_first(version);
                self.named(done, version, is_first)
            }
        }
    }

    /// A commit is done when the head is known to name the container.
    fn named(&self, done: Result<Commit>, version: u64, is_first: bool) -> Result<Commit> {
        let length = match done {
            Ok(Commit::Done(length)) => length,
            Err(e) if *e.kind() == ErrorKind::Conflict => return Ok(Commit::Behind),
            other => return other,
        };
        let checked = self.check_named(version, is_first);
        if let Err(e) = checked {
            if matches!(e.kind(), ErrorKind::Broken { .. }) {
                return Err(e);
            }
            *super::lock(&self.unnamed) = Some((version, length, is_first));
            return Ok(Commit::InDoubt(e));
        }
        *super::lock(&self.unnamed) = None;
        let mut seen = super::lock(&self.seen);
        seen.version = Some(version);
        self.leave_older_views(&seen);
        Ok(Commit::Done(length))
    }

    /// Nobody keeps others from replacing or deleting the container: a commit counts only if the head names this one after it.
    /// Who replaces puts the new head first, so nothing that was reported as committed goes unseen.
    pub(super) fn check_named(&self, version: u64, is_first: bool) -> Result<()> {
        let there = self.check_in_log(version, is_first)?;
        let what = match there {
            There::This { .. } => return Ok(()),
            There::Another | There::NoContainer => "replaced",
            There::Nothing => "deleted",
        };
        // Others may have seen the record, and build on it, if the answer was not that of the store.
        if !matches!(there, There::NoContainer)
            && let Ok(key) = self.names.object_key(&Location::Log(version), &self.target)
        {
            let _garbage_at_worst = self.store.delete(&key);
        }
        let why = format!("another process {what} the container; what was not committed before is not in it");
        Err(Error::new(&self.target, ErrorKind::Broken { why }))
    }

    /// Looks at the head after a record, and whether the record counts. Tells what the head is of.
    fn check_in_log(&self, version: u64, is_first: bool) -> Result<There> {
        let looked = Moment::now();
        let there = self.keep_open()?;
        if let There::This { base, is_taken_over } = there {
            self.check_follows(version, (base, looked), is_first && !is_taken_over)?;
        }
        Ok(there)
    }

    /// A record counts if it follows the base, or if the base took it in. It did not if the record that had this number was deleted
    /// before this one was created. That needs a base of others, and the time for which they keep records: then nobody can tell.
    fn check_follows(
        &self,
        version: u64,
        (base, looked): (Checkpoint, Moment),
        is_first: bool,
    ) -> Result<()> {
        let mut seen = super::lock(&self.seen);
        if base == seen.head.base {
            seen.read = looked;
        }
        let away = seen.read.elapsed();
        if base.version < version || is_first {
            return Ok(());
        }
        drop(seen);
        // It stays: were it in the base after all, others would miss it.
        self.with_writer(|w| Err(w.doubt(away)))
    }

    /// After a commit: who is alone must not close over what it does not know of, nor has a closed head to stay. Tells what the
    /// head is of.
    fn keep_open(&self) -> Result<There> {
        let (mut is_taken_over, mut strange) = (false, None);
        for _ in 0..MAX_ATTEMPTS {
            let there = read_head(self.store.as_ref(), &self.names.head, &self.target)?;
            let Some((bytes, etag)) = there else { return Ok(There::Nothing) };
            let head = match Head::decode(&bytes, &self.target) {
                Ok(head) if head.fixed.id == self.id => head,
                Ok(_) => return Ok(There::Another),
                // Damage in an answer is not in the next one. Damage in the store says nothing of whose head it is.
                Err(e) if strange.replace(bytes.clone()) == Some(bytes) => match e.kind() {
                    ErrorKind::NotAContainer { .. } => return Ok(There::NoContainer),
                    _ => return Err(e),
                },
                Err(_) => continue,
            };
            let base = head.base;
            if head.fencing_token == MULTI_WRITER_TOKEN && head.closed.is_none() {
                return Ok(There::This { base, is_taken_over });
            }
            // Who knew of many keeps their records as they do.
            is_taken_over |= !head.is_after_many_writers();
            match put_over(
                self.store.as_ref(),
                &self.names.head,
                head.fenced_by(MULTI_WRITER_TOKEN).encode(),
                etag.as_ref(),
            ) {
                Ok(_) => return Ok(There::This { base, is_taken_over }),
                Err(e) if e.kind() == object_stores::ErrorKind::PreconditionFailed => (),
                Err(e) => return Err(store_error(&self.target, &e)),
            }
        }
        Err(Error::new(&self.target, ErrorKind::Conflict))
    }

    pub(super) fn put_independent(
        &self,
        make: &mut dyn FnMut(&[CommitRecord]) -> Result<Vec<u8>>,
    ) -> Result<()> {
        let view = self.with_writer(|w| Ok(w.version))?;
        let (mut unseen_commits, mut time) = (Vec::<CommitRecord>::new(), 0);
        for attempt in 0..MAX_ATTEMPTS {
            let known = view + unseen_commits.len() as u64;
            for logged in self.after(known, known)? {
                time = logged.record.header.time;
                unseen_commits.push(logged.record);
            }
            let entries = make(&unseen_commits)?;
            let version = view + unseen_commits.len() as u64 + 1;
            match self.with_writer(|w| w.commit_independent(version, time, &entries)) {
                // That the container was replaced or deleted, the next commit of what is staged tells.
                Ok(()) => return self.check_in_log(version, self.is_first(version)).map(drop),
                Err(e) if *e.kind() == ErrorKind::Conflict => {
                    std::thread::sleep(Duration::from_millis(u64::from(attempt.min(20))));
                }
                other => return other,
            }
        }
        Err(Error::new(&self.target, ErrorKind::Conflict))
    }
}

impl super::writer::ObjectWriter {
    /// Takes in what others committed.
    pub(super) fn apply(&mut self, records: &[FetchedRecord]) -> Result<()> {
        self.learn_refs(&records.iter().collect::<Vec<_>>())
    }

    pub(super) fn learn_refs(&mut self, records: &[&FetchedRecord]) -> Result<()> {
        records.iter().try_for_each(|logged| self.take_note(logged))
    }
}
