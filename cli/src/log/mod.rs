//! `h5lake log`: shows the history of a container, newest version first.

mod graph;
mod text;

use std::path::Path;

use h5lake_connector::names::Place;
use h5lake_container::Target;
use h5lake_ledger::{Access, At, Branch, Ledger, Options, Version};
use serde_json::{Value, json};

use crate::Failure;
use crate::branch;
use crate::find::{check_container, find_version};
use crate::history::{History, Selection};
use crate::output::{json_text, print};

/// The form in which versions are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Several lines for each version, with the whole message.
    Full,
    /// One line for each version.
    OneLine,
    /// One JSON object.
    Json,
}

/// The arguments of `h5lake log`.
pub struct Wanted<'a> {
    pub name: &'a Path,
    /// The maximum number of versions.
    pub most: usize,
    pub form: Form,
    /// True if only versions that collective flushes of MPI processes made are shown.
    pub flushes: bool,
    /// True if the branches are read, and drawn beside the versions that they begin with.
    pub graph: bool,
}

/// A history to show.
struct Log {
    history: History,
    /// The branches, or nothing if they were not requested.
    branches: Option<Vec<Branch>>,
    /// True if retained versions between the versions to show may be left out.
    leaves_out: bool,
    /// True if older versions than those to show may be retained.
    is_cut: bool,
}

/// Shows the history of a container, or the history up to the version that its name includes.
pub fn run(wanted: &Wanted<'_>) -> Result<(), Failure> {
    let (place, options) = find_version(wanted.name, Access::ReadOnly)?;
    check_container(wanted.name, &place)?;
    let log = Log::read(place, options, wanted)?;
    let shown = |form| -> Vec<String> {
        let blocks = log.history.versions.iter().map(|version| log.text(version, form));
        if wanted.graph { log.graph(blocks.collect(), form) } else { text::joined(blocks, form) }
    };
    let lines = match wanted.form {
        Form::Json => vec![json_text(&log.json())],
        form => shown(form).into_iter().chain(log.history.hint()).collect(),
    };
    Ok(print(lines)?)
}

impl Log {
    /// Reads the history at a location. Settings that select a version are ignored.
    fn read(place: Place, options: Options, wanted: &Wanted<'_>) -> Result<Self, Failure> {
        let Wanted { most, flushes, graph, .. } = *wanted;
        let Place { target, at, .. } = place;
        let open = |at| open_at(&target, Options { at, ..options.clone() });
        let (whole, last) = match at {
            None => (open(None)?, None),
            Some(At::Replaced(_)) => (open(at)?, None),
            Some(At::Branch(name)) => {
                let whole = open(None)?;
                let base = whole.branch_named(name)?.base;
                (whole, Some(base))
            }
            // Opening the version fails with a message that names the versions that can be opened.
            Some(_) => (open(None)?, Some(open(at)?.version())),
        };
        let history = History::read(&whole, &Selection { most, last, flushes })?;
        let is_cut = flushes || history.versions.len() == most;
        let branches = if graph { Some(history.branches(&whole)?) } else { None };
        Ok(Self { history, branches, leaves_out: flushes, is_cut })
    }

    /// Returns the branches that begin with a version.
    fn branches_at(&self, version: &Version) -> impl Iterator<Item = &Branch> {
        let base = version.number;
        self.branches.iter().flatten().filter(move |branch| branch.base == base)
    }

    /// Returns the names of a version's tags, without the tags that retain the base of a branch that is drawn.
    fn tags_of(&self, version: &Version) -> Vec<&str> {
        let bases: Vec<_> = self.branches.iter().flatten().map(|branch| branch.name.tag()).collect();
        let is_base = |tag: &&str| bases.iter().any(|base| base.as_str() == *tag);
        self.history.tags_of(version).into_iter().filter(|tag| !is_base(tag)).collect()
    }

    fn json(&self) -> Value {
        let versions: Value =
            self.history.versions.iter().map(|version| self.history.object(version)).collect();
        let mut made = json!({ "versions": versions });
        if let Some(branches) = &self.branches {
            made["branches"] = branches.iter().map(branch::object).collect();
        }
        made
    }
}

fn open_at(target: &Target, options: Options) -> h5lake_ledger::Result<Ledger> {
    match target {
        Target::File(path) => Ledger::open_file(path, Access::ReadOnly, options),
        Target::Objects { store, key, .. } => {
            Ledger::open_objects(store.clone(), key, Access::ReadOnly, options)
        }
    }
}
