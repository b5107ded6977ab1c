//! Branches: the encoding of their names, records and entries in the map.

use std::fmt;

use bytes::Bytes;

use crate::author::Author;
use crate::codec::{Decoded, Reader, put_varint};
use crate::source::SOURCE;
use crate::tags::{MAX_TAG_NAME, TAG, TagName};

/// The first byte of the keys of branches.
pub const BRANCH: u8 = b'V';
/// The prefix of the tag of a branch's base; the branch's name follows.
const TAGGED: &str = "branch-";
/// The maximum length of the name of a branch, in bytes.
pub const MAX_BRANCH_NAME: usize = MAX_TAG_NAME - TAGGED.len();
/// The form of a branch's record.
const FORM: u8 = 1;
/// The first byte of an entry: `NOTHING` if the branch has no value under the key, `VALUE` before the value.
const NOTHING: u8 = 0;
const VALUE: u8 = 1;

/// The name of a branch: 1 to 57 ASCII letters, digits, `.`, `_` and `-`, the first of which is a letter or a digit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BranchName(TagName);

impl BranchName {
    /// Parses a name. Returns `None` if the text is not a valid name.
    pub fn new(text: &str) -> Option<Self> {
        TagName::new(text).filter(|_| text.len() <= MAX_BRANCH_NAME).map(Self)
    }

    /// The rule for names, for messages about an invalid name.
    pub const RULE: &'static str =
        "a branch has 1 to 57 letters, digits, '.', '_' and '-', and begins with a letter or a digit";

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the name of the tag that retains the branch's base.
    pub fn tag(&self) -> TagName {
        // The name is never longer than a tag's name may be, see `MAX_BRANCH_NAME`.
        TagName::new(&format!("{TAGGED}{self}")).unwrap_or(self.0)
    }

    /// Returns the branch with a base of this tag, if the name of the tag is that of a base.
    pub fn of_tag(tag: &TagName) -> Option<Self> {
        Self::new(tag.as_str().strip_prefix(TAGGED)?)
    }

    /// Returns the key of the branch's record.
    pub(crate) fn record_key(&self) -> Vec<u8> {
        [&[BRANCH, 0], self.as_str().as_bytes()].concat()
    }

    /// Returns the branch with a record under this key; `None` for any other key.
    pub(crate) fn of_record_key(key: &[u8]) -> Option<Self> {
        Self::new(std::str::from_utf8(key.strip_prefix(&[BRANCH, 0])?).ok()?)
    }

    /// Returns the prefix of the keys of the branch's entries.
    pub(crate) fn prefix(&self) -> Vec<u8> {
        [&[BRANCH], self.as_str().as_bytes(), &[0]].concat()
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// Returns whether a key is that of a branch's record or entry.
pub(crate) fn is_of_branches(key: &[u8]) -> bool {
    key.first() == Some(&BRANCH)
}

/// Returns whether a key belongs to the container itself and has the same value in all branches.
pub(crate) fn is_common(key: &[u8]) -> bool {
    key.len() <= 1 || matches!(key.first(), Some(&(TAG | SOURCE | BRANCH)))
}

/// Encodes a branch's entry. `None` records that the branch has no value under the key.
pub(crate) fn encode_entry(value: Option<&[u8]>) -> Bytes {
    match value {
        None => Bytes::from_static(&[NOTHING]),
        Some(value) => {
            let mut out = Vec::with_capacity(1 + value.len());
            out.push(VALUE);
            out.extend_from_slice(value);
            out.into()
        }
    }
}

/// Decodes an entry that [`encode_entry`] encoded.
pub(crate) fn decode_entry(entry: &Bytes) -> Decoded<Option<Bytes>> {
    match entry.split_first() {
        Some((&NOTHING, [])) => Ok(None),
        Some((&VALUE, _)) => Ok(Some(entry.slice(1..))),
        _ => Err("an entry of a form that this h5lake does not know"),
    }
}

/// A key, and its value in a branch: `None` if the branch has no value under the key.
pub type ShownEntry<'k> = (&'k [u8], Option<Bytes>);

/// Returns the key and value that an entry of the map has in its branch; the value is `None` if the branch has no value
/// under the key. Returns `None` for the branch's record, and for entries that belong to no branch.
///
/// # Errors
/// The reason why the entry is damaged.
pub fn branch_entry<'k>(
    stored: &'k [u8],
    entry: &Bytes,
) -> std::result::Result<Option<ShownEntry<'k>>, &'static str> {
    // A zero byte ends the name. The name in the key of a record is empty.
    let end = stored.strip_prefix(&[BRANCH]).and_then(|suffix| suffix.iter().position(|byte| *byte == 0));
    match end.filter(|end| *end > 0) {
        Some(end) => Ok(Some((&stored[end + 2..], decode_entry(entry)?))),
        None => Ok(None),
    }
}

/// The content of a branch's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BranchRecord {
    /// Random bytes, which distinguish the branch from another branch of the same name.
    pub(crate) id: [u8; 16],
    /// The version on which the branch is based.
    pub(crate) base: u64,
    /// The time at which the branch was made, in microseconds since 1970.
    pub(crate) made: u64,
    /// The time of the last commit to the branch, in microseconds since 1970.
    pub(crate) changed: u64,
    /// The number of commits to the branch.
    pub(crate) commits: u64,
    /// The process that made the branch.
    pub(crate) author: Author,
}

impl BranchRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORM];
        out.extend_from_slice(&self.id);
        for number in [self.base, self.made, self.changed, self.commits] {
            put_varint(&mut out, number);
        }
        self.author.encode(&mut out);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(bytes);
        if r.u8()? != FORM {
            return Err("a branch of a form that this h5lake does not know");
        }
        let id = r.id()?;
        let (base, made, changed, commits) = (r.number()?, r.number()?, r.number()?, r.number()?);
        let author = Author::read(&mut r)?;
        r.end()?;
        Ok(Self { id, base, made, changed, commits, author })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keys_and_tags_lead_to_each_other() {
        let long = "a".repeat(MAX_BRANCH_NAME);
        for text in ["fix", "v1.2-rc_3", &long] {
            let name = BranchName::new(text).unwrap();
            assert_eq!(BranchName::of_tag(&name.tag()), Some(name));
            assert_eq!(BranchName::of_record_key(&name.record_key()), Some(name));
            assert!(is_common(&name.record_key()) && is_common(&name.prefix()));
        }
        for text in ["", "-a", "a b", "é", &"a".repeat(MAX_BRANCH_NAME + 1)] {
            assert_eq!(BranchName::new(text), None, "{text}");
        }
        // No branch has keys among those of another branch.
        assert!(
            !BranchName::new("ab").unwrap().prefix().starts_with(&BranchName::new("a").unwrap().prefix())
        );
    }

    #[test]
    fn records_and_entries_round_trip() {
        let record = BranchRecord {
            id: [5; 16],
            base: 7,
            made: 1_795_168_800_000_000,
            changed: 1_795_168_800_000_001,
            commits: 3,
            author: Author { host: "node".into(), pid: 42, ..Author::default() },
        };
        let bytes = record.encode();
        assert_eq!(BranchRecord::decode(&bytes), Ok(record));
        assert!((0..bytes.len()).all(|n| BranchRecord::decode(&bytes[..n]).is_err()));
        for value in [None, Some(&b""[..]), Some(b"x")] {
            assert_eq!(decode_entry(&encode_entry(value)).unwrap().as_deref(), value);
        }
        let name = BranchName::new("fix").unwrap();
        let stored = [&name.prefix()[..], b"key\0"].concat();
        let value = Some(Bytes::from_static(b"x"));
        assert_eq!(branch_entry(&stored, &encode_entry(value.as_deref())), Ok(Some((&b"key\0"[..], value))));
        for other in [&name.record_key()[..], b"key", b"V", b"Vfix"] {
            assert_eq!(branch_entry(other, &encode_entry(None)), Ok(None));
        }
        for bad in [&b""[..], &[0, 1], &[2]] {
            assert!(decode_entry(&Bytes::copy_from_slice(bad)).is_err());
        }
    }
}
