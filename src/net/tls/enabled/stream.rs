//! A TLS connection: the handshake, then encrypted data.

use std::io::{self, IoSlice, Read as _, Write as _};

use rustls::Connection;

use super::error::classify;
use crate::net::stream::Socket;
use crate::net::transport::{Sent, Transport};
use crate::read_outcome::ReadOutcome;

/// The maximum number of socket reads in one read. rustls reads about 4 KiB at a time.
const MAX_READS: usize = 4;

/// The maximum plaintext accepted in one write, in bytes. Encrypted, with headers, it still fits
/// into the 64 KiB that the kernel sends as one large segment.
const MAX_WRITE: usize = 63 * 1024;

/// A TLS connection over a socket.
///
/// **Invariant**: the buffers of rustls are bounded. They hold the plaintext of one read, and the
/// output of one [`write`](Transport::write): no more is accepted until that output is flushed.
#[derive(Debug)]
pub(super) struct TlsStream<S> {
    socket: S,
    tls: Connection,
    output: Output,
    /// A TLS error not yet reported to the caller.
    failed: Option<rustls::Error>,
    /// Set after an error or a close_notify. Input is then discarded, since unread input would turn
    /// the close into a reset, and a reset destroys output that the peer has not read.
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
    pub(super) fn new(socket: S, tls: impl Into<Connection>) -> Self {
        let mut tls = tls.into();
        tls.set_buffer_limit(Some(MAX_WRITE));
        Self { socket, tls, output: Output::Open, failed: None, discards_input: false }
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
            loop {
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
            if let Some(error) = self.failed.take() {
                self.discards_input = true;
                return Ok(ReadOutcome::TlsFailed(classify(&error)));
            }
            let was_handshaking = self.tls.is_handshaking();
            *received += self.tls.read_tls(&mut self.socket)?;
            self.failed = self.tls.process_new_packets().err();
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
}

impl<S: Socket> Transport<S> for TlsStream<S> {
    fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    fn is_handshake_complete(&self) -> bool {
        !self.tls.is_handshaking()
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
        if self.output == Output::Closing {
            self.output = Output::Closed;
            self.socket.shutdown_write()?;
        }
        Ok(true)
    }

    fn shutdown_write(&mut self) -> io::Result<bool> {
        if self.output == Output::Open {
            self.output = Output::Closing;
            self.tls.send_close_notify();
        }
        self.flush()
    }
}
