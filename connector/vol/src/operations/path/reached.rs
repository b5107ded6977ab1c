//! Where the path of a change leads, and which file it has come to where it fails.
//!
//! A path that goes through an external link leads into a file that processes open together. There they tell each other what came of
//! the change. So a process whose path breaks off there tells that in the same file: the others wait for it.

use std::sync::Arc;

use h5lake_container::GroupSpec;

use crate::error::Result;
use crate::operations::path::{Base, LinkPlace, Location, ResolvedObject};
use crate::session::{Session, registry};
use crate::thread_state::{OfThisThread, ThreadState, ThreadValue};

thread_local! {
    /// The file that the path of a change has come to, while this thread follows one.
    static COME_TO: ThreadState<Option<Arc<Session>>> = const { ThreadState::new(None) };
}

/// What a path leads to.
pub trait InFile {
    /// The session of its file.
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

/// What the path of a change has led to.
pub struct Reached<T> {
    /// The file that it lies in, or in which the path broke off.
    pub file: Arc<Session>,
    /// What it is.
    pub found: Result<T>,
}

impl<T> Reached<T> {
    /// Whether that is another container than the one of this file.
    pub fn is_outside(&self, from: &Session) -> bool {
        !Arc::ptr_eq(&self.file.container, &from.container)
    }
}

/// What becomes of groups that are missing on the way to a link.
#[derive(Clone, Copy)]
pub enum MissingGroups<'a> {
    /// They are an error.
    Fail,
    /// They are made like this.
    Make(&'a GroupSpec),
    /// Nothing is made: the call has failed, and follows the path only as the other processes do, which may make them.
    FailAsOthersMake,
}

impl<'a> MissingGroups<'a> {
    /// As a link's creation list says, in a call that `has_failed` already or not.
    pub fn of(spec: Option<&'a GroupSpec>, has_failed: bool) -> Self {
        match spec {
            None => Self::Fail,
            Some(_) if has_failed => Self::FailAsOthersMake,
            Some(spec) => Self::Make(spec),
        }
    }

    pub(super) fn spec(self) -> Option<&'a GroupSpec> {
        match self {
            Self::Make(spec) => Some(spec),
            Self::Fail | Self::FailAsOthersMake => None,
        }
    }

    /// Whether some process may make groups.
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

/// The path that this thread follows, if it is one of a change, goes on in this file.
pub(super) fn come_to(file: &Arc<Session>) {
    // The file before it may close with its last holder: not while the state is in use.
    let before =
        COME_TO.with_borrow_mut(|last| last.as_mut().map(|last| std::mem::replace(last, file.clone())));
    drop(before);
}

/// Runs what may call functions of the application: these follow paths of their own.
pub(super) fn apart<T>(body: impl FnOnce() -> T) -> T {
    let _apart = COME_TO.scoped(None);
    body()
}

impl Base {
    /// The object that a change is made to, as [`find`](Self::find) finds it.
    pub fn reach(&self, location: &Location<'_>) -> Reached<ResolvedObject> {
        reach(&self.session, || self.find(location))
    }

    /// The place of a link that is changed, as [`link_place`](Self::link_place) finds it.
    pub fn reach_link(&self, location: &Location<'_>, missing: MissingGroups<'_>) -> Reached<LinkPlace> {
        reach(&self.session, || self.link_place(location, missing))
    }

    /// After a change in a file that a path has led to, and that came to `done`. Where no file of that container is open to write, no
    /// later close of the program's would tell that the change could not be committed: it is committed now. Processes that have the
    /// file open together do that together, so it fails in all if it failed in one.
    ///
    /// # Errors
    /// What the change came to; those of the commit.
    pub fn finish_change<T>(&self, file: &Arc<Session>, done: Result<T>) -> Result<T> {
        if file.sharers().is_some() {
            // What the program has opened, and may have mounted, is committed with its file.
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
