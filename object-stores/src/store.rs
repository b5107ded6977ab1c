//! Defines `ObjectStore`, the trait that every store implements.

pub(crate) mod extension;
mod values;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

pub use self::extension::{Listing, ObjectStoreExt};
pub use self::values::{Capabilities, Condition, Etag, GetResult, ListPage, ObjectMeta, PutMode, PutResult};
use crate::{
    Error, ErrorKind, FilterAsk, FilterMatches, Key, Operation, PutPayload, Requests, Result, StagedStore,
};

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

    /// Returns whether the store keeps the old content of an object when it is replaced or deleted (a bucket with
    /// versioning), as its answer for the object under `key` shows; `None` if its answers do not show that. Sends one
    /// request.
    ///
    /// # Errors
    /// The errors of [`head`](Self::head).
    fn keeps_noncurrent(&self, _key: &Key) -> Result<Option<bool>> {
        Ok(None)
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
