//! `H5Ocopy` between a native file and a container: each object is made again by public calls and filled. Whole files
//! are converted the same way.
//!
//! This copy does the same as a copy between two files of one kind, with these differences: chunks are filtered again,
//! and committed types are never merged with those of the destination.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_void};
use std::rc::Rc;

use h5lake_plugin_abi::{Hdf5, bindings as sys};

use crate::error::{Error, Minor, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::saved_errors::silently;

mod address_probe;
mod chunks;
pub mod conversion;
pub mod elsewhere;
mod file_image;
pub mod files;
pub mod joined;
mod links;
mod meanings;
mod numbers;
mod parts;
pub mod place_list;
mod places;
mod progress;
mod referenced;
pub mod shapes;
mod stored_chunks;
mod swapped_coordinates;
mod values;

use elsewhere::Folders;
use joined::Joins;
use progress::{ObjectKey, OpenCopy, Part, PathNumber, PendingGroup, Progress, token_of};
use referenced::copy_root;
use values::Elements;

/// Copies the object `source` to the name `name` in `destination`. With `keep_references`, references to objects that
/// are copied as well lead to the copies.
///
/// # Errors
/// The error of the first call that failed, as the library reported it. Then no object is at the name.
pub(crate) fn copy(
    library: Library,
    source: Hid,
    destination: Hid,
    name: &CStr,
    copy_list: Hid,
    link_creation: Hid,
    keep_references: bool,
) -> Result<()> {
    let mut copier = CrossCopier::new(library, destination, library.copy_flags(copy_list)?);
    copier.keeps_references = keep_references;
    silently(library, || {
        let mut progress = Progress::default();
        let copied = copier.object(source, 0, None, &mut progress)?;
        copier.pending(&mut progress)?;
        // SAFETY: identifiers are checked by the library, the name is terminated.
        copier.ok(unsafe {
            (copier.table().H5Olink)(
                copied.id.get(),
                destination,
                name.as_ptr(),
                link_creation,
                sys::H5P_DEFAULT,
            )
        })?;
        copier.link_referenced(&progress)?;
        drop(copied);
        progress.close()
    })
}

/// Copies a soft or an external link (`H5Lcopy`).
///
/// # Errors
/// As for [`copy`]; a hard link cannot lead into another file.
pub(crate) fn copy_link(
    library: Library,
    source: Hid,
    name: &CStr,
    destination: Hid,
    new_name: &CStr,
    link_creation: Hid,
) -> Result<()> {
    let copier = CrossCopier::new(library, destination, 0);
    silently(library, || {
        let info = copier.link_info(source, name)?;
        match info.type_ {
            sys::H5L_TYPE_SOFT | sys::H5L_TYPE_EXTERNAL => {
                copier.value_link(source, name, &info, destination, new_name, link_creation)
            }
            _ => Err(crate::handles::native_handle::mixed("H5Lcopy of a hard or user-defined link")),
        }
    })
}

struct CrossCopier {
    library: Library,
    /// A location in the destination's file.
    destination: Hid,
    /// `H5O_COPY_*`
    flags: u32,
    /// The objects and attributes that the destination cannot hold, in a copy that is abandoned because of them.
    /// Datasets get no more elements after the first such object.
    refused: Option<RefCell<Vec<Refused>>>,
    /// The links that a conversion of a whole file leaves out. In other copies such a link is an error.
    left_out: Option<RefCell<Vec<Refused>>>,
    /// The list of elements that are referred to and not copied.
    places: Option<place_list::Places>,
    /// The folders to which names in the original and in the copy are relative, if elements are listed.
    folders: Folders,
    /// Datasets that are joined with those of further files.
    joins: Joins,
    /// True if references to objects that are copied for another reason lead to the copies.
    keeps_references: bool,
    /// The path of the original behind the link that is being copied; empty if a reference led to the original.
    path: RefCell<Vec<u8>>,
}

/// An object, an attribute or a link that the destination cannot hold.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The path; for an attribute with its name behind `@`.
    pub path: String,
    /// The library's reason.
    pub reason: String,
}

impl CrossCopier {
    fn new(library: Library, destination: Hid, flags: u32) -> Self {
        let (folders, joins) = (Folders::default(), Joins::default());
        Self {
            library,
            destination,
            flags,
            refused: None,
            left_out: None,
            places: None,
            folders,
            joins,
            keeps_references: false,
            path: RefCell::default(),
        }
    }

    /// Notes a failure and continues, in a copy that lists what the destination cannot hold.
    fn tried<T>(&self, made: Result<T>, of: Hid, attribute: Option<&CStr>) -> Result<Option<T>> {
        let (error, refused) = match (made, &self.refused) {
            (Ok(made), _) => return Ok(Some(made)),
            (Err(error), None) => return Err(error),
            (Err(error), Some(refused)) => (error, refused),
        };
        let reason = self.library.explained(|| Err::<(), _>(error)).err().map(|error| error.to_string());
        let mut path = self.path_of(of);
        if let Some(attribute) = attribute {
            path = format!("{path}@{}", attribute.to_string_lossy());
        }
        refused.borrow_mut().push(Refused { path, reason: reason.unwrap_or_default() });
        Ok(None)
    }

    /// Returns whether the destination cannot hold an object or an attribute, so that the copy is abandoned.
    fn is_refused(&self) -> bool {
        self.refused.as_ref().is_some_and(|refused| !refused.borrow().is_empty())
    }

    /// Returns the links that were left out, and the objects and attributes that the destination cannot hold.
    fn noted(self) -> (Vec<Refused>, Vec<Refused>) {
        let list = |noted: Option<RefCell<_>>| noted.map(RefCell::into_inner).unwrap_or_default();
        (list(self.left_out), list(self.refused))
    }

    /// Starts to note links that are left out, for a conversion of a whole file.
    fn leaving_out_links(mut self) -> Self {
        self.left_out = Some(RefCell::default());
        self
    }

    fn table(&self) -> &'static Hdf5 {
        self.library.table()
    }

    /// Returns the error of a call that has just failed, with the library's own frames.
    fn failed(&self) -> Error {
        Error::reported(self.library.take_errors())
    }

    fn ok(&self, result: i32) -> Result<()> {
        if result < 0 { Err(self.failed()) } else { Ok(()) }
    }

    fn id(&self, id: Hid) -> Result<Id> {
        if id < 0 { Err(self.failed()) } else { Id::from_call(self.library, id, "H5Ocopy") }
    }

    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Makes the copy of an object, without a link yet, or opens the copy if it was made before. `link` is the link
    /// that led to the original: the path of its group, and its name.
    fn object(
        &self,
        original: Hid,
        depth: u32,
        link: Option<(PathNumber, &CStr)>,
        progress: &mut Progress,
    ) -> Result<OpenCopy> {
        let info = self.info(original)?;
        let key = ObjectKey::of(&info)?;
        if let Some(token) = progress.copy_of(key) {
            return self.open_copy(token, progress);
        }
        if link.is_some() {
            return self.new_object(original, &info, depth, link, progress);
        }
        // The path of the link that is being copied does not lead to this object.
        let path = self.path.take();
        let made = self.new_object(original, &info, depth, None, progress);
        *self.path.borrow_mut() = path;
        made
    }

    fn new_object(
        &self,
        original: Hid,
        info: &sys::H5O_info2_t,
        depth: u32,
        link: Option<(PathNumber, &CStr)>,
        progress: &mut Progress,
    ) -> Result<OpenCopy> {
        let key = ObjectKey::of(info)?;
        let id = match info.type_ {
            sys::H5O_TYPE_GROUP => self.group(original)?,
            sys::H5O_TYPE_DATASET => self.dataset(original, key, depth, progress)?,
            sys::H5O_TYPE_NAMED_DATATYPE => self.committed_type(original)?,
            other => {
                return Err(Error::new(Minor::BadType, format!("H5Ocopy of an object of type {}", other.0)));
            }
        };
        let copy = OpenCopy { token: ObjectKey::of(&self.info(id.get())?)?.token, id };
        progress.add(key, copy.token);
        progress.keep_open(&copy);
        if info.type_ == sys::H5O_TYPE_GROUP && self.has_links_to_copy(original, depth)? {
            let path = match link {
                Some((above, name)) => progress.paths.below(above, name.to_bytes()),
                None => {
                    progress.paths.below(PathNumber::TOP, self.path_of(original).trim_matches('/').as_bytes())
                }
            };
            let group = PendingGroup { original: key, copy: copy.token, depth, path };
            progress.add_group(group, &self.library.share(original)?)?;
        }
        if !self.has(sys::H5O_COPY_WITHOUT_ATTR_FLAG) {
            self.attributes(original, copy.id.get(), info, progress)?;
        }
        self.comment(original, copy.id.get())?;
        Ok(copy)
    }

    /// Returns whether a group has links to copy, or once had links with creation numbers that the copy has to skip.
    fn has_links_to_copy(&self, original: Hid, depth: u32) -> Result<bool> {
        if depth > 0 && self.has(sys::H5O_COPY_SHALLOW_HIERARCHY_FLAG) {
            return Ok(false);
        }
        let info = self.group_info(original)?;
        Ok(info.nlinks > 0 || info.max_corder > 0)
    }

    /// Opens the copy with this token.
    fn open_copy(&self, token: u64, progress: &Progress) -> Result<OpenCopy> {
        let id = match progress.open_copy(token) {
            Some(open) => open,
            None => Rc::new(self.by_number(self.destination, token)?),
        };
        Ok(OpenCopy { id, token })
    }

    /// Opens an original for which work is pending.
    fn open_original(&self, original: ObjectKey, progress: &Progress) -> Result<Id> {
        let location = progress.location(original.file);
        let location = location.ok_or_else(|| Error::new(Minor::Internal, "a source file is not open"))?;
        self.by_number(location.get(), original.token)
    }

    /// Opens the object with a token in the file of `location`.
    fn by_number(&self, location: Hid, token: u64) -> Result<Id> {
        // SAFETY: identifiers are checked by the library.
        self.id(unsafe { (self.table().H5Oopen_by_token)(location, token_of(token)) })
    }

    /// Copies everything that is pending: the links of groups, and then the parts of objects that need the copies of
    /// other objects.
    fn pending(&self, progress: &mut Progress) -> Result<()> {
        loop {
            while let Some(group) = progress.next_group() {
                self.links(group, progress)?;
            }
            if self.is_refused() {
                return Ok(());
            }
            let Some((part, original)) = progress.next_deferred() else { return Ok(()) };
            self.deferred(part, original, progress)?;
        }
    }

    /// Copies a deferred part of an object.
    fn deferred(&self, part: Part, original: ObjectKey, progress: &mut Progress) -> Result<()> {
        let token = progress.copy_of(original);
        let token = token.ok_or_else(|| Error::new(Minor::Internal, "an object was not copied"))?;
        let from = self.open_original(original, progress)?;
        let to = self.open_copy(token, progress)?.id;
        self.path.borrow_mut().clear();
        let copied = match part {
            Part::Elements => self.elements(&from, &to, progress),
            Part::References => self.attributes_with_references(&from, &to, progress),
        };
        self.tried(copied, from.get(), None)?;
        Rc::into_inner(to).map_or(Ok(()), Id::close)
    }

    fn info(&self, object: Hid) -> Result<sys::H5O_info2_t> {
        // SAFETY: all-zero is a valid value of this plain structure.
        let mut info: sys::H5O_info2_t = unsafe { std::mem::zeroed() };
        let fields = sys::H5O_INFO_BASIC | sys::H5O_INFO_NUM_ATTRS;
        // SAFETY: the answer's place outlives the call.
        self.ok(unsafe { (self.table().H5Oget_info3)(object, &mut info, fields) })?;
        Ok(info)
    }

    fn group_info(&self, group: Hid) -> Result<sys::H5G_info_t> {
        // SAFETY: all-zero is a valid value of this plain structure.
        let mut info: sys::H5G_info_t = unsafe { std::mem::zeroed() };
        // SAFETY: the answer's place outlives the call.
        self.ok(unsafe { (self.table().H5Gget_info)(group, &mut info) })?;
        Ok(info)
    }

    fn group(&self, original: Hid) -> Result<Rc<Id>> {
        let table = self.table();
        // SAFETY: identifiers are checked by the library.
        unsafe {
            let list = self.id((table.H5Gget_create_plist)(original))?;
            self.id((table.H5Gcreate_anon)(self.destination, list.get(), sys::H5P_DEFAULT)).map(Rc::new)
        }
    }

    fn committed_type(&self, original: Hid) -> Result<Rc<Id>> {
        let table = self.table();
        // SAFETY: identifiers are checked by the library.
        unsafe {
            let list = self.id((table.H5Tget_create_plist)(original))?;
            let copy = self.id((table.H5Tcopy)(original))?;
            self.ok((table.H5Tcommit_anon)(self.destination, copy.get(), list.get(), sys::H5P_DEFAULT))?;
            Ok(Rc::new(copy))
        }
    }

    fn dataset(&self, original: Hid, key: ObjectKey, depth: u32, progress: &mut Progress) -> Result<Rc<Id>> {
        let table = self.table();
        // SAFETY: identifiers are checked by the library.
        unsafe {
            let datatype = self.id((table.H5Dget_type)(original))?;
            let space = self.id((table.H5Dget_space)(original))?;
            let list = self.id((table.H5Dget_create_plist)(original))?;
            let committed = (table.H5Tcommitted)(datatype.get()) > 0;
            let created_as = if committed {
                self.object(datatype.get(), depth, None, progress)?.id
            } else {
                Rc::new(self.id((table.H5Tcopy)(datatype.get()))?)
            };
            if let Some(joined) = self.joins.of(&token_of(key.token).__data) {
                let copy = self.make_whole(joined, &created_as, &list)?;
                self.put_part(joined, 0, original, progress)?;
                return Ok(copy);
            }
            let (other, default) = (self.adopted_list(original, &list, &datatype, &space)?, sys::H5P_DEFAULT);
            let creation = other.as_ref().unwrap_or(&list).get();
            let (to, of) = (self.destination, created_as.get());
            let copy = Rc::new(self.id((table.H5Dcreate_anon)(to, of, space.get(), creation, default))?);
            if let (Some(places), false) = (&self.places, self.joins.all().is_empty()) {
                places.not_joined(&self.path_of(original))?;
            }
            let is_listed = match &self.places {
                Some(places) => self.refer(places, original, copy.get(), &datatype, &list)?,
                None => false,
            };
            let (from, to, datatype, space, list) = (original, copy.get(), &datatype, &space, &list);
            let elements = Elements { from, to, datatype, space, list, shift: None };
            if is_listed || self.is_refused() {
                return Ok(copy);
            }
            if self.is_for_later(&elements)? {
                progress.defer(Part::Elements, key, &self.library.share(original)?)?;
            } else {
                self.data(&elements, progress)?;
            }
            Ok(copy)
        }
    }

    fn comment(&self, original: Hid, copy: Hid) -> Result<()> {
        let table = self.table();
        // SAFETY: a null buffer requests the length; the buffer then has space for it and its terminator.
        unsafe {
            let length = (table.H5Oget_comment)(original, std::ptr::null_mut(), 0);
            let Ok(length @ 1..) = usize::try_from(length) else { return Ok(()) };
            let mut text = vec![0_u8; length + 1];
            (table.H5Oget_comment)(original, text.as_mut_ptr().cast(), text.len());
            self.ok((table.H5Oset_comment)(copy, text.as_ptr().cast()))
        }
    }

    /// Returns a name that a getter of the library writes into a buffer. The getter is called with a null buffer first.
    fn name(&self, get: impl Fn(*mut std::ffi::c_char, usize) -> isize) -> Result<CString> {
        let length = usize::try_from(get(std::ptr::null_mut(), 0)).map_err(|_| self.failed())?;
        let mut text = vec![0_u8; length + 1];
        if get(text.as_mut_ptr().cast(), text.len()) < 0 {
            return Err(self.failed());
        }
        CStr::from_bytes_until_nul(&text)
            .map(CStr::to_owned)
            .map_err(|_| Error::new(Minor::Internal, "a name of the library is not terminated"))
    }
}

impl Library {
    /// Gives an open object of h5lake's an identifier without wrapping it. The identifier closes it.
    ///
    /// # Safety
    /// `object` is one of our handles, open, and of kind `kind`.
    pub(crate) unsafe fn register_as_is(self, object: *mut c_void, kind: sys::H5I_type_t) -> Result<Id> {
        // SAFETY: as the caller says.
        let id =
            crate::hdf5::unwrapping::unwrapped(|| unsafe { (self.table().H5VLwrap_register)(object, kind) });
        check(if id < 0 { -1 } else { 0 }, "H5VLwrap_register")?;
        Id::from_call(self, id, "H5VLwrap_register")
    }
}
