//! The generator: one thread with all the clients of a server, those who publish and those who hear it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rustls::ClientConfig;

use crate::pipe::Pipe;
use crate::wire::{ReadOutcome, Wire};

/// How much of lines a block has, all senders together.
pub(crate) const BLOCK_KIB: usize = 64;
const BLOCK_BYTES: usize = BLOCK_KIB * 1024;

/// How many blocks the window has. With more, lines stay unread for so long that the kernel takes them for
/// lost and sends them again: with twice as many to 1000 receivers, 5757 packets in two seconds, and with
/// these, none. What that costs tells little of a server.
pub(crate) const WINDOW: usize = 2;

/// How many lines may be on their way while latency is measured.
const TIMED: usize = 4096;

/// How many clients there were so far: no two of them have one name, where they need names.
static NAMES: AtomicUsize = AtomicUsize::new(0);

/// How long nothing may happen while something is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a line's number begins and ends, behind its sender's.
const NUMBER: std::ops::Range<usize> = 5..15;
const FILLER: usize = 16;

/// Who does what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) senders: usize,
    pub(crate) receivers: usize,
    /// Everybody does both, as far as one connection can. There are as many of the one as of the other.
    pub(crate) all_talk: bool,
    /// The length of a line, in bytes, its end not counted.
    pub(crate) size: usize,
    /// How many lines there are in a second, or else as many as get through.
    pub(crate) rate: Option<u32>,
    /// How many blocks may have been begun that not everybody has got.
    pub(crate) window: usize,
}

impl Shape {
    /// How many clients there are at most.
    pub(crate) fn clients(self) -> usize {
        self.senders + self.receivers
    }
}

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) deliveries: u64,
    pub(crate) seconds: f64,
    /// From the publishing of a line until the last one had it, in seconds, in order; if lines come at a
    /// rate.
    pub(crate) latencies: Vec<f64>,
}

/// All clients of one server.
pub(crate) struct Load {
    wire: Wire,
    shape: Shape,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    filler: Vec<u8>,
    clients: Vec<Client>,
    /// Which of the clients publish, in the order of their numbers in the lines.
    senders: Vec<usize>,
    progress: Progress,
    /// Who publishes waits for the slowest one who hears it.
    is_paced: bool,
    /// When the latest lines were published, and how many have not got them.
    on_their_way: Vec<(Instant, usize)>,
    latencies: Vec<f64>,
}

struct Client {
    pipe: Pipe,
    /// What was read of a line that is not whole yet.
    partial: Vec<u8>,
    unsent: Vec<u8>,
    sent: usize,
    talks: Option<Talker>,
    hears: Option<Hearer>,
}

struct Talker {
    /// The next line's number.
    next: u32,
    /// How many lines it has published since [`Progress`] began.
    lines: u64,
}

struct Hearer {
    /// The next line's number, by sender; `None` before the first.
    next: Vec<Option<u32>>,
    /// How many lines it has got since [`Progress`] began.
    lines: u64,
}

/// How far everybody is.
struct Progress {
    /// How many lines of a block each sender publishes.
    block: u64,
    /// How many of its lines each receiver gets.
    block_heard: u64,
    receivers: usize,
    /// The first block that not all of them have got.
    first: u64,
    /// How many of them have got this block, and each of the others that may have been begun.
    passed: VecDeque<usize>,
}

impl Progress {
    /// A receiver has now got so many lines.
    fn note(&mut self, lines: u64) {
        if lines.is_multiple_of(self.block_heard) {
            let block = lines / self.block_heard - 1;
            self.passed[(block - self.first) as usize] += 1;
            while self.passed[0] == self.receivers {
                self.passed.pop_front();
                self.passed.push_back(0);
                self.first += 1;
            }
        }
    }

    /// How many lines each sender may have published by now.
    fn allowed(&self) -> u64 {
        (self.first + self.passed.len() as u64) * self.block
    }
}

impl Load {
    /// Connects everybody, and waits until each receiver has heard of the first sender.
    pub(crate) fn connect(
        wire: Wire,
        port: u16,
        tls: Option<&Arc<ClientConfig>>,
        shape: Shape,
    ) -> Result<Self, String> {
        let both = shape.all_talk && wire.talks_and_hears();
        let poll = Poll::new().map_err(|error| format!("poll: {error}"))?;
        let count = if both { shape.receivers } else { shape.receivers + shape.senders };
        let mut clients = Vec::with_capacity(count);
        let mut senders = Vec::new();
        for nth in 0..count {
            let hears = nth < shape.receivers;
            let talks = both || !hears;
            let mut pipe = Pipe::connect(port, tls, wire == Wire::Nats)?;
            pipe.register(poll.registry(), Token(nth)).map_err(|error| format!("poll: {error}"))?;
            clients.push(Client {
                pipe,
                partial: Vec::new(),
                unsent: wire.greeting(NAMES.fetch_add(1, Ordering::Relaxed), hears),
                sent: 0,
                talks: talks.then_some(Talker { next: 0, lines: 0 }),
                hears: hears.then(|| Hearer { next: vec![None; shape.senders], lines: 0 }),
            });
            if talks {
                senders.push(nth);
            }
        }
        let own = usize::from(both && !wire.echoes());
        let block = (BLOCK_BYTES / shape.size / shape.senders).max(1);
        let progress = Progress {
            block: block as u64,
            block_heard: (block * (shape.senders - own)) as u64,
            receivers: shape.receivers,
            first: 0,
            passed: VecDeque::from(vec![0; shape.window]),
        };
        let mut load = Self {
            wire,
            shape,
            poll,
            events: Events::with_capacity(4096),
            buffer: vec![0; 256 * 1024],
            filler: vec![b'x'; shape.size - FILLER],
            clients,
            senders,
            progress,
            is_paced: false,
            on_their_way: vec![(Instant::now(), 0); TIMED],
            latencies: Vec::new(),
        };
        load.meet()?;
        Ok(load)
    }

    /// Publishes, and waits until everybody has got everything.
    pub(crate) fn run(&mut self, time: Duration) -> Result<Run, String> {
        self.begin();
        let started = Instant::now();
        match self.shape.rate {
            None => self.publish_for(time)?,
            Some(rate) => self.publish_at(rate, time)?,
        }
        let deliveries = self.clients.iter().filter_map(|client| client.hears.as_ref());
        Ok(Run {
            deliveries: deliveries.map(|hearer| hearer.lines).sum(),
            seconds: started.elapsed().as_secs_f64(),
            latencies: std::mem::take(&mut self.latencies),
        })
    }

    /// As much as the slowest receiver lets through, from each sender as many lines as from any.
    fn publish_for(&mut self, time: Duration) -> Result<(), String> {
        let started = Instant::now();
        while started.elapsed() < time {
            self.publish_all(self.progress.allowed())?;
            self.turn(Some(PATIENCE))?;
        }
        let talkers = self.clients.iter().filter_map(|client| client.talks.as_ref());
        let lines = talkers.map(|talker| talker.lines).max().unwrap_or(0);
        let due = lines * self.progress.block_heard / self.progress.block;
        while self.clients.iter().filter_map(|client| client.hears.as_ref()).any(|h| h.lines < due)
        {
            self.publish_all(self.progress.allowed().min(lines))?;
            self.turn(Some(PATIENCE))?;
        }
        Ok(())
    }

    fn publish_all(&mut self, allowed: u64) -> Result<(), String> {
        (0..self.senders.len()).try_for_each(|nth| self.publish(nth, allowed))
    }

    /// The first sender publishes one line after the other, each at its time.
    fn publish_at(&mut self, rate: u32, time: Duration) -> Result<(), String> {
        let started = Instant::now();
        let pause = Duration::from_secs(1) / rate;
        let lines = (time.as_secs_f64() * f64::from(rate)) as u32;
        for nth in 0..lines {
            let due = started + pause * nth;
            while Instant::now() < due {
                self.turn(Some(Duration::ZERO))?;
            }
            let number = self.talker(0).next as usize;
            if self.on_their_way[number % TIMED].1 > 0 {
                return Err(format!("it does not carry {rate} lines a second"));
            }
            self.on_their_way[number % TIMED] = (Instant::now(), self.progress.receivers);
            self.publish(0, u64::from(nth) + 1)?;
        }
        let since = Instant::now();
        while self.latencies.len() < lines as usize {
            self.turn(Some(Duration::ZERO))?;
            if since.elapsed() > PATIENCE {
                return Err("lines are missing".into());
            }
        }
        Ok(())
    }

    /// Has the first sender publish lines until each receiver has got one, and then the last one.
    fn meet(&mut self) -> Result<(), String> {
        let since = Instant::now();
        let first = self.senders[0];
        let hears_itself = self.wire.echoes();
        let others = move |nth: usize| hears_itself || nth != first;
        loop {
            let last = self.talker(0).next.checked_sub(1);
            let mut heard = self.clients.iter().enumerate().filter(|(nth, _)| others(*nth));
            let have_all = heard.all(|(_, client)| {
                client.hears.as_ref().is_none_or(|hearer| {
                    hearer.next[0].is_some_and(|next| last.is_none_or(|last| next > last))
                })
            });
            if have_all {
                return Ok(());
            }
            let any_deaf = self.clients.iter().enumerate().any(|(nth, client)| {
                others(nth) && client.hears.as_ref().is_some_and(|hearer| hearer.next[0].is_none())
            });
            if any_deaf {
                let lines = self.talker(0).lines;
                self.publish(0, lines + 1)?;
            }
            let turn_ends = Instant::now() + Duration::from_millis(50);
            while Instant::now() < turn_ends {
                self.turn(Some(Duration::from_millis(10)))?;
            }
            if since.elapsed() > PATIENCE {
                return Err("not everybody gets what is published".into());
            }
        }
    }

    fn begin(&mut self) {
        self.latencies.clear();
        self.is_paced = self.shape.rate.is_none();
        self.progress.first = 0;
        self.progress.passed.iter_mut().for_each(|passed| *passed = 0);
        for client in &mut self.clients {
            if let Some(talker) = &mut client.talks {
                talker.lines = 0;
            }
            if let Some(hearer) = &mut client.hears {
                hearer.lines = 0;
            }
        }
    }

    fn talker(&self, nth: usize) -> &Talker {
        let client = &self.clients[self.senders[nth]];
        client.talks.as_ref().expect("senders are those who talk")
    }

    /// Has a sender publish up to so many lines, as long as its socket takes them.
    fn publish(&mut self, nth: usize, allowed: u64) -> Result<(), String> {
        let client = &mut self.clients[self.senders[nth]];
        loop {
            client.send()?;
            let talker = client.talks.as_mut().expect("senders are those who talk");
            if !client.unsent.is_empty() || talker.lines >= allowed {
                return Ok(());
            }
            let mut line = Vec::with_capacity(self.shape.size);
            while talker.lines < allowed && client.unsent.len() < BLOCK_BYTES {
                line.clear();
                push_digits(&mut line, nth as u32, NUMBER.start - 1);
                line.push(b' ');
                push_digits(&mut line, talker.next, NUMBER.len());
                line.push(b' ');
                line.extend_from_slice(&self.filler);
                self.wire.publish(&line, &mut client.unsent);
                talker.next += 1;
                talker.lines += 1;
            }
        }
    }

    /// Waits for sockets, and reads and writes what they give and take.
    fn turn(&mut self, patience: Option<Duration>) -> Result<(), String> {
        match self.poll.poll(&mut self.events, patience) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result.map_err(|error| format!("poll: {error}"))?,
        }
        if self.events.is_empty() && patience == Some(PATIENCE) {
            return Err("nothing comes any more, and lines are missing".into());
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let nth = event.token().0;
            if event.is_writable() {
                self.clients[nth].send()?;
            }
            if event.is_readable() {
                self.hear(nth)?;
            }
        }
        self.events = events;
        Ok(())
    }

    /// Reads all that a client has got, and sees that it is what was to come.
    fn hear(&mut self, nth: usize) -> Result<(), String> {
        let client = &mut self.clients[nth];
        loop {
            let held = client.partial.len();
            self.buffer[..held].copy_from_slice(&client.partial);
            let len = match client.pipe.read(&mut self.buffer[held..]) {
                Ok(0) => return Err(format!("client {nth} was cut")),
                Ok(len) => held + len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("client {nth}: {error}")),
            };
            let mut bytes = &self.buffer[..len];
            loop {
                match self.wire.next(bytes, self.shape.size) {
                    ReadOutcome::Line(range, used) => {
                        if let Some(hearer) = &mut client.hears {
                            let number = hearer.take(&bytes[range], &self.filler)?;
                            if self.is_paced {
                                self.progress.note(hearer.lines);
                            }
                            if self.shape.rate.is_some() {
                                let (published, missing) =
                                    &mut self.on_their_way[number as usize % TIMED];
                                *missing = missing.saturating_sub(1);
                                if *missing == 0 {
                                    self.latencies.push(published.elapsed().as_secs_f64());
                                }
                            }
                        }
                        bytes = &bytes[used..];
                    }
                    ReadOutcome::Other(used) => bytes = &bytes[used..],
                    ReadOutcome::Partial => break,
                }
            }
            client.partial.clear();
            client.partial.extend_from_slice(bytes);
        }
    }
}

impl Client {
    fn send(&mut self) -> Result<(), String> {
        loop {
            match self.pipe.write(&self.unsent[self.sent..]) {
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("write: {error}")),
            }
            if self.sent == self.unsent.len() {
                self.unsent.clear();
                self.sent = 0;
                return Ok(());
            }
        }
    }
}

impl Hearer {
    /// Takes a line, which is to be its sender's next one: its number.
    fn take(&mut self, line: &[u8], filler: &[u8]) -> Result<u32, String> {
        let wrong =
            || format!("not a line that was published: {:?}", String::from_utf8_lossy(line));
        let sender = digits(&line[..NUMBER.start - 1]).ok_or_else(wrong)?;
        let number = digits(&line[NUMBER]).ok_or_else(wrong)?;
        let next = self.next.get_mut(sender as usize).ok_or_else(wrong)?;
        if &line[FILLER..] != filler {
            return Err(wrong());
        }
        if next.is_some_and(|next| next != number) {
            return Err(format!("line {number} of sender {sender} came where {next:?} was next"));
        }
        *next = Some(number + 1);
        self.lines += 1;
        Ok(number)
    }
}

fn push_digits(line: &mut Vec<u8>, mut number: u32, width: usize) {
    let start = line.len();
    line.resize(start + width, b'0');
    for digit in line[start..].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0_u32, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number.wrapping_mul(10).wrapping_add(u32::from(digit - b'0')))
    })
}
