//! The commands that set up programs and stores, and explain them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Subcommand, ValueHint};
use clap_complete::Shell;

#[derive(Subcommand)]
pub enum Setup {
    /// Run a program with h5lake as its HDF5 connector.
    ///
    /// The program needs no changes. Sets HDF5_VOL_CONNECTOR, and adds the folder of the plugin to HDF5_PLUGIN_PATH. The exit code is that
    /// of the program.
    #[command(after_help = "Examples:
  h5lake run -- python analysis.py run.h5
  h5lake run --set sync=commit --set retention=7d -- ./simulation
  h5lake run -m 'second run, finer grid' -- ./simulation")]
    Run {
        /// A setting, as in the connector string: KEY=VALUE. Can be repeated.
        #[arg(short, long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
        /// The message of the commits that the program makes: the setting message=.
        #[arg(short, long, value_name = "TEXT")]
        message: Option<String>,
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Check that HDF5 programs find and use h5lake.
    ///
    /// Checks variables, plugin folders, the store of the settings, and the libhdf5 of each client. Lets each library create a file in a
    /// temporary folder, and shows what to correct. Exit code: 0 if each file is a container, 2 if there is a problem.
    #[command(after_help = "Examples:
  h5lake doctor
  h5lake doctor --python venv/bin/python
  mpiexec -n 2 h5lake doctor --mpi /scratch/project
  h5lake doctor ./simulation /usr/lib/x86_64-linux-gnu/libhdf5.so")]
    Doctor {
        /// Programs or libhdf5 libraries; without any, h5py, PyTables and netCDF4.
        targets: Vec<PathBuf>,
        /// The Python interpreter with the modules to check; without it, the interpreter next to this tool, otherwise python3 on PATH. It
        /// also loads the libraries of other programs.
        #[arg(long, value_hint = ValueHint::FilePath)]
        python: Option<PathBuf>,
        /// Check whether the processes of an MPI program see each other's file locks in FOLDER. Start it with the launcher of the
        /// program, on several nodes: 'srun -N 2 h5lake doctor --mpi /scratch/project'. Process 0 shows the result. Exit code: 0
        /// if all processes see the locks, 2 if not.
        #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath, conflicts_with_all = ["targets", "python"])]
        mpi: Option<PathBuf>,
        /// Show a JSON object instead of text.
        ///
        /// `problems` is their number, and `found` has `what`, `found` and `fix` (null if nothing is to be corrected).
        #[arg(long)]
        json: bool,
    },
    /// Check that a store fulfils the requirements of containers.
    ///
    /// Runs the conformance suite of h5lake's stores, with objects below URL that it deletes afterwards. Use it for your own store library
    /// (H5LAKE_STORE_PATH), and for a server that you have not used before. Exit code: 0 if the store honours both conditions of puts and
    /// passes every check, 2 if not, 1 if the store cannot be used.
    #[command(after_help = "Examples:
  h5lake check-store file:///mnt/network/try
  h5lake check-store s3://lab/try
  H5LAKE_STORE_PATH=/opt/libmine.so h5lake check-store mine://host/try")]
    CheckStore {
        /// The URL of the store, below which there is no valuable data.
        url: String,
        /// Show one JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Run one check of a store (used by the tool itself).
    #[command(hide = true)]
    CheckStorePart {
        #[arg(trailing_var_arg = true)]
        arguments: Vec<String>,
    },
    /// Show every setting and its value.
    ///
    /// Shows the possible values of each setting, and its value according to HDF5_VOL_CONNECTOR and the variables H5LAKE_*. Exit code: 1 if
    /// a setting is wrong.
    #[command(after_help = "Examples:
  h5lake settings
  H5LAKE_RETENTION=7d h5lake settings --json")]
    Settings {
        /// Show a JSON array instead of text.
        ///
        /// Each object has `key`, `variable`, `values`, `default`, `meaning` and `value`.
        #[arg(long)]
        json: bool,
    },
    /// Show a page of the documentation, or list the pages.
    ///
    /// The pages are in Markdown.
    #[command(after_help = "Examples:
  h5lake docs
  h5lake docs versions#tags
  h5lake docs troubleshooting | less")]
    Docs {
        /// The page, or PAGE#HEADING for a section of it, as in links; without it, lists the names of all pages.
        page: Option<String>,
    },
    /// Write a shell completion script.
    #[command(after_help = "Examples:
  h5lake completions bash > ~/.local/share/bash-completion/completions/h5lake
  h5lake completions zsh > ~/.zfunc/_h5lake")]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual pages to a folder.
    ///
    /// Writes h5lake.1 and one page for each command.
    #[command(after_help = "Examples:
  h5lake man ~/.local/share/man/man1")]
    Man {
        /// The folder, which is created if it does not exist.
        folder: PathBuf,
    },
}
