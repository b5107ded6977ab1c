//! The commands that delete, check and repair containers, and free their space.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand)]
pub enum Maintain {
    /// Delete containers and their pointer files.
    ///
    /// A container with a retention time is retained for this time, and `h5lake restore` restores it. If one of several containers
    /// cannot be deleted, the remaining ones are deleted nevertheless, and the exit code is 1.
    #[command(after_help = "Examples:
  h5lake rm run.h5
  h5lake rm s3://lab/data/run.h5 && h5lake restore s3://lab/data/run.h5")]
    Rm {
        /// The paths or URLs of the containers.
        #[arg(required = true)]
        names: Vec<PathBuf>,
        /// Show one JSON object for each container instead of text.
        ///
        /// The keys are `name`, `kept` (the name by which the container can be read and restored, or null) and `url`
        /// (of the container, or null for a file).
        #[arg(long)]
        json: bool,
    },
    /// Check whether containers are damaged.
    ///
    /// Checks every checksum, reference, count and free range of a container, and lists the damage. Changes nothing. Other programs may
    /// write meanwhile. Exit code: 0 if the container is intact (warnings may have been shown), 2 if something is damaged, 1 if the
    /// container could not be read.
    #[command(after_help = "Examples:
  h5lake verify run.h5
  h5lake verify --newest --json *.h5")]
    Verify {
        /// The paths or URLs of the containers.
        #[arg(required = true)]
        names: Vec<PathBuf>,
        /// Check only the newest version, not the older versions that can still be opened.
        #[arg(long)]
        newest: bool,
        /// Show one JSON object for each container instead of text.
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Copy all intact content of a damaged container to a new one.
    ///
    /// Lists the losses. The source is not changed. Exit code: 0 if nothing was lost, 3 if nothing was lost and tags or branches were left
    /// out, 2 if something was lost, 1 if the repair failed; then no target exists.
    #[command(after_help = "Examples:
  h5lake repair damaged.h5 repaired.h5
  h5lake repair --json s3://lab/data/run.h5 repaired.h5")]
    Repair {
        /// The path or URL of the damaged container.
        source: PathBuf,
        /// The path or URL of the new container, which must not exist yet.
        target: PathBuf,
        /// Show one JSON object instead of text.
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Free unused space of a container.
    ///
    /// This is the space of versions that were replaced longer ago than the retention time, and of orphaned data of killed writers.
    #[command(after_help = "Examples:
  h5lake vacuum run.h5")]
    Vacuum {
        /// The container's path or URL.
        name: PathBuf,
        /// Show one JSON object instead of text.
        ///
        /// The keys are `name`, `freed_bytes` and `held_by_tags` (bytes).
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Remove the lock of a container from a writer.
    ///
    /// Use it if the writer of a container in a store has died or hangs and still holds the lock. A living writer loses its uncommitted
    /// changes.
    #[command(after_help = "Examples:
  h5lake unlock s3://lab/data/run.h5
  h5lake unlock --yes run.h5")]
    Unlock {
        /// The container's path or URL.
        name: PathBuf,
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
        /// Show one JSON object instead of text.
        ///
        /// The keys are `name` and `unlocked`.
        #[arg(long)]
        json: bool,
    },
    /// Upload staged commits of killed writers to their stores.
    ///
    /// Writers with the setting stage= leave their pending uploads in a folder when they die. Shows the newest version of each container
    /// that arrived in its store. Commits that another writer has overtaken stay in the folder and are listed.
    #[command(after_help = "Examples:
  h5lake drain /local/scratch
  h5lake drain --dry-run --json /local/scratch
  h5lake drain --discard /local/scratch s3://lab/data/run.h5

Exit codes: 0 nothing is left but what living writers have there; 2 something stays; 1 the folder could not be read.")]
    Drain {
        /// The folder of the setting stage=, on this machine.
        folder: PathBuf,
        /// Process only these containers, by the names that the tool shows; without them, all.
        names: Vec<String>,
        /// Delete the pending uploads of the given containers. Their last commits are lost.
        #[arg(long, requires = "names", conflicts_with = "dry_run")]
        discard: bool,
        /// Change nothing, but list the pending uploads.
        #[arg(short = 'n', long)]
        dry_run: bool,
        /// Show one JSON object for each set of pending uploads instead of text.
        ///
        /// Each line is an object: `name`, `folder`, `host`, `pid`, `operations`, `bytes`, `outcome` (`arrived`,
        /// `stays`, `waits`, `discarded`, `in use`), `from_version`, `to_version` and `error`.
        #[arg(long)]
        json: bool,
    },
}
