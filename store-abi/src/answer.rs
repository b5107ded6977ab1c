//! The answers of libraries, raw and validated.

use std::time::SystemTime;

use crate::{Failure, check, raw};

/// Tells a library whether its call should continue to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The call may continue.
    GoOn,
    /// Further answers are ignored.
    Enough,
}

/// Receives the answers to one call. An answer that the call does not expect violates the rules.
pub(crate) trait Receiver {
    fn opened(&mut self, _: raw::Opened) -> Result<Flow, Failure> {
        Err(Failure::misuse("it gave a store where none was asked for"))
    }

    fn object(&mut self, _: raw::Object) -> Result<Flow, Failure> {
        Err(Failure::misuse("it gave an object where none was asked for"))
    }

    fn bytes(&mut self, _: &[u8]) -> Result<Flow, Failure> {
        Err(Failure::misuse("it gave bytes where none were asked for"))
    }

    fn payload(&mut self, _: u64) -> Result<&[u8], Failure> {
        Err(Failure::misuse("it asked for a payload where there is none"))
    }
}

/// An object, as a library describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The object's key; in an answer about one object, the requested key.
    pub key: String,
    /// The length of the whole object, in bytes.
    pub length: u64,
    /// The time of its last write.
    pub modified: SystemTime,
    /// Its version. It is present if the store promises atomic updates.
    pub etag: Option<String>,
}

impl Object {
    /// Validates a library's description of an object. `key` is the key of the call, if the call is about one object.
    pub(crate) fn of(raw: &raw::Object, key: Option<&str>, needs_etag: bool) -> Result<Object, Failure> {
        let given = match key {
            Some(_) if raw.key.is_null() => None,
            _ => Some(check::text(raw.key, raw.key_length, check::MAX_KEY, "a key")?),
        };
        let key = match (key, given) {
            (Some(key), Some(given)) if key != given => {
                return Err(Failure::misuse(format!(
                    "it was asked for {key:?}, and answered with {given:?}"
                )));
            }
            (Some(key), _) => key,
            (None, given) => given.unwrap_or_default(),
        };
        if raw.length > i64::MAX as u64 {
            return Err(Failure::misuse(format!("it says that {key:?} has {} bytes", raw.length)));
        }
        let etag = match raw.etag.is_null() {
            true => None,
            false => Some(check::text(raw.etag, raw.etag_length, check::MAX_ETAG, "an etag")?),
        };
        if etag.is_some_and(str::is_empty) || (etag.is_none() && needs_etag) {
            return Err(Failure::misuse(format!("it gave no etag of {key:?}, which atomic updates need")));
        }
        Ok(Object {
            key: key.to_owned(),
            length: raw.length,
            modified: check::time(raw.seconds, raw.nanoseconds)?,
            etag: etag.map(str::to_owned),
        })
    }
}
