//! Reading the elements of a dataset.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use h5lake_container::{
    Dataset, Dataspace, Error, ErrorKind, InlineHeap, Layout, Result, Selection, known_filter_name,
};
use h5lake_ledger::locks::Mutex;
use serde_json::Value;

use crate::convert::{Converter, zeros};
use crate::describe;
use crate::elements::{Type, type_of};
use crate::form::Form;
use crate::walk::Paths;

use super::{Found, Reader, virtual_dataset};

/// The maximum number of threads of one call.
pub const MAX_THREADS: usize = 64;

/// An open dataset. It stays readable after its container's handle was closed.
pub struct StoredElements {
    /// The container that was opened, whose refresh reads must not overlap.
    opened: Arc<Reader>,
    /// The container that holds the dataset: another one behind an external link.
    reader: Arc<Reader>,
    dataset: Arc<Dataset>,
    of: Type,
    form: Form,
}

/// Elements of a dataset: in each dimension the first one, their number, and the distance between them.
#[derive(Debug, Clone, Copy)]
pub struct Slab<'a> {
    /// The first elements.
    pub start: &'a [u64],
    /// The numbers of elements.
    pub count: &'a [u64],
    /// The distances, at least 1.
    pub stride: &'a [u64],
}

impl Slab<'_> {
    /// Returns the selection. Elements without a distance between them are one block.
    fn selection(&self) -> Result<Selection> {
        if self.stride.contains(&0) {
            return Err(Error::new(ErrorKind::InvalidArgument, "a selection has the stride 0"));
        }
        let rank = self.count.len();
        if rank == 0 {
            return Ok(Selection::All);
        }
        if self.count.contains(&0) {
            return Ok(Selection::None);
        }
        let is_block = |d: usize| self.stride[d] == 1;
        let each = |value: &dyn Fn(usize) -> u64| (0..rank).map(value).collect::<Vec<_>>();
        Ok(Selection::Hyperslab {
            start: self.start.to_vec(),
            stride: each(&|d| if is_block(d) { self.count[d] } else { self.stride[d] }),
            count: each(&|d| if is_block(d) { 1 } else { self.count[d] }),
            block: each(&|d| if is_block(d) { self.count[d] } else { 1 }),
        })
    }
}

/// A read of some elements, for [`read_many`].
pub struct Read<'a> {
    /// The dataset.
    pub from: Arc<StoredElements>,
    /// The elements; `None` for all.
    pub slab: Option<Slab<'a>>,
    /// The buffer, exactly as long as the elements in value form.
    pub out: &'a mut [u8],
    /// The bytes that the spans of the elements name, after the read.
    pub pool: Vec<u8>,
}

impl StoredElements {
    pub(crate) fn open(opened: Arc<Reader>, found: &Found) -> Result<Self> {
        let dataset = found.reader.container().dataset(found.id)?;
        let of = type_of(dataset.datatype()).map_err(describe::damaged)?;
        let form = Form::of(&of).map_err(describe::damaged)?;
        Ok(Self { opened, reader: found.reader.clone(), dataset, of, form })
    }

    /// Describes the dataset.
    ///
    /// # Errors
    /// A datatype or a fill value that cannot be read.
    pub fn describe(&self) -> Result<Value> {
        let _stay = self.opened.stay();
        self.description()
    }

    pub(crate) fn description(&self) -> Result<Value> {
        let space = self.space()?;
        describe::dataset(&self.dataset, &space, &self.of, |fill| {
            let mut element = zeros(self.form.size())?;
            let pool = self.convert(fill, &mut element)?;
            Ok((element, pool))
        })
    }

    /// Returns the shape; for a virtual dataset the shape that its sources give it now.
    pub(crate) fn space(&self) -> Result<Dataspace> {
        match self.dataset.layout() {
            Layout::Virtual { mappings } => virtual_dataset::space(self, mappings),
            _ => Ok(self.dataset.space()),
        }
    }

    pub(crate) fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    pub(crate) fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    pub(crate) fn of(&self) -> &Type {
        &self.of
    }

    pub(crate) fn form(&self) -> &Form {
        &self.form
    }

    pub(crate) fn convert(&self, stored: &[u8], out: &mut [u8]) -> Result<Vec<u8>> {
        let mut none = Paths::default();
        let heap = InlineHeap::default();
        let container = self.reader.container();
        if self.dataset.datatype().has_references {
            return Converter::new(container, heap, &mut self.reader.paths())
                .convert(&self.form, stored, out);
        }
        Converter::new(container, heap, &mut none).convert(&self.form, stored, out)
    }

    /// Reads elements in value form to `out`, in C order. Returns the bytes that their spans name.
    ///
    /// # Errors
    /// `InvalidArgument` if `out` has another length; `OutOfRange` if the selection exceeds the extent; `Unsupported`
    /// for a filter that is not built in, and for a dataset in external files; `Corrupt` for damage.
    pub fn read(&self, slab: Option<Slab<'_>>, out: &mut [u8]) -> Result<Vec<u8>> {
        let _stay = self.opened.stay();
        let selection = slab.map_or(Ok(Selection::All), |slab| slab.selection())?;
        if let Some(rank) = slab.map(|slab| slab.count.len()) {
            self.check_rank(rank)?;
        }
        self.read_selection(&selection, out, 0)
    }

    /// Reads elements like [`Self::read`], while the caller prevents a refresh. `depth` is the number of virtual datasets
    /// that led here.
    pub(crate) fn read_selection(
        &self,
        selection: &Selection,
        out: &mut [u8],
        depth: usize,
    ) -> Result<Vec<u8>> {
        if let Layout::Virtual { mappings } = self.dataset.layout() {
            return virtual_dataset::read(self, mappings, selection, out, depth);
        }
        self.check_readable()?;
        if self.form.is_plain() {
            return self.dataset.read(selection, out).map(|()| Vec::new());
        }
        let count = out.len() / self.form.size().max(1);
        let mut stored = zeros(count.saturating_mul(self.form.file_size()))?;
        if count.saturating_mul(self.form.size()) != out.len() {
            let text =
                format!("a buffer of {} bytes does not fit elements of {}", out.len(), self.form.size());
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        self.dataset.read(selection, &mut stored)?;
        self.convert(&stored, out)
    }

    fn check_rank(&self, rank: usize) -> Result<()> {
        let own = self.dataset.with_space(|space| space.dims().len());
        if own == rank {
            return Ok(());
        }
        let text = format!("a selection has {rank} dimensions, and the dataset {own}");
        Err(Error::new(ErrorKind::InvalidArgument, text))
    }

    /// Checks that the elements can be read without libhdf5.
    fn check_readable(&self) -> Result<()> {
        if matches!(self.dataset.layout(), Layout::External { .. }) {
            let text = "the elements are in external files; read the dataset with h5py";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        if !self.dataset.needs_codec() {
            return Ok(());
        }
        let foreign = self.dataset.filters().iter().find(|filter| !h5lake_container::is_built_in(filter));
        let name = foreign.map_or_else(String::new, |filter| match known_filter_name(filter.id) {
            "" => format!(" {}", filter.id),
            known => format!(" {known} ({})", filter.id),
        });
        let text = format!(
            "the filter{name} is not built in, and only libhdf5 runs its plugin; read the dataset with h5py"
        );
        Err(Error::new(ErrorKind::Unsupported, text))
    }

    /// Returns the stored bytes of a chunk, after filters, and the mask of the filters that were skipped. `coords` are
    /// the coordinates of the chunk's first element.
    ///
    /// # Errors
    /// `NotFound` if the chunk has no storage; `WrongKind` if the dataset is not chunked.
    pub fn chunk(&self, coords: &[u64]) -> Result<(u32, Vec<u8>)> {
        let _stay = self.opened.stay();
        self.check_rank(coords.len())?;
        if self.dataset.chunk_at_coords(coords)?.is_none() {
            return Err(Error::new(ErrorKind::NotFound, format!("the chunk at {coords:?} has no storage")));
        }
        self.dataset.read_chunk(coords)
    }
}

/// Performs several reads with up to `threads` threads (at least 1, at most [`MAX_THREADS`]).
///
/// # Errors
/// That of the first read that failed; the buffers of other reads may be filled then.
pub fn read_many(reads: &mut [Read<'_>], threads: usize) -> Result<()> {
    let threads = threads.clamp(1, MAX_THREADS).min(reads.len());
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<(usize, Error)>> = Mutex::new(None);
    let jobs: Vec<_> = reads.iter_mut().map(|read| Mutex::new(Some(read))).collect();
    let work = || {
        while let Some((n, job)) = {
            let n = next.fetch_add(1, Ordering::Relaxed);
            jobs.get(n).map(|job| (n, job))
        } {
            let Some(read) = job.lock().take() else { continue };
            match read.from.read(read.slab, read.out) {
                Ok(pool) => read.pool = pool,
                Err(error) => {
                    let mut failed = failed.lock();
                    if failed.as_ref().is_none_or(|(first, _)| n < *first) {
                        *failed = Some((n, error));
                    }
                }
            }
        }
    };
    if threads <= 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
    }
    match failed.into_inner() {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}
