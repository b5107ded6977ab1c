//! Pseudo-random numbers from a seed.

/// A sequence of pseudo-random numbers, which is determined by its seed.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// Returns the sequence of a seed. Neighbouring seeds have unrelated sequences.
    pub fn new(seed: u64) -> Self {
        Chance(seed)
    }

    /// Returns the next number.
    pub fn number(&mut self) -> u64 {
        // The generator is Splitmix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }
}
