//! The register of a container that is being made and is not visible yet: its manifest is in memory.

use bytes::Bytes;

use super::{Doubt, Load, Register, Swap, Token, Version};
use crate::error::Result;
use crate::locks::Mutex;

/// A register in this process's memory.
#[derive(Debug)]
pub struct DraftRegister(Mutex<(Bytes, u64)>);

impl DraftRegister {
    /// Returns a register with its first manifest.
    pub fn new(manifest: Bytes) -> Self {
        Self(Mutex::new((manifest, 0)))
    }
}

impl Register for DraftRegister {
    fn load(&self, known: Option<&Token>) -> Result<Load> {
        let (manifest, count) = &*self.0.lock();
        let token = Token(Version::Draft(*count));
        Ok(if known == Some(&token) {
            Load::NotModified
        } else {
            Load::Loaded(Some(manifest.clone()), token)
        })
    }

    fn swap(&self, over: &Token, manifest: Bytes) -> Swap {
        let mut held = self.0.lock();
        if *over != Token(Version::Draft(held.1)) {
            return Swap::Doubt(Doubt::Mismatch);
        }
        *held = (manifest, held.1 + 1);
        Swap::Swapped(Token(Version::Draft(held.1)))
    }
}
