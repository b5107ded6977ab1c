//! Hidden names of containers that were replaced or deleted.
//!
//! `.NAME.h5lake-replaced-<id>-<until>` is a container that is retained until a time, in seconds since 1970, unless it is
//! restored earlier. `.NAME.h5lake-replacing-<id>-<until>` holds a new container that is about to take the place of the container
//! with that id. From the exchange on, it holds the replaced container, until this name is changed to the first form. So the id
//! in the file tells which of the two containers it holds. Both numbers are hexadecimal.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::codec::hex;
use crate::file::temporary::rename_new;
use crate::hidden_names::{folder, sibling, sibling_prefix};
use crate::options::KeptName;

/// The number of names that are tried. A copy of a container has the same id, and so may have the same hidden name in the
/// same second.
const MAX_NAMESAKES: u64 = 1000;

/// The form of a hidden name: that of a replaced container, or of a replacement in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::file) enum Form {
    Replaced,
    Replacing,
}

const FORMS: [(Form, &str); 2] = [(Form::Replaced, "replaced-"), (Form::Replacing, "replacing-")];

impl Form {
    fn mark(self) -> &'static str {
        if self == Self::Replaced { FORMS[0].1 } else { FORMS[1].1 }
    }
}

/// The parts of a hidden name after its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::file) struct HiddenName {
    pub(in crate::file) form: Form,
    /// The id of the container that is retained.
    pub(in crate::file) id: [u8; 16],
    /// The end of its retention time, in seconds since 1970.
    pub(in crate::file) until: u64,
}

impl HiddenName {
    pub(in crate::file) fn kept(&self) -> KeptName {
        KeptName { id: self.id, until: Some(self.until) }
    }

    pub(in crate::file) fn is_over(&self, now: u64) -> bool {
        self.until.saturating_mul(1_000_000) <= now
    }

    fn path(&self, real: &Path) -> PathBuf {
        sibling(real, &format!("{}{}-{:x}", self.form.mark(), hex(&self.id), self.until))
    }
}

/// Parses a hidden name without its prefix.
pub(in crate::file) fn parse(text: &[u8]) -> Option<HiddenName> {
    let text = std::str::from_utf8(text).ok()?;
    let (form, text) = FORMS.iter().find_map(|(form, mark)| Some((*form, text.strip_prefix(mark)?)))?;
    let (id, until) = text.split_once('-')?;
    let id = u128::from_str_radix(id, 16).ok().filter(|_| id.len() == 32)?;
    Some(HiddenName { form, id: id.to_be_bytes(), until: u64::from_str_radix(until, 16).ok()? })
}

/// Returns the hidden names of a path.
pub(super) fn all(real: &Path) -> io::Result<Vec<(PathBuf, HiddenName)>> {
    let prefix = sibling_prefix(real);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder(real))? {
        let entry = entry?;
        let name = entry.file_name();
        let said = name.as_bytes().strip_prefix(prefix.as_bytes()).and_then(parse);
        found.extend(said.map(|said| (entry.path(), said)));
    }
    Ok(found)
}

/// Gives a file a hidden name with the time `until`, or a slightly later time if the name is in use. `take` sets the name,
/// and fails if another file has it. No two containers are retained under one [`KeptName`], in either form.
fn take_name(real: &Path, wanted: HiddenName, take: &dyn Fn(&Path) -> io::Result<()>) -> io::Result<PathBuf> {
    for later in 0..MAX_NAMESAKES {
        let name = HiddenName { until: wanted.until + later, ..wanted };
        let forms = FORMS.map(|(form, _)| HiddenName { form, ..name }.path(real));
        let path = name.path(real);
        if forms.iter().any(|other| other.symlink_metadata().is_ok()) {
            continue;
        }
        match take(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => (),
            taken => return taken.map(|()| path),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Renames a file to a hidden name of `real`, and returns it.
pub(super) fn rename_to(from: &Path, real: &Path, wanted: HiddenName) -> io::Result<PathBuf> {
    take_name(real, wanted, &|path| rename_new(from, path))
}

/// Gives the file at `real` a hidden name beside its own, and returns it.
pub(super) fn link_to(real: &Path, wanted: HiddenName) -> io::Result<PathBuf> {
    take_name(real, wanted, &|path| std::fs::hard_link(real, path))
}
