//! Filter pipelines: what a chunk goes through between memory and store, as HDF5 defines it.
//!
//! A chunk encoded here decodes in native HDF5 and the reverse: filters apply in the order given, and bit n of
//! the mask says that step n was skipped.

mod deflate;
mod fletcher32;
mod lzf;
mod shuffle;

use crate::types::Filter;
use crate::{Error, ErrorKind, Result};
use std::fmt;

/// `H5Z_FLAG_OPTIONAL`: a failure to encode skips the filter.
const OPTIONAL: u32 = 1;

/// What every filter does.
trait Codec: fmt::Debug + Send + Sync {
    /// Encodes; `None` when it cannot or would gain nothing, in the filter's own judgement.
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>>;
    /// Decodes; `hint` is the likely length.
    fn decode(&self, data: &[u8], hint: usize) -> std::result::Result<Vec<u8>, String>;
}

/// A filter that is not there.
#[derive(Debug)]
struct Missing;

impl Codec for Missing {
    fn encode(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decode(&self, _: &[u8], _: usize) -> std::result::Result<Vec<u8>, String> {
        Err("is needed to read the data, and is not available".into())
    }
}

#[derive(Debug)]
struct Step {
    name: String,
    optional: bool,
    codec: Box<dyn Codec>,
}

/// The filters of a dataset.
#[derive(Debug, Default)]
pub(crate) struct Pipeline(Vec<Step>);

/// The registered numbers of HDF5's own filters, and the names of some known others.
fn known(id: i32) -> &'static str {
    match id {
        1 => "deflate",
        2 => "shuffle",
        3 => "fletcher32",
        4 => "szip",
        5 => "nbit",
        6 => "scaleoffset",
        32000 => "lzf",
        32001 => "blosc",
        32004 => "lz4",
        32008 => "bitshuffle",
        32013 => "zfp",
        32015 => "zstd",
        32026 => "blosc2",
        _ => "",
    }
}

impl Pipeline {
    /// Builds a pipeline for elements of `size` bytes.
    ///
    /// # Errors
    /// `Unsupported`, naming the filter, for one that is not there.
    pub(crate) fn new(filters: &[Filter], size: u64) -> Result<Self> {
        if filters.len() > 32 {
            return Err(Error::invalid(format!("a pipeline has {} filters, more than 32", filters.len())));
        }
        filters.iter().map(|f| step(f, size)).collect::<Result<_>>().map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Encodes a chunk; returns the mask of skipped filters and the bytes to store.
    ///
    /// # Errors
    /// A mandatory filter that failed.
    pub(crate) fn encode(&self, mut chunk: Vec<u8>) -> Result<(u32, Vec<u8>)> {
        let mut mask = 0;
        for (n, step) in self.0.iter().enumerate() {
            match step.codec.encode(&chunk) {
                Some(encoded) => chunk = encoded,
                None if step.optional => mask |= 1 << n,
                None => {
                    let text = format!("the filter {} failed to encode a chunk", step.name);
                    return Err(Error::new(ErrorKind::Io, text));
                }
            }
        }
        Ok((mask, chunk))
    }

    /// Decodes a stored chunk of `len` bytes.
    ///
    /// # Errors
    /// `Corrupt`, naming the filter.
    pub(crate) fn decode(&self, mut data: Vec<u8>, mask: u32, len: usize) -> Result<Vec<u8>> {
        for (n, step) in self.0.iter().enumerate().rev() {
            if mask & (1 << n) == 0 {
                let decoded = step.codec.decode(&data, len);
                data = decoded.map_err(|why| Error::corrupt(format!("the filter {}: {why}", step.name)))?;
            }
        }
        if data.len() != len {
            return Err(Error::corrupt(format!("a chunk of {len} bytes decodes to {}", data.len())));
        }
        Ok(data)
    }
}

fn step(f: &Filter, size: u64) -> Result<Step> {
    let given = String::from_utf8_lossy(&f.name);
    let name = if given.is_empty() { known(f.id).to_owned() } else { given.into_owned() };
    let name = format!("{} ({name})", f.id);
    let codec: Box<dyn Codec> = match f.id {
        1 => Box::new(deflate::Deflate::new(f.client_data.first().copied())?),
        2 => Box::new(shuffle::Shuffle::new(f.client_data.first().map_or(size, |&n| u64::from(n)))),
        3 => Box::new(fletcher32::Fletcher32),
        32000 => Box::new(lzf::Lzf),
        // As natively: an optional filter that nobody knows is skipped.
        id if f.flags & OPTIONAL != 0 && known(id).is_empty() => Box::new(Missing),
        _ => return Err(Error::unsupported(format!("filter {name} is not supported yet"))),
    };
    Ok(Step { name, optional: f.flags & OPTIONAL != 0, codec })
}

#[cfg(test)]
mod tests {
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
            let p = Pipeline::new(&[filter(2, &[size]), filter(1, &[level]), filter(3, &[])], 1).unwrap();
            let (mask, mut stored) = p.encode(data.clone()).unwrap();
            prop_assert_eq!(mask, 0);
            prop_assert_eq!(p.decode(stored.clone(), mask, data.len()).unwrap(), data.clone());
            let at = flip.index(stored.len());
            stored[at] ^= 0x10;
            prop_assert!(p.decode(stored, mask, data.len()).is_err());
        }

        #[test]
        fn damage_gives_an_error_and_nothing_else(stored in prop::collection::vec(any::<u8>(), 0..300)) {
            let p = Pipeline::new(&[filter(2, &[4]), filter(1, &[6])], 4).unwrap();
            prop_assert!(p.decode(stored, 0, 1 << 20).is_err());
        }
    }

    #[test]
    fn an_unknown_filter_is_named() {
        let e = Pipeline::new(&[filter(32001, &[])], 1).unwrap_err();
        assert_eq!(e.to_string(), "filter 32001 (blosc) is not supported yet");
    }

    #[test]
    fn an_optional_filter_that_nobody_knows_is_skipped() {
        let p = Pipeline::new(&[Filter { flags: 1, ..filter(256, &[]) }, filter(3, &[])], 1).unwrap();
        let (mask, stored) = p.encode(vec![1; 10]).unwrap();
        assert_eq!((mask, stored.len()), (1, 14));
        assert_eq!(p.decode(stored.clone(), mask, 10).unwrap(), [1; 10]);
        assert!(p.decode(stored, 0, 10).unwrap_err().to_string().contains("256"));
        assert!(Pipeline::new(&[filter(256, &[])], 1).is_err());
    }

    #[test]
    fn a_masked_filter_is_skipped() {
        let p = Pipeline::new(&[filter(2, &[4]), filter(1, &[6])], 4).unwrap();
        assert_eq!(p.decode(vec![1, 2, 3, 4], 3, 4).unwrap(), [1, 2, 3, 4]);
    }
}
