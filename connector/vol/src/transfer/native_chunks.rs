//! Reads of native files through h5lake's own filters: the native connector returns chunks as they are stored, and
//! h5lake decodes them in parallel. Everything unusual is left to native HDF5, and so is every read that fails here:
//! then the result of native HDF5 is returned.
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
/// Deflate, shuffle, Fletcher32, szip, n-bit, scale-offset, LZF, LZ4: h5lake's filters take no more of a core's time
/// than the library's. Measured; docs/design/054 has the numbers.
const FAST_FILTERS: [i32; 8] = [1, 2, 3, 4, 5, 6, 32000, 32004];
/// Blosc and Zstandard take as much or a little more, which a second core compensates.
const EVEN_FILTERS: [i32; 2] = [32001, 32015];
/// Longer chunks do not stay in a core's own cache on their way from one core to another.
const MAX_EVEN_CHUNK_BYTES: usize = 1 << 20;
/// The bytes of chunks that make up for the fixed cost of a read.
const MIN_CHUNK_BYTES: usize = 256 << 10;
/// The number of elements of a read, or the number of reads, from which on a dataset is examined.
const MIN_POINTS: u64 = 16 << 10;
const MIN_READS: u32 = 16;
/// The number of reads of all elements that are not examined after one that was too short.
const SKIPPED_LOOKS: u32 = 64;
/// A read pays off from this multiple of the library's own chunk cache on. A shorter read may find its chunks there,
/// or leave them there for the next read.
const MIN_CACHE_SHARE: usize = 2;
/// A read of one in this many chunks may list all chunks, to know which have storage; listing takes 0.1 µs per chunk.
const LISTED_CHUNKS_PER_READ: u64 = 8;
/// The most chunks that are listed.
const MAX_LISTED: u64 = 4 << 20;
/// The most bytes that are decoded before they are copied to elements that are not contiguous.
const MAX_SCATTERED_BYTES: usize = 64 << 20;
/// The most stored bytes of chunks that are read.
const MAX_STORED_BYTES: usize = 1 << 30;

/// The state of reads of one open dataset of a native file.
#[derive(Debug, Default)]
pub struct NativeReads {
    plan: OnceLock<Option<Box<Plan>>>,
    reads: AtomicU32,
    skipped: AtomicU32,
    is_off: AtomicBool,
}

/// The way in which chunks of a dataset are decoded. A plan never changes while the dataset is open.
#[derive(Debug)]
struct Plan {
    decoder: ChunkDecoder,
    element: usize,
    /// Reads of fewer chunks are better left to the library, which may have the chunks in its cache.
    least: u64,
    /// True if chunks without storage were found.
    is_sparse: AtomicBool,
}

/// A read that pays off.
pub struct NativeRead<'a> {
    dataset: BorrowedDataset<'a>,
    reads: &'a NativeReads,
    plan: &'a Plan,
    dims: Vec<u64>,
    selection: Selection,
    /// The number of selected elements.
    pub points: u64,
    /// True if the library's cache may have changed chunks.
    may_change: bool,
}

impl NativeReads {
    /// Returns whether to examine a read at all. Each short read has this cost.
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

    /// Prepares a read that is a candidate; returns `None` if the native connector is to do the read.
    ///
    /// # Errors
    /// If a call of the library fails; then the native connector does the read, too.
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
        // A selection in another extent than the dataset's is left to the library.
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

    /// Lets the next reads of all elements go unexamined: the dataset will hardly be longer then.
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
    /// Makes a plan for a dataset, if its chunks can be decoded here.
    fn of(dataset: BorrowedDataset<'_>) -> Result<Option<Self>> {
        let library = dataset.library();
        if dataset.has_address()? {
            return Ok(None);
        }
        let list = dataset.creation_list()?;
        let creation = library.dataset_creation(list.get())?;
        let Layout::Chunked { chunk } = &creation.layout else { return Ok(None) };
        // The library does not decode without its filters, even if h5lake has them; a dataset that it cannot read
        // remains an error.
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
        // A chunk that is longer than the cache is never cached.
        let least = if len > cached { 1 } else { cached.saturating_mul(MIN_CACHE_SHARE) / len + 1 };
        let least = least.max(worth) as u64;
        Ok(Some(Self { decoder, element, least, is_sparse: AtomicBool::new(false) }))
    }
}

impl Plan {
    /// Returns whether enough chunks are between the ends of a selection. This takes no walk along the selection.
    fn may_touch_enough(&self, library: Library, space: Hid) -> Result<bool> {
        let [low, high] = library.bounds(space)?;
        let ends = low.iter().zip(&high).zip(self.decoder.chunk());
        let chunks = ends.map(|((low, high), chunk)| (high / chunk).saturating_sub(low / chunk) + 1);
        Ok(chunks.fold(1, u64::saturating_mul) >= self.least)
    }
}

/// Returns the number of chunks from which on h5lake's filters are no slower than the library's, for chunks of `len`
/// decoded bytes; `None` if they are slower.
fn least_of_filters(filters: &[Filter], len: usize) -> Option<usize> {
    let least = MIN_CHUNK_BYTES.div_ceil(len);
    if filters.iter().all(|f| FAST_FILTERS.contains(&f.id)) {
        return Some(least);
    }
    let is_even = filters.iter().all(|f| FAST_FILTERS.contains(&f.id) || EVEN_FILTERS.contains(&f.id));
    (is_even && ChunkDecoder::threads() > 1 && len <= MAX_EVEN_CHUNK_BYTES).then(|| 2 * least)
}

/// Returns whether elements of a type have the same form in memory and in the file: they contain no pointers.
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
    /// Reads into a program's buffer. After an error, or if this returns `false`, the native connector can read into
    /// the buffer from the start: elements that it does not change were not changed here either.
    ///
    /// # Errors
    /// Any error of decoding a chunk. From then on the native connector does all reads of this handle.
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
            // Reading such a chunk as it is stored would drop it from the cache. The library reads the chunks in its
            // cache.
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
            // The next read lists the chunks, or goes to the native connector from the start.
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
    /// The numbers of the chunks that have storage, in ascending order, once they were listed.
    present: Option<Vec<u64>>,
}

impl Source<'_> {
    /// Lists the chunks that have storage; returns `false` if that would cost more than it saves.
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

    /// Returns the number of chunks along each dimension.
    fn counts(&self) -> impl Iterator<Item = u64> {
        self.read.dims.iter().zip(self.read.plan.decoder.chunk()).map(|(dim, chunk)| dim.div_ceil(*chunk))
    }

    fn total(&self) -> u64 {
        self.counts().fold(1, u64::saturating_mul)
    }

    /// Returns the number of a chunk, in C order.
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
        // The chunk may have no storage. Only a list of all chunks distinguishes that from a failure, because no
        // unwritten chunk is dropped.
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
