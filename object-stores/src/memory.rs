//! Objects in the memory of this process.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use crate::store::{check_exact, resolve_range};
use crate::{
    Capabilities, Condition, Error, ErrorKind, Etag, GetResult, Key, ListPage, ObjectMeta, ObjectStore,
    Operation, PutMode, PutPayload, PutResult, PutStream, Result,
};

/// The stores that [`MemoryStore::named`] shares.
static NAMED: Mutex<BTreeMap<String, MemoryStore>> = Mutex::new(BTreeMap::new());

/// A store in memory. Its objects do not outlive the process; apart from that it behaves like any store.
///
/// Clones share their objects. Etags count the puts of the store, so no etag is ever used twice.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    name: Arc<str>,
    objects: Arc<RwLock<Objects>>,
}

#[derive(Default)]
struct Objects {
    by_key: BTreeMap<Key, Object>,
    puts: u64,
}

#[derive(Clone)]
struct Object {
    bytes: Bytes,
    version: u64,
    modified: SystemTime,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects").field("count", &self.by_key.len()).field("puts", &self.puts).finish()
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore::new()
    }
}

impl MemoryStore {
    /// Returns a new, empty store that is not shared by name.
    pub fn new() -> Self {
        MemoryStore::with_name("")
    }

    /// Returns a new, empty store with the name `memory:name`. Unlike the stores of [`named`](Self::named), it is not
    /// shared by that name.
    pub fn with_name(name: &str) -> Self {
        MemoryStore { name: Arc::from(name), objects: Arc::default() }
    }

    /// Returns the store of this process with the name `name` (any text, also an empty one). Makes an empty store if
    /// the name is unknown. The store lives until the process ends or the name is [forgotten](Self::forget).
    pub fn named(name: &str) -> Self {
        let mut named = NAMED.lock();
        named.entry(name.to_owned()).or_insert_with(|| MemoryStore::with_name(name)).clone()
    }

    /// Forgets the name; returns whether it was known. The objects are freed when the last user of the store drops it.
    pub fn forget(name: &str) -> bool {
        NAMED.lock().remove(name).is_some()
    }

    /// Returns the number of objects, and the total number of their bytes.
    pub fn usage(&self) -> (usize, u64) {
        let objects = self.objects.read();
        (objects.by_key.len(), objects.by_key.values().map(|object| object.bytes.len() as u64).sum())
    }

    fn error(&self, kind: ErrorKind, operation: Operation, key: &Key) -> Error {
        Error::new(kind, operation).at(key).in_store(self.name())
    }

    fn find(&self, operation: Operation, key: &Key) -> Result<Object> {
        let found = self.objects.read().by_key.get(key).cloned();
        found.ok_or_else(|| self.error(ErrorKind::NotFound, operation, key))
    }

    fn part(&self, key: &Key, range: Option<Range<u64>>, object: &Object) -> Result<GetResult> {
        let range =
            resolve_range(range, object.bytes.len() as u64).map_err(|e| e.at(key).in_store(self.name()))?;
        Ok(GetResult { meta: object.meta(key), bytes: object.bytes.slice(in_memory(range)) })
    }
}

impl Object {
    fn meta(&self, key: &Key) -> ObjectMeta {
        ObjectMeta {
            key: key.clone(),
            size: self.bytes.len() as u64,
            modified: self.modified,
            etag: Some(etag(self.version)),
        }
    }
}

fn etag(version: u64) -> Etag {
    Etag::new(version.to_string())
}

/// Converts offsets that were checked against the length of a slice, and so fit in `usize`.
fn in_memory(range: Range<u64>) -> Range<usize> {
    range.start as usize..range.end as usize
}

impl Objects {
    /// Puts under the write lock, so that the check of the condition and the effect are one atomic step.
    fn put(&mut self, key: &Key, bytes: Bytes, mode: &PutMode) -> std::result::Result<PutResult, ErrorKind> {
        let present = self.by_key.get(key).map(|object| etag(object.version));
        match mode {
            PutMode::Overwrite => {}
            PutMode::Create if present.is_some() => return Err(ErrorKind::AlreadyExists),
            PutMode::Create => {}
            PutMode::Update(expected) if present.as_ref() == Some(expected) => {}
            PutMode::Update(_) => return Err(ErrorKind::PreconditionFailed),
        }
        self.puts += 1;
        let object = Object { bytes, version: self.puts, modified: SystemTime::now() };
        self.by_key.insert(key.clone(), object);
        Ok(PutResult { etag: Some(etag(self.puts)) })
    }
}

impl ObjectStore for MemoryStore {
    fn name(&self) -> String {
        format!("memory:{}", self.name)
    }

    fn place_of(&self, key: &str) -> String {
        // Several stores may have the same name, so the address of their objects distinguishes them.
        format!("memory:{:p} {key}", Arc::as_ptr(&self.objects))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { nested_keys: true, persistent: false, near: true, remote: false, keeps_pieces: true }
    }

    fn honours(&self, _: Condition) -> bool {
        true
    }

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<GetResult> {
        let object = self.find(Operation::Get, key)?;
        self.part(key, range, &object)
    }

    fn get_if_changed(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        known: &Etag,
    ) -> Result<Option<GetResult>> {
        let object = self.find(Operation::Get, key)?;
        if known.is_still(Some(&etag(object.version))) {
            return Ok(None);
        }
        self.part(key, range, &object).map(Some)
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        let object = self.find(Operation::GetInto, key)?;
        let len = buf.len() as u64;
        check_exact(offset, len, object.bytes.len() as u64).map_err(|e| e.at(key).in_store(self.name()))?;
        buf.copy_from_slice(&object.bytes[in_memory(offset..offset + len)]);
        Ok(object.meta(key))
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        Ok(self.find(Operation::Head, key)?.meta(key))
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        let bytes = payload.into_bytes();
        let answer = self.objects.write().put(key, bytes, &mode);
        answer.map_err(|kind| self.error(kind, Operation::Put, key))
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        Ok(Box::new(MemoryStream { store: self.clone(), key: key.clone(), pieces: PutPayload::new() }))
    }

    fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<ListPage> {
        // No key that is less than the prefix begins with it, so the listing starts at the greater of the two.
        let from = match start_after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let objects = self.objects.read();
        let mut found = objects
            .by_key
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.as_str().starts_with(prefix));
        let page = found.by_ref().take(limit.max(1)).map(|(key, object)| object.meta(key)).collect();
        Ok(ListPage { objects: page, more: found.next().is_some() })
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.objects.write().by_key.remove(key);
        Ok(())
    }
}

/// The pieces of an object that is not yet visible.
#[derive(Debug)]
struct MemoryStream {
    store: MemoryStore,
    key: Key,
    pieces: PutPayload,
}

impl PutStream for MemoryStream {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_bytes(Bytes::copy_from_slice(bytes))
    }

    fn write_bytes(&mut self, bytes: Bytes) -> Result<()> {
        self.pieces.push(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<PutResult> {
        let MemoryStream { store, key, pieces } = *self;
        let bytes = pieces.into_bytes();
        let answer = store.objects.write().put(&key, bytes, &PutMode::Overwrite);
        answer.map_err(|kind| store.error(kind, Operation::StreamFinish, &key))
    }

    fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        crate::conformance::run(|| Arc::new(MemoryStore::new()));
    }
}
