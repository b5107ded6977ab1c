//! From the name that an application gives to the place where the container lies.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use h5lake_container::Target;
use h5lake_ledger::paths::followed;
use h5lake_ledger::{
    Access, At, BranchName, ByteSource, ForeignObject, Ledger, LockPolicy, OpenedFile, Probe, SyncPolicy,
    TagName,
};
use object_stores::registry::{self, Registry, Settings, is_url, split_scheme};
use object_stores::staged;
use object_stores::{DiskCache, ObjectStore, ObservedStore};

use crate::config::{self, Config};
use crate::error::{Error, Minor, Result};
use crate::pointer::{self, Pointer};
use crate::schemes::knows;
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
    /// What is there instead of a container, once somebody has tried to open one.
    pub foreign: ForeignObject,
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
    /// The place of a target to which its name leads by itself.
    fn of(target: Target) -> Self {
        Self {
            target,
            pointer: None,
            route: Route::Name,
            at: None,
            found: None,
            opened: None,
            source: None,
            foreign: ForeignObject::default(),
        }
    }

    /// That of a container which a file driver reads.
    pub fn behind_driver(name: &str, source: Arc<dyn ByteSource>) -> Self {
        let target = Target::File(name.into());
        Self { found: Some(Probe::Container), source: Some(source), ..Self::of(target) }
    }

    /// Whether it is an object of a store, by whatever name.
    pub fn is_in_store(&self) -> bool {
        matches!(self.target, Target::Objects { .. })
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

    /// Checks that deleting the container leaves nothing else without a name.
    ///
    /// # Errors
    /// If something that is no pointer file lies where one belongs.
    pub fn check_removable(&self) -> Result<()> {
        match &self.pointer {
            Some(path) if self.is_taken_locally() => {
                let text = format!(
                    "'{}' is no pointer file, and the container that the settings name is another one; name it by its URL",
                    path.display()
                );
                Err(Error::file(Minor::CannotOperate, text, Some(nix::libc::EEXIST)))
            }
            _ => Ok(()),
        }
    }

    /// Removes the pointer file of a container that is deleted, if there is one by now, and nothing else.
    ///
    /// # Errors
    /// Those of removing it.
    pub fn remove_pointer(&self) -> std::io::Result<()> {
        match &self.pointer {
            Some(path) if pointer::read(path).is_ok_and(|found| found.is_some()) => {
                std::fs::remove_file(path)
            }
            _ => Ok(()),
        }
    }

    /// Whether something that is no pointer file lies where one belongs.
    pub fn is_taken_locally(&self) -> bool {
        let Some(path) = &self.pointer else { return false };
        path.exists() && pointer::read(path).is_ok_and(|found| found.is_none())
    }
}

/// The marks in a name before the number, the time or the tag of a version, the name of a branch, or the name of a kept
/// container.
const VERSION_MARKS: [&str; 5] = ["@v=", "@t=", "@tag=", "@branch=", "@replaced="];
const REPLACED_MARK: &str = VERSION_MARKS[4];

/// Returns the location of `name` under `config`, and the requested version: `NAME@v=12`, `NAME@t=2026-11-20T10:00:00Z` and
/// `NAME@tag=paper` are old versions of `NAME`, `NAME@branch=fix` is a branch of `NAME`, and `NAME@replaced=0a1b` is a container
/// that `NAME` led to before the container was replaced or deleted, unless something has exactly that name.
///
/// # Errors
/// The errors of looking up the newest version; an invalid version or time; a replaced container that is not retained.
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
        && !std::str::from_utf8(name).is_ok_and(|name| has_scheme(name, config))
}

fn place_for(name: &[u8], config: &Config, purpose: Purpose) -> Result<Place> {
    let literal = newest(name, config, purpose);
    let Some((base, mark, text)) = split_version(name) else { return literal };
    if literal.as_ref().is_ok_and(exists) {
        return literal;
    }
    let place = newest(base, config, purpose)?;
    // A deleted container is retained, too, although nothing lies at its place.
    if mark == REPLACED_MARK {
        return kept::place(place, base, text);
    }
    if !exists(&place) {
        return literal;
    }
    let at = match mark {
        "@v=" => config::version(text),
        "@t=" => At::time(text),
        "@branch=" => BranchName::new(text).map(At::Branch),
        _ => TagName::new(text).map(At::Tag),
    };
    match at {
        Some(at) => Ok(Place { at: Some(at), ..place }),
        None => Err(Error::file(
            Minor::CannotOpenFile,
            match mark {
                "@tag=" => format!("unable to open file: '{text}' is no name of a tag; {}", TagName::RULE),
                "@branch=" => {
                    format!("unable to open file: '{text}' is no name of a branch; {}", BranchName::RULE)
                }
                _ => format!(
                    "unable to open file: '{text}' is no version; NAME{}12 or NAME{}2026-11-20T10:00:00Z is one",
                    VERSION_MARKS[0], VERSION_MARKS[1]
                ),
            },
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
/// does, for names below the [root](keys); else the name is the path of a local file.
///
/// # Errors
/// A scheme that no store has, a name that has no key, or a damaged pointer file.
fn newest(name: &[u8], config: &Config, purpose: Purpose) -> Result<Place> {
    if name.is_empty() {
        return Err(Error::argument("the file name is empty"));
    }
    let text = std::str::from_utf8(name);
    if let Ok(url) = text
        && has_scheme(url, config)
    {
        let (store, key) = split_key(url);
        return Ok(Place::of(in_store(store, "", key, config)?));
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
        return Ok(Place { pointer: Some(path), route: Route::Pointer, found, ..Place::of(target) });
    }
    let Some(store) = store else {
        return Ok(Place { found, opened, ..Place::of(Target::File(path)) });
    };
    let Some(key) = keys::key_of(name, config)? else {
        // What lies there already is opened as without the setting.
        return match purpose != Purpose::Create && found != Some(Probe::NotFound) {
            true => Ok(Place { found, opened, ..Place::of(Target::File(path)) }),
            false => Err(keys::outside(name, config, purpose)),
        };
    };
    let target = in_store(store, &of_the_setting(config), &key, config)?;
    if is_object_itself(&target, &path) {
        // The path leads to the container without a pointer file, which would take its place.
        return Ok(Place::of(target));
    }
    if !is_persistent(&target) {
        return Ok(Place::of(target));
    }
    Ok(Place { pointer: Some(path), route: Route::Setting, found, ..Place::of(target) })
}

/// Whether a local path is that of the object itself: for a program that works in the directory that is its store, or whose store
/// is the root directory.
fn is_object_itself(target: &Target, path: &Path) -> bool {
    let Target::Objects { store, key, .. } = target else { return false };
    let place = store.place_of(key);
    let Some(object) = place.strip_prefix("file:").map(Path::new) else { return false };
    if has_place_of(object, path) {
        return true;
    }
    // Through symbolic links, also where the object is still to be made.
    path.is_symlink()
        && (followed(path).is_ok_and(|path| has_place_of(object, &path))
            || path.canonicalize().is_ok_and(|path| object.canonicalize().is_ok_and(|object| object == path)))
}

/// Whether two paths have one name in one folder.
fn has_place_of(object: &Path, path: &Path) -> bool {
    object.file_name() == path.file_name()
        && identity(folder_above(object)).is_some_and(|there| identity(folder_above(path)) == Some(there))
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
    if split_scheme(set).is_none_or(|(scheme, _)| !knows(&scheme, config)) {
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

/// The same of a target, as its store says.
fn is_persistent(target: &Target) -> bool {
    match target {
        Target::File(_) => true,
        Target::Objects { store, .. } => store.capabilities().persistent,
    }
}

/// Whether a name chooses a store itself. `://` asks for one even if it is not known, so that the error can say so.
fn has_scheme(name: &str, config: &Config) -> bool {
    is_url(name) || split_scheme(name).is_some_and(|(scheme, _)| knows(&scheme, config))
}

/// The folder that a name lies in, with the slash behind it, from the root as long as the name is one of local paths: who changes the
/// working folder later still finds what lies beside the file (H5system.c, `H5_build_extpath`). Of a URL it is the store.
/// Empty for a plain name of something that only this process has.
pub fn folder_of(name: &[u8], config: &Config) -> Vec<u8> {
    let folder = name.iter().rposition(|byte| *byte == b'/').map_or(&[][..], |slash| &name[..=slash]);
    let is_url = std::str::from_utf8(name).is_ok_and(|name| has_scheme(name, config));
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
    if !has_scheme(url, config) {
        return Err(Error::argument(format!(
            "'{url}' is no URL; file:///DIR/KEY and s3://BUCKET/KEY are some"
        )));
    }
    let (store, key) = split_key(url);
    let gone = || Error::argument(format!("'{url}' is gone when the process ends: no other one can open it"));
    if !outlives_process(store) {
        return Err(gone());
    }
    let pointer = Pointer { store: store.to_owned(), key: key.to_owned() };
    let target = in_store(store, "", key, config)?;
    if !is_persistent(&target) { Err(gone()) } else { Ok((pointer, target)) }
}

/// Whose store it is that the settings name, in an error.
pub fn of_the_setting(config: &Config) -> String {
    format!(" of {}", config.store_origin.name_of("store"))
}

/// A key in the store of a URL, for what knows both.
///
/// # Errors
/// A store that cannot be used.
pub fn in_store_at(url: &str, key: &str, config: &Config) -> Result<Target> {
    in_store(url, "", key, config)
}

/// A key in the store of a URL; `of` says whose store that is, where an error has to say it.
fn in_store(url: &str, of: &str, key: &str, config: &Config) -> Result<Target> {
    let mut settings = Settings::new();
    let scheme = split_scheme(url).map(|(scheme, _)| scheme).filter(|scheme| knows(scheme, config));
    // The other stores either sync always or have nothing to sync.
    let is_synced = config.sync == SyncPolicy::Commit
        || config.stage.as_deref().is_some_and(|dir| staged::needs_sync(Path::new(dir), url));
    if is_synced && scheme.as_deref().is_some_and(registry::has_sync) {
        settings.insert("sync".to_owned(), "power".to_owned());
    }
    if let Some(timeout) = config.timeout
        && scheme.as_deref().is_some_and(registry::has_timeout)
    {
        settings.insert("timeout".to_owned(), format!("{}s", timeout.as_secs()));
    }
    if let Some(locks) = locks_setting()
        && scheme.as_deref().is_some_and(registry::has_locks)
    {
        settings.insert("locks".to_owned(), locks.to_owned());
    }
    let store = Registry::global().open_with(url, &settings).map_err(|error| {
        Error::file(Minor::CannotOpenFile, format!("cannot use the store{of}: {error}"), error.errno())
    })?;
    // Behind the local cache: what that answers is no request.
    let store = locally_kept(Arc::new(ObservedStore::new(store)), url, config);
    Ok(Target::Objects { store, key: key.to_owned(), url: url.to_owned() })
}

/// The use of locks in a directory, if the environment says something other than the default.
fn locks_setting() -> Option<&'static str> {
    match LockPolicy::from_environment()? {
        LockPolicy::Required | LockPolicy::RequiredToWrite => None,
        LockPolicy::BestEffort => Some("best-effort"),
        LockPolicy::Off => Some("off"),
    }
}

/// The store, behind the local cache if one was asked for and the store is not as near itself.
fn locally_kept(store: Arc<dyn ObjectStore>, url: &str, config: &Config) -> Arc<dyn ObjectStore> {
    let is_near = split_scheme(url).is_some_and(|(scheme, _)| matches!(scheme.as_str(), "memory" | "file"));
    let Some(path) = config.disk_cache.as_ref().filter(|_| !is_near) else { return store };
    let bound = config.disk_cache_size.map_or(DISK_CACHE_SIZE, |bytes| bytes as u64);
    DiskCache::open_if_possible(store, path.as_ref(), bound, Ledger::is_immutable_object)
}

pub mod folders;
pub mod kept;
pub mod keys;
pub mod sources;
#[cfg(test)]
mod tests;
