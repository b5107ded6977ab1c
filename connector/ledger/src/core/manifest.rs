//! The manifest: the complete, immutable state of a container, which one swap of the head object replaces.
//!
//! The manifest holds the data that every commit and every open needs. Three tables that grow with the container are in
//! pages: space (usage and dead lists), history and references. The manifest names those pages. Records that the tables
//! do not contain yet are in the line. The caller stores pages; the core encodes and decodes their bytes.

use std::sync::Arc;

use super::frame;
use super::ids::{ContainerId, Nonce, SessionId, SessionProcess};
use super::line::Line;
use super::references::References;
use super::runs::{MAX_RUNS, Run};
use crate::address::PageRef;
use crate::checksum::{seal, unseal};
use crate::codec::{Decoded, NEWER, Reader, put_varint};
use crate::signatures::{FORMAT, SIGNATURE};

/// The length of the fixed part that all formats share.
const FIXED: usize = 64;
/// The maximum length of a manifest that a decoder accepts, in bytes.
pub(crate) const MAX_MANIFEST_BYTES: usize = 8 << 20;
/// The maximum value of the numbers counter.
pub(crate) const MAX_NUMBERS: u64 = 1 << 60;
/// The maximum number of sessions in a manifest.
pub(crate) const MAX_SESSIONS: usize = 1000;
/// The maximum number of copies in progress at a time.
pub(crate) const MAX_COPIES: usize = 64;
/// The number of lines. A reader refuses other numbers as newer, so that several lines can be introduced without a new
/// container format.
const LINES: u64 = 1;

/// A session that may have objects that no manifest names yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionEntry {
    pub(crate) id: SessionId,
    /// The day on which the session joined, in days since 1970.
    pub(crate) day: u64,
    /// True if the session is that of an exclusive writer, which holds the lease while it is alive.
    pub(crate) is_alone: bool,
    /// The process of the session, unless its system does not identify processes.
    pub(crate) process: Option<SessionProcess>,
}

impl SessionEntry {
    /// The flag of the session of an exclusive writer.
    const ALONE: u8 = 1;
    /// The flag of an entry with a process.
    const WITH_PROCESS: u8 = 2;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0.to_le_bytes());
        put_varint(out, self.day);
        let alone = if self.is_alone { Self::ALONE } else { 0 };
        out.push(alone | self.process.map_or(0, |_| Self::WITH_PROCESS));
        if let Some(process) = self.process {
            process.encode(out);
        }
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let (id, day, flags) = (SessionId(r.u64()?), r.number()?, r.u8()?);
        if flags & !(Self::ALONE | Self::WITH_PROCESS) != 0 {
            return Err("a session with unknown flags");
        }
        let process = (flags & Self::WITH_PROCESS != 0).then(|| SessionProcess::read(r)).transpose()?;
        Ok(Self { id, day, is_alone: flags & Self::ALONE != 0, process })
    }
}

/// A container that is being copied to this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CopyEntry {
    pub(crate) id: ContainerId,
    /// The session that makes the copy.
    pub(crate) session: SessionId,
    /// The day on which that session began, in days since 1970.
    pub(crate) day: u64,
}

/// The pages of the space table and the history. All are set by one swap, so one sequence identifies them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct TableRefs {
    /// The sequence of the manifest that set them.
    pub(crate) since: u64,
    pub(crate) usage: Option<PageRef>,
    pub(crate) dead: Vec<Run>,
    pub(crate) history: Vec<Run>,
}

/// The state of a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Manifest {
    /// The container; [`ContainerId::ABSENT`] if it was deleted or does not exist yet.
    pub(crate) id: ContainerId,
    /// The time of the container's creation, in microseconds since 1970.
    pub(crate) created: u64,
    /// True if extents may be in native files outside of the container.
    pub(crate) has_sources: bool,
    /// The sequence, which each swap increases by one.
    pub(crate) sequence: u64,
    /// The nonce of the change that made this manifest. No two manifests have the same nonce and sequence.
    pub(crate) nonce: Nonce,
    /// The session that made the container, or let it appear as a copy.
    pub(crate) maker: SessionId,
    /// The numbers counter: concurrent writers have reserved numbers of objects below it. An exclusive writer, which counts objects in the
    /// map, does not raise it.
    pub(crate) numbers: u64,
    /// The sessions, ascending by id.
    pub(crate) sessions: Vec<SessionEntry>,
    /// The copies in progress, ascending by id.
    pub(crate) copies: Vec<CopyEntry>,
    pub(crate) line: Arc<Line>,
    pub(crate) references: Arc<References>,
    pub(crate) tables: Arc<TableRefs>,
}

impl Manifest {
    /// Returns the manifest of a name without a container. Sequence 0 means that the head object does not exist yet.
    pub(crate) fn absent() -> Self {
        Self {
            id: ContainerId::ABSENT,
            created: 0,
            has_sources: false,
            sequence: 0,
            nonce: Nonce::default(),
            maker: SessionId::default(),
            numbers: 1,
            sessions: Vec::new(),
            copies: Vec::new(),
            line: Arc::default(),
            references: Arc::default(),
            tables: Arc::default(),
        }
    }

    /// Returns whether there is no container.
    pub(crate) fn is_absent(&self) -> bool {
        self.id == ContainerId::ABSENT
    }

    /// Returns whether a session may have objects that no manifest names.
    pub(crate) fn lists(&self, session: SessionId) -> bool {
        self.sessions.binary_search_by_key(&session, |entry| entry.id).is_ok()
    }

    /// Returns the session that makes a copy with this container id, if such a copy is in progress.
    pub(crate) fn copier(&self, id: ContainerId) -> Option<SessionId> {
        let at = self.copies.binary_search_by_key(&id, |entry| entry.id).ok()?;
        Some(self.copies[at].session)
    }

    /// Returns whether a copy with this container id is in progress.
    pub(crate) fn lists_copy(&self, id: ContainerId) -> bool {
        self.copier(id).is_some()
    }

    /// Encodes the head object.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        self.encode_fixed(&mut out);
        frame::put_reserved(&mut out);
        out.push(u8::from(self.has_sources));
        put_varint(&mut out, self.sequence);
        self.nonce.encode(&mut out);
        out.extend_from_slice(&self.maker.0.to_le_bytes());
        put_varint(&mut out, self.numbers);
        frame::put_list(&mut out, &self.sessions, SessionEntry::encode);
        frame::put_list(&mut out, &self.copies, |entry, out| {
            out.extend_from_slice(&entry.id.0);
            out.extend_from_slice(&entry.session.0.to_le_bytes());
            put_varint(out, entry.day);
        });
        put_varint(&mut out, LINES);
        self.line.encode(&mut out);
        self.references.encode(&mut out);
        self.tables.encode(&mut out);
        seal(&mut out);
        out
    }

    /// Encodes bytes 0 to 63, which have the same meaning in every format (docs/format.md, "File layout").
    fn encode_fixed(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(SIGNATURE);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        // A head object has no features.
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.id.0);
        // The length of a user block, which a head object does not have.
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.created.to_le_bytes());
        seal(out);
    }

    /// Decodes a head object. The caller has checked signature and format before, because only the caller can report
    /// which other kind of container an object is.
    ///
    /// # Errors
    /// The reason why the bytes are not a manifest that [`encode`](Self::encode) made.
    pub(crate) fn decode(bytes: &[u8]) -> Decoded<Self> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err("a manifest is longer than it can be");
        }
        let (body, _) = unseal(bytes)?;
        let mut r = Reader::new(body);
        let (id, created) = read_fixed(r.take(FIXED)?)?;
        frame::read_reserved(&mut r)?;
        let manifest = Self {
            id,
            created,
            has_sources: frame::read_flag(&mut r)?,
            sequence: r.number()?,
            nonce: Nonce::read(&mut r)?,
            maker: SessionId(r.u64()?),
            numbers: r.number()?,
            sessions: frame::read_list(&mut r, (10, MAX_SESSIONS), SessionEntry::read)?,
            copies: frame::read_list(&mut r, (25, MAX_COPIES), |r| {
                Ok(CopyEntry { id: ContainerId(r.id()?), session: SessionId(r.u64()?), day: r.number()? })
            })?,
            line: Arc::new(read_line(&mut r)?),
            references: Arc::new(References::read(&mut r)?),
            tables: Arc::new(TableRefs::read(&mut r)?),
        };
        r.end()?;
        manifest.check()?;
        // Each manifest has one encoding: longer forms of integers are refused.
        if manifest.encode() == bytes { Ok(manifest) } else { Err("not the canonical encoding") }
    }

    /// Returns an error for a manifest that no swap makes.
    fn check(&self) -> Decoded<()> {
        if !self.sessions.is_sorted_by(|a, b| a.id < b.id) || !self.copies.is_sorted_by(|a, b| a.id < b.id) {
            return Err("sessions or copies are out of order");
        }
        let newest = self.line.version.max(self.line.horizon);
        if newest.max(self.tables.since).max(self.references.since) > self.sequence {
            return Err("a version is newer than the manifest");
        }
        Ok(())
    }
}

fn read_line(r: &mut Reader<'_>) -> Decoded<Line> {
    if r.varint()? == LINES { Line::read(r) } else { Err(NEWER) }
}

fn read_fixed(bytes: &[u8]) -> Decoded<(ContainerId, u64)> {
    let (body, _) = unseal(bytes)?;
    let mut r = Reader::new(body);
    if r.take(SIGNATURE.len())? != SIGNATURE {
        return Err("not an h5lake container");
    }
    if r.u32()? != FORMAT {
        return Err("a container of another format");
    }
    if r.take(8)? != [0; 8] {
        return Err("features that this build does not know");
    }
    let id = ContainerId(r.id()?);
    if r.u64()? != 0 {
        return Err("a head object with a user block");
    }
    Ok((id, r.number64()?))
}

impl TableRefs {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.since);
        PageRef::encode_optional(self.usage, out);
        frame::put_list(out, &self.dead, Run::encode);
        frame::put_list(out, &self.history, Run::encode);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let tables = Self {
            since: r.number()?,
            usage: PageRef::read_optional(r)?,
            dead: frame::read_list(r, (12, MAX_RUNS), Run::read)?,
            history: frame::read_list(r, (12, MAX_RUNS), Run::read)?,
        };
        let runs = || tables.dead.iter().chain(&tables.history);
        let is_newer = runs().any(|run| run.placed > tables.since);
        if is_newer { Err("a page of a table that is newer than the table") } else { Ok(tables) }
    }

    /// Returns all pages of the tables.
    pub(crate) fn pages(&self) -> impl Iterator<Item = PageRef> + '_ {
        self.usage.into_iter().chain(self.dead.iter().chain(&self.history).map(|run| run.page))
    }
}
