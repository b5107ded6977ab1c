//! The operations of a session together with the other processes that have its file open.

use std::sync::Arc;

use h5lake_container::{Dataset, Selection};

use crate::error::Result;
use crate::session::collective::{CollectiveChange, CollectiveFile};
use crate::session::{OpenedBy, Session, registry};

impl Session {
    /// Returns the processes that have the file open together with this process, if there is more than one.
    pub fn sharers(&self) -> Option<&Arc<CollectiveFile>> {
        self.together.as_ref().filter(|together| together.has_several_processes())
    }

    /// See [`CollectiveFile::before_read`].
    ///
    /// # Errors
    /// The errors of the container.
    pub fn before_read(&self, dataset: &Dataset, selection: &Selection) -> Result<()> {
        match &self.together {
            Some(together) => together.before_read(&self.container, dataset, selection),
            None => Ok(()),
        }
    }

    /// See [`CollectiveFile::after_write`].
    ///
    /// # Errors
    /// The error of the write; the errors of the container.
    pub fn after_write(&self, dataset: &Dataset, selection: &Selection, done: Result<()>) -> Result<()> {
        match &self.together {
            Some(together) => together.after_write(&self.container, dataset, selection, done),
            None => done,
        }
    }

    /// Makes or resizes a dataset in a collective call; see [`CollectiveFile::change`].
    ///
    /// # Errors
    /// If any process failed.
    pub fn change_structure<T>(&self, kind: CollectiveChange, body: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.writing_sharers() {
            Some(together) => together.change(&self.container, kind, self.is_alone(), body),
            None => body(),
        }
    }

    /// Makes an object other than a dataset in a collective call; see [`CollectiveFile::make`].
    ///
    /// # Errors
    /// If any process failed.
    pub fn make_together<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.writing_sharers() {
            Some(together) => together.make(&self.container, self.is_alone(), body),
            None => body(),
        }
    }

    /// Ends a change that all processes have made through a path from another file; see [`CollectiveFile::finish`].
    ///
    /// # Errors
    /// If any process failed.
    pub fn finish_together<T>(&self, done: Result<T>) -> Result<T> {
        match self.writing_sharers() {
            Some(together) => together.finish(&self.container, self.is_alone(), done),
            None => done,
        }
    }

    /// Prepares a collective operation that depends on elements written by any process; see
    /// [`CollectiveFile::settle`].
    ///
    /// # Errors
    /// If any process failed.
    pub fn settle(&self) -> Result<()> {
        match self.writing_sharers() {
            Some(together) => together.settle(&self.container),
            None => Ok(()),
        }
    }

    /// Ends a change that all processes have made through an object of this file, or through a path into it, with the
    /// outcome `done` in this process. For a file that a link has led to, no flush or close would report a failure or
    /// commit the change: so both are done now.
    ///
    /// # Errors
    /// The error of the change; an error if it failed in any process.
    pub fn finish_if_followed<T>(&self, done: Result<T>) -> Result<T> {
        match self.opened_by {
            OpenedBy::Link => self.finish_together(done),
            OpenedBy::Program => done,
        }
    }

    /// Gets numbers for new objects before all processes follow a path into the file that may make groups: then no
    /// process can fail before that message.
    ///
    /// # Errors
    /// If any process failed.
    pub fn prepare_number(&self) -> Result<()> {
        match self.writing_sharers() {
            Some(_) => Ok(self.container.prepare_number()?),
            None => Ok(()),
        }
    }

    /// Moves to the commits of other processes, before this process reads stored metadata independently.
    ///
    /// # Errors
    /// The errors of the container.
    pub fn observe_remote_commits(&self) -> Result<()> {
        match self.writing_sharers() {
            Some(together) => together.observe_remote_commits(&self.container),
            None => Ok(()),
        }
    }

    /// Returns whether this process has changes that have to be committed collectively.
    pub fn has_changes_together(&self) -> bool {
        self.writing_sharers().is_some() && self.container.has_changes()
    }

    fn writing_sharers(&self) -> Option<&Arc<CollectiveFile>> {
        self.sharers().filter(|_| self.container.writable())
    }

    /// Returns whether the program has no file of the container open, so that no flush or close of a file commits a
    /// change.
    fn is_alone(&self) -> bool {
        // Nearly always the program has this very file open.
        let is_open = self.writable && self.has_file_open();
        !is_open && !registry::is_in_use(&self.container)
    }
}
