//! Tags of a container in a store: the way to the version of one, and the objects that it may need.

use crate::address::Location;
use crate::error::{Error, ErrorKind, Result};
use crate::history::Mark;
use crate::objects::manifest::{Head, MULTI_WRITER_TOKEN, put_over, read_head, store_error};
use crate::objects::object_usage::UsageTable;
use crate::objects::version_lookup::mark_of_version;
use crate::objects::writer::ObjectWriter;
use crate::objects::{ObjectStorage, ReaderState};
use crate::options::At;
use crate::storage::{Checkpoint, RemoteCommits};
use crate::tags::{Held, TagEntry};

/// How often a head is put again that others have replaced meanwhile.
const MAX_ATTEMPTS: u32 = 200;

impl ObjectStorage {
    /// The snapshot of a tagged version. The caller then looks whether the tag is still there.
    pub(super) fn tagged_version(
        &self,
        seen: &mut ReaderState,
        entry: &TagEntry,
    ) -> Result<Option<RemoteCommits>> {
        if seen.version.is_some() {
            return Ok(None);
        }
        let version = entry.mark.version;
        let records = self.exactly(entry.base_version + 1, version, usize::MAX)?;
        if records.len() as u64 != version - entry.base_version {
            return Err(Error::corrupt(&self.target, "tag", "a record of its version is missing"));
        }
        // What it needs is kept, whatever else is deleted: what is missing is damage.
        (seen.version, seen.reclaim_epoch) = (Some(version), Some(u64::MAX));
        self.stand_on(seen);
        let restart = Some(Checkpoint { version: entry.base_version, root: entry.root });
        let records = records.into_iter().map(|l| l.record).collect();
        let mark = Some(entry.mark.clone());
        Ok(Some(RemoteCommits { version, restart, records, mark, ..RemoteCommits::default() }))
    }

    /// The way to a version that is to be tagged, and what it may need. `None` if it is not kept.
    pub(super) fn way_to(&self, version: u64) -> Result<Option<TagEntry>> {
        let head = self.with_writer(ObjectWriter::begin_tag)?;
        let Some((reclaim_epoch, commits)) = self.find(&head, At::Version(version))? else { return Ok(None) };
        if reclaim_epoch < head.lost && version != self.newest(&head)? {
            return Ok(None);
        }
        // The newest version needs nothing that was reclaimed since it began.
        let reclaim_epoch = reclaim_epoch.max(head.lost);
        let Some(base) = commits.restart else { return Ok(None) };
        let listed = self.list_versions(usize::MAX)?.into_iter().find(|v| v.number == version);
        let mark = Mark { version, reclaim_epoch, ..listed.map(mark_of_version).unwrap_or_default() };
        let objects = self.with_writer(|w| w.objects_of(&mark, base.version))?;
        let (base_version, root) = (base.version, base.root);
        Ok(Some(TagEntry { mark, base_version, root, objects, ..TagEntry::default() }))
    }

    /// Whether no other writer deleted objects of a version before its tag was there. The head that this puts is later than
    /// the tag: whoever put one before is seen, and whoever has an older one in hand cannot put another.
    pub(super) fn check_tag(&self, entry: &TagEntry, version: u64) -> Result<bool> {
        if !self.is_shared() {
            return Ok(true);
        }
        for _ in 0..MAX_ATTEMPTS {
            let there = read_head(self.store.as_ref(), &self.names.head, &self.target)?;
            let (bytes, etag) = there.ok_or_else(|| Error::new(&self.target, ErrorKind::Conflict))?;
            let head = Head::decode(&bytes, &self.target)?;
            if head.fixed.id != self.id {
                return Err(Error::new(&self.target, ErrorKind::Conflict));
            }
            if head.lost > entry.mark.reclaim_epoch {
                return Ok(false);
            }
            let (version, tagged) = (head.version.max(version), Some(head.tagged.unwrap_or(0).max(version)));
            let next = Head { version, tagged, ..head }.fenced_by(MULTI_WRITER_TOKEN);
            match put_over(self.store.as_ref(), &self.names.head, next.encode(), etag.as_ref()) {
                Ok(_) => return Ok(true),
                Err(e) if e.kind() == object_stores::ErrorKind::PreconditionFailed => (),
                Err(e) => return Err(store_error(&self.target, &e)),
            }
        }
        Err(Error::new(&self.target, ErrorKind::Conflict))
    }
}

impl ObjectWriter {
    /// From now on tags hold these objects, as the map of `version` says.
    pub(super) fn hold(&mut self, held: Held, version: u64) {
        (self.held, self.held_as_of) = (held, version);
    }

    /// Says in the head that there are tags: who does not know them must not write here. Returns the head.
    fn begin_tag(&mut self) -> Result<Head> {
        self.await_first_head()?;
        if self.shared {
            self.check_head()?;
        }
        if self.manifest.head.tagged.is_none() {
            let tagged = Some(self.version);
            self.put_head(Head { tagged, ..self.manifest.head.clone() })?;
        }
        self.held = Held::Everything;
        Ok(self.manifest.head.clone())
    }

    /// The objects that a version may need: those of which something is in use, or went out of use after it.
    fn objects_of(&mut self, mark: &Mark, base_version: u64) -> Result<Vec<(Location, u64)>> {
        let table = self.load()?;
        let is_later = |location: &Location| matches!(location, Location::Log(n) if *n > mark.version);
        let needed = table.locations.iter().filter(|(location, u)| {
            !is_later(location) && (u.live > 0 || u.since == 0 || u.since > mark.reclaim_epoch)
        });
        let mut out: std::collections::BTreeMap<Location, u64> =
            needed.map(|(location, u)| (*location, u.total)).collect();
        for n in base_version + 1..=mark.version {
            out.entry(Location::Log(n)).or_insert(0);
        }
        Ok(out.into_iter().collect())
    }

    /// Whether others changed tags of which this one does not know.
    pub(super) fn check_tags(&self) -> Result<()> {
        match self.manifest.head.tagged {
            // What a single writer does not know of, it cannot delete either.
            Some(_) if !self.shared && matches!(self.held, Held::Everything) => Ok(()),
            Some(version) if version > self.held_as_of => Err(Error::new(&self.target, ErrorKind::Conflict)),
            _ => Ok(()),
        }
    }

    /// Bytes of objects that nothing but tags needs.
    pub(super) fn held_bytes(&mut self) -> Result<u64> {
        let held = self.held.clone();
        Ok(self.load()?.held_bytes(&held))
    }
}

impl UsageTable {
    fn held_bytes(&self, held: &Held) -> u64 {
        let dead = self.locations.iter().filter(|(location, u)| u.live == 0 && held.has(location));
        dead.map(|(_, u)| u.total).fold(0, u64::saturating_add)
    }
}
