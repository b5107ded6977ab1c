//! Positions in a space.

use crate::codec::{Decoded, Reader, put_varint};

/// What a position counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Room {
    /// The container's file, from the container's first byte (behind a user block).
    File,
    /// The log object of a version.
    Log(u64),
    /// A pack object, by its random id.
    Pack([u8; 16]),
    /// A page object, by its random id.
    Page([u8; 16]),
}

/// A run of bytes in a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) room: Room,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Place {
    pub(crate) fn file(offset: u64, length: u64) -> Self {
        Place { room: Room::File, offset, length }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self.room {
            Room::File => out.push(0),
            Room::Log(n) => {
                out.push(1);
                put_varint(out, n);
            }
            Room::Pack(id) => {
                out.push(2);
                out.extend_from_slice(&id);
            }
            Room::Page(id) => {
                out.push(3);
                out.extend_from_slice(&id);
            }
        }
        put_varint(out, self.offset);
        put_varint(out, self.length);
    }

    /// Passes over one, whatever it says.
    #[inline(always)]
    pub(crate) fn skip(r: &mut Reader<'_>) -> Decoded<()> {
        match r.u8()? {
            0 => (),
            1 => r.skip_varint()?,
            2 | 3 => drop(r.take(16)?),
            _ => return Err("unknown kind of place"),
        }
        r.skip_varint()?;
        r.skip_varint()
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let room = match r.u8()? {
            0 => Room::File,
            1 => Room::Log(r.varint()?),
            2 => Room::Pack(r.id()?),
            3 => Room::Page(r.id()?),
            _ => return Err("unknown kind of place"),
        };
        let place = Place { room, offset: r.varint()?, length: r.varint()? };
        if place.offset.checked_add(place.length).is_none_or(|e| e > i64::MAX as u64) {
            return Err("a place lies beyond any file");
        }
        Ok(place)
    }
}
