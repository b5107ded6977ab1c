//! Iterates over the entries of one letter, object by object.

use bytes::Bytes;
use h5lake_ledger::verify::{Item, Scan, Verifier};
use h5lake_records::Result;
use h5lake_records::keys;

/// Iterates over the entries of one letter, in the order of their owners.
pub(crate) struct Cursor<'a> {
    scan: Scan<'a>,
    next: Option<Item>,
    letter: u8,
    /// The range of keys that the last damaged page may have held.
    lost: Option<(Bytes, Option<Bytes>)>,
    /// True if any page was damaged.
    pub has_holes: bool,
}

/// The bounds of all keys of a letter: the first key, and the end.
pub(crate) type Bounds = [[u8; 1]; 2];

const fn bounds(letter: u8) -> Bounds {
    [[letter], [letter + 1]]
}

pub(crate) const ATTRIBUTES: Bounds = bounds(keys::ATTRIBUTE);
pub(crate) const BLOCKS: Bounds = bounds(keys::BLOCK);
pub(crate) const HEADERS: Bounds = bounds(keys::HEADER);
pub(crate) const LINKS: Bounds = bounds(keys::LINK);
pub(crate) const ORPHANS: Bounds = bounds(keys::ORPHAN);
pub(crate) const SEGMENTS: Bounds = bounds(keys::SEGMENT);
pub(crate) const USAGES: Bounds = bounds(keys::USAGE);

impl<'a> Cursor<'a> {
    pub(crate) fn new(verifier: &'a Verifier, bounds: &'a Bounds) -> Result<Self> {
        let [lower, upper] = bounds;
        let mut scan = verifier.scan(lower, Some(upper));
        let next = scan.step()?;
        Ok(Self { scan, next, letter: lower[0], lost: None, has_holes: false })
    }

    /// Returns the owner of the next item.
    pub(crate) fn id(&self) -> Option<u64> {
        self.next.as_ref().map(|item| match item {
            Item::Entry(key, _) | Item::Unreadable(key) | Item::Lost(key, _) => keys::id(key).unwrap_or(0),
        })
    }

    /// Returns the next item.
    pub(crate) fn take(&mut self) -> Result<Option<Item>> {
        let taken = self.next.take();
        if taken.is_some() {
            self.next = self.scan.step()?;
        }
        if let Some(Item::Lost(from, to)) = &taken {
            self.has_holes = true;
            // Adjacent lost ranges are joined.
            let from = match self.lost.take() {
                Some((first, Some(end))) if end == *from => first,
                _ => from.clone(),
            };
            self.lost = Some((from, to.clone()));
        }
        Ok(taken)
    }

    /// Returns whether a damaged page may have held entries of an owner. Valid once all remaining entries of the owner
    /// were taken.
    pub(crate) fn may_have_lost(&self, id: u64) -> bool {
        let (first, behind) = (keys::of(self.letter, id), keys::of(self.letter, id.saturating_add(1)));
        let Some((from, to)) = &self.lost else { return false };
        from[..] < behind[..] && to.as_ref().is_none_or(|to| to[..] > first[..])
    }
}
