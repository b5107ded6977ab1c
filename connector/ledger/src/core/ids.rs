//! Identities: containers, sessions, swaps, objects and the names of tags.
//!
//! The core derives the object that holds an address from the 16 bytes that pack and page locations carry: the session that put
//! the object, and a number that the session used once. Trees, pages and extents therefore need no other addresses.

use crate::address::{Address, Location};
use crate::codec::{Decoded, Reader, put_string, put_varint};

/// The maximum length of the name of a tag, in bytes.
pub(crate) const MAX_NAME: usize = 64;

/// The random id of a container. The zero id stands for "no container".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct ContainerId(pub(crate) [u8; 16]);

impl ContainerId {
    /// The id in the manifest of a container that was deleted or does not exist yet.
    pub(crate) const ABSENT: Self = Self([0; 16]);
}

/// The random id of a writer's session. A session that left or was expelled never returns under the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct SessionId(pub(crate) u64);

/// The process of a session. Another process of the same system can determine whether it still exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionProcess {
    /// Identifies a running system, and in it a namespace of process ids.
    pub(crate) system: u64,
    pub(crate) pid: u32,
    /// The start time of the process, in clock ticks since the boot.
    pub(crate) start: u64,
}

impl SessionProcess {
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.system.to_le_bytes());
        put_varint(out, u64::from(self.pid));
        put_varint(out, self.start);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let (system, pid) = (r.u64()?, u32::try_from(r.varint()?));
        Ok(Self { system, pid: pid.map_err(|_| "a process id that is too large")?, start: r.number()? })
    }
}

/// The identity of one change: the session that proposed the change, and a number that the session used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Nonce {
    pub(crate) session: SessionId,
    pub(crate) count: u64,
}

impl Nonce {
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.session.0.to_le_bytes());
        put_varint(out, self.count);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self { session: SessionId(r.u64()?), count: r.number()? })
    }
}

/// The name of an object: the session that put the object, and a number that the session used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectId {
    pub(crate) session: SessionId,
    pub(crate) number: u64,
}

impl ObjectId {
    /// Returns the location of pages and other metadata in this object.
    pub(crate) fn page(self) -> Location {
        Location::Page(self.bytes())
    }

    /// Returns the location of payloads in this object.
    pub(crate) fn pack(self) -> Location {
        Location::Pack(self.bytes())
    }

    /// Returns the object that holds an address; `None` for an address in a file or a source.
    pub(crate) fn of(place: &Address) -> Option<Self> {
        match place.location {
            Location::Pack(id) | Location::Page(id) => Some(Self::from_bytes(id)),
            _ => None,
        }
    }

    fn bytes(self) -> [u8; 16] {
        (u128::from(self.session.0) << 64 | u128::from(self.number)).to_be_bytes()
    }

    fn from_bytes(id: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(id);
        Self { session: SessionId((both >> 64) as u64), number: both as u64 }
    }

    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes());
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.id().map(Self::from_bytes)
    }
}

/// The name of a tag: 1 to 64 letters and digits of ASCII, and `.`, `_`, `-` after the first character.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name(Box<str>);

impl Name {
    /// Returns the name, or `None` if the text breaks the rule of names.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let begins_well = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        (begins_well && text.len() <= MAX_NAME && text.bytes().all(is_plain)).then(|| Self(text.into()))
    }

    /// Returns the name as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_string(out, self.0.as_bytes());
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let text = std::str::from_utf8(r.string()?).ok();
        text.and_then(Self::new).ok_or("an impossible name of a tag")
    }
}
