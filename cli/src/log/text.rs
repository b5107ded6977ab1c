//! A version of a history as text.

use h5lake_ledger::{At, Version};

use super::{Form, Log};
use crate::history::author_of;

impl Log {
    /// Returns the lines that show a version.
    pub(super) fn text(&self, version: &Version, form: Form) -> Vec<String> {
        let names = self.names_of(version);
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
    fn names_of(&self, version: &Version) -> String {
        let newest = (version.number == self.history.newest).then(|| "newest".to_owned());
        let tags = self.tags_of(version).into_iter().map(|tag| format!("tag: {tag}"));
        let names: Vec<_> = newest.into_iter().chain(tags).collect();
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
