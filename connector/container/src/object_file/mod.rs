//! A native HDF5 file that is an object of a store, opened for reading: one version of the object, cached in extents as
//! far as the memory budget allows. docs/design/059.

mod ahead;
mod extents;
mod fetch;
mod pace;
#[cfg(test)]
mod tests;
mod touched;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Weak};

use h5lake_ledger::locks::Mutex;
use object_stores::{Etag, GetResult, Key, ObjectMeta, ObjectStore};

use self::ahead::Ahead;
use self::extents::Extents;
use self::pace::Pace;
pub use self::touched::touched_chunks;
use crate::chunk::memory_budget::Claim;
use crate::statistics::{ReportAtClose, Statistics};
use crate::{Error, ErrorKind, Options, Result, Target};

/// Number of bytes fetched at once for a short read.
const BLOCK_BYTES: u64 = 1 << 20;
/// Maximum number of bytes of one request; longer ranges are fetched by concurrent requests.
const MAX_REQUEST_BYTES: u64 = 4 << 20;
/// Maximum number of concurrent requests.
const MAX_REQUESTS: usize = 16;

/// The purpose of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The structure of the file.
    Metadata,
    /// Elements of datasets.
    Raw,
}

/// One version of an object that holds a native HDF5 file. Shared by all handles of that version.
pub struct ObjectFile {
    store: Arc<dyn ObjectStore>,
    key: Key,
    /// The version of the object, and its length.
    version: ObjectMeta,
    /// Its name in messages.
    name: String,
    extents: Arc<Mutex<Extents>>,
    pace: Mutex<Pace>,
    /// The read-ahead of the read in progress.
    ahead: Mutex<Option<Arc<Ahead>>>,
    statistics: ReportAtClose,
}

impl std::fmt::Debug for ObjectFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectFile")
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// The identity of a version of an object: the object's key, its etag (and its time if the etag is weak or missing),
/// and its length.
type Identity = (String, String, u64);

/// The objects that are open in this process.
static OPEN: LazyLock<Mutex<HashMap<Identity, Weak<ObjectFile>>>> = LazyLock::new(Mutex::default);

impl ObjectFile {
    /// Opens the version of an object that begins with `front`, which was just read. If this process has that version
    /// open, returns the open one.
    ///
    /// # Errors
    /// `InvalidArgument` for a target that is not an object.
    pub fn open(target: &Target, front: &GetResult, options: &Options) -> Result<Arc<Self>> {
        let Target::Objects { store, key, .. } = target else {
            return Err(Error::invalid("a local file is no object of a store"));
        };
        let key = Key::new(key).map_err(|e| Error::invalid(e.to_string()))?;
        let version = front.meta.clone();
        let said = match &version.etag {
            Some(etag) if !etag.is_weak() => etag.as_str().to_owned(),
            // A weak etag may be equal for different bytes with the same meaning.
            etag => format!("{:?} {:?}", etag.as_ref().map(Etag::as_str), version.modified),
        };
        let identity = (store.place_of(key.as_str()), said, version.size);
        let mut open = OPEN.lock();
        if let Some(found) = open.get(&identity).and_then(Weak::upgrade) {
            return Ok(found);
        }
        let claim = Claim::new(options.memory.clone(), options.cache_bytes);
        let extents = Arc::new(Mutex::new(Extents::new(claim)));
        options.memory.join(options.cache_bytes, &extents);
        extents.lock().insert(0, &front.bytes);
        let opened = Arc::new(Self {
            store: store.clone(),
            key,
            version,
            name: target.name(),
            extents,
            pace: Mutex::new(Pace::after_front(front.bytes.len() as u64)),
            ahead: Mutex::default(),
            statistics: ReportAtClose(Statistics::start(target, false, options)),
        });
        open.retain(|_, object| object.strong_count() > 0);
        open.insert(identity, Arc::downgrade(&opened));
        drop(open);
        tracing::info!(object = opened.name, bytes = opened.size(), "opened a native file in a store");
        Ok(opened)
    }

    /// Returns the length in bytes.
    pub fn size(&self) -> u64 {
        self.version.size
    }

    /// Returns whether the whole object is cached.
    pub fn is_here(&self) -> bool {
        self.extents.lock().missing(0..self.size()).is_empty()
    }

    /// Fills `buffer` with the bytes from `at` on, and with zeros after the object's end.
    ///
    /// # Errors
    /// Errno ESTALE (116) if the object was replaced or deleted; the error of the store if a request fails.
    pub fn read(&self, at: u64, buffer: &mut [u8], content: Content) -> Result<()> {
        let here = self.size().saturating_sub(at).min(buffer.len() as u64) as usize;
        let (buffer, behind) = buffer.split_at_mut(here);
        behind.fill(0);
        let mut done = 0;
        while done < buffer.len() {
            let copied = self.extents.lock().copy(at + done as u64, &mut buffer[done..]);
            self.statistics.0.blocks.note(copied > 0);
            done += copied;
            if done == buffer.len() {
                break;
            }
            let from = at + done as u64;
            let rest = &mut buffer[done..];
            done += match self.wait_ahead(from, rest)? {
                0 => self.fetch_for(from, rest, content)?,
                came => came,
            };
        }
        Ok(())
    }

    /// Fetches the bytes that `rest` needs, which begins at `from` with an uncached byte. Returns the number of bytes
    /// filled: 0 if that byte was cached meanwhile.
    fn fetch_for(&self, from: u64, rest: &mut [u8], content: Content) -> Result<usize> {
        let (length, gaps) = {
            // The gaps are determined under one lock, because read-ahead threads add bytes at any time.
            let extents = self.extents.lock();
            let first = extents.missing(from..from + rest.len() as u64).into_iter().next();
            let Some(wanted) = first.filter(|gap| gap.start == from) else { return Ok(0) };
            let available = extents.available();
            let may_be_whole = available >= self.size() / 4 * 5;
            let range = self.pace.lock().range_for(&wanted, content, self.size(), may_be_whole);
            let length = (wanted.end - from) as usize;
            // Bytes that would evict everything else are not cached.
            let is_kept = range != wanted || length as u64 <= available / 4;
            (length, is_kept.then(|| extents.missing(range)))
        };
        match gaps {
            Some(gaps) => self.fetch_all(&gaps, (from, &mut rest[..length]))?,
            None => self.fetch_into(from, &mut rest[..length])?,
        }
        Ok(length)
    }

    /// Returns the error for a request that failed.
    fn failed(&self, error: &object_stores::Error) -> Error {
        use object_stores::ErrorKind as E;
        let name = &self.name;
        match error.kind() {
            E::PreconditionFailed | E::NotFound | E::ShortRead => {
                let what = if error.kind() == E::NotFound { "deleted" } else { "replaced" };
                let text = format!("{name}: the object was {what} while it was open; open the file again");
                Error::new(ErrorKind::Gone, text).with_errno(Some(ESTALE))
            }
            _ => Error::new(ErrorKind::Io, format!("{name}: {error}")).with_errno(error.errno()),
        }
    }

    /// Makes one request.
    fn get(&self, range: Range<u64>) -> Result<bytes::Bytes> {
        let got = self.store.get_unchanged(&self.key, range.clone(), &self.version);
        let bytes = got.map_err(|error| self.failed(&error))?.bytes;
        if bytes.len() as u64 == range.end - range.start {
            return Ok(bytes);
        }
        let text = format!("{}: {} bytes came for {}..{}", self.name, bytes.len(), range.start, range.end);
        Err(Error::new(ErrorKind::Io, text))
    }
}

/// The error number of Linux for a handle of a deleted object.
const ESTALE: i32 = 116;
