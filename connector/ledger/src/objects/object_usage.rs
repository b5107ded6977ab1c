//! Which objects of a container hold something that is still in use.

use std::collections::BTreeMap;

use crate::address::{Address, Location};
use crate::checksum::{seal, unseal_as};
use crate::codec::{Decoded, Reader, put_varint};
use crate::compaction_plan::CompactionPlan;
use crate::objects::freed_places::FreedPlaces;
use crate::tags::Held;

/// Dead bytes in an object that make moving what lives there worth the requests.
const MIN_DEAD_BYTES: u64 = 64 << 10;
/// Dead bytes that make moving payloads at a close worth the time.
const MIN_DEAD_BYTES_AT_CLOSE: u64 = 64 << 20;

/// One object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Use {
    /// Bytes in use when it was made.
    pub(crate) total: u64,
    /// Bytes in use now.
    pub(crate) live: u64,
    /// When the last byte went out of use, microseconds; 0 while there is one.
    pub(crate) since: u64,
}

/// All objects, the log's newer than the base excepted when they hold no payload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UsageTable {
    pub(crate) locations: BTreeMap<Location, Use>,
}

/// The notes of one record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UsageDelta {
    /// Bytes of payload by room.
    pub(crate) gained: BTreeMap<Location, u64>,
    pub(crate) freed: FreedPlaces,
}

impl UsageDelta {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, self.gained.len() as u64);
        for (location, bytes) in &self.gained {
            Address { location: *location, offset: 0, length: *bytes }.encode(&mut out);
        }
        put_varint(&mut out, self.freed.len() as u64);
        for place in self.freed.iter() {
            place.encode(&mut out);
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(bytes);
        let mut notes = Self::default();
        for _ in 0..r.varint()? {
            let p = Address::read(&mut r)?;
            notes.gained.insert(p.location, p.length);
        }
        for _ in 0..r.varint()? {
            notes.freed.push(Address::read(&mut r)?);
        }
        r.end()?;
        Ok(notes)
    }
}

impl UsageTable {
    pub(crate) fn gain(&mut self, location: Location, bytes: u64, time: u64) {
        let since = if bytes == 0 { time } else { 0 };
        self.locations.insert(location, Use { total: bytes, live: bytes, since });
    }

    pub(crate) fn lose(&mut self, place: &Address, time: u64) -> Decoded<()> {
        let u = self
            .locations
            .get_mut(&place.location)
            .ok_or("bytes are freed in an object that is not known")?;
        u.live = u.live.checked_sub(place.length).ok_or("more bytes are freed than were in use")?;
        if u.live == 0 {
            u.since = time;
        }
        Ok(())
    }

    /// Brings the table from the version before to the record's. After an error nothing has changed.
    pub(crate) fn replay(&mut self, notes: &UsageDelta, time: u64) -> Decoded<()> {
        let mut lost: BTreeMap<Location, u64> = BTreeMap::new();
        for place in notes.freed.iter() {
            let sum = lost.entry(place.location).or_default();
            *sum = sum.checked_add(place.length).ok_or("more bytes are freed than can be")?;
        }
        for (location, bytes) in &lost {
            let gained = notes.gained.get(location).copied();
            let live = gained.or_else(|| self.locations.get(location).map(|u| u.live));
            if live.ok_or("bytes are freed in an object that is not known")? < *bytes {
                return Err("more bytes are freed than were in use");
            }
        }
        for (location, bytes) in &notes.gained {
            self.gain(*location, *bytes, time);
        }
        notes.freed.iter().try_for_each(|p| self.lose(p, time))
    }

    /// Takes out the objects in which nothing has been in use since a time or longer, which is another one for log objects; with
    /// them, when the last of their bytes went out of use. What tags hold stays.
    pub(crate) fn take_dead(
        &mut self,
        (before, records_before): (u64, u64),
        base: u64,
        held: &Held,
    ) -> (Vec<Location>, u64) {
        let dead = |location: &Location, u: &Use| {
            let is_over = match location {
                Location::Log(n) => *n <= base && u.since <= records_before,
                _ => u.since <= before,
            };
            u.live == 0 && is_over && !held.has(location)
        };
        let latest = self.locations.iter().filter(|(r, u)| dead(r, u)).map(|(_, u)| u.since).max();
        let gone: Vec<Location> =
            self.locations.iter().filter(|(r, u)| dead(r, u)).map(|(r, _)| *r).collect();
        self.locations.retain(|r, u| !dead(r, u));
        (gone, latest.unwrap_or(0))
    }

    /// Objects with payload of which less than half lives. Pages are replaced by checkpoints, and small rests are not
    /// worth a request.
    fn spare(&self) -> impl Iterator<Item = (&Location, &Use)> {
        self.locations.iter().filter(|(location, u)| {
            !matches!(location, Location::Page(_))
                && u.live > 0
                && u.live <= u.total / 2
                && u.total - u.live >= MIN_DEAD_BYTES
        })
    }

    /// What is worth moving.
    pub(crate) fn compaction_plan(&self) -> CompactionPlan {
        let (garbage, _) = self.fragmentation();
        CompactionPlan {
            locations: self.spare().map(|(location, _)| *location).collect(),
            garbage,
            ..CompactionPlan::default()
        }
    }

    /// Whether what is dead in the objects worth emptying outweighs what lives there, and is much.
    pub(crate) fn is_fragmented(&self) -> bool {
        let (dead, live) = self.fragmentation();
        dead > live && dead >= MIN_DEAD_BYTES_AT_CLOSE
    }

    /// Dead and live bytes of the objects worth emptying.
    fn fragmentation(&self) -> (u64, u64) {
        self.spare().fold((0_u64, 0_u64), |(dead, live), (_, u)| {
            (dead.saturating_add(u.total - u.live), live.saturating_add(u.live))
        })
    }

    /// Encodes the table, filled up with zeros to `length` if that is given.
    pub(crate) fn encode(&self, length: Option<usize>) -> (Vec<u8>, u32) {
        let mut out = b"h5lT".to_vec();
        put_varint(&mut out, self.locations.len() as u64);
        for (location, u) in &self.locations {
            Address { location: *location, offset: 0, length: u.total }.encode(&mut out);
            put_varint(&mut out, u.live);
            put_varint(&mut out, u.since);
        }
        if let Some(n) = length {
            out.resize(n.saturating_sub(4).max(out.len()), 0);
        }
        let crc = seal(&mut out);
        (out, crc)
    }

    pub(crate) fn decode(bytes: &[u8], crc: u32) -> Decoded<Self> {
        let mut r = Reader::new(unseal_as(bytes, crc)?);
        if r.take(4)? != b"h5lT" {
            return Err("not a room table");
        }
        let mut t = Self::default();
        for _ in 0..r.varint()? {
            let p = Address::read(&mut r)?;
            t.locations.insert(p.location, Use { total: p.length, live: r.number()?, since: r.number()? });
        }
        Ok(t)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tags::TagEntry;

    #[test]
    fn impossible_usage_deltas_change_nothing() {
        let pack = |n| Location::Pack([n; 16]);
        let at = |n, length| Address { location: pack(n), offset: 0, length };
        let mut t = UsageTable::default();
        t.gain(pack(1), 30, 5);
        for freed in [vec![at(1, 10), at(1, 21)], vec![at(1, 10), at(2, 1)], vec![at(1, 1), at(1, u64::MAX)]]
        {
            let before = t.clone();
            let notes = UsageDelta { gained: [(pack(3), 7)].into(), freed: freed.into_iter().collect() };
            assert!(t.replay(&notes, 9).is_err());
            assert_eq!(t, before);
        }
        let notes =
            UsageDelta { gained: [(pack(3), 7)].into(), freed: [at(3, 7), at(1, 30)].into_iter().collect() };
        t.replay(&notes, 9).unwrap();
        assert!(t.locations.values().all(|u| u.live == 0));
    }

    #[test]
    fn a_usage_table_counts_and_round_trips() {
        let pack = Location::Pack([3; 16]);
        let at = |offset, length| Address { location: pack, offset, length };
        let notes = UsageDelta {
            gained: [(pack, 30), (Location::Log(4), 0)].into(),
            freed: [at(0, 10)].into_iter().collect(),
        };
        assert_eq!(UsageDelta::decode(&notes.encode()), Ok(notes.clone()));
        let mut t = UsageTable::default();
        t.replay(&notes, 100).unwrap();
        assert!(t.lose(&at(0, 21), 101).is_err());
        t.lose(&at(10, 20), 102).unwrap();
        let (bytes, crc) = t.encode(Some(300));
        assert_eq!((bytes.len(), UsageTable::decode(&bytes, crc)), (300, Ok(t.clone())));
        let none = Held::default();
        let tag = TagEntry { objects: vec![(pack, 30)], ..TagEntry::default() };
        assert_eq!(t.clone().take_dead((102, 102), 3, &Held::by([&tag])), (vec![], 0), "a tag holds it");
        assert_eq!(t.take_dead((101, 101), 3, &none), (vec![], 0));
        assert_eq!(t.take_dead((101, 101), 4, &none), (vec![Location::Log(4)], 100));
        assert_eq!(t.take_dead((102, 102), 4, &none), (vec![pack], 102));
    }
}
