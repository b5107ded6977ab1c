//! Raw data in sources (native files to which extents refer), as readers of the container see it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_stores::{Etag, ObjectMeta};

use super::Ledger;
use crate::address::Location;
use crate::buffers::Scratch;
use crate::checksum::checksum;
use crate::error::{Error, ErrorKind, Result};
use crate::extent::Extent;
use crate::file::intrusion::OwnFile;
use crate::payload::{self, PayloadPart};
use crate::source::{SOURCE, Source};
use crate::sources::{MAX_OPEN, OpenSource, Part, SourceBytes, buffer_for, fetch, open_regular, stamp};
use crate::storage_kinds::StorageKinds;

impl Ledger {
    /// Returns the folder of the container's file; `None` for a container in a store.
    pub fn folder(&self) -> Option<std::path::PathBuf> {
        self.storage.as_file()?.folder()
    }

    /// Returns whether the container was created for extents in sources.
    pub fn is_for_sources(&self) -> bool {
        self.properties.is_for_sources
    }

    /// Returns whether the container was created for extents in sources, or has a source.
    ///
    /// # Errors
    /// Read errors.
    pub fn has_sources(&self) -> Result<bool> {
        Ok(self.properties.is_for_sources || !self.scan_prefix(&[SOURCE], None, 1)?.is_empty())
    }

    /// Returns all sources with their numbers.
    ///
    /// # Errors
    /// `Corrupt` for a damaged entry; read errors.
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

    /// Returns the source with a number.
    ///
    /// # Errors
    /// `Corrupt` if no such source exists or its entry is damaged; read errors.
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
    /// The errors of [`put`](Ledger::put).
    pub fn put_source(&self, number: u32, source: &Source) -> Result<()> {
        self.put(&Source::key(number), source.encode())
    }

    /// Opens a source and compares it with its entry.
    ///
    /// # Errors
    /// `Io` (errno 116, ESTALE) if the source has changed since it was adopted; `Corrupt` if no such source exists; the errors of opening
    /// it.
    pub fn check_source(&self, number: u32) -> Result<()> {
        self.opened(number).map(drop)
    }

    /// Returns the name of a source in messages: its path or its URL.
    ///
    /// # Errors
    /// The errors of [`source`](Ledger::source).
    pub fn source_name(&self, number: u32) -> Result<String> {
        let source = self.source(number)?;
        let path = source.path(self.folder().as_deref()).map(|path| path.display().to_string());
        Ok(path.unwrap_or_else(|| String::from_utf8_lossy(&source.place).into_owned()))
    }

    fn opened(&self, number: u32) -> Result<Arc<OpenSource>> {
        let mut open = self.source_files().open.lock();
        open.retain(|(known, source)| *known != number || source.is_open());
        if let Some(at) = open.iter().position(|(known, _)| *known == number) {
            let found = open[at].1.clone();
            if at + 1 < open.len() {
                open[at..].rotate_left(1);
            }
            return Ok(found);
        }
        drop(open);
        // No lock is held while a file system or a store is accessed.
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
        let found = OpenSource { name, entry, bytes: SourceBytes::File(OwnFile::new(file)) };
        found.check(stamp(&meta), target)?;
        Ok(found)
    }

    /// Returns the source of an extent, after checking that the extent lies within it.
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

    /// Checks that an extent lies within its source and that the source has not changed since it was adopted. Reads no byte of the extent.
    ///
    /// # Errors
    /// The errors of [`read_payload`](Ledger::read_payload).
    pub fn check_extent_in_source(&self, e: &Extent) -> Result<()> {
        self.source_of(e).map(drop)
    }

    /// Reads from an extent in a source like [`read_payload`](Ledger::read_payload).
    pub(crate) fn read_source(&self, e: &Extent, offset: u64, buf: &mut [u8]) -> Result<()> {
        let target = self.storage().target();
        let range = offset..offset.saturating_add(buf.len() as u64);
        if range.end > e.len() {
            return Err(payload::outside(self.storage(), e, &range));
        }
        if buf.is_empty() {
            return Ok(());
        }
        let source = self.source_of(e)?;
        let from = e.place().offset;
        if !e.has_checksums() {
            return source.read(from + offset, buf, target);
        }
        let block = e.block();
        let (mut at, mut remaining) = (range.start, buf);
        while at < range.end {
            let low = at / block * block;
            let whole = if range.end == e.len() { range.end } else { range.end / block * block };
            // Whole blocks are read directly into the buffer; partial blocks are read into a temporary buffer and copied.
            let is_straight = at == low && at < whole;
            let high = if is_straight { whole } else { (low + block).min(e.len()) };
            let (now, later) =
                std::mem::take(&mut remaining).split_at_mut((high.min(range.end) - at) as usize);
            if is_straight {
                source.read(from + at, now, target)?;
                self.verify_source(&source, e, at, now)?;
            } else {
                let mut bytes = Scratch::new((high - low) as usize);
                source.read(from + low, &mut bytes, target)?;
                self.verify_source(&source, e, low, &bytes)?;
                now.copy_from_slice(&bytes[(at - low) as usize..][..now.len()]);
            }
            at += now.len() as u64;
            remaining = later;
        }
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

    /// Reads extents in sources like [`read_payloads`](Ledger::read_payloads). Adjacent ranges are combined into one request, and requests
    /// run in parallel.
    pub(crate) fn read_sources(&self, parts: Vec<PayloadPart<'_>>) -> Result<Vec<Bytes>> {
        let mut out = vec![Bytes::new(); parts.len()];
        let (mut plain, mut verified) = (Vec::new(), Vec::new());
        for (n, part) in parts.into_iter().enumerate() {
            let PayloadPart { extent, range, into } = part;
            let length = range.end.checked_sub(range.start).and_then(|length| usize::try_from(length).ok());
            let fits =
                range.end <= extent.len() && into.as_ref().is_none_or(|into| Some(into.len()) == length);
            let Some(length) = length.filter(|_| fits) else {
                return Err(payload::outside(self.storage(), extent, &range));
            };
            if extent.has_checksums() || length == 0 {
                verified.push((n, extent, range.start, length, into));
                continue;
            }
            let source = self.source_of(extent)?;
            let at = extent.place().offset + range.start;
            plain.push(Part { source, range: at..at + length as u64, into, n });
        }
        for (n, extent, start, length, into) in verified {
            match into {
                Some(into) => self.read_source(extent, start, into)?,
                None => {
                    let mut bytes = buffer_for(length as u64, self.storage().target())?;
                    self.read_source(extent, start, &mut bytes)?;
                    out[n] = Bytes::from_owner(bytes);
                }
            }
        }
        fetch(plain, &mut out, self.storage().target())?;
        Ok(out)
    }
}
