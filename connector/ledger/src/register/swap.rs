//! The register in a store with conditional puts: the head object, with its etag as the token.

use std::sync::Arc;

use bytes::Bytes;
use object_stores::{
    ErrorKind as StoreErrorKind, Etag, GetResult, Key, ObjectStore, ObjectStoreExt, PutMode,
};

use super::{Doubt, Load, MAX_MANIFEST_BYTES, Register, Swap, Token, Version};
use crate::error::{Error, ErrorKind, Result, store_error};
use crate::file::superblock::has_slots;
use crate::signatures::SIGNATURE;

/// The bytes of an object that show what it is.
pub(crate) const FRONT_BYTES: u64 = 1 << 20;

/// A register that consists of the head object of a container. It loads from every store, and swaps in stores with
/// conditional puts.
#[derive(Debug, Clone)]
pub struct SwapRegister {
    store: Arc<dyn ObjectStore>,
    head: Key,
    target: Arc<str>,
}

impl SwapRegister {
    /// Returns the register of the object `head`. `target` names the container in errors. This makes no request.
    pub fn new(store: Arc<dyn ObjectStore>, head: Key, target: &str) -> Self {
        Self { store, head, target: target.into() }
    }

    fn token(&self, etag: Option<Etag>) -> Result<Token> {
        let etag = etag.ok_or_else(|| {
            let what = format!("{} gave no etag of {:?}, which a swap needs", self.store.name(), self.head);
            Error::new(&self.target, ErrorKind::Store { errno: None, what })
        })?;
        Ok(Token(Version::Etag(etag)))
    }
}

/// Reads a head object. If the object is longer and no manifest (for example a native HDF5 file), only its first [`FRONT_BYTES`] bytes are
/// returned.
///
/// # Errors
/// The errors of the store; `Corrupt` for a manifest that is longer than any.
pub(crate) fn read_head(store: &dyn ObjectStore, head: &Key) -> object_stores::Result<GetResult> {
    let front = store.get_front(head, FRONT_BYTES)?;
    let is_whole = front.meta.size == front.bytes.len() as u64;
    if is_whole || !front.bytes.starts_with(SIGNATURE) || has_slots(&front.bytes) {
        return Ok(front);
    }
    store.get_whole(head, MAX_MANIFEST_BYTES)
}

impl Register for SwapRegister {
    fn load(&self, known: Option<&Token>) -> Result<Load> {
        let found = match known {
            Some(Token(Version::Etag(etag))) => {
                self.store.get_whole_if_changed(&self.head, MAX_MANIFEST_BYTES, etag)
            }
            _ => read_head(self.store.as_ref(), &self.head).map(Some),
        };
        match found {
            Ok(None) => Ok(Load::NotModified),
            Ok(Some(found)) => Ok(Load::Loaded(Some(found.bytes), self.token(found.meta.etag)?)),
            Err(e) if e.kind() != StoreErrorKind::NotFound => Err(store_error(&self.target, &e)),
            Err(_) if known.is_some_and(Token::is_absent) => Ok(Load::NotModified),
            Err(_) => Ok(Load::Loaded(None, Token(Version::Absent))),
        }
    }

    fn swap(&self, over: &Token, manifest: Bytes) -> Swap {
        let mode = match &over.0 {
            Version::Absent => PutMode::Create,
            Version::Etag(etag) => PutMode::Update(etag.clone()),
            Version::Numbered(_) | Version::Draft(_) => {
                let why = "a token of another kind of register";
                return Swap::Doubt(Doubt::Failed(Error::invalid(&self.target, why)));
            }
        };
        match self.store.put(&self.head, manifest.into(), mode) {
            Ok(put) => match self.token(put.etag) {
                Ok(token) => Swap::Swapped(token),
                Err(e) => Swap::Doubt(Doubt::Failed(e)),
            },
            Err(e) => Swap::Doubt(match e.kind() {
                StoreErrorKind::AlreadyExists | StoreErrorKind::PreconditionFailed => Doubt::Mismatch,
                kind if !kind.is_ambiguous() => Doubt::Refused(store_error(&self.target, &e)),
                _ => Doubt::Failed(store_error(&self.target, &e)),
            }),
        }
    }
}
