//! The measurements: CPU time per delivery, memory per idle client, and the latency of `ping`
//! under load.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::contender::{Contender, RunningServer, Tls};
use crate::load::Load;
use crate::machine::Cores;
use crate::quantiles::Quantiles;
use crate::workload::Shape;

/// One measurement of a server under a workload.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// CPU time of the server per delivery, in microseconds.
    pub(crate) cpu_us: f64,
    /// Deliveries per second.
    pub(crate) rate: f64,
    /// Resident memory of the server, in bytes.
    pub(crate) memory: u64,
    /// Delivery latency in seconds, if lines are published at a fixed rate.
    pub(crate) latency: Option<Quantiles>,
}

/// Starts a server, and measures it under load for `time`, after a warm-up.
pub(crate) fn delivery(
    contender: &Contender,
    cores: Cores,
    shape: Shape,
    tls: Option<&Tls>,
    time: Duration,
) -> Result<Sample, String> {
    let server = RunningServer::start(contender, cores, shape.max_clients(), tls)?;
    let client = tls.map(|tls| &tls.client);
    let mut load = Load::connect(contender.protocol(), server.port, client, shape)?;
    load.run(time / 10)?;
    let cpu_before = server.cpu_seconds()?;
    let run = load.run(time)?;
    let cpu_seconds = server.cpu_seconds()? - cpu_before;
    let deliveries = run.deliveries as f64;
    Ok(Sample {
        cpu_us: cpu_seconds * 1e6 / deliveries,
        rate: deliveries / run.seconds,
        memory: server.resident_bytes()?,
        latency: (!run.latencies.is_empty()).then(|| Quantiles::of(run.latencies)),
    })
}

/// Measures the server's resident memory per idle client, in bytes. Every client has received a
/// line before.
pub(crate) fn idle_memory(
    contender: &Contender,
    cores: Cores,
    clients: usize,
) -> Result<f64, String> {
    let server = RunningServer::start(contender, cores, clients, None)?;
    let connect =
        |clients| Load::connect(contender.protocol(), server.port, None, Shape::new(clients, 64));
    // Connect a few clients first, so that one-time allocations are not counted.
    let _first = connect(10)?;
    let before = server.resident_bytes()?;
    let _idle = connect(clients)?;
    let after = server.resident_bytes()?;
    Ok(after.saturating_sub(before) as f64 / clients as f64)
}

/// Round-trip times of `ping`, in seconds.
#[derive(Debug)]
pub(crate) struct PingLatency {
    pub(crate) subscribers: usize,
    /// During broadcasts to all subscribers.
    pub(crate) broadcast: Quantiles,
    /// During broadcasts, while another client floods the server with commands.
    pub(crate) flooded: Quantiles,
}

pub(crate) fn ping_latency(
    oyezd: &Contender,
    cores: Cores,
    subscribers: usize,
    time: Duration,
) -> Result<PingLatency, String> {
    let server = RunningServer::start(oyezd, cores, subscribers + 3, None)?;
    // With a window larger than the socket buffers, the server's turns are longest.
    let shape = Shape { window: 4, ..Shape::new(subscribers, 64) };
    let mut load = Load::connect(oyezd.protocol(), server.port, None, shape)?;
    let mut measure = |is_flooded: bool| {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let pings = scope.spawn(|| ping(server.port, &is_over));
            let flood = is_flooded.then(|| scope.spawn(|| flood(server.port, &is_over)));
            let run = load.run(time);
            is_over.store(true, Ordering::Relaxed);
            let times = pings.join().map_err(|_| "the ping thread panicked")?;
            if let Some(flood) = flood {
                let result = flood.join().map_err(|_| "the flood thread panicked")?;
                result.map_err(|error| format!("flood: {error}"))?;
            }
            run?;
            times.map(Quantiles::of).map_err(|error| format!("ping: {error}"))
        })
    };
    Ok(PingLatency { subscribers, broadcast: measure(false)?, flooded: measure(true)? })
}

/// Sends each `ping` 2 ms after the reply to the last one. Returns the round-trip times in seconds.
fn ping(port: u16, is_over: &AtomicBool) -> io::Result<Vec<f64>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.write_all(b"quiet\n")?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut times = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let sent = Instant::now();
        stream.write_all(b"ping\n")?;
        for line in &mut lines {
            if line? == "pong" {
                break;
            }
        }
        times.push(sent.elapsed().as_secs_f64());
        thread::sleep(Duration::from_millis(2));
    }
    Ok(times)
}

/// Sends commands as fast as the server reads them, and discards the replies.
fn flood(port: u16, is_over: &AtomicBool) -> io::Result<()> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let mut reader = BufReader::with_capacity(64 * 1024, stream.try_clone()?);
    let mut writer = &stream;
    let lines = "stats\nclients\nping\nnonsense\n".repeat(100);
    writer.write_all(b"quiet\n")?;
    thread::scope(|scope| {
        scope.spawn(move || {
            // Ends when the connection is shut down below.
            while let Ok(len @ 1..) = reader.fill_buf().map(<[u8]>::len) {
                reader.consume(len);
            }
        });
        while !is_over.load(Ordering::Relaxed) {
            writer.write_all(lines.as_bytes())?;
        }
        stream.shutdown(Shutdown::Both)
    })
}
