//! The commands of the tool and their options, with the texts of `--help` and the manual pages.

mod groups;
mod history;
mod maintain;
mod setup;
mod show;
mod transfer;

use clap::{Parser, Subcommand};

pub use self::history::History;
pub use self::maintain::Maintain;
pub use self::setup::Setup;
pub use self::show::Show;
pub use self::transfer::{Conversion, Transfer};

/// The table of exit codes, which is also in docs/command-line.md.
const EXIT_CODES: &str = "\
Exit codes:
  0  done, without damage, loss or difference
  1  failed; also for wrong arguments and wrong settings
  2  done, but data is damaged (verify), was lost (repair), differs (diff), must be corrected
     (doctor), a guarantee does not hold (check-store), a file of a folder could not be converted
     (import, export), commits remain in a staging directory (drain), user-defined links (import,
     export, adopt) or datasets and groups (--zarr) were left out, or other files are still needed
     (materialize)
  3  done without loss of data, but tags or branches were left out (repair)
`h5lake run` has the exit code of its program.";

/// The end of the short help text.
const MORE_HELP: &str = "\
'h5lake COMMAND -h' is a summary of a command, 'h5lake help COMMAND' has all of its options with examples.
'h5lake --help' explains names and exit codes, and 'h5lake docs' lists the pages of the documentation.";

const NAMES: &str = "\
Names are those of HDF5 programs: a path, a pointer file, a URL (s3://BUCKET/PREFIX/KEY,
file:///DIR/KEY). NAME@v=12 and NAME@t=2026-11-20T10:00:00Z name a version. The settings are those of programs: \
HDF5_VOL_CONNECTOR and H5LAKE_*.";

/// Read, check and change h5lake containers.
///
/// Containers are HDF5 files that keep readable old versions.
#[derive(Parser)]
#[command(name = "h5lake", version, help_template = groups::template())]
#[command(after_help = MORE_HELP, after_long_help = format!("{NAMES}\n\n{EXIT_CODES}"))]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    #[command(flatten)]
    Show(Show),
    #[command(flatten)]
    History(History),
    #[command(flatten)]
    Transfer(Transfer),
    #[command(flatten)]
    Maintain(Maintain),
    #[command(flatten)]
    Setup(Setup),
}
