//! Checks for parameters that native HDF5 refuses when a dataset is created (H5Dchunk.c, H5Dcontig.c, H5Dcompact.c).

use crate::object::check_type;
use crate::{DatasetSpec, Error, Result};
use h5lake_records::conversion::check_space;
use h5lake_records::types::{AllocTime, Dataspace, ExternalFile, FillValue, Layout, UNLIMITED, product};

/// Maximum bytes of a compact dataset: an object header's message minus the bytes that describe the layout.
const MAX_COMPACT_BYTES: u64 = 65_536 - 4;

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
    let bytes = points.checked_mul(size);
    match &spec.layout {
        Layout::Chunked { chunk } => chunked(spec, chunk),
        Layout::Virtual { .. } => Ok(()),
        Layout::External { files } => external(spec, files),
        Layout::Compact => {
            fixed(&spec.space, "compact")?;
            if spec.fill.allocate != AllocTime::Early {
                return Err(Error::invalid("compact dataset must have early space allocation"));
            }
            if bytes.is_none_or(|n| n > MAX_COMPACT_BYTES) {
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

/// Checks that the largest possible dataset fits its external files, and that only the slowest dimension can grow
/// (H5Defl.c).
fn external(spec: &DatasetSpec, files: &[ExternalFile]) -> Result<()> {
    let (dims, max) = (spec.space.dims(), spec.space.max_dims());
    if dims.iter().zip(max).skip(1).any(|(d, m)| m > d) {
        return Err(Error::invalid("only the first dimension can be extendible"));
    }
    if files.is_empty() {
        return Err(Error::invalid("a dataset in external files has none"));
    }
    let mut stored_bytes = Some(0u64);
    for f in files {
        stored_bytes = match stored_bytes {
            Some(n) if f.size != UNLIMITED => {
                let n = n
                    .checked_add(f.size)
                    .ok_or_else(|| Error::range("total external data size overflowed"))?;
                Some(n)
            }
            _ => None,
        };
    }
    if max.contains(&UNLIMITED) {
        return match stored_bytes {
            None => Ok(()),
            Some(_) => Err(Error::invalid("unlimited dataspace but finite storage")),
        };
    }
    let points = if spec.space.dims().is_empty() { spec.space.points()? } else { product(max)? };
    let bytes = points.checked_mul(spec.datatype.size);
    let bytes = bytes.ok_or_else(|| Error::range("dataspace * type size overflowed"))?;
    if stored_bytes.is_some_and(|stored_bytes| bytes > stored_bytes) {
        return Err(Error::invalid("dataspace size exceeds external storage size"));
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
