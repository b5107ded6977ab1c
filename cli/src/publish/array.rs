//! What an array of Zarr is like that shows a dataset: its chunks, its codecs, its fill value.

use h5lake_container::{Dataset, Dataspace, Filter, Layout};
use serde_json::{Value, json};

use super::zarr_type::{Elements, ZarrType, fill_value, zarr_type};
use crate::elements::{Type, type_of};
use crate::objects::filter_name;

/// Missing chunks are copied if they are this many bytes at most, all of a dataset together.
const MAX_COPIED_FILL_BYTES: u64 = 16 << 20;
/// Rows of contiguous data are cut so that a segment has about this many: few of them then cross its end.
const ROWS_PER_SEGMENT: u64 = 16;
/// Deflate, for what is copied.
const DEFLATE: i32 = 1;

/// How the stored blocks of a dataset make chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocks {
    /// A block is a chunk.
    Chunks,
    /// A chunk is a part of a segment with so many elements.
    Segments(u64),
    /// All elements are in one chunk.
    One,
}

/// An array that shows a dataset.
pub struct Array {
    pub of: Type,
    pub zarr: ZarrType,
    /// Of the dataset, without the dimensions of its elements.
    pub dims: Vec<u64>,
    /// Elements of a chunk along these.
    pub chunk: Vec<u64>,
    pub blocks: Blocks,
    /// The filters of a chunk that is copied.
    pub filters: Vec<Filter>,
    codecs: Value,
    /// Whether chunks are referenced where they can be. Else why all are copied.
    pub referenced: Result<(), &'static str>,
    fill: Value,
    /// What strings of variable length show that were never written.
    fill_text: Vec<u8>,
    /// Whether missing chunks are copied, because the fill value does not say what is in them.
    pub copies_missing: bool,
}

/// A filter as numcodecs has it; `None` for one that it has not.
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

/// Elements along each dimension of a chunk of contiguous data whose segments have this many.
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

/// Whether a fill value equals nothing, so that nobody takes a measured value for it.
fn is_nan(value: &Value) -> bool {
    *value == json!("NaN") || value.as_array().is_some_and(|parts| parts.contains(&json!("NaN")))
}

/// Whether two elements are the same number.
fn is_same(of: &Type, fill: &[u8], other: Option<&[Value]>) -> bool {
    matches!(other, Some([value]) if fill_value(of, fill).as_ref() == Some(value))
}

impl Array {
    /// The array of a dataset, or why it has none. `missing` has the values of the attribute `_FillValue`, `written` is
    /// the number of stored blocks, and `fill_text` the fill value of strings of variable length.
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
                return Err(format!("its filters ({}) are not all in this tool", names.join(", ")));
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

    /// Zarr's fill value. xarray takes it for missing data, so it is null where that reads as what HDF5 shows. An
    /// error if too many for copies are missing, and elements are what Zarr cannot fill with: arrays of different numbers, or strings
    /// of variable length that are not empty.
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
            // To zarr-python null is no zero here: it is no time, and it becomes the text "0" in a compound. And xarray decodes no fill
            // value of a compound.
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

    /// How many chunks there may be.
    pub fn chunks(&self) -> u64 {
        self.grid().iter().fold(1, |n, count| n.saturating_mul(*count))
    }

    /// Chunks along each dimension.
    pub fn grid(&self) -> Vec<u64> {
        self.dims.iter().zip(&self.chunk).map(|(dim, chunk)| dim.div_ceil((*chunk).max(1))).collect()
    }

    /// Bytes of a chunk without filters.
    pub fn chunk_bytes(&self) -> u64 {
        self.chunk_elements().saturating_mul(self.of.size() as u64)
    }

    fn chunk_elements(&self) -> u64 {
        self.chunk.iter().fold(1, |n, count| n.saturating_mul(*count))
    }

    /// Bytes of a missing element in a copied chunk, and in the memory that this takes.
    fn copied_bytes(&self) -> u64 {
        (self.of.size() as u64).max(self.fill_text.len() as u64)
    }

    /// Whether missing chunks that are copied have strings of variable length that are no UTF-8.
    pub fn copies_other_than_utf8(&self) -> bool {
        self.copies_missing && std::str::from_utf8(&self.fill_text).is_err()
    }

    /// The shape that Zarr's readers see.
    pub fn shape(&self) -> Vec<u64> {
        [&self.dims[..], &self.zarr.dims[..]].concat()
    }

    /// Whether xarray takes elements for missing that HDF5 shows, or fails for the fill value of a compound.
    pub fn is_masked(&self) -> bool {
        let is_first_time = self.fill == json!(0) && self.zarr.zero.as_ref() == Some(&self.fill);
        !self.fill.is_null() && !is_first_time && !is_nan(&self.fill)
    }

    /// The document `.zarray`. `strings` is the codec of strings of variable length.
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

    /// The key of a chunk, behind the array's path.
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
