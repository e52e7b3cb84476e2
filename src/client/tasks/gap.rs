//! Gaps: broadcast lines that are missing from the output.

use std::fmt;

use crate::client::messages::{OTHER_FEED, lagged};
use crate::protocol::FeedPosition;

/// Broadcast lines that this client will not receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) cause: Cause,
    /// The position before the first missing line.
    pub(crate) after: FeedPosition,
}

/// Why lines are missing, and how many, if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// This client read too slowly.
    Lagged { count: u64 },
    /// The server no longer has the lines.
    Gone { count: u64 },
    /// The server has a different feed. Lines may be missing at the end of the previous one.
    Restarted,
}

impl Gap {
    /// Returns the number of missing lines, if it is known.
    pub(crate) fn count(&self) -> Option<u64> {
        match self.cause {
            Cause::Lagged { count } | Cause::Gone { count } => Some(count),
            Cause::Restarted => None,
        }
    }
}

impl Cause {
    /// Returns the cause's name in JSON output.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lagged { .. } => "lagged",
            Self::Gone { .. } => "gone",
            Self::Restarted => "restarted",
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.after.seq.saturating_add(1);
        match self.cause {
            Cause::Lagged { count } => f.write_str(&lagged(count)),
            Cause::Gone { count: 1 } => {
                write!(f, "line {first} is missing here: the server no longer has it")
            }
            Cause::Gone { count } => {
                let last = self.after.seq.saturating_add(count);
                write!(f, "lines {first} to {last} are missing here: the server no longer has them")
            }
            Cause::Restarted => write!(f, "{OTHER_FEED}; lines may be missing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::FeedId;

    #[test]
    fn gap_is_described_in_a_sentence() {
        for (cause, text) in [
            (Cause::Lagged { count: 1 }, "missed 1 line here: this client read too slowly"),
            (Cause::Lagged { count: 3 }, "missed 3 lines here: this client read too slowly"),
            (Cause::Gone { count: 1 }, "line 8 is missing here: the server no longer has it"),
            (
                Cause::Gone { count: 3 },
                "lines 8 to 10 are missing here: the server no longer has them",
            ),
            (
                Cause::Restarted,
                "the server was restarted, or it is another server; lines may be missing",
            ),
        ] {
            let after = FeedPosition { feed: FeedId(1), seq: 7 };
            assert_eq!(Gap { cause, after }.to_string(), text);
        }
    }
}
