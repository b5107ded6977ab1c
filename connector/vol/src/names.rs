//! Resolves the name that an application gives to the location of the container.

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

/// The bound of the local cache if the settings give none.
const DISK_CACHE_SIZE: u64 = 10 << 30;

/// Where a container is stored, and where clients search for it.
pub struct Place {
    /// The container.
    pub target: Target,
    /// The local path that names a container in another location. A pointer file is at that path, or belongs there.
    pub pointer: Option<PathBuf>,
    /// How the name leads to the container.
    pub route: Route,
    /// The version that the name requests, if it is not the newest.
    pub at: Option<At>,
    /// The result of probing the local path, for a name that has a local path. A kept container has been found when its
    /// place is returned.
    found: Option<Probe>,
    /// The local file that is the container, as it was opened for the probe.
    pub opened: Option<OpenedFile>,
    /// The source that reads the container if a file driver does so: the container's name need not be a path then.
    pub source: Option<Arc<dyn ByteSource>>,
    /// The foreign object that was found in place of a container, once an open has been tried.
    pub foreign: ForeignObject,
}

/// How a name leads to its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The name itself: a local path, a URL, or any name if the store of `store=` ends with the process.
    Name,
    /// The pointer file at the path.
    Pointer,
    /// The setting `store=` alone: no pointer file at the path names the container.
    Setting,
}

impl Place {
    /// Returns the place of a target to which its name leads directly.
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

    /// Returns the place of a container that a file driver reads.
    pub fn behind_driver(name: &str, source: Arc<dyn ByteSource>) -> Self {
        let target = Target::File(name.into());
        Self { found: Some(Probe::Container), source: Some(source), ..Self::of(target) }
    }

    /// Returns whether the container is an object of a store, by whatever name.
    pub fn is_in_store(&self) -> bool {
        matches!(self.target, Target::Objects { .. })
    }

    /// Returns the local path itself as a target, for a name that has one, and the target otherwise.
    pub fn local_target(&self) -> Target {
        match &self.pointer {
            Some(path) => Target::File(path.clone()),
            None => self.target.clone(),
        }
    }

    /// Returns what was found at the local path when the name was resolved. If the path could not be read, this is
    /// `None`, and opening the container reports the error.
    pub fn found(&self) -> Option<Probe> {
        self.found
    }

    /// Returns whether an empty file is at the local path and the store that it stands for has no such container.
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
    /// If a file that is no pointer file is where a pointer file belongs.
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

    /// Removes the pointer file of a deleted container, if there is one by now, and nothing else.
    ///
    /// # Errors
    /// The errors of removing the file.
    pub fn remove_pointer(&self) -> std::io::Result<()> {
        match &self.pointer {
            Some(path) if pointer::read(path).is_ok_and(|found| found.is_some()) => {
                std::fs::remove_file(path)
            }
            _ => Ok(()),
        }
    }

    /// Returns whether a file that is no pointer file is where a pointer file belongs.
    pub fn is_taken_locally(&self) -> bool {
        let Some(path) = &self.pointer else { return false };
        path.exists() && pointer::read(path).is_ok_and(|found| found.is_none())
    }
}

/// The marks in a name before the number, the time or the tag of a version, the name of a branch, or the name of a kept
/// container.
const VERSION_MARKS: [&str; 5] = ["@v=", "@t=", "@tag=", "@branch=", "@replaced="];
const REPLACED_MARK: &str = VERSION_MARKS[4];

/// Returns the location of `name` under `config`, and the requested version: `NAME@v=12`, `NAME@t=2026-11-20T10:00:00Z`
/// and `NAME@tag=paper` are old versions of `NAME`, `NAME@branch=fix` is a branch of `NAME`, and `NAME@replaced=0a1b`
/// is a container that `NAME` led to before the container was replaced or deleted, unless something has exactly that
/// name.
///
/// # Errors
/// The errors of looking up the newest version; an invalid version or time; a replaced container that is not retained.
pub fn place(name: &[u8], config: &Config) -> Result<Place> {
    place_for(name, config, Purpose::Open(Access::ReadOnly))
}

/// Returns the location of `name` for opening the container with `access`. For [`Access::ReadWrite`], to change or to
/// delete the container, a local file is opened for writing already by the probe, and a pointer file is followed only
/// if [`trust::check_pointer`] allows it.
///
/// # Errors
/// As for [`place`].
pub fn place_to_open(name: &[u8], config: &Config, access: Access) -> Result<Place> {
    place_for(name, config, Purpose::Open(access))
}

/// Returns the location of a new container of that name. The store of the settings decides, even if the pointer file
/// at the path names another store: the container in that store then remains where it is.
///
/// # Errors
/// As for [`place`].
pub fn place_of_new(name: &[u8], config: &Config) -> Result<Place> {
    place_for(name, config, Purpose::Create)
}

/// The purpose for which a name is resolved.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Open(Access),
    Create,
}

impl Purpose {
    /// Returns the access with which the container behind a pointer file is used.
    fn access(self) -> Access {
        match self {
            Self::Open(access) => access,
            Self::Create => Access::ReadWrite,
        }
    }
}

/// Returns whether the settings leave a name to native HDF5. They never do so for a URL, which chooses its store
/// itself. The name of an old version is treated like the name of its container.
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
    // A deleted container is retained, too, although nothing is in its location any more.
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

/// Splits a name that requests a version: the text before the mark, the mark, and the text behind it.
fn split_version(name: &[u8]) -> Option<(&[u8], &'static str, &str)> {
    let text = std::str::from_utf8(name).ok()?;
    let (at, mark) = VERSION_MARKS.iter().filter_map(|mark| Some((text.rfind(mark)?, *mark))).max()?;
    let behind = &text[at + mark.len()..];
    (at > 0 && !behind.contains('/')).then_some((&name[..at], mark, behind))
}

/// Returns whether anything exists at a place.
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

/// Returns the location of the newest version of `name` under `config`. A scheme in the name chooses a store.
/// Otherwise a pointer file at the path names the container, unless `store=URL` chooses another store for a new
/// container, or a store that ends with the process. Otherwise `store=URL` names the store, for names below the
/// [root](keys). Otherwise the name is the path of a local file.
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
    // A create only probes the existing file, and does not open it for writing.
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
        // An existing file is opened as it is without the setting.
        return match purpose != Purpose::Create && found != Some(Probe::NotFound) {
            true => Ok(Place { found, opened, ..Place::of(Target::File(path)) }),
            false => Err(keys::outside(name, config, purpose)),
        };
    };
    let target = in_store(store, &of_the_setting(config), &key, config)?;
    if is_object_itself(&target, &path) {
        // The path leads to the container without a pointer file; a pointer file would overwrite the object.
        return Ok(Place::of(target));
    }
    if !is_persistent(&target) {
        return Ok(Place::of(target));
    }
    Ok(Place { pointer: Some(path), route: Route::Setting, found, ..Place::of(target) })
}

/// Returns whether a local path is that of the object itself. This is so for a program that works in the directory
/// that is its store, or if the store is the root directory.
fn is_object_itself(target: &Target, path: &Path) -> bool {
    let Target::Objects { store, key, .. } = target else { return false };
    let place = store.place_of(key);
    let Some(object) = place.strip_prefix("file:").map(Path::new) else { return false };
    if has_place_of(object, path) {
        return true;
    }
    // Follows symbolic links, also if the object does not exist yet.
    path.is_symlink()
        && (followed(path).is_ok_and(|path| has_place_of(object, &path))
            || path.canonicalize().is_ok_and(|path| object.canonicalize().is_ok_and(|object| object == path)))
}

/// Returns whether two paths have the same file name in the same folder.
fn has_place_of(object: &Path, path: &Path) -> bool {
    object.file_name() == path.file_name()
        && identity(folder_above(object)).is_some_and(|there| identity(folder_above(path)) == Some(there))
}

fn folder_above(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns the device and the inode number.
fn identity(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// Returns whether a pointer file to `store` is followed although the settings keep the name in the store `set`.
///
/// # Errors
/// A scheme of the settings' store that no store has.
fn leads(store: &str, set: Option<&String>, config: &Config, purpose: Purpose) -> Result<bool> {
    let Some(set) = set else { return Ok(true) };
    if split_scheme(set).is_none_or(|(scheme, _)| !knows(&scheme, config)) {
        // Fails, and its error says why.
        in_store(set, &of_the_setting(config), "", config)?;
    }
    let is_same = set.trim_end_matches('/') == store.trim_end_matches('/');
    Ok(outlives_process(set) && (is_same || purpose != Purpose::Create))
}

/// Returns whether the objects of a store survive the end of the process: only then is a pointer file written.
fn outlives_process(store: &str) -> bool {
    split_scheme(store).is_none_or(|(scheme, _)| scheme != "memory")
}

/// Returns the same for a target, as its store reports it.
fn is_persistent(target: &Target) -> bool {
    match target {
        Target::File(_) => true,
        Target::Objects { store, .. } => store.capabilities().persistent,
    }
}

/// Returns whether a name chooses a store itself. `://` requests one even if the scheme is unknown, so that the error
/// can say so.
fn has_scheme(name: &str, config: &Config) -> bool {
    is_url(name) || split_scheme(name).is_some_and(|(scheme, _)| knows(&scheme, config))
}

/// Returns the folder of a name, with the slash behind it. For local paths the folder is absolute: a program that
/// changes its working folder later still finds files beside the container (H5system.c, `H5_build_extpath`). For a URL
/// it is the store. It is empty for a plain name of a container that exists in this process only.
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

/// Splits a container's URL into its store's URL and the key in the store: the last component is the key.
fn split_key(url: &str) -> (&str, &str) {
    match url.rsplit_once('/') {
        Some((store, key)) => (store, key),
        None => url.split_at(url.find(':').map_or(0, |colon| colon + 1)),
    }
}

/// Returns the pointer to the container of a URL, and the container's location.
///
/// # Errors
/// A name that is no URL; a store that ends with the process, or that cannot be used.
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

/// Returns the part of an error that says which setting names the store.
pub fn of_the_setting(config: &Config) -> String {
    format!(" of {}", config.store_origin.name_of("store"))
}

/// Returns a key in the store of a URL, for callers that have both.
///
/// # Errors
/// A store that cannot be used.
pub fn in_store_at(url: &str, key: &str, config: &Config) -> Result<Target> {
    in_store(url, "", key, config)
}

/// Returns a key in the store of a URL. `of` says in errors where the store was named, and may be empty.
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
    if let Some(locks) = locks_setting(config.many_writers)
        && scheme.as_deref().is_some_and(registry::has_locks)
    {
        settings.insert("locks".to_owned(), locks.to_owned());
    }
    let store = Registry::global().open_with(url, &settings).map_err(|error| {
        Error::file(Minor::CannotOpenFile, format!("cannot use the store{of}: {error}"), error.errno())
    })?;
    // Requests are counted below the local cache: an answer from the cache is no request.
    let store = locally_kept(Arc::new(ObservedStore::new(store)), url, config);
    Ok(Target::Objects { store, key: key.to_owned(), url: url.to_owned() })
}

/// Returns the setting for locks in a directory, if the environment differs from the default. Several writers always need
/// locks: without them, two commits at the same time would both succeed, and one of them would be lost.
fn locks_setting(has_many_writers: bool) -> Option<&'static str> {
    match LockPolicy::from_environment().filter(|_| !has_many_writers)? {
        LockPolicy::Required | LockPolicy::RequiredToWrite => None,
        LockPolicy::BestEffort => Some("best-effort"),
        LockPolicy::Off => Some("off"),
    }
}

/// Returns the store, behind the local cache if the settings request one and the store is not local itself.
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
