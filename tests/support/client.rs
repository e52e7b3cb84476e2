//! A blocking client whose methods assert what it receives.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::tls::{self, TlsStream};
use super::{Address, TIMEOUT, wait_until};

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

pub struct Client {
    stream: BufReader<Stream>,
    /// The id from the welcome line, or 0 before that line is read.
    pub id: u64,
}

impl Client {
    /// Connects without reading the welcome line.
    pub fn connect(address: &Address) -> Self {
        let stream = match address {
            Address::Tcp(address) => Stream::Tcp(TcpStream::connect(address).unwrap()),
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path).unwrap()),
            Address::Tls(address, roots) => {
                let stream = TcpStream::connect(address).unwrap();
                Stream::Tls(Box::new(tls::connect(stream, roots)))
            }
        };
        Self::new(stream)
    }

    /// Connects and reads the welcome line.
    #[track_caller]
    pub fn connect_and_read_welcome(address: &Address) -> Self {
        let mut client = Self::connect(address);
        client.read_welcome();
        client
    }

    /// Accepts the next connection of a fake server.
    #[track_caller]
    pub fn accept(listener: &TcpListener) -> Self {
        let timeout = Timespec { tv_sec: TIMEOUT.as_secs() as i64, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&timeout)).unwrap();
        assert_eq!(ready, 1, "no connection arrived");
        Self::new(Stream::Tcp(listener.accept().unwrap().0))
    }

    fn new(stream: Stream) -> Self {
        stream.set_timeouts(TIMEOUT);
        Self { stream: BufReader::new(stream), id: 0 }
    }

    /// Reads the welcome line and returns its sequence number.
    #[track_caller]
    pub fn read_welcome(&mut self) -> u64 {
        let line = self.line();
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[0], "welcome", "{line}");
        self.id = words[1].parse().unwrap();
        words[3].parse().unwrap()
    }

    /// Sends raw bytes.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
        self.stream.get_mut().flush().unwrap();
    }

    /// Sends bytes to a peer that may close the connection. Returns whether all were sent.
    pub fn try_send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// Sends a line.
    #[track_caller]
    pub fn send(&mut self, line: &str) {
        self.send_bytes(format!("{line}\n").as_bytes());
    }

    /// Reads the next line, without its LF.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.line_or_end().expect("expected a line, but the connection ended")
    }

    /// Reads the next line, without its LF. Returns `None` at the end of the connection.
    #[track_caller]
    pub fn line_or_end(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).unwrap();
        let line = String::from_utf8(line).unwrap();
        if line.is_empty() {
            return None;
        }
        Some(line.strip_suffix('\n').expect("the connection ended in the middle of a line").into())
    }

    /// Asserts that the next line is this one.
    #[track_caller]
    pub fn expect(&mut self, line: &str) {
        assert_eq!(self.line(), line);
    }

    /// Sends a line and asserts that the next line received is this reply.
    #[track_caller]
    pub fn ask(&mut self, line: &str, reply: &str) {
        self.send(line);
        self.expect(reply);
    }

    /// Sends a direct message. Retries until a client with this name exists.
    #[track_caller]
    pub fn send_to(&mut self, name: &str, text: &str) {
        let done = format!("ok send {name}");
        wait_until(|| {
            self.send(&format!("send {name} {text}"));
            let reply = self.line();
            assert!(reply == done || reply.starts_with("error no-such-client "), "{reply}");
            reply == done
        });
    }

    /// Asserts that the connection ends without another line.
    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(self.line_or_end(), None);
    }

    /// Returns everything received until the connection ends.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).unwrap();
        rest
    }

    /// Returns everything received until the connection ends or fails.
    pub fn rest_until_error(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Sends `stats` and returns the value of this key.
    #[track_caller]
    pub fn stat(&mut self, key: &str) -> u64 {
        self.send("stats");
        let prefix = format!("stat {key} ");
        let mut value = None;
        loop {
            let line = self.line();
            if line == "ok stats" {
                return value.unwrap_or_else(|| panic!("stats has no {key}"));
            }
            if let Some(rest) = line.strip_prefix(&prefix) {
                value = Some(rest.parse().unwrap());
            }
        }
    }

    /// Returns a second handle of a TCP connection, so that another thread can write to it.
    pub fn writer(&self) -> TcpStream {
        match self.stream.get_ref() {
            Stream::Tcp(stream) => stream.try_clone().unwrap(),
            Stream::Unix(_) | Stream::Tls(_) => panic!("only a TCP connection has a second writer"),
        }
    }

    /// Half-closes the connection: the client can still read, but not send.
    pub fn shutdown_write(&mut self) {
        match self.stream.get_mut() {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Stream::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            }
        }
    }

    /// Closes a TCP connection with a reset, and any other connection normally.
    pub fn reset(self) {
        if let Stream::Tcp(stream) = self.stream.into_inner() {
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        }
    }

    /// Sends `bytes` repeatedly without reading, until a write blocks or `max` bytes are sent.
    /// Returns how many bytes were sent.
    pub fn send_until_full(&mut self, bytes: &[u8], max: usize) -> usize {
        let stream = self.stream.get_mut();
        stream.set_timeouts(Duration::from_millis(300));
        let mut sent = 0;
        while sent < max {
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
        let timeout = Some(timeout);
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(timeout).unwrap();
                stream.set_write_timeout(timeout).unwrap();
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(timeout).unwrap();
                stream.set_write_timeout(timeout).unwrap();
            }
            Self::Tls(stream) => {
                stream.sock.set_read_timeout(timeout).unwrap();
                stream.sock.set_write_timeout(timeout).unwrap();
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
