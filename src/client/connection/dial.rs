//! Trying one address after the other, until a server says welcome.

use std::io;
use std::time::{Duration, Instant};

use mio::{Registry, Token};

use crate::client::connection::link::{End, Link, describe};
use crate::escape::escape_untrusted;
use crate::net::stream::Endpoint;
use crate::net::tls::ClientTls;
use crate::protocol::{ErrorCode, FeedId, Reply};
use crate::read_outcome::TlsFailure;

/// How long each address is tried, at most.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the server says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Welcome {
    pub(crate) id: u64,
    pub(crate) feed: FeedId,
    pub(crate) seq: u64,
}

/// How far it has come.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Something has to happen first.
    Waits,
    /// There is a server.
    Welcomed(Welcome),
    /// No address has worked.
    Failed {
        /// What was wrong with each.
        why: String,
        /// At none of them is anybody.
        is_nobody_there: bool,
    },
    /// There is something else than a server; what it said.
    Nonsense(String),
    /// A certificate is not trusted, and why.
    Untrusted(String),
}

/// The addresses that are still to be tried, and the one that is.
#[derive(Debug)]
pub(crate) struct Dial {
    tls: Option<ClientTls>,
    token: Token,
    timeout: Duration,
    left: std::vec::IntoIter<Endpoint>,
    current: Option<Attempt>,
    failures: Vec<String>,
    /// So far, nobody was at any of them.
    is_nobody_there: bool,
    /// One of them shows a certificate that is not trusted, or asks for one.
    is_untrusted: bool,
}

#[derive(Debug)]
struct Attempt {
    endpoint: Endpoint,
    link: Link,
    deadline: Instant,
    /// What to say of a server that lets it in, and then says nothing.
    silence: &'static str,
}

impl Dial {
    /// To try these endpoints, each for at most `timeout`.
    pub(crate) fn new(
        endpoints: Vec<Endpoint>,
        tls: Option<ClientTls>,
        token: Token,
        timeout: Duration,
    ) -> Self {
        let timeout = timeout.min(CONNECT_TIMEOUT);
        let left = endpoints.into_iter();
        Self {
            tls,
            token,
            timeout,
            left,
            current: None,
            failures: vec![],
            is_nobody_there: true,
            is_untrusted: false,
        }
    }

    /// The link that is being made.
    pub(crate) fn link(&mut self) -> Option<&mut Link> {
        self.current.as_mut().map(|attempt| &mut attempt.link)
    }

    /// The link that was made.
    pub(crate) fn into_link(self) -> Option<Link> {
        self.current.map(|attempt| attempt.link)
    }

    pub(crate) fn has_work(&self) -> bool {
        self.current.as_ref().is_none_or(|attempt| attempt.link.has_more())
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.current.as_ref().map(|attempt| attempt.deadline)
    }

    /// Goes on.
    pub(crate) fn advance(&mut self, registry: &Registry, now: Instant) -> Outcome {
        loop {
            if let Some(attempt) = &mut self.current {
                match attempt.outcome(now) {
                    Outcome::Failed { why, is_nobody_there } => {
                        self.failures.push(format!("{}: {why}", attempt.endpoint));
                        self.is_nobody_there &= is_nobody_there;
                        self.current = None;
                    }
                    Outcome::Untrusted(why) => {
                        self.failures.push(format!("{}: {why}", attempt.endpoint));
                        self.is_untrusted = true;
                        self.current = None;
                    }
                    outcome => return outcome,
                }
            }
            let Some(endpoint) = self.left.next() else {
                let why = self.failures.join("; ");
                if self.is_untrusted {
                    return Outcome::Untrusted(why);
                }
                return Outcome::Failed { why, is_nobody_there: self.is_nobody_there };
            };
            match Link::connect(&endpoint, self.tls.as_ref(), registry, self.token, now) {
                Ok(link) => {
                    let deadline = now + self.timeout;
                    let silence = match self.tls {
                        Some(_) => "it says nothing",
                        None => "it says nothing; if it is encrypted, --tls is missing",
                    };
                    self.current = Some(Attempt { endpoint, link, deadline, silence });
                }
                Err(error) => {
                    self.failures.push(format!("{endpoint}: {}", describe(&error)));
                    self.is_nobody_there &= is_nobody_there(&error);
                }
            }
        }
    }
}

impl Attempt {
    fn outcome(&mut self, now: Instant) -> Outcome {
        let failed =
            |why: &str, is_nobody_there| Outcome::Failed { why: why.to_owned(), is_nobody_there };
        match self.link.next_line() {
            Ok(true) => match Reply::parse(self.link.line()) {
                Some(Reply::Welcome { id, feed, seq, .. }) => {
                    Outcome::Welcomed(Welcome { id, feed, seq })
                }
                Some(Reply::Error { code, .. }) if code == ErrorCode::SERVER_FULL.as_str() => {
                    failed("the server is full", false)
                }
                _ => Outcome::Nonsense(escape_untrusted(self.link.line(), 80)),
            },
            Ok(false) => match self.link.end() {
                Some(End::TlsFailed(TlsFailure::Untrusted(why))) => Outcome::Untrusted(why.clone()),
                Some(End::Broken(error)) => failed(&describe(error), is_nobody_there(error)),
                Some(end) => failed(&end.to_string(), false),
                None if self.deadline <= now && self.link.is_connected() => {
                    failed(self.silence, false)
                }
                None if self.deadline <= now => failed("no answer", true),
                None => Outcome::Waits,
            },
            Err(nonsense) => Outcome::Nonsense(nonsense),
        }
    }
}

/// Whether it is because there is no server.
fn is_nobody_there(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound, TimedOut};
    matches!(error.kind(), ConnectionRefused | NotFound | TimedOut)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{SocketAddr, TcpListener};

    use mio::{Events, Poll};

    use super::*;

    #[test]
    fn every_address_is_tried_until_one_answers() {
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = |listener: &TcpListener| listener.local_addr().expect("it is bound");
        // Nobody is at the first one, and at the second somebody who says nothing.
        let (free, silent, server) = (address(&bind()), bind(), bind());
        let addresses: [SocketAddr; 3] = [free, address(&silent), address(&server)];
        let mut poll = Poll::new().expect("a poll");
        let mut events = Events::with_capacity(8);
        let timeout = Duration::from_millis(50);
        let mut dial = Dial::new(addresses.map(Endpoint::Tcp).to_vec(), None, Token(0), timeout);
        let mut accepted = None;
        let outcome = loop {
            match dial.advance(poll.registry(), Instant::now()) {
                Outcome::Waits => {}
                outcome => break outcome,
            }
            if dial.left.len() == 0 && accepted.is_none() {
                let (mut stream, _) = server.accept().expect("it connects");
                stream.write_all(b"welcome 1 00c0ffee 5 oyezd/9 hi\n").expect("it takes a line");
                accepted = Some(stream);
            }
            poll.poll(&mut events, Some(timeout)).expect("the poll works");
            if let Some(link) = dial.link() {
                events.iter().for_each(|event| link.note(event));
                link.turn(&mut [0; 1000], Instant::now());
            }
        };
        assert!(matches!(outcome, Outcome::Welcomed(Welcome { id: 1, seq: 5, .. })), "{outcome:?}");
        assert_eq!(dial.failures.len(), 2);
        assert!(dial.failures[0].ends_with(": connection refused"));
        assert!(
            dial.failures[1].ends_with(": it says nothing; if it is encrypted, --tls is missing")
        );
    }
}
