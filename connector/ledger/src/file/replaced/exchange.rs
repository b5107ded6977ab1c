//! The replacement of a container's file by a new file, with the old file retained.
//!
//! Each file has one name at every instant, so no retained container is a second name of a live file: the new file gets a
//! hidden name, changes places with the old one in one step, and the old one gets the hidden name of a retained container.
//! A file system that cannot exchange two names (`RENAME_EXCHANGE`) needs a hard link instead. There a kill leaves the live
//! file with two names: [`forget`](super::forget) removes the hidden one before the container is changed, and a restoration
//! copies such a file.

use std::io;
use std::path::{Path, PathBuf};

use super::hidden::{Form, HiddenName, link_to, rename_to};
use crate::file::open::is_at;
use crate::file::temporary::{exchange, is_unsupported};

/// A container's file that is about to lose its name and to be retained.
#[derive(Debug, Clone, Copy)]
pub(in crate::file) struct Leaving {
    /// The container's id.
    pub(super) id: [u8; 16],
    /// The end of its retention time, in seconds since 1970.
    pub(super) until: u64,
    /// Device and inode.
    pub(super) file: (u64, u64),
}

impl Leaving {
    fn named(&self, form: Form) -> HiddenName {
        HiddenName { form, id: self.id, until: self.until }
    }

    /// Returns the hidden name under which a new container waits for the exchange.
    pub(in crate::file) fn replacing(&self) -> HiddenName {
        self.named(Form::Replacing)
    }

    /// Renames the file to its hidden name. Returns false if another file had the name by then; that file still has the name.
    pub(super) fn hide(&self, real: &Path) -> io::Result<bool> {
        let hidden = rename_to(real, real, self.named(Form::Replaced))?;
        if is_at(&hidden, self.file) {
            return Ok(true);
        }
        crate::file::temporary::rename_new(&hidden, real)?;
        Ok(false)
    }

    /// Gives the file a hidden name in addition to its own. Returns `None` if another file has the name `real` by now.
    pub(super) fn link(&self, real: &Path) -> io::Result<Option<PathBuf>> {
        let hidden = link_to(real, self.named(Form::Replaced))?;
        if is_at(&hidden, self.file) {
            return Ok(Some(hidden));
        }
        std::fs::remove_file(hidden)?;
        Ok(None)
    }
}

#[cfg(test)]
impl Leaving {
    /// Links the file that leaves, as a replacement does without [`exchange`].
    pub(in crate::file) fn link_for_test(&self, real: &Path) -> bool {
        self.link(real).unwrap().is_some()
    }

    /// Prepares a new file like a replacement that is killed before the exchange.
    pub(in crate::file) fn wait_for_test(&self, new: &mut PathBuf, real: &Path) -> bool {
        *new = rename_to(new, real, self.replacing()).unwrap();
        new.exists()
    }
}

/// Replaces the file that `leaving` describes by a new file. Until then the new file has the hidden name `waits_as`, and `new` is always
/// the current path of the new file. Returns the hidden path of the replaced file; `None` if another file has the name `real` by now, in
/// which case that file retains the name. After an error, `real` leads to the same file as before.
pub(in crate::file) fn swap_in(
    new: &mut PathBuf,
    waits_as: HiddenName,
    real: &Path,
    leaving: &Leaving,
) -> io::Result<Option<PathBuf>> {
    *new = rename_to(new, real, waits_as)?;
    match exchange(new, real) {
        Err(e) if is_unsupported(&e) => return link_and_rename(new, real, leaving),
        exchanged => exchanged?,
    }
    let hidden = match is_at(new, leaving.file) {
        true => rename_to(new, real, leaving.named(Form::Replaced)).map(Some),
        false => Ok(None),
    };
    if !matches!(hidden, Ok(Some(_))) {
        exchange(new, real)?;
    }
    hidden
}

/// Does the work of [`swap_in`] where the file system cannot exchange two names.
fn link_and_rename(new: &Path, real: &Path, leaving: &Leaving) -> io::Result<Option<PathBuf>> {
    let Some(hidden) = leaving.link(real)? else { return Ok(None) };
    match std::fs::rename(new, real) {
        Ok(()) => Ok(Some(hidden)),
        Err(e) => {
            let _forgotten_by_the_next_writer = std::fs::remove_file(hidden);
            Err(e)
        }
    }
}

/// Undoes [`swap_in`]: `real` leads to the old file again, and `hidden` to the new file, if the new file still exists.
pub(in crate::file) fn swap_back(hidden: &Path, real: &Path) -> io::Result<()> {
    match exchange(hidden, real) {
        Err(e) if is_unsupported(&e) => std::fs::rename(hidden, real),
        exchanged => exchanged,
    }
}
