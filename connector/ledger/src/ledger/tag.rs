//! Tags: names under which versions stay, whatever the retention time says.

use bytes::Bytes;

use super::branch::Opener;
use super::{Ledger, State};
use crate::branches::BranchName;
use crate::clock::micros;
use crate::error::{Error, ErrorKind, Result};
use crate::memtable::EMPTY;
use crate::merged_view::Layers;
use crate::options::{Access, At, Options, Version};
use crate::tags::{Held, MAX_TAGS, TAG, TagEntry, TagName, Tagging};

/// How often a tagged version is opened whose tag others move meanwhile.
const MAX_OPENINGS: u32 = 16;
/// No time of a tag is later than this, in microseconds since 1970: some 70,000 years.
const MAX_TIME: u64 = 1 << 61;

/// A version that has a name, and stays as long as it has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The name; where its entry is damaged, all that is known of it.
    pub name: TagName,
    /// The version that it names; `None` if the entry is damaged.
    pub version: Option<Version>,
    /// When the tag was made, or its version was published last, in microseconds since 1970-01-01 UTC.
    pub tagged: u64,
    /// From when on the tag may be [deleted](Ledger::delete_ended_tags), likewise; `None` if it stays until somebody deletes it.
    pub until: Option<u64>,
    /// Bytes of the room that it keeps from being used again. The newest version may use a part of them too.
    pub bytes: u64,
}

/// A tag's name, and what its entry says, or why it cannot be read.
type Found = (TagName, std::result::Result<TagEntry, &'static str>);

impl Tag {
    fn of((name, entry): Found) -> Self {
        let Ok(entry) = entry else { return Self { name, version: None, tagged: 0, until: None, bytes: 0 } };
        let (m, tagged, until, bytes) = (&entry.mark, entry.tagged, entry.until, entry.bytes());
        let (host, pid) = (m.author.host.to_string(), m.author.pid);
        let version = Version { number: m.version, time: m.time, host, pid, bytes: m.bytes };
        Self { name, version: Some(version), tagged, until, bytes }
    }
}

impl Ledger {
    /// The tags of the version that this handle sees, in the order of their names.
    ///
    /// # Errors
    /// Those of reading.
    pub fn tags(&self) -> Result<Vec<Tag>> {
        let found = self.found_tags(&self.lock())?;
        let mut tags: Vec<Tag> = found.into_iter().map(Tag::of).collect();
        for tag in tags.iter_mut().filter(|_| self.storage.has_references()) {
            tag.bytes = self.storage.held_by_reference(&tag.name)?.1;
        }
        Ok(tags)
    }

    /// The committed tags.
    fn found_tags(&self, s: &State) -> Result<Vec<Found>> {
        if self.storage.has_references() {
            let all = self.storage.references()?;
            return Ok(all.into_iter().map(|(name, entry)| (name, Ok(entry))).collect());
        }
        let below = Layers { over: [&EMPTY, &s.log], tree: self.tree(s.root) };
        let (lower, upper) =
            (std::ops::Bound::Included(&[TAG][..]), std::ops::Bound::Excluded(&[TAG + 1][..]));
        let found = below.scan(lower, upper, MAX_TAGS + 1)?;
        if found.len() > MAX_TAGS {
            return Err(Error::corrupt(self.storage.target(), "tags", "there are more than can be"));
        }
        let read = |(key, value): (Bytes, Bytes)| Some((TagName::of_key(&key)?, TagEntry::decode(&value)));
        let count = found.len();
        let tags: Vec<Found> = found.into_iter().filter_map(read).collect();
        if tags.len() < count {
            return Err(Error::corrupt(self.storage.target(), "tags", "a name that is none"));
        }
        Ok(tags)
    }

    /// The committed tags whose entries can be read.
    pub(crate) fn readable_tags(&self) -> Vec<(TagName, TagEntry)> {
        let found = self.found_tags(&self.lock()).unwrap_or_default();
        found.into_iter().filter_map(|(name, entry)| Some((name, entry.ok()?))).collect()
    }

    pub(super) fn found_tag(&self, is_it: &dyn Fn(&TagName, &TagEntry) -> bool) -> Result<Option<TagEntry>> {
        let found = self.found_tags(&self.lock())?;
        Ok(found
            .into_iter()
            .filter_map(|(n, e)| Some((n, e.ok()?)))
            .find(|(n, e)| is_it(n, e))
            .map(|(_, e)| e))
    }

    /// Tells the storage what tags hold. Where that cannot be found out, they hold everything.
    pub(super) fn hold_tags(&self, s: &State) {
        let held = match self.found_tags(s) {
            Ok(tags) if tags.iter().all(|(_, entry)| entry.is_ok()) => {
                Held::by(tags.iter().filter_map(|(_, entry)| entry.as_ref().ok()))
            }
            tags => {
                tracing::warn!(damaged = ?tags.err(), "a tag cannot be read, so no room is reclaimed");
                Held::Everything
            }
        };
        self.storage.hold(held, s.version);
    }

    /// The same, where there may be tags.
    pub(super) fn hold_tags_if_any(&self, s: &State) {
        if self.storage.may_have_tags() || s.knows_tags {
            self.hold_tags(s);
        }
    }

    /// Keeps a version under a name, the newest one for `None`, in a commit of its own. When this returns, the tag is committed, and
    /// the version stays until the tag is [deleted](Self::untag), or for as long as `how` says.
    ///
    /// # Errors
    /// `TagExists`; `NoSuchVersion` if the version is not kept; `Invalid` if something is staged; as for
    /// [`commit`](Ledger::commit). `Conflict` if another writer was faster: then nothing has changed.
    pub fn tag(&self, name: TagName, at: Option<At>, how: Tagging) -> Result<Tag> {
        self.tag_with(&name, at, how, None)
    }

    /// Keeps the version that a branch begins with, and makes the branch's record in the same commit.
    pub(super) fn tag_for_branch(&self, branch: BranchName, at: Option<At>) -> Result<Tag> {
        self.tag_with(&branch.tag(), at, Tagging::default(), Some(branch))
    }

    fn tag_with(
        &self,
        name: &TagName,
        at: Option<At>,
        how: Tagging,
        branch: Option<BranchName>,
    ) -> Result<Tag> {
        self.check_nothing_is_staged()?;
        if self.storage.has_references() {
            return self.tag_by_reference(name, at, how, branch);
        }
        // In a file nobody else reclaims until this is done.
        let _lock = if self.is_multi_writer { Some(self.lock_commits()?) } else { None };
        self.see_newest()?;
        let result = self.make_tag(name, at, how, branch);
        let mut s = self.lock();
        s.knows_tags = true;
        self.hold_tags(&s);
        result
    }

    /// Makes a tag where tags are references: it holds its version from the swap on.
    fn tag_by_reference(
        &self,
        name: &TagName,
        at: Option<At>,
        how: Tagging,
        branch: Option<BranchName>,
    ) -> Result<Tag> {
        self.see_newest()?;
        if how.replace {
            self.check_holds_no_branch(name)?;
        }
        let (name, entry) = self.storage.refer(name, at, how)?;
        if let Some(branch) = branch {
            self.stage_branch_record(branch, &entry)?;
            if let Err(e) = self.commit() {
                self.unstage(&branch.record_key())?;
                return Err(e);
            }
        }
        let bytes = self.storage.held_by_reference(&name)?.1;
        Ok(Tag { bytes, ..Tag::of((name, Ok(entry))) })
    }

    /// Makes a tag that is an entry of the map.
    fn make_tag(
        &self,
        name: &TagName,
        at: Option<At>,
        how: Tagging,
        branch: Option<BranchName>,
    ) -> Result<Tag> {
        let tags = self.found_tags(&self.lock())?;
        let there = tags.iter().find(|(n, _)| n == name);
        if let Some((_, Ok(entry))) = there.filter(|_| !how.replace) {
            let (name, version) = (name.to_string(), entry.mark.version);
            return Err(self.fail(ErrorKind::TagExists { name, version }));
        }
        if there.is_some() {
            self.check_holds_no_branch(name)?;
        }
        if there.is_none() && tags.len() >= MAX_TAGS {
            let why = format!("there are {MAX_TAGS} tags, and there can be no more; delete some first");
            return Err(Error::invalid(self.storage.target(), why));
        }
        let mut entry = self.entry_for(at, &tags)?;
        // A version that another tag keeps has its entry.
        entry.tagged = self.storage.present()?;
        entry.until = how.keep.map(|keep| entry.tagged.saturating_add(micros(keep)).min(MAX_TIME));
        self.keep_origin()?;
        self.put(&name.key(), entry.encode())?;
        branch.map_or(Ok(()), |branch| self.stage_branch_record(branch, &entry))?;
        self.commit_tag(name)?;
        Ok(Tag::of((*name, Ok(entry))))
    }

    /// The way to a version: of its own, or that of a tag that keeps it already.
    fn entry_for(&self, at: Option<At>, tags: &[Found]) -> Result<TagEntry> {
        let read = || tags.iter().filter_map(|(name, entry)| Some((name, entry.as_ref().ok()?)));
        let version = match at {
            None => self.version(),
            Some(At::Version(version)) => version,
            Some(At::Time(time)) => {
                let found = self.storage.versions(usize::MAX)?.into_iter().find(|v| v.time <= time);
                found.ok_or_else(|| self.not_kept(At::Time(time)))?.number
            }
            Some(at @ (At::Branch(_) | At::Replaced(_))) => {
                let why = format!("{at} is no version of its own; name a version of the main line");
                return Err(Error::invalid(self.storage.target(), why));
            }
            Some(At::Tag(other)) => {
                let entry = read().find(|(name, _)| **name == other).map(|(_, entry)| entry.clone());
                return entry.ok_or_else(|| self.no_such_tag(&other, tags));
            }
        };
        if let Some(entry) = self.storage.prepare_tag(version)? {
            return Ok(entry);
        }
        let kept = read().map(|(_, entry)| entry).find(|entry| entry.mark.version == version);
        kept.cloned().ok_or_else(|| self.not_kept(At::Version(version)))
    }

    /// Deletes a tag, in a commit of its own. Its version goes as others of its age do: at once, or after the retention time.
    ///
    /// # Errors
    /// `NoSuchTag`; `Invalid` if something is staged; as for [`commit`](Ledger::commit). `Conflict` if another writer was
    /// faster: then nothing has changed.
    pub fn untag(&self, name: TagName) -> Result<()> {
        let chosen = |tags: &[Found]| match tags.iter().any(|(n, _)| *n == name) {
            true => Ok(vec![name]),
            false => Err(self.no_such_tag(&name, tags)),
        };
        self.delete_tags(chosen).map(drop)
    }

    /// Deletes a tag if it still is the very one that was made, in a commit of its own; answers whether it was. One that was
    /// deleted since, moved, or [published again](Self::publish), has another time: then it stays, and nothing is committed. It is
    /// compared in the version that the commit follows, so that nobody can come between.
    ///
    /// # Errors
    /// As [`untag`](Self::untag), but for `NoSuchTag`.
    pub fn untag_if_unchanged(&self, made: &Tag) -> Result<bool> {
        let is_same = |(name, entry): &Found| {
            *name == made.name && entry.as_ref().is_ok_and(|entry| entry.tagged == made.tagged)
        };
        let deleted = self.delete_tags(|tags| {
            Ok(tags.iter().filter(|tag| is_same(tag)).map(|(name, _)| *name).collect())
        })?;
        Ok(!deleted.is_empty())
    }

    /// Gives a tag that is there a later time, in a commit of its own; `None` if there is none, or it is damaged. Nothing else of it
    /// changes. Who made it before can see that by its time.
    pub(super) fn renew_tag(&self, name: &TagName) -> Result<Option<Tag>> {
        self.check_nothing_is_staged()?;
        let _lock = if self.is_multi_writer { Some(self.lock_commits()?) } else { None };
        self.see_newest()?;
        let tags = self.found_tags(&self.lock())?;
        if self.storage.has_references() {
            let Some((_, Ok(entry))) = tags.into_iter().find(|(n, _)| n == name) else { return Ok(None) };
            let how = Tagging { replace: true, keep: None };
            let renewed = self.storage.refer(name, Some(At::Version(entry.mark.version)), how)?;
            let bytes = self.storage.held_by_reference(name)?.1;
            return Ok(Some(Tag { bytes, ..Tag::of((renewed.0, Ok(renewed.1))) }));
        }
        let Some((_, Ok(mut entry))) = tags.into_iter().find(|(n, _)| n == name) else { return Ok(None) };
        // Whatever the clock says, it is another time.
        entry.tagged = self.storage.present()?.max(entry.tagged.saturating_add(1));
        self.keep_origin()?;
        self.put(&name.key(), entry.encode())?;
        self.commit_tag(name)?;
        self.hold_tags(&self.lock());
        Ok(Some(Tag::of((*name, Ok(entry)))))
    }

    /// Deletes the tags whose end has come, by the storage's clock, in a commit of its own; answers which. Their versions go as others
    /// of their age do.
    ///
    /// # Errors
    /// As [`untag`](Self::untag).
    pub fn delete_ended_tags(&self) -> Result<Vec<TagName>> {
        if !self.storage.has_references() && !self.storage.may_have_tags() && !self.lock().knows_tags {
            return Ok(Vec::new());
        }
        self.delete_tags(|tags| {
            let now = self.storage.present()?;
            let is_over =
                |(name, entry): &Found| entry.as_ref().is_ok_and(|e| e.is_over(now)).then_some(*name);
            Ok(tags.iter().filter_map(is_over).collect())
        })
    }

    /// Deletes the tags that `choose` takes of all, in one commit; answers which. Without any, nothing is committed.
    fn delete_tags(&self, choose: impl FnOnce(&[Found]) -> Result<Vec<TagName>>) -> Result<Vec<TagName>> {
        self.check_nothing_is_staged()?;
        let _lock = if self.is_multi_writer { Some(self.lock_commits()?) } else { None };
        self.see_newest()?;
        let tags = self.found_tags(&self.lock())?;
        let chosen = choose(&tags)?;
        if chosen.is_empty() {
            return Ok(chosen);
        }
        chosen.iter().try_for_each(|name| self.check_holds_no_branch(name))?;
        if self.storage.has_references() {
            self.storage.remove_references(&chosen)?;
            return Ok(chosen);
        }
        self.keep_origin()?;
        chosen.iter().try_for_each(|name| self.delete(&name.key()))?;
        self.commit_tags(&chosen)?;
        self.hold_tags(&self.lock());
        Ok(chosen)
    }

    /// Bytes that nothing but tags needs: what deleting all tags would give back in time.
    ///
    /// # Errors
    /// `ReadOnly`; those of reading.
    pub fn held_bytes(&self) -> Result<u64> {
        let s = self.writable()?;
        self.hold_tags_if_any(&s);
        self.storage.held_bytes()
    }

    fn check_nothing_is_staged(&self) -> Result<()> {
        let s = self.writable()?;
        if s.staged.is_empty() && s.spilled.is_none() && !self.storage.has_freed() {
            return Ok(());
        }
        Err(Error::invalid(self.storage.target(), "changes are staged; commit them before a tag is made"))
    }

    fn see_newest(&self) -> Result<()> {
        if self.is_multi_writer {
            self.advance(&|_| false)?;
        }
        Ok(())
    }

    /// Commits the one change to a tag. If another of many writers changed the same tag meanwhile, that is a conflict.
    fn commit_tag(&self, name: &TagName) -> Result<u64> {
        self.commit_tags(std::slice::from_ref(name))
    }

    fn commit_tags(&self, names: &[TagName]) -> Result<u64> {
        let done = self.commit();
        if done.is_err() && self.is_multi_writer {
            for name in names {
                let _what_is_staged_are_these_alone = self.unstage(&name.key());
                if let Some(branch) = BranchName::of_tag(name) {
                    let _and_this = self.unstage(&branch.record_key());
                }
            }
        } else if done.is_err() {
            let _what_is_staged_is_this_alone = self.rollback();
        }
        done
    }

    pub(super) fn not_kept(&self, at: At) -> Error {
        let kept = self.storage.versions(usize::MAX).unwrap_or_default();
        let newest = self.version();
        let (oldest, since) = kept.last().map_or((newest, 0), |v| (v.number, v.time));
        self.fail(ErrorKind::NoSuchVersion { asked: at.to_string(), kept: (oldest, newest), since })
    }

    fn no_such_tag(&self, name: &TagName, tags: &[Found]) -> Error {
        let tags = tags.iter().map(|(name, _)| name.to_string()).collect();
        self.fail(ErrorKind::NoSuchTag { name: name.to_string(), tags })
    }

    /// Why a tag leads nowhere: it is not there, or damaged.
    pub(super) fn not_found(&self, name: &TagName) -> Error {
        let tags = match self.found_tags(&self.lock()) {
            Ok(tags) => tags,
            Err(e) => return e,
        };
        match tags.iter().find(|(n, _)| n == name) {
            Some((_, Err(why))) => Error::corrupt(self.storage.target(), format!("tag '{name}'"), *why),
            _ => self.no_such_tag(name, &tags),
        }
    }

    /// Opens the version that `at` names: by a tag where `at` is one, or where a tag alone keeps the version. `open` opens with
    /// these options, at the version of an entry if that is given.
    pub(super) fn open_past(at: At, opts: &Options, open: &Opener<'_>) -> Result<Self> {
        let newest = || open(&Options { at: None, salvage: false, ..opts.clone() }, Access::ReadOnly, None);
        let lost = match at {
            At::Tag(name) => {
                let newest = newest()?;
                return match newest.open_tagged(&|n, _| *n == name, opts, open)? {
                    Some(ledger) => Ok(ledger),
                    None => Err(newest.not_found(&name)),
                };
            }
            At::Version(_) | At::Time(_) | At::Branch(_) | At::Replaced(_) => {
                match open(opts, Access::ReadOnly, None) {
                    Err(e) if matches!(e.kind(), ErrorKind::NoSuchVersion { .. }) => e,
                    opened => return opened,
                }
            }
        };
        let At::Version(version) = at else { return Err(lost) };
        let newest = newest()?;
        newest.open_tagged(&|_, entry| entry.mark.version == version, opts, open)?.ok_or(lost)
    }

    /// Opens the version of a tag. The tag is looked for again when the version is pinned: until then a writer could delete it,
    /// and use its room.
    fn open_tagged(
        &self,
        is_it: &dyn Fn(&TagName, &TagEntry) -> bool,
        opts: &Options,
        open: &Opener<'_>,
    ) -> Result<Option<Self>> {
        let mut found = self.found_tag(is_it)?;
        for _ in 0..MAX_OPENINGS {
            let Some(entry) = found else { return Ok(None) };
            let opened = open(opts, Access::ReadOnly, Some(entry.clone()));
            self.refresh()?;
            found = self.found_tag(is_it)?;
            let is_same = |old: &Self| old.identity() == self.identity();
            if found.as_ref() == Some(&entry) && opened.as_ref().map_or(true, is_same) {
                return opened.map(Some);
            }
        }
        Err(self.fail(ErrorKind::Conflict))
    }
}
