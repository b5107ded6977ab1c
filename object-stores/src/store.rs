//! Defines `ObjectStore`, the trait that every store implements.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::{
    Error, ErrorKind, FilterAsk, FilterMatches, Key, Operation, PutPayload, Requests, Result, StagedStore,
};

/// The version of an object's content: opaque, given by the store, compared for equality only.
///
/// Two versions of one key never have the same etag unless their content is the same (S3's etags
/// may be digests of the content), so a successful [`PutMode::Update`] replaced exactly the content
/// that the etag was read with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Etag(Arc<str>);

impl Etag {
    /// Returns the etag with this text, which a store gave.
    pub fn new(text: impl AsRef<str>) -> Self {
        Etag(Arc::from(text.as_ref()))
    }

    /// The etag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the etag is weak (RFC 9110, section 8.8.1): equal weak etags say only that the contents mean the
    /// same. Web servers send weak etags.
    pub fn is_weak(&self) -> bool {
        self.0.starts_with("W/")
    }

    /// Returns whether `found` equals this etag and proves that the content is unchanged. Equal weak etags prove
    /// nothing.
    pub fn is_still(&self, found: Option<&Etag>) -> bool {
        !self.is_weak() && found == Some(self)
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The metadata of an object, which a store returns without reading the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// The object's key.
    pub key: Key,
    /// Its length in bytes.
    pub size: u64,
    /// The time of the last put, by the store's clock; whole seconds in some stores.
    pub modified: SystemTime,
    /// Its version; `None` only if the store does not honour [`Condition::Update`].
    pub etag: Option<Etag>,
}

impl ObjectMeta {
    /// Returns whether both describe the same version of an object. Strong etags are compared alone. If a store gives
    /// no etag, or a weak one, length and modification time have to be equal too.
    pub fn is_same_version(&self, other: &ObjectMeta) -> bool {
        let is_exact = self.etag.as_ref().is_some_and(|etag| !etag.is_weak());
        self.etag == other.etag && (is_exact || (self.size == other.size && self.modified == other.modified))
    }
}

/// The answer to [`ObjectStore::get`].
#[derive(Clone, Debug)]
pub struct GetResult {
    /// The metadata of the object that the bytes are from: `meta.size` is the whole object's.
    pub meta: ObjectMeta,
    /// The requested bytes.
    pub bytes: Bytes,
}

/// The condition under which [`ObjectStore::put`] takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// No condition: creates or replaces the object.
    Overwrite,
    /// The put takes effect if there is no object under the key (HTTP `If-None-Match: *`). Exactly one of several
    /// racing creators, in any number of processes, wins; every other one gets [`ErrorKind::AlreadyExists`]. A remote
    /// store repeats a request if the answer is lost, and may then return this error to the winner too. A caller that
    /// has to know puts content that only it can have written, and reads the object back.
    Create,
    /// The put takes effect if the object under the key has this etag (HTTP `If-Match`). Exactly one of several racing
    /// updates from the same etag wins; every other one gets [`ErrorKind::PreconditionFailed`], and so does an update
    /// of a key that has no object.
    Update(Etag),
}

/// The answer to a put that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutResult {
    /// The new object's version; `None` only if the store does not honour [`Condition::Update`].
    pub etag: Option<Etag>,
}

/// The condition of a put, which not every store honours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The condition of [`PutMode::Create`].
    Create,
    /// The condition of [`PutMode::Update`].
    Update,
}

impl Condition {
    /// Returns the HTTP header that expresses this condition.
    pub fn header(self) -> &'static str {
        match self {
            Condition::Create => "If-None-Match",
            Condition::Update => "If-Match",
        }
    }
}

/// The properties in which stores differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `a` and `a/b` can both be objects. If not, the second one put answers
    /// [`ErrorKind::Unsupported`].
    pub nested_keys: bool,
    /// Objects outlive the process.
    pub persistent: bool,
    /// Objects are in this process's memory: [`get`](ObjectStore::get) returns the very bytes that were put, not a copy
    /// that may be damaged. Parallel requests and caching gain nothing.
    pub near: bool,
    /// Each request is a network round trip, so that it is worth a thread to do other work meanwhile.
    pub remote: bool,
    /// The store keeps the pieces of a [`PutPayload`] themselves. If this is false, the store releases the pieces soon
    /// after the put returns, successfully or not, so that borrowed memory can be lent to the put.
    pub keeps_pieces: bool,
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// The objects of the page, in key order.
    pub objects: Vec<ObjectMeta>,
    /// True if there may be objects after the last one of the page. A page with `more` is never empty.
    pub more: bool,
}

/// A store of objects.
///
/// **Visibility.** Every operation that starts after an operation has returned sees its effect, in any thread or
/// process (S3's strong read-after-write consistency). A reader sees an object whole, old or new, never a mixture.
///
/// **Errors.** A mutating operation that failed with [`ErrorKind::is_ambiguous`] may have had its effect; after any
/// other kind of error it had no effect (for [`delete_many`](Self::delete_many): no effect on the key that the error
/// names).
///
/// **Ranges.** Ranges are byte offsets from the object's start. See [`get`](Self::get).
pub trait ObjectStore: fmt::Debug + Send + Sync {
    /// Returns the store's URL or another short name for messages. The name never contains credentials.
    fn name(&self) -> String;

    /// Returns the properties of the store, without a request. They do not change while the store lives.
    fn capabilities(&self) -> Capabilities;

    /// Returns whether the store honours a condition. If it does not, puts with this condition return
    /// [`ErrorKind::Unsupported`]. The answer does not change while the store lives. A remote store may have to probe
    /// its server with puts to find the answer, so only a caller that is about to write should ask.
    fn honours(&self, condition: Condition) -> bool;

    /// Returns, for a message, why the store does not honour a condition; `None` if the store honours it or gives no
    /// reason. May probe the server as [`honours`](Self::honours) does.
    fn why_not(&self, _condition: Condition) -> Option<String> {
        None
    }

    /// Returns the reason, for a message, why this store refuses a key; `None` if the store keeps an object under
    /// exactly this name. A store refuses the names that its server would change: each operation with such a key
    /// returns [`ErrorKind::InvalidArgument`], because two keys must never name the same object. Sends no request to a
    /// server.
    fn why_not_key(&self, _key: &Key) -> Option<String> {
        None
    }

    /// Returns a name of the object under `key` that is unique among all stores that this process can reach. Two keys
    /// have equal names if and only if they mean the same object, whatever prefixes their stores begin at.
    fn place_of(&self, key: &str) -> String {
        format!("{} {key}", self.name())
    }

    /// Reads an object, whole or the part of `range` that exists. Changes nothing.
    ///
    /// A range that extends beyond the object's end is truncated there, as in HTTP; compare lengths, or use
    /// [`get_into`](Self::get_into), which reads exactly the requested length. An empty range returns no bytes.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::ShortRead`] if the range starts beyond the end, or at
    /// it without being empty; [`ErrorKind::InvalidArgument`] if it ends before it starts.
    fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<GetResult>;

    /// Reads a range of the version of an object that `version` describes; `version` is from an earlier answer. Changes
    /// nothing.
    ///
    /// # Errors
    /// [`ErrorKind::PreconditionFailed`] if the object has changed since. Also those of [`get`](Self::get), if the
    /// store checks the range before the version.
    fn get_unchanged(&self, key: &Key, range: Range<u64>, version: &ObjectMeta) -> Result<GetResult> {
        let got = self.get(key, Some(range))?;
        if got.meta.is_same_version(version) {
            return Ok(got);
        }
        Err(Error::new(ErrorKind::PreconditionFailed, Operation::Get).at(key).in_store(self.name()))
    }

    /// Reads an object, whole or the part of `range` that exists, unless its etag is still `known`; returns `None` if
    /// it is. Changes nothing.
    ///
    /// `None` means that the content is that of `known`, whatever the range. The answer to a weak etag is never `None`.
    /// A store that compares etags itself answers with one request, and sends no bytes of an unchanged object (HTTP
    /// `If-None-Match`). Other stores read the metadata first, and then the object if it has changed.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], also if the object with the etag `known` was deleted; and those of [`get`](Self::get) for an
    /// object that has changed.
    fn get_if_changed(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        known: &Etag,
    ) -> Result<Option<GetResult>> {
        look_then_get(self, key, range, known)
    }

    /// Fills `buf` with the bytes from `offset` on, and returns the object's metadata. Changes nothing in the store.
    /// After an error the content of `buf` is unspecified.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::ShortRead`] if the object ends before `buf` is full
    /// (for an empty `buf`: before `offset`).
    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta>;

    /// Passes all bytes of `range`, in order, to `take`, piece by piece as they arrive, in the calling thread; returns
    /// the object's metadata. The whole range need not be in memory at once. If the read fails, `take` may have
    /// received any first part of the range. Changes nothing.
    ///
    /// # Errors
    /// As for [`get_into`](Self::get_into), and [`ErrorKind::InvalidArgument`] if the range ends before it starts.
    fn get_each(&self, key: &Key, range: Range<u64>, take: &mut dyn FnMut(&[u8])) -> Result<ObjectMeta> {
        let got = self.get(key, Some(range.clone()))?;
        check_exact(range.start, range.end - range.start, got.meta.size)
            .map_err(|e| e.at(key).in_store(self.name()))?;
        if got.bytes.len() as u64 != range.end - range.start {
            let why = format!("{} bytes came for {}", got.bytes.len(), range.end - range.start);
            let error = Error::new(ErrorKind::ShortRead, Operation::GetInto);
            return Err(error.because(why).at(key).in_store(self.name()));
        }
        take(&got.bytes);
        Ok(got.meta)
    }

    /// Returns whether [`get_scattered`](Self::get_scattered) is cheaper than [`get_each`](Self::get_each) followed by
    /// a copy of each piece.
    fn scatters(&self) -> bool {
        false
    }

    /// Fills the parts, one after the other, with the bytes from `offset` on, by one read of a single version of the
    /// object; returns that version's metadata. After an error the content of the parts is unspecified. Changes nothing
    /// in the store.
    ///
    /// # Errors
    /// As for [`get_into`](Self::get_into).
    fn get_scattered(&self, key: &Key, offset: u64, parts: &mut [&mut [u8]]) -> Result<ObjectMeta> {
        let length: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let mut scatter = Scatter::new(parts);
        self.get_each(key, offset..offset.saturating_add(length), &mut |piece| scatter.copy(piece))
    }

    /// Reads an object's metadata. Changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    fn head(&self, key: &Key) -> Result<ObjectMeta>;

    /// Puts an object whole. When this returns, the object is visible and as durable as the store can make it: it
    /// always survives the death of this process (except in stores in memory), and it survives a power loss if the
    /// store is configured so.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] and [`ErrorKind::PreconditionFailed`] as [`PutMode`] says;
    /// [`ErrorKind::Unsupported`] for a mode that the store does not [honour](Self::honours).
    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult>;

    /// Starts to put an object in pieces, of any total length. The object is not visible under `key` before
    /// [`PutStream::finish`], and nothing is durable before that returns.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>>;

    /// Returns a page of the objects under keys that begin with the bytes of `prefix` (not only at a `/`) and are
    /// greater than `start_after`, in the byte order of the keys. The page has at most `limit` objects, and at least
    /// one if any object qualifies; a `limit` of 0 counts as 1. A store may return smaller pages.
    ///
    /// `prefix` and `start_after` are any text; neither has to be a key. Objects that are created or deleted while a
    /// listing of several pages runs may or may not be in it; all other objects are in it once.
    ///
    /// # Errors
    /// Those of reading the store. A store that holds no objects returns an empty page.
    fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<ListPage>;

    /// Deletes an object. Deleting a missing object succeeds. When this returns, the deletion is as durable as a
    /// [`put`](Self::put).
    ///
    /// # Errors
    /// Permissions and transport only.
    fn delete(&self, key: &Key) -> Result<()>;

    /// Deletes several objects, in no particular order, and not atomically.
    ///
    /// # Errors
    /// The first error encountered. Any of the other keys may be deleted or not; calling again with the same keys is
    /// safe.
    fn delete_many(&self, keys: &[Key]) -> Result<()> {
        keys.iter().try_for_each(|key| self.delete(key))
    }

    /// Returns the time of the store's own clock, if that costs no request over a network. The caller is about to
    /// write: a directory store makes its directory if it is missing.
    fn clock(&self) -> Option<SystemTime> {
        None
    }

    /// Evicts an object from the caches in front of the store, because its bytes turned out to be damaged and may be
    /// intact in the store. The next read asks the store itself. A store without a cache does nothing.
    fn forget(&self, _key: &Key) {}

    /// Releases the space that the store reserves for the case that it is full, so that the metadata of a deletion can
    /// be written. Returns whether there was such a reserve. The store reserves space again when it can. A store that
    /// cannot become full has no reserve.
    fn spend_reserve(&self) -> bool {
        false
    }

    /// Returns whether the store promises to [`filter`](Self::filter). The answer does not change while the store
    /// lives.
    fn filters(&self) -> bool {
        false
    }

    /// Compares the numbers of a range at the server, and returns those that pass. The range begins and ends at the
    /// boundary of a number, and lies within the object. Changes nothing.
    ///
    /// The caller trusts the store for completeness: a match that the store leaves out is not noticed. The answer is
    /// well-formed; the caller checks whether the returned numbers pass.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] and [`ErrorKind::InvalidArgument`] if the store does not filter, or not these
    /// numbers: the caller then has to read them. Otherwise as for [`get_into`](Self::get_into).
    fn filter(&self, key: &Key, _asked: &FilterAsk) -> Result<FilterMatches> {
        let error = Error::new(ErrorKind::Unsupported, Operation::Get).at(key).in_store(self.name());
        Err(error.because("the store does not filter"))
    }

    /// Returns the counters of requests to the store, if the store counts them.
    fn requests(&self) -> Option<Arc<Requests>> {
        None
    }

    /// Returns this store as a [`StagedStore`] if it is one: a store that stages its changes in a local directory. Of
    /// several nested ones, returns the outermost.
    fn stage(&self) -> Option<&StagedStore> {
        None
    }
}

/// Implements [`ObjectStore::get_if_changed`] by reading the metadata first, and then the object if it has changed.
pub(crate) fn look_then_get<S: ObjectStore + ?Sized>(
    store: &S,
    key: &Key,
    range: Option<Range<u64>>,
    known: &Etag,
) -> Result<Option<GetResult>> {
    if known.is_still(store.head(key)?.etag.as_ref()) {
        return Ok(None);
    }
    let got = store.get(key, range)?;
    Ok(Some(got).filter(|got| !known.is_still(got.meta.etag.as_ref())))
}

/// Copies consecutive pieces into a list of parts.
pub(crate) struct Scatter<'a, 'b> {
    parts: &'a mut [&'b mut [u8]],
    /// The index of the part that is being filled, and the number of bytes in it.
    part: usize,
    at: usize,
}

impl<'a, 'b> Scatter<'a, 'b> {
    pub(crate) fn new(parts: &'a mut [&'b mut [u8]]) -> Self {
        Self { parts, part: 0, at: 0 }
    }

    /// Copies the next piece. Bytes beyond the end of the last part are ignored.
    pub(crate) fn copy(&mut self, mut piece: &[u8]) {
        while let Some(part) = self.parts.get_mut(self.part).filter(|_| !piece.is_empty()) {
            let length = piece.len().min(part.len() - self.at);
            part[self.at..self.at + length].copy_from_slice(&piece[..length]);
            (piece, self.at) = (&piece[length..], self.at + length);
            if self.at == part.len() {
                (self.part, self.at) = (self.part + 1, 0);
            }
        }
    }
}

/// An object that is being put in pieces. Dropping the stream before [`finish`](Self::finish) abandons the object like
/// [`abort`](Self::abort), without reporting an error.
pub trait PutStream: fmt::Debug + Send {
    /// Appends bytes. They may be buffered, so that their error may be reported by a later call. After an error the
    /// stream can only be aborted.
    ///
    /// # Errors
    /// As for [`ObjectStore::put`].
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Appends bytes without copying them, if the store can retain them.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    fn write_bytes(&mut self, bytes: Bytes) -> Result<()> {
        self.write(&bytes)
    }

    /// Makes the object visible, whole, replacing any object under the key. When this returns, the object is as durable
    /// as after [`ObjectStore::put`].
    ///
    /// # Errors
    /// As for [`ObjectStore::put`]; unless the error is ambiguous, nothing became visible.
    fn finish(self: Box<Self>) -> Result<PutResult>;

    /// Abandons the object; nothing becomes visible. When this returns without an error, the store holds no part of the
    /// object.
    ///
    /// # Errors
    /// Transport only. Parts that remain are invisible, and the store's own clean-up deletes them.
    fn abort(self: Box<Self>) -> Result<()>;
}

/// Operations that are built from those of [`ObjectStore`], for every store.
pub trait ObjectStoreExt: ObjectStore {
    /// Iterates over all objects that [`ObjectStore::list_page`] describes, and requests a page when the iterator
    /// reaches it. The iterator ends after the first error.
    fn list(&self, prefix: &str, start_after: Option<&str>) -> Listing<'_, Self> {
        Listing {
            store: self,
            prefix: prefix.to_owned(),
            after: start_after.map(str::to_owned),
            page: Vec::new().into_iter(),
            limit: FIRST_PAGE,
            more: true,
        }
    }

    /// Returns the object's metadata, or `None` if it does not exist.
    ///
    /// # Errors
    /// Those of [`ObjectStore::head`] but [`ErrorKind::NotFound`].
    fn head_opt(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        none_if_missing(self.head(key))
    }

    /// Reads the first `most` bytes of an object, or all of a shorter one.
    ///
    /// # Errors
    /// Those of [`ObjectStore::get`].
    fn get_front(&self, key: &Key, most: u64) -> Result<GetResult> {
        match self.get(key, Some(0..most)) {
            // An empty object has no first byte.
            Err(e) if e.kind() == ErrorKind::ShortRead => {
                let meta = self.head(key)?;
                if meta.size > 0 {
                    return Err(e);
                }
                Ok(GetResult { meta, bytes: Bytes::new() })
            }
            got => got,
        }
    }

    /// Reads the whole of an object that has at most `most` bytes. At most `most` bytes of a longer object are read.
    ///
    /// # Errors
    /// Those of [`ObjectStore::get`]; [`ErrorKind::Corrupt`] if the object is longer.
    fn get_whole(&self, key: &Key, most: u64) -> Result<GetResult> {
        check_whole(self, self.get_front(key, most)?, most)
    }

    /// Reads the whole of an object that has at most `most` bytes, unless its etag is still `known`; returns `None` if
    /// it is.
    ///
    /// # Errors
    /// Those of [`ObjectStore::get_if_changed`]; [`ErrorKind::Corrupt`] if the object is longer.
    fn get_whole_if_changed(&self, key: &Key, most: u64, known: &Etag) -> Result<Option<GetResult>> {
        let got = match self.get_if_changed(key, Some(0..most), known) {
            // An empty object has no first byte.
            Err(e) if e.kind() == ErrorKind::ShortRead => Some(self.get_front(key, most)?),
            got => got?,
        };
        got.map(|got| check_whole(self, got, most)).transpose()
    }

    /// Reads the whole of an object that has at most `most` bytes, or returns `None` if the object does not exist.
    ///
    /// # Errors
    /// Those of [`get_whole`](Self::get_whole) but [`ErrorKind::NotFound`].
    fn get_whole_opt(&self, key: &Key, most: u64) -> Result<Option<GetResult>> {
        none_if_missing(self.get_whole(key, most))
    }

    /// Reads the object, or returns `None` if it does not exist.
    ///
    /// # Errors
    /// Those of [`ObjectStore::get`] but [`ErrorKind::NotFound`].
    fn get_opt(&self, key: &Key, range: Option<Range<u64>>) -> Result<Option<GetResult>> {
        none_if_missing(self.get(key, range))
    }
}

impl<S: ObjectStore + ?Sized> ObjectStoreExt for S {}

/// Checks that a read of the first `most` bytes has returned the whole object.
fn check_whole<S: ObjectStore + ?Sized>(store: &S, got: GetResult, most: u64) -> Result<GetResult> {
    if got.meta.size <= most {
        return Ok(got);
    }
    let why = format!("it has {} bytes, and {most} at most make sense", got.meta.size);
    Err(Error::new(ErrorKind::Corrupt, Operation::Get).at(&got.meta.key).in_store(store.name()).because(why))
}

fn none_if_missing<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// An iterator over the objects of a listing. Made by [`ObjectStoreExt::list`].
#[derive(Debug)]
pub struct Listing<'a, S: ObjectStore + ?Sized> {
    store: &'a S,
    prefix: String,
    after: Option<String>,
    page: std::vec::IntoIter<ObjectMeta>,
    limit: usize,
    more: bool,
}

/// The number of objects requested at first: the most that S3 returns (ListObjectsV2, `max-keys`).
const FIRST_PAGE: usize = 1000;

/// The largest number of objects requested at once. Pages grow up to this size, because a store may have to sort all
/// its keys for each page (a directory does).
pub(crate) const LAST_PAGE: usize = 64_000;

impl<S: ObjectStore + ?Sized> Iterator for Listing<'_, S> {
    type Item = Result<ObjectMeta>;

    fn next(&mut self) -> Option<Result<ObjectMeta>> {
        loop {
            if let Some(meta) = self.page.next() {
                return Some(Ok(meta));
            }
            if !self.more {
                return None;
            }
            match self.store.list_page(&self.prefix, self.after.as_deref(), self.limit) {
                Ok(page) => {
                    // An empty page that promises more would never end.
                    self.more = page.more && !page.objects.is_empty();
                    self.limit = LAST_PAGE.min(2 * self.limit);
                    self.after = page.objects.last().map(|meta| meta.key.as_str().to_owned());
                    self.page = page.objects.into_iter();
                }
                Err(e) => {
                    self.more = false;
                    return Some(Err(e));
                }
            }
        }
    }
}

/// Resolves `range` against an object of `size` bytes, by the rules of [`ObjectStore::get`].
///
/// # Errors
/// Those of [`ObjectStore::get`]; the caller adds the store and the key.
pub fn resolve_range(range: Option<Range<u64>>, size: u64) -> Result<Range<u64>> {
    let Some(range) = range else { return Ok(0..size) };
    if range.start > range.end {
        return Err(Error::new(ErrorKind::InvalidArgument, Operation::Get)
            .because(format!("the range {}..{} ends before it starts", range.start, range.end)));
    }
    if range.start > size || (range.start == size && range.end > size) {
        return Err(Error::new(ErrorKind::ShortRead, Operation::Get).because(format!(
            "the range {}..{} starts at or beyond the end of {size} bytes",
            range.start, range.end
        )));
    }
    Ok(range.start..range.end.min(size))
}

/// Checks that an object of `size` bytes has `len` bytes from `offset` on, as [`ObjectStore::get_into`] needs.
///
/// # Errors
/// [`ErrorKind::ShortRead`]; the caller adds the store and the key.
pub fn check_exact(offset: u64, len: u64, size: u64) -> Result<()> {
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(Error::new(ErrorKind::ShortRead, Operation::GetInto)
            .because(format!("{len} bytes from {offset} on are not in an object of {size} bytes"))),
    }
}
