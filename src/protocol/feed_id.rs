//! Feed ids.

use std::fmt;

/// Identifies the feed of one server run, so that a client does not confuse the sequence numbers of
/// two runs. Written as 8 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedId(pub u32);

impl FeedId {
    /// Parses an id. Returns `None` if the word is not 8 lower-case hexadecimal digits.
    pub fn parse(word: &str) -> Option<Self> {
        // Comparing rejects any other spelling, such as upper case or a sign.
        u32::from_str_radix(word, 16).ok().map(Self).filter(|id| id.to_string() == word)
    }
}

impl fmt::Display for FeedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}
