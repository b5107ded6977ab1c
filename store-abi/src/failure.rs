//! Why a call failed.

use std::fmt;

use crate::raw;

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such object.
    NotFound,
    /// The store itself is not there.
    NoStore,
    /// A create found an object.
    Exists,
    /// An update found another version, or none.
    Changed,
    /// The user may not do this.
    Denied,
    /// The store does not know the user.
    NoCredentials,
    /// The store never does this.
    Unsupported,
    /// No answer in time.
    TimedOut,
    /// The store cannot be reached.
    Unavailable,
    /// It is full.
    NoSpace,
    /// What is stored is damaged.
    Damaged,
    /// What was asked for makes no sense.
    BadRequest,
    /// Anything else.
    Failed,
    /// The library broke a rule of the interface. A write or remove may have had its effect.
    Misuse,
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: Kind,
    /// It changed nothing, and the same call may succeed soon.
    pub may_be_repeated: bool,
    /// What the library says of it, or which rule it broke. May be empty.
    pub detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Failure {
    /// A broken rule.
    pub(crate) fn misuse(detail: impl Into<String>) -> Failure {
        Failure { kind: Kind::Misuse, may_be_repeated: false, detail: detail.into() }
    }
}

/// What a call is, as far as its codes go.
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

/// What a code means: whether there may be more behind a listing, or a read found the known etag; or a failure without its detail.
///
/// # Errors
/// The failure; a misuse if the interface has no such code, or the call cannot fail so.
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
