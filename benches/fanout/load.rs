//! The load generator: one thread that runs all publishers and subscribers of a server, and checks
//! that every subscriber receives every line once and in order.

use std::io::{self, Write as _};
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rustls::ClientConfig;

use crate::connection::Connection;
use crate::protocol::{Frame, Protocol};
use crate::window::Window;
use crate::workload::{BLOCK_BYTES, Shape};

/// The maximum time to wait for deliveries before the run fails.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum number of lines in flight while latency is measured.
const MAX_IN_FLIGHT: usize = 4096;

/// A line is `<publisher> <number> <filler>`. These are the positions of its parts.
const PUBLISHER: Range<usize> = 0..4;
const NUMBER: Range<usize> = 5..15;
const FILLER_START: usize = 16;

/// Makes client names unique, for servers that require it.
static NEXT_ID: AtomicUsize = AtomicUsize::new(0);

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) deliveries: u64,
    pub(crate) seconds: f64,
    /// For each line, the seconds from its publication until the last subscriber received it. Empty
    /// unless lines are published at a fixed rate.
    pub(crate) latencies: Vec<f64>,
}

/// All clients of one server.
pub(crate) struct Load {
    protocol: Protocol,
    shape: Shape,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    filler: Vec<u8>,
    clients: Vec<Client>,
    /// The publishers' indexes in `clients`. A line contains its publisher's index in this list.
    publishers: Vec<usize>,
    window: Window,
    /// For each of the latest lines, when it was published, and how many subscribers have not
    /// received it. Used only if lines are published at a fixed rate.
    in_flight: Vec<(Instant, usize)>,
    latencies: Vec<f64>,
}

struct Client {
    connection: Connection,
    /// The received bytes of a partial frame.
    partial: Vec<u8>,
    /// Requests to send. The first `sent` bytes have been written.
    output: Vec<u8>,
    sent: usize,
    publisher: Option<Publisher>,
    subscriber: Option<Subscriber>,
}

#[derive(Default)]
struct Publisher {
    /// The number of the next line.
    next: u32,
    /// Lines published in this run.
    lines: u64,
}

struct Subscriber {
    /// The expected number of each publisher's next line, `None` before the first one.
    next: Vec<Option<u32>>,
    /// Lines received in this run.
    lines: u64,
}

impl Load {
    /// Connects all clients, and waits until every subscriber receives lines.
    pub(crate) fn connect(
        protocol: Protocol,
        port: u16,
        tls: Option<&Arc<ClientConfig>>,
        shape: Shape,
    ) -> Result<Self, String> {
        let is_symmetric = shape.is_symmetric && protocol.is_duplex();
        let poll = Poll::new().map_err(|error| format!("poll: {error}"))?;
        let count = if is_symmetric { shape.subscribers } else { shape.max_clients() };
        let mut clients = Vec::with_capacity(count);
        let mut publishers = Vec::new();
        for key in 0..count {
            let subscribes = key < shape.subscribers;
            let publishes = is_symmetric || !subscribes;
            let mut connection = Connection::open(port, tls, protocol == Protocol::Nats)?;
            connection
                .register(poll.registry(), Token(key))
                .map_err(|error| format!("poll: {error}"))?;
            let subscriber = || Subscriber { next: vec![None; shape.publishers], lines: 0 };
            clients.push(Client {
                connection,
                partial: Vec::new(),
                output: protocol.handshake(NEXT_ID.fetch_add(1, Ordering::Relaxed), subscribes),
                sent: 0,
                publisher: publishes.then(Publisher::default),
                subscriber: subscribes.then(subscriber),
            });
            if publishes {
                publishers.push(key);
            }
        }
        let own = usize::from(is_symmetric && !protocol.echoes());
        let mut load = Self {
            protocol,
            shape,
            poll,
            events: Events::with_capacity(4096),
            buffer: vec![0; 256 * 1024],
            filler: vec![b'x'; shape.size - FILLER_START],
            clients,
            publishers,
            window: Window::new(shape, shape.publishers - own),
            in_flight: vec![(Instant::now(), 0); MAX_IN_FLIGHT],
            latencies: Vec::new(),
        };
        load.await_subscriptions()?;
        Ok(load)
    }

    /// Publishes for `time`, and waits until every line is delivered.
    pub(crate) fn run(&mut self, time: Duration) -> Result<Run, String> {
        self.window.reset();
        for client in &mut self.clients {
            client.publisher.iter_mut().for_each(|publisher| publisher.lines = 0);
            client.subscriber.iter_mut().for_each(|subscriber| subscriber.lines = 0);
        }
        self.latencies.clear();
        let started = Instant::now();
        match self.shape.rate {
            None => self.publish_through_window(time)?,
            Some(rate) => self.publish_at_rate(rate, time)?,
        }
        Ok(Run {
            deliveries: self.subscribers().map(|subscriber| subscriber.lines).sum(),
            seconds: started.elapsed().as_secs_f64(),
            latencies: mem::take(&mut self.latencies),
        })
    }

    /// Publishes as fast as the window allows. In the end, all publishers have published the same
    /// number of lines.
    fn publish_through_window(&mut self, time: Duration) -> Result<(), String> {
        let started = Instant::now();
        while started.elapsed() < time {
            self.publish_all(u64::MAX)?;
            self.wait()?;
        }
        let published = (0..self.publishers.len()).map(|nth| self.publisher(nth).lines);
        let lines = published.max().unwrap_or(0);
        let expected = self.window.expected(lines);
        while self.subscribers().any(|subscriber| subscriber.lines < expected) {
            self.publish_all(lines)?;
            self.wait()?;
        }
        Ok(())
    }

    fn publish_all(&mut self, max_lines: u64) -> Result<(), String> {
        let allowed = self.window.allowed().min(max_lines);
        (0..self.publishers.len()).try_for_each(|nth| self.publish(nth, allowed))
    }

    /// Publishes lines at a fixed rate, all from the first publisher.
    fn publish_at_rate(&mut self, rate: u32, time: Duration) -> Result<(), String> {
        let started = Instant::now();
        let interval = Duration::from_secs(1) / rate;
        let lines = (time.as_secs_f64() * f64::from(rate)) as u32;
        for nth in 0..lines {
            let due = started + interval * nth;
            while Instant::now() < due {
                self.turn(Duration::ZERO)?;
            }
            let slot = self.publisher(0).next as usize % MAX_IN_FLIGHT;
            if self.in_flight[slot].1 > 0 {
                return Err(format!("the server does not keep up with {rate} lines per second"));
            }
            self.in_flight[slot] = (Instant::now(), self.shape.subscribers);
            self.publish(0, u64::from(nth) + 1)?;
        }
        let published = Instant::now();
        while self.latencies.len() < lines as usize {
            self.turn(Duration::ZERO)?;
            if published.elapsed() > TIMEOUT {
                return Err("a delivery timed out".into());
            }
        }
        Ok(())
    }

    /// Publishes lines from the first publisher until every subscriber has received one. Then waits
    /// until all subscribers have received the last one.
    fn await_subscriptions(&mut self) -> Result<(), String> {
        let started = Instant::now();
        while started.elapsed() < TIMEOUT {
            let Publisher { next, lines } = *self.publisher(0);
            let own = (!self.protocol.echoes()).then_some(self.publishers[0]);
            let others = self.clients.iter().enumerate().filter(|&(key, _)| Some(key) != own);
            let received: Vec<Option<u32>> = others
                .filter_map(|(_, client)| client.subscriber.as_ref())
                .map(|subscriber| subscriber.next[0])
                .collect();
            if received.contains(&None) {
                self.publish(0, lines + 1)?;
            } else if received.iter().all(|&received| received == Some(next)) {
                return Ok(());
            }
            let turn_ends = Instant::now() + Duration::from_millis(50);
            while Instant::now() < turn_ends {
                self.turn(Duration::from_millis(10))?;
            }
        }
        Err("some subscribers received no line".into())
    }

    fn publisher(&self, nth: usize) -> &Publisher {
        let client = &self.clients[self.publishers[nth]];
        client.publisher.as_ref().expect("`publishers` lists clients that publish")
    }

    fn subscribers(&self) -> impl Iterator<Item = &Subscriber> {
        self.clients.iter().filter_map(|client| client.subscriber.as_ref())
    }

    /// Publishes lines until this publisher has sent `allowed` lines in this run, or its socket is
    /// full.
    fn publish(&mut self, nth: usize, allowed: u64) -> Result<(), String> {
        let client = &mut self.clients[self.publishers[nth]];
        let mut line = Vec::with_capacity(self.shape.size);
        loop {
            client.flush()?;
            let publisher =
                client.publisher.as_mut().expect("`publishers` lists clients that publish");
            if !client.output.is_empty() || publisher.lines >= allowed {
                return Ok(());
            }
            while publisher.lines < allowed && client.output.len() < BLOCK_BYTES {
                line.clear();
                write!(line, "{nth:04} {:010} ", publisher.next).expect("writes to a Vec succeed");
                line.extend_from_slice(&self.filler);
                self.protocol.publish(&line, &mut client.output);
                publisher.next += 1;
                publisher.lines += 1;
            }
        }
    }

    /// Waits until at least one socket is ready, and handles all that are.
    fn wait(&mut self) -> Result<(), String> {
        if self.turn(TIMEOUT)? { Ok(()) } else { Err("a delivery timed out".into()) }
    }

    /// Waits for ready sockets, at most for `timeout`, and handles them. Returns whether any socket
    /// was ready.
    fn turn(&mut self, timeout: Duration) -> Result<bool, String> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            result => result.map_err(|error| format!("poll: {error}"))?,
        }
        let events = mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let key = event.token().0;
            if event.is_writable() {
                self.clients[key].flush()?;
            }
            if event.is_readable() {
                self.receive(key)?;
            }
        }
        let is_any_ready = !events.is_empty();
        self.events = events;
        Ok(is_any_ready)
    }

    /// Reads everything from a client's socket, and checks every line.
    fn receive(&mut self, key: usize) -> Result<(), String> {
        let client = &mut self.clients[key];
        loop {
            let held = client.partial.len();
            self.buffer[..held].copy_from_slice(&client.partial);
            let len = match client.connection.read(&mut self.buffer[held..]) {
                Ok(0) => return Err(format!("the server disconnected client {key}")),
                Ok(len) => held + len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("client {key}: {error}")),
            };
            let mut bytes = &self.buffer[..len];
            loop {
                let used = match self.protocol.parse(bytes, self.shape.size) {
                    Frame::Partial => break,
                    Frame::Other(used) => used,
                    Frame::Line(range, used) => {
                        if let Some(subscriber) = &mut client.subscriber {
                            let number = subscriber.check(&bytes[range], &self.filler)?;
                            if self.shape.rate.is_none() {
                                self.window.record(subscriber.lines);
                            } else {
                                let slot = number as usize % MAX_IN_FLIGHT;
                                let (published, missing) = &mut self.in_flight[slot];
                                *missing = missing.saturating_sub(1);
                                if *missing == 0 {
                                    self.latencies.push(published.elapsed().as_secs_f64());
                                }
                            }
                        }
                        used
                    }
                };
                bytes = &bytes[used..];
            }
            client.partial.clear();
            client.partial.extend_from_slice(bytes);
        }
    }
}

impl Client {
    /// Writes pending output until the socket is full.
    fn flush(&mut self) -> Result<(), String> {
        loop {
            match self.connection.write(&self.output[self.sent..]) {
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("write: {error}")),
            }
            if self.sent == self.output.len() {
                self.output.clear();
                self.sent = 0;
                return Ok(());
            }
        }
    }
}

impl Subscriber {
    /// Checks that this is the next line of its publisher. Returns the line's number.
    fn check(&mut self, line: &[u8], filler: &[u8]) -> Result<u32, String> {
        let invalid =
            || format!("received a line that was not sent: {:?}", String::from_utf8_lossy(line));
        let publisher = parse_digits(&line[PUBLISHER]).ok_or_else(invalid)?;
        let number = parse_digits(&line[NUMBER]).ok_or_else(invalid)?;
        let next = self.next.get_mut(publisher as usize).ok_or_else(invalid)?;
        if &line[FILLER_START..] != filler {
            return Err(invalid());
        }
        if let Some(expected) = *next
            && number != expected
        {
            return Err(format!(
                "received line {number} of publisher {publisher}, expected line {expected}"
            ));
        }
        *next = Some(number + 1);
        self.lines += 1;
        Ok(number)
    }
}

fn parse_digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0_u32, |number, digit| {
        let value = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
        Some(number.wrapping_mul(10).wrapping_add(value))
    })
}
