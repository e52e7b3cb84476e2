//! Slow readers among good ones, under a flood of broadcasts.

use std::error::Error;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memmem;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::Options;
use crate::server::Server;

const LINE_BYTES: usize = 1000;

/// The time before a measurement, in which readers connect and the feed fills.
const WARM_UP: Duration = Duration::from_millis(700);

/// The same for stalled newcomers, which connect only at its end: before, the good readers must have
/// shown that they read.
const LONG_WARM_UP: Duration = Duration::from_secs(5);

/// How often slow readers read.
const STEP: Duration = Duration::from_millis(10);

/// How long slow readers that reconnect stay, unless they are disconnected.
const STAY: Duration = Duration::from_secs(1);

const STALL_TIMEOUT_SECONDS: &str = "3";

/// The numbers of good and slow readers.
const CROWDS: [(usize, usize); 5] = [(99, 1), (97, 3), (90, 10), (50, 50), (21, 50)];

#[derive(Clone, Copy)]
struct Attack {
    policy: &'static str,
    feed: &'static str,
    good: usize,
    slow: usize,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Slow readers read this many bytes per second.
    Slow { rate: usize, reconnects: bool },
    /// Ten readers per second connect and read nothing. As the stall timeout is a tenth of the
    /// default, this is one per second with the default.
    Stalled,
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, feed, good, slow, kind } = self;
        write!(f, "{policy} {feed}: {good} good")?;
        match kind {
            _ if *slow == 0 => Ok(()),
            Kind::Stalled => write!(f, ", stalled newcomers"),
            Kind::Slow { rate, reconnects } => {
                let manner = if *reconnects { "reconnecting" } else { "steady" };
                write!(f, ", {slow} of {} KB/s {manner}", rate / 1000)
            }
        }
    }
}

struct Outcome {
    /// Bytes of broadcast text per second.
    rate: f64,
    /// How many good readers were disconnected, or have skipped lines.
    lost: usize,
}

pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    println!("{:62} {:>9} {:>6} {:>5}", "attack", "MB/s", "part", "lost");
    for policy in ["skip", "disconnect", "wait"] {
        for feed in ["1M", "16M"] {
            for (good, slow) in CROWDS {
                let of = |kind| Attack { policy, feed, good, slow, kind };
                let attacks = [60_000, 1_000_000].into_iter().flat_map(|rate| {
                    [false, true].map(|reconnects| of(Kind::Slow { rate, reconnects }))
                });
                let stalled = (policy == "wait" && slow == 10).then(|| of(Kind::Stalled));
                let included = attacks.chain(stalled);
                let attacks: Vec<Attack> =
                    included.filter(|attack| options.includes(&attack.to_string())).collect();
                if !attacks.is_empty() {
                    compare(options, &attacks)?;
                }
            }
        }
    }
    Ok(())
}

/// Measures the good readers alone and under each attack, in each round.
fn compare(options: &Options, attacks: &[Attack]) -> Result<(), Box<dyn Error>> {
    let alone = Attack { slow: 0, ..attacks[0] };
    let attacks = [&[alone], attacks].concat();
    let count = attacks.len() * options.programs.len();
    let mut outcomes: Vec<Vec<Outcome>> = Vec::from_iter((0..count).map(|_| Vec::new()));
    for _ in 0..options.rounds {
        let runs =
            attacks.iter().flat_map(|attack| options.programs.iter().map(move |p| (attack, p)));
        for (nth, (attack, program)) in runs.enumerate() {
            let outcome = measure(program, *attack, options.time);
            outcomes[nth].push(outcome.map_err(|error| format!("{attack}: {error}"))?);
        }
    }
    for (nth, of_attack) in outcomes.iter().enumerate() {
        let program = nth % options.programs.len();
        let parts = of_attack.iter().zip(&outcomes[program]).map(|(a, b)| a.rate / b.rate);
        let rate = median(of_attack.iter().map(|outcome| outcome.rate / 1e6));
        let lost: usize = of_attack.iter().map(|outcome| outcome.lost).sum();
        let name = if program + 1 < options.programs.len() { "baseline, " } else { "" };
        let name = format!("{name}{}", attacks[nth / options.programs.len()]);
        println!("{name:62} {rate:9.1} {:6.2} {lost:5}", median(parts));
    }
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure(program: &Path, attack: Attack, time: Duration) -> io::Result<Outcome> {
    let arguments = ["--slow-clients", attack.policy, "--feed-size", attack.feed];
    let server = Server::start(
        program,
        &[&arguments[..], &["--stall-timeout", STALL_TIMEOUT_SECONDS]].concat(),
    )?;
    let mut good = GoodReaders::connect(&server, attack.good)?;
    let is_over = AtomicBool::new(false);
    let sent = AtomicU64::new(0);
    thread::scope(|scope| {
        let sender = server.connect()?;
        let closing = sender.try_clone()?;
        scope.spawn(|| flood(sender, &sent));
        let reading = scope.spawn(|| good.read(&is_over));
        scope.spawn(|| match attack.kind {
            _ if attack.slow == 0 => Ok(()),
            Kind::Slow { rate, reconnects } => {
                read_slowly(&server, attack.slow, rate, reconnects, &is_over)
            }
            Kind::Stalled => stall(&server, &is_over),
        });
        thread::sleep(if attack.kind == Kind::Stalled { LONG_WARM_UP } else { WARM_UP });
        let (before, started) = (sent.load(Ordering::Relaxed), Instant::now());
        thread::sleep(time);
        let bytes = sent.load(Ordering::Relaxed) - before;
        let rate = bytes as f64 / started.elapsed().as_secs_f64();
        is_over.store(true, Ordering::Relaxed);
        closing.shutdown(net::Shutdown::Both)?;
        let lost = reading.join().map_err(|_| io::Error::other("a reader failed"))??;
        Ok(Outcome { rate, lost })
    })
}

/// Broadcasts lines until the connection is shut down. Nothing reads the replies, except for a
/// thread that discards them.
fn flood(mut stream: net::TcpStream, sent: &AtomicU64) -> io::Result<()> {
    let mut replies = stream.try_clone()?;
    thread::scope(|scope| {
        scope.spawn(move || io::copy(&mut replies, &mut io::sink()));
        stream.write_all(b"quiet\n")?;
        let lines = format!("say {}\n", "x".repeat(LINE_BYTES)).repeat(64);
        while stream.write_all(lines.as_bytes()).is_ok() {
            sent.fetch_add(64 * LINE_BYTES as u64, Ordering::Relaxed);
        }
        Ok(())
    })
}

/// Readers that read everything at once.
struct GoodReaders {
    poll: Poll,
    readers: Vec<GoodReader>,
}

struct GoodReader {
    stream: TcpStream,
    is_lost: bool,
    /// The last bytes received, which may be the beginning of a `lagged` line.
    last: [u8; LAGGED.len()],
}

const LAGGED: &[u8] = b"\nlagged ";

impl GoodReaders {
    fn connect(server: &Server, count: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut readers = Vec::new();
        for key in 0..count {
            let stream = server.connect()?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(key), Interest::READABLE)?;
            readers.push(GoodReader { stream, is_lost: false, last: [0; LAGGED.len()] });
        }
        Ok(Self { poll, readers })
    }

    /// Reads until `is_over`. Returns how many readers were disconnected, or have skipped lines.
    fn read(&mut self, is_over: &AtomicBool) -> io::Result<usize> {
        let lagged = memmem::Finder::new(LAGGED);
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 256 * 1024];
        while !is_over.load(Ordering::Relaxed) {
            self.poll.poll(&mut events, Some(STEP))?;
            for event in &events {
                self.readers[event.token().0].read(&mut buffer, &lagged);
            }
        }
        Ok(self.readers.iter().filter(|reader| reader.is_lost).count())
    }
}

impl GoodReader {
    fn read(&mut self, buffer: &mut [u8], lagged: &memmem::Finder<'_>) {
        const BEFORE: usize = LAGGED.len();
        loop {
            buffer[..BEFORE].copy_from_slice(&self.last);
            match self.stream.read(&mut buffer[BEFORE..]) {
                Ok(len @ 1..) => {
                    self.is_lost |= lagged.find(&buffer[..BEFORE + len]).is_some();
                    self.last.copy_from_slice(&buffer[len..BEFORE + len]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(0) | Err(_) => {
                    self.is_lost = true;
                    return;
                }
            }
        }
    }
}

/// Reads at `rate` bytes per second from each of `count` connections.
fn read_slowly(
    server: &Server,
    count: usize,
    rate: usize,
    reconnects: bool,
    is_over: &AtomicBool,
) -> io::Result<()> {
    let connect = || -> io::Result<net::TcpStream> {
        let stream = server.connect()?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    };
    let mut readers = Vec::new();
    for nth in 0..count {
        readers.push((connect()?, Instant::now() + STAY * nth as u32 / count as u32));
    }
    let (mut buffer, mut next) = (vec![0; rate / 100], Instant::now());
    while !is_over.load(Ordering::Relaxed) {
        for (stream, connected) in &mut readers {
            let is_open = match stream.read(&mut buffer) {
                Ok(len) => len > 0,
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            };
            if reconnects && (!is_open || connected.elapsed() > STAY) {
                (*stream, *connected) = (connect()?, Instant::now());
            }
        }
        next += STEP;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Connects ten readers per second, which read nothing.
fn stall(server: &Server, is_over: &AtomicBool) -> io::Result<()> {
    let mut readers = Vec::new();
    thread::sleep(LONG_WARM_UP);
    while !is_over.load(Ordering::Relaxed) {
        readers.push(server.connect()?);
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
