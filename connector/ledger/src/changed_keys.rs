//! Differences between two versions of a container. The comparison skips the pages that both versions share.

use std::collections::{BTreeSet, HashSet};

use bytes::Bytes;

use crate::address::PageRef;
use crate::error::Result;
use crate::ledger::Ledger;
use crate::tree::Tree;

/// The number of pages that are read at once.
const PAGES_AT_ONCE: usize = 64;

impl Ledger {
    /// Returns the keys for which this handle's committed version has other values than another version of the same
    /// container, in ascending order. Reads the branches of both maps, and the leaves that the maps do not share.
    ///
    /// # Errors
    /// Read errors.
    pub fn keys_changed_since(&self, earlier: &Self) -> Result<Vec<Bytes>> {
        let (newer_logged, newer_root) = self.logged();
        let (earlier_logged, earlier_root) = earlier.logged();
        let mut keys: BTreeSet<Bytes> = newer_logged.into_iter().chain(earlier_logged).collect();
        let (newer, older) = (self.tree(newer_root), earlier.tree(earlier_root));
        let both = (leaves(&newer)?, leaves(&older)?);
        add_keys(&newer, both.0.difference(&both.1), &mut keys)?;
        add_keys(&older, both.1.difference(&both.0), &mut keys)?;
        let mut out = Vec::new();
        for key in keys {
            if self.committed(&key)? != earlier.committed(&key)? {
                out.push(key);
            }
        }
        Ok(out)
    }

    /// Returns the keys of the log, and the root of the checkpoint.
    fn logged(&self) -> (Vec<Bytes>, Option<PageRef>) {
        let s = self.lock();
        (s.log.keys().map(|key| key.to_bytes()).collect(), s.root)
    }
}

/// Returns the leaves of a map. Only branches are read, and a root that is a leaf.
fn leaves(tree: &Tree<'_>) -> Result<HashSet<PageRef>> {
    let mut found = HashSet::new();
    let Some(root) = tree.root else { return Ok(found) };
    let (mut level, mut above) = (vec![root], None);
    loop {
        let mut next = Vec::new();
        let mut here = 0;
        for some in level.chunks(PAGES_AT_ONCE) {
            for (place, page) in some.iter().zip(tree.pages(some)?) {
                // The level decreases by one at each step, so a walk always ends.
                if above.is_some_and(|above| page.level + 1 != above) {
                    return Err(tree.damaged("a child of the wrong level"));
                }
                here = page.level;
                if page.level == 0 {
                    found.insert(*place);
                    continue;
                }
                let children = tree.children(&page)?;
                if page.level == 1 { found.extend(children) } else { next.extend(children) }
            }
        }
        if next.is_empty() {
            return Ok(found);
        }
        (level, above) = (next, Some(here));
    }
}

fn add_keys<'l>(
    tree: &Tree<'_>,
    leaves: impl Iterator<Item = &'l PageRef>,
    keys: &mut BTreeSet<Bytes>,
) -> Result<()> {
    let leaves: Vec<PageRef> = leaves.copied().collect();
    for some in leaves.chunks(PAGES_AT_ONCE) {
        for page in tree.pages(some)? {
            let entries = tree.entries(&page)?;
            keys.extend((0..entries.len()).map(|n| Bytes::copy_from_slice(entries.key(n))));
        }
    }
    Ok(())
}
