//! Stores behind HTTP: S3 and stores with its protocol, Google Cloud Storage, Azure Blob Storage, OpenStack Swift,
//! store servers on this machine, plain web servers.
//!
//! The crate `object_store` implements the protocols: signing, connection pools, retries with back-off. This module
//! makes it blocking, maps its errors, and verifies promises of servers that cannot be relied on.

mod amazon_services;
mod asking;
mod attempt;
mod azure;
mod clock;
mod conditions;
mod credentials;
mod failure;
mod google;
mod hex;
mod http;
mod identity;
mod integrity;
mod kept_names;
mod maker;
mod options;
mod other;
mod pages;
mod parts;
mod probe;
mod probe_file;
mod profile;
mod ranges;
mod resume;
mod runtime;
mod s3;
mod s3_endpoint;
mod server;
mod sign_on;
mod swift;
mod tries;
mod upload;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt, stream};
use object_store::list::PaginatedListStore;
use object_store::{ObjectStoreExt as _, PutOptions, UpdateVersion};

pub use options::Environment;
pub(crate) use options::{environment, open};

use self::asking::Dialect;
use self::clock::ServerClock;
use self::conditions::Conditions;
use self::failure::Failure;
use self::http::MAX_DOCUMENT_BYTES;
use self::integrity::{MIN_CHECKSUMMED_BYTES, Unsigned, is_mismatch};
use self::kept_names::KeptNames;
use self::maker::Maker;
use self::parts::{IfNoneMatch, Part};
use self::probe::Verdict;
use self::server::{MAX_MATCHES, answer_bytes};
use self::upload::Upload;
use crate::deadline::Patience;
use crate::filter::numbers;
use crate::per_process::PerProcess;
use crate::settings::{REMOTE_SCHEMES, Settings, split_scheme};
use crate::store::{look_then_get, resolve_range};
use crate::{
    Capabilities, Condition, Error, ErrorKind, Etag, FilterAsk, FilterMatches, GetResult, Key, ListPage,
    ObjectMeta, ObjectStore, Operation, PutMode, PutPayload, PutResult, PutStream, Result,
};

/// Opens the store that a URL means in the given environment instead of the process's own.
///
/// # Errors
/// As [`Registry::open_with`](crate::Registry::open_with), for the schemes of remote stores.
pub fn open_in(url: &str, settings: &Settings, environment: &Environment) -> Result<Arc<dyn ObjectStore>> {
    match split_scheme(url) {
        Some((scheme, rest)) if REMOTE_SCHEMES.contains(&scheme.as_str()) => {
            open(&scheme, rest, settings, environment)
        }
        _ => {
            Err(Error::new(ErrorKind::Unsupported, Operation::Open).because("not the URL of a remote store"))
        }
    }
}

type StoreResult<T> = object_store::Result<T>;
type Path = object_store::path::Path;

/// The number of retries of a create that collided with another request in flight for the same key.
const MAX_COLLISIONS: u32 = 5;

/// The clients through which a process sends its requests.
#[derive(Clone)]
struct Client {
    objects: Arc<dyn object_store::ObjectStore>,
    /// The client for long payloads, if the server compares checksums.
    unsigned: Option<Unsigned>,
    /// The client for listings after any text; web servers have no listings.
    pages: Option<Arc<dyn PaginatedListStore>>,
    /// The client of a store server, through which the server's promises are requested.
    server: Option<Arc<server::ServerClient>>,
}

/// A function that makes a client. It runs again in a forked child, because connections belong to the process that made
/// them.
type Connect = dyn Fn() -> std::result::Result<Client, Failure> + Send + Sync;

/// The state that all prefixes of a bucket share, if the bucket is accessed in the same way.
struct Bucket {
    /// The URL of the bucket, such as `s3://bucket`.
    name: String,
    /// The bucket's own name, for messages.
    bucket: String,
    /// The location of the bucket, if its name alone is ambiguous. It distinguishes objects, and is never shown.
    at: String,
    connect: Box<Connect>,
    clients: PerProcess<Client>,
    conditions: Conditions,
    /// The rule which keys the server stores under exactly their own names.
    kept_names: KeptNames,
    /// True if versions are compared by number, as Google Cloud Storage requires, and not by etag.
    by_version: bool,
    /// The patience that is left with the store.
    patience: Patience,
    /// The dialect of S3's protocol, for a store that should speak it.
    dialect: Option<Dialect>,
    /// The server's clock, as its answers show it.
    clock: Arc<ServerClock>,
    /// The server's software, as its answers show it.
    maker: Arc<Maker>,
    /// True if the server refused a read on the condition that the etag equals the one that the server itself had just
    /// returned.
    misreads_if_match: AtomicBool,
    /// True if the server answered a read with the very version that the condition excluded.
    misreads_if_none_match: AtomicBool,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A bucket of a remote store.
#[derive(Clone, Debug)]
struct RemoteStore {
    bucket: Arc<Bucket>,
    /// The prefix below which the caller may write; probes put their objects there.
    prefix: Option<Key>,
}

impl Bucket {
    fn client(&self) -> std::result::Result<&Client, Failure> {
        self.clients.get_or_make(|| (self.connect)())
    }

    /// Returns the path of a key's object.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a key that the server would store under another name.
    fn path(&self, key: &Key) -> std::result::Result<Path, Failure> {
        let refused = |why: String| Failure::new(ErrorKind::InvalidArgument, why);
        self.kept_names.check(key).map_err(refused)?;
        // Every key is a valid path without escaping.
        Path::parse(key.as_str()).map_err(|e| refused(e.to_string()))
    }

    fn error(&self, operation: Operation, failure: Failure) -> Error {
        let error = Error::new(failure.kind, operation).in_store(&self.name);
        if failure.detail.is_empty() { error } else { error.because(failure.detail) }
    }

    /// Returns the etag of an object. By version it is the generation, which Google's service compares. Listings of `object_store`
    /// omit it, and the etag that they have is a digest, which other versions with the same content have, too.
    fn etag(&self, etag: Option<String>, version: Option<String>) -> Option<Etag> {
        let text = if self.by_version { version } else { etag.map(quoted) };
        text.map(Etag::new)
    }

    fn etag_of(&self, found: &object_store::ObjectMeta) -> Option<Etag> {
        self.etag(found.e_tag.clone(), found.version.clone())
    }

    fn meta(&self, found: object_store::ObjectMeta) -> std::result::Result<ObjectMeta, Failure> {
        let key = Key::new(found.location.as_ref()).map_err(|e| {
            Failure::new(ErrorKind::Corrupt, format!("the store answered with a bad key: {e}"))
        })?;
        Ok(ObjectMeta {
            key,
            size: found.size,
            // HTTP's dates are whole seconds, but listings may have finer ones; an object must have the same time in
            // both.
            modified: whole_seconds(found.last_modified.timestamp()),
            etag: self.etag(found.e_tag, found.version),
        })
    }

    fn put_result(&self, put: object_store::PutResult) -> PutResult {
        PutResult { etag: self.etag(put.e_tag, put.version) }
    }
}

/// Returns an etag with quotes, as HTTP writes it: listings of Azure omit the quotes.
fn quoted(etag: String) -> String {
    if etag.ends_with('"') { etag } else { format!("\"{etag}\"") }
}

/// Returns a time after or before 1970.
fn whole_seconds(unix: i64) -> SystemTime {
    let distance = Duration::from_secs(unix.unsigned_abs());
    let time = if unix < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.unwrap_or(UNIX_EPOCH)
}

impl RemoteStore {
    fn fail(&self, operation: Operation, key: &Key, failure: Failure) -> Error {
        self.bucket.error(operation, failure).at(key)
    }

    /// Returns how the server treats a condition; probes the server if that is unknown.
    fn verdict(&self, condition: Condition) -> std::result::Result<Verdict, Failure> {
        self.bucket.conditions.verdict(condition, &self.bucket, self.prefix.as_ref())
    }

    /// Returns the mode as `object_store` expresses it, if the store honours it.
    fn put_mode(&self, mode: PutMode) -> std::result::Result<object_store::PutMode, Failure> {
        let condition = match &mode {
            PutMode::Overwrite if self.bucket.conditions.is_read_only() => {
                return Err(Failure::new(ErrorKind::Unsupported, "the store is read-only"));
            }
            PutMode::Overwrite => return Ok(object_store::PutMode::Overwrite),
            PutMode::Create => Condition::Create,
            PutMode::Update(_) => Condition::Update,
        };
        let verdict = self.verdict(condition)?;
        if let Some(why) = verdict.why_not() {
            return Err(Failure::new(ErrorKind::Unsupported, format!("{}: {why}", condition.header())));
        }
        Ok(match mode {
            PutMode::Update(etag) if etag.as_str().is_empty() => {
                return Err(Failure::new(ErrorKind::PreconditionFailed, "no version has an empty etag"));
            }
            PutMode::Update(etag) => {
                let text = match verdict {
                    Verdict::HonouredUnquoted => probe::bare(etag.as_str()),
                    _ => etag.as_str(),
                };
                let text = Some(text.to_owned());
                let version = if self.bucket.by_version { text.clone() } else { None };
                object_store::PutMode::Update(UpdateVersion { e_tag: text, version })
            }
            _ => object_store::PutMode::Create,
        })
    }

    fn try_put(
        &self,
        key: &Key,
        payload: PutPayload,
        mode: PutMode,
    ) -> std::result::Result<PutResult, Failure> {
        let path = self.bucket.path(key)?;
        // HTTP's etags are quoted, so this server cannot have given an etag without quotes. If it rejects the request
        // as malformed, the precondition is false.
        let is_foreign = matches!(&mode, PutMode::Update(etag) if !etag.as_str().ends_with('"'));
        let mode = self.put_mode(mode)?;
        let payload: object_store::PutPayload = payload.pieces().iter().cloned().collect();
        let unsigned = payload.content_length() >= MIN_CHECKSUMMED_BYTES && self.bucket.conditions.compares();
        let put = self.bucket.ask(|client| async move {
            let unsigned = client.unsigned.clone().filter(|_| unsigned);
            put(client, unsigned, path, payload, PutOptions::from(mode)).await
        });
        match put {
            Ok(put) => Ok(self.bucket.put_result(put)),
            Err(f) if is_foreign && f.kind == ErrorKind::InvalidArgument => {
                Err(Failure { kind: ErrorKind::PreconditionFailed, ..f })
            }
            Err(f) => Err(f),
        }
    }
}

/// Puts through `unsigned`, if it is given. If the server then reports that the payload arrived damaged, puts again
/// through the other client.
async fn put(
    client: Client,
    unsigned: Option<Unsigned>,
    path: Path,
    payload: object_store::PutPayload,
    options: PutOptions,
) -> StoreResult<object_store::PutResult> {
    if let Some(unsigned) = unsigned {
        let put = put_alone(&*unsigned.objects, &path, payload.clone(), options.clone()).await;
        if !put.as_ref().is_err_and(|e| is_mismatch(&Failure::of(e, ""))) {
            return put;
        }
    }
    put_alone(&*client.objects, &path, payload, options).await
}

/// Puts, and retries while S3 reports that another request for the key was in flight: that says nothing about the
/// condition (S3's ConditionalRequestConflict, HTTP 409).
async fn put_alone(
    objects: &dyn object_store::ObjectStore,
    path: &Path,
    payload: object_store::PutPayload,
    options: PutOptions,
) -> StoreResult<object_store::PutResult> {
    let mut collisions = 0;
    loop {
        let put = objects.put_opts(path, payload.clone(), options.clone()).await;
        match put {
            Err(e) if collisions < MAX_COLLISIONS && e.to_string().contains("ConditionalRequestConflict") => {
                collisions += 1;
                tokio::time::sleep(Duration::from_millis(20 << collisions)).await;
            }
            other => return other,
        }
    }
}

impl ObjectStore for RemoteStore {
    fn name(&self) -> String {
        self.bucket.name.clone()
    }

    fn place_of(&self, key: &str) -> String {
        format!("{} {} {key}", self.bucket.at, self.bucket.name)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { nested_keys: true, persistent: true, near: false, remote: true, keeps_pieces: false }
    }

    fn honours(&self, condition: Condition) -> bool {
        // If the probe fails now, it runs again, and reports its error, at the first conditional put.
        self.verdict(condition).map_or(true, Verdict::is_honoured)
    }

    fn why_not(&self, condition: Condition) -> Option<String> {
        let why = self.verdict(condition).ok()?.why_not()?;
        Some(format!("{}: {why}", condition.header()))
    }

    fn why_not_key(&self, key: &Key) -> Option<String> {
        self.bucket.kept_names.check(key).err()
    }

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<GetResult> {
        self.check_direction(key, range.as_ref())?;
        let part = self.part(key, range.clone()).map_err(|f| self.fail(Operation::Get, key, f))?;
        self.gathered(key, range, part)
    }

    fn get_unchanged(&self, key: &Key, range: Range<u64>, version: &ObjectMeta) -> Result<GetResult> {
        self.check_direction(key, Some(&range))?;
        let part = match &version.etag {
            Some(etag) if !range.is_empty() => self.part_if_match(key, range.clone(), etag),
            _ => self.part(key, Some(range.clone())),
        };
        let part = part.map_err(|f| self.fail(Operation::Get, key, f))?;
        // The version is checked before the length, because another object may have another length.
        let found = self.bucket.meta(part.meta.clone()).map_err(|f| self.fail(Operation::Get, key, f))?;
        if !found.is_same_version(version) {
            return Err(self.fail(Operation::Get, key, Failure::new(ErrorKind::PreconditionFailed, "")));
        }
        self.gathered(key, Some(range), part)
    }

    fn get_if_changed(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        known: &Etag,
    ) -> Result<Option<GetResult>> {
        self.check_direction(key, range.as_ref())?;
        let asked = self.part_if_none_match(key, range.clone(), known);
        match asked.map_err(|f| self.fail(Operation::Get, key, f))? {
            IfNoneMatch::Changed(part) => self.gathered(key, range, part).map(Some),
            IfNoneMatch::Unchanged => Ok(None),
            IfNoneMatch::NotCompared => look_then_get(self, key, range, known),
        }
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        let length = buf.len() as u64;
        let Some(end) = offset.checked_add(length) else {
            let why = format!("{length} bytes from {offset} on are beyond any object");
            // A missing object is reported as missing even for this range.
            self.head(key).map_err(|e| self.moved(e, Operation::GetInto, key))?;
            return Err(self.fail(Operation::GetInto, key, Failure::new(ErrorKind::ShortRead, why)));
        };
        let mut rest = buf;
        self.each(key, offset..end, &mut |piece| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(piece.len());
            now.copy_from_slice(piece);
            rest = later;
        })
    }

    fn get_each(&self, key: &Key, range: Range<u64>, take: &mut dyn FnMut(&[u8])) -> Result<ObjectMeta> {
        if range.start > range.end {
            resolve_range(Some(range.clone()), 0).map_err(|e| e.at(key).in_store(self.name()))?;
        }
        self.each(key, range, take)
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        let head = || {
            let path = self.bucket.path(key)?;
            let found = self.bucket.ask(|client| async move { client.objects.head(&path).await })?;
            self.bucket.meta(found)
        };
        head().map_err(|f| self.fail(Operation::Head, key, f))
    }

    fn keeps_noncurrent(&self, key: &Key) -> Result<Option<bool>> {
        // Every object of Google's has a generation, which says nothing about the bucket.
        if self.bucket.by_version {
            return Ok(None);
        }
        let head = || {
            let path = self.bucket.path(key)?;
            self.bucket.ask(|client| async move { client.objects.head(&path).await })
        };
        let found = head().map_err(|f| self.fail(Operation::Head, key, f))?;
        // A bucket whose versioning is suspended gives new objects the version 'null'.
        Ok(Some(found.version.is_some_and(|version| version != "null")))
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        self.try_put(key, payload, mode).map_err(|f| self.fail(Operation::Put, key, f))
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        if self.bucket.conditions.is_read_only() {
            let why = Failure::new(ErrorKind::Unsupported, "the store is read-only");
            return Err(self.fail(Operation::StreamStart, key, why));
        }
        let path = self.bucket.path(key).map_err(|f| self.fail(Operation::StreamStart, key, f))?;
        Ok(Box::new(Upload::new(self.bucket.clone(), key.clone(), path)))
    }

    fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<ListPage> {
        pages::list(&self.bucket, prefix, start_after, limit)
            .map_err(|f| self.bucket.error(Operation::List, f))
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.delete_all(std::slice::from_ref(key)).map_err(|(key, f)| self.fail(Operation::Delete, &key, f))
    }

    fn delete_many(&self, keys: &[Key]) -> Result<()> {
        self.delete_all(keys).map_err(|(key, f)| self.fail(Operation::DeleteMany, &key, f))
    }

    fn filters(&self) -> bool {
        self.bucket.conditions.filters()
    }

    fn filter(&self, key: &Key, asked: &FilterAsk) -> Result<FilterMatches> {
        let asked = FilterAsk { limit: asked.limit.min(MAX_MATCHES), ..asked.clone() };
        self.filter_at_server(key, asked).map_err(|f| self.fail(Operation::Get, key, f))
    }

    fn clock(&self) -> Option<SystemTime> {
        self.bucket.clock.now()
    }
}

impl RemoteStore {
    fn filter_at_server(&self, key: &Key, asked: FilterAsk) -> std::result::Result<FilterMatches, Failure> {
        let path = self.bucket.path(key)?;
        let refused = |why: &str| Failure::new(ErrorKind::Unsupported, why);
        let server = self.bucket.client()?.server.clone().filter(|_| self.filters());
        let server = server.ok_or_else(|| refused("the store does not filter"))?;
        if asked.filter.tests.is_empty() || asked.limit == 0 || numbers(&asked.filter, &asked.range).is_none()
        {
            return Err(refused("a filter has comparisons, a limit, and a range of whole numbers"));
        }
        let most = answer_bytes(&asked.filter, asked.limit).max(MAX_DOCUMENT_BYTES);
        self.bucket.ask_for(most, |_| async move { server.filter(&path, asked).await })
    }

    fn check_direction(&self, key: &Key, range: Option<&Range<u64>>) -> Result<()> {
        match range.filter(|range| range.start > range.end) {
            Some(range) => {
                resolve_range(Some(range.clone()), 0).map(drop).map_err(|e| e.at(key).in_store(self.name()))
            }
            None => Ok(()),
        }
    }

    /// Assembles the answer to a read of `range` from the received `part`.
    fn gathered(&self, key: &Key, range: Option<Range<u64>>, part: Part) -> Result<GetResult> {
        let wanted = resolve_range(range, part.meta.size).map_err(|e| e.at(key).in_store(self.name()))?;
        let length = part.len();
        if length != wanted.end - wanted.start {
            let why = format!("{length} bytes came for the range {}..{}", wanted.start, wanted.end);
            return Err(self.fail(Operation::Get, key, Failure::new(ErrorKind::Io, why)));
        }
        let bytes = part.pieces.into_iter().collect::<PutPayload>().into_bytes();
        let meta = self.bucket.meta(part.meta).map_err(|f| self.fail(Operation::Get, key, f))?;
        Ok(GetResult { meta, bytes })
    }

    /// Returns the error of a request as the error of another operation.
    fn moved(&self, error: Error, operation: Operation, key: &Key) -> Error {
        let failure = Failure::new(error.kind(), "");
        self.fail(operation, key, failure).with_source(error)
    }

    fn delete_all(&self, keys: &[Key]) -> std::result::Result<(), (Key, Failure)> {
        let Some(first) = keys.first() else { return Ok(()) };
        let failed = |failure| (first.clone(), failure);
        if self.bucket.conditions.is_read_only() {
            return Err(failed(Failure::new(ErrorKind::Unsupported, "the store is read-only")));
        }
        let paths = keys.iter().map(|key| self.bucket.path(key).map_err(|failure| (key.clone(), failure)));
        let mut paths: Vec<Path> = paths.collect::<std::result::Result<_, _>>()?;
        // A bulk request must not contain a key twice.
        paths.sort_unstable();
        paths.dedup();
        let deleted = self.bucket.ask(|client| async move {
            let mut answers = client.objects.delete_stream(stream::iter(paths.into_iter().map(Ok)).boxed());
            while let Some(answer) = answers.next().await {
                match answer {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => (),
                    Err(e) => return Err(e),
                }
            }
            Ok(())
        });
        deleted.map_err(failed)
    }
}
