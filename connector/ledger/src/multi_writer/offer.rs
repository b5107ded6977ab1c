//! Offers: one writer stages changes, and another writer commits them as part of its own version. The processes of an MPI
//! program commit one collective flush in this way.
//!
//! The offering writer makes its payloads durable, and sends its staged keys and values to the committing writer. That
//! writer stages them, and accepts their payloads. After the commit the offering writer finds its values in the record.

use std::collections::HashMap;

use bytes::Bytes;

use crate::error::Result;
use crate::extent::Extent;
use crate::ledger::{Ledger, State};
use crate::memtable::Memtable;
use crate::wal::delta::StoredValue;

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
        self.storage().offer_payloads()?;
        s.has_offer = true;
        Ok(())
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

    /// Reverts [`accept_payload`](Ledger::accept_payload). In the writer that offered a payload, notes that another
    /// writer's commit names it.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`.
    pub fn disown_payload(&self, e: &Extent) -> Result<()> {
        let _s = self.writable()?;
        if self.is_own_payload(e) { self.storage().disown_payload(e.place()) } else { Ok(()) }
    }

    /// Forgets a [concluded](Ledger::conclude_offer) offer, once each payload of it is disowned or freed.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`.
    pub fn end_offer(&self) -> Result<()> {
        let _s = self.writable()?;
        self.storage().end_offer()
    }

    /// Ends an offer after the other writer's commit: reads the remote commits, and returns the staged keys and values that are the newest in them: another writer has
    /// committed these for this writer. The next [`advance`](Ledger::advance) unstages them.
    ///
    /// # Errors
    /// As for [`advance`](Ledger::advance).
    pub fn conclude_offer(&self) -> Result<Vec<(Bytes, Bytes)>> {
        let mut s = self.offering()?;
        self.settle(&mut s)?;
        if s.unseen_commits.is_none() {
            s.unseen_commits = self.storage().poll_commits(u64::MAX)?;
        }
        let (layer, version) = self.staged_in_remote_commits(&s)?;
        let keys =
            layer.iter().filter_map(|(key, value)| Some((self.shown_key(&key.to_bytes())?, value.clone()?)));
        let keys = keys.collect();
        s.joined = (!layer.is_empty()).then_some((layer, version));
        s.has_offer = false;
        Ok(keys)
    }

    /// Returns the staged values that remote commits contain as the newest value of their key, and the last version
    /// that put one of them.
    fn staged_in_remote_commits(&self, s: &State) -> Result<(Memtable, u64)> {
        let mut newest = HashMap::new();
        for record in s.unseen_commits.iter().flat_map(|c| c.skipped.iter().chain(&c.records)) {
            if record.header.version > s.version {
                let changes = record.changes().map_err(|why| self.damaged(why))?;
                newest.extend(changes.into_iter().map(|(key, value)| (key, (record.header.version, value))));
            }
        }
        let mut last = 0;
        let found = s.staged.iter().filter(|(key, value)| match newest.get(key.as_ref()) {
            Some((version, StoredValue::Put(put))) if value.as_ref() == Some(put) => {
                last = last.max(*version);
                true
            }
            _ => false,
        });
        let found = found.map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok((found, last))
    }

    /// Returns whether a payload takes space of this container that commits account for.
    fn is_own_payload(&self, e: &Extent) -> bool {
        !e.is_empty() && !e.is_in_source() && !self.is_of_base(e)
    }
}
