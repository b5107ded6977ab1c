//! Merges attributes that both sides changed.

use super::{Settle, ThreeWay};
use crate::container::State;
use crate::{Container, OnConflict, Result};
use bytes::Bytes;
use h5lake_ledger::Extent;
use h5lake_records::conversion::show;
use h5lake_records::keys;
use h5lake_records::record::{self, AttributeRecord, decode_extents};

fn decode(value: &Option<Bytes>) -> Result<Option<AttributeRecord>> {
    let what = || "an attribute that two writers changed".to_owned();
    value.as_ref().map(|v| record::decode(v.clone(), what)).transpose()
}

fn extents(r: &Option<AttributeRecord>) -> Result<Vec<Extent>> {
    decode_extents(r.iter().flat_map(|r| &r.extents))
}

/// Returns whether two records are equal except for the creation order: with the same payloads.
fn is_same_record(a: &Option<AttributeRecord>, b: &Option<AttributeRecord>) -> bool {
    let form = |r: &Option<AttributeRecord>| r.clone().map(|r| AttributeRecord { creation_order: 0, ..r });
    form(a) == form(b)
}

fn committed(r: &Option<AttributeRecord>) -> Option<u64> {
    r.as_ref()?.datatype.as_ref()?.committed
}

impl Container {
    /// Merges an attribute. If both writers stored the same content, or both removed the same attribute, they agree; otherwise
    /// the first writer wins. If the other writers left the state of the base, whatever they changed in between, this writer's
    /// change applies.
    pub(super) fn merge_attribute(&self, s: &mut State, c: ThreeWay) -> Result<()> {
        let [base, theirs, ours] = [decode(&c.base)?, decode(&c.theirs)?, decode(&c.ours)?];
        if self.merge_reference_list(s, &c, [&base, &theirs, &ours])? {
            return Ok(());
        }
        let id = keys::id(&c.key).unwrap_or_default();
        let is_unchanged = is_same_record(&base, &theirs);
        let is_moved_away = ours.is_none() && s.remote.batch.moved.contains(&c.key);
        // A removal depends on the value that it removes, and a writer that has read a value may have computed the new
        // value from it.
        let is_removal = base.is_some()
            && ours.is_none()
            && self.on_conflict == OnConflict::Fail
            && !s.remote.agrees_with_equals();
        // If the attribute is missing in the base, this writer has read only its own value.
        let is_read = base.is_some() && self.reads.has_name(&c.key);
        let is_stale = is_removal || is_moved_away || is_read;
        let same = !is_unchanged && !is_stale && self.same_attribute(s, &theirs, &ours)?;
        let keep_ours = is_unchanged || (!same && self.last_wins());
        let last = if keep_ours { &ours } else { &theirs };
        let links =
            [(committed(&theirs), -1), (committed(last), 1), (committed(&base), 1), (committed(&ours), -1)];
        let there = |r: &Option<AttributeRecord>| i64::from(r.is_some());
        let attributes = (there(last) - there(&theirs)) - (there(&ours) - there(&base));
        if !same && !is_unchanged && (!keep_ours || is_moved_away) {
            let long = [&ours, &theirs, &base].into_iter().flatten().map(|r| r.name.clone()).next();
            let name = keys::name(&c.key, long.as_deref().unwrap_or_default()).to_vec();
            let settle = if is_moved_away { Settle::MoveBack } else { Settle::Write };
            self.conflict(s, &c.key, id, format!(", attribute {},", show(&name)), settle);
            if s.remote.batch.moved.contains(&c.key) {
                self.conflict_is_whole(s);
            }
        }
        s.lists.forget(id);
        match keep_ours {
            true => self.replace_theirs(&base, &theirs, &ours)?,
            false => self.discard_attribute(&c.key, &base, &theirs, &ours)?,
        }
        // The counts change last, because all of this runs again after an error.
        for (t, count) in links {
            if let Some(t) = t {
                s.remote.fixes.entry(t).or_default().links += count;
            }
        }
        s.remote.fixes.entry(id).or_default().attributes += attributes;
        match keep_ours {
            true => self.ledger.merged(&c.key),
            // Both sides have moved the attribute in the same way.
            false if same => (),
            false => self.drop_moved(s, &c, &base)?,
        }
        Ok(())
    }

    /// Replaces the other writer's attribute by this writer's, and frees the payloads that the other writer added.
    pub(super) fn replace_theirs(
        &self,
        base: &Option<AttributeRecord>,
        theirs: &Option<AttributeRecord>,
        ours: &Option<AttributeRecord>,
    ) -> Result<()> {
        let (old, kept) = (extents(base)?, extents(ours)?);
        for e in extents(theirs)? {
            if !old.contains(&e) && !kept.contains(&e) {
                self.ledger.free_payload(&e)?;
            }
        }
        let left = extents(theirs)?;
        for e in old.iter().filter(|e| !left.contains(e) && !kept.contains(e)) {
            // The other writer has freed the extent, or an attribute of another name uses it.
            self.ledger.keep_payload(e)?;
        }
        Ok(())
    }

    /// Discards this writer's change of an attribute: frees the payloads that it added, and retains the payloads that
    /// it freed.
    fn discard_attribute(
        &self,
        key: &[u8],
        base: &Option<AttributeRecord>,
        theirs: &Option<AttributeRecord>,
        ours: &Option<AttributeRecord>,
    ) -> Result<()> {
        let (old, new, left) = (extents(base)?, extents(ours)?, extents(theirs)?);
        for e in old.iter().filter(|e| !new.contains(e)) {
            self.ledger.keep_payload(e)?;
        }
        // If the other writer renamed the attribute in the same way, its record refers to the same payloads.
        for e in new.iter().filter(|e| !old.contains(e) && !left.contains(e)) {
            self.ledger.free_payload(e)?;
        }
        self.ledger.unstage(key)?;
        Ok(())
    }

    /// Also discards the attribute at the new name if this writer renamed it, because the attribute would share
    /// payloads with the old name, which is retained.
    fn drop_moved(&self, s: &mut State, c: &ThreeWay, base: &Option<AttributeRecord>) -> Result<()> {
        let id = keys::id(&c.key).unwrap_or_default();
        let (Some(_), None) = (base, &c.ours) else { return Ok(()) };
        let old = extents(base)?;
        if old.is_empty() {
            return Ok(());
        }
        for (key, value) in self.ledger.staged(&keys::of(keys::ATTRIBUTE, id)) {
            let moved = decode(&value)?;
            if extents(&moved)?.iter().any(|e| old.contains(e)) {
                self.ledger.unstage(&key)?;
                s.remote.fixes.entry(id).or_default().attributes -= 1;
            }
        }
        Ok(())
    }

    fn same_attribute(
        &self,
        s: &mut State,
        a: &Option<AttributeRecord>,
        b: &Option<AttributeRecord>,
    ) -> Result<bool> {
        let (a, b) = match (a, b) {
            (None, None) => return Ok(true),
            (Some(a), Some(b)) => (a, b),
            _ => return Ok(false),
        };
        let form = |r: &AttributeRecord| AttributeRecord {
            creation_order: 0,
            inline: Bytes::new(),
            extents: Vec::new(),
            ..r.clone()
        };
        if form(a) != form(b) {
            return Ok(false);
        }
        let (x, y) = (self.attribute_value(a)?, self.attribute_value(b)?);
        if !a.datatype.as_ref().is_some_and(|t| t.has_heap) || x == y {
            return Ok(x == y);
        }
        self.same_blobs(s, a, x, y)
    }
}
