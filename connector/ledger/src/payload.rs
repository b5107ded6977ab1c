//! Reads payloads, and verifies the checksums of the blocks that a read touches.

use std::io::IoSliceMut;
use std::ops::Range;

use bytes::Bytes;
use object_stores::Filter;

use crate::address::{Location, Run, Wanted};
use crate::audit::place_name;
use crate::buffers::Scratch;
use crate::checksum::checksum;
use crate::error::{Error, ErrorKind, Result};
use crate::extent::Extent;
use crate::filtered::{FilterPart, Filtered};
use crate::limits::MAX_VALUE;
use crate::storage::{Storage, StorageReads};
use crate::storage_kinds::StorageKinds;

/// The approximate size of one step of a read, so that the bytes are still in the processor's cache when they are
/// verified.
const STEP_BYTES: u64 = 1 << 20;
/// The maximum length of a run that is read directly to its destination, a multiple of the block length. Longer ranges
/// become several runs, which are read in parallel.
const MAX_DIRECT_RUN_BYTES: u64 = 4 << 20;

pub(crate) fn read_all(storage: &dyn Storage, e: &Extent) -> Result<Vec<u8>> {
    // Only values are read whole, and their length is limited.
    let len = usize::try_from(e.len()).ok().filter(|n| *n <= MAX_VALUE);
    let len =
        len.ok_or_else(|| Error::corrupt(storage.target(), "extent of a value", "longer than any value"))?;
    let mut out = vec![0; len];
    read(storage, e, 0, &mut out)?;
    Ok(out)
}

/// Reads `buf.len()` bytes from `offset` on.
pub(crate) fn read(storage: &dyn Storage, e: &Extent, offset: u64, buf: &mut [u8]) -> Result<()> {
    check_own(storage, e)?;
    let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= e.len());
    let Some(end) = end else {
        let why = format!("{} bytes from {offset} are outside of a payload of {}", buf.len(), e.len());
        return Err(Error::invalid(storage.target(), why));
    };
    if buf.is_empty() {
        return Ok(());
    }
    let block = e.block();
    // The range of the touched blocks, extended to whole blocks.
    let (low, high) = (offset / block * block, (end.div_ceil(block) * block).min(e.len()));
    if let Some(bytes) = borrow_bytes(storage, e, low..high)? {
        let at = (offset - low) as usize;
        buf.copy_from_slice(&bytes[at..at + buf.len()]);
        return Ok(());
    }
    let (mut at, mut remaining) = (offset, buf);
    while at < end {
        let step = (at / block * block).saturating_add(STEP_BYTES.next_multiple_of(block)).min(end) - at;
        let (now, later) = std::mem::take(&mut remaining).split_at_mut(step as usize);
        read_step(storage, e, at, now)?;
        (at, remaining) = (at + step, later);
    }
    Ok(())
}

/// Reads, and repeats the read once if the bytes are damaged, because the bytes may have been damaged in transit or in
/// a cache while the stored bytes are whole.
pub(crate) fn twice<T>(
    storage: &(impl StorageReads + ?Sized),
    from: impl IntoIterator<Item = Location>,
    mut read: impl FnMut() -> Result<T>,
) -> Result<T> {
    match read() {
        // All locations are distrusted, because the error does not name the damaged one.
        Err(e) if is_damage(&e) && from.into_iter().filter(|at| storage.distrust(at)).count() > 0 => read(),
        done => done,
    }
}

pub(crate) fn is_damage(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::Corrupt { .. })
}

/// Reads bytes in one request: whole blocks directly to their destination, and the partial first and last block to a
/// buffer from which the requested bytes are copied.
fn read_step(storage: &dyn Storage, e: &Extent, offset: u64, buf: &mut [u8]) -> Result<()> {
    let (block, end) = (e.block(), offset + buf.len() as u64);
    let (low, high) = (offset / block * block, (end.div_ceil(block) * block).min(e.len()));
    if (low, high) == (offset, end) {
        return whole(storage, e, low, buf);
    }
    // The range of blocks that are requested whole; it may be empty.
    let begin = if offset == low { low } else { (low + block).min(high) };
    let stop = if end == high { high } else { (end / block * block).max(begin) };
    let (head, tail) = ((begin - low) as usize, (high - stop) as usize);
    // The buffer always has the same length, so that it can be reused.
    let mut scratch = Scratch::new((2 * block) as usize);
    let (first, last) = scratch[..head + tail].split_at_mut(head);
    let (from, to) = (begin.min(end).max(offset) - offset, stop.min(end) - offset);
    let (before, after) = buf.split_at_mut(from as usize);
    let (middle, behind) = after.split_at_mut((to - from) as usize);
    twice(storage, [e.place().location], || {
        let mut parts = [IoSliceMut::new(first), IoSliceMut::new(middle), IoSliceMut::new(last)];
        storage.read(e.place(), low, &mut parts)?;
        verify(storage, e, low, first)?;
        verify(storage, e, begin, middle)?;
        verify(storage, e, stop, last)
    })?;
    before.copy_from_slice(&first[(offset - low) as usize..][..before.len()]);
    behind.copy_from_slice(&last[..behind.len()]);
    Ok(())
}

/// Passes the bytes of a range to `take`, from the blocks around the range.
pub(crate) fn view(
    storage: &dyn Storage,
    e: &Extent,
    range: Range<u64>,
    take: impl FnOnce(&[u8]),
) -> Result<()> {
    check_own(storage, e)?;
    if range.start > range.end || range.end > e.len() {
        return Err(outside(storage, e, &range));
    }
    if range.is_empty() {
        take(&[]);
        return Ok(());
    }
    let block = e.block();
    let (low, high) = (range.start / block * block, (range.end.div_ceil(block) * block).min(e.len()));
    let cut = (range.start - low) as usize..(range.end - low) as usize;
    if let Some(bytes) = borrow_bytes(storage, e, low..high)? {
        take(&bytes[cut]);
        return Ok(());
    }
    let mut scratch = Scratch::new((high - low) as usize);
    whole(storage, e, low, &mut scratch)?;
    take(&scratch[cut]);
    Ok(())
}

/// Returns whole blocks without a copy, if the storage has them in memory.
fn borrow_bytes(storage: &dyn Storage, e: &Extent, range: Range<u64>) -> Result<Option<Bytes>> {
    let run = Run { place: *e.place(), offset: range.start, length: range.end - range.start };
    storage.borrow_bytes(&run, &|bytes| verify(storage, e, range.start, bytes))
}

/// Returns the error for a range that is not within its payload.
pub(crate) fn outside(storage: &dyn Storage, e: &Extent, range: &Range<u64>) -> Error {
    Error::invalid(storage.target(), format!("the part {range:?} is outside of a payload of {}", e.len()))
}

/// Checks that an extent is not in a source. The container's own structure and payloads that are moved must not be in
/// sources.
pub(crate) fn check_own(storage: &dyn Storage, e: &Extent) -> Result<()> {
    if !e.is_in_source() {
        return Ok(());
    }
    Err(Error::corrupt(storage.target(), place_name(e.place()), "an extent in a source where none may be"))
}

/// A part of a payload to be read.
#[derive(Debug)]
pub struct PayloadPart<'a> {
    /// The payload.
    pub extent: &'a Extent,
    /// The requested bytes of the payload.
    pub range: Range<u64>,
    /// The destination, as long as the range. Without it the bytes are returned in a buffer of their own.
    pub into: Option<&'a mut [u8]>,
}

/// Lets the store compare numbers; see [`Ledger::filter_payloads`](crate::Ledger::filter_payloads).
pub(crate) fn filter_many(
    storage: &dyn Storage,
    parts: &[FilterPart<'_>],
    filter: &Filter,
) -> Result<Filtered> {
    for part in parts {
        let FilterPart { extent, range } = part;
        check_own(storage, extent)?;
        if range.start > range.end || range.end > extent.len() {
            return Err(outside(storage, extent, range));
        }
        if !(range.end - range.start).is_multiple_of(filter.size.max(1) as u64) {
            let why =
                format!("the part {range:?} of a payload is no row of numbers of {} bytes", filter.size);
            return Err(Error::invalid(storage.target(), why));
        }
    }
    match storage.as_objects() {
        Some(objects) => objects.filter(parts, filter),
        None => Ok(Filtered { parts: vec![None; parts.len()], is_refused: true, ..Filtered::default() }),
    }
}

/// The use of a run of whole blocks.
struct Purpose<'a> {
    extent: &'a Extent,
    /// The requested bytes of the run.
    cut: Range<usize>,
    goes: Goes<'a>,
}

/// The destination of a run's bytes.
enum Goes<'a> {
    /// The bytes are read directly to their destination.
    Straight,
    /// The requested bytes of partial blocks are copied to this destination.
    Copied(&'a mut [u8]),
    /// The bytes are returned as the answer for the part with this number.
    Out(usize),
}

/// The runs that answer several parts.
#[derive(Default)]
struct ReadRuns<'a> {
    wanted: Vec<Wanted<'a>>,
    purposes: Vec<Purpose<'a>>,
}

impl<'a> ReadRuns<'a> {
    /// Adds the run of whole blocks around a range.
    fn around(&mut self, extent: &'a Extent, range: Range<u64>, goes: Goes<'a>, into: Option<&'a mut [u8]>) {
        let block = extent.block();
        let low = range.start / block * block;
        let high = if range.is_empty() { low } else { (range.end.div_ceil(block) * block).min(extent.len()) };
        let run = Run { place: *extent.place(), offset: low, length: high - low };
        // Positions within a run, which fits into memory.
        let from = if range.is_empty() { 0 } else { (range.start - low) as usize };
        let cut = from..from + (range.end - range.start) as usize;
        self.wanted.push(Wanted::new(run, into));
        self.purposes.push(Purpose { extent, cut, goes });
    }

    /// Adds the runs of a range with a destination: whole blocks are read directly there, in runs of at most
    /// [`MAX_DIRECT_RUN_BYTES`].
    fn to(&mut self, extent: &'a Extent, start: u64, into: &'a mut [u8]) {
        let (block, mut at, mut remaining) = (extent.block(), start, into);
        while !remaining.is_empty() {
            let location = remaining.len() as u64;
            let is_end = at + location == extent.len();
            let is_whole = at.is_multiple_of(block) && (location >= block || is_end);
            let length = if !is_whole {
                // The run ends at the next block.
                location.min(block - at % block)
            } else if location > MAX_DIRECT_RUN_BYTES {
                MAX_DIRECT_RUN_BYTES
            } else if is_end {
                location
            } else {
                location / block * block
            };
            let (now, later) = std::mem::take(&mut remaining).split_at_mut(length as usize);
            remaining = later;
            match is_whole {
                true => self.around(extent, at..at + length, Goes::Straight, Some(now)),
                false => self.around(extent, at..at + length, Goes::Copied(now), None),
            }
            at += length;
        }
    }
}

/// Reads several parts of payloads at once. Adjacent ranges share one request, and the requests run in parallel. The
/// answers are in the order of the parts. The answer of a part with a destination is empty.
pub(crate) fn read_many(storage: &dyn Storage, parts: Vec<PayloadPart<'_>>) -> Result<Vec<Bytes>> {
    parts.iter().try_for_each(|part| check_own(storage, part.extent))?;
    let mut out = vec![Bytes::new(); parts.len()];
    let mut runs = ReadRuns::default();
    for (n, part) in parts.into_iter().enumerate() {
        let PayloadPart { extent, range, into } = part;
        if range.start > range.end || range.end > extent.len() {
            return Err(outside(storage, extent, &range));
        }
        match into {
            None => runs.around(extent, range, Goes::Out(n), None),
            Some(into) if into.len() as u64 == range.end - range.start => runs.to(extent, range.start, into),
            Some(into) => {
                let why = format!("the part {range:?} of a payload has space for {} bytes", into.len());
                return Err(Error::invalid(storage.target(), why));
            }
        }
    }
    let ReadRuns { mut wanted, purposes } = runs;
    let offsets: Vec<u64> = wanted.iter().map(|w| w.run.offset).collect();
    // The thread that read the bytes verifies them, while they are in the processor's cache.
    let extents: Vec<&Extent> = purposes.iter().map(|p| p.extent).collect();
    let locations = extents.iter().map(|e| e.place().location);
    let check = |n: usize, bytes: &[u8]| verify(storage, extents[n], offsets[n], bytes);
    twice(storage, locations, || storage.read_many(&mut wanted, &check))?;
    for (wanted, purpose) in wanted.into_iter().zip(purposes) {
        match purpose.goes {
            Goes::Straight => (),
            Goes::Copied(into) => into.copy_from_slice(&wanted.bytes[purpose.cut]),
            Goes::Out(n) => out[n] = wanted.bytes.slice(purpose.cut),
        }
    }
    Ok(out)
}

/// Reads whole blocks and verifies them.
fn whole(storage: &dyn Storage, e: &Extent, offset: u64, buf: &mut [u8]) -> Result<()> {
    twice(storage, [e.place().location], || {
        storage.read(e.place(), offset, &mut [IoSliceMut::new(buf)])?;
        verify(storage, e, offset, buf)
    })
}

/// Compares whole blocks with their checksums.
fn verify(storage: &dyn Storage, e: &Extent, offset: u64, buf: &[u8]) -> Result<()> {
    for (n, part) in (offset / e.block()..).zip(buf.chunks(e.block() as usize)) {
        if !cfg!(fuzzing) && e.sum(n) != Some(checksum(part)) {
            let at = format!(
                "payload at {:?} byte {}, block {n} of {}",
                e.place().location,
                e.place().offset,
                e.block()
            );
            return Err(storage.classify_read_error(Error::corrupt(
                storage.target(),
                at,
                "the checksum does not match",
            )));
        }
    }
    Ok(())
}
