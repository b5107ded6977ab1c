//! Delta-encoded values in records: edits of the previous value.
//!
//! Many values change often and only a little: the header of a dataset that grows keeps all bytes but its dimensions. A
//! reader makes the new value from the previous one, which therefore must be in the log when the reader reads the
//! record; no page is read for it. A value whose predecessor is not in the log, or that is long, is written whole.

use bytes::Bytes;

use crate::codec::{Decoded, Reader, put_string, put_varint};
use crate::memtable::{Memtable, value_in};
use crate::wal::record::{Entries, put_entry};

/// The lengths of values that are delta-encoded, in bytes. An edit of a shorter value saves nothing, and an edit of a
/// longer value would make readers copy much for each record. A chunk as long as a page of the system, to which
/// elements are appended, is in the range. Readers refuse edits of longer values, and edits that result in one;
/// otherwise a forged record of a few bytes would cost them a copy of any length.
const DELTA_LENGTHS: std::ops::RangeInclusive<usize> = 64..=MAX_EDITED_BYTES;
/// The maximum length of a value before an edit and after it. Containers depend on it: it may grow, with a feature bit,
/// and must never shrink.
const MAX_EDITED_BYTES: usize = 8192;
/// The minimum number of bytes that an edit saves.
const MIN_SAVED_BYTES: usize = 8;

/// The change that a record makes to the value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoredValue {
    Deleted,
    Put(Bytes),
    Edited(Edit),
}

/// A value that shares bytes with the previous value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    /// The number of bytes from the start of the previous value.
    first: usize,
    /// The number of bytes up to the end of the previous value.
    last: usize,
    /// The bytes between these two parts.
    between: Bytes,
}

impl StoredValue {
    /// Returns the new value, given the previous value `before`.
    pub(crate) fn over(self, before: Option<&Bytes>) -> Decoded<Option<Bytes>> {
        match self {
            StoredValue::Deleted => Ok(None),
            StoredValue::Put(value) => Ok(Some(value)),
            StoredValue::Edited(edit) => {
                let before = before.ok_or("an edit of a value that no record has")?;
                edit.apply(before).map(Some)
            }
        }
    }
}

impl Edit {
    /// Decodes the two lengths; the bytes between the parts follow them.
    pub(crate) fn lengths(r: &mut Reader<'_>) -> Decoded<(usize, usize)> {
        let length = |n: u64| usize::try_from(n).map_err(|_| "an edit of an impossible value");
        Ok((length(r.varint()?)?, length(r.varint()?)?))
    }

    pub(crate) fn new((first, last): (usize, usize), between: Bytes) -> Self {
        Self { first, last, between }
    }

    fn apply(&self, before: &[u8]) -> Decoded<Bytes> {
        if before.len() > MAX_EDITED_BYTES {
            return Err("an edit of a value that is too long for one");
        }
        let kept = self.first.checked_add(self.last).filter(|kept| *kept <= before.len());
        let kept = kept.ok_or("an edit of a longer value")?;
        if self.between.len() > MAX_EDITED_BYTES - kept {
            return Err("an edit makes a value that is too long for one");
        }
        let mut out = Vec::with_capacity(kept + self.between.len());
        out.extend_from_slice(&before[..self.first]);
        out.extend_from_slice(&self.between);
        out.extend_from_slice(&before[before.len() - self.last..]);
        Ok(out.into())
    }
}

/// Returns the number of equal bytes at the start. Eight bytes are compared at a time.
fn common<'a>(words: impl Iterator<Item = (&'a [u8; 8], &'a [u8; 8])>) -> usize {
    words.take_while(|(a, b)| a == b).count() * 8
}

/// Returns the number of bytes that two values share at their start, and the number that they share at their end after
/// that; `None` if an edit is not worth it. The caller has checked the length of `after` before it looked up `before`.
fn kept(before: &[u8], after: &[u8]) -> Option<(usize, usize)> {
    if before.len() > MAX_EDITED_BYTES {
        return None;
    }
    let words = common(before.as_chunks().0.iter().zip(after.as_chunks().0));
    let (a, b) = (&before[words..], &after[words..]);
    let bytes = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (first, a, b) = (words + bytes, &a[bytes..], &b[bytes..]);
    let words = common(a.as_rchunks().1.iter().rev().zip(b.as_rchunks().1.iter().rev()));
    let (a, b) = (&a[..a.len() - words], &b[..b.len() - words]);
    let last = words + a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    (first + last >= MIN_SAVED_BYTES).then_some((first, last))
}

/// The staged changes as the entries of a record, delta-encoded against the log.
#[derive(Debug)]
pub(crate) struct Edits<'a> {
    pub(crate) staged: &'a Memtable,
    pub(crate) log: &'a Memtable,
}

impl Entries for Edits<'_> {
    fn length(&self) -> usize {
        self.staged.length()
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        put_varint(out, self.staged.len() as u64);
        for (key, value) in self.staged {
            let before = || value_in(self.log, key.as_ref())?.as_ref();
            let edit =
                value.as_ref().filter(|after| DELTA_LENGTHS.contains(&after.len())).and_then(|after| {
                    let (first, last) = kept(before()?, after)?;
                    Some((first, last, &after[first..after.len() - last]))
                });
            match edit {
                Some((first, last, between)) => {
                    out.push(EDIT);
                    put_string(out, key.as_ref());
                    put_varint(out, first as u64);
                    put_varint(out, last as u64);
                    put_string(out, between);
                }
                None => put_entry(out, key.as_ref(), value),
            }
        }
    }
}

/// The kind of an entry that is an edit.
pub(crate) const EDIT: u8 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::author::Author;
    use crate::wal::record::{Header, decode, encode};

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(0u8..3, 0..90)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Encoded values decode to the same bytes, and the bytes that they share are not written.
        #[test]
        fn deltas_round_trip(first in bytes(), old in bytes(), new in bytes(), last in bytes()) {
            let before = Bytes::from([&*first, &*old, &*last].concat());
            let after = Bytes::from([&*first, &*new, &*last].concat());
            let key = || Bytes::from_static(b"key").into();
            let log = Memtable::from([(key(), Some(before.clone()))]);
            let staged = Memtable::from([(key(), Some(after.clone()))]);
            let header = Header { by: Author::default(), ..Header::of_now(2, 1, 5) };
            let record = encode(&header, b"", &Edits { staged: &staged, log: &log }).0;
            let long = encode(&header, b"", &staged).0;
            prop_assert!(record.len() <= long.len());
            if first.len() + last.len() >= 64 {
                prop_assert!(record.len() + first.len() + last.len() <= long.len() + 2);
            }
            let mut changes = decode(&record.into()).unwrap().changes().unwrap();
            let (found, stored) = changes.pop().unwrap();
            prop_assert_eq!(&*found, b"key");
            prop_assert_eq!(stored.clone().over(Some(&before)).unwrap(), Some(after));
            if let StoredValue::Edited(edit) = &stored {
                let short = before.slice(..edit.first + edit.last - 1);
                prop_assert!(stored.clone().over(Some(&short)).is_err());
                prop_assert!(stored.over(None).is_err());
            }
        }
    }

    /// A chain of edits costs no more than its own bytes times the bound.
    #[test]
    fn edits_of_long_values_are_refused() {
        let over = |before: usize, lengths, between: usize| {
            let edit = Edit::new(lengths, vec![1; between].into());
            let made = StoredValue::Edited(edit).over(Some(&vec![7; before].into()));
            made.map(|value| value.unwrap().len())
        };
        assert_eq!(over(8192, (8000, 191), 1), Ok(8192));
        assert_eq!(over(100, (0, 0), 8192), Ok(8192));
        assert!(over(8193, (1, 1), 1).is_err());
        assert!(over(16 << 20, (8 << 20, (8 << 20) - 1), 1).is_err());
        assert!(over(8192, (8192, 0), 1).is_err());
        assert!(over(100, (50, 50), 8093).is_err());
        assert!(over(100, (usize::MAX, 2), 1).is_err());
    }

    #[test]
    fn new_deleted_and_long_values_are_stored_whole() {
        let value = |n: usize, last: u8| Some(Bytes::from([vec![7; n], vec![last]].concat()));
        let edited = |before: Option<Bytes>, after: Option<Bytes>| {
            let log = Memtable::from([(Bytes::from("k").into(), before)]);
            let staged = Memtable::from([(Bytes::from("k").into(), after)]);
            Edits { staged: &staged, log: &log }.encoded()[1] == EDIT
        };
        assert!(edited(value(200, 1), value(200, 2)));
        assert!(edited(value(200, 1), value(100, 2)));
        assert!(!edited(None, value(200, 2)));
        assert!(!edited(value(200, 1), None));
        assert!(!edited(value(60, 1), value(60, 2)));
        assert!(!edited(value(9000, 1), value(200, 2)));
        assert!(!edited(value(200, 1), value(9000, 2)));
        assert!(!edited(Some(vec![1; 200].into()), Some(vec![2; 200].into())));
    }
}
