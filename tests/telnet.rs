//! Telnet commands: negotiations are refused, interrupts are ignored, and lines are executed.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use oyez::limits::Limits;
use rustix::net::{SendFlags, send};
use support::driver::{Driver, UNLIMITED, small_limits};
use support::{Server, TIMEOUT};

const DO_TIMING_MARK: &[u8] = b"\xff\xfd\x06";
const WONT_TIMING_MARK: &[u8] = b"\xff\xfc\x06";

/// What PuTTY sends first: it offers and requests options, and reports its window size.
const PUTTY_NEGOTIATION: &[u8] =
    b"\xff\xfb\x1f\xff\xfb\x20\xff\xfb\x18\xff\xfb\x27\xff\xfd\x01\xff\xfb\x03\
      \xff\xfd\x03\xff\xfa\x1f\0\x50\0\x18\xff\xf0";
const PUTTY_REFUSALS: &[u8] =
    b"\xff\xfe\x1f\xff\xfe\x20\xff\xfe\x18\xff\xfe\x27\xff\xfc\x01\xff\xfe\x03\
      \xff\xfc\x03";

/// A connection on which the server sends lines and Telnet commands.
struct Connection(TcpStream);

impl Connection {
    fn open(server: &Server) -> Self {
        let stream = TcpStream::connect(server.tcp()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut connection = Self(stream);
        while connection.receive(1) != b"\n" {}
        connection
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Sends the last byte as urgent data.
    fn send_urgent(&mut self, bytes: &[u8]) {
        assert_eq!(send(&self.0, bytes, SendFlags::OOB).unwrap(), bytes.len());
    }

    fn receive(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    #[track_caller]
    fn expect(&mut self, bytes: &[u8]) {
        let received = self.receive(bytes.len());
        assert_eq!(received.escape_ascii().to_string(), bytes.escape_ascii().to_string());
    }

    #[track_caller]
    fn expect_end(mut self) {
        self.0.shutdown(Shutdown::Write).unwrap();
        let mut rest = vec![];
        self.0.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.escape_ascii().to_string(), "");
    }
}

#[test]
fn first_command_after_a_negotiation_is_executed() {
    let server = Server::start(&[]);
    let mut client = Connection::open(&server);
    client.send(PUTTY_NEGOTIATION);
    client.expect(PUTTY_REFUSALS);
    client.send(b"ping\r\n");
    client.expect(b"pong\n");
    // Refusals of what was never offered are not answered.
    client.send(b"\xff\xfc\x01\xff\xfe\x03ping\n");
    client.expect(b"pong\n");
    client.expect_end();
}

#[test]
fn interrupt_has_no_effect_and_its_timing_mark_is_refused() {
    let server = Server::start(&[]);
    let mut client = Connection::open(&server);
    for (before, after) in [("", "ping\r\n"), ("pi", "ng\r\n"), ("ping\r", "\n")] {
        client.send(before.as_bytes());
        client.send(&[b"\xff\xf4", DO_TIMING_MARK].concat());
        client.expect(WONT_TIMING_MARK);
        client.send(after.as_bytes());
        client.expect(b"pong\n");
    }
    client.send(b"\xff\xf6\xff\xf1\xff\xf3\xff\xf5ping \xff\xf7\xff\xf8\xff\xf9a\xff\xef\n");
    client.expect(b"pong a\n");
    client.expect_end();
}

#[test]
fn option_inside_an_overlong_line_is_refused() {
    let server = Server::start(&[]);
    let mut client = Connection::open(&server);
    client.send(&[b'x'; 5000]);
    let mut error = vec![];
    while error.last() != Some(&b'\n') {
        error.extend(client.receive(1));
    }
    assert!(error.starts_with(b"error line-too-long "));
    client.send(DO_TIMING_MARK);
    client.expect(WONT_TIMING_MARK);
    client.send(b"\nping\n");
    client.expect(b"pong\n");
    client.expect_end();
}

/// Telnet's Synch sends part of a command as urgent data. Without SO_OOBINLINE, the urgent byte
/// would be missing from the input.
#[test]
fn urgent_data_stays_in_order() {
    let server = Server::start(&[]);
    let mut client = Connection::open(&server);
    client.send_urgent(b"pi\xff\xf2");
    client.send(&[DO_TIMING_MARK, b"ng\n"].concat());
    client.expect(WONT_TIMING_MARK);
    client.expect(b"pong\n");
    client.expect_end();
}

#[test]
fn answers_are_sent_between_lines_in_order() {
    let server = Server::start(&[]);
    let mut client = Connection::open(&server);
    client.send(b"ping 1\n\xff\xfd\x06say a\xff\xfb\x18b\nping 2\n\xff\xfd\x03");
    client.expect(b"pong 1\n\xff\xfc\x06\xff\xfe\x18broadcast 1 1 ab\npong 2\n\xff\xfc\x03");
    client.expect_end();
}

#[test]
fn incomplete_command_at_the_end_of_a_line_makes_it_not_text() {
    let server = Server::start(&[]);
    let mut client = Connection::open(&server);
    for line in [&b"ping\xff\n"[..], b"ping\xff\xfd\n", b"\xff\xfa\x1f\n", b"ping \xff\xff\n"] {
        client.send(line);
        let mut error = vec![];
        while error.last() != Some(&b'\n') {
            error.extend(client.receive(1));
        }
        assert!(error.starts_with(b"error not-text "), "{}", line.escape_ascii());
    }
    client.send(b"ping\n");
    client.expect(b"pong\n");
    client.expect_end();
}

#[test]
fn byte_order_mark_before_the_first_command_is_dropped() {
    let server = Server::start(&[]);
    for (beginning, ends) in [
        (&b"\xef\xbb\xbf"[..], &b"pong\n"[..]),
        (b"\xff\xfb\x1f\xef\xbb\xbf", b"\xff\xfe\x1fpong\n"),
        (b"\xef\xbb\xbf\xff\xfb\x1f", b"\xff\xfe\x1fpong\n"),
        // HTTP and TLS are detected after it.
        (b"\xef\xbb\xbfGET / HTTP/1.1\n", b""),
        (b"\xff\xfb\x1fGET / HTTP/1.1\n", b"\xff\xfe\x1f"),
        (b"\xef\xbb\xbf\x16", b""),
        (b"\xff\xfb\x1f\x16", b"\xff\xfe\x1f"),
    ] {
        let mut client = Connection::open(&server);
        // The server may have closed the connection.
        let _ = client.0.write_all(&[beginning, b"ping\n"].concat());
        client.expect(ends);
        client.expect_end();
    }
    // One that is not at the very start belongs to the text.
    let mut client = Connection::open(&server);
    client.send("\u{feff}ping \u{feff}\nsay \u{feff}\n".as_bytes());
    client.expect("pong \u{feff}\nbroadcast 1 8 \u{feff}\n".as_bytes());
    client.expect_end();
}

#[test]
fn debug_log_shows_negotiations() {
    let mut server = Server::start(&["--log-level", "debug"]);
    let mut client = Connection::open(&server);
    client.send(DO_TIMING_MARK);
    client.expect(WONT_TIMING_MARK);
    let line = server.wait_for_log("telnet");
    assert!(line.contains("client 1: \"telnet DO 6\" -> \"refused\""), "{line}");
}

#[test]
fn unread_answers_are_bounded() {
    let mut driver = Driver::new(small_limits());
    let key = driver.connect(0);
    driver.socket(key).input = DO_TIMING_MARK.repeat(100_000);
    driver.hub.handle_readable(key);
    // Each turn checks that the outbox is within its limit.
    driver.run();
    driver.add_room(key, UNLIMITED);
    let received = &driver.socket(key).received;
    let welcome = received.iter().position(|byte| *byte == b'\n').unwrap();
    assert!(received[welcome + 1..] == WONT_TIMING_MARK.repeat(100_000));
}

/// PuTTY keeps connections alive with commands that do nothing.
#[test]
fn telnet_command_counts_as_activity() {
    let mut driver = Driver::new(Limits { idle_timeout_ms: Some(1000), ..small_limits() });
    let key = driver.connect(UNLIMITED);
    driver.now_ms = 900;
    driver.socket(key).input = b"\xff\xf1".to_vec();
    driver.hub.handle_readable(key);
    driver.run();
    driver.run_at(1500);
    assert!(!driver.socket(key).write_shutdown);
    driver.run_at(1900);
    assert_eq!(driver.last_line(key), "goodbye idle");
}

/// Returns a hub with a rate limit of one line per second, and the key of a client that has sent
/// this input.
fn rate_limited(input: &[u8]) -> (Driver, usize) {
    let mut driver = Driver::new(Limits { rate_limit: Some(1), ..small_limits() });
    let key = driver.connect(UNLIMITED);
    driver.socket(key).received.clear();
    driver.socket(key).input = input.to_vec();
    driver.hub.handle_readable(key);
    driver.run();
    (driver, key)
}

#[test]
fn negotiation_does_not_delay_the_first_command_under_a_rate_limit() {
    let input = [PUTTY_NEGOTIATION, b"ping\r\n"].concat();
    // However the input is split, the first command is executed without delay.
    for split in 0..=input.len() {
        let (mut driver, key) = rate_limited(&input[..split]);
        driver.socket(key).input.extend(&input[split..]);
        driver.hub.handle_readable(key);
        driver.run();
        assert_eq!(driver.socket(key).received, [PUTTY_REFUSALS, b"pong\n"].concat(), "{split}");
    }
}

#[test]
fn telnet_commands_count_as_one_line_per_maximum_line_length() {
    let commands = small_limits().max_line.div_ceil(3);
    for (command, answer) in [(DO_TIMING_MARK, WONT_TIMING_MARK), (b"\xff\xfc\x06", b"")] {
        let (mut driver, key) = rate_limited(&command.repeat(commands));
        driver.send(key, "ping\n");
        driver.run_at(940);
        assert_eq!(driver.socket(key).received, answer.repeat(commands));
        driver.run_at(1000);
        assert!(driver.socket(key).received.ends_with(b"pong\n"));
    }
}
