//! The steps of a pipeline: built-in filters, and foreign filters that a lent codec runs.

use super::foreign::ChunkCodec;
use crate::{
    FilterCodec, bitshuffle, blosc, blosc2, bzip2, deflate, fletcher32, lz4, lzf, max_encoded_bytes, nbit,
    scaleoffset, shuffle, szip, zstd,
};
use h5lake_ledger::buffers;
use h5lake_records::memory::copied;
use h5lake_records::{Error, ErrorKind};
use h5lake_records::{Filter, Result};

/// `H5Z_FLAG_OPTIONAL`: a failure to encode skips the filter.
pub(super) const OPTIONAL: u32 = 1;

/// One filter of a pipeline.
#[derive(Debug)]
pub(super) struct FilterStep {
    pub(super) name: String,
    pub(super) filter: Filter,
    /// The built-in codec; `None` for a foreign filter.
    pub(super) codec: Option<Box<dyn FilterCodec>>,
}

impl FilterStep {
    pub(super) fn is_optional(&self) -> bool {
        self.filter.flags & OPTIONAL != 0
    }

    /// Returns the maximum length that any writer's encoding of `len` bytes has.
    pub(super) fn max_encoded_bytes(&self, len: usize) -> usize {
        self.codec.as_ref().map_or_else(|| max_encoded_bytes(len), |codec| codec.max_encoded_bytes(len))
    }

    fn encode(&self, data: &[u8], lent: Option<&dyn ChunkCodec>) -> Result<Option<Vec<u8>>> {
        match &self.codec {
            Some(codec) => Ok(codec.encode(data)),
            None => self.foreign(lent)?.encode(&self.filter, data),
        }
    }

    /// Returns the lent codec, for a foreign filter.
    pub(super) fn foreign<'a>(&self, lent: Option<&'a dyn ChunkCodec>) -> Result<&'a dyn ChunkCodec> {
        lent.ok_or_else(|| Error::unsupported(format!("the filter {} is not built in", self.name)))
    }
}

/// All filters of a pipeline, in the order in which they encode.
#[derive(Debug, Default)]
pub(super) struct Steps {
    pub(super) all: Vec<FilterStep>,
}

impl Steps {
    /// Creates the steps of these filters.
    ///
    /// # Errors
    /// `InvalidArgument` for more filters than HDF5 allows, or parameters that a filter cannot have.
    pub(super) fn new(filters: &[Filter]) -> Result<Self> {
        if filters.len() > 32 {
            return Err(Error::invalid(format!("a pipeline has {} filters, more than 32", filters.len())));
        }
        let all = filters.iter().map(step).collect::<Result<_>>()?;
        Ok(Self { all })
    }

    /// Returns whether other steps produce the same output from the same bytes.
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        let of_both = self.all.iter().map(|step| &step.filter).eq(other.all.iter().map(|step| &step.filter));
        std::ptr::eq(self, other) || of_both
    }

    /// Returns the names of all filters, for an error.
    pub(super) fn names(&self) -> String {
        let names: Vec<_> = self.all.iter().map(|step| step.name.as_str()).collect();
        names.join(", ")
    }

    /// Encodes a chunk without the filters of the mask `left_out`; returns the mask of skipped filters and the bytes to
    /// store.
    ///
    /// # Errors
    /// A mandatory filter that failed.
    pub(super) fn encode(
        &self,
        chunk: &[u8],
        left_out: u32,
        lent: Option<&dyn ChunkCodec>,
    ) -> Result<(u32, Vec<u8>)> {
        let (mut mask, mut so_far) = (left_out, None::<Vec<u8>>);
        for (n, step) in self.all.iter().enumerate().filter(|(n, _)| left_out >> n & 1 == 0) {
            let data = so_far.as_deref().unwrap_or(chunk);
            match step.encode(data, lent)? {
                Some(encoded) => so_far.replace(encoded).map_or((), buffers::give),
                None if step.is_optional() => mask |= 1 << n,
                None => {
                    let text = format!("the filter {} failed to encode a chunk", step.name);
                    return Err(Error::new(ErrorKind::Io, text));
                }
            }
        }
        Ok((mask, so_far.map_or_else(|| copied(chunk), Ok)?))
    }
}

/// Returns the name for a registered filter number: that of one of HDF5's own filters, or of some other well-known filter. The name
/// is empty for any other number.
pub fn known_filter_name(id: i32) -> &'static str {
    match id {
        1 => "deflate",
        2 => "shuffle",
        3 => "fletcher32",
        4 => "szip",
        5 => "nbit",
        6 => "scaleoffset",
        307 => "bzip2",
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

fn step(f: &Filter) -> Result<FilterStep> {
    let values = &f.client_data[..];
    let given = String::from_utf8_lossy(&f.name);
    let name = if given.is_empty() { known_filter_name(f.id).to_owned() } else { given.into_owned() };
    let name = format!("{} ({name})", f.id);
    let codec: Option<Box<dyn FilterCodec>> = match f.id {
        1 => Some(Box::new(deflate::Deflate::new(values.first().copied())?)),
        2 => Some(Box::new(shuffle::Shuffle::new(values))),
        3 => Some(Box::new(fletcher32::Fletcher32)),
        4 => Some(Box::new(szip::Szip::new(values))),
        5 => Some(Box::new(nbit::NBit::new(values))),
        6 => Some(Box::new(scaleoffset::ScaleOffset::new(values))),
        307 => Some(Box::new(bzip2::Bzip2::new(values))),
        32000 => Some(Box::new(lzf::Lzf)),
        32001 => Some(Box::new(blosc::Blosc::new(values))),
        32004 => Some(Box::new(lz4::Lz4::new(values))),
        32008 => Some(Box::new(bitshuffle::Bitshuffle::new(values))),
        32015 => Some(Box::new(zstd::Zstd::new(values))),
        32026 => blosc2::Blosc2::new(values).map(|codec| Box::new(codec) as Box<dyn FilterCodec>),
        _ => None,
    };
    Ok(FilterStep { name, filter: f.clone(), codec })
}
