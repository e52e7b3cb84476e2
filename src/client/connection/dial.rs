//! Dialing: connecting to one of the server's addresses and waiting for its welcome.

use std::io;
use std::time::{Duration, Instant};

use mio::{Registry, Token};

use crate::client::connection::link::{Cause, Link, LinkError};
use crate::client::connection::options::ConnectOptions;
use crate::client::messages::{connection_cut, explain, not_a_server};
use crate::credentials::secret::Secret;
use crate::credentials::secret_file;
use crate::escape::escape_untrusted;
use crate::net::stream::Endpoint;
use crate::net::tls::ClientTls;
use crate::protocol::{Command, ErrorClass, ErrorCode, FeedId, Reply};

/// The maximum time to connect to one address and receive the welcome.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// This client's id, the feed, and the newest sequence number, from the server's `welcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Welcome {
    pub(crate) id: u64,
    pub(crate) feed: FeedId,
    pub(crate) seq: u64,
}

/// Dials the server. Every reconnect uses the same settings and credentials.
#[derive(Debug)]
pub(crate) struct Dialer {
    pub(crate) options: ConnectOptions,
    secret: Option<Secret>,
    tls: Option<ClientTls>,
    registry: Registry,
    token: Token,
}

impl Dialer {
    /// Reads the secret and the TLS files. Each socket will be registered with `registry` under
    /// `token`. The error is one line for the user.
    pub(crate) fn new(
        options: ConnectOptions,
        registry: Registry,
        token: Token,
    ) -> Result<Self, String> {
        let secret = options.secret_file.as_deref().map(secret_file::read).transpose()?;
        let host = options.server.certified_name();
        let tls = options.tls.as_ref().map(|config| ClientTls::new(host, config)).transpose()?;
        Ok(Self { options, secret, tls, registry, token })
    }

    /// Returns the `auth` command, if there is a secret. It must be the first command on every
    /// connection.
    pub(crate) fn auth(&self) -> Option<Command<'_>> {
        self.secret.as_ref().map(|secret| Command::Auth { secret: secret.as_str() })
    }

    /// Resolves the server's name. Fails if a secret would be sent over a network without TLS.
    pub(crate) fn dial(&self) -> Result<Dial, LinkError> {
        let endpoints = self.options.server.resolve();
        let endpoints = endpoints.map_err(|error| {
            self.cannot_reach(Cause::Unavailable, &error).with_advice("check the spelling")
        })?;
        if self.secret.is_some()
            && self.tls.is_none()
            && !self.options.insecure
            && let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.is_remote())
        {
            let why = format!(
                "not sending the secret to {endpoint} without encryption; \
                 use --tls, or --insecure to send it anyway"
            );
            return Err(LinkError::new(Cause::Untrusted, why));
        }
        Ok(Dial::new(endpoints))
    }

    /// Continues to dial. Returns the welcome and the link once the server has sent its welcome.
    pub(crate) fn advance(
        &self,
        dial: &mut Dial,
        now: Instant,
    ) -> Result<Option<(Welcome, Link)>, LinkError> {
        loop {
            if let Some(mut attempt) = dial.current.take() {
                match self.outcome(&mut attempt, now) {
                    Ok(Some(welcome)) => return Ok(Some((welcome, attempt.link))),
                    Ok(None) => {
                        dial.current = Some(attempt);
                        return Ok(None);
                    }
                    Err(error) if error.cause == Cause::NotAServer => return Err(error),
                    Err(error) => dial.fail(&attempt.endpoint, &error),
                }
            }
            let Some(endpoint) = dial.untried.next() else { return Err(self.explain(dial)) };
            match Link::connect(&endpoint, self.tls.as_ref(), &self.registry, self.token, now) {
                Ok(link) => {
                    let deadline = now + self.options.timeout.min(CONNECT_TIMEOUT);
                    dial.current = Some(Attempt { endpoint, link, deadline });
                }
                Err(error) => dial.fail(&endpoint, &error.into()),
            }
        }
    }

    /// Returns the welcome, or `None` while the attempt is in progress.
    fn outcome(&self, attempt: &mut Attempt, now: Instant) -> Result<Option<Welcome>, LinkError> {
        let link = &mut attempt.link;
        let not_a_server = |sent: &str| {
            LinkError::new(Cause::NotAServer, not_a_server(&self.options.server, sent))
        };
        if link.next_line().map_err(|sent| not_a_server(&sent))? {
            let reply = Reply::parse(link.line());
            if let Some(Reply::Welcome { id, feed, seq, .. }) = reply {
                return Ok(Some(Welcome { id, feed, seq }));
            }
            return Err(
                refusal(reply).unwrap_or_else(|| not_a_server(&escape_untrusted(link.line(), 80)))
            );
        }
        match &link.end {
            Some(end) => Err(end.clone()),
            None if now < attempt.deadline => Ok(None),
            None if !link.is_connected => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            None => {
                let advice = if self.tls.is_some() { "" } else { "; if it uses TLS, add --tls" };
                let why = format!("no welcome from the server{advice}");
                Err(LinkError::new(Cause::Unavailable, why))
            }
        }
    }

    /// Builds the error for when all addresses have failed.
    fn explain(&self, dial: &Dial) -> LinkError {
        let (server, why) = (&self.options.server, dial.failures.join("; "));
        match dial.cause {
            Cause::Absent => self.cannot_reach(dial.cause, &why).with_advice(server.advice()),
            Cause::Untrusted => {
                LinkError::new(dial.cause, format!("cannot set up TLS with {server}: {why}"))
            }
            Cause::Busy => self.cannot_reach(dial.cause, &why).with_advice("try again later"),
            cause @ (Cause::Closed | Cause::Unavailable | Cause::NotAServer) => {
                self.cannot_reach(cause, &why)
            }
        }
    }

    fn cannot_reach(&self, cause: Cause, why: &str) -> LinkError {
        let server = &self.options.server;
        // `why` begins with the address, which is redundant if the user specified an address.
        let why = why.strip_prefix(&format!("{server}: ")).unwrap_or(why);
        LinkError::new(cause, format!("cannot reach {server}: {why}"))
    }
}

/// Why the server refused the connection, if this reply is one that a server sends instead of a
/// welcome.
fn refusal(reply: Option<Reply<'_>>) -> Option<LinkError> {
    let Some(Reply::Error { code, explanation }) = reply else { return None };
    let code = ErrorCode::parse(code)?;
    match code.class() {
        _ if code == ErrorCode::SERVER_FULL => {
            Some(LinkError::new(Cause::Busy, "the server is full"))
        }
        ErrorClass::Transient => {
            Some(LinkError::new(Cause::Busy, explain(code.as_str(), explanation)))
        }
        ErrorClass::Connection => Some(LinkError::new(Cause::Unavailable, connection_cut())),
        ErrorClass::Line | ErrorClass::Rights | ErrorClass::Target => None,
    }
}

/// One pass over the server's addresses.
#[derive(Debug)]
pub(crate) struct Dial {
    untried: std::vec::IntoIter<Endpoint>,
    current: Option<Attempt>,
    failures: Vec<String>,
    /// The most significant cause of the failures.
    cause: Cause,
}

/// An attempt to connect to one address.
#[derive(Debug)]
struct Attempt {
    endpoint: Endpoint,
    link: Link,
    deadline: Instant,
}

impl Dial {
    fn new(endpoints: Vec<Endpoint>) -> Self {
        let untried = endpoints.into_iter();
        Self { untried, current: None, failures: vec![], cause: Cause::Absent }
    }

    /// The link of the current attempt.
    pub(crate) fn link(&mut self) -> Option<&mut Link> {
        self.current.as_mut().map(|attempt| &mut attempt.link)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.current.as_ref().map(|attempt| attempt.deadline)
    }

    fn fail(&mut self, endpoint: &Endpoint, error: &LinkError) {
        self.failures.push(format!("{endpoint}: {}", error.why));
        self.cause = self.cause.max(error.cause);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{SocketAddr, TcpListener};

    use mio::{Events, Poll};

    use super::*;
    use crate::client::connection::address::ServerAddress;

    #[test]
    fn addresses_are_tried_in_turn_until_one_sends_a_welcome() {
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = |listener: &TcpListener| listener.local_addr().expect("a bound listener");
        // The first address refuses connections; the second accepts them and sends nothing.
        let (free, silent, server) = (address(&bind()), bind(), bind());
        let addresses: [SocketAddr; 3] = [free, address(&silent), address(&server)];
        let mut poll = Poll::new().expect("a poll");
        let mut events = Events::with_capacity(8);
        let timeout = Duration::from_millis(50);
        let options = ConnectOptions {
            server: ServerAddress::default(),
            name: None,
            secret_file: None,
            tls: None,
            insecure: false,
            timeout,
            reconnect: false,
            wait: false,
        };
        let registry = poll.registry().try_clone().expect("a registry");
        let dialer = Dialer::new(options, registry, Token(0)).expect("no files to read");
        let mut dial = Dial::new(addresses.map(Endpoint::Tcp).to_vec());
        let mut accepted = None;
        let welcome = loop {
            match dialer.advance(&mut dial, Instant::now()).expect("the third address answers") {
                None => {}
                Some((welcome, _)) => break welcome,
            }
            if dial.untried.len() == 0 && accepted.is_none() {
                let (mut stream, _) = server.accept().expect("a connection");
                stream.write_all(b"welcome 1 00c0ffee 5 oyezd/9 hi\n").expect("a line is sent");
                accepted = Some(stream);
            }
            poll.poll(&mut events, Some(timeout)).expect("the poll works");
            if let Some(link) = dial.link() {
                link.transfer(&events, &mut [0; 1000], Instant::now());
            }
        };
        assert!(matches!(welcome, Welcome { id: 1, seq: 5, .. }), "{welcome:?}");
        assert_eq!(dial.failures.len(), 2);
        assert!(dial.failures[0].ends_with(": connection refused"));
        assert!(
            dial.failures[1].ends_with(": no welcome from the server; if it uses TLS, add --tls")
        );
    }
}
