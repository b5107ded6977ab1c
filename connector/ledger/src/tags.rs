//! Tags: names that retain versions, and the space that the tags retain.
//!
//! A tag is an entry of the map. The entry has all pointers that are needed to read the version. It also lists the
//! space that the version may need: all space that was neither free nor unused by the version when the tag was made. No
//! writer reuses that space while the tag exists.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::address::{Address, Location, PageRef};
use crate::codec::{Decoded, Reader, put_varint};
use crate::history::Mark;

/// The first byte of the key of a tag; the name follows.
pub(crate) const TAG: u8 = b'T';
/// The maximum length of the name of a tag, in bytes.
pub const MAX_TAG_NAME: usize = 64;
/// The prefix of the name of a publication; the number of the published version follows.
const PUBLISHED: &str = "published-v";
/// The maximum number of tags of a container.
pub(crate) const MAX_TAGS: usize = 1000;
/// The form of the entry of a tag without an expiry time. The form below is that of a tag with one.
const FORM: u8 = 1;
const FORM_WITH_END: u8 = 2;
/// Runs are multiples of this many bytes.
const UNIT: u64 = 32;

/// The name of a tag: 1 to 64 ASCII letters, digits, `.`, `_` and `-`, the first of which is a letter or a digit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TagName {
    length: u8,
    bytes: [u8; MAX_TAG_NAME],
}

impl TagName {
    /// Parses a name. Returns `None` if the text is not a valid name.
    pub fn new(text: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let is_name =
            text.bytes().all(plain) && text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        let length = u8::try_from(text.len()).ok().filter(|n| is_name && usize::from(*n) <= MAX_TAG_NAME)?;
        let mut bytes = [0; MAX_TAG_NAME];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self { length, bytes })
    }

    /// The rule for names, for messages about an invalid name.
    pub const RULE: &'static str =
        "a tag has 1 to 64 letters, digits, '.', '_' and '-', and begins with a letter or a digit";

    /// Returns the name under which a version is published.
    pub fn publication(version: u64) -> Self {
        let text = format!("{PUBLISHED}{version}");
        let mut bytes = [0; MAX_TAG_NAME];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        // The length is at most 31, because a number has at most 20 digits.
        Self { length: text.len() as u8, bytes }
    }

    /// Returns the version that is published under this name; `None` for a tag of another kind.
    pub fn published_version(&self) -> Option<u64> {
        let version = self.as_str().strip_prefix(PUBLISHED)?.parse().ok()?;
        (Self::publication(version) == *self).then_some(version)
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        self.bytes
            .get(..usize::from(self.length))
            .and_then(|b| std::str::from_utf8(b).ok())
            .unwrap_or_default()
    }

    /// Returns the key of the tag's entry.
    pub(crate) fn key(&self) -> Vec<u8> {
        [&[TAG], self.as_str().as_bytes()].concat()
    }

    /// Returns the name of the tag with an entry under this key; `None` for any other key.
    pub(crate) fn of_key(key: &[u8]) -> Option<Self> {
        let (&first, name) = key.split_first()?;
        Some(std::str::from_utf8(name).ok()?).filter(|_| first == TAG).and_then(Self::new)
    }
}

impl fmt::Display for TagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// The options of a new tag.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tagging {
    /// True to move an existing tag of that name; false to fail if it exists.
    pub replace: bool,
    /// The time for which the tag is to exist, from now on. `None` retains it until it is
    /// [deleted](crate::Ledger::untag).
    pub keep: Option<Duration>,
}

/// The pointers that lead to a tagged version, and the space that the version may need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TagEntry {
    /// The version.
    pub(crate) mark: Mark,
    pub(crate) base_version: u64,
    /// The root page of the checkpoint.
    pub(crate) root: Option<PageRef>,
    /// The newest record after the checkpoint, in a file.
    pub(crate) record: Option<PageRef>,
    /// The bytes of the records after the checkpoint, in a file.
    pub(crate) log_bytes: u64,
    /// The time at which the tag was made, in microseconds since 1970.
    pub(crate) tagged: u64,
    /// The time from which the tag may be deleted, in microseconds since 1970; `None` for a tag that exists until a
    /// user deletes it.
    pub(crate) until: Option<u64>,
    /// The retained runs of bytes in a file, ascending.
    pub(crate) runs: Vec<(u64, u64)>,
    /// The retained objects in a store, with their bytes.
    pub(crate) objects: Vec<(Location, u64)>,
}

/// Reads a count of items that have at least two bytes each.
fn count(r: &mut Reader<'_>) -> Decoded<usize> {
    let n = r.varint()?;
    if n > (r.remaining() / 2) as u64 { Err("more places than bytes") } else { Ok(n as usize) }
}

fn run(r: &mut Reader<'_>, last: &mut u64) -> Decoded<(u64, u64)> {
    let far = "a run lies outside of any file";
    let mut units = || r.varint()?.checked_mul(UNIT).ok_or(far);
    let (distance, length) = (units()?, units()?);
    let offset = last.checked_add(distance).ok_or(far)?;
    *last = offset.checked_add(length).filter(|end| *end < 1 << 62 && length > 0).ok_or(far)?;
    Ok((offset, length))
}

impl TagEntry {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![if self.until.is_some() { FORM_WITH_END } else { FORM }];
        self.mark.encode(&mut out);
        put_varint(&mut out, self.base_version);
        PageRef::encode_optional(self.root, &mut out);
        PageRef::encode_optional(self.record, &mut out);
        put_varint(&mut out, self.log_bytes);
        put_varint(&mut out, self.tagged);
        if let Some(until) = self.until {
            put_varint(&mut out, until);
        }
        put_varint(&mut out, self.runs.len() as u64);
        let mut last = 0;
        for (offset, length) in &self.runs {
            put_varint(&mut out, offset.saturating_sub(last) / UNIT);
            put_varint(&mut out, length / UNIT);
            last = offset + length;
        }
        put_varint(&mut out, self.objects.len() as u64);
        for (location, bytes) in &self.objects {
            Address { location: *location, offset: 0, length: *bytes }.encode(&mut out);
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(bytes);
        let has_end = match r.u8()? {
            FORM => false,
            FORM_WITH_END => true,
            _ => return Err("a tag of a form that this h5lake does not know"),
        };
        let mark = Mark::read(&mut r)?;
        let base_version = r.number()?;
        let (root, record) = (PageRef::read_optional(&mut r)?, PageRef::read_optional(&mut r)?);
        let (log_bytes, tagged) = (r.number()?, r.number()?);
        let until = if has_end { Some(r.number()?) } else { None };
        let mut last = 0;
        let runs = (0..count(&mut r)?).map(|_| run(&mut r, &mut last)).collect::<Decoded<_>>()?;
        let object = |r: &mut Reader<'_>| Address::read(r).map(|p| (p.location, p.length));
        let objects = (0..count(&mut r)?).map(|_| object(&mut r)).collect::<Decoded<_>>()?;
        r.end()?;
        let impossible = [mark.version, mark.reclaim_epoch, log_bytes].iter().any(|n| *n >= 1 << 62);
        if mark.version == 0 || base_version > mark.version || impossible {
            return Err("impossible versions");
        }
        Ok(Self { mark, base_version, root, record, log_bytes, tagged, until, runs, objects })
    }

    /// Returns whether the tag has expired at a time.
    pub(crate) fn is_over(&self, now: u64) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Returns the bytes of the space that the tag lists. The newest version may use a part of this space, too.
    pub(crate) fn bytes(&self) -> u64 {
        let lengths = self.runs.iter().map(|(_, l)| *l).chain(self.objects.iter().map(|(_, l)| *l));
        lengths.fold(0, u64::saturating_add)
    }
}

/// The space that the tags of a container retain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Held {
    /// All space, because a tag could not be read, or the tags are not known yet.
    Everything,
    /// Runs of a file, ascending and not touching; objects of a store.
    Places { runs: Vec<(u64, u64)>, objects: BTreeSet<Location> },
}

impl Default for Held {
    fn default() -> Self {
        Self::Places { runs: Vec::new(), objects: BTreeSet::new() }
    }
}

impl Held {
    /// Combines the space that several tags retain.
    pub(crate) fn by<'a>(tags: impl IntoIterator<Item = &'a TagEntry>) -> Self {
        let (mut all, mut objects) = (Vec::new(), BTreeSet::new());
        for tag in tags {
            all.extend_from_slice(&tag.runs);
            objects.extend(tag.objects.iter().map(|(location, _)| *location));
        }
        all.sort_unstable();
        let mut runs: Vec<(u64, u64)> = Vec::with_capacity(all.len());
        for (offset, length) in all {
            match runs.last_mut() {
                Some((o, l)) if *o + *l >= offset => *l = (*l).max(offset + length - *o),
                _ => runs.push((offset, length)),
            }
        }
        Self::Places { runs, objects }
    }

    /// Returns whether no space is retained.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Places { runs, objects } if runs.is_empty() && objects.is_empty())
    }

    /// Returns whether at least one byte of a run is retained.
    pub(crate) fn touches(&self, offset: u64, length: u64) -> bool {
        match self {
            Self::Everything => true,
            Self::Places { runs, .. } => {
                let behind = runs.partition_point(|(o, l)| o + l <= offset);
                runs.get(behind).is_some_and(|(o, _)| *o < offset.saturating_add(length))
            }
        }
    }

    /// Returns whether all bytes of a run are known to be retained.
    pub(crate) fn covers(&self, offset: u64, length: u64) -> bool {
        let Self::Places { runs, .. } = self else { return false };
        let behind = runs.partition_point(|(o, l)| o + l <= offset);
        let end = offset.checked_add(length);
        runs.get(behind).is_some_and(|(o, l)| *o <= offset && end.is_some_and(|end| end <= o + l))
    }

    /// Returns whether all bytes of an address are known to be retained.
    pub(crate) fn has_place(&self, place: &Address) -> bool {
        match place.location {
            Location::File => self.covers(place.offset, place.length),
            location => matches!(self, Self::Places { objects, .. } if objects.contains(&location)),
        }
    }

    /// Returns whether an object is retained.
    pub(crate) fn has(&self, location: &Location) -> bool {
        match self {
            Self::Everything => true,
            Self::Places { objects, .. } => objects.contains(location),
        }
    }

    /// Splits a run where retained space begins and ends.
    pub(crate) fn split(&self, (offset, length): (u64, u64)) -> Vec<(u64, u64)> {
        let Self::Places { runs, .. } = self else { return vec![(offset, length)] };
        let end = offset + length;
        let first = runs.partition_point(|(o, l)| o + l <= offset);
        let near = runs[first..].iter().take_while(|(o, _)| *o < end);
        let borders = near.flat_map(|(o, l)| [*o, o + l]).filter(|at| *at > offset && *at < end);
        let mut out = Vec::new();
        let mut from = offset;
        for at in borders.chain([end]) {
            out.push((from, at - from));
            from = at;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::author::Author;

    fn entry() -> TagEntry {
        let author = Author { host: "node".into(), pid: 7, ..Author::default() };
        TagEntry {
            mark: Mark { version: 12, reclaim_epoch: 30, time: 9, bytes: 10, author },
            base_version: 8,
            root: Some(PageRef { place: Address::file(4608, 64), crc: 5 }),
            record: None,
            log_bytes: 99,
            tagged: 77,
            until: None,
            runs: vec![(4608, 64), (4704, 32)],
            objects: vec![(Location::Page([3; 16]), 8), (Location::Pack([4; 16]), 0)],
        }
    }

    #[test]
    fn names_are_plain_and_bounded() {
        for good in ["paper", "v1.2_rc-3", "2026", &"x".repeat(64)] {
            let name = TagName::new(good).unwrap();
            assert_eq!((name.as_str(), TagName::of_key(&name.key())), (good, Some(name)));
        }
        for bad in ["", "-x", ".x", "a b", "a/b", "ä", "a@b", "a\n", &"x".repeat(65)] {
            assert_eq!(TagName::new(bad), None, "{bad}");
        }
        assert_eq!(TagName::of_key(b"Opaper"), None);
    }

    #[test]
    fn publications_have_names_of_their_own() {
        for version in [0, 12, u64::MAX] {
            let name = TagName::publication(version);
            assert_eq!((name.published_version(), TagName::new(name.as_str())), (Some(version), Some(name)));
        }
        for other in
            ["paper", "published-v", "published-v012", "published-vx", "published-v99999999999999999999"]
        {
            assert_eq!(TagName::new(other).unwrap().published_version(), None, "{other}");
        }
    }

    #[test]
    fn entries_round_trip_and_hostile_ones_are_refused() {
        for until in [None, Some(0), Some(1 << 60)] {
            hostile_ones_are_refused(&TagEntry { until, ..entry() });
        }
        let endless = TagEntry { runs: vec![(1 << 61, 1 << 62)], ..entry() };
        assert!(TagEntry::decode(&endless.encode()).is_err());
        let later = TagEntry { base_version: 13, ..entry() };
        assert!(TagEntry::decode(&later.encode()).is_err());
        let mut unknown = entry().encode();
        unknown[0] = 3;
        assert!(TagEntry::decode(&unknown).is_err());
    }

    fn hostile_ones_are_refused(entry: &TagEntry) {
        let good = entry.encode();
        assert_eq!(TagEntry::decode(&good).as_ref(), Ok(entry));
        assert_eq!(entry.bytes(), 104);
        for n in 0..good.len() {
            assert!(TagEntry::decode(&good[..n]).is_err(), "cut at {n}");
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[n] ^= 1 << bit;
                // The altered bytes may decode as another valid entry, but never as more items than the bytes can hold.
                if let Ok(other) = TagEntry::decode(&bad) {
                    assert!(other.runs.len() + other.objects.len() <= good.len());
                    let _sums_without_overflow = (other.bytes(), Held::by([&other]));
                }
            }
        }
    }

    #[test]
    fn held_runs_are_joined_and_split_other_runs() {
        let other = TagEntry { runs: vec![(4640, 64), (9600, 32)], ..entry() };
        let held = Held::by([&entry(), &other]);
        let Held::Places { runs, .. } = &held else { panic!("all is known") };
        assert_eq!(runs, &[(4608, 128), (9600, 32)]);
        assert!(held.touches(4704, 320) && held.touches(9600, 32) && !held.touches(4736, 4864));
        assert!(held.has(&Location::Page([3; 16])) && !held.has(&Location::Page([4; 16])));
        assert_eq!(held.split((4672, 128)), [(4672, 64), (4736, 64)]);
        assert_eq!(held.split((4640, 32)), [(4640, 32)]);
        assert_eq!(held.split((9568, 96)), [(9568, 32), (9600, 32), (9632, 32)]);
        assert!(Held::Everything.touches(0, 1) && Held::Everything.has(&Location::Page([9; 16])));
        assert_eq!(Held::Everything.split((32, 64)), [(32, 64)]);
    }
}
