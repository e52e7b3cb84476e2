//! A connection's transport: a socket, plain or encrypted. The layers above this module do not
//! distinguish the two.
//!
//! A TLS transport carries data once its handshake is complete. [`Sent::is_full`] signals
//! backpressure; [`Transport::shutdown_write`] is the half-close.

use std::fmt::Debug;
use std::io::{self, IoSlice};

use super::stream::{Socket, Stream};
use crate::read_outcome::ReadOutcome;

/// A non-blocking connection over a socket.
pub(crate) trait Transport<S = Stream>: Debug {
    /// The socket, for registering it with a poll.
    fn socket_mut(&mut self) -> &mut S;

    /// Returns whether the TLS handshake is complete. Always true for a plain connection.
    fn is_handshake_complete(&self) -> bool;

    /// Reads once. Also returns the overhead of TLS: the number of bytes read from the socket
    /// beyond the returned plaintext.
    fn read<'a>(&mut self, buffer: &'a mut [u8]) -> (ReadOutcome<'a>, usize);

    /// Writes as much of the slices as the connection accepts. A TLS connection may buffer some of
    /// it until [`flush`](Self::flush).
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Sent>;

    /// Writes buffered bytes to the socket. Returns whether the buffer is now empty. Call it
    /// whenever the poll reports the socket writable.
    fn flush(&mut self) -> io::Result<bool>;

    /// Half-close: ends the output with a FIN, after all bytes accepted so far and, over TLS, a
    /// close_notify. Returns whether that is done; if not, [`flush`](Self::flush) completes it.
    fn shutdown_write(&mut self) -> io::Result<bool>;
}

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// The number of bytes accepted, from the start of the slices.
    pub(crate) bytes: usize,
    /// The socket buffer is full (backpressure): wait until the poll reports it writable.
    pub(crate) is_full: bool,
}

/// A transport of either kind. A plain one, which most connections have, needs no allocation.
#[derive(Debug)]
pub(crate) enum AnyTransport {
    Plain(Plain<Stream>),
    Tls(Box<dyn Transport>),
}

impl AnyTransport {
    pub(crate) fn get(&mut self) -> &mut dyn Transport {
        match self {
            Self::Plain(plain) => plain,
            Self::Tls(tls) => tls.as_mut(),
        }
    }
}

/// A connection without TLS.
#[derive(Debug)]
pub(crate) struct Plain<S>(pub(crate) S);

impl<S: Socket> Transport<S> for Plain<S> {
    fn socket_mut(&mut self) -> &mut S {
        &mut self.0
    }

    fn is_handshake_complete(&self) -> bool {
        true
    }

    fn read<'a>(&mut self, buffer: &'a mut [u8]) -> (ReadOutcome<'a>, usize) {
        let outcome = match self.0.read(buffer) {
            Ok(0) => ReadOutcome::Eof,
            Ok(len) => ReadOutcome::Data(&buffer[..len]),
            Err(error) => error.into(),
        };
        (outcome, 0)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Sent> {
        match self.0.write_vectored(slices) {
            // A short write means that the socket buffer is full.
            Ok(bytes) => {
                let is_full = bytes < slices.iter().map(|slice| slice.len()).sum();
                Ok(Sent { bytes, is_full })
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => Ok(Sent { bytes: 0, is_full: true }),
                io::ErrorKind::Interrupted => Ok(Sent { bytes: 0, is_full: false }),
                _ => Err(error),
            },
        }
    }

    fn flush(&mut self) -> io::Result<bool> {
        Ok(true)
    }

    fn shutdown_write(&mut self) -> io::Result<bool> {
        self.0.shutdown_write().map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::testing::faulty_socket::{FaultySocket, Pipe, Random};

    type BoxedTransport = Box<dyn Transport<FaultySocket>>;

    /// One end of a connection, with a random message to send.
    struct End {
        transport: BoxedTransport,
        message: Vec<u8>,
        sent: usize,
        received: Vec<u8>,
        /// The peer's half-close was read.
        has_eof: bool,
    }

    impl End {
        fn new(transport: BoxedTransport, random: &Random) -> Self {
            let length = random.below(60_000);
            let message = (0..length).map(|_| random.below(256) as u8).collect();
            Self { transport, message, sent: 0, received: vec![], has_eof: false }
        }

        /// Reads, or writes some of the message in three slices.
        fn step(&mut self, random: &Random) -> io::Result<()> {
            if random.below(2) == 0 {
                return self.read();
            }
            if !self.transport.is_handshake_complete() {
                return self.transport.flush().map(|_| ());
            }
            let rest = &self.message[self.sent..];
            let (first, rest) = rest.split_at(random.below(rest.len() + 1));
            let (second, third) = rest.split_at(random.below(rest.len() + 1));
            let slices = [first, second, third].map(IoSlice::new);
            self.sent += self.transport.write(&slices)?.bytes;
            Ok(())
        }

        fn read(&mut self) -> io::Result<()> {
            let mut buffer = [0; 40_000];
            match self.transport.read(&mut buffer).0 {
                ReadOutcome::Data(bytes) => self.received.extend_from_slice(bytes),
                ReadOutcome::NoData | ReadOutcome::WouldBlock => {}
                ReadOutcome::CloseNotify | ReadOutcome::Eof => self.has_eof = true,
                ReadOutcome::Truncated => return Err(io::ErrorKind::UnexpectedEof.into()),
                ReadOutcome::TlsFailed(failure) => {
                    return Err(io::Error::other(failure.to_string()));
                }
                ReadOutcome::Failed(error) => return Err(error),
            }
            Ok(())
        }
    }

    type Pair = ([BoxedTransport; 2], [Rc<RefCell<Pipe>>; 2]);

    /// Exchanges messages and then half-closes, once for each seed. Some runs reset the connection:
    /// then each end must have received a prefix of the other's message.
    fn check_exchange(pair: impl Fn(&Random) -> Pair, seeds: u64) {
        for seed in 0..seeds {
            let random = Random::new(seed);
            let (transports, pipes) = pair(&random);
            let [mut a, mut b] = transports.map(|transport| End::new(transport, &random));
            let reset_at = (random.below(3) == 0).then(|| random.below(3000));
            let mut has_failed = false;
            for step in 0.. {
                assert!(step < 100_000, "seed {seed}: the exchange does not end");
                if Some(step) == reset_at {
                    pipes.iter().for_each(|pipe| pipe.borrow_mut().is_reset = true);
                }
                let end = if random.below(2) == 0 { &mut a } else { &mut b };
                has_failed = end.step(&random).is_err();
                let is_sent = a.sent == a.message.len() && b.sent == b.message.len();
                if has_failed || is_sent && a.received == b.message && b.received == a.message {
                    break;
                }
            }
            assert!(a.message.starts_with(&b.received), "seed {seed}: b received unsent bytes");
            assert!(b.message.starts_with(&a.received), "seed {seed}: a received unsent bytes");
            if reset_at.is_some() {
                continue;
            }
            assert!(!has_failed, "seed {seed}: a transient error ended the connection");
            let mut is_done = false;
            for step in 0.. {
                assert!(step < 10_000, "seed {seed}: the half-close does not arrive");
                is_done = is_done || a.transport.shutdown_write().unwrap_or(true);
                if b.read().is_err() || b.has_eof {
                    break;
                }
            }
            assert!(b.has_eof, "seed {seed}: b received an error instead of the half-close");
        }
    }

    #[test]
    fn plain_transport_delivers_everything_over_faulty_sockets() {
        check_exchange(
            |random| {
                let (sockets, pipes) = FaultySocket::pair(random);
                (sockets.map(|socket| Box::new(Plain(socket)) as BoxedTransport), pipes)
            },
            300,
        );
    }

    #[cfg(feature = "tls")]
    #[test]
    fn tls_transport_delivers_everything_over_faulty_sockets() {
        use crate::net::tls::{ClientTls, ServerTls};
        use crate::net::tls_config::{
            ClientTlsConfig, Identity, ServerTlsConfig, ServerVerification,
        };

        let folder = tempfile::tempdir().expect("a temporary folder");
        let identity = Identity::SelfSigned { folder: folder.path().into() };
        let server = ServerTls::read(&ServerTlsConfig { identity, client_ca: None });
        let server = server.expect("a certificate can be created");
        let verification = ServerVerification::Pinned(server.fingerprint);
        let client = ClientTls::new("localhost", &ClientTlsConfig { verification, identity: None });
        let client = client.expect("valid settings");
        check_exchange(
            |random| {
                let ([near, far], pipes) = FaultySocket::pair(random);
                let near = client.connect(near).expect("a connection");
                let far = server.accept(far).expect("a connection");
                ([near, far], pipes)
            },
            100,
        );
    }
}
