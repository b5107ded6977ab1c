//! `h5lake`: what one does with containers beside HDF5.
//!
//! Names and settings mean what they mean to HDF5 programs: a path, a URL, `NAME@v=12`, and the variables `H5LAKE_*`.
#![forbid(unsafe_code)]

mod link;
mod repair;
mod restore;
mod run;
mod settings;
mod unlock;
mod verify;

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use h5lake_connector::config::Config;
use h5lake_connector::names::{self, Place};
use h5lake_container::verify::Versions;
use h5lake_container::{Container, Target};
use h5lake_ledger::{Access, At, ErrorKind, Ledger, LockPolicy, Options, Version};

use serde_json::{Value, json};

use crate::verify::Output;

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
        /// Show one JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Runs a program that need not know of it with h5lake as its HDF5 connector: sets HDF5_VOL_CONNECTOR, and joins the
    /// plugin's folder to HDF5_PLUGIN_PATH. Exit code: the program's.
    Run {
        /// A setting, as in the connector string: KEY=VALUE. Several may be given.
        #[arg(short, long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Shows every setting, what it takes, and what HDF5_VOL_CONNECTOR and the variables H5LAKE_* make of it here. Exit code: 1
    /// if one of them is wrong.
    Settings {
        /// Show a JSON array instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Makes a pointer file: programs that open PATH then open the container at URL.
    Link {
        /// The container's URL: file:///DIR/KEY, s3://BUCKET/PREFIX/KEY.
        url: String,
        /// Where the pointer file is made. A pointer file that is there is replaced, and nothing else.
        path: PathBuf,
    },
    /// Brings a container back that was replaced or deleted, and is kept for the retention time. What the name leads to now is
    /// kept in turn. `h5lake versions NAME` lists what there is.
    Restore {
        /// The container's path or URL.
        name: PathBuf,
        /// The first digits of its id; without them, the one that was replaced last.
        #[arg(default_value = "", hide_default_value = true)]
        id: String,
    },
    /// Takes the lock of a container in a store away from a writer that is gone and left it, or hangs. A writer that lives loses
    /// what it has not committed.
    Unlock {
        /// The container's path or URL.
        name: PathBuf,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Checks every checksum, reference, count and free range of a container, and names what is damaged. Nothing is changed, and
    /// others may write meanwhile. Exit code: 0 if it is whole (warnings may have been shown), 2 if something is damaged, 1 if it
    /// could not be read.
    Verify {
        /// The containers' paths or URLs.
        #[arg(required = true)]
        names: Vec<PathBuf>,
        /// Check the newest version only, not the older ones that can still be opened.
        #[arg(long)]
        newest: bool,
        /// Show one JSON object for each container instead of text.
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Makes a new container with all that is intact in a damaged one, and lists what is lost. The source is not changed. Exit code:
    /// 0 if nothing was lost, 2 if something was, 1 if it could not be done; then there is nothing at the target.
    Repair {
        /// The damaged container's path or URL.
        source: PathBuf,
        /// The new container's path or URL, where nothing is yet.
        target: PathBuf,
        /// Show one JSON object instead of text.
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Gives back room that nobody needs: of versions replaced longer ago than the retention time, and of what killed
    /// writers left.
    Vacuum {
        /// The container's path or URL.
        name: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Versions { name, most, json } => versions(&name, most, json),
        Command::Run { settings, command } => match command.split_first() {
            Some((program, arguments)) => run::run(&settings, program, arguments),
            None => Ok(()),
        },
        Command::Settings { json } => settings::run(json),
        Command::Link { url, path } => link::run(&url, &path),
        Command::Restore { name, id } => restore::run(&name, &id),
        Command::Unlock { name, yes } => unlock::run(&name, yes),
        Command::Verify { names, newest, json, quiet } => {
            let versions = if newest { Versions::Newest } else { Versions::All };
            return verify_all(&names, versions, Output::of(json, quiet));
        }
        Command::Repair { source, target, json, quiet } => {
            match repair::run(&source, &target, Output::of(json, quiet)) {
                Ok(false) => return ExitCode::from(verify::DAMAGED),
                done => done.map(drop),
            }
        }
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

/// Checks containers one after the other. One that cannot be read counts more than one that is damaged.
fn verify_all(names: &[PathBuf], versions: Versions, output: Output) -> ExitCode {
    let (mut unread, mut damaged) = (false, false);
    for name in names {
        match verify::run(name, versions, output) {
            Ok(is_whole) => damaged |= !is_whole,
            Err(error) => {
                eprintln!("h5lake: {error}");
                unread = true;
            }
        }
    }
    match (unread, damaged) {
        (true, _) => ExitCode::FAILURE,
        (false, true) => ExitCode::from(verify::DAMAGED),
        (false, false) => ExitCode::SUCCESS,
    }
}

/// Every failure ends as one line on stderr.
type Failure = Box<dyn std::error::Error>;

/// Where the container of a name lies, and how to open it.
fn find(name: &Path, access: Access) -> Result<(Target, Options), Failure> {
    find_place(name, access).map(|(place, options)| (place.target, options))
}

/// The same with the local path of a container that is kept elsewhere.
fn find_place(name: &Path, access: Access) -> Result<(Place, Options), Failure> {
    let config = Config::from_environment()?;
    let place = names::place_to_open(name.as_os_str().as_bytes(), &config, access);
    let place = place.map_err(|error| error.to_string())?;
    let lock = LockPolicy::from_environment().unwrap_or_default();
    let options = Options { retention: config.retention, sync: config.sync, lock, ..Options::default() };
    match place {
        Place { at: None, .. } => Ok((place, options)),
        _ => Err(format!("{}: names one version; name the container", name.display()).into()),
    }
}

fn versions(name: &Path, most: usize, json: bool) -> Result<(), Failure> {
    let (place, options) = find_place(name, Access::ReadOnly)?;
    let before = restore::before(&place);
    let ledger = match place.target {
        Target::File(path) => Ledger::open_file(&path, Access::ReadOnly, options),
        Target::Objects { store, key, .. } => Ledger::open_objects(store, &key, Access::ReadOnly, options),
    };
    let listed = match (ledger, &before) {
        // What was deleted has no versions, and can be brought back.
        (Err(e), Ok(before)) if *e.kind() == ErrorKind::NotFound && !before.is_empty() => Vec::new(),
        (ledger, _) => ledger?.versions(most)?,
    };
    if json {
        let (versions, replaced) = (listed.iter().map(object).collect(), restore::objects(&before?));
        print([json!({ "versions": Value::Array(versions), "replaced": replaced }).to_string()])?;
        return Ok(());
    }
    let title = format!("{:>10}  {:<27}  {:>15}  writer", "version", "time", "bytes");
    let versions = std::iter::once(title).chain(listed.iter().map(line));
    print(versions.chain(restore::listing(&before?)))?;
    Ok(())
}

/// Writes lines to standard output. A reader that has seen enough, as `head` has, is the end of the output and no failure.
fn print(lines: impl IntoIterator<Item = String>) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = lines.into_iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// One version, for programs.
fn object(version: &Version) -> Value {
    let Version { number, time, bytes, .. } = version;
    let time = At::Time(*time).setting_value();
    json!({ "number": number, "time": time, "bytes": bytes, "host": version.host, "pid": version.pid })
}

fn line(version: &Version) -> String {
    let Version { number, time, bytes, .. } = version;
    let time = At::Time(*time).setting_value();
    let writer =
        if version.host.is_empty() { "-".to_owned() } else { format!("{}@{}", version.pid, version.host) };
    format!("{number:>10}  {time:<27}  {bytes:>15}  {writer}")
}

/// How long a vacuum waits for room that rests, in all.
const MAX_VACUUM_WAIT: Duration = Duration::from_secs(12);

fn vacuum(name: &Path) -> Result<(), Failure> {
    let (Place { target, pointer, .. }, ledger) = find_place(name, Access::ReadWrite)?;
    let options = h5lake_container::Options { ledger, ..Default::default() };
    let local = match &target {
        Target::Objects { store, key, .. } => {
            Ledger::sweep_replaced_objects(store.as_ref(), key)?;
            pointer
        }
        Target::File(path) => Some(path.clone()),
    };
    if let Some(path) = local {
        // In a folder that may not be written nothing can be removed either.
        let _swept_by_another = Ledger::sweep_replaced_files(&path);
    }
    let freed = Container::vacuum_patiently(&target, &options, MAX_VACUUM_WAIT)?;
    print([format!("{}: {freed} bytes given back", name.display())])?;
    Ok(())
}
