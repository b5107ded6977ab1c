//! Pages with correct checksums that no ledger writes: keys outside of the range that the parent page states, and pages
//! with two parents.

use std::ops::Bound;

use bytes::Bytes;

use crate::address::{Address, PageRef};
use crate::error::{Error, ErrorKind, Result};
use crate::file::sim_file::SimFile;
use crate::file::superblock::DATA;
use crate::ledger::Ledger;
use crate::options::{Access, Options};
use crate::page::Draft;

/// The bytes of a container with pages that the test constructs.
struct Forger {
    pages: Vec<u8>,
}

impl Forger {
    fn add(&mut self, mut draft: Draft, level: u8) -> PageRef {
        let (bytes, crc, _) = draft.finish(level).unwrap();
        let place = Address::file(DATA + self.pages.len() as u64, bytes.len() as u64);
        self.pages.extend(bytes);
        self.pages.resize(self.pages.len().next_multiple_of(32), 0);
        PageRef { place, crc }
    }

    fn leaf(&mut self, keys: &[&str]) -> PageRef {
        let mut draft = Draft::default();
        keys.iter().for_each(|k| draft.push_inline(k.as_bytes(), b"value"));
        self.add(draft, 0)
    }

    fn branch(&mut self, level: u8, children: &[(&'static str, PageRef)]) -> PageRef {
        let mut draft = Draft::default();
        children.iter().for_each(|(key, child)| draft.push_child(&Bytes::from(*key), child));
        self.add(draft, level)
    }
}

fn forge(make: impl FnOnce(&mut Forger) -> PageRef) -> SimFile {
    let mut forger = Forger { pages: Vec::new() };
    let root = make(&mut forger);
    SimFile::with_base(root, &forger.pages)
}

/// Reads all keys in portions, as containers do, each portion from the last key on.
fn walk(l: &Ledger, portion: usize) -> Result<Vec<Bytes>> {
    let mut keys: Vec<Bytes> = Vec::new();
    loop {
        let found = l.scan_prefix(b"", keys.last().map(|k| &k[..]), portion)?;
        if found.is_empty() {
            return Ok(keys);
        }
        keys.extend(found.into_iter().map(|(key, _)| key));
        assert!(keys.len() < 1000, "the walk does not end");
    }
}

fn walk_back(l: &Ledger) -> Result<usize> {
    let (mut upper, mut steps) = (None::<Bytes>, 0);
    loop {
        let bound = upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let Some((key, _)) = l.prev(Bound::Unbounded, bound)? else { return Ok(steps) };
        upper = Some(key);
        steps += 1;
        assert!(steps < 1000, "the walk does not end");
    }
}

fn is_damage<T>(result: Result<T>) -> bool {
    result.is_err_and(|e: Error| matches!(e.kind(), ErrorKind::Corrupt { .. }))
}

/// Checks that every walk ends and reports the container as damaged, and so does every checkpoint that would use its
/// pages.
fn refused(file: &SimFile, what: &str) {
    let l = file.open(Access::ReadOnly, &Options::default()).unwrap();
    for portion in [1, 2, 7, 100] {
        assert!(is_damage(walk(&l, portion)), "{what}: portions of {portion}");
    }
    assert!(is_damage(walk_back(&l)), "{what}: backwards");
    drop(l);
    let l = file.open(Access::ReadWrite, &Options::default()).unwrap();
    assert!(is_damage(l.vacuum()), "{what}: vacuum");
}

#[test]
fn sound_pages_are_walked() {
    let file = forge(|f| {
        let (a, c) = (f.leaf(&["a", "b"]), f.leaf(&["c", "d"]));
        f.branch(1, &[("a", a), ("c", c)])
    });
    let l = file.open(Access::ReadOnly, &Options::default()).unwrap();
    assert_eq!(walk(&l, 1).unwrap(), ["a", "b", "c", "d"]);
    assert_eq!(walk_back(&l).unwrap(), 4);
    assert_eq!(l.get(b"c").unwrap(), Some(Bytes::from("value")));
}

#[test]
fn keys_below_their_branch_are_damage() {
    let file = forge(|f| {
        let (m, a) = (f.leaf(&["m", "n"]), f.leaf(&["a", "b"]));
        f.branch(1, &[("m", m), ("p", a)])
    });
    refused(&file, "a leaf below its branch's key");
}

#[test]
fn keys_behind_their_branch_are_damage() {
    let file = forge(|f| {
        let (a, c) = (f.leaf(&["a", "z"]), f.leaf(&["c", "d"]));
        f.branch(1, &[("a", a), ("c", c)])
    });
    refused(&file, "a leaf with keys of its neighbour");
}

#[test]
fn a_page_that_is_met_twice_is_damage() {
    let file = forge(|f| {
        let leaf = f.leaf(&["a", "b"]);
        f.branch(1, &[("a", leaf), ("c", leaf)])
    });
    refused(&file, "one leaf twice");
    // A walk that ignored ranges would take 2^40 paths through these forty pages.
    let file = forge(|f| {
        let mut below = f.leaf(&["a", "b"]);
        for level in 1..=40 {
            below = f.branch(level, &[("a", below), ("b", below)]);
        }
        below
    });
    refused(&file, "one page twice on each level");
}

#[test]
fn the_range_of_a_page_holds_below_its_last_child() {
    let file = forge(|f| {
        let (a, b, x) = (f.leaf(&["a"]), f.leaf(&["b", "y"]), f.leaf(&["x"]));
        let (left, right) = (f.branch(1, &[("a", a), ("b", b)]), f.branch(1, &[("x", x)]));
        f.branch(2, &[("a", left), ("x", right)])
    });
    refused(&file, "a key behind the range of the page above the page above");
}
