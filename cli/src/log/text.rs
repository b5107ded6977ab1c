//! A version of a history as text.

use h5lake_ledger::{At, Version};

use super::{Form, Log};
use crate::history::author_of;

impl Log {
    /// Returns the lines that show a version. With `graph`, the branches that begin with the version are drawn beside it, and are not
    /// among its names.
    pub(super) fn text(&self, version: &Version, form: Form, graph: bool) -> Vec<String> {
        let names = self.names_of(version, !graph);
        let number = version.number;
        if form == Form::OneLine {
            let message = version.message.lines().next().map(str::to_owned);
            let text = message.unwrap_or_else(|| format!("by {}", author_of(version)));
            return vec![format!("{number}{names} {text}")];
        }
        let mut lines = vec![
            format!("version {number}{names}"),
            format!("Author: {}", author_of(version)),
            format!("Date:   {}", At::Time(version.time).setting_value()),
        ];
        if !version.message.is_empty() {
            lines.push(String::new());
            lines.extend(version.message.lines().map(|line| format!("    {line}")));
        }
        lines
    }

    /// Returns the names of a version in parentheses, preceded by a space, or nothing if the version has no names.
    fn names_of(&self, version: &Version, with_branches: bool) -> String {
        let newest = (version.number == self.newest).then(|| "newest".to_owned());
        let tags = self.tags_of(version).into_iter().map(|tag| format!("tag: {tag}"));
        let branches = self.branches_at(version).filter(|_| with_branches);
        let branches = branches.map(|branch| format!("base of branch: {}", branch.name));
        let names: Vec<_> = newest.into_iter().chain(tags).chain(branches).collect();
        if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
    }
}

/// Returns the lines of all versions, with an empty line between two versions of several lines each.
pub(super) fn joined(versions: impl Iterator<Item = Vec<String>>, form: Form) -> Vec<String> {
    let mut lines = Vec::new();
    for version in versions {
        if form == Form::Full && !lines.is_empty() {
            lines.push(String::new());
        }
        lines.extend(version);
    }
    lines
}
