//! A namespace of a pool, in which objects have names.

use std::sync::Arc;

use crate::Cluster;
use crate::library::{Functions, Raw};

/// A namespace of a pool.
pub struct Pool {
    pub(crate) functions: &'static Functions,
    pub(crate) raw: Raw,
    pub(crate) cluster: Arc<Cluster>,
}

// SAFETY: any thread may operate on a pool's handle; changing its settings, which only one thread may do, happens
// before it is shared ("librados.h", `rados_ioctx_t`).
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pool")
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.cluster.can_end() {
            // SAFETY: the handle is released once. Operations in progress retain the parts that they need.
            unsafe { (self.functions.ioctx_destroy)(self.raw) }
        }
    }
}
