//! A streamed put. It is buffered until it is complete, and then written by a single call.
//!
//! The interface has no streams, so that a library can be small. More than [`MAX_MEMORY_BYTES`] are buffered in a
//! temporary file without a name.

use std::fs::File;
use std::io::{self, Write as _};

use bytes::Bytes;
use h5lake_store_abi::{Mode, Write};

use super::LibraryStore;
use super::payload::{Kept, Pieces};
use crate::{Error, Key, Operation, PutResult, PutStream, Result};

/// The number of bytes of a stream that are buffered in memory.
const MAX_MEMORY_BYTES: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Upload {
    store: LibraryStore,
    key: Key,
    memory: Vec<u8>,
    file: Option<File>,
    length: u64,
}

impl Upload {
    pub(super) fn new(store: LibraryStore, key: Key) -> Self {
        Upload { store, key, memory: Vec::new(), file: None, length: 0 }
    }

    /// Moves the bytes in memory into the file.
    fn keep(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        file.write_all(&self.memory)?;
        self.memory.clear();
        Ok(())
    }

    fn failed(&self, operation: Operation, error: io::Error) -> Error {
        let place = std::env::temp_dir();
        let why = format!("what is written is kept in {} until it is whole", place.display());
        Error::io(operation, error).because(why).at(&self.key).in_store(&self.store.inner.name)
    }
}

impl PutStream for Upload {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for some in bytes.chunks(MAX_MEMORY_BYTES) {
            if self.memory.len() + some.len() > MAX_MEMORY_BYTES {
                self.keep().map_err(|e| self.failed(Operation::StreamWrite, e))?;
            }
            self.memory.extend_from_slice(some);
            self.length += some.len() as u64;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<PutResult> {
        let operation = Operation::StreamFinish;
        if self.file.is_some() {
            self.keep().map_err(|e| self.failed(operation, e))?;
        }
        let write = Write { key: self.key.as_str(), length: self.length, mode: Mode::Overwrite };
        let inner = &self.store.inner;
        let written = match &self.file {
            Some(file) => inner.write(operation, &write, &mut Kept::new(file)),
            None => {
                let pieces = [Bytes::from(std::mem::take(&mut self.memory))];
                inner.write(operation, &write, &mut Pieces::new(&pieces))
            }
        };
        written.map_err(|e| e.at(&self.key))
    }

    fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
