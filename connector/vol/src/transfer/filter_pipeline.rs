//! Filters that are not ours run in libhdf5's own pipeline: through a native dataset of one chunk beneath the session.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use h5lake_container::{ChunkCodec, CodecProvider, Container, Dataset, Datatype, ErrorKind, Filter, Layout};
use h5lake_ledger::locks::Mutex;

use crate::background::is_worker;
use crate::error::{Error, Minor, Result};
use crate::hdf5::caller::is_in_another;
use crate::hdf5::datatype::{ARRAY, COMPOUND, ENUM, OPAQUE, VARIABLE_LENGTH};
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::native::filter_dataset::Scratch;
use crate::hdf5::plist::ListClass;
use crate::session::Session;
use crate::thread_state::ThreadValue;
use crate::transfer::context::FILTERED;
use crate::transfer::stored_type::FileType;

/// `H5Z_FLAG_OPTIONAL`.
const OPTIONAL: u32 = 1;
/// HDF5's own filters whose stored chunks cannot be understood without their parameters: szip, nbit, scaleoffset.
const BY_PARAMETERS: std::ops::RangeInclusive<i32> = 4..=6;

/// Makes a native dataset of one chunk with a dataset's type and filters. Its type is the dataset's own, so that
/// filters see class, size, precision and order; heap ids and references are bytes to them.
///
/// # Errors
/// Native code's reasons, as when a native dataset is created.
pub fn scratch(session: &Session, types: &FileType, chunk: &[u64], creation: Hid) -> Result<Scratch> {
    let library = session.library;
    let datatype = if !types.has_heap && !types.has_references {
        types.copy()?
    } else if types.class == ARRAY && has_precision(library, types.stored()?)? {
        // Filters that ask for a precision find that of an array's elements, if these have any.
        library.array_of_bytes(types.size)?
    } else {
        library.opaque_type(types.size)?
    };
    // It is kept as long as the dataset is open, and is none that the application opened.
    let datatype = session.uncounted_type(&datatype)?;
    scratch_of(session, types, datatype, chunk, creation)
}

/// A native dataset of a type with references, for what its filters set for themselves: what runs them takes plain bytes
/// in place of references, which native code would convert.
///
/// # Errors
/// As for [`scratch`].
pub fn scratch_of_references(
    session: &Session,
    types: &FileType,
    chunk: &[u64],
    creation: Hid,
) -> Result<Scratch> {
    let datatype = types.copy()?;
    scratch_of(session, types, datatype, chunk, creation)
}

fn scratch_of(
    session: &Session,
    types: &FileType,
    datatype: Id,
    chunk: &[u64],
    creation: Hid,
) -> Result<Scratch> {
    let library = session.library;
    let list = library.copy_list(creation)?;
    library.allocate_nothing(list.get())?;
    if types.has_heap || types.has_references {
        library.clear_fill_value(list.get())?;
    }
    Scratch::new(session.shadow.file()?, datatype, chunk, list.get())
}

/// Whether what lies innermost in arrays and variable-length data is atomic (`H5T_get_precision`).
fn has_precision(library: Library, datatype: Hid) -> Result<bool> {
    match library.type_class(datatype)? {
        ARRAY | VARIABLE_LENGTH | ENUM => has_precision(library, library.base_type(datatype)?.get()),
        class => Ok(!matches!(class, COMPOUND | OPAQUE)),
    }
}

/// Whether this thread runs filters.
pub fn is_filtering() -> bool {
    FILTERED.get() != 0
}

/// Refuses a call that a filter makes on the very file whose chunk it is given: the chunk's place is being changed.
///
/// # Errors
/// If this thread runs filters on a chunk of the container.
pub fn check_not_filtering(container: &Arc<Container>) -> Result<()> {
    if FILTERED.get() != Arc::as_ptr(container).addr() {
        return Ok(());
    }
    Err(Error::new(
        Minor::CannotOperate,
        "a filter may not use the file whose chunk it is given; let it use another file, or the dataset's own \
         parameters",
    ))
}

/// Runs a dataset's filters in one session's library: chunks are encoded by one native dataset, and decoded by another
/// without the filters that were skipped. For HDF5 (2.0 too) does not keep the mask of a chunk that is
/// written directly (H5D__chunk_direct_write puts the chunk into its cache before it sets the mask, and leaves the mask
/// of a former chunk of the same length as it was), so only masks of 0 can be relied on.
struct PipelineCodec {
    scratch: Mutex<Option<Scratch>>,
    /// With the mask of the filters that it lacks.
    decoder: Mutex<Option<(u32, Scratch)>>,
    datatype: Datatype,
    chunk: Vec<u64>,
    /// The creation properties as the application gave them: before the filters set their parameters.
    properties: Bytes,
    filters: Vec<Filter>,
    session: Arc<Session>,
}

impl PipelineCodec {
    fn run<T>(&self, work: impl FnOnce(&Scratch) -> Result<T>) -> Result<T> {
        // Not locked meanwhile: filters are not ours.
        let idle = self.scratch.lock().take();
        let made = match idle {
            Some(made) => made,
            None => self.make(0)?,
        };
        let result = work(&made);
        // A chunk that failed may be left in the native dataset: the next one starts anew.
        if result.is_ok() {
            let _other = self.scratch.lock().replace(made);
        }
        result.map_err(|error| self.name_missing(error))
    }

    fn run_back(&self, stored: &[u8], mask: u32) -> Result<Vec<u8>> {
        let idle = self.decoder.lock().take();
        let made = match idle {
            Some((lacks, made)) if lacks == mask => made,
            _ => self.make(mask)?,
        };
        let chunk = made.decode(stored).map_err(|error| self.name_missing(error))?;
        let _other = self.decoder.lock().replace((mask, made));
        Ok(chunk)
    }

    /// A native dataset with the filters that `skipped` does not name.
    fn make(&self, skipped: u32) -> Result<Scratch> {
        let library = self.session.library;
        let types = FileType::of_datatype(&self.session, &self.datatype)?;
        let list = library.decode_list(&self.properties, ListClass::DatasetCreate)?;
        if !matches!(library.layout(list.get())?, Layout::Chunked { chunk } if chunk == self.chunk) {
            return Err(Error::damaged_encoding("property list", "it has other chunks than its dataset"));
        }
        let given = |list: &Id| {
            scratch(&self.session, &types, &self.chunk, list.get()).map_err(|e| self.name_missing(e))
        };
        let used: Vec<Filter> = kept_by(&self.filters, skipped).cloned().collect();
        if skipped != 0 {
            library.set_filters(list.get(), &used)?;
        }
        let made = given(&list)?;
        if is_as_stored(library, &made.filters()?, &used) {
            return Ok(made);
        }
        // The parameters were set by another version of the filter, or the list came with another dataset's.
        apply(library, list.get(), &used)?;
        let made = given(&list)?;
        if is_as_stored(library, &made.filters()?, &used) {
            return Ok(made);
        }
        Err(Error::new(
            Minor::CannotOperate,
            "the filters set other parameters than the chunks were stored with",
        ))
    }

    /// An error that names the filters which are not there, if that is why.
    fn name_missing(&self, error: Error) -> Error {
        let library = self.session.library;
        let missing = self.filters.iter().filter(|f| !library.has_filter(f.id));
        let names: Vec<_> = missing
            .map(|f| match String::from_utf8_lossy(&f.name) {
                name if name.is_empty() => format!("filter {} is not registered", f.id),
                name => format!("required filter '{name}' (filter {}) is not registered", f.id),
            })
            .collect();
        if names.is_empty() { error } else { Error::new(Minor::ReadError, names.join("; ")) }
    }
}

/// Whether filters that need their parameters to decode got the stored ones.
fn is_as_stored(library: Library, now: &[Filter], stored: &[Filter]) -> bool {
    let same = |(a, b): (&Filter, &Filter)| {
        !BY_PARAMETERS.contains(&a.id) || a.client_data == b.client_data || !library.has_filter(a.id)
    };
    now.len() == stored.len() && now.iter().zip(stored).all(same)
}

/// The filters of a pipeline that a chunk went through.
fn kept_by(filters: &[Filter], skipped: u32) -> impl Iterator<Item = &Filter> {
    let is_used = move |n: usize| n >= 32 || skipped >> n & 1 == 0;
    filters.iter().enumerate().filter(move |(n, _)| is_used(*n)).map(|(_, filter)| filter)
}

impl ChunkCodec for PipelineCodec {
    fn is_at_home(&self) -> bool {
        !is_worker() && !is_in_another(self.session.library)
    }

    fn encode(&self, chunk: &[u8]) -> h5lake_container::Result<(u32, Vec<u8>)> {
        let _filtering = FILTERED.scoped(Arc::as_ptr(&self.session.container).addr());
        self.run(|scratch| scratch.encode(chunk)).or_else(|error| {
            // Where native code would not even have set the filters up, all are skipped if they may be.
            if self.scratch.lock().is_none() && self.filters.iter().all(|f| f.flags & OPTIONAL != 0) {
                return Ok((((1_u64 << self.filters.len()) - 1) as u32, chunk.to_vec()));
            }
            Err(h5lake_container::Error::new(ErrorKind::Io, error.to_string()))
        })
    }

    fn decode(&self, stored: &[u8], mask: u32) -> h5lake_container::Result<Vec<u8>> {
        if kept_by(&self.filters, mask).next().is_none() {
            return Ok(stored.to_vec());
        }
        let _filtering = FILTERED.scoped(Arc::as_ptr(&self.session.container).addr());
        self.run_back(stored, mask)
            .map_err(|error| h5lake_container::Error::new(ErrorKind::Corrupt, error.to_string()))
    }
}

/// Puts stored flags and parameters into a creation list that has the same filters.
///
/// # Errors
/// If the list has other filters: to change one that a list lacks is a write behind its filters (H5Z_modify).
pub fn apply(library: Library, list: Hid, filters: &[Filter]) -> Result<()> {
    if filters.is_empty() {
        return Ok(());
    }
    let given = library.filters(list)?;
    if !given.iter().map(|f| f.id).eq(filters.iter().map(|f| f.id)) {
        return Err(Error::damaged_encoding("property list", "it has other filters than its dataset"));
    }
    for (filter, given) in filters.iter().zip(&given) {
        if (filter.flags, &filter.client_data) != (given.flags, &given.client_data) {
            library.set_filter_parameters(list, filter)?;
        }
    }
    Ok(())
}

/// A codec for a dataset that needs one.
fn codec(session: &Arc<Session>, dataset: &Dataset, scratch: Option<Scratch>) -> Option<Arc<dyn ChunkCodec>> {
    let Layout::Chunked { chunk } = dataset.layout() else { return None };
    if !dataset.needs_codec() {
        return None;
    }
    Some(Arc::new(PipelineCodec {
        scratch: Mutex::new(scratch),
        decoder: Mutex::new(None),
        datatype: dataset.datatype().clone(),
        chunk: chunk.clone(),
        properties: dataset.creation_properties(),
        filters: dataset.filters().to_vec(),
        session: session.clone(),
    }))
}

impl CodecProvider for Session {
    fn codec_for(self: Arc<Self>, dataset: &Dataset) -> Option<Arc<dyn ChunkCodec>> {
        if is_worker() || is_in_another(self.library) { None } else { codec(&self, dataset, None) }
    }
}

/// A codec that is lent to a dataset while a handle of it is open.
pub struct LentDataset {
    dataset: Arc<Dataset>,
    session: Arc<Session>,
    codec: Option<Arc<dyn ChunkCodec>>,
}

impl LentDataset {
    /// Lends a codec to a dataset that needs one. `scratch` is what creating it left.
    pub fn to(session: &Arc<Session>, dataset: &Arc<Dataset>, scratch: Option<Scratch>) -> Option<Self> {
        let codec = codec(session, dataset, scratch)?;
        session.lent_codecs.fetch_add(1, Ordering::Relaxed);
        dataset.attach_codec(codec.clone());
        Some(Self { dataset: dataset.clone(), session: session.clone(), codec: Some(codec) })
    }

    /// Takes the codec back. Changed chunks are encoded before the last one goes.
    ///
    /// # Errors
    /// A chunk that cannot be encoded; it is lost.
    pub fn take_back(mut self) -> Result<()> {
        Ok(self.detach()?)
    }

    fn detach(&mut self) -> h5lake_container::Result<()> {
        match self.codec.take() {
            Some(codec) => {
                let detached = self.dataset.detach_codec(&codec);
                self.session.lent_codecs.fetch_sub(1, Ordering::Relaxed);
                detached
            }
            None => Ok(()),
        }
    }
}

impl Drop for LentDataset {
    fn drop(&mut self) {
        // Nobody is there to be told: the next flush or close is.
        if let Err(lost) = self.detach() {
            self.session.container.tell_later(lost);
        }
    }
}
