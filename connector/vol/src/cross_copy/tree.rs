//! The objects that a copy has whatever references lead to.

use std::collections::HashMap;

use h5lake_plugin_abi::bindings as sys;

use super::{CrossCopier, ObjectKey};
use crate::error::Result;
use crate::hdf5::id::Id;
use crate::hdf5::library::Hid;

impl CrossCopier {
    /// The objects that a copy of `source` has, each with its depth below `source`.
    pub(super) fn tree_of(&self, source: Hid) -> Result<HashMap<ObjectKey, u32>> {
        let mut found = HashMap::new();
        let mut pending = vec![(self.library.share(source)?, 0)];
        while let Some((object, depth)) = pending.pop() {
            let info = self.info(object.get())?;
            let key: ObjectKey = (info.fileno, info.token.__data);
            // Links of an object that is reached on a shorter way are followed again: a shallow copy has more of them.
            if found.get(&key).is_some_and(|known| *known <= depth) {
                continue;
            }
            found.insert(key, depth);
            let is_cut = depth > 0 && self.has(sys::H5O_COPY_SHALLOW_HIERARCHY_FLAG);
            if info.type_ == sys::H5O_TYPE_GROUP && !is_cut {
                let members = self.members(&object)?;
                pending.extend(members.into_iter().map(|member| (member, depth + 1)));
            }
        }
        Ok(found)
    }

    /// The objects that a copy of a group has as its members.
    fn members(&self, group: &Id) -> Result<Vec<Id>> {
        let (table, of) = (self.table(), group.get());
        // SAFETY: all-zero is a valid value of this plain structure; the answer's place outlives the call.
        let mut info: sys::H5G_info_t = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        self.ok(unsafe { (table.H5Gget_info)(of, &mut info) })?;
        let mut members = Vec::new();
        for index in 0..info.nlinks {
            let (by, order, here) = (sys::H5_INDEX_NAME, sys::H5_ITER_INC, c".".as_ptr());
            // SAFETY: the name is terminated, the buffer has the size given along.
            let name = self.name(|buffer, size| unsafe {
                (table.H5Lget_name_by_idx)(of, here, by, order, index, buffer, size, sys::H5P_DEFAULT)
            })?;
            if self.becomes_hard(of, &name, &self.link_info(of, &name)?)? {
                // SAFETY: the name is terminated.
                members.push(self.id(unsafe { (table.H5Oopen)(of, name.as_ptr(), sys::H5P_DEFAULT) })?);
            }
        }
        Ok(members)
    }
}
