//! A connection over TLS: a socket, and what rustls makes of its bytes.

use std::io::{self, IoSlice, Read as _};

use rustls::Connection;

use super::failure;
use crate::net::stream::Stream;
use crate::net::transport::Sent;
use crate::read_outcome::ReadOutcome;

/// How often one read reads the socket, at most.
const MAX_READS: usize = 4;

/// How many bytes of plaintext are taken at a time. Encrypted, they still fit into the 64 KiB that the
/// kernel makes one large packet of, headers included; a few bytes more would cost another one.
const MAX_WRITE: usize = 63 * 1024;

/// A socket whose bytes are encrypted.
///
/// What rustls holds is bounded: as much plaintext as one read of the socket brings, and as much of
/// what is to be sent as one [`write`](Self::write) took, for nothing more is taken before that is
/// gone.
#[derive(Debug)]
pub(crate) struct TlsStream {
    stream: Stream,
    tls: Connection,
    output: Output,
    /// What the peer has sent is no TLS, or none that can be gone on with. That has to be told.
    failed: Option<rustls::Error>,
    /// That was told, or the peer has ended what it says. What else it sends is passed over, so that it
    /// is not reset before it has read what it is owed.
    discards_input: bool,
    /// What was read from the socket since that was last asked, beyond plaintext.
    overhead: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Open,
    /// It ends once everything is sent.
    Finishing,
    Ended,
}

impl TlsStream {
    pub(super) fn new(stream: Stream, tls: impl Into<Connection>) -> Self {
        let mut tls = tls.into();
        tls.set_buffer_limit(Some(MAX_WRITE));
        Self { stream, tls, output: Output::Open, failed: None, discards_input: false, overhead: 0 }
    }

    pub(crate) fn stream_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Whether hands are shaken.
    pub(crate) fn is_established(&self) -> bool {
        !self.tls.is_handshaking()
    }

    /// As [`Transport::read`](crate::net::transport::Transport::read).
    pub(crate) fn read<'a>(&mut self, buffer: &'a mut [u8]) -> ReadOutcome<'a> {
        if self.discards_input {
            return match self.stream.read(buffer) {
                Ok(0) => ReadOutcome::Eof,
                Ok(len) => {
                    self.overhead += len;
                    ReadOutcome::NoData
                }
                Err(error) => error.into(),
            };
        }
        let mut len = 0;
        let outcome = self.read_plaintext(buffer, &mut len).unwrap_or_else(ReadOutcome::from);
        self.overhead = self.overhead.saturating_sub(len);
        // Data that precedes an end or an error comes first; the next read reports the other.
        if len > 0 { ReadOutcome::Data(&buffer[..len]) } else { outcome }
    }

    /// As [`Transport::take_overhead`](crate::net::transport::Transport::take_overhead).
    pub(crate) fn take_overhead(&mut self) -> usize {
        std::mem::take(&mut self.overhead)
    }

    /// Reads the socket a few times: rustls takes about 4 KiB at a time.
    fn read_plaintext(
        &mut self,
        buffer: &mut [u8],
        len: &mut usize,
    ) -> io::Result<ReadOutcome<'static>> {
        for _ in 0..MAX_READS {
            loop {
                match self.tls.reader().read(&mut buffer[*len..]) {
                    Ok(0) => {
                        // This is asked again, if something came before it.
                        self.discards_input = *len == 0;
                        return Ok(ReadOutcome::CloseNotify);
                    }
                    Ok(more) => *len += more,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            if let Some(error) = self.failed.take() {
                self.discards_input = true;
                return Ok(ReadOutcome::TlsFailed(failure(&error)));
            }
            let was_up = self.is_established();
            // At the end of the socket's input, the reader tells which kind of an end it was.
            self.overhead += self.tls.read_tls(&mut self.stream)?;
            self.failed = self.tls.process_new_packets().err();
            // If that fails, there may be lines all the same; the next write tells of it.
            let _ = self.flush();
            if !was_up && self.failed.is_none() {
                // To shake hands is work: one step at a time.
                break;
            }
        }
        Ok(ReadOutcome::NoData)
    }

    /// As [`Transport::write`](crate::net::transport::Transport::write).
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Sent> {
        if !self.flush()? {
            return Ok(Sent { bytes: 0, is_full: true });
        }
        let bytes = io::Write::write_vectored(&mut self.tls.writer(), slices)?;
        Ok(Sent { bytes, is_full: !self.flush()? })
    }

    /// As [`Transport::flush`](crate::net::transport::Transport::flush).
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        if self.output == Output::Finishing {
            self.output = Output::Ended;
            self.stream.shutdown_write()?;
        }
        Ok(true)
    }

    /// As [`Transport::finish`](crate::net::transport::Transport::finish).
    pub(crate) fn finish(&mut self) -> io::Result<bool> {
        if self.output == Output::Open {
            self.output = Output::Finishing;
            self.tls.send_close_notify();
        }
        self.flush()
    }
}
