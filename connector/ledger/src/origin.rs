//! Origins: the source container and version that a copy shows, so that a later copy transfers only the changes since
//! then.
//!
//! An origin is an entry of the copy's map. It names the copy itself and the version that the copy's commit made, and
//! is valid only for that version. Therefore any later write invalidates the origin, including a write by a program that
//! does not know origins, and so does a copy of the copy.

use crate::codec::{Decoded, Reader, put_string, put_varint};
use crate::history::Mark;

/// The key of the entry.
pub(crate) const ORIGIN: &[u8] = b"S";
/// The form of the entries that this build writes and reads.
const FORM: u8 = 1;

/// A version of a container that was copied. Equal origins identify the same version: a container that was restored
/// from a copy of its files, and written again, has other times and writers under the same version numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The id of the container that was copied.
    pub id: [u8; 16],
    /// The number of the copied version.
    pub version: u64,
    /// The time of that version's commit, in microseconds since 1970-01-01 UTC.
    pub time: u64,
    /// The host name of the machine that the version's writer ran on.
    pub host: String,
    /// The process id of the version's writer.
    pub pid: u32,
}

impl Origin {
    /// Returns the origin for a version of the container with this id.
    pub(crate) fn of(id: [u8; 16], v: &Mark) -> Self {
        Self { id, version: v.version, time: v.time, host: v.author.host.to_string(), pid: v.author.pid }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id);
        put_varint(out, self.version);
        put_varint(out, self.time);
        put_string(out, self.host.as_bytes());
        put_varint(out, u64::from(self.pid));
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let (id, version, time) = (r.id()?, r.number()?, r.number()?);
        let host = String::from_utf8_lossy(r.string()?).into_owned();
        let pid = u32::try_from(r.varint()?).map_err(|_| "an impossible process id")?;
        Ok(Self { id, version, time, host, pid })
    }
}

/// The relation of a container to its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyState {
    /// The container is not a copy, or its origin is not known.
    NotACopy,
    /// The container was a copy, and was written to since.
    Written {
        /// The version that the copy made.
        made: u64,
    },
    /// The container shows exactly this version.
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
