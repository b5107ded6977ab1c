//! The Zarr array of a dataset: its chunks, codecs and fill value.

use h5lake_container::{Dataset, Dataspace, Filter, Layout};
use serde_json::{Value, json};

use super::zarr_type::{Elements, ZarrType, fill_value, zarr_type};
use crate::elements::{Type, type_of};
use crate::objects::filter_name;

/// The maximum size of all missing chunks of a dataset that are copied, in bytes.
const MAX_COPIED_FILL_BYTES: u64 = 16 << 20;
/// The number of chunks into which a segment of contiguous data is divided. With this many, only few chunks cross the end of a segment.
const ROWS_PER_SEGMENT: u64 = 16;
/// The filter id of deflate, which compresses copied chunks.
const DEFLATE: i32 = 1;

/// The relation between the stored blocks of a dataset and the chunks of the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocks {
    /// Each block is a chunk.
    Chunks,
    /// Each block is a segment with this number of elements, and contains several chunks.
    Segments(u64),
    /// A single chunk contains all elements.
    One,
}

/// The Zarr array of a dataset.
pub struct Array {
    pub of: Type,
    pub zarr: ZarrType,
    /// The shape of the dataset, without the dimensions of array types.
    pub dims: Vec<u64>,
    /// The number of elements of a chunk along each of these dimensions.
    pub chunk: Vec<u64>,
    pub blocks: Blocks,
    /// The filters of copied chunks.
    pub filters: Vec<Filter>,
    codecs: Value,
    /// `Ok` if chunks are referenced where possible, otherwise the reason why all of them are copied.
    pub referenced: Result<(), &'static str>,
    fill: Value,
    /// The fill value of variable-length strings.
    fill_text: Vec<u8>,
    /// True if missing chunks are copied, because the fill value of the array does not represent their elements.
    pub copies_missing: bool,
}

/// Returns the numcodecs codec that is equivalent to a filter, or `None` if there is no such codec.
fn codec(filter: &Filter) -> Option<Value> {
    let parameter = |n: usize| filter.client_data.get(n).copied().unwrap_or(0);
    Some(match filter.id {
        1 => json!({ "id": "zlib", "level": parameter(0).min(9) }),
        2 => json!({ "id": "shuffle", "elementsize": parameter(0).max(1) }),
        3 => json!({ "id": "fletcher32" }),
        307 => json!({ "id": "bz2", "level": parameter(0).clamp(1, 9) }),
        32001 => {
            let names = ["blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd"];
            let name = names.get(parameter(6) as usize).unwrap_or(&"lz4");
            let (level, shuffle) = (parameter(4).min(9), parameter(5).min(2));
            json!({ "id": "blosc", "cname": name, "clevel": level, "shuffle": shuffle, "blocksize": 0 })
        }
        32015 => json!({ "id": "zstd", "level": parameter(0).clamp(1, 22) }),
        _ => return None,
    })
}

/// Returns the shape of a chunk for contiguous data in segments of `segment` elements.
fn rows(dims: &[u64], segment: u64) -> Vec<u64> {
    let most = (segment / ROWS_PER_SEGMENT).max(1);
    let row: u64 = dims.iter().skip(1).fold(1, |n, dim| n.saturating_mul(*dim));
    if row > 0 && segment.is_multiple_of(row) {
        return std::iter::once(segment / row).chain(dims.iter().skip(1).copied()).collect();
    }
    let mut chunk = vec![1; dims.len()];
    let mut inner = 1u64;
    for (axis, dim) in dims.iter().enumerate().rev() {
        if inner.saturating_mul(*dim) > most {
            chunk[axis] = (most / inner).clamp(1, *dim);
            break;
        }
        chunk[axis] = *dim;
        inner = inner.saturating_mul(*dim);
    }
    chunk
}

/// Returns whether a fill value is NaN or contains NaN. No stored number equals NaN, so that masking such a fill value hides no data.
fn is_nan(value: &Value) -> bool {
    *value == json!("NaN") || value.as_array().is_some_and(|parts| parts.contains(&json!("NaN")))
}

/// Returns whether the only value in `other` equals the fill value `fill`.
fn is_same(of: &Type, fill: &[u8], other: Option<&[Value]>) -> bool {
    matches!(other, Some([value]) if fill_value(of, fill).as_ref() == Some(value))
}

impl Array {
    /// Returns the array of a dataset, or the reason why the dataset cannot be published. `missing` contains the values of the attribute
    /// `_FillValue`, `written` is the number of stored blocks, and `fill_text` is the fill value of variable-length strings.
    pub fn of(
        dataset: &Dataset,
        missing: Option<&[Value]>,
        written: u64,
        fill_text: Vec<u8>,
    ) -> Result<Self, String> {
        let of = type_of(dataset.datatype())?;
        let zarr = zarr_type(&of)?;
        let space = dataset.space();
        match dataset.layout() {
            _ if matches!(space, Dataspace::Null) => return Err("it has no dataspace".into()),
            Layout::Virtual { .. } => {
                return Err("it shows elements of other datasets (virtual layout)".into());
            }
            Layout::External { .. } => {
                return Err("its elements are in files beside the container (external storage)".into());
            }
            _ if dataset.needs_codec() => {
                let names: Vec<_> = dataset.filters().iter().map(filter_name).collect();
                return Err(format!("this tool does not have all of its filters ({})", names.join(", ")));
            }
            _ => (),
        }
        let dims = space.dims().to_vec();
        let at_least_one = || dims.iter().map(|dim| (*dim).max(1)).collect::<Vec<_>>();
        let points = space.points().map_err(|error| error.to_string())?;
        let (blocks, chunk) = match dataset.layout() {
            Layout::Chunked { chunk } => (Blocks::Chunks, chunk.clone()),
            _ if points <= dataset.block_elements() => (Blocks::One, at_least_one()),
            _ => {
                let segment = dataset.block_elements();
                (Blocks::Segments(segment), rows(&dims, segment))
            }
        };
        let stored: Option<Vec<Value>> = dataset.filters().iter().map(codec).collect();
        let referenced = match (zarr.elements, &stored) {
            (Elements::Stored, Some(_)) => Ok(()),
            (Elements::Stored, None) => Err("Zarr has no codec for its filters"),
            (Elements::Blanks, _) => Err("strings that are filled up with blanks"),
            (Elements::Strings, _) => Err("strings of variable length"),
        };
        let filters = match referenced {
            Ok(()) => dataset.filters().to_vec(),
            Err(_) => vec![Filter { id: DEFLATE, flags: 0, name: Vec::new(), client_data: vec![6] }],
        };
        let codecs = filters.iter().filter_map(codec).collect();
        let mut array = Self {
            of,
            zarr,
            dims,
            chunk,
            blocks,
            filters,
            codecs,
            referenced,
            fill: Value::Null,
            fill_text,
            copies_missing: false,
        };
        array.choose_fill(dataset, missing, written)?;
        Ok(array)
    }

    /// Chooses the fill value of the array. xarray treats elements with the fill value as missing. Therefore the fill value is null if null
    /// is read as the elements that HDF5 shows, or if the missing chunks can be copied. NaN and the value of `_FillValue` stay, because
    /// they mark missing data. Returns an error if the missing chunks are too many to be copied and Zarr has no fill value for their
    /// elements. This applies to array elements with different numbers, and to variable-length strings that are not empty.
    fn choose_fill(
        &mut self,
        dataset: &Dataset,
        missing: Option<&[Value]>,
        written: u64,
    ) -> Result<(), String> {
        let filling = dataset.filling();
        let zero = self.zarr.zero.clone();
        let stored = written.saturating_mul(dataset.block_elements());
        let unwritten = self.chunks().saturating_mul(self.chunk_elements()).saturating_sub(stored);
        let copied = unwritten.saturating_mul(self.copied_bytes());
        let can_copy = copied <= MAX_COPIED_FILL_BYTES;
        (self.fill, self.copies_missing) = match filling {
            _ if self.zarr.elements == Elements::Strings => {
                let copies = unwritten > 0 && !self.fill_text.is_empty();
                if copies && !can_copy {
                    let text = "Zarr does not fill with strings of variable length, and too many are missing";
                    return Err(format!("{text} for copies ({copied} bytes)"));
                }
                (Value::Null, copies)
            }
            // For these types zarr-python does not read null as zero: it becomes NaT for times, and the text "0" in a compound. In
            // addition, xarray cannot decode any fill value of a compound.
            None if zero.is_some() && can_copy => (Value::Null, true),
            None => (zero.unwrap_or(Value::Null), false),
            Some(fill) => {
                let value = fill_value(&self.of, &fill);
                let says_it = value.as_ref().is_some_and(is_nan) || is_same(&self.of, &fill, missing);
                match value {
                    Some(value) if says_it || !can_copy => (value, false),
                    _ if can_copy => (Value::Null, true),
                    _ => {
                        let text =
                            "Zarr fills with one number, its elements with several, and too many are missing";
                        return Err(format!("{text} for copies ({copied} bytes)"));
                    }
                }
            }
        };
        Ok(())
    }

    /// Returns the number of chunks of the whole array, including missing ones.
    pub fn chunks(&self) -> u64 {
        self.grid().iter().fold(1, |n, count| n.saturating_mul(*count))
    }

    /// Returns the number of chunks along each dimension.
    pub fn grid(&self) -> Vec<u64> {
        self.dims.iter().zip(&self.chunk).map(|(dim, chunk)| dim.div_ceil((*chunk).max(1))).collect()
    }

    /// Returns the size of a chunk without filters, in bytes.
    pub fn chunk_bytes(&self) -> u64 {
        self.chunk_elements().saturating_mul(self.of.size() as u64)
    }

    fn chunk_elements(&self) -> u64 {
        self.chunk.iter().fold(1, |n, count| n.saturating_mul(*count))
    }

    /// Returns the number of bytes of a missing element in a copied chunk and in memory.
    fn copied_bytes(&self) -> u64 {
        (self.of.size() as u64).max(self.fill_text.len() as u64)
    }

    /// Returns whether missing chunks are copied and contain variable-length strings that are not UTF-8.
    pub fn copies_other_than_utf8(&self) -> bool {
        self.copies_missing && std::str::from_utf8(&self.fill_text).is_err()
    }

    /// Returns the shape of the array, including the dimensions of array types.
    pub fn shape(&self) -> Vec<u64> {
        [&self.dims[..], &self.zarr.dims[..]].concat()
    }

    /// Returns whether xarray treats elements as missing that HDF5 shows, or cannot decode the fill value of a compound.
    pub fn is_masked(&self) -> bool {
        let is_first_time = self.fill == json!(0) && self.zarr.zero.as_ref() == Some(&self.fill);
        !self.fill.is_null() && !is_first_time && !is_nan(&self.fill)
    }

    /// Returns the document `.zarray`. `strings` is the codec of variable-length strings.
    pub fn document(&self, strings: &str) -> String {
        let chunks: Vec<u64> =
            self.chunk.iter().chain(&self.zarr.dims).map(|count| (*count).max(1)).collect();
        let mut filters = match self.zarr.elements {
            Elements::Strings => vec![json!({ "id": strings })],
            _ => Vec::new(),
        };
        filters.extend(self.codecs.as_array().into_iter().flatten().cloned());
        let filters = if filters.is_empty() { Value::Null } else { Value::Array(filters) };
        let document = json!({
            "zarr_format": 2, "shape": self.shape(), "chunks": chunks, "dtype": self.zarr.dtype, "order": "C",
            "fill_value": self.fill, "filters": filters, "compressor": null,
        });
        document.to_string()
    }

    /// Returns the key of a chunk, relative to the path of the array.
    pub fn key(&self, coords: &[u64]) -> String {
        let all = coords.iter().copied().chain(self.zarr.dims.iter().map(|_| 0));
        let parts: Vec<_> = all.map(|n| n.to_string()).collect();
        if parts.is_empty() { "0".into() } else { parts.join(".") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fall_into_segments() {
        assert_eq!(rows(&[1 << 20], 1 << 17), [1 << 17]);
        assert_eq!(rows(&[1000, 1 << 10], 1 << 17), [128, 1 << 10], "whole rows");
        assert_eq!(rows(&[5000, 1000], 1 << 17), [8, 1000]);
        assert_eq!(rows(&[50, 1 << 18], 1 << 17), [1, 1 << 13], "parts of rows");
        assert_eq!(rows(&[7, 300, 300], 1 << 17), [1, 27, 300]);
        assert_eq!(rows(&[7, 300, 300], 1), [1, 1, 1]);
    }
}
