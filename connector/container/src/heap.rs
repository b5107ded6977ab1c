//! The heap for variable-length data: small blobs packed into segments.
//!
//! A segment is a block like those of datasets (cached, appended to in fragments, inline while small), under the key
//! `H` owner number; the key `U` owner number has its usage, that is, how many of its bytes are used and alive. The
//! first segment of an owner has 4 KiB, the second 64 KiB, and all further ones 1 MiB, so that an owner with a few
//! strings takes little space; a larger blob gets a segment of its own. Segment numbers are not reused. A blob is
//! stored as its length, a varint (LEB128), followed by its bytes.

use crate::chunk::grid::{CopyRun, Coverage};
use crate::chunk::layout::BlockLayout;
use crate::container::State;
use crate::{Container, Error, ErrorKind, Result};
use h5lake_filters::Pipeline;
use h5lake_records::ObjectId;
use h5lake_records::keys;
use h5lake_records::record;
use h5lake_records::record::{BlockRecord, UsageRecord};
use prost::Message;
use std::ops::Bound;
use std::sync::Arc;
use usage_cache::{OpenSegment, Segment, Usage};

mod batch;
mod usage_cache;

pub(crate) use usage_cache::HeapState;

/// Lengths of an owner's first segments; the last one is the length of all further segments.
const SEGMENT_LENGTHS: [u64; 3] = [4 << 10, 64 << 10, 1 << 20];
/// Segments up to this many bytes are stored inline.
const MAX_SMALL_SEGMENT_BYTES: usize = 4 << 10;
/// Number of bytes of a larger segment that may be stored inline.
const MAX_INLINE_BYTES: usize = 1 << 10;
/// Length of the longest varint.
const MAX_PREFIX_BYTES: usize = 10;
/// Blobs up to this many bytes are read with their prefix.
const MAX_BLOB_BYTES_WITH_PREFIX: usize = 246;

/// The address of a blob.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlobAddress {
    pub owner: u64,
    pub number: u32,
    pub offset: u32,
}

impl BlobAddress {
    fn of(id: &[u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *id;
        Self {
            owner: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            number: u32::from_be_bytes([i, j, k, l]),
            offset: u32::from_be_bytes([m, n, o, p]),
        }
    }

    /// Returns the stored length of a blob, including its prefix.
    pub(crate) fn stored(length: usize) -> u64 {
        (prost::encoding::encoded_len_varint(length as u64) + length) as u64
    }

    pub(crate) fn id(self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.owner.to_be_bytes());
        id[8..12].copy_from_slice(&self.number.to_be_bytes());
        id[12..].copy_from_slice(&self.offset.to_be_bytes());
        id
    }
}

/// Returns how many segments an owner has had, as far as the length of its last one shows.
fn begun_up_to(length: u64) -> usize {
    SEGMENT_LENGTHS.iter().filter(|usual| **usual <= length).count()
}

/// Refuses blobs that are too long for the four bytes of an offset in a segment.
fn check_blob_length(length: u64) -> Result<()> {
    if length <= u64::from(u32::MAX) {
        return Ok(());
    }
    Err(Error::range(format!(
        "{length} bytes of one variable-length element are more than a container takes (4 GiB - 1)"
    )))
}

pub(crate) fn shape(length: u64) -> Result<Arc<BlockLayout>> {
    // Offsets in a segment have four bytes.
    let len =
        u32::try_from(length).map_err(|_| Error::corrupt("a heap segment's length is impossible"))? as usize;
    let inline = if len <= MAX_SMALL_SEGMENT_BYTES { len } else { MAX_INLINE_BYTES };
    Ok(Arc::new(BlockLayout {
        len,
        fill: None,
        filters: Pipeline::default(),
        inline,
        edges: None,
        counted: None,
    }))
}

impl Container {
    /// Stores a blob for an owner (a dataset's id, or that of an attribute's [`HeapPlace`](crate::HeapPlace)) and
    /// returns its id. The id is never all zeros, not even for an empty blob, because C programs distinguish an empty
    /// string from none. The blob is deleted with its owner, or by itself.
    ///
    /// # Errors
    /// `ReadOnly`, and those of the ledger.
    pub fn heap_put(&self, owner: ObjectId, bytes: &[u8]) -> Result<[u8; 16]> {
        let mut id = None;
        self.heap_put_all(owner, [bytes], |kept| id = Some(kept))?;
        id.ok_or_else(|| Error::corrupt("a blob that was kept has no id"))
    }

    /// Appends blobs to a segment that has space for them, and returns their offset.
    fn heap_append(&self, s: &mut State, owner: ObjectId, number: u32, blobs: &[u8]) -> Result<u64> {
        let u = self.usage(s, owner.0, number)?;
        let (offset, size) = (u.record.used, blobs.len() as u64);
        let segment = u.segment.clone();
        let run = [CopyRun { block: offset as usize, buffer: 0, len: blobs.len() }];
        // A write that fills a whole segment goes past the cache.
        let coverage = Coverage::whole_if(offset == 0 && size == segment.length);
        let Segment { key, shape, .. } = &*segment;
        self.blocks.lock().write(&self.ledger, key, shape, &run, blobs, coverage)?;
        let record = s.heap.change((owner.0, number))?;
        record.used += size;
        record.live += size;
        Ok(offset)
    }

    /// Returns the number of a segment that has space for `size` more bytes.
    fn segment_for(&self, s: &mut State, owner: u64, size: u64) -> Result<u32> {
        let mut going = s.heap.going(owner);
        let last = match going.number {
            Some(n) => Some(n),
            None => self.last_segment(s, owner)?,
        };
        if let Some(n) = last {
            match self.usage(s, owner, n).map(|u| u.record.clone()) {
                Ok(u) => {
                    if going.number.is_none() {
                        // An earlier session created the segment.
                        going.begun = going.begun.max(begun_up_to(u.length));
                    }
                    if u.used + size <= u.length {
                        s.heap.go_on(owner, OpenSegment { number: last, ..going });
                        return Ok(n);
                    }
                }
                // Another writer deleted its last blob, or it was never committed.
                Err(e) if e.kind() == ErrorKind::NotFound => (),
                Err(e) => return Err(e),
            }
        }
        check_blob_length(size)?;
        let next = self.next_segment(s)?;
        let usual = SEGMENT_LENGTHS[going.begun.min(SEGMENT_LENGTHS.len() - 1)];
        let record = UsageRecord { length: usual.max(size), used: 0, live: 0 };
        // Staged at once, so that the last segment is always found among the entries.
        self.ledger.put(&keys::segment(keys::USAGE, owner, next), record.encode_to_vec())?;
        s.heap.keep(&self.ledger, (owner, next), record)?;
        s.heap.go_on(owner, OpenSegment { number: Some(next), begun: going.begun + 1 });
        Ok(next)
    }

    /// Returns the number of a new segment. No number is reused: the merge of a branch compares segments by number, and
    /// a segment that the branch started with may be deleted here by now.
    fn next_segment(&self, s: &mut State) -> Result<u32> {
        let number = u32::try_from(s.ids.number(&self.ledger)?).ok().filter(|n| *n < keys::COUNTED_SEGMENT);
        let used_up = || Error::range(format!("{}: has used up its numbers of heap segments", self.name()));
        let next = keys::COUNTED_SEGMENT | number.ok_or_else(used_up)?;
        // Staged together with the segment, so that no commit has one without the other.
        s.ids.store(&self.ledger)?;
        s.heap.note_begun(next);
        Ok(next)
    }

    /// Returns the last segment of an owner, if this writer may append to it. A shared writer appends only to its own
    /// segments. In a store, a shared writer may still be filling a segment that was created before this writer opened
    /// the container.
    fn last_segment(&self, s: &State, owner: u64) -> Result<Option<u32>> {
        if self.ledger.is_shared() {
            return Ok(None);
        }
        let from = keys::segment(keys::USAGE, owner, 0);
        let to = keys::segment(keys::USAGE, owner, u32::MAX);
        let last = self.ledger.prev(Bound::Included(&from), Bound::Included(&to))?;
        let number = last.and_then(|(key, _)| keys::segment_number(&key));
        let may_append = |n: &u32| !self.ledger.is_in_store() || s.heap.has_begun(*n);
        Ok(number.filter(may_append))
    }

    fn usage<'s>(&self, s: &'s mut State, owner: u64, number: u32) -> Result<Usage<'s>> {
        let missing =
            || Error::not_found(format!("{}: there is no heap segment {number} of {owner:#x}", self.name()));
        if s.heap.usage((owner, number)).is_none() {
            let value = self.ledger.get(&keys::segment(keys::USAGE, owner, number))?.ok_or_else(missing)?;
            let record: UsageRecord =
                record::decode(value, || format!("{}: usage of a heap segment", self.name()))?;
            if record.live > record.used || record.used > record.length {
                let why = format!("{}: a heap segment has more in use than it is long", self.name());
                return Err(Error::corrupt(why));
            }
            s.heap.keep(&self.ledger, (owner, number), record)?;
        }
        s.heap.usage((owner, number)).ok_or_else(missing)
    }

    /// Reads bytes of a segment.
    fn heap_read(&self, p: BlobAddress, segment: &Segment, at: u64, out: &mut [u8]) -> Result<()> {
        if at.checked_add(out.len() as u64).is_none_or(|end| end > segment.length) {
            return Err(Error::corrupt(format!("a heap id points outside of its segment ({p:?})")));
        }
        let run = [CopyRun { block: at as usize, buffer: 0, len: out.len() }];
        self.read_block(&segment.key, &segment.shape, &run, out)
    }

    /// Returns the segment of a blob, for reading.
    fn heap_segment(&self, p: BlobAddress) -> Result<Arc<Segment>> {
        self.known_segment(&mut self.state(), p)
    }

    /// Returns the segment of a blob, for callers that have locked the state. The length is read from its block, which
    /// has to be read anyway.
    fn known_segment(&self, s: &mut State, p: BlobAddress) -> Result<Arc<Segment>> {
        let which = (p.owner, p.number);
        if let Some(known) = s.heap.segment(which) {
            return Ok(known);
        }
        let block = self.ledger.get(&keys::segment(keys::SEGMENT, p.owner, p.number))?;
        let what = || format!("{}: a heap segment", self.name());
        let length = match block {
            Some(block) => record::decode::<BlockRecord>(block, what)?.length,
            None => 0,
        };
        match length {
            // Nothing of the segment is stored yet.
            0 => Ok(self.usage(s, p.owner, p.number)?.segment.clone()),
            _ => s.heap.keep_segment(&self.ledger, which, length),
        }
    }

    /// Reads the prefix of a blob. Returns the blob's length and the length of the prefix. The bytes after the prefix
    /// are read together with it, as far as `with` has space.
    fn heap_prefix(&self, p: BlobAddress, segment: &Segment, with: &mut [u8]) -> Result<(u64, u64)> {
        let at = u64::from(p.offset);
        let n = (segment.length.saturating_sub(at) as usize).min(with.len());
        self.heap_read(p, segment, at, &mut with[..n])?;
        let mut rest = &with[..n];
        let len = prost::encoding::decode_varint(&mut rest)
            .map_err(|_| Error::corrupt(format!("a blob of the heap has no length ({p:?})")))?;
        let taken = (n - rest.len()) as u64;
        if at.checked_add(taken).and_then(|e| e.checked_add(len)).is_none_or(|e| e > segment.length) {
            return Err(Error::corrupt(format!("a blob of the heap leaves its segment ({p:?})")));
        }
        Ok((len, taken))
    }

    /// Reads a blob; `out` is as long as the blob, or shorter to read its beginning.
    ///
    /// # Errors
    /// `NotFound` for an id of a deleted segment; `InvalidArgument` if the blob is shorter than `out`.
    pub fn heap_get(&self, id: &[u8; 16], out: &mut [u8]) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        if *id == [0; 16] {
            return Err(Error::invalid(format!("{} bytes are asked of no blob", out.len())));
        }
        let p = BlobAddress::of(id);
        let segment = self.heap_segment(p)?;
        // Most blobs are short, and are read together with their prefix.
        let mut short = [0; MAX_PREFIX_BYTES + MAX_BLOB_BYTES_WITH_PREFIX];
        let with = if out.len() <= MAX_BLOB_BYTES_WITH_PREFIX {
            MAX_PREFIX_BYTES + out.len()
        } else {
            MAX_PREFIX_BYTES
        };
        let (len, taken) = self.heap_prefix(p, &segment, &mut short[..with])?;
        if (out.len() as u64) > len {
            return Err(Error::invalid(format!("{} bytes are asked of a blob of {len}", out.len())));
        }
        if out.len() <= MAX_BLOB_BYTES_WITH_PREFIX {
            // The blob is within its segment, so all of it was read.
            out.copy_from_slice(&short[taken as usize..taken as usize + out.len()]);
            return Ok(());
        }
        self.heap_read(p, &segment, u64::from(p.offset) + taken, out)
    }

    /// Returns a whole blob, for callers that have locked the state.
    pub(crate) fn blob(&self, s: &mut State, id: &[u8]) -> Result<Vec<u8>> {
        let id: &[u8; 16] = id.try_into().map_err(|_| Error::corrupt("a heap id has not 16 bytes"))?;
        if *id == [0; 16] {
            return Ok(Vec::new());
        }
        let p = BlobAddress::of(id);
        let segment = self.known_segment(s, p)?;
        self.whole_blob(p, &segment)
    }

    /// Returns a whole blob; an empty one for the null id.
    ///
    /// # Errors
    /// `NotFound` for an id of a deleted segment.
    pub fn heap_blob(&self, id: &[u8; 16]) -> Result<Vec<u8>> {
        if *id == [0; 16] {
            return Ok(Vec::new());
        }
        let p = BlobAddress::of(id);
        self.whole_blob(p, &*self.heap_segment(p)?)
    }

    /// Reads a whole blob; a short one together with its prefix.
    fn whole_blob(&self, p: BlobAddress, segment: &Segment) -> Result<Vec<u8>> {
        let mut begin = [0; MAX_PREFIX_BYTES + MAX_BLOB_BYTES_WITH_PREFIX];
        let (len, taken) = self.heap_prefix(p, segment, &mut begin)?;
        let mut out = h5lake_records::memory::zeros(usize::try_from(len).unwrap_or(usize::MAX))?;
        match begin[taken as usize..].get(..out.len()) {
            // The blob is within its segment, so all of it was read.
            Some(blob) => out.copy_from_slice(blob),
            None => self.heap_read(p, segment, u64::from(p.offset) + taken, &mut out)?,
        }
        Ok(out)
    }

    /// Returns the length of a blob in bytes.
    ///
    /// # Errors
    /// `NotFound` for an id of a deleted segment.
    pub fn heap_len(&self, id: &[u8; 16]) -> Result<u64> {
        if *id == [0; 16] {
            return Ok(0);
        }
        let p = BlobAddress::of(id);
        Ok(self.heap_prefix(p, &*self.heap_segment(p)?, &mut [0; MAX_PREFIX_BYTES])?.0)
    }

    /// Returns the object that owns the heap of an id. Any bytes are an id of some object.
    pub fn heap_owner(id: &[u8; 16]) -> ObjectId {
        ObjectId(BlobAddress::of(id).owner)
    }

    /// Deletes a blob. A segment is deleted with its last blob. If more bytes are deleted than are alive in it, the
    /// segment stays: a blob was deleted twice then, and the other blobs in it must not be deleted.
    ///
    /// # Errors
    /// `ReadOnly`; `NotFound` for an id of a deleted segment.
    pub fn heap_delete(&self, id: &[u8; 16]) -> Result<()> {
        self.check_writable("unable to delete variable-length data")?;
        if *id == [0; 16] {
            return Ok(());
        }
        let p = BlobAddress::of(id);
        let (len, taken) = self.heap_prefix(p, &*self.heap_segment(p)?, &mut [0; MAX_PREFIX_BYTES])?;
        let mut s = self.state();
        self.usage(&mut s, p.owner, p.number)?;
        let record = s.heap.change((p.owner, p.number))?;
        let Some(live) = record.live.checked_sub(len + taken) else {
            tracing::warn!("{}: variable-length data was to be deleted twice ({p:?})", self.name());
            return Ok(());
        };
        record.live = live;
        self.note_deleted_blob(&mut s, p.owner, (p.number, p.offset), len + taken);
        if live == 0 {
            s.heap.forget(p.owner, p.number);
            s.heap.leave(p.owner, p.number);
            self.drop_blocks(&keys::segment(keys::SEGMENT, p.owner, p.number))?;
            self.ledger.delete(&keys::segment(keys::USAGE, p.owner, p.number))?;
        }
        Ok(())
    }

    /// Stages the changed usages.
    pub(crate) fn heap_store(&self, s: &mut State) -> Result<()> {
        s.heap.store(&self.ledger)
    }

    /// Deletes all segments of an owner.
    pub(crate) fn heap_drop(&self, s: &mut State, owner: u64) -> Result<()> {
        s.heap.forget_owner(owner);
        self.drop_blocks(&keys::of(keys::SEGMENT, owner))?;
        self.each(&keys::of(keys::USAGE, owner), |key, _| Ok(self.ledger.delete(&key)?))
    }
}
