//! Converts one file: creates the result under a hidden name, and moves it to its final name when it is complete.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use h5lake_connector::{Lacking, NotHeld};
use h5lake_container::{Options, Target};
use h5lake_ledger::{Access, mode_of_copy};
use h5lake_tools::End;

use super::pairs::Pair;
use super::{Direction, worker};
use crate::Failure;
use crate::find::{find, find_version, vacant};
use crate::hidden::TemporaryFolder;
use crate::permissions;

/// The kind of the temporary folder of a conversion.
const KIND: &str = "conversion";
/// The name of the result in the temporary folder.
const MADE: &str = "made.h5";

/// The parameters of a conversion.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    pub direction: Direction,
    /// The libhdf5 that converts.
    pub library: &'a Path,
    /// True if a file is not converted when links would be left out.
    pub strict: bool,
}

impl Way<'_> {
    /// Converts one file under a hidden name, and returns what the result lacks.
    fn make(&self, pair: &Pair, made: &Path) -> Result<Lacking, Failure> {
        let lacking = worker::run(self.direction, self.library, &pair.source, made)?;
        if self.strict && !lacking.links.is_empty() {
            let what = "links that would be left out, so nothing was written (--strict)";
            let why = worker::listed(what, &lacking.links);
            return Err(format!("{}: {why}", pair.source.display()).into());
        }
        Ok(lacking)
    }
}

/// Converts one file, and returns the links that were left out. When this returns, the result is on stable storage.
pub fn convert(way: &Way<'_>, pair: &Pair) -> Result<Vec<NotHeld>, Failure> {
    if way.direction == Direction::Export {
        return convert_to_file(way, pair, &pair.target);
    }
    match vacant(&pair.target)? {
        Target::File(path) => convert_to_file(way, pair, &path),
        target @ Target::Objects { .. } => convert_to_store(way, pair, &target),
    }
}

fn convert_to_file(way: &Way<'_>, pair: &Pair, target: &Path) -> Result<Vec<NotHeld>, Failure> {
    let folder = folder_of(target);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let temporary = TemporaryFolder::make(&folder, KIND, target)?;
    let made = temporary.join(MADE);
    let Lacking { user_block, links } = way.make(pair, &made)?;
    let local = local(way.direction, &pair.source)?;
    if let Some(local) = &local {
        permissions::restrict(&made, mode_of_copy(local, target))?;
        copy_user_block(local, &made, user_block)?;
    }
    File::open(&made)?.sync_all()?;
    give_name(&made, target)?;
    File::open(&folder)?.sync_all()?;
    Ok(links)
}

/// Converts a file into a container in a temporary folder, and copies that container to the store, so that the name leads to a complete
/// container or to none. A container in a store has no user block.
fn convert_to_store(way: &Way<'_>, pair: &Pair, target: &Target) -> Result<Vec<NotHeld>, Failure> {
    let temporary = TemporaryFolder::make(&std::env::temp_dir(), KIND, &pair.target)?;
    let made = temporary.join(MADE);
    let lacking = way.make(pair, &made)?;
    let (_, ledger) = find(&pair.target, Access::ReadOnly)?;
    let options = Options { ledger, ..Options::default() };
    h5lake_tools::copy_to(
        End::new(&Target::File(made), &options),
        End::new(target, &options),
        &mut |_, _| (),
    )?;
    Ok(lacking.links)
}

/// Returns the local file of a source, or `None` for a container in a store. The name of a source may include a version.
fn local(direction: Direction, source: &Path) -> Result<Option<PathBuf>, Failure> {
    if direction == Direction::Import {
        return Ok(Some(source.to_owned()));
    }
    Ok(match find_version(source, Access::ReadOnly)?.0.target {
        Target::File(path) => Some(path),
        Target::Objects { .. } => None,
    })
}

/// Returns the folder that contains a path.
pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Copies the user block, which is the bytes in front of an HDF5 file that belong to the user.
pub fn copy_user_block(from: &Path, target: &Path, size: u64) -> Result<(), Failure> {
    if size == 0 {
        return Ok(());
    }
    let mut bytes = Vec::new();
    File::open(from)?.take(size).read_to_end(&mut bytes)?;
    fs::OpenOptions::new().write(true).open(target)?.write_all(&bytes)?;
    Ok(())
}

/// Moves a file to a name. Fails if the name exists.
fn give_name(file: &Path, name: &Path) -> Result<(), Failure> {
    let named = |error: io::Error| format!("{}: {error}", name.display());
    match fs::hard_link(file, name) {
        Ok(()) => Ok(fs::remove_file(file)?),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(named(error).into()),
        // On a file system without hard links, a rename could replace a file that appears after this check.
        Err(_) if name.symlink_metadata().is_err() => Ok(fs::rename(file, name).map_err(named)?),
        Err(error) => Err(named(error).into()),
    }
}
