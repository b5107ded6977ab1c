//! Large buffers that are used again: fresh memory costs a page fault for every 4 KiB, which is more than to read the
//! same bytes from the system's cache.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use crate::locks::Mutex;

/// Buffers shorter than this come from the allocator, which has them at hand.
const MIN_POOLED_BYTES: usize = 32 << 10;
/// Longer ones are not kept.
pub const MAX_POOLED_BYTES: usize = 16 << 20;
/// Bytes that are kept for all threads together.
const MAX_POOL_BYTES: usize = 32 << 20;

#[derive(Default)]
struct PooledBuffers {
    /// Those that were given back last are at the end.
    buffers: VecDeque<Vec<u8>>,
    bytes: usize,
}

static POOL: Mutex<PooledBuffers> = Mutex::new(PooledBuffers { buffers: VecDeque::new(), bytes: 0 });

/// Runs `f` on what is kept, unless another thread does so just now: that one may be a parent's that a forked child does
/// not have, so nobody ever waits.
fn pool<T>(f: impl FnOnce(&mut PooledBuffers) -> T) -> Option<T> {
    POOL.try_lock().map(|mut kept| f(&mut kept))
}

/// A buffer of `len` bytes with any content, to be given back by [`give`].
pub fn take(len: usize) -> Vec<u8> {
    let mut buffer = at_least(len);
    buffer.truncate(len);
    buffer
}

/// The same where `len` is a chunk's length, or comes from a container: `None` if there is no memory for it.
pub fn try_take(len: usize) -> Option<Vec<u8>> {
    let mut buffer = pooled(len).or_else(|| zeroed(pooled_capacity(len)))?;
    buffer.truncate(len);
    Some(buffer)
}

/// A buffer of `len` bytes or more, with any content.
fn at_least(len: usize) -> Vec<u8> {
    pooled(len).unwrap_or_else(|| fresh(len))
}

fn pooled(len: usize) -> Option<Vec<u8>> {
    if !(MIN_POOLED_BYTES..=MAX_POOLED_BYTES).contains(&len) {
        return None;
    }
    let mut found = pool(|kept| kept.take(len))??;
    fill_to(&mut found, len);
    Some(found)
}

fn fresh(len: usize) -> Vec<u8> {
    let mut buffer = vec![0; pooled_capacity(len)];
    buffer.truncate(len);
    buffer
}

/// So many zeros, if the allocator has them: a `Vec` that cannot be made ends the process. The allocator clears no memory that is new to
/// the process, so that the system keeps no more of a large chunk with few elements than these elements.
fn zeroed(len: usize) -> Option<Vec<u8>> {
    bytemuck::try_zeroed_slice_box(len).ok().map(<[u8]>::into_vec)
}

/// What is asked of the allocator for a buffer of `len` bytes that may be kept: an eighth more at most. Chunks of one
/// dataset are stored in lengths that differ a little, and a buffer of one should do for the next.
fn pooled_capacity(len: usize) -> usize {
    match len {
        MIN_POOLED_BYTES..=MAX_POOLED_BYTES => len.next_multiple_of(1 << (len.ilog2() - 3)),
        _ => len,
    }
}

/// Makes a buffer as long as `len`, if it is shorter: page by page, which is faster than byte by byte where the compiler
/// optimizes for size.
fn fill_to(buffer: &mut Vec<u8>, len: usize) {
    const ZEROS: [u8; 4096] = [0; 4096];
    while buffer.len() < len {
        let missing = (len - buffer.len()).min(ZEROS.len());
        buffer.extend_from_slice(&ZEROS[..missing]);
    }
}

/// So many zeros, whose number comes from a container; `None` where there is no memory for them.
pub fn try_zeroed(len: u64) -> Option<Vec<u8>> {
    zeroed(usize::try_from(len).ok()?)
}

/// Returns a copy of bytes whose number comes from a container or a request; `None` if there is not enough memory.
pub fn try_copy(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len()).ok()?;
    copy.extend_from_slice(bytes);
    Some(copy)
}

/// Gives a buffer up; it is kept if it is worth it and there is room.
pub fn give(buffer: Vec<u8>) {
    if (MIN_POOLED_BYTES..=MAX_POOLED_BYTES).contains(&buffer.capacity()) {
        pool(|kept| kept.put(buffer));
    }
}

/// Frees all that is kept; returns how many bytes that was.
pub fn forget() -> usize {
    pool(std::mem::take).map_or(0, |pooled| pooled.bytes)
}

impl PooledBuffers {
    /// The smallest buffer that has room, unless it is far too large.
    fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let fits = |b: &Vec<u8>| b.capacity() >= len && b.capacity() / 4 <= len;
        let found =
            self.buffers.iter().enumerate().filter(|(_, b)| fits(b)).min_by_key(|(_, b)| b.capacity())?.0;
        let buffer = self.buffers.remove(found)?;
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    /// What nobody has wanted for the longest time goes, where there is no room: a pool of lengths that are not asked for any
    /// more would be full for ever.
    fn put(&mut self, buffer: Vec<u8>) {
        self.bytes += buffer.capacity();
        self.buffers.push_back(buffer);
        while self.bytes > MAX_POOL_BYTES
            && let Some(oldest) = self.buffers.pop_front()
        {
            self.bytes -= oldest.capacity();
        }
    }
}

/// A buffer of any content that is given back when this is dropped. It may be a part of a longer one: what was cut off
/// would have to be filled when a longer one is wanted again.
#[derive(Debug)]
pub struct Scratch {
    buffer: Vec<u8>,
    len: usize,
}

impl Scratch {
    /// A buffer of `len` bytes.
    pub fn new(len: usize) -> Self {
        Self { buffer: at_least(len), len }
    }

    /// The same of a length that comes from a container: `None` if there is no memory for it.
    pub fn try_new(len: usize) -> Option<Self> {
        Some(Self { buffer: try_take(len)?, len })
    }
}

impl From<Vec<u8>> for Scratch {
    fn from(buffer: Vec<u8>) -> Self {
        Self { len: buffer.len(), buffer }
    }
}

impl AsRef<[u8]> for Scratch {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Deref for Scratch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.len]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_is_bounded_and_reuses_buffers() {
        let mut kept = PooledBuffers::default();
        for _ in 0..100 {
            kept.put(vec![1; 1 << 20]);
        }
        assert_eq!((kept.buffers.len(), kept.bytes), (32, 32 << 20));
        assert!(kept.take(3 << 20).is_none(), "too small");
        assert!(kept.take(100 << 10).is_none(), "far too large");
        let found = kept.take((1 << 20) - 5).unwrap();
        assert_eq!((found.capacity(), kept.bytes), (1 << 20, 31 << 20));
        kept.put(vec![1; 3 << 20]);
        assert_eq!((kept.buffers.len(), kept.bytes), (30, 32 << 20), "the oldest two made room");
        assert_eq!(kept.take(3 << 20).unwrap().capacity(), 3 << 20);
    }

    #[test]
    fn a_buffer_does_for_lengths_that_differ_a_little() {
        for (len, capacity) in
            [(10, 10), (MIN_POOLED_BYTES, 32 << 10), (780_001, 768 << 10), (900_000, 896 << 10)]
        {
            assert_eq!(pooled_capacity(len), capacity, "{len}");
        }
        assert_eq!(pooled_capacity(MAX_POOLED_BYTES - 1), MAX_POOLED_BYTES);
        assert_eq!(pooled_capacity(MAX_POOLED_BYTES + 1), MAX_POOLED_BYTES + 1);
        let mut short = Vec::with_capacity(10_000);
        fill_to(&mut short, 10_000);
        assert_eq!((short.len(), short.capacity()), (10_000, 10_000));
    }

    #[test]
    fn a_length_without_memory_is_no_buffer() {
        let much = isize::MAX as usize;
        assert!(
            try_take(much).is_none() && try_zeroed(much as u64).is_none() && Scratch::try_new(much).is_none()
        );
        assert!(try_zeroed(u64::MAX).is_none());
        for len in [0, 10, 40 << 10, 17 << 20] {
            assert_eq!(try_take(len).unwrap().len(), len);
            assert_eq!(try_zeroed(len as u64).unwrap(), vec![0; len]);
        }
    }

    #[test]
    fn a_pooled_buffer_has_the_requested_length() {
        for len in [0, 10, 40 << 10, 64 << 10, 50 << 10, 17 << 20] {
            assert_eq!(Scratch::new(len).len(), len);
        }
    }
}
