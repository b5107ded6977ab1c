//! The form of a dataset: its properties, decoded from its header, and the division of its elements into blocks.

use crate::chunk::fragments::Fragments;
use crate::chunk::grid::Grid;
use crate::chunk::layout::{BlockLayout, Edges, is_partial};
use crate::chunk::statistics::{CountedChunks, MIN_COUNTED_BYTES};
use crate::{Error, Result};
use bytes::Bytes;
use h5lake_filters::Pipeline;
use h5lake_ledger::locks::RwLock;
use h5lake_records::encoded::listed_filters;
use h5lake_records::number::NumberType;
use h5lake_records::record::{self, BlockRecord, HeaderRecord};
use h5lake_records::types::{Dataspace, Datatype, Fill, FillTime, FillValue, Filter, Layout, product};
use h5lake_records::{conversion, keys};
use prost::Message;

/// Contiguous datasets up to this many bytes, and blocks up to this many bytes, are stored inline.
pub(crate) const MAX_SMALL_DATASET_BYTES: u64 = 16 << 10;
/// Number of bytes of a larger block that may be stored inline.
pub(crate) const MAX_INLINE_BYTES: usize = 1 << 10;
/// Contiguous datasets are divided into segments of about this many bytes.
const SEGMENT_BYTES: u64 = 1 << 20;

/// The properties of a dataset, decoded from its header.
pub struct DatasetForm {
    pub(crate) datatype: Datatype,
    pub(crate) space: Dataspace,
    pub(crate) layout: Layout,
    pub(crate) shape: BlockLayout,
    pub(super) fill: Fill,
    pub(super) filters: Vec<Filter>,
    pub(super) grid: Grid,
}

impl DatasetForm {
    /// Decodes a dataset's header; `what` names the dataset in errors.
    ///
    /// # Errors
    /// `WrongKind` for other objects; `Corrupt` for an invalid header; `Unsupported` for a layout or filters that this
    /// build does not know.
    pub fn of(h: &HeaderRecord, what: impl Fn() -> String) -> Result<Self> {
        let Some(r) = &h.dataset else {
            return Err(Error::wrong_kind(format!("{} is not a dataset but a {:?}", what(), h.kind())));
        };
        let datatype = conversion::datatype(&r.datatype)?;
        let space = conversion::space(&r.space)?;
        let layout = r.layout()?;
        let fill = r.fill()?;
        let filters: Vec<Filter> = r.filters.iter().cloned().map(Filter::from).collect();
        let (grid, len, inline) = blocks(&layout, &space, datatype.size).map_err(|e| e.context(what()))?;
        let element = match &fill.value {
            FillValue::User(v) if v.len() as u64 != datatype.size => {
                return Err(Error::corrupt(format!("{} has a fill value of {} bytes", what(), v.len())));
            }
            // The fill value is never written. In native files such elements have undefined content; here they are
            // zeros.
            FillValue::User(_) if fill.time == FillTime::Never => None,
            // Elements that are never filled read as zeros, whatever the fill value.
            FillValue::User(v) if fill.time != FillTime::Never && v.iter().any(|&b| b != 0) => {
                Some(v.clone())
            }
            _ => None,
        };
        if matches!(layout, Layout::Chunked { .. }) {
            check_listed_filters(&h.creation_properties, &filters).map_err(|e| e.context(what()))?;
        }
        let pipeline = Pipeline::new(&filters).map_err(|e| e.context(what()))?;
        let edges = match &layout {
            Layout::Chunked { chunk } if r.unfiltered_edges => {
                Some(Edges { chunk: chunk.clone(), dims: RwLock::new(space.dims().to_vec()) })
            }
            _ => None,
        };
        let counted = match &layout {
            Layout::Chunked { chunk }
                if len >= MIN_COUNTED_BYTES && !chunk.is_empty() && !pipeline.may_lose() =>
            {
                let number = NumberType::of(&datatype.encoded).filter(|n| n.size as u64 == datatype.size);
                number.map(|number| CountedChunks {
                    number,
                    chunk: chunk.clone(),
                    dims: RwLock::new(space.dims().to_vec()),
                })
            }
            _ => None,
        };
        let shape = BlockLayout { len, fill: element, filters: pipeline, inline, edges, counted };
        Ok(Self { datatype, space, layout, shape, fill, filters, grid })
    }

    /// Returns the layout.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the bytes of a block.
    pub fn block_bytes(&self) -> usize {
        self.shape.len
    }

    /// Returns the maximum number of blocks in each dimension of the grid.
    ///
    /// # Errors
    /// `OutOfRange` if the number of elements does not fit 64 bits.
    pub fn block_counts(&self) -> Result<Vec<u64>> {
        Ok(match (&self.layout, &self.grid) {
            (Layout::Virtual { .. } | Layout::External { .. }, _) => vec![0],
            (_, Grid::Line(elements)) => vec![self.space.points()?.div_ceil((*elements).max(1))],
            (_, Grid::Boxes(chunk)) => {
                self.space.dims().iter().zip(chunk).map(|(d, c)| d.div_ceil((*c).max(1))).collect()
            }
        })
    }

    /// Checks the entry of a block. Returns whether parts of it are lost.
    ///
    /// # Errors
    /// The reason, if the entry is invalid.
    pub fn check_block(&self, key: &[u8], value: Bytes) -> std::result::Result<bool, String> {
        let coords = keys::coords(key);
        let rank = match &self.layout {
            Layout::Chunked { chunk } => chunk.len(),
            Layout::Virtual { .. } | Layout::External { .. } => {
                return Err("a dataset without blocks has one".into());
            }
            _ => 1,
        };
        if keys::tail(key).len() != rank * 8 {
            return Err("its coordinates are not those of the dataset".into());
        }
        if let Layout::Chunked { chunk } = &self.layout {
            let begins: Vec<u64> = coords.iter().zip(chunk).map(|(c, n)| c.saturating_mul(*n)).collect();
            // The first chunk may exist even if a dataset has no elements.
            let outside = begins.iter().zip(self.space.dims()).any(|(b, d)| b >= d);
            if outside && is_partial(&coords, chunk, self.space.dims()) && coords.iter().any(|c| *c > 0) {
                return Err("it lies outside of the dataset's dimensions".into());
            }
        }
        let r: BlockRecord = record::decode(value, String::new).map_err(|e| e.to_string())?;
        let encoded = r.encoded;
        if let (Some(counted), Some(known)) = (&self.shape.counted, &r.statistics)
            && counted.is_wrong(known)
        {
            return Err("its statistics are those of no chunk".into());
        }
        let pieces = Fragments::decode(r, self.shape.len).map_err(|e| e.to_string())?;
        if encoded && !self.shape.is_filtered(key) {
            return Err("it went through filters, which the dataset has not".into());
        }
        Ok(pieces.has_lost())
    }

    /// Removes statistics from a block's record if no writer creates such statistics: the data is read without them.
    pub fn without_wrong_statistics(&self, value: Bytes) -> Bytes {
        let Ok(mut r) = record::decode::<BlockRecord>(value.clone(), String::new) else { return value };
        match (&self.shape.counted, &r.statistics) {
            (Some(counted), Some(known)) if counted.is_wrong(known) => (),
            _ => return value,
        }
        r.statistics = None;
        r.encode_to_vec().into()
    }
}

/// Checks that a dataset's record and its creation property list have the same filters. A list that this build cannot
/// read is ignored, and programs that use this crate without HDF5 store no list.
///
/// # Errors
/// `Corrupt`, which names the filters of both.
pub(super) fn check_listed_filters(properties: &[u8], filters: &[Filter]) -> Result<()> {
    let Ok(listed) = listed_filters(properties) else { return Ok(()) };
    if listed.iter().eq(filters.iter().map(|filter| &filter.id)) {
        return Ok(());
    }
    let stored: Vec<_> = filters.iter().map(|filter| filter.id).collect();
    Err(Error::corrupt(format!(
        "the record has the filters {stored:?}, and the creation property list has {listed:?}"
    )))
}

/// Returns the division of a dataset into blocks: the grid, the bytes of a block, and how many of them may be stored
/// inline.
fn blocks(layout: &Layout, space: &Dataspace, size: u64) -> Result<(Grid, usize, usize)> {
    let bad = || Error::corrupt("impossible dimensions");
    let (elements, small) = match layout {
        Layout::Chunked { chunk } => {
            if chunk.len() != space.dims().len() || chunk.contains(&0) {
                return Err(bad());
            }
            (product(chunk)?, false)
        }
        Layout::Compact => (space.points()?.max(1), true),
        // These layouts have no blocks.
        Layout::External { .. } | Layout::Virtual { .. } => (1, true),
        Layout::Contiguous => {
            let points = space.points()?.max(1);
            if points.checked_mul(size).is_some_and(|n| n <= MAX_SMALL_DATASET_BYTES) {
                (points, true)
            } else {
                ((SEGMENT_BYTES / size).max(1), false)
            }
        }
    };
    // A chunk, and an element, have less than 4 GiB; this bounds the memory for a block.
    let len = elements.checked_mul(size).filter(|&n| n <= u64::from(u32::MAX));
    let len = len.and_then(|n| usize::try_from(n).ok()).ok_or_else(bad)?;
    let inline = if small || len as u64 <= MAX_SMALL_DATASET_BYTES { len } else { MAX_INLINE_BYTES };
    let grid = match layout {
        Layout::Chunked { chunk } => Grid::Boxes(chunk.clone()),
        _ => Grid::Line(elements),
    };
    Ok((grid, len, inline))
}
