//! Offers: one writer stages changes, and another writer commits them as part of its own version. The processes of an MPI
//! program commit one collective flush in this way.
//!
//! The offering writer makes its payloads durable, and sends its staged keys and values to the committing writer. That
//! writer stages them, or merges them with what it has staged, and accepts their payloads. After the commit the offering
//! writer moves to the new version, and keeps the payloads that this version names.

use bytes::Bytes;

use crate::error::Result;
use crate::extent::Extent;
use crate::ledger::Ledger;
use crate::multi_writer::{EntryChange, Poll};

/// A staged change of a writer that has offered it.
#[derive(Debug)]
pub struct OfferedChange {
    /// The key.
    pub key: Bytes,
    /// The committed value when the change was staged.
    pub base: Option<Bytes>,
    /// The staged value; `None` for a delete.
    pub offered: Option<Bytes>,
    /// The committed value.
    pub committed: Option<Bytes>,
}

impl Ledger {
    /// Makes the payloads of this writer as durable as a commit would, so that the commit of another writer can name
    /// them. When this returns, they are where that writer can read them, and this writer stages and commits nothing
    /// until [`conclude_offer`](Ledger::conclude_offer) or [`withdraw_offer`](Ledger::withdraw_offer). So it is always
    /// known whether a payload that this writer replaces is committed.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`, `NoSpace`, `Io`, `Store`.
    pub fn offer_payloads(&self) -> Result<()> {
        let mut s = self.writable()?;
        let offered = self.storage().offer_payloads();
        if offered.is_err() {
            self.storage().end_offer()?;
        }
        s.has_offer = offered.is_ok();
        offered
    }

    /// Returns whether an offer is neither concluded nor withdrawn.
    pub fn has_offer(&self) -> bool {
        self.lock().has_offer
    }

    /// Ends an offer after the other writer's commit failed, and is known not to have taken effect. All changes stay
    /// staged. Without an offer, nothing happens.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`.
    pub fn withdraw_offer(&self) -> Result<()> {
        let mut s = self.offering()?;
        if std::mem::take(&mut s.has_offer) {
            self.storage().end_offer()?;
        }
        Ok(())
    }

    /// Lets the next commit of this writer name a payload that another writer has
    /// [offered](Ledger::offer_payloads).
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; `Corrupt` for a payload that cannot be an offered one.
    pub fn accept_payload(&self, e: &Extent) -> Result<()> {
        let _s = self.writable()?;
        if self.is_own_payload(e) { self.storage().accept_payload(e.place()) } else { Ok(()) }
    }

    /// Reverts [`accept_payload`](Ledger::accept_payload). In the writer that offered a payload, ends the offer of it: the
    /// payload stays if `is_named`, because another writer's commit names it, or may name it; otherwise its space is free.
    /// Does nothing with a payload that the next commit of this writer would not name.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`.
    pub fn disown_payload(&self, e: &Extent, is_named: bool) -> Result<()> {
        let _s = self.writable()?;
        if self.is_own_payload(e) { self.storage().disown_payload(e.place(), is_named) } else { Ok(()) }
    }

    /// Moves to the version that another writer has committed with the elements which this writer has offered, and
    /// reports the changes as [`advance`](Ledger::advance) does. The offer stays open, and so do all staged changes.
    ///
    /// # Errors
    /// As for [`advance`](Ledger::advance).
    pub fn advance_offering(&self, wanted: &dyn Fn(&[u8]) -> bool) -> Result<Vec<EntryChange>> {
        let mut s = self.offering()?;
        self.take_commits(&mut s, wanted, Poll::Newest)
    }

    /// Returns what this writer has staged, with the earlier values and with those that are committed now.
    ///
    /// # Errors
    /// Those of reading.
    pub fn offered_changes(&self) -> Result<Vec<OfferedChange>> {
        let change = |(key, offered): (Bytes, Option<Bytes>)| {
            let (base, committed) = (self.base(&key)?, self.committed(&key)?);
            Ok(OfferedChange { key, base, offered, committed })
        };
        self.staged(&[]).into_iter().map(change).collect()
    }

    /// Allows this writer to stage again, after it has moved to the version with the offered elements.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`.
    pub fn conclude_offer(&self) -> Result<()> {
        self.offering()?.has_offer = false;
        Ok(())
    }

    /// Forgets a [concluded](Ledger::conclude_offer) offer, once each payload of it is disowned.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`.
    pub fn end_offer(&self) -> Result<()> {
        let _s = self.writable()?;
        self.storage().end_offer()
    }

    /// Returns whether a payload takes space of this container that commits account for.
    fn is_own_payload(&self, e: &Extent) -> bool {
        !e.is_empty() && !e.is_in_source() && !self.is_of_base(e)
    }
}
