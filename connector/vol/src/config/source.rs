//! The sources of settings: the words of a connector string, and the variables `H5LAKE_KEY`.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsString};

use super::{ENVIRONMENT_PREFIX, keys, variable};

/// Variables that are no settings of a file: those for logs and statistics of the plugin, and those for its builds and
/// tests.
const OTHER_VARIABLES: [&str; 4] = ["H5LAKE_LOG", "H5LAKE_LOG_FILE", "H5LAKE_LOG_FORMAT", "H5LAKE_STATS"];
const DEVELOPMENT_PREFIXES: [&str; 4] = ["H5LAKE_BUILD_", "H5LAKE_FUZZ_", "H5LAKE_HDF5_", "H5LAKE_TEST_"];

/// Returns the settings among the variables of an environment: those with h5lake's prefix that are not empty.
pub fn variables(all: impl IntoIterator<Item = (OsString, OsString)>) -> BTreeMap<String, OsString> {
    all.into_iter()
        .filter(|(name, value)| {
            name.as_encoded_bytes().starts_with(ENVIRONMENT_PREFIX.as_bytes()) && !value.is_empty()
        })
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, _)| {
            !OTHER_VARIABLES.contains(&name.as_str())
                && !DEVELOPMENT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        })
        .collect()
}

/// Returns the error for an unknown variable. A typing error must not silently send data elsewhere.
pub fn unknown_variable(name: &str) -> String {
    let known: Vec<_> = keys().map(variable).collect();
    match nearest(name, known.iter().map(String::as_str)) {
        Some(known) => format!("variable {name} is no setting; did you mean {known}?"),
        None => format!("variable {name} is no setting; the variables are {}", known.join(", ")),
    }
}

/// Returns the error for an unknown key of the connector string.
pub fn unknown_key(key: &str) -> String {
    let meant = nearest(key, keys()).map(|known| format!("; did you mean '{known}'?")).unwrap_or_default();
    let keys = keys().collect::<Vec<_>>().join(", ");
    format!("unknown key '{key}' in the connector string{meant}; the keys are {keys}")
}

/// Returns the known name that is most similar to a mistyped one, if at most a third of the name is wrong.
fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed_key = typed.strip_prefix(ENVIRONMENT_PREFIX).unwrap_or(typed).to_lowercase();
    let distance = |name: &str| {
        let key = name.strip_prefix(ENVIRONMENT_PREFIX).unwrap_or(name).to_lowercase();
        strsim::damerau_levenshtein(&typed_key, &key)
    };
    let (distance, name) = known.into_iter().map(|name| (distance(name), name)).min()?;
    (distance <= typed_key.chars().count().div_ceil(3)).then_some(name)
}

/// Returns the text that follows a connector's name in `HDF5_VOL_CONNECTOR` (`H5VL__set_def_conn` ends the name at the
/// first blank); `None` if the string names another connector.
pub fn info_of<'a>(string: &'a str, connector: &CStr) -> Option<&'a str> {
    let string = string.trim_start_matches(BLANKS);
    let (name, info) = string.split_once(BLANKS).unwrap_or((string, ""));
    (name.as_bytes() == connector.to_bytes()).then_some(info)
}

/// The characters at which HDF5 ends a connector's name.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// Splits a connector string into words. Blanks end a word, but not between quotation marks, `'` or `"`. Quotation
/// marks are removed; each kind is an ordinary character between marks of the other kind.
pub fn words(string: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in string.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if matches!(c, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        return Err(format!("a value in the connector string begins with {open} and does not end with it"));
    }
    words.extend(word);
    Ok(words)
}

/// Returns a setting as a word of a connector string, with quotation marks if its value needs them.
pub fn word(key: &str, value: &str) -> String {
    if !value.contains(|c: char| c.is_whitespace() || matches!(c, '\'' | '"')) {
        return format!("{key}={value}");
    }
    let parts: Vec<_> = value.split('\'').map(|part| format!("'{part}'")).collect();
    format!("{key}={}", parts.join("\"'\""))
}

/// Returns the value of a key in a connector string.
pub fn value_in(string: &str, key: &str) -> Option<String> {
    let words = words(string).unwrap_or_default();
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
}
