//! The commit of a collective flush: the processes of an MPI program commit their changes as one version.
//!
//! All processes have staged the same structure, and each has staged the elements that it wrote. Every process but the
//! first offers its elements: their payloads are durable, and their entries go to the first process in a message. The
//! first process stages the entries as if it had written the elements itself, and commits them together with the
//! structure and its own elements. So the version contains the changes of all processes, or does not exist.

use crate::chunk::cache::BlockPart;
use crate::chunk::range_set::RangeSet;
use crate::container::State;
use crate::multi_writer::conflict::Settle;
use crate::multi_writer::is_wanted;
use crate::multi_writer::parts::write_part;
use crate::{Container, Error, ErrorKind, ObjectId, Result};
use bytes::Bytes;
use h5lake_filters::unlocked::without_locks;
use h5lake_ledger::{CommitLock, Extent, OfferedChange, Settled};
use h5lake_records::extents_of;
use h5lake_records::keys;
use prost::Message;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;

/// The elements that one process has staged, as the first process receives them.
#[derive(Clone, PartialEq, Message)]
struct Offer {
    #[prost(message, repeated, tag = "1")]
    blocks: Vec<OfferedBlock>,
}

/// One block of an offer.
#[derive(Clone, PartialEq, Message)]
struct OfferedBlock {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
    /// The digest of the committed value from which the block was made.
    #[prost(fixed64, tag = "3")]
    base: u64,
    /// The start and the end of each range of bytes that the process wrote.
    #[prost(uint64, repeated, tag = "4")]
    spans: Vec<u64>,
    /// True if the object has no link, or does not exist, in the offering process.
    #[prost(bool, tag = "5")]
    is_unlinked: bool,
}

impl OfferedBlock {
    fn id(&self) -> Result<u64> {
        let id = keys::id(&self.key).filter(|_| self.key.first() == Some(&keys::BLOCK));
        id.ok_or_else(|| Error::corrupt("another process of the MPI program offers what is no block"))
    }

    fn spans(&self) -> Result<RangeSet> {
        let number = |n: u64| usize::try_from(n).ok();
        let range = |pair: &[u64; 2]| Some(number(pair[0])?..number(pair[1])?).filter(|r| r.start < r.end);
        let (pairs, left) = self.spans.as_chunks::<2>();
        let ranges: Option<RangeSet> = pairs.iter().map(range).collect();
        ranges.filter(|_| left.is_empty()).ok_or_else(|| {
            Error::corrupt("another process of the MPI program offers ranges that do not exist")
        })
    }
}

/// Returns a digest that tells whether two processes have the same committed value.
fn digest(value: Option<&Bytes>) -> u64 {
    let Some(value) = value else { return 0 };
    let mut hasher = DefaultHasher::new();
    hasher.write(value);
    hasher.finish().max(1)
}

fn extents(key: &[u8], value: Option<&Bytes>) -> Result<Vec<Extent>> {
    value.map_or_else(|| Ok(Vec::new()), |value| extents_of(key, value.clone()))
}

impl Container {
    /// Makes the elements that this process wrote as durable as a commit would, and returns the message with which
    /// [`flush_for_all`](Self::flush_for_all) commits them in the first process. Nothing is committed here.
    /// [`settle_offer`](Self::settle_offer) follows if the first process has committed, and
    /// [`withdraw_offer`](Self::withdraw_offer) if it has not. Until then this process commits nothing, and changes stay
    /// in memory.
    ///
    /// # Errors
    /// Those of staging: of a store, a full disk, a filter.
    pub fn offer_elements(&self) -> Result<Vec<u8>> {
        without_locks(|| {
            let mut state = self.state();
            let s = &mut *state;
            self.stage_all(s)?;
            let unlinked = self.unlinked_with_elements(s)?;
            let mut offer = Offer::default();
            for (key, value) in self.ledger.staged(&[keys::BLOCK]) {
                let Some(value) = value else { continue };
                let base = digest(self.ledger.base(&key)?.as_ref());
                let spans = self.blocks.lock().touched(&key);
                let spans = spans.iter().flat_map(|r| [r.start as u64, r.end as u64]).collect();
                let is_unlinked = keys::id(&key).is_some_and(|id| unlinked.contains(&id));
                offer.blocks.push(OfferedBlock { key, value, base, spans, is_unlinked });
            }
            self.ledger.offer_payloads()?;
            Ok(offer.encode_to_vec())
        })
    }

    /// Keeps other programs from committing, and from reserving space in a file, as long as the result lives. In an
    /// object store it has no effect.
    ///
    /// # Errors
    /// `Busy` if another writer holds the file for a minute.
    pub fn hold_commits(&self) -> Result<CommitLock<'_>> {
        Ok(self.ledger.lock_commits()?)
    }

    /// Commits the changes of this process and those that the other processes [offer](Self::offer_elements), as one
    /// version. The first process calls it when each process has made the same changes to the structure. The inner
    /// result is what a commit that was made reports: a conflict with another program, or an error that followed the
    /// commit.
    ///
    /// # Errors
    /// Those of a flush that has committed nothing. If the outcome of the commit is known, offered elements are not
    /// staged here after an error.
    pub fn flush_for_all(&self, offers: &[Vec<u8>]) -> Result<Result<()>> {
        if !self.ledger.is_shared() {
            return self.flush().map(Ok);
        }
        let mut is_made = false;
        let flushed = self.flush_with(|| {
            let mut accepted = Vec::new();
            let staged = without_locks(|| self.accept_offers(offers, &mut accepted));
            let done = staged.and_then(|()| self.commit_batch());
            is_made = done.is_ok();
            if !is_made {
                self.state().remote.accepted = accepted;
                if !self.ledger.is_outcome_unknown() {
                    without_locks(|| self.return_offers())?;
                }
            }
            done.flatten()
        });
        if is_made { Ok(flushed) } else { flushed.map(Ok) }
    }

    /// Returns whether the outcome of the last commit is unknown.
    pub fn is_outcome_unknown(&self) -> bool {
        self.ledger.is_outcome_unknown()
    }

    /// Determines whether a [flush of all processes](Self::flush_for_all) with an unknown outcome was committed. If it
    /// was not, offered elements are not staged here any more.
    ///
    /// # Errors
    /// Those of a flush, if the outcome stays unknown.
    pub fn settle_flush(&self) -> Result<bool> {
        without_locks(|| {
            let is_committed = self.ledger.settle_commit()? != Some(Settled::NotCommitted);
            match is_committed {
                true => self.state().remote.accepted.clear(),
                false => self.return_offers()?,
            }
            Ok(is_committed)
        })
    }

    fn accept_offers(&self, offers: &[Vec<u8>], accepted: &mut Vec<Bytes>) -> Result<()> {
        let mut state = self.state();
        let s = &mut *state;
        self.stage_all(s)?;
        self.learn(s, false)?;
        for offer in offers {
            let offer = Offer::decode(&offer[..])
                .map_err(|_| Error::corrupt("a message of another process of the MPI program"))?;
            for block in offer.blocks {
                self.accept_block(s, block, accepted)?;
            }
        }
        Ok(())
    }

    fn accept_block(&self, s: &mut State, block: OfferedBlock, accepted: &mut Vec<Bytes>) -> Result<()> {
        let (id, spans) = (block.id()?, block.spans()?);
        let committed = self.ledger.committed(&block.key)?;
        let is_staged = self.ledger.is_staged(&block.key);
        // An earlier flush failed in some process after this one had staged or committed the block.
        let is_here = match is_staged {
            true => self.ledger.get(&block.key)?.as_ref() == Some(&block.value),
            false => committed.as_ref() == Some(&block.value),
        };
        if is_here || !self.accepts_elements_of(s, id, &block)? {
            return Ok(());
        }
        if is_staged || self.blocks.lock().is_dirty(&block.key) || digest(committed.as_ref()) != block.base {
            return self.accept_spans(s, id, &block, &spans);
        }
        let (old, new) = (extents(&block.key, committed.as_ref())?, extents(&block.key, Some(&block.value))?);
        self.ledger.prepare_to_free(&old)?;
        new.iter().filter(|e| !old.contains(e)).try_for_each(|e| self.ledger.accept_payload(e))?;
        self.ledger.put(&block.key, block.value)?;
        accepted.push(block.key.clone());
        old.iter().filter(|e| !new.contains(e)).try_for_each(|e| self.ledger.free_payload(e))?;
        let mut blocks = self.blocks.lock();
        blocks.supersede(&block.key);
        blocks.set_touched(&block.key, spans);
        Ok(())
    }

    /// Returns whether offered elements belong to an object. Elements of an object that the program itself deleted are
    /// dropped; if another program deleted it, that is a conflict.
    fn accepts_elements_of(&self, s: &mut State, id: u64, block: &OfferedBlock) -> Result<bool> {
        match self.header(s, ObjectId(id)) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let header = Bytes::from(keys::of(keys::HEADER, id));
                // The merge reports the deletion of an object for which something is staged.
                let is_new = s.remote.theirs.contains_key(&header);
                if !block.is_unlinked && !is_new {
                    self.conflict(s, &header, id, ", which was deleted,".into(), Settle::Delete);
                }
                Ok(!block.is_unlinked && is_new)
            }
            Err(e) => Err(e),
        }
    }

    /// Writes the offered bytes over the block of this process, which differs from the one that the offering process
    /// changed.
    fn accept_spans(&self, s: &mut State, id: u64, block: &OfferedBlock, spans: &RangeSet) -> Result<()> {
        let known = self.known(s, id)?;
        let value = Some(block.value.clone());
        let whole = self.with_foreign(s, id, &known, || self.load_block(&known, &block.key, &value))?;
        let spans: Vec<Range<usize>> = match spans.is_empty() {
            true => std::iter::once(0..whole.len()).collect(),
            false => spans.iter().collect(),
        };
        let is_in = spans.iter().all(|r| r.end <= whole.len());
        let bytes =
            if is_in { spans.iter().flat_map(|r| &whole[r.clone()]).copied().collect() } else { Vec::new() };
        let part = BlockPart { spans, bytes };
        self.with_foreign(s, id, &known, || write_part(self, &block.key, &known.shape, &part))
    }

    /// Unstages offered elements after the commit failed. The offering processes have them.
    fn return_offers(&self) -> Result<()> {
        let accepted = std::mem::take(&mut self.state().remote.accepted);
        for key in accepted.iter().filter(|key| self.ledger.is_staged(key)) {
            let (base, ours) = (self.ledger.base(key)?, self.ledger.get(key)?);
            self.unstage_offered(key, base.as_ref(), ours.as_ref(), &|_| true)?;
            self.blocks.lock().supersede(key);
        }
        Ok(())
    }

    /// Unstages an offered value, and undoes what staging it in place of `base` did to payloads. `is_named` tells which
    /// payloads stay, because another writer's commit names them, or may name them.
    fn unstage_offered(
        &self,
        key: &[u8],
        base: Option<&Bytes>,
        offered: Option<&Bytes>,
        is_named: &dyn Fn(&Extent) -> bool,
    ) -> Result<()> {
        let (old, new) = (extents(key, base)?, extents(key, offered)?);
        new.iter()
            .filter(|e| !old.contains(e))
            .try_for_each(|e| self.ledger.disown_payload(e, is_named(e)))?;
        old.iter().filter(|e| !new.contains(e)).try_for_each(|e| self.ledger.keep_payload(e))?;
        self.ledger.unstage(key)?;
        self.blocks.lock().set_touched(key, RangeSet::default());
        Ok(())
    }

    /// Tries again to [settle](Self::settle_offer) an offer that is known to be committed. Otherwise it does nothing.
    ///
    /// # Errors
    /// Those of reading remote commits.
    pub fn settle_known_offer(&self) -> Result<()> {
        let is_committed = self.ledger.has_offer() && self.state().remote.is_offer_committed;
        if is_committed { self.settle_offer() } else { Ok(()) }
    }

    /// Returns whether this process has offered elements and has neither settled nor withdrawn the offer.
    pub fn has_offer(&self) -> bool {
        self.ledger.has_offer()
    }

    /// Ends an offer of elements that the first process has not committed. They stay staged here.
    ///
    /// # Errors
    /// Those of a lost container.
    pub fn withdraw_offer(&self) -> Result<()> {
        Ok(self.ledger.withdraw_offer()?)
    }

    /// Moves this process to the version in which the first process committed the offered elements, and forgets all
    /// staged changes: that version contains them. Does nothing without an offer.
    ///
    /// # Errors
    /// Those of reading remote commits. Until they are read the offer stays open, and another call tries again.
    pub fn settle_offer(&self) -> Result<()> {
        without_locks(|| {
            let mut state = self.state();
            let s = &mut *state;
            if !self.ledger.has_offer() {
                return Ok(());
            }
            s.remote.is_offer_committed = true;
            let mut changes = self.ledger.advance_offering(&is_wanted)?;
            let offered = self.ledger.offered_changes();
            // Cached elements of this process stay if they are committed as they were offered.
            let same = offered.iter().flatten().filter(|change| change.offered == change.committed);
            let same: HashSet<&Bytes> = same.map(|change| &change.key).collect();
            changes.retain(|c| !same.contains(&c.key));
            // Even if the offered values could not be read: this handle has moved, and reports each change once.
            self.note_changes(s, changes);
            let offered = offered?;
            self.ledger.conclude_offer()?;
            s.remote.is_offer_committed = false;
            offered.into_iter().try_for_each(|change| self.end_offer_of(change))?;
            self.ledger.end_offer()?;
            s.headers.clear();
            s.lists.forget_all();
            s.heap.forget_all();
            // The first process deletes the objects without links.
            self.handles.closed.lock().clear();
            let _the_caller_knows_the_outcome = self.ledger.take_settled();
            self.begin_batch(s);
            s.remote.forget_unmerged();
            self.reload_changed(state)
        })
    }

    /// Unstages an offered change after the commit of the first process. That process may have merged the change with
    /// those of other processes, so the committed value says which payloads of this process are in use.
    fn end_offer_of(&self, change: OfferedChange) -> Result<()> {
        let OfferedChange { key, base, offered, committed } = change;
        let in_use = extents(&key, committed.as_ref())?;
        let is_named = |e: &Extent| in_use.iter().any(|used| used.is_same_payload(e));
        self.unstage_offered(&key, base.as_ref(), offered.as_ref(), &is_named)?;
        if offered != committed {
            self.blocks.lock().supersede(&key);
        }
        Ok(())
    }
}
