//! The links of a group, read page by page in the order of their names: a program that goes through a group needs no list of all links.

use crate::entries::{ENTRIES_PER_SCAN, is_last_page};
use crate::types::Link;
use crate::{Container, ObjectId, Result, keys};
use bytes::Bytes;

/// The position of a walk through the links of a group.
#[derive(Debug)]
pub struct LinkPages {
    group: ObjectId,
    after: Option<Bytes>,
    is_done: bool,
}

impl LinkPages {
    /// Links that a page has, and a few more where long names begin alike.
    pub const LINKS: usize = ENTRIES_PER_SCAN;

    /// Starts before the first link of a group.
    pub fn of(group: ObjectId) -> Self {
        Self { group, after: None, is_done: false }
    }
}

impl Container {
    /// The next links of a group in the order of their names; none behind the last link.
    ///
    /// # Errors
    /// `NotFound` and `WrongKind` for what is not a group; those of the ledger.
    pub fn next_links(&self, pages: &mut LinkPages) -> Result<Vec<Link>> {
        let mut links: Vec<Link> = Vec::new();
        self.group(&mut self.state(), pages.group)?;
        while !pages.is_done {
            let prefix = keys::of(keys::LINK, pages.group.0);
            let page = self.ledger.scan_prefix(&prefix, pages.after.as_deref(), LinkPages::LINKS)?;
            pages.is_done = is_last_page(&page, LinkPages::LINKS);
            for (key, value) in page {
                links.push(self.decode_link(&key, value)?);
                pages.after = Some(key);
            }
            // Keys of long names that begin alike are in the order of hashes: they stay together.
            if links.last().is_none_or(|last| last.name.len() <= keys::MAX_PLAIN_NAME) {
                break;
            }
        }
        links.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(links)
    }
}
