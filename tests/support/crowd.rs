//! Load generators: many readers in one thread, and senders that flood the server.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::TIMEOUT;

/// Readers that assert that they receive the welcome line, then every broadcast in sequence.
pub struct Crowd {
    poll: Poll,
    readers: Vec<Reader>,
    input: Vec<u8>,
}

struct Reader {
    stream: TcpStream,
    /// The partial line at the end of the input so far.
    partial: Vec<u8>,
    /// The newest sequence number received, in the welcome line or a broadcast.
    seq: Option<u64>,
}

impl Crowd {
    /// Connects this many readers and reads their welcome lines.
    pub fn connect(address: SocketAddr, readers: usize) -> Self {
        let poll = Poll::new().unwrap();
        let readers = (0..readers)
            .map(|key| {
                let stream = StdTcpStream::connect(address).unwrap();
                stream.set_nonblocking(true).unwrap();
                // Disable autotuning of the receive buffer. If the kernel grew all of them, it could
                // run out of socket memory, and connections would stall.
                let buffer = 128 * 1024;
                rustix::net::sockopt::set_socket_recv_buffer_size(&stream, buffer).unwrap();
                let mut stream = TcpStream::from_std(stream);
                poll.registry().register(&mut stream, Token(key), Interest::READABLE).unwrap();
                Reader { stream, partial: Vec::new(), seq: None }
            })
            .collect();
        let mut crowd = Self { poll, readers, input: vec![0; 64 * 1024] };
        crowd.read_until(|seq| seq.is_some());
        crowd
    }

    /// Reads until every reader has received every broadcast up to this one.
    pub fn read_through(&mut self, seq: u64) {
        self.read_until(|newest| newest.is_some_and(|newest| newest >= seq));
    }

    fn read_until(&mut self, done: impl Fn(Option<u64>) -> bool) {
        let deadline = Instant::now() + 4 * TIMEOUT;
        let mut events = Events::with_capacity(1024);
        let mut waiting = self.readers.iter().filter(|reader| !done(reader.seq)).count();
        while waiting > 0 {
            assert!(Instant::now() < deadline, "{waiting} readers are still waiting for lines");
            self.poll.poll(&mut events, Some(TIMEOUT)).unwrap();
            for event in &events {
                let reader = &mut self.readers[event.token().0];
                let was_done = done(reader.seq);
                reader.read(&mut self.input);
                if done(reader.seq) && !was_done {
                    waiting -= 1;
                }
            }
        }
    }
}

impl Reader {
    fn read(&mut self, input: &mut [u8]) {
        loop {
            match self.stream.read(input) {
                Ok(0) => panic!(
                    "disconnected after the partial line {:?}",
                    String::from_utf8_lossy(&self.partial)
                ),
                Ok(len) => self.push(&input[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn push(&mut self, input: &[u8]) {
        let mut rest = input;
        while let Some(lf) = memchr::memchr(b'\n', rest) {
            if self.partial.is_empty() {
                self.seq = Some(next_seq(self.seq, &rest[..lf]));
            } else {
                self.partial.extend_from_slice(&rest[..lf]);
                self.seq = Some(next_seq(self.seq, &self.partial));
                self.partial.clear();
            }
            rest = &rest[lf + 1..];
        }
        self.partial.extend_from_slice(rest);
    }
}

/// Returns the sequence number of a line. The line must be the broadcast after `seq` or, if there
/// is no `seq` yet, the welcome.
fn next_seq(seq: Option<u64>, line: &[u8]) -> u64 {
    let field = |nth: usize| {
        let word = line.split(|&byte| byte == b' ').nth(nth).unwrap_or_default();
        std::str::from_utf8(word).unwrap().parse::<u64>().unwrap()
    };
    match seq {
        None => {
            assert!(line.starts_with(b"welcome "), "{}", String::from_utf8_lossy(line));
            field(3)
        }
        Some(seq) => {
            assert!(line.starts_with(b"broadcast "), "{}", String::from_utf8_lossy(line));
            assert_eq!(field(1), seq + 1, "sequence numbers must have no gap");
            seq + 1
        }
    }
}

/// Starts a thread that broadcasts `text` this many times, pipelined. It ends when it has read
/// every reply.
pub fn flood(address: SocketAddr, text: &str, lines: usize) -> JoinHandle<()> {
    let batch = format!("broadcast {text}\n").repeat(100);
    thread::spawn(move || {
        let mut stream = StdTcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(b"quiet\n").unwrap();
        let mut replies = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        while line != "ok quiet\n" {
            line.clear();
            replies.read_line(&mut line).unwrap();
        }
        let reader = thread::spawn(move || {
            for line in replies.lines().take(lines) {
                assert!(line.unwrap().starts_with("ok broadcast "));
            }
        });
        let mut left = lines;
        while left > 0 {
            let n = left.min(100);
            stream.write_all(&batch.as_bytes()[..batch.len() / 100 * n]).unwrap();
            left -= n;
        }
        reader.join().unwrap();
    })
}
