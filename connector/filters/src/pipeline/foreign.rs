//! Foreign filters: filters that are not built in. A codec lent by the caller runs each of them, between the built-in
//! filters.

use super::steps::Steps;
use super::unlocked;
use h5lake_ledger::locks::{RwLock, assert_none_held};
use h5lake_records::memory::buffer;
use h5lake_records::types::Filter;
use h5lake_records::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// Runs single foreign filters on chunks of one dataset.
///
/// Called in the thread that reads, writes or flushes, which holds no lock of the container meanwhile. It refuses calls
/// of its filters to the container. It is never called in a thread of another library, because that library's lock may
/// be held by the thread while it waits for the container.
pub trait ChunkCodec: Send + Sync {
    /// Returns whether the calling thread may use this codec, that is, whether it is not inside a call of another
    /// library.
    fn is_at_home(&self) -> bool {
        true
    }

    /// Checks that data may be decoded by a filter. All foreign filters of a pipeline are checked before the first
    /// filter decodes.
    ///
    /// # Errors
    /// A filter that is not registered, or that the settings forbid; the error names it.
    fn check(&self, _filter: &Filter) -> Result<()> {
        Ok(())
    }

    /// Encodes by a filter with its stored parameters. Returns `None` if the filter declines or fails, or if it is
    /// optional and not available.
    ///
    /// # Errors
    /// A mandatory filter that is not available; the error names it. No memory.
    fn encode(&self, filter: &Filter, data: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Decodes by a filter with its stored parameters, to at most `limit` bytes.
    ///
    /// # Errors
    /// A filter that fails or is not available; the error names it. More bytes than `limit`.
    fn decode(&self, filter: &Filter, data: &[u8], limit: usize) -> Result<Vec<u8>>;
}

/// The work of a codec on one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work<'a> {
    /// Encode `chunk` without the filters of the mask `left_out`.
    Encode { chunk: &'a [u8], left_out: u32 },
    /// Decode `stored` to `len` bytes, without the filters of `mask`.
    Decode { stored: &'a [u8], mask: u32, len: usize },
}

/// Runs a pipeline with a codec: returns the mask of filters that were skipped (of an encoded chunk), and the bytes.
pub(super) fn run(codec: &dyn ChunkCodec, steps: &Steps, work: Work<'_>) -> Result<(u32, Vec<u8>)> {
    assert_none_held("filters");
    match work {
        Work::Encode { chunk, left_out } => steps.encode(chunk, left_out, Some(codec)),
        Work::Decode { stored, mask, len } => {
            let mut out = buffer(len)?;
            steps.decode_into(stored, mask, &mut out, Some(codec))?;
            Ok((0, out))
        }
    }
}

/// The codecs that are lent at present.
#[derive(Default)]
pub struct Codecs(RwLock<Vec<Arc<dyn ChunkCodec>>>);

impl fmt::Debug for Codecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} codecs", self.0.read().len())
    }
}

impl Codecs {
    /// Adds a lent codec.
    pub fn add(&self, codec: Arc<dyn ChunkCodec>) {
        self.0.write().push(codec);
    }

    /// Removes a lent codec.
    pub fn remove(&self, codec: &Arc<dyn ChunkCodec>) {
        self.0.write().retain(|c| !is_same(c, codec));
    }

    /// Returns whether no other codec is lent.
    pub fn is_last(&self, codec: &Arc<dyn ChunkCodec>) -> bool {
        self.0.read().iter().all(|c| is_same(c, codec))
    }

    /// Returns whether a codec is lent that this thread may use.
    pub fn has_one_here(&self) -> bool {
        self.0.read().iter().any(|c| c.is_at_home())
    }

    /// Returns whether codecs are lent, but only for other threads: those of another library, which must not be called
    /// from this thread.
    pub fn are_elsewhere(&self) -> bool {
        let all = self.0.read();
        !all.is_empty() && !all.iter().any(|c| c.is_at_home())
    }

    /// Runs a pipeline with a lent codec: at once, or after the calling operation has released its locks.
    ///
    /// # Errors
    /// Those of the codec. After an error, [`unlocked::is_waiting`] returns whether the pipeline has yet to run.
    pub(super) fn run(&self, steps: &Arc<Steps>, work: Work<'_>) -> Result<(u32, Vec<u8>)> {
        let codec = self.pick(steps)?;
        unlocked::ask(&codec, steps, work).unwrap_or_else(|| run(&*codec, steps, work))
    }

    /// Returns the codec to use in this thread.
    fn pick(&self, steps: &Steps) -> Result<Arc<dyn ChunkCodec>> {
        let all = self.0.read();
        let here = all.iter().find(|c| c.is_at_home()).cloned();
        here.ok_or_else(|| {
            let names = steps.names();
            Error::unsupported(match all.is_empty() {
                true => format!("the pipeline ({names}) runs only while the dataset is open in HDF5"),
                false => format!(
                    "the pipeline ({names}) runs only in the HDF5 library that has the dataset open; \
                     open the dataset in this library too"
                ),
            })
        })
    }
}

fn is_same(a: &Arc<dyn ChunkCodec>, b: &Arc<dyn ChunkCodec>) -> bool {
    std::ptr::eq(Arc::as_ptr(a).cast::<()>(), Arc::as_ptr(b).cast::<()>())
}
