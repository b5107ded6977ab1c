//! The address of a payload, and the checksums that verify it.

use bytes::Bytes;

use crate::address::{Address, Location};
use crate::checksum::{checksum, checksum_on};
use crate::codec::{NEWER, Reader, put_varint};
use crate::error::{Error, Result};

/// The version byte at the start of an encoded extent.
const VERSION: u8 = 1;
/// The version byte of an extent in a source, which may have no checksums. Greater versions are reserved for extents with
/// a codec or a key id.
const IN_SOURCE: u8 = 2;
/// Blocks are 2^14 bytes: 16 KiB, so that a small read of a big payload verifies little more than it needs.
pub(crate) const BLOCK_POWER: u8 = 14;

/// An immutable run of bytes that a ledger keeps outside of its map.
///
/// A caller stores the encoded extent in a value; when that value commits, the payload is part of the container.
/// Every block has its own CRC-32C, so that a read of a part verifies the blocks it touches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Extent {
    place: Address,
    length: u64,
    block_power: u8,
    sums: Vec<u32>,
}

/// The checksums of a payload that is being written.
#[derive(Debug, Default)]
pub(crate) struct Sums(Vec<u32>);

impl Sums {
    /// Adds the next part of the payload. All parts except the last consist of whole blocks.
    pub(crate) fn add(&mut self, part: &[u8]) {
        self.0.extend(part.chunks(1 << BLOCK_POWER).map(checksum));
    }

    /// Returns the extent of the payload, which was written at this address.
    pub(crate) fn at(self, place: Address) -> Extent {
        Extent { place, length: place.length, block_power: BLOCK_POWER, sums: self.0 }
    }
}

impl Extent {
    pub(crate) fn of(place: Address, data: &[u8]) -> Self {
        let mut sums = Sums::default();
        sums.add(data);
        sums.at(place)
    }

    /// Returns the extent of the same bytes at another address.
    pub(crate) fn moved_to(&self, place: Address) -> Self {
        debug_assert_eq!(place.length, self.length);
        Self { place, ..self.clone() }
    }

    /// Returns the extent of this payload followed by `data`, which was written directly after it.
    pub(crate) fn with(&self, data: &[u8]) -> Self {
        let mut grown = self.clone();
        grown.length += data.len() as u64;
        grown.place.length = grown.length;
        let (mut remaining, begun) = (data, self.length % self.block());
        if let Some(last) = grown.sums.last_mut().filter(|_| begun > 0) {
            let (head, tail) = data.split_at(data.len().min((self.block() - begun) as usize));
            *last = checksum_on(*last, head);
            remaining = tail;
        }
        grown.sums.extend(remaining.chunks(self.block() as usize).map(checksum));
        grown
    }

    /// Returns the payload of no bytes. It takes no space, and need not be written.
    pub fn empty() -> Self {
        Self::of(Address::file(0, 0), &[])
    }

    /// Returns an extent in a source, without checksums: `length` bytes from `offset` on, including a user block.
    ///
    /// # Errors
    /// `Invalid` for an empty extent, and for one beyond the end of any file.
    pub fn in_source(number: u32, offset: u64, length: u64) -> Result<Self> {
        let is_possible = length > 0 && offset.checked_add(length).is_some_and(|end| end <= i64::MAX as u64);
        if !is_possible {
            return Err(Error::invalid("a source", format!("{length} bytes from byte {offset} on")));
        }
        let place = Address { location: Location::Source(number), offset, length };
        Ok(Self { place, length, block_power: 0, sums: Vec::new() })
    }

    /// Returns the same extent in a source with the checksums of its bytes, `data`.
    #[must_use]
    pub fn with_checksums(&self, data: &[u8]) -> Self {
        debug_assert_eq!(self.length, data.len() as u64);
        Self::of(self.place, data)
    }

    /// Returns the number of the source and the offset in it; `None` for a payload of the container itself.
    pub fn source(&self) -> Option<(u32, u64)> {
        match self.place.location {
            Location::Source(number) => Some((number, self.place.offset)),
            _ => None,
        }
    }

    /// Returns whether the extent is in a source.
    pub fn is_in_source(&self) -> bool {
        self.source().is_some()
    }

    pub(crate) fn has_checksums(&self) -> bool {
        self.block_power > 0
    }

    /// Returns the length of the payload in bytes.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Returns whether the payload has no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Returns whether another payload may be equal: it has the same length, and the same checksums if both have
    /// checksums of equally long blocks. Different payloads can have equal checksums, too.
    pub fn may_equal(&self, other: &Self) -> bool {
        self.length == other.length && (self.block_power != other.block_power || self.sums == other.sums)
    }

    pub(crate) fn place(&self) -> &Address {
        &self.place
    }

    /// Returns whether both extents are the same payload.
    pub fn is_same_payload(&self, other: &Self) -> bool {
        self.place == other.place
    }

    pub(crate) fn block(&self) -> u64 {
        1 << self.block_power
    }

    /// Returns the checksum of block `n`.
    pub(crate) fn sum(&self, n: u64) -> Option<u32> {
        self.sums.get(usize::try_from(n).ok()?).copied()
    }

    /// Appends the encoded form to `out`. `docs/format.md` has the bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(if self.is_in_source() { IN_SOURCE } else { VERSION });
        out.push(self.block_power);
        put_varint(out, self.length);
        self.place.encode(out);
        for s in &self.sums {
            out.extend_from_slice(&s.to_le_bytes());
        }
    }

    /// Returns the encoded form.
    pub fn to_bytes(&self) -> Bytes {
        let mut v = Vec::with_capacity(32 + 4 * self.sums.len());
        self.encode(&mut v);
        v.into()
    }

    /// Decodes an extent from the front of `bytes` and returns it with its encoded length.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are truncated or hold impossible numbers.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize)> {
        let mut r = Reader::new(bytes);
        Self::read(&mut r)
            .map(|e| (e, r.position()))
            .map_err(|why| Error::corrupt("extent", format!("byte {}", r.position()), why))
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> std::result::Result<Self, &'static str> {
        let version = r.u8()?;
        if version > IN_SOURCE {
            return Err(NEWER);
        }
        if version == 0 {
            return Err("an impossible version of an extent");
        }
        let block_power = r.u8()?;
        let has_no_checksums = version == IN_SOURCE && block_power == 0;
        if !has_no_checksums && !(9..=20).contains(&block_power) {
            return Err("impossible block size of an extent");
        }
        let length = r.varint()?;
        let place = Address::read(r)?;
        if place.length != length || place.offset.checked_add(length).is_none() {
            return Err("an extent's length and place differ");
        }
        if (version == IN_SOURCE) != matches!(place.location, Location::Source(_)) {
            return Err("an extent's version and place differ");
        }
        if version == IN_SOURCE && length == 0 {
            return Err("an extent of no bytes in a source");
        }
        let count = if block_power == 0 { 0 } else { length.div_ceil(1 << block_power) };
        if count > (r.remaining() / 4) as u64 {
            return Err("an extent's checksums are cut short");
        }
        let mut sums = Vec::with_capacity(count as usize);
        for _ in 0..count {
            sums.push(r.u32()?);
        }
        Ok(Self { place, length, block_power, sums })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extent_that_grows_is_that_of_all_its_bytes() {
        let all: Vec<u8> = (0..100_000u32).map(|i| ((i * 31) >> 3) as u8).collect();
        for cuts in [&[0, 1, 2][..], &[4096, 8192], &[16_384, 16_385, 49_152], &[5, 40_000], &[99_999]] {
            let place = |n: usize| Address::file(4608, n as u64);
            let mut grown = Extent::of(place(cuts[0]), &all[..cuts[0]]);
            for (from, to) in cuts.iter().zip(cuts[1..].iter().chain(&[all.len()])) {
                grown = grown.with(&all[*from..*to]);
            }
            assert_eq!(grown, Extent::of(place(all.len()), &all), "{cuts:?}");
        }
    }
}
