//! Stores in shared libraries of third parties (`store-abi/include/h5lake_store.h`).
//!
//! `h5lake-store-abi` validates the answers of a library. This module maps [`ObjectStore`] to the library's calls: it
//! repeats calls that may be repeated within the caller's time, buffers streams until they are complete, and probes
//! promised conditions before any caller relies on them. No lock of this crate is held while a library runs.

mod conditions;
mod found;
mod payload;
mod upload;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h5lake_store_abi::{Failure, Kind, Library, Mode, Object, Opened, Payload, Read, Store, Write, raw};

pub(crate) use found::{add_paths, find, schemes, unknown};

use self::conditions::Conditions;
use self::payload::Pieces;
use self::upload::Upload;
use crate::deadline::{self, Patience};
use crate::per_process::PerProcess;
use crate::settings::{self, Settings, check_settings, refusal};
use crate::store::{check_exact, look_then_get, resolve_range};
use crate::{
    Capabilities, Condition, Error, ErrorKind, Etag, GetResult, Key, ListPage, ObjectMeta, ObjectStore,
    Operation, PrefixStore, PutMode, PutPayload, PutResult, PutStream, Result,
};

/// The pauses between the tries of a call that may be repeated: the first and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];
/// The number of bytes that a read reserves before bytes arrive, because the length that a library reports may be
/// wrong.
const MAX_ROOM: u64 = 16 << 20;

/// Opens the store of a URL with a scheme of the library.
///
/// # Errors
/// The library's error; if the library violates a rule, [`ErrorKind::Io`] naming the library and the rule.
pub(crate) fn open(
    library: &'static Library,
    url: &str,
    settings: &Settings,
) -> Result<Arc<dyn ObjectStore>> {
    let timeout = settings::timeout(settings)?;
    let settings = settings::without_timeout(settings);
    let scheme = url.split(':').next().unwrap_or_default();
    check_settings(scheme, &settings, &["sync"])?;
    let sync = match settings.get("sync").map(String::as_str) {
        None | Some("process") => false,
        Some("power") => true,
        Some(other) => {
            let why =
                format!("the setting 'sync' of a store '{scheme}:' is 'process' or 'power', not '{other}'");
            return Err(refusal(ErrorKind::InvalidArgument, why));
        }
    };
    let place = Place { library, url: url.to_owned(), sync, timeout };
    let opened = place.open().map_err(|failure| place.error(Operation::Open, failure))?;
    let (name, capabilities) = (opened.name.clone(), opened.store.capabilities());
    let prefix = match opened.prefix.trim_matches('/') {
        "" => None,
        prefix => Some(Key::new(prefix).map_err(|e| refusal(ErrorKind::InvalidArgument, e.to_string()))?),
    };
    let opened_by_process = PerProcess::new();
    let first = std::cell::Cell::new(Some(opened));
    // The store that was just opened becomes the value of this process.
    let kept = opened_by_process.get_or_make(|| first.take().ok_or(()));
    let _it_was_there = kept.is_ok();
    let conditions = Conditions::remembered(library, &name);
    let patience = Patience::new(timeout);
    let inner = Inner { place, name, capabilities, opened: opened_by_process, patience, conditions };
    let store = LibraryStore { inner: Arc::new(inner), prefix: prefix.clone() };
    Ok(match prefix {
        Some(prefix) => Arc::new(PrefixStore::new(Arc::new(store), prefix)),
        None => Arc::new(store),
    })
}

/// The URL and options with which a library opens a store.
#[derive(Debug)]
struct Place {
    library: &'static Library,
    url: String,
    sync: bool,
    timeout: Duration,
}

impl Place {
    fn open(&self) -> std::result::Result<Opened, Failure> {
        let until = Instant::now() + self.timeout;
        let mut pause = PAUSES[0];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.library.open(&self.url, self.sync, milliseconds(left)) {
                Err(failure) if failure.may_be_repeated && left > pause => {
                    std::thread::sleep(pause);
                    pause = PAUSES[1].min(pause * 2);
                }
                answer => return answer,
            }
        }
    }

    /// Converts a failure into this crate's error. If a library violates a rule, the error names the library.
    fn error(&self, operation: Operation, failure: Failure) -> Error {
        let error = Error::new(kind(failure.kind), operation);
        let (name, path) = (self.library.name(), self.library.path().display());
        match (failure.kind, failure.detail) {
            (Kind::Misuse, rule) => {
                error.because(format!("the store library {path} ({name}) breaks its interface: {rule}"))
            }
            (_, detail) if detail.is_empty() => error,
            (_, detail) => error.because(format!("{detail} (says the store library {name})")),
        }
    }
}

fn kind(kind: Kind) -> ErrorKind {
    match kind {
        Kind::NotFound => ErrorKind::NotFound,
        Kind::NoStore => ErrorKind::NoStore,
        Kind::Exists => ErrorKind::AlreadyExists,
        Kind::Changed => ErrorKind::PreconditionFailed,
        Kind::Denied => ErrorKind::PermissionDenied,
        Kind::NoCredentials => ErrorKind::Unauthenticated,
        Kind::Unsupported => ErrorKind::Unsupported,
        Kind::TimedOut => ErrorKind::Timeout,
        Kind::Unavailable => ErrorKind::Unavailable,
        Kind::NoSpace => ErrorKind::NoSpace,
        Kind::Damaged => ErrorKind::Corrupt,
        Kind::BadRequest => ErrorKind::InvalidArgument,
        Kind::Failed | Kind::Misuse => ErrorKind::Io,
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// The state that all users of an opened store share.
#[derive(Debug)]
struct Inner {
    place: Place,
    name: String,
    capabilities: u64,
    opened: PerProcess<Opened>,
    patience: Patience,
    conditions: Arc<Conditions>,
}

/// A store of a library.
#[derive(Clone, Debug)]
struct LibraryStore {
    inner: Arc<Inner>,
    /// The prefix below which the caller may write; probes of conditions put their objects there.
    prefix: Option<Key>,
}

impl Inner {
    /// Returns the store as this process opened it. A forked child opens it again.
    fn store(&self) -> std::result::Result<&Store, Failure> {
        let opened = self.opened.get_or_make(|| {
            let opened = self.place.open()?;
            if opened.store.capabilities() != self.capabilities || opened.name != self.name {
                let detail = "the store promises something else than when it was first opened".to_owned();
                return Err(Failure { kind: Kind::Misuse, may_be_repeated: false, detail });
            }
            Ok(opened)
        })?;
        Ok(&opened.store)
    }

    /// Makes a call, and repeats it while it may be repeated and there is time. `moved` is the number of bytes that a
    /// successful call transfers.
    fn call<T>(
        &self,
        operation: Operation,
        moved: u64,
        mut act: impl FnMut(&Store, u64) -> std::result::Result<T, Failure>,
    ) -> Result<T> {
        let (budget, since) = (deadline::budget(|| self.patience.left()), Instant::now());
        let mut pause = PAUSES[0];
        let failure = loop {
            let left = budget.remaining();
            if left.is_zero() {
                let last =
                    budget.last_failure().map(|last| format!("; the last try: {last}")).unwrap_or_default();
                let detail = format!("no answer within {:?}{last}", budget.timeout());
                break Failure { kind: Kind::TimedOut, may_be_repeated: false, detail };
            }
            match self.store().and_then(|store| act(store, milliseconds(left))) {
                Ok(answer) => {
                    self.patience.restore();
                    budget.answered();
                    budget.progressed(usize::try_from(moved).unwrap_or(usize::MAX));
                    budget.succeeded();
                    return Ok(answer);
                }
                Err(failure) if failure.may_be_repeated && budget.remaining() > pause => {
                    budget.refused(failure.detail.clone());
                    tracing::debug!(
                        store = self.name,
                        why = failure.detail,
                        "a call of a store library is repeated"
                    );
                    std::thread::sleep(pause);
                    pause = PAUSES[1].min(pause * 2);
                }
                Err(failure) => break failure,
            }
        };
        match failure.kind {
            Kind::TimedOut | Kind::Unavailable | Kind::Failed => self.patience.spend(budget.charge(since)),
            _ => self.patience.restore(),
        }
        Err(self.place.error(operation, failure).in_store(&self.name))
    }

    fn meta(&self, operation: Operation, object: Object) -> Result<ObjectMeta> {
        let key = Key::new(&object.key).map_err(|e| {
            let failure =
                Failure { kind: Kind::Misuse, may_be_repeated: false, detail: format!("it lists {e}") };
            self.place.error(operation, failure).in_store(&self.name)
        })?;
        Ok(ObjectMeta {
            key,
            size: object.length,
            modified: object.modified,
            etag: object.etag.map(Etag::new),
        })
    }

    fn write(&self, operation: Operation, write: &Write<'_>, payload: &mut dyn Payload) -> Result<PutResult> {
        let object = self.call(operation, write.length, |store, time| store.write(write, time, payload))?;
        Ok(PutResult { etag: object.etag.map(Etag::new) })
    }
}

impl LibraryStore {
    fn at<'a>(&self, key: &'a Key) -> impl Fn(Error) -> Error + 'a {
        let name = self.inner.name.clone();
        move |error| error.at(key).in_store(&name)
    }

    fn promises(&self, condition: Condition) -> bool {
        let bit = match condition {
            Condition::Create => raw::ATOMIC_CREATE,
            Condition::Update => raw::ATOMIC_UPDATE,
        };
        self.inner.capabilities & bit != 0
    }

    /// Returns the reason why a condition is not used; `None` if it is used. A promised condition is probed once for
    /// each store in a process.
    ///
    /// # Errors
    /// Those of the calls of the probe.
    fn refused_condition(&self, condition: Condition) -> Result<Option<&'static str>> {
        if !self.promises(condition) {
            return Ok(Some("the store library does not promise it"));
        }
        self.inner.conditions.refused(condition, self)
    }

    fn mode<'a>(&self, mode: &'a PutMode) -> Result<Mode<'a>> {
        let refused = |kind, why: &str| Err(Error::new(kind, Operation::Put).because(why));
        let (condition, mode) = match mode {
            PutMode::Overwrite => return Ok(Mode::Overwrite),
            PutMode::Create => (Condition::Create, Mode::Create),
            PutMode::Update(etag) => (Condition::Update, Mode::Update(etag.as_str())),
        };
        if let Some(why) = self.refused_condition(condition)? {
            return refused(ErrorKind::Unsupported, &format!("{}: {why}", condition.header()));
        }
        match mode {
            Mode::Update("") => refused(ErrorKind::PreconditionFailed, "no version has an empty etag"),
            mode => Ok(mode),
        }
    }

    /// Reads a range, and passes the bytes of it that exist to `take`.
    fn read(
        &self,
        operation: Operation,
        key: &Key,
        range: Range<u64>,
        take: &mut dyn FnMut(&Object, &[u8]),
    ) -> Result<ObjectMeta> {
        let length = range.end.saturating_sub(range.start);
        let read = Read { key: key.as_str(), range };
        let object =
            self.reading(operation, length, take, |store, time, take| store.read(&read, time, take))?;
        self.inner.meta(operation, object)
    }

    /// Makes a call that passes at most `length` bytes to `take`. The call is not repeated once bytes have arrived.
    fn reading<T>(
        &self,
        operation: Operation,
        length: u64,
        take: &mut dyn FnMut(&Object, &[u8]),
        read: impl Fn(&Store, u64, &mut dyn FnMut(&Object, &[u8])) -> std::result::Result<T, Failure>,
    ) -> Result<T> {
        let mut came = false;
        self.inner.call(operation, if length == u64::MAX { 0 } else { length }, |store, time| {
            let mut noted = |object: &Object, piece: &[u8]| {
                came = true;
                take(object, piece);
            };
            let answer = read(store, time, &mut noted);
            answer.map_err(|failure| Failure { may_be_repeated: failure.may_be_repeated && !came, ..failure })
        })
    }
}

/// Appends a piece of an object when the range `wanted` is read.
fn gather(bytes: &mut Vec<u8>, wanted: &Range<u64>, object: &Object, piece: &[u8]) {
    if bytes.is_empty() {
        let length = wanted.end.min(object.length).saturating_sub(wanted.start);
        bytes.reserve(length.min(MAX_ROOM) as usize);
    }
    bytes.extend_from_slice(piece);
}

impl ObjectStore for LibraryStore {
    fn name(&self) -> String {
        self.inner.name.clone()
    }

    fn capabilities(&self) -> Capabilities {
        let has = |bit| self.inner.capabilities & bit != 0;
        Capabilities {
            nested_keys: has(raw::NESTED_KEYS),
            persistent: has(raw::PERSISTENT),
            near: false,
            remote: has(raw::REMOTE),
            keeps_pieces: false,
        }
    }

    fn honours(&self, condition: Condition) -> bool {
        // If the probe fails now, it runs again, and reports its error, at the first conditional put.
        self.refused_condition(condition).map_or(true, |why| why.is_none())
    }

    fn why_not(&self, condition: Condition) -> Option<String> {
        let why = self.refused_condition(condition).ok()??;
        Some(format!("{}: {why}", condition.header()))
    }

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<GetResult> {
        let at = self.at(key);
        if let Some(range) = range.as_ref().filter(|range| range.start > range.end) {
            resolve_range(Some(range.clone()), 0).map_err(&at)?;
        }
        let wanted = range.clone().unwrap_or(0..u64::MAX);
        let mut bytes = Vec::new();
        let mut take = |object: &Object, piece: &[u8]| gather(&mut bytes, &wanted, object, piece);
        let meta = self.read(Operation::Get, key, wanted.clone(), &mut take).map_err(&at)?;
        resolve_range(range, meta.size).map_err(&at)?;
        Ok(GetResult { meta, bytes: Bytes::from(bytes) })
    }

    fn get_if_changed(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        known: &Etag,
    ) -> Result<Option<GetResult>> {
        let at = self.at(key);
        if let Some(range) = range.as_ref().filter(|range| range.start > range.end) {
            resolve_range(Some(range.clone()), 0).map_err(&at)?;
        }
        let compares = self.inner.store().is_ok_and(Store::compares_etags);
        if !compares || known.is_weak() || known.as_str().is_empty() {
            return look_then_get(self, key, range, known);
        }
        let (wanted, mut bytes) = (range.clone().unwrap_or(0..u64::MAX), Vec::new());
        let mut take = |object: &Object, piece: &[u8]| gather(&mut bytes, &wanted, object, piece);
        let length = wanted.end.saturating_sub(wanted.start);
        let read = Read { key: key.as_str(), range: wanted.clone() };
        let found = self.reading(Operation::Get, length, &mut take, |store, time, take| {
            store.read_if_changed(&read, known.as_str(), time, take)
        });
        let Some(object) = found.map_err(&at)? else { return Ok(None) };
        let meta = self.inner.meta(Operation::Get, object)?;
        if known.is_still(meta.etag.as_ref()) {
            return Ok(None);
        }
        resolve_range(range, meta.size).map_err(&at)?;
        Ok(Some(GetResult { meta, bytes: Bytes::from(bytes) }))
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        let length = buf.len() as u64;
        let mut rest = buf;
        let mut take = |_: &Object, piece: &[u8]| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(piece.len());
            now.copy_from_slice(piece);
            rest = later;
        };
        let range = offset..offset.saturating_add(length);
        let meta = self.read(Operation::GetInto, key, range, &mut take).map_err(self.at(key))?;
        check_exact(offset, length, meta.size).map_err(self.at(key))?;
        Ok(meta)
    }

    fn get_each(&self, key: &Key, range: Range<u64>, take: &mut dyn FnMut(&[u8])) -> Result<ObjectMeta> {
        let at = self.at(key);
        if range.start > range.end {
            resolve_range(Some(range.clone()), 0).map_err(&at)?;
        }
        let mut take = |_: &Object, piece: &[u8]| take(piece);
        let meta = self.read(Operation::GetInto, key, range.clone(), &mut take).map_err(&at)?;
        check_exact(range.start, range.end - range.start, meta.size).map_err(&at)?;
        Ok(meta)
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.read(Operation::Head, key, 0..0, &mut |_, _| ()).map_err(self.at(key))
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        let put = || {
            let write = Write { key: key.as_str(), length: payload.len(), mode: self.mode(&mode)? };
            self.inner.write(Operation::Put, &write, &mut Pieces::new(payload.pieces()))
        };
        put().map_err(self.at(key))
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        Ok(Box::new(Upload::new(self.clone(), key.clone())))
    }

    fn list_page(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Result<ListPage> {
        let operation = Operation::List;
        let list = |store: &Store, time| store.list(prefix, start_after, limit, time);
        let page = self.inner.call(operation, 0, list)?;
        let objects = page.objects.into_iter().map(|object| self.inner.meta(operation, object));
        Ok(ListPage { objects: objects.collect::<Result<_>>()?, more: page.more })
    }

    fn delete(&self, key: &Key) -> Result<()> {
        let remove = |store: &Store, time| store.remove(key.as_str(), time);
        self.inner.call(Operation::Delete, 0, remove).map_err(self.at(key))
    }
}

#[cfg(test)]
mod tests;
