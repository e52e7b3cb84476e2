//! A TLS connection: the handshake, then encrypted data.

use std::fmt::Debug;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{Connection, Error, HandshakeKind, InvalidMessage};

use super::alerts;
use super::error::classify;
use super::wording::Peer;
use crate::net::stream::Socket;
use crate::net::tls_config::Fingerprint;
use crate::net::transport::{Sent, Transport};
use crate::read_outcome::{ReadOutcome, TlsFailure};

/// The maximum number of socket reads in one read. rustls reads about 4 KiB at a time.
const MAX_READS: usize = 4;

/// The maximum plaintext accepted in one write, in bytes. Encrypted, with headers, it still fits
/// into the 64 KiB that the kernel sends as one large segment.
const MAX_WRITE: usize = 63 * 1024;

/// A certificate that was refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    pub(super) fingerprint: Fingerprint,
    /// The only reason is that the client does not know the certificate.
    pub(super) is_unknown: bool,
}

/// Verifies the certificate of the peer.
pub(super) trait PeerVerifier: Debug + Send + Sync {
    /// The peer's own certificate comes first, then its intermediates.
    fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<(), Error>;

    /// Returns the certificate that was refused last, if it belongs in the error message.
    fn refused(&self) -> Option<Refused> {
        None
    }
}

/// A TLS connection over a socket.
///
/// **Invariant**: the buffers of rustls are bounded. They hold the plaintext of one read, and the
/// output of one [`write`](Transport::write): no more is accepted until that output is flushed.
#[derive(Debug)]
pub(super) struct TlsStream<S> {
    socket: S,
    tls: Connection,
    output: Output,
    /// The last output, which ends with a fatal alert. It is sent after the output that rustls
    /// buffers.
    last_output: Vec<u8>,
    /// A TLS error not yet reported to the caller.
    failed: Option<Error>,
    /// TLS has failed. The peer gets no close_notify.
    has_failed: bool,
    /// Verifies the peer again when it resumes a session. rustls verifies it only in the first
    /// handshake, but a certificate may expire.
    verifier: Option<Arc<dyn PeerVerifier>>,
    /// The peer resumed a session, but its certificate is not valid any more. The handshake counts
    /// as failed.
    is_rejected: bool,
    /// Set after an error, after the peer's close_notify and, on a server, after its own. Input is
    /// then discarded, since unread input would turn the close into a reset, and a reset destroys
    /// output that the peer has not read.
    discards_input: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Open,
    /// The FIN follows once the close_notify is flushed.
    Closing,
    Closed,
}

impl<S: Socket> TlsStream<S> {
    pub(super) fn new(
        socket: S,
        tls: impl Into<Connection>,
        verifier: Option<Arc<dyn PeerVerifier>>,
    ) -> Self {
        let mut tls = tls.into();
        tls.set_buffer_limit(Some(MAX_WRITE));
        Self {
            socket,
            tls,
            output: Output::Open,
            last_output: Vec::new(),
            failed: None,
            has_failed: false,
            verifier,
            is_rejected: false,
            discards_input: false,
        }
    }

    fn peer(&self) -> Peer {
        match self.tls {
            Connection::Client(_) => Peer::Server,
            Connection::Server(_) => Peer::Client,
        }
    }

    fn explain(&self, error: &Error) -> TlsFailure {
        let failure = classify(error, self.peer(), self.tls.is_handshaking());
        let refused = self.verifier.as_ref().and_then(|verifier| verifier.refused());
        match (failure, error, refused) {
            (TlsFailure::Untrusted(why), Error::InvalidCertificate(_), Some(refused)) => {
                let why = format!("{why}; received certificate {}", refused.fingerprint);
                if refused.is_unknown {
                    TlsFailure::UnknownCertificate { why, sha256: refused.fingerprint.0 }
                } else {
                    TlsFailure::Untrusted(why)
                }
            }
            (failure, ..) => failure,
        }
    }

    /// Reads plaintext into `buffer`. Adds its length to `len`, and the number of bytes read from
    /// the socket to `received`.
    fn read_into(
        &mut self,
        buffer: &mut [u8],
        received: &mut usize,
        len: &mut usize,
    ) -> io::Result<ReadOutcome<'static>> {
        if self.discards_input {
            *received = self.socket.read(buffer)?;
            return Ok(if *received == 0 { ReadOutcome::Eof } else { ReadOutcome::NoData });
        }
        for _ in 0..MAX_READS {
            while !self.is_rejected {
                match self.tls.reader().read(&mut buffer[*len..]) {
                    Ok(0) => {
                        self.discards_input = *len == 0;
                        return Ok(ReadOutcome::CloseNotify);
                    }
                    Ok(more) => *len += more,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // The FIN arrived without a close_notify.
                    Err(error) => return Err(error),
                }
            }
            if self.failed.is_some() && *len > 0 {
                break;
            }
            if let Some(error) = self.failed.take() {
                self.discards_input = true;
                return Ok(ReadOutcome::TlsFailed(self.explain(&error)));
            }
            let was_handshaking = self.tls.is_handshaking();
            if let Err(error) = self.receive(received)? {
                self.fail(error);
            } else if was_handshaking
                && !self.tls.is_handshaking()
                && let Err(error) = self.verify_resumed()
            {
                self.is_rejected = true;
                self.fail(error);
            }
            // Send handshake messages and alerts. If that fails, received data can still be read,
            // and the next write reports the error.
            let _ = self.flush();
            if was_handshaking && self.failed.is_none() {
                // A handshake costs CPU time, so one read performs at most one step of it.
                break;
            }
        }
        Ok(ReadOutcome::NoData)
    }

    /// Reads from the socket once. The outer error is from the socket, the inner one from TLS.
    fn receive(&mut self, received: &mut usize) -> io::Result<Result<(), Error>> {
        match self.tls.read_tls(&mut self.socket) {
            Ok(len) => {
                *received += len;
                Ok(self.tls.process_new_packets().map(|_| ()))
            }
            // rustls has no room for the rest of a message. Errors of sockets have other kinds.
            Err(error) if error.kind() == io::ErrorKind::Other => {
                Ok(Err(InvalidMessage::HandshakePayloadTooLarge.into()))
            }
            Err(error) => Err(error),
        }
    }

    /// After a handshake that resumed a session, verifies the peer's certificate again.
    fn verify_resumed(&self) -> Result<(), Error> {
        match (&self.verifier, self.tls.peer_certificates()) {
            (Some(verifier), Some(chain))
                if self.tls.handshake_kind() == Some(HandshakeKind::Resumed) =>
            {
                verifier.verify(chain)
            }
            _ => Ok(()),
        }
    }

    /// Ends the connection because of an error. Sends a fatal alert unless rustls has sent one.
    fn fail(&mut self, error: Error) {
        self.has_failed = true;
        if let Some(alert) = alerts::for_error(&error) {
            alerts::replace_encrypted(alert, || self.tls.send_close_notify());
            while self.tls.wants_write() && self.tls.write_tls(&mut self.last_output).is_ok() {}
            alerts::replace_plain(alert, &mut self.last_output);
        }
        self.failed = Some(error);
    }
}

impl<S: Socket> Transport<S> for TlsStream<S> {
    fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    fn is_handshake_complete(&self) -> bool {
        !self.tls.is_handshaking() && !self.is_rejected
    }

    fn read<'a>(&mut self, buffer: &'a mut [u8]) -> (ReadOutcome<'a>, usize) {
        let (mut received, mut len) = (0, 0);
        let outcome = self.read_into(buffer, &mut received, &mut len);
        let outcome = match len {
            0 => outcome.unwrap_or_else(ReadOutcome::from),
            // Return the data first. The next read reports the end or the error again.
            _ => ReadOutcome::Data(&buffer[..len]),
        };
        (outcome, received.saturating_sub(len))
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Sent> {
        if !self.flush()? {
            return Ok(Sent { bytes: 0, is_full: true });
        }
        let bytes = self.tls.writer().write_vectored(slices)?;
        Ok(Sent { bytes, is_full: !self.flush()? })
    }

    fn flush(&mut self) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        while !self.last_output.is_empty() {
            match self.socket.write(&self.last_output) {
                Ok(len) => drop(self.last_output.drain(..len)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        if self.output == Output::Closing {
            self.output = Output::Closed;
            self.socket.shutdown_write()?;
        }
        Ok(true)
    }

    fn shutdown_write(&mut self) -> io::Result<bool> {
        if self.output == Output::Open {
            self.output = Output::Closing;
            if !self.has_failed {
                self.tls.send_close_notify();
            }
            // A server that has ended its output has no use for more input. rustls would answer a
            // fault in it with an alert, which must not follow a close_notify.
            self.discards_input |= self.peer() == Peer::Client;
        }
        self.flush()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{
        CertificateError, ClientConfig, ClientConnection, RootCertStore, ServerConfig,
        ServerConnection,
    };

    use super::*;
    use crate::net::tls::enabled::alerts::provider;
    use crate::testing::faulty_socket::{FaultySocket, Random};

    /// A verifier for which the certificate has expired since the session began.
    #[derive(Debug)]
    struct Expired;

    impl PeerVerifier for Expired {
        fn verify(&self, _: &[CertificateDer<'_>]) -> Result<(), Error> {
            Err(CertificateError::Expired.into())
        }
    }

    /// The configurations of a client and a server that trust each other's certificate.
    fn configs() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
        let parameters = CertificateParams::new(["localhost".to_owned()]).expect("a valid name");
        let pair = KeyPair::generate().expect("a key");
        let cert = parameters.self_signed(&pair).expect("a certificate");
        let key = || PrivateKeyDer::try_from(pair.serialize_der()).expect("a key");
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).expect("a certificate");
        let client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(vec![cert.der().clone()], key());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(vec![cert.der().clone()], key());
        (Arc::new(client.expect("a valid key")), Arc::new(server.expect("a valid key")))
    }

    /// Exchanges data until both sides have some, or one has an error.
    fn run(sides: &mut [TlsStream<FaultySocket>; 2]) -> Result<(), String> {
        let mut has_data = [false; 2];
        while has_data != [true; 2] {
            for (side, has_data) in sides.iter_mut().zip(&mut has_data) {
                if side.is_handshake_complete() {
                    let _ = side.write(&[IoSlice::new(b"x")]);
                }
                let _ = side.flush();
                match side.read(&mut [0; 4096]).0 {
                    ReadOutcome::Data(_) => *has_data = true,
                    ReadOutcome::TlsFailed(failure) => {
                        assert!(!side.is_handshake_complete() || side.verifier.is_none());
                        return Err(failure.to_string());
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    #[test]
    fn resumed_session_is_refused_if_the_certificate_has_expired_meanwhile() {
        for seed in 0..20 {
            for rejects in [Peer::Client, Peer::Server] {
                let (client_config, server_config) = configs();
                let connect = || {
                    let random = Random::new(seed);
                    let ([near, far], _) = FaultySocket::pair(&random);
                    let name = ServerName::try_from("localhost").expect("a name");
                    let client = ClientConnection::new(Arc::clone(&client_config), name);
                    let server = ServerConnection::new(Arc::clone(&server_config));
                    let verifier = |side| {
                        (side == rejects).then(|| Arc::new(Expired) as Arc<dyn PeerVerifier>)
                    };
                    let client = client.expect("a client");
                    let server = server.expect("a server");
                    [
                        TlsStream::new(near, client, verifier(Peer::Client)),
                        TlsStream::new(far, server, verifier(Peer::Server)),
                    ]
                };
                assert_eq!(run(&mut connect()), Ok(()), "the first handshake is a full one");
                let error = run(&mut connect()).expect_err("the certificate is verified again");
                assert!(error.contains("certificate has expired"), "{error}");
            }
        }
    }
}
