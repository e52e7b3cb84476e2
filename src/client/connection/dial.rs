//! Dialing: connecting to one of the server's addresses and waiting for its welcome.

use std::io;
use std::time::{Duration, Instant};

use mio::{Registry, Token};

use crate::client::connection::address::ServerAddress;
use crate::client::connection::error::{Cause, LinkError};
use crate::client::connection::first_use::FirstUse;
use crate::client::connection::link::Link;
use crate::client::connection::options::ConnectOptions;
use crate::client::messages::{connection_cut, explain};
use crate::client::stdio::notice;
use crate::credentials::file::{Files, replaceable};
use crate::credentials::secret::Secret;
use crate::credentials::secret_file;
use crate::escape::escape_untrusted;
use crate::net::stream::Endpoint;
use crate::net::tls::ClientTls;
use crate::net::tls_config::{ClientTlsConfig, Fingerprint, ServerVerification};
use crate::protocol::{Command, ErrorClass, ErrorCode, FeedId, Reply};

/// The maximum time to connect to one address and receive the welcome.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may be silent during an attempt before the user gets a hint.
const HINT_DELAY: Duration = Duration::from_secs(2);

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
    first_use: Option<FirstUse>,
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
        let files = &mut Files::default();
        let secret_file = options.secret_file.as_deref();
        let secret = secret_file.map(|path| secret_file::read(path, files)).transpose()?;
        let warning = secret_file.zip(secret.as_ref());
        if let Some(warning) = warning.and_then(|(path, secret)| secret_file::warning(path, secret))
        {
            notice(&warning);
        }
        let mut warnings: Vec<String> =
            secret_file.map(|path| replaceable("secret file", path)).unwrap_or_default();
        if let Some(tls) = &options.tls {
            if let ServerVerification::Roots(path) = &tls.verification {
                warnings.extend(replaceable("CA file", path));
            }
            warnings.extend(tls.identity.iter().flat_map(|(_, key)| replaceable("key", key)));
        }
        warnings.iter().for_each(|warning| notice(warning));
        let host = options.server.certified_name();
        let first_use = FirstUse::new(&options);
        let known = first_use.as_ref().and_then(FirstUse::trusted);
        let settings = options.tls.clone().map(|settings| match known {
            Some(known) => {
                ClientTlsConfig { verification: ServerVerification::Pinned(known), ..settings }
            }
            None => settings,
        });
        let tls = settings.map(|settings| ClientTls::new(&host, &settings, files)).transpose()?;
        Ok(Self { options, secret, tls, first_use, registry, token })
    }

    /// Asks the user, once, whether to trust this certificate. Returns whether to dial again: then
    /// the server must present exactly this one. No connection is open meanwhile.
    pub(crate) fn ask_to_trust(&mut self, certificate: Fingerprint) -> Result<bool, String> {
        let (Some(tls), Some(mut first_use)) = (&mut self.tls, self.first_use.take()) else {
            return Ok(false);
        };
        let is_trusted = first_use.ask(certificate)?;
        if is_trusted {
            tls.pin(certificate);
        }
        // If the certificate changes later, the error names the server's line in the file.
        self.first_use = first_use.trusted().is_some().then_some(first_use);
        Ok(is_trusted)
    }

    /// Returns the `auth` command, if there is a secret. It must be the first command on every
    /// connection.
    pub(crate) fn auth(&self) -> Option<Command<'_>> {
        self.secret.as_ref().map(|secret| Command::Auth { secret: secret.as_str() })
    }

    /// Resolves the server's name. Fails if a secret would be sent over a network without TLS.
    pub(crate) fn dial(&self) -> Result<Dial, LinkError> {
        let endpoints = self.options.server.resolve()?;
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
                    Err(error) => dial.failures.push((attempt.endpoint, error)),
                }
            }
            let Some(endpoint) = dial.untried.next() else {
                return Err(self.explain(&dial.failures));
            };
            match Link::connect(&endpoint, self.tls.as_ref(), &self.registry, self.token, now) {
                Ok(link) => {
                    let deadline = now + self.options.timeout.min(CONNECT_TIMEOUT);
                    dial.current = Some(Attempt { endpoint, link, deadline });
                }
                Err(error) => dial.failures.push((endpoint, error.into())),
            }
        }
    }

    /// Returns the welcome, or `None` while the attempt is in progress.
    fn outcome(&self, attempt: &mut Attempt, now: Instant) -> Result<Option<Welcome>, LinkError> {
        let link = &mut attempt.link;
        let not_a_server = |sent: &str| {
            LinkError::new(Cause::NotAServer, format!("not an oyez server: it sent {sent}"))
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
            None => Err(LinkError::new(Cause::Silent, "no welcome from the server")),
        }
    }

    /// Returns a hint once the current attempt has taken unusually long. It explains what the
    /// client is waiting for. If it `was_connected` before, its options are
    /// right, so the hint suggests no others.
    pub(crate) fn poll_hint(
        &self,
        dial: &mut Dial,
        was_connected: bool,
        now: Instant,
    ) -> Option<String> {
        dial.hint_at().filter(|due| *due <= now)?;
        dial.has_hinted = true;
        let link = dial.link()?;
        let server = &self.options.server;
        if !link.is_connected {
            return Some(format!("{server} has not answered yet; still trying to connect"));
        }
        let (problem, advice) = match self.tls {
            None => ("has sent nothing yet", "if it uses TLS, add --tls"),
            Some(_) if link.is_handshake_complete() => ("has sent nothing yet", ""),
            Some(_) => (
                "has not answered the TLS handshake",
                "if it does not use TLS, leave out the --tls options",
            ),
        };
        let advice = if was_connected || advice.is_empty() { "still waiting" } else { advice };
        Some(format!("{server} accepted the connection but {problem}; {advice}"))
    }

    /// Builds the error for when all addresses have failed.
    fn explain(&self, failures: &[(Endpoint, LinkError)]) -> LinkError {
        let server = &self.options.server;
        // The most significant cause decides.
        let causes = failures.iter().map(|(_, error)| error.cause);
        let cause = causes.max().unwrap_or(Cause::Absent);
        let why = match failures {
            [(_, error)] if cause == Cause::NotAServer => {
                return LinkError::new(cause, format!("{server} is {}", error.why));
            }
            // Do not repeat an address that the user specified.
            [(endpoint, error)] if endpoint.to_string() == server.to_string() => error.why.clone(),
            _ => list(failures),
        };
        let failed = match cause {
            Cause::TlsFailed | Cause::Untrusted | Cause::UnknownCertificate(_) => {
                "cannot set up TLS with"
            }
            _ => "cannot reach",
        };
        let error = LinkError::new(cause, format!("{failed} {server}: {why}"));
        LinkError { advice: self.advice(cause), ..error }
    }

    /// Returns advice for the user, or `None` if the reason of the failure contains it.
    fn advice(&self, cause: Cause) -> Option<String> {
        if matches!(cause, Cause::Absent | Cause::Unreachable)
            && let Some(address) = self.options.server.suggestion()
        {
            return Some(format!("if it ends with the port, write {address}"));
        }
        let advice = match cause {
            Cause::Absent => return Some(self.options.server.advice(self.tls.is_some())),
            Cause::UnknownCertificate(_) => return self.first_use.as_ref()?.advice(),
            Cause::Silent if self.tls.is_none() => {
                "if it uses TLS, add --tls; otherwise try again later"
            }
            Cause::Closed | Cause::Busy | Cause::Silent => "try again later",
            Cause::Unreachable => "check the address and the network",
            Cause::NotAServer => "check the address",
            Cause::Forbidden => match self.options.server {
                ServerAddress::Unix(_) => "check the permissions of the socket (oyezd --unix-mode)",
                ServerAddress::Tcp { .. } => "check this host's firewall",
            },
            Cause::Unavailable | Cause::Invalid | Cause::TlsFailed | Cause::Untrusted => {
                return None;
            }
        };
        Some(advice.to_owned())
    }
}

/// Lists each address and why it failed. Advice, which follows a semicolon in the reason, is not
/// repeated.
fn list(failures: &[(Endpoint, LinkError)]) -> String {
    let (mut list, mut given) = (vec![], vec![]);
    for (endpoint, error) in failures {
        let mut parts = error.why.split("; ");
        list.push(format!("{endpoint}: {}", parts.next().unwrap_or_default()));
        for advice in parts.filter(|advice| !given.contains(advice)).collect::<Vec<_>>() {
            given.push(advice);
            list.push(advice.to_owned());
        }
    }
    list.join("; ")
}

/// Returns why the server refused the connection, if this is a reply that a server sends instead of
/// a welcome.
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
    /// The user got a hint about this pass.
    has_hinted: bool,
    /// The addresses that failed, with the reasons.
    failures: Vec<(Endpoint, LinkError)>,
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
        Self { untried, current: None, has_hinted: false, failures: vec![] }
    }

    /// The link of the current attempt.
    pub(crate) fn link(&mut self) -> Option<&mut Link> {
        self.current.as_mut().map(|attempt| &mut attempt.link)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let deadline = self.current.as_ref().map(|attempt| attempt.deadline);
        [deadline, self.hint_at()].into_iter().flatten().min()
    }

    fn hint_at(&self) -> Option<Instant> {
        let attempt = self.current.as_ref().filter(|_| !self.has_hinted)?;
        Some(attempt.link.silent_since + HINT_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use mio::{Events, Poll};

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(50);

    const WELCOME: &str = "welcome 1 00c0ffee 5 oyezd/9 hi\n";

    fn dialer(server: &str, registry: Registry) -> Dialer {
        let options = ConnectOptions {
            server: server.parse().expect("a valid address"),
            name: None,
            is_name_optional: false,
            secret_file: None,
            tls: None,
            known_servers: None,
            insecure: false,
            timeout: TIMEOUT,
            reconnect: false,
            wait: false,
        };
        Dialer::new(options, registry, Token(0)).expect("no files to read")
    }

    /// Dials a host with one address per reply. Returns the outcome, and the addresses. Each
    /// address accepts connections and sends its reply, or refuses connections if it has no reply.
    fn dial(replies: &[Option<&str>]) -> (Result<Welcome, LinkError>, Vec<String>) {
        let mut poll = Poll::new().expect("a poll");
        let registry = poll.registry().try_clone().expect("a registry");
        let dialer = dialer("host.example", registry);
        let (mut servers, mut endpoints) = (vec![], vec![]);
        for reply in replies {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.set_nonblocking(true).expect("a socket");
            endpoints.push(Endpoint::Tcp(listener.local_addr().expect("a bound listener")));
            servers.extend(reply.map(|reply| (listener, reply)));
        }
        let addresses = endpoints.iter().map(ToString::to_string).collect();
        let mut dial = Dial::new(endpoints);
        let mut accepted = vec![];
        let mut events = Events::with_capacity(8);
        loop {
            match dialer.advance(&mut dial, Instant::now()) {
                Ok(None) => {}
                Ok(Some((welcome, _))) => return (Ok(welcome), addresses),
                Err(error) => return (Err(error), addresses),
            }
            for (listener, reply) in &servers {
                if let Ok((mut stream, _)) = listener.accept() {
                    stream.write_all(reply.as_bytes()).expect("a line is sent");
                    accepted.push(stream);
                }
            }
            poll.poll(&mut events, Some(TIMEOUT)).expect("the poll works");
            if let Some(link) = dial.link() {
                link.transfer(&events, &mut [0; 1000], Instant::now());
            }
        }
    }

    #[test]
    fn addresses_are_tried_in_turn_until_one_sends_a_welcome() {
        for other in [
            None,
            Some(""),
            Some("SSH-2.0-OpenSSH_9.2p1\r\n"),
            Some("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
            Some("\u{0}\n"),
            Some("welcome to my server\n"),
            Some("error server-full too many clients\n"),
            Some("error auth-required bye\n"),
        ] {
            let (welcome, _) = dial(&[other, Some(WELCOME)]);
            let welcome = welcome.unwrap_or_else(|error| panic!("{other:?}: {}", error.why));
            assert!(matches!(welcome, Welcome { id: 1, seq: 5, .. }), "{other:?}: {welcome:?}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn tls_error_gives_each_piece_of_advice_once() {
        let poll = Poll::new().expect("a poll");
        let dialer = dialer("localhost", poll.registry().try_clone().expect("a registry"));
        let endpoints = ["[::1]:5050", "127.0.0.1:5050"];
        for failure in crate::net::tls::every_failure() {
            for count in 1..=2 {
                let failures = endpoints[..count].iter().map(|endpoint| {
                    let endpoint = Endpoint::Tcp(endpoint.parse().expect("an address"));
                    (endpoint, LinkError::from(failure.clone()))
                });
                let text = dialer.explain(&failures.collect::<Vec<_>>()).to_string();
                let mut parts: Vec<&str> = text.split("; ").collect();
                assert!(parts.len() >= count, "{text}");
                parts.sort_unstable();
                assert!(parts.windows(2).all(|pair| pair[0] != pair[1]), "{text}");
                for advice in ["--tls-fingerprint", "clock", "--tls-ca", "--tls ", "its log"] {
                    assert!(count > 1 || text.matches(advice).count() <= 1, "{advice}: {text}");
                }
            }
        }
    }

    #[test]
    fn error_lists_every_address_and_gives_advice() {
        let ssh = Some("SSH-2.0-x\n");
        let full = Some("error server-full too many clients\n");
        let start = "; start a server there with: oyezd --listen 0.0.0.0:5050 or [::]:5050";
        for (replies, expected) in [
            (
                &[None, None][..],
                format!("cannot reach host: A: connection refused; B: connection refused{start}"),
            ),
            (
                &[ssh],
                "host is not an oyez server: it sent SSH-2.0-x".to_owned(),
            ),
            (
                &[ssh, None],
                "cannot reach host: A: not an oyez server: it sent SSH-2.0-x; \
                 B: connection refused; check the address"
                    .to_owned(),
            ),
            (
                &[None, full, Some("")],
                "cannot reach host: A: connection refused; B: the server is full; \
                 C: no welcome from the server; if it uses TLS, add --tls; otherwise try again later"
                    .to_owned(),
            ),
        ] {
            let (outcome, addresses) = dial(replies);
            let mut actual = outcome.expect_err("no address works").to_string();
            for (address, name) in addresses.iter().zip(["A", "B", "C"]) {
                actual = actual.replace(address.as_str(), name);
            }
            assert_eq!(actual.replace("host.example:5050", "host"), expected);
        }
    }
}
