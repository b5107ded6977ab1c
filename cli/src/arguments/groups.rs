//! The list of commands in `h5lake -h`, grouped by task.

use clap::builder::Styles;
use clap::{Command, Subcommand};

use super::{History, Maintain, Setup, Show, Transfer};

/// Returns the groups of commands with their headings, in the order of the help text.
fn groups() -> [(&'static str, Command); 5] {
    let empty = || Command::new("h5lake");
    [
        ("Read containers", Show::augment_subcommands(empty())),
        ("See and keep the history", History::augment_subcommands(empty())),
        ("Copy, convert and share", Transfer::augment_subcommands(empty())),
        ("Delete, check and repair", Maintain::augment_subcommands(empty())),
        ("Set up programs and stores, and read about h5lake", Setup::augment_subcommands(empty())),
    ]
}

/// Returns the template of the tool's help text: clap's default template, with the commands in groups.
pub(super) fn template() -> String {
    let groups = groups();
    let shown = |group: &Command| -> Vec<(String, String)> {
        let commands = group.get_subcommands().filter(|command| !command.is_hide_set());
        commands.map(|command| (names(command), summary(command))).collect()
    };
    let all: Vec<_> = groups.iter().map(|(title, group)| (*title, shown(group))).collect();
    let width =
        all.iter().flat_map(|(_, group)| group).map(|(names, _)| names.len()).max().unwrap_or_default();
    let styles = Styles::styled();
    let (heading, literal) = (styles.get_header(), styles.get_literal());
    let line = |(names, summary): &(String, String)| {
        format!("  {literal}{names}{literal:#}{:1$}  {summary}\n", "", width - names.len())
    };
    let section = |(title, group): &(&str, Vec<_>)| {
        let lines: String = group.iter().map(line).collect();
        format!("{heading}{title}:{heading:#}\n{lines}\n")
    };
    let sections: String = all.iter().map(section).collect();
    format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{sections}\
         {heading}Options:{heading:#}\n{{options}}{{after-help}}"
    )
}

/// Returns the name of a command, followed by its other names.
fn names(command: &Command) -> String {
    let aliases = command.get_visible_aliases().map(|alias| format!(", {alias}"));
    std::iter::once(command.get_name().to_owned()).chain(aliases).collect()
}

fn summary(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}
