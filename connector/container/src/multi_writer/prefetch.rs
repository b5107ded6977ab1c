//! Fetches the blocks that a merge reads from a store, many blocks in one request.
//!
//! A merged block is read in three states. In a remote store each state takes a request. If the processes of a program write parts of the
//! same thousands of small chunks, they would wait for these requests one after another.

use super::ThreeWay;
use crate::chunk::block_store::decoded;
use crate::chunk::fragments::Fragments;
use crate::chunk::layout::BlockLayout;
use crate::container::State;
use crate::{Container, Result};
use bytes::Bytes;
use h5lake_records::keys;
use std::collections::HashMap;
use std::sync::Arc;

/// Maximum number of stored bytes that are fetched together, unless a single block has more. They stay in memory until
/// its blocks are merged.
const MAX_FETCHED_BYTES: u64 = 8 << 20;
/// Maximum number of blocks that are fetched together, whatever their length.
const MAX_FETCHED_BLOCKS: usize = 1 << 12;

/// The fetched content of block states, by their records. The bytes that a record in use refers to do not change.
pub(super) type Fetched = Arc<HashMap<Bytes, Fragments>>;

/// The key of a block that both sides changed, and its base record.
type Contest = (Bytes, Option<Bytes>);

/// Blocks that are merged together, and their fetched states.
#[derive(Default)]
struct Share {
    contests: Vec<Contest>,
    states: HashMap<Bytes, Fragments>,
    bytes: u64,
}

impl Share {
    fn is_full(&self) -> bool {
        self.bytes >= MAX_FETCHED_BYTES || self.contests.len() >= MAX_FETCHED_BLOCKS
    }
}

impl Container {
    /// Merges the blocks that both sides changed.
    pub(super) fn merge_blocks(&self, s: &mut State) -> Result<()> {
        let mut contests = self.ledger.unmerged_under(&[keys::BLOCK]).into_iter();
        loop {
            let share = self.next_share(s, &mut contests)?;
            if share.contests.is_empty() {
                return Ok(());
            }
            s.remote.fetched = Arc::new(share.states);
            let merged = share.contests.into_iter().try_for_each(|(key, base)| {
                let (theirs, ours) = (self.ledger.committed(&key)?, self.ledger.get(&key)?);
                self.merge_block(s, ThreeWay { key, base, theirs, ours })
            });
            s.remote.fetched = Fetched::default();
            merged?;
        }
    }

    /// Returns the next blocks, with their states that are in a store.
    fn next_share(&self, s: &mut State, contests: &mut impl Iterator<Item = Contest>) -> Result<Share> {
        let (mut share, mut shapes) = (Share::default(), HashMap::new());
        while !share.is_full() {
            let Some(contest) = contests.next() else { break };
            if self.ledger.is_remote() {
                self.want(s, &mut share, &mut shapes, &contest)?;
            }
            share.contests.push(contest);
        }
        Fragments::fetch(&self.ledger, share.states.values_mut(), Vec::new())?;
        Ok(share)
    }

    /// Adds the states of a block to those to be fetched. `shapes` caches the layouts of datasets.
    fn want(
        &self,
        s: &mut State,
        share: &mut Share,
        shapes: &mut HashMap<u64, Arc<BlockLayout>>,
        (key, base): &Contest,
    ) -> Result<()> {
        let Some(ours) = self.ledger.get(key)? else { return Ok(()) };
        let id = keys::id(key).unwrap_or_default();
        let shape = match shapes.get(&id) {
            Some(known) => known,
            None => shapes.entry(id).or_insert(self.known(s, id)?.shape),
        };
        for record in [base.clone(), self.ledger.committed(key)?, Some(ours)].into_iter().flatten() {
            if share.states.contains_key(&record) {
                continue;
            }
            let found = decoded(Some(record.clone()), key, shape)?;
            let far = found.far_bytes();
            if far > 0 {
                share.bytes = share.bytes.saturating_add(far);
                share.states.insert(record, found);
            }
        }
        Ok(())
    }
}
