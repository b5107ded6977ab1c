//! Compaction: moves payloads out of sparsely used regions, so that their space can be freed.

use crate::chunk::fragments::Fragments;
use crate::container::State;
use crate::{Access, Container, ErrorKind, Options, Result, Target};
use bytes::Bytes;
use h5lake_ledger::ENTRIES_PER_SCAN;
use h5lake_ledger::{CompactionPlan, Extent, Ledger, LockPolicy, Writers};
use h5lake_records::record::{self, BlockRecord};
use h5lake_records::{EntryValue, keys};
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Interval at which a vacuum checks whether another writer has finished.
const WRITER_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum number of rounds of a vacuum. Payloads move, then pages, then the entries that refer to pages; the space
/// freed by each step is quarantined for a while. Two more rounds are for payloads that are in the way.
const MAX_ROUNDS: usize = 5;
/// Maximum number of rounds of a close. After many writers, each round makes the file only somewhat shorter, because
/// payloads that are in the way move first.
const MAX_ROUNDS_AT_CLOSE: usize = 24;
/// After [`MAX_ROUNDS`], each round has to shorten a file by one of this many parts, because each round reads all
/// pages.
const SHORTER_ROUND: u64 = 256;
/// Bytes that are moved between two commits.
const BYTES_PER_COMMIT: u64 = 64 << 20;
/// Minimum number of bytes that a close moves, if as many are worth moving. It moves as many as the session freed, if
/// that is more, so that a close takes about as long as the writes before it.
const BYTES_AT_CLOSE: u64 = 256 << 20;
/// Time for which a close moves payloads. Later closes and vacuums continue.
const TIME_AT_CLOSE: Duration = Duration::from_secs(30);
/// Bytes that a close moves in one round: the last ones of the file. Each round makes the file shorter, and reads all
/// entries.
const BYTES_PER_ROUND: u64 = 256 << 20;
/// Maximum number of rounds in which a close moves payloads, not counting rounds for payloads that are in the way.
const MOVING_ROUNDS: u64 = 8;

/// Maximum number of parts into which a payload is divided if no free run can hold all of it.
const MAX_PARTS: usize = 16;

/// Minimum number of bytes left by several writers for which the container is opened once more to compact it.
const MIN_LEFT_BYTES: u64 = 64 << 10;

/// The remaining effort of a compaction.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// Bytes that may still be moved.
    bytes: u64,
    /// Time at which to stop.
    until: Option<Instant>,
}

impl Effort {
    const ALL: Self = Self { bytes: u64::MAX, until: None };

    /// Returns the effort of a close.
    fn at_close(ledger: &Ledger) -> Self {
        let until = Instant::now().checked_add(TIME_AT_CLOSE);
        Self { bytes: ledger.freed_bytes().max(BYTES_AT_CLOSE), until }
    }

    fn is_spent(self) -> bool {
        self.bytes == 0 || self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Returns the part of the effort for one of several rounds.
    fn of_round(self) -> Self {
        Self { bytes: self.bytes.min(BYTES_PER_ROUND.max(self.bytes / MOVING_ROUNDS)), ..self }
    }

    fn spend(&mut self, moved: u64) {
        self.bytes = self.bytes.saturating_sub(moved);
    }
}

/// The function that commits moved payloads.
type CommitMoves = fn(&Ledger) -> h5lake_ledger::Result<u64>;

/// Commits moves without other changes. The content is unchanged, so a copy retains its replication position.
fn commit_unchanged(ledger: &Ledger) -> h5lake_ledger::Result<u64> {
    ledger.keep_origin()?;
    ledger.commit()
}

impl Container {
    /// Commits pending changes, moves payloads out of sparsely used regions, and frees the space that no version needs
    /// any more. Returns by how many bytes the container became smaller.
    ///
    /// Space that readers of older versions may need is freed later: after the retention time, and in a file only after
    /// two seconds have passed and the readers have released their pins. Another call then frees it.
    ///
    /// # Errors
    /// `ReadOnly`; those of the ledger. Changes that were committed are safe nevertheless.
    pub fn vacuum(&self) -> Result<u64> {
        self.vacuum_by(Ledger::commit)
    }

    fn vacuum_by(&self, commit: CommitMoves) -> Result<u64> {
        self.check_writable("unable to vacuum")?;
        let before = self.ledger.size()?;
        self.ledger.trust_clock();
        self.compact_by(&mut { Effort::ALL }, commit)?;
        self.ledger.vacuum()?;
        self.is_vacuumed.store(true, Ordering::Relaxed);
        Ok(before.saturating_sub(self.ledger.size()?))
    }

    /// Opens a container, vacuums it as [`vacuum`](Self::vacuum) does, and repeats that when quarantined space becomes
    /// free, waiting for `most` in total. Space that readers or the retention time need for longer stays. The container
    /// is open only during the work, so that other writers can write during the waits; if another writer still has it
    /// open then, the function waits for that writer, too.
    ///
    /// # Errors
    /// Those of the first [`open`](Self::open), and of [`vacuum`](Self::vacuum).
    pub fn vacuum_patiently(target: &Target, options: &Options, most: Duration) -> Result<u64> {
        let (mut freed, mut left, mut overtaken) = (0, most, None);
        let mut container = Self::open(target, Access::ReadWrite, options.clone())?;
        for _ in 0..=MAX_ROUNDS {
            // Another handle of this process could stage other changes together with the moves.
            let is_alone = Arc::strong_count(&container) == 1;
            let done = container.vacuum_by(if is_alone { commit_unchanged } else { Ledger::commit });
            let pause = match done {
                Ok(bytes) => {
                    (freed, overtaken) = (freed + bytes, None);
                    container.ledger.reclaim_delay()?.filter(|pause| *pause <= left)
                }
                // Another writer committed meanwhile. The next round sees that.
                Err(e) if e.kind() == ErrorKind::Conflict => {
                    overtaken = Some(e);
                    Some(WRITER_POLL_INTERVAL.min(left)).filter(|pause| *pause > Duration::ZERO)
                }
                Err(e) => return Err(e),
            };
            let Some(pause) = pause else { break };
            drop(container);
            container = match Self::reopened(target, options, pause, &mut left)? {
                Some(container) => container,
                None => break,
            };
        }
        overtaken.map_or(Ok(freed), Err)
    }

    /// Opens a container for writing after waiting for `pause`, and tries again while another writer has it open.
    /// Returns `None` if the time runs out before.
    fn reopened(
        target: &Target,
        options: &Options,
        mut pause: Duration,
        left: &mut Duration,
    ) -> Result<Option<Arc<Self>>> {
        loop {
            *left = left.saturating_sub(pause);
            std::thread::sleep(pause);
            match Self::open(target, Access::ReadWrite, options.clone()) {
                Err(e) if !matches!(e.kind(), ErrorKind::Locked | ErrorKind::Busy) => return Err(e),
                Err(_) if left.is_zero() => return Ok(None),
                Err(_) => pause = WRITER_POLL_INTERVAL.min(*left),
                Ok(container) => return Ok(Some(container)),
            }
        }
    }

    /// Moves payloads out of regions with little space in use, up to `most` bytes; returns the number of moved bytes.
    /// When this returns, the moves are committed. The content does not change.
    ///
    /// # Errors
    /// `ReadOnly`; those of the ledger. A damaged payload is an error, and is not moved.
    pub fn compact(&self, most: u64) -> Result<u64> {
        self.compact_by(&mut Effort { bytes: most, ..Effort::ALL }, Ledger::commit)
    }

    fn compact_by(&self, effort: &mut Effort, commit: CommitMoves) -> Result<u64> {
        self.check_writable("unable to compact")?;
        self.flush()?;
        let compaction_plan = self.ledger.compaction_plan(effort.bytes)?;
        let mut moved = 0;
        if !effort.is_spent() && !compaction_plan.is_empty() {
            for letter in [keys::BLOCK, keys::SEGMENT, keys::ATTRIBUTE] {
                moved += self.compact_keys(letter, &compaction_plan, effort, commit)?;
            }
        }
        Ok(moved)
    }

    /// Returns the bytes of a file that this shared writer leaves for an exclusive writer to free; see
    /// [`compact_left`](Self::compact_left). Uncommitted changes do not count.
    pub fn space_left_for_writers(&self) -> u64 {
        self.ledger.space_left_for_writers()
    }

    /// Frees the unused space of a container that several writers have closed, as the last close of an exclusive writer
    /// does. `left` is the number of bytes that they left ([`space_left_for_writers`](Self::space_left_for_writers)). Does
    /// nothing while another writer has the container open. When this returns, only the locations of payloads have
    /// changed, and a crash leaves the previous version.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), and of the ledger. Changes that were committed are safe nevertheless.
    pub fn compact_left(target: &Target, options: &Options, left: u64) -> Result<()> {
        // Without locks, no other program is detected, but the user says that there is none.
        let is_alone = match &options.ledger.lock_files {
            Some(files) => !files.are_in_use(),
            None => options.ledger.lock != LockPolicy::Off,
        };
        if !matches!(target, Target::File(_)) || !is_alone || left < MIN_LEFT_BYTES {
            return Ok(());
        }
        let mut options = options.clone();
        options.ledger.writers = Writers::One;
        options.together = None;
        let container = match Self::open_apart(target, Access::ReadWrite, &options) {
            Err(e) if matches!(e.kind(), ErrorKind::Locked | ErrorKind::Busy) => return Ok(()),
            opened => opened?,
        };
        container.ledger.note_freed(left)?;
        container.compact_at_close()?;
        container.is_vacuumed.store(true, Ordering::Relaxed);
        // Reserved and unused space is at the end of the file.
        container.ledger.give_back()?;
        Ok(())
    }

    /// Compacts the container at the last close of a writer, if much of its space is unused.
    pub(crate) fn compact_at_close(&self) -> Result<()> {
        match self.is_vacuumed.load(Ordering::Relaxed) {
            true => Ok(()),
            false => self.compact_in_rounds(Effort::at_close(&self.ledger)),
        }
    }

    fn compact_in_rounds(&self, mut effort: Effort) -> Result<()> {
        for round in 1..=MAX_ROUNDS_AT_CLOSE {
            if !self.ledger.wants_compaction_at_close()? {
                break;
            }
            // Even without remaining effort, a round frees the space that the rounds before left in quarantine.
            let moved = self.compact_by(&mut effort.of_round(), commit_unchanged)?;
            effort.spend(moved);
            // Objects of a store are deleted after their quarantine, and pages have objects of their own.
            if self.ledger.is_in_store() {
                break;
            }
            let before = self.ledger.size()?;
            self.ledger.give_back()?;
            let bytes = self.ledger.size()?;
            tracing::debug!(container = self.name(), moved, before, bytes, "compacted");
            let is_shorter = bytes < before - before / SHORTER_ROUND;
            if round >= MAX_ROUNDS && (moved == 0 || !is_shorter) {
                break;
            }
        }
        Ok(())
    }

    fn compact_keys(
        &self,
        letter: u8,
        compaction_plan: &CompactionPlan,
        effort: &mut Effort,
        commit: CommitMoves,
    ) -> Result<u64> {
        let (mut moved, mut pending) = (0, 0);
        let mut after: Option<Bytes> = None;
        while !effort.is_spent() {
            // Releases the lock between two pages, so that other threads can continue.
            let mut state = self.state();
            self.store_attribute(&mut state)?;
            let page = self.ledger.scan_prefix(&[letter], after.as_deref(), ENTRIES_PER_SCAN)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, value) in page {
                if effort.is_spent() {
                    break;
                }
                let bytes = self.compact_entry(&mut state, letter, &key, value, compaction_plan)?;
                effort.spend(bytes);
                (moved, pending) = (moved + bytes, pending + bytes);
                if pending >= BYTES_PER_COMMIT {
                    pending = 0;
                    commit(&self.ledger)?;
                }
            }
        }
        let last = if pending > 0 { commit } else { Ledger::commit };
        last(&self.ledger)?;
        Ok(moved)
    }

    fn compact_entry(
        &self,
        s: &mut State,
        letter: u8,
        key: &[u8],
        value: Bytes,
        compaction_plan: &CompactionPlan,
    ) -> Result<u64> {
        // Blocks change only under this lock.
        let _blocks = self.blocks.lock();
        let mut moves = Moves { ledger: &self.ledger, compaction_plan, old: Vec::new(), new: Vec::new() };
        let moved = match letter {
            keys::ATTRIBUTE => self.move_attribute(key, &value, &mut moves),
            _ => self.move_block(key, &mut moves),
        };
        if letter == keys::ATTRIBUTE && !moves.old.is_empty() {
            s.edition += 1;
        }
        // The old extents are not freed while the entry refers to them: an error may end the vacuum, and a later commit
        // would still free them.
        let unneeded = if moved.is_ok() { moves.old } else { moves.new };
        let given_back = unneeded.iter().try_for_each(|extent| self.ledger.free_payload(extent));
        let moved = moved?;
        given_back?;
        Ok(moved)
    }

    fn move_attribute(&self, key: &[u8], value: &Bytes, moves: &mut Moves<'_>) -> Result<u64> {
        let mut attribute = EntryValue::decode(key, value).map_err(|e| e.context(self.name()))?;
        let mut moved = 0;
        for reference in attribute.references()? {
            if let Some(new) = moves.moved(&reference.extent)? {
                moved += reference.length;
                attribute.set(reference.index, new.to_bytes(), 0);
            }
        }
        if moved > 0 {
            self.ledger.put(key, attribute.encode())?;
        }
        Ok(moved)
    }

    fn move_block(&self, key: &[u8], moves: &mut Moves<'_>) -> Result<u64> {
        let Some(value) = self.ledger.get(key)? else { return Ok(0) };
        let r: BlockRecord = record::decode(value, || self.entry(key))?;
        let length = usize::try_from(r.length).unwrap_or(usize::MAX);
        let mut pieces = Fragments::decode(r, usize::MAX)?;
        let moved = pieces.relocate(|e, most_parts| moves.moved_in_parts(e, most_parts))?;
        if moved > 0 {
            self.ledger.put(key, pieces.record(length).encode_to_vec())?;
            moves.keep_only(&pieces.extents());
        }
        Ok(moved)
    }

    fn entry(&self, key: &[u8]) -> String {
        format!("{}: the entry {key:02x?}", self.name())
    }
}

/// The moved payloads of one entry.
struct Moves<'a> {
    ledger: &'a Ledger,
    compaction_plan: &'a CompactionPlan,
    /// The extents before the move.
    old: Vec<Extent>,
    /// The extents after the move.
    new: Vec<Extent>,
}

impl Moves<'_> {
    /// Moves a payload and returns its new extent; `None` if it stays.
    fn moved(&mut self, e: &Extent) -> Result<Option<Extent>> {
        if !self.compaction_plan.holds(e) {
            return Ok(None);
        }
        let new = self.ledger.move_payload(e)?;
        self.note(e, new.as_slice());
        Ok(new)
    }

    /// Moves a payload and returns its new extent, or several extents if no free run can hold all of it; none if it
    /// stays.
    fn moved_in_parts(&mut self, e: &Extent, most_parts: usize) -> Result<Vec<Extent>> {
        if let Some(new) = self.moved(e)? {
            return Ok(vec![new]);
        }
        if !self.compaction_plan.holds(e) {
            return Ok(Vec::new());
        }
        let new = self.ledger.move_payload_in_parts(e, most_parts.min(MAX_PARTS), self.compaction_plan)?;
        self.note(e, &new);
        Ok(new)
    }

    fn note(&mut self, e: &Extent, new: &[Extent]) {
        if !new.is_empty() {
            self.old.push(e.clone());
            self.new.extend_from_slice(new);
        }
    }

    /// Marks the new extents that are not in `used` as unneeded.
    fn keep_only(&mut self, used: &[Extent]) {
        let (used, unused) =
            std::mem::take(&mut self.new).into_iter().partition(|extent| used.contains(extent));
        self.new = used;
        self.old.extend::<Vec<_>>(unused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{dataset, dataset_spec, simple};
    use crate::{FileCreation, Layout, LinkTarget, Replace, Selection};

    /// Space that a commit frees stays in quarantine until the next superblock is written, and is at the end of the
    /// file.
    #[test]
    fn a_close_without_time_truncates_free_space_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let target = Target::File(path.clone());
        let c =
            Container::create(&target, Replace::Never, FileCreation::default(), Options::default()).unwrap();
        for (name, length, layout) in
            [(b"s", 20_000, Layout::Chunked { chunk: vec![10] }), (b"l", 8 << 20, Layout::Contiguous)]
        {
            let d = dataset(&c, name, dataset_spec(1, simple(&[length], &[length]), layout));
            d.write(&Selection::All, &vec![7; length as usize]).unwrap();
            c.flush().unwrap();
        }
        c.link_delete(c.root(), b"l").unwrap();
        c.flush().unwrap();
        c.compact_in_rounds(Effort { until: Some(Instant::now()), ..Effort::ALL }).unwrap();
        c.is_vacuumed.store(true, Ordering::Relaxed);
        drop(c);
        let bytes = std::fs::metadata(&path).unwrap().len();
        assert!(bytes < 2 << 20, "{bytes} bytes");
    }

    /// Creates a container in a file, with a contiguous dataset that was overwritten as a whole since the last commit.
    fn overwritten(path: &std::path::Path, length: u64) -> Arc<Container> {
        let target = Target::File(path.to_owned());
        let c =
            Container::create(&target, Replace::Never, FileCreation::default(), Options::default()).unwrap();
        let d = dataset(&c, b"d", dataset_spec(1, simple(&[length], &[length]), Layout::Contiguous));
        for value in [1, 2] {
            d.write(&Selection::All, &vec![value; length as usize]).unwrap();
            c.flush().unwrap();
        }
        c
    }

    fn check_overwritten(path: &std::path::Path, length: u64) {
        let target = Target::File(path.to_owned());
        let c = Container::open(&target, Access::ReadOnly, Options::default()).unwrap();
        let mut out = vec![0; length as usize];
        let link = c.link(c.root(), b"d").unwrap().unwrap();
        let LinkTarget::Hard(id) = link.target else { panic!("{link:?}") };
        c.dataset(id).unwrap().read(&Selection::All, &mut out).unwrap();
        assert!(out.iter().all(|value| *value == 2));
    }

    #[test]
    fn a_close_that_moves_little_moves_the_last_bytes_of_a_file() {
        const LENGTH: u64 = 48 << 20;
        const MOVED: u64 = 16 << 20;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let c = overwritten(&path, LENGTH);
        assert!(Effort::at_close(&c.ledger).bytes >= BYTES_AT_CLOSE && c.ledger.freed_bytes() >= LENGTH);
        let before = std::fs::metadata(&path).unwrap().len();
        assert!(before >= 2 * LENGTH, "{before}");
        c.compact_in_rounds(Effort { bytes: MOVED, ..Effort::ALL }).unwrap();
        c.is_vacuumed.store(true, Ordering::Relaxed);
        drop(c);
        let after = std::fs::metadata(&path).unwrap().len();
        assert!(
            after <= before - MOVED + (2 << 20) && after >= before - MOVED - (2 << 20),
            "{before} {after}"
        );
        check_overwritten(&path, LENGTH);
    }

    #[test]
    fn a_later_close_continues_compaction() {
        const LENGTH: u64 = 96 << 20;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let c = overwritten(&path, LENGTH);
        c.compact_in_rounds(Effort { until: Some(Instant::now()), ..Effort::ALL }).unwrap();
        c.is_vacuumed.store(true, Ordering::Relaxed);
        drop(c);
        let len = || std::fs::metadata(&path).unwrap().len();
        assert!(len() >= 2 * LENGTH, "{}", len());
        let target = Target::File(path.clone());
        let c = Container::open(&target, Access::ReadWrite, Options::default()).unwrap();
        dataset(&c, b"e", dataset_spec(1, simple(&[1], &[1]), Layout::Contiguous));
        drop(c);
        assert!(len() < LENGTH + LENGTH / 10, "{}", len());
        check_overwritten(&path, LENGTH);
    }
}
