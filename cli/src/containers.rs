//! Lists the containers of a directory, a bucket or a prefix of a store, from one listing of the object names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use h5lake_connector::config::Config;
use h5lake_connector::names::folders::{self, Folder};
use h5lake_connector::pointer;
use h5lake_ledger::{Access, Ledger, ListedObject, LockPolicy, Options, Probe, StoreListing, Version};

use crate::find::check_lasts;
use crate::{Failure, hidden};

/// The maximum size of a manifest that contains its container completely, without further objects.
const MAX_LONE_MANIFEST_BYTES: u64 = 512 << 10;

/// The form in which a container is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Objects in a store.
    Objects,
    /// A single file.
    File,
    /// A pointer file to a container at this URL.
    Pointer(String),
    /// The objects of a deleted container that is retained.
    Deleted,
}

/// A container in a folder.
#[derive(Debug)]
pub struct Row {
    /// The name of the container, relative to the folder.
    pub name: String,
    pub kind: Kind,
    /// The size and the time of the container's objects according to the listing.
    pub listed: ListedObject,
}

/// The containers in a folder.
#[derive(Debug)]
pub struct Containers {
    folder: Folder,
    /// The containers, sorted by name.
    pub rows: Vec<Row>,
    /// The subfolders that were not listed, as `folder/`.
    pub folders: BTreeSet<String>,
    /// The files and objects that could not be read, with the reasons.
    pub unread: Vec<String>,
}

/// Returns the folder that a name denotes by its form, or `None` if it may be the name of a container. The name of a folder ends with a
/// slash, or is a bucket, a directory, or the URL of the store in the settings.
pub fn folder_named(name: &Path) -> Result<Option<Folder>, Failure> {
    let config = Config::from_environment()?;
    check_lasts(name, &config)?;
    let text = name.to_string_lossy();
    let folder = || folders::folder(name.as_os_str().as_bytes(), &config);
    let is_folder = match text.split_once("://") {
        Some((_, rest)) => rest.ends_with('/') || !rest.contains('/'),
        None => text.ends_with('/') || name.file_name().is_none() || config.store.is_none() && name.is_dir(),
    };
    if is_folder {
        return Ok(Some(folder().map_err(|error| error.to_string())?));
    }
    let Some(store) = config.store.as_ref().filter(|_| !text.contains("://")) else { return Ok(None) };
    Ok(folder().ok().filter(|folder| folder.url.trim_end_matches('/') == store.trim_end_matches('/')))
}

/// Lists a name that is not a container as a folder. Returns `None` if nothing exists below the name.
pub fn below(name: &Path, recursive: bool) -> Result<Option<Containers>, Failure> {
    let Ok(folder) = folders::folder(name.as_os_str().as_bytes(), &Config::from_environment()?) else {
        return Ok(None);
    };
    let found = Containers::of(folder, recursive)?;
    Ok(Some(found).filter(|found| !found.rows.is_empty() || !found.folders.is_empty()))
}

impl Containers {
    /// Lists a folder. In a store, all containers below the folder are listed, because keys are flat. In a directory, only the containers
    /// directly in it are listed, unless `recursive` is set. Reads the first bytes of each container; in a store, also those of other small
    /// objects, because a container can consist of its manifest alone.
    pub fn of(folder: Folder, recursive: bool) -> Result<Self, Failure> {
        let whole = recursive || folder.directory.is_none();
        let StoreListing { mut entries, folders } = Ledger::list_objects(&*folder.store, whole)?;
        entries
            .retain(|key, _| !Path::new(key).components().any(|part| hidden::is_of_h5lake(part.as_os_str())));
        let (mut rows, mut unread) = (Vec::new(), Vec::new());
        let probes = probes(&folder, &entries);
        for (name, listed) in entries {
            match kind_of(&folder, &name, &listed, probes.get(&name)) {
                Ok(Some(kind)) => rows.push(Row { name, kind, listed }),
                Ok(None) => {}
                Err(why) => unread.push(why),
            }
        }
        Ok(Self { folder, rows, folders, unread })
    }

    /// Returns the path or URL under which a container can be opened.
    pub fn location(&self, row: &Row) -> String {
        match (&row.kind, &self.folder.directory) {
            (Kind::Pointer(url), _) => url.clone(),
            (Kind::File, Some(directory)) => directory.join(&row.name).display().to_string(),
            _ => self.folder.url_of(&row.name),
        }
    }

    /// Returns the newest version of each container, in the order of the rows. It is `None` for pointer files and deleted containers.
    pub fn newest_versions(&self) -> Vec<Result<Option<Version>, String>> {
        let is_in_objects = |row: &&Row| row.kind == Kind::Objects;
        let keys: Vec<&str> = self.rows.iter().filter(is_in_objects).map(|row| &*row.name).collect();
        let mut in_objects = Ledger::newest_versions_of_objects(&self.folder.store, &keys).into_iter();
        let newest = |row: &Row| match (&row.kind, &self.folder.directory) {
            (Kind::Objects, _) => in_objects.next().unwrap_or(Ok(None)).map_err(|error| error.to_string()),
            (Kind::File, Some(directory)) => {
                newest_of_file(&directory.join(&row.name)).map_err(|error| error.to_string())
            }
            _ => Ok(None),
        };
        self.rows.iter().map(newest).collect()
    }
}

fn newest_of_file(path: &Path) -> h5lake_ledger::Result<Option<Version>> {
    let lock = LockPolicy::from_environment().unwrap_or_default();
    let ledger = Ledger::open_file(path, Access::ReadOnly, Options { lock, ..Options::default() })?;
    Ok(ledger.versions(1)?.pop())
}

/// Reads the first bytes of objects that may be manifests of containers. The listing alone decides for the remaining objects.
fn probes(
    folder: &Folder,
    entries: &BTreeMap<String, ListedObject>,
) -> HashMap<String, Result<Probe, String>> {
    let may_be = |listed: &ListedObject| {
        let is_small = folder.directory.is_none() && listed.bytes <= MAX_LONE_MANIFEST_BYTES;
        listed.modified.is_some() && (listed.has_parts || is_small)
    };
    let names: Vec<&str> =
        entries.iter().filter(|(_, listed)| may_be(listed)).map(|(name, _)| name.as_str()).collect();
    let found = Ledger::probe_each_object(&folder.store, &names).into_iter();
    let found = found.map(|probe| probe.map_err(|error| error.to_string()));
    names.iter().map(|name| (*name).to_owned()).zip(found).collect()
}

/// Returns the kind of an entry, or `None` if the entry is not a container. For a file in a directory, reads the first bytes of the file.
fn kind_of(
    folder: &Folder,
    name: &str,
    listed: &ListedObject,
    probe: Option<&Result<Probe, String>>,
) -> Result<Option<Kind>, String> {
    if let (false, Some(directory)) = (listed.has_parts, &folder.directory) {
        let kind = kind_of_file(&directory.join(name))?;
        let is_deleted =
            || Ledger::probe_objects(&*folder.store, name).is_ok_and(|probe| probe == Probe::NotFound);
        return Ok(kind.filter(|kind| *kind != Kind::Objects || !is_deleted()));
    }
    match (listed.has_parts, probe) {
        (true, None | Some(Ok(Probe::NotFound))) => Ok(Some(Kind::Deleted)),
        (true, Some(Ok(_))) | (false, Some(Ok(Probe::Container))) => Ok(Some(Kind::Objects)),
        (_, Some(Err(why))) => Err(why.clone()),
        (false, None | Some(Ok(_))) => Ok(None),
    }
}

fn kind_of_file(path: &Path) -> Result<Option<Kind>, String> {
    Ok(match Ledger::probe_file(path).map_err(|error| error.to_string())? {
        Probe::Container => Some(Kind::File),
        Probe::WrongStorage => Some(Kind::Objects),
        Probe::Pointer => {
            let found = pointer::read(path).map_err(|error| error.to_string())?;
            found.map(|found| Kind::Pointer(found.pointer.url()))
        }
        _ => None,
    })
}
