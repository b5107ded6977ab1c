//! A part of a store, as a store of its own.

use std::ops::Range;
use std::sync::Arc;

use crate::{
    Capabilities, Condition, Error, ErrorKind, Etag, FilterAsk, FilterMatches, GetResult, Key, ListPage,
    ObjectMeta, ObjectStore, Operation, PutMode, PutPayload, PutResult, PutStream, Result,
};

/// The objects of a store below `PREFIX/`, under keys without that prefix.
///
/// The object `a` of this store is the object `PREFIX/a` of the inner one. Errors name the inner store and its key,
/// because the object is found there. Durability is that of the inner store.
#[derive(Clone, Debug)]
pub struct PrefixStore {
    inner: Arc<dyn ObjectStore>,
    prefix: Key,
}

impl PrefixStore {
    /// Returns the part of `inner` below `prefix`.
    pub fn new(inner: Arc<dyn ObjectStore>, prefix: Key) -> Self {
        PrefixStore { inner, prefix }
    }

    /// Converts a key. The only possible error is a key that is too long for the inner store.
    fn outer_to_inner(&self, operation: Operation, key: &Key) -> Result<Key> {
        self.prefix.join(key).map_err(|e| {
            Error::new(ErrorKind::InvalidArgument, operation).at(key).in_store(self.name()).with_source(e)
        })
    }

    fn inner_to_outer(&self, mut meta: ObjectMeta, operation: Operation) -> Result<ObjectMeta> {
        let rest = meta.key.as_str().strip_prefix(self.prefix.as_str()).and_then(|key| key.strip_prefix('/'));
        match rest.map(Key::new) {
            Some(Ok(key)) => {
                meta.key = key;
                Ok(meta)
            }
            _ => Err(Error::new(ErrorKind::Corrupt, operation)
                .at(&meta.key)
                .in_store(self.inner.name())
                .because(format!("the store answered with a key outside of {:?}", self.prefix))),
        }
    }
}

impl ObjectStore for PrefixStore {
    fn name(&self) -> String {
        let inner = self.inner.name();
        let separator = if inner.ends_with(['/', ':']) { "" } else { "/" };
        format!("{inner}{separator}{}", self.prefix)
    }

    fn place_of(&self, key: &str) -> String {
        self.inner.place_of(&format!("{}/{key}", self.prefix))
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn honours(&self, condition: Condition) -> bool {
        self.inner.honours(condition)
    }

    fn why_not(&self, condition: Condition) -> Option<String> {
        self.inner.why_not(condition)
    }

    fn keeps_noncurrent(&self, key: &Key) -> Result<Option<bool>> {
        self.inner.keeps_noncurrent(&self.outer_to_inner(Operation::Head, key)?)
    }

    fn why_not_key(&self, key: &Key) -> Option<String> {
        match self.prefix.join(key) {
            Ok(key) => self.inner.why_not_key(&key),
            Err(e) => Some(e.to_string()),
        }
    }

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<GetResult> {
        let got = self.inner.get(&self.outer_to_inner(Operation::Get, key)?, range)?;
        Ok(GetResult { meta: self.inner_to_outer(got.meta, Operation::Get)?, bytes: got.bytes })
    }

    fn get_unchanged(&self, key: &Key, range: Range<u64>, version: &ObjectMeta) -> Result<GetResult> {
        let got = self.inner.get_unchanged(&self.outer_to_inner(Operation::Get, key)?, range, version)?;
        Ok(GetResult { meta: self.inner_to_outer(got.meta, Operation::Get)?, bytes: got.bytes })
    }

    fn get_if_changed(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        known: &Etag,
    ) -> Result<Option<GetResult>> {
        let got = self.inner.get_if_changed(&self.outer_to_inner(Operation::Get, key)?, range, known)?;
        let outer = |got: GetResult| {
            Ok(GetResult { meta: self.inner_to_outer(got.meta, Operation::Get)?, bytes: got.bytes })
        };
        got.map(outer).transpose()
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        let meta = self.inner.get_into(&self.outer_to_inner(Operation::GetInto, key)?, offset, buf)?;
        self.inner_to_outer(meta, Operation::GetInto)
    }

    fn get_each(&self, key: &Key, range: Range<u64>, take: &mut dyn FnMut(&[u8])) -> Result<ObjectMeta> {
        let meta = self.inner.get_each(&self.outer_to_inner(Operation::GetInto, key)?, range, take)?;
        self.inner_to_outer(meta, Operation::GetInto)
    }

    fn scatters(&self) -> bool {
        self.inner.scatters()
    }

    fn get_scattered(&self, key: &Key, offset: u64, parts: &mut [&mut [u8]]) -> Result<ObjectMeta> {
        let key = self.outer_to_inner(Operation::GetInto, key)?;
        self.inner_to_outer(self.inner.get_scattered(&key, offset, parts)?, Operation::GetInto)
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        let meta = self.inner.head(&self.outer_to_inner(Operation::Head, key)?)?;
        self.inner_to_outer(meta, Operation::Head)
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        self.inner.put(&self.outer_to_inner(Operation::Put, key)?, payload, mode)
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        self.inner.put_stream(&self.outer_to_inner(Operation::StreamStart, key)?)
    }

    fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<ListPage> {
        let inner_of = |text: &str| format!("{}/{text}", self.prefix);
        let page = self.inner.list_page(&inner_of(prefix), start_after.map(inner_of).as_deref(), limit)?;
        let objects = page
            .objects
            .into_iter()
            .map(|meta| self.inner_to_outer(meta, Operation::List))
            .collect::<Result<_>>()?;
        Ok(ListPage { objects, more: page.more })
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(&self.outer_to_inner(Operation::Delete, key)?)
    }

    fn delete_many(&self, keys: &[Key]) -> Result<()> {
        let keys: Vec<_> =
            keys.iter().map(|key| self.outer_to_inner(Operation::DeleteMany, key)).collect::<Result<_>>()?;
        self.inner.delete_many(&keys)
    }

    fn filters(&self) -> bool {
        self.inner.filters()
    }

    fn filter(&self, key: &Key, asked: &FilterAsk) -> Result<FilterMatches> {
        self.inner.filter(&self.outer_to_inner(Operation::Get, key)?, asked)
    }

    fn clock(&self) -> Option<std::time::SystemTime> {
        self.inner.clock()
    }

    fn forget(&self, key: &Key) {
        if let Ok(key) = self.outer_to_inner(Operation::Get, key) {
            self.inner.forget(&key);
        }
    }

    fn spend_reserve(&self) -> bool {
        self.inner.spend_reserve()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, ObjectStoreExt};

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    /// Returns a store over neighbouring objects of the inner store, which must not be visible through it.
    fn over(inner: Arc<dyn ObjectStore>) -> PrefixStore {
        for neighbour in ["a", "p/q-", "p/q0", "p/q.x/a", "z"] {
            inner.put(&key(neighbour), "neighbour".into(), PutMode::Overwrite).unwrap();
        }
        PrefixStore::new(inner, key("p/q"))
    }

    #[test]
    fn conforms() {
        crate::conformance::run(|| Arc::new(over(Arc::new(MemoryStore::new()))));
        let outer = tempfile::tempdir().unwrap();
        crate::conformance::run(|| {
            let dir = tempfile::tempdir_in(outer.path()).unwrap().keep();
            Arc::new(over(Arc::new(crate::DirStore::open(dir, Default::default()).unwrap())))
        });
    }

    #[test]
    fn an_object_has_one_location_for_any_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let in_dir: Arc<dyn ObjectStore> = Arc::new(crate::DirStore::open(&dir, Default::default()).unwrap());
        let below = crate::DirStore::open(dir.path().join("p/a"), Default::default()).unwrap();
        assert_eq!(below.place_of("x"), in_dir.place_of("p/a/x"));
        for inner in [in_dir, Arc::new(MemoryStore::new())] {
            let deep = PrefixStore::new(inner.clone(), key("p/a"));
            let deeper = PrefixStore::new(Arc::new(PrefixStore::new(inner.clone(), key("p"))), key("a"));
            assert_eq!(deep.place_of("x"), inner.place_of("p/a/x"));
            assert_eq!(deeper.place_of("x"), inner.place_of("p/a/x"));
            assert_ne!(deep.place_of("y"), inner.place_of("p/a/x"));
        }
        assert_ne!(MemoryStore::new().place_of("x"), MemoryStore::named("").place_of("x"));
        assert_eq!(MemoryStore::named("m").place_of("x"), MemoryStore::named("m").place_of("x"));
    }

    #[test]
    fn the_object_is_the_inner_store_s() {
        let inner = MemoryStore::with_name("m");
        let store = over(Arc::new(inner.clone()));
        store.put(&key("x/y"), "bytes".into(), PutMode::Create).unwrap();
        assert_eq!(inner.get(&key("p/q/x/y"), None).unwrap().bytes, "bytes");
        let refused = store.get(&key("none"), None).unwrap_err();
        assert_eq!((refused.store(), refused.key()), (Some("memory:m"), Some("p/q/none")));
        assert_eq!(store.name(), "memory:m/p/q");
    }

    #[test]
    fn a_key_that_gets_too_long_is_refused() {
        let store = PrefixStore::new(Arc::new(MemoryStore::new()), key(&vec!["p"; 400].join("/")));
        let long = key(&vec!["k"; 400].join("/"));
        let refused = store.put(&long, "x".into(), PutMode::Overwrite).unwrap_err();
        assert_eq!((refused.kind(), refused.operation()), (ErrorKind::InvalidArgument, Operation::Put));
        assert!(store.list("", None).next().is_none());
    }
}
