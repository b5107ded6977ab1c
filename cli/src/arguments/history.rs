//! The commands that show the history of a container, and name, compare and restore its versions.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use h5lake_connector::config::duration;

#[derive(Subcommand)]
pub enum History {
    /// Show the history of a container, newest version first.
    ///
    /// Shows each version with its names, its author, its time and its message. The author is the user, the host, the program and the
    /// process that made the commit. NAME@v=12 shows the history up to a version. `h5lake versions` lists the same versions as a table with
    /// their bytes, and the replaced containers that can be restored.
    ///
    /// --graph draws each branch beside the version that it begins with; without it, this version has the tag branch-NAME. A branch has
    /// no versions of its own, so that its commits are counted, not listed. A commit to a branch makes a version of the container, too, in
    /// which the main line is unchanged. A branch that was merged or deleted is not shown.
    #[command(after_help = "Examples:
  h5lake log run.h5
  h5lake log --graph --oneline -n 20 s3://lab/data/run.h5
  h5lake log run.h5@tag=paper
  h5lake log --json run.h5")]
    Log {
        /// The container's path or URL; NAME@v=12 for the history up to a version.
        name: PathBuf,
        /// Draw the branches, and mark the versions that are not retained any more. With --json, list the branches.
        #[arg(short, long)]
        graph: bool,
        /// Show each version as one line: its number, its names, and the first line of its message.
        #[arg(long)]
        oneline: bool,
        /// Show only versions that a collective flush or close of MPI processes made: these contain what all processes had written.
        #[arg(long, conflicts_with = "graph")]
        flushes: bool,
        /// The maximum number of versions to show.
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = usize::MAX, hide_default_value = true)]
        most: usize,
        /// Show one JSON object instead of text.
        ///
        /// `versions` is as in `h5lake versions --json`. With --graph, `branches` has `branch`, `base`, `made`,
        /// `changed`, `commits`, `host`, `pid`, `user`, `program` and `message`.
        #[arg(long, conflicts_with = "oneline")]
        json: bool,
    },
    /// List the versions to open, and the containers to restore.
    ///
    /// Lists the newest version first. Shows the number of each version, its time, the bytes that it added, the process and host that wrote
    /// it, its tags, and the first line of its message. Versions that only tags retain follow, and then the containers that were replaced or
    /// deleted and are retained. To read a version, open it as NAME@v=NUMBER, NAME@t=TIME or NAME@tag=TAG. `h5lake log` shows the same
    /// versions with their branches and whole messages.
    #[command(after_help = "Examples:
  h5lake versions run.h5
  h5lake versions -n 5 --json run.h5")]
    Versions {
        /// The container's path or URL.
        name: PathBuf,
        /// Show only versions that a collective flush or close of MPI processes made: these contain what all processes had written.
        #[arg(long)]
        flushes: bool,
        /// The maximum number of versions to list.
        #[arg(short = 'n', long, default_value_t = usize::MAX, hide_default_value = true)]
        most: usize,
        /// Show one JSON object instead of text.
        ///
        /// `versions` has `number`, `time`, `bytes`, `host`, `pid`, `user`, `program`, `message`, `processes` (of the
        /// collective flush that made the version, or 0) and `tags`. `replaced` has `name`, `id`, `version`, `replaced`,
        /// `until` and `by`.
        #[arg(long)]
        json: bool,
    },
    /// Compare two containers, or two versions of one.
    ///
    /// Lists the objects, links, attributes, shapes, types and elements that differ. Floats are equal if their bits are. For versions of
    /// one container, reads only the changed parts. Exit code: 0 if nothing differs, 2 if something differs, 1 if something could not be
    /// compared and nothing else differs.
    #[command(after_help = "Examples:
  h5lake diff run.h5@v=3 run.h5
  h5lake diff --stat run.h5@v=3 run.h5
  h5lake diff --chunks run.h5@tag=paper run.h5
  h5lake diff --elements 5 run.h5 s3://lab/data/run.h5
  h5lake diff --json run.h5 other.h5 /detector")]
    Diff {
        /// The first container, NAME or NAME@v=12.
        first: PathBuf,
        /// The second container.
        second: PathBuf,
        /// The object to compare, with all objects below it.
        #[arg(default_value = "/")]
        path: String,
        /// Show the positions and values of this number of differing elements for each dataset and attribute.
        #[arg(short, long, default_value_t = 0, hide_default_value = true)]
        elements: usize,
        /// List the chunks with differing elements, by the coordinates of their first elements.
        #[arg(short, long)]
        chunks: bool,
        /// Also compare layouts, chunks, filters and fill properties.
        #[arg(long)]
        storage: bool,
        /// Count the differences of each object, and show a summary, instead of listing the differences.
        #[arg(long, conflicts_with = "elements")]
        stat: bool,
        /// Show a JSON array instead of text.
        ///
        /// Each object has `path`, `attribute`, `change` (`added`, `removed`, `kind`, `link`, `shape`, `type`,
        /// `elements`, …), `from` and `to`. A change of elements has `differing`, `elements` (all of them), and with
        /// --elements `first` (`at`, `from`, `to`). With --stat, one object: `objects` with `path` and `change`
        /// (`changed`, `created`, `deleted`, `link added`, `link removed`, `link changed`, `not compared`), and
        /// `summary` with `changed`, `created`, `deleted` (numbers of objects), `links`, `attributes`, `elements` and
        /// `not_compared`. A changed object has `attributes` (`added`, `changed`, `removed`), `properties` (name to
        /// `from`, `to`), `elements` (`differing`, `of`, `bytes`, `chunks`, `more_chunks`; or null) and `not_compared`
        /// (reasons). An object or a link that only one container has, has `is` (text); a created or deleted object
        /// also has `objects` (the number of objects at and below the path) and `bytes`.
        #[arg(long)]
        json: bool,
    },
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
        ///
        /// A list is an array of `tag`, `version`, `time`, `tagged`, `until` (null without --keep) and `holds_bytes`.
        /// `version`, `time` and `tagged` are null if the tag is damaged. A new tag is one such object. With --delete:
        /// `name` and `deleted`.
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
    /// Restore a container that was replaced or deleted, or a version.
    ///
    /// A container that was replaced or deleted is retained for the retention time. The container that has the name now is retained in
    /// turn. `h5lake versions NAME` lists the retained containers, and NAME@replaced=KEPT reads one before it is restored. With --version,
    /// or for NAME@tag=TAG, makes an old version the newest one again, as a new version. The versions in between remain.
    #[command(after_help = "Examples:
  h5lake restore run.h5
  h5lake restore run.h5 3f9a
  h5lake restore run.h5 --version 12
  h5lake restore run.h5@tag=paper
  h5lake restore run.h5 --version 2026-11-20T10:00:00Z")]
    Restore {
        /// The container's path or URL.
        name: PathBuf,
        /// The name of the retained container, as `h5lake versions` shows it, or its first digits; without it, the container that was
        /// replaced last.
        #[arg(default_value = "", hide_default_value = true)]
        kept: String,
        /// The version, by its number or by a time.
        #[arg(long, conflicts_with = "kept", value_name = "NUMBER|TIME")]
        version: Option<String>,
        /// Show one JSON object instead of text.
        ///
        /// The keys are `name`, `kept` (the name by which the container was retained) and `id`; with --version `name`,
        /// `from`, `version` (the new one), `entries` and `bytes`.
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
    },
}
