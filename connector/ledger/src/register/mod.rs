//! The register of a container: one manifest, which is loaded, and replaced by compare-and-swap. A commit is one swap.
//!
//! A register transfers bytes. The layers above decode the bytes, and ensure that no two manifests have equal bytes:
//! each contains the nonce of its swap. So a token never matches again after its manifest was replaced, even if the
//! store's etags are digests of the content.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod draft;
mod lease;
mod lease_guarded;
#[cfg(test)]
mod sim_tests;
mod swap;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use object_stores::{Condition, Etag, Key, ObjectStore};

use crate::error::{Error, ErrorKind, Result};
pub use draft::DraftRegister;
pub use lease::{Lease, holder};
pub(crate) use lease::{check_free, is_of_dead_writer, lock_holder, names_queue, take_away};
pub use lease_guarded::LeaseGuarded;
pub use swap::SwapRegister;
pub(crate) use swap::{FRONT_BYTES, read_head};

/// The maximum length of a manifest in bytes. The length is taken from the store's answer.
pub const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// The version of a register's content that a [`load`](Register::load) or a [`swap`](Register::swap) found or put.
/// Equal tokens of one register belong to the same manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token(Version);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Version {
    /// There is no manifest.
    Absent,
    /// The head object with this etag.
    Etag(Etag),
    /// The manifest of a draft, identified by the number of its swaps.
    Draft(u64),
    /// A numbered manifest.
    Numbered(lease_guarded::Numbered),
}

impl Token {
    /// Returns the token of a register without a manifest.
    pub(crate) fn none() -> Self {
        Self(Version::Absent)
    }

    /// Returns the token of the head object with this etag.
    pub(crate) fn of_head(etag: Etag) -> Self {
        Self(Version::Etag(etag))
    }

    /// Returns whether there is no manifest.
    pub fn is_absent(&self) -> bool {
        self.0 == Version::Absent
    }
}

/// The answer to a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Load {
    /// The register holds the manifest of the known token.
    NotModified,
    /// The manifest, or `None` if the register is empty, and its token.
    Loaded(Option<Bytes>, Token),
}

/// The answer to a swap.
#[derive(Debug)]
pub enum Swap {
    /// The manifest replaced the one of the token; this is its own token.
    Swapped(Token),
    /// It is unknown whether the manifest was put. A load decides: while a load shows the token that was to be
    /// replaced, the manifest may still arrive, and only the same bytes may follow.
    Doubt(Doubt),
}

/// The reason why the outcome is unknown, for messages and pauses. Only [`Doubt::Refused`] says that the manifest was
/// not put.
#[derive(Debug)]
pub enum Doubt {
    /// The store found another version than that of the token. In most cases another client's swap was faster. It may
    /// also be the answer to a repetition of the swap itself.
    Mismatch,
    /// The store did not answer, or its answer leaves the outcome open.
    Failed(Error),
    /// The store refused the request, and reports that nothing was changed.
    Refused(Error),
}

impl Doubt {
    /// Returns the doubt as an error of the container `target`.
    pub fn into_error(self, target: &str) -> Error {
        match self {
            Doubt::Mismatch => Error::new(target, ErrorKind::Conflict),
            Doubt::Failed(error) | Doubt::Refused(error) => error,
        }
    }
}

/// One manifest, which is loaded, and replaced by compare-and-swap.
///
/// Loads are linearizable: a load that begins after a swap has returned [`Swap::Swapped`] shows its manifest, or a later one.
pub trait Register: fmt::Debug + Send + Sync {
    /// Loads the manifest, unless it is still that of the token `known`. Changes nothing.
    ///
    /// # Errors
    /// The errors of the store; `Corrupt` for an object that is longer than any manifest.
    fn load(&self, known: Option<&Token>) -> Result<Load>;

    /// Puts `manifest`, which has its own nonce, if the register still holds the manifest of the token `over`. Of
    /// several swaps with one token at most one takes effect. When this returns [`Swap::Swapped`], the manifest is as
    /// durable as an object that was put.
    fn swap(&self, over: &Token, manifest: Bytes) -> Swap;
}

/// Returns the sequence of a manifest, which each swap raises; `None` for bytes that are no manifest.
pub type SequenceOf = fn(&[u8]) -> Option<u64>;

/// Opens the register of the head object `head` for writing. If the store has no conditional puts, this takes the lease
/// of the container, and the register serves one writer ([`LeaseGuarded`]). For reading, [`SwapRegister`] serves every
/// store, and makes no request before the first load.
///
/// # Errors
/// `Locked` if another writer has the lease; the errors of the store.
pub fn open_to_write(
    store: &Arc<dyn ObjectStore>,
    head: &Key,
    target: &str,
    sequence_of: SequenceOf,
) -> Result<Arc<dyn Register>> {
    if is_conditional(store.as_ref()) {
        return Ok(Arc::new(SwapRegister::new(store.clone(), head.clone(), target)));
    }
    Ok(Arc::new(LeaseGuarded::open(store, head, target, sequence_of)?))
}

/// Returns whether a store has both conditions that a swap needs. For a remote store this may require a put.
pub fn is_conditional(store: &dyn ObjectStore) -> bool {
    store.honours(Condition::Create) && store.honours(Condition::Update)
}
