//! A seeded random number generator: the seed is enough to replay a failing test.

/// Knuth's linear congruential generator (MMIX). The same seed gives the same numbers on every
/// platform and in every version of the tests.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number in `0..end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // The low bits of a linear congruential generator have short periods.
        (self.0 >> 33) as usize % end
    }

    /// Returns true with probability 1/`n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}
