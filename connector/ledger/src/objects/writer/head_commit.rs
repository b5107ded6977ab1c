//! Commits by a head, whose base is the version: all of it is in pages that were put before.
//!
//! An intent keeps the number: no other writer makes a record of it, and readers that poll the log find it and look at the head. The
//! head replaces the one that this writer knows. So it fails where another writer has put a head meanwhile, and whoever goes on
//! behind an intent puts one first. Until it is known what became of a head, this writer puts that very head again, and no other.

use bytes::Bytes;

use super::ObjectWriter;
use super::checkpoint::NextBase;
use super::pending::CreateOutcome;
use crate::error::{Error, ErrorKind, Result};
use crate::history::Mark;
use crate::objects::log_object;
use crate::objects::manifest::Head;
use crate::objects::object_usage::UsageDelta;
use crate::storage::{Checkpoint, Commit};
use crate::wal::record::{Author, Header, NO_ENTRIES};

/// An intent of this writer. While there is one, its version can be made by a head alone.
#[derive(Debug)]
pub(super) struct Intent {
    pub(super) version: u64,
    nonce: u64,
    /// The log object.
    bytes: Bytes,
    is_there: bool,
    /// An earlier try may arrive yet.
    in_doubt: bool,
}

/// A head that makes a commit, from when it is ready until the store has said what became of it.
#[derive(Debug)]
pub(super) struct PendingHead {
    next: NextBase,
    /// What the commit says of room: the head's table has it.
    pub(super) notes: UsageDelta,
    /// An earlier try may arrive yet.
    in_doubt: bool,
}

impl ObjectWriter {
    /// Whether an intent of this writer may be in the log.
    pub(crate) fn has_intent(&self) -> bool {
        self.intent.is_some()
    }

    /// Makes what is kept in pages the next version. A commit that gives back more than it takes may use the room that a full store
    /// keeps for that.
    pub(crate) fn commit_as_checkpoint(&mut self, base: Checkpoint) -> Result<Commit> {
        self.with_reserve(|w| w.commit_by_head(base))
    }

    fn commit_by_head(&mut self, base: Checkpoint) -> Result<Commit> {
        if self.is_pending() || self.queued.is_some() {
            return Err(Error::invalid(&self.target, "a commit is pending; settle it first"));
        }
        if let Some(lease) = &mut self.lease {
            lease.renew()?;
        }
        self.finish_packs()?;
        if let Some(journal) = &mut self.journal {
            journal.note_commit();
        }
        let is_unseen = self.manifest.holds_first();
        self.announce_intents()?;
        self.put_intent(base.version)?;
        let mark = Mark {
            version: base.version,
            reclaim_epoch: 0,
            time: 0,
            bytes: self.payloads.notes.gained.values().sum(),
            author: Author::myself(),
        };
        match self.next_base(base, Some(mark)) {
            Ok(next) if is_unseen => self.commit_by_first_head(next),
            Ok(next) => {
                let notes = std::mem::take(&mut self.payloads.notes);
                self.pending_head = Some(PendingHead { next, notes, in_doubt: false });
                self.settle_head()
            }
            Err(e) => {
                self.checkpoint_rollback();
                Err(e)
            }
        }
    }

    /// Commits by the head that was held back, which nobody finds before. Who has lost the answer to it does not go on.
    fn commit_by_first_head(&mut self, next: NextBase) -> Result<Commit> {
        let head = Head { intents: true, ..next.head.clone() };
        if let Some(held) = &mut self.manifest.first {
            held.say(head.encode().into());
        }
        let notes = std::mem::take(&mut self.payloads.notes);
        match self.put_held_head() {
            Ok(()) => {
                self.manifest.head = head;
                self.take_in_head(PendingHead { next, notes, in_doubt: false });
                Ok(Commit::Done(0))
            }
            Err(e) => {
                if self.manifest.holds_first() {
                    self.take_back(notes);
                    self.checkpoint_rollback();
                }
                Err(e)
            }
        }
    }

    /// Sees to it that the head is this writer's, and says that there may be intents: builds that do not know them refuse the container.
    /// From then on whoever puts a head over it is found out.
    ///
    /// # Errors
    /// `Conflict` if others have put a head, or many writers have come meanwhile, who would have to see what changed; those of the store.
    pub(super) fn announce_intents(&mut self) -> Result<()> {
        if self.manifest.holds_first() {
            return Ok(());
        }
        self.await_first_head()?;
        let head = &self.manifest.head;
        if !head.intents || head.fencing_token != self.manifest.fencing_token {
            self.put_head(Head { intents: true, ..head.clone() })?;
        }
        if self.manifest.etag.is_none() {
            self.check_head()?;
        }
        let is_own = self.manifest.head.fencing_token == self.manifest.fencing_token;
        if !is_own || self.manifest.etag.is_none() || self.manifest.is_after_many_writers {
            return Err(Error::new(&self.target, ErrorKind::Conflict));
        }
        Ok(())
    }

    /// Sees to it that the log has an intent of this version.
    fn put_intent(&mut self, version: u64) -> Result<()> {
        let intent = match self.intent.take().filter(|intent| intent.version == version) {
            Some(intent) => intent,
            None => self.new_intent(version),
        };
        if intent.is_there {
            self.intent = Some(intent);
            return Ok(());
        }
        let (nonce, bytes) = (intent.nonce, intent.bytes.clone());
        match self.create_log(version, nonce, bytes) {
            CreateOutcome::Ours => {
                self.intent = Some(Intent { is_there: true, ..intent });
                Ok(())
            }
            CreateOutcome::Others => {
                self.overtaken = true;
                Err(Error::new(&self.target, ErrorKind::Conflict))
            }
            // What is not there keeps no number.
            CreateOutcome::Failed(e) if !intent.in_doubt => Err(e),
            CreateOutcome::Failed(e) | CreateOutcome::Unknown(e) => {
                self.intent = Some(Intent { in_doubt: true, ..intent });
                Err(e)
            }
        }
    }

    fn new_intent(&mut self, version: u64) -> Intent {
        let (nonce, time) = (self.nonces.next(), self.present().max(self.last_time + 1));
        let header = Header { is_intent: true, ..Header::of_now(version, nonce, time) };
        let notes = UsageDelta::default().encode();
        let bytes = log_object(&header, &notes, &self.payloads.inline, &NO_ENTRIES).into();
        Intent { version, nonce, bytes, is_there: false, in_doubt: false }
    }

    /// Puts the head of the commit that is pending, and finds out what became of it.
    pub(super) fn settle_head(&mut self) -> Result<Commit> {
        let Some(mut p) = self.pending_head.take() else {
            return Err(Error::invalid(&self.target, "no commit is pending"));
        };
        let error = match self.try_head(p.next.head.clone()) {
            Ok(Ok(())) => {
                self.take_in_head(p);
                return Ok(Commit::Done(0));
            }
            Ok(Err(e)) if e.kind() == object_stores::ErrorKind::PreconditionFailed => {
                return self.settle_overtaken(p);
            }
            Ok(Err(e)) if !p.in_doubt && !e.kind().is_ambiguous() => {
                self.take_back(p.notes);
                self.forget_base(&p.next);
                return Err(self.fail(&e));
            }
            Ok(Err(e)) => self.fail(&e),
            Err(e) => e,
        };
        p.in_doubt = true;
        self.pending_head = Some(p);
        Ok(Commit::InDoubt(error))
    }

    /// What became of a commit in the place of whose head another is. A try may have had its effect before that one came.
    fn settle_overtaken(&mut self, p: PendingHead) -> Result<Commit> {
        let made = p.next.head.base;
        let there = match self.head_there() {
            Ok(there) => there,
            // Nobody can tell yet.
            Err(e) => {
                self.pending_head = Some(PendingHead { in_doubt: true, ..p });
                return Ok(Commit::InDoubt(e));
            }
        };
        self.overtaken = true;
        match there.filter(|head| head.fixed.id == self.manifest.head.fixed.id).map(|head| head.base) {
            Some(base) if base == made => {
                self.take_in_head(p);
                Ok(Commit::Done(0))
            }
            Some(base) if base.version < made.version => {
                self.take_back(p.notes);
                Err(Error::new(&self.target, ErrorKind::Conflict))
            }
            _ => {
                let why = "another writer came while it was not known whether a commit was made; open the container again and \
                           look";
                Err(Error::new(&self.target, ErrorKind::Broken { why: why.into() }))
            }
        }
    }

    /// Lets go of what was written for a base whose head was refused. It is deleted behind the next head: an earlier try of the store's
    /// client may arrive until then.
    fn forget_base(&mut self, next: &NextBase) {
        self.checkpoint_rollback();
        let written = [next.head.table, next.head.history].into_iter().flatten().map(|p| p.place.location);
        self.refused.extend(written);
    }

    /// Another head of this writer is there: what refused ones named can go.
    pub(super) fn delete_refused(&mut self) {
        let refused = std::mem::take(&mut self.refused);
        self.delete(&refused);
    }

    /// The head is there: its version is the newest, and its base.
    fn take_in_head(&mut self, PendingHead { next, notes, .. }: PendingHead) {
        self.forget_freed(&notes);
        self.version = next.head.base.version;
        self.intent = None;
        self.wrote = true;
        self.forget_since();
        self.payloads.inline.clear();
        self.payloads.inline_gaps.clear();
        self.take_in_base(next);
    }
}
