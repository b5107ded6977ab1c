//! Objects whose metadata flushes a program has disabled (`H5Odisable_mdc_flushes`), for as long as they are open.

use crate::{Container, ObjectId};

impl Container {
    /// Corks an open object for all who have it open, until the last of them closes it. False if it is corked, or is not open.
    pub fn cork(&self, id: ObjectId) -> bool {
        // As the last close does, so that none is left behind.
        let opens = self.handles.counts.lock();
        opens.contains_key(&id.0) && self.handles.corked.lock().insert(id.0)
    }

    /// Uncorks an object. False if it is not corked.
    pub fn uncork(&self, id: ObjectId) -> bool {
        self.handles.corked.lock().remove(&id.0)
    }

    /// Whether an object is corked.
    pub fn is_corked(&self, id: ObjectId) -> bool {
        self.handles.corked.lock().contains(&id.0)
    }
}
