//! The storage of a ledger as that of a file or of a store, for the operations that only one of the two has.

use crate::file::FileStorage;
use crate::storage::Storage;
use crate::store::ObjectStorage;

/// Returns a storage as a value of its own type.
pub(crate) trait StorageKinds {
    /// Returns the storage of a container in a file; `None` for a container in a store.
    fn as_file(&self) -> Option<&FileStorage>;

    /// Returns the storage of a container in a store; `None` for a container in a file.
    fn as_objects(&self) -> Option<&ObjectStorage>;
}

impl StorageKinds for dyn Storage + '_ {
    fn as_file(&self) -> Option<&FileStorage> {
        self.as_any().downcast_ref()
    }

    fn as_objects(&self) -> Option<&ObjectStorage> {
        self.as_any().downcast_ref()
    }
}
