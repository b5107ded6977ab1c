//! The application's buffers, and the positions of the selected elements in memory.

use std::ffi::c_void;
use std::ops::Deref;

use h5lake_container::{Dataspace, Run, Selection};

use crate::error::{Error, Minor, Result};
use crate::hdf5::library::{Hid, Library};
use crate::transfer::buffers::buffer_of;
use crate::transfer::memory::copy_series::copy_series;
use crate::transfer::memory::series::{self, Collector, Cursor, Series};
use crate::transfer::memory::vlen::MemoryPointers;
use crate::transfer::split::split;

/// Elements selected in an application's buffer, or in a copy of it.
pub struct MemoryRegion {
    base: *mut u8,
    /// The datatype of elements that a program has put into the buffer: the data that they point to may be read. Bytes
    /// assembled by h5lake have no such datatype.
    given: Option<Hid>,
    element: usize,
    series: SeriesList,
    points: u64,
}

/// The series of a region: most regions have one.
enum SeriesList {
    One([Series; 1]),
    Many(Vec<Series>),
}

impl Deref for SeriesList {
    type Target = [Series];

    fn deref(&self) -> &[Series] {
        match self {
            Self::One(series) => series,
            Self::Many(series) => series,
        }
    }
}

impl MemoryRegion {
    /// Returns the elements of a packed buffer: `points` elements of `element` bytes each.
    ///
    /// # Safety
    /// `base` has space for that many bytes while this region lives; it is written only through a region that was made
    /// for reading into it. With a datatype in `given` the elements are of that type, and the data that they point to
    /// is valid.
    pub unsafe fn packed(base: *mut c_void, element: usize, points: u64, given: Option<Hid>) -> Result<Self> {
        let series = match points {
            0 => SeriesList::Many(Vec::new()),
            _ => SeriesList::One([Series::run(0, points)]),
        };
        Self::checked(base, given, element, series)
    }

    /// Returns the elements selected by a dataspace in a buffer shaped like its extent.
    ///
    /// # Safety
    /// As for [`MemoryRegion::packed`]: the buffer reaches at least to the last element selected (as `H5Dread` and
    /// `H5Dwrite` require of the application).
    pub unsafe fn selected(
        library: Library,
        base: *mut c_void,
        element: usize,
        space: Hid,
        given: Option<Hid>,
    ) -> Result<Self> {
        // A selection of everything is inside of its extent, whatever its offset.
        if library.is_all_selected(space)? {
            // SAFETY: these are all elements of the buffer.
            return unsafe { Self::packed(base, element, library.extent_points(space)?, given) };
        }
        if !library.selection_is_valid(space)? {
            return Err(Error::argument("the memory selection lies outside its extent"));
        }
        let dims = library.dims_of(space)?;
        if dims.iter().try_fold(1, |n: u64, dim| n.checked_mul(*dim)).is_none() {
            return Err(Error::argument("the memory dataspace is too large"));
        }
        let (selection, _) = library.selection_of(space, &dims)?;
        Self::checked(base, given, element, SeriesList::Many(series::of_selection(&selection, &dims)))
    }

    fn checked(base: *mut c_void, given: Option<Hid>, element: usize, series: SeriesList) -> Result<Self> {
        let points = series.iter().map(Series::points).sum();
        if base.is_null() && points > 0 {
            return Err(Error::argument("no buffer was given for the selected elements"));
        }
        let spanned = series.iter().map(Series::end).max().unwrap_or(0);
        let fits = usize::try_from(spanned)
            .ok()
            .and_then(|n| n.checked_mul(element))
            .is_some_and(|n| isize::try_from(n).is_ok());
        if !fits {
            return Err(Error::argument("the memory selection is larger than memory can be"));
        }
        Ok(Self { base: base.cast(), given, element, series, points })
    }

    /// Runs `body` on some elements of a packed buffer of `element` bytes each, as a region to read into.
    pub fn within<T>(
        buffer: &mut [u8],
        element: usize,
        runs: Vec<Run>,
        body: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let spanned = runs.iter().map(|run| run.offset.saturating_add(run.count)).max().unwrap_or(0);
        if usize::try_from(spanned).ok().and_then(|n| n.checked_mul(element)).is_none_or(|n| n > buffer.len())
        {
            return Err(Error::argument("selected elements lie outside a buffer"));
        }
        let base = buffer.as_mut_ptr().cast();
        body(&mut Self::checked(base, None, element, SeriesList::Many(series::of_runs(&runs)))?)
    }

    /// Runs `body` on some of the elements, which are to be written: `wanted` has their positions in selection order,
    /// ascending.
    ///
    /// # Errors
    /// The errors of `body`; if there is no such element.
    pub fn with_elements<T>(
        &mut self,
        wanted: &[Run],
        body: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let outside = || Error::new(Minor::Internal, "elements of a transfer that it does not have");
        let (mut mine, mut cursor) = (Collector::default(), Cursor::new(&self.series));
        for Run { offset, count } in wanted {
            if !cursor.take(*offset, *count, |series| mine.push_series(series)) {
                return Err(outside());
            }
        }
        self.with_series(mine.finish(), body)
    }

    /// Runs `body` on some of the elements.
    fn with_series<T>(
        &mut self,
        series: Vec<Series>,
        body: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let points = series.iter().map(Series::points).sum();
        let (base, given, element) = (self.base, self.given, self.element);
        let mut part = Self { base, given, element, series: SeriesList::Many(series), points };
        let done = body(&mut part);
        self.given = self.given.and(part.given);
        done
    }

    /// Returns the number of elements.
    pub fn points(&self) -> u64 {
        self.points
    }

    /// Returns the size of one element in bytes.
    pub fn element(&self) -> usize {
        self.element
    }

    /// Returns the size of all elements together in bytes.
    pub fn bytes(&self) -> usize {
        self.points as usize * self.element
    }

    /// Returns the elements, if they are contiguous.
    pub fn contiguous(&self) -> Option<&[u8]> {
        match &*self.series {
            [] => Some(&[]),
            // SAFETY: `checked` ensured that the run is in the buffer.
            [run] if run.times == 1 => Some(unsafe {
                std::slice::from_raw_parts(self.start_of(run), run.count as usize * self.element)
            }),
            _ => None,
        }
    }

    /// Returns the bytes that elements are to be read into, if they are contiguous.
    pub fn contiguous_mut(&mut self) -> Option<&mut [u8]> {
        self.given = None;
        match &*self.series {
            [] => Some(&mut []),
            // SAFETY: `checked` ensured that the run is in the buffer, to which only this region has access during the
            // call.
            [run] if run.times == 1 => Some(unsafe {
                std::slice::from_raw_parts_mut(self.start_of(run), run.count as usize * self.element)
            }),
            _ => None,
        }
    }

    /// Returns whether the elements are contiguous.
    pub fn is_contiguous(&self) -> bool {
        matches!(&*self.series, [] | [Series { times: 1, .. }])
    }

    /// Calls `each` with at most `limit` elements at a time, and the part of the selection (in `extent`) that they
    /// belong to.
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
        let (mut cursor, mut first) = (Cursor::new(&self.series), 0);
        let mut shares = Vec::with_capacity(parts.len());
        for (selection, points) in &parts {
            let mut share = Vec::new();
            cursor.take(first, *points, |series| share.push(series));
            first += points;
            shares.push((selection, share));
        }
        shares
            .into_iter()
            .try_for_each(|(selection, share)| self.with_series(share, |part| each(part, selection)))
    }

    /// Copies elements `first ..` into `packed`, in selection order, until `packed` is full.
    pub fn gather(&self, first: u64, packed: &mut [u8]) {
        self.each_series(first, packed.len(), |place, at, series| {
            let (length, stride) =
                (series.count as usize * self.element, series.stride as usize * self.element);
            // SAFETY: the series is in the buffer (`checked`), and its elements have space in `packed`.
            unsafe {
                copy_series((place, stride), (packed.as_mut_ptr().add(at), length), length, series.times)
            };
        });
    }

    /// Copies `packed` to elements `first ..`, in selection order.
    pub fn scatter(&mut self, first: u64, packed: &[u8]) {
        self.given = None;
        self.each_series(first, packed.len(), |place, at, series| {
            let (length, stride) =
                (series.count as usize * self.element, series.stride as usize * self.element);
            // SAFETY: the series is in the buffer (`checked`), and its elements are in `packed`.
            unsafe { copy_series((packed.as_ptr().add(at), length), (place, stride), length, series.times) };
        });
    }

    /// Returns the datatype of the elements that are to be written.
    ///
    /// # Errors
    /// If they are not a program's elements.
    pub(super) fn datatype(&self) -> Result<Hid> {
        self.given.ok_or_else(none_of_a_program)
    }

    /// Returns a contiguous copy of the elements to be written.
    ///
    /// # Errors
    /// If there is no memory, or they are not a program's elements.
    pub fn copied(&self) -> Result<CopiedElements> {
        let mut elements = buffer_of(self.points as usize, self.element)?;
        self.gather(0, &mut elements);
        Ok(CopiedElements { elements, given: Some(self.datatype()?) })
    }

    /// Runs `body` with the variable-length data of the elements to be written, in selection order.
    ///
    /// # Errors
    /// The errors of `body`; if the elements are not a program's, or have another datatype.
    pub fn with_data<T>(
        &self,
        pointers: MemoryPointers,
        body: impl FnOnce(&[Option<&[u8]>]) -> Result<T>,
    ) -> Result<T> {
        if self.datatype()? != pointers.datatype() {
            return Err(Error::new(Minor::Internal, "elements in memory are of another datatype"));
        }
        let mut packed = Vec::new();
        let elements = match self.contiguous() {
            Some(elements) => elements,
            None => {
                packed.resize(self.bytes(), 0);
                self.gather(0, &mut packed);
                &packed
            }
        };
        // SAFETY: the elements are a program's, and of the datatype that the pointers belong to.
        body(&unsafe { pointers.data(elements) }?)
    }

    fn start_of(&self, series: &Series) -> *mut u8 {
        // SAFETY: `checked` ensured that the series is in the buffer.
        unsafe { self.base.add(series.offset as usize * self.element) }
    }

    /// Visits the series that hold `length` bytes from element `first` on. The arguments of `visit` are: the address
    /// of the series, the offset of its elements among the `length` bytes, and the series.
    fn each_series(&self, first: u64, length: usize, mut visit: impl FnMut(*mut u8, usize, &Series)) {
        let held = length.checked_div(self.element).unwrap_or(0) as u64;
        let (mut at, points) = (0, self.points.saturating_sub(first).min(held));
        Cursor::new(&self.series).take(first, points, |series| {
            visit(self.start_of(&series), at, &series);
            at += series.points() as usize * self.element;
        });
    }
}

/// A region of a program's buffer that a worker uses. The maker of the region promised that the buffer is valid while
/// the region lives: the program does not touch a buffer until the event set has reported the end of its operation.
pub struct LentRegion(MemoryRegion);

// SAFETY: it is plain memory, which one thread at a time uses through this; elements in it are bytes here, because
// their datatype (an identifier, which only libhdf5 understands) is removed.
unsafe impl Send for LentRegion {}

impl LentRegion {
    /// Takes a region, to move it to another thread.
    pub fn new(region: MemoryRegion) -> Self {
        Self(MemoryRegion { given: None, ..region })
    }

    /// Returns the region, in that thread.
    pub fn get(&mut self) -> &mut MemoryRegion {
        &mut self.0
    }
}

fn none_of_a_program() -> Error {
    Error::new(Minor::Internal, "bytes in memory are no elements of a program's")
}

/// A program's elements that were copied, contiguously.
pub struct CopiedElements {
    elements: Vec<u8>,
    /// The datatype; `None` once other data was read into the elements.
    given: Option<Hid>,
}

impl CopiedElements {
    /// Returns the datatype of the elements, and their bytes.
    ///
    /// # Errors
    /// If they are not a program's elements any more.
    pub(super) fn parts(&self) -> Result<(Hid, &[u8])> {
        self.given.map(|datatype| (datatype, &self.elements[..])).ok_or_else(none_of_a_program)
    }
}

/// The memory that libhdf5 has allocated for variable-length data.
struct Allocations {
    bytes: u64,
    blocks: Vec<Box<[u64]>>,
}

/// Allocates memory for libhdf5 and counts the bytes. The memory is freed with the count.
unsafe extern "C" fn counted_allocation(size: usize, info: *mut c_void) -> *mut c_void {
    // SAFETY: `info` is the count that was passed along.
    let count = unsafe { &mut *info.cast::<Allocations>() };
    let (mut block, words) = (Vec::new(), size.div_ceil(8).max(1));
    // A damaged container can request any length.
    if block.try_reserve_exact(words).is_err() || count.blocks.try_reserve(1).is_err() {
        return std::ptr::null_mut();
    }
    block.resize(words, 0_u64);
    count.bytes += size as u64;
    count.blocks.push(block.into_boxed_slice());
    count.blocks.last_mut().map_or(std::ptr::null_mut(), |block| block.as_mut_ptr().cast())
}

/// Frees nothing: the memory is freed with the count.
unsafe extern "C" fn counted_release(_memory: *mut c_void, _info: *mut c_void) {}

impl Library {
    /// Runs `body` with a transfer list that counts allocations of variable-length data, in bytes, and frees them
    /// afterwards.
    pub fn count_allocations(self, body: impl FnOnce(Hid) -> Result<()>) -> Result<u64> {
        let table = self.table();
        // SAFETY: the class is the library's own.
        let list = unsafe { (table.H5Pcreate)(table.H5P_CLS_DATASET_XFER_ID_g()) };
        let list = crate::hdf5::id::Id::from_call(self, list, "H5Pcreate")?;
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
        crate::hdf5::datatype::check(set, "H5Pset_vlen_mem_manager")?;
        body(list.get())?;
        Ok(count.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pointers in elements are followed only if a program put the elements there.
    #[test]
    fn bytes_that_were_put_together_here_are_no_elements_of_a_program() {
        let (mut bytes, one) = ([0xff_u8; 16], || vec![Run { offset: 0, count: 1 }]);
        let unknown = |region: &mut MemoryRegion| {
            assert!(region.datatype().is_err() && region.copied().is_err());
            Ok(())
        };
        assert!(MemoryRegion::within(&mut bytes, 8, one(), unknown).is_ok());
        // SAFETY: the buffer has space for two elements, and no pointer in it is followed.
        let region = unsafe { MemoryRegion::packed(bytes.as_mut_ptr().cast(), 8, 2, Some(7)) };
        let Ok(mut region) = region else { panic!("the elements fit") };
        assert!(region.copied().is_ok_and(|copied| copied.parts().is_ok()));
        let overwrite = |part: &mut MemoryRegion| {
            assert_eq!(part.datatype().ok(), Some(7));
            part.scatter(0, &[0; 8]);
            assert!(part.datatype().is_err());
            Ok(())
        };
        assert!(region.with_elements(&one(), overwrite).is_ok());
        assert!(region.datatype().is_err());
    }

    #[test]
    fn elements_are_found_in_selection_order() {
        let mut bytes: Vec<u8> = (0..20).collect();
        let run = |offset, count| Run { offset, count };
        let mut found = |wanted: &[Run]| {
            let runs = vec![run(2, 3), run(10, 1), run(12, 4)];
            MemoryRegion::within(&mut bytes, 1, runs, |region| {
                region.with_elements(wanted, |part| {
                    let mut packed = vec![0; part.bytes()];
                    part.gather(0, &mut packed);
                    Ok(packed)
                })
            })
        };
        assert_eq!(found(&[run(0, 8)]).ok(), Some(vec![2, 3, 4, 10, 12, 13, 14, 15]));
        assert_eq!(found(&[run(1, 1), run(2, 3), run(7, 1)]).ok(), Some(vec![3, 4, 10, 12, 15]));
        assert_eq!(found(&[]).ok(), Some(vec![]));
        assert!(found(&[run(7, 2)]).is_err() && found(&[run(4, 1), run(0, 1)]).is_err());
    }
}
