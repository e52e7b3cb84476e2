//! What a connection's bytes go over: a socket, plain or encrypted. The one seam at which TLS is.

use std::io::{self, IoSlice, Read as _, Write as _};

use crate::net::stream::Stream;
use crate::net::tls::TlsStream;
use crate::read_outcome::ReadOutcome;

/// A connection's two streams of bytes, non-blocking both.
#[derive(Debug)]
pub(crate) enum Transport {
    Plain(Stream),
    Tls(Box<TlsStream>),
}

/// How a write went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// So many bytes were taken.
    pub(crate) bytes: usize,
    /// The socket takes no more; the poll will say when it does.
    pub(crate) is_full: bool,
}

impl Transport {
    /// The socket, to be registered with a poll.
    pub(crate) fn stream_mut(&mut self) -> &mut Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => tls.stream_mut(),
        }
    }

    /// Whether bytes can be written and read: hands are shaken, if that has to be done.
    pub(crate) fn is_established(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(tls) => tls.is_established(),
        }
    }

    /// Reads once.
    pub(crate) fn read<'a>(&mut self, buffer: &'a mut [u8]) -> ReadOutcome<'a> {
        match self {
            Self::Plain(stream) => match stream.read(buffer) {
                Ok(0) => ReadOutcome::Eof,
                Ok(len) => ReadOutcome::Data(&buffer[..len]),
                Err(error) => error.into(),
            },
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    /// How many bytes were read from the socket for nothing but encryption, since this was last asked.
    pub(crate) fn take_overhead(&mut self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(tls) => tls.take_overhead(),
        }
    }

    /// Writes from the beginning of the slices, as much as is taken.
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Sent> {
        match self {
            Self::Plain(stream) => match stream.write_vectored(slices) {
                // A short write means that the socket is full.
                Ok(bytes) => {
                    let is_full = bytes < slices.iter().map(|slice| slice.len()).sum();
                    Ok(Sent { bytes, is_full })
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => Ok(Sent { bytes: 0, is_full: true }),
                    io::ErrorKind::Interrupted => Ok(Sent { bytes: 0, is_full: false }),
                    _ => Err(error),
                },
            },
            Self::Tls(tls) => tls.write(slices),
        }
    }

    /// Passes on what was taken before and has not reached the socket; says whether all of it has.
    /// To be called when the socket takes bytes again.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        match self {
            Self::Plain(_) => Ok(true),
            Self::Tls(tls) => tls.flush(),
        }
    }

    /// Ends what is written, behind all that was taken; says whether that is done. If it is not,
    /// [`flush`](Self::flush) will do it.
    pub(crate) fn finish(&mut self) -> io::Result<bool> {
        match self {
            Self::Plain(stream) => stream.shutdown_write().map(|()| true),
            Self::Tls(tls) => tls.finish(),
        }
    }
}
