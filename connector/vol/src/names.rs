//! From the name that an application gives to the place where the container lies.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use h5lake_container::Target;
use h5lake_ledger::{Access, At, ByteSource, Ledger, OpenedFile, Probe, SyncPolicy};
use object_stores::registry::{Registry, Settings, split_scheme};
use object_stores::{DiskCache, ObjectStore, ObservedStore};

use crate::config::{self, Config};
use crate::error::{Error, Minor, Result};
use crate::pointer::{self, Pointer};
use crate::trust;

/// Bound of the local cache where none is given.
const DISK_CACHE_SIZE: u64 = 10 << 30;

/// Where a container lies, and where clients look for it.
pub struct Place {
    /// The container.
    pub target: Target,
    /// The local path that names a container kept elsewhere: a pointer file is there, or belongs there.
    pub pointer: Option<PathBuf>,
    /// What says that the container lies there.
    pub route: Route,
    /// The version that the name asks for, if not the newest.
    pub at: Option<At>,
    /// What lay at the local path, for a name that has one.
    found: Option<Probe>,
    /// The local file that is the container, as it was opened to look at it.
    pub opened: Option<OpenedFile>,
    /// What reads the container for us, where that is a file driver: its name need not be a path then.
    pub source: Option<Arc<dyn ByteSource>>,
}

/// What leads from a name to its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The name itself: a local path, a URL, or any name where `store=` is gone with the process.
    Name,
    /// The pointer file at the path.
    Pointer,
    /// The setting `store=` alone: no pointer file at the path names the container.
    Setting,
}

impl Place {
    /// That of a container which a file driver reads.
    pub fn behind_driver(name: &str, source: Arc<dyn ByteSource>) -> Self {
        Self {
            target: Target::File(name.into()),
            pointer: None,
            route: Route::Name,
            at: None,
            found: Some(Probe::Container),
            opened: None,
            source: Some(source),
        }
    }

    /// What lies at the local path itself, for a name that has one.
    pub fn local_target(&self) -> Target {
        match &self.pointer {
            Some(path) => Target::File(path.clone()),
            None => self.target.clone(),
        }
    }

    /// What lay at the local path when the name was looked at. What cannot be looked at is told by whoever opens it.
    pub fn found(&self) -> Option<Probe> {
        self.found
    }

    /// Whether an empty file lies at the local path, and no container in the store that it stands for.
    pub fn is_vacant(&self) -> bool {
        if self.opened.is_some() {
            return false;
        }
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

/// What a version's number or time stands behind in a name.
const VERSION_MARKS: [&str; 2] = ["@v=", "@t="];

/// Where `name` lies under `config`, and which version it asks for: `NAME@v=12` and `NAME@t=2026-11-20T10:00:00Z` are old
/// versions of `NAME`, unless something has that very name.
///
/// # Errors
/// Those of looking for the newest version; a version or a time that is none.
pub fn place(name: &[u8], config: &Config) -> Result<Place> {
    place_for(name, config, Purpose::Open(Access::ReadOnly))
}

/// The same for who opens the container. For [`Access::ReadWrite`], to change or to delete it, a local file is opened so when it is
/// looked at, and a pointer file is followed only where [`trust::check_pointer`] allows it.
///
/// # Errors
/// As for [`place`].
pub fn place_to_open(name: &[u8], config: &Config, access: Access) -> Result<Place> {
    place_for(name, config, Purpose::Open(access))
}

/// Where a new container of that name comes to lie: the store of the settings decides, even where the pointer file at the path names
/// another one, whose container then stays where it is.
///
/// # Errors
/// As for [`place`].
pub fn place_of_new(name: &[u8], config: &Config) -> Result<Place> {
    place_for(name, config, Purpose::Create)
}

/// What a name is looked up for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Open(Access),
    Create,
}

impl Purpose {
    /// What is done with the container that a pointer file leads to.
    fn access(self) -> Access {
        match self {
            Self::Open(access) => access,
            Self::Create => Access::ReadWrite,
        }
    }
}

/// Whether the settings leave a name to native HDF5. They do not say so of a URL, which chooses its store itself. An old version has
/// the name of its container.
pub fn is_left_to_native(name: &[u8], config: &Config) -> bool {
    let is_ours = |name| config.only.match_name(name);
    !is_ours(name)
        && !split_version(name).is_some_and(|(base, ..)| is_ours(base))
        && !std::str::from_utf8(name).is_ok_and(has_scheme)
}

fn place_for(name: &[u8], config: &Config, purpose: Purpose) -> Result<Place> {
    let literal = newest(name, config, purpose);
    let Some((base, mark, text)) = split_version(name) else { return literal };
    if literal.as_ref().is_ok_and(exists) {
        return literal;
    }
    let place = newest(base, config, purpose)?;
    if !exists(&place) {
        return literal;
    }
    let at = if mark == VERSION_MARKS[0] { config::version(text) } else { At::time(text) };
    match at {
        Some(at) => Ok(Place { at: Some(at), ..place }),
        None => Err(Error::file(
            Minor::CannotOpenFile,
            format!(
                "unable to open file: '{text}' is no version; NAME{}12 or NAME{}2026-11-20T10:00:00Z is one",
                VERSION_MARKS[0], VERSION_MARKS[1]
            ),
            None,
        )),
    }
}

/// A name that asks for a version: what stands before the mark, the mark, and what stands behind it.
fn split_version(name: &[u8]) -> Option<(&[u8], &'static str, &str)> {
    let text = std::str::from_utf8(name).ok()?;
    let (at, mark) = VERSION_MARKS.iter().filter_map(|mark| Some((text.rfind(mark)?, *mark))).max()?;
    let behind = &text[at + mark.len()..];
    (at > 0 && !behind.contains('/')).then_some((&name[..at], mark, behind))
}

/// Whether something lies at a place.
fn exists(place: &Place) -> bool {
    if let Target::File(path) = place.local_target()
        && path.symlink_metadata().is_ok()
    {
        return true;
    }
    match &place.target {
        Target::File(_) => false,
        Target::Objects { store, key, .. } => {
            !matches!(Ledger::probe_objects(&**store, key), Ok(Probe::NotFound) | Err(_))
        }
    }
}

/// Where the newest version of `name` lies under `config`: a scheme in the name chooses a store; else a pointer file at the path names
/// the container (unless `store=URL` chooses another store for a new one, or one that is gone with the process); else `store=URL`
/// does; else the name is the path of a local file.
///
/// # Errors
/// A scheme that no store has, a name that is not a key, or a damaged pointer file.
fn newest(name: &[u8], config: &Config, purpose: Purpose) -> Result<Place> {
    if name.is_empty() {
        return Err(Error::argument("the file name is empty"));
    }
    let text = std::str::from_utf8(name);
    if let Ok(url) = text
        && has_scheme(url)
    {
        let (store, key) = split_key(url);
        return Ok(Place {
            target: in_store(store, "", key, config)?,
            pointer: None,
            route: Route::Name,
            at: None,
            found: None,
            opened: None,
            source: None,
        });
    }
    let path = PathBuf::from(OsStr::from_bytes(name));
    let store = config.store.as_ref().filter(|_| !is_left_to_native(name, config));
    // Whoever creates only looks at what is there.
    let access = if let Purpose::Open(access) = purpose { access } else { Access::ReadOnly };
    let looked = Ledger::look_at_file(&path, access).ok();
    let (found, opened) = looked.map_or((None, None), |(found, opened)| (Some(found), opened));
    if !matches!(found, Some(Probe::Container | Probe::NativeHdf5 | Probe::NotFound))
        && let Some(found_pointer) = pointer::read(&path)?
        && leads(&found_pointer.pointer.store, store, config, purpose)?
    {
        trust::check_pointer(&path, &found_pointer, purpose.access(), config)?;
        let Pointer { store, key } = found_pointer.pointer;
        let target = in_store(&store, "", &key, config)?;
        if is_object_itself(&target, &path) {
            let text = format!(
                "unable to open file: the pointer file '{}' names itself, not a container; delete it",
                path.display()
            );
            return Err(Error::file(Minor::CannotOpenFile, text, None));
        }
        return Ok(Place {
            target,
            pointer: Some(path),
            route: Route::Pointer,
            at: None,
            found,
            opened: None,
            source: None,
        });
    }
    match (store, text) {
        (None, _) => {
            let target = Target::File(path);
            Ok(Place { target, pointer: None, route: Route::Name, at: None, found, opened, source: None })
        }
        (Some(store), Ok(text)) => {
            let target = in_store(store, &of_the_setting(config), &key_of_path(text)?, config)?;
            if is_object_itself(&target, &path) {
                // The path leads to the container without a pointer file, which would take its place.
                return Ok(Place {
                    target,
                    pointer: None,
                    route: Route::Name,
                    at: None,
                    found,
                    opened: None,
                    source: None,
                });
            }
            let pointer = outlives_process(store).then_some(path);
            let route = if pointer.is_some() { Route::Setting } else { Route::Name };
            let found = found.filter(|_| pointer.is_some());
            Ok(Place { target, pointer, route, at: None, found, opened: None, source: None })
        }
        (Some(_), Err(_)) => Err(Error::argument("a name that is kept in an object store must be UTF-8")),
    }
}

/// Whether a local path is that of the object itself: for a program that works in the directory that is its store, or whose store
/// is the root directory.
fn is_object_itself(target: &Target, path: &Path) -> bool {
    let Target::Objects { store, key, .. } = target else { return false };
    let place = store.place_of(key);
    let Some(object) = place.strip_prefix("file:").map(Path::new) else { return false };
    if object.file_name() == path.file_name()
        && identity(folder_above(object)).is_some_and(|there| identity(folder_above(path)) == Some(there))
    {
        return true;
    }
    // Through symbolic links.
    path.is_symlink()
        && path.canonicalize().is_ok_and(|path| object.canonicalize().is_ok_and(|object| object == path))
}

fn folder_above(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Device and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// Whether a pointer file to `store` is followed where the settings keep the name in the store `set`.
///
/// # Errors
/// A scheme of the settings' store that no store has.
fn leads(store: &str, set: Option<&String>, config: &Config, purpose: Purpose) -> Result<bool> {
    let Some(set) = set else { return Ok(true) };
    if split_scheme(set).is_none_or(|(scheme, _)| !Registry::global().schemes().contains(&scheme)) {
        // It fails, and says why.
        in_store(set, &of_the_setting(config), "", config)?;
    }
    let is_same = set.trim_end_matches('/') == store.trim_end_matches('/');
    Ok(outlives_process(set) && (is_same || purpose != Purpose::Create))
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

/// The folder that a name lies in, with the slash behind it, from the root as long as the name is one of local paths: who changes the
/// working folder later still finds what lies beside the file (H5system.c, `H5_build_extpath`). Of a URL it is the store.
/// Empty for a plain name of something that only this process has.
pub fn folder_of(name: &[u8], config: &Config) -> Vec<u8> {
    let folder = name.iter().rposition(|byte| *byte == b'/').map_or(&[][..], |slash| &name[..=slash]);
    let is_url = std::str::from_utf8(name).is_ok_and(has_scheme);
    let is_local = config.store.as_deref().is_none_or(outlives_process);
    if is_url || !is_local || folder.starts_with(b"/") {
        return folder.to_vec();
    }
    match std::env::current_dir() {
        Ok(here) => [here.as_os_str().as_bytes(), b"/", folder].concat(),
        Err(_) => folder.to_vec(),
    }
}

/// A container's URL as its store's URL and the key in it: the last component is the key.
fn split_key(url: &str) -> (&str, &str) {
    match url.rsplit_once('/') {
        Some((store, key)) => (store, key),
        None => url.split_at(url.find(':').map_or(0, |colon| colon + 1)),
    }
}

/// The pointer to the container of a URL, and where it lies.
///
/// # Errors
/// A name that is no URL; a store that is gone with the process, or that cannot be used.
pub fn pointer_to(url: &str, config: &Config) -> Result<(Pointer, Target)> {
    if !has_scheme(url) {
        return Err(Error::argument(format!(
            "'{url}' is no URL; file:///DIR/KEY and s3://BUCKET/KEY are some"
        )));
    }
    let (store, key) = split_key(url);
    if !outlives_process(store) {
        return Err(Error::argument(format!(
            "'{url}' is gone when the process ends: no other one can open it"
        )));
    }
    let pointer = Pointer { store: store.to_owned(), key: key.to_owned() };
    Ok((pointer, in_store(store, "", key, config)?))
}

/// A local path as a key: without `.`, empty components and the leading `/`.
///
/// # Errors
/// A path with `..`: what it means depends on the working folder and on symbolic links, and a store has neither.
fn key_of_path(path: &str) -> Result<String> {
    if path.split('/').any(|part| part == "..") {
        let text = format!(
            "unable to use the name '{path}' with the setting store=: a key of a store has no '..'; \
             give the whole path from '/', or the container's URL"
        );
        return Err(Error::argument(text));
    }
    Ok(path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/"))
}

/// Whose store it is that the settings name, in an error.
pub fn of_the_setting(config: &Config) -> String {
    format!(" of {}", config.store_origin.name_of("store"))
}

/// A key in the store of a URL; `of` says whose store that is, where an error has to say it.
fn in_store(url: &str, of: &str, key: &str, config: &Config) -> Result<Target> {
    let mut settings = Settings::new();
    // The other stores either sync always or have nothing to sync.
    if config.sync == SyncPolicy::Commit && split_scheme(url).is_some_and(|(scheme, _)| scheme == "file") {
        settings.insert("sync".to_owned(), "power".to_owned());
    }
    if let Some(timeout) = config.timeout
        && split_scheme(url).is_some_and(|(scheme, _)| object_stores::remote::is_remote(&scheme))
    {
        settings.insert("timeout".to_owned(), format!("{}s", timeout.as_secs()));
    }
    let store = Registry::global().open_with(url, &settings).map_err(|error| {
        Error::file(Minor::CannotOpenFile, format!("cannot use the store{of}: {error}"), error.errno())
    })?;
    // Behind the local cache: what that answers is no request.
    let store = locally_kept(Arc::new(ObservedStore::new(store)), url, config);
    Ok(Target::Objects { store, key: key.to_owned(), url: url.to_owned() })
}

/// The store, behind the local cache if one was asked for and the store is not as near itself.
fn locally_kept(store: Arc<dyn ObjectStore>, url: &str, config: &Config) -> Arc<dyn ObjectStore> {
    let is_near = split_scheme(url).is_some_and(|(scheme, _)| matches!(scheme.as_str(), "memory" | "file"));
    let Some(path) = config.disk_cache.as_ref().filter(|_| !is_near) else { return store };
    let bound = config.disk_cache_size.map_or(DISK_CACHE_SIZE, |bytes| bytes as u64);
    DiskCache::open_if_possible(store, path.as_ref(), bound, Ledger::is_immutable_object)
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

    /// A pointer file there would replace the head of the container.
    #[test]
    fn a_path_that_is_the_object_itself_needs_no_pointer() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("sub")).unwrap();
        std::os::unix::fs::symlink(root.join("sub"), root.join("link")).unwrap();
        let at = |store: &str, path: &Path| {
            let config = Config { store: Some(store.to_owned()), ..Config::default() };
            let target = in_store(store, "", "sub/x.h5", &config).unwrap();
            is_object_itself(&target, path)
        };
        let store = format!("file://{}", root.display());
        for exists in [false, true] {
            assert!(at(&store, &root.join("sub/x.h5")) && at(&store, &root.join("sub/./x.h5")));
            assert!(at(&store, &root.join("link/x.h5")), "through a symbolic link");
            assert!(!at(&store, &root.join("x.h5")) && !at("memory:m", &root.join("sub/x.h5")));
            if exists {
                std::os::unix::fs::symlink("sub/x.h5", root.join("other.h5")).unwrap();
                assert!(at(&store, &root.join("other.h5")));
            }
            std::fs::write(root.join("sub/x.h5"), "").unwrap();
        }
        // The whole path in a store that is the root directory.
        let name = root.join("y.h5").display().to_string();
        let config = Config { store: Some("file:///".to_owned()), ..Config::default() };
        let place = super::place_of_new(name.as_bytes(), &config).unwrap();
        assert!(place.pointer.is_none() && place.route == Route::Name);
    }

    #[test]
    fn a_name_with_two_dots_is_no_key() {
        let config = Config { store: Some("memory:m".to_owned()), ..Config::default() };
        for name in ["../x.h5", "a/../x.h5", "/a/.."] {
            let error = super::place(name.as_bytes(), &config).err().unwrap().to_string();
            assert!(error.contains("'..'") && error.contains("whole path"), "{error}");
        }
        assert_eq!(place("a..b/..x", Some("memory:m")), "memory:m a..b/..x");
    }

    #[test]
    fn a_pointer_file_leads_where_no_other_store_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let [name, one, other] =
            ["p.h5", "one", "other"].map(|n| folder.path().join(n).display().to_string());
        let [one, other] = [one, other].map(|path| format!("file://{path}"));
        let pointer = Pointer { store: one.clone(), key: "k".to_owned() };
        pointer::link(name.as_ref(), &pointer, SyncPolicy::Process).unwrap();
        let key = name.trim_start_matches('/');
        let lies = |store: Option<&str>, purpose: Purpose| {
            let config = Config { store: store.map(str::to_owned), ..Config::default() };
            let place = place_for(name.as_bytes(), &config, purpose).map_err(|e| e.to_string())?;
            let at_pointer = place.route == Route::Pointer;
            match place.target {
                Target::Objects { key, url, .. } => {
                    assert_eq!(at_pointer, url == one, "{url}");
                    Ok((url, key))
                }
                Target::File(path) => Err(path.display().to_string()),
            }
        };
        let at = |store: &str, key: &str| Ok((store.to_owned(), key.to_owned()));
        for purpose in [Purpose::Open(Access::ReadOnly), Purpose::Open(Access::ReadWrite), Purpose::Create] {
            assert_eq!(lies(None, purpose), at(&one, "k"));
            assert_eq!(lies(Some(&one), purpose), at(&one, "k"));
            assert_eq!(lies(Some("memory:m"), purpose), at("memory:m", key));
            assert!(lies(Some("nowhere://x"), purpose).is_err_and(|e| e.contains("nowhere")));
        }
        for purpose in [Purpose::Open(Access::ReadOnly), Purpose::Open(Access::ReadWrite)] {
            assert_eq!(lies(Some(&other), purpose), at(&one, "k"));
        }
        assert_eq!(lies(Some(&other), Purpose::Create), at(&other, key));
    }

    #[test]
    fn the_folder_of_a_local_name_begins_at_the_root() {
        let folder = |name: &str, store: Option<&str>| {
            let config = Config { store: store.map(str::to_owned), ..Config::default() };
            String::from_utf8(folder_of(name.as_bytes(), &config)).unwrap()
        };
        let here = std::env::current_dir().unwrap().display().to_string();
        assert_eq!(folder("a.h5", None), format!("{here}/"));
        assert_eq!(folder("d/a.h5", Some("s3://bucket")), format!("{here}/d/"));
        assert_eq!(folder("/d/a.h5", None), "/d/");
        assert_eq!(folder("s3://bucket/d/a.h5", None), "s3://bucket/d/");
        assert_eq!(folder("d/a.h5", Some("memory:m")), "d/");
        assert_eq!(folder("memory:m/a", None), "memory:m/");
    }

    #[test]
    fn a_scheme_in_the_name_chooses_the_store() {
        assert_eq!(place("memory:x", None), "memory: x");
        assert_eq!(place("memory:m/x", Some("file:///tmp")), "memory:m x");
    }

    #[test]
    fn a_name_may_ask_for_a_version() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let at = |name: &str| super::place(path(name).as_bytes(), &Config::default()).map(|place| place.at);
        assert_eq!(at("a.h5@v=3").unwrap(), None, "nothing lies at a.h5");
        std::fs::write(path("a.h5"), "x").unwrap();
        assert_eq!(at("a.h5@v=3").unwrap(), Some(At::Version(3)));
        assert_eq!(at("a.h5@t=1970-01-02").unwrap(), Some(At::Time(86_400_000_000)));
        assert!(at("a.h5@v=x").is_err() && at("a.h5@t=soon").is_err());
        std::fs::write(path("a.h5@v=3"), "x").unwrap();
        assert_eq!(at("a.h5@v=3").unwrap(), None, "a file has that very name");
    }

    #[test]
    fn what_is_far_away_is_kept_when_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = Some(dir.path().join("cache").display().to_string());
        let config = Config { disk_cache: path.clone(), ..Config::default() };
        let shown = |name: &str, config: &Config| match super::place(name.as_bytes(), config).unwrap().target
        {
            Target::Objects { store, .. } => format!("{store:?}"),
            Target::File(path) => path.display().to_string(),
        };
        assert!(shown("https://127.0.0.1:1/dir/x", &config).starts_with("DiskCache"));
        assert!(!shown("https://127.0.0.1:1/dir/x", &Config::default()).starts_with("DiskCache"));
        assert!(!shown("memory:m/x", &config).starts_with("DiskCache"));
        std::fs::remove_dir(dir.path().join("cache")).unwrap();
        std::fs::write(dir.path().join("cache"), "").unwrap();
        // A cache that cannot be made is gone without.
        assert!(!shown("https://127.0.0.1:1/dir/x", &config).starts_with("DiskCache"));
    }

    #[test]
    fn names_that_match_no_pattern_are_local() {
        let config = Config::parse("only=*.h5l store=memory:m").unwrap();
        let lies = |name: &str| match super::place(name.as_bytes(), &config).unwrap().target {
            Target::File(path) => path.display().to_string(),
            Target::Objects { key, url, .. } => format!("{url} {key}"),
        };
        assert_eq!((lies("x/a.h5l"), lies("x/a.h5")), ("memory:m x/a.h5l".into(), "x/a.h5".into()));
        assert_eq!(lies("memory:n/a.h5"), "memory:n a.h5", "a URL chooses its store itself");
        let is_left = |name: &str| is_left_to_native(name.as_bytes(), &config);
        assert!(!is_left("a.h5l") && !is_left("a.h5l@v=3") && !is_left("a.h5l@t=2026-11-20"));
        assert!(is_left("a.h5") && is_left("a.h5@v=3") && !is_left_to_native(b"a.h5", &Config::default()));
    }

    #[test]
    fn an_unknown_scheme_is_named() {
        let error = super::place(b"gopher://host/x", &Config::default()).err().unwrap().to_string();
        assert!(error.contains("gopher") && !error.contains("'store'"), "{error}");
    }

    #[test]
    fn a_store_of_the_settings_is_named_by_its_key() {
        let config = Config { store: Some("gopher://host".to_owned()), ..Config::default() };
        let error = super::place(b"x", &config).err().unwrap().to_string();
        assert!(error.contains("gopher") && error.contains("key 'store'"), "{error}");
    }
}
