//! Feed ids.

use std::fmt;

/// Identifies the feed of one server run, so that a client does not mistake another run's sequence
/// numbers for this one's. Written as 8 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedId(pub u32);

impl FeedId {
    /// Parses an id. Returns `None` if the word is not 8 lower-case hexadecimal digits.
    pub fn parse(word: &str) -> Option<Self> {
        let well_formed =
            word.len() == 8 && word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if well_formed { u32::from_str_radix(word, 16).ok().map(Self) } else { None }
    }
}

impl fmt::Display for FeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}
