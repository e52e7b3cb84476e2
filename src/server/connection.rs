//! A client's connection: its transport, and state for the log.

use std::io;

use super::connect_log::Visit;
use super::listener::Accepted;
use super::peer::Peer;
use crate::net::tls::ServerTls;
use crate::net::transport::{AnyTransport, Plain, Transport};
use crate::read_outcome::{ReadOutcome, TlsFailure};

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    transport: AnyTransport,
    pub(super) peer: Peer,
    /// Why TLS failed, if it did. For the log.
    pub(super) tls_failure: Option<Box<TlsFailure>>,
    pub(super) visit: Visit,
}

impl Connection {
    /// Wraps an accepted socket. A connection from a TLS listener needs `tls`.
    pub(super) fn new(accepted: Accepted, tls: Option<&ServerTls>) -> io::Result<Self> {
        let Accepted { stream, peer, is_tls } = accepted;
        let transport = if is_tls {
            let tls = tls.expect("--listen-tls requires a certificate");
            AnyTransport::Tls(tls.accept(stream)?)
        } else {
            AnyTransport::Plain(Plain(stream))
        };
        Ok(Self { transport, peer, tls_failure: None, visit: Visit::default() })
    }

    pub(super) fn transport(&mut self) -> &mut dyn Transport {
        self.transport.get()
    }

    /// Half-closes a connection whose TLS has failed, and discards received input. Unread input
    /// would turn the close into a reset, and the reset could overtake the alert.
    pub(super) fn discard_input(&mut self, buffer: &mut [u8]) {
        const MAX_READS: usize = 16;
        let transport = self.transport();
        let _ = transport.shutdown_write();
        let mut reads =
            (0..MAX_READS).map(|_| matches!(transport.read(buffer).0, ReadOutcome::NoData));
        while reads.next() == Some(true) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With its transport, a connection takes 64 bytes, or more in debug builds, where mio's
    /// sockets are larger.
    #[test]
    fn connection_takes_48_bytes_besides_its_transport() {
        let besides = size_of::<Option<Connection>>() - size_of::<AnyTransport>();
        if cfg!(target_pointer_width = "64") {
            assert_eq!(besides, 48);
        }
    }
}
