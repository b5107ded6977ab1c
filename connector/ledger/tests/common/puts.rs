//! A store with replaced puts and with failing reads.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use object_stores::{
    Capabilities, Condition, Error, ErrorKind, GetResult, Key, ListPage, ObjectMeta, ObjectStore, Operation,
    PutMode, PutPayload, PutResult, PutStream, Result,
};

/// A function that is called instead of a put; it returns `None` to let the put proceed.
pub type OnPut =
    dyn Fn(&dyn ObjectStore, &Key, &PutPayload, &PutMode) -> Option<Result<PutResult>> + Send + Sync;

/// A store with replaced puts and with failing reads.
pub struct Puts {
    inner: Arc<dyn ObjectStore>,
    on_put: Box<OnPut>,
    is_blind: Arc<AtomicBool>,
}

pub fn puts(
    inner: &Arc<dyn ObjectStore>,
    is_blind: &Arc<AtomicBool>,
    on_put: Box<OnPut>,
) -> Arc<dyn ObjectStore> {
    Arc::new(Puts { inner: inner.clone(), on_put, is_blind: is_blind.clone() })
}

impl std::fmt::Debug for Puts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl Puts {
    fn look(&self, key: &Key) -> Result<()> {
        match self.is_blind.load(Ordering::SeqCst) {
            true => Err(timeout(Operation::Get, key)),
            false => Ok(()),
        }
    }
}

pub fn timeout(op: Operation, key: &Key) -> Error {
    Error::new(ErrorKind::Timeout, op).at(key)
}

impl ObjectStore for Puts {
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
        self.look(key).and_then(|()| self.inner.get(key, range))
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        self.look(key).and_then(|()| self.inner.get_into(key, offset, buf))
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.look(key).and_then(|()| self.inner.head(key))
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        let done = (self.on_put)(self.inner.as_ref(), key, &payload, &mode);
        done.unwrap_or_else(|| self.inner.put(key, payload, mode))
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        self.inner.put_stream(key)
    }

    fn list_page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<ListPage> {
        self.inner.list_page(prefix, after, limit)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key)
    }
}
