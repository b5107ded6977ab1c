//! `H5Ocopy` between a native file and a container: each object is made anew by public calls and filled. Whole files are
//! converted the same way.
//!
//! What a copy between two files of one kind does, this does too, with these differences: chunks are filtered again, and
//! committed types are never merged with those of the destination.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
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
mod referenced;
pub mod shapes;
mod stored_chunks;
mod swapped_coordinates;
mod tree;
mod values;

use elsewhere::Folders;
use joined::Joins;
use referenced::copy_root;
use values::Elements;

/// Copies the object `source` to the name `name` in `destination`. With `keep_references`, references to objects that are copied
/// as well lead to the copies.
///
/// # Errors
/// That of the first call which failed, as the library reported it. Nothing then lies at the name.
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
    silently(library, || {
        if keep_references {
            copier.tree = Some(copier.tree_of(source)?);
        }
        let mut made = CopiedObject::default();
        let copied = copier.object(source, 0, &mut made)?;
        copier.all_links(&mut made)?;
        // SAFETY: identifiers are checked by the library, the name is terminated.
        copier.ok(unsafe {
            (copier.table().H5Olink)(
                copied.get(),
                destination,
                name.as_ptr(),
                link_creation,
                sys::H5P_DEFAULT,
            )
        })?;
        copier.link_referenced(&made)?;
        drop(copied);
        made.close()
    })
}

/// `H5Lcopy` of a soft or an external link.
///
/// # Errors
/// As [`copy`]; a hard link cannot lead into another file.
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
    /// Of a trial: what cannot be made. Datasets get no elements then.
    refused: Option<RefCell<Vec<Refused>>>,
    /// Links that a conversion of a whole file leaves out. In other copies such a link is an error.
    left_out: Option<RefCell<Vec<Refused>>>,
    /// Where elements are listed, and not copied.
    places: Option<place_list::Places>,
    /// Where names in the original and in the copy begin, if elements are listed.
    folders: Folders,
    /// Datasets that become one with those of further files.
    joins: Joins,
    /// The objects that are copied independently of references, with their depth, if references to these objects are retained.
    tree: Option<HashMap<ObjectKey, u32>>,
}

/// An object, an attribute or a link that the destination cannot hold.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Its path, for an attribute with the name behind `@`.
    pub path: String,
    /// The library's reason.
    pub reason: String,
}

/// What has been made so far, by file number and token of the original. New objects have no name until their links are
/// made: they stay open meanwhile.
#[derive(Default)]
struct CopiedObject {
    objects: HashMap<ObjectKey, Rc<Id>>,
    groups: VecDeque<SourceGroup>,
    /// Copies that references lead to.
    referenced: Vec<Rc<Id>>,
}

impl CopiedObject {
    /// Closes what was made. What waits in caches is written then.
    ///
    /// # Errors
    /// Of the first object that could not be closed: its copy lacks something.
    fn close(self) -> Result<()> {
        let Self { objects, groups, referenced } = self;
        drop((groups, referenced));
        objects.into_values().filter_map(Rc::into_inner).map(Id::close).fold(Ok(()), Result::and)
    }
}

/// What tells objects apart: the number of their file, and their token.
type ObjectKey = (std::ffi::c_ulong, [u8; 16]);

/// A group whose links are still to be copied.
struct SourceGroup {
    original: Id,
    copy: Rc<Id>,
    depth: u32,
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
            tree: None,
        }
    }

    /// In a trial notes a failure and goes on.
    fn tried<T>(&self, made: Result<T>, of: Hid, attribute: Option<&CStr>) -> Result<Option<T>> {
        let (error, refused) = match (made, &self.refused) {
            (Ok(made), _) => return Ok(Some(made)),
            (Err(error), None) => return Err(error),
            (Err(error), Some(refused)) => (error, refused),
        };
        let reason = self.library.explained(|| Err::<(), _>(error)).err().map(|error| error.to_string());
        // SAFETY: the buffer has the size given along.
        let path = self.name(|buffer, size| unsafe { (self.table().H5Iget_name)(of, buffer, size) });
        let mut path = path.unwrap_or_default().to_string_lossy().into_owned();
        if let Some(attribute) = attribute {
            path = format!("{path}@{}", attribute.to_string_lossy());
        }
        refused.borrow_mut().push(Refused { path, reason: reason.unwrap_or_default() });
        Ok(None)
    }

    /// Starts to note links that are left out, for a conversion of a whole file.
    fn leaving_out_links(mut self) -> Self {
        self.left_out = Some(RefCell::default());
        self
    }

    fn table(&self) -> &'static Hdf5 {
        self.library.table()
    }

    /// The error of a call that has just failed, with the library's own frames.
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

    /// Makes the copy of an object that has no name yet, or finds it if it was made before.
    fn object(&self, original: Hid, depth: u32, made: &mut CopiedObject) -> Result<Rc<Id>> {
        let info = self.info(original)?;
        let key: ObjectKey = (info.fileno, info.token.__data);
        if let Some(copy) = made.objects.get(&key) {
            return Ok(copy.clone());
        }
        let copy = match info.type_ {
            sys::H5O_TYPE_GROUP => self.group(original)?,
            sys::H5O_TYPE_DATASET => self.dataset(original, key, depth, made)?,
            sys::H5O_TYPE_NAMED_DATATYPE => self.committed_type(original)?,
            other => {
                return Err(Error::new(Minor::BadType, format!("H5Ocopy of an object of type {}", other.0)));
            }
        };
        made.objects.insert(key, copy.clone());
        if info.type_ == sys::H5O_TYPE_GROUP {
            // SAFETY: any value may be given.
            unsafe { (self.table().H5Iinc_ref)(original) };
            let original = self.id(original)?;
            made.groups.push_back(SourceGroup { original, copy: copy.clone(), depth });
        }
        if !self.has(sys::H5O_COPY_WITHOUT_ATTR_FLAG) {
            self.attributes(original, copy.get(), info.num_attrs, made)?;
        }
        self.comment(original, copy.get())?;
        Ok(copy)
    }

    /// The links of all groups that were made, and of those that are made meanwhile.
    fn all_links(&self, made: &mut CopiedObject) -> Result<()> {
        while let Some(group) = made.groups.pop_front() {
            self.links(&group, made)?;
        }
        Ok(())
    }

    fn info(&self, object: Hid) -> Result<sys::H5O_info2_t> {
        // SAFETY: all-zero is a valid value of this plain structure.
        let mut info: sys::H5O_info2_t = unsafe { std::mem::zeroed() };
        let fields = sys::H5O_INFO_BASIC | sys::H5O_INFO_NUM_ATTRS;
        // SAFETY: the answer's place outlives the call.
        self.ok(unsafe { (self.table().H5Oget_info3)(object, &mut info, fields) })?;
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

    fn dataset(&self, original: Hid, key: ObjectKey, depth: u32, made: &mut CopiedObject) -> Result<Rc<Id>> {
        let table = self.table();
        // SAFETY: identifiers are checked by the library.
        unsafe {
            let datatype = self.id((table.H5Dget_type)(original))?;
            let space = self.id((table.H5Dget_space)(original))?;
            let list = self.id((table.H5Dget_create_plist)(original))?;
            let committed = (table.H5Tcommitted)(datatype.get()) > 0;
            let created_as = if committed {
                self.object(datatype.get(), depth, made)?
            } else {
                Rc::new(self.id((table.H5Tcopy)(datatype.get()))?)
            };
            if let Some(joined) = self.joins.of(&key.1) {
                let copy = self.make_whole(joined, &created_as, &list)?;
                made.objects.insert(key, copy.clone());
                self.put_part(joined, 0, original, made)?;
                return Ok(copy);
            }
            let (other, default) = (self.adopted_list(original, &list, &datatype, &space)?, sys::H5P_DEFAULT);
            let creation = other.as_ref().unwrap_or(&list).get();
            let (to, of) = (self.destination, created_as.get());
            let copy = self.id((table.H5Dcreate_anon)(to, of, space.get(), creation, default))?;
            let copy = Rc::new(copy);
            // Its elements may be references to itself.
            made.objects.insert(key, copy.clone());
            if let (Some(places), false) = (&self.places, self.joins.all().is_empty()) {
                places.not_joined(&self.path_of(original))?;
            }
            let is_listed = match &self.places {
                Some(places) => self.refer(places, original, copy.get(), &datatype, &list)?,
                None => false,
            };
            if self.refused.is_none() && !is_listed {
                let (from, to, datatype, space, list) = (original, copy.get(), &datatype, &space, &list);
                self.data(&Elements { from, to, datatype, space, list, shift: None }, made)?;
            }
            Ok(copy)
        }
    }

    fn comment(&self, original: Hid, copy: Hid) -> Result<()> {
        let table = self.table();
        // SAFETY: a null buffer asks for the length; the buffer then has room for it and its terminator.
        unsafe {
            let length = (table.H5Oget_comment)(original, std::ptr::null_mut(), 0);
            let Ok(length @ 1..) = usize::try_from(length) else { return Ok(()) };
            let mut text = vec![0_u8; length + 1];
            (table.H5Oget_comment)(original, text.as_mut_ptr().cast(), text.len());
            self.ok((table.H5Oset_comment)(copy, text.as_ptr().cast()))
        }
    }

    /// A name that a getter of the library writes into a buffer, given a null buffer first.
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
    /// Gives an open object of ours an identifier as it is. The identifier closes it.
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
