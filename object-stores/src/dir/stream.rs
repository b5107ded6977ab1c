//! A streamed put into a directory: a file that has no name yet.

use std::io::{self, BufWriter, Write};

use super::DirStore;
use crate::beneath::NewFile;
use crate::{ErrorKind, Key, Operation, PutMode, PutResult, PutStream, Result};

/// The buffer for small writes, in bytes; larger writes go directly into the file.
const BUFFER_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct DirStream {
    store: DirStore,
    key: Key,
    file: BufWriter<NewFile>,
    /// True if a write has failed, so that the file's content is incomplete.
    failed: bool,
}

impl DirStream {
    pub(super) fn new(store: DirStore, key: Key, file: NewFile) -> Self {
        DirStream { store, key, file: BufWriter::with_capacity(BUFFER_BYTES, file), failed: false }
    }
}

impl PutStream for DirStream {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Err(e) = self.file.write_all(bytes) {
            self.failed = true;
            return Err(self.store.io_error(e, Operation::StreamWrite, &self.key));
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<PutResult> {
        let DirStream { store, key, file, failed } = *self;
        if failed {
            return Err(store
                .error(ErrorKind::InvalidArgument, Operation::StreamFinish, &key)
                .because("an earlier write has failed, so the stream can only be aborted"));
        }
        let flushed = file.into_inner().map_err(io::IntoInnerError::into_error);
        let staged = flushed.map_err(|e| store.io_error(e, Operation::StreamFinish, &key))?;
        store.publish(Operation::StreamFinish, &key, staged, &PutMode::Overwrite)
    }

    fn abort(self: Box<Self>) -> Result<()> {
        let DirStream { store, key, file, .. } = *self;
        // The remaining bytes of the buffer are not written.
        let (staged, _) = file.into_parts();
        staged.remove().map_err(|e| store.io_error(e, Operation::StreamAbort, &key))
    }
}
