//! Commits of the changes of all processes as one version, at a flush, a close, or between flushes.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;

use h5lake_container::{Container, Recoverability};
use h5lake_ledger::as_flush_of;

use super::aggregation::{LEAST_SENT_BYTES, SENT_BYTES, caught};
use super::{APART, CollectiveFile, FAILED, flag, outcome};
use crate::error::{Error, Minor, Result};

/// Sent to all processes by the first process after its commit: the commit was made.
const MADE: u32 = 1;
/// Sent to all processes by the first process after its commit: it is unknown whether the commit was made.
const UNKNOWN: u32 = 2;

impl CollectiveFile {
    /// Commits the elements that all processes have written, and moves all processes to the version that contains
    /// them. The version is marked as a flush of all processes. If the operation `before` it has failed in one process,
    /// nothing is committed. Collective.
    ///
    /// # Errors
    /// If any process failed.
    pub fn flush(&self, container: &Container, before: Result<()>) -> Result<()> {
        // The commit begins only when all processes have arrived: a process that arrives later may read the newest
        // version first, and would then find objects there that it has yet to make itself.
        let flags = self.flags(container) | flag(self.has_committed_apart.load(Ordering::Relaxed), APART);
        let ((), all_flags) = self.tell(container, before, flags, 0)?;
        let processes = u32::try_from(self.processes.size()).unwrap_or(u32::MAX);
        // If everything is in versions without the mark, a version with the mark follows.
        as_flush_of(processes, all_flags & APART != 0, || self.commit_all(container))?;
        self.has_committed_apart.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Commits what all processes have changed, although the program does not flush, when all processes are known to have
    /// arrived, because each of them has just sent a message. Collective.
    ///
    /// # Errors
    /// If any process failed.
    pub(super) fn commit(&self, container: &Container) -> Result<()> {
        self.apart(container, || self.commit_all(container))
    }

    /// Runs a commit that is no flush of all processes, and notes whether it has made a version.
    pub(super) fn apart<T>(&self, container: &Container, commit: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = container.committed_version();
        let done = commit();
        if container.committed_version() != before {
            self.has_committed_apart.store(true, Ordering::Relaxed);
        }
        done
    }

    /// Commits the changes of all processes. When this returns, one version contains them. Collective.
    fn commit_all(&self, container: &Container) -> Result<()> {
        self.settle_last_commit(container)?;
        self.bring_parts_together(container)?;
        let (done, panic) = outcome(catch_unwind(AssertUnwindSafe(|| self.commit_as_one(container))));
        match &done {
            Ok(settled) => {
                // A process that could not move to the version keeps its elements.
                if container.has_offer() {
                    container.take_back_parts()
                } else {
                    container.settle_parts()
                }
                if settled.is_ok() {
                    self.visibility().forget_committed();
                }
            }
            Err(_) => {
                container.take_back_parts();
                if !self.visibility().is_unsettled.load(Ordering::Relaxed) {
                    // The error of the commit, or its panic, is what the program has to know.
                    let _only_a_lost_container_fails = container.withdraw_offer();
                }
            }
        }
        panic.map_or_else(|| done.and_then(|settled| settled), |panic| resume_unwind(panic))
    }

    /// Commits the changes of all processes in the first process. The inner result is that of a commit that was made:
    /// an error says what the program has to know of it. Collective.
    ///
    /// # Errors
    /// If nothing was committed.
    fn commit_as_one(&self, container: &Container) -> Result<Result<()>> {
        let first = self.is_first();
        // Every payload is durable, and every process has the space that it needs, before the first process excludes
        // other writers.
        let offer = self.agree(|| match first {
            true => Ok(container.prepare_flush().map(|()| Vec::new())?),
            false => Ok(container.offer_elements()?),
        })?;
        // From here on no other program reserves the space of a payload, even if the process that wrote it dies.
        let hold = self.agree(|| Ok(first.then(|| container.hold_commits()).transpose()?))?;
        let offers = self.send_to_first(&offer)?;
        let done = if first { caught(|| Ok(container.flush_for_all(&offers)?)) } else { Ok(Ok(())) };
        drop(hold);
        let is_made = first && done.is_ok();
        let is_unknown = first && !is_made && container.is_outcome_unknown();
        // Until the message of the first process has arrived, no other process knows the outcome.
        self.visibility().is_unsettled.store(true, Ordering::Relaxed);
        let ((), all_flags) =
            self.processes.exchange(Ok(()), flag(is_made, MADE) | flag(is_unknown, UNKNOWN), 0)?;
        self.visibility().is_unsettled.store(all_flags & UNKNOWN != 0, Ordering::Relaxed);
        if all_flags & MADE == 0 {
            let missing = || Err(Error::new(Minor::CannotOperate, FAILED));
            return self.agree(|| done.map(drop)).and_then(|()| missing());
        }
        // A commit that was made can report a conflict with another program.
        let reported = done.and_then(|reported| Ok(reported?));
        let settled = if first { Ok(()) } else { caught(|| Ok(container.settle_offer()?)) };
        let all = self.processes.exchange_numbers(reported.and(settled), 0, 0, container.committed_version());
        // The failure may be that of a process that could not read the version.
        self.visibility().is_unsettled.store(all.is_err(), Ordering::Relaxed);
        Ok(all.and_then(|((), _, versions)| self.align_versions(container, versions)))
    }

    /// Tells all processes whether the last commit was made, if that was unknown. Collective.
    ///
    /// # Errors
    /// If it stays unknown, or a process failed.
    fn settle_last_commit(&self, container: &Container) -> Result<()> {
        if !self.visibility().is_unsettled.load(Ordering::Relaxed) {
            return Ok(());
        }
        let known = if self.is_first() { caught(|| Ok(container.settle_flush()?)) } else { Ok(false) };
        let is_made = *known.as_ref().unwrap_or(&false);
        let (_, all_flags) = self.processes.exchange(known, flag(is_made, MADE), 0)?;
        let settled = self.agree(|| match (self.is_first(), all_flags & MADE != 0) {
            (true, _) => Ok(()),
            (false, true) => Ok(container.settle_offer()?),
            (false, false) => Ok(container.withdraw_offer()?),
        });
        self.visibility().is_unsettled.store(settled.is_err(), Ordering::Relaxed);
        settled
    }

    /// Brings the messages of all processes to the first process. Returns them there, by rank; elsewhere the result is
    /// empty. Collective.
    fn send_to_first(&self, message: &[u8]) -> Result<Vec<Vec<u8>>> {
        let lengths = self.processes.gather(&(message.len() as u64).to_le_bytes())?;
        let longest = lengths.as_chunks::<8>().0.iter().map(|length| u64::from_le_bytes(*length)).max();
        let longest = usize::try_from(longest.unwrap_or(0)).unwrap_or(usize::MAX);
        let most = (SENT_BYTES / self.processes.size()).max(LEAST_SENT_BYTES);
        let mut received = Vec::new();
        let mut parts = message.chunks(most);
        for _ in 0..longest.div_ceil(most) {
            let mut to_each = vec![Vec::new(); self.processes.size()];
            to_each[0] = parts.next().unwrap_or_default().to_vec();
            let from_each = self.processes.exchange_messages(&to_each)?;
            if self.is_first() {
                received.resize_with(from_each.len(), Vec::new);
                received.iter_mut().zip(from_each).for_each(|(all, part)| all.extend(part));
            }
        }
        Ok(received)
    }

    /// Flushes at a close, and returns whether all processes can expect another try to succeed. Collective.
    pub fn last_flush(&self, container: &Container, before: Result<()>) -> (Result<()>, Recoverability) {
        let done = self.flush(container, before);
        // A failure in one process is a failure in all processes.
        if done.is_ok() {
            self.left_space.store(container.space_left_for_writers(), Ordering::Relaxed);
            return (done, Recoverability::Open);
        }
        let fail_if_lost = || if container.is_lost() { Err(Error::argument("lost")) } else { Ok(()) };
        let recoverability =
            if self.agree(fail_if_lost).is_err() { Recoverability::Lost } else { Recoverability::Open };
        (done, recoverability)
    }
}
