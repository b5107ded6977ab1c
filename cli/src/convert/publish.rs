//! One conversion: made under a hidden name, and found under its own when it is whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use h5lake_container::{Container, Options, Target};
use h5lake_ledger::{Access, mode_of_copy};

use super::pairs::Pair;
use super::{Direction, worker};
use crate::Failure;
use crate::find::{find, find_version, vacant};
use crate::hidden::TemporaryFolder;
use crate::permissions;

/// The kind of a conversion's temporary folder, and the name of what is made in it.
const KIND: &str = "conversion";
const MADE: &str = "made.h5";

/// Converts one file. When this returns, the result is on stable storage.
pub fn convert(direction: Direction, pair: &Pair, library: &Path) -> Result<(), Failure> {
    if direction == Direction::Export {
        return convert_to_file(direction, pair, &pair.target, library);
    }
    match vacant(&pair.target)? {
        Target::File(path) => convert_to_file(direction, pair, &path, library),
        target @ Target::Objects { .. } => convert_to_store(pair, &target, library),
    }
}

fn convert_to_file(direction: Direction, pair: &Pair, target: &Path, library: &Path) -> Result<(), Failure> {
    let folder = folder_of(target);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let temporary = TemporaryFolder::make(&folder, KIND, target)?;
    let made = temporary.join(MADE);
    let user_block = worker::run(direction, library, &pair.source, &made)?;
    let local = local(direction, &pair.source)?;
    if let Some(local) = &local {
        permissions::restrict(&made, mode_of_copy(local, target))?;
        copy_user_block(local, &made, user_block)?;
    }
    File::open(&made)?.sync_all()?;
    give_name(&made, target)?;
    File::open(&folder)?.sync_all()?;
    Ok(())
}

/// A store gets a copy of a container in a temporary folder: its name leads to the whole container, or to nothing. There is no
/// user block in a store.
fn convert_to_store(pair: &Pair, target: &Target, library: &Path) -> Result<(), Failure> {
    let temporary = TemporaryFolder::make(&std::env::temp_dir(), KIND, &pair.target)?;
    let made = temporary.join(MADE);
    worker::run(Direction::Import, library, &pair.source, &made)?;
    let (_, ledger) = find(&pair.target, Access::ReadOnly)?;
    let options = Options { ledger, ..Options::default() };
    Container::copy_to(&Target::File(made), &options, target, &options, &mut |_, _| ())?;
    Ok(())
}

/// The local file of a source; a container in a store has none. The name may ask for a version.
fn local(direction: Direction, source: &Path) -> Result<Option<PathBuf>, Failure> {
    if direction == Direction::Import {
        return Ok(Some(source.to_owned()));
    }
    Ok(match find_version(source, Access::ReadOnly)?.0.target {
        Target::File(path) => Some(path),
        Target::Objects { .. } => None,
    })
}

/// The folder in which a path lies.
pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Copies the bytes in front of a file that belong to the user.
pub fn copy_user_block(from: &Path, target: &Path, size: u64) -> Result<(), Failure> {
    if size == 0 {
        return Ok(());
    }
    let mut bytes = Vec::new();
    File::open(from)?.take(size).read_to_end(&mut bytes)?;
    fs::OpenOptions::new().write(true).open(target)?.write_all(&bytes)?;
    Ok(())
}

/// Gives a file a name that nothing has.
fn give_name(file: &Path, name: &Path) -> Result<(), Failure> {
    let named = |error: io::Error| format!("{}: {error}", name.display());
    match fs::hard_link(file, name) {
        Ok(()) => Ok(fs::remove_file(file)?),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(named(error).into()),
        // A file system without hard links.
        Err(_) if name.symlink_metadata().is_err() => Ok(fs::rename(file, name).map_err(named)?),
        Err(error) => Err(named(error).into()),
    }
}
