//! Repair: copies the intact parts of a container to a new one, and reports the other parts. `h5lake repair`.
//!
//! Entries are copied key by key, so that ids and references stay valid. Payloads are written anew. The counts in
//! headers are counted anew. Objects that no link leads to any more get a link in `/lost+found`.
//!
//! Memory: the log of the source, as for every reader; the fragments of one block; tallies that are stored in a
//! temporary file; at most [`MAX_FINDINGS`] losses. For a target in a store, all its entries, without payloads, until
//! its one commit.

mod blocks;
mod counts;
mod entries;
mod heap;
mod holes;
mod left_out;
#[cfg(test)]
mod sparse_tests;
#[cfg(test)]
pub(crate) mod tests;

use crate::end::End;
use crate::file_mode::options_of_copy;
use crate::verify::{self, VerifyFinding, decoded};
use bytes::Bytes;
use h5lake_container::Target;
use h5lake_ledger::verify::{Finding, Findings, Item, MAX_FINDINGS, Severity, Tally, Verifier, why_damaged};
use h5lake_ledger::{Extent, Ledger, Source};
use h5lake_records::ObjectId;
use h5lake_records::keys;
use h5lake_records::record::RECORDS_VERSION;
use h5lake_records::record::{ContainerRecord, HeaderRecord};
use h5lake_records::{Error, ErrorKind, Result};
use holes::Holes;
use prost::Message;
use std::collections::HashSet;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Number of ids that are skipped if the counter of ids is lost, because elements may hold ids of lost objects as
/// references.
const SKIPPED_IDS: u64 = 1 << 20;

/// The result of a repair.
#[derive(Debug, Clone, Default)]
pub struct Repaired {
    /// The losses, at most [`MAX_FINDINGS`].
    pub lost: Vec<VerifyFinding>,
    /// Number of further losses.
    pub more: u64,
    /// Number of objects in the new container.
    pub objects: u64,
    /// Number of objects that were put into `/lost+found`.
    pub found: u64,
    /// Bytes of payloads that were copied.
    pub bytes: u64,
    /// The version that was copied.
    pub version: u64,
    /// True if the newest version cannot be opened, so that an older one was copied.
    pub is_salvaged: bool,
    /// Tags of the source, except those of branches. They are not copied, nor are their versions.
    pub tags: Vec<String>,
    /// Branches of the source. They are not copied, and none of their changes is merged.
    pub branches: Vec<String>,
    /// Errors of native files that hold data of the container, so that this data could not be checked. At most
    /// [`MAX_FINDINGS`].
    pub sources: Vec<String>,
}

impl Repaired {
    /// Returns whether the new container is complete: nothing was lost, only versions without a name were left out, and
    /// all native files that hold data of the container exist and are unchanged.
    pub fn is_whole(&self) -> bool {
        !self.has_losses() && self.tags.is_empty() && self.branches.is_empty()
    }

    /// Returns whether data was lost, or may have been lost because a native file that holds data is missing or was replaced.
    pub fn has_losses(&self) -> bool {
        !self.lost.is_empty() || self.more > 0 || !self.sources.is_empty()
    }
}

/// The state of a repair.
struct Repair<'a> {
    v: &'a Verifier,
    from: &'a Ledger,
    to: &'a Ledger,
    findings: Findings,
    progress: &'a mut dyn FnMut(u64),
    done: Repaired,
    /// Number of links and uses per object.
    tally: Tally,
    /// The largest number of all ids found.
    last_number: u64,
    /// True if links may be lost, which explains link counts that are too high and objects without links.
    lost_links: bool,
    /// Objects that are already reported as lost.
    reported: HashSet<u64>,
    holes: Holes,
}

/// Copies the newest version of a container to a new one, except damaged parts. The source is not changed, and other
/// writers may write to it meanwhile. `progress` gets the number of copied bytes, and the approximate total.
///
/// # Errors
/// `AlreadyExists` if the target exists; `Corrupt` if no version of the source can be opened; those of reading the
/// source, except damage, and of writing. After an error the target does not exist.
pub fn repair(from: End<'_>, to: End<'_>, progress: &mut dyn FnMut(u64, u64)) -> Result<Repaired> {
    let verifier = match verify::open(from.target, from.options)? {
        Ok(verifier) => verifier,
        Err(findings) => {
            let why = findings.list.first().map(|f| format!("{}: {}", f.at, f.why)).unwrap_or_default();
            let text = format!(
                "{}: no version of it can be opened ({why}); restore it from a copy",
                from.target.name()
            );
            return Err(Error::corrupt(text));
        }
    };
    let size = verifier.size()?;
    let record = repaired_record(&verifier)?;
    let ledger = h5lake_ledger::Options {
        user_block: verifier.ledger().offset_in_file().unwrap_or(record.record.user_block),
        sources: may_have_sources(&verifier)?,
        ..options_of_copy(from, to)
    };
    let (mut made, mut findings) = (Repaired::default(), Findings::default());
    let fill = |new: &Ledger| -> Result<()> {
        fill_user_block(from.target, verifier.ledger().offset_in_file().unwrap_or(0), new)?;
        let mut copied = |done| progress(done, size);
        let (done, found) = Repair::new(&verifier, new, &mut copied).run(&record)?;
        (made, findings) = (done, found);
        Ok(())
    };
    let ledger = to.create_whole(ledger, fill)?;
    ledger.close_committed()?;
    let salvaged = verifier.findings.list.clone();
    made.lost = verify::named(&verifier, salvaged.into_iter().chain(findings.list).collect())?;
    (made.more, made.version) = (findings.more, verifier.ledger().version());
    made.is_salvaged = verifier.is_salvaged();
    Ok(made)
}

/// Returns whether a container has entries of sources, or may have lost some.
fn may_have_sources(v: &Verifier) -> Result<bool> {
    let met = v.scan(&[keys::SOURCE], Some(&[keys::SOURCE + 1])).step()?;
    Ok(met.is_some() || v.ledger().has_sources()?)
}

/// Bytes of a user block that are copied in one step.
const USER_BLOCK_STEP: u64 = 1 << 20;

/// Copies the user block of a container to another one in a file, which is being created.
pub(crate) fn fill_user_block(from: &Target, length: u64, to: &Ledger) -> Result<()> {
    let Target::File(path) = from else { return Ok(()) };
    let failed = |e: std::io::Error| {
        let text = format!("{}: unable to copy the user block: {e}", from.name());
        Error::new(ErrorKind::Io, text).with_errno(e.raw_os_error())
    };
    let mut at = 0;
    while at < length {
        let mut part = vec![0; USER_BLOCK_STEP.min(length - at) as usize];
        std::fs::File::open(path).and_then(|file| file.read_exact_at(&mut part, at)).map_err(failed)?;
        to.write_user_block(at, &part)?;
        at += part.len() as u64;
    }
    Ok(())
}

/// Copies the bytes before a container in its file.
pub(crate) fn copy_user_block(from: &Path, to: &Path, length: u64) -> std::io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    let source = std::fs::File::open(from)?;
    let mut to = std::fs::File::options().write(true).open(to)?;
    std::io::copy(&mut std::io::Read::take(source, length), &mut to)?;
    to.sync_all()
}

/// The container's own record, and the reason if it had to be reconstructed.
struct Own {
    record: ContainerRecord,
    value: Bytes,
    lost: Option<String>,
}

/// Reads the container's own record. A lost record is reconstructed from the ids of objects.
fn repaired_record(v: &Verifier) -> Result<Own> {
    let why = match v.value(keys::CONTAINER)?.map(|value| (decoded::<ContainerRecord>(value.clone()), value))
    {
        Some((Ok(record), value)) => {
            record.check_version()?;
            return Ok(Own { record, value, lost: None });
        }
        Some((Err(why), _)) => why,
        None => "it cannot be read".into(),
    };
    let salt = entries::salt_of_objects(v)?;
    let record = ContainerRecord { version: RECORDS_VERSION, salt, ..ContainerRecord::default() };
    let value = record.encode_to_vec().into();
    let lost = format!("{why}; the new one has no file creation properties");
    Ok(Own { record, value, lost: Some(lost) })
}

impl<'a> Repair<'a> {
    fn new(v: &'a Verifier, to: &'a Ledger, progress: &'a mut dyn FnMut(u64)) -> Self {
        Self {
            v,
            from: v.ledger(),
            to,
            findings: Findings::default(),
            progress,
            done: Repaired::default(),
            tally: Tally::default(),
            last_number: 0,
            lost_links: false,
            reported: HashSet::new(),
            holes: Holes::default(),
        }
    }

    fn run(mut self, own: &Own) -> Result<(Repaired, Findings)> {
        if let Some(why) = &own.lost {
            self.lose("container record", keys::CONTAINER, why.clone());
        }
        self.to.put(keys::CONTAINER, own.value.clone())?;
        self.sources()?;
        self.headers()?;
        self.entries()?;
        let found = self.counts()?;
        self.counter()?;
        self.lost_and_found(found, own.record.salt)?;
        self.put_counter()?;
        self.left_out()?;
        Ok((self.done, self.findings))
    }

    /// Copies the entries of sources. The container refers to them as before, even to a missing file, because it may be
    /// restored.
    fn sources(&mut self) -> Result<()> {
        let v = self.v;
        let (was, is) = (self.from.folder(), self.to.folder());
        let mut scan = v.scan(&[keys::SOURCE], Some(&[keys::SOURCE + 1]));
        while let Some(item) = scan.step()? {
            match item {
                Item::Entry(key, value) => {
                    let source = Source::decode(&value);
                    let source = source.and_then(|source| source.seen_from(was.as_deref(), is.as_deref()));
                    match (source, Source::number(&key)) {
                        (Ok(source), Some(number)) => {
                            self.to.put_source(number, &source)?;
                            self.look_at_source(number);
                        }
                        (Ok(_), None) => self.lose("source", &key, "an impossible key"),
                        (Err(why), _) => self.lose("source", &key, why),
                    }
                }
                Item::Unreadable(key) => self.lose("source", &key, "it cannot be read"),
                Item::Lost(from, to) => self.lose_range(&from, &to),
            }
        }
        Ok(())
    }

    /// Notes an error of a source, because its data cannot be checked.
    fn look_at_source(&mut self, number: u32) {
        if let Err(e) = self.from.check_source(number)
            && self.done.sources.len() < MAX_FINDINGS
        {
            self.done.sources.push(e.to_string());
        }
    }

    /// Notes that the value of a key is lost.
    fn lose(&mut self, kind: &'static str, key: &[u8], why: impl Into<String>) {
        let found = Finding::new(Severity::Damage, kind, "", why);
        self.findings.add(Finding { key: Some(Bytes::copy_from_slice(key)), ..found });
    }

    /// Notes that the entries between two keys are lost.
    fn lose_range(&mut self, from: &Bytes, to: &Option<Bytes>) {
        let why = "a page of the map is damaged; what is listed here is lost if it was there";
        let found = Finding::new(Severity::Damage, "page", "", why);
        self.findings.add(Finding { keys: Some((from.clone(), to.clone())), ..found });
    }

    /// Notes an id, so that no new object gets it.
    fn see(&mut self, id: u64) {
        self.last_number = self.last_number.max(ObjectId(id).number());
    }

    /// Returns the bytes of a payload, or the reason why they are lost.
    fn payload(&mut self, e: &Extent, at: u64, length: u64) -> Result<std::result::Result<Vec<u8>, String>> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let mut bytes = h5lake_records::memory::zeros(length)?;
        match self.from.read_payload(e, at, &mut bytes) {
            Ok(()) => {
                self.done.bytes += bytes.len() as u64;
                (self.progress)(self.done.bytes);
                Ok(Ok(bytes))
            }
            Err(e) => why_damaged(&e).map(Err).ok_or_else(|| e.into()),
        }
    }

    /// Returns whether the new container has an object.
    fn has(&self, id: u64) -> Result<bool> {
        Ok(self.to.get(&keys::of(keys::HEADER, id))?.is_some())
    }

    fn put_header(&self, id: u64, h: &HeaderRecord) -> Result<()> {
        Ok(self.to.put(&keys::of(keys::HEADER, id), h.encode_to_vec())?)
    }

    /// Reads the counter of ids, so that no new object gets the id of a lost one.
    fn counter(&mut self) -> Result<()> {
        let mut end = keys::NEXT_OBJECT.to_vec();
        end.push(0);
        let v = self.v;
        let mut scan = v.scan(keys::NEXT_OBJECT, Some(&end));
        let (mut stored, mut is_lost) = (None, false);
        while let Some(item) = scan.step()? {
            match item {
                Item::Entry(_, value) => {
                    stored = <[u8; 8]>::try_from(&value[..]).ok().map(u64::from_be_bytes)
                }
                Item::Unreadable(_) | Item::Lost(..) => is_lost = true,
            }
        }
        match stored {
            Some(next) => self.last_number = self.last_number.max(next.saturating_sub(1)),
            None if is_lost => self.last_number += SKIPPED_IDS,
            None => (),
        }
        Ok(())
    }

    /// Stores the number of the next object, which is after all numbers found.
    fn put_counter(&self) -> Result<()> {
        match self.last_number {
            0 => Ok(()),
            last => Ok(self.to.put(keys::NEXT_OBJECT, (last + 1).to_be_bytes().to_vec())?),
        }
    }
}
