//! Pages that are put before their commit: what is staged and takes too much memory.

use object_stores::{Condition, Key};

use super::ObjectWriter;
use crate::address::Location;
use crate::error::Result;

impl ObjectWriter {
    /// Whether pages may be put for a coming commit, which a head has to make then: not where the store would put a late head over
    /// another's, nor where puts arrive later than they are made. Many writers have to see in records what others changed: not where
    /// there are many, or were, of which one may still have the container open. While a commit is in doubt, its pages stay as they are.
    fn spills(&self) -> bool {
        !self.shared
            && !self.manifest.is_after_many_writers
            && !self.is_pending()
            && self.store.stage().is_none()
            && self.store.honours(Condition::Create)
            && self.store.honours(Condition::Update)
    }

    /// Before the first page is put for a coming commit, and whether one may be: the head is this writer's from then on, so whoever
    /// deletes what nobody names is found out. What a head needs is there to be read.
    ///
    /// # Errors
    /// Those of that. Nothing is put then, and the commit can be a record.
    pub(crate) fn begin_spill(&mut self) -> Result<bool> {
        if !self.spills() {
            return Ok(false);
        }
        self.announce_intents()?;
        self.load()?;
        self.known_history()?;
        Ok(true)
    }

    /// Puts the pages that were written since the last call. The coming commit counts the room that they take, and what they give back.
    /// Returns their bytes. After an error nothing has changed.
    pub(crate) fn checkpoint_keep(&mut self) -> Result<u64> {
        self.finish_pages()?;
        let gained = std::mem::take(&mut self.checkpoint.gained);
        let bytes = gained.iter().map(|(_, bytes)| bytes).sum();
        gained.into_iter().for_each(|(location, bytes)| self.gain(location, bytes));
        for place in std::mem::take(&mut self.checkpoint.freed) {
            match self.payloads.notes.gained.get_mut(&place.location) {
                Some(live) => *live = live.saturating_sub(place.length),
                None => self.payloads.notes.freed.push(place),
            }
        }
        self.delete_replaced_pages();
        Ok(bytes)
    }

    /// Deletes objects with pages that later ones have replaced before a commit: nobody else knows them.
    fn delete_replaced_pages(&mut self) {
        let gained = &mut self.payloads.notes.gained;
        let is_dead = |location: &Location, live: u64| matches!(location, Location::Page(_)) && live == 0;
        let dead: Vec<Location> =
            gained.iter().filter(|(location, live)| is_dead(location, **live)).map(|(l, _)| *l).collect();
        gained.retain(|location, live| !is_dead(location, *live));
        let keys: Vec<Key> =
            dead.iter().filter_map(|l| self.names.object_key(l, &self.target).ok()).collect();
        if !keys.is_empty() {
            let _garbage_at_worst = self.store.delete_many(&keys);
        }
    }
}
