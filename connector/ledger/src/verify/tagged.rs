//! Checks the versions that tags keep, also beyond what the history leads to.

use std::collections::BTreeMap;

use super::check::CheckWalk;
use super::{Content, Finding, Progress, Verifier, shown, why_damaged};
use crate::Ledger;
use crate::audit::{Epoch, HitVersions};
use crate::error::{Error, ErrorKind, Result};
use crate::memtable::{EMPTY, Memtable};
use crate::tags::TagName;

impl CheckWalk<'_> {
    /// Checks what a version shows: a base, and the log over it.
    fn version(&mut self, epoch: &Epoch, log: &Memtable) -> Result<()> {
        self.base(epoch, log, &EMPTY)?;
        self.layer(log, epoch.hit)
    }
}

/// Whether a tag that was opened is another one by now, or gone.
fn is_gone(opened: &Result<Ledger>, before: &Ledger) -> bool {
    match opened {
        Ok(now) => now.version() != before.version(),
        Err(e) => matches!(e.kind(), ErrorKind::NoSuchTag { .. }),
    }
}

impl Verifier {
    /// Checks what the version of a tag needs, beside what was [checked](Self::check) before. `open` opens the container at the
    /// tag: the handle keeps the version as it is meanwhile.
    ///
    /// # Errors
    /// Those of reading, but for damage, and for a tag that is gone meanwhile.
    pub fn check_tagged(
        &mut self,
        name: TagName,
        open: &dyn Fn() -> Result<Ledger>,
        content: &dyn Content,
        progress: Progress<'_>,
    ) -> Result<()> {
        let ledger = match open() {
            Ok(ledger) if ledger.identity() == self.ledger.identity() => ledger,
            // Another container is there by now.
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
        // In a store nothing but the tag keeps the version.
        if self.findings.list.len() > before && is_gone(&open(), &ledger) {
            self.findings.take_back(before);
            let why = "it was deleted or moved while its version was read";
            self.findings.add(Finding::warning("tag", format!("tag {name}, not checked"), why));
        }
        Ok(())
    }

    /// Whether what is being checked does not lie under its name any more. In a store an object of the version may be missing.
    fn has_moved(&self, e: &Error) -> bool {
        match e.kind() {
            ErrorKind::NotAContainer { .. } | ErrorKind::WrongStorage { .. } => true,
            ErrorKind::NotFound => !self.ledger.storage().is_remote(),
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
