//! The extents that a commit in a store frees.

use std::collections::HashSet;

use crate::address::Address;

/// Extents of payloads and pages, in the order in which they were freed. A commit may free a million of them, and each free checks whether
/// its extent is among them already. An index serves this check. It is made when it is first needed.
#[derive(Debug, Clone, Default)]
pub(crate) struct FreedPlaces {
    places: Vec<Address>,
    index: Option<HashSet<Address>>,
}

impl FreedPlaces {
    pub(crate) fn push(&mut self, place: Address) {
        if let Some(index) = &mut self.index {
            index.insert(place);
        }
        self.places.push(place);
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Address> {
        self.places.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns the bytes of all extents.
    pub(crate) fn bytes(&self) -> u64 {
        self.places.iter().fold(0, |sum, place| sum.saturating_add(place.length))
    }

    pub(crate) fn contains(&mut self, place: &Address) -> bool {
        self.index.get_or_insert_with(|| self.places.iter().copied().collect()).contains(place)
    }

    /// Removes the extents that are among `removed`.
    pub(crate) fn remove_all<'a>(&mut self, removed: impl IntoIterator<Item = &'a Address>) {
        if self.places.is_empty() {
            return;
        }
        let removed: HashSet<&Address> = removed.into_iter().collect();
        self.places.retain(|place| !removed.contains(place));
        self.index = None;
    }
}

impl PartialEq for FreedPlaces {
    fn eq(&self, other: &Self) -> bool {
        self.places == other.places
    }
}

impl Eq for FreedPlaces {}

impl FromIterator<Address> for FreedPlaces {
    fn from_iter<T: IntoIterator<Item = Address>>(places: T) -> Self {
        FreedPlaces { places: places.into_iter().collect(), index: None }
    }
}

impl Extend<Address> for FreedPlaces {
    fn extend<T: IntoIterator<Item = Address>>(&mut self, places: T) {
        places.into_iter().for_each(|place| self.push(place));
    }
}

impl IntoIterator for FreedPlaces {
    type Item = Address;
    type IntoIter = std::vec::IntoIter<Address>;

    fn into_iter(self) -> Self::IntoIter {
        self.places.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Location;

    fn at(log: u8, offset: u64) -> Address {
        Address { location: Location::Pack([log; 16]), offset, length: 10 }
    }

    #[test]
    fn the_index_follows_every_change() {
        let mut freed: FreedPlaces = [at(1, 0), at(1, 10), at(2, 0)].into_iter().collect();
        assert!(freed.contains(&at(1, 10)) && !freed.contains(&at(1, 20)));
        assert_eq!(freed.bytes(), 30);
        freed.push(at(1, 20));
        assert!(freed.contains(&at(1, 20)));
        freed.remove_all(&[at(1, 10), at(7, 0)]);
        assert!(!freed.contains(&at(1, 10)) && freed.contains(&at(2, 0)));
        freed.extend([at(7, 0)]);
        let order: Vec<Address> = freed.clone().into_iter().collect();
        assert_eq!(order, [at(1, 0), at(2, 0), at(1, 20), at(7, 0)]);
        freed.remove_all(&order);
        assert!(freed.is_empty() && !freed.contains(&at(2, 0)));
    }
}
