//! The filters of a dataset in their order, run one after the other.

mod decoding;
mod foreign;
mod steps;
pub mod unlocked;

#[cfg(test)]
pub(crate) use decoding::decoded;
use foreign::Work;
pub use foreign::{ChunkCodec, Codecs};
pub use steps::known_filter_name;
use steps::{FilterStep, Steps};

use crate::stored_form;
use h5lake_records::memory::copied;
use h5lake_records::{Filter, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Returns whether a filter is built in, with these parameters. Other filters need a [`ChunkCodec`].
pub fn is_built_in(filter: &Filter) -> bool {
    Steps::new(std::slice::from_ref(filter))
        .is_ok_and(|steps| steps.all.iter().all(|step| step.codec.is_some()))
}

/// Encodes a chunk by all of these filters, even by those that would gain nothing: these store it unencoded, in a form
/// that their decoders know. Returns `None` if a filter cannot.
///
/// # Errors
/// `InvalidArgument` for more filters than HDF5 allows, or parameters that a filter cannot have.
pub fn encode_with_all(filters: &[Filter], chunk: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut data = copied(chunk)?;
    for (filter, step) in filters.iter().zip(&Pipeline::new(filters)?.steps.all) {
        let encoded = step.codec.as_ref().and_then(|codec| codec.encode(&data));
        let Some(encoded) = encoded.or_else(|| stored_form::encode(filter, &data)) else { return Ok(None) };
        data = encoded;
    }
    Ok(Some(data))
}

/// The filters of a dataset.
#[derive(Debug, Default)]
pub struct Pipeline {
    steps: Arc<Steps>,
    codecs: Codecs,
    /// Bit n is set for an optional filter n that does not encode.
    left_out: AtomicU32,
}

impl Pipeline {
    /// Builds a pipeline.
    ///
    /// # Errors
    /// `InvalidArgument` for more filters than HDF5 allows, or parameters that a filter cannot have.
    pub fn new(filters: &[Filter]) -> Result<Self> {
        let steps = Arc::new(Steps::new(filters)?);
        Ok(Self { steps, codecs: Codecs::default(), left_out: AtomicU32::new(0) })
    }

    /// Returns whether the pipeline has no filters.
    pub fn is_empty(&self) -> bool {
        self.steps.all.is_empty()
    }

    /// Returns whether some filters need a lent codec: the pipeline is then run only in the calling thread.
    pub fn is_foreign(&self) -> bool {
        self.steps.all.iter().any(|s| s.codec.is_none())
    }

    /// Returns whether decoding may return other data than was encoded, such as less precise numbers.
    pub fn may_lose(&self) -> bool {
        self.steps.all.iter().any(|s| s.codec.as_ref().is_none_or(|codec| codec.may_lose()))
    }

    /// Disables encoding by optional built-in filters from now on: bit n of `mask` stands for filter n. Other filters remain
    /// enabled, because a lent codec decides on each chunk.
    pub fn leave_out(&self, mask: u32) {
        let can_be = |step: &FilterStep| step.is_optional() && step.codec.is_some();
        let optional = self.steps.all.iter().enumerate().filter(|(_, step)| can_be(step));
        let optional = optional.fold(0, |all, (n, _)| all | 1 << n);
        self.left_out.store(mask & optional, Ordering::Relaxed);
    }

    /// Returns the codecs lent for this pipeline.
    pub fn codecs(&self) -> &Codecs {
        &self.codecs
    }

    /// Encodes a chunk; returns the mask of skipped filters and the bytes to store.
    ///
    /// # Errors
    /// A mandatory filter that failed.
    pub fn encode(&self, chunk: &[u8]) -> Result<(u32, Vec<u8>)> {
        let left_out = self.left_out.load(Ordering::Relaxed);
        if self.is_foreign() {
            return self.codecs.run(&self.steps, Work::Encode { chunk, left_out });
        }
        self.steps.encode(chunk, left_out, None)
    }

    /// Returns the maximum number of bytes that any writer stores for a chunk of `len` bytes.
    pub fn max_stored_bytes(&self, len: usize) -> usize {
        self.steps.all.iter().fold(len, |n, step| step.max_encoded_bytes(n))
    }
}

#[cfg(test)]
mod tests {
    use super::steps::OPTIONAL;
    use super::*;
    use proptest::prelude::*;

    fn filter(id: i32, client_data: &[u32]) -> Filter {
        Filter { id, flags: 0, name: Vec::new(), client_data: client_data.to_vec() }
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(
            data in prop::collection::vec(any::<u8>(), 0..5000), size in 1u32..20, level in 0u32..=9, flip in any::<prop::sample::Index>()
        ) {
            let p = Pipeline::new(&[filter(2, &[size]), filter(1, &[level]), filter(3, &[])]).unwrap();
            let (mask, mut stored) = p.encode(&data).unwrap();
            prop_assert_eq!(mask, 0);
            prop_assert_eq!(p.decode(stored.clone(), mask, data.len()).unwrap(), data.clone());
            let at = flip.index(stored.len());
            stored[at] ^= 0x10;
            prop_assert!(p.decode(stored, mask, data.len()).is_err());
        }

        #[test]
        fn damage_only_causes_errors(stored in prop::collection::vec(any::<u8>(), 0..300)) {
            let p = Pipeline::new(&[filter(2, &[4]), filter(1, &[6])]).unwrap();
            prop_assert!(p.decode(stored, 0, 1 << 20).is_err());
        }
    }

    #[test]
    fn an_unavailable_filter_needs_a_codec() {
        let p = Pipeline::new(&[filter(2, &[2]), filter(32013, &[])]).unwrap();
        assert!(p.is_foreign());
        let says = "the pipeline (2 (shuffle), 32013 (zfp)) runs only while the dataset is open in HDF5";
        assert_eq!(p.encode(&[0; 4]).unwrap_err().to_string(), says);
        assert_eq!(p.decode(vec![0; 4], 0, 4).unwrap_err().to_string(), says);
        // Chunks that skipped the missing filter can be decoded without it.
        assert_eq!(p.decode(vec![1, 3, 2, 4], 2, 4).unwrap(), [1, 2, 3, 4]);
        assert_eq!(p.decode(vec![1, 3, 2, 4], 3, 4).unwrap(), [1, 3, 2, 4]);
    }

    #[test]
    fn shuffle_without_a_size_is_skipped_or_fails_as_in_hdf5() {
        let mut f = filter(2, &[]);
        assert!(Pipeline::new(&[f.clone()]).unwrap().encode(&[1, 2]).is_err());
        f.flags = OPTIONAL;
        let p = Pipeline::new(&[f]).unwrap();
        assert_eq!(p.encode(&[1, 2]).unwrap(), (1, vec![1, 2]));
        assert!(p.decode(vec![1, 2], 0, 2).is_err());
    }

    #[test]
    fn a_masked_filter_is_skipped() {
        let p = Pipeline::new(&[filter(2, &[4]), filter(1, &[6])]).unwrap();
        assert_eq!(p.decode(vec![1, 2, 3, 4], 3, 4).unwrap(), [1, 2, 3, 4]);
    }
}
