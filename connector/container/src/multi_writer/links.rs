//! Merges links that both sides changed.

use super::tree::hard;
use super::{Settle, ThreeWay};
use crate::container::State;
use crate::{Container, OnConflict, Result};
use bytes::Bytes;
use h5lake_records::conversion::show;
use h5lake_records::keys;
use h5lake_records::record::{self, LinkRecord};

fn decode(value: &Option<Bytes>) -> Result<Option<LinkRecord>> {
    let what = || "a link that two writers changed".to_owned();
    value.as_ref().map(|v| record::decode(v.clone(), what)).transpose()
}

/// Returns a link's name as it appears after its group in a message.
pub(super) fn named(name: &[u8]) -> String {
    format!(", link {},", show(name))
}

impl Container {
    /// Merges a link. If both writers made the same link, or both removed the same link, they agree; otherwise the first writer
    /// wins. If the other writers left the state of the base, whatever they changed in between, this writer's change applies: a
    /// name that other writers used and removed again is free.
    pub(super) fn merge_link(&self, s: &mut State, c: ThreeWay) -> Result<()> {
        let [base, theirs, ours] = [decode(&c.base)?, decode(&c.theirs)?, decode(&c.ours)?];
        let content = |r: &Option<LinkRecord>| r.clone().map(|r| LinkRecord { creation_order: None, ..r });
        // A removal depends on the link that it removes: two writers that remove or replace the same link do not agree.
        let is_removal =
            base.is_some() && self.on_conflict == OnConflict::Fail && !s.remote.agrees_with_equals();
        let is_moved_away = ours.is_none() && s.remote.batch.moved.contains(&c.key);
        let same = content(&theirs) == content(&ours) && !is_removal && !is_moved_away;
        let group = keys::id(&c.key).unwrap_or_default();
        let is_unchanged = content(&theirs) == content(&base);
        let keep_ours = is_unchanged || (!same && self.last_wins());
        let last = if keep_ours { &ours } else { &theirs };
        // This writer's counts in headers describe the change from the base, but the change is applied to the other
        // writer's state.
        let target = |r: &Option<LinkRecord>| r.as_ref().and_then(|r| r.hard);
        for (link, count) in
            [(target(&theirs), -1), (target(last), 1), (target(&base), 1), (target(&ours), -1)]
        {
            if let Some(id) = link {
                s.remote.fixes.entry(id).or_default().links += count;
            }
        }
        let there = |r: &Option<LinkRecord>| i64::from(r.is_some());
        s.remote.fixes.entry(group).or_default().entries +=
            (there(last) - there(&theirs)) - (there(&ours) - there(&base));
        if !same && !is_unchanged {
            self.note_overruled(s, &c.key, target(&theirs), target(&ours));
            let long = [&ours, &theirs, &base].into_iter().flatten().map(|r| r.name.clone()).next();
            let name = keys::name(&c.key, long.as_deref().unwrap_or_default()).to_vec();
            if !self.last_wins() || is_moved_away {
                let settle = if is_moved_away { Settle::MoveBack } else { Settle::Rename };
                self.conflict(s, &c.key, group, named(&name), settle);
                let is_half = s.remote.batch.moved.contains(&c.key)
                    || self.is_linked_anew(s, &c.key, c.ours.as_ref())?;
                if is_half {
                    self.conflict_is_whole(s);
                }
            }
        }
        match keep_ours {
            true => self.ledger.merged(&c.key),
            false => self.ledger.unstage(&c.key)?,
        }
        s.lists.forget(group);
        Ok(())
    }

    /// Notes a link of the other writer that this merge rejects, or would reject if this writer won: its target may
    /// lose its last link.
    fn note_overruled(&self, s: &mut State, key: &Bytes, theirs: Option<u64>, ours: Option<u64>) {
        let may_count = self.last_wins() || s.remote.branch.is_some();
        if let Some(id) = theirs.filter(|_| may_count && theirs != ours) {
            s.remote.overruled.entry(id).or_default().insert(key.clone());
        }
    }

    /// Returns whether a changed link is one half of a move in this batch, in which an object loses one link and gets
    /// another.
    pub(super) fn is_linked_anew(&self, s: &mut State, key: &[u8], ours: Option<&Bytes>) -> Result<bool> {
        if key.first() != Some(&keys::LINK) {
            return Ok(false);
        }
        if let Some(id) = hard(ours)? {
            return Ok(s.remote.batch.unlinked.contains(&id));
        }
        let Some(id) = hard(self.ledger.base(key)?.as_ref())? else { return Ok(false) };
        Ok(!self.staged_links_to(s, id)?.is_empty())
    }
}
