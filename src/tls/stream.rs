//! A connection over TLS: a socket, and what rustls makes of its bytes.

use std::io::{self, IoSlice, Read as _};

use rustls::Connection;

use super::describe;
use crate::stream::Stream;
use crate::transport::Sent;

/// How often one read reads the socket, at most.
const MAX_READS: usize = 16;

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
    /// That was told. What else the peer sends is passed over, so that it is not reset before it has
    /// read why.
    is_broken: bool,
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
        Self { stream, tls: tls.into(), output: Output::Open, failed: None, is_broken: false }
    }

    pub(crate) fn stream_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Whether hands are shaken.
    pub(crate) fn is_up(&self) -> bool {
        !self.tls.is_handshaking()
    }

    /// As [`Transport::read`](crate::transport::Transport::read).
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_broken {
            return match self.stream.read(buffer)? {
                0 => Ok(0),
                _ => Err(io::ErrorKind::Interrupted.into()),
            };
        }
        let mut len = 0;
        let result = self.read_plaintext(buffer, &mut len);
        // What came before an end or an error comes first; the next read tells of the other.
        if len > 0 { Ok(len) } else { result.map(|()| 0) }
    }

    /// Reads the socket a few times: rustls takes about 4 KiB at a time. It succeeds at the peer's end.
    fn read_plaintext(&mut self, buffer: &mut [u8], len: &mut usize) -> io::Result<()> {
        for _ in 0..MAX_READS {
            loop {
                match self.tls.reader().read(&mut buffer[*len..]) {
                    Ok(0) => return Ok(()),
                    Ok(more) => *len += more,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            if let Some(error) = self.failed.take() {
                self.is_broken = true;
                return Err(io::Error::new(io::ErrorKind::InvalidData, describe(&error)));
            }
            let was_up = self.is_up();
            // At the end of the socket's input, the reader tells which kind of an end it was.
            self.tls.read_tls(&mut self.stream)?;
            self.failed = self.tls.process_new_packets().err();
            // If that fails, there may be lines all the same; the next write tells of it.
            let _ = self.flush();
            if !was_up && self.failed.is_none() {
                // To shake hands is work: one step at a time.
                break;
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    /// As [`Transport::write`](crate::transport::Transport::write).
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Sent> {
        if !self.flush()? {
            return Ok(Sent { bytes: 0, is_full: true });
        }
        let bytes = io::Write::write_vectored(&mut self.tls.writer(), slices)?;
        Ok(Sent { bytes, is_full: !self.flush()? })
    }

    /// As [`Transport::flush`](crate::transport::Transport::flush).
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

    /// As [`Transport::finish`](crate::transport::Transport::finish).
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if self.output == Output::Open {
            self.output = Output::Finishing;
            self.tls.send_close_notify();
        }
        self.flush().map(|_| ())
    }
}
