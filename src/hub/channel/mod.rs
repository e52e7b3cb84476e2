//! A channel: its members, its feed, and the backpressure between its publishers and its readers.

pub(crate) mod backpressure;
pub(crate) mod feed;
mod members;

use backpressure::Backpressure;
use feed::Feed;
use members::Members;

/// The state that the clients of one channel share. Today there is only one channel.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) feed: Feed,
    /// The clients that may need lines from the feed: each from its activation until its removal.
    pub(crate) members: Members,
    pub(crate) backpressure: Backpressure,
}

impl Channel {
    pub(crate) fn new(feed: Feed, backpressure: Backpressure) -> Self {
        Self { feed, members: Members::default(), backpressure }
    }
}
