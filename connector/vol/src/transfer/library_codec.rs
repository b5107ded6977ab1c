//! Codecs that make a session's library run the filters that are not built in, and the handles that lend them.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use h5lake_container::{
    ChunkCodec, CodecProvider, Dataset, Datatype, ErrorKind, Filter, Layout, is_built_in,
};
use h5lake_ledger::locks::Mutex;

use crate::background::is_worker;
use crate::config::ForeignFilters;
use crate::error::{Error, Minor, Result};
use crate::hdf5::caller::is_in_another;
use crate::hdf5::native::single_filter::SingleFilter;
use crate::hdf5::plist::ListClass;
use crate::session::Session;
use crate::thread_state::ThreadValue;
use crate::transfer::context::FILTERED;
use crate::transfer::filter_pipeline::{is_variable_length, scratch};
use crate::transfer::stored_type::FileType;

/// `H5Z_FLAG_OPTIONAL`.
const OPTIONAL: u32 = 1;

/// Runs single filters in one session's library.
struct LibraryCodec {
    /// Filters that are ready to decode, each with the filter that it runs.
    decoders: Mutex<Vec<(Filter, SingleFilter)>>,
    /// The filters with the parameters that they run with, once these were needed; in the order of `filters`.
    set_up: Mutex<Option<Arc<[Filter]>>>,
    datatype: Datatype,
    chunk: Vec<u64>,
    /// The creation properties as the application gave them: before the filters set their parameters.
    properties: Bytes,
    filters: Vec<Filter>,
    session: Arc<Session>,
}

impl LibraryCodec {
    /// Checks that a filter is allowed and registered; otherwise returns the reason.
    fn check_available(&self, filter: &Filter) -> Result<()> {
        check_allowed(self.session.config.foreign_filters, filter)?;
        if self.session.library.has_filter(filter.id) {
            return Ok(());
        }
        Err(Error::new(
            Minor::ReadError,
            format!("required {} is not registered; set HDF5_PLUGIN_PATH to its plugin", named(filter)),
        ))
    }

    fn prepare(&self, filter: &Filter) -> Result<SingleFilter> {
        let set_up = self.set_up()?;
        let at = self.filters.iter().position(|stored| stored == filter);
        let filter = at.and_then(|at| set_up.get(at)).unwrap_or(filter);
        SingleFilter::new(self.session.shadow.file()?, filter)
    }

    /// Returns the filters with the parameters that they run with. These parameters are stored, except for
    /// variable-length data: HDF5 sets up no filter for such data, so the application's parameters are stored. Chunks
    /// of such data go through filters that are set up for opaque elements.
    fn set_up(&self) -> Result<Arc<[Filter]>> {
        if let Some(known) = &*self.set_up.lock() {
            return Ok(known.clone());
        }
        let types = FileType::of_datatype(&self.session, &self.datatype)?;
        let filters = match is_variable_length(&types)? {
            true => {
                let list = self.session.library.decode_list(&self.properties, ListClass::DatasetCreate)?;
                scratch(&self.session, &types, &self.chunk, list.get())?.filters()?
            }
            false => self.filters.clone(),
        };
        if !filters.iter().map(|f| f.id).eq(self.filters.iter().map(|f| f.id)) {
            return Err(Error::damaged_encoding("property list", "it has other filters than its dataset"));
        }
        let filters: Arc<[Filter]> = filters.into();
        self.set_up.lock().replace(filters.clone());
        Ok(filters)
    }

    fn run_back(&self, filter: &Filter, data: &[u8], limit: usize) -> Result<Vec<u8>> {
        self.check_available(filter)?;
        // No lock is held while a filter runs, because filters are foreign code.
        let idle = {
            let mut all = self.decoders.lock();
            let found = all.iter().position(|(known, _)| known == filter);
            found.map(|n| all.swap_remove(n).1)
        };
        let decoder = match idle {
            Some(decoder) => decoder,
            None => self.prepare(filter)?.for_decoding()?,
        };
        let decoded = decoder.decode(data, limit)?;
        self.decoders.lock().push((filter.clone(), decoder));
        Ok(decoded)
    }

    fn filtering(&self) -> impl Sized + use<> {
        FILTERED.scoped(Arc::as_ptr(&self.session.container).addr())
    }
}

/// Returns a filter's name for errors.
fn named(filter: &Filter) -> String {
    match String::from_utf8_lossy(&filter.name) {
        name if name.is_empty() => format!("filter {}", filter.id),
        name => format!("filter '{name}' (filter {})", filter.id),
    }
}

/// Refuses a filter that is not built in, if the settings require that.
///
/// # Errors
/// An error that names the filter and the setting.
pub fn check_allowed(setting: ForeignFilters, filter: &Filter) -> Result<()> {
    match setting {
        ForeignFilters::Refuse if !is_built_in(filter) => Err(Error::new(
            Minor::CannotOperate,
            format!("{} is not built in, and foreign_filters=refuse forbids such filters", named(filter)),
        )),
        _ => Ok(()),
    }
}

fn of_kind(kind: ErrorKind, filter: &Filter, error: &Error) -> h5lake_container::Error {
    h5lake_container::Error::new(kind, format!("the filter {}: {error}", filter.id))
}

impl ChunkCodec for LibraryCodec {
    fn is_at_home(&self) -> bool {
        !is_worker() && !is_in_another(self.session.library)
    }

    fn check(&self, filter: &Filter) -> h5lake_container::Result<()> {
        self.check_available(filter).map_err(|error| of_kind(ErrorKind::Unsupported, filter, &error))
    }

    fn encode(&self, filter: &Filter, data: &[u8]) -> h5lake_container::Result<Option<Vec<u8>>> {
        let _filtering = self.filtering();
        match self.check_available(filter) {
            Ok(()) => {}
            Err(_) if filter.flags & OPTIONAL != 0 => return Ok(None),
            Err(error) => return Err(of_kind(ErrorKind::Io, filter, &error)),
        }
        // A filter that cannot be set up declines.
        let prepared = match self.prepare(filter) {
            Err(_) if filter.flags & OPTIONAL != 0 => return Ok(None),
            prepared => prepared,
        };
        let encoded = prepared.and_then(|prepared| prepared.encode(data));
        encoded.map_err(|error| of_kind(ErrorKind::Io, filter, &error))
    }

    fn decode(&self, filter: &Filter, data: &[u8], limit: usize) -> h5lake_container::Result<Vec<u8>> {
        let _filtering = self.filtering();
        self.run_back(filter, data, limit).map_err(|error| of_kind(ErrorKind::Corrupt, filter, &error))
    }
}

/// Makes a codec for a dataset that needs one.
fn codec(session: &Arc<Session>, dataset: &Dataset) -> Option<Arc<dyn ChunkCodec>> {
    let Layout::Chunked { chunk } = dataset.layout() else { return None };
    if !dataset.needs_codec() {
        return None;
    }
    Some(Arc::new(LibraryCodec {
        decoders: Mutex::default(),
        set_up: Mutex::default(),
        datatype: dataset.datatype().clone(),
        chunk: chunk.clone(),
        properties: dataset.creation_properties(),
        filters: dataset.filters().to_vec(),
        session: session.clone(),
    }))
}

impl CodecProvider for Session {
    fn codec_for(self: Arc<Self>, dataset: &Dataset) -> Option<Arc<dyn ChunkCodec>> {
        if is_worker() || is_in_another(self.library) { None } else { codec(&self, dataset) }
    }
}

/// A codec that is lent to a dataset while a handle of it is open.
pub struct LentDataset {
    dataset: Arc<Dataset>,
    session: Arc<Session>,
    codec: Option<Arc<dyn ChunkCodec>>,
}

impl LentDataset {
    /// Lends a codec to a dataset that needs one.
    pub fn to(session: &Arc<Session>, dataset: &Arc<Dataset>) -> Option<Self> {
        let codec = codec(session, dataset)?;
        session.lent_codecs.fetch_add(1, Ordering::Relaxed);
        dataset.attach_codec(codec.clone());
        Some(Self { dataset: dataset.clone(), session: session.clone(), codec: Some(codec) })
    }

    /// Takes the codec back. Changed chunks are encoded before the last codec is removed.
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
        // A drop cannot report the error, so the next flush or close reports it.
        if let Err(error) = self.detach() {
            self.session.container.report_later(error);
        }
    }
}
