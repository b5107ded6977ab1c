//! The entries of one letter, object by object.

use crate::{Result, keys};
use bytes::Bytes;
use h5lake_ledger::verify::{Item, Scan, Verifier};

/// Goes through the entries of one letter, in the order of their owners.
pub(crate) struct Cursor<'a> {
    scan: Scan<'a>,
    next: Option<Item>,
    letter: u8,
    /// The keys that the last damaged page may have had.
    lost: Option<(Bytes, Option<Bytes>)>,
    /// Whether any page was damaged.
    pub has_holes: bool,
}

/// All keys of a letter: from the first on, and before the second.
pub(crate) const fn bounds(letter: u8) -> [[u8; 1]; 2] {
    [[letter], [letter + 1]]
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(verifier: &'a Verifier, bounds: &'a [[u8; 1]; 2]) -> Result<Self> {
        let [lower, upper] = bounds;
        let mut scan = verifier.scan(lower, Some(upper));
        let next = scan.step()?;
        Ok(Self { scan, next, letter: lower[0], lost: None, has_holes: false })
    }

    /// The owner of the next item.
    pub(crate) fn id(&self) -> Option<u64> {
        self.next.as_ref().map(|item| match item {
            Item::Entry(key, _) | Item::Unreadable(key) | Item::Lost(key, _) => keys::id(key).unwrap_or(0),
        })
    }

    /// The next item.
    pub(crate) fn take(&mut self) -> Result<Option<Item>> {
        let taken = self.next.take();
        if taken.is_some() {
            self.next = self.scan.step()?;
        }
        if let Some(Item::Lost(from, to)) = &taken {
            self.has_holes = true;
            // Neighbours are one hole.
            let from = match self.lost.take() {
                Some((first, Some(end))) if end == *from => first,
                _ => from.clone(),
            };
            self.lost = Some((from, to.clone()));
        }
        Ok(taken)
    }

    /// Whether a damaged page may have had entries of an owner. To be asked when all that is left of it was taken.
    pub(crate) fn may_have_lost(&self, id: u64) -> bool {
        let (first, behind) = (keys::of(self.letter, id), keys::of(self.letter, id.saturating_add(1)));
        let Some((from, to)) = &self.lost else { return false };
        from[..] < behind[..] && to.as_ref().is_none_or(|to| to[..] > first[..])
    }
}
