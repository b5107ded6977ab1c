//! A streamed put: one write if the object is short, otherwise parts.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use h5lake_rados_abi::PendingWrite;

use super::client::Namespace;
use super::head::Content;
use super::parts::{MAX_PARTS, Manifest, OF, SWEPT, part_name};
use super::sweep::{MAX_SWEEP_TIME, MIN_AGE};
use super::{MAX_WHOLE_BYTES, PART_BYTES};
use crate::{Key, Operation, PutMode, PutResult, PutStream, Result, deadline};

/// The number of parts in flight at the same time.
const MAX_PARTS_UNDER_WAY: usize = 4;

/// The process that swept last.
static SWEPT_BY: AtomicU32 = AtomicU32::new(0);

/// An object that is being put. Its memory is bounded by [`MAX_WHOLE_BYTES`] and the parts in flight.
#[derive(Debug)]
pub(super) struct Upload {
    space: Arc<Namespace>,
    key: Key,
    filling: Vec<u8>,
    parts: Option<Parts>,
}

/// The parts of an upload that were started.
#[derive(Debug)]
struct Parts {
    process: u32,
    upload: u128,
    /// The number of bytes in the parts that were started.
    size: u64,
    count: u64,
    under_way: VecDeque<(PendingWrite, usize)>,
}

fn random() -> io::Result<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| io::Error::other(e.to_string()))?;
    Ok(u128::from_le_bytes(bytes))
}

impl Upload {
    pub(super) fn new(space: Arc<Namespace>, key: Key) -> Self {
        Upload { space, key, filling: Vec::new(), parts: None }
    }

    /// Appends bytes; sends parts once the bytes do not fit into one object.
    pub(super) fn add(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let most = if self.parts.is_some() { PART_BYTES } else { MAX_WHOLE_BYTES };
            let left = usize::try_from(most).unwrap_or(usize::MAX) - self.filling.len();
            if left == 0 {
                self.send_parts()?;
                continue;
            }
            let (now, later) = bytes.split_at(left.min(bytes.len()));
            self.filling.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Sends all buffered bytes.
    fn send_parts(&mut self) -> io::Result<()> {
        let filled = std::mem::take(&mut self.filling);
        for part in filled.chunks(usize::try_from(PART_BYTES).unwrap_or(usize::MAX)) {
            self.send(part)?;
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.parts.is_none() {
            self.space.ask_for_time()?;
            let (process, upload) = (std::process::id(), random()?);
            self.parts = Some(Parts { process, upload, size: 0, count: 0, under_way: VecDeque::new() });
        }
        let Some(parts) = &mut self.parts else { return Ok(()) };
        // Readers refuse a longer list of parts.
        if parts.count >= MAX_PARTS {
            return Err(io::Error::from_raw_os_error(libc::EFBIG));
        }
        let name = part_name(parts.upload, parts.count);
        let is_first = parts.count == 0;
        // The part counts before its write is started, because it may exist although the write returned an error.
        parts.count += 1;
        let key = self.key.as_str().as_bytes();
        let write = self.space.start(&name, |operation| {
            let operation = operation.create(true).write_full(bytes);
            if is_first { operation.set_attribute(OF, key) } else { operation }
        })?;
        parts.size += bytes.len() as u64;
        parts.under_way.push_back((write, bytes.len()));
        // A sweep finds the other parts by the first one, so the first one has to be complete before them.
        let most = if is_first { 0 } else { MAX_PARTS_UNDER_WAY };
        while parts.under_way.len() > most {
            finish_oldest(&self.space, parts)?;
        }
        Ok(())
    }

    /// Makes the object visible, or returns an error; after an unambiguous error the parts are removed.
    pub(super) fn end(mut self, mode: &PutMode, operation: Operation) -> Result<PutResult> {
        if self.parts.is_none() {
            let bytes = Bytes::from(std::mem::take(&mut self.filling));
            return self.space.put(&self.key, &[bytes], mode, operation);
        }
        let manifest = self.finish_parts().map_err(|e| self.space.error(operation, e).at(&self.key))?;
        let put = self.space.put_content(&self.key, Content::Parts(&manifest), mode, operation);
        // If the put may have had its effect, the parts are retained, and a later sweep checks them.
        if put.as_ref().map_or_else(|e| e.kind().is_ambiguous(), |_| true) {
            self.parts = None;
        }
        if put.is_ok() {
            self.sweep_once();
        }
        put
    }

    /// Sends the remaining bytes and waits until all parts are written.
    fn finish_parts(&mut self) -> io::Result<Manifest> {
        if !self.filling.is_empty() {
            self.send_parts()?;
        }
        let Some(parts) = &mut self.parts else { return Err(io::Error::other("the upload was given up")) };
        while !parts.under_way.is_empty() {
            finish_oldest(&self.space, parts)?;
        }
        let finishing = self.space.write(&part_name(parts.upload, 0), 0, |operation| {
            // This write makes the first part young, so that no sweep removes the parts before the object names them.
            operation
                .assert_exists()
                .assert_attribute(SWEPT, b"")
                .set_attribute(OF, self.key.as_str().as_bytes())
        });
        finishing.map_err(|e| match e.raw_os_error() {
            Some(libc::ENOENT | libc::ECANCELED) => {
                io::Error::other("it took more than a day, and another process removed its parts")
            }
            _ => e,
        })?;
        Ok(Manifest { upload: parts.upload, part_bytes: PART_BYTES, size: parts.size })
    }

    /// Removes the parts that the upload has written.
    fn give_up(&mut self) -> io::Result<()> {
        let Some(mut parts) = self.parts.take() else { return Ok(()) };
        if parts.process != std::process::id() {
            // The upload belongs to the parent process.
            return Ok(());
        }
        while !parts.under_way.is_empty() {
            let _it_is_removed_anyway = finish_oldest(&self.space, &mut parts);
        }
        self.space.remove_parts(parts.upload, Some(parts.count))
    }

    fn sweep_once(&self) {
        let process = std::process::id();
        if SWEPT_BY.swap(process, Ordering::Relaxed) == process {
            return;
        }
        let _in_time = deadline::begin_within(MAX_SWEEP_TIME);
        let swept = random().and_then(|from| self.space.sweep((from & u128::from(u32::MAX)) as u32, MIN_AGE));
        match swept {
            Ok(0) => (),
            Ok(uploads) => tracing::debug!(
                store = self.space.name,
                uploads,
                "parts that belong to no object were removed"
            ),
            Err(e) => tracing::debug!(store = self.space.name, error = %e, "parts were not swept"),
        }
    }
}

fn finish_oldest(space: &Namespace, parts: &mut Parts) -> io::Result<()> {
    let Some((write, bytes)) = parts.under_way.pop_front() else { return Ok(()) };
    space.ask(|_, bound| write.wait(bound), |_| bytes).map(drop)
}

impl PutStream for Upload {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.add(bytes).map_err(|e| self.space.error(Operation::StreamWrite, e).at(&self.key))
    }

    fn finish(self: Box<Self>) -> Result<PutResult> {
        self.end(&PutMode::Overwrite, Operation::StreamFinish)
    }

    fn abort(mut self: Box<Self>) -> Result<()> {
        self.give_up().map_err(|e| self.space.error(Operation::StreamAbort, e).at(&self.key))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Err(e) = self.give_up() {
            tracing::debug!(store = self.space.name, error = %e, "parts of an upload were not removed; a later process sweeps them");
        }
    }
}
