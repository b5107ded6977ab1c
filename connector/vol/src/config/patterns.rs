//! Decides by their names which files h5lake handles: the setting `only=`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use glob::{MatchOptions, Pattern};

/// `*` and `?` do not match a `/`, so that a pattern determines the folder.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// Patterns for names of files. Without any pattern, every name matches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamePatterns(Vec<NamePattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct NamePattern {
    /// The pattern as it was given.
    text: String,
    pattern: Pattern,
    against: Against,
}

/// The part of a name with which a pattern is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Against {
    /// The last component of the name.
    FileName,
    /// The whole path, from the root.
    Path,
}

impl NamePatterns {
    /// Reads comma-separated patterns.
    ///
    /// # Errors
    /// A text that continues behind the setting's name, with the wrong pattern.
    pub fn parse(value: &str) -> Result<Self, String> {
        value.split(',').map(|text| NamePattern::parse(text.trim())).collect::<Result<_, _>>().map(Self)
    }

    /// Returns whether h5lake handles files of that name. The name is matched as given: symbolic links are not
    /// followed.
    pub fn match_name(&self, name: &[u8]) -> bool {
        let path = Path::new(OsStr::from_bytes(name));
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.matches(path))
    }

    /// Returns whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the text that [`parse`](Self::parse) reads.
    pub fn setting_value(&self) -> String {
        self.0.iter().map(|pattern| pattern.text.as_str()).collect::<Vec<_>>().join(",")
    }
}

impl NamePattern {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(
                "takes patterns such as *.h5l or /data/run?/*.h5, with commas between them".to_owned()
            );
        }
        let (against, whole) = match (text.contains('/'), text.starts_with('/')) {
            (false, _) => (Against::FileName, text.to_owned()),
            (true, true) => (Against::Path, text.to_owned()),
            // A relative path matches the last components of a name.
            (true, false) => (Against::Path, format!("/**/{text}")),
        };
        let pattern = Pattern::new(&whole).map_err(|error| {
            format!("takes patterns such as *.h5l, with commas between them, not '{text}': {}", error.msg)
        })?;
        Ok(Self { text: text.to_owned(), pattern, against })
    }

    fn matches(&self, path: &Path) -> bool {
        match self.against {
            Against::FileName => path
                .file_name()
                .is_some_and(|name| self.pattern.matches_with(&name.to_string_lossy(), OPTIONS)),
            // If the working directory was deleted, the absolute path is unknown.
            Against::Path => std::path::absolute(path)
                .is_ok_and(|path| self.pattern.matches_with(&path.to_string_lossy(), OPTIONS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(patterns: &str, name: &str) -> bool {
        NamePatterns::parse(patterns).unwrap().match_name(name.as_bytes())
    }

    #[test]
    fn a_pattern_without_a_slash_is_of_the_file_name() {
        for name in ["a.h5l", "/data/a.h5l", "./x/.h5l", "x y.h5l", "\u{fc}.h5l"] {
            assert!(matches("*.h5l", name), "{name}");
        }
        for name in ["a.h5", "a.h5l/b.h5", "a.H5L", "a.h5l.bak"] {
            assert!(!matches("*.h5l", name), "{name}");
        }
        assert!(matches("run?.h5", "run7.h5") && !matches("run?.h5", "run17.h5"));
        assert!(matches("run[0-4].h5", "d/run3.h5") && !matches("run[!0-4].h5", "d/run3.h5"));
    }

    #[test]
    fn a_pattern_with_slashes_is_of_the_path() {
        assert!(matches("/data/*.h5", "/data/a.h5") && matches("/data/*.h5", "/data/.//a.h5"));
        assert!(!matches("/data/*.h5", "/data/x/a.h5") && !matches("/data/*.h5", "data/a.h5"));
        assert!(matches("/data/**/*.h5", "/data/a.h5") && matches("/data/**/*.h5", "/data/x/y/a.h5"));
        assert!(matches("runs/*.h5", "/data/runs/a.h5") && matches("runs/*.h5", "runs/a.h5"));
        assert!(!matches("runs/*.h5", "/data/runs/x/a.h5") && !matches("runs/*.h5", "/data/oldruns/a.h5"));
        let here = std::env::current_dir().unwrap();
        assert!(matches(&format!("{}/*.h5", here.display()), "a.h5"), "from the working folder");
    }

    #[test]
    fn any_of_several_patterns_is_enough() {
        assert!(matches("*.h5l, /data/*", "a.h5l") && matches("*.h5l, /data/*", "/data/x"));
        assert!(!matches("*.h5l,*.lake", "a.h5"));
        assert!(NamePatterns::default().match_name(b"anything"));
        assert!(NamePatterns::parse("*.h5").unwrap().match_name(b"\xff\xfe.h5"), "a name that is no UTF-8");
    }

    #[test]
    fn a_pattern_that_is_none_is_named() {
        for (value, named) in [("*.h5l,a[b", "'a[b'"), ("a**b", "'a**b'"), ("[z-", "'[z-'")] {
            let error = NamePatterns::parse(value).unwrap_err();
            assert!(error.starts_with("takes patterns ") && error.contains(named), "{error}");
        }
        for value in ["", " ", "*.h5l,", ",*.h5l", "a,,b"] {
            assert!(NamePatterns::parse(value).unwrap_err().starts_with("takes patterns "), "{value}");
        }
    }
}
