//! Elements of a file that processes have open together: collective writes, and independent reads and writes.

use std::panic::resume_unwind;
use std::sync::atomic::Ordering;
use std::time::Instant;

use h5lake_container::{Container, Dataset, Selection};

use super::{CAUSES, CHANGED, CollectiveFile, DUE, READ, SEVERAL, WAITS, bit, flag, outcome};
use crate::error::{Error, Result};
use crate::session::trace::Trace;
use crate::session::uncommitted::{BOX_BYTES, BYTES, Bounds, Written};

/// The elements that this process writes in a collective call.
#[derive(Debug, Default)]
pub struct Writing {
    bounds: Vec<Bounds>,
    keeps_some: bool,
}

impl Writing {
    /// Adds elements of a dataset. `keeps_some` says whether the elements keep part of their previous values, such as
    /// members of a compound that are not given.
    pub fn add(&mut self, dataset: &Dataset, selection: &Selection, keeps_some: bool) {
        let bounds = bounds_of(dataset, selection);
        self.keeps_some |= keeps_some && !bounds.is_empty();
        self.bounds.push(bounds);
    }
}

impl CollectiveFile {
    /// Runs a collective write. A process with an empty or failed part takes part, too; a failure in one process makes
    /// the write fail in all processes. As the [pace](crate::session::pace) decides, the written elements are
    /// sometimes committed at once, so that they are visible without a flush. `cause` is sent to all processes, and
    /// the causes of all processes are returned.
    ///
    /// If a process writes elements that another process may have left uncommitted, all processes commit first: the
    /// last commit would win otherwise. The same is done for elements that keep part of their previous values.
    ///
    /// # Errors
    /// If any process failed.
    pub fn write(
        &self,
        container: &Container,
        cause: u32,
        writing: &Writing,
        body: impl FnOnce() -> Result<()>,
    ) -> Result<u32> {
        let waits =
            writing.keeps_some || self.visibility().uncommitted.lock().remote_writes_overlap(&writing.bounds);
        let body = || {
            self.commit_own_of(container, &writing.bounds)?;
            body()
        };
        let (now, later) = if waits { (None, Some(body)) } else { (Some(body), None) };
        let flags = || {
            let is_due = self.is_first() && self.elements.lock().is_due();
            self.flags(container)
                | flag(is_due, DUE)
                | flag(self.visibility().has_read.swap(false, Ordering::Relaxed), READ)
                | flag(waits, WAITS)
                | cause << CAUSES
        };
        let all_flags = self.write_now(container, now, writing, flags)?;
        let wanted =
            self.elements.lock().is_turn(all_flags & READ != 0) || all_flags & DUE != 0 || self.is_eager();
        let mut is_changed = all_flags & CHANGED != 0;
        if all_flags & WAITS != 0 {
            if is_changed {
                self.commit(container)?;
            }
            is_changed = self.write_later(container, later, writing)? & CHANGED != 0;
        }
        if wanted && is_changed && !self.is_atomic() {
            let started = Instant::now();
            self.commit(container)?;
            self.elements.lock().took(started);
        }
        Ok(all_flags >> CAUSES)
    }

    /// Runs the part of the processes that have waited for a commit.
    fn write_later(
        &self,
        container: &Container,
        body: Option<impl FnOnce() -> Result<()>>,
        writing: &Writing,
    ) -> Result<u32> {
        let body = body.map(|body| {
            move || {
                container.observe_remote_commits()?;
                body()
            }
        });
        self.write_now(container, body, writing, || self.flags(container))
    }

    /// Runs this process's part of a write, if it has one now, and reports to all processes.
    fn write_now(
        &self,
        container: &Container,
        body: Option<impl FnOnce() -> Result<()>>,
        writing: &Writing,
        flags: impl FnOnce() -> u32,
    ) -> Result<u32> {
        let mut written = Written::default();
        let (done, panic) = match body {
            Some(body) => {
                // An atomic write leaves no uncommitted elements.
                let left = writing.bounds.iter().filter(|_| !self.is_atomic());
                left.for_each(|bounds| written.add(*bounds));
                outcome(self.during(|| {
                    container.settle_known_offer()?;
                    body()
                }))
            }
            None => (Ok(()), None),
        };
        let exchanged = self.tell_written(container, done, flags(), &written);
        if exchanged.is_err() {
            self.visibility().uncommitted.lock().lose_track();
        }
        panic.map_or(exchanged, |panic| resume_unwind(panic))
    }

    /// Sends all processes the outcome of this process's write, and the elements that it wrote: in one message, as
    /// long as no process failed.
    fn tell_written(
        &self,
        container: &Container,
        done: Result<()>,
        flags: u32,
        written: &Written,
    ) -> Result<u32> {
        let flags = flags | flag(written.is_several(), SEVERAL);
        let encoded = written.encoded();
        let mut mine = [0; 8 + BOX_BYTES];
        mine[0] = u8::from(done.is_err());
        mine[4..8].copy_from_slice(&flags.to_le_bytes());
        mine[8..].copy_from_slice(&encoded[..BOX_BYTES]);
        let all = self.processes.gather(&mine)?;
        let (of_each, _) = all.as_chunks::<{ 8 + BOX_BYTES }>();
        let flags_of = |each: &[u8; 8 + BOX_BYTES]| u32::from_le_bytes([each[4], each[5], each[6], each[7]]);
        let all_flags = of_each.iter().fold(0, |all_flags, each| all_flags | flags_of(each));
        if of_each.iter().any(|each| each[0] != 0) {
            // All processes know that one failed, and now receive the error.
            return self.processes.agree(done).map(|()| all_flags);
        }
        if all_flags & SEVERAL != 0 {
            let all = self.processes.gather(&encoded)?;
            self.note_written(all.as_chunks::<BYTES>().0.iter().map(|each| &each[..]));
        } else {
            self.note_written(of_each.iter().map(|each| &each[8..]));
        }
        self.heard(container, all_flags)?;
        Ok(all_flags)
    }

    /// Notes the writes that each process has reported.
    fn note_written<'a>(&self, of_each: impl Iterator<Item = &'a [u8]>) {
        let mut uncommitted = self.visibility().uncommitted.lock();
        let remote = of_each.enumerate().filter(|(process, _)| *process != self.processes.rank());
        remote.for_each(|(process, encoded)| uncommitted.other_wrote(process, Written::decoded(encoded)));
    }

    /// Commits this process's independent writes to datasets that all processes write now: these writes are older than
    /// the other processes' collective writes.
    fn commit_own_of(&self, container: &Container, bounds: &[Bounds]) -> Result<()> {
        let has_any = self.visibility().uncommitted.lock().has_own_of(bounds);
        if has_any { self.commit_own(container) } else { Ok(()) }
    }

    /// Commits the elements that this process has written, if that is possible. No other process takes part.
    ///
    /// # Errors
    /// The errors of the container.
    pub fn commit_own(&self, container: &Container) -> Result<()> {
        if self.apart(container, || Ok(container.try_commit_elements()?))? {
            self.visibility().forget_own();
        }
        Ok(())
    }

    /// Moves to the commits of other processes, before this process reads stored metadata independently.
    ///
    /// # Errors
    /// The errors of the container.
    pub fn observe_remote_commits(&self, container: &Container) -> Result<()> {
        match self.is_atomic() {
            true => Ok(container.refresh().map(drop)?),
            false => Ok(container.observe_remote_commits()?),
        }
    }

    /// Moves to the commits of other processes, before this process reads elements independently.
    ///
    /// # Errors
    /// The errors of the container.
    pub fn before_read(&self, container: &Container, dataset: &Dataset, selection: &Selection) -> Result<()> {
        // All processes have moved to one version before a collective read.
        if self.is_collective() && container.writable() {
            return Ok(());
        }
        if self.is_atomic() {
            return container.refresh().map(drop).map_err(Error::from);
        }
        if !self.has_several_processes() || !container.writable() {
            return Ok(());
        }
        let visibility = self.visibility();
        if visibility.written.load(Ordering::Relaxed) & bit(dataset.object().id()) != 0 {
            visibility.has_read.store(true, Ordering::Relaxed);
            self.own.lock().was_read();
        }
        if let Some(trace) = trace_of(dataset, selection) {
            visibility.looked.lock().add_read(trace);
        }
        Ok(container.observe_remote_commits()?)
    }

    /// Makes elements visible to the other processes after this process wrote them with the outcome `done`: always in
    /// atomic mode, otherwise as the pace decides. If the write or the commit fails, some elements may be uncommitted.
    /// They are known as older than what other processes write later.
    ///
    /// # Errors
    /// The error of the write; the errors of the container.
    pub fn after_write(
        &self,
        container: &Container,
        dataset: &Dataset,
        selection: &Selection,
        done: Result<()>,
    ) -> Result<()> {
        if self.has_several_processes() {
            self.note_uncommitted(dataset, selection);
        }
        done?;
        if self.is_atomic() {
            self.apart(container, || Ok(container.commit_elements()?))?;
            self.visibility().forget_own();
            return Ok(());
        }
        let commits = self.has_several_processes()
            && !self.is_collective()
            && (self.own.lock().is_now() || self.is_eager());
        let started = Instant::now();
        if commits && self.apart(container, || Ok(container.try_commit_elements()?))? {
            self.own.lock().took(started);
            self.visibility().forget_own();
        }
        Ok(())
    }

    fn note_uncommitted(&self, dataset: &Dataset, selection: &Selection) {
        let visibility = self.visibility();
        visibility.written.fetch_or(bit(dataset.object().id()), Ordering::Relaxed);
        if let Some(trace) = trace_of(dataset, selection) {
            visibility.left.lock().add_written(trace);
        }
        if !self.is_collective() {
            visibility.uncommitted.lock().wrote(bounds_of(dataset, selection));
        }
    }
}

fn trace_of(dataset: &Dataset, selection: &Selection) -> Option<Trace> {
    dataset.with_space(|space| Trace::of(dataset.object().id(), selection, space.dims()))
}

fn bounds_of(dataset: &Dataset, selection: &Selection) -> Bounds {
    dataset.with_space(|space| Bounds::of(dataset.object().id(), selection, space.dims()))
}
