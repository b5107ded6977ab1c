//! Incremental copies: turns an unchanged copy into a copy of another version of the same container.
//!
//! The copy records which version it shows. Only the differences between that version and the requested one are copied.

use super::mover::Mover;
use super::{Copied, of_newest, refuse_other_lines};
use crate::end::{End, newest};
use crate::repair::copy_user_block;
use h5lake_container::{Access, Target};
use h5lake_ledger::{At, CopyState, Ledger, Origin};
use h5lake_records::{Error, ErrorKind, Result};
use std::io::Read;

/// The advice for a copy that cannot be updated.
const FULL_COPY: &str = "make a full copy: copy to another name, or delete the target with 'h5lake rm' first";

/// The result of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdatedCopy {
    /// The version of the source that the target showed before.
    pub before: u64,
    /// The copied data. Nothing if the source has not changed since: then the target's version stays, too.
    pub copied: Copied,
}

/// The parameters of an update.
struct Update<'a> {
    from: End<'a>,
    to: End<'a>,
    /// The requested version of the source.
    wanted: &'a Origin,
}

fn refused(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("{text}; {FULL_COPY}"))
}

impl Update<'_> {
    /// Returns the version that a target shows, if it is a version of the source.
    fn shown(&self, to: &Ledger) -> Result<Origin> {
        let (source, target) = (self.from.target.name(), self.to.target.name());
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

    /// Opens the version of the source that the target shows. The opened handle itself reports its version, so that
    /// concurrent commits cannot cause a mismatch.
    fn open_shown(&self, shown: &Origin) -> Result<Ledger> {
        let at = Some(At::Version(shown.version));
        let options = h5lake_ledger::Options { at, ..newest(self.from.options) };
        let old = match self.from.target.open_ledger(Access::ReadOnly, options) {
            Err(e) if e.kind() == ErrorKind::OutOfRange => return Err(self.not_kept(shown.version)),
            opened => opened?,
        };
        if old.origin()?.as_ref() == Some(shown) {
            return Ok(old);
        }
        let (source, target) = (self.from.target.name(), self.to.target.name());
        Err(refused(format!(
            "{target}: shows another version {} than {source} has; was that put back from a backup?",
            shown.version
        )))
    }

    fn not_kept(&self, version: u64) -> Error {
        let (source, target) = (self.from.target.name(), self.to.target.name());
        refused(format!(
            "{target}: shows version {version}, which {source} no longer keeps, as a retention time or a tag would"
        ))
    }

    /// Returns the approximate number of bytes that the versions between two versions added.
    fn bytes_between(&self, from: &Ledger, before: u64, after: u64) -> Result<u64> {
        let newest = from.versions(1)?.first().map_or(after, |v| v.number);
        let versions = from.versions(usize::try_from(newest.saturating_sub(before)).unwrap_or(usize::MAX))?;
        let between = versions.iter().filter(|v| v.number > before && v.number <= after);
        Ok(between.map(|v| v.bytes).fold(0, u64::saturating_add))
    }
}

/// Makes an earlier copy of a container show the container's newest version, or the one that its options request.
/// Only the differences from the version that it shows are copied, in one commit: readers see either version. Other
/// writers may write to the source meanwhile, but not to the target. When this returns, the commit is as durable as
/// the options say. If the target shows that version already, nothing is committed. `progress` gets the number of
/// copied bytes, and the approximate total.
///
/// # Errors
/// `InvalidArgument` if the target is not such a copy, if another writer wrote to it, or if the source no longer
/// retains the version that it shows; `Locked` while another process writes to the target; `Corrupt` if a part is
/// damaged; those of reading the source and of writing. After an error the target shows the same version as before,
/// unless the outcome of the commit in a store is unknown.
pub fn update_copy(from: End<'_>, to: End<'_>, progress: &mut dyn FnMut(u64, u64)) -> Result<UpdatedCopy> {
    of_newest(from.options, || update_once(from, to, progress))
}

fn update_once(from: End<'_>, to: End<'_>, progress: &mut dyn FnMut(u64, u64)) -> Result<UpdatedCopy> {
    let at = from.options.ledger.at;
    refuse_other_lines(at, "copy it anew")?;
    let source = &match at {
        Some(_) => from.open()?,
        None => from.open_newest(Access::ReadOnly)?,
    };
    let wanted = source.origin()?.ok_or_else(|| {
        let name = from.target.name();
        refused(format!("{name}: version {} has no record of its time and its writer", source.version()))
    })?;
    let update = Update { from, to, wanted: &wanted };
    // The comparison needs no writer's lock.
    let reader = to.open_newest(Access::ReadOnly)?;
    let (shown, version) = (update.shown(&reader)?, reader.version());
    // The user block of the source or of the target may have been replaced without a new version.
    let user_block = source.offset_in_file().filter(|length| Some(*length) == reader.offset_in_file());
    let done = if shown == wanted {
        let copied = Copied { from: wanted.version, to: version, ..Copied::default() };
        UpdatedCopy { before: shown.version, copied }
    } else {
        drop(reader);
        update.run(source, progress)?
    };
    if let Some(length @ 1..) = user_block {
        update_user_block(from.target, to.target, length)?;
    }
    Ok(done)
}

impl Update<'_> {
    fn run(&self, from: &Ledger, progress: &mut dyn FnMut(u64, u64)) -> Result<UpdatedCopy> {
        let to = self.to.open_newest(Access::ReadWrite)?;
        // Another process may have updated the target meanwhile.
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

/// Copies the user block of a container in a file, if that of the copy differs. The user block belongs to no version.
fn update_user_block(source: &Target, target: &Target, length: u64) -> Result<()> {
    let (Target::File(from), Target::File(to)) = (source, target) else { return Ok(()) };
    let block = |path| {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(length).read_to_end(&mut bytes).map(|_| bytes)
    };
    let copy = || if block(from)? == block(to)? { Ok(()) } else { copy_user_block(from, to, length) };
    copy().map_err(|e: std::io::Error| {
        let text = format!("{}: unable to copy the user block: {e}", target.name());
        Error::new(ErrorKind::Io, text).with_errno(e.raw_os_error())
    })
}
