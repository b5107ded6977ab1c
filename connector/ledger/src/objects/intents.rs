//! Intents: log objects that keep their number for a commit that a head makes, because all of it is in pages.
//!
//! A head whose base is that version, or a later one, made the commit. A head of that version or a later one over an older base says
//! that the commit was not made and never will be: the intent is an empty version. Until either is there, the log ends before it.

use super::ObjectStorage;
use crate::error::{Error, ErrorKind, Result};
use crate::objects::manifest::{Head, put_over, read_head, single_writer_token, store_error};
use crate::objects::open::is_behind;

/// How often a head is put that others keep replacing.
const MAX_ATTEMPTS: u32 = 20;

impl ObjectStorage {
    /// For a writer that finds an intent behind the log: sees to it that it is known what became of the commit. Where no head made
    /// it, this one's keeps it from being made: its writer replaces the head that it knows, or none. False if a head made it.
    ///
    /// # Errors
    /// `Corrupt` if the log goes on behind it, and the head does not; `Conflict` if others put heads all the time; those of the store.
    pub(super) fn void_intent(&self, version: u64) -> Result<bool> {
        for _ in 0..MAX_ATTEMPTS {
            // Nobody makes that record before a head says what became of the intent.
            let is_followed = is_behind(self.store.as_ref(), &self.names, version, &self.target)?;
            let there = read_head(self.store.as_ref(), &self.names.head, &self.target)?;
            let (bytes, etag) = there.ok_or_else(|| self.gone())?;
            let head = Head::decode(&bytes, &self.target)?;
            if head.fixed.id != self.id {
                return Err(self.gone());
            }
            if head.version >= version {
                return Ok(head.base.version < version);
            }
            if is_followed {
                let why = format!(
                    "the log goes on behind version {version}, which a newer head has: this is a copy, made while a writer wrote;                      what it shows can be read, and a new copy be made"
                );
                return Err(Error::corrupt(&self.target, "head object", &why));
            }
            let token = match self.is_shared() {
                true => self.fencing_token,
                false => single_writer_token(self.fencing_token, Some(&head)),
            };
            let void = Head { version, ..head }.fenced_by(token);
            match put_over(self.store.as_ref(), &self.names.head, void.encode(), etag.as_ref()) {
                Ok(_) => return Ok(true),
                Err(e) if e.kind() == object_stores::ErrorKind::PreconditionFailed => (),
                Err(e) => return Err(store_error(&self.target, &e)),
            }
        }
        Err(Error::new(&self.target, ErrorKind::Conflict))
    }

    /// The same for one of many writers, to whom a commit by a head does not say what it changed. There is none behind what they know, as
    /// the head is theirs: this is of a single writer that has not seen them yet.
    pub(super) fn pass_intent(&self, version: u64) -> Result<()> {
        match self.void_intent(version)? {
            true => Ok(()),
            false => Err(Error::new(&self.target, ErrorKind::Conflict)),
        }
    }
}
