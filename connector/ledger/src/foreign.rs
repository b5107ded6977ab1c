//! Objects that are not containers: retains the bytes that were read of such an object, for a caller that can use them.

use std::fmt;
use std::sync::{Arc, OnceLock};

use object_stores::GetResult;

use crate::signatures::{HDF5, POINTER, SIGNATURE};

/// The first offsets at which an HDF5 file can begin in an object: 0, or after a user block of 512 bytes or twice, four
/// times … as much.
const FIRST_USER_BLOCK: usize = 512;

/// Receives the front of an object that was opened as a container and is not one. Clones share the front.
#[derive(Clone, Default)]
pub struct ForeignObject(Arc<OnceLock<GetResult>>);

impl fmt::Debug for ForeignObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForeignObject").field(&self.0.get().map(|front| &front.meta)).finish()
    }
}

impl ForeignObject {
    /// Stores the bytes that were read of an object.
    pub(crate) fn keep(&self, front: &GetResult) {
        let _the_first_look_counts = self.0.set(front.clone());
    }

    /// Returns the front of the object, if it is a native HDF5 file.
    pub fn native_hdf5(&self) -> Option<&GetResult> {
        self.0.get().filter(|front| is_native_hdf5(&front.bytes))
    }
}

/// Returns whether the front of an object shows a native HDF5 file, perhaps after a user block.
pub(crate) fn is_native_hdf5(front: &[u8]) -> bool {
    let mut at = 0;
    while let Some(tail) = front.get(at..) {
        if tail.starts_with(HDF5) {
            return !tail.starts_with(SIGNATURE) && !tail.starts_with(POINTER);
        }
        at = if at == 0 { FIRST_USER_BLOCK } else { at.saturating_mul(2) };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_files_are_found_behind_user_blocks() {
        for at in [0, 512, 1024, 4096, 1 << 19] {
            let mut front = vec![0; 1 << 20];
            front[at..at + 8].copy_from_slice(HDF5);
            assert!(is_native_hdf5(&front), "{at}");
            front[at..at + 16].copy_from_slice(SIGNATURE);
            assert!(!is_native_hdf5(&front), "{at}");
        }
        let mut odd = vec![0; 4096];
        odd[513..521].copy_from_slice(HDF5);
        assert!(!is_native_hdf5(&odd) && !is_native_hdf5(b"") && !is_native_hdf5(POINTER));
    }
}
