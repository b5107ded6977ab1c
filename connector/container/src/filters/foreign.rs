//! Filters that are not here: a codec that the caller lends runs the whole pipeline.

use crate::{Dataset, Error, Result};
use parking_lot::RwLock;
use std::fmt;
use std::sync::Arc;

/// Runs a dataset's whole pipeline on one chunk, for pipelines with filters that this crate does not have.
///
/// Called in the thread that reads, writes or flushes, possibly with the container's block cache locked: it must
/// not call into the container.
pub trait ChunkCodec: Send + Sync {
    /// Whether the calling thread should use this codec rather than another one of the same dataset.
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
pub trait CodecLender: Send + Sync {
    /// A codec for a dataset that needs one. It is given back before the call that needed it returns.
    fn codec_for(self: Arc<Self>, dataset: &Dataset) -> Option<Arc<dyn ChunkCodec>>;
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

    /// Whether none is lent.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.read().is_empty()
    }

    /// Whether this is the only one.
    pub(crate) fn is_last(&self, codec: &Arc<dyn ChunkCodec>) -> bool {
        self.0.read().iter().all(|c| is_same(c, codec))
    }

    /// The one to use in this thread; `names` are the filters that need it.
    pub(crate) fn pick(&self, names: &str) -> Result<Arc<dyn ChunkCodec>> {
        let all = self.0.read();
        let best = all.iter().find(|c| c.is_at_home()).or_else(|| all.first());
        best.cloned().ok_or_else(|| {
            Error::unsupported(format!("the pipeline ({names}) runs only while the dataset is open in HDF5"))
        })
    }
}

fn is_same(a: &Arc<dyn ChunkCodec>, b: &Arc<dyn ChunkCodec>) -> bool {
    std::ptr::eq(Arc::as_ptr(a).cast::<()>(), Arc::as_ptr(b).cast::<()>())
}
