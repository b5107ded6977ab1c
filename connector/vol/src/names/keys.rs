//! The key of a plain name under `store=`: the path of the name, relative to a root directory.
//!
//! All clients of one process agree on the key, whether they pass a relative name or make the name absolute first, as
//! xarray does. Two paths below the root never share a key, because the root stays the same while the process runs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use super::{Purpose, identity};
use crate::config::Config;
use crate::error::{Error, Minor, Result};

/// The default root: the working directory in which this process loaded h5lake. `None` if the directory was deleted.
static START: OnceLock<Option<PathBuf>> = OnceLock::new();

fn start() -> Option<&'static Path> {
    START.get_or_init(|| std::env::current_dir().ok()).as_deref()
}

/// Records the working directory as the default root. Later calls, and later changes of the working directory, have no
/// effect.
pub fn record_working_directory() {
    start();
}

/// Returns the root to which keys are relative.
///
/// # Errors
/// If the settings name no root and the working directory was deleted when the process loaded h5lake.
fn root(config: &Config) -> Result<&Path> {
    let root = match &config.root {
        Some(root) => Some(Path::new(root)),
        None => start(),
    };
    root.ok_or_else(|| {
        Error::argument(
            "unable to use a name with the setting store=: the working directory is gone; set root=DIR",
        )
    })
}

/// Returns the key of a plain name, or `None` if the name is outside the root. A relative name starts at the current
/// working directory. The key of the root itself is empty.
///
/// # Errors
/// A name with `..` behind a symbolic link; a key that is not UTF-8; a working directory that was deleted.
pub(super) fn key_of(name: &[u8], config: &Config) -> Result<Option<String>> {
    let path = absolute(name)?;
    let Some(rest) = below(root(config)?, &path) else { return Ok(None) };
    match rest.to_str() {
        Some(key) => Ok(Some(key.to_owned())),
        None => Err(Error::argument("a name that is kept in an object store must be UTF-8")),
    }
}

/// Returns the absolute path of a name without `.`, `..` and empty components. Symbolic links are not resolved, so
/// that the key does not depend on the files at the path.
fn absolute(name: &[u8]) -> Result<PathBuf> {
    let name = Path::new(OsStr::from_bytes(name));
    let mut path = PathBuf::from("/");
    if name.is_relative() {
        path = std::env::current_dir().map_err(|error| {
            let text = format!("unable to use the name '{}': the working directory: {error}", name.display());
            Error::file(Minor::CannotOpenFile, text, error.raw_os_error())
        })?;
    }
    for component in name.components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::ParentDir if path.is_symlink() => return Err(behind_link(name, &path)),
            Component::ParentDir => drop(path.pop()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    Ok(path)
}

/// Returns the error for `..` behind a symbolic link: the system would go to the folder above the link's target, and
/// the clients that make names absolute go to the folder above the link.
fn behind_link(name: &Path, link: &Path) -> Error {
    Error::argument(format!(
        "unable to use the name '{}' with the setting store=: '{}' is a symbolic link, so that '..' behind it is ambiguous; \
         give the path without '..'",
        name.display(),
        link.display()
    ))
}

/// Returns the part of a path below a directory, or `None` if the path does not lead through the directory. The path
/// may reach the directory by another name, such as a symbolic link to it.
fn below<'a>(directory: &Path, path: &'a Path) -> Option<&'a Path> {
    if let Ok(rest) = path.strip_prefix(directory) {
        return Some(rest);
    }
    let there = identity(directory)?;
    let same = path.ancestors().find(|above| identity(above) == Some(there))?;
    path.strip_prefix(same).ok()
}

/// Returns the error for a name outside the root at which no file exists, or at which a new file is to be made.
pub(super) fn outside(name: &[u8], config: &Config, purpose: Purpose) -> Error {
    let name = Path::new(OsStr::from_bytes(name));
    let (verb, minor, errno) = match purpose {
        Purpose::Create => ("create", Minor::CannotCreateFile, libc::EINVAL),
        Purpose::Open(_) => ("open", Minor::CannotOpenFile, libc::ENOENT),
    };
    let root = root(config).unwrap_or(Path::new("/")).display();
    let said = format!(
        "it has no key in the store, because it lies outside the root '{root}' to which keys are relative"
    );
    let advice = format!(
        "; set root= (variable {}) to a folder above it, or to / for keys that are whole paths, or give a URL",
        crate::config::variable("root")
    );
    Error::file(minor, format!("unable to {verb} file: name = '{}'", name.display()), Some(errno))
        .with_system_message(said, &advice)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn under(root: &Path) -> Config {
        Config { root: Some(root.display().to_string()), ..Config::default() }
    }

    fn key(path: &Path, config: &Config) -> Option<String> {
        key_of(path.as_os_str().as_bytes(), config).unwrap()
    }

    #[test]
    fn a_relative_name_and_its_absolute_path_have_one_key() {
        let here = std::env::current_dir().unwrap();
        let config = Config::default();
        for name in ["b.nc", "./b.nc", "sub/../b.nc", "sub/x/../../b.nc", ".//b.nc", "b.nc/"] {
            for path in [PathBuf::from(name), here.join(name)] {
                assert_eq!(key(&path, &config).as_deref(), Some("b.nc"), "{}", path.display());
            }
        }
        assert_eq!(key(Path::new("a..b/..x"), &config).as_deref(), Some("a..b/..x"));
        assert_eq!(key(&here, &config).as_deref(), Some(""));
        let whole = here.join("b.nc").display().to_string();
        assert_eq!(key(Path::new("b.nc"), &under(Path::new("/"))).as_deref(), Some(&whole[1..]));
        assert_eq!(key(Path::new("/../b.nc"), &under(Path::new("/"))).as_deref(), Some("b.nc"));
    }

    #[test]
    fn names_outside_the_root_have_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let config = under(&folder.path().join("root"));
        for name in ["root-2/x.h5", "x.h5", "root/../x.h5", "root/a/../../x.h5"] {
            assert_eq!(key(&folder.path().join(name), &config), None, "{name}");
        }
        assert_eq!(
            key(&folder.path().join("root/x.h5"), &config).as_deref(),
            Some("x.h5"),
            "it need not exist"
        );
    }

    #[test]
    fn the_root_is_found_through_symbolic_links_and_links_below_the_root_are_names() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("real/root/sub")).unwrap();
        symlink("real", at("home")).unwrap();
        symlink("sub", at("real/root/link")).unwrap();
        for root in ["real/root", "home/root", "home/root/", "real/./root"] {
            for way in ["real/root", "home/root"] {
                let key = |name: &str| key(&at(way).join(name), &under(&at(root)));
                assert_eq!(key("x.h5").as_deref(), Some("x.h5"), "{root} {way}");
                assert_eq!(key("link/x.h5").as_deref(), Some("link/x.h5"), "{root} {way}");
                assert_eq!(key("gone/x.h5").as_deref(), Some("gone/x.h5"), "{root} {way}");
            }
        }
        let name = at("real/root/link/../x.h5");
        let error = key_of(name.as_os_str().as_bytes(), &under(&at("real"))).unwrap_err().to_string();
        assert!(error.contains("symbolic link") && error.contains("without '..'"), "{error}");
    }
}
