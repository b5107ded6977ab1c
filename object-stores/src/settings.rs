//! Settings of stores, and schemes of their URLs.

use std::collections::BTreeMap;

use crate::{Error, ErrorKind, Operation, Result};

/// Settings of a store by name, besides its URL. A store refuses a name that it does not know.
pub type Settings = BTreeMap<String, String>;

/// The scheme of a URL, in lower case, and what follows its colon; `None` if it has none. A plain
/// path has none, `C:\x` neither.
pub fn split_scheme(url: &str) -> Option<(String, &str)> {
    let (scheme, rest) = url.split_once(':')?;
    let scheme = scheme.to_ascii_lowercase();
    is_scheme(&scheme).then_some((scheme, rest))
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
