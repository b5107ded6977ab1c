//! The heads that a writer puts: its container's first, its fence, hints on the way, and the one that it leaves.

use object_stores::deadline::TimedOperation;
use object_stores::{Condition, StagedStore};

use super::ObjectWriter;
use crate::address::Location;
use crate::error::{Error, ErrorKind, Result};
use crate::objects::initial_manifest::PendingPut;
use crate::objects::lease::Lease;
use crate::objects::manifest::{
    Head, MULTI_WRITER_TOKEN, put_over, read_decoded_head, read_head, store_error,
};
use crate::objects::open::{delete_lake, take_back_headless};

impl ObjectWriter {
    /// Sees to it that the head of a new container is there: without it there is nothing to commit to.
    pub(crate) fn await_first_head(&mut self) -> Result<()> {
        if let Some(under_way) = self.manifest.first.as_mut().filter(|head| head.is_own()) {
            self.manifest.etag = under_way.wait().map_err(|e| store_error(&self.target, &e))?;
            self.manifest.first = None;
        }
        Ok(())
    }

    /// Sees to it that a close puts no head: another's may be there.
    fn puts_no_head(&mut self) {
        (self.wrote, self.version) = (false, self.manifest.head.version);
    }

    /// Behind the first commit: puts the head that was held back for it.
    pub(super) fn put_held_head(&mut self) -> Result<()> {
        let Some(under_way) = self.manifest.first.as_mut() else { return Ok(()) };
        match under_way.wait() {
            Ok(etag) => (self.manifest.etag, self.manifest.first) = (etag, None),
            Err(e) => {
                // It may have arrived: then the container is there, and whole.
                if e.kind().is_ambiguous() {
                    self.manifest.first = None;
                    self.puts_no_head();
                }
                return Err(store_error(&self.target, &e));
            }
        }
        Ok(())
    }

    /// Deletes what there is of a new container whose head was held back, and lets go of it.
    pub(crate) fn discard(&mut self) -> Result<()> {
        if !self.manifest.first_is_held || self.manifest.first.take().is_none() {
            return Ok(());
        }
        self.puts_no_head();
        let released = self.lease.take().map_or(Ok(()), Lease::release);
        delete_lake(self.store.as_ref(), &self.names, &self.target)?;
        released
    }

    /// Lets go of a new container whose head was held back, and deletes nothing of it.
    pub(in crate::objects) fn let_go_of_new(&mut self) -> Result<()> {
        let is_unseen = self.manifest.holds_first();
        self.manifest.first = None;
        // No head of this writer makes its version any more, so the next try goes on.
        if let Some(intent) = self.intent.take().filter(|_| is_unseen)
            && let Ok(key) = self.names.object_key(&Location::Log(intent.version), &self.target)
        {
            let _the_next_try_begins_anew = self.store.delete(&key);
        }
        self.puts_no_head();
        self.lease.take().map_or(Ok(()), Lease::release)
    }

    /// At close: the same; what there is of a container whose head cannot be there is taken back.
    fn arrive(&mut self, mut under_way: PendingPut) -> Result<()> {
        match under_way.wait() {
            Ok(etag) => self.manifest.etag = etag,
            Err(e) => {
                let record = self.names.object_key(&Location::Log(1), &self.target).ok();
                take_back_headless(self.store.as_ref(), &e, record.as_ref(), self.lease.take());
                return Err(self.fail(&e));
            }
        }
        Ok(())
    }

    /// Before a commit: the head has to be this writer's where a closed one is there, or may come.
    pub(super) fn fence(&mut self) -> Result<()> {
        if self.shared
            || self.manifest.head.fencing_token == self.manifest.fencing_token
            || !(self.manifest.head.closed.is_some() || self.closes())
        {
            return Ok(());
        }
        if let Some(stage) = self.store.stage() {
            // It names what the one before it names.
            stage.next_head_goes_ahead();
        }
        self.put_head(self.manifest.head.clone())
    }

    /// Whether heads are closed in this store: only where it refuses one that comes late. In this process's memory a look for what
    /// is newer costs nothing.
    fn closes(&self) -> bool {
        !self.shared && !self.store.capabilities().near && self.store.honours(Condition::Update)
    }

    /// Whether the closed head of this writer would not have the log.
    pub(crate) fn leaves_log_beside_head(&self) -> bool {
        let base = self.manifest.head.base.version;
        self.wrote
            && self.closes()
            && self.version > base
            && self.manifest.tail.between(base, self.version).is_empty()
    }

    /// Puts the head with the newest version, so that openers need not look for it.
    pub(crate) fn hint(&mut self) {
        if self.shared {
            return self.hint_shared();
        }
        let head = Head { version: self.version, ..self.manifest.head.clone() };
        if let Err(e) = self.put_head(head) {
            tracing::debug!(error = %e, "a head was not put");
        }
    }

    /// The same where others put heads too: only the version is changed in what is there.
    fn hint_shared(&mut self) {
        let there = read_head(self.store.as_ref(), &self.names.head, &self.target);
        let Ok(Some((bytes, etag))) = there else { return };
        match Head::decode(&bytes, &self.target) {
            Ok(head) if head.fixed.id == self.manifest.head.fixed.id && head.version < self.version => {
                let head = Head { version: self.version, ..head }.fenced_by(MULTI_WRITER_TOKEN);
                let put = put_over(self.store.as_ref(), &self.names.head, head.encode(), etag.as_ref());
                if let Err(e) = put {
                    tracing::debug!(error = %e, "a head was not put");
                }
            }
            _ => (),
        }
    }

    /// Puts the head that nobody has to look behind.
    fn put_closed(&mut self) {
        let log = self.manifest.tail.between(self.manifest.head.base.version, self.version);
        let head = Head { version: self.version, closed: Some(log), ..self.manifest.head.clone() };
        match put_over(self.store.as_ref(), &self.names.head, head.encode(), self.manifest.etag.as_ref()) {
            Ok(etag) => (self.manifest.head, self.manifest.etag) = (head, etag),
            Err(e) => tracing::debug!(error = %e, "a head was not put"),
        }
    }

    /// Looks at the head again: it has to be of the base that is known, and not of a version that is not.
    pub(in crate::objects) fn check_head(&mut self) -> Result<()> {
        let there = read_head(self.store.as_ref(), &self.names.head, &self.target)?;
        let conflict = || Error::new(&self.target, ErrorKind::Conflict);
        let (bytes, etag) = there.ok_or_else(conflict)?;
        let head = Head::decode(&bytes, &self.target)?;
        let ahead = !self.shared && head.version > self.version;
        if head.fixed.id != self.manifest.head.fixed.id || head.base != self.manifest.head.base || ahead {
            return Err(conflict());
        }
        self.manifest.take_over(head);
        self.manifest.etag = etag;
        Ok(())
    }

    /// The head that lies in the store now; `None` if there is none. What cannot be decoded is an error: it may be any.
    pub(super) fn head_there(&self) -> Result<Option<Head>> {
        read_decoded_head(self.store.as_ref(), &self.names.head, &self.target)
    }

    pub(in crate::objects) fn put_head(&mut self, head: Head) -> Result<()> {
        if self.pending_head.is_some() {
            return Err(Error::invalid(&self.target, "a commit is pending; settle it first"));
        }
        self.try_head(head)?.map_err(|e| self.fail(&e))
    }

    /// Puts a head over the one that is known. The inner error is that of the put.
    ///
    /// # Errors
    /// Those of looks at what is there.
    pub(super) fn try_head(&mut self, head: Head) -> Result<object_stores::Result<()>> {
        // A store that tells no etag when it puts. Without one a head that comes late would replace any other.
        if self.manifest.etag.is_none() && self.store.honours(Condition::Update) && !self.may_replace()? {
            return Err(Error::new(&self.target, ErrorKind::Conflict));
        }
        let mut head = head.fenced_by(self.manifest.fencing_token);
        let _in_time = self.check_unguarded()?;
        let mut put =
            put_over(self.store.as_ref(), &self.names.head, head.encode(), self.manifest.etag.as_ref());
        let changed = |e: &object_stores::Error| e.kind() == object_stores::ErrorKind::PreconditionFailed;
        if put.as_ref().is_err_and(changed) && self.may_replace()? {
            // What is there may tell of many writers.
            head = head.fenced_by(self.manifest.fencing_token);
            put = put_over(self.store.as_ref(), &self.names.head, head.encode(), self.manifest.etag.as_ref());
        }
        let put = put.map(|etag| (self.manifest.etag, self.manifest.head) = (etag, head));
        if put.is_ok() && !self.refused.is_empty() {
            self.delete_refused();
        }
        Ok(put)
    }

    /// Before a head is put over the one that is known. Where the store does not refuse one that comes late, this looks at the lock
    /// and at the head: a writer that was held up would otherwise put an old base over a newer one, behind which records are gone.
    /// What is put then has to arrive before anybody else can take the lease.
    fn check_unguarded(&mut self) -> Result<Option<TimedOperation>> {
        if self.shared || self.store.capabilities().near || self.store.honours(Condition::Update) {
            return Ok(None);
        }
        let in_time = self.lease.as_ref().map(Lease::begin_unguarded_head).transpose()?.flatten();
        // The first head of a container has nothing before it.
        if self.manifest.first.is_none() && !self.may_replace()? {
            return Err(Error::new(&self.target, ErrorKind::Conflict));
        }
        Ok(in_time)
    }

    /// Whether the head that is there, and not the one that was expected, may be replaced all the same. Before a fence that is
    /// a hint of the writer before, which came late. After it, it is an own head whose put seemed to have failed: nobody else
    /// has fenced the container since.
    fn may_replace(&mut self) -> Result<bool> {
        let is_own = self.manifest.head.fencing_token == self.manifest.fencing_token && !self.shared;
        if !is_own {
            let what = |head: &Head| (head.tagged, head.lost, head.table);
            let before = what(&self.manifest.head);
            // Over what others said of room meanwhile, nothing is put that was found out before.
            return match self.check_head() {
                Err(e) if matches!(e.kind(), ErrorKind::Conflict) => Ok(false),
                Err(e) => Err(e),
                Ok(()) => Ok(what(&self.manifest.head) == before),
            };
        }
        let there = read_head(self.store.as_ref(), &self.names.head, &self.target)?;
        let Some((bytes, etag)) = there else { return Ok(false) };
        let head = Head::decode(&bytes, &self.target)?;
        let is_ours =
            head.fixed.id == self.manifest.head.fixed.id && head.fencing_token == self.manifest.fencing_token;
        if is_ours {
            self.manifest.etag = etag;
        }
        Ok(is_ours)
    }

    /// At close: leaves a closed head, or a good hint, and gives the lease back.
    pub(crate) fn close(&mut self) -> Result<()> {
        if let Some(under_way) = self.manifest.first.take() {
            self.arrive(under_way)?;
        }
        // Without a commit the head that is there says as much.
        let closes = self.wrote
            && !self.overtaken
            && !self.is_pending()
            && self.closes()
            && self.manifest.etag.is_some();
        // A head that makes a commit may arrive yet, and no other one may replace it.
        let hints = self.version > self.manifest.head.version
            && self.pending_head.is_none()
            && (self.shared || !self.overtaken)
            && (!self.shared || self.wrote);
        let stage = self.store.stage();
        if stage.is_some_and(StagedStore::is_stuck) {
            // What is left is told by the lock object.
            return self.lease.take().map_or(Ok(()), Lease::leave);
        }
        let is_staged = stage.is_some();
        // A head that comes late is refused if the next writer has put one: then both need not follow upon each other. One that
        // is staged, or that nothing refuses, comes before the lease is given back.
        if !closes || is_staged {
            match (closes, hints) {
                (true, _) => self.put_closed(),
                (false, true) => self.hint(),
                (false, false) => (),
            }
            return self.lease.take().map_or(Ok(()), Lease::release);
        }
        let Some(lease) = self.lease.take() else {
            self.put_closed();
            return Ok(());
        };
        let last = || self.put_closed();
        std::thread::scope(|s| {
            let hinting = std::thread::Builder::new().spawn_scoped(s, last);
            let released = lease.release();
            drop(hinting);
            released
        })
    }
}
