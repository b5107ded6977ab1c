//! Marks that programs put on objects, and that last as long as the object is open.

use crate::{Container, ObjectId};

impl Container {
    /// Marks an open object, or takes its mark away. All who have it open see the mark, and it goes with the last of them.
    /// False if nothing changed by that.
    pub fn mark_open(&self, id: ObjectId, on: bool) -> bool {
        // As the last close does, so that none is left behind.
        let opens = self.opens.lock();
        let mut marked = self.marked.lock();
        if on { opens.contains_key(&id.0) && marked.insert(id.0) } else { marked.remove(&id.0) }
    }

    /// Whether an open object is marked.
    pub fn is_marked(&self, id: ObjectId) -> bool {
        self.marked.lock().contains(&id.0)
    }
}
