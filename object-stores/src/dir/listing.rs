//! Listing a directory tree in the order of the keys' bytes.

use std::fs;
use std::io;
use std::path::Path;

use super::files::meta_of;
use super::staging::RESERVED;
use crate::{Key, ListPage, ObjectMeta};

/// One page; `limit` is at least 1.
pub(super) fn page(
    root: &Path,
    prefix: &str,
    start_after: Option<&str>,
    limit: usize,
) -> io::Result<ListPage> {
    // Everything that begins with `a/b/c` is in the directory `a/b`. If that is no key, no object
    // can be below it, and it must not be used as a path either.
    let base = match prefix.rfind('/') {
        None => String::new(),
        Some(end) => match Key::new(&prefix[..end]) {
            Ok(key) if !key.segments().any(|segment| segment == RESERVED) && is_plain(root, &key)? => {
                format!("{key}/")
            }
            _ => return Ok(ListPage::default()),
        },
    };
    // One more than asked for, to know whether there are more.
    let mut walk =
        Walk { root, prefix, after: start_after, wanted: limit.saturating_add(1), found: Vec::new() };
    walk.directory(&base)?;
    let more = walk.found.len() > limit;
    walk.found.truncate(limit);
    Ok(ListPage { objects: walk.found, more })
}

/// Whether the directory and all above it, up to the root, are directories and no symbolic links.
fn is_plain(root: &Path, key: &Key) -> io::Result<bool> {
    let mut path = root.to_path_buf();
    for segment in key.segments() {
        path.push(segment);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

struct Walk<'a> {
    root: &'a Path,
    prefix: &'a str,
    after: Option<&'a str>,
    wanted: usize,
    found: Vec<ObjectMeta>,
}

impl Walk<'_> {
    /// Walks the directory `base`, which is empty (the root) or ends with `/`. The depth is bounded
    /// by the length of a key.
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

    /// The names in a directory that the listing needs, in key order. A directory's name ends with
    /// `/`, for that is how the keys below it go on: `a.b` comes before `a/c`, and `a0` after.
    fn candidates(&self, base: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.root.join(base)) {
            // Removed meanwhile. The root itself may be missing too: then nothing is in it.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            other => other?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            // What is no valid key was not put by a store.
            let Ok(mut name) = entry.file_name().into_string() else { continue };
            if name == RESERVED || Key::new(format!("{base}{name}")).is_err() {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                name.push('/');
            } else if !kind.is_file() {
                continue;
            }
            if self.needs(&format!("{base}{name}"), kind.is_dir()) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn needs(&self, full: &str, is_directory: bool) -> bool {
        let begins = full.starts_with(self.prefix) || (is_directory && self.prefix.starts_with(full));
        // A directory whose name is not after `after` is needed only if `after` is inside it.
        let follows =
            self.after.is_none_or(|after| full > after || (is_directory && after.starts_with(full)));
        begins && follows
    }

    fn object(&self, full: &str) -> io::Result<Option<ObjectMeta>> {
        let Ok(key) = Key::new(full) else { return Ok(None) };
        match fs::symlink_metadata(self.root.join(full)) {
            Ok(found) if found.is_file() => Ok(Some(meta_of(&key, &found))),
            Ok(_) => Ok(None),
            // Deleted since the directory was read.
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(e),
        }
    }
}
