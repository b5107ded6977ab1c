//! The target of a changed path, and the file that the path has reached if it fails.
//!
//! A path that goes through an external link leads into a file that processes open together. The processes exchange
//! the outcome of the change in that file. So a process with a path that fails there reports the failure in the same
//! file, because the other processes wait for it.

use std::sync::Arc;

use h5lake_container::GroupSpec;

use crate::error::Result;
use crate::operations::path::{Base, LinkPlace, Location, ResolvedObject};
use crate::session::{Session, registry};
use crate::thread_state::{OfThisThread, ThreadState, ThreadValue};

thread_local! {
    /// The file that the path of a change has reached, while this thread follows such a path.
    static COME_TO: ThreadState<Option<Arc<Session>>> = const { ThreadState::new(None) };
}

/// A target of a path.
pub trait InFile {
    /// Returns the session of the target's file.
    fn file(&self) -> &Arc<Session>;
}

impl InFile for ResolvedObject {
    fn file(&self) -> &Arc<Session> {
        &self.session
    }
}

impl InFile for LinkPlace {
    fn file(&self) -> &Arc<Session> {
        &self.session
    }
}

/// The result of following the path of a change.
pub struct Reached<T> {
    /// The file that contains the target, or in which the path failed.
    pub file: Arc<Session>,
    /// The target.
    pub found: Result<T>,
}

impl<T> Reached<T> {
    /// Returns whether the file is another container than the one of `from`.
    pub fn is_outside(&self, from: &Session) -> bool {
        !Arc::ptr_eq(&self.file.container, &from.container)
    }
}

/// The treatment of missing groups on the path to a link.
#[derive(Clone, Copy)]
pub enum MissingGroups<'a> {
    /// A missing group is an error.
    Fail,
    /// Missing groups are made with these properties.
    Make(&'a GroupSpec),
    /// No group is made: the call has failed, and follows the path only because the other processes do, which may make
    /// groups.
    FollowOnly,
}

impl<'a> MissingGroups<'a> {
    /// Returns the treatment according to a link's creation list, in a call that `has_failed` already or not.
    pub fn of(spec: Option<&'a GroupSpec>, has_failed: bool) -> Self {
        match spec {
            None => Self::Fail,
            Some(_) if has_failed => Self::FollowOnly,
            Some(spec) => Self::Make(spec),
        }
    }

    pub(super) fn spec(self) -> Option<&'a GroupSpec> {
        match self {
            Self::Make(spec) => Some(spec),
            Self::Fail | Self::FollowOnly => None,
        }
    }

    /// Returns whether some process may make groups.
    pub(super) fn may_be_made(self) -> bool {
        !matches!(self, Self::Fail)
    }
}

/// Follows the path of a change from `start` on.
pub fn reach<T: InFile>(start: &Arc<Session>, find: impl FnOnce() -> Result<T>) -> Reached<T> {
    let following = COME_TO.scoped(Some(start.clone()));
    let found = find();
    let last = following.end().flatten();
    let file = match &found {
        Ok(found) => found.file().clone(),
        Err(_) => last.unwrap_or_else(|| start.clone()),
    };
    Reached { file, found }
}

/// Notes that the path of a change which this thread follows, if any, has reached this file.
pub(super) fn come_to(file: &Arc<Session>) {
    // The previous file may close with its last reference, so it is dropped only after the state is released.
    let before =
        COME_TO.with_borrow_mut(|last| last.as_mut().map(|last| std::mem::replace(last, file.clone())));
    drop(before);
}

/// Runs code that may call functions of the application: these follow paths of their own.
pub(super) fn apart<T>(body: impl FnOnce() -> T) -> T {
    let _apart = COME_TO.scoped(None);
    body()
}

impl Base {
    /// Returns the object to which a change is made, as [`find`](Self::find) finds it.
    pub fn reach(&self, location: &Location<'_>) -> Reached<ResolvedObject> {
        reach(&self.session, || self.find(location))
    }

    /// Returns the place of a link that is changed, as [`link_place`](Self::link_place) finds it.
    pub fn reach_link(&self, location: &Location<'_>, missing: MissingGroups<'_>) -> Reached<LinkPlace> {
        reach(&self.session, || self.link_place(location, missing))
    }

    /// Ends a change with the outcome `done` in a file that a path has led to. If the program has no file of that
    /// container open for writing, no later close of the program's would report that the change could not be
    /// committed: so it is committed now. Processes that have the file open together do so together: if it failed in
    /// one process, it fails in all.
    ///
    /// # Errors
    /// The error of the change; the errors of the commit.
    pub fn finish_change<T>(&self, file: &Arc<Session>, done: Result<T>) -> Result<T> {
        if file.sharers().is_some() {
            // A file that the program has opened, and may have mounted, is committed by the program's own flush or
            // close.
            return file.finish_if_followed(done);
        }
        let done = done?;
        let is_outside = !Arc::ptr_eq(&self.session.container, &file.container);
        if is_outside && !registry::has_writing_file(&file.container) {
            file.commit_to_close(Ok(()))?;
        }
        Ok(done)
    }
}
