//! Positions in a feed.

use std::fmt;

use super::feed_id::FeedId;
use super::fields::parse_number;

/// A position in a feed: after the line with this sequence number. Written as `FEED-SEQ`.
///
/// Keep a sequence number together with its feed if it outlives the connection: the same number
/// means another line in another feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedPosition {
    /// The feed.
    pub feed: FeedId,
    /// The sequence number.
    pub seq: u64,
}

impl FeedPosition {
    /// Parses a position. Returns `None` if the text does not have the form `FEED-SEQ`. Users may
    /// write the feed in upper case; servers do not.
    pub fn parse(text: &str) -> Option<Self> {
        let (feed, seq) = text.split_once('-')?;
        let feed = FeedId::parse(&feed.to_ascii_lowercase())?;
        Some(Self { feed, seq: parse_number(seq)? })
    }
}

impl fmt::Display for FeedPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.feed, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displayed_position_parses_to_the_same_position() {
        for (feed, seq, text) in [
            (0, 0, "00000000-0"),
            (0x9f3c_21aa, 25, "9f3c21aa-25"),
            (u32::MAX, u64::MAX, "ffffffff-18446744073709551615"),
        ] {
            let position = FeedPosition { feed: FeedId(feed), seq };
            assert_eq!(position.to_string(), text);
            assert_eq!(FeedPosition::parse(text), Some(position));
        }
        let position = FeedPosition::parse("9F3c21aA-5").expect("digits in either case");
        assert_eq!(position.to_string(), "9f3c21aa-5");
        for text in [
            "",
            "-",
            "25",
            "9f3c21aa",
            "9f3c21aa-",
            "-25",
            "9f3c21aa-+5",
            "9f3c21aa--5",
            "9f3c21aa-5-",
            "+f3c21aa-5",
            "0x3c21aa-5",
            "9f3c21ag-5",
            "9f3c21a-5",
            "9f3c21aa-18446744073709551616",
        ] {
            assert_eq!(FeedPosition::parse(text), None, "{text:?}");
        }
    }
}
