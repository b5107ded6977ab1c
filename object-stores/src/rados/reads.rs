//! Reads of objects that are stored whole, and of objects that are stored in parts.

use std::io;

use h5lake_rados_abi::Read;

use super::MAX_TRIES;
use super::client::{Namespace, object_name};
use super::head::Head;
use super::parts::{Manifest, PARTS, part_name};
use crate::Key;

/// The number of parts that are read at the same time.
const MAX_PARTS_UNDER_WAY: usize = 4;

/// Returns `length` zero bytes. Fails if there is not enough memory, because a damaged object may claim any length.
pub(super) fn zeroed(length: u64) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    // For usual lengths the operating system supplies zeroed memory, which costs nothing until it is used.
    if length <= 1 << 30 {
        return Ok(vec![0; length]);
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    bytes.resize(length, 0);
    Ok(bytes)
}

/// Returns whether an error means that the object has changed since its head was read.
fn is_changed(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ERANGE | libc::EOVERFLOW | libc::ENOENT))
}

impl Namespace {
    /// Reads the bytes that exist from `offset` on, and the object's metadata, of one version. Returns the number of
    /// bytes that were read. Takes one round trip, unless the object has parts.
    pub(super) fn read(&self, key: &Key, offset: u64, buffer: &mut [u8]) -> io::Result<(Head, usize)> {
        for _ in 0..MAX_TRIES {
            let (head, came) = self.read_head(key.as_str(), offset, buffer, None)?;
            let length = (buffer.len() as u64).min(head.size.saturating_sub(offset));
            if head.parts.is_none() || length == 0 {
                return Ok((head, came));
            }
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if self.read_unchanged(key, &head, offset, &mut buffer[..length])? {
                return Ok((head, length));
            }
        }
        Err(missing_parts())
    }

    /// Fills buffers with the bytes that exist from `offset` on, as [`read`](Self::read) does.
    pub(super) fn read_scattered(
        &self,
        key: &Key,
        offset: u64,
        buffers: &mut [&mut [u8]],
    ) -> io::Result<(Head, usize)> {
        for _ in 0..MAX_TRIES {
            let reborrowed = buffers.iter_mut().map(|buffer| &mut **buffer).collect();
            let (head, came) = self.read_some_of(key.as_str(), offset, reborrowed, None)?;
            if head.parts.is_none() {
                return Ok((head, came));
            }
            let (mut at, mut is_whole) = (offset, true);
            for buffer in buffers.iter_mut() {
                let length = (buffer.len() as u64).min(head.size.saturating_sub(at));
                let wanted = &mut buffer[..usize::try_from(length).unwrap_or(usize::MAX)];
                is_whole = is_whole && self.read_unchanged(key, &head, at, wanted)?;
                at += length;
            }
            if is_whole {
                return Ok((head, usize::try_from(at - offset).unwrap_or(usize::MAX)));
            }
        }
        Err(missing_parts())
    }

    /// Reads the object under a name. If a version is given, the object must have it.
    pub(super) fn read_head(
        &self,
        name: &str,
        offset: u64,
        buffer: &mut [u8],
        version: Option<u64>,
    ) -> io::Result<(Head, usize)> {
        self.read_some_of(name, offset, vec![buffer], version)
    }

    fn read_some_of(
        &self,
        name: &str,
        offset: u64,
        buffers: Vec<&mut [u8]>,
        version: Option<u64>,
    ) -> io::Result<(Head, usize)> {
        let name = object_name(name)?;
        // No object extends that far, and a server would interpret the sum as a negative number.
        let is_beyond = i64::try_from(offset).is_err();
        let (buffers, offset) = if is_beyond { (Vec::new(), 0) } else { (buffers, offset) };
        let read = Read { name: &name, offset, buffers, version };
        let answer = self.ask(
            |pool, bound| {
                pool.read_all(vec![read], PARTS, bound)
                    .pop()
                    .unwrap_or_else(|| Err(io::Error::other("no answer")))
            },
            |answer| answer.bytes,
        )?;
        let came = answer.bytes;
        Ok((Head::of(answer)?, came))
    }

    /// Fills `buffer` from `offset` on; the range is within the object that `head` describes. Returns `false` if the
    /// object has changed since `head` was read.
    pub(super) fn read_unchanged(
        &self,
        key: &Key,
        head: &Head,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<bool> {
        let read = match &head.parts {
            Some(parts) => self.read_parts(parts, offset, buffer),
            None => self.read_head(key.as_str(), offset, buffer, Some(head.version)).and_then(|(_, came)| {
                if came == buffer.len() { Ok(()) } else { Err(short(came, buffer.len())) }
            }),
        };
        match read {
            Ok(()) => Ok(true),
            Err(e) if is_changed(&e) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn read_parts(&self, parts: &Manifest, offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        let mut at = offset;
        while !buffer.is_empty() {
            let mut wanted = Vec::with_capacity(MAX_PARTS_UNDER_WAY);
            while !buffer.is_empty() && wanted.len() < MAX_PARTS_UNDER_WAY {
                let (number, within) = (at / parts.part_bytes, at % parts.part_bytes);
                let length =
                    usize::try_from(parts.part_bytes - within).unwrap_or(usize::MAX).min(buffer.len());
                let (now, later) = std::mem::take(&mut buffer).split_at_mut(length);
                wanted.push((object_name(&part_name(parts.upload, number))?, within, now));
                at += length as u64;
                buffer = later;
            }
            self.read_some(wanted)?;
        }
        Ok(())
    }

    /// Fills buffers from as many objects, at the same time.
    fn read_some(&self, mut wanted: Vec<(std::ffi::CString, u64, &mut [u8])>) -> io::Result<()> {
        let lengths: Vec<_> = wanted.iter().map(|(_, _, buffer)| buffer.len()).collect();
        let reads = wanted.iter_mut().map(|(name, offset, buffer)| Read {
            name: name.as_c_str(),
            offset: *offset,
            buffers: vec![&mut buffer[..]],
            version: None,
        });
        let reads = reads.collect();
        let answers = self.ask(
            |pool, bound| pool.read_all(reads, PARTS, bound).into_iter().collect::<io::Result<Vec<_>>>(),
            |answers| answers.iter().map(|answer| answer.bytes).sum(),
        )?;
        match answers.iter().zip(&lengths).find(|(answer, length)| answer.bytes != **length) {
            Some((answer, length)) => Err(short(answer.bytes, *length)),
            None => Ok(()),
        }
    }
}

fn missing_parts() -> io::Error {
    let why = "parts of the object are missing, or another client replaced the object during each read";
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn short(came: usize, wanted: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{came} bytes are there of {wanted}"))
}
