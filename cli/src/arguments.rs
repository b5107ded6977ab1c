//! The tool's commands and their options, with what `--help` and the manual pages say.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use h5lake_connector::config::duration;
use h5lake_connector::{Along, Join};

use crate::Failure;

/// The table of exit codes, which docs/guide.md has too.
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
/// Containers are HDF5 files of which old versions can be read.
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
    /// Of members, shows kinds and shapes; with -l types, chunks, filters, sizes and compression as well. Of containers, shows
    /// names, bytes, and when they were written last; with -l the newest version, its time and its writer as well. The end of
    /// NAME in a slash says that it is a folder.
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
        /// The container's path or URL, NAME@v=12 for a version; or a directory, a bucket or a prefix.
        name: PathBuf,
        /// The group, or an object of which a line is wanted. Without it, the root group.
        path: Option<String>,
        /// Types, chunks, filters, bytes without and with filters; of a folder, the newest version of each container.
        #[arg(short, long)]
        long: bool,
        /// Of a directory: list the containers in its folders, too.
        #[arg(short, long)]
        recursive: bool,
        /// Show a JSON array instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Show how many bytes containers take.
    ///
    /// NAME is a container, or a directory, a bucket or a prefix, whose containers are shown each and together. Old versions
    /// count, and containers that were deleted or replaced and are retained.
    #[command(after_help = "Examples:
  h5lake du s3://lab/data/
  h5lake du results/ | sort -n
  h5lake du run.h5")]
    Du {
        /// A directory, a bucket or a prefix, or a container's path or URL.
        name: PathBuf,
        /// Show a JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Show a group with all below it.
    ///
    /// Members of a group that hard links lead to twice are shown once.
    #[command(after_help = "Examples:
  h5lake tree run.h5
  h5lake tree --depth 2 -l run.h5 /detector")]
    Tree {
        /// The container's path or URL; NAME@v=12 for a version.
        name: PathBuf,
        /// Where to begin.
        #[arg(default_value = "/")]
        path: String,
        /// Go so deep: 1 for the members of the group alone.
        #[arg(short, long, default_value_t = usize::MAX, hide_default_value = true)]
        depth: usize,
        /// Types, chunks, filters, bytes without and with filters.
        #[arg(short, long)]
        long: bool,
        /// Show a JSON array instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Show the properties of a container, or of an object in it.
    ///
    /// Of a container: versions, objects, bytes, and the space that a vacuum would free. Of an object: its properties, and its
    /// attributes with their values.
    #[command(after_help = "Examples:
  h5lake info run.h5
  h5lake info run.h5 /detector/image")]
    Info {
        /// The container's path or URL; NAME@v=12 for a version.
        name: PathBuf,
        /// An object in it.
        path: Option<String>,
        /// Show a JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Show the elements of a dataset or of an attribute.
    ///
    /// Each row is a line; where there are no rows, each element is one.
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
        /// A part, as h5py has it: '0:10,3', '...,::2', '-1'.
        #[arg(short, long, allow_hyphen_values = true)]
        slice: Option<String>,
        /// Show this attribute of the object.
        #[arg(short, long, value_name = "NAME")]
        attribute: Option<String>,
        /// Show a JSON object with path, type, shape and data instead of text.
        #[arg(long, conflicts_with = "raw")]
        json: bool,
        /// Write the elements' bytes as they are stored, without filters.
        #[arg(long)]
        raw: bool,
    },
    /// Find the elements of a dataset that match an expression.
    ///
    /// Shows their coordinates and their values. Chunks are read only if they can have such elements: the plugin keeps the least and the
    /// greatest element of each. A store that compares numbers where they are does so, and what it finds is believed.
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
        /// What is asked of each element, as 'x > 5'.
        #[arg(allow_hyphen_values = true)]
        expression: String,
        /// Count the elements that match, and show none.
        #[arg(short, long)]
        count: bool,
        /// End after so many.
        #[arg(short = 'n', long, value_name = "N")]
        limit: Option<u64>,
        /// Read the chunks, and compare them with their checksums, also where the store itself could look for matches.
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
    /// Names the objects, links, attributes, shapes, types and elements that differ. Floats are equal if their bits are. Of versions of one container only what changed is read. Exit code: 0 if nothing differs, 2 if
    /// something does, 1 if something could not be compared and nothing differs.
    #[command(after_help = "Examples:
  h5lake diff run.h5@v=3 run.h5
  h5lake diff --chunks run.h5@tag=paper run.h5
  h5lake diff --elements 5 run.h5 s3://lab/data/run.h5
  h5lake diff --json run.h5 other.h5 /detector")]
    Diff {
        /// The first one, NAME or NAME@v=12.
        first: PathBuf,
        /// The second one.
        second: PathBuf,
        /// Compare what is here, and below it.
        #[arg(default_value = "/")]
        path: String,
        /// Show positions and values of so many elements that differ, of each dataset and attribute.
        #[arg(short, long, default_value_t = 0, hide_default_value = true)]
        elements: usize,
        /// Name the chunks that hold elements which differ, by the coordinates of their first elements.
        #[arg(short, long)]
        chunks: bool,
        /// Compare layouts, chunks, filters and fill properties as well.
        #[arg(long)]
        storage: bool,
        /// Show a JSON array instead of text.
        #[arg(long)]
        json: bool,
    },
    /// List the versions that can be opened.
    ///
    /// The newest one comes first. Each has its number, its time, the bytes that it added, the process and host that wrote it, and its
    /// tags. Versions that tags alone keep follow. A version is opened, to read, as NAME@v=NUMBER, NAME@t=TIME
    /// or NAME@tag=TAG.
    #[command(after_help = "Examples:
  h5lake versions run.h5
  h5lake versions -n 5 --json run.h5")]
    Versions {
        /// The container's path or URL.
        name: PathBuf,
        /// At most so many.
        #[arg(short = 'n', long, default_value_t = usize::MAX, hide_default_value = true)]
        most: usize,
        /// Show one JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Keep a version under a name.
    ///
    /// The newest version, or the one that NAME@v=12 names, stays for as long as the tag is there, whatever the retention time says.
    /// Without TAG, lists the tags. A tagged version is opened, to read, as NAME@tag=TAG.
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
        /// Delete the tag. Its version goes as others of its age do.
        #[arg(short, long, requires = "tag")]
        delete: bool,
        /// Move a tag that is there.
        #[arg(short, long, conflicts_with = "delete")]
        force: bool,
        /// How long the tag is to stay, such as 12h or 30d. Then the next 'h5lake vacuum' deletes it. Without it, the tag stays until
        /// it is deleted.
        #[arg(short, long, value_name = "TIME", value_parser = duration, requires = "tag", conflicts_with = "delete")]
        keep: Option<Duration>,
        /// Show JSON instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Keep changes beside the main line, and merge them.
    ///
    /// Begins a branch with the newest version, or with the one that NAME@v=12 names. Programs
    /// open it, to read or to write, as NAME@branch=BRANCH; several branches can be written at the same time. --merge takes all of its
    /// changes over in one commit, by the rules of many writers, or refuses, names what both changed and says what to do. With
    /// H5LAKE_CONFLICT=last the branch counts there. Without BRANCH, lists the branches.
    #[command(after_help = "Examples:
  h5lake branch run.h5 fix
  h5lake branch run.h5@v=12 other-calibration
  h5lake branch run.h5 --json
  h5lake diff run.h5 run.h5@branch=fix
  h5lake branch --merge run.h5 fix
  h5lake branch --delete run.h5 fix")]
    Branch {
        /// The container's path or URL; NAME@v=12 for a version to begin with.
        name: PathBuf,
        /// The branch: up to 57 letters, digits, '.', '_' and '-'.
        branch: Option<String>,
        /// Take the branch's changes over, and delete it.
        #[arg(short, long, requires = "branch", conflicts_with = "delete")]
        merge: bool,
        /// Delete the branch, and what was written in it.
        #[arg(short, long, requires = "branch")]
        delete: bool,
        /// Show JSON instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Publish a version for readers of Zarr.
    ///
    /// Readers of Zarr have no HDF5. Writes references to the version's chunks, and keeps them right until the
    /// publication is withdrawn, whatever is written, vacuumed or reclaimed. No chunk is copied but those that cannot be
    /// referenced, and these are named. The newest version, or the one that NAME@v=12 names. Without a format, lists what is
    /// published. REFS.parquet and Icechunk need h5lake's Python package.
    #[command(after_help = "Examples:
  h5lake publish run.h5 --kerchunk refs.json
  h5lake publish s3://lab/data/run.h5@v=12 --kerchunk refs.parquet
  h5lake publish run.h5 --kerchunk refs.json --url https://data.example.org/run.h5
  h5lake publish run.h5
  h5lake publish run.h5@v=12 --withdraw")]
    Publish {
        /// The container's path or URL; NAME@v=12 for a version.
        name: PathBuf,
        /// Write references in fsspec's format, version 1: JSON, or Parquet for a name that ends with .parquet.
        #[arg(short, long, value_name = "REFS.json|REFS.parquet")]
        kerchunk: Option<PathBuf>,
        /// Make a repository of Icechunk in this folder, with virtual chunks.
        #[arg(short, long, value_name = "DIR", conflicts_with = "kerchunk")]
        icechunk: Option<PathBuf>,
        /// What references say instead of the container's own URL: the file's, or the store's.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// Withdraw the publication. Its references may read anything from then on.
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
    /// The program need not know of h5lake. Sets HDF5_VOL_CONNECTOR, and joins the
    /// plugin's folder to HDF5_PLUGIN_PATH. Exit code: the program's.
    #[command(after_help = "Examples:
  h5lake run -- python analysis.py run.h5
  h5lake run --set sync=commit --set retention=7d -- ./simulation")]
    Run {
        /// A setting, as in the connector string: KEY=VALUE. Several may be given.
        #[arg(short, long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Check that HDF5 programs find and use h5lake.
    ///
    /// Checks variables, plugin folders, the store of the settings, and the libhdf5 of each client: it lets every library make a
    /// file in a temporary folder, and says what to correct. Exit code: 0 if each made a container, 2 if there is a problem.
    #[command(after_help = "Examples:
  h5lake doctor
  h5lake doctor --python venv/bin/python
  h5lake doctor ./simulation /usr/lib/x86_64-linux-gnu/libhdf5.so")]
    Doctor {
        /// Programs, or libhdf5 libraries; without any, h5py, PyTables and netCDF4.
        targets: Vec<PathBuf>,
        /// The Python whose modules are looked at; without it, the one beside this tool, or else python3 on PATH. It also loads the
        /// libraries of other programs.
        #[arg(long)]
        python: Option<PathBuf>,
        /// Show a JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Check that a store keeps what containers rely on.
    ///
    /// Runs the suite that every store of h5lake passes, with objects
    /// below URL that it removes. Use it on a store of your own (H5LAKE_STORE_PATH), and on a server that you do not know. Exit
    /// code: 0 if both conditions of puts hold and every check passed, 2 if not, 1 if the store cannot be used.
    #[command(after_help = "Examples:
  h5lake check-store file:///mnt/network/try
  h5lake check-store s3://lab/try
  H5LAKE_STORE_PATH=/opt/libmine.so h5lake check-store mine://host/try")]
    CheckStore {
        /// The store's URL: a place where nothing of value is.
        url: String,
        /// Show one JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Runs one check of a store; for the tool itself.
    #[command(hide = true)]
    CheckStorePart {
        #[arg(trailing_var_arg = true)]
        arguments: Vec<String>,
    },
    /// Show every setting, and its value.
    ///
    /// Shows what each setting takes, and what HDF5_VOL_CONNECTOR and the variables H5LAKE_* make of it here. Exit code: 1
    /// if one of them is wrong.
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
    /// Pages are in Markdown.
    #[command(after_help = "Examples:
  h5lake docs
  h5lake docs guide#old-versions
  h5lake docs troubleshooting | less")]
    Docs {
        /// The page, or PAGE#HEADING for a section of it, as links have it; without it, the names of all pages.
        page: Option<String>,
    },
    /// Make a pointer file to a container in a store.
    ///
    /// Programs that open PATH then open the container at URL.
    #[command(after_help = "Examples:
  h5lake link s3://lab/data/run.h5 run.h5")]
    Link {
        /// The container's URL: file:///DIR/KEY, s3://BUCKET/PREFIX/KEY.
        url: String,
        /// Where the pointer file is made. A pointer file that is there is replaced, and nothing else.
        path: PathBuf,
        /// Show one JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Restore a container that was replaced or deleted, or a version.
    ///
    /// A container that was replaced or deleted is kept for the retention time. What the name leads to now is
    /// kept in turn. `h5lake versions NAME` lists the kept containers, and NAME@replaced=KEPT reads one before it is restored. With --version, or for NAME@tag=TAG, makes an old version the
    /// newest one again, as a new version: those between stay.
    #[command(after_help = "Examples:
  h5lake restore run.h5
  h5lake restore run.h5 3f9a
  h5lake restore run.h5 --version 12
  h5lake restore run.h5@tag=paper
  h5lake restore run.h5 --version 2026-11-20T10:00:00Z")]
    Restore {
        /// The container's path or URL.
        name: PathBuf,
        /// The name of the kept container, as `h5lake versions` shows it, or its first digits; without it, the one that was
        /// replaced last.
        #[arg(default_value = "", hide_default_value = true)]
        kept: String,
        /// The version, by its number or a time.
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
    /// The copy goes to where nothing is yet: between files and stores. The copy is found when it is
    /// whole, or never. Old versions and tags are not copied. A copy that was killed or failed continues when it is started again
    /// within a day: what had arrived is not sent again. If SOURCE has changed meanwhile, it begins anew, and says so. With --update,
    /// an earlier copy is brought up to date: only what changed is moved, in one commit.
    #[command(after_help = "Examples:
  h5lake copy run.h5 s3://lab/data/run.h5
  h5lake copy s3://lab/data/run.h5@v=12 old.h5
  h5lake copy run.h5@tag=paper paper.h5
  h5lake copy --update run.h5 s3://lab/data/run.h5")]
    Copy {
        /// The container's path or URL; NAME@v=12 for a version.
        source: PathBuf,
        /// The new container's path or URL, where nothing is yet.
        target: PathBuf,
        /// Where an earlier copy of SOURCE is, move only what changed since. It must not have been written to, and SOURCE must
        /// still keep the version that it shows. Where nothing is, make a copy.
        #[arg(short, long)]
        update: bool,
        /// Show one JSON object instead of text.
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Make containers of native HDF5 files.
    ///
    /// Converts one file, or all in a folder and below it. A container is found when it is whole,
    /// or never. User-defined links are left out and listed. Exit code: 2 if links were left out, or some files of a folder could not be
    /// converted.
    #[command(after_help = "Examples:
  h5lake import old.h5 run.h5
  h5lake import old.h5 s3://lab/data/run.h5
  h5lake import --jobs 8 archive/ s3://lab/archive/")]
    Import {
        #[command(flatten)]
        conversion: Conversion,
    },
    /// Make native HDF5 files of containers.
    ///
    /// Converts one container or a version of it, or all in a folder and below it. What native HDF5 cannot
    /// hold is named before anything is written. User-defined links are left out and listed. Exit code: 2 if links were left out, or some
    /// files of a folder could not be converted.
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
    /// The native files are local or in a store. It takes seconds, because raw data is not copied. The
    /// native files are never written. They must stay as they are: if one changes, reading its data is an error. Groups, attributes,
    /// types, links, variable-length data and references are copied. Move all files together, or none. 'h5lake materialize' copies the
    /// rest. Of several files, --concat and --stack say which datasets become one; all else is that of the first file.
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
        /// The new container's path or URL, where nothing is yet.
        target: PathBuf,
        #[command(flatten)]
        joins: Joins,
        /// The libhdf5 to use, or a program that loads one.
        #[arg(long, value_name = "PATH")]
        library: Option<PathBuf>,
        /// Read all data, and keep checksums of it: then a change that kept the file's length and time is found, too.
        #[arg(long)]
        checksums: bool,
        /// Make nothing if user-defined links would be left out: list them.
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
    /// The newest version of a container that 'h5lake adopt' made then needs the native files no longer. Older versions do. It commits every 256 MiB, and can be started again.
    #[command(after_help = "Examples:
  h5lake materialize --dry-run run.h5
  h5lake materialize run.h5

Exit codes: 0 done; 1 not possible: what was committed until then stays; 2 done, and virtual datasets, external storage, external
links, tags or branches need other files still, which are named.")]
    Materialize {
        /// The container's path or URL.
        name: PathBuf,
        /// Copy nothing: show what there is.
        #[arg(short = 'n', long)]
        dry_run: bool,
        /// Show one JSON object instead of text.
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Converts one file; for the tool itself.
    #[command(hide = true)]
    ConvertOne {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Removes a temporary of the tool when the process that started this one is gone; for the tool itself.
    #[command(hide = true)]
    RemoveTemporary { path: PathBuf },
    /// Delete containers, and their pointer files.
    ///
    /// Where its retention time says so a container is kept, and `h5lake restore`
    /// brings it back. Of several, all that can be deleted are; the exit code is 1 if one cannot.
    #[command(after_help = "Examples:
  h5lake rm run.h5
  h5lake rm s3://lab/data/run.h5 && h5lake restore s3://lab/data/run.h5")]
    Rm {
        /// The containers' paths or URLs.
        #[arg(required = true)]
        names: Vec<PathBuf>,
        /// Show one JSON object for each container instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Take the lock of a container away from a writer.
    ///
    /// Use it if the writer of a container in a store is gone and left the lock, or hangs. A writer that lives loses
    /// what it has not committed.
    #[command(after_help = "Examples:
  h5lake unlock s3://lab/data/run.h5
  h5lake unlock --yes run.h5")]
    Unlock {
        /// The container's path or URL.
        name: PathBuf,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Show one JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Check whether containers are damaged.
    ///
    /// Checks every checksum, reference, count and free range of a container, and names what is damaged. Nothing is changed, and
    /// others may write meanwhile. Exit code: 0 if it is whole (warnings may have been shown), 2 if something is damaged, 1 if it
    /// could not be read.
    #[command(after_help = "Examples:
  h5lake verify run.h5
  h5lake verify --newest --json *.h5")]
    Verify {
        /// The containers' paths or URLs.
        #[arg(required = true)]
        names: Vec<PathBuf>,
        /// Check the newest version only, not the older ones that can still be opened.
        #[arg(long)]
        newest: bool,
        /// Show one JSON object for each container instead of text.
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Make a new container of all that is intact in a damaged one.
    ///
    /// Lists what is lost. The source is not changed. Exit code:
    /// 0 if nothing was lost, 3 if nothing was lost and tags or branches were left out, 2 if something was lost, 1 if it could not be
    /// done; then there is nothing at the target.
    #[command(after_help = "Examples:
  h5lake repair damaged.h5 repaired.h5
  h5lake repair --json s3://lab/data/run.h5 repaired.h5")]
    Repair {
        /// The damaged container's path or URL.
        source: PathBuf,
        /// The new container's path or URL, where nothing is yet.
        target: PathBuf,
        /// Show one JSON object instead of text.
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Free the space that nobody needs.
    ///
    /// That is the space of versions replaced longer ago than the retention time, and of what killed writers left.
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
    /// Bring to their stores what killed writers had staged.
    ///
    /// Writers with the setting stage= leave their pending uploads in a folder when they die. Says for each container up to which version
    /// they arrived. What another writer overtook stays, and is told.
    #[command(after_help = "Examples:
  h5lake drain /local/scratch
  h5lake drain --dry-run --json /local/scratch
  h5lake drain --discard /local/scratch s3://lab/data/run.h5

Exit codes: 0 nothing is left but what living writers have there; 2 something stays; 1 the folder could not be read.")]
    Drain {
        /// The folder of the setting stage=, on this machine.
        folder: PathBuf,
        /// Only what is of these containers, as the tool names them; without it, all.
        names: Vec<String>,
        /// Throw away what is left of the named containers: their last commits are lost.
        #[arg(long, requires = "names", conflicts_with = "dry_run")]
        discard: bool,
        /// Change nothing: show what there is.
        #[arg(short = 'n', long)]
        dry_run: bool,
        /// Show one JSON object for each leftover instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Write a script that completes arguments in a shell.
    #[command(after_help = "Examples:
  h5lake completions bash > ~/.local/share/bash-completion/completions/h5lake
  h5lake completions zsh > ~/.zfunc/_h5lake")]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual pages into a folder.
    ///
    /// Writes h5lake.1, and one page for each command.
    #[command(after_help = "Examples:
  h5lake man ~/.local/share/man/man1")]
    Man {
        /// The folder; it is made if it is not there.
        folder: PathBuf,
    },
}

/// Which datasets of several files become one.
#[derive(Args)]
pub struct Joins {
    /// Of several files: join this dataset, or all datasets in and below this group that have the dimension. May be given again.
    #[arg(long, value_name = "PATH")]
    concat: Vec<String>,
    /// The same along a new first dimension, with one element for each file.
    #[arg(long, value_name = "PATH")]
    stack: Vec<String>,
    /// The dimension of --concat, counted from 0.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "concat")]
    dimension: usize,
}

impl Joins {
    /// What is joined of so many files.
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

/// What `import` and `export` are told.
#[derive(Args)]
pub struct Conversion {
    /// A file, or a folder; for an export also a part of a store, whose URL ends with a slash. Other files there are left out.
    pub source: PathBuf,
    /// What the new file is called, or the folder or URL below which files get the names that they have in theirs.
    pub target: PathBuf,
    /// The libhdf5 (1.14.0 or later) that converts, or a program that loads one. Without it the tool looks in Python's packages,
    /// at HDF5's programs, and where the system has libraries.
    #[arg(long, value_name = "FILE")]
    pub library: Option<PathBuf>,
    /// Convert so many files at a time; without it, one for each processor.
    #[arg(short, long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// Do not convert a file of which user-defined links would be left out: list them.
    #[arg(long)]
    pub strict: bool,
    /// From or to Zarr instead of native HDF5: one hierarchy, version 2 or 3 to import, 3 to export. h5lake's Python package does it,
    /// with h5py and zarr-python.
    #[arg(long, conflicts_with_all = ["library", "jobs", "strict", "json"])]
    pub zarr: bool,
    /// Show one JSON object for each file instead of text.
    #[arg(long)]
    pub json: bool,
    /// Show no progress.
    #[arg(short, long)]
    pub quiet: bool,
}
