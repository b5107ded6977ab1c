//! Writes and reads many blobs in one call, as a transfer of a million strings needs. Adjacent blobs of a segment are
//! written and read as one run of bytes.

use super::{BlobAddress, MAX_PREFIX_BYTES};
use crate::container::State;
use crate::{Container, Error, Result};
use h5lake_ledger::buffers;
use h5lake_records::ObjectId;
use h5lake_records::memory;
use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};

/// Blobs with no more than this many bytes between them are read together.
const MAX_GAP_BYTES: u64 = 4 << 10;
/// Bytes that are read together, unless one blob has more.
const MAX_WINDOW_BYTES: u64 = 1 << 20;

/// Up to this many bytes, the buffer of collected blobs grows on demand.
const MIN_POOLED_BYTES: usize = 16 << 10;

/// Blobs that are collected for a segment.
#[derive(Default)]
struct FillingSegment {
    number: u32,
    /// Their offset in the segment.
    start: u64,
    /// The length of the segment.
    length: u64,
    bytes: Vec<u8>,
}

impl FillingSegment {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Reserves a long buffer if the collected blobs become many bytes. For a few blobs, allocating and touching a long
    /// buffer would take more time than everything else.
    fn make_space(&mut self, blob: usize) {
        let is_much = self.bytes.len() + blob > MIN_POOLED_BYTES && self.length >= MAX_WINDOW_BYTES;
        if is_much
            && self.bytes.capacity() < MAX_WINDOW_BYTES as usize
            && let Some(mut long) = buffers::try_take(MAX_WINDOW_BYTES as usize)
        {
            long.clear();
            long.extend_from_slice(&self.bytes);
            self.bytes = long;
        }
    }
}

/// A requested blob, and its index in the request.
#[derive(Clone, Copy)]
struct Wanted {
    place: BlobAddress,
    length: u64,
    /// Stored bytes, including the prefix.
    bytes: u64,
    index: usize,
}

impl Wanted {
    fn new(index: usize, id: &[u8; 16], length: u64) -> Self {
        let bytes = length.saturating_add(encoded_len_varint(length) as u64);
        Self { place: BlobAddress::of(id), length, bytes, index }
    }

    /// Returns the sort key, by which adjacent blobs follow each other.
    fn order(&self) -> (u64, u32, u32) {
        (self.place.owner, self.place.number, self.place.offset)
    }

    fn start(&self) -> u64 {
        u64::from(self.place.offset)
    }

    fn end(&self) -> u64 {
        self.start() + self.bytes
    }
}

impl Container {
    /// Stores blobs for an owner, each as [`Self::heap_put`] does, and reports their ids in the same order.
    ///
    /// # Errors
    /// `ReadOnly`, and those of the ledger. Some of the blobs are then stored, until their owner is deleted.
    pub fn heap_put_all<'b>(
        &self,
        owner: ObjectId,
        blobs: impl IntoIterator<Item = &'b [u8]>,
        mut kept: impl FnMut([u8; 16]),
    ) -> Result<()> {
        self.check_writable("unable to store variable-length data")?;
        let mut s = self.state();
        let mut filling = FillingSegment::default();
        for blob in blobs {
            let size = (encoded_len_varint(blob.len() as u64) + blob.len()) as u64;
            if filling.end() + size > filling.length {
                self.store_filling(&mut s, owner, &mut filling)?;
                self.begin_filling(&mut s, owner, size, &mut filling)?;
            }
            let offset =
                u32::try_from(filling.end()).map_err(|_| Error::corrupt("a heap segment is too long"))?;
            kept(BlobAddress { owner: owner.0, number: filling.number, offset }.id());
            filling.make_space(blob.len());
            encode_varint(blob.len() as u64, &mut filling.bytes);
            filling.bytes.extend_from_slice(blob);
        }
        self.store_filling(&mut s, owner, &mut filling)?;
        buffers::give(filling.bytes);
        Ok(())
    }

    fn begin_filling(
        &self,
        s: &mut State,
        owner: ObjectId,
        size: u64,
        filling: &mut FillingSegment,
    ) -> Result<()> {
        filling.number = self.segment_for(s, owner.0, size)?;
        let record = &self.usage(s, owner.0, filling.number)?.record;
        (filling.start, filling.length) = (record.used, record.length);
        Ok(())
    }

    fn store_filling(&self, s: &mut State, owner: ObjectId, filling: &mut FillingSegment) -> Result<()> {
        if !filling.bytes.is_empty() {
            self.heap_append(s, owner, filling.number, &filling.bytes)?;
            filling.bytes.clear();
        }
        Ok(())
    }

    /// Reads blobs, each given by its id and a number of bytes from its beginning, and passes them to `take` with their
    /// index in the request, in the order of their addresses. The iterator is cloned and run several times: a list of
    /// the blobs would take more new memory than the blobs themselves, and is made only if they are requested in
    /// another order.
    ///
    /// # Errors
    /// As for [`Self::heap_get`], and those of `take`.
    pub fn heap_get_all<E: From<Error>>(
        &self,
        blobs: impl Iterator<Item = ([u8; 16], u64)> + Clone,
        mut take: impl FnMut(usize, &[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let (mut is_sorted, mut last) = (true, None);
        for (index, (id, length)) in blobs.clone().enumerate() {
            if length == 0 {
                take(index, &[])?;
                continue;
            }
            if id == [0; 16] {
                return Err(Error::invalid(format!("{length} bytes are asked of no blob")).into());
            }
            let order = Some(Wanted::new(index, &id, length).order());
            is_sorted &= last <= order;
            last = order;
        }
        let wanted = blobs.enumerate().filter(|(_, (_, length))| *length > 0);
        let wanted = wanted.map(|(index, (id, length))| Wanted::new(index, &id, length));
        if is_sorted {
            return self.heap_get_sorted(wanted, &mut take);
        }
        let mut wanted: Vec<_> = wanted.collect();
        wanted.sort_unstable_by_key(Wanted::order);
        self.heap_get_sorted(wanted.iter().copied(), &mut take)
    }

    /// Reads blobs in the order of their addresses.
    fn heap_get_sorted<E: From<Error>>(
        &self,
        mut rest: impl Iterator<Item = Wanted> + Clone,
        take: &mut impl FnMut(usize, &[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut from = rest.clone();
        while let Some(first) = rest.next() {
            let (mut end, mut count) = (first.end(), 1);
            let mut behind = rest.clone();
            while let Some(w) = behind.next() {
                let near = w.start() <= end.saturating_add(MAX_GAP_BYTES)
                    && w.end().max(end) - first.start() <= MAX_WINDOW_BYTES;
                let same = (w.place.owner, w.place.number) == (first.place.owner, first.place.number);
                if !(same && near) {
                    break;
                }
                (end, count) = (end.max(w.end()), count + 1);
                rest = behind.clone();
            }
            self.heap_get_group(first, end, from.take(count), take)?;
            from = rest.clone();
        }
        Ok(())
    }

    /// Reads blobs of one segment that are near each other, from the first one to offset `end`.
    fn heap_get_group<E: From<Error>>(
        &self,
        first: Wanted,
        end: u64,
        group: impl Iterator<Item = Wanted>,
        take: &mut impl FnMut(usize, &[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let segment = self.heap_segment(first.place)?;
        let length =
            usize::try_from(end.min(segment.length).saturating_sub(first.start())).unwrap_or(usize::MAX);
        let mut bytes = memory::buffer(length)?;
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

    /// Reads a blob with a stored length that differs from the requested one: it is longer, or damaged.
    fn heap_get_alone(&self, id: &[u8; 16], length: u64) -> Result<Vec<u8>> {
        if length > self.heap_len(id)? {
            return Err(Error::invalid(format!("{length} bytes are asked of a shorter blob")));
        }
        let mut out = memory::zeros(usize::try_from(length).unwrap_or(usize::MAX))?;
        self.heap_get(id, &mut out)?;
        Ok(out)
    }
}

/// Returns the blob of exactly this length with its prefix at `at`.
fn blob_at(bytes: &[u8], at: usize, length: u64) -> Option<&[u8]> {
    let from = bytes.get(at..)?;
    let mut rest = &from[..from.len().min(MAX_PREFIX_BYTES)];
    let before = rest.len();
    let found = decode_varint(&mut rest).ok()?;
    let taken = before - rest.len();
    (found == length).then(|| from.get(taken..taken.checked_add(usize::try_from(length).ok()?)?)).flatten()
}
