//! The one trait that a store implements.

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
    /// The etag that a store writes as `text`.
    pub fn new(text: impl AsRef<str>) -> Self {
        Etag(Arc::from(text.as_ref()))
    }

    /// The etag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it says no more than that contents mean the same (RFC 9110, 8.8.1): web servers give such ones.
    pub fn is_weak(&self) -> bool {
        self.0.starts_with("W/")
    }

    /// Returns whether `found` is this etag and says that the content is the same. Equal weak etags do not.
    pub fn is_still(&self, found: Option<&Etag>) -> bool {
        !self.is_weak() && found == Some(self)
    }
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a store knows of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// The object's key.
    pub key: Key,
    /// Its length in bytes.
    pub size: u64,
    /// When it was last put, by the store's clock; whole seconds in some stores.
    pub modified: SystemTime,
    /// Its version; `None` only if the store does not honour [`Condition::Update`].
    pub etag: Option<Etag>,
}

impl ObjectMeta {
    /// Whether both describe one version of an object: by their etags; by length and time, too, where a store gives no etag, or
    /// a weak one.
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
    /// The bytes asked for.
    pub bytes: Bytes,
}

/// On what condition [`ObjectStore::put`] takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// Always: creates or replaces.
    Overwrite,
    /// If there is no object under the key (HTTP `If-None-Match: *`). Of several racing creators,
    /// in any number of processes, exactly one wins; the others get [`ErrorKind::AlreadyExists`].
    /// (A remote store that repeats a request whose answer was lost may say so to the winner too: who
    /// has to know writes something of their own, and reads it back.)
    Create,
    /// If the object under the key has this etag (HTTP `If-Match`). Of several racing updates from
    /// one etag exactly one wins; the others get [`ErrorKind::PreconditionFailed`], and so does an
    /// update of a key that has no object.
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
    /// That of [`PutMode::Create`].
    Create,
    /// That of [`PutMode::Update`].
    Update,
}

impl Condition {
    /// The header that HTTP has for it.
    pub fn header(self) -> &'static str {
        match self {
            Condition::Create => "If-None-Match",
            Condition::Update => "If-Match",
        }
    }
}

/// What a store is beyond what every store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `a` and `a/b` can both be objects. If not, the second one put answers
    /// [`ErrorKind::Unsupported`].
    pub nested_keys: bool,
    /// Objects outlive the process.
    pub persistent: bool,
    /// Objects lie in this process's memory: [`get`](ObjectStore::get) hands out the very bytes that were put, not a copy
    /// that may be damaged. There is nothing to gain from asking for several things at once, or from keeping one.
    pub near: bool,
    /// A request is a round trip through a network: what goes on meanwhile is worth a thread.
    pub remote: bool,
    /// The pieces of a [`PutPayload`] that are put stay in the store as they are. Otherwise a put that has returned, successfully or not,
    /// lets go of them soon: they may be lent for so long.
    pub keeps_pieces: bool,
}

/// One page of a listing.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// The objects of the page, in key order.
    pub objects: Vec<ObjectMeta>,
    /// Whether there may be objects behind the last one. A page with `more` is never empty.
    pub more: bool,
}

/// A place where objects live.
///
/// **Visibility.** An operation that has returned is seen by every operation that starts after, in
/// any thread or process (S3's strong read-after-write consistency). A reader sees an object whole,
/// old or new, never a mixture.
///
/// **Errors.** A mutating operation that failed with [`ErrorKind::is_ambiguous`] may have had its
/// effect; with any other kind it had none (for [`delete_many`](Self::delete_many): none on the key
/// that the error names).
///
/// **Ranges.** Byte offsets from the object's start. See [`get`](Self::get).
pub trait ObjectStore: fmt::Debug + Send + Sync {
    /// The store's URL or another short name for messages. Never holds credentials.
    fn name(&self) -> String;

    /// What is known of the store without asking it. Does not change while the store lives.
    fn capabilities(&self) -> Capabilities;

    /// Whether it honours a condition. If not, puts with it answer [`ErrorKind::Unsupported`]. Does not change while the
    /// store lives. A remote store may have to find out, by putting something, so this is for who is about to write.
    fn honours(&self, condition: Condition) -> bool;

    /// Why it does not honour a condition, for a message; `None` if it does, or has nothing to say of it. May have to find
    /// out, as [`honours`](Self::honours).
    fn why_not(&self, _condition: Condition) -> Option<String> {
        None
    }

    /// Returns the reason, for a message, why this store refuses a key; `None` if the store keeps an object under exactly this
    /// name. A store whose server changes some names refuses these names: each operation returns [`ErrorKind::InvalidArgument`],
    /// because two keys must never be one object. Sends no request to a server.
    fn why_not_key(&self, _key: &Key) -> Option<String> {
        None
    }

    /// What the object under `key` is called among all that this process can reach, for comparing: two keys have the same
    /// place if and only if they mean the same object, whichever prefixes their stores begin at.
    fn place_of(&self, key: &str) -> String {
        format!("{} {key}", self.name())
    }

    /// Reads an object, whole or the part of `range` that exists. Changes nothing.
    ///
    /// A range that goes beyond the object's end is cut there, as in HTTP; compare lengths, or use
    /// [`get_into`](Self::get_into), which reads exactly. An empty range gives no bytes.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::ShortRead`] if the range starts beyond the end, or at
    /// it without being empty; [`ErrorKind::InvalidArgument`] if it ends before it starts.
    fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<GetResult>;

    /// Reads a part of the version of an object that `version` describes, as an earlier answer did. Changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::PreconditionFailed`] if the object is another one now; and those of [`get`](Self::get), where the store does not
    /// look at the version first.
    fn get_unchanged(&self, key: &Key, range: Range<u64>, version: &ObjectMeta) -> Result<GetResult> {
        let got = self.get(key, Some(range))?;
        if got.meta.is_same_version(version) {
            return Ok(got);
        }
        Err(Error::new(ErrorKind::PreconditionFailed, Operation::Get).at(key).in_store(self.name()))
    }

    /// Reads an object, whole or the part of `range` that exists, unless its etag is still `known`; `None` if it is. Changes
    /// nothing.
    ///
    /// `None` means that the content is that of `known`. It is the answer whatever the range, and a weak etag never gives it.
    /// A store that compares etags itself answers with one request, and sends no bytes of an unchanged object (HTTP
    /// `If-None-Match`). Other stores read the metadata first, and then what has changed.
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

    /// Fills `buf` with the bytes from `offset` on, and answers with the object's metadata. Changes
    /// nothing in the store. After an error the content of `buf` is unspecified.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::ShortRead`] if the object ends before `buf` is full
    /// (for an empty `buf`: before `offset`).
    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta>;

    /// Hands the bytes of `range`, all of them and in order, to `take`, piece by piece as they come, in the calling thread;
    /// answers with the object's metadata. Nothing has to hold the whole range at once. After an error any first part of
    /// it may have been handed out. Changes nothing.
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

    /// Whether [`get_scattered`](Self::get_scattered) takes less than [`get_each`](Self::get_each) and a copy of each piece.
    fn scatters(&self) -> bool {
        false
    }

    /// Fills the parts, one behind the other, with the bytes from `offset` on: one read of one version of the object, whose
    /// metadata is the answer. After an error the content of the parts is unspecified. Changes nothing in the store.
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

    /// Puts an object whole. When this returns, the object is visible and as durable as the store
    /// makes anything: against the death of this process always (stores in memory excepted),
    /// against power loss as the store's configuration says.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] and [`ErrorKind::PreconditionFailed`] as [`PutMode`] says;
    /// [`ErrorKind::Unsupported`] for a mode that the store does not [honour](Self::honours).
    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult>;

    /// Starts putting an object in pieces, of any total length. Nothing is visible under `key`
    /// before [`PutStream::finish`], and nothing is durable before it returns.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>>;

    /// One page of the objects whose keys begin with the bytes of `prefix` (not only at a `/`) and
    /// are greater than `start_after`, in the order of the keys' bytes. At most `limit` objects, at
    /// least one if there is one; `limit` 0 counts as 1. A store may give smaller pages.
    ///
    /// `prefix` and `start_after` are any text; neither has to be a key. Objects that come or go
    /// during a listing of several pages may or may not be in it; all others are in it once.
    ///
    /// # Errors
    /// A store that holds nothing gives an empty page, no error.
    fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<ListPage>;

    /// Deletes an object. Deleting what is not there succeeds. When this returns, the object is
    /// gone as durably as [`put`](Self::put) writes.
    ///
    /// # Errors
    /// Permissions and transport only.
    fn delete(&self, key: &Key) -> Result<()>;

    /// Deletes several objects, in no particular order, and not as one atomic step.
    ///
    /// # Errors
    /// The first error met. Any part of the other keys may be deleted or not; calling again with
    /// the same keys is safe.
    fn delete_many(&self, keys: &[Key]) -> Result<()> {
        keys.iter().try_for_each(|key| self.delete(key))
    }

    /// What the store's own clock shows, where that costs no request over a network. Who asks is about to write: a directory
    /// that is to hold the store is made.
    fn clock(&self) -> Option<SystemTime> {
        None
    }

    /// Lets go of what a cache on the way keeps of an object: its bytes turned out to be damaged, and may be whole in the store. The next
    /// read asks the store itself. A store without a cache does nothing.
    fn forget(&self, _key: &Key) {}

    /// Gives up the room that the store keeps for when it is full, so that what frees more can be written; whether there was any.
    /// The store keeps some again when it can. One that is never full keeps none.
    fn spend_reserve(&self) -> bool {
        false
    }

    /// Whether the store promises to [`filter`](Self::filter). Does not change while the store lives.
    fn filters(&self) -> bool {
        false
    }

    /// Compares the numbers of a range where they are, and answers those that pass. The range begins and ends with a number, and
    /// lies within the object. Changes nothing.
    ///
    /// The store is believed: what it leaves out is not seen. Its answer is well-formed; whether the numbers pass is the caller's
    /// to check.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] and [`ErrorKind::InvalidArgument`] if it does not filter, or not these numbers: they have to
    /// be read; else as for [`get_into`](Self::get_into).
    fn filter(&self, key: &Key, _asked: &FilterAsk) -> Result<FilterMatches> {
        let error = Error::new(ErrorKind::Unsupported, Operation::Get).at(key).in_store(self.name());
        Err(error.because("the store does not filter"))
    }

    /// What was asked of the store, where somebody counts it.
    fn requests(&self) -> Option<Arc<Requests>> {
        None
    }

    /// The store as one whose changes wait in a local folder, if it is one: the outermost of several wrappers.
    fn stage(&self) -> Option<&StagedStore> {
        None
    }
}

/// Does [`ObjectStore::get_if_changed`] by a look at the metadata, and a read of what has changed.
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

/// Copies pieces that come one behind the other into parts.
pub(crate) struct Scatter<'a, 'b> {
    parts: &'a mut [&'b mut [u8]],
    /// The part that is being filled, and how much of it is.
    part: usize,
    at: usize,
}

impl<'a, 'b> Scatter<'a, 'b> {
    pub(crate) fn new(parts: &'a mut [&'b mut [u8]]) -> Self {
        Self { parts, part: 0, at: 0 }
    }

    /// What is longer than all parts is left out.
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

/// An object being put in pieces. Dropping it before [`finish`](Self::finish) gives it up, as
/// [`abort`](Self::abort) does, without a report.
pub trait PutStream: fmt::Debug + Send {
    /// Adds bytes at the end. They may be buffered; an error may come with a later call. After an
    /// error the stream can only be aborted.
    ///
    /// # Errors
    /// As for [`ObjectStore::put`].
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Adds bytes at the end without copying them where the store can keep them.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    fn write_bytes(&mut self, bytes: Bytes) -> Result<()> {
        self.write(&bytes)
    }

    /// Makes the object visible, whole, replacing any under the key. When this returns, it is as
    /// durable as after [`ObjectStore::put`].
    ///
    /// # Errors
    /// As for [`ObjectStore::put`]; unless the error is ambiguous, nothing became visible.
    fn finish(self: Box<Self>) -> Result<PutResult>;

    /// Gives the object up; nothing becomes visible. When this returns without an error, the store
    /// holds nothing of it.
    ///
    /// # Errors
    /// Transport only; what is left is invisible, and the store's own clean-up takes it.
    fn abort(self: Box<Self>) -> Result<()>;
}

/// What follows from the operations of [`ObjectStore`], for every store.
pub trait ObjectStoreExt: ObjectStore {
    /// All objects that [`ObjectStore::list_page`] describes, page by page as they are asked for.
    /// The iterator ends after the first error.
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

    /// The object's metadata, or `None` if it does not exist.
    ///
    /// # Errors
    /// Those of [`ObjectStore::head`] but [`ErrorKind::NotFound`].
    fn head_opt(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        none_if_missing(self.head(key))
    }

    /// The first `most` bytes of an object, or all that it has.
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

    /// The whole of an object that has at most `most` bytes. Of a longer one no more than that is read.
    ///
    /// # Errors
    /// Those of [`ObjectStore::get`]; [`ErrorKind::Corrupt`] if the object is longer.
    fn get_whole(&self, key: &Key, most: u64) -> Result<GetResult> {
        check_whole(self, self.get_front(key, most)?, most)
    }

    /// The whole of an object that has at most `most` bytes, unless its etag is still `known`; `None` if it is.
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

    /// The same, or `None` if it does not exist.
    ///
    /// # Errors
    /// Those of [`get_whole`](Self::get_whole) but [`ErrorKind::NotFound`].
    fn get_whole_opt(&self, key: &Key, most: u64) -> Result<Option<GetResult>> {
        none_if_missing(self.get_whole(key, most))
    }

    /// The object, or `None` if it does not exist.
    ///
    /// # Errors
    /// Those of [`ObjectStore::get`] but [`ErrorKind::NotFound`].
    fn get_opt(&self, key: &Key, range: Option<Range<u64>>) -> Result<Option<GetResult>> {
        none_if_missing(self.get(key, range))
    }
}

impl<S: ObjectStore + ?Sized> ObjectStoreExt for S {}

/// The answer to a read of the first `most` bytes, if these are all.
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

/// The objects of a listing, one by one. Made by [`ObjectStoreExt::list`].
#[derive(Debug)]
pub struct Listing<'a, S: ObjectStore + ?Sized> {
    store: &'a S,
    prefix: String,
    after: Option<String>,
    page: std::vec::IntoIter<ObjectMeta>,
    limit: usize,
    more: bool,
}

/// Objects asked for at first: what S3 gives at most (ListObjectsV2, `max-keys`).
const FIRST_PAGE: usize = 1000;

/// Objects asked for at most. Pages grow up to this, because a store may have to sort all that it
/// has for each page (a directory does).
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

/// The part of an object of `size` bytes that `range` asks for, by the rules of
/// [`ObjectStore::get`].
///
/// # Errors
/// As [`ObjectStore::get`] says; the caller adds the store and the key.
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

/// Checks that an object of `size` bytes has `len` bytes from `offset` on, as
/// [`ObjectStore::get_into`] needs.
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
