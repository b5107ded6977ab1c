//! Retained containers that a name led to before they were replaced or deleted.

use h5lake_container::Target;
use h5lake_ledger::{At, KeptName, Ledger, Probe, Replaced, ReplacedObject};

use super::Place;
use crate::error::{Error, Minor, Result};

/// A container that a name led to before.
#[derive(Debug, Clone)]
pub enum Kept {
    /// A container in a file.
    File(Replaced),
    /// A container in a store.
    Object(ReplacedObject),
}

impl Kept {
    /// Returns the name by which the container can be opened to read, and restored.
    pub fn name(&self) -> KeptName {
        match self {
            Self::File(found) => found.name,
            Self::Object(found) => found.name,
        }
    }
}

/// Returns the containers that a name led to before, the most recently replaced container first. Local containers that
/// were replaced by a pointer file follow the containers in the store.
///
/// # Errors
/// The errors of listing the folder, and of the store.
pub fn all(place: &Place) -> h5lake_ledger::Result<Vec<Kept>> {
    let local = |path| Ok(Ledger::replaced_files(path)?.into_iter().map(Kept::File).collect());
    match &place.target {
        Target::File(path) => local(path),
        Target::Objects { store, key, .. } => {
            let found = Ledger::replaced_objects(store.as_ref(), key)?;
            let mut found: Vec<_> = found.into_iter().map(Kept::Object).collect();
            if let Some(path) = &place.pointer {
                found.extend(local(path)?);
            }
            Ok(found)
        }
    }
}

/// Returns the only kept container with a name that begins with `text`, or the most recently replaced container if
/// `text` is empty.
///
/// # Errors
/// An error text if no kept container matches, or if several match.
pub fn choose(mut found: Vec<Kept>, text: &str) -> std::result::Result<Kept, String> {
    if text.is_empty() {
        found.truncate(1);
    }
    found.retain(|kept| kept.name().to_string().starts_with(text));
    match found.len() {
        0 | 1 => found.pop().ok_or_else(|| {
            "no such container is kept; 'h5lake versions NAME' lists those that are".to_owned()
        }),
        n => Err(format!("the names of {n} kept containers begin with '{text}'; give more of the name")),
    }
}

/// Returns the place of the only kept container with a name that begins with `text`. The container can only be read.
pub(super) fn place(of: Place, base: &[u8], text: &str) -> Result<Place> {
    let base = String::from_utf8_lossy(base);
    let failed = |why: &str, errno| {
        let text = format!("unable to open file: name = '{base}@replaced={text}': {why}");
        Error::file(Minor::CannotOpenFile, text, errno)
    };
    let found = all(&of).map_err(|e| failed(&e.to_string(), e.errno()))?;
    let kept = choose(found, text).map_err(|why| failed(&why, Some(nix::libc::ENOENT)))?;
    let at = Some(At::Replaced(kept.name()));
    let target = match kept {
        Kept::File(found) => Target::File(found.path),
        Kept::Object(_) => of.target,
    };
    let pointer = of.pointer.filter(|_| matches!(target, Target::Objects { .. }));
    // Whatever has the name now, even a native file, is not what is opened.
    Ok(Place { target, pointer, at, found: Some(Probe::Container), opened: None, ..of })
}
