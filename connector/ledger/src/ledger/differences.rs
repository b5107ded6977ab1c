//! Differences between two versions: the entries that differ, found without reading the pages that both versions share.
//!
//! Pages are copied on write, so two versions of one container share every subtree that no commit between them changed.
//! A walk over both trees therefore skips a subtree as soon as both sides name the same page, and its cost grows with
//! the number of changed entries (times the height of the tree) instead of with the size of the container.

use std::cmp::Ordering;
use std::ops::Bound;

use bytes::Bytes;

use super::{Ledger, State};
use crate::address::PageRef;
use crate::error::Result;
use crate::key::Key;
use crate::memtable::{EMPTY, Memtable, range_of, value_in};
use crate::page::Stored;
use crate::tree::{KeyRange, OUT_OF_RANGE, READ_AHEAD_LEAVES, Tree};

/// The number of entries of a branch that are read in one batch.
const ENTRIES_PER_SCAN: usize = 512;

/// A part of one side's map that the walk has not reached yet.
#[derive(Debug)]
enum Node {
    /// A subtree. Its keys lie in `range`.
    Page {
        from: Bytes,
        at: PageRef,
        level: Option<u8>,
        range: KeyRange,
    },
    /// The entries of a branch that follow a key. A branch has no tree of its own.
    Scan {
        after: Option<Bytes>,
    },
    Entry {
        key: Bytes,
        value: Stored,
    },
}

impl Node {
    /// The smallest key that the node may contain.
    fn first_key(&self) -> &[u8] {
        match self {
            Self::Page { from: key, .. } | Self::Entry { key, .. } => key,
            Self::Scan { after } => after.as_deref().unwrap_or_default(),
        }
    }

    /// Orders nodes by their first keys. If the first keys are equal, the larger subtree comes first.
    fn order(&self, other: &Self) -> Ordering {
        let height = |node: &Self| match node {
            Self::Scan { .. } => u16::MAX,
            Self::Page { level, .. } => u16::from(level.unwrap_or(u8::MAX)) + 1,
            Self::Entry { .. } => 0,
        };
        self.first_key().cmp(other.first_key()).then(height(other).cmp(&height(self)))
    }

    fn page(&self) -> Option<&PageRef> {
        match self {
            Self::Page { at, .. } => Some(at),
            _ => None,
        }
    }
}

/// One of the two maps that are compared.
struct Side<'a> {
    ledger: &'a Ledger,
    tree: Tree<'a>,
    /// The walk visits the keys with this prefix.
    prefix: Bytes,
    /// The changes above the tree, from the log and from the staged changes.
    changes: Memtable,
    /// The nodes that the walk has not reached yet, with the next node last: at most the children of one page for each level.
    nodes: Vec<Node>,
}

impl<'a> Side<'a> {
    fn new(ledger: &'a Ledger, prefix: &[u8]) -> Self {
        let state = ledger.lock();
        let is_branch = ledger.branch.is_some();
        let (root, changes) = if is_branch { (None, Memtable::new()) } else { snapshot(&state, prefix) };
        let page = |at| Node::Page { from: Bytes::new(), at, level: None, range: KeyRange::default() };
        let scan = is_branch.then_some(Node::Scan { after: None });
        let nodes = root.map(page).or(scan).into_iter().collect();
        Self { ledger, tree: ledger.tree(root), prefix: Bytes::copy_from_slice(prefix), changes, nodes }
    }

    /// Returns whether keys from `from` on and before `to` can have the prefix.
    fn overlaps(&self, from: &[u8], to: Option<&[u8]>) -> bool {
        let is_before = to.is_some_and(|to| to <= &self.prefix[..]);
        !is_before && (from <= &self.prefix[..] || from.starts_with(&self.prefix))
    }

    /// Replaces the next node by its children, unless the next node is an entry.
    fn expand(&mut self, other: &Side<'_>) -> Result<()> {
        match self.nodes.pop() {
            Some(Node::Page { at, level, range, .. }) => {
                self.read_ahead(&at, level, other)?;
                self.expand_page(&at, level, &range)
            }
            Some(Node::Scan { after }) => self.expand_scan(after.as_deref()),
            entry => {
                self.nodes.extend(entry);
                Ok(())
            }
        }
    }

    fn expand_page(&mut self, at: &PageRef, level: Option<u8>, range: &KeyRange) -> Result<()> {
        let page = self.tree.page(at)?;
        if level.is_some_and(|level| level != page.level) {
            return Err(self.tree.damaged("a child of the wrong level"));
        }
        let entries = self.tree.entries(&page)?;
        if !range.holds(&entries) {
            return Err(self.tree.damaged(OUT_OF_RANGE));
        }
        let damaged = |why| self.tree.damaged(why);
        for n in (0..entries.len()).rev() {
            let key = entries.key_bytes(n);
            let node = if let Some(below) = page.level.checked_sub(1) {
                let end = (n + 1 < entries.len()).then(|| entries.key(n + 1));
                if !self.overlaps(&key, end) {
                    continue;
                }
                let at = entries.child(n).map_err(damaged)?;
                Node::Page { from: key, at, level: Some(below), range: range.of_child(&entries, n) }
            } else if key.starts_with(&self.prefix) {
                Node::Entry { key, value: entries.stored(n).map_err(damaged)? }
            } else {
                continue;
            };
            self.nodes.push(node);
        }
        Ok(())
    }

    fn expand_scan(&mut self, after: Option<&[u8]>) -> Result<()> {
        let entries = self.ledger.scan_prefix(&self.prefix, after, ENTRIES_PER_SCAN)?;
        if let Some((last, _)) = entries.last() {
            self.nodes.push(Node::Scan { after: Some(last.clone()) });
        }
        let entry = |(key, value)| Node::Entry { key, value: Stored::Inline(value) };
        self.nodes.extend(entries.into_iter().rev().map(entry));
        Ok(())
    }

    /// Reads the page `first` in one batch with the leaves that follow it and that the other side does not share.
    fn read_ahead(&self, first: &PageRef, level: Option<u8>, other: &Side<'_>) -> Result<()> {
        if level != Some(0) || !self.tree.storage.properties().is_in_store {
            return Ok(());
        }
        let following = self.nodes.iter().rev().map_while(|node| match node {
            Node::Page { at, level: Some(0), .. } => Some(at),
            _ => None,
        });
        let is_shared = |at: &&PageRef| other.nodes.iter().any(|node| node.page() == Some(at));
        let changed = following.filter(|at| !is_shared(at)).take(READ_AHEAD_LEAVES - 1);
        let wanted: Vec<PageRef> = std::iter::once(first).chain(changed).copied().collect();
        self.tree.pages(&wanted).map(drop)
    }

    /// Returns the value of a key; `in_tree` is the value that the tree has stored for it.
    fn value(&self, key: &[u8], in_tree: Option<Stored>) -> Result<Option<Bytes>> {
        match value_in(&self.changes, key) {
            Some(changed) => Ok(changed.clone()),
            None => in_tree.map(|stored| self.tree.load(stored)).transpose(),
        }
    }
}

/// Returns the root of a handle's tree, and a copy of the changes above it to keys with a prefix.
fn snapshot(state: &State, prefix: &[u8]) -> (Option<PageRef>, Memtable) {
    let (root, log) = match &state.spilled {
        // The spilled pages already contain the log.
        Some(spilled) => (spilled.root, &EMPTY),
        None => (state.root, &state.log),
    };
    let mut changes = Memtable::new();
    for layer in [log, &state.staged] {
        let from_prefix = range_of(layer, Bound::Included(prefix), Bound::Unbounded);
        let with_prefix = from_prefix.take_while(|(key, _)| key.as_ref().starts_with(prefix));
        changes.extend(with_prefix.map(|(key, value)| (Key::from(key.to_bytes()), value.clone())));
    }
    (root, changes)
}

/// A walk over the entries in which two maps differ, in the order of their keys (see [`Ledger::differences`]).
pub struct Differences<'a> {
    one: Side<'a>,
    other: Side<'a>,
    /// True if both handles show versions of one container, so that equal addresses contain equal bytes.
    shares: bool,
    /// The next key that the log or the staged changes of either side contain.
    change: Option<Key<'static>>,
    /// The next entry in which the trees differ.
    in_trees: Option<Differing>,
}

/// An entry in which two maps differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryDifference {
    /// The key.
    pub key: Bytes,
    /// The value in the first map; `None` if the map does not contain the key.
    pub one: Option<Bytes>,
    /// The value in the second map; `None` if the map does not contain the key.
    pub other: Option<Bytes>,
}

/// An entry in which two trees differ: the key, and the value that each tree has stored.
type Differing = (Bytes, [Option<Stored>; 2]);

impl Differences<'_> {
    /// Returns the next entry, in key order, in which the trees differ. Equal values that are stored in two places count as different.
    fn next_in_trees(&mut self) -> Result<Option<Differing>> {
        loop {
            let order = match (self.one.nodes.last(), self.other.nodes.last()) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(other)) => {
                    if self.shares && one.page().is_some() && one.page() == other.page() {
                        self.one.nodes.pop();
                        self.other.nodes.pop();
                        continue;
                    }
                    one.order(other)
                }
            };
            let first = if order.is_le() { self.one.nodes.last() } else { self.other.nodes.last() };
            if !matches!(first, Some(Node::Entry { .. })) {
                if order.is_le() {
                    self.one.expand(&self.other)?;
                } else {
                    self.other.expand(&self.one)?;
                }
                continue;
            }
            // If the order is equal, both nodes are entries, because a subtree with the same first key would come first.
            let one = if order.is_le() { self.one.nodes.pop() } else { None };
            let other = if order.is_ge() { self.other.nodes.pop() } else { None };
            if let Some(differing) = self.compared(one, other) {
                return Ok(Some(differing));
            }
        }
    }

    fn compared(&self, one: Option<Node>, other: Option<Node>) -> Option<Differing> {
        let mut key = None;
        let stored = [one, other].map(|node| match node {
            Some(Node::Entry { key: found, value }) => {
                key = Some(found);
                Some(value)
            }
            _ => None,
        });
        let is_equal = match &stored {
            [Some(Stored::Spilled(one)), Some(Stored::Spilled(other))] => self.shares && one == other,
            [one, other] => one == other,
        };
        key.filter(|_| !is_equal).map(|key| (key, stored))
    }

    /// Returns the value of a changed key that is the same in both trees.
    fn shared_value(&self, key: &[u8]) -> Result<Option<Bytes>> {
        // A branch has neither a tree nor changes, so the tree of the other side is read.
        let is_changed = value_in(&self.one.changes, key).is_some();
        let changed = if is_changed { &self.one } else { &self.other };
        changed.tree.get(key)
    }

    /// Returns the next key that the log or the staged changes of either side contain.
    fn next_change(&self, after: Option<&Key<'static>>) -> Option<Key<'static>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next =
            |side: &Side<'_>| side.changes.range((from, Bound::Unbounded)).next().map(|(key, _)| key.clone());
        match (next(&self.one), next(&self.other)) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }
}

impl Differences<'_> {
    /// Returns the next entry that has different values in the two maps.
    ///
    /// # Errors
    /// Read errors.
    pub fn next_difference(&mut self) -> Result<Option<EntryDifference>> {
        loop {
            let order = match (&self.change, &self.in_trees) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(change), Some((key, _))) => change.as_ref().cmp(&key[..]),
            };
            let (mut key, mut stored) = (None, [None, None]);
            if order.is_ge()
                && let Some(differing) = self.in_trees.take()
            {
                (key, stored) = (Some(differing.0), differing.1);
                self.in_trees = self.next_in_trees()?;
            }
            if order.is_le()
                && let Some(change) = self.change.take()
            {
                self.change = self.next_change(Some(&change));
                if order.is_lt() {
                    let value = self.shared_value(change.as_ref())?.map(Stored::Inline);
                    (key, stored) = (Some(change.to_bytes()), [value.clone(), value]);
                }
            }
            let (Some(key), [one, other]) = (key, stored) else { continue };
            let (one, other) = (self.one.value(&key, one)?, self.other.value(&key, other)?);
            if one != other {
                return Ok(Some(EntryDifference { key, one, other }));
            }
        }
    }
}

impl Ledger {
    /// Compares two handles: returns a walk over the keys with a prefix that have different values. The walk does not see changes that are
    /// staged after this call.
    ///
    /// Both handles should show versions of one container, so that the cost grows with the number of differing entries. For different
    /// containers, and for a branch, all entries are read.
    ///
    /// # Errors
    /// Read errors.
    pub fn differences<'a>(&'a self, other: &'a Ledger, prefix: &[u8]) -> Result<Differences<'a>> {
        let shares = self.identity() == other.identity();
        let (one, other) = (Side::new(self, prefix), Side::new(other, prefix));
        let mut walk = Differences { one, other, shares, change: None, in_trees: None };
        walk.change = walk.next_change(None);
        walk.in_trees = walk.next_in_trees()?;
        Ok(walk)
    }
}
