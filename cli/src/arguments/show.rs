//! The commands that show the content of containers.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand)]
pub enum Show {
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

In a store, all containers below the prefix are listed, from the names of the objects alone. With -l one object or more of each \
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
        ///
        /// Each object has `path` and `kind`. A link that is not hard has `target`; an external link `file`; a
        /// user-defined link `class`. An object has `token`, `hard_links` and `attributes` (their number); a group
        /// `links`; a dataset `shape`, `maxshape` (null: unlimited), `type`, `layout`, `chunks`, `filters`, `bytes`,
        /// `stored_bytes`, `stored_blocks` and `ratio`. A type has `text`, `class`, `size` (bytes stored), and
        /// `members`, `base`, `values` or `shape`.
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
        ///
        /// The objects are those of `ls --json`. A group whose members are not shown here has `shown_before` or
        /// `too_deep`.
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
        ///
        /// Without PATH: `name`, `storage`, `user_block`, `format`, `records_version`, `branch` (null: the main line), `version`,
        /// `versions_kept`, `newest`, `oldest`, `tags`, numbers of objects, `bytes` = `data_bytes` + `map_bytes` + `other_bytes`, and
        /// `source_bytes` in native files. `other_bytes` are pages of the map, the log, older versions and free space;
        /// a vacuum releases at most this much. `stage` has `host`, `pid`, `folder` and `writer_lives`, if the writer
        /// stages commits, or died with staged commits. With PATH: as `ls --json`, with all properties, and
        /// `attributes` maps a name to `shape`, `type` and `value` (left out above 1000 elements).
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
        ///
        /// The keys are `path`, `attribute`, `type`, `shape`, and `data`, which is nested as the shape (null for a null
        /// dataspace).
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
        ///
        /// The keys are `path`, `expression`, `type`, `shape`, `matches` (`index`, `value`; not with --count), `count`,
        /// `complete`, `chunks` (`written`, `read`, `searched` by the store; null without chunks) and `bytes`
        /// (`stored`, `read`).
        #[arg(long)]
        json: bool,
        /// Show no progress.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Show a container in a web browser: its tree, plots and images.
    ///
    /// Starts H5Web's viewer on this machine, prints its address, and opens it in a browser. A menu shows the older versions. The address
    /// contains a token, without which nothing is readable; other machines cannot reach it. Through SSH, forward the port: ssh -L
    /// 8080:127.0.0.1:8080 HOST. Needs h5py, and h5grove with Flask.
    #[command(after_help = "Examples:
  h5lake browse run.h5
  h5lake browse s3://lab/data/run.h5@tag=paper
  h5lake browse --port 8080 --no-open run.h5")]
    Browse {
        /// The container's path or URL; NAME@v=12 for a version.
        name: PathBuf,
        /// The port; 0 for any free port.
        #[arg(short, long, default_value_t = 0)]
        port: u16,
        /// Print the address, and open no browser.
        #[arg(long)]
        no_open: bool,
    },
}
