//! The connector's info string: `HDF5_VOL_CONNECTOR="h5lake key=value …"`.
//!
//! The same keys come from the environment as `H5LAKE_KEY`. The string wins, and an empty variable counts as unset. An
//! unknown key, an unknown variable or a bad value is stored as an error and reported when a file is opened or
//! created. A connector that fails while the library starts makes HDF5 1.14 write native files silently and 2.x crash.

mod patterns;
mod source;
mod table;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, OsString};
use std::time::Duration;

use h5lake_container::OnConflict;
use h5lake_ledger::{At, SyncPolicy, TagName};

pub use self::patterns::NamePatterns;
pub use self::source::{value_in, word};
pub use self::table::{SETTINGS, Setting, keys};
pub use self::values::duration;
pub(crate) use self::values::version;
use self::values::{absolute_path, absolute_paths, byte_count, one_of, store_url, time_to_wait};

/// The name by which `HDF5_VOL_CONNECTOR` chooses this connector.
pub const NAME: &CStr = c"h5lake";

/// The origin of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// The connector string.
    #[default]
    ConnectorString,
    /// A variable `H5LAKE_KEY`.
    Variable,
}

impl Origin {
    /// Returns the name of this origin's setting, as errors show it.
    pub fn name_of(self, key: &str) -> String {
        match self {
            Self::ConnectorString => format!("key '{key}' in the connector string"),
            Self::Variable => format!("variable {}", variable(key)),
        }
    }
}

/// Returns the name of a key's variable.
pub fn variable(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.to_uppercase())
}

/// The treatment of an existing native HDF5 file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NativeFiles {
    /// Hand it to the native connector, call by call.
    #[default]
    Pass,
    /// Refuse it with an error.
    Refuse,
}

/// The decoder of the chunks of native files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NativeFilters {
    /// h5lake's own filters, if they support the chunks.
    #[default]
    Own,
    /// libhdf5, as without the plugin.
    Library,
}

const NATIVE_FILTERS: [(&str, NativeFilters); 2] =
    [("own", NativeFilters::Own), ("library", NativeFilters::Library)];

/// The handling of chunks in containers, if filters of the chunks are not built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForeignFilters {
    /// libhdf5 runs the filter.
    #[default]
    Library,
    /// An error is returned for these chunks.
    Refuse,
}

const FOREIGN_FILTERS: [(&str, ForeignFilters); 2] =
    [("library", ForeignFilters::Library), ("refuse", ForeignFilters::Refuse)];

/// How `H5Ocopy` writes references in another file, if the targets of the references are copied as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CopiedReferences {
    /// Null references, like the native connector.
    #[default]
    Null,
    /// References to the copies.
    Copies,
}

const COPIED_REFERENCES: [(&str, CopiedReferences); 2] =
    [("null", CopiedReferences::Null), ("copies", CopiedReferences::Copies)];

/// The settings of one connector string.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// The store of plain names: a store URL, or `None` for local containers.
    pub store: Option<String>,
    /// The origin of the store's setting, for errors about the store.
    pub store_origin: Origin,
    /// The directory to which the keys of plain names are relative, or `None` for the working directory in which the
    /// process loaded h5lake.
    pub root: Option<String>,
    /// Libraries and folders of libraries with third-party stores, separated by colons.
    pub store_path: Option<String>,
    /// The names that h5lake handles. All other names are left to native HDF5.
    pub only: NamePatterns,
    /// The treatment of native HDF5 files.
    pub native: NativeFiles,
    /// The decoder of the chunks of native files.
    pub native_filters: NativeFilters,
    /// The handling of filters in containers that are not built in.
    pub foreign_filters: ForeignFilters,
    /// How references are copied to another file, if their targets are copied as well.
    pub copied_references: CopiedReferences,
    /// Says whether a commit is synced to disk before it returns.
    pub sync: SyncPolicy,
    /// The time for which old versions stay readable.
    pub retention: Option<Duration>,
    /// Bound of the block cache in bytes.
    pub cache_bytes: Option<usize>,
    /// The version that files opened to read show, if not the newest.
    pub at: Option<At>,
    /// The longest time that one operation may wait for a remote store, if not the default.
    pub timeout: Option<Duration>,
    /// True if a damaged container is opened to read its undamaged parts.
    pub salvage: bool,
    /// A local directory that caches data read from remote stores, or `None` to cache nothing.
    pub disk_cache: Option<String>,
    /// The bound of that directory in bytes.
    pub disk_cache_size: Option<usize>,
    /// The staging directory, a local folder in which pending uploads to stores wait, or `None` to wait for the
    /// stores.
    pub stage: Option<String>,
    /// The most bytes of pending uploads of one container.
    pub stage_size: Option<usize>,
    /// True if several processes may have a container open for writing.
    pub many_writers: bool,
    /// The behaviour of a shared writer that encounters conflicting changes of another writer.
    pub on_conflict: OnConflict,
    /// The containers of a store that a plain name may replace.
    pub replace: Replaceable,
    /// The extent to which names from inside files are followed.
    pub links: Links,
    /// True if transfers and flushes that an event set waits for run in the background.
    pub asynchronous: bool,
    /// The message of the commits of this process, or `None` to leave it as it is.
    pub message: Option<String>,
}

/// The targets allowed for names from inside files: from pointer files, external links and virtual datasets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Links {
    /// Local files and stores in local directories; for pointer files also the store of `store=`.
    Local,
    /// Also the bucket or host of `store=` and of the file that holds the name, and the targets of the user's own
    /// pointer files.
    #[default]
    Store,
    /// Any target.
    Any,
}

/// The containers of the store named by `store=` that may be replaced through a plain name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replaceable {
    /// The container that the pointer file at the path names.
    #[default]
    Linked,
    /// Any container.
    Any,
}

const ON_CONFLICT: [(&str, OnConflict); 3] =
    [("error", OnConflict::Fail), ("merge", OnConflict::Merge), ("last", OnConflict::Last)];
/// The keys that choose the version to show, in alphabetical order. They exclude each other.
const VERSION_KEYS: [&str; 3] = ["as_of", "tag", "version"];
const ENVIRONMENT_PREFIX: &str = "H5LAKE_";

/// Sets the message of all commits that this process makes from now on: for programs that open the plugin themselves.
///
/// # Errors
/// For a message that is too long, or that contains control characters.
pub fn set_message(text: &str) -> Result<(), String> {
    h5lake_ledger::set_commit_message(text).map_err(|e| e.to_string())
}

/// Checks the settings that result from a value of `HDF5_VOL_CONNECTOR` and this process's variables `H5LAKE_KEY`.
///
/// # Errors
/// As for [`Config::parse`].
pub fn check(string: &str) -> Result<(), String> {
    Config::of_string(string).map(drop)
}

impl Config {
    /// Reads an info string, which takes precedence over the environment.
    ///
    /// # Errors
    /// A sentence that names the key or the variable, and the values that it accepts.
    pub fn parse(info: &str) -> Result<Self, String> {
        Self::parse_over(info, source::variables(std::env::vars_os()))
    }

    /// Returns the settings of a program in this process's environment: `HDF5_VOL_CONNECTOR` takes precedence over
    /// `H5LAKE_KEY`. A string of another connector counts as unset.
    ///
    /// # Errors
    /// As for [`Config::parse`].
    pub fn from_environment() -> Result<Self, String> {
        let string = std::env::var_os("HDF5_VOL_CONNECTOR").unwrap_or_default();
        let string = string.to_str().ok_or("the variable HDF5_VOL_CONNECTOR is not UTF-8")?;
        Self::of_string(string)
    }

    /// Returns the settings of a program in this process's environment, with `string` in place of
    /// `HDF5_VOL_CONNECTOR`.
    fn of_string(string: &str) -> Result<Self, String> {
        Self::parse(source::info_of(string, NAME).unwrap_or_default())
    }

    fn parse_over(info: &str, variables: BTreeMap<String, OsString>) -> Result<Self, String> {
        let mut values = BTreeMap::new();
        for (name, value) in variables {
            let Some(key) = keys().find(|key| variable(key) == name) else {
                return Err(source::unknown_variable(&name));
            };
            let value = value.into_string();
            let value = value.map_err(|_| format!("{} is not UTF-8", Origin::Variable.name_of(key)))?;
            values.insert(key, (Origin::Variable, value));
        }
        let mut given = BTreeSet::new();
        for word in source::words(info)? {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| format!("'{word}' in the connector string is not of the form key=value"))?;
            let Some(key) = keys().find(|known| *known == key) else {
                return Err(source::unknown_key(key));
            };
            if !given.insert(key) {
                return Err(format!(
                    "key '{key}' stands more than once in the connector string; it takes one value"
                ));
            }
            if VERSION_KEYS.contains(&key) {
                // Each of these keys chooses the version: the string takes precedence over the variables.
                values.retain(|other, (origin, _)| {
                    !VERSION_KEYS.contains(other) || *origin == Origin::ConnectorString
                });
            }
            values.insert(key, (Origin::ConnectorString, value.to_owned()));
        }
        let mut config = Self::default();
        for (key, (origin, value)) in &values {
            config.set(key, value, *origin).map_err(|why| format!("{} {why}", origin.name_of(key)))?;
        }
        Ok(config)
    }

    /// Sets one key. An error is a text that continues behind the setting's name.
    fn set(&mut self, key: &str, value: &str, origin: Origin) -> Result<(), String> {
        match key {
            "store" => (self.store, self.store_origin) = (Some(store_url(value)?), origin),
            "root" => self.root = Some(absolute_path(value)?),
            "store_path" => self.store_path = Some(absolute_paths(value)?),
            "native" => {
                self.native = one_of(value, &[("pass", NativeFiles::Pass), ("refuse", NativeFiles::Refuse)])?
            }
            "native_filters" => self.native_filters = one_of(value, &NATIVE_FILTERS)?,
            "foreign_filters" => self.foreign_filters = one_of(value, &FOREIGN_FILTERS)?,
            "copied_references" => self.copied_references = one_of(value, &COPIED_REFERENCES)?,
            "only" => self.only = NamePatterns::parse(value)?,
            "sync" => {
                self.sync =
                    one_of(value, &[("commit", SyncPolicy::Commit), ("process", SyncPolicy::Process)])?
            }
            "retention" => self.retention = Some(duration(value)?),
            "timeout" => self.timeout = Some(time_to_wait(value)?),
            "message" => {
                let is_good = !value.trim().is_empty() && h5lake_ledger::check_commit_message(value).is_ok();
                let refused = || {
                    format!(
                        "takes a text of 1 to {} bytes without control characters",
                        h5lake_ledger::MAX_MESSAGE
                    )
                };
                self.message = Some(is_good.then(|| value.to_owned()).ok_or_else(refused)?);
            }
            "salvage" => self.salvage = one_of(value, &[("yes", true), ("no", false)])?,
            "version" => self.set_at(
                version(value).ok_or_else(|| format!("takes a number from 1 on, not '{value}'"))?,
                origin,
            )?,
            "as_of" => self.set_at(
                At::time(value)
                    .ok_or_else(|| format!("takes a time such as 2026-11-20T10:00:00Z, not '{value}'"))?,
                origin,
            )?,
            "tag" => self.set_at(
                TagName::new(value)
                    .map(At::Tag)
                    .ok_or_else(|| format!("takes the name of a tag, not '{value}'; {}", TagName::RULE))?,
                origin,
            )?,
            "disk_cache" => self.disk_cache = Some(absolute_path(value)?),
            "disk_cache_size" => self.disk_cache_size = Some(byte_count(value)?),
            "stage" => self.stage = Some(absolute_path(value)?),
            "stage_size" => self.stage_size = Some(byte_count(value)?),
            "writers" => self.many_writers = one_of(value, &[("many", true), ("one", false)])?,
            "conflict" => self.on_conflict = one_of(value, &ON_CONFLICT)?,
            "replace" => {
                self.replace = one_of(value, &[("linked", Replaceable::Linked), ("any", Replaceable::Any)])?
            }
            "links" => {
                let choices = [("local", Links::Local), ("store", Links::Store), ("any", Links::Any)];
                self.links = one_of(value, &choices)?;
            }
            "async" => self.asynchronous = one_of(value, &[("on", true), ("off", false)])?,
            "cache" => self.cache_bytes = Some(byte_count(value)?),
            _ => return Err("is unknown".to_owned()),
        }
        Ok(())
    }

    fn set_at(&mut self, at: At, origin: Origin) -> Result<(), String> {
        match self.at.replace(at) {
            None => Ok(()),
            Some(before) => {
                let [by_time, by_tag, by_number] = VERSION_KEYS;
                let other = match before {
                    At::Time(_) => by_time,
                    At::Tag(_) | At::Branch(_) | At::Replaced(_) => by_tag,
                    At::Version(_) => by_number,
                };
                Err(format!("and {} exclude each other", origin.name_of(other)))
            }
        }
    }

    /// Returns the string that parses to the same settings (`H5VLconnector_info_to_str`).
    pub fn to_info_string(&self) -> String {
        let mut words = Vec::new();
        if let Some(store) = &self.store {
            words.push(source::word("store", store));
        }
        if let Some(path) = &self.root {
            words.push(source::word("root", path));
        }
        if let Some(paths) = &self.store_path {
            words.push(source::word("store_path", paths));
        }
        if !self.only.is_empty() {
            words.push(source::word("only", &self.only.setting_value()));
        }
        if self.native == NativeFiles::Refuse {
            words.push("native=refuse".to_owned());
        }
        if self.native_filters == NativeFilters::Library {
            words.push("native_filters=library".to_owned());
        }
        if self.foreign_filters == ForeignFilters::Refuse {
            words.push("foreign_filters=refuse".to_owned());
        }
        if self.copied_references == CopiedReferences::Copies {
            words.push("copied_references=copies".to_owned());
        }
        if self.sync == SyncPolicy::Commit {
            words.push("sync=commit".to_owned());
        }
        if let Some(retention) = self.retention {
            words.push(format!("retention={}s", retention.as_secs()));
        }
        if let Some(timeout) = self.timeout {
            words.push(format!("timeout={}s", timeout.as_secs()));
        }
        if let Some(bytes) = self.cache_bytes {
            words.push(format!("cache={bytes}"));
        }
        if self.salvage {
            words.push("salvage=yes".to_owned());
        }
        if let Some(message) = &self.message {
            words.push(source::word("message", message));
        }
        if let Some(path) = &self.disk_cache {
            words.push(source::word("disk_cache", path));
        }
        if let Some(bytes) = self.disk_cache_size {
            words.push(format!("disk_cache_size={bytes}"));
        }
        if let Some(path) = &self.stage {
            words.push(source::word("stage", path));
        }
        if let Some(bytes) = self.stage_size {
            words.push(format!("stage_size={bytes}"));
        }
        match self.at {
            Some(At::Version(number)) => words.push(format!("version={number}")),
            Some(at @ At::Time(_)) => words.push(format!("as_of={}", at.setting_value())),
            Some(At::Tag(name)) => words.push(format!("tag={name}")),
            // No setting requests a branch, or a replaced container.
            Some(At::Branch(_) | At::Replaced(_)) | None => {}
        }
        if self.many_writers {
            words.push("writers=many".to_owned());
        }
        if self.on_conflict != OnConflict::default() {
            let names = ON_CONFLICT.iter().filter(|(_, choice)| *choice == self.on_conflict);
            words.extend(names.map(|(name, _)| format!("conflict={name}")));
        }
        if self.replace == Replaceable::Any {
            words.push("replace=any".to_owned());
        }
        match self.links {
            Links::Local => words.push("links=local".to_owned()),
            Links::Store => {}
            Links::Any => words.push("links=any".to_owned()),
        }
        if self.asynchronous {
            words.push("async=on".to_owned());
        }
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(info: &str) -> Result<Config, String> {
        Config::parse_over(info, BTreeMap::new())
    }

    #[test]
    fn an_empty_string_is_all_defaults() {
        assert_eq!(parse(""), Ok(Config::default()));
    }

    #[test]
    fn each_way_to_treat_conflicts_is_read_and_written_back() {
        for (name, choice) in ON_CONFLICT {
            let config = parse(&format!("conflict={name}")).unwrap();
            assert_eq!(config.on_conflict, choice);
            assert_eq!(parse(&config.to_info_string()), Ok(config));
        }
    }

    #[test]
    fn every_key_is_read_and_written_back() {
        let text = "store=memory:x root='/data/my runs' store_path='/opt/a b:/opt/c.so' only='*.h5l, /data/my runs/*' native=refuse native_filters=library foreign_filters=refuse copied_references=copies sync=commit retention=600s timeout=30s cache=1048576 salvage=yes \
                    disk_cache=/var/tmp/lake disk_cache_size=1073741824 stage='/local/a b' stage_size=2GiB writers=many conflict=last replace=any links=any \
                    async=on message='calibrated with lamp 3'";
        let config = parse(text).unwrap();
        assert_eq!(config.retention, Some(Duration::from_secs(600)));
        assert_eq!(parse(&config.to_info_string()), Ok(config));
        for text in ["version=12", "as_of=2026-11-20T10:00:00.000000Z", "tag=paper"] {
            assert_eq!(parse(text).unwrap().to_info_string(), text);
        }
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = parse("stroe=memory:x").unwrap_err();
        assert!(error.contains("unknown key 'stroe'") && error.contains("store"), "{error}");
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_one() {
        for (text, nearest) in
            [("stroe=memory:x", "store"), ("writer=many", "writers"), ("diskcache=/x", "disk_cache")]
        {
            let error = parse(text).unwrap_err();
            assert!(error.contains(&format!("did you mean '{nearest}'?")), "{error}");
        }
        assert!(!parse("nosuchkey=1").unwrap_err().contains("did you mean"));
        let error = parse_with("", &[("H5LAKE_STROE", "memory:x")]).unwrap_err();
        assert!(
            error.contains("variable H5LAKE_STROE") && error.contains("did you mean H5LAKE_STORE?"),
            "{error}"
        );
        let error = parse_with("", &[("H5LAKE_BACKEND", "x")]).unwrap_err();
        assert!(error.contains("H5LAKE_BACKEND") && error.contains("H5LAKE_DISK_CACHE_SIZE"), "{error}");
    }

    #[test]
    fn variables_that_are_no_settings_do_no_harm() {
        let unrelated = [
            ("H5LAKE_LOG", "1"),
            ("H5LAKE_TEST_STEP", "x"),
            ("H5LAKE_BUILD_JOBS", "2"),
            ("H5LAKE_HDF5_ARCHIVE", "/x"),
        ];
        assert_eq!(parse_with("", &unrelated), Ok(Config::default()));
        assert_eq!(
            parse_with("", &[("H5LAKE_STROE", ""), ("OTHER_H5LAKE_STROE", "x")]),
            Ok(Config::default())
        );
    }

    #[test]
    fn quoted_values_keep_their_blanks() {
        let store = |text: &str| parse(text).unwrap().store.unwrap();
        assert_eq!(store("store='file:///my data' sync=commit"), "file:///my data");
        assert_eq!(store("store=\"file:///it's my data\""), "file:///it's my data");
        assert_eq!(store("'store=file:///a  b'"), "file:///a  b");
        for url in ["file:///a b", "file:///it's", "file:///\"a\"", "file:///'a \" b", "s3://b/#1 x"] {
            let config = Config { store: Some(url.to_owned()), ..Config::default() };
            assert_eq!(parse(&config.to_info_string()), Ok(config), "{url}");
        }
        let error = parse("store='file:///my data").unwrap_err();
        assert!(error.contains('\''), "{error}");
    }

    #[test]
    fn sizes_are_binary_or_decimal() {
        let cache = |text: &str| parse(&format!("cache={text}")).unwrap().cache_bytes.unwrap();
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("64MB", 64_000_000),
            ("1kB", 1000),
            ("1KB", 1000),
            ("2gib", 2 << 30),
            ("7", 7),
        ] {
            assert_eq!(cache(text), bytes, "{text}");
        }
        assert!(parse("cache=1M").unwrap_err().contains("256MiB or 256MB"));
    }

    #[test]
    fn bad_values_name_the_key() {
        for (text, key) in [
            ("native=maybe", "native"),
            ("cache=big", "cache"),
            ("root=here", "root"),
            ("store_path=lib.so", "store_path"),
            ("store_path=/a:b", "'b'"),
            ("only=", "*.h5l"),
            ("only=*.h5l,[", "'['"),
            ("retention=1w", "retention"),
            ("retention=5", "retention"),
            ("timeout=0s", "timeout"),
            ("store=memory:", "memory:NAME"),
            ("store=memory://", "memory:NAME"),
            ("sync=commit sync=process", "sync"),
            ("writers=2", "writers"),
            ("conflict=first", "conflict"),
            ("replace=all", "replace"),
            ("links=none", "links"),
            ("async=yes", "async"),
            ("store=here", "store"),
            ("disk_cache=here", "disk_cache"),
            ("disk_cache_size=big", "disk_cache_size"),
            ("stage=here", "stage"),
            ("stage_size=much", "stage_size"),
            ("word", "word"),
            ("version=0", "version"),
            ("as_of=soon", "as_of"),
            ("version=1 as_of=2026-11-20", "as_of"),
            ("version=1 tag=paper", "tag"),
            ("tag=a/b", "tag"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
        assert!(parse("cache=99999999999999999999").is_err());
        assert!(parse("cache=99999999999GiB").is_err());
    }

    fn parse_with(info: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        Config::parse_over(info, source::variables(variables.iter().map(|(n, v)| (n.into(), v.into()))))
    }

    #[test]
    fn the_string_wins_over_the_environment() {
        let variables = [("H5LAKE_SYNC", "commit")];
        assert_eq!(parse_with("", &variables).unwrap().sync, SyncPolicy::Commit);
        assert_eq!(parse_with("sync=process", &variables).unwrap().sync, SyncPolicy::Process);
        // The string wins for any of the two version keys in the string and in the variables.
        let values = [("version", "H5LAKE_VERSION", "12"), ("as_of", "H5LAKE_AS_OF", "2026-11-20")];
        for (key, _, value) in values {
            let string = format!("{key}={value}");
            for variables in [&values[..1], &values[1..], &values[..]] {
                let variables: Vec<_> = variables.iter().map(|(_, name, value)| (*name, *value)).collect();
                assert_eq!(parse_with(&string, &variables), parse(&string), "{string} {variables:?}");
            }
        }
    }

    #[test]
    fn an_empty_variable_counts_as_none() {
        for key in keys() {
            assert_eq!(parse_with("", &[(&variable(key), "")]), Ok(Config::default()), "{key}");
        }
        assert!(parse("store=").is_err(), "in the string it is a mistake");
    }

    #[test]
    fn a_bad_value_of_a_variable_names_the_variable() {
        for key in keys() {
            let error = parse_with("", &[(&variable(key), " ")]).unwrap_err();
            assert!(error.starts_with(&format!("variable H5LAKE_{} takes ", key.to_uppercase())), "{error}");
            assert!(!error.contains("string"), "{error}");
        }
        let both = [("H5LAKE_VERSION", "1"), ("H5LAKE_AS_OF", "2026-11-20")];
        let error = parse_with("", &both).unwrap_err();
        assert_eq!(error, "variable H5LAKE_VERSION and variable H5LAKE_AS_OF exclude each other");
        let bytes = std::os::unix::ffi::OsStringExt::from_vec(vec![0xff]);
        let error = Config::parse_over("", BTreeMap::from([("H5LAKE_STORE".to_owned(), bytes)]));
        assert_eq!(error.unwrap_err(), "variable H5LAKE_STORE is not UTF-8");
        let set = parse_with("", &[("H5LAKE_STORE", "memory:m")]).unwrap();
        assert_eq!(set.store_origin.name_of("store"), "variable H5LAKE_STORE");
    }
}
