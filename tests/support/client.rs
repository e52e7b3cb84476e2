//! A client that says what it expects.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::tls::{self, TlsStream};
use super::{Address, TIMEOUT};

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

pub struct Client {
    stream: BufReader<Stream>,
    pub id: u64,
}

impl Client {
    /// A connection, of which nothing is read yet.
    pub fn connect(address: &Address) -> Self {
        let stream = match address {
            Address::Tcp(address) => Stream::Tcp(TcpStream::connect(address).unwrap()),
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path).unwrap()),
            Address::Tls(address, roots) => {
                let stream = TcpStream::connect(address).unwrap();
                Stream::Tls(Box::new(tls::connect(stream, roots)))
            }
        };
        stream.set_timeouts(TIMEOUT);
        Self { stream: BufReader::new(stream), id: 0 }
    }

    /// The other side: the next connection that comes to this listener.
    pub fn accept(listener: &TcpListener) -> Self {
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        let timeout = Timespec { tv_sec: TIMEOUT.as_secs() as i64, tv_nsec: 0 };
        assert_eq!(poll(&mut fds, Some(&timeout)).unwrap(), 1, "nobody comes");
        let stream = Stream::Tcp(listener.accept().unwrap().0);
        stream.set_timeouts(TIMEOUT);
        Self { stream: BufReader::new(stream), id: 0 }
    }

    /// Reads the welcome: the seq that it names.
    pub fn welcome(&mut self) -> u64 {
        let line = self.line();
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[0], "welcome", "{line}");
        self.id = words[1].parse().unwrap();
        words[3].parse().unwrap()
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
        self.stream.get_mut().flush().unwrap();
    }

    /// Sends bytes, and says whether there was somebody to take them.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// Sends a line.
    #[track_caller]
    pub fn send(&mut self, line: &str) {
        self.send_bytes(format!("{line}\n").as_bytes());
    }

    /// The next line, without its LF.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let line = self.line_or_end();
        line.expect("a line, and not the end")
    }

    /// The next line without its LF, or `None` at the end.
    #[track_caller]
    pub fn line_or_end(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).unwrap();
        let line = String::from_utf8(line).unwrap();
        if line.is_empty() {
            return None;
        }
        Some(line.strip_suffix('\n').expect("a whole line").to_owned())
    }

    #[track_caller]
    pub fn expect(&mut self, line: &str) {
        assert_eq!(self.line(), line);
    }

    /// Sends a line and expects the answer.
    #[track_caller]
    pub fn ask(&mut self, line: &str, answer: &str) {
        self.send(line);
        self.expect(answer);
    }

    /// Sends a line to somebody who may not have this name yet, until they have.
    #[track_caller]
    pub fn send_to(&mut self, name: &str, text: &str) {
        let done = format!("ok send {name}");
        let mut answer = String::new();
        let deadline = Instant::now() + TIMEOUT;
        while answer != done {
            assert!(Instant::now() < deadline, "nobody takes the name {name}");
            self.send(&format!("send {name} {text}"));
            answer = self.line();
            assert!(answer == done || answer.starts_with("error no-such-client "), "{answer}");
        }
    }

    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(self.line_or_end(), None);
    }

    /// Everything up to the end.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).unwrap();
        rest
    }

    /// Everything that comes, up to the end or to where it is cut off.
    pub fn rest_until_error(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// One value of `stats`.
    pub fn stat(&mut self, key: &str) -> u64 {
        self.send("stats");
        let mut value = None;
        loop {
            let line = self.line();
            if line == "ok stats" {
                return value.unwrap_or_else(|| panic!("no {key} in stats"));
            }
            if let Some(rest) = line.strip_prefix(&format!("stat {key} ")) {
                value = Some(rest.parse().unwrap());
            }
        }
    }

    /// Another handle for sending, for a thread of its own.
    pub fn writer(&self) -> TcpStream {
        match self.stream.get_ref() {
            Stream::Tcp(stream) => stream.try_clone().unwrap(),
            Stream::Unix(_) | Stream::Tls(_) => panic!("only for TCP"),
        }
    }

    /// Ends the output, and goes on reading.
    pub fn end(&mut self) {
        match self.stream.get_mut() {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Stream::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            }
        }
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        if let Stream::Tcp(stream) = self.stream.into_inner() {
            let socket = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
            socket.unwrap();
        }
    }

    /// Sends as much as the connection takes without anybody reading, up to `most` bytes: how many
    /// bytes went.
    pub fn send_until_full(&mut self, bytes: &[u8], most: usize) -> usize {
        let stream = self.stream.get_mut();
        stream.set_timeouts(Duration::from_millis(300));
        let mut sent = 0;
        while sent < most {
            match stream.write(&bytes[sent % bytes.len()..]) {
                Ok(len) => sent += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        stream.set_timeouts(TIMEOUT);
        sent
    }
}

impl Stream {
    fn set_timeouts(&self, timeout: Duration) {
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(timeout)).unwrap();
                stream.set_write_timeout(Some(timeout)).unwrap();
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(timeout)).unwrap();
                stream.set_write_timeout(Some(timeout)).unwrap();
            }
            Self::Tls(stream) => {
                stream.sock.set_read_timeout(Some(timeout)).unwrap();
                stream.sock.set_write_timeout(Some(timeout)).unwrap();
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
