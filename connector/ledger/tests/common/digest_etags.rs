//! A store with etags that are digests of the content, as S3's may be: an object that is put again with the same content
//! keeps its etag.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use h5lake_ledger::locks::Mutex;
use object_stores::{
    Capabilities, Condition, Error, ErrorKind, Etag, GetResult, Key, ListPage, ObjectMeta, ObjectStore,
    Operation, PutMode, PutPayload, PutResult, PutStream, Result,
};

#[derive(Debug)]
pub struct DigestEtags {
    inner: Arc<dyn ObjectStore>,
    /// Locked while a condition is checked and the put is carried out.
    puts: Mutex<()>,
}

impl DigestEtags {
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, puts: Mutex::default() }
    }

    fn etag(&self, key: &Key) -> Result<Etag> {
        let mut hasher = DefaultHasher::new();
        self.inner.get(key, None)?.bytes.hash(&mut hasher);
        Ok(Etag::new(format!("{:016x}", hasher.finish())))
    }

    fn shown(&self, meta: ObjectMeta) -> Result<ObjectMeta> {
        Ok(ObjectMeta { etag: Some(self.etag(&meta.key)?), ..meta })
    }
}

impl ObjectStore for DigestEtags {
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
        let got = self.inner.get(key, range)?;
        Ok(GetResult { meta: self.shown(got.meta)?, bytes: got.bytes })
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        self.shown(self.inner.get_into(key, offset, buf)?)
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.shown(self.inner.head(key)?)
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        let _one_at_a_time = self.puts.lock();
        let mode = match mode {
            PutMode::Update(etag) if self.etag(key).ok() != Some(etag.clone()) => {
                return Err(Error::new(ErrorKind::PreconditionFailed, Operation::Put).at(key));
            }
            PutMode::Update(_) => PutMode::Overwrite,
            mode => mode,
        };
        self.inner.put(key, payload, mode)?;
        Ok(PutResult { etag: Some(self.etag(key)?) })
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        self.inner.put_stream(key)
    }

    fn list_page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<ListPage> {
        let ListPage { objects, more } = self.inner.list_page(prefix, after, limit)?;
        let objects = objects.into_iter().map(|meta| self.shown(meta)).collect::<Result<_>>()?;
        Ok(ListPage { objects, more })
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key)
    }
}
