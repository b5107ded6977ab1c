//! Joins a dataset of several files, one part after the other.

use std::rc::Rc;

use h5lake_container::Layout;
use h5lake_plugin_abi::bindings as sys;

use super::CrossCopier;
use super::joined::Joined;
use super::progress::Progress;
use super::values::Elements;
use crate::error::{Error, Minor, Result};
use crate::hdf5::id::Id;
use crate::hdf5::library::Hid;

impl CrossCopier {
    /// Makes the whole with the type, filters and fill value of the dataset in the first file.
    pub(super) fn make_whole(&self, joined: &Joined, datatype: &Id, list: &Id) -> Result<Rc<Id>> {
        let table = self.table();
        let space = joined.parts.whole(joined.chunk().is_some())?;
        let space = self.library.space_of(&space)?;
        if let Some(chunk) = joined.chunk() {
            let chunk = joined.parts.shift(0).count(chunk);
            let rank = i32::try_from(chunk.len()).map_err(|_| Error::argument("too many dimensions"))?;
            // SAFETY: the array has an entry for each dimension.
            self.ok(unsafe { (table.H5Pset_chunk)(list.get(), rank, chunk.as_ptr()) })?;
        } else {
            // SAFETY: identifiers are checked by the library.
            self.ok(unsafe { (table.H5Pset_layout)(list.get(), sys::H5D_CONTIGUOUS) })?;
        }
        let (file, default) = (self.destination, sys::H5P_DEFAULT);
        // SAFETY: identifiers are checked by the library.
        let made = unsafe { (table.H5Dcreate_anon)(file, datatype.get(), space.get(), list.get(), default) };
        let made = Rc::new(self.id(made)?);
        self.note_filters(joined, &made)?;
        if joined.whole.set(made.clone()).is_err() {
            return Err(Error::new(Minor::Internal, "a dataset was made twice"));
        }
        Ok(made)
    }

    /// Decides whether raw data can be referred to: only if the whole has filters that decode it.
    fn note_filters(&self, joined: &Joined, made: &Id) -> Result<()> {
        let Some(places) = &self.places else { return Ok(()) };
        // SAFETY: identifiers are checked by the library.
        let list = self.id(unsafe { (self.table().H5Dget_create_plist)(made.get()) })?;
        let has = self.library.filters(list.get())?;
        let wanted = joined.filters();
        let is_same = has.iter().map(|filter| filter.id).eq(wanted.iter().map(|filter| filter.id))
            && (joined.chunk().is_none()
                || self.library.has_unfiltered_edges(list.get())? == joined.has_unfiltered_edges());
        let is_alike = match (self.library.layout(list.get())?, joined.chunk()) {
            (Layout::Chunked { chunk }, Some(wanted)) => chunk == joined.parts.shift(0).count(wanted),
            (Layout::Contiguous, None) => true,
            _ => false,
        };
        if !is_same || !is_alike {
            let reason = "filters or chunks that a new dataset has not alike";
            joined.copied.set(joined.copied.get().or(Some(reason)));
        }
        match joined.copied.get() {
            Some(reason) => places.copied(&joined.path().to_string_lossy(), reason),
            None if has != wanted => places.filters(self.number(made.get())?, wanted),
            None => Ok(()),
        }
    }

    /// Puts one file's part of a dataset into the whole.
    pub(super) fn put_part(
        &self,
        joined: &Joined,
        part: usize,
        from: Hid,
        progress: &mut Progress,
    ) -> Result<()> {
        let whole =
            joined.whole.get().ok_or_else(|| Error::new(Minor::Internal, "a dataset was not made"))?;
        let shift = joined.parts.shift(part);
        let table = self.table();
        // SAFETY: identifiers are checked by the library.
        let (datatype, space, list) = unsafe {
            let datatype = self.id((table.H5Dget_type)(from))?;
            let space = self.id((table.H5Dget_space)(from))?;
            (datatype, space, self.id((table.H5Dget_create_plist)(from))?)
        };
        if let (Some(places), None) = (&self.places, joined.copied.get()) {
            let id = self.number(whole.get())?;
            return match joined.chunk() {
                Some(chunk) => self.list_chunks(places, from, id, chunk, Some(shift)),
                None => self.list_contiguous(places, from, id, &datatype, Some(shift)),
            };
        }
        let elements = Elements {
            from,
            to: whole.get(),
            datatype: &datatype,
            space: &space,
            list: &list,
            shift: Some(shift),
        };
        self.data(&elements, progress)
    }

    /// Puts the parts of the next file into the wholes.
    ///
    /// # Errors
    /// The error of the first call that failed.
    pub(super) fn put_parts(&self, part: usize, root: Hid) -> Result<()> {
        let mut progress = Progress::default();
        for joined in self.joins.all() {
            let dataset = self.open(root, joined.path())?;
            self.put_part(joined, part, dataset.get(), &mut progress)?;
        }
        progress.close()
    }
}
