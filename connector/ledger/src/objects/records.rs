//! Reads the log: records that are objects of their own, or lie in a closed head.

use bytes::Bytes;
use object_stores::ObjectStoreExt;

use super::{FetchedRecord, MAX_RECORDS_PER_FETCH, ObjectStorage, lock, parse_log};
use crate::address::Location;
use crate::error::{Error, Result};
use crate::objects::manifest::{Head, MAX_LOG_OBJECT_BYTES, store_error};
use crate::payload::twice;

/// The log behind a version.
pub(super) struct Log {
    pub(super) records: Vec<FetchedRecord>,
    /// A number behind them that is kept for a commit by a head: what became of it a newer head may tell.
    pub(super) intent: Option<u64>,
}

impl From<Vec<FetchedRecord>> for Log {
    fn from(records: Vec<FetchedRecord>) -> Self {
        Self { records, intent: None }
    }
}

impl ObjectStorage {
    /// The record of a version, if there is one. Damage on the way is not in a second answer.
    pub(super) fn record(&self, version: u64) -> Result<Option<FetchedRecord>> {
        twice(self, [Location::Log(version)], || self.record_once(version))
    }

    fn record_once(&self, version: u64) -> Result<Option<FetchedRecord>> {
        let key = self.names.object_key(&Location::Log(version), &self.target)?;
        let found = self
            .store
            .get_whole_opt(&key, MAX_LOG_OBJECT_BYTES)
            .map_err(|e| store_error(&self.target, &e))?;
        let damaged = |why: &str| Error::corrupt(&self.target, format!("log object {key}"), why);
        let Some(found) = found else { return Ok(None) };
        let logged = parse_log(&found.bytes).map_err(damaged)?;
        if logged.record.header.version != version {
            return Err(damaged("it has another version's record"));
        }
        Ok(Some(logged))
    }

    /// The records of a [log](Self::log) alone.
    pub(super) fn records(&self, after: u64, known: u64, settled: u64) -> Result<Vec<FetchedRecord>> {
        self.log(after, known, settled).map(|log| log.records)
    }

    /// The log behind `after`: records up to `known` are there. More are asked for beside them, at first one, then
    /// twice as many each time, so that a long tail costs few round trips and no tail costs one request. Intents up to `settled`, the
    /// version of the head in hand, are empty versions; behind another one nothing is known.
    pub(super) fn log(&self, after: u64, known: u64, settled: u64) -> Result<Log> {
        let mut out = Vec::new();
        let mut next = after.saturating_add(1);
        let mut beyond = 1u64;
        loop {
            let last = known
                .max(after)
                .saturating_add(beyond)
                .min(next.saturating_add(MAX_RECORDS_PER_FETCH as u64 - 1));
            for answer in self.together(next..=last) {
                match answer? {
                    Some(record) if record.record.header.is_intent && next > settled => {
                        return Ok(Log { records: out, intent: Some(next) });
                    }
                    Some(record) => out.push(record),
                    None if next > known => return Ok(out.into()),
                    None => {
                        let at = format!("log object of version {next}");
                        return Err(Error::corrupt(&self.target, at, "it is missing"));
                    }
                }
                next += 1;
            }
            if next > known {
                beyond = (next - known.max(after)).saturating_mul(2) - 1;
            }
        }
    }

    pub(super) fn together(
        &self,
        versions: std::ops::RangeInclusive<u64>,
    ) -> Vec<Result<Option<FetchedRecord>>> {
        // The caller asks for the first one itself: a thread costs more than most answers do.
        let (first, last) = versions.into_inner();
        if first >= last {
            return (first..=last).map(|v| self.record(v)).collect();
        }
        std::thread::scope(|s| {
            let ask = |v| (v, std::thread::Builder::new().spawn_scoped(s, move || self.record(v)));
            let asked: Vec<_> = (first + 1..=last).map(ask).collect();
            let own = self.record(first);
            let panicked = || Err(Error::corrupt(&self.target, "log", "a thread that read it panicked"));
            let answer =
                |(v, thread): (u64, std::io::Result<std::thread::ScopedJoinHandle<'_, _>>)| match thread {
                    Ok(thread) => thread.join().unwrap_or_else(|_| panicked()),
                    // The system has no thread to give: one after the other, then.
                    Err(_) => self.record(v),
                };
            std::iter::once(own).chain(asked.into_iter().map(answer)).collect()
        })
    }

    /// The records in a closed head, if it has them.
    pub(super) fn closed_log(&self, head: &Head) -> Result<Option<Vec<FetchedRecord>>> {
        let Some(log) = &head.closed else { return Ok(None) };
        if log.is_empty() && head.version > head.base.version {
            return Ok(None);
        }
        let mut tail = lock(&self.tail);
        let mut records = Vec::with_capacity(log.len());
        for (version, object) in (head.base.version + 1..).zip(log) {
            let damaged =
                |why: &str| Error::corrupt(&self.target, format!("record {version} in the head"), why);
            let logged = parse_log(object).map_err(damaged)?;
            if logged.record.header.version != version {
                return Err(damaged("it is another version's"));
            }
            tail.add(version, object.clone());
            records.push(logged);
        }
        Ok(Some(records))
    }

    /// The records behind a head's base, and its root page if that could be asked for beside them.
    pub(super) fn newest_records(&self, head: &Head) -> (Result<Log>, Option<Bytes>) {
        match self.closed_log(head) {
            Ok(None) => self.log_and_root(head),
            Ok(Some(records)) => (Ok(records.into()), None),
            Err(e) => (Err(e), None),
        }
    }

    /// The records behind a head's base, and beside them the base's root page: one wait for both.
    fn log_and_root(&self, head: &Head) -> (Result<Log>, Option<Bytes>) {
        let log = || self.log(head.base.version, head.version, head.version);
        let Some(root) = head.base.root else { return (log(), None) };
        std::thread::scope(|s| {
            let page = std::thread::Builder::new().spawn_scoped(s, || self.root(&root.place));
            // Whoever needs the page and does not get it here reads it again, and is told why it cannot be read.
            (log(), page.ok().and_then(|page| page.join().ok()?.ok()))
        })
    }
}
