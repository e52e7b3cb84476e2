//! Many readers in one thread, and senders that do not wait for anybody.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::TIMEOUT;

/// Readers that check what they get: the welcome, and then every broadcast line, seq by seq.
pub struct Crowd {
    poll: Poll,
    readers: Vec<Reader>,
    input: Vec<u8>,
}

struct Reader {
    stream: TcpStream,
    unfinished: Vec<u8>,
    /// The newest seq that came, from the welcome on.
    seq: Option<u64>,
}

impl Crowd {
    /// So many readers, connected and welcomed.
    pub fn connect(address: SocketAddr, readers: usize) -> Self {
        let poll = Poll::new().unwrap();
        let readers = (0..readers)
            .map(|key| {
                let stream = StdTcpStream::connect(address).unwrap();
                stream.set_nonblocking(true).unwrap();
                // Otherwise the readers' own buffers grow until this host has no memory left for
                // sockets, and what then stalls is neither the server nor the readers.
                let buffer = 128 * 1024;
                rustix::net::sockopt::set_socket_recv_buffer_size(&stream, buffer).unwrap();
                let mut stream = TcpStream::from_std(stream);
                poll.registry().register(&mut stream, Token(key), Interest::READABLE).unwrap();
                Reader { stream, unfinished: Vec::new(), seq: None }
            })
            .collect();
        let mut crowd = Self { poll, readers, input: vec![0; 64 * 1024] };
        crowd.read_until(|reader| reader.is_some());
        crowd
    }

    /// Reads until every reader has got every line up to this one.
    pub fn read_through(&mut self, seq: u64) {
        self.read_until(|newest| newest.is_some_and(|newest| newest >= seq));
    }

    fn read_until(&mut self, done: impl Fn(Option<u64>) -> bool) {
        let deadline = Instant::now() + 4 * TIMEOUT;
        let mut events = Events::with_capacity(1024);
        let mut waiting = self.readers.iter().filter(|reader| !done(reader.seq)).count();
        while waiting > 0 {
            assert!(Instant::now() < deadline, "{waiting} readers wait still");
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
                Ok(0) => panic!("cut, with {:?}", String::from_utf8_lossy(&self.unfinished)),
                Ok(len) => self.take(&input[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn take(&mut self, input: &[u8]) {
        let mut rest = input;
        while let Some(lf) = memchr::memchr(b'\n', rest) {
            if self.unfinished.is_empty() {
                self.seq = Some(next_seq(self.seq, &rest[..lf]));
            } else {
                self.unfinished.extend_from_slice(&rest[..lf]);
                self.seq = Some(next_seq(self.seq, &self.unfinished));
                self.unfinished.clear();
            }
            rest = &rest[lf + 1..];
        }
        self.unfinished.extend_from_slice(rest);
    }
}

/// The seq that a line brings a reader to. It must be the next one.
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
            assert_eq!(field(1), seq + 1, "a gap");
            seq + 1
        }
    }
}

/// A sender of so many lines that reads its answers, but does not wait for them. It ends when all
/// of them have come.
pub fn flood(address: SocketAddr, text: &str, lines: usize) -> JoinHandle<()> {
    let batch = format!("broadcast {text}\n").repeat(100);
    thread::spawn(move || {
        let mut stream = StdTcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(b"quiet\n").unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        while line != "ok quiet\n" {
            line.clear();
            answers.read_line(&mut line).unwrap();
        }
        let reader = thread::spawn(move || {
            for line in answers.lines().take(lines) {
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
