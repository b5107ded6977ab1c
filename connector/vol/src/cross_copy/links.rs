//! The links of a copied group.

use std::ffi::{CStr, CString, c_char, c_uint, c_void};
use std::rc::Rc;

use h5lake_plugin_abi::bindings as sys;

use super::numbers::Numbers;
use super::progress::{ObjectKey, OpenCopy, PendingGroup, Progress, number_of};
use super::{CrossCopier, Refused};
use crate::error::{Error, Result};
use crate::hdf5::id::Id;
use crate::hdf5::library::Hid;

impl CrossCopier {
    /// Copies the links of one group, and the objects that hard links lead to.
    pub(super) fn links(&self, group: PendingGroup, progress: &mut Progress) -> Result<()> {
        let table = self.table();
        let original = self.open_original(group.original, progress)?;
        let copy = self.open_copy(group.copy, progress)?.id;
        // SAFETY: identifiers are checked by the library.
        let list = self.id(unsafe { (table.H5Gget_create_plist)(original.get()) })?;
        let tracked = self.library.link_order(list.get())?.tracked;
        let order = if tracked { sys::H5_INDEX_CRT_ORDER } else { sys::H5_INDEX_NAME };
        *self.path.borrow_mut() = progress.paths.path(group.path);
        let mut walk = Walk {
            copier: self,
            from: original.get(),
            to: copy.get(),
            group,
            path_length: self.path.borrow().len(),
            numbers: Numbers::of(tracked),
            progress,
            failed: None,
        };
        let place: *mut Walk<'_> = &mut walk;
        let (inc, none) = (sys::H5_ITER_INC, std::ptr::null_mut());
        // SAFETY: the callback gets the walk, which outlives the call.
        let done = unsafe {
            (table.H5Literate2)(original.get(), order, inc, none, Some(copy_one), place.cast::<c_void>())
        };
        let Walk { mut numbers, failed, .. } = walk;
        if let Some(error) = failed {
            let _the_error_of_the_link_counts = self.failed();
            return Err(error);
        }
        self.ok(done)?;
        self.skip_links(copy.get(), &mut numbers, self.group_info(original.get())?.max_corder)?;
        for filler in numbers.fillers {
            // SAFETY: the name is terminated.
            self.ok(unsafe { (table.H5Ldelete)(copy.get(), filler.as_ptr(), sys::H5P_DEFAULT) })?;
        }
        Rc::into_inner(copy).map_or(Ok(()), Id::close)
    }

    /// Uses up the creation numbers before that of the next link: they belonged to links which were deleted.
    fn skip_links(&self, copy: Hid, numbers: &mut Numbers, next: i64) -> Result<()> {
        while let Some(filler) = numbers.filler(next) {
            // SAFETY: names are terminated.
            self.ok(unsafe {
                (self.table().H5Lcreate_soft)(
                    c".".as_ptr(),
                    copy,
                    filler.as_ptr(),
                    sys::H5P_DEFAULT,
                    sys::H5P_DEFAULT,
                )
            })?;
        }
        Ok(())
    }

    /// Leaves out a user-defined link: the meaning of its value, and whether libhdf5 returns the value at all, depend
    /// on functions that only the programs which use its class have.
    fn user_defined(&self, class: i32) -> Result<()> {
        let Some(left_out) = &self.left_out else {
            return Err(Error::unsupported(format!("H5Ocopy of a user-defined link of class {class}")));
        };
        let path = String::from_utf8_lossy(&self.path.borrow()).into_owned();
        let reason = format!("a user-defined link of class {class}, whose functions only its programs have");
        left_out.borrow_mut().push(Refused { path, reason });
        Ok(())
    }

    /// Copies a link that has a value: a soft or an external link. In a container that refers to a native file, an
    /// external link leads to the same file.
    pub(super) fn value_link(
        &self,
        from: Hid,
        name: &CStr,
        info: &sys::H5L_info2_t,
        to: Hid,
        new_name: &CStr,
        creation: Hid,
    ) -> Result<()> {
        let table = self.table();
        // SAFETY: the link is no hard one, so its information is the size of its value.
        let mut value = vec![0_u8; unsafe { info.u.val_size } + 1];
        let capacity = value.len() - 1;
        // SAFETY: the buffer has the size given along.
        self.ok(unsafe {
            (table.H5Lget_val)(from, name.as_ptr(), value.as_mut_ptr().cast(), capacity, sys::H5P_DEFAULT)
        })?;
        // SAFETY: the value is terminated by the byte beyond it; unpacked names are inside the value.
        self.ok(unsafe {
            if info.type_ == sys::H5L_TYPE_SOFT {
                (table.H5Lcreate_soft)(
                    value.as_ptr().cast(),
                    to,
                    new_name.as_ptr(),
                    creation,
                    sys::H5P_DEFAULT,
                )
            } else {
                let (mut flags, mut file, mut object): (c_uint, _, _) =
                    (0, std::ptr::null(), std::ptr::null());
                self.ok((table.H5Lunpack_elink_val)(
                    value.as_ptr().cast(),
                    capacity,
                    &mut flags,
                    &mut file,
                    &mut object,
                ))?;
                let renamed = self.folders.renamed(CStr::from_ptr(file).to_bytes());
                let renamed = CString::new(renamed)
                    .map_err(|_| Error::argument("a folder has a zero byte in its name"))?;
                let (file, name) = (renamed.as_ptr(), new_name.as_ptr());
                (table.H5Lcreate_external)(file, object, to, name, creation, sys::H5P_DEFAULT)
            }
        })
    }

    pub(super) fn link_info(&self, group: Hid, name: &CStr) -> Result<sys::H5L_info2_t> {
        // SAFETY: all-zero is a valid value of this plain structure; the name is terminated.
        unsafe {
            let mut info: sys::H5L_info2_t = std::mem::zeroed();
            self.ok((self.table().H5Lget_info2)(group, name.as_ptr(), &mut info, sys::H5P_DEFAULT))?;
            Ok(info)
        }
    }

    /// Returns whether the copy of a link is a hard link to a copy of its target.
    ///
    /// # Errors
    /// As for [`Self::leads_somewhere`], for a soft link.
    pub(super) fn becomes_hard(&self, group: Hid, name: &CStr, info: &sys::H5L_info2_t) -> Result<bool> {
        match info.type_ {
            sys::H5L_TYPE_HARD => Ok(true),
            sys::H5L_TYPE_SOFT if self.has(sys::H5O_COPY_EXPAND_SOFT_LINK_FLAG) => {
                self.leads_somewhere(group, name)
            }
            sys::H5L_TYPE_EXTERNAL if self.has(sys::H5O_COPY_EXPAND_EXT_LINK_FLAG) => {
                Ok(self.leads_somewhere(group, name).unwrap_or(false))
            }
            _ => Ok(false),
        }
    }

    /// Returns whether a link leads to an object.
    ///
    /// # Errors
    /// The library's own error, if a group on the path is missing.
    fn leads_somewhere(&self, group: Hid, name: &CStr) -> Result<bool> {
        // SAFETY: the name is terminated.
        let answer = unsafe { (self.table().H5Oexists_by_name)(group, name.as_ptr(), sys::H5P_DEFAULT) };
        self.ok(answer).map(|()| answer > 0)
    }

    /// Makes a link creation list for names of a character set.
    fn link_creation(&self, set: sys::H5T_cset_t) -> Result<Id> {
        let table = self.table();
        // SAFETY: the class is the library's own.
        unsafe {
            let list = self.id((table.H5Pcreate)(table.H5P_CLS_LINK_CREATE_ID_g()))?;
            self.ok((table.H5Pset_char_encoding)(list.get(), set))?;
            Ok(list)
        }
    }
}

/// The state of copying the links of one group.
struct Walk<'a> {
    copier: &'a CrossCopier,
    from: Hid,
    to: Hid,
    group: PendingGroup,
    /// The length of the group's path in [`CrossCopier::path`].
    path_length: usize,
    numbers: Numbers,
    progress: &'a mut Progress,
    failed: Option<Error>,
}

impl Walk<'_> {
    fn add(&mut self, name: &CStr, info: &sys::H5L_info2_t) -> Result<()> {
        {
            let mut path = self.copier.path.borrow_mut();
            path.truncate(self.path_length);
            path.push(b'/');
            path.extend_from_slice(name.to_bytes());
        }
        self.copier.skip_links(self.to, &mut self.numbers, info.corder)?;
        self.link(name, info)?;
        self.numbers.used();
        Ok(())
    }

    fn link(&mut self, name: &CStr, info: &sys::H5L_info2_t) -> Result<()> {
        let (copier, from, to) = (self.copier, self.from, self.to);
        if !matches!(info.type_, sys::H5L_TYPE_HARD | sys::H5L_TYPE_SOFT | sys::H5L_TYPE_EXTERNAL) {
            return copier.user_defined(info.type_.0);
        }
        let creation = copier.link_creation(info.cset)?;
        if !copier.becomes_hard(from, name, info)? {
            return copier.value_link(from, name, info, to, name, creation.get());
        }
        let Some(copy) = self.target(name, info)? else { return Ok(()) };
        // SAFETY: identifiers are checked by the library, the name is terminated.
        copier.ok(unsafe {
            (copier.table().H5Olink)(copy.id.get(), to, name.as_ptr(), creation.get(), sys::H5P_DEFAULT)
        })?;
        self.progress.close_linked(copy)
    }

    /// Returns the copy of the object to which a link leads; `None` if the destination cannot hold the object.
    fn target(&mut self, name: &CStr, info: &sys::H5L_info2_t) -> Result<Option<OpenCopy>> {
        let (copier, progress) = (self.copier, &mut *self.progress);
        if info.type_ == sys::H5L_TYPE_HARD {
            // SAFETY: the link is a hard one, so its information is a token.
            let token = number_of(unsafe { &info.u.token })?;
            let original = ObjectKey { file: self.group.original.file, token };
            if let Some(copy) = progress.copy_of(original) {
                return copier.open_copy(copy, progress).map(Some);
            }
        }
        // SAFETY: identifiers are checked by the library, the name is terminated.
        let child = unsafe { (copier.table().H5Oopen)(self.from, name.as_ptr(), sys::H5P_DEFAULT) };
        let child = copier.id(child)?;
        let link = Some((self.group.path, name));
        let copy = copier.object(child.get(), self.group.depth + 1, link, progress);
        copier.tried(copy, child.get(), None)
    }
}

/// # Safety
/// `data` is a [`Walk`]; the other arguments are as the library passes them.
unsafe extern "C" fn copy_one(
    _group: Hid,
    name: *const c_char,
    info: *const sys::H5L_info2_t,
    data: *mut c_void,
) -> sys::herr_t {
    // SAFETY: as the function says.
    let (walk, name, info) = unsafe { (&mut *data.cast::<Walk<'_>>(), CStr::from_ptr(name), &*info) };
    match walk.add(name, info) {
        Ok(()) => 0,
        Err(error) => {
            walk.failed = Some(error);
            -1
        }
    }
}
