//! Marks that programs put on objects, and that last as long as the object is open.

use crate::{Container, ObjectId};

impl Container {
    /// Marks an open object. All who have it open see the mark, and it goes with the last of them. False if it has its mark, or is
    /// not open.
    pub fn mark_open(&self, id: ObjectId) -> bool {
        // As the last close does, so that none is left behind.
        let opens = self.opens.lock();
        opens.contains_key(&id.0) && self.marked.lock().insert(id.0)
    }

    /// Takes the mark of an object away. False if it has none.
    pub fn unmark_open(&self, id: ObjectId) -> bool {
        self.marked.lock().remove(&id.0)
    }

    /// Whether an open object is marked.
    pub fn is_marked(&self, id: ObjectId) -> bool {
        self.marked.lock().contains(&id.0)
    }
}
