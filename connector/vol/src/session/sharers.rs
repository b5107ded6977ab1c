//! What a session does with the other processes that have its file open.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use h5lake_container::{Dataset, Selection};

use crate::error::Result;
use crate::session::collective::{CollectiveChange, CollectiveFile};
use crate::session::{Session, registry};

impl Session {
    /// The processes that have the file open with this one, if there are others.
    pub fn sharers(&self) -> Option<&Arc<CollectiveFile>> {
        self.together.as_ref().filter(|together| together.has_others())
    }

    /// See [`CollectiveFile::before_read`].
    ///
    /// # Errors
    /// Those of the container.
    pub fn before_read(&self, dataset: &Dataset, selection: &Selection) -> Result<()> {
        match &self.together {
            Some(together) => together.before_read(&self.container, dataset, selection),
            None => Ok(()),
        }
    }

    /// See [`CollectiveFile::after_write`].
    ///
    /// # Errors
    /// Those of the container.
    pub fn after_write(&self, dataset: &Dataset, selection: &Selection) -> Result<()> {
        match &self.together {
            Some(together) => together.after_write(&self.container, dataset, selection),
            None => Ok(()),
        }
    }

    /// Makes or resizes a dataset, which all processes do; see [`CollectiveFile::change`].
    ///
    /// # Errors
    /// If any process failed.
    pub fn change_structure<T>(&self, kind: CollectiveChange, body: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.writing_sharers() {
            Some(together) => together.change(&self.container, kind, self.is_alone(), body),
            None => body(),
        }
    }

    /// Makes an object that is no dataset, which all processes do; see [`CollectiveFile::make`].
    ///
    /// # Errors
    /// If any process failed.
    pub fn make_together<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.writing_sharers() {
            Some(together) => together.make(&self.container, self.is_alone(), body),
            None => body(),
        }
    }

    /// Ends a change that all processes have made by a path from another file; see [`CollectiveFile::finish`].
    ///
    /// # Errors
    /// If any process failed.
    pub fn finish_together<T>(&self, done: Result<T>) -> Result<T> {
        match self.writing_sharers() {
            Some(together) => together.finish(&self.container, self.is_alone(), done),
            None => done,
        }
    }

    /// Before all processes do what depends on elements that any of them wrote.
    ///
    /// # Errors
    /// If any process failed.
    pub fn settle(&self) -> Result<()> {
        match self.writing_sharers() {
            Some(together) => together.settle(&self.container, 0).map(drop),
            None => Ok(()),
        }
    }

    fn writing_sharers(&self) -> Option<&Arc<CollectiveFile>> {
        self.sharers().filter(|_| self.container.writable())
    }

    /// Whether the file was opened for an external link, and the program has none of the container open to write: no flush or close of a
    /// file commits what is changed.
    fn is_alone(&self) -> bool {
        !self.is_applications.load(Ordering::Relaxed) && !registry::has_writing_file(self)
    }
}
