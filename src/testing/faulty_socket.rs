//! In-memory sockets that inject faults: short reads and writes, spurious `WouldBlock` and
//! `Interrupted`, a full buffer, and resets.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;

use crate::net::stream::Socket;

/// The buffer size of one direction, in bytes, like a kernel socket buffer.
const BUFFER_SIZE: usize = 20_000;

/// A pseudo-random number generator. Clones share its state.
#[derive(Clone, Debug)]
pub(crate) struct Random(Rc<Cell<u64>>);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rc::new(Cell::new(seed)))
    }

    /// A number below `end`.
    pub(crate) fn below(&self, end: usize) -> usize {
        // Knuth's linear congruential generator. Its low bits are less random, so they are dropped.
        self.0.set(self.0.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        (self.0.get() >> 33) as usize % end
    }
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    pub(crate) bytes: VecDeque<u8>,
    /// The writer has half-closed the connection.
    pub(crate) is_ended: bool,
    pub(crate) is_reset: bool,
}

/// One end of an in-memory connection.
#[derive(Debug)]
pub(crate) struct FaultySocket {
    incoming: Rc<RefCell<Pipe>>,
    outgoing: Rc<RefCell<Pipe>>,
    random: Random,
}

impl FaultySocket {
    /// Creates two connected sockets. Also returns, for each, the pipe that it reads from.
    pub(crate) fn pair(random: &Random) -> ([Self; 2], [Rc<RefCell<Pipe>>; 2]) {
        let pipes: [Rc<RefCell<Pipe>>; 2] = Default::default();
        let end = |incoming: usize| Self {
            incoming: Rc::clone(&pipes[incoming]),
            outgoing: Rc::clone(&pipes[1 - incoming]),
            random: random.clone(),
        };
        ([end(0), end(1)], pipes)
    }

    /// Chooses a fault: how many of `len` bytes to transfer, or a transient error.
    fn fault(&self, len: usize) -> io::Result<usize> {
        match self.random.below(6) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            1 => Err(io::ErrorKind::Interrupted.into()),
            2 => Ok(len.min(1)),
            3 => Ok(len),
            _ => Ok(len.min(1 + self.random.below(3000))),
        }
    }
}

impl Read for FaultySocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.incoming.borrow_mut();
        if pipe.bytes.is_empty() {
            return match (pipe.is_reset, pipe.is_ended) {
                (true, _) => Err(io::ErrorKind::ConnectionReset.into()),
                (_, true) => Ok(0),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let max = self.fault(buffer.len())?;
        pipe.bytes.read(&mut buffer[..max])
    }
}

impl Write for FaultySocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipe = self.outgoing.borrow_mut();
        if pipe.is_reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let max = self.fault(bytes.len().min(BUFFER_SIZE - pipe.bytes.len()))?;
        if max == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        pipe.bytes.write(&bytes[..max])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for FaultySocket {
    fn shutdown_write(&self) -> io::Result<()> {
        self.outgoing.borrow_mut().is_ended = true;
        Ok(())
    }
}
