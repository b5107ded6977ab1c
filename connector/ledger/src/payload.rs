//! Reading payloads, with the checksums of the blocks that are touched.

use std::ops::Range;

use bytes::Bytes;

use crate::buffers::Scratch;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::ledger::MAX_VALUE;
use crate::record::checksum;
use crate::space::{Run, Space};

/// Up to this many bytes, a read that cuts blocks fetches whole blocks in one go and copies; beyond, the middle goes straight
/// into the caller's buffer and the cut blocks are fetched on their own.
const SCRATCH: u64 = 1 << 20;

pub(crate) fn read_all(space: &dyn Space, e: &Extent) -> Result<Vec<u8>> {
    // Only values are read whole, and these have a bound.
    let len = usize::try_from(e.len()).ok().filter(|n| *n <= MAX_VALUE);
    let len =
        len.ok_or_else(|| Error::corrupt(space.target(), "extent of a value", "longer than any value"))?;
    let mut out = vec![0; len];
    read(space, e, 0, &mut out)?;
    Ok(out)
}

/// Reads `buf.len()` bytes from `offset` on.
pub(crate) fn read(space: &dyn Space, e: &Extent, offset: u64, buf: &mut [u8]) -> Result<()> {
    let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= e.len());
    let Some(end) = end else {
        let why = format!("{} bytes from {offset} are outside of a payload of {}", buf.len(), e.len());
        return Err(Error::invalid(space.target(), why));
    };
    if buf.is_empty() {
        return Ok(());
    }
    let block = e.block();
    // The blocks touched, and the part of them that is whole.
    let (low, high) = (offset / block * block, (end.div_ceil(block) * block).min(e.len()));
    if (low, high) == (offset, end) {
        return whole(space, e, low, buf);
    }
    if high - low <= SCRATCH {
        let mut scratch = Scratch::new((high - low) as usize);
        whole(space, e, low, &mut scratch)?;
        let at = (offset - low) as usize;
        buf.copy_from_slice(&scratch[at..at + buf.len()]);
        return Ok(());
    }
    // Long: the first block, the middle, the last block.
    let first = ((low + block).min(end) - offset) as usize;
    let last = (end - end / block * block) as usize;
    let (head, rest) = buf.split_at_mut(first);
    let (middle, tail) = rest.split_at_mut(rest.len() - last);
    read(space, e, offset, head)?;
    let at = offset + head.len() as u64;
    read(space, e, at, middle)?;
    read(space, e, at + middle.len() as u64, tail)
}

/// Reads several parts of payloads at once: what lies together comes in one request, the rest side by side.
pub(crate) fn read_many(space: &dyn Space, parts: &[(&Extent, Range<u64>)]) -> Result<Vec<Bytes>> {
    let mut runs = Vec::with_capacity(parts.len());
    for (e, part) in parts {
        if part.start > part.end || part.end > e.len() {
            let why = format!("the part {part:?} is outside of a payload of {}", e.len());
            return Err(Error::invalid(space.target(), why));
        }
        let (block, empty) = (e.block(), part.is_empty());
        let low = part.start / block * block;
        let high = if empty { low } else { (part.end.div_ceil(block) * block).min(e.len()) };
        runs.push(Run { place: *e.place(), offset: low, length: high - low });
    }
    let mut out = space.read_many(&runs)?;
    for ((bytes, run), (e, part)) in out.iter_mut().zip(&runs).zip(parts) {
        verify(space, e, run.offset, bytes)?;
        // Within what was read, which fits memory.
        let from = if part.is_empty() { 0 } else { (part.start - run.offset) as usize };
        *bytes = bytes.slice(from..from + (part.end - part.start) as usize);
    }
    Ok(out)
}

/// Reads whole blocks and verifies them.
fn whole(space: &dyn Space, e: &Extent, offset: u64, buf: &mut [u8]) -> Result<()> {
    space.read(e.place(), offset, buf)?;
    verify(space, e, offset, buf)
}

/// Compares whole blocks with their checksums.
fn verify(space: &dyn Space, e: &Extent, offset: u64, buf: &[u8]) -> Result<()> {
    for (n, part) in (offset / e.block()..).zip(buf.chunks(e.block() as usize)) {
        if e.sum(n) != Some(checksum(part)) {
            let at = format!(
                "payload at {:?} byte {}, block {n} of {}",
                e.place().room,
                e.place().offset,
                e.block()
            );
            return Err(space.explain(Error::corrupt(space.target(), at, "the checksum does not match")));
        }
    }
    Ok(())
}
