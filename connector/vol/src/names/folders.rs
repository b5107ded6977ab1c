//! Names of folders of containers: directories, buckets, and prefixes of a store.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use h5lake_container::Target;
use object_stores::ObjectStore;

use super::{Access, Purpose, has_scheme, in_store, is_left_to_native, keys, of_the_setting};
use crate::config::Config;
use crate::error::{Error, Minor, Result};
use crate::pointer::Pointer;

/// A folder of containers.
#[derive(Debug, Clone)]
pub struct Folder {
    /// The store that has the names below the folder as keys.
    pub store: Arc<dyn ObjectStore>,
    /// The URL of that store.
    pub url: String,
    /// The local directory, if the folder was named by a path. It may also hold containers that are single files.
    pub directory: Option<PathBuf>,
}

impl Folder {
    /// Returns the name by which a container in the folder can be opened: a URL.
    pub fn url_of(&self, key: &str) -> String {
        Pointer { store: self.url.clone(), key: key.to_owned() }.url()
    }
}

/// Returns the folder of a name: a URL, which may be that of a whole bucket, a folder of keys of the store that the
/// settings name, or a local directory.
///
/// # Errors
/// A name that has no key; a store that cannot be used; a local directory that does not exist.
pub fn folder(name: &[u8], config: &Config) -> Result<Folder> {
    if let Ok(url) = std::str::from_utf8(name)
        && has_scheme(url, config)
    {
        return in_store_at(without_end(url), "", config, None);
    }
    if let Some(store) = config.store.as_ref().filter(|_| !is_left_to_native(name, config)) {
        let key = keys::key_of(name, config)?;
        let key = key.ok_or_else(|| keys::outside(name, config, Purpose::Open(Access::ReadOnly)))?;
        let url = Pointer { store: store.clone(), key }.url();
        return in_store_at(without_end(&url), &of_the_setting(config), config, None);
    }
    let directory = directory(Path::new(OsStr::from_bytes(name)))?;
    let url = format!("file://{}", directory.display());
    in_store_at(&url, "", config, Some(directory))
}

fn in_store_at(url: &str, of: &str, config: &Config, directory: Option<PathBuf>) -> Result<Folder> {
    match in_store(url, of, "", config)? {
        Target::Objects { store, url, .. } => Ok(Folder { store, url, directory }),
        Target::File(_) => Err(Error::argument(format!("'{url}' is no store"))),
    }
}

/// Resolves a path to a directory that can be listed and can be part of a URL.
fn directory(path: &Path) -> Result<PathBuf> {
    let found = path.canonicalize().and_then(|found| found.read_dir().map(|_| found));
    let found = found.map_err(|error| {
        let text = format!("unable to list '{}': {error}", path.display());
        Error::file(Minor::CannotOpenFile, text, error.raw_os_error())
    })?;
    match found.to_str() {
        Some(_) => Ok(found),
        None => Err(Error::argument(format!("unable to list '{}': its path is not UTF-8", path.display()))),
    }
}

/// Returns a URL without the slashes at its end, unless they belong to the part before the path.
fn without_end(url: &str) -> &str {
    match url.trim_end_matches('/') {
        scheme if scheme.ends_with(':') => url,
        shorter => shorter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_stores_or_parts_of_stores() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let shown = dir.display().to_string();
        let at = |name: &str, config: &Config| folder(name.as_bytes(), config).unwrap().url;
        let plain = Config::default();
        assert_eq!(at(&format!("{shown}/"), &plain), format!("file://{shown}"));
        assert_eq!(at("file:///", &plain), "file:///");
        assert_eq!(at(&format!("file://{shown}//"), &plain), format!("file://{shown}"));
        let error = folder(format!("{shown}/none").as_bytes(), &plain).unwrap_err().to_string();
        assert!(error.contains("none") && error.contains("os error 2"), "{error}");
        let store = format!("file://{shown}/store");
        let config = Config { store: Some(store.clone()), root: Some(shown.clone()), ..Config::default() };
        assert_eq!(at(&shown, &config), store, "the root is the whole store");
        assert_eq!(at(&format!("{shown}/runs/"), &config), format!("{store}/runs"));
    }
}
