//! Settings of stores, and schemes of their URLs.

use std::collections::BTreeMap;
#[cfg(any(feature = "remote", feature = "rados", feature = "libraries"))]
use std::time::Duration;

#[cfg(any(feature = "remote", feature = "rados", feature = "libraries"))]
use crate::deadline::DEFAULT_TIMEOUT;
use crate::{Error, ErrorKind, Operation, Result};

/// Settings of a store by name, in addition to its URL. A store refuses a name that it does not know.
pub type Settings = BTreeMap<String, String>;

/// The schemes of stores behind HTTP. Every build knows them, so that a build without the cargo feature `remote` names that feature
/// instead of taking a URL for a file name.
pub(crate) const REMOTE_SCHEMES: [&str; 9] =
    ["az", "gs", "h5store+http", "h5store+unix", "http", "https", "s3", "s3a", "swift"];

/// Returns the scheme of a URL, in lower case, and the part after its colon; `None` if the URL has no scheme. Neither a
/// plain path nor `C:\x` has a scheme.
pub fn split_scheme(url: &str) -> Option<(String, &str)> {
    let (scheme, rest) = url.split_once(':')?;
    let scheme = scheme.to_ascii_lowercase();
    is_scheme(&scheme).then_some((scheme, rest))
}

/// Returns whether a text has the form `SCHEME://…`: it means a store, whether the scheme is known or not.
pub fn is_url(text: &str) -> bool {
    split_scheme(text).is_some_and(|(_, rest)| rest.starts_with("//"))
}

pub(crate) fn is_scheme(text: &str) -> bool {
    text.len() >= 2
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
}

pub(crate) fn refusal(kind: ErrorKind, why: impl Into<String>) -> Error {
    Error::new(kind, Operation::Open).because(why)
}

/// Refuses settings other than `known`.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] naming the setting and the known ones.
pub fn check_settings(scheme: &str, settings: &Settings, known: &[&str]) -> Result<()> {
    match settings.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let why = format!("a store '{scheme}:' has no setting '{name}' (it has: {known})");
            Err(refusal(ErrorKind::InvalidArgument, why))
        }
    }
}

/// The setting that bounds the time of an operation, for every store over a network.
#[cfg(any(feature = "remote", feature = "rados", feature = "libraries"))]
const TIMEOUT: &str = "timeout";

/// Returns the time that one operation may take, from the setting that every remote store has.
#[cfg(any(feature = "remote", feature = "rados", feature = "libraries"))]
pub(crate) fn timeout(settings: &Settings) -> Result<Duration> {
    let Some(text) = settings.get(TIMEOUT) else { return Ok(DEFAULT_TIMEOUT) };
    let time = crate::duration::parse(text).filter(|time| !time.is_zero());
    time.ok_or_else(|| {
        refusal(
            ErrorKind::InvalidArgument,
            format!("the setting '{TIMEOUT}' of a store is a time such as 50s, not '{text}'"),
        )
    })
}

#[cfg(any(feature = "remote", feature = "rados", feature = "libraries"))]
pub(crate) fn without_timeout(settings: &Settings) -> Settings {
    settings.iter().filter(|(name, _)| *name != TIMEOUT).map(|(n, v)| (n.clone(), v.clone())).collect()
}
