//! Trying one address after the other, until a server says welcome.

use std::time::{Duration, Instant};

use mio::{Registry, Token};

use super::link::{Link, describe};
use crate::printable::printable;
use crate::protocol::{ErrorCode, FeedId, Reply};
use crate::stream::Endpoint;

/// How long each address is tried, at most.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the server says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Welcome {
    pub(super) id: u64,
    pub(super) feed: FeedId,
    pub(super) seq: u64,
}

/// How far it has come.
#[derive(Debug)]
pub(super) enum Progress {
    /// Something has to happen first.
    Waits,
    /// There is a server.
    Welcomed(Welcome),
    /// No address has worked; what was wrong with each.
    Failed(String),
    /// There is something else than a server; what it said.
    Nonsense(String),
}

/// The addresses that are still to be tried, and the one that is.
#[derive(Debug)]
pub(super) struct Dial {
    token: Token,
    timeout: Duration,
    left: std::vec::IntoIter<Endpoint>,
    current: Option<Attempt>,
    failures: Vec<String>,
}

#[derive(Debug)]
struct Attempt {
    endpoint: Endpoint,
    link: Link,
    deadline: Instant,
}

impl Dial {
    /// To try these endpoints, each for at most `timeout`.
    pub(super) fn new(endpoints: Vec<Endpoint>, token: Token, timeout: Duration) -> Self {
        let timeout = timeout.min(CONNECT_TIMEOUT);
        Self { token, timeout, left: endpoints.into_iter(), current: None, failures: vec![] }
    }

    /// The link that is being made.
    pub(super) fn link(&mut self) -> Option<&mut Link> {
        self.current.as_mut().map(|attempt| &mut attempt.link)
    }

    /// The link that was made.
    pub(super) fn into_link(self) -> Option<Link> {
        self.current.map(|attempt| attempt.link)
    }

    pub(super) fn has_work(&self) -> bool {
        self.current.as_ref().is_none_or(|attempt| attempt.link.has_more())
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.current.as_ref().map(|attempt| attempt.deadline)
    }

    /// Goes on.
    pub(super) fn advance(&mut self, registry: &Registry, now: Instant) -> Progress {
        loop {
            if let Some(attempt) = &mut self.current {
                match attempt.progress(now) {
                    Progress::Failed(why) => {
                        self.failures.push(format!("{}: {why}", attempt.endpoint));
                        self.current = None;
                    }
                    progress => return progress,
                }
            }
            let Some(endpoint) = self.left.next() else {
                return Progress::Failed(self.failures.join("; "));
            };
            match Link::connect(&endpoint, registry, self.token, now) {
                Ok(link) => {
                    let deadline = now + self.timeout;
                    self.current = Some(Attempt { endpoint, link, deadline });
                }
                Err(error) => self.failures.push(format!("{endpoint}: {}", describe(&error))),
            }
        }
    }
}

impl Attempt {
    fn progress(&mut self, now: Instant) -> Progress {
        match self.link.next_line() {
            Ok(true) => match Reply::parse(self.link.line()) {
                Some(Reply::Welcome { id, feed, seq, .. }) => {
                    Progress::Welcomed(Welcome { id, feed, seq })
                }
                Some(Reply::Error { code, .. }) if code == ErrorCode::ServerFull.as_str() => {
                    Progress::Failed("the server is full".to_owned())
                }
                _ => Progress::Nonsense(printable(self.link.line(), 80)),
            },
            Ok(false) => match self.link.end() {
                Some(end) => Progress::Failed(end.to_string()),
                None if self.deadline <= now => Progress::Failed("no answer".to_owned()),
                None => Progress::Waits,
            },
            Err(nonsense) => Progress::Nonsense(nonsense),
        }
    }
}
