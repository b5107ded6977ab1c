//! `h5lake drain`: uploads the commits that dead writers left in a staging directory.

use std::path::Path;
use std::sync::Arc;

use h5lake_connector::config::Config;
use h5lake_connector::names;
use h5lake_container::Target;
use h5lake_ledger::{Drained, Ledger, LockPolicy, SyncPolicy};
use object_stores::staged::{About, DEFAULT_PATIENCE, Leftover, leftovers};
use object_stores::{ObjectStore, shell_quoted};
use serde_json::{Value, json};

use crate::Failure;
use crate::output::{complain, json_text, print};

/// The action for each set of pending uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Drain,
    Show,
    Discard,
}

/// The arguments of `h5lake drain`.
pub struct Wanted<'a> {
    pub folder: &'a Path,
    /// The containers to process. If it is empty, all containers are processed.
    pub names: &'a [String],
    pub action: Action,
    pub json: bool,
}

/// The result for the pending uploads of one writer.
enum End {
    /// The writer is alive.
    InUse,
    /// The uploads arrived in the store.
    Arrived(Drained),
    /// The uploads were only listed, or they were discarded. Contains the word for it.
    Left(&'static str),
    /// The uploads stay in the staging directory, for this reason.
    Stays(String),
}

/// Processes the pending uploads in a staging directory. Returns whether none of them failed to be uploaded or discarded, and none is
/// damaged.
pub fn run(wanted: &Wanted<'_>) -> Result<bool, Failure> {
    let config = Config::from_environment()?;
    if !wanted.folder.is_dir() {
        return Err(format!("{}: is no folder", wanted.folder.display()).into());
    }
    let unread = |error| format!("{}: cannot be read: {error}", wanted.folder.display());
    let mut found = leftovers(wanted.folder, None).map_err(unread)?;
    found.retain(|(_, about)| wanted.names.is_empty() || wanted.names.contains(&name_of(about)));
    if let Some(missing) =
        wanted.names.iter().find(|name| !found.iter().any(|(_, about)| name_of(about) == **name))
    {
        return Err(format!("{}: nothing is left of {missing}", wanted.folder.display()).into());
    }
    let mut is_well = true;
    for (path, about) in found {
        let (waiting, end) = match Leftover::open(&path, about.clone()) {
            Err(error) => (None, End::Stays(format!("{} cannot be read: {error}", path.display()))),
            Ok(None) => (None, End::InUse),
            Ok(Some(leftover)) => {
                let waiting = leftover.waiting();
                (Some((waiting.operations, waiting.bytes)), handle(leftover, wanted.action, &config))
            }
        };
        is_well &= !matches!(end, End::Stays(_));
        let shown = if wanted.json {
            json_text(&object(&path, &about, waiting, &end))
        } else {
            text(&about, waiting, &end)
        };
        print([shown])?;
    }
    Ok(is_well)
}

/// Returns the name under which the tool shows a container.
fn name_of(about: &About) -> String {
    format!("{}/{}", about.url.trim_end_matches('/'), about.key)
}

fn handle(leftover: Leftover, action: Action, config: &Config) -> End {
    match action {
        Action::Show => match leftover.damage() {
            Some(damage) => End::Stays(damage.to_owned()),
            None => End::Left("waits"),
        },
        Action::Discard => discard(leftover, config)
            .map_or_else(|error| End::Stays(error.to_string()), |()| End::Left("discarded")),
        Action::Drain => {
            drain(leftover, config).map_or_else(|error| End::Stays(error.to_string()), End::Arrived)
        }
    }
}

/// Discards pending uploads. If the store can be reached, also deletes the reference to them from the container's lock object.
fn discard(leftover: Leftover, config: &Config) -> Result<(), Failure> {
    let (about, queue) = (leftover.about().clone(), leftover.queue().to_owned());
    leftover.discard().map_err(|error| error.to_string())?;
    let forgotten =
        store_of(&about, config).and_then(|store| Ok(Ledger::forget_leftover(&store, &about, &queue)?));
    if let Err(error) = forgotten {
        let name = name_of(&about);
        complain(&format!(
            "{error}. If writers of {name} fail because of pending uploads, run 'h5lake unlock {}'",
            shell_quoted(&name)
        ));
    }
    Ok(())
}

/// Opens the store of the container.
fn store_of(about: &About, config: &Config) -> Result<Arc<dyn ObjectStore>, Failure> {
    let About { url, key, sync, .. } = about;
    // If the commits had to survive a power loss in the staging directory, they have to do so in the store.
    let synced = if *sync { SyncPolicy::Commit } else { config.sync };
    let target = names::in_store_at(url, key, &Config { sync: synced, ..config.clone() })
        .map_err(|error| error.to_string())?;
    let Target::Objects { store, .. } = target else { return Err("it is of no store".into()) };
    Ok(store)
}

fn drain(leftover: Leftover, config: &Config) -> Result<Drained, Failure> {
    let store = store_of(leftover.about(), config)?;
    let lock = LockPolicy::from_environment().unwrap_or_default();
    let patience = config.timeout.unwrap_or(DEFAULT_PATIENCE);
    Ok(Ledger::drain_leftover(&store, leftover, lock, patience)?)
}

fn text(about: &About, waiting: Option<(u64, u64)>, end: &End) -> String {
    let (name, About { host, pid, .. }) = (name_of(about), about);
    let (operations, bytes) = waiting.unwrap_or_default();
    match end {
        End::InUse => format!("{name}: process {pid} on {host} lives and writes it"),
        End::Arrived(Drained { from, to, .. }) if from == to => {
            format!("{name}: {operations} operations ({bytes} bytes) arrived; version {to} is the newest")
        }
        End::Arrived(Drained { from, to, .. }) => {
            let first = from + 1;
            format!("{name}: versions {first} to {to} arrived ({operations} operations, {bytes} bytes)")
        }
        End::Left(what) => {
            format!("{name}: {operations} operations ({bytes} bytes) of process {pid} on {host}: {what}")
        }
        End::Stays(why) => format!("{name}: {operations} operations ({bytes} bytes) stay: {why}"),
    }
}

fn object(path: &Path, about: &About, waiting: Option<(u64, u64)>, end: &End) -> Value {
    let mut shown = json!({
        "name": name_of(about), "folder": path.display().to_string(), "host": about.host, "pid": about.pid,
    });
    if let Some((operations, bytes)) = waiting {
        shown["operations"] = operations.into();
        shown["bytes"] = bytes.into();
    }
    let outcome = match end {
        End::InUse => "in use",
        End::Arrived(Drained { from, to, .. }) => {
            shown["from_version"] = (*from).into();
            shown["to_version"] = (*to).into();
            "arrived"
        }
        End::Left(what) => what,
        End::Stays(why) => {
            shown["error"] = why.as_str().into();
            "stays"
        }
    };
    shown["outcome"] = outcome.into();
    shown
}
