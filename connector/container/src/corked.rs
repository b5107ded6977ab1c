//! Objects with disabled metadata flushes (`H5Odisable_mdc_flushes`). The setting lasts while the object is open.

use crate::{Container, ObjectId};

impl Container {
    /// Corks an open object for all its handles, until the last of them is closed. Returns false if the object is
    /// already corked or is not open.
    pub fn cork(&self, id: ObjectId) -> bool {
        // Takes the locks in the order of the last close, so that no cork outlives the object.
        let opens = self.handles.counts.lock();
        opens.contains_key(&id.0) && self.handles.corked.lock().insert(id.0)
    }

    /// Uncorks an object. Returns false if it is not corked.
    pub fn uncork(&self, id: ObjectId) -> bool {
        self.handles.corked.lock().remove(&id.0)
    }

    /// Returns whether an object is corked.
    pub fn is_corked(&self, id: ObjectId) -> bool {
        self.handles.corked.lock().contains(&id.0)
    }
}
