//! From the name that an application gives to the place where the container lies.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use h5lake_container::Target;
use h5lake_ledger::{Ledger, Probe};
use object_stores::registry::{Registry, Settings, split_scheme};

use crate::config::Config;
use crate::error::{Error, Minor, Result};
use crate::pointer::{self, Pointer};

/// Where a container lies, and where clients look for it.
pub struct Place {
    /// The container.
    pub target: Target,
    /// The local path that names a container kept elsewhere: a pointer file is there, or belongs there.
    pub pointer: Option<PathBuf>,
}

impl Place {
    /// What lies at the local path itself, for a name that has one.
    pub fn local_target(&self) -> Target {
        match &self.pointer {
            Some(path) => Target::File(path.clone()),
            None => self.target.clone(),
        }
    }

    /// Whether an empty file lies at the local path, and no container in the store that it stands for.
    pub fn is_vacant(&self) -> bool {
        let Target::File(path) = self.local_target() else { return false };
        let is_empty = path.metadata().is_ok_and(|found| found.is_file() && found.len() == 0);
        is_empty
            && match &self.target {
                Target::File(_) => true,
                Target::Objects { store, key, .. } => {
                    matches!(Ledger::probe_objects(&**store, key), Ok(Probe::NotFound))
                }
            }
    }

    /// Whether something that is no pointer file lies where one belongs.
    pub fn is_taken_locally(&self) -> bool {
        let Some(path) = &self.pointer else { return false };
        path.exists() && pointer::read(path).is_ok_and(|found| found.is_none())
    }
}

/// Where `name` lies under `config`: a scheme in the name chooses a store; else a pointer file at the path names
/// the container; else `store=URL` does; else the name is the path of a local file.
///
/// # Errors
/// A scheme that no store has, a name that is not a key, or a damaged pointer file.
pub fn place(name: &[u8], config: &Config) -> Result<Place> {
    if name.is_empty() {
        return Err(Error::argument("the file name is empty"));
    }
    let text = std::str::from_utf8(name);
    if let Ok(url) = text
        && has_scheme(url)
    {
        let (store, key) = split_key(url);
        return Ok(Place { target: in_store(store, key, config)?, pointer: None });
    }
    let path = PathBuf::from(OsStr::from_bytes(name));
    if let Some(Pointer { store, key }) = pointer::read(&path)? {
        return Ok(Place { target: in_store(&store, &key, config)?, pointer: Some(path) });
    }
    match (&config.store, text) {
        (None, _) => Ok(Place { target: Target::File(path), pointer: None }),
        (Some(store), Ok(text)) => {
            let target = in_store(store, &key_of_path(text), config)?;
            Ok(Place { target, pointer: outlives_process(store).then_some(path) })
        }
        (Some(_), Err(_)) => Err(Error::argument("a name that is kept in an object store must be UTF-8")),
    }
}

/// Whether what is kept in a store is still there when the process ends: only then is a pointer file left.
fn outlives_process(store: &str) -> bool {
    split_scheme(store).is_none_or(|(scheme, _)| scheme != "memory")
}

/// Whether a name chooses a store itself. `://` asks for one even if it is not known, so that the error can say so.
fn has_scheme(name: &str) -> bool {
    split_scheme(name).is_some_and(|(scheme, rest)| {
        rest.starts_with("//") || Registry::global().schemes().contains(&scheme)
    })
}

/// A container's URL as its store's URL and the key in it: the last component is the key.
fn split_key(url: &str) -> (&str, &str) {
    match url.rsplit_once('/') {
        Some((store, key)) => (store, key),
        None => url.split_at(url.find(':').map_or(0, |colon| colon + 1)),
    }
}

/// A local path as a key: without `.`, empty components and the leading `/`.
fn key_of_path(path: &str) -> String {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/")
}

fn in_store(url: &str, key: &str, config: &Config) -> Result<Target> {
    let mut settings = Settings::new();
    // The other stores either sync always or have nothing to sync.
    if config.sync_commits && split_scheme(url).is_some_and(|(scheme, _)| scheme == "file") {
        settings.insert("sync".to_owned(), "power".to_owned());
    }
    let store = Registry::global().open_with(url, &settings).map_err(|error| {
        Error::file(Minor::CannotOpenFile, format!("cannot use the store: {error}"), error.raw_os_error())
    })?;
    Ok(Target::Objects { store, key: key.to_owned(), url: url.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str, store: Option<&str>) -> String {
        let config = Config { store: store.map(str::to_owned), ..Config::default() };
        match super::place(name.as_bytes(), &config).unwrap().target {
            Target::File(path) => path.display().to_string(),
            Target::Objects { key, url, .. } => format!("{url} {key}"),
        }
    }

    #[test]
    fn plain_names_are_local_files_or_keys() {
        assert_eq!(place("a/b.h5", None), "a/b.h5");
        assert_eq!(place("C:b.h5", None), "C:b.h5");
        assert_eq!(place("./a//b.h5", Some("memory:m")), "memory:m a/b.h5");
        assert_eq!(place("/tmp/b.h5", Some("memory:m")), "memory:m tmp/b.h5");
    }

    #[test]
    fn a_scheme_in_the_name_chooses_the_store() {
        assert_eq!(place("memory:x", None), "memory: x");
        assert_eq!(place("memory:m/x", Some("file:///tmp")), "memory:m x");
    }

    #[test]
    fn an_unknown_scheme_is_named() {
        let error = super::place(b"gopher://host/x", &Config::default()).err().unwrap().to_string();
        assert!(error.contains("gopher"), "{error}");
    }
}
