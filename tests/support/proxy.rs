//! A proxy that ends connections after a number of bytes.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// The direction in which a proxy counts bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    FromServer,
}

/// What a proxy does once it has passed on the given number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It ends that direction, discards what follows in it, and leaves the other direction open.
    HalfClose,
    /// It closes the connection.
    Close,
}

/// Where a proxy cuts a connection.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub direction: Direction,
    pub after: u64,
    pub manner: Manner,
}

/// A running proxy. Its threads end with the test.
pub struct Proxy {
    pub address: SocketAddr,
    /// How many bytes of the last connection were passed on to the server, and from it.
    passed: Arc<[AtomicU64; 2]>,
}

impl Proxy {
    /// Starts a proxy that cuts the first connections as given, and passes on later ones
    /// completely.
    pub fn start(to: SocketAddr, cuts: Vec<Cut>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let passed = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let counters = Arc::clone(&passed);
        thread::spawn(move || {
            let mut cuts = cuts.into_iter();
            for near in listener.incoming().map(Result::unwrap) {
                let far = TcpStream::connect(to).unwrap();
                let cut = cuts.next();
                for (index, direction) in
                    [Direction::ToServer, Direction::FromServer].into_iter().enumerate()
                {
                    let [near, far] = [&near, &far].map(|stream| stream.try_clone().unwrap());
                    let cut = cut.filter(|cut| cut.direction == direction);
                    let counters = Arc::clone(&counters);
                    counters[index].store(0, Ordering::Relaxed);
                    thread::spawn(move || {
                        let streams = match direction {
                            Direction::ToServer => [near, far],
                            Direction::FromServer => [far, near],
                        };
                        pass_on(streams, cut, &counters[index]);
                    });
                }
            }
        });
        Self { address, passed }
    }

    /// Starts a proxy that closes its first connection as soon as the client half-closes it.
    pub fn without_half_close(to: SocketAddr) -> Self {
        let cut = |direction| Cut { direction, after: u64::MAX, manner: Manner::Close };
        Self::start(to, vec![cut(Direction::ToServer)])
    }

    /// How many bytes of the last connection were passed on in this direction.
    pub fn passed(&self, direction: Direction) -> u64 {
        self.passed[usize::from(direction == Direction::FromServer)].load(Ordering::Relaxed)
    }
}

/// Passes on one direction of a connection, up to its end or its cut.
fn pass_on([from, to]: [TcpStream; 2], cut: Option<Cut>, passed: &AtomicU64) {
    let limit = cut.map_or(u64::MAX, |cut| cut.after);
    let mut buffer = [0; 4096];
    let mut remaining = limit;
    while remaining > 0 {
        let len = buffer.len().min(usize::try_from(remaining).unwrap_or(usize::MAX));
        match (&from).read(&mut buffer[..len]) {
            Ok(len @ 1..) if (&to).write_all(&buffer[..len]).is_ok() => {
                remaining -= len as u64;
                passed.fetch_add(len as u64, Ordering::Relaxed);
            }
            _ => break,
        }
    }
    match cut.map(|cut| cut.manner) {
        Some(Manner::Close) => {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        }
        Some(Manner::HalfClose) | None => {
            let _ = to.shutdown(Shutdown::Write);
            let _ = io::copy(&mut &from, &mut io::sink());
        }
    }
}
