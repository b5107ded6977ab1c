//! Containers that processes open together, and let go of together.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use h5lake_container::{Access, Container, Options, Target};

use super::visibility::Visibility;
use super::{CollectiveFile, outcome};
use crate::error::Result;
use crate::session::registry;

/// How often processes that read move on to meet at one version. Each time a checkpoint may come between.
const MAX_MOVES: usize = 32;

/// Where a container is that processes write together, and how it was opened.
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
    /// Opens a container in all processes: where `make` is given, the first one makes it, and the others then open it. To read, all open
    /// the same version. Collective.
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
            // One process may have given more of them than another, as long as it had the container alone.
            container.forget_numbers();
        }
        if access == Access::ReadOnly && self.has_others() {
            self.meet(&container)?;
        }
        Ok(container)
    }

    /// Opens the container in this process, and exchanges with the others what each knows of it by other handles.
    fn open_here(&self, open: impl FnOnce() -> Result<Arc<Container>>) -> Result<Arc<Container>> {
        let open = || {
            let container = open()?;
            let known = Visibility::known(&container);
            Ok((container, known))
        };
        let (opened, panic) = outcome(catch_unwind(AssertUnwindSafe(open)));
        let known = opened.as_ref().ok().and_then(|(_, known)| known.as_ref());
        let flags = known.map_or(0, |known| known.flags());
        let told = self.processes.exchange(opened, flags, 0);
        let ((container, known), told) = panic.map_or(told, |panic| resume_unwind(panic))?;
        let is_new = known.is_none();
        let visibility = self.visibility.get_or_init(|| known.unwrap_or_default());
        visibility.take_in(told, is_new);
        Ok(container)
    }

    /// Moves processes that read a container to one version: a writer may have committed between two of their opens. They move to the
    /// latest version that one of them has; where a checkpoint keeps one from it, that one has a later version, and all try
    /// again. A process that has the container open already keeps the version that it shows there: then a difference
    /// stays.
    fn meet(&self, container: &Arc<Container>) -> Result<()> {
        let may_move = !container.writable() && registry::sessions_on(container).is_empty();
        for _ in 0..MAX_MOVES {
            let mut mine = [0; 9];
            mine[..8].copy_from_slice(&container.committed_version().to_le_bytes());
            mine[8] = u8::from(may_move);
            let all = self.processes.gather(&mine)?;
            let (of_each, _) = all.as_chunks::<9>();
            let version_of =
                |each: &[u8; 9]| each.first_chunk().map_or(0, |version| u64::from_le_bytes(*version));
            let versions: Vec<u64> = of_each.iter().map(version_of).collect();
            let latest = versions.iter().max().copied().unwrap_or(0);
            if versions.iter().all(|version| *version == latest) || of_each.iter().any(|each| each[8] == 0) {
                return Ok(());
            }
            self.agree(|| Ok(container.refresh_up_to(latest).map(drop)?))?;
        }
        Ok(())
    }

    /// Says where the container is that is being opened.
    pub fn set_place(&self, target: &Target, options: Options) {
        self.place.get_or_init(|| OpenedPlace { target: target.clone(), options });
    }

    /// Waits until all have closed the file: one of them may create it anew at once. If they left much room that nobody could
    /// give back while there were others, the first process does that now, and all wait for it. Collective.
    pub fn let_go(&self) {
        let mine = self.left_room.swap(0, Ordering::Relaxed).to_le_bytes();
        // The file is closed, whatever is said here.
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
        // The others wait, whatever happens here.
        let done = catch_unwind(AssertUnwindSafe(|| Container::compact_left(target, options, left)));
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("dead room was not given back: {error}"),
            Err(_) => tracing::warn!("dead room was not given back: a panic"),
        }
    }
}
