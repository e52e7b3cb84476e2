//! A minimal relay, for comparison. It forwards the bytes of each peer to all others, without
//! splitting them into lines. Its only backpressure: it stops reading while any peer is behind.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);
const READ_BYTES: usize = 64 * 1024;

struct Peer {
    stream: TcpStream,
    /// Whether the peer is in the queue of readable peers.
    is_readable: bool,
    /// Bytes that the socket has not accepted yet.
    unsent: Vec<u8>,
}

/// Relays until the process is killed: reads once, then writes to each of the other peers.
pub(crate) fn run(port: u16) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(4096);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut listener = TcpListener::bind(address)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut peers: Slab<Peer> = Slab::new();
    let mut readable = VecDeque::new();
    // The number of peers with unsent bytes.
    let mut blocked = 0;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut peers)?;
                continue;
            }
            let Some(peer) = peers.get_mut(event.token().0) else { continue };
            if event.is_readable() && !peer.is_readable {
                peer.is_readable = true;
                readable.push_back(event.token().0);
            }
            if event.is_writable() && !peer.unsent.is_empty() {
                let sent = write(&mut peer.stream, &peer.unsent)?;
                peer.unsent.drain(..sent);
                blocked -= usize::from(peer.unsent.is_empty());
            }
        }
        while blocked == 0
            && let Some(key) = readable.pop_front()
        {
            match peers[key].stream.read(&mut buffer) {
                Ok(len) if len > 0 => {
                    blocked += relay(&mut peers, key, &buffer[..len])?;
                    readable.push_back(key);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    peers[key].is_readable = false;
                }
                Ok(_) | Err(_) => drop(peers.remove(key)),
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, peers: &mut Slab<Peer>) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((mut stream, _)) => {
                stream.set_nodelay(true)?;
                let entry = peers.vacant_entry();
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut stream, Token(entry.key()), interest)?;
                entry.insert(Peer { stream, is_readable: false, unsent: Vec::new() });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Writes to all peers except `sender`. Returns the number of peers that are now blocked.
fn relay(peers: &mut Slab<Peer>, sender: usize, bytes: &[u8]) -> io::Result<usize> {
    let mut blocked = 0;
    for (_, peer) in peers.iter_mut().filter(|(key, _)| *key != sender) {
        let sent = write(&mut peer.stream, bytes)?;
        if sent < bytes.len() {
            peer.unsent.extend_from_slice(&bytes[sent..]);
            blocked += 1;
        }
    }
    Ok(blocked)
}

fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}
