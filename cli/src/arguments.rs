//! The commands of the tool and their options, with the texts of `--help` and the manual pages.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use h5lake_connector::config::duration;
use h5lake_connector::{Along, Join};

use crate::Failure;

/// The table of exit codes, which is also in docs/guide.md.
const EXIT_CODES: &str = "\
Exit codes:
  0  done; nothing is damaged, nothing was lost, nothing differs
  1  it could not be done; wrong arguments and wrong settings, too
  2  done, and: something is damaged (verify), something was lost (repair), there are differences (diff),
     a problem (doctor), a store that does not keep what it has to (check-store), some files could not be converted
     (import, export), user-defined links were left out (import, export, adopt), or something stays in a stage (drain)
  3  done; nothing was lost, and tags or branches were left out (repair)
`h5lake run` has the exit code of its program.";

const NAMES: &str = "\
Names mean what they mean to HDF5 programs: a path, a pointer file, a URL (s3://BUCKET/PREFIX/KEY, file:///DIR/KEY).
Where a version can be read, NAME@v=12 and NAME@t=2026-11-20T10:00:00Z name one. The settings are those of programs:
HDF5_VOL_CONNECTOR and H5LAKE_*.";

/// Read, check and change h5lake containers.
///
/// Containers are HDF5 files that keep readable old versions.
#[derive(Parser)]
#[command(name = "h5lake", version, after_help = EXIT_CODES, after_long_help = format!("{NAMES}\n\n{EXIT_CODES}"))]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// List a group's members, or the containers of a folder or bucket.
    ///
    /// For members, shows kinds and shapes; with -l also types, chunks, filters, sizes and compression. For containers, shows names, sizes
    /// and the times of the last write; with -l also the newest version, its time and its writer. A slash at the end of NAME marks a
    /// folder.
    #[command(after_help = "Examples:
  h5lake ls run.h5
  h5lake ls -l run.h5@v=3 /detector
  h5lake ls --json s3://lab/data/run.h5
  h5lake ls s3://lab/data/
  h5lake ls -l results/
  h5lake ls s3://lab | cut -f1

In a store, all containers below the prefix are listed, from the names of the objects alone. With -l one object or more of each
container is read. In a pipe, each container is a line of fields that are separated by tabs.")]
    Ls {
        /// The path or URL of the container, NAME@v=12 for a version; or a directory, a bucket or a prefix.
        name: PathBuf,
        /// The group to list, or a single object. Without it, the root group.
        path: Option<String>,
        /// Show types, chunks, filters, and sizes with and without filters; for a folder, the newest version of each container.
        #[arg(short, long)]
        long: bool,
        /// For a directory: also list the containers in its subfolders.
        #[arg(short, long)]
        recursive: bool,
        /// Show a JSON array instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Show how many bytes containers occupy.
    ///
    /// NAME is a container, or a directory, a bucket or a prefix. In the latter cases, shows the size of each container and the sum. The
    /// sizes include old versions. Containers that were deleted or replaced and are retained are included, too.
    #[command(after_help = "Examples:
  h5lake du s3://lab/data/
  h5lake du results/ | sort -n
  h5lake du run.h5")]
    Du {
        /// A directory, a bucket or a prefix, or the path or URL of a container.
        name: PathBuf,
        /// Show a JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Show a group and all objects below it.
    ///
    /// Groups that several hard links lead to are expanded once.
    #[command(after_help = "Examples:
  h5lake tree run.h5
  h5lake tree --depth 2 -l run.h5 /detector")]
    Tree {
        /// The container's path or URL; NAME@v=12 for a version.
        name: PathBuf,
        /// The group to begin with.
        #[arg(default_value = "/")]
        path: String,
        /// The maximum depth: 1 shows only the members of the group itself.
        #[arg(short, long, default_value_t = usize::MAX, hide_default_value = true)]
        depth: usize,
        /// Show types, chunks, filters, and sizes with and without filters.
        #[arg(short, long)]
        long: bool,
        /// Show a JSON array instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Show the properties of a container, or of an object in it.
    ///
    /// For a container: versions, objects, bytes, and the space that a vacuum would free. For an object: its properties, and its attributes
    /// with their values.
    #[command(after_help = "Examples:
  h5lake info run.h5
  h5lake info run.h5 /detector/image")]
    Info {
        /// The container's path or URL; NAME@v=12 for a version.
        name: PathBuf,
        /// An object in the container.
        path: Option<String>,
        /// Show a JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Show the elements of a dataset or of an attribute.
    ///
    /// Each row is a line. Without rows, each element is a line.
    #[command(after_help = "Examples:
  h5lake cat run.h5 /detector/image --slice '0:10,3'
  h5lake cat run.h5@v=3 /table --slice '-5:' --json
  h5lake cat run.h5 /detector --attribute units
  h5lake cat run.h5 /detector/image --slice 0 --raw > frame.bin")]
    Cat {
        /// The container's path or URL; NAME@v=12 for a version.
        name: PathBuf,
        /// The dataset, or the object that has the attribute.
        path: String,
        /// The part to show, in the notation of h5py: '0:10,3', '...,::2', '-1'.
        #[arg(short, long, allow_hyphen_values = true)]
        slice: Option<String>,
        /// Show this attribute of the object.
        #[arg(short, long, value_name = "NAME")]
        attribute: Option<String>,
        /// Show a JSON object with path, type, shape and data instead of text.
        #[arg(long, conflicts_with = "raw")]
        json: bool,
        /// Write the bytes of the elements as they are stored, without filters.
        #[arg(long)]
        raw: bool,
    },
    /// Find the elements of a dataset that match an expression.
    ///
    /// Shows the coordinates and the values of the elements. Chunks are read only if they can contain matches, because the plugin stores
    /// the minimum and the maximum of each chunk. If the store can compare numbers itself, it searches the chunks, and its results are not
    /// verified with checksums.
    #[command(after_help = "Expressions:
  x is the element. Of a compound, members go by their names: time, position.y, \"a name with blanks\".
  <, <=, >, >=, ==, != compare numbers; 1 < x <= 5 is a range. and, or, not and parentheses join comparisons.
  Integers and floats compare exactly. NaN is unequal to everything, as in numpy.

Examples:
  h5lake filter run.h5 /detector/counts 'x > 5'
  h5lake filter --count run.h5@v=3 /time '1700000000 <= x < 1700003600'
  h5lake filter --json --limit 10 s3://lab/data/run.h5 /table 'energy > 1e3 and not flag == 1'")]
    Filter {
        /// The container's path or URL; NAME@v=12 for a version.
        name: PathBuf,
        /// The dataset.
        path: String,
        /// The condition on each element, such as 'x > 5'.
        #[arg(allow_hyphen_values = true)]
        expression: String,
        /// Count the matching elements without showing them.
        #[arg(short, long)]
        count: bool,
        /// Stop after this number of matches.
        #[arg(short = 'n', long, value_name = "N")]
        limit: Option<u64>,
        /// Read the chunks and verify their checksums, even if the store itself could search them.
        #[arg(long)]
        local: bool,
        /// Show one JSON object instead of text.
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Compare two containers, or two versions of one.
    ///
    /// Lists the objects, links, attributes, shapes, types and elements that differ. Floats are equal if their bits are. For versions of
    /// one container, reads only the changed parts. Exit code: 0 if nothing differs, 2 if something differs, 1 if something could not be
    /// compared and nothing else differs.
    #[command(after_help = "Examples:
  h5lake diff run.h5@v=3 run.h5
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
        /// Show a JSON array instead of text.
        #[arg(long)]
        json: bool,
    },
    /// List the versions that can be opened.
    ///
    /// Lists the newest version first. Shows the number of each version, its time, the bytes that it added, the process and host that wrote
    /// it, and its tags. Versions that only tags retain follow. To read a version, open it as NAME@v=NUMBER, NAME@t=TIME or NAME@tag=TAG.
    #[command(after_help = "Examples:
  h5lake versions run.h5
  h5lake versions -n 5 --json run.h5")]
    Versions {
        /// The container's path or URL.
        name: PathBuf,
        /// The maximum number of versions to list.
        #[arg(short = 'n', long, default_value_t = usize::MAX, hide_default_value = true)]
        most: usize,
        /// Show one JSON object instead of text.
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
    /// Run a program with h5lake as its HDF5 connector.
    ///
    /// The program needs no changes. Sets HDF5_VOL_CONNECTOR, and adds the folder of the plugin to HDF5_PLUGIN_PATH. The exit code is that
    /// of the program.
    #[command(after_help = "Examples:
  h5lake run -- python analysis.py run.h5
  h5lake run --set sync=commit --set retention=7d -- ./simulation")]
    Run {
        /// A setting, as in the connector string: KEY=VALUE. Can be repeated.
        #[arg(short, long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
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
  h5lake doctor ./simulation /usr/lib/x86_64-linux-gnu/libhdf5.so")]
    Doctor {
        /// Programs or libhdf5 libraries; without any, h5py, PyTables and netCDF4.
        targets: Vec<PathBuf>,
        /// The Python interpreter with the modules to check; without it, the interpreter beside this tool, otherwise python3 on PATH. It
        /// also loads the libraries of other programs.
        #[arg(long)]
        python: Option<PathBuf>,
        /// Show a JSON object instead of text.
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
        #[arg(long)]
        json: bool,
    },
    /// Show a page of the documentation, or list the pages.
    ///
    /// The pages are in Markdown.
    #[command(after_help = "Examples:
  h5lake docs
  h5lake docs guide#old-versions
  h5lake docs troubleshooting | less")]
    Docs {
        /// The page, or PAGE#HEADING for a section of it, as in links; without it, lists the names of all pages.
        page: Option<String>,
    },
    /// Create a pointer file to a container in a store.
    ///
    /// Programs that open PATH then open the container at URL.
    #[command(after_help = "Examples:
  h5lake link s3://lab/data/run.h5 run.h5")]
    Link {
        /// The URL of the container: file:///DIR/KEY, s3://BUCKET/PREFIX/KEY.
        url: String,
        /// The path of the pointer file. An existing pointer file is replaced, any other file is not.
        path: PathBuf,
        /// Show one JSON object instead of text.
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
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Copy a container, or one version of it.
    ///
    /// Copies between files and stores, to a name that does not exist yet. The name of the copy exists only when the copy is complete. Old
    /// versions and tags are not copied. A copy that was killed or failed continues when it is started again within a day, without
    /// transferring the same data again. If SOURCE has changed meanwhile, the copy starts from the beginning and says so. With --update, an
    /// earlier copy is updated: only the changes are transferred, in one commit.
    #[command(after_help = "Examples:
  h5lake copy run.h5 s3://lab/data/run.h5
  h5lake copy s3://lab/data/run.h5@v=12 old.h5
  h5lake copy run.h5@tag=paper paper.h5
  h5lake copy --update run.h5 s3://lab/data/run.h5")]
    Copy {
        /// The container's path or URL; NAME@v=12 for a version.
        source: PathBuf,
        /// The path or URL of the new container, which must not exist yet.
        target: PathBuf,
        /// If an earlier copy of SOURCE exists at TARGET, transfer only the changes since then. The copy must not have been written to, and
        /// SOURCE must still retain the version that it shows. If nothing exists at TARGET, make a copy.
        #[arg(short, long)]
        update: bool,
        /// Show one JSON object instead of text.
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Convert native HDF5 files to containers.
    ///
    /// Converts one file, or all files in a folder and its subfolders. The name of a container exists only when the container is complete.
    /// User-defined links are left out and listed. Exit code: 2 if links were left out, or if some files of a folder could not be
    /// converted.
    #[command(after_help = "Examples:
  h5lake import old.h5 run.h5
  h5lake import old.h5 s3://lab/data/run.h5
  h5lake import --jobs 8 archive/ s3://lab/archive/")]
    Import {
        #[command(flatten)]
        conversion: Conversion,
    },
    /// Convert containers to native HDF5 files.
    ///
    /// Converts one container or a version of it, or all containers in a folder and its subfolders. Content that native HDF5 cannot
    /// represent is listed before anything is written. User-defined links are left out and listed. Exit code: 2 if links were left out, or
    /// if some files of a folder could not be converted.
    #[command(after_help = "Examples:
  h5lake export run.h5 native.h5
  h5lake export run.h5@v=3 then.h5
  h5lake export --library /usr/lib/libhdf5.so results/ native/
  h5lake export s3://lab/archive/ native/")]
    Export {
        #[command(flatten)]
        conversion: Conversion,
    },
    /// Make a container that refers to the data of native HDF5 files.
    ///
    /// The native files are local or in a store. This takes seconds, because raw data is not copied. The native files are never written.
    /// They must not change: if one changes, reading its data is an error. Groups, attributes, types, links, variable-length data and
    /// references are copied. Move all files together, or none. 'h5lake materialize' copies the remaining data. For several files, --concat
    /// and --stack select the datasets that are joined; everything else comes from the first file.
    #[command(after_help = "Examples:
  h5lake adopt old.h5 run.h5
  h5lake adopt --checksums old.h5 s3://lab/data/run.h5
  h5lake adopt s3://lab/archive/old.h5 run.h5
  h5lake adopt monday.h5 tuesday.h5 week.h5 --concat /time --concat /temperature
  h5lake adopt shot-*.h5 shots.h5 --stack /detector

Exit codes: 0 done; 1 not possible: nothing was made; 2 done, and user-defined links were left out, which are listed.")]
    Adopt {
        /// The paths or URLs of native files, in the order in which they are joined.
        #[arg(required = true, value_name = "SOURCE")]
        sources: Vec<PathBuf>,
        /// The path or URL of the new container, which must not exist yet.
        target: PathBuf,
        #[command(flatten)]
        joins: Joins,
        /// The libhdf5 to use, or a program that loads a libhdf5.
        #[arg(long, value_name = "PATH")]
        library: Option<PathBuf>,
        /// Read all data and store checksums of it, which also detect a change that preserves the length and time of a file.
        #[arg(long)]
        checksums: bool,
        /// If user-defined links would be left out, list them and create nothing.
        #[arg(long)]
        strict: bool,
        /// Show one JSON object instead of text.
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Copy the data that a container refers to in native files.
    ///
    /// Afterwards, the newest version of a container that 'h5lake adopt' made no longer needs the native files. Older versions still do.
    /// Commits every 256 MiB, and can be started again.
    #[command(after_help = "Examples:
  h5lake materialize --dry-run run.h5
  h5lake materialize run.h5

Exit codes: 0 done; 1 not possible: what was committed until then stays; 2 done, and virtual datasets, external storage, external
links, tags or branches need other files still, which are named.")]
    Materialize {
        /// The container's path or URL.
        name: PathBuf,
        /// Copy nothing, but list the referenced data.
        #[arg(short = 'n', long)]
        dry_run: bool,
        /// Show one JSON object instead of text.
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Convert one file (used by the tool itself).
    #[command(hide = true)]
    ConvertOne {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Delete a temporary of the tool when the process that started this one has ended (used by the tool itself).
    #[command(hide = true)]
    RemoveTemporary { path: PathBuf },
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
        #[arg(long)]
        json: bool,
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
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
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
        #[arg(long)]
        json: bool,
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

/// The options that select the datasets of several files to be joined.
#[derive(Args)]
pub struct Joins {
    /// For several files: join this dataset, or all datasets in and below this group that have the dimension. Can be repeated.
    #[arg(long, value_name = "PATH")]
    concat: Vec<String>,
    /// Like --concat, but join along a new first dimension, with one element for each file.
    #[arg(long, value_name = "PATH")]
    stack: Vec<String>,
    /// The dimension of --concat, counted from 0.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "concat")]
    dimension: usize,
}

impl Joins {
    /// Returns the joins for this number of files. Returns an error if several files are given without a join.
    pub fn of(self, files: usize) -> Result<Vec<Join>, Failure> {
        let along = Along::Existing(self.dimension);
        let concat = self.concat.into_iter().map(|path| Join { path, along });
        let stack = self.stack.into_iter().map(|path| Join { path, along: Along::New });
        let joins: Vec<_> = concat.chain(stack).collect();
        if files > 1 && joins.is_empty() {
            return Err("several files become one container only with --concat PATH or --stack PATH, which say what is joined".into());
        }
        Ok(joins)
    }
}

/// The arguments of `import` and `export`.
#[derive(Args)]
pub struct Conversion {
    /// A file or a folder; for an export also a part of a store with a URL that ends with a slash. Files of other kinds in a folder are
    /// ignored.
    pub source: PathBuf,
    /// The name of the new file, or the folder or URL below which the new files get the same relative names as their sources.
    pub target: PathBuf,
    /// The libhdf5 (1.14.0 or later) that converts, or a program that loads one. Without it, the tool searches Python's packages, HDF5's
    /// programs, and the library folders of the system.
    #[arg(long, value_name = "FILE")]
    pub library: Option<PathBuf>,
    /// The number of files that are converted at the same time; without it, the number of processors.
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// If user-defined links of a file would be left out, list them and do not convert the file.
    #[arg(long)]
    pub strict: bool,
    /// Convert from or to Zarr instead of native HDF5: one hierarchy, version 2 or 3 to import, 3 to export. Requires h5lake's Python
    /// package, h5py and zarr-python.
    #[arg(long, conflicts_with_all = ["library", "jobs", "strict", "json"])]
    pub zarr: bool,
    /// Show one JSON object for each file instead of text.
    #[arg(long)]
    pub json: bool,
    /// Show no progress.
    #[arg(short, long)]
    pub quiet: bool,
}
