//! The application's buffers: where the selected elements lie in memory.

use std::ffi::c_void;
use std::ops::Deref;

use h5lake_container::{Dataspace, Run, Selection};

use super::library::{Hid, Library};
use super::variable_length::Pointers;
use crate::callbacks::parts::split;
use crate::error::{Error, Result};

/// Elements selected in an application's buffer.
pub struct MemoryRegion {
    base: *mut u8,
    element: usize,
    runs: Runs,
    points: u64,
}

/// The runs of a region: most have one.
enum Runs {
    One([Run; 1]),
    Many(Vec<Run>),
}

impl Deref for Runs {
    type Target = [Run];

    fn deref(&self) -> &[Run] {
        match self {
            Self::One(run) => run,
            Self::Many(runs) => runs,
        }
    }
}

impl MemoryRegion {
    /// The elements of a buffer that is packed: `points` of `element` bytes each.
    ///
    /// # Safety
    /// `base` has room for that many bytes while this lives; it is written to only through a region that was
    /// made for reading into it.
    pub unsafe fn packed(base: *mut c_void, element: usize, points: u64) -> Result<Self> {
        let runs =
            if points == 0 { Runs::Many(Vec::new()) } else { Runs::One([Run { offset: 0, count: points }]) };
        Self::checked(base, element, runs, points, points)
    }

    /// The elements selected by a dataspace in a buffer shaped like its extent.
    ///
    /// # Safety
    /// As [`MemoryRegion::packed`]: the buffer reaches at least to the last element selected (that is what
    /// `H5Dread` and `H5Dwrite` demand of the application).
    pub unsafe fn selected(library: Library, base: *mut c_void, element: usize, space: Hid) -> Result<Self> {
        // All of an extent lies inside of it, whatever its offset.
        if library.is_all_selected(space)? {
            // SAFETY: that is all of the buffer.
            return unsafe { Self::packed(base, element, library.extent_points(space)?) };
        }
        if !library.selection_is_valid(space)? {
            return Err(Error::argument("the memory selection lies outside its extent"));
        }
        let runs = Runs::Many(library.runs_of(space)?);
        let points = library.selected_points(space)?;
        let spanned = library.elements_spanned(space)?;
        Self::checked(base, element, runs, points, spanned)
    }

    fn checked(base: *mut c_void, element: usize, runs: Runs, points: u64, spanned: u64) -> Result<Self> {
        if base.is_null() && points > 0 {
            return Err(Error::argument("no buffer was given for the selected elements"));
        }
        let fits = usize::try_from(spanned)
            .ok()
            .and_then(|n| n.checked_mul(element))
            .is_some_and(|n| isize::try_from(n).is_ok());
        if !fits {
            return Err(Error::argument("the memory selection is larger than memory can be"));
        }
        Ok(Self { base: base.cast(), element, runs, points })
    }

    /// Runs `body` on some elements of a packed buffer of `element` bytes each.
    pub fn within<T>(
        buffer: &mut [u8],
        element: usize,
        runs: Vec<Run>,
        body: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let (mut points, mut spanned) = (0_u64, 0_u64);
        for run in &runs {
            points = points.saturating_add(run.count);
            spanned = spanned.max(run.offset.saturating_add(run.count));
        }
        if usize::try_from(spanned).ok().and_then(|n| n.checked_mul(element)).is_none_or(|n| n > buffer.len())
        {
            return Err(Error::argument("selected elements lie outside a buffer"));
        }
        body(&mut Self::checked(buffer.as_mut_ptr().cast(), element, Runs::Many(runs), points, spanned)?)
    }

    /// Number of elements.
    pub fn points(&self) -> u64 {
        self.points
    }

    /// Bytes of one element.
    pub fn element(&self) -> usize {
        self.element
    }

    /// Bytes of all elements together.
    pub fn bytes(&self) -> usize {
        self.points as usize * self.element
    }

    /// The elements, when they lie one behind the other.
    pub fn contiguous(&self) -> Option<&[u8]> {
        match &*self.runs {
            [] => Some(&[]),
            // SAFETY: `checked` made sure that the run lies in the buffer.
            [run] => Some(unsafe {
                std::slice::from_raw_parts(self.run_start(run), run.count as usize * self.element)
            }),
            _ => None,
        }
    }

    /// The elements to be written, when they lie one behind the other.
    pub fn contiguous_mut(&mut self) -> Option<&mut [u8]> {
        match &*self.runs {
            [] => Some(&mut []),
            // SAFETY: `checked` made sure that the run lies in the buffer, which this alone holds during the call.
            [run] => Some(unsafe {
                std::slice::from_raw_parts_mut(self.run_start(run), run.count as usize * self.element)
            }),
            _ => None,
        }
    }

    /// Whether the elements lie one behind the other.
    pub fn is_contiguous(&self) -> bool {
        self.runs.len() <= 1
    }

    /// Calls `each` with at most `limit` elements at a time, and the part of the selection (in `extent`) that they belong to.
    pub fn in_parts(
        &mut self,
        selection: &Selection,
        extent: impl FnOnce() -> Dataspace,
        limit: u64,
        mut each: impl FnMut(&mut Self, &Selection) -> Result<()>,
    ) -> Result<()> {
        if self.points <= limit {
            return each(self, selection);
        }
        let parts = split(selection, extent().dims(), limit);
        let mut runs = self.runs.iter().copied();
        let mut rest: Option<Run> = None;
        for (selection, points) in &parts {
            let (mut mine, mut missing) = (Vec::new(), *points);
            while missing > 0 {
                let Some(run) = rest.take().or_else(|| runs.next()) else { break };
                let count = run.count.min(missing);
                mine.push(Run { offset: run.offset, count });
                missing -= count;
                if count < run.count {
                    rest = Some(Run { offset: run.offset + count, count: run.count - count });
                }
            }
            let mut part = Self {
                base: self.base,
                element: self.element,
                runs: Runs::Many(mine),
                points: points - missing,
            };
            each(&mut part, selection)?;
        }
        Ok(())
    }

    /// Copies elements `first ..` into `packed`, in selection order, until that is full.
    pub fn gather(&self, first: u64, packed: &mut [u8]) {
        self.each_piece(first, packed.len(), |place, at, length| {
            // SAFETY: the piece lies in the buffer (`checked`) and in `packed`.
            unsafe { std::ptr::copy_nonoverlapping(place, packed.as_mut_ptr().add(at), length) };
        });
    }

    /// Copies `packed` to elements `first ..`, in selection order.
    pub fn scatter(&mut self, first: u64, packed: &[u8]) {
        self.each_piece(first, packed.len(), |place, at, length| {
            // SAFETY: the piece lies in the buffer (`checked`) and in `packed`.
            unsafe { std::ptr::copy_nonoverlapping(packed.as_ptr().add(at), place, length) };
        });
    }

    /// Runs `body` with the variable-length data of the elements to be written, in selection order.
    pub fn with_data<T>(
        &self,
        kind: Pointers,
        body: impl FnOnce(&[Option<&[u8]>]) -> Result<T>,
    ) -> Result<T> {
        let mut packed = Vec::new();
        let elements = match self.contiguous() {
            Some(elements) => elements,
            None => {
                packed.resize(self.bytes(), 0);
                self.gather(0, &mut packed);
                &packed
            }
        };
        // SAFETY: the elements are the application's, of the type that it gave with them.
        body(&unsafe { kind.data(elements) }?)
    }

    fn run_start(&self, run: &Run) -> *mut u8 {
        // SAFETY: `checked` made sure that the run lies in the buffer.
        unsafe { self.base.add(run.offset as usize * self.element) }
    }

    /// Visits the pieces of memory that hold `length` bytes from element `first` on: place, offset among the
    /// `length` bytes, bytes.
    fn each_piece(&self, first: u64, length: usize, mut visit: impl FnMut(*mut u8, usize, usize)) {
        let (mut skip, mut done) = (first, 0);
        for run in self.runs.iter() {
            if done == length {
                return;
            }
            if skip >= run.count {
                skip -= run.count;
                continue;
            }
            let bytes = ((run.count - skip) as usize * self.element).min(length - done);
            // SAFETY: `skip` is inside the run.
            let place = unsafe { self.run_start(run).add(skip as usize * self.element) };
            visit(place, done, bytes);
            done += bytes;
            skip = 0;
        }
    }
}

/// Bytes that libhdf5 has allocated for variable-length data.
struct Allocations {
    bytes: u64,
    blocks: Vec<Box<[u64]>>,
}

/// Allocates for libhdf5 and counts. The memory is freed with the count.
unsafe extern "C" fn counted_allocation(size: usize, info: *mut c_void) -> *mut c_void {
    // SAFETY: `info` is the count that was given along.
    let count = unsafe { &mut *info.cast::<Allocations>() };
    count.bytes += size as u64;
    count.blocks.push(vec![0_u64; size.div_ceil(8).max(1)].into_boxed_slice());
    count.blocks.last_mut().map_or(std::ptr::null_mut(), |block| block.as_mut_ptr().cast())
}

/// Frees nothing: the count does.
unsafe extern "C" fn counted_release(_memory: *mut c_void, _info: *mut c_void) {}

impl Library {
    /// Runs `body` with a transfer list whose allocations of variable-length data are counted, in bytes, and
    /// freed afterwards.
    pub fn count_allocations(self, body: impl FnOnce(Hid) -> Result<()>) -> Result<u64> {
        let table = self.table();
        // SAFETY: the class is the library's own.
        let list = unsafe { (table.H5Pcreate)(table.H5P_CLS_DATASET_XFER_ID_g()) };
        let list = super::ids::Id::from_call(self, list, "H5Pcreate")?;
        let mut count = Allocations { bytes: 0, blocks: Vec::new() };
        let place = (&raw mut count).cast::<c_void>();
        // SAFETY: the count outlives the list's use; both functions take it.
        let set = unsafe {
            (table.H5Pset_vlen_mem_manager)(
                list.get(),
                Some(counted_allocation),
                place,
                Some(counted_release),
                place,
            )
        };
        super::types::check(set, "H5Pset_vlen_mem_manager")?;
        body(list.get())?;
        Ok(count.bytes)
    }
}
