//! Eviction: which blocks leave the cache, and when dirty blocks are stored.

use h5lake_ledger::Ledger;

use super::{BlockCache, ENTRY_OVERHEAD_BYTES};
use crate::Result;
use crate::chunk::layout::BlockLayout;
use h5lake_filters::unlocked;

impl BlockCache {
    /// Evicts blocks until a block of this layout fits.
    pub(crate) fn make_space_for(&mut self, ledger: &Ledger, shape: &BlockLayout) -> Result<()> {
        self.make_space(ledger, shape.len + ENTRY_OVERHEAD_BYTES)
    }

    /// Returns the keys of the blocks, least recently used first.
    fn by_use(&self) -> impl Iterator<Item = Vec<u8>> + use<> {
        let mut by_use: Vec<_> = self.blocks.iter().map(|(k, c)| (c.used, k.clone())).collect();
        by_use.sort_unstable();
        by_use.into_iter().map(|(_, key)| key)
    }

    /// Drops blocks without changes, least recently used first, until at most `keep` bytes are held.
    pub(crate) fn give_back(&mut self, keep: usize) {
        if self.claim.bytes() <= keep {
            return;
        }
        for key in self.by_use() {
            if self.claim.bytes() <= keep {
                break;
            }
            if !self.dirty.contains(&key) {
                self.remove(&key);
            }
        }
    }

    /// Evicts the least recently used blocks until `more` bytes fit and a quarter of the cache is free besides.
    pub(super) fn make_space(&mut self, ledger: &Ledger, more: usize) -> Result<()> {
        if let Some(bound) = self.claim.clean_bound(more) {
            self.give_back(bound / 4 * 3);
        }
        let excess = self.claim.excess(more);
        if excess == 0 {
            return Ok(());
        }
        let enough = (self.claim.bytes() + more).saturating_sub(excess) / 4 * 3;
        let (mut waiting, mut later) = (Ok(()), 0);
        for key in self.by_use() {
            if self.claim.bytes() + more <= enough + later {
                break;
            }
            if self.is_elsewhere(&key) || (self.needs_codec(&key) && !unlocked::can_wait()) {
                continue;
            }
            match self.store(ledger, &key) {
                Ok(()) => self.remove(&key),
                Err(e) if unlocked::is_waiting() => {
                    later += self.blocks.get(&key).map_or(0, |c| c.data.len() + ENTRY_OVERHEAD_BYTES);
                    waiting = Err(e);
                }
                failed => return failed,
            }
        }
        waiting
    }

    /// Stores blocks. Blocks that need foreign filters are requested together.
    fn store_all(&mut self, ledger: &Ledger, keys: &[Vec<u8>]) -> Result<()> {
        let mut waiting = Ok(());
        for key in keys {
            match self.store(ledger, key) {
                Ok(()) => (),
                Err(e) if unlocked::is_waiting() => waiting = Err(e),
                failed => return failed,
            }
        }
        waiting
    }

    /// Stores the dirty blocks under a prefix.
    pub(crate) fn flush(&mut self, ledger: &Ledger, prefix: &[u8]) -> Result<()> {
        let keys = self.dirty_keys(prefix);
        self.store_all(ledger, &keys)
    }

    /// Stores all dirty blocks, except those with filters that run only in another library: that library stores them,
    /// at the latest when it closes their dataset.
    pub(crate) fn flush_all(&mut self, ledger: &Ledger) -> Result<()> {
        let waits = |key: &Vec<u8>| self.touched.is_none() && self.is_elsewhere(key);
        let keys: Vec<_> = self.dirty.iter().filter(|key| !waits(key)).cloned().collect();
        self.store_all(ledger, &keys)
    }

    /// Returns whether a block has changes that only a lent codec can encode.
    fn needs_codec(&self, key: &[u8]) -> bool {
        let block = self.blocks.get(key).filter(|block| !block.dirty.is_empty());
        block.is_some_and(|block| block.shape.filters.is_foreign())
    }

    /// Returns whether a block has changes that only the filters of another library can encode.
    fn is_elsewhere(&self, key: &[u8]) -> bool {
        self.needs_codec(key)
            && self.blocks.get(key).is_some_and(|b| b.shape.filters.codecs().are_elsewhere())
    }

    pub(super) fn store(&mut self, ledger: &Ledger, key: &[u8]) -> Result<()> {
        if let Some(c) = self.blocks.get_mut(key)
            && !c.dirty.is_empty()
        {
            let before = c.data.len();
            let stored = c.store(ledger, key);
            self.claim.add(c.data.len() - before);
            stored?;
            c.dirty.clear();
            // From now on all readers see the stored content, which a lossy filter may have changed.
            if c.shape.filters.may_lose() {
                self.remove(key);
            }
        }
        self.dirty.remove(key);
        Ok(())
    }
}
