//! Object keys: names that every store can store unchanged.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::{Error, ErrorKind, Operation, Result};

/// The name of an object: UTF-8 segments separated by `/`.
///
/// A key is valid when
/// - it is 1 to [`Key::MAX_LEN`] bytes long,
/// - no segment is empty (so no leading, trailing or doubled `/`), `.` or `..`,
/// - no segment is longer than [`Key::MAX_SEGMENT`] bytes,
/// - it has no control characters (U+0000–U+001F, U+007F–U+009F).
///
/// No character is escaped or normalised: a key is stored unchanged, including `%`. If a store's transport needs
/// escapes (percent-encoding in a URL), the store adds and removes them itself. Keys are ordered by their bytes, which
/// is the order of every listing.
///
/// Cloning is cheap (a shared string).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    /// The maximum length of a key, in bytes: the limit of S3 ("Naming Amazon S3 objects", 1,024 bytes).
    pub const MAX_LEN: usize = 1024;
    /// The maximum length of a segment, in bytes: the limit of a file name on Linux (NAME_MAX).
    pub const MAX_SEGMENT: usize = 255;

    /// Returns the key with this text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] with the rule that `text` breaks.
    pub fn new(text: impl AsRef<str>) -> Result<Key> {
        let text = text.as_ref();
        match broken_rule(text) {
            None => Ok(Key(Arc::from(text))),
            Some(rule) => Err(Error::new(ErrorKind::InvalidArgument, Operation::Open)
                .because(format!("{text:?} is no object key: {rule}"))),
        }
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the key `self/rest`; `rest` may have several segments.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the result is no valid key.
    pub fn join(&self, rest: impl AsRef<str>) -> Result<Key> {
        Key::new(format!("{}/{}", self.0, rest.as_ref()))
    }

    /// Returns the key with `suffix` appended: `a/b` and `.lake/x` make `a/b.lake/x`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the result is no valid key.
    pub fn append(&self, suffix: impl AsRef<str>) -> Result<Key> {
        Key::new(format!("{}{}", self.0, suffix.as_ref()))
    }

    /// Returns the segments in order.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// Returns the last segment.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

fn broken_rule(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if text.len() > Key::MAX_LEN {
        return Some("it is longer than 1,024 bytes");
    }
    if text.chars().any(char::is_control) {
        return Some("it holds a control character");
    }
    text.split('/').find_map(|segment| match segment {
        "" => Some("it has an empty segment"),
        "." | ".." => Some("it has a segment '.' or '..'"),
        s if s.len() > Key::MAX_SEGMENT => Some("it has a segment longer than 255 bytes"),
        _ => None,
    })
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Key {
    type Error = Error;

    fn try_from(text: &str) -> Result<Key> {
        Key::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_keys_are_kept_as_they_are() {
        for text in ["a", "a/b", ".x", "...", "a%2Fb", "é/日本", "a b", "a\\b", "~", "x.lake/clock/00"] {
            assert_eq!(Key::new(text).unwrap().as_str(), text);
        }
        assert!(Key::new("a".repeat(255)).is_ok());
        let longest = format!("{}/{}", vec!["a".repeat(255); 3].join("/"), "b".repeat(256 - 1));
        assert_eq!(longest.len(), 1023);
        assert!(Key::new(longest).is_ok());
    }

    #[test]
    fn bad_keys_are_refused() {
        let long = "a".repeat(256);
        let longer = vec!["a".repeat(204); 6].join("/");
        assert!(longer.len() > Key::MAX_LEN);
        for text in ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "a\0", "a\n", "\u{85}"] {
            assert_eq!(Key::new(text).unwrap_err().kind(), ErrorKind::InvalidArgument, "{text:?}");
        }
        assert!(Key::new(long).is_err());
        assert!(Key::new(longer).is_err());
    }

    #[test]
    fn keys_are_composed() {
        let key = Key::new("a/b").unwrap();
        assert_eq!(key.join("c/d").unwrap().as_str(), "a/b/c/d");
        assert_eq!(key.append(".lake/x").unwrap().as_str(), "a/b.lake/x");
        assert_eq!(key.file_name(), "b");
        assert!(key.join("../c").is_err());
        assert!(key.join("").is_err());
    }
}
