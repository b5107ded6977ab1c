//! A pool of large buffers for reuse. Fresh memory costs a page fault for every 4 KiB, which takes longer than reading
//! the same bytes from the system's cache.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

use crate::locks::Mutex;

/// The minimum length of pooled buffers. The allocator serves shorter buffers quickly.
const MIN_POOLED_BYTES: usize = 32 << 10;
/// The maximum length of pooled buffers. Longer buffers are freed.
pub const MAX_POOLED_BYTES: usize = 16 << 20;
/// The maximum number of bytes in the pool, which all threads share.
const MAX_POOL_BYTES: usize = 32 << 20;

#[derive(Default)]
struct PooledBuffers {
    /// The pooled buffers. The buffers that were returned last are at the end.
    buffers: VecDeque<Vec<u8>>,
    bytes: usize,
}

static POOL: Mutex<PooledBuffers> = Mutex::new(PooledBuffers { buffers: VecDeque::new(), bytes: 0 });

/// Runs `f` on the pool, unless another thread holds its lock. This function never waits, because the lock's holder may
/// be a thread of the parent that a forked child does not have.
fn pool<T>(f: impl FnOnce(&mut PooledBuffers) -> T) -> Option<T> {
    POOL.try_lock().map(|mut kept| f(&mut kept))
}

/// Returns a buffer of `len` bytes with any content. The caller returns it to the pool with [`give`].
pub fn take(len: usize) -> Vec<u8> {
    let mut buffer = at_least(len);
    buffer.truncate(len);
    buffer
}

/// Returns a buffer as [`take`] does, for a length that is a chunk's or comes from a container. Returns `None` if there
/// is not enough memory.
pub fn try_take(len: usize) -> Option<Vec<u8>> {
    let mut buffer = pooled(len).or_else(|| zeroed(pooled_capacity(len)))?;
    buffer.truncate(len);
    Some(buffer)
}

/// Returns a buffer of `len` bytes or more, with any content.
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

/// Allocates `len` zeros. Returns `None` if the allocator has no memory, whereas a failed allocation of a `Vec` would
/// end the process. The allocator does not clear memory that is new to the process, so the system provides pages only
/// for the elements that a sparse chunk has.
fn zeroed(len: usize) -> Option<Vec<u8>> {
    bytemuck::try_zeroed_slice_box(len).ok().map(<[u8]>::into_vec)
}

/// Returns the capacity to request from the allocator for a buffer of `len` bytes that may be pooled: at most an eighth
/// more. The stored lengths of chunks of one dataset differ a little, and a buffer of one chunk should be large enough
/// for the next.
fn pooled_capacity(len: usize) -> usize {
    match len {
        MIN_POOLED_BYTES..=MAX_POOLED_BYTES => len.next_multiple_of(1 << (len.ilog2() - 3)),
        _ => len,
    }
}

/// Extends a buffer with zeros up to `len`, if it is shorter. It extends page by page, which is faster than byte by
/// byte where the compiler optimizes for size.
fn fill_to(buffer: &mut Vec<u8>, len: usize) {
    const ZEROS: [u8; 4096] = [0; 4096];
    while buffer.len() < len {
        let missing = (len - buffer.len()).min(ZEROS.len());
        buffer.extend_from_slice(&ZEROS[..missing]);
    }
}

/// Returns `len` zeros, for a length that comes from a container; `None` if there is not enough memory.
pub fn try_zeroed(len: u64) -> Option<Vec<u8>> {
    zeroed(usize::try_from(len).ok()?)
}

/// Returns a copy of `bytes`, the length of which comes from a container or a request; `None` if there is not enough memory.
pub fn try_copy(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len()).ok()?;
    copy.extend_from_slice(bytes);
    Some(copy)
}

/// Returns a buffer to the pool. The pool retains the buffer if its length is suitable and the pool has free capacity.
pub fn give(buffer: Vec<u8>) {
    if (MIN_POOLED_BYTES..=MAX_POOLED_BYTES).contains(&buffer.capacity()) {
        pool(|kept| kept.put(buffer));
    }
}

/// Frees all pooled buffers. Returns the number of freed bytes.
pub fn forget() -> usize {
    pool(std::mem::take).map_or(0, |pooled| pooled.bytes)
}

impl PooledBuffers {
    /// Takes the smallest buffer of sufficient capacity, unless that buffer is far too large.
    fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let fits = |b: &Vec<u8>| b.capacity() >= len && b.capacity() / 4 <= len;
        let found =
            self.buffers.iter().enumerate().filter(|(_, b)| fits(b)).min_by_key(|(_, b)| b.capacity())?.0;
        let buffer = self.buffers.remove(found)?;
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    /// Adds a buffer. If the pool is full, the buffers that have been unused for the longest time are freed. Otherwise
    /// buffers of lengths that are not requested any more would fill the pool for ever.
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

/// A buffer of any content that returns to the pool when this is dropped. The underlying buffer may be longer: a
/// truncated buffer would have to be filled again for a longer request.
#[derive(Debug)]
pub struct Scratch {
    buffer: Vec<u8>,
    len: usize,
}

impl Scratch {
    /// Returns a buffer of `len` bytes.
    pub fn new(len: usize) -> Self {
        Self { buffer: at_least(len), len }
    }

    /// Returns a buffer as [`new`](Self::new) does, for a length that comes from a container; `None` if there is not
    /// enough memory.
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
        assert_eq!((kept.buffers.len(), kept.bytes), (30, 32 << 20), "the oldest two made space");
        assert_eq!(kept.take(3 << 20).unwrap().capacity(), 3 << 20);
    }

    #[test]
    fn a_buffer_is_reused_for_similar_lengths() {
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
