//! The commands that give versions names: tags, branches and publications.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use h5lake_connector::config::duration;

#[derive(Subcommand)]
pub enum Retain {
    /// Retain a version under a name.
    ///
    /// Retains the newest version, or the version of NAME@v=12, until the tag is deleted, regardless of the retention time. Without TAG,
    /// lists the tags. To read a tagged version, open it as NAME@tag=TAG.
    #[command(after_help = "Examples:
  h5lake tag run.h5 paper
  h5lake tag run.h5@v=12 before-cleaning
  h5lake tag run.h5 nightly --keep 30d --force
  h5lake tag run.h5 --json
  h5lake tag --delete run.h5 paper
  h5lake ls run.h5@tag=paper")]
    Tag {
        /// The container's path or URL; NAME@v=12 for a version.
        name: PathBuf,
        /// The tag: up to 64 letters, digits, '.', '_' and '-'.
        tag: Option<String>,
        /// Delete the tag. Its version is then retained like other versions of its age.
        #[arg(short, long, requires = "tag")]
        delete: bool,
        /// Move an existing tag.
        #[arg(short, long, conflicts_with = "delete")]
        force: bool,
        /// The time for which the tag is retained, such as 12h or 30d. The next 'h5lake vacuum' after this time deletes the tag. Without
        /// it, the tag exists until it is deleted.
        #[arg(short, long, value_name = "TIME", value_parser = duration, requires = "tag", conflicts_with = "delete")]
        keep: Option<Duration>,
        /// Show JSON instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Keep changes in a branch, and merge them.
    ///
    /// Creates a branch of the newest version, or of the version of NAME@v=12. To read or write the branch, open it as NAME@branch=BRANCH.
    /// Several branches can be written at the same time. --merge applies all changes of the branch in one commit, by the same rules as for
    /// concurrent writers. If the main line has conflicting changes, the merge is refused, and the conflicts and the remedy are listed;
    /// with H5LAKE_CONFLICT=last, the changes of the branch win. Without BRANCH, lists the branches.
    #[command(after_help = "Examples:
  h5lake branch run.h5 fix
  h5lake branch run.h5@v=12 other-calibration
  h5lake branch run.h5 --json
  h5lake diff run.h5 run.h5@branch=fix
  h5lake branch --merge run.h5 fix
  h5lake branch --delete run.h5 fix")]
    Branch {
        /// The path or URL of the container; NAME@v=12 for the version to begin with.
        name: PathBuf,
        /// The branch: up to 57 letters, digits, '.', '_' and '-'.
        branch: Option<String>,
        /// Merge the changes of the branch, and delete it.
        #[arg(short, long, requires = "branch", conflicts_with = "delete")]
        merge: bool,
        /// Delete the branch and its changes.
        #[arg(short, long, requires = "branch")]
        delete: bool,
        /// Show JSON instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Publish a version for readers of Zarr.
    ///
    /// Zarr readers need no HDF5. Writes references to the chunks of the version, and keeps them valid until the publication is withdrawn,
    /// regardless of later writes, vacuums and reclamation. Copies only the chunks that cannot be referenced, and lists them. Publishes the
    /// newest version, or the version of NAME@v=12. Without a format, lists the publications. REFS.parquet and Icechunk require h5lake's
    /// Python package.
    #[command(after_help = "Examples:
  h5lake publish run.h5 --kerchunk refs.json
  h5lake publish s3://lab/data/run.h5@v=12 --kerchunk refs.parquet
  h5lake publish run.h5 --kerchunk refs.json --url https://data.example.org/run.h5
  h5lake publish run.h5
  h5lake publish run.h5@v=12 --withdraw")]
    Publish {
        /// The container's path or URL; NAME@v=12 for a version.
        name: PathBuf,
        /// Write references in fsspec's format, version 1: JSON, or Parquet if the name ends with .parquet.
        #[arg(short, long, value_name = "REFS.json|REFS.parquet")]
        kerchunk: Option<PathBuf>,
        /// Create an Icechunk repository with virtual chunks in this folder.
        #[arg(short, long, value_name = "DIR", conflicts_with = "kerchunk")]
        icechunk: Option<PathBuf>,
        /// The URL of the file or store in the references, instead of the container's own URL.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// Withdraw the publication. Afterwards, its references may return wrong data.
        #[arg(long, conflicts_with_all = ["kerchunk", "icechunk"])]
        withdraw: bool,
        /// Show JSON instead of text.
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
    },
}
