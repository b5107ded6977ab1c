//! Ceph's RADOS, accessed through its client library: `rados://POOL/NAMESPACE`.
//!
//! An object of at most [`MAX_WHOLE_BYTES`] is stored as an object of the namespace, under its key. A longer object is
//! stored in parts of [`PART_BYTES`]. These are objects too, and their names are not valid keys. The object under the
//! key is put last and lists the parts. A replacement has parts of its own, so a reader sees the parts of a single
//! version.
//!
//! The conditions of puts are those of RADOS's write operations: an exclusive create, and an asserted version. The etag
//! is the version that the completion of the write returns. A read of the object's bytes together with its size, time,
//! version and attributes is a single operation, too.

mod address;
mod client;
mod clock;
mod head;
mod listing;
mod parts;
mod reads;
mod sweep;
mod upload;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use self::client::Namespace;
use self::head::{Head, etag};
use self::upload::Upload;
use crate::settings::Settings;
use crate::store::{Scatter, check_exact, resolve_range};
use crate::{
    Capabilities, Condition, Error, ErrorKind, GetResult, Key, ListPage, ObjectMeta, ObjectStore, Operation,
    PrefixStore, PutMode, PutPayload, PutResult, PutStream, Result,
};

/// The scheme of URLs of this store.
pub(crate) const SCHEME: &str = "rados";

/// The length of the longest object that is stored whole. Servers refuse writes of more than 90 MB
/// (`osd_max_write_size`).
const MAX_WHOLE_BYTES: u64 = 32 << 20;
/// The length of each part but the last.
const PART_BYTES: u64 = 8 << 20;
/// The number of tries of an operation on an object that other writers change meanwhile.
const MAX_TRIES: u32 = 8;
/// The maximum number of parts of a scattered read that become reads in one operation.
const MAX_SCATTERED_PARTS: usize = 64;
/// The number of bytes that are read at first if the object's length is unknown.
const FIRST_BYTES: u64 = 1 << 20;

/// Opens the store `rados:rest`.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for a malformed URL or setting; [`ErrorKind::Unsupported`] without librados, naming
/// its package; [`ErrorKind::NoStore`] if the pool does not exist; [`ErrorKind::Unauthenticated`] if the cluster does
/// not accept the client; [`ErrorKind::Timeout`] if no monitor answers.
pub(crate) fn open(rest: &str, settings: &Settings) -> Result<Arc<dyn ObjectStore>> {
    let address = address::parse(rest)?;
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let identity = address::identity(&address, settings, &variable)?;
    let store = RadosStore { space: Arc::new(Namespace::open(&address, identity)?) };
    Ok(match address.prefix {
        Some(prefix) => Arc::new(PrefixStore::new(Arc::new(store), prefix)),
        None => Arc::new(store),
    })
}

/// A namespace of a pool.
#[derive(Clone, Debug)]
struct RadosStore {
    space: Arc<Namespace>,
}

/// Converts the time in an object's metadata.
fn time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.unwrap_or(UNIX_EPOCH)
}

fn meta(key: &Key, head: &Head) -> ObjectMeta {
    ObjectMeta {
        key: key.clone(),
        size: head.size,
        modified: time(head.modified),
        etag: Some(etag(head.version)),
    }
}

impl RadosStore {
    fn placed(&self, key: &Key) -> impl Fn(Error) -> Error {
        let (key, name) = (key.clone(), self.name());
        move |error| error.at(&key).in_store(&name)
    }

    /// Checks that a read of exactly `length` bytes, of which `came` were returned, is complete.
    fn filled(&self, key: &Key, offset: u64, length: u64, head: &Head, came: usize) -> Result<ObjectMeta> {
        check_exact(offset, length, head.size).map_err(self.placed(key))?;
        if (came as u64) < length {
            let why = format!("{came} bytes came for {length}");
            let error = Error::new(ErrorKind::Io, Operation::GetInto).because(why);
            return Err(self.placed(key)(error));
        }
        Ok(meta(key, head))
    }

    fn replaced_again_and_again(&self, operation: Operation, key: &Key) -> Error {
        let why = "another client replaced the object during each read";
        Error::new(ErrorKind::Unavailable, operation).because(why).at(key).in_store(self.name())
    }
}

impl ObjectStore for RadosStore {
    fn name(&self) -> String {
        self.space.name.clone()
    }

    fn place_of(&self, key: &str) -> String {
        format!("{} {} {key}", self.space.cluster_identifier, self.space.name)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { nested_keys: true, persistent: true, near: false, remote: true, keeps_pieces: false }
    }

    fn honours(&self, _: Condition) -> bool {
        true
    }

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<GetResult> {
        let operation = Operation::Get;
        let (placed, failed) = (self.placed(key), |e| self.space.error(operation, e).at(key));
        if let Some(range) = range.as_ref().filter(|range| range.start > range.end) {
            resolve_range(Some(range.clone()), 0).map_err(&placed)?;
        }
        let start = range.as_ref().map_or(0, |range| range.start);
        let first = match range.as_ref().map(|range| range.end - range.start) {
            Some(length) if length <= MAX_WHOLE_BYTES => length,
            _ => FIRST_BYTES,
        };
        for _ in 0..MAX_TRIES {
            let mut bytes = reads::zeroed(first).map_err(failed)?;
            let (head, came) = self.space.read(key, start, &mut bytes).map_err(failed)?;
            let wanted = resolve_range(range.clone(), head.size).map_err(&placed)?;
            let length = wanted.end - wanted.start;
            if (came as u64) < length {
                let mut longer = reads::zeroed(length).map_err(failed)?;
                longer[..came].copy_from_slice(&bytes[..came]);
                let rest = &mut longer[came..];
                if !self.space.read_unchanged(key, &head, start + came as u64, rest).map_err(failed)? {
                    continue;
                }
                bytes = longer;
            }
            bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
            return Ok(GetResult { meta: meta(key, &head), bytes: Bytes::from(bytes) });
        }
        Err(self.replaced_again_and_again(operation, key))
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        let length = buf.len() as u64;
        let (head, came) =
            self.space.read(key, offset, buf).map_err(|e| self.space.error(Operation::GetInto, e).at(key))?;
        self.filled(key, offset, length, &head, came)
    }

    fn scatters(&self) -> bool {
        true
    }

    fn get_scattered(&self, key: &Key, offset: u64, parts: &mut [&mut [u8]]) -> Result<ObjectMeta> {
        let length: u64 = parts.iter().map(|part| part.len() as u64).sum();
        if parts.len() > MAX_SCATTERED_PARTS {
            let mut scatter = Scatter::new(parts);
            return self
                .get_each(key, offset..offset.saturating_add(length), &mut |piece| scatter.copy(piece));
        }
        let read = self.space.read_scattered(key, offset, parts);
        let (head, came) = read.map_err(|e| self.space.error(Operation::GetInto, e).at(key))?;
        self.filled(key, offset, length, &head, came)
    }

    fn get_each(&self, key: &Key, range: Range<u64>, take: &mut dyn FnMut(&[u8])) -> Result<ObjectMeta> {
        let operation = Operation::GetInto;
        let (placed, failed) = (self.placed(key), |e| self.space.error(operation, e).at(key));
        if range.start > range.end {
            resolve_range(Some(range.clone()), 0).map_err(&placed)?;
        }
        let length = range.end - range.start;
        let mut bytes = reads::zeroed(length.min(PART_BYTES)).map_err(failed)?;
        let (head, came) = self.space.read(key, range.start, &mut bytes).map_err(failed)?;
        check_exact(range.start, length, head.size).map_err(&placed)?;
        take(&bytes[..came]);
        let mut at = range.start + came as u64;
        while at < range.end {
            let step = usize::try_from((range.end - at).min(PART_BYTES)).unwrap_or(usize::MAX);
            let piece = &mut bytes[..step];
            if !self.space.read_unchanged(key, &head, at, piece).map_err(failed)? {
                let why = "another client replaced the object while it was read";
                return Err(placed(Error::new(ErrorKind::Unavailable, operation).because(why)));
            }
            take(piece);
            at += step as u64;
        }
        Ok(meta(key, &head))
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        let read = self.space.read(key, 0, &mut []);
        let (head, _) = read.map_err(|e| self.space.error(Operation::Head, e).at(key))?;
        Ok(meta(key, &head))
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        let operation = Operation::Put;
        if payload.len() <= MAX_WHOLE_BYTES {
            return self.space.put(key, payload.pieces(), &mode, operation);
        }
        let mut upload = Upload::new(self.space.clone(), key.clone());
        for piece in payload.pieces() {
            upload.add(piece).map_err(|e| self.space.error(operation, e).at(key))?;
        }
        upload.end(&mode, operation)
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        Ok(Box::new(Upload::new(self.space.clone(), key.clone())))
    }

    fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<ListPage> {
        listing::page(&self.space, prefix, start_after, limit)
            .map_err(|e| self.space.error(Operation::List, e))
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.space.delete_all(std::slice::from_ref(key), Operation::Delete)
    }

    fn delete_many(&self, keys: &[Key]) -> Result<()> {
        self.space.delete_all(keys, Operation::DeleteMany)
    }

    fn clock(&self) -> Option<SystemTime> {
        self.space.clock.now()
    }
}

#[cfg(test)]
mod tests;
