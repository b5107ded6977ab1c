//! Keys that a server would store under another name.
//!
//! Two keys must never name the same object: opening one container with mode `w` would replace the other container. So
//! no request is sent to a server for a name that the server would change.

use crate::Key;

/// The rule which keys a server stores under exactly their own names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeptNames {
    /// Every key.
    All,
    /// Azure Blob Storage replaces each backslash by a slash, and requires that no segment of a name ends with a dot
    /// ("Naming and referencing containers, blobs, and metadata", section "Blob names").
    Azure,
}

impl KeptNames {
    /// Returns an error text for a key that the server would store under another name.
    pub(super) fn check(self, key: &Key) -> Result<(), String> {
        match self {
            KeptNames::All => Ok(()),
            KeptNames::Azure if key.as_str().contains('\\') => {
                Err(refusal("turns a backslash into a slash", "without a backslash"))
            }
            KeptNames::Azure if key.segments().any(|segment| segment.ends_with('.')) => {
                Err(refusal("may drop a dot at the end of a segment", "in which no segment ends with a dot"))
            }
            KeptNames::Azure => Ok(()),
        }
    }
}

fn refusal(what: &str, remedy: &str) -> String {
    format!("Azure Blob Storage {what}, so this name could reach another object; choose a name {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_azure_changes_are_never_sent() {
        let check = |text: &str| KeptNames::Azure.check(&Key::new(text).unwrap());
        for kept in ["a", "a/b.h5", ".a/..b/c", "a b ", "a%5Cb", "a%2Eb", "e\u{301}", "..a", "x.lake/clock/1"]
        {
            assert!(check(kept).is_ok(), "{kept}");
        }
        for changed in ["a\\b", "\\", "a/b\\/c", "a.", "a./b", "a...", "..."] {
            assert!(check(changed).unwrap_err().contains("choose a name"), "{changed}");
            assert!(KeptNames::All.check(&Key::new(changed).unwrap()).is_ok(), "{changed}");
        }
    }
}
