//! `h5lake completions` and `h5lake man`: generate shell completions and manual pages from the arguments of the tool.

use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::Failure;
use crate::arguments::Arguments;
use crate::output::{Sink, print};

/// The end of the completion script for bash. clap's function offers options for an empty word, too, which would hide the names of files.
const BASH: &str = r#"
# Offers options only for words that begin with a dash, so that an empty word is completed with the names of files.
_h5lake_words() {
    _h5lake "$@"
    [[ $2 == -* ]] && return
    local word words=()
    for word in "${COMPREPLY[@]}"; do
        [[ $word == -* ]] || words+=("$word")
    done
    COMPREPLY=("${words[@]}")
}
complete -F _h5lake_words -o bashdefault -o default h5lake
"#;

/// Writes the completion script for a shell.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut without_hidden(&Arguments::command()), "h5lake", &mut script);
    if shell == Shell::Bash {
        script.extend_from_slice(BASH.as_bytes());
    }
    let mut out = Sink::new(false);
    out.bytes(&script)?;
    out.finish()
}

/// Returns the tool's command without its hidden commands, which clap would complete like the others.
fn without_hidden(command: &Command) -> Command {
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("h5lake").version(env!("CARGO_PKG_VERSION")).subcommands(shown)
}

/// Changes the summary of a command to the style of a NAME line in manual pages: `h5lake-ls - list the members of a group`.
fn with_summaries(command: Command) -> Command {
    let about = command.get_about().map(ToString::to_string);
    let command = match about.as_deref().and_then(|about| about.split_at_checked(1)) {
        Some((first, rest)) => command.about(format!("{}{rest}", first.to_lowercase())),
        None => command,
    };
    command.mut_subcommands(with_summaries)
}

/// Writes the manual pages into a folder.
pub fn man(folder: &Path) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| format!("{}: the manual pages cannot be written: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    clap_mangen::generate_to(with_summaries(Arguments::command()), folder).map_err(failed)?;
    print([format!("{}: has the manual pages", folder.display())])?;
    Ok(())
}
