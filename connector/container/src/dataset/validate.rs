//! What native HDF5 refuses when a dataset is created (H5Dchunk.c, H5Dcontig.c, H5Dcompact.c).

use crate::convert::check_space;
use crate::object::check_type;
use crate::types::{Dataspace, FillValue, Layout, UNLIMITED, product};
use crate::{DatasetSpec, Error, Result};

/// Bytes that a compact dataset may have: an object header's message less what says that it is one.
const COMPACT: u64 = 65_536 - 4;

pub(super) fn check(spec: &DatasetSpec) -> Result<()> {
    check_type(&spec.datatype)?;
    check_space(&spec.space)?;
    let size = spec.datatype.size;
    if let FillValue::User(v) = &spec.fill.value
        && v.len() as u64 != size
    {
        return Err(Error::invalid(format!("the fill value has {} bytes, an element has {size}", v.len())));
    }
    let points = spec.space.points()?;
    let bytes = points.checked_mul(size).filter(|&n| i64::try_from(n).is_ok());
    match &spec.layout {
        Layout::Chunked { chunk } => chunked(spec, chunk),
        Layout::Virtual => Err(Error::unsupported("a virtual dataset is not supported yet")),
        Layout::Compact => {
            fixed(&spec.space, "compact")?;
            if bytes.is_none_or(|n| n > COMPACT) {
                let text = "compact dataset size is bigger than header message maximum size";
                return Err(Error::invalid(format!("{text} ({points} elements of {size} bytes)")));
            }
            Ok(())
        }
        Layout::Contiguous => {
            fixed(&spec.space, "contiguous non-external")?;
            bytes.map(drop).ok_or_else(|| Error::range("the size of the dataset does not fit 64 bits"))
        }
    }
}

fn fixed(space: &Dataspace, what: &str) -> Result<()> {
    if space.dims() != space.max_dims() {
        return Err(Error::invalid(format!("extendible {what} dataset not allowed")));
    }
    Ok(())
}

fn chunked(spec: &DatasetSpec, chunk: &[u64]) -> Result<()> {
    let (dims, max) = (spec.space.dims(), spec.space.max_dims());
    if dims.is_empty() || chunk.len() != dims.len() {
        return Err(Error::invalid(format!(
            "dimensionality of chunks doesn't match the dataspace: {} and {}",
            chunk.len(),
            dims.len()
        )));
    }
    if chunk.contains(&0) {
        return Err(Error::invalid("all chunk dimensions must be positive"));
    }
    let bytes = product(chunk).ok().and_then(|n| n.checked_mul(spec.datatype.size));
    if bytes.is_none_or(|n| n > u64::from(u32::MAX)) {
        return Err(Error::invalid("chunk size must be < 4GB"));
    }
    for d in 0..dims.len() {
        if dims[d] != 0 && max[d] != UNLIMITED && max[d] < chunk[d] {
            return Err(Error::invalid(format!(
                "chunk size must be <= maximum dimension size for fixed-sized dimensions: {} > {} in dimension {d}",
                chunk[d], max[d]
            )));
        }
    }
    Ok(())
}
