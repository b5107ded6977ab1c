//! Comparison of datasets with elements in other files. The tool does not read these files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use h5lake_container::{Dataset, Layout, Target};

use crate::convert::publish::folder_of;

/// The locations of two containers, to resolve the file names that are stored in them.
pub struct Elsewhere {
    /// The locations of the containers: canonical paths or URLs.
    both: [PathBuf; 2],
}

impl Elsewhere {
    pub fn of(targets: [&Target; 2]) -> Self {
        let own = |target: &Target| match target {
            Target::File(path) => path.canonicalize().unwrap_or_else(|_| path.clone()),
            Target::Objects { key, url, .. } => format!("{}/{key}", url.trim_end_matches('/')).into(),
        };
        Self { both: targets.map(own) }
    }

    /// Returns whether two datasets refer to the same elements of the same files, so that they show the same elements whatever the files
    /// contain.
    pub fn show_the_same(&self, [a, b]: [&Dataset; 2]) -> bool {
        if a.layout() != b.layout() || a.fill() != b.fill() {
            return false;
        }
        match a.layout() {
            Layout::Virtual { mappings } => mappings.iter().all(|from| self.is_one_file(&from.file)),
            Layout::External { files } => files.iter().all(|file| self.is_one_file(&file.name)),
            Layout::Compact | Layout::Contiguous | Layout::Chunked { .. } => false,
        }
    }

    /// Returns whether both containers resolve a name to the same file. A container itself does not count as the same file, because each
    /// container shows its own version of itself. A numbered name (`%b`) does not count either, because it may denote the container.
    fn is_one_file(&self, name: &[u8]) -> bool {
        if name == b"." || name.contains(&b'%') {
            return false;
        }
        let is_url = name.windows(3).any(|part| part == b"://");
        let [one, other] = self.both.each_ref().map(|own| {
            let path = Path::new(OsStr::from_bytes(name));
            let named = if is_url { path.to_owned() } else { folder_of(own).join(path) };
            real(&named).unwrap_or(named)
        });
        one == other && !self.both.contains(&one)
    }
}

/// Returns the canonical form of a path. Its last component need not exist.
fn real(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok().or_else(|| Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_one_file_only_where_they_do() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap();
        for name in ["a/1.h5", "a/2.h5", "b/1.h5"] {
            std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
            std::fs::write(folder.join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("../a/3.h5", folder.join("b/3.h5")).unwrap();
        let of = |a: &str, b: &str| Elsewhere { both: [folder.join(a), folder.join(b)] };
        let absolute = folder.join("c.h5").into_os_string().into_encoded_bytes();
        let (one, beside, away) = (of("a/1.h5", "a/1.h5"), of("a/1.h5", "a/2.h5"), of("a/1.h5", "b/1.h5"));
        for both in [&one, &beside, &away] {
            assert!(
                both.is_one_file(&absolute)
                    && both.is_one_file(b"s3://lake/c.h5")
                    && both.is_one_file(b"../c.h5")
            );
            for own in [&b"."[..], b"1.h5", b"../a/1.h5", b"part-%b.h5"] {
                assert!(!both.is_one_file(own), "{}", String::from_utf8_lossy(own));
            }
        }
        assert!(one.is_one_file(b"c.h5") && beside.is_one_file(b"c.h5") && !away.is_one_file(b"c.h5"));
        std::fs::write(folder.join("a/3.h5"), "").unwrap();
        assert!(away.is_one_file(b"3.h5"), "a link leads there");
        let stored = Elsewhere { both: ["s3://lake/a.h5".into(), "s3://lake/a.h5".into()] };
        assert!(
            stored.is_one_file(b"c.h5")
                && !stored.is_one_file(b"a.h5")
                && !stored.is_one_file(b"s3://lake/a.h5")
        );
    }
}
