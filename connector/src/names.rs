//! From the name that an application gives to the place where the container lies.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use h5lake_container::Target;
use object_stores::registry::{Registry, split_scheme};

use crate::config::Config;
use crate::error::{Error, Minor, Result};

/// Where `name` lies under `config`: a scheme in the name chooses a store, else `store=URL` does, else the name
/// is the path of a local file.
///
/// # Errors
/// A scheme that no store has, or a name that is not a key.
pub fn target(name: &[u8], config: &Config) -> Result<Target> {
    if name.is_empty() {
        return Err(Error::argument("the file name is empty"));
    }
    let text = std::str::from_utf8(name);
    if let Ok(url) = text
        && has_scheme(url)
    {
        let (store, key) = split_key(url);
        return in_store(store, key);
    }
    match (&config.store, text) {
        (None, _) => Ok(Target::File(PathBuf::from(OsStr::from_bytes(name)))),
        (Some(store), Ok(path)) => in_store(store, &key_of_path(path)),
        (Some(_), Err(_)) => Err(Error::argument("a name that is kept in an object store must be UTF-8")),
    }
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

fn in_store(url: &str, key: &str) -> Result<Target> {
    let store = Registry::global().open(url).map_err(|error| {
        Error::file(Minor::CannotOpenFile, format!("cannot use the store: {error}"), error.raw_os_error())
    })?;
    Ok(Target::Objects { store, key: key.to_owned(), url: url.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str, store: Option<&str>) -> String {
        let config = Config { store: store.map(str::to_owned), ..Config::default() };
        match target(name.as_bytes(), &config).unwrap() {
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
        let error = target(b"gopher://host/x", &Config::default()).err().unwrap().to_string();
        assert!(error.contains("gopher"), "{error}");
    }
}
