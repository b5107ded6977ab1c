//! Addresses of bytes in a storage, and runs of bytes to be read.

use bytes::Bytes;

use crate::codec::{Decoded, NEWER, Reader, put_varint};

/// A reserved bit of an address's first byte: a birth follows the length. Writers never set it.
const HAS_BIRTH: u8 = 0x80;

/// The file or object in which an offset counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Location {
    /// The container's file, from the container's first byte (after a user block).
    File,
    /// A pack object, by its random id.
    Pack([u8; 16]),
    /// A page object, by its random id.
    Page([u8; 16]),
    /// A source: a native file outside of the container, by its number.
    Source(u32),
}

/// A run of bytes in a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) location: Location,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Address {
    pub(crate) fn file(offset: u64, length: u64) -> Self {
        Address { location: Location::File, offset, length }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self.location {
            Location::File => out.push(0),
            Location::Pack(id) => {
                out.push(2);
                out.extend_from_slice(&id);
            }
            Location::Page(id) => {
                out.push(3);
                out.extend_from_slice(&id);
            }
            Location::Source(number) => {
                out.push(4);
                put_varint(out, number.into());
            }
        }
        put_varint(out, self.offset);
        put_varint(out, self.length);
    }

    /// Skips an encoded address without checking it.
    #[inline(always)]
    pub(crate) fn skip(r: &mut Reader<'_>) -> Decoded<()> {
        match r.u8()? {
            0 => (),
            4 => r.skip_varint()?,
            2 | 3 => drop(r.take(16)?),
            HAS_BIRTH.. => return Err(NEWER),
            _ => return Err("unknown kind of place"),
        }
        r.skip_varint()?;
        r.skip_varint()
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let location = match r.u8()? {
            0 => Location::File,
            2 => Location::Pack(r.id()?),
            3 => Location::Page(r.id()?),
            4 => Location::Source(u32::try_from(r.varint()?).map_err(|_| "impossible number of a source")?),
            HAS_BIRTH.. => return Err(NEWER),
            _ => return Err("unknown kind of place"),
        };
        let place = Address { location, offset: r.varint()?, length: r.varint()? };
        if place.offset.checked_add(place.length).is_none_or(|e| e > i64::MAX as u64) {
            return Err("a place lies beyond any file");
        }
        Ok(place)
    }
}

/// An address, and the checksum of the bytes that must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PageRef {
    pub(crate) place: Address,
    pub(crate) crc: u32,
}

impl PageRef {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        self.place.encode(out);
        out.extend_from_slice(&self.crc.to_le_bytes());
    }

    /// Skips an encoded pointer without checking it.
    #[inline(always)]
    pub(crate) fn skip(r: &mut Reader<'_>) -> Decoded<()> {
        Address::skip(r)?;
        r.take(4).map(drop)
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self { place: Address::read(r)?, crc: r.u32()? })
    }

    /// Encodes a byte that says whether there is a pointer, and the pointer.
    pub(crate) fn encode_optional(pointer: Option<Self>, out: &mut Vec<u8>) {
        out.push(u8::from(pointer.is_some()));
        if let Some(pointer) = pointer {
            pointer.encode(out);
        }
    }

    pub(crate) fn read_optional(r: &mut Reader<'_>) -> Decoded<Option<Self>> {
        match r.u8()? {
            0 => Ok(None),
            1 => Self::read(r).map(Some),
            _ => Err("neither with nor without a pointer"),
        }
    }
}

/// A part of an address's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) place: Address,
    /// The offset from the first byte of the address.
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// A run to be read, and the destination of its bytes.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) run: Run,
    /// A buffer that is exactly as long as the run; without it the bytes are returned in `bytes`.
    pub(crate) into: Option<&'a mut [u8]>,
    pub(crate) bytes: Bytes,
}

impl<'a> Wanted<'a> {
    pub(crate) fn new(run: Run, into: Option<&'a mut [u8]>) -> Self {
        Self { run, into, bytes: Bytes::new() }
    }

    /// Returns the bytes after they were read.
    pub(crate) fn read(&self) -> &[u8] {
        self.into.as_deref().unwrap_or(&self.bytes)
    }
}
