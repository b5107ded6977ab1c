//! Paths through a hierarchy of mounted files. They are followed link by link: any link may lead to a mount point, and
//! a path or a soft link that begins with `/` starts at the root of the file at the bottom (`H5G_rootof`).

use std::collections::VecDeque;
use std::sync::Arc;

use h5lake_container::{LinkTarget, ObjectId, ends_in_dot};

use crate::error::{Error, Result};
use crate::operations::path::mount::bottom_of;
use crate::operations::path::reached::come_to;
use crate::operations::path::{Base, Location, Resolved, Traversal, components, join, root_path};
use crate::session::Session;

/// The result of following a path.
pub enum Walked {
    /// The path leads to an object.
    Object(Base),
    /// A component is missing.
    Missing(Gap),
    /// The path ends at an external link that cannot be followed.
    Dangling(Error),
}

/// The position at which a path fails.
pub struct Gap {
    /// The group that lacks a link.
    pub at: Base,
    /// The missing component and those behind it; `None` if a soft link led there.
    pub missing_path: Option<Vec<u8>>,
    /// True if the missing component is the last.
    pub is_end: bool,
}

/// A component of a path, or of a soft link on it.
struct Component {
    name: Vec<u8>,
    is_from_soft_link: bool,
}

/// The remaining path.
struct Walk {
    at: Base,
    pending: VecDeque<Component>,
    ends_in_dot: bool,
    how: Traversal,
}

impl Base {
    /// Returns whether a path may lead into another file through a mount.
    pub(super) fn is_in_hierarchy(&self) -> bool {
        let mounts = &self.session.mounts;
        !mounts.children.lock().is_empty() || mounts.parent.lock().is_some()
    }

    /// Returns the root of the file at the bottom of a file's hierarchy.
    pub fn from_bottom(session: &Arc<Session>) -> Self {
        let session = bottom_of(session);
        Self { id: session.container.root(), session, path: Some(root_path()) }
    }

    /// Returns whether a path through mounted files leads to an object of one of these files.
    pub fn leads_to(&self, path: &[u8], session: &Arc<Session>, id: ObjectId) -> bool {
        let found = self.is_in_hierarchy().then(|| self.find(&Location::ByName { name: path, access: 0 }));
        matches!(found, Some(Ok(found)) if found.id == id && Arc::ptr_eq(&found.session, session))
    }

    /// Returns the root of the file that is mounted on the object, or the object itself.
    pub(super) fn entered(self) -> Self {
        let child = self.session.mounts.children.lock().get(&self.id).cloned();
        match child {
            Some(session) => {
                // Background work is completed, like for the target of an external link.
                session.complete();
                come_to(&session);
                Self { id: session.container.root(), session, path: self.path }.entered()
            }
            None => self,
        }
    }

    /// Follows a path.
    ///
    /// # Errors
    /// If a link on the path cannot be followed.
    pub(super) fn walk(&self, name: &[u8], how: &Traversal) -> Result<Resolved<Walked>> {
        let start = match name.first() {
            Some(b'/') => Self::from_bottom(&self.session),
            _ => Self { session: self.session.clone(), id: self.id, path: self.path.clone() },
        };
        come_to(&start.session);
        let pending =
            components(name).map(|name| Component { name: name.to_vec(), is_from_soft_link: false });
        let walk = Walk {
            // A file that is mounted on the start itself is not entered (`H5G__traverse_real`).
            at: start,
            pending: pending.collect(),
            ends_in_dot: ends_in_dot(name),
            how: Traversal { ..*how },
        };
        walk.finish()
    }
}

impl Walk {
    fn finish(mut self) -> Result<Resolved<Walked>> {
        while let Some(component) = self.pending.pop_front() {
            let Some(link) = self.at.session.container.link(self.at.id, &component.name)? else {
                return Ok(Resolved::Here(Walked::Missing(self.gap(&component))));
            };
            if !component.is_from_soft_link {
                self.at.path = self.at.path.as_deref().map(|path| join(path, &component.name));
            }
            match &link.target {
                LinkTarget::Hard(id) => {
                    self.at.id = *id;
                    self.at = self.at.entered();
                }
                LinkTarget::Soft(path) => self.enter_soft_link(path)?,
                _ => match self.at.follow(self.at.id, &link.target, &self.how) {
                    Ok(Resolved::Here(there)) => self.at = there,
                    Ok(Resolved::Native(path)) => {
                        return Ok(Resolved::Native(path.further(&self.remaining_path())));
                    }
                    Err(error) if self.is_at_end() => return Ok(Resolved::Here(Walked::Dangling(error))),
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(Resolved::Here(Walked::Object(self.at)))
    }

    fn enter_soft_link(&mut self, path: &[u8]) -> Result<()> {
        self.how = self.how.one_less()?;
        if path.first() == Some(&b'/') {
            // The object keeps the path of the link.
            let known = self.at.path.take();
            self.at = Base { path: known, ..Base::from_bottom(&self.at.session) };
            come_to(&self.at.session);
        }
        for name in components(path).collect::<Vec<_>>().into_iter().rev() {
            self.pending.push_front(Component { name: name.to_vec(), is_from_soft_link: true });
        }
        Ok(())
    }

    fn is_at_end(&self) -> bool {
        self.pending.is_empty() && !self.ends_in_dot
    }

    fn remaining_path(&self) -> Vec<u8> {
        let names: Vec<_> = self.pending.iter().map(|component| component.name.as_slice()).collect();
        names.join(&b'/')
    }

    fn gap(self, missing: &Component) -> Gap {
        let names = std::iter::once(missing).chain(&self.pending);
        let names: Vec<_> = names.map(|component| component.name.as_slice()).collect();
        let missing_path = (!missing.is_from_soft_link).then(|| names.join(&b'/'));
        Gap { missing_path, is_end: self.is_at_end(), at: self.at }
    }
}
