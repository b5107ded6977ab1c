//! Reading sources: native files whose raw data a container shows. Each is checked when it is opened and after each read, so that
//! bytes of a later state are an error, and never data.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_stores::{Etag, Key, ObjectMeta, ObjectStore};

use crate::address::Location;
use crate::checksum::checksum;
use crate::error::{Error, ErrorKind, Result};
use crate::extent::Extent;
use crate::ledger::Ledger;
use crate::locks::Mutex;
use crate::payload::PayloadPart;
use crate::source::{SOURCE, Source};

/// Sources that one container has open at once.
const MAX_OPEN: usize = 64;
/// Requests for parts of objects under way at once.
const MAX_REQUESTS: usize = 16;
/// Parts of one object with at most so many bytes between them come in one request, ...
const MAX_GAP_BYTES: u64 = 64 << 10;
/// ... which asks for at most so many.
const MAX_REQUEST_BYTES: u64 = 4 << 20;
/// What changed so short a time ago may change again without getting another time: file systems count in ticks of a clock.
const MIN_AGE: Duration = Duration::from_secs(2);

/// Why a URL in a container is not followed.
#[derive(Debug, Clone)]
pub struct NotFollowed {
    /// The error number, where there is one.
    pub errno: Option<i32>,
    /// What keeps from following it.
    pub why: String,
}

/// Finds the stores of sources.
pub trait SourceOpener: fmt::Debug + Send + Sync {
    /// The store and the key that a URL in a container names.
    ///
    /// # Errors
    /// What keeps from following it.
    fn open(&self, url: &str) -> std::result::Result<(Arc<dyn ObjectStore>, Key), NotFollowed>;
}

/// The sources that a container has open.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    opener: Option<Arc<dyn SourceOpener>>,
    /// The one used last is the last.
    open: Mutex<Vec<(u32, Arc<OpenSource>)>>,
}

impl Sources {
    pub(crate) fn new(opener: Option<Arc<dyn SourceOpener>>) -> Self {
        Self { opener, open: Mutex::default() }
    }
}

/// A source that is what its entry says.
#[derive(Debug)]
struct OpenSource {
    /// How messages call it.
    name: String,
    entry: Source,
    bytes: SourceBytes,
}

#[derive(Debug)]
enum SourceBytes {
    File(File),
    Object { store: Arc<dyn ObjectStore>, meta: ObjectMeta },
}

/// What a file says of itself: length, and time of the last change in nanoseconds since 1970, which is never 0: that is no time.
fn stamp(file: &std::fs::Metadata) -> (u64, u64) {
    let seconds = u64::try_from(file.mtime()).unwrap_or(0);
    let nanos = u64::try_from(file.mtime_nsec()).unwrap_or(0);
    (file.len(), seconds.saturating_mul(1_000_000_000).saturating_add(nanos).max(1))
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(0)
}

/// Opens a file to read, if it is a regular one. Nothing else is waited for.
fn open_regular(path: &Path) -> std::io::Result<(File, std::fs::Metadata)> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() { Ok((file, meta)) } else { Err(std::io::Error::other("is no regular file")) }
}

impl Source {
    /// Describes a local file as it is now. One that changed less than two seconds ago is waited for, because a change within a tick
    /// of the clock would not be seen.
    ///
    /// # Errors
    /// What the system says.
    pub fn of_file(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::ffi::OsStrExt;
        loop {
            let (length, modified) = stamp(&open_regular(path)?.1);
            let age = nanos(SystemTime::now()).saturating_sub(modified);
            let young = MIN_AGE.saturating_sub(Duration::from_nanos(age));
            if young.is_zero() {
                return Ok(Self {
                    place: path.as_os_str().as_bytes().to_vec(),
                    length,
                    modified,
                    etag: String::new(),
                });
            }
            std::thread::sleep(young.min(MIN_AGE));
        }
    }

    /// Describes an object of a store.
    pub fn of_object(url: &str, meta: &ObjectMeta) -> Self {
        let etag = meta.etag.as_ref().map_or_else(String::new, |etag| etag.as_str().to_owned());
        Self { place: url.into(), length: meta.size, modified: nanos(meta.modified), etag }
    }
}

impl OpenSource {
    fn failed(&self, errno: Option<i32>, what: impl fmt::Display, target: &str) -> Error {
        Error::new(target, ErrorKind::Io { errno, what: format!("the source '{}' {what}", self.name) })
    }

    fn changed(&self, what: &str, target: &str) -> Error {
        let advice = "put it back as it was, or adopt it anew (h5lake adopt); its data in this container cannot be read";
        self.failed(Some(libc::ESTALE), format!("{what}; {advice}"), target)
    }

    /// Whether a file still is what the entry says.
    fn check(&self, now: (u64, u64), target: &str) -> Result<()> {
        let entry = &self.entry;
        if now.0 != entry.length {
            let what = format!("has {} bytes, and had {} when it was adopted", now.0, entry.length);
            return Err(self.changed(&what, target));
        }
        if entry.modified != 0 && now.1 != entry.modified {
            return Err(self.changed("was changed after it was adopted", target));
        }
        Ok(())
    }

    fn read(&self, at: u64, buf: &mut [u8], target: &str) -> Result<()> {
        match &self.bytes {
            SourceBytes::File(file) => {
                let read = file.read_exact_at(buf, at);
                // Whatever was read: the file tells if it changed before that.
                let now = file
                    .metadata()
                    .map_err(|e| self.failed(e.raw_os_error(), format!("cannot be read: {e}"), target))?;
                self.check(stamp(&now), target)?;
                read.map_err(|e| self.failed(e.raw_os_error(), format!("cannot be read: {e}"), target))
            }
            SourceBytes::Object { .. } => {
                buf.copy_from_slice(&self.get(at..at + buf.len() as u64, target)?);
                Ok(())
            }
        }
    }

    /// Bytes of an object.
    fn get(&self, range: Range<u64>, target: &str) -> Result<Bytes> {
        use object_stores::ErrorKind as E;
        let SourceBytes::Object { store, meta } = &self.bytes else {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            self.read(range.start, &mut bytes, target)?;
            return Ok(bytes.into());
        };
        match store.get_unchanged(&meta.key, range.clone(), meta) {
            Ok(got) if got.bytes.len() as u64 == range.end - range.start => Ok(got.bytes),
            Ok(got) => {
                Err(self.failed(Some(5), format!("gave {} bytes for {range:?}", got.bytes.len()), target))
            }
            Err(e) if matches!(e.kind(), E::PreconditionFailed | E::ShortRead) => {
                Err(self.changed("was replaced after it was adopted", target))
            }
            Err(e) => Err(self.failed(e.errno(), format!("cannot be read: {e}"), target)),
        }
    }
}

impl Ledger {
    /// The folder of the container's file; `None` for one in a store.
    pub fn folder(&self) -> Option<std::path::PathBuf> {
        self.storage().folder()
    }

    /// Whether it was made for extents in sources.
    pub fn is_for_sources(&self) -> bool {
        self.storage().is_for_sources()
    }

    /// Whether it was made for extents in sources, or has a source.
    ///
    /// # Errors
    /// Those of reading.
    pub fn has_sources(&self) -> Result<bool> {
        Ok(self.storage().is_for_sources() || !self.scan_prefix(&[SOURCE], None, 1)?.is_empty())
    }

    /// All sources, by their numbers.
    ///
    /// # Errors
    /// `Corrupt` for a damaged entry; those of reading.
    pub fn sources(&self) -> Result<Vec<(u32, Source)>> {
        let (mut all, mut after) = (Vec::new(), None::<Bytes>);
        loop {
            let page = self.scan_prefix(&[SOURCE], after.as_deref(), 1024)?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            after = Some(last.clone());
            for (key, value) in &page {
                let number = Source::number(key).ok_or("an impossible key of a source");
                let source = number.and_then(|number| Ok((number, Source::decode(value)?)));
                all.push(source.map_err(|why| Error::corrupt(self.storage().target(), "source", why))?);
            }
        }
    }

    /// The source with a number.
    ///
    /// # Errors
    /// `Corrupt` if there is none, or its entry is damaged; those of reading.
    pub fn source(&self, number: u32) -> Result<Source> {
        let damaged = |why| Error::corrupt(self.storage().target(), format!("source {number}"), why);
        let value = self
            .get(&Source::key(number))?
            .ok_or_else(|| damaged("an extent names it, and it has no entry"))?;
        Source::decode(&value).map_err(damaged)
    }

    /// Stages the entry of a source.
    ///
    /// # Errors
    /// As for [`put`](Ledger::put).
    pub fn put_source(&self, number: u32, source: &Source) -> Result<()> {
        self.put(&Source::key(number), source.encode())
    }

    /// Opens a source and compares it with its entry.
    ///
    /// # Errors
    /// `Io` (errno 116, ESTALE) if it is not what was adopted; `Corrupt` for no source; those of opening it.
    pub fn check_source(&self, number: u32) -> Result<()> {
        self.opened(number).map(drop)
    }

    /// How messages call a source: its path, or its URL.
    ///
    /// # Errors
    /// As for [`source`](Ledger::source).
    pub fn source_name(&self, number: u32) -> Result<String> {
        let source = self.source(number)?;
        let path = source.path(self.folder().as_deref()).map(|path| path.display().to_string());
        Ok(path.unwrap_or_else(|| String::from_utf8_lossy(&source.place).into_owned()))
    }

    fn opened(&self, number: u32) -> Result<Arc<OpenSource>> {
        let mut open = self.source_files().open.lock();
        if let Some(at) = open.iter().position(|(known, _)| *known == number) {
            let found = open[at].1.clone();
            if at + 1 < open.len() {
                open[at..].rotate_left(1);
            }
            return Ok(found);
        }
        drop(open);
        // No lock is held while a file system or a store works.
        let found = Arc::new(self.open_anew(self.source(number)?)?);
        let mut open = self.source_files().open.lock();
        if open.len() >= MAX_OPEN {
            open.remove(0);
        }
        open.push((number, found.clone()));
        Ok(found)
    }

    fn open_anew(&self, entry: Source) -> Result<OpenSource> {
        let target = self.storage().target();
        let shown = String::from_utf8_lossy(&entry.place).escape_debug().to_string();
        let failed = |errno, what: String| {
            Error::new(target, ErrorKind::Io { errno, what: format!("the source '{shown}' {what}") })
        };
        if let Some(url) = entry.url() {
            let Some(opener) = &self.source_files().opener else {
                return Err(failed(Some(95), "is in a store, which this program does not open".into()));
            };
            let (store, key) =
                opener.open(url).map_err(|e| failed(e.errno, format!("is not opened: {}", e.why)))?;
            let meta = store.head(&key).map_err(|e| failed(e.errno(), format!("cannot be opened: {e}")))?;
            let etag = (!entry.etag.is_empty()).then(|| Etag::new(&entry.etag));
            let modified = SystemTime::UNIX_EPOCH + Duration::from_nanos(entry.modified);
            let wanted = ObjectMeta { key, size: entry.length, modified, etag };
            let is_same = wanted.size == meta.size && meta.is_same_version(&wanted);
            let bytes = SourceBytes::Object { store, meta: wanted };
            let found = OpenSource { name: shown, entry, bytes };
            return if is_same {
                Ok(found)
            } else {
                Err(found.changed("was replaced after it was adopted", target))
            };
        }
        let Some(path) = entry.path(self.folder().as_deref()) else {
            return Err(failed(Some(22), "has a relative place, and the container lies in no folder".into()));
        };
        let name = path.display().to_string().escape_debug().to_string();
        let (file, meta) = open_regular(&path).map_err(|e| {
            let what = format!("the source '{name}' cannot be opened: {e}; put it back where it was");
            Error::new(target, ErrorKind::Io { errno: e.raw_os_error(), what })
        })?;
        let found = OpenSource { name, entry, bytes: SourceBytes::File(file) };
        found.check(stamp(&meta), target)?;
        Ok(found)
    }

    /// The source of an extent, if the extent lies within it.
    fn source_of(&self, e: &Extent) -> Result<Arc<OpenSource>> {
        let Location::Source(number) = e.place().location else {
            return Err(Error::invalid(self.storage().target(), "an extent that is in no source"));
        };
        let source = self.opened(number)?;
        let end = e.place().offset.checked_add(e.len());
        if end.is_none_or(|end| end > source.entry.length) {
            let at = format!("bytes {} on of source {number}", e.place().offset);
            return Err(Error::corrupt(self.storage().target(), at, "an extent leaves its source"));
        }
        Ok(source)
    }

    /// Whether an extent lies within its source, which is what was adopted. No byte of it is read.
    ///
    /// # Errors
    /// As for [`read_payload`](Ledger::read_payload).
    pub fn check_extent_in_source(&self, e: &Extent) -> Result<()> {
        self.source_of(e).map(drop)
    }

    /// As [`read_payload`](Ledger::read_payload) of an extent in a source.
    pub(crate) fn read_source(&self, e: &Extent, offset: u64, buf: &mut [u8]) -> Result<()> {
        let target = self.storage().target();
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= e.len());
        let Some(end) = end else {
            return Err(Error::invalid(
                target,
                format!("bytes {offset} on are outside of a payload of {}", e.len()),
            ));
        };
        if buf.is_empty() {
            return Ok(());
        }
        let source = self.source_of(e)?;
        let from = e.place().offset;
        if !e.has_checksums() {
            return source.read(from + offset, buf, target);
        }
        let block = e.block();
        let (low, high) = (offset / block * block, (end.div_ceil(block) * block).min(e.len()));
        if (low, high) == (offset, end) {
            source.read(from + low, buf, target)?;
            return self.verify_source(&source, e, low, buf);
        }
        let mut whole = vec![0; (high - low) as usize];
        source.read(from + low, &mut whole, target)?;
        self.verify_source(&source, e, low, &whole)?;
        buf.copy_from_slice(&whole[(offset - low) as usize..(end - low) as usize]);
        Ok(())
    }

    fn verify_source(&self, source: &OpenSource, e: &Extent, offset: u64, bytes: &[u8]) -> Result<()> {
        let blocks = (offset / e.block()..).zip(bytes.chunks(e.block() as usize));
        for (n, part) in blocks {
            if e.sum(n) != Some(checksum(part)) {
                let what = "has other bytes than when it was adopted: a checksum does not match";
                return Err(source.changed(what, self.storage().target()));
            }
        }
        Ok(())
    }

    /// Zeros for a part whose length the container says.
    fn room_for(&self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let room = bytes.try_reserve_exact(length);
        room.map_err(|_| {
            Error::invalid(self.storage().target(), format!("there is no memory for {length} bytes"))
        })?;
        bytes.resize(length, 0);
        Ok(bytes)
    }

    /// As [`read_payloads`](Ledger::read_payloads) of extents in sources. Parts of objects come in few requests, side by side.
    pub(crate) fn read_sources(&self, parts: Vec<PayloadPart<'_>>) -> Result<Vec<Bytes>> {
        let mut out = vec![Bytes::new(); parts.len()];
        let (mut far, mut near) = (Vec::new(), Vec::new());
        for (n, part) in parts.into_iter().enumerate() {
            let PayloadPart { extent, range, into } = part;
            let length = range.end.checked_sub(range.start).and_then(|length| usize::try_from(length).ok());
            let fits =
                range.end <= extent.len() && into.as_ref().is_none_or(|into| Some(into.len()) == length);
            let Some(length) = length.filter(|_| fits) else {
                return Err(Error::invalid(self.storage().target(), "a part is outside of its payload"));
            };
            let source = self.source_of(extent)?;
            match source.bytes {
                SourceBytes::Object { .. } if !extent.has_checksums() && length > 0 => {
                    let at = extent.place().offset + range.start;
                    far.push(Far { source, range: at..at + length as u64, into, n });
                }
                _ => near.push((n, extent, range.start, length, into)),
            }
        }
        for (n, extent, start, length, into) in near {
            match into {
                Some(into) => self.read_source(extent, start, into)?,
                None => {
                    let mut bytes = self.room_for(length)?;
                    self.read_source(extent, start, &mut bytes)?;
                    out[n] = bytes.into();
                }
            }
        }
        fetch(far, &mut out, self.storage().target())?;
        Ok(out)
    }
}

/// A part of an object that is wanted, and where its bytes go.
struct Far<'a> {
    source: Arc<OpenSource>,
    range: Range<u64>,
    into: Option<&'a mut [u8]>,
    /// Its number among the answers.
    n: usize,
}

/// Parts of one object that come in one request.
struct Request<'a> {
    range: Range<u64>,
    parts: Vec<Far<'a>>,
}

fn joined(mut far: Vec<Far<'_>>) -> Vec<Request<'_>> {
    far.sort_by_key(|part| (Arc::as_ptr(&part.source) as usize, part.range.start));
    let mut requests: Vec<Request<'_>> = Vec::new();
    for part in far {
        if let Some(last) = requests.last_mut()
            && last.parts.first().is_some_and(|first| Arc::ptr_eq(&first.source, &part.source))
            && part.range.start <= last.range.end.saturating_add(MAX_GAP_BYTES)
            && part.range.end.saturating_sub(last.range.start) <= MAX_REQUEST_BYTES
        {
            last.range.end = last.range.end.max(part.range.end);
            last.parts.push(part);
            continue;
        }
        requests.push(Request { range: part.range.clone(), parts: vec![part] });
    }
    requests
}

/// Asks for parts of objects, side by side.
fn fetch(far: Vec<Far<'_>>, out: &mut [Bytes], target: &str) -> Result<()> {
    let requests: Vec<_> = joined(far).into_iter().map(|request| Mutex::new(Some(request))).collect();
    let (next, failed, out) = (AtomicUsize::new(0), Mutex::new(None::<Error>), Mutex::new(out));
    let one = || {
        while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Some(Request { range, parts }) = request.lock().take() else { return };
            if failed.lock().is_some() {
                return;
            }
            let Some(source) = parts.first().map(|part| part.source.clone()) else { return };
            match source.get(range.clone(), target) {
                Err(e) => drop(failed.lock().get_or_insert(e)),
                Ok(bytes) => {
                    for part in parts {
                        let cut = (part.range.start - range.start) as usize
                            ..(part.range.end - range.start) as usize;
                        match part.into {
                            Some(into) => into.copy_from_slice(&bytes[cut]),
                            None => out.lock()[part.n] = bytes.slice(cut),
                        }
                    }
                }
            }
        }
    };
    if requests.len() < 2 {
        one();
    } else {
        std::thread::scope(|scope| {
            let spawned = |_: &usize| std::thread::Builder::new().spawn_scoped(scope, one).is_ok();
            if (0..MAX_REQUESTS.min(requests.len())).take_while(spawned).count() == 0 {
                one();
            }
        });
    }
    failed.into_inner().map_or(Ok(()), Err)
}
