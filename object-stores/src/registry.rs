//! Opens stores by their URLs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use parking_lot::RwLock;
use percent_encoding::percent_decode_str;

use crate::settings::{REMOTE_SCHEMES, is_scheme, refusal};
pub use crate::settings::{Settings, check_settings, is_url, split_scheme};
use crate::{DirStore, ErrorKind, MemoryStore, ObjectStore, Result, dir};

/// A function that makes a store from the part of its URL after `SCHEME:`, and its settings. Errors must not repeat
/// credentials.
pub type Opener = dyn Fn(&str, &Settings) -> Result<Arc<dyn ObjectStore>> + Send + Sync;

/// Returns whether the stores of a scheme may block a caller, and so have the setting `timeout`: those behind a
/// network, and those of libraries.
pub fn has_timeout(scheme: &str) -> bool {
    #[cfg(feature = "libraries")]
    if is_of_library(scheme) {
        return true;
    }
    #[cfg(feature = "rados")]
    if scheme == crate::rados::SCHEME {
        return true;
    }
    REMOTE_SCHEMES.contains(&scheme)
}

/// Returns whether the stores of a scheme have the setting `sync`, which determines the failures that a put survives.
pub fn has_sync(scheme: &str) -> bool {
    #[cfg(feature = "libraries")]
    if is_of_library(scheme) {
        return true;
    }
    scheme == "file"
}

/// Returns whether the stores of a scheme have the setting `locks`, which determines whether file locks protect writers
/// from each other.
pub fn has_locks(scheme: &str) -> bool {
    scheme == "file"
}

/// Returns whether a library of `store_path` has the scheme. The libraries are loaded if they are not loaded yet.
#[cfg(feature = "libraries")]
fn is_of_library(scheme: &str) -> bool {
    Registry::global().library(scheme).is_some()
}

/// Adds libraries of stores to those in the variable `H5LAKE_STORE_PATH`: a list of files and folders, separated by
/// colons. They are loaded when a scheme is used that this crate does not know, and stay loaded.
#[cfg(feature = "libraries")]
pub fn add_store_path(list: &str) {
    crate::library_store::add_paths(list);
}

/// The known schemes, and the functions that make their stores.
/// | URL | store | settings |
/// |---|---|---|
/// | `memory:NAME` | [`MemoryStore::named`] | |
/// | `file:///dir` | [`DirStore`]; the path is percent-decoded (RFC 8089) | `sync` = `process`, `power`; `locks` = `required`, `best-effort`, `off` |
/// | `s3://bucket/prefix` | S3 and stores with its protocol; `AWS_…` variables | `endpoint`, `region`, `style` = `path`, `virtual`; `allow-http`, `anonymous` = `true`, `false` |
/// | `gs://bucket/prefix` | Google Cloud Storage; `GOOGLE_…` variables | |
/// | `az://container/prefix` | Azure Blob Storage; `AZURE_…` variables | |
/// | `swift://container/prefix` | OpenStack Swift; `ST_…` or `OS_…` variables | `segment-size` in bytes |
/// | `h5store+http://127.0.0.1:port/prefix`, `h5store+unix:///dir/name.sock/prefix` | a server on this machine (docs/store-protocol.md) | |
/// | `https://host/path` | a web server, read-only (`http:` if a variable allows it) | |
/// | `rados://pool/namespace/prefix` | Ceph, by librados; `CEPH_CONF`, `CEPH_ARGS` | `conf`, `id` |
///
/// Stores behind HTTP need the feature `remote`, and are refused without it; `rados` is known only with the feature
/// `rados`. All stores over a network also have the setting `timeout`. With the feature `libraries`, other schemes are
/// looked up in libraries ([`add_store_path`]), with the settings `sync` and `timeout`.
#[derive(Clone)]
pub struct Registry {
    openers: Arc<RwLock<BTreeMap<String, Arc<Opener>>>>,
}

static GLOBAL: LazyLock<Registry> = LazyLock::new(Registry::new);

impl Default for Registry {
    fn default() -> Self {
        Registry::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("schemes", &self.schemes()).finish()
    }
}

impl Registry {
    /// Returns a registry that knows the stores of this crate.
    pub fn new() -> Self {
        let mut openers: BTreeMap<String, Arc<Opener>> = BTreeMap::new();
        openers.insert("memory".into(), Arc::new(open_memory));
        openers.insert("file".into(), Arc::new(open_file));
        for scheme in REMOTE_SCHEMES {
            openers
                .insert(scheme.into(), Arc::new(move |rest, settings| open_remote(scheme, rest, settings)));
        }
        #[cfg(feature = "rados")]
        openers.insert(crate::rados::SCHEME.into(), Arc::new(crate::rados::open));
        Registry { openers: Arc::new(RwLock::new(openers)) }
    }

    /// Returns the registry of this process.
    pub fn global() -> &'static Registry {
        &GLOBAL
    }

    /// Adds a scheme: letters a–z, digits, `+`, `-` and `.`, a letter first, at least two characters (RFC 3986, and no
    /// drive letters).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if `scheme` is not a valid scheme, [`ErrorKind::AlreadyExists`] if it is known
    /// already.
    pub fn register(
        &self,
        scheme: &str,
        opener: impl Fn(&str, &Settings) -> Result<Arc<dyn ObjectStore>> + Send + Sync + 'static,
    ) -> Result<()> {
        if !is_scheme(scheme) {
            return Err(refusal(ErrorKind::InvalidArgument, format!("{scheme:?} is no scheme of a URL")));
        }
        let mut openers = self.openers.write();
        if openers.contains_key(scheme) {
            return Err(refusal(
                ErrorKind::AlreadyExists,
                format!("the scheme '{scheme}' is registered already"),
            ));
        }
        openers.insert(scheme.to_owned(), Arc::new(opener));
        Ok(())
    }

    /// Returns the known schemes, sorted, including those of libraries.
    pub fn schemes(&self) -> Vec<String> {
        let own = self.own_schemes();
        #[cfg(feature = "libraries")]
        let own = {
            let names: Vec<_> = own.iter().map(String::as_str).collect();
            let of_libraries = crate::library_store::schemes(&names);
            let mut all = [own, of_libraries].concat();
            all.sort_unstable();
            all
        };
        own
    }

    fn own_schemes(&self) -> Vec<String> {
        self.openers.read().keys().cloned().collect()
    }

    /// Returns whether a scheme is known. A library that has the scheme is loaded.
    pub fn knows(&self, scheme: &str) -> bool {
        if self.openers.read().contains_key(scheme) {
            return true;
        }
        #[cfg(feature = "libraries")]
        if self.library(scheme).is_some() {
            return true;
        }
        false
    }

    #[cfg(feature = "libraries")]
    fn library(&self, scheme: &str) -> Option<&'static h5lake_store_abi::Library> {
        let own = self.own_schemes();
        crate::library_store::find(scheme, &own.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Opens the store at a URL with default settings.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn open(&self, url: &str) -> Result<Arc<dyn ObjectStore>> {
        self.open_with(url, &Settings::new())
    }

    /// Opens the store at a URL with settings.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] for an unknown scheme, naming it and the known schemes;
    /// [`ErrorKind::InvalidArgument`] for a malformed URL, or a setting that the store does not have; and those of the
    /// store. No error repeats the URL, which may contain credentials.
    pub fn open_with(&self, url: &str, settings: &Settings) -> Result<Arc<dyn ObjectStore>> {
        let Some((scheme, rest)) = split_scheme(url) else {
            let known = self.schemes().join(", ");
            let why = format!("the store's URL begins with no scheme (known are {known})");
            return Err(refusal(ErrorKind::InvalidArgument, why));
        };
        let opener = self.openers.read().get(&scheme).cloned();
        if let Some(opener) = opener {
            return opener(rest, settings);
        }
        #[cfg(feature = "libraries")]
        if let Some(library) = self.library(&scheme) {
            return crate::library_store::open(library, &format!("{scheme}:{rest}"), settings);
        }
        Err(self.unknown(&scheme))
    }
}

impl Registry {
    #[cfg(feature = "libraries")]
    fn unknown(&self, scheme: &str) -> crate::Error {
        let own = self.own_schemes();
        let own: Vec<_> = own.iter().map(String::as_str).collect();
        crate::library_store::unknown(scheme, &self.schemes(), &own)
    }

    #[cfg(not(feature = "libraries"))]
    fn unknown(&self, scheme: &str) -> crate::Error {
        let known = self.schemes().join(", ");
        let why = format!("no store is registered for the scheme '{scheme}' (known are {known})");
        refusal(ErrorKind::Unsupported, why)
    }
}

#[cfg(feature = "remote")]
fn open_remote(scheme: &str, rest: &str, settings: &Settings) -> Result<Arc<dyn ObjectStore>> {
    crate::remote::open(scheme, rest, settings, &crate::remote::environment())
}

#[cfg(not(feature = "remote"))]
fn open_remote(scheme: &str, _rest: &str, _settings: &Settings) -> Result<Arc<dyn ObjectStore>> {
    Err(not_built(scheme))
}

/// Returns the error of a build without the cargo feature `remote`.
#[cfg(any(test, not(feature = "remote")))]
fn not_built(scheme: &str) -> crate::Error {
    let why = format!(
        "this build of h5lake has no stores '{scheme}:'; build it with the cargo feature 'remote', which is a default feature"
    );
    refusal(ErrorKind::Unsupported, why)
}

fn open_memory(name: &str, settings: &Settings) -> Result<Arc<dyn ObjectStore>> {
    check_settings("memory", settings, &[])?;
    Ok(Arc::new(MemoryStore::named(name.strip_prefix("//").unwrap_or(name))))
}

fn open_file(rest: &str, settings: &Settings) -> Result<Arc<dyn ObjectStore>> {
    check_settings("file", settings, &["locks", "sync"])?;
    let sync = match settings.get("sync").map(String::as_str) {
        None | Some("process") => dir::Sync::Process,
        Some("power") => dir::Sync::Power,
        Some(other) => {
            let why = format!("the setting 'sync' of a store 'file:' is 'process' or 'power', not '{other}'");
            return Err(refusal(ErrorKind::InvalidArgument, why));
        }
    };
    let locking = match settings.get("locks").map(String::as_str) {
        None | Some("required") => dir::Locking::Required,
        Some("best-effort") => dir::Locking::BestEffort,
        Some("off") => dir::Locking::Off,
        Some(other) => {
            let why = format!(
                "the setting 'locks' of a store 'file:' is 'required', 'best-effort' or 'off', not '{other}'"
            );
            return Err(refusal(ErrorKind::InvalidArgument, why));
        }
    };
    Ok(Arc::new(DirStore::open_with(file_path(rest)?, sync, locking)?))
}

/// Returns the path in `file:///dir`, `file://localhost/dir` and `file:/dir`.
fn file_path(rest: &str) -> Result<PathBuf> {
    let path = match rest.strip_prefix("//") {
        Some(authority) => authority.strip_prefix("localhost").unwrap_or(authority),
        None => rest,
    };
    if !path.starts_with('/') {
        let why = "a store 'file:' is an absolute path on this machine, as in file:///dir";
        return Err(refusal(ErrorKind::InvalidArgument, why));
    }
    if path.contains(['?', '#']) {
        let why = "a store 'file:' takes no '?' or '#'; as part of the path they are %3F and %23";
        return Err(refusal(ErrorKind::InvalidArgument, why));
    }
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    if bytes.contains(&0) {
        return Err(refusal(ErrorKind::InvalidArgument, "a path has no zero byte"));
    }
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Key, PutMode};

    #[test]
    fn a_name_in_memory_is_one_store() {
        let registry = Registry::new();
        let key = Key::new("a").unwrap();
        registry.open("memory:registry-1").unwrap().put(&key, "x".into(), PutMode::Create).unwrap();
        assert_eq!(registry.open("MEMORY://registry-1").unwrap().get(&key, None).unwrap().bytes, "x");
        assert!(registry.open("memory:registry-2").unwrap().get(&key, None).is_err());
        assert!(MemoryStore::forget("registry-1"));
        assert!(!MemoryStore::forget("registry-1"));
        assert!(registry.open("memory:registry-1").unwrap().get(&key, None).is_err());
    }

    #[test]
    fn a_file_url_is_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::new();
        let base = dir.path().display();
        let url = format!("file://{base}/with%20space/%C3%A9");
        let settings = Settings::from([("sync".into(), "power".into())]);
        let store = registry.open_with(&url, &settings).unwrap();
        store.put(&Key::new("a").unwrap(), "x".into(), PutMode::Create).unwrap();
        assert!(dir.path().join("with space/é/a").is_file());
        for same in [format!("file://localhost{base}"), format!("file:{base}")] {
            let store = registry.open(&same).unwrap();
            assert_eq!(store.get(&Key::new("with space/é/a").unwrap(), None).unwrap().bytes, "x");
        }
    }

    #[test]
    fn unknown_urls_and_settings_are_refused_by_name() {
        let registry = Registry::new();
        let refused = |url: &str| registry.open(url).unwrap_err();
        let unknown = refused("ftp://user:secret@host/x");
        assert_eq!(unknown.kind(), ErrorKind::Unsupported);
        let text = unknown.to_string();
        assert!(text.contains("'ftp'") && text.contains("file, ") && text.contains("memory"), "{text}");
        for url in [
            "",
            "/plain/path",
            "C:\\x",
            "c:x",
            "1x:y",
            ":x",
            "no scheme:x",
            "file:rel",
            "file://host/x",
            "file://localhostess/x",
            "file:",
            "file:///x?y=1",
            "file:///x#y",
            "file:///x%00y",
        ] {
            assert_eq!(refused(url).kind(), ErrorKind::InvalidArgument, "{url}");
        }
        assert!(!refused("pass:word@x").to_string().contains("word"));
        for (url, name, value) in [
            ("memory:x", "sync", "power"),
            ("file:///tmp", "sink", "1"),
            ("file:///tmp", "sync", "no"),
            ("file:///tmp", "locks", "no"),
        ] {
            let settings = Settings::from([(name.into(), value.into())]);
            let refused = registry.open_with(url, &settings).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
            assert!(refused.to_string().contains(&format!("'{name}'")), "{refused}");
        }
    }

    #[test]
    fn a_build_without_stores_behind_http_names_the_feature() {
        let error = not_built("s3");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("'s3:'") && error.to_string().contains("'remote'"), "{error}");
    }

    #[test]
    fn a_scheme_can_be_added_once() {
        let registry = Registry::new();
        let opener = |rest: &str, _: &Settings| -> Result<Arc<dyn ObjectStore>> {
            Ok(Arc::new(MemoryStore::with_name(rest)))
        };
        registry.register("my-store", opener).unwrap();
        assert_eq!(registry.open("my-store://x").unwrap().name(), "memory://x");
        let schemes = registry.schemes();
        assert!(schemes.is_sorted() && schemes.iter().any(|scheme| scheme == "my-store"), "{schemes:?}");
        assert_eq!(registry.register("my-store", opener).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(registry.register("file", opener).unwrap_err().kind(), ErrorKind::AlreadyExists);
        for bad in ["", "x", "My", "1a", "a b", "a:b", "ä1"] {
            assert_eq!(registry.register(bad, opener).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
    }
}
