//! A store that calls a hook before and after requests, as other processes could interfere.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use object_stores::{
    Capabilities, Condition, GetResult, Key, ListPage, ObjectMeta, ObjectStore, PutMode, PutPayload,
    PutResult, PutStream, Result,
};

/// The time of a hook's call, relative to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    BeforePut,
    BehindPut,
    BeforeDelete,
    BehindGet,
}

/// A hook that is called at a request for an object.
pub type Hook = dyn Fn(When, &Key) + Send + Sync;

pub struct Hooked {
    pub inner: Arc<dyn ObjectStore>,
    pub hook: Box<Hook>,
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl ObjectStore for Hooked {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn honours(&self, condition: Condition) -> bool {
        self.inner.honours(condition)
    }

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<GetResult> {
        let got = self.inner.get(key, range);
        (self.hook)(When::BehindGet, key);
        got
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        self.inner.get_into(key, offset, buf)
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.inner.head(key)
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        (self.hook)(When::BeforePut, key);
        let put = self.inner.put(key, payload, mode)?;
        (self.hook)(When::BehindPut, key);
        Ok(put)
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        self.inner.put_stream(key)
    }

    fn list_page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<ListPage> {
        self.inner.list_page(prefix, after, limit)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        (self.hook)(When::BeforeDelete, key);
        self.inner.delete(key)
    }
}
