//! Containers that processes open together, and close together.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use h5lake_container::{Access, Container, Options, Target};

use super::aggregation::caught;
use super::visibility::Visibility;
use super::{CollectiveFile, flag, outcome};
use crate::error::Result;
use crate::session::registry;

/// The number of times that processes move forward to reach the same version. A checkpoint, or a commit of another
/// program, may intervene each time.
const MAX_MOVES: usize = 32;
/// Sent to all processes at an open: this process stays at its version.
const STAYS: u32 = 1;

/// The location of a container that processes write together, and the options it was opened with.
pub(super) struct OpenedPlace {
    target: Target,
    options: Options,
}

impl std::fmt::Debug for OpenedPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenedPlace").finish_non_exhaustive()
    }
}

impl CollectiveFile {
    /// Opens a container in all processes. If `make` is given, the first process makes the container, and the other
    /// processes then open it. For reading, all processes open the same version. Collective.
    ///
    /// # Errors
    /// If any process failed.
    pub fn open(
        self: &Arc<Self>,
        make: Option<&dyn Fn() -> Result<Arc<Container>>>,
        open: &dyn Fn() -> Result<Arc<Container>>,
        access: Access,
    ) -> Result<Arc<Container>> {
        let container = match make {
            Some(make) => {
                let made = self.agree(|| if self.is_first() { make().map(Some) } else { Ok(None) })?;
                self.open_here(|| made.map_or_else(open, Ok))?
            }
            None => self.open_here(open)?,
        };
        if container.writable() {
            container.number_together(self.numbers());
            // One process may have assigned more numbers than another, as long as it had the container open
            // independently.
            container.forget_numbers();
        }
        if access == Access::ReadOnly && self.has_several_processes() {
            self.align_versions_at_open(&container)?;
        }
        Ok(container)
    }

    /// Opens the container in this process, and exchanges with the other processes what each knows of it through other
    /// handles.
    fn open_here(&self, open: impl FnOnce() -> Result<Arc<Container>>) -> Result<Arc<Container>> {
        let open = || {
            let container = open()?;
            let known = Visibility::known(&container);
            Ok((container, known))
        };
        let (opened, panic) = outcome(catch_unwind(AssertUnwindSafe(open)));
        let known = opened.as_ref().ok().and_then(|(_, known)| known.as_ref());
        let flags = known.map_or(0, |known| known.flags());
        let exchanged = self.processes.exchange(opened, flags, 0);
        let ((container, known), all_flags) = panic.map_or(exchanged, |panic| resume_unwind(panic))?;
        let is_new = known.is_none();
        let visibility = self.visibility.get_or_init(|| known.unwrap_or_default());
        visibility.take_in(all_flags, is_new);
        Ok(container)
    }

    /// Moves processes that have opened a container to read to the same version, because a writer may have committed
    /// between two of their opens. A process that has the container open already stays at the version that it shows
    /// there: then the versions differ.
    fn align_versions_at_open(&self, container: &Arc<Container>) -> Result<()> {
        let stays = container.writable() || !registry::sessions_on(container).is_empty();
        let version = container.committed_version();
        let ((), all_flags, versions) =
            self.processes.exchange_numbers(Ok(()), flag(stays, STAYS), 0, version)?;
        if all_flags & STAYS != 0 { Ok(()) } else { self.align_versions(container, versions) }
    }

    /// Moves all processes to the latest version that one of them has; `versions` has the version of each process. If a
    /// process reaches a later version only, because a checkpoint contains that version or another program commits
    /// meanwhile, all try again. No process of this program commits meanwhile, because each of them takes part.
    /// Collective.
    ///
    /// # Errors
    /// If any process failed.
    pub(super) fn align_versions(&self, container: &Container, mut versions: Vec<u64>) -> Result<()> {
        for _ in 0..MAX_MOVES {
            let latest = versions.iter().max().copied().unwrap_or(0);
            if versions.iter().all(|version| *version == latest) {
                break;
            }
            let moved = caught(|| match container.writable() {
                true if container.committed_version() < latest => Ok(container.observe_remote_commits()?),
                true => Ok(()),
                false => Ok(container.refresh_up_to(latest).map(drop)?),
            });
            ((), _, versions) =
                self.processes.exchange_numbers(moved, 0, 0, container.committed_version())?;
        }
        Ok(())
    }

    /// Notes the location of the container that is being opened.
    pub fn set_place(&self, target: &Target, options: Options) {
        self.place.get_or_init(|| OpenedPlace { target: target.clone(), options });
    }

    /// Waits until all processes have closed the file, because one of them may create it again at once. If they left
    /// much free space that could not be reclaimed while other writers existed, the first process reclaims it now, and
    /// all wait for that. Collective.
    pub fn let_go(&self) {
        let mine = self.left_space.swap(0, Ordering::Relaxed).to_le_bytes();
        // The file is closed, whatever happens here.
        let Ok(all) = self.processes.gather(&mine) else { return };
        let left = all.as_chunks::<8>().0.iter().map(|left| u64::from_le_bytes(*left));
        let left = left.fold(0, u64::saturating_add);
        tracing::debug!(left, "processes that write have closed their file");
        if left == 0 {
            return;
        }
        if self.is_first() {
            self.give_back(left);
        }
        self.agree(|| Ok(())).ok();
    }

    fn give_back(&self, left: u64) {
        let Some(OpenedPlace { target, options }) = self.place.get() else { return };
        // The other processes wait, whatever happens here.
        let done = catch_unwind(AssertUnwindSafe(|| Container::compact_left(target, options, left)));
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("free space was not reclaimed: {error}"),
            Err(_) => tracing::warn!("free space was not reclaimed: a panic"),
        }
    }
}
