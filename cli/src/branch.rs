//! `h5lake branch`: creates, lists, merges and deletes the branches of a container.

use std::path::Path;

use h5lake_connector::config::Config;
use h5lake_connector::names::Place;
use h5lake_container::{Container, MergedBranch};
use h5lake_ledger::{Access, At, Branch, BranchName};
use serde_json::{Value, json};

use crate::Failure;
use crate::find::{check_container, find_version};
use crate::output::{Output, json_text, print};
use crate::tag::{change, open};

/// A change of a branch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Creates the branch.
    Create,
    /// Merges the branch into the main line.
    Merge,
    /// Deletes the branch.
    Delete,
}

/// The arguments of `h5lake branch`.
pub struct Wanted<'a> {
    pub name: &'a Path,
    /// The name of the branch. If it is `None`, the branches are listed.
    pub branch: Option<&'a str>,
    pub change: Change,
    pub json: bool,
}

/// Parses the name of a branch.
fn branch_name(text: &str) -> Result<BranchName, Failure> {
    Ok(BranchName::new(text)
        .ok_or_else(|| format!("'{text}' is no name of a branch; {}", BranchName::RULE))?)
}

pub fn run(wanted: &Wanted<'_>) -> Result<(), Failure> {
    let access = if wanted.branch.is_some() { Access::ReadWrite } else { Access::ReadOnly };
    let (place, options) = find_version(wanted.name, access)?;
    check_container(wanted.name, &place)?;
    let Place { target, at, .. } = place;
    let shown = wanted.name.display();
    let on_conflict = Config::from_environment()?.on_conflict;
    let all = h5lake_container::Options { ledger: options.clone(), on_conflict, ..Default::default() };
    let branch = wanted.branch.map(branch_name).transpose()?;
    if at.is_some() && (branch.is_none() || wanted.change != Change::Create) {
        return Err(format!("{shown}: names one version; name the container").into());
    }
    let line = match (branch, wanted.change) {
        (None, Change::Create) => {
            let found = open(&target, Access::ReadOnly, &options)?.branches()?;
            return Ok(print(listing(&found, wanted.json))?);
        }
        (None, _) => return Err("--merge and --delete take the name of a branch, too".into()),
        (Some(branch), Change::Create) => {
            let made = change(&target, &options, |ledger| ledger.create_branch(branch, at))?;
            match wanted.json {
                true => json_text(&object(&made)),
                false => format!(
                    "{shown}: {branch} begins with version {}; open it as NAME@branch={branch}",
                    made.base
                ),
            }
        }
        (Some(branch), Change::Merge) => {
            let spinner = Output::of(wanted.json, false).spinner("merge");
            let done = Container::merge_branch(&target, branch, &all);
            drop(spinner);
            merged(wanted, &done?)
        }
        (Some(branch), Change::Delete) => {
            Container::delete_branch(&target, branch, &all)?;
            match wanted.json {
                true => json_text(&json!({ "name": shown.to_string(), "deleted": branch.as_str() })),
                false => format!("{shown}: the branch {branch} is deleted"),
            }
        }
    };
    Ok(print([line])?)
}

fn merged(wanted: &Wanted<'_>, done: &MergedBranch) -> String {
    let (name, branch) = (wanted.name.display().to_string(), done.branch.name.as_str());
    match wanted.json {
        true => json!({ "name": name, "merged": branch, "version": done.version, "entries": done.entries })
            .to_string(),
        false => format!("{name}: {branch} is merged: {} entries, version {}", done.entries, done.version),
    }
}

fn time(micros: u64) -> String {
    At::Time(micros).setting_value()
}

/// Returns a branch as a JSON object.
pub fn object(branch: &Branch) -> Value {
    json!({
        "branch": branch.name.as_str(), "base": branch.base, "made": time(branch.made),
        "changed": time(branch.changed), "commits": branch.commits, "host": branch.host, "pid": branch.pid,
        "user": branch.user, "program": branch.program, "message": branch.message,
    })
}

fn listing(branches: &[Branch], json: bool) -> Vec<String> {
    if json {
        return vec![json_text(&Value::Array(branches.iter().map(object).collect()))];
    }
    let line = |[branch, base, commits, made, changed]: [&str; 5]| {
        format!("{branch:<24}  {base:>10}  {commits:>8}  {made:<27}  {changed:<27}")
    };
    let row = |branch: &Branch| {
        let (base, commits) = (branch.base.to_string(), branch.commits.to_string());
        line([branch.name.as_str(), &base, &commits, &time(branch.made), &time(branch.changed)])
    };
    let title = line(["branch", "base", "commits", "made", "changed"]);
    std::iter::once(title).chain(branches.iter().map(row)).collect()
}
