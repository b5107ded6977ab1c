//! Origins: what a copy shows of which container, so that a later copy moves only what changed since.
//!
//! An origin is an entry of the copy's map. It names the copy itself and the version that the copy's commit made, and
//! counts only there. So any later write invalidates it, also by a build that does not know it, and so does a copy of
//! the copy.

use crate::codec::{Decoded, Reader, put_varint};
use crate::history::Mark;
use crate::wal::record::Author;

/// The key of the entry.
pub(crate) const ORIGIN: &[u8] = b"S";
/// The form of the entries that this build writes and reads.
const FORM: u8 = 1;

/// A version of a container that was copied. Equal origins are the same version: a container that was put back from a
/// copy of its files, and written again, has other times and writers under the same numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The id of the container that was copied.
    pub id: [u8; 16],
    /// The number of its version.
    pub version: u64,
    /// When that version was committed, in microseconds since 1970-01-01 UTC.
    pub time: u64,
    /// Host name of the machine that its writer ran on.
    pub host: String,
    /// Process id of its writer.
    pub pid: u32,
}

impl Origin {
    /// A version of the container with this id.
    pub(crate) fn of(id: [u8; 16], v: &Mark) -> Self {
        Self { id, version: v.version, time: v.time, host: v.author.host.to_string(), pid: v.author.pid }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id);
        put_varint(out, self.version);
        put_varint(out, self.time);
        Author { host: self.host.as_str().into(), pid: self.pid }.encode(out);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let (id, version, time) = (r.id()?, r.number()?, r.number()?);
        let Author { host, pid } = Author::read(r)?;
        Ok(Self { id, version, time, host: host.to_string(), pid })
    }
}

/// What a container knows of its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyState {
    /// It is not a copy, or one of which nothing is known.
    NotACopy,
    /// It was a copy, and somebody has written to it since.
    Written {
        /// The version that the copy made.
        made: u64,
    },
    /// It shows this version, and nothing else.
    Shows(Origin),
}

/// The entry of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OriginEntry {
    /// The id of the copy.
    pub(crate) copy: [u8; 16],
    /// The version of the copy that shows the origin.
    pub(crate) made: u64,
    pub(crate) origin: Origin,
}

impl OriginEntry {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORM];
        out.extend_from_slice(&self.copy);
        put_varint(&mut out, self.made);
        self.origin.encode(&mut out);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(bytes);
        if r.u8()? != FORM {
            return Err("an origin of a form that this h5lake does not know");
        }
        let (copy, made, origin) = (r.id()?, r.number()?, Origin::read(&mut r)?);
        r.end()?;
        Ok(Self { copy, made, origin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_round_trip_and_hostile_ones_are_refused() {
        let origin = Origin { id: [7; 16], version: 300, time: 1 << 50, host: "node".into(), pid: 70_000 };
        let entry = OriginEntry { copy: [9; 16], made: 129, origin };
        let good = entry.encode();
        assert_eq!(OriginEntry::decode(&good), Ok(entry));
        for n in 0..good.len() {
            assert!(OriginEntry::decode(&good[..n]).is_err(), "cut at {n}");
        }
        assert!(OriginEntry::decode(&[&good[..], &[0]].concat()).is_err());
        assert!(OriginEntry::decode(&[&[2], &good[1..]].concat()).is_err());
    }
}
