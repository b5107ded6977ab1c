//! Incremental copies: a copy that nobody else has written to becomes a copy of another version of the same container.
//!
//! The copy remembers which version it shows. What differs between that version and the wanted one is all that has to
//! move.

use super::mover::Mover;
use super::{Copied, newest, of_newest, open, refuse_other_lines};
use crate::repair::copy_user_block;
use crate::{Access, Container, Error, ErrorKind, Options, Result, Target, registry};
use h5lake_ledger::{At, CopyState, Ledger, Origin};
use std::io::Read;

/// What to do where a copy cannot be updated.
const FULL_COPY: &str = "make a full copy: copy to another name, or delete the target with 'h5lake rm' first";

/// What the update of a copy did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdatedCopy {
    /// The version of the source that the target showed before.
    pub before: u64,
    /// What was moved. Of a source that has not changed since, nothing: the target's version stays, too.
    pub copied: Copied,
}

/// A source, a target, and what the target shows.
struct Update<'a> {
    source: &'a Target,
    options: &'a Options,
    target: &'a Target,
    /// The version of the source that is wanted.
    wanted: &'a Origin,
}

fn refused(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("{text}; {FULL_COPY}"))
}

impl Update<'_> {
    /// The version that a target shows, if it is one of the source.
    fn shown(&self, to: &Ledger) -> Result<Origin> {
        let (source, target) = (registry::name(self.source), registry::name(self.target));
        let shown = match to.copy_state()? {
            CopyState::Shows(origin) => origin,
            CopyState::NotACopy => {
                let text = format!("{target}: is not known to be a copy: it has no record of what it shows");
                return Err(refused(text));
            }
            CopyState::Written { made } => {
                let now = to.version();
                let text =
                    format!("{target}: was written after it was copied (version {made}, now version {now})");
                return Err(refused(text));
            }
        };
        if shown.id != self.wanted.id {
            return Err(refused(format!("{target}: is a copy of another container than {source}")));
        }
        Ok(shown)
    }

    /// Opens the version of the source that the target shows. The opened handle tells which version that is, so that nothing
    /// which a writer commits meanwhile comes between.
    fn open_shown(&self, shown: &Origin) -> Result<Ledger> {
        let at = Some(At::Version(shown.version));
        let options = h5lake_ledger::Options { at, ..newest(self.options) };
        let old = match open(self.source, Access::ReadOnly, options) {
            Err(e) if e.kind() == ErrorKind::OutOfRange => return Err(self.not_kept(shown.version)),
            opened => opened?,
        };
        if old.origin()?.as_ref() == Some(shown) {
            return Ok(old);
        }
        let (source, target) = (registry::name(self.source), registry::name(self.target));
        Err(refused(format!(
            "{target}: shows another version {} than {source} has; was that put back from a backup?",
            shown.version
        )))
    }

    fn not_kept(&self, version: u64) -> Error {
        let (source, target) = (registry::name(self.source), registry::name(self.target));
        refused(format!(
            "{target}: shows version {version}, which {source} no longer keeps, as a retention time or a tag would"
        ))
    }

    /// Bytes that the versions between two added, about.
    fn bytes_between(&self, from: &Ledger, before: u64, after: u64) -> Result<u64> {
        let newest = from.versions(1)?.first().map_or(after, |v| v.number);
        let versions = from.versions(usize::try_from(newest.saturating_sub(before)).unwrap_or(usize::MAX))?;
        let between = versions.iter().filter(|v| v.number > before && v.number <= after);
        Ok(between.map(|v| v.bytes).fold(0, u64::saturating_add))
    }
}

impl Container {
    /// Makes an earlier copy of a container show the container's newest version, or the one that `options` ask for.
    /// Only what differs from the version that it shows is moved, in one commit: readers see the one version or the
    /// other. Others may write to the source meanwhile, and not to the target. When this returns, the commit is as
    /// durable as the options say. If the target shows that version already, nothing is committed. `progress` is told
    /// how many bytes were copied, and how many there are, about.
    ///
    /// # Errors
    /// `InvalidArgument` if the target is not such a copy, if somebody else wrote to it, or if the source no longer
    /// keeps the version that it shows; `Locked` while another process writes to the target; `Corrupt` if something is
    /// damaged; those of reading the source and of writing. After an error the target shows what it showed, unless a
    /// store did not say what became of the commit.
    pub fn update_copy(
        source: &Target,
        options: &Options,
        target: &Target,
        target_options: &Options,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<UpdatedCopy> {
        of_newest(options, || Self::update_once(source, options, target, target_options, progress))
    }

    fn update_once(
        source: &Target,
        options: &Options,
        target: &Target,
        target_options: &Options,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<UpdatedCopy> {
        refuse_other_lines(options.ledger.at, "copy it anew")?;
        let asked = match options.ledger.at {
            Some(_) => options.ledger.clone(),
            None => newest(options),
        };
        let from = &open(source, Access::ReadOnly, asked)?;
        let wanted = from.origin()?.ok_or_else(|| {
            let source = registry::name(source);
            refused(format!("{source}: version {} has no record of its time and its writer", from.version()))
        })?;
        let update = Update { source, options, target, wanted: &wanted };
        // Whether there is anything to do is found out without the writer's lock.
        let reader = open(target, Access::ReadOnly, newest(target_options))?;
        let (shown, version) = (update.shown(&reader)?, reader.version());
        // Somebody can have put another user block in front of one of them.
        let user_block = from.offset_in_file().filter(|length| Some(*length) == reader.offset_in_file());
        let done = if shown == wanted {
            let copied = Copied { from: wanted.version, to: version, ..Copied::default() };
            UpdatedCopy { before: shown.version, copied }
        } else {
            drop(reader);
            update.run(from, target_options, progress)?
        };
        if let Some(length @ 1..) = user_block {
            update_user_block(source, target, length)?;
        }
        Ok(done)
    }
}

impl Update<'_> {
    fn run(
        &self,
        from: &Ledger,
        target_options: &Options,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<UpdatedCopy> {
        let to = open(self.target, Access::ReadWrite, newest(target_options))?;
        // Another may have been faster to write.
        let shown = self.shown(&to)?;
        let old = self.open_shown(&shown)?;
        let about = self.bytes_between(from, shown.version, self.wanted.version)?;
        let begun = Copied { from: self.wanted.version, to: to.version(), ..Copied::default() };
        let mut progress = |bytes| progress(bytes, about);
        let mut mover = Mover::new(from, &to, begun, &mut progress);
        let moved = mover.update(&old).and_then(|()| Ok(to.set_origin(self.wanted.clone())?));
        let mut copied = mover.done;
        if let Err(e) = moved {
            if let Err(error) = to.rollback() {
                tracing::warn!(%error, "what was moved stays until the container is opened again");
            }
            return Err(e);
        }
        copied.to = to.commit()?;
        to.close_committed()?;
        Ok(UpdatedCopy { before: shown.version, copied })
    }
}

/// Copies what is in front of a container in its file, where something else is in front of the copy. It is in no
/// version.
fn update_user_block(source: &Target, target: &Target, length: u64) -> Result<()> {
    let (Target::File(from), Target::File(to)) = (source, target) else { return Ok(()) };
    let block = |path| {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(length).read_to_end(&mut bytes).map(|_| bytes)
    };
    let copy = || if block(from)? == block(to)? { Ok(()) } else { copy_user_block(from, to, length) };
    copy().map_err(|e: std::io::Error| {
        let text = format!("{}: unable to copy the user block: {e}", registry::name(target));
        Error::new(ErrorKind::Io, text).with_errno(e.raw_os_error())
    })
}
