//! Checks the versions that tags retain, including those that the history does not lead to.

use std::collections::BTreeMap;

use super::check::CheckWalk;
use super::{Content, Finding, Progress, Verifier, shown, why_damaged};
use crate::Ledger;
use crate::audit::{Epoch, HitVersions};
use crate::error::{Error, ErrorKind, Result};
use crate::memtable::{EMPTY, Memtable};
use crate::tags::TagName;

impl CheckWalk<'_> {
    /// Checks the content of a version: a checkpoint, and the log over it.
    fn version(&mut self, epoch: &Epoch, log: &Memtable) -> Result<()> {
        self.base(epoch, log, &EMPTY)?;
        self.layer(log, epoch.hit)
    }
}

/// Returns whether a tag that was opened has been moved or deleted meanwhile.
fn is_gone(opened: &Result<Ledger>, before: &Ledger) -> bool {
    match opened {
        Ok(now) => now.version() != before.version(),
        Err(e) => matches!(e.kind(), ErrorKind::NoSuchTag { .. }),
    }
}

impl Verifier {
    /// Checks everything that the version of a tag needs, except what was [checked](Self::check) before. `open` opens
    /// the container at the tag; the handle protects the version meanwhile.
    ///
    /// # Errors
    /// Read errors, except damage, and except that the tag was deleted or moved meanwhile.
    pub fn check_tagged(
        &mut self,
        name: TagName,
        open: &dyn Fn() -> Result<Ledger>,
        content: &dyn Content,
        progress: Progress<'_>,
    ) -> Result<()> {
        let ledger = match open() {
            Ok(ledger) if ledger.identity() == self.ledger.identity() => ledger,
            // Another container has taken the name meanwhile.
            Ok(_) => return Ok(()),
            Err(e) if matches!(e.kind(), ErrorKind::NoSuchTag { .. }) => return Ok(()),
            Err(e) if self.has_moved(&e) => {
                let why = "the container was moved, deleted or replaced meanwhile";
                self.findings.add(Finding::warning("tag", format!("tag {name}, not checked"), why));
                return Ok(());
            }
            Err(e) => return self.unopened(name, e),
        };
        let before = self.findings.list.len();
        self.walk_tagged(name, &ledger, content, progress)?;
        // Only the tag retains the version in a store.
        if self.findings.list.len() > before && is_gone(&open(), &ledger) {
            self.findings.take_back(before);
            let why = "it was deleted or moved while its version was read";
            self.findings.add(Finding::warning("tag", format!("tag {name}, not checked"), why));
        }
        Ok(())
    }

    /// Returns whether the checked container is no longer under its name. In a store an object of the version may be
    /// missing.
    fn has_moved(&self, e: &Error) -> bool {
        match e.kind() {
            ErrorKind::NotAContainer { .. } | ErrorKind::WrongStorage { .. } => true,
            ErrorKind::NotFound => !self.ledger.is_in_store(),
            _ => false,
        }
    }

    fn unopened(&mut self, name: TagName, e: Error) -> Result<()> {
        let Some(why) = why_damaged(&e) else { return Err(e) };
        let at = match e.kind() {
            ErrorKind::Corrupt { at, .. } => at.clone(),
            _ => String::new(),
        };
        let why = format!("{why}; the version of the tag cannot be opened");
        self.findings.add(Finding::damage("version", at, why).of(HitVersions::Tagged(name)));
        Ok(())
    }

    fn walk_tagged(
        &mut self,
        name: TagName,
        ledger: &Ledger,
        content: &dyn Content,
        progress: Progress<'_>,
    ) -> Result<()> {
        let Self { findings, counts, claims, seen, .. } = self;
        counts.tags += 1;
        let (log, root) = shown(ledger);
        let (bases, sources) = (Vec::new(), BTreeMap::new());
        let storage = ledger.storage();
        let mut walk =
            CheckWalk { ledger, bases, sources, storage, content, progress, findings, counts, claims, seen };
        let (hit, records) = (HitVersions::Tagged(name), Vec::new());
        walk.version(&Epoch { root, base_is_whole: true, records, hit }, &log)
    }
}
