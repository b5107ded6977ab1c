//! Reads sources: native files with raw data that a container shows. Each source is checked when it is opened and after
//! each read, so that bytes of a later state lead to an error and are never returned as data.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_stores::{ObjectMeta, ObjectStore, open_regular_target};

use crate::buffers::{MAX_POOLED_BYTES, Scratch, try_zeroed};
use crate::error::{Error, ErrorKind, Result, Tampering};
use crate::file::intrusion::OwnFile;
use crate::locks::Mutex;
use crate::side_by_side::side_by_side;
use crate::source::{Source, SourceOpener};

/// The maximum number of sources that one container has open at once.
pub(crate) const MAX_OPEN: usize = 64;
/// The maximum number of concurrent requests for parts of objects.
const MAX_REQUESTS: usize = 16;
/// The maximum number of threads that read local files at once. The constant below is the number of bytes from which on
/// more than one thread reads.
const MAX_READERS: usize = 4;
const MIN_SHARED_BYTES: u64 = 4 << 20;
/// The minimum age of a file's last change. A file that changed later may change again without getting another time,
/// because file systems count in ticks of a clock.
const MIN_AGE: Duration = Duration::from_secs(2);
/// The maximum time to wait for a file that continues to change.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The sources that a container has open.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) opener: Option<Arc<dyn SourceOpener>>,
    /// The open sources; the most recently used source is last.
    pub(crate) open: Mutex<Vec<(u32, Arc<OpenSource>)>>,
}

impl Sources {
    pub(crate) fn new(opener: Option<Arc<dyn SourceOpener>>) -> Self {
        Self { opener, open: Mutex::default() }
    }
}

/// An open source that matches its entry.
#[derive(Debug)]
pub(crate) struct OpenSource {
    /// The name of the source in messages.
    pub(crate) name: String,
    pub(crate) entry: Source,
    pub(crate) bytes: SourceBytes,
}

#[derive(Debug)]
pub(crate) enum SourceBytes {
    File(OwnFile),
    Object { store: Arc<dyn ObjectStore>, meta: ObjectMeta },
}

/// Returns the length of a file, and the time of its last change in nanoseconds since 1970. The time is never 0, which
/// stands for an unknown time.
pub(crate) fn stamp(file: &std::fs::Metadata) -> (u64, u64) {
    let seconds = u64::try_from(file.mtime()).unwrap_or(0);
    let nanos = u64::try_from(file.mtime_nsec()).unwrap_or(0);
    (file.len(), seconds.saturating_mul(1_000_000_000).saturating_add(nanos).max(1))
}

/// A file's [`stamp`], and the time of the last change of the file or its attributes, in seconds and nanoseconds.
type FileState = ((u64, u64), i64, i64);

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(0)
}

/// Opens a file for reading, if it is a regular file. Returns an error for any other kind.
pub(crate) fn open_regular(path: &Path) -> std::io::Result<(File, std::fs::Metadata)> {
    open_regular_target(path, File::options().read(true))?
        .ok_or_else(|| std::io::Error::other("is no regular file"))
}

impl Source {
    /// Describes a local file in its present state. If the file changed less than two seconds ago, this waits, because
    /// a further change within a tick of the clock would not be visible. A time in the future does not tell when the
    /// file changed: such a file is accepted when its length and its times stayed the same for two seconds.
    ///
    /// # Errors
    /// The errors of the system; `TimedOut` for a file that still changes after ten seconds. The caller adds the name of the
    /// file.
    pub fn of_file(path: &Path) -> std::io::Result<Self> {
        Self::of_settled_file(path, MIN_AGE, MAX_WAIT)
    }

    fn of_settled_file(path: &Path, min_age: Duration, max_wait: Duration) -> std::io::Result<Self> {
        let (mut waited, mut unchanged) = (Duration::ZERO, Duration::ZERO);
        let mut before = None::<FileState>;
        loop {
            let file = open_regular(path)?.1;
            let state = (stamp(&file), file.ctime(), file.ctime_nsec());
            if before.replace(state) != Some(state) {
                unchanged = Duration::ZERO;
            }
            let by_its_time = Duration::from_nanos(nanos(SystemTime::now()).saturating_sub(state.0.1));
            let young = min_age.saturating_sub(by_its_time.max(unchanged));
            if young.is_zero() {
                return Ok(Self::with_stamp(path, state.0));
            }
            if waited >= max_wait {
                let text =
                    "it is changed again and again; close it in the program that writes it, and try again";
                return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text));
            }
            // The pauses are a lower bound of the time that has passed.
            std::thread::sleep(young);
            (waited, unchanged) = (waited + young, unchanged + young);
        }
    }

    /// Describes a local file in its present state, without waiting. This is for a file that [`of_file`](Self::of_file)
    /// described before: a change since then has given it another time.
    ///
    /// # Errors
    /// The errors of the system.
    pub fn of_file_at_once(path: &Path) -> std::io::Result<Self> {
        Ok(Self::with_stamp(path, stamp(&open_regular(path)?.1)))
    }

    fn with_stamp(path: &Path, (length, modified): (u64, u64)) -> Self {
        Self { place: path.as_os_str().as_bytes().to_vec(), length, modified, etag: String::new() }
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

    pub(crate) fn changed(&self, what: &str, target: &str) -> Error {
        let advice = "put it back as it was, or adopt it anew (h5lake adopt); its data in this container cannot be read";
        self.failed(Some(libc::ESTALE), format!("{what}; {advice}"), target)
    }

    /// Checks that a file is still the file that the entry describes. An entry without a time is rejected, because a
    /// change that keeps the length would not be detected.
    pub(crate) fn check(&self, now: (u64, u64), target: &str) -> Result<()> {
        let entry = &self.entry;
        if entry.modified == 0 {
            let what = "has no time of its last change in this container, so that later changes could not be detected; \
                        adopt it anew (h5lake adopt)";
            return Err(self.failed(Some(libc::ESTALE), what, target));
        }
        if now.0 != entry.length {
            let what = format!("has {} bytes, and had {} when it was adopted", now.0, entry.length);
            return Err(self.changed(&what, target));
        }
        if now.1 != entry.modified {
            return Err(self.changed("was changed after it was adopted", target));
        }
        Ok(())
    }

    pub(crate) fn read(&self, at: u64, buf: &mut [u8], target: &str) -> Result<()> {
        match &self.bytes {
            SourceBytes::File(own) => {
                let read = own.file.read_exact_at(buf, at);
                own.check().map_err(|e| {
                    let errno = Tampering::of(&e).map_or(e.raw_os_error(), |_| Some(libc::EBADF));
                    self.failed(errno, format!("cannot be read: {e}"), target)
                })?;
                // If the file changed before the read ended, its metadata shows it.
                let now = own
                    .file
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

    /// True unless other code closed the descriptor of a local file, so that the source must be opened again.
    pub(crate) fn is_open(&self) -> bool {
        match &self.bytes {
            SourceBytes::File(own) => own.check().is_ok(),
            SourceBytes::Object { .. } => true,
        }
    }

    fn is_local(&self) -> bool {
        matches!(self.bytes, SourceBytes::File(_))
    }

    /// Returns a range of its bytes in one request.
    fn get(&self, range: Range<u64>, target: &str) -> Result<Bytes> {
        use object_stores::ErrorKind as E;
        let SourceBytes::Object { store, meta } = &self.bytes else {
            let mut bytes = buffer_for(range.end - range.start, target)?;
            self.read(range.start, &mut bytes, target)?;
            return Ok(Bytes::from_owner(bytes));
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

/// Returns a buffer for a part; its length comes from the container.
pub(crate) fn buffer_for(length: u64, target: &str) -> Result<Scratch> {
    let none = || Error::no_memory(target, length);
    if length <= MAX_POOLED_BYTES as u64 {
        return Scratch::try_new(length as usize).ok_or_else(none);
    }
    try_zeroed(length).map(Scratch::from).ok_or_else(none)
}

/// A requested part of a source, and the destination of its bytes.
pub(crate) struct Part<'a> {
    pub(crate) source: Arc<OpenSource>,
    pub(crate) range: Range<u64>,
    pub(crate) into: Option<&'a mut [u8]>,
    /// The part's number among the answers.
    pub(crate) n: usize,
}

/// Parts of one source that are read in one request.
struct Request<'a> {
    range: Range<u64>,
    parts: Vec<Part<'a>>,
}

fn joined(mut all: Vec<Part<'_>>) -> Vec<Request<'_>> {
    all.sort_unstable_by_key(|part| (Arc::as_ptr(&part.source) as usize, part.range.start));
    let mut requests: Vec<Request<'_>> = Vec::new();
    for part in all {
        // The maximum gap between two parts, and the maximum length of one request, in bytes. Copying this many bytes
        // costs more than a system call, and less than a request to a store.
        let (gap, most) = if part.source.is_local() { (4 << 10, 1 << 20) } else { (64 << 10, 4 << 20) };
        if let Some(last) = requests.last_mut()
            && last.parts.first().is_some_and(|first| Arc::ptr_eq(&first.source, &part.source))
            && part.range.start <= last.range.end.saturating_add(gap)
            && part.range.end.saturating_sub(last.range.start) <= most
        {
            last.range.end = last.range.end.max(part.range.end);
            last.parts.push(part);
            continue;
        }
        requests.push(Request { range: part.range.clone(), parts: vec![part] });
    }
    requests
}

/// Reads parts of sources in parallel. The bytes of a part without a destination are stored in `out`, at the part's
/// number.
pub(crate) fn fetch(parts: Vec<Part<'_>>, out: &mut [Bytes], target: &str) -> Result<()> {
    let requests = joined(parts);
    let is_far = requests.iter().any(|request| request.parts.iter().any(|part| !part.source.is_local()));
    let bytes = requests.iter().map(|request| request.range.end - request.range.start).sum::<u64>();
    let most = match is_far {
        true => MAX_REQUESTS,
        false if bytes >= MIN_SHARED_BYTES => MAX_READERS,
        false => 1,
    };
    let out = Mutex::new(out);
    side_by_side(requests, most, |Request { range, mut parts }| {
        if let [Part { source, into: Some(into), .. }] = &mut parts[..]
            && source.is_local()
        {
            return source.read(range.start, into, target);
        }
        let Some(first) = parts.first() else { return Ok(()) };
        let bytes = first.source.get(range.clone(), target)?;
        for part in parts {
            let cut = (part.range.start - range.start) as usize..(part.range.end - range.start) as usize;
            match part.into {
                Some(into) => into.copy_from_slice(&bytes[cut]),
                None => out.lock()[part.n] = bytes.slice(cut),
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn changed_at(path: &Path, time: SystemTime) {
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn without_a_time_a_local_source_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("native.h5");
        std::fs::write(&path, b"bytes").unwrap();
        let dated = Source::of_file_at_once(&path).unwrap();
        for (entry, is_read) in [(dated.clone(), true), (Source { modified: 0, ..dated }, false)] {
            let (file, meta) = open_regular(&path).unwrap();
            let bytes = SourceBytes::File(OwnFile::new(file));
            let source = OpenSource { name: "native.h5".into(), entry, bytes };
            for done in [source.check(stamp(&meta), "a.h5"), source.read(0, &mut [0; 5], "a.h5")] {
                let error = done.err().map(|e| (e.errno(), e.to_string()));
                assert_eq!(error.is_none(), is_read, "{error:?}");
                let is_expected = |(errno, text): (Option<i32>, String)| {
                    errno == Some(libc::ESTALE) && text.contains("no time of its last change")
                };
                assert!(error.is_none_or(is_expected));
            }
        }
    }

    #[test]
    fn only_a_regular_file_is_a_source() {
        let dir = tempfile::tempdir().unwrap();
        let error = open_regular(dir.path()).unwrap_err();
        assert!(error.to_string().contains("no regular file"), "{error}");
        let missing = open_regular(&dir.path().join("missing")).unwrap_err();
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
    }

    #[test]
    fn a_time_in_the_future_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("native.h5");
        std::fs::write(&path, b"bytes").unwrap();
        let later = SystemTime::now() + LONG;
        changed_at(&path, later);
        let source = Source::of_settled_file(&path, Duration::from_millis(20), LONG).unwrap();
        assert_eq!((source.length, source.modified), (5, nanos(later)));
        assert_eq!(Source::of_file_at_once(&path).unwrap(), source);
    }

    #[test]
    fn a_file_that_changes_again_and_again_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("native.h5");
        std::fs::write(&path, b"bytes").unwrap();
        let is_over = AtomicBool::new(false);
        let error = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    changed_at(&path, SystemTime::now() + LONG);
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            let found = Source::of_settled_file(&path, Duration::from_secs(1), Duration::from_millis(10));
            is_over.store(true, Ordering::Relaxed);
            found.unwrap_err()
        });
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{error}");
        // A file that has not changed for a long time is accepted at once.
        changed_at(&path, SystemTime::now() - LONG);
        Source::of_settled_file(&path, Duration::from_secs(1), Duration::ZERO).unwrap();
    }
}
