//! Checkpoints: the log and the staged changes are written into the pages of a new B-tree.
//!
//! Only pages that a change affects, and their ancestors, are rewritten. A page that becomes small is merged with
//! its right neighbour, so that deletes do not leave many tiny pages.

use std::sync::Arc;

use bytes::Bytes;

use crate::address::{Address, PageRef};
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::memtable::Changed;
use crate::page::{Draft, Page, PageEntries, Stored};
use crate::payload;
use crate::storage::PageSizes;
use crate::tree::{KeyRange, OUT_OF_RANGE, Tree};

/// The minimum number of children before a branch page counts as full.
const MIN_CHILDREN: u64 = 4;

/// Changes by key, ascending.
pub(crate) type Changes<'c> = [Changed<'c>];

/// A node as its parent sees it.
#[derive(Debug, Clone)]
struct Child {
    key: Bytes,
    at: PageRef,
}

/// Writes the pages of `tree` with `changes` applied and returns the new root. Pages and spilled values that are not
/// part of the new tree are passed to [`checkpoint_free`](crate::storage::StorageCheckpoints::checkpoint_free).
pub(crate) fn write(tree: Tree<'_>, changes: &Changes<'_>) -> Result<Option<PageRef>> {
    let f = CheckpointWriter { tree, shape: tree.storage.properties().sizes };
    let (mut level, mut nodes) = match tree.root {
        None => {
            let mut b = Builder::new(&f, 0);
            f.merge(None, changes, &mut b)?;
            (0, b.finish()?)
        }
        Some(at) => {
            let root = tree.page(&at)?;
            let top = Child { key: tree.entries(&root)?.key_bytes(0), at };
            (root.level, f.rewrite(vec![top], root.level, changes, None)?)
        }
    };
    while nodes.len() > 1 {
        level += 1;
        let mut b = Builder::new(&f, level);
        for n in &nodes {
            b.push_child(n)?;
        }
        nodes = b.finish()?;
    }
    let Some(mut root) = nodes.pop() else { return Ok(None) };
    // A branch with one child is useless: the child becomes the root.
    while level > 0 {
        let page = tree.page(&root.at)?;
        let all = tree.entries(&page)?;
        if all.len() > 1 {
            break;
        }
        f.retire(&root.at)?;
        root.at = f.child(&all, 0)?;
        level -= 1;
    }
    Ok(Some(root.at))
}

/// Rewrites the pages and spilled values of `tree` that `must_move` selects, and the pages that point to them. Returns
/// the new root. The old pages and values are freed as by [`write()`].
pub(crate) fn relocate(tree: Tree<'_>, must_move: &MustMove<'_>) -> Result<Option<PageRef>> {
    let Some(root) = tree.root else { return Ok(None) };
    let writer = CheckpointWriter { tree, shape: tree.storage.properties().sizes };
    let level = tree.page(&root)?.level;
    let moved = Relocation { writer, must_move }.gathered(&root, level, &KeyRange::default())?;
    Ok(Some(moved.unwrap_or(root)))
}

struct CheckpointWriter<'a> {
    tree: Tree<'a>,
    shape: PageSizes,
}

impl CheckpointWriter<'_> {
    fn damaged(&self, why: &str) -> Error {
        Error::corrupt(self.tree.storage.target(), "page", why)
    }

    fn child(&self, page: &PageEntries<'_>, n: usize) -> Result<PageRef> {
        page.child(n).map_err(|why| self.damaged(why))
    }

    fn retire(&self, p: &PageRef) -> Result<()> {
        self.tree.cache.forget(p);
        self.tree.storage.checkpoint_free(&p.place)
    }

    /// Reads a page, which must have the level and the range of keys that its parent states. Therefore no page can be
    /// valid below two parents.
    fn page(&self, at: &PageRef, level: u8) -> Result<Arc<Page>> {
        let page = self.tree.page(at)?;
        if page.level != level {
            return Err(self.damaged("a child of the wrong level"));
        }
        Ok(page)
    }

    fn entries<'p>(&self, page: &'p Page, range: &KeyRange) -> Result<PageEntries<'p>> {
        let all = self.tree.entries(page)?;
        if range.holds(&all) { Ok(all) } else { Err(self.damaged(OUT_OF_RANGE)) }
    }

    /// Rewrites those sibling nodes, all of `level`, that changes affect. The keys of the last node are before `end`.
    fn rewrite(
        &self,
        nodes: Vec<Child>,
        level: u8,
        changes: &Changes<'_>,
        end: Option<&Bytes>,
    ) -> Result<Vec<Child>> {
        let mut b = Builder::new(self, level);
        let mut remaining = changes;
        for (n, node) in nodes.iter().enumerate() {
            let split = match nodes.get(n + 1) {
                Some(next) => remaining.partition_point(|(k, _)| k.as_ref() < next.key.as_ref()),
                None => remaining.len(),
            };
            let (mine, after) = remaining.split_at(split);
            remaining = after;
            if mine.is_empty() && !b.hungry() {
                b.keep(node)?;
                continue;
            }
            let page = self.page(&node.at, level)?;
            let end = nodes.get(n + 1).map(|next| &next.key).or(end);
            let all = self.entries(&page, &KeyRange::between(&node.key, end))?;
            self.retire(&node.at)?;
            if level == 0 {
                self.merge(Some(&all), mine, &mut b)?;
                continue;
            }
            let mut kids = Vec::with_capacity(all.len());
            for i in 0..all.len() {
                kids.push(Child { key: all.key_bytes(i), at: self.child(&all, i)? });
            }
            let kids = if mine.is_empty() { kids } else { self.rewrite(kids, level - 1, mine, end)? };
            for k in &kids {
                b.push_child(k)?;
            }
        }
        b.finish()
    }

    /// Pushes a leaf's entries, with the changes applied to them.
    fn merge(
        &self,
        leaf: Option<&PageEntries<'_>>,
        changes: &Changes<'_>,
        b: &mut Builder<'_, '_>,
    ) -> Result<()> {
        let mut remaining = changes;
        for n in 0..leaf.map_or(0, PageEntries::len) {
            let Some(leaf) = leaf else { break };
            let key = leaf.key(n);
            let split = remaining.partition_point(|(k, _)| k.as_ref() < key);
            let (before, after) = remaining.split_at(split);
            remaining = after;
            self.push_all(before, b)?;
            let stored = leaf.stored(n).map_err(|why| self.damaged(why))?;
            match remaining.split_first() {
                Some(((k, new), after)) if k.as_ref() == key => {
                    remaining = after;
                    if let Stored::Spilled(e) = &stored {
                        self.tree.storage.checkpoint_free(e.place())?;
                    }
                    if let Some(v) = new {
                        self.put(k.as_ref(), v, b)?;
                    }
                }
                _ => b.push_value(key, &stored)?,
            }
        }
        self.push_all(remaining, b)
    }

    fn push_all(&self, changes: &Changes<'_>, b: &mut Builder<'_, '_>) -> Result<()> {
        for (k, v) in changes {
            if let Some(v) = v {
                self.put(k.as_ref(), v, b)?;
            }
        }
        Ok(())
    }

    fn put(&self, key: &[u8], value: &[u8], b: &mut Builder<'_, '_>) -> Result<()> {
        if value.len() <= self.shape.spill {
            return b.push_inline(key, value);
        }
        let place = self.tree.storage.checkpoint_write(value)?;
        b.push_value(key, &Stored::Spilled(Extent::of(place, value)))
    }
}

/// Returns whether a page or a spilled value must be moved.
type MustMove<'a> = dyn Fn(&Address) -> bool + 'a;

/// A walk over a tree that moves pages and spilled values.
struct Relocation<'a> {
    writer: CheckpointWriter<'a>,
    must_move: &'a MustMove<'a>,
}

impl Relocation<'_> {
    /// Moves a page of `level` and the pages below it. Returns the page's new address; `None` if the page and all pages
    /// below it stay.
    fn gathered(&self, at: &PageRef, level: u8, range: &KeyRange) -> Result<Option<PageRef>> {
        let page = self.writer.page(at, level)?;
        let all = self.writer.entries(&page, range)?;
        let (mut draft, mut moves) = (Draft::default(), (self.must_move)(&at.place));
        for n in 0..all.len() {
            moves |= match level.checked_sub(1) {
                Some(below) => self.gather_child(&all, n, (below, range), &mut draft)?,
                None => self.gather_value(&all, n, &mut draft)?,
            };
        }
        let Some((bytes, crc, _)) = draft.finish(level).filter(|_| moves) else { return Ok(None) };
        self.writer.retire(at)?;
        let place = self.writer.tree.storage.checkpoint_write(&bytes)?;
        Ok(Some(PageRef { place, crc }))
    }

    /// Moves a child of a page as [`gathered`](Self::gathered) does, with the child's level and range of keys.
    fn gather_child(
        &self,
        page: &PageEntries<'_>,
        n: usize,
        (below, range): (u8, &KeyRange),
        draft: &mut Draft,
    ) -> Result<bool> {
        let child = self.writer.child(page, n)?;
        let moved = self.gathered(&child, below, &range.of_child(page, n))?;
        draft.push_child(&page.key_bytes(n), &moved.unwrap_or(child));
        Ok(moved.is_some())
    }

    fn gather_value(&self, page: &PageEntries<'_>, n: usize, draft: &mut Draft) -> Result<bool> {
        let stored = page.stored(n).map_err(|why| self.writer.damaged(why))?;
        let moved = match &stored {
            Stored::Spilled(e) if (self.must_move)(e.place()) => self.moved_value(e)?,
            _ => {
                draft.push_value(page.key(n), &stored);
                return Ok(false);
            }
        };
        draft.push_value(page.key(n), &Stored::Spilled(moved));
        Ok(true)
    }

    fn moved_value(&self, e: &Extent) -> Result<Extent> {
        let storage = self.writer.tree.storage;
        let value = payload::read_all(storage, e)?;
        let place = storage.checkpoint_write(&value)?;
        storage.checkpoint_free(e.place())?;
        Ok(Extent::of(place, &value))
    }
}

/// Fills the pages of one level, from left to right.
struct Builder<'f, 'a> {
    writer: &'f CheckpointWriter<'a>,
    level: u8,
    draft: Draft,
    done: Vec<Child>,
}

impl<'f, 'a> Builder<'f, 'a> {
    fn new(writer: &'f CheckpointWriter<'a>, level: u8) -> Self {
        Self { writer, level, draft: Draft::default(), done: Vec::new() }
    }

    /// Returns whether the open page is so small that it should be merged with its neighbour.
    fn hungry(&self) -> bool {
        (1..self.wanted() / 4).contains(&self.draft.size())
    }

    /// Returns the number of bytes that a page of this level should have.
    fn wanted(&self) -> usize {
        if self.level == 0 { self.writer.shape.page } else { self.writer.shape.branch }
    }

    fn push_value(&mut self, key: &[u8], value: &Stored) -> Result<()> {
        self.draft.push_value(key, value);
        self.flush_if_full()
    }

    fn push_inline(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.draft.push_inline(key, value);
        self.flush_if_full()
    }

    fn push_child(&mut self, c: &Child) -> Result<()> {
        self.draft.push_child(&c.key, &c.at);
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> Result<()> {
        // However long the keys are, a branch has several children; otherwise the number of levels would have no limit.
        let enough = self.level == 0 || self.draft.count() >= MIN_CHILDREN;
        if enough && self.draft.size() >= self.wanted() { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if let Some((bytes, crc, key)) = self.draft.finish(self.level) {
            let tree = &self.writer.tree;
            let at = PageRef { place: tree.storage.checkpoint_write(&bytes)?, crc };
            if tree.storage.properties().is_over_network {
                tree.take_in(&at, bytes.into())?;
            }
            self.done.push(Child { key, at });
        }
        Ok(())
    }

    /// Adds an untouched node to the new tree without rewriting it.
    fn keep(&mut self, c: &Child) -> Result<()> {
        self.flush()?;
        self.done.push(c.clone());
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Child>> {
        self.flush()?;
        Ok(self.done)
    }
}
