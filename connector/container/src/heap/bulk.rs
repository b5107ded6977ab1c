//! Many blobs in one call: what a transfer of a million strings needs. Blobs that lie together in a segment are written
//! and read as one run of bytes.

use super::{PREFIX, Place};
use crate::container::State;
use crate::types::ObjectId;
use crate::{Container, Error, Result, convert};
use h5lake_ledger::buffers;
use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};

/// Blobs with no more than this many bytes between them are read together.
const GAP: u64 = 4 << 10;
/// Bytes that are read together, unless one blob has more.
const TOGETHER: u64 = 1 << 20;

/// Blobs on their way into a segment.
#[derive(Default)]
struct Filling {
    number: u32,
    /// Where in the segment they begin.
    start: u64,
    /// The length of the segment.
    length: u64,
    bytes: Vec<u8>,
}

impl Filling {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// A blob that is wanted, and its place among those that are.
struct Wanted {
    place: Place,
    length: u64,
    /// Bytes, with the prefix.
    bytes: u64,
    index: usize,
}

impl Wanted {
    fn start(&self) -> u64 {
        u64::from(self.place.offset)
    }

    fn end(&self) -> u64 {
        self.start() + self.bytes
    }
}

impl Container {
    /// Keeps blobs for an owner, each as [`Self::heap_put`] does, and tells their ids in the same order.
    ///
    /// # Errors
    /// `ReadOnly`, and those of the ledger. Some of the blobs are then kept, until their owner goes.
    pub fn heap_put_all<'b>(
        &self,
        owner: ObjectId,
        blobs: impl IntoIterator<Item = &'b [u8]>,
        mut kept: impl FnMut([u8; 16]),
    ) -> Result<()> {
        self.check_writable("unable to store variable-length data")?;
        let mut s = self.state();
        let mut filling = Filling::default();
        for blob in blobs {
            let size = (encoded_len_varint(blob.len() as u64) + blob.len()) as u64;
            if filling.end() + size > filling.length {
                self.store_filling(&mut s, owner, &mut filling)?;
                self.begin_filling(&mut s, owner, size, &mut filling)?;
            }
            let offset =
                u32::try_from(filling.end()).map_err(|_| Error::corrupt("a heap segment is too long"))?;
            kept(Place { owner: owner.0, number: filling.number, offset }.id());
            encode_varint(blob.len() as u64, &mut filling.bytes);
            filling.bytes.extend_from_slice(blob);
        }
        self.store_filling(&mut s, owner, &mut filling)?;
        buffers::give(filling.bytes);
        Ok(())
    }

    fn begin_filling(&self, s: &mut State, owner: ObjectId, size: u64, filling: &mut Filling) -> Result<()> {
        filling.number = self.segment_for(s, owner.0, size)?;
        let record = &self.usage(s, owner.0, filling.number)?.record;
        (filling.start, filling.length) = (record.used, record.length);
        if filling.bytes.capacity() == 0 && record.length >= TOGETHER {
            filling.bytes = buffers::take(TOGETHER as usize);
            filling.bytes.clear();
        }
        Ok(())
    }

    fn store_filling(&self, s: &mut State, owner: ObjectId, filling: &mut Filling) -> Result<()> {
        if !filling.bytes.is_empty() {
            self.heap_append(s, owner, filling.number, &filling.bytes)?;
            filling.bytes.clear();
        }
        Ok(())
    }

    /// Reads blobs, each given by its id and so many bytes from its beginning, and hands them to `take` with their number
    /// among those asked for; in the order in which they lie.
    ///
    /// # Errors
    /// As for [`Self::heap_get`], and those of `take`.
    pub fn heap_get_all<E: From<Error>>(
        &self,
        blobs: impl ExactSizeIterator<Item = ([u8; 16], u64)>,
        mut take: impl FnMut(usize, &[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut wanted = Vec::with_capacity(blobs.len());
        for (index, (id, length)) in blobs.enumerate() {
            if length == 0 {
                take(index, &[])?;
                continue;
            }
            if id == [0; 16] {
                return Err(Error::invalid(format!("{length} bytes are asked of no blob")).into());
            }
            let bytes = length.saturating_add(encoded_len_varint(length) as u64);
            wanted.push(Wanted { place: Place::of(&id), length, bytes, index });
        }
        let order = |w: &Wanted| (w.place.owner, w.place.number, w.place.offset);
        if !wanted.is_sorted_by_key(order) {
            wanted.sort_unstable_by_key(order);
        }
        let mut rest = &wanted[..];
        while let Some(first) = rest.first() {
            let mut end = first.end();
            let mut joins = |w: &Wanted| {
                let near =
                    w.start() <= end.saturating_add(GAP) && w.end().max(end) - first.start() <= TOGETHER;
                let same = (w.place.owner, w.place.number) == (first.place.owner, first.place.number);
                end = end.max(w.end());
                same && near
            };
            let count = 1 + rest[1..].iter().take_while(|w| joins(w)).count();
            let (group, others) = rest.split_at(count);
            self.heap_get_group(group, &mut take)?;
            rest = others;
        }
        Ok(())
    }

    /// Reads blobs of one segment that lie near each other.
    fn heap_get_group<E: From<Error>>(
        &self,
        group: &[Wanted],
        take: &mut impl FnMut(usize, &[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let Some(first) = group.first() else { return Ok(()) };
        let segment = self.heap_segment(first.place)?;
        let end = group.iter().map(Wanted::end).max().unwrap_or_default();
        let length =
            usize::try_from(end.min(segment.length).saturating_sub(first.start())).unwrap_or(usize::MAX);
        let mut bytes = convert::buffer(length)?;
        self.heap_read(first.place, &segment, first.start(), &mut bytes)?;
        for w in group {
            let at = (w.start() - first.start()) as usize;
            match blob_at(&bytes, at, w.length) {
                Some(blob) => take(w.index, blob)?,
                None => take(w.index, &self.heap_get_alone(&w.place.id(), w.length)?)?,
            }
        }
        buffers::give(bytes);
        Ok(())
    }

    /// A blob that is not what was thought: longer than asked for, or damaged.
    fn heap_get_alone(&self, id: &[u8; 16], length: u64) -> Result<Vec<u8>> {
        if length > self.heap_len(id)? {
            return Err(Error::invalid(format!("{length} bytes are asked of a shorter blob")));
        }
        let mut out = convert::zeros(usize::try_from(length).unwrap_or(usize::MAX))?;
        self.heap_get(id, &mut out)?;
        Ok(out)
    }
}

/// The blob of just this length whose prefix begins at `at`.
fn blob_at(bytes: &[u8], at: usize, length: u64) -> Option<&[u8]> {
    let from = bytes.get(at..)?;
    let mut rest = &from[..from.len().min(PREFIX)];
    let before = rest.len();
    let found = decode_varint(&mut rest).ok()?;
    let taken = before - rest.len();
    (found == length).then(|| from.get(taken..taken.checked_add(usize::try_from(length).ok()?)?)).flatten()
}
