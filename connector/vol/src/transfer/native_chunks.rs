//! Reads of native files through our own filters: chunks as they are stored come from the native connector, and are decoded
//! here, side by side. Everything unusual is left to native HDF5, and so is every read that fails here: what native HDF5
//! then answers is the answer.
#![forbid(unsafe_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use h5lake_container::{
    ChunkDecoder, ChunkSource, ErrorKind, FillTime, Filter, Layout, Selection, SourceChunk,
};
use h5lake_ledger::buffers::Scratch;
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Minor, Result};
use crate::hdf5::datatype::{ARRAY, COMPOUND, ENUM, REFERENCE, VARIABLE_LENGTH};
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::native::chunked_dataset::BorrowedDataset;
use crate::hdf5::plist::{Driver, FillDefined};
use crate::statistics::native_reads;
use crate::transfer::buffers::scratch_of;
use crate::transfer::memory::region::MemoryRegion;

const ALL: Hid = sys::H5S_ALL as Hid;
const BLOCK: Hid = sys::H5S_BLOCK as Hid;
const LISTED: Hid = sys::H5S_PLIST as Hid;
/// Deflate, shuffle, Fletcher32, szip, n-bit, scale-offset, LZF, LZ4: ours take less of a core's time than the library's, or
/// as much. Measured; docs/design/054 has the numbers.
const FAST_FILTERS: [i32; 8] = [1, 2, 3, 4, 5, 6, 32000, 32004];
/// Blosc and Zstandard take as much or a little more, which a second core makes good.
const EVEN_FILTERS: [i32; 2] = [32001, 32015];
/// Longer chunks do not stay in a core's own cache on their way from one to another.
const MAX_EVEN_CHUNK_BYTES: usize = 1 << 20;
/// Bytes of chunks that make up for what a read costs before it begins.
const MIN_CHUNK_BYTES: usize = 256 << 10;
/// A read of so many elements is reason enough to look at a dataset; so are so many reads.
const MIN_POINTS: u64 = 16 << 10;
const MIN_READS: u32 = 16;
/// Reads of all elements that are not looked at after one that was too short.
const SKIPPED_LOOKS: u32 = 64;
/// A read is worth it from so many times the library's own cache of chunks on. A shorter one may find its chunks there, or
/// leave them there for the next.
const MIN_CACHE_SHARE: usize = 2;
/// A read of one in so many chunks may list all chunks, to know which have storage; listing takes 0.1 µs for each.
const LISTED_CHUNKS_PER_READ: u64 = 8;
/// Chunks that are listed at most.
const MAX_LISTED: u64 = 4 << 20;
/// Bytes that are decoded before they are brought to elements that do not lie one behind the other.
const MAX_SCATTERED_BYTES: usize = 64 << 20;
/// Stored bytes of chunks that are read at most.
const MAX_STORED_BYTES: usize = 1 << 30;

/// What is known of one open dataset of a native file, for reads of it.
#[derive(Debug, Default)]
pub struct NativeReads {
    plan: OnceLock<Option<Box<Plan>>>,
    reads: AtomicU32,
    skipped: AtomicU32,
    is_off: AtomicBool,
}

/// How chunks of a dataset are decoded. Nothing of it ever changes while the dataset is open.
#[derive(Debug)]
struct Plan {
    decoder: ChunkDecoder,
    element: usize,
    /// Reads of fewer chunks are better left to the library, which may have them in its cache.
    least: u64,
    /// Chunks without storage were found.
    is_sparse: AtomicBool,
}

/// A read that is worth it.
pub struct NativeRead<'a> {
    dataset: BorrowedDataset<'a>,
    reads: &'a NativeReads,
    plan: &'a Plan,
    dims: Vec<u64>,
    selection: Selection,
    /// Number of elements that are selected.
    pub points: u64,
    /// The library's cache may have chunks that were changed.
    may_change: bool,
}

impl NativeReads {
    /// Whether to look at a read at all. This is what each short read pays.
    pub fn is_candidate(&self, library: Library, file_space: Hid) -> bool {
        if self.is_off.load(Relaxed) || file_space == BLOCK || file_space == LISTED {
            return false;
        }
        if file_space == ALL {
            let left = self.skipped.load(Relaxed);
            if left > 0 {
                self.skipped.store(left - 1, Relaxed);
            }
            return left == 0;
        }
        let Ok(points) = library.selected_points(file_space) else { return false };
        match self.plan.get() {
            Some(Some(plan)) => {
                points >= plan.least && plan.may_touch_enough(library, file_space).unwrap_or(false)
            }
            Some(None) => false,
            None if points >= MIN_POINTS => true,
            None => points > 1 && self.reads.fetch_add(1, Relaxed) >= MIN_READS,
        }
    }

    /// Prepares a read that is a candidate; `None` if it is to go the native way.
    ///
    /// # Errors
    /// If the library does not answer; then the read is native, too.
    pub fn prepare<'a>(
        &'a self,
        dataset: BorrowedDataset<'a>,
        memory_type: Hid,
        file_space: Hid,
        transfer: Hid,
    ) -> Result<Option<NativeRead<'a>>> {
        let library = dataset.library();
        let dims = dataset.dims()?.to_vec();
        let total = dims.iter().copied().fold(1, u64::saturating_mul);
        if file_space == ALL && total < MIN_POINTS && self.plan.get().is_none() {
            return self.too_short(file_space);
        }
        let Some(plan) = self.plan(dataset)? else {
            self.is_off.store(true, Relaxed);
            return Ok(None);
        };
        // A selection in another extent than the dataset's is for the library to judge.
        if file_space != ALL && *library.dims_of(file_space)? != *dims {
            return Ok(None);
        }
        let flags = dataset.file_flags()?;
        let is_unusual = !library.types_equal(memory_type, dataset.datatype()?.get())?
            || library.transforms_data(transfer)
            || flags.swmr_read
            || flags.swmr_write;
        if is_unusual || (file_space != ALL && !plan.may_touch_enough(library, file_space)?) {
            return Ok(None);
        }
        let (selection, points) = match file_space {
            ALL => (Selection::All, total),
            space => library.selection_of(space, &dims)?,
        };
        if points == 0 || !plan.decoder.touches(&dims, &selection, plan.least)? {
            return self.too_short(file_space);
        }
        let may_change = flags.write;
        Ok(Some(NativeRead { dataset, reads: self, plan, dims, selection, points, may_change }))
    }

    /// The next reads of all elements are not looked at: the dataset is hardly longer then.
    fn too_short<'a>(&self, file_space: Hid) -> Result<Option<NativeRead<'a>>> {
        if file_space == ALL {
            self.skipped.store(SKIPPED_LOOKS, Relaxed);
        }
        Ok(None)
    }

    fn plan(&self, dataset: BorrowedDataset<'_>) -> Result<Option<&Plan>> {
        if let Some(plan) = self.plan.get() {
            return Ok(plan.as_deref());
        }
        let made = Plan::of(dataset)?.map(Box::new);
        Ok(self.plan.get_or_init(|| made).as_deref())
    }
}

impl Plan {
    /// A plan for a dataset, if its chunks can be decoded here.
    fn of(dataset: BorrowedDataset<'_>) -> Result<Option<Self>> {
        let library = dataset.library();
        if dataset.has_address()? {
            return Ok(None);
        }
        let list = dataset.creation_list()?;
        let creation = library.dataset_creation(list.get())?;
        let Layout::Chunked { chunk } = &creation.layout else { return Ok(None) };
        // The library does not decode without its filters, wherever they come from; what it cannot read stays an error.
        let is_known =
            !creation.filters.is_empty() && creation.filters.iter().all(|f| library.has_filter(f.id));
        let datatype = dataset.datatype()?;
        if !is_known
            || creation.unfiltered_edges
            || !is_plain(library, datatype.get())?
            || dataset.driver()? == Driver::Mpi
        {
            return Ok(None);
        }
        let element = library.type_size(datatype.get())?;
        let fill = match (creation.fill_time, creation.fill_defined) {
            (FillTime::Never, _) | (_, FillDefined::Undefined) => None,
            (_, FillDefined::Default) => Some(vec![0; element]),
            (_, FillDefined::User) => Some(dataset.fill_value(list.get(), datatype.get(), element)?),
        };
        let Some(decoder) = ChunkDecoder::new(chunk, element, &creation.filters, fill)? else {
            return Ok(None);
        };
        if decoder.max_stored_bytes() > MAX_STORED_BYTES {
            return Ok(None);
        }
        let (cached, len) = (dataset.chunk_cache_bytes()?, decoder.chunk_bytes());
        let Some(worth) = least_of_filters(&creation.filters, len) else { return Ok(None) };
        // A chunk that is longer than the cache is never kept there.
        let least = if len > cached { 1 } else { cached.saturating_mul(MIN_CACHE_SHARE) / len + 1 };
        let least = least.max(worth) as u64;
        Ok(Some(Self { decoder, element, least, is_sparse: AtomicBool::new(false) }))
    }
}

impl Plan {
    /// Whether there are chunks enough between the ends of a selection: this takes no walk along it.
    fn may_touch_enough(&self, library: Library, space: Hid) -> Result<bool> {
        let [low, high] = library.bounds(space)?;
        let ends = low.iter().zip(&high).zip(self.decoder.chunk());
        let chunks = ends.map(|((low, high), chunk)| (high / chunk).saturating_sub(low / chunk) + 1);
        Ok(chunks.fold(1, u64::saturating_mul) >= self.least)
    }
}

/// Chunks from which on our filters are no slower than the library's, for chunks of `len` decoded bytes; `None` if they are not.
fn least_of_filters(filters: &[Filter], len: usize) -> Option<usize> {
    let least = MIN_CHUNK_BYTES.div_ceil(len);
    if filters.iter().all(|f| FAST_FILTERS.contains(&f.id)) {
        return Some(least);
    }
    let is_even = filters.iter().all(|f| FAST_FILTERS.contains(&f.id) || EVEN_FILTERS.contains(&f.id));
    (is_even && ChunkDecoder::threads() > 1 && len <= MAX_EVEN_CHUNK_BYTES).then(|| 2 * least)
}

/// Whether elements of a type are in memory what they are in the file: none points to anything.
fn is_plain(library: Library, datatype: Hid) -> Result<bool> {
    Ok(match library.type_class(datatype)? {
        VARIABLE_LENGTH | REFERENCE => false,
        ARRAY | ENUM => is_plain(library, library.base_type(datatype)?.get())?,
        COMPOUND => {
            for member in library.member_types(datatype)? {
                if !is_plain(library, member.get())? {
                    return Ok(false);
                }
            }
            true
        }
        _ => !library.is_variable_string(datatype)?,
    })
}

impl NativeRead<'_> {
    /// Reads into a program's buffer. After an error, or where this answers `false`, the buffer is as the native connector finds it
    /// when it reads into it now: elements that it leaves as they are were left.
    ///
    /// # Errors
    /// Whatever keeps a chunk from being decoded. From then on all reads of this handle go the native way.
    pub fn read(&self, region: &mut MemoryRegion) -> Result<bool> {
        if region.points() != self.points || region.element() != self.plan.element {
            return Ok(false);
        }
        let is_scattered = !region.is_contiguous();
        if is_scattered && region.bytes() > MAX_SCATTERED_BYTES {
            return Ok(false);
        }
        if self.may_change
            && let Err(error) = self.dataset.write_changed_chunks()
        {
            // To read such a chunk as it is stored would drop it. The library reads what it has in its cache.
            tracing::debug!(
                "a native dataset is read by the library, which cannot write its chunks: {error}"
            );
            return Ok(false);
        }
        let mut source = Source { read: self, present: None };
        if self.plan.is_sparse.load(Relaxed) && (!self.plan.decoder.has_fill() || !source.list()?) {
            return Ok(false);
        }
        let decoder = &self.plan.decoder;
        let decoded = if is_scattered {
            let mut packed = scratch_of(self.points as usize, self.plan.element)?;
            let decoded = decoder.read(&self.dims, &self.selection, &mut packed, &mut source);
            if decoded.is_ok() {
                region.scatter(0, &packed);
            }
            decoded
        } else {
            let place = region.contiguous_mut().unwrap_or_default();
            decoder.read(&self.dims, &self.selection, place, &mut source)
        };
        match decoded {
            Ok(decoded) => {
                native_reads::note(decoded, self.points.saturating_mul(self.plan.element as u64));
                Ok(true)
            }
            // The next read lists the chunks, or is native from the start.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => {
                self.reads.is_off.store(true, Relaxed);
                tracing::debug!("a native dataset is read by the library itself from now on: {error}");
                Err(error.into())
            }
        }
    }
}

/// The chunks of a dataset, for one read.
struct Source<'a> {
    read: &'a NativeRead<'a>,
    /// Numbers of the chunks that have storage, in ascending order, once they were listed.
    present: Option<Vec<u64>>,
}

impl Source<'_> {
    /// Lists the chunks that have storage; answers `false` where that would take longer than it is worth.
    fn list(&mut self) -> Result<bool> {
        let NativeRead { dataset, plan, dims, selection, .. } = self.read;
        let (chunk, total) = (plan.decoder.chunk(), self.total());
        let wanted = total / LISTED_CHUNKS_PER_READ;
        if total > MAX_LISTED || !plan.decoder.touches(dims, selection, wanted.max(1))? {
            return Ok(false);
        }
        let mut present = Vec::new();
        let is_listed = dataset.each_chunk(dims.len(), &mut |offset, _| {
            let coords = offset.iter().zip(chunk).map(|(at, chunk)| at / chunk);
            present.push(self.number(coords));
            present.len() as u64 <= MAX_LISTED
        })?;
        if !is_listed {
            return Ok(false);
        }
        present.sort_unstable();
        self.present = Some(present);
        Ok(true)
    }

    /// Chunks along each dimension.
    fn counts(&self) -> impl Iterator<Item = u64> {
        self.read.dims.iter().zip(self.read.plan.decoder.chunk()).map(|(dim, chunk)| dim.div_ceil(*chunk))
    }

    fn total(&self) -> u64 {
        self.counts().fold(1, u64::saturating_mul)
    }

    /// The number of a chunk, C order.
    fn number(&self, coords: impl Iterator<Item = u64>) -> u64 {
        coords.zip(self.counts()).fold(0, |number, (at, count)| number.wrapping_mul(count).wrapping_add(at))
    }

    fn is_missing(&self, coords: &[u64]) -> bool {
        let number = self.number(coords.iter().copied());
        self.present.as_ref().is_some_and(|present| present.binary_search(&number).is_err())
    }

    fn stored(&self, coords: &[u64], mut buffer: Scratch) -> Result<SourceChunk> {
        let NativeRead { dataset, plan, .. } = self.read;
        let offset: Vec<u64> =
            coords.iter().zip(plan.decoder.chunk()).map(|(at, chunk)| at * chunk).collect();
        let (mask, len) = dataset.stored_chunk(&offset, &mut buffer)?;
        Ok(SourceChunk::Stored { mask, buffer, len })
    }

    fn find(&mut self, coords: &[u64]) -> Result<SourceChunk> {
        if self.is_missing(coords) {
            return Ok(SourceChunk::Missing);
        }
        let buffer = Scratch::try_new(self.read.plan.decoder.max_stored_bytes());
        let buffer =
            buffer.ok_or_else(|| Error::new(Minor::CannotOperate, "there is no memory for a chunk"))?;
        let failed = match self.stored(coords, buffer) {
            Ok(chunk) => return Ok(chunk),
            Err(error) => error,
        };
        // It may have no storage. Only a list of all chunks tells that from a failure, because no chunk is dropped that was not written.
        if self.present.is_none() {
            self.read.plan.is_sparse.store(true, Relaxed);
            if !self.list()? {
                return Err(Error::new(Minor::NotFound, "a chunk may have no storage"));
            }
            if self.is_missing(coords) {
                return Ok(SourceChunk::Missing);
            }
        }
        self.read.plan.is_sparse.store(false, Relaxed);
        Err(failed)
    }
}

impl ChunkSource for Source<'_> {
    fn stored_chunk(&mut self, coords: &[u64]) -> h5lake_container::Result<SourceChunk> {
        self.find(coords).map_err(|error| {
            let is_missing = error.minor() == Minor::NotFound;
            let kind = if is_missing { ErrorKind::NotFound } else { ErrorKind::Io };
            h5lake_container::Error::new(kind, error.to_string())
        })
    }
}
