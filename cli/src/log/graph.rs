//! The graph of a history: the versions in one line, with the branches beside the versions that they begin with.

use h5lake_ledger::{At, Branch};

use super::{Form, Log};
use crate::history::author_text;

impl Log {
    /// Draws the graph. `versions` are the lines of each version, newest first.
    pub(super) fn graph(&self, versions: Vec<Vec<String>>, form: Form) -> Vec<String> {
        let mut lines = Vec::new();
        let mut above: Option<u64> = None;
        for (version, text) in self.history.versions.iter().zip(versions) {
            let newer = above.filter(|_| !self.leaves_out);
            lines.extend(newer.and_then(|newer| missing(version.number + 1, newer - 1)));
            for branch in self.branches_at(version) {
                lines.extend(drawn(branch, form));
            }
            let marks = ["* "].into_iter().chain(std::iter::repeat("| "));
            lines.extend(marks.zip(&text).map(|(mark, line)| format!("{mark}{line}").trim_end().to_owned()));
            let is_last = version.number == 1;
            lines.extend((form == Form::Full && !is_last).then(|| "|".to_owned()));
            above = Some(version.number);
        }
        let oldest = above.filter(|_| !self.is_cut);
        lines.extend(oldest.and_then(|oldest| missing(1, oldest.saturating_sub(1))));
        lines
    }
}

/// Returns the line in place of versions that are not retained, or `None` if there are no such versions.
fn missing(first: u64, last: u64) -> Option<String> {
    match last.checked_sub(first)? {
        0 => Some(format!(": version {first} is not retained")),
        _ => Some(format!(": versions {first} to {last} are not retained")),
    }
}

/// Returns the lines of a branch, down to the line of the version that the branch begins with.
fn drawn(branch: &Branch, form: Form) -> Vec<String> {
    let Branch { name, commits, host, pid, user, program, message, .. } = branch;
    let [made, changed] = [branch.made, branch.changed].map(|time| At::Time(time).setting_value());
    let commits = if *commits == 1 { "1 commit".to_owned() } else { format!("{commits} commits") };
    let mut lines = vec![format!("| * branch {name}: {commits}, last changed {changed}")];
    if form == Form::Full {
        let author = author_text([host, user, program], *pid, "");
        lines.push(format!("| | Begun:  {made} by {author}"));
        lines.extend(message.lines().map(|line| format!("| |     {line}")));
    }
    lines.push("|/".to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_are_gone_are_counted() {
        assert_eq!(missing(6, 5), None);
        assert_eq!(missing(1, 0), None);
        assert_eq!(missing(6, 6).unwrap(), ": version 6 is not retained");
        assert_eq!(missing(6, 11).unwrap(), ": versions 6 to 11 are not retained");
    }
}
