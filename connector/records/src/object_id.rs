//! Object ids.
//!
//! An id is 2^62 + salt · 2^44 + n · 2^12: a counter, so that new objects have neighbouring keys; a salt per container,
//! so that a reference into another container does not refer to an object by accident; and 4 KiB between ids, so that
//! native code that uses an id as an address and reads a header there never reads into the next one.

const BASE: u64 = 1 << 62;
const SALT_BITS: u32 = 18;
const STEP: u32 = 12;
const NUMBER_BITS: u32 = 32;

/// The id of an object within its container: the address half of a token. It is never 0 or all ones, always at least
/// 2^62 (so that no address of a native file is equal), stable, and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u64);

impl ObjectId {
    /// The id of the root group of every container.
    pub const ROOT: Self = Self(BASE + (1 << STEP));

    /// Returns the id of the object with this number in a container with this salt.
    pub fn numbered(salt: u32, number: u64) -> Self {
        // The salt 0 is reserved for the root.
        let salt = u64::from(salt) % ((1 << SALT_BITS) - 1) + 1;
        Self(BASE + (salt << (STEP + NUMBER_BITS)) + (number << STEP))
    }

    /// Returns the object's number; 0 for the root group.
    pub fn number(self) -> u64 {
        if self == Self::ROOT { 0 } else { self.0 >> STEP & u64::from(u32::MAX) }
    }
}
