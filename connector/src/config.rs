//! The connector's info string: `HDF5_VOL_CONNECTOR="h5lake key=value …"`.
//!
//! The same keys come from the environment as `H5LAKE_KEY`; the string wins. An unknown key or a bad value is
//! kept as an error and given when a file is opened or created: a connector that fails while the library
//! starts makes HDF5 1.14 write native files silently and 2.x crash.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use h5lake_container::OnConflict;
use h5lake_ledger::At;

/// What to do with an existing native HDF5 file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NativeFiles {
    /// Hand it to the native connector, call by call.
    #[default]
    Pass,
    /// Refuse it with an error.
    Refuse,
}

/// The settings of one connector string.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Where plain names are kept: a store URL, or `None` for local containers.
    pub store: Option<String>,
    /// What happens to native HDF5 files.
    pub native: NativeFiles,
    /// Whether a commit is synced to disk before it returns.
    pub sync_commits: bool,
    /// How long old versions stay readable.
    pub retention: Option<Duration>,
    /// Bound of the block cache in bytes.
    pub cache_bytes: Option<usize>,
    /// Which version files that are opened to read show, if not the newest.
    pub at: Option<At>,
    /// Whether a damaged container is opened to read what is left of it.
    pub salvage: bool,
    /// A local directory where what was read of remote stores is kept, or `None` to keep nothing.
    pub disk_cache: Option<String>,
    /// Bound of that directory in bytes.
    pub disk_cache_size: Option<usize>,
    /// Whether several processes may have a container open for writing.
    pub many_writers: bool,
    /// What one of several writers does that changed the same thing as another.
    pub on_conflict: OnConflict,
    /// Which containers of a store a plain name may replace.
    pub replace: Replaceable,
    /// How far names from inside files are followed.
    pub links: Links,
}

/// Where names may lead that come from inside files: from pointer files, external links and virtual datasets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Links {
    /// To local files and to stores in local directories; pointer files also into the store of `store=`.
    Local,
    /// Also to the bucket or host of `store=` and of the file that holds the name, and where a pointer file of the user's own leads.
    #[default]
    Store,
    /// Anywhere.
    Any,
}

/// Which containers of the store that `store=` names may be replaced through a plain name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replaceable {
    /// Those that the pointer file at the path names.
    #[default]
    Linked,
    /// Any.
    Any,
}

/// Every key, for the error about an unknown one and for the documentation.
pub const KEYS: [&str; 14] = [
    "store",
    "native",
    "sync",
    "retention",
    "cache",
    "salvage",
    "disk_cache",
    "disk_cache_size",
    "version",
    "as_of",
    "writers",
    "conflict",
    "replace",
    "links",
];

const ON_CONFLICT: [(&str, OnConflict); 3] =
    [("error", OnConflict::Fail), ("merge", OnConflict::Merge), ("last", OnConflict::Last)];

const ENVIRONMENT_PREFIX: &str = "H5LAKE_";

impl Config {
    /// Reads an info string over the environment.
    ///
    /// # Errors
    /// A sentence naming the key and what it takes.
    pub fn parse(info: &str) -> Result<Self, String> {
        Self::parse_over(info, |key| std::env::var(key).ok())
    }

    fn parse_over(info: &str, environment: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut values = BTreeMap::new();
        for key in KEYS {
            if let Some(value) = environment(&format!("{ENVIRONMENT_PREFIX}{}", key.to_uppercase())) {
                values.insert(key.to_owned(), value);
            }
        }
        let mut given = BTreeSet::new();
        for word in info.split_whitespace() {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| format!("'{word}' in the connector string is not of the form key=value"))?;
            if !given.insert(key) {
                return Err(format!(
                    "key '{key}' stands more than once in the connector string; it takes one value"
                ));
            }
            values.insert(key.to_owned(), value.to_owned());
        }
        let mut config = Self::default();
        for (key, value) in &values {
            config.set(key, value)?;
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "store" => self.store = Some(store_url(value)?),
            "native" => {
                self.native =
                    one_of(key, value, &[("pass", NativeFiles::Pass), ("refuse", NativeFiles::Refuse)])?
            }
            "sync" => self.sync_commits = one_of(key, value, &[("commit", true), ("process", false)])?,
            "retention" => self.retention = Some(duration(key, value)?),
            "salvage" => self.salvage = one_of(key, value, &[("yes", true), ("no", false)])?,
            "version" => self.set_at(version(value).ok_or_else(|| {
                format!("key 'version' in the connector string takes a number from 1 on, not '{value}'")
            })?)?,
            "as_of" => self.set_at(At::time(value).ok_or_else(|| {
                format!("key 'as_of' in the connector string takes a time such as 2026-11-20T10:00:00Z, not '{value}'")
            })?)?,
            "disk_cache" => self.disk_cache = Some(absolute_path(key, value)?),
            "disk_cache_size" => self.disk_cache_size = Some(byte_count(key, value)?),
            "writers" => self.many_writers = one_of(key, value, &[("many", true), ("one", false)])?,
            "conflict" => self.on_conflict = one_of(key, value, &ON_CONFLICT)?,
            "replace" => {
                self.replace =
                    one_of(key, value, &[("linked", Replaceable::Linked), ("any", Replaceable::Any)])?
            }
            "links" => {
                let choices = [("local", Links::Local), ("store", Links::Store), ("any", Links::Any)];
                self.links = one_of(key, value, &choices)?;
            }
            "cache" => self.cache_bytes = Some(byte_count(key, value)?),
            _ => {
                return Err(format!(
                    "unknown key '{key}' in the connector string; the keys are {}",
                    KEYS.join(", ")
                ));
            }
        }
        Ok(())
    }

    fn set_at(&mut self, at: At) -> Result<(), String> {
        if self.at.replace(at).is_some() {
            return Err("keys 'version' and 'as_of' in the connector string exclude each other".to_owned());
        }
        Ok(())
    }

    /// The string that parses to the same settings (`H5VLconnector_info_to_str`).
    pub fn to_info_string(&self) -> String {
        let mut words = Vec::new();
        if let Some(store) = &self.store {
            words.push(format!("store={store}"));
        }
        if self.native == NativeFiles::Refuse {
            words.push("native=refuse".to_owned());
        }
        if self.sync_commits {
            words.push("sync=commit".to_owned());
        }
        if let Some(retention) = self.retention {
            words.push(format!("retention={}s", retention.as_secs()));
        }
        if let Some(bytes) = self.cache_bytes {
            words.push(format!("cache={bytes}"));
        }
        if self.salvage {
            words.push("salvage=yes".to_owned());
        }
        if let Some(path) = &self.disk_cache {
            words.push(format!("disk_cache={path}"));
        }
        if let Some(bytes) = self.disk_cache_size {
            words.push(format!("disk_cache_size={bytes}"));
        }
        match self.at {
            Some(At::Version(number)) => words.push(format!("version={number}")),
            Some(at @ At::Time(_)) => words.push(format!("as_of={}", at.moment())),
            None => {}
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
        words.join(" ")
    }
}

fn one_of<T: Copy>(key: &str, value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        format!("key '{key}' in the connector string takes {}, not '{value}'", names.join(" or "))
    })
}

/// The number of a version.
pub(crate) fn version(text: &str) -> Option<At> {
    text.parse().ok().filter(|number| *number > 0).map(At::Version)
}

/// A URL with something behind its scheme: a store without a name would be one that everybody who forgot the name shares.
fn store_url(value: &str) -> Result<String, String> {
    match value.split_once(':') {
        Some((scheme, rest)) if !scheme.is_empty() && !matches!(rest, "" | "//") => Ok(value.to_owned()),
        _ => Err(format!(
            "key 'store' in the connector string takes a URL such as memory:NAME or file:///DIR, not '{value}'"
        )),
    }
}

/// A path that does not depend on the working directory, and that a string of words can hold.
fn absolute_path(key: &str, value: &str) -> Result<String, String> {
    if value.starts_with('/') && !value.contains(char::is_whitespace) {
        return Ok(value.to_owned());
    }
    Err(format!("key '{key}' in the connector string takes an absolute path without blanks, not '{value}'"))
}

fn duration(key: &str, value: &str) -> Result<Duration, String> {
    let bad = || {
        format!("key '{key}' in the connector string takes a time such as 30s, 10m, 2h or 7d, not '{value}'")
    };
    let (digits, unit) = value.split_at(value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len()));
    let count: u64 = digits.parse().map_err(|_| bad())?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(bad)
}

fn byte_count(key: &str, value: &str) -> Result<usize, String> {
    let bad = || {
        format!("key '{key}' in the connector string takes a size such as 268435456 or 256MiB, not '{value}'")
    };
    let (digits, unit) = value.split_at(value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len()));
    let count: usize = digits.parse().map_err(|_| bad())?;
    let scale: usize = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(bad()),
    };
    count.checked_mul(scale).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(info: &str) -> Result<Config, String> {
        Config::parse_over(info, |_| None)
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
        let text = "store=memory:x native=refuse sync=commit retention=600s cache=1048576 salvage=yes \
                    disk_cache=/var/tmp/lake disk_cache_size=1073741824 writers=many conflict=last replace=any links=any";
        let config = parse(text).unwrap();
        assert_eq!(config.retention, Some(Duration::from_secs(600)));
        assert_eq!(parse(&config.to_info_string()), Ok(config));
        for text in ["version=12", "as_of=2026-11-20T10:00:00.000000Z"] {
            assert_eq!(parse(text).unwrap().to_info_string(), text);
        }
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = parse("stroe=memory:x").unwrap_err();
        assert!(error.contains("'stroe'") && error.contains("store"), "{error}");
    }

    #[test]
    fn bad_values_name_the_key() {
        for (text, key) in [
            ("native=maybe", "native"),
            ("cache=big", "cache"),
            ("retention=1w", "retention"),
            ("retention=5", "retention"),
            ("store=memory:", "memory:NAME"),
            ("store=memory://", "memory:NAME"),
            ("sync=commit sync=process", "sync"),
            ("writers=2", "writers"),
            ("conflict=first", "conflict"),
            ("replace=all", "replace"),
            ("links=none", "links"),
            ("store=here", "store"),
            ("disk_cache=here", "disk_cache"),
            ("disk_cache_size=big", "disk_cache_size"),
            ("word", "word"),
            ("version=0", "version"),
            ("as_of=soon", "as_of"),
            ("version=1 as_of=2026-11-20", "as_of"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
        assert!(parse("cache=99999999999999999999").is_err());
        assert!(parse("cache=99999999999GiB").is_err());
    }

    #[test]
    fn the_string_wins_over_the_environment() {
        let environment = |key: &str| (key == "H5LAKE_SYNC").then(|| "commit".to_owned());
        assert!(Config::parse_over("", environment).unwrap().sync_commits);
        assert!(!Config::parse_over("sync=process", environment).unwrap().sync_commits);
    }
}
