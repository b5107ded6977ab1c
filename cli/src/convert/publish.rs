//! One conversion: made under a hidden name, and found under its own when it is whole.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use h5lake_container::{Container, Options, Target};
use h5lake_ledger::Access;

use super::pairs::Pair;
use super::{Direction, worker};
use crate::Failure;
use crate::find::{find, find_version, vacant};

/// A file that goes when this is dropped.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // What is not there any more was given its own name.
        let _gone = fs::remove_file(&self.0);
    }
}

/// Converts one file; `n` tells it from others of this process. When this returns, the result is on stable storage.
pub fn convert(direction: Direction, pair: &Pair, library: &Path, n: usize) -> Result<(), Failure> {
    if direction == Direction::Export {
        return convert_to_file(direction, pair, &pair.target, library, n);
    }
    match vacant(&pair.target)? {
        Target::File(path) => convert_to_file(direction, pair, &path, library, n),
        target @ Target::Objects { .. } => convert_to_store(pair, &target, library, n),
    }
}

fn convert_to_file(
    direction: Direction,
    pair: &Pair,
    target: &Path,
    library: &Path,
    n: usize,
) -> Result<(), Failure> {
    let folder = folder_of(target);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let temporary = Temporary(std::path::absolute(hidden(&folder, n)?)?);
    let user_block = worker::run(direction, library, &pair.source, &temporary.0)?;
    if user_block > 0 {
        let local = match direction {
            Direction::Import => Some(pair.source.clone()),
            // The name may ask for a version.
            Direction::Export => match find_version(&pair.source, Access::ReadOnly)?.0.target {
                Target::File(path) => Some(path),
                // A container in a store has none.
                _ => None,
            },
        };
        if let Some(local) = local {
            copy_user_block(&local, &temporary.0, user_block)?;
        }
    }
    File::open(&temporary.0)?.sync_all()?;
    give_name(&temporary.0, target)?;
    File::open(&folder)?.sync_all()?;
    Ok(())
}

/// A store gets a copy of a container in a temporary folder: its name leads to the whole container, or to nothing. There is no
/// user block in a store.
fn convert_to_store(pair: &Pair, target: &Target, library: &Path, n: usize) -> Result<(), Failure> {
    let temporary = Temporary(hidden(&std::env::temp_dir(), n)?);
    worker::run(Direction::Import, library, &pair.source, &temporary.0)?;
    let (_, ledger) = find(&pair.target, Access::ReadOnly)?;
    let options = Options { ledger, ..Options::default() };
    Container::copy_to(&Target::File(temporary.0.clone()), &options, target, &options, &mut |_, _| ())?;
    Ok(())
}

/// A name that no other conversion has: processes of several machines, and of containers, may have one process id.
fn hidden(folder: &Path, n: usize) -> Result<PathBuf, Failure> {
    let mut random = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let random = u64::from_le_bytes(random);
    Ok(folder.join(format!(".h5lake-conversion-{}-{n}-{random:016x}.h5", std::process::id())))
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
