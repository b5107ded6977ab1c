//! The values that settings accept. An error is a text that continues behind the setting's name.

use std::time::Duration;

use h5lake_ledger::At;

/// The units of sizes, in either case.
const BYTE_UNITS: [(&str, usize); 10] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Returns the choice that a value names.
pub fn one_of<T: Copy>(value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        format!("takes {}, not '{value}'", names.join(" or "))
    })
}

/// Parses the number of a version.
pub(crate) fn version(text: &str) -> Option<At> {
    text.parse().ok().filter(|number| *number > 0).map(At::Version)
}

/// Checks a URL with a name behind its scheme: a store without a name would be shared by everybody who forgot the
/// name.
pub fn store_url(value: &str) -> Result<String, String> {
    match value.split_once(':') {
        Some((scheme, rest)) if !scheme.is_empty() && !matches!(rest, "" | "//") => Ok(value.to_owned()),
        _ => Err(format!("takes a URL such as memory:NAME or file:///DIR, not '{value}'")),
    }
}

/// Checks a path that does not depend on the working directory.
pub fn absolute_path(value: &str) -> Result<String, String> {
    if value.starts_with('/') {
        return Ok(value.to_owned());
    }
    Err(format!("takes an absolute path, not '{value}'"))
}

/// Checks paths that do not depend on the working directory, separated by colons.
pub fn absolute_paths(value: &str) -> Result<String, String> {
    match value.split(':').find(|path| !path.starts_with('/')) {
        None => Ok(value.to_owned()),
        Some(path) => Err(format!("takes absolute paths, separated by colons, not '{path}'")),
    }
}

/// Parses a time that is long enough for one request.
pub fn time_to_wait(value: &str) -> Result<Duration, String> {
    let time = duration(value)?;
    if time.is_zero() { Err(format!("takes a time from 1s on, not '{value}'")) } else { Ok(time) }
}

/// Parses a time in seconds, minutes, hours or days.
pub fn duration(value: &str) -> Result<Duration, String> {
    let bad = || format!("takes a time such as 30s, 10m, 2h or 7d, not '{value}'");
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

/// Parses a number of bytes, with a binary unit (KiB) or a decimal one (kB).
pub fn byte_count(value: &str) -> Result<usize, String> {
    let bad = || format!("takes a size such as 268435456, 256MiB or 256MB, not '{value}'");
    let (digits, unit) = value.split_at(value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len()));
    let count: usize = digits.parse().map_err(|_| bad())?;
    let (_, scale) = BYTE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(bad)?;
    count.checked_mul(*scale).ok_or_else(bad)
}
