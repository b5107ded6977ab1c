//! Reads the links of a group page by page in the order of their names, so that a program that walks through a group
//! needs no list of all links.

use crate::{Container, ObjectId, Result};
use bytes::Bytes;
use h5lake_ledger::{ENTRIES_PER_SCAN, is_last_page};
use h5lake_records::keys;
use h5lake_records::types::Link;

/// The position of a walk through the links of a group.
#[derive(Debug)]
pub struct LinkPages {
    group: ObjectId,
    after: Option<Bytes>,
    is_done: bool,
}

impl LinkPages {
    /// Number of links in a page, plus a few more if long names have the same beginning.
    pub const LINKS: usize = ENTRIES_PER_SCAN;

    /// Starts before the first link of a group.
    pub fn of(group: ObjectId) -> Self {
        Self { group, after: None, is_done: false }
    }
}

impl Container {
    /// Returns the next links of a group in the order of their names; none after the last link.
    ///
    /// # Errors
    /// `NotFound` and `WrongKind` for an object that is not a group; those of the ledger.
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
            // Keys of long names with the same beginning are in the order of their hashes, so they must be in one page.
            if links.last().is_none_or(|last| last.name.len() <= keys::MAX_PLAIN_NAME) {
                break;
            }
        }
        links.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::memory;
    use crate::{CharSet, LinkTarget};

    #[test]
    fn links_are_paged_in_the_order_of_their_names() {
        let c = memory().create();
        let mut names: Vec<Vec<u8>> = (0..1000).map(|n| format!("{n:05}").into_bytes()).collect();
        // The end of the first page is among names with the same beginning that are too long for keys.
        names.extend((0..50).map(|n| format!("{:a<1100}{n:02}", "").into_bytes()));
        names.extend((0..1500).map(|n| format!("b{n:05}").into_bytes()));
        for name in names.iter().rev() {
            c.link_create(c.root(), name, LinkTarget::Soft(b"x".to_vec()), CharSet::Utf8).unwrap();
        }
        let (mut found, mut pages) = (Vec::new(), LinkPages::of(c.root()));
        loop {
            let page = c.next_links(&mut pages).unwrap();
            assert!(page.len() <= 2 * LinkPages::LINKS);
            if page.is_empty() {
                break;
            }
            found.extend(page.into_iter().map(|link| link.name));
        }
        assert_eq!(found, names);
    }
}
