//! Selects the files to convert and names the results.

use std::fs;
use std::path::{Path, PathBuf};

use h5lake_connector::config::Config;
use h5lake_connector::names::Place;
use h5lake_connector::names::folders::folder;
use h5lake_container::Target;
use h5lake_ledger::{Access, Ledger, Probe};

use super::{Direction, Wanted};
use crate::Failure;
use crate::containers::{Containers, Kind};
use crate::find::{find_version, taken, vacant};
use crate::hidden;

/// A file to convert, and its target.
pub struct Pair {
    pub source: PathBuf,
    /// The path or URL of the result.
    pub target: PathBuf,
    /// The size of the source if it is a local file, otherwise 0.
    pub bytes: u64,
}

/// Returns all files that the command line names. Fails if anything exists at one of the targets.
pub fn of(wanted: &Wanted<'_>) -> Result<Vec<Pair>, Failure> {
    let Wanted { direction, source, target, .. } = *wanted;
    let pairs = if let Some(url) = prefix(direction, source) {
        containers_below(url)?
            .into_iter()
            .map(|key| pair(format!("{url}/{key}").into(), joined(target, Path::new(&key))))
            .collect()
    } else if source.is_dir() {
        let mut relative = Vec::new();
        walk(source, Path::new(""), &mut relative)?;
        relative.retain(|name| is_source(direction, &source.join(name)));
        relative.into_iter().map(|name| pair(source.join(&name), joined(target, &name))).collect()
    } else {
        check(direction, source)?;
        vec![pair(source.to_owned(), target.to_owned())]
    };
    if pairs.is_empty() {
        let what = if direction == Direction::Import { "native HDF5 file" } else { "container" };
        return Err(format!("{}: no {what} is there", source.display()).into());
    }
    for pair in &pairs {
        free(direction, &pair.target)?;
    }
    Ok(pairs)
}

/// Returns the URL of a part of a store if the source is one. Such a URL ends with a slash.
fn prefix(direction: Direction, source: &Path) -> Option<&str> {
    let url = source.to_str().filter(|url| direction == Direction::Export && url.contains("://"))?;
    url.strip_suffix('/').map(|url| url.trim_end_matches('/'))
}

/// Returns the keys of all containers below a URL.
fn containers_below(url: &str) -> Result<Vec<String>, Failure> {
    let folder = folder(url.as_bytes(), &Config::from_environment()?).map_err(|error| error.to_string())?;
    let found = Containers::of(folder, true)?;
    if let Some(why) = found.unread.into_iter().next() {
        return Err(why.into());
    }
    Ok(found.rows.into_iter().filter(|row| row.kind == Kind::Objects).map(|row| row.name).collect())
}

fn pair(source: PathBuf, target: PathBuf) -> Pair {
    let bytes = fs::metadata(&source).map_or(0, |found| found.len());
    Pair { source, target, bytes }
}

/// Joins a relative name to a folder or a URL.
fn joined(target: &Path, name: &Path) -> PathBuf {
    match target.to_str() {
        Some(url) if url.contains("://") => {
            format!("{}/{}", url.trim_end_matches('/'), name.display()).into()
        }
        _ => target.join(name),
    }
}

/// Finds all files of the user below a folder, sorted by name. Links to folders are not followed, because they may form cycles.
fn walk(folder: &Path, below: &Path, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let named = |error| format!("{}: {error}", folder.join(below).display());
    let mut entries =
        fs::read_dir(folder.join(below)).map_err(named)?.collect::<Result<Vec<_>, _>>().map_err(named)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries.into_iter().filter(|entry| !hidden::is_of_h5lake(&entry.file_name())) {
        let name = below.join(entry.file_name());
        if entry.file_type().map_err(named)?.is_dir() {
            walk(folder, &name, found)?;
        } else if folder.join(&name).is_file() {
            found.push(name);
        }
    }
    Ok(())
}

/// Returns whether a file of a folder can be converted. A file that cannot be read counts as convertible, so that its conversion fails and
/// reports the reason.
fn is_source(direction: Direction, path: &Path) -> bool {
    let is = |wanted: Probe| Ledger::probe_file(path).map_or(true, |found| found == wanted);
    match direction {
        Direction::Import => is(Probe::NativeHdf5),
        Direction::Export => match find_version(path, Access::ReadOnly) {
            Ok((Place { target: Target::Objects { .. }, .. }, _)) | Err(_) => true,
            Ok(_) => is(Probe::Container),
        },
    }
}

/// Fails if a source that the user named cannot be converted.
fn check(direction: Direction, source: &Path) -> Result<(), Failure> {
    let name = source.display();
    if direction == Direction::Export {
        let (place, _) = find_version(source, Access::ReadOnly)?;
        return match (&place.target, place.found()) {
            (Target::Objects { .. }, _) | (_, Some(Probe::Container)) => Ok(()),
            (_, Some(Probe::NativeHdf5)) => Err(format!("{name}: is a native HDF5 file already").into()),
            (Target::File(path), _) => {
                fs::metadata(path).map_err(|error| format!("{name}: {error}"))?;
                Err(format!("{name}: is no container").into())
            }
        };
    }
    fs::metadata(source).map_err(|error| format!("{name}: {error}"))?;
    match Ledger::probe_file(source)? {
        Probe::NativeHdf5 => Ok(()),
        Probe::Container => Err(format!("{name}: is a container already; 'h5lake copy' copies it").into()),
        _ => Err(format!("{name}: is no HDF5 file").into()),
    }
}

/// Fails if anything exists at a target.
fn free(direction: Direction, target: &Path) -> Result<(), Failure> {
    if direction == Direction::Import {
        return vacant(target).map(drop);
    }
    if target.to_str().is_some_and(|name| name.contains("://")) {
        return Err(format!("{}: native files are local; name a path", target.display()).into());
    }
    if target.symlink_metadata().is_ok() { Err(taken(target)) } else { Ok(()) }
}
