//! Datasets of several files that are joined into one: finds them, and checks whether they fit together.

use std::cell::{Cell, OnceCell};
use std::collections::{BTreeSet, HashSet};
use std::ffi::{CStr, CString, c_char, c_void};
use std::rc::Rc;

use h5lake_container::{Dataspace, Filter, Layout};
use h5lake_plugin_abi::bindings as sys;

use super::CrossCopier;
use super::meanings::Meanings;
use super::places::ContiguousStorage;
use super::shapes::{Along, Parts};
use crate::error::{Error, Minor, Result};
use crate::hdf5::id::Id;
use crate::hdf5::library::Hid;
use crate::hdf5::plist::FillDefined;
use crate::transfer::memory::references::MemoryReferences;

/// A request to join datasets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// A dataset; or a group, for all datasets in and below the group that have the dimension.
    pub path: String,
    /// How the datasets are joined.
    pub along: Along,
}

/// A dataset as it is in one file.
pub(super) struct Seen {
    pub datatype: Id,
    pub space: Dataspace,
    pub layout: Layout,
    pub filters: Vec<Filter>,
    /// True if chunks that reach beyond the extent are stored without filters.
    unfiltered_edges: bool,
    fill: ShownFill,
    meanings: Meanings,
}

/// The value that elements show that were never written.
#[derive(Debug, PartialEq, Eq)]
enum ShownFill {
    /// The fill value is not defined, so the elements can show anything.
    Anything,
    /// These bytes: an element of a plain type, or a variable-length string with its terminating zero. No bytes stand
    /// for a null string or an empty sequence.
    Bytes(Vec<u8>),
    /// A value that the application chose for a type that contains variable-length data. It is not compared with other
    /// values.
    WithPointers,
}

impl ShownFill {
    /// Says how the fill value differs from that of the first file.
    fn difference(&self, first: &Self) -> Option<&'static str> {
        match (self, first) {
            (Self::WithPointers, _) | (_, Self::WithPointers) => Some(
                "it has a fill value with variable-length data, which cannot be compared with that of the first file,",
            ),
            _ if self == first => None,
            _ => Some("it has another fill value than in the first file,"),
        }
    }
}

/// A dataset that is joined.
pub(super) struct Joined {
    /// The dataset's path in each file.
    path: CString,
    /// Other requested names that lead to the same dataset in the first file.
    aliases: Vec<CString>,
    token: [u8; 16],
    first: Seen,
    pub parts: Parts,
    /// Why elements are copied; `None` if the result refers to the raw data instead.
    pub copied: Cell<Option<&'static str>>,
    /// The joined dataset, once it is made.
    pub whole: OnceCell<Rc<Id>>,
}

/// The datasets that are joined, as they were read in one file after the other.
#[derive(Default)]
pub(super) struct Joins {
    all: Vec<Joined>,
    /// Groups in which all datasets are joined, and the names of the datasets that the first file has there.
    groups: Vec<(CString, HashSet<CString>)>,
    /// All datasets of the first file, and the datasets that only later files have.
    known: HashSet<CString>,
    left_out: BTreeSet<CString>,
}

fn path(of: &str) -> Result<CString> {
    CString::new(of).map_err(|_| Error::argument(format!("{of:?} is no path")))
}

fn shown(path: &CStr) -> String {
    path.to_string_lossy().into_owned()
}

impl Joins {
    /// Returns the dataset of the first file that has the token, if it is joined.
    pub fn of(&self, token: &[u8; 16]) -> Option<&Joined> {
        self.all.iter().find(|one| one.token == *token)
    }

    pub fn all(&self) -> &[Joined] {
        &self.all
    }

    /// Returns the paths of datasets that later files have and the first file lacks: the result does not contain them.
    pub fn left_out(&self) -> impl Iterator<Item = String> {
        self.left_out.iter().map(|name| format!("/{}", shown(name)))
    }

    /// Finds the datasets that `wanted` names in the first file. Datasets named themselves take precedence over
    /// groups.
    ///
    /// # Errors
    /// If an object does not exist, or cannot be joined; errors of the library.
    pub fn find(copier: &CrossCopier, root: Hid, wanted: &[Join]) -> Result<Self> {
        let known = copier.datasets_in(root)?.into_iter().collect();
        let mut joins = Self { known, ..Self::default() };
        let mut groups = Vec::new();
        for join in wanted {
            let name = path(&join.path)?;
            let object = copier.open(root, &name)?;
            match copier.info(object.get())?.type_ {
                sys::H5O_TYPE_DATASET => {
                    let fits = joins.add(copier, object.get(), name, join.along, true)?;
                    if !fits {
                        return Err(Error::argument(format!("{} has no such dimension", join.path)));
                    }
                }
                sys::H5O_TYPE_GROUP => groups.push((name, object, join.along)),
                _ => return Err(Error::argument(format!("{} is no dataset and no group", join.path))),
            }
        }
        for (name, group, along) in groups {
            let names = copier.datasets_in(group.get())?;
            for below in &names {
                let dataset = copier.open(group.get(), below)?;
                let full = format!("{}/{}", shown(&name).trim_end_matches('/'), shown(below));
                joins.add(copier, dataset.get(), path(&full)?, along, false)?;
            }
            joins.groups.push((name, names.into_iter().collect()));
        }
        if joins.all.is_empty() {
            return Err(Error::argument("there is no dataset to join: name some that have the dimension"));
        }
        Ok(joins)
    }

    /// Adds a dataset. Returns false if the dataset has no such dimension. A dataset that was added before is left
    /// unchanged.
    fn add(
        &mut self,
        copier: &CrossCopier,
        dataset: Hid,
        path: CString,
        along: Along,
        is_named: bool,
    ) -> Result<bool> {
        let token = copier.info(dataset)?.token.__data;
        if let Some(known) = self.all.iter_mut().find(|one| one.token == token) {
            if known.parts.along != along && is_named {
                return Err(Error::argument(format!("{} is to be joined in two ways", shown(&path))));
            }
            known.aliases.push(path);
            return Ok(true);
        }
        let first = copier.seen(dataset)?;
        let (extent, most) = match &first.space {
            Dataspace::Null => return Ok(false),
            Dataspace::Scalar => (Vec::new(), Vec::new()),
            Dataspace::Simple { dims, max } => (dims.clone(), max.clone()),
        };
        let length = match along {
            Along::New => Some(1),
            Along::Existing(n) => extent.get(n).copied(),
        };
        let Some(length) = length else { return Ok(false) };
        if along == Along::New && copier.has_attribute(dataset, c"DIMENSION_LIST")? {
            let text = "has dimension scales, which would no longer fit in front of a new dimension; join along one that it has";
            return Err(Error::argument(format!("{} {text}", shown(&path))));
        }
        if !MemoryReferences::of(copier.library, first.datatype.get())?.is_empty() {
            let text = "has references, which lead to objects of one file; leave it out";
            return Err(Error::argument(format!("{} {text}", shown(&path))));
        }
        let copied = Cell::new(copier.why_copied(dataset, &first)?);
        let parts = Parts { along, extent, most, lengths: vec![length] };
        self.all.push(Joined {
            path,
            aliases: Vec::new(),
            token,
            first,
            parts,
            copied,
            whole: OnceCell::new(),
        });
        Ok(true)
    }

    /// Checks the same datasets in the next file.
    ///
    /// # Errors
    /// If a dataset is missing or differs, or a joined group has further ones; errors of the library.
    pub fn look_at_next(&mut self, copier: &CrossCopier, root: Hid) -> Result<()> {
        for joined in &mut self.all {
            let dataset = copier.open(root, &joined.path)?;
            let named = |error: Error| Error::new(error.minor(), format!("{}: {error}", shown(&joined.path)));
            if copier.info(dataset.get())?.type_ != sys::H5O_TYPE_DATASET {
                return Err(named(Error::new(Minor::BadType, "it is no dataset, as in the first file")));
            }
            joined.check_aliases(copier, root, dataset.get())?;
            let seen = copier.seen(dataset.get())?;
            if !copier.library.types_equal(seen.datatype.get(), joined.first.datatype.get())? {
                return Err(named(Error::new(Minor::BadType, "it has another type than in the first file")));
            }
            if let Some(text) = joined.first.meanings.difference(copier, &seen.meanings)? {
                return Err(named(Error::argument(text)));
            }
            let extent = match &seen.space {
                Dataspace::Simple { dims, .. } => dims.clone(),
                Dataspace::Scalar => Vec::new(),
                Dataspace::Null => {
                    return Err(named(Error::argument("it has no elements, as in the first file")));
                }
            };
            let length =
                Parts::length_of(joined.parts.along, &joined.parts.extent, &extent).map_err(named)?;
            joined.parts.lengths.push(length);
            if let Some(what) = seen.fill.difference(&joined.first.fill)
                && !copier.is_all_written(dataset.get())?
            {
                let text = format!("{what} and elements that were never written");
                return Err(named(Error::argument(text)));
            }
            let mut reason = copier.why_copied(dataset.get(), &seen)?;
            let (way, first) = (seen.way_of_chunks(), joined.first.way_of_chunks());
            if way != first {
                reason = Some("chunks or filters differ between the files");
            }
            joined.copied.set(joined.copied.get().or(reason));
        }
        let more = copier.datasets_in(root)?.into_iter().filter(|name| !self.known.contains(name));
        self.left_out.extend(more);
        for (name, known) in &self.groups {
            let group = copier.open(root, name)?;
            if let Some(more) = copier.datasets_in(group.get())?.iter().find(|name| !known.contains(*name)) {
                let text =
                    format!("{} has the dataset {}, and the first file has none", shown(name), shown(more));
                return Err(Error::argument(text));
            }
        }
        Ok(())
    }

    /// Decides, after all files have been checked, for which datasets the raw data does not fit together.
    pub fn decide(&self) {
        for joined in &self.all {
            let obstacle = joined.parts.obstacle(&joined.first.layout);
            joined.copied.set(joined.copied.get().or(obstacle));
        }
    }
}

impl Seen {
    /// Returns the properties that determine how the dataset's chunks are read.
    fn way_of_chunks(&self) -> (&Layout, &[Filter], bool) {
        (&self.layout, &self.filters, self.unfiltered_edges)
    }
}

impl Joined {
    pub fn path(&self) -> &CStr {
        &self.path
    }

    /// Checks that the other names lead to the same dataset in the next file, too: the result has one dataset for all
    /// of these names.
    fn check_aliases(&self, copier: &CrossCopier, root: Hid, dataset: Hid) -> Result<()> {
        let token = copier.info(dataset)?.token.__data;
        for alias in &self.aliases {
            let object = copier.open(root, alias)?;
            if copier.info(object.get())?.token.__data != token {
                let (path, alias) = (shown(&self.path), shown(alias));
                let text =
                    format!("{path} and {alias} are one dataset in the first file, and two in another");
                return Err(Error::argument(format!("{text}; leave one of them out")));
            }
        }
        Ok(())
    }

    pub fn filters(&self) -> &[Filter] {
        &self.first.filters
    }

    pub fn has_unfiltered_edges(&self) -> bool {
        self.first.unfiltered_edges
    }

    pub fn chunk(&self) -> Option<&[u64]> {
        match &self.first.layout {
            Layout::Chunked { chunk } => Some(chunk),
            _ => None,
        }
    }
}

impl CrossCopier {
    /// Opens an object in the file of `location`.
    ///
    /// # Errors
    /// Errors of the library; for a name that leads into another file, where addresses have another meaning.
    pub(super) fn open(&self, location: Hid, name: &CStr) -> Result<Id> {
        // SAFETY: the name is terminated; identifiers are checked by the library.
        let object = self.id(unsafe { (self.table().H5Oopen)(location, name.as_ptr(), sys::H5P_DEFAULT) })?;
        if self.info(object.get())?.fileno != self.info(location)?.fileno {
            let text = format!("{} leads into another file; name that file", shown(name));
            return Err(Error::new(Minor::NotFollowed, text));
        }
        Ok(object)
    }

    pub(super) fn has_attribute(&self, object: Hid, name: &CStr) -> Result<bool> {
        // SAFETY: as above.
        let found = unsafe { (self.table().H5Aexists)(object, name.as_ptr()) };
        self.ok(found)?;
        Ok(found > 0)
    }

    fn seen(&self, dataset: Hid) -> Result<Seen> {
        let table = self.table();
        // SAFETY: identifiers are checked by the library. A copy of a type outlives its file.
        unsafe {
            let datatype = self.id((table.H5Dget_type)(dataset))?;
            let datatype = self.id((table.H5Tcopy)(datatype.get()))?;
            let space = self.id((table.H5Dget_space)(dataset))?;
            let list = self.id((table.H5Dget_create_plist)(dataset))?;
            let (layout, filters) = (self.library.layout(list.get())?, self.library.filters(list.get())?);
            let (library, list, fill) = (self.library, list.get(), self.shown_fill(&list, &datatype)?);
            let is_chunked = matches!(layout, Layout::Chunked { .. });
            let unfiltered_edges = is_chunked && library.has_unfiltered_edges(list)?;
            Ok(Seen {
                datatype,
                space: library.extent_of(space.get())?,
                layout,
                filters,
                unfiltered_edges,
                fill,
                meanings: Meanings::of(self, dataset)?,
            })
        }
    }

    /// Returns the value that elements show that were never written.
    fn shown_fill(&self, list: &Id, datatype: &Id) -> Result<ShownFill> {
        let defined = self.library.fill_defined(list.get())?;
        if !self.is_plain(datatype)? {
            return self.shown_variable_fill(defined, list, datatype);
        }
        if defined == FillDefined::Undefined {
            return Ok(ShownFill::Anything);
        }
        let mut value = vec![0_u8; self.library.type_size(datatype.get())?];
        if defined == FillDefined::User {
            let place = value.as_mut_ptr().cast();
            // SAFETY: the buffer has the size of the type.
            self.ok(unsafe { (self.table().H5Pget_fill_value)(list.get(), datatype.get(), place) })?;
        }
        Ok(ShownFill::Bytes(value))
    }

    /// Returns this value for a type that is not plain.
    fn shown_variable_fill(&self, defined: FillDefined, list: &Id, datatype: &Id) -> Result<ShownFill> {
        if defined != FillDefined::User {
            return Ok(ShownFill::Bytes(Vec::new()));
        }
        let (library, of) = (self.library, datatype.get());
        let mut value = vec![0_u8; library.type_size(of)?];
        if !library.is_variable_string(of)? || value.len() != size_of::<*const c_char>() {
            return Ok(ShownFill::WithPointers);
        }
        let one = library.scalar_space()?;
        // SAFETY: the buffer has the size of the type. The library puts a text, or null, into it, which is freed once.
        unsafe {
            self.ok((self.table().H5Pget_fill_value)(list.get(), of, value.as_mut_ptr().cast()))?;
            let text = value.as_ptr().cast::<*const c_char>().read_unaligned();
            let bytes =
                if text.is_null() { Vec::new() } else { CStr::from_ptr(text).to_bytes_with_nul().to_vec() };
            library.reclaim(of, one.get(), &mut value);
            Ok(ShownFill::Bytes(bytes))
        }
    }

    /// Returns whether all elements have been written, so that none shows the fill value.
    fn is_all_written(&self, dataset: Hid) -> Result<bool> {
        let mut status = sys::H5D_SPACE_STATUS_NOT_ALLOCATED;
        // SAFETY: the answer's place outlives the call.
        self.ok(unsafe { (self.table().H5Dget_space_status)(dataset, &mut status) })?;
        Ok(status == sys::H5D_SPACE_STATUS_ALLOCATED)
    }

    /// Returns the reason why elements of a dataset in this file have to be copied, if there is no raw data to refer
    /// to.
    fn why_copied(&self, dataset: Hid, seen: &Seen) -> Result<Option<&'static str>> {
        self.check_is_here(dataset, &seen.layout)?;
        if seen.layout == Layout::Compact {
            return Ok(Some("compact"));
        }
        if seen.layout == Layout::Contiguous
            && matches!(self.contiguous_storage(dataset, &seen.datatype)?, ContiguousStorage::Other)
        {
            return Ok(Some("storage of another size than its elements"));
        }
        // References were refused earlier.
        Ok((!self.is_plain(&seen.datatype)?).then_some("variable-length data"))
    }

    /// Returns the names, relative to a group, of all datasets in and below the group.
    fn datasets_in(&self, group: Hid) -> Result<Vec<CString>> {
        let mut names: Vec<CString> = Vec::new();
        let place = (&raw mut names).cast();
        let (index, order, fields) = (sys::H5_INDEX_NAME, sys::H5_ITER_INC, sys::H5O_INFO_BASIC);
        // SAFETY: the callback gets the list, which outlives the call.
        self.ok(unsafe { (self.table().H5Ovisit3)(group, index, order, Some(note_dataset), place, fields) })?;
        Ok(names)
    }
}

/// # Safety
/// `data` is a `Vec<CString>`; the other arguments are as the library passes them.
unsafe extern "C" fn note_dataset(
    _group: Hid,
    name: *const c_char,
    info: *const sys::H5O_info2_t,
    data: *mut c_void,
) -> sys::herr_t {
    // SAFETY: as the function says.
    unsafe {
        if (*info).type_ == sys::H5O_TYPE_DATASET {
            (*data.cast::<Vec<CString>>()).push(CStr::from_ptr(name).to_owned());
        }
    }
    0
}
