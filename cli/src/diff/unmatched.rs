//! Objects that only one of the compared containers has.

use h5lake_container::{Container, ErrorKind, Link, LinkTarget, ObjectId, ObjectInfo, ObjectKind};

use super::difference::Unmatched;
use super::{Diff, MAX_GROUPS};
use crate::Failure;
use crate::walk::Links;

/// The number and the size of objects.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subtree {
    pub(super) objects: u64,
    /// The bytes of all elements of the datasets, without filters.
    pub(super) bytes: u64,
}

/// Returns the properties of an object that a link leads to, or `None` if there is no such object.
fn linked(container: &Container, id: ObjectId) -> Result<Option<ObjectInfo>, Failure> {
    match container.object_info(id) {
        Ok(info) => Ok((info.link_count > 0).then_some(info)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Diff {
    /// Returns whether several hard links lead to one of two objects.
    pub(super) fn has_several_links(&self, ids: [ObjectId; 2]) -> Result<bool, Failure> {
        for (container, id) in self.both.iter().zip(ids) {
            if linked(container, id)?.is_some_and(|info| info.link_count > 1) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Describes a link that only container `n` has. A statistic also counts the objects that the link leads to.
    pub(super) fn unmatched(&mut self, n: usize, link: &Link, text: String) -> Result<Unmatched, Failure> {
        let (text, objects) = match link.target {
            LinkTarget::Hard(id) if self.report.is_stat() => match self.subtree(n, id)? {
                None => (format!("link to {text}"), None),
                objects => (text, objects),
            },
            _ => (text, None),
        };
        Ok(Unmatched { text, objects })
    }

    /// Counts an object of container `n` and the objects below it, without the objects that the other version of the container has,
    /// and without the objects that were counted before. Returns `None` if no object is left.
    fn subtree(&mut self, n: usize, id: ObjectId) -> Result<Option<Subtree>, Failure> {
        let mut found = Subtree::default();
        let mut groups = Vec::new();
        self.count(n, id, &mut found, &mut groups)?;
        while let Some(group) = groups.pop() {
            let mut links = Links::of(group);
            while let Some(link) = links.next(&self.both[n])? {
                if let LinkTarget::Hard(id) = link.target {
                    self.count(n, id, &mut found, &mut groups)?;
                }
            }
            if groups.len() > MAX_GROUPS {
                return Err("a group has too many groups below it; compare without --stat".into());
            }
        }
        Ok((found.objects > 0).then_some(found))
    }

    /// Counts one object, and adds it to `groups` if it is a group.
    fn count(
        &mut self,
        n: usize,
        id: ObjectId,
        found: &mut Subtree,
        groups: &mut Vec<ObjectId>,
    ) -> Result<(), Failure> {
        let Some(info) = linked(&self.both[n], id)? else { return Ok(()) };
        // Each cycle of groups contains the root, or a group with several links.
        if self.counted[n].contains(&id)
            || (self.is_same_container && linked(&self.both[1 - n], id)?.is_some())
        {
            return Ok(());
        }
        if info.link_count > 1 {
            self.counted[n].insert(id);
        }
        found.objects += 1;
        match info.kind {
            ObjectKind::Group => groups.push(id),
            ObjectKind::Dataset => {
                let dataset = self.both[n].dataset(id)?;
                let bytes = dataset.space().points()?.saturating_mul(dataset.datatype().size);
                found.bytes = found.bytes.saturating_add(bytes);
            }
            ObjectKind::Datatype => (),
        }
        Ok(())
    }
}
