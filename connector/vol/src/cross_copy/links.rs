//! The links of a copied group.

use std::ffi::{CStr, CString, c_uint};
use std::rc::Rc;

use h5lake_plugin_abi::bindings as sys;

use super::numbers::Numbers;
use super::{CopiedObject, CrossCopier, Refused, SourceGroup};
use crate::error::{Error, Result};
use crate::hdf5::id::Id;
use crate::hdf5::library::Hid;

impl CrossCopier {
    /// Copies the links of one group, and what hard ones lead to.
    pub(super) fn links(&self, group: &SourceGroup, made: &mut CopiedObject) -> Result<()> {
        if group.depth > 0 && self.has(sys::H5O_COPY_SHALLOW_HIERARCHY_FLAG) {
            return Ok(());
        }
        let table = self.table();
        let original = group.original.get();
        // SAFETY: all-zero is a valid value of this plain structure; identifiers are checked by the library.
        let (info, tracked) = unsafe {
            let mut info: sys::H5G_info_t = std::mem::zeroed();
            self.ok((table.H5Gget_info)(original, &mut info))?;
            let list = self.id((table.H5Gget_create_plist)(original))?;
            (info, self.library.link_order(list.get())?.tracked)
        };
        let order = if tracked { sys::H5_INDEX_CRT_ORDER } else { sys::H5_INDEX_NAME };
        let mut numbers = Numbers::of(tracked);
        for index in 0..info.nlinks {
            // SAFETY: the name is terminated, the buffer has the size given along.
            let name = self.name(|buffer, size| unsafe {
                (table.H5Lget_name_by_idx)(
                    original,
                    c".".as_ptr(),
                    order,
                    sys::H5_ITER_INC,
                    index,
                    buffer,
                    size,
                    sys::H5P_DEFAULT,
                )
            })?;
            let of_link = self.link_info(original, &name)?;
            self.skip_links(group, &mut numbers, of_link.corder)?;
            self.link(group, &name, &of_link, made)?;
            numbers.used();
        }
        self.skip_links(group, &mut numbers, info.max_corder)?;
        for filler in numbers.fillers {
            // SAFETY: the name is terminated.
            self.ok(unsafe { (table.H5Ldelete)(group.copy.get(), filler.as_ptr(), sys::H5P_DEFAULT) })?;
        }
        Ok(())
    }

    /// Uses up the numbers before that of the next link: those of links which are gone.
    fn skip_links(&self, group: &SourceGroup, numbers: &mut Numbers, next: i64) -> Result<()> {
        while let Some(filler) = numbers.filler(next) {
            // SAFETY: names are terminated.
            self.ok(unsafe {
                (self.table().H5Lcreate_soft)(
                    c".".as_ptr(),
                    group.copy.get(),
                    filler.as_ptr(),
                    sys::H5P_DEFAULT,
                    sys::H5P_DEFAULT,
                )
            })?;
        }
        Ok(())
    }

    fn link(
        &self,
        group: &SourceGroup,
        name: &CStr,
        info: &sys::H5L_info2_t,
        made: &mut CopiedObject,
    ) -> Result<()> {
        let table = self.table();
        let (from, to) = (group.original.get(), group.copy.get());
        let creation = self.link_creation(info.cset)?;
        if !matches!(info.type_, sys::H5L_TYPE_HARD | sys::H5L_TYPE_SOFT | sys::H5L_TYPE_EXTERNAL) {
            return self.user_defined(from, name, info.type_.0);
        }
        if self.becomes_hard(from, name, info)? {
            // SAFETY: identifiers are checked by the library, the name is terminated.
            let child = self.id(unsafe { (table.H5Oopen)(from, name.as_ptr(), sys::H5P_DEFAULT) })?;
            let copy = self.object(child.get(), group.depth + 1, made);
            let Some(copy): Option<Rc<Id>> = self.tried(copy, child.get(), None)? else { return Ok(()) };
            // SAFETY: as above.
            return self.ok(unsafe {
                (table.H5Olink)(copy.get(), to, name.as_ptr(), creation.get(), sys::H5P_DEFAULT)
            });
        }
        self.value_link(from, name, info, to, name, creation.get())
    }

    /// Leaves out a user-defined link, because the meaning of its value, and whether libhdf5 returns the value at all, depend on
    /// functions that only the programs which use its class have.
    fn user_defined(&self, group: Hid, name: &CStr, class: i32) -> Result<()> {
        let Some(left_out) = &self.left_out else {
            return Err(Error::unsupported(format!("H5Ocopy of a user-defined link of class {class}")));
        };
        let mut path = self.path_of(group);
        if !path.ends_with('/') {
            path.push('/');
        }
        path.push_str(&name.to_string_lossy());
        let reason = format!("a user-defined link of class {class}, whose functions only its programs have");
        left_out.borrow_mut().push(Refused { path, reason });
        Ok(())
    }

    /// Copies a link that has a value: a soft or an external one. In a container that refers to a native file an external one leads to
    /// the same file.
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
        let room = value.len() - 1;
        // SAFETY: the buffer has the size given along.
        self.ok(unsafe {
            (table.H5Lget_val)(from, name.as_ptr(), value.as_mut_ptr().cast(), room, sys::H5P_DEFAULT)
        })?;
        // SAFETY: the value is terminated by the byte beyond it; unpacked names lie in it.
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
                    room,
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
    /// As [`Self::leads_somewhere`], for a soft link.
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

    /// Whether a link leads to an object.
    ///
    /// # Errors
    /// The library's own, where a group on the way is missing.
    fn leads_somewhere(&self, group: Hid, name: &CStr) -> Result<bool> {
        // SAFETY: the name is terminated.
        let answer = unsafe { (self.table().H5Oexists_by_name)(group, name.as_ptr(), sys::H5P_DEFAULT) };
        self.ok(answer).map(|()| answer > 0)
    }

    /// A link creation list for names of a character set.
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
