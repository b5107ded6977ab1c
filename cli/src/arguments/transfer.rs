//! The commands that copy, convert and share containers.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use h5lake_connector::{Along, Join};

use crate::Failure;

#[derive(Subcommand)]
pub enum Transfer {
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
  h5lake cp --update run.h5 s3://lab/data/run.h5")]
    #[command(visible_alias = "cp")]
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
        ///
        /// The keys are `name`, `target`, `version`, `before` (the version that the target showed; null for a new
        /// copy), `entries`, `bytes` (of data that was copied; small data is in the entries and does not count),
        /// `continued` (bytes that a killed copy had put) and `begun_anew` (the reason why such a copy was not
        /// continued, or null).
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
        #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
        library: Option<PathBuf>,
        /// Read all data and store checksums of it, which also detect a change that preserves the length and time of a file.
        #[arg(long)]
        checksums: bool,
        /// If user-defined links would be left out, list them and create nothing.
        #[arg(long)]
        strict: bool,
        /// Show one JSON object instead of text.
        ///
        /// The keys are `name`, `target`, `datasets`, `chunks`, `referenced_bytes`, `checksums`, `copied` (`path`,
        /// `reason`), `sources`, `not_joined` and `left_out`.
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

Exit codes: 0 done; 1 not possible: what was committed until then stays; 2 done, and virtual datasets, external storage, external \
    links, tags or branches need other files still, which are named.")]
    Materialize {
        /// The container's path or URL.
        name: PathBuf,
        /// Copy nothing, but list the referenced data.
        #[arg(short = 'n', long)]
        dry_run: bool,
        /// Show one JSON object instead of text.
        ///
        /// The keys are `name`, `blocks`, `bytes`, `needed` (`file`, `kind`: `virtual`, `external` or `link`,
        /// `datasets`: the number of datasets or links) and `held_by` (objects with the name of a `branch` or a `tag`).
        /// With --dry-run: `name`, `sources` (`source`, `blocks`, `bytes`), `needed` and `held_by`.
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
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
        #[arg(short, long, value_name = "REFS.json|REFS.parquet", value_hint = ValueHint::FilePath)]
        kerchunk: Option<PathBuf>,
        /// Create an Icechunk repository with virtual chunks in this folder.
        #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "kerchunk")]
        icechunk: Option<PathBuf>,
        /// The URL of the file or store in the references, instead of the container's own URL.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// Withdraw the publication. Afterwards, its references may return wrong data.
        #[arg(long, conflicts_with_all = ["kerchunk", "icechunk"])]
        withdraw: bool,
        /// Show JSON instead of text.
        ///
        /// The keys are `version`, `groups`, `datasets` (`path`, `referenced`, `referenced_bytes`, `copied`,
        /// `copied_bytes`, `reasons`, `masked`), `left_out` (`path`, `reason`), the sums of the counts, and
        /// `holds_bytes`. A list is an array of `version`, `time`, `published` and `holds_bytes`. With --withdraw:
        /// `name` and `withdrawn`.
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
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
        ///
        /// The keys are `path` and `url`.
        #[arg(long)]
        json: bool,
    },
    /// Convert one file (used by the tool itself).
    #[command(hide = true)]
    ConvertOne {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Make a temporary container that refers to a native file, print its path, and delete it when the process that started this one has
    /// opened it (used by the Python module).
    #[command(hide = true)]
    AdoptTemporarily {
        source: PathBuf,
        /// The libhdf5 to use, or a program that loads a libhdf5.
        #[arg(long)]
        library: Option<PathBuf>,
    },
    /// Delete a temporary of the tool when the process that started this one has ended (used by the tool itself).
    #[command(hide = true)]
    RemoveTemporary { path: PathBuf },
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
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
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
