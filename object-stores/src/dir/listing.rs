//! Lists a directory tree in the byte order of the keys.

use std::io;

use super::files::meta_of;
use super::own_folder::RESERVED;
use crate::beneath::{Beneath, Kind, is_link};
use crate::{Key, ListPage, ObjectMeta};

/// Returns one page; `limit` is at least 1.
pub(super) fn page(
    root: &Beneath,
    prefix: &str,
    start_after: Option<&str>,
    limit: usize,
) -> io::Result<ListPage> {
    // All keys that begin with `a/b/c` are in the directory `a/b`. If that is no valid key, no object can be below it,
    // and it must not be used as a path either.
    let base = match prefix.rfind('/') {
        None => String::new(),
        Some(end) => match Key::new(&prefix[..end]) {
            Ok(key) if !key.segments().any(|segment| segment == RESERVED) => {
                format!("{key}/")
            }
            _ => return Ok(ListPage::default()),
        },
    };
    // One more object than requested, to find out whether there are more.
    let mut walk =
        Walk { root, prefix, after: start_after, wanted: limit.saturating_add(1), found: Vec::new() };
    walk.directory(&base)?;
    let more = walk.found.len() > limit;
    walk.found.truncate(limit);
    Ok(ListPage { objects: walk.found, more })
}

struct Walk<'a> {
    root: &'a Beneath,
    prefix: &'a str,
    after: Option<&'a str>,
    wanted: usize,
    found: Vec<ObjectMeta>,
}

impl Walk<'_> {
    /// Walks the directory `base`, which is empty (the root) or ends with `/`. The length of a key bounds the depth.
    fn directory(&mut self, base: &str) -> io::Result<()> {
        for name in self.candidates(base)? {
            if self.found.len() >= self.wanted {
                return Ok(());
            }
            let full = format!("{base}{name}");
            match full.strip_suffix('/') {
                Some(_) => self.directory(&full)?,
                None => self.found.extend(self.object(&full)?),
            }
        }
        Ok(())
    }

    /// Returns the names in a directory that the listing needs, in key order. A directory's name ends with `/`, because
    /// the keys below it continue so: `a.b` comes before `a/c`, and `a0` after.
    fn candidates(&self, base: &str) -> io::Result<Vec<String>> {
        let folder = match self.root.folder(if base.is_empty() { "." } else { base }) {
            // The directory was removed meanwhile, or has become a symbolic link.
            Err(e) if is_missing(&e) => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in folder.entries()? {
            let entry = entry?;
            // A name that is no valid key does not belong to an object.
            let Some(name) = entry.name.to_str() else { continue };
            if name == RESERVED || Key::new(format!("{base}{name}")).is_err() {
                continue;
            }
            let kind = entry.kind(&folder)?;
            let mut name = name.to_owned();
            match kind {
                Kind::Folder => name.push('/'),
                Kind::File => {}
                Kind::Other => continue,
            }
            if self.needs(&format!("{base}{name}"), kind == Kind::Folder) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn needs(&self, full: &str, is_directory: bool) -> bool {
        let begins = full.starts_with(self.prefix) || (is_directory && self.prefix.starts_with(full));
        // A directory with a name that is not greater than `after` is needed only if `after` is inside it.
        let follows =
            self.after.is_none_or(|after| full > after || (is_directory && after.starts_with(full)));
        begins && follows
    }

    fn object(&self, full: &str) -> io::Result<Option<ObjectMeta>> {
        let Ok(key) = Key::new(full) else { return Ok(None) };
        match self.root.metadata(full) {
            Ok(found) if found.is_file() => Ok(Some(meta_of(&key, &found))),
            Ok(_) => Ok(None),
            // The object was deleted after the directory was read.
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Returns whether the directory to be listed is missing, or is not a directory any more.
fn is_missing(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) || is_link(e)
}
