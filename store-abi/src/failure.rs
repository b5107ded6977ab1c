//! The failures of calls.

use std::fmt;

use crate::raw;

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The object does not exist.
    NotFound,
    /// The store itself does not exist.
    NoStore,
    /// A create found an object.
    Exists,
    /// An update found another version, or none.
    Changed,
    /// The user is not permitted to do this.
    Denied,
    /// The user is not authenticated.
    NoCredentials,
    /// The store never supports this.
    Unsupported,
    /// No answer arrived in time.
    TimedOut,
    /// The store cannot be reached.
    Unavailable,
    /// The store is full.
    NoSpace,
    /// The stored data is damaged.
    Damaged,
    /// The request makes no sense.
    BadRequest,
    /// Any other failure.
    Failed,
    /// The library violated a rule of the interface. A write or remove may have had its effect.
    Misuse,
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of the failure.
    pub kind: Kind,
    /// True if the call changed nothing, and the same call may succeed soon.
    pub may_be_repeated: bool,
    /// The library's description of the failure, or the rule that it violated. May be empty.
    pub detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Failure {
    /// Returns the failure of a violated rule.
    pub(crate) fn misuse(detail: impl Into<String>) -> Failure {
        Failure { kind: Kind::Misuse, may_be_repeated: false, detail: detail.into() }
    }
}

/// The kind of a call, which determines its valid codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Open,
    Read,
    ReadIfChanged,
    Overwrite,
    Create,
    Update,
    Remove,
    List,
}

/// Converts a code. For a listing, the result is whether there may be more objects; for a conditional read, whether the
/// object has the known etag.
///
/// # Errors
/// The failure, without its detail; a misuse if the interface has no such code, or the call cannot fail in this way.
pub(crate) fn outcome(asked: Asked, code: i32) -> Result<bool, Failure> {
    match code {
        raw::OK => return Ok(false),
        _ if code == raw::OK | raw::MORE && asked == Asked::List => return Ok(true),
        _ if code == raw::OK | raw::UNCHANGED && asked == Asked::ReadIfChanged => return Ok(true),
        _ => (),
    }
    let kind = match (code & !raw::RETRY, asked) {
        (raw::NOT_FOUND, Asked::Read | Asked::ReadIfChanged) => Kind::NotFound,
        (raw::NO_STORE, _) => Kind::NoStore,
        (raw::EXISTS, Asked::Create) => Kind::Exists,
        (raw::CHANGED, Asked::Update) => Kind::Changed,
        (raw::DENIED, _) => Kind::Denied,
        (raw::NO_CREDENTIALS, _) => Kind::NoCredentials,
        (raw::UNSUPPORTED, _) => Kind::Unsupported,
        (raw::TIMED_OUT, _) => Kind::TimedOut,
        (raw::UNAVAILABLE, _) => Kind::Unavailable,
        (raw::NO_SPACE, _) => Kind::NoSpace,
        (raw::DAMAGED, _) => Kind::Damaged,
        (raw::BAD_REQUEST, _) => Kind::BadRequest,
        (raw::FAILED, _) => Kind::Failed,
        _ => {
            return Err(Failure::misuse(format!("it returned {code:#x}, which is no answer to such a call")));
        }
    };
    Err(Failure { kind, may_be_repeated: code & raw::RETRY != 0, detail: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_fails_only_as_it_can() {
        assert_eq!(outcome(Asked::List, raw::MORE), Ok(true));
        assert_eq!(outcome(Asked::Read, raw::OK), Ok(false));
        assert_eq!(outcome(Asked::ReadIfChanged, raw::UNCHANGED), Ok(true));
        let failed = outcome(Asked::Create, raw::EXISTS | raw::RETRY).unwrap_err();
        assert_eq!((failed.kind, failed.may_be_repeated), (Kind::Exists, true));
        for (asked, code) in [
            (Asked::Read, raw::MORE),
            (Asked::Read, raw::UNCHANGED),
            (Asked::ReadIfChanged, raw::MORE),
            (Asked::ReadIfChanged, raw::UNCHANGED | raw::RETRY),
            (Asked::Overwrite, raw::EXISTS),
            (Asked::Create, raw::CHANGED),
            (Asked::List, raw::NOT_FOUND),
            (Asked::Read, -1),
            (Asked::Read, 14),
            (Asked::Read, raw::RETRY),
            (Asked::Read, i32::MIN),
        ] {
            assert_eq!(outcome(asked, code).unwrap_err().kind, Kind::Misuse, "{asked:?} {code}");
        }
    }
}
