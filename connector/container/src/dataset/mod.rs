//! Datasets.

mod batch_read;
pub(crate) mod block_places;
pub(crate) mod chunk_decoder;
pub(crate) mod chunk_statistics;
pub mod chunk_walk;
mod chunks;
mod codec;
pub(crate) mod foreign;
mod form;
mod parallel_copy;
mod parallel_filter;
pub(crate) mod resize;
pub(crate) mod stored_blocks;
pub(crate) mod stored_chunk;
pub(crate) mod stored_numbers;
mod validate;

use crate::chunk::admission::Latency;
use crate::chunk::grid::Grid;
use crate::chunk::layout::BlockLayout;
use crate::container::State;
use crate::object::check_order;
use crate::{Container, DatasetSpec, Error, ErrorKind, OpenObject, Result, Run, Selection};
use bytes::Bytes;
pub use codec::CodecProvider;
pub use form::DatasetForm;
use form::check_listed_filters;
pub(crate) use form::{MAX_INLINE_BYTES, MAX_SMALL_DATASET_BYTES};
use h5lake_filters::Pipeline;
use h5lake_filters::unlocked::without_locks;
use h5lake_ledger::locks::{Mutex, RwLock};
use h5lake_records::ObjectId;
use h5lake_records::conversion;
use h5lake_records::keys;
use h5lake_records::now;
use h5lake_records::record::{DatasetRecord, DatatypeRecord, FilterRecord, HeaderRecord, SpaceRecord};
use h5lake_records::types::{Dataspace, Datatype, Fill, Filter, Layout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// An open dataset. There is one for each dataset of a container, however often it is opened.
#[derive(Debug)]
pub struct Dataset {
    object: OpenObject,
    datatype: Datatype,
    layout: Layout,
    fill: Fill,
    filters: Vec<Filter>,
    creation_properties: Bytes,
    grid: Grid,
    shape: Arc<BlockLayout>,
    space: RwLock<Dataspace>,
    /// The maximum dimensions, which never change.
    limits: Vec<u64>,
    /// Mask and length of an encoded chunk of fill values, once it was needed.
    encoded_fill: OnceLock<(u32, u64)>,
    positions: Mutex<chunks::Positions>,
    pruned: Mutex<resize::Pruned>,
    /// True if another writer deleted the dataset, or the batch that created it was dropped: its blocks are gone, and
    /// would read as fill values.
    is_gone: AtomicBool,
    /// The name of its last link, which another writer removed.
    removed_name: Mutex<Option<String>>,
}

impl Container {
    /// Creates a dataset without links to it.
    ///
    /// # Errors
    /// `ReadOnly`; `InvalidArgument` for parameters that native HDF5 refuses (chunks of another rank than the data or
    /// larger than a fixed dimension, compact data of 64 KiB or more, extendible dimensions without chunks, ...);
    /// `Unsupported` for an unsupported layout, which the error names. Foreign filters are accepted: their chunks need
    /// a codec ([`Dataset::attach_codec`]).
    pub fn create_dataset(self: &Arc<Self>, mut spec: DatasetSpec) -> Result<OpenObject> {
        self.check_writable("unable to create dataset")?;
        check_order(spec.attribute_order, "attributes")?;
        validate::check(&spec).map_err(|e| e.context("unable to create dataset"))?;
        // Native HDF5 applies filters only to chunks.
        if matches!(spec.layout, Layout::Chunked { .. }) {
            check_listed_filters(&spec.creation_properties, &spec.filters)?;
        } else {
            spec.filters.clear();
        }
        Pipeline::new(&spec.filters).map_err(|e| e.context("unable to create dataset"))?;
        let mut d = DatasetRecord {
            datatype: Some(DatatypeRecord::from(&spec.datatype)),
            space: Some(SpaceRecord::from(&spec.space)),
            filters: spec.filters.iter().map(FilterRecord::from).collect(),
            unfiltered_edges: spec.unfiltered_edges && !spec.filters.is_empty(),
            ..DatasetRecord::default()
        };
        d.set_layout(&spec.layout);
        d.set_fill(&spec.fill);
        let times = spec.track_times.then(now);
        let mut h = HeaderRecord::new(spec.attribute_order, times, &spec.creation_properties);
        h.dataset = Some(d);
        self.add_object(&mut self.state(), h)
    }

    /// Opens the data of a dataset.
    ///
    /// # Errors
    /// `WrongKind` for other objects, `NotFound`, `Corrupt`.
    pub fn dataset(self: &Arc<Self>, id: ObjectId) -> Result<Arc<Dataset>> {
        self.dataset_of(&self.open_object(id)?)
    }

    /// Opens the data of a dataset from an open object.
    ///
    /// # Errors
    /// As for [`Self::dataset`].
    pub fn dataset_of(self: &Arc<Self>, object: &OpenObject) -> Result<Arc<Dataset>> {
        let id = object.id();
        let mut s = self.state();
        if let Some(open) = s.datasets.get(&id.0).and_then(Weak::upgrade) {
            return Ok(open);
        }
        let h = self.header(&mut s, id)?;
        let opened = Arc::new(self.load_dataset(object.clone(), &h)?);
        if s.datasets.len() > 64 && s.datasets.len().is_power_of_two() {
            s.datasets.retain(|_, d| d.strong_count() > 0);
        }
        s.datasets.insert(id.0, Arc::downgrade(&opened));
        Ok(opened)
    }

    pub(crate) fn load_dataset(self: &Arc<Self>, object: OpenObject, h: &HeaderRecord) -> Result<Dataset> {
        let f = DatasetForm::of(h, || format!("{}: dataset {:#x}", self.name(), object.id().0))?;
        Ok(Dataset {
            object,
            datatype: f.datatype,
            layout: f.layout,
            fill: f.fill,
            filters: f.filters,
            creation_properties: h.creation_properties.clone(),
            grid: f.grid,
            shape: Arc::new(f.shape),
            limits: f.space.max_dims().to_vec(),
            space: RwLock::new(f.space),
            encoded_fill: OnceLock::new(),
            positions: Mutex::default(),
            pruned: Mutex::default(),
            is_gone: AtomicBool::new(false),
            removed_name: Mutex::default(),
        })
    }
}

impl Dataset {
    /// Returns the open object.
    pub fn object(&self) -> &OpenObject {
        &self.object
    }

    /// Returns the element type.
    pub fn datatype(&self) -> &Datatype {
        &self.datatype
    }

    /// Returns the present shape.
    pub fn space(&self) -> Dataspace {
        self.space.read().clone()
    }

    /// Calls `look` with the present shape, which `look` must not change.
    pub fn with_space<T>(&self, look: impl FnOnce(&Dataspace) -> T) -> T {
        look(&self.space.read())
    }

    /// Returns the number of elements of the present shape.
    ///
    /// # Errors
    /// If the number overflows.
    pub fn points(&self) -> Result<u64> {
        self.space.read().points()
    }

    /// Returns the layout.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns whether the elements are in other datasets or files, and are not read and written here.
    pub fn is_elsewhere(&self) -> bool {
        matches!(self.layout, Layout::External { .. } | Layout::Virtual { .. })
    }

    /// Returns the fill properties.
    pub fn fill(&self) -> &Fill {
        &self.fill
    }

    /// Returns the filters.
    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }

    /// Returns whether chunks that reach beyond the extent are stored without filters.
    pub fn has_unfiltered_edges(&self) -> bool {
        self.shape.edges.is_some()
    }

    /// Returns the creation properties, as given.
    pub fn creation_properties(&self) -> Bytes {
        self.creation_properties.clone()
    }

    pub(crate) fn shape(&self) -> &BlockLayout {
        &self.shape
    }

    pub(crate) fn shape_shared(&self) -> Arc<BlockLayout> {
        self.shape.clone()
    }

    fn container(&self) -> &Arc<Container> {
        self.object.container()
    }

    fn key(&self, coords: &[u64]) -> Vec<u8> {
        keys::block(self.object.id().0, coords)
    }

    fn prefix(&self) -> Vec<u8> {
        keys::of(keys::BLOCK, self.object.id().0)
    }

    /// Returns the elements of a block within an extent, in the coordinates of the dataset; `None` if it has no such element.
    pub(crate) fn block_selection(&self, coords: &[u64], space: &Dataspace) -> Result<Option<Selection>> {
        let bad = || Error::corrupt("the key of a block names none of its dataset's");
        let begin = |at: &u64, length: &u64| at.checked_mul(*length).ok_or_else(bad);
        match &self.grid {
            Grid::Line(elements) => {
                let [at] = coords else { return Err(bad()) };
                let offset = begin(at, elements)?;
                let count = space.points()?.saturating_sub(offset).min(*elements);
                Ok((count > 0).then(|| Selection::Runs(vec![Run { offset, count }])))
            }
            Grid::Boxes(chunk) if chunk.len() == coords.len() => {
                let start =
                    coords.iter().zip(chunk).map(|(at, n)| begin(at, n)).collect::<Result<Vec<_>>>()?;
                let ends = space.dims().iter().zip(&start).zip(chunk);
                let block: Vec<u64> = ends.map(|((dim, at), n)| dim.saturating_sub(*at).min(*n)).collect();
                let ones = vec![1; chunk.len()];
                let slab = Selection::Hyperslab { start, stride: block.clone(), count: ones, block };
                Ok((slab.points(space.dims())? > 0).then_some(slab))
            }
            Grid::Boxes(_) => Err(bad()),
        }
    }

    /// Reads the selected elements into `out`, packed in the order of the selection, in file form. Elements that were
    /// never written have the fill value.
    ///
    /// # Errors
    /// `WrongKind` if the elements are elsewhere ([`Self::is_elsewhere`]), `InvalidArgument` if `out` has another
    /// length, `OutOfRange` if the selection exceeds the extent, `Corrupt` for damage. The content of `out` is then
    /// unspecified.
    pub fn read(&self, selection: &Selection, out: &mut [u8]) -> Result<()> {
        if self.needs_codec() {
            return self.read_with_codec(selection, out);
        }
        let space = self.space.read();
        let size = self.check(&space, selection, out.len())?;
        if out.is_empty() {
            return Ok(());
        }
        self.note_read(space.dims(), selection, size)?;
        let c = self.container();
        // One block needs no second thread.
        let threads = if c.near() && out.len() <= self.shape.len { 1 } else { self.readers() };
        if !c.near() || threads > 1 {
            return self.read_parallel(space.dims(), selection, size, out, threads);
        }
        let threads = self.sharers(out.len());
        if threads > 1 {
            return self.read_shared(space.dims(), selection, size, out, threads);
        }
        self.grid.parts(space.dims(), selection, size, &mut |p| {
            c.read_block(&self.key(p.coords), &self.shape, p.runs, out)
        })
    }

    fn note_read(&self, dims: &[u64], selection: &Selection, size: usize) -> Result<()> {
        let c = self.container();
        if !c.reads.are_noted() {
            return Ok(());
        }
        self.grid.parts(dims, selection, size, &mut |p| {
            c.blocks.lock().note_read(&c.reads, &self.key(p.coords), p.runs);
            Ok(())
        })
    }

    /// Writes the selected elements from `data`, packed in the order of the selection, in file form. Durable with
    /// the next flush of the container.
    ///
    /// # Errors
    /// As for [`Self::read`], and `ReadOnly`. Part of the elements may then be written.
    pub fn write(&self, selection: &Selection, data: &[u8]) -> Result<()> {
        if self.needs_codec() {
            return self.write_with_codec(selection, data);
        }
        let c = self.container();
        self.writing(selection, data, |dims, size| {
            let threads = if data.len() > self.shape.len { self.encoders() } else { 1 };
            if threads > 1 {
                return self.write_parallel(dims, selection, size, data, threads);
            }
            // Writes to a file use one thread, because the system lets only one thread at a time write to it.
            let threads = if c.distance() == Latency::Memory { self.sharers(data.len()) } else { 1 };
            if threads > 1 {
                return self.write_shared(dims, selection, size, data, threads);
            }
            self.grid.parts(dims, selection, size, &mut |p| {
                let key = self.key(p.coords);
                c.blocks.lock().write(&c.ledger, &key, &self.shape, p.runs, data, p.coverage)
            })
        })
    }

    /// Checks a write, and calls `write` with the dimensions and the size of an element.
    fn writing(
        &self,
        selection: &Selection,
        data: &[u8],
        write: impl FnOnce(&[u64], usize) -> Result<()>,
    ) -> Result<()> {
        self.container().check_writable("unable to write data")?;
        let space = self.space.read();
        let size = self.check(&space, selection, data.len())?;
        if data.is_empty() { Ok(()) } else { write(space.dims(), size) }
    }

    /// Checks that a buffer fits a selection; returns the size of an element.
    fn check(&self, space: &Dataspace, selection: &Selection, len: usize) -> Result<usize> {
        self.check_there()?;
        if self.is_elsewhere() {
            return Err(Error::wrong_kind("the elements of this dataset do not lie in the container"));
        }
        let points = match (space, selection) {
            (Dataspace::Null, Selection::All | Selection::None) => 0,
            (Dataspace::Null, _) => return Err(Error::invalid("a null dataspace has no elements to select")),
            _ => selection.points(space.dims())?,
        };
        if points.checked_mul(self.datatype.size) != Some(len as u64) {
            return Err(Error::invalid(format!(
                "{points} elements of {} bytes do not fit a buffer of {len}",
                self.datatype.size
            )));
        }
        Ok(self.datatype.size as usize)
    }

    /// Stages changed blocks of this dataset in the ledger; they are durable after the container's next flush.
    ///
    /// # Errors
    /// Those of the ledger.
    pub fn flush(&self) -> Result<()> {
        let c = self.container();
        if !c.writable() {
            return Ok(());
        }
        without_locks(|| c.blocks.lock().flush(&c.ledger, &self.prefix()))
    }

    /// Moves to the newest state: a container opened for reading moves to the newest version.
    ///
    /// # Errors
    /// Those of the ledger; `NotFound` if the dataset was deleted.
    pub fn refresh(&self) -> Result<()> {
        self.container().refresh()?;
        self.reload()
    }

    /// Reads the shape from the header again. A deleted dataset keeps its last shape, and its elements can no longer be
    /// read.
    pub(crate) fn reload_if_there(&self) -> Result<()> {
        match self.reload() {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn reload(&self) -> Result<()> {
        let c = self.container();
        // The header of an object that this process unlinked exists as long as the object is open here.
        let found = c.header(&mut c.state(), self.object.id());
        let is_gone = matches!(&found, Err(e) if e.kind() == ErrorKind::NotFound);
        self.is_gone.store(is_gone, Ordering::Relaxed);
        let h = found?;
        let record = h.dataset.as_ref().ok_or_else(|| Error::corrupt("a dataset became something else"))?;
        let space = conversion::space(&record.space)?;
        self.shape.set_dims(space.dims());
        *self.space.write() = space;
        *self.pruned.lock() = resize::Pruned::default();
        Ok(())
    }

    /// Notes the name of the link that another writer removed.
    pub(crate) fn note_removed_link(&self, name: String) {
        *self.removed_name.lock() = Some(name);
    }

    /// Returns an error if the dataset is gone.
    fn check_there(&self) -> Result<()> {
        if !self.is_gone.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (file, id) = (self.container().name(), self.object.id().0);
        let text = match &*self.removed_name.lock() {
            Some(name) => {
                format!("{file}: dataset '{name}' (object {id:#x}) was deleted by another writer; close it")
            }
            None => format!("{file}: dataset {id:#x} is gone: it was deleted, or never committed; close it"),
        };
        Err(Error::not_found(text))
    }

    fn put_space(&self, s: &mut State, space: &Dataspace) -> Result<()> {
        self.container().change_header(s, self.object.id(), |h| {
            if let Some(d) = &mut h.dataset {
                d.space = Some(SpaceRecord::from(space));
            }
            h.touch();
            Ok(())
        })
    }
}
