//! `h5lake`: what one does with containers beside HDF5.
//!
//! Names and settings mean what they mean to HDF5 programs: a path, a URL, `NAME@v=12`, and the variables `H5LAKE_*`.
#![forbid(unsafe_code)]

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use h5lake_connector::config::Config;
use h5lake_connector::names::{self, Place};
use h5lake_container::Target;
use h5lake_ledger::{Access, At, Ledger, Options, SyncPolicy, Version};

/// Looks after h5lake containers: HDF5 files of which old versions can be read.
#[derive(Parser)]
#[command(name = "h5lake", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the versions that can be opened, newest first: number, time, bytes that it added, process and host that
    /// wrote it. A version is opened, to read, as NAME@v=NUMBER or NAME@t=TIME.
    Versions {
        /// The container's path or URL.
        name: PathBuf,
        /// At most so many.
        #[arg(short = 'n', long, default_value_t = usize::MAX, hide_default_value = true)]
        most: usize,
    },
    /// Gives back room that nobody needs: of versions replaced longer ago than the retention time, and of what killed
    /// writers left.
    Vacuum {
        /// The container's path or URL.
        name: PathBuf,
    },
}

/// Every failure ends as one line on stderr.
type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Versions { name, most } => versions(&name, most),
        Command::Vacuum { name } => vacuum(&name),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("h5lake: {error}");
            ExitCode::FAILURE
        }
    }
}

fn open(name: &std::path::Path, access: Access) -> Result<Ledger, Box<dyn std::error::Error>> {
    let config = Config::parse("")?;
    let place = names::place(name.as_os_str().as_bytes(), &config).map_err(|error| error.to_string())?;
    let sync = if config.sync_commits { SyncPolicy::Commit } else { SyncPolicy::Process };
    let options = Options { retention: config.retention, sync, ..Options::default() };
    let Place { target, at: None, .. } = place else {
        return Err(format!("{}: names one version; name the container", name.display()).into());
    };
    Ok(match target {
        Target::File(path) => Ledger::open_file(&path, access, options)?,
        Target::Objects { store, key, .. } => Ledger::open_objects(store, &key, access, options)?,
    })
}

fn versions(name: &std::path::Path, most: usize) -> Outcome {
    let listed = open(name, Access::ReadOnly)?.versions(most)?;
    println!("{:>10}  {:<27}  {:>15}  writer", "version", "time", "bytes");
    for version in &listed {
        println!("{}", line(version));
    }
    Ok(())
}

fn line(version: &Version) -> String {
    let Version { number, time, bytes, .. } = version;
    let time = At::Time(*time).moment();
    let writer =
        if version.host.is_empty() { "-".to_owned() } else { format!("{}@{}", version.pid, version.host) };
    format!("{number:>10}  {time:<27}  {bytes:>15}  {writer}")
}

fn vacuum(name: &std::path::Path) -> Outcome {
    let ledger = open(name, Access::ReadWrite)?;
    let freed = ledger.vacuum()?;
    ledger.close()?;
    println!("{}: {freed} bytes given back", name.display());
    Ok(())
}
