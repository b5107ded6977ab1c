//! Filters that are not here: a codec that the caller lends runs the whole pipeline.

use super::unlocked;
use crate::types::Filter;
use crate::{Dataset, Error, Result};
use h5lake_ledger::locks::{RwLock, assert_none_held};
use std::fmt;
use std::sync::Arc;

/// Runs a dataset's whole pipeline on one chunk, for pipelines with filters that this crate does not have.
///
/// Called in the thread that reads, writes or flushes, which holds no lock of the container meanwhile. It refuses what its
/// filters call on the container. It is never called in a thread of another library, whose lock the thread may hold while
/// it waits for the container.
pub trait ChunkCodec: Send + Sync {
    /// Whether the calling thread may use this codec: it is in no call of another library.
    fn is_at_home(&self) -> bool {
        true
    }

    /// Encodes a chunk; gives the mask of optional filters that were skipped (bit n for filter n) and the bytes to
    /// store.
    ///
    /// # Errors
    /// A mandatory filter that failed or is not there, named.
    fn encode(&self, chunk: &[u8]) -> Result<(u32, Vec<u8>)>;

    /// Decodes what [`Self::encode`] gave, or another writer of the same pipeline.
    ///
    /// # Errors
    /// A filter that failed or is not there, named.
    fn decode(&self, stored: &[u8], mask: u32) -> Result<Vec<u8>>;
}

/// Lends codecs for datasets that nobody has open: those within a copied group.
pub trait CodecProvider: Send + Sync {
    /// A codec for a dataset that needs one. It is given back before the call that needed it returns.
    fn codec_for(self: Arc<Self>, dataset: &Dataset) -> Option<Arc<dyn ChunkCodec>>;
}

/// What a codec is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work<'a> {
    Encode(&'a [u8]),
    /// With the mask of filters that were skipped.
    Decode(&'a [u8], u32),
}

/// Runs a codec: the mask of filters that were skipped (of an encoded chunk), and the bytes.
pub(super) fn run(codec: &dyn ChunkCodec, work: Work<'_>) -> Result<(u32, Vec<u8>)> {
    assert_none_held("filters");
    match work {
        Work::Encode(chunk) => codec.encode(chunk),
        Work::Decode(stored, mask) => codec.decode(stored, mask).map(|chunk| (0, chunk)),
    }
}

/// The codecs that are lent at present.
#[derive(Default)]
pub(crate) struct Codecs(RwLock<Vec<Arc<dyn ChunkCodec>>>);

impl fmt::Debug for Codecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} codecs", self.0.read().len())
    }
}

impl Codecs {
    pub(crate) fn add(&self, codec: Arc<dyn ChunkCodec>) {
        self.0.write().push(codec);
    }

    /// Takes one back.
    pub(crate) fn remove(&self, codec: &Arc<dyn ChunkCodec>) {
        self.0.write().retain(|c| !is_same(c, codec));
    }

    /// Whether this is the only one.
    pub(crate) fn is_last(&self, codec: &Arc<dyn ChunkCodec>) -> bool {
        self.0.read().iter().all(|c| is_same(c, codec))
    }

    /// Whether one is lent for this thread.
    pub(crate) fn has_one_here(&self) -> bool {
        self.0.read().iter().any(|c| c.is_at_home())
    }

    /// Whether all that are lent are for other threads: those of another library, which must not be called from here.
    pub(crate) fn are_elsewhere(&self) -> bool {
        let all = self.0.read();
        !all.is_empty() && !all.iter().any(|c| c.is_at_home())
    }

    /// Has the filters `filters`, called `names`, run by a codec: at once, or when an operation that holds locks has let go of
    /// them.
    ///
    /// # Errors
    /// Those of the codec; [`unlocked::is_waiting`] tells that it has yet to run.
    pub(super) fn run(&self, filters: &Arc<[Filter]>, names: &str, work: Work<'_>) -> Result<(u32, Vec<u8>)> {
        let codec = self.pick(names)?;
        unlocked::ask(&codec, filters, work).unwrap_or_else(|| run(&*codec, work))
    }

    /// The one to use in this thread; `names` are the filters that need it.
    fn pick(&self, names: &str) -> Result<Arc<dyn ChunkCodec>> {
        let all = self.0.read();
        let here = all.iter().find(|c| c.is_at_home()).cloned();
        here.ok_or_else(|| {
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
