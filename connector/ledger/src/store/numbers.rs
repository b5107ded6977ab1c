//! Numbers of objects, which concurrent writers reserve in blocks.
//!
//! The manifest has a counter of reserved numbers, and the map has a counter of used numbers. A block begins at the greater one of the two.
//! So a reservation needs no version: it is part of a commit, or of the swap that adds the session's entry. An exclusive writer reserves
//! nothing. It continues from the greater counter, and its commits are refused once a concurrent writer has reserved numbers.

use super::past;
use super::view::{View, converted};
use super::writer::Writer;
use crate::core::change::{Change, Commit, Reject};
use crate::core::events::Outcome;
use crate::core::manifest::Manifest;
use crate::core::session::Mode;
use crate::error::{Error, ErrorKind, Result};
use crate::wal::record::CommitRecord;

/// The maximum number of attempts to reserve numbers.
const MAX_ATTEMPTS: u32 = 200;

/// The numbers that a writer reserves.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The counter in the manifest that the writer opened.
    pub(super) seen: u64,
    /// The least number and the count of the block that the next commit should reserve.
    pub(super) wanted: Option<(u64, u64)>,
    /// The first number and the count of the block that the last commit reserved.
    pub(super) reserved: Option<(u64, u64)>,
}

impl Numbers {
    /// Returns the counter that a commit of an exclusive writer depends on.
    pub(super) fn seen_alone(&self, mode: Mode) -> Option<u64> {
        (mode == Mode::Exclusive).then_some(self.seen)
    }

    /// Returns the numbers of a commit over a manifest: the counter that the commit depends on, and by how much the commit raises it.
    pub(super) fn of_commit(&self, mode: Mode, on: &Manifest) -> Option<(u64, u64)> {
        if let Some(seen) = self.seen_alone(mode) {
            return Some((seen, 0));
        }
        let (least, count) = self.wanted?;
        Some((on.numbers, on.numbers.max(least).saturating_sub(on.numbers).saturating_add(count)))
    }

    /// Notes that a commit over the counter `seen` took effect.
    pub(super) fn take_in(&mut self, seen: Option<u64>) {
        let wanted = self.wanted.take();
        self.reserved = seen.zip(wanted).map(|(seen, (least, count))| (seen.max(least), count));
    }

    /// Prepares a commit again after another writer reserved numbers. Returns `None` if the commit was overtaken for another reason.
    ///
    /// # Errors
    /// `Conflict` for an exclusive writer, which would give the same numbers.
    pub(super) fn prepared_again(
        &self,
        (mode, target): (Mode, &str),
        commit: &Commit,
        (why, on): (Reject, &Manifest),
    ) -> Result<Option<Change>> {
        match (why, mode) {
            (Reject::NumbersMoved, Mode::Exclusive) => Err(Error::new(target, ErrorKind::Conflict)),
            (Reject::NumbersMoved, Mode::Shared) => {
                let numbers = self.of_commit(mode, on);
                Ok(Some(Change::Commit(Box::new(Commit { numbers, ..commit.clone() }))))
            }
            _ => Ok(None),
        }
    }
}

impl Writer {
    /// Reserves numbers at once, by a swap that makes no version. `counter` gets the records that the ledger has not observed yet, and
    /// returns the counter of the map.
    pub(super) fn reserve_numbers(
        &mut self,
        view: &mut View,
        count: u64,
        counter: &mut dyn FnMut(&[CommitRecord]) -> Result<u64>,
    ) -> Result<u64> {
        for _ in 0..MAX_ATTEMPTS {
            let known = self.committer.known();
            let line = &known.line;
            let reported = self.reported(view)?;
            let (fetcher, unseen) = (self.io.fetcher.clone(), (reported.version, line.version));
            let unseen = past::records_since(&known, unseen, &mut self.io.segments, &fetcher)?;
            let unseen =
                converted(&unseen, &fetcher).map_err(|_| Error::new(&fetcher.target, ErrorKind::Gone))?;
            let least = counter(&unseen)?;
            let joins = self.committer.session.day_to_join(self.today());
            let change = Change::Numbers { on: line.version, least, count, joins };
            match self.make(change, &mut |_, _, _| Ok(None))? {
                Outcome::Done { numbers: Some(first), .. } => {
                    view.manifest = self.committer.known();
                    return Ok(first);
                }
                // The session has loaded the manifest with the version that overtook the swap.
                Outcome::NotCommitted | Outcome::Done { .. } => (),
                other => return Err(self.committer.failure(&other)),
            }
        }
        Err(Error::new(self.target(), ErrorKind::Conflict))
    }
}
